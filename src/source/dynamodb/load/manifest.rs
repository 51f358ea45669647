//! What an export says of itself: a summary, and a list of data files with their counts and checksums. Read before
//! any row, so that a file that is missing, cut or another one than was written is noticed
//! (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html>).

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use serde::Deserialize;

/// The checksum of an object.
pub(super) type Md5Sum = [u8; 16];

/// Why a manifest cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not the documented JSON.
    #[error("it is not a manifest: {0}")]
    Malformed(String),
    /// The bytes are not those that the checksum beside them was made of.
    #[error("its checksum is another one")]
    Checksum,
    /// Written in a form that is not read.
    #[error("its data is in the form {0:?}, not DYNAMODB_JSON")]
    Format(String),
    /// A name that leads out of the export's folder.
    #[error("it names {0:?}, which is not in the export's folder")]
    Stray(String),
    /// A file twice.
    #[error("it names {0:?} twice")]
    Twice(String),
    /// The list is cut, or belongs to another export.
    #[error("its files hold {listed} items, and the summary says {said}")]
    Count {
        /// The sum over the list.
        listed: u64,
        /// What the summary says.
        said: u64,
    },
}

/// `manifest-summary.json`, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    /// The object that lists the data files.
    pub(super) files_key: String,
    /// Items in all files.
    pub(super) items: u64,
}

/// A data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DataFile {
    /// The object.
    pub(super) key: String,
    /// Its items, one a line.
    pub(super) items: u64,
    /// Checksum of the object, compressed as it is.
    pub(super) md5: Md5Sum,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSummary {
    manifest_files_s3_key: String,
    item_count: u64,
    output_format: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawFile {
    item_count: u64,
    md5_checksum: String,
    data_file_s3_key: String,
}

/// Reads a summary; `prefix` is the folder that the export was asked to write to.
///
/// # Errors
/// [`ManifestError`]: it is not one, or names what is not the export's.
pub(super) fn read_summary(bytes: &[u8], prefix: &str) -> Result<Summary, ManifestError> {
    let raw: RawSummary = serde_json::from_slice(bytes).map_err(malformed)?;
    if raw.output_format != "DYNAMODB_JSON" {
        return Err(ManifestError::Format(raw.output_format));
    }
    Ok(Summary {
        files_key: rooted(raw.manifest_files_s3_key, prefix)?,
        items: raw.item_count,
    })
}

/// Reads the list of data files, one JSON object a line, into the order of their names.
///
/// # Errors
/// [`ManifestError`]: it is not one, is cut, or names what is not the export's.
pub(super) fn read_files(
    bytes: &[u8],
    prefix: &str,
    summary: &Summary,
) -> Result<Vec<DataFile>, ManifestError> {
    let mut files = Vec::new();
    let lines = serde_json::Deserializer::from_slice(bytes).into_iter::<RawFile>();
    for line in lines {
        let raw = line.map_err(malformed)?;
        let md5 = STANDARD
            .decode(&raw.md5_checksum)
            .ok()
            .and_then(|sum| Md5Sum::try_from(sum).ok())
            .ok_or_else(|| ManifestError::Malformed("a file's md5Checksum is none".to_owned()))?;
        files.push(DataFile {
            key: rooted(raw.data_file_s3_key, prefix)?,
            items: raw.item_count,
            md5,
        });
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = files.iter().find(|file| !seen.insert(file.key.as_str())) {
        return Err(ManifestError::Twice(twice.key.clone()));
    }
    let listed = files
        .iter()
        .fold(0_u64, |sum, file| sum.saturating_add(file.items));
    if listed != summary.items {
        return Err(ManifestError::Count {
            listed,
            said: summary.items,
        });
    }
    files.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(files)
}

/// Holds a manifest against the text of the `.checksum` beside it: an MD5 in base64 or in hexadecimal digits.
///
/// # Errors
/// [`ManifestError::Checksum`] if the bytes are others; [`ManifestError::Malformed`] if the text is no checksum.
pub(super) fn verify(bytes: &[u8], checksum: &[u8]) -> Result<(), ManifestError> {
    let text = std::str::from_utf8(checksum).unwrap_or_default();
    let text = text.split_ascii_whitespace().next().unwrap_or_default();
    let sum = match text.len() {
        32 => hexadecimal(text),
        _ => STANDARD
            .decode(text)
            .ok()
            .and_then(|sum| Md5Sum::try_from(sum).ok()),
    };
    let sum =
        sum.ok_or_else(|| ManifestError::Malformed("what stands beside it is no checksum".to_owned()))?;
    if Md5::digest(bytes).as_slice() == sum {
        Ok(())
    } else {
        Err(ManifestError::Checksum)
    }
}

fn hexadecimal(text: &str) -> Option<Md5Sum> {
    let mut sum = Md5Sum::default();
    for (byte, digits) in sum.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(sum)
}

fn malformed(error: serde_json::Error) -> ManifestError {
    // The text may hold a name that nobody should see; the place suffices.
    ManifestError::Malformed(format!("line {}, column {}", error.line(), error.column()))
}

/// The key of an object in the export's folder, from the bucket's root: manifests are known to write it with
/// and without the folder that was asked for.
fn rooted(key: String, prefix: &str) -> Result<String, ManifestError> {
    let inside = match key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')) {
        Some(inside) if !prefix.is_empty() => inside,
        Some(_) | None => key.as_str(),
    };
    let stray = inside
        .split('/')
        .any(|part| part.is_empty() || matches!(part, "." | ".."));
    if stray || !inside.starts_with("AWSDynamoDB/") {
        return Err(ManifestError::Stray(key));
    }
    Ok(match prefix {
        "" => inside.to_owned(),
        prefix => format!("{prefix}/{inside}"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SUM: &str = "sQMSpEILNgoQmarvDFonGQ==";

    fn summary(key: &str, items: u64) -> String {
        format!(
            r#"{{"version":"2020-06-30","exportArn":"arn:aws:dynamodb:eu-west-1:1:table/t/export/01-a",
            "manifestFilesS3Key":"{key}","billedSizeBytes":0,"itemCount":{items},"outputFormat":"DYNAMODB_JSON"}}"#
        )
    }

    fn file(key: &str, items: u64) -> String {
        format!(
            "{{\"itemCount\":{items},\"md5Checksum\":\"{SUM}\",\"etag\":\"e-1\",\"dataFileS3Key\":\"{key}\"}}\n"
        )
    }

    fn read(lines: &str, items: u64) -> Result<Vec<DataFile>, ManifestError> {
        let summary = Summary {
            files_key: "x".to_owned(),
            items,
        };
        read_files(lines.as_bytes(), "a/b", &summary)
    }

    #[test]
    fn keys_are_found_with_and_without_the_folder() {
        let inside = "AWSDynamoDB/01-a/manifest-files.json";
        for (prefix, written) in [
            ("", inside.to_owned()),
            ("a/b", inside.to_owned()),
            ("a/b", format!("a/b/{inside}")),
        ] {
            let read = read_summary(summary(&written, 8).as_bytes(), prefix).unwrap();
            let whole = format!("{prefix}/{inside}");
            assert_eq!(read.files_key, whole.trim_start_matches('/'));
            assert_eq!(read.items, 8);
        }
    }

    #[test]
    fn what_leads_out_of_the_folder_is_refused() {
        for key in [
            "other/AWSDynamoDB/x",
            "AWSDynamoDB/../x",
            "AWSDynamoDB//x",
            "/AWSDynamoDB/x",
            "x",
            "",
        ] {
            let stray = ManifestError::Stray(key.to_owned());
            let summary = read_summary(summary(key, 0).as_bytes(), "a/b");
            assert_eq!(summary.unwrap_err(), stray, "{key}");
            assert_eq!(read(&file(key, 0), 0).unwrap_err(), stray);
        }
    }

    #[test]
    fn files_come_in_the_order_of_their_names_and_all_of_them() {
        let lines = file("AWSDynamoDB/1/data/b.json.gz", 5) + &file("AWSDynamoDB/1/data/a.json.gz", 3);
        let files = read(&lines, 8).unwrap();
        let keys: Vec<&str> = files.iter().map(|file| file.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "a/b/AWSDynamoDB/1/data/a.json.gz",
                "a/b/AWSDynamoDB/1/data/b.json.gz"
            ]
        );
        assert_eq!(files.iter().map(|file| file.items).collect::<Vec<_>>(), [3, 5]);
        assert_eq!(STANDARD.encode(files[0].md5), SUM);
        assert_eq!(read("", 0).unwrap(), []);
    }

    #[test]
    fn a_list_that_is_not_whole_is_refused() {
        let one = file("AWSDynamoDB/1/data/a", 5);
        assert_eq!(read(&one, 8), Err(ManifestError::Count { listed: 5, said: 8 }));
        let key = "a/b/AWSDynamoDB/1/data/a".to_owned();
        assert_eq!(read(&one.repeat(2), 10), Err(ManifestError::Twice(key)));
        let huge = file("AWSDynamoDB/1/data/a", u64::MAX) + &file("AWSDynamoDB/1/data/b", 2);
        assert!(matches!(read(&huge, 1), Err(ManifestError::Count { .. })));
        assert!(matches!(
            read(&one.replace(SUM, "AAAA"), 5),
            Err(ManifestError::Malformed(_))
        ));
        let ion = summary("AWSDynamoDB/x", 0).replace("DYNAMODB_JSON", "ION");
        assert_eq!(
            read_summary(ion.as_bytes(), ""),
            Err(ManifestError::Format("ION".to_owned()))
        );
    }

    #[test]
    fn checksums_are_read_in_both_forms() {
        // `printf hello | md5sum`
        for sum in [
            "5d41402abc4b2a76b9719d911017c592  file\n",
            "XUFAKrxLKna5cZ2REBfFkg==\n",
        ] {
            assert_eq!(verify(b"hello", sum.as_bytes()), Ok(()));
            assert_eq!(verify(b"hallo", sum.as_bytes()), Err(ManifestError::Checksum));
        }
        for none in [
            "",
            "zz41402abc4b2a76b9719d911017c592",
            "AAAA",
            "\u{e9}\u{e9}\u{e9}",
        ] {
            assert!(
                matches!(verify(b"", none.as_bytes()), Err(ManifestError::Malformed(_))),
                "{none}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, prefix in "[a-z/]{0,4}") {
            let summary = Summary { files_key: String::new(), items: 0 };
            let _any = read_summary(&bytes, &prefix);
            let _any = read_files(&bytes, &prefix, &summary);
            let _any = verify(&bytes, &bytes);
        }

        #[test]
        fn a_cut_manifest_never_loses_a_file(items in proptest::collection::vec(1_u64..9, 1..5), cut in 0_usize..400) {
            let lines: String = items.iter().enumerate()
                .map(|(number, items)| file(&format!("AWSDynamoDB/1/data/{number}"), *items))
                .collect();
            let said = items.iter().sum();
            let kept: String = lines.chars().take(cut).collect();
            match read(&kept, said) {
                Ok(files) => prop_assert_eq!(files.len(), items.len()),
                Err(_) => prop_assert!(kept.len() < lines.len()),
            }
        }
    }
}
