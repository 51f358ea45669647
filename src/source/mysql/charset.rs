//! Character sets: which one a collation number means, and how its bytes become text. A row image holds
//! text in the column's character set and not in the connection's, so a set that cannot be decoded
//! exactly as the server does it is refused when the layout is made: text is never guessed.

mod codes;
mod gb18030;

use codes::Codes;
use encoding_rs::{DecoderResult, Encoding, SHIFT_JIS};

/// How bytes of a character set become text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    /// `utf8mb4` and its subset `utf8mb3`: borrowed as it is.
    Utf8,
    /// Seven bits.
    Ascii,
    /// UTF-16, big-endian, the part without surrogate pairs.
    Ucs2,
    /// UTF-16, big-endian.
    Utf16Be,
    /// UTF-16, little-endian.
    Utf16Le,
    /// Code points of four bytes, big-endian.
    Utf32,
    /// A superset of ASCII that the Encoding Standard defines as the server does, but for holes.
    Standard(&'static Encoding, Holes),
    /// A superset of ASCII whose codes are listed.
    Listed(&'static Codes),
    /// `gb18030` of 2005.
    Gb18030,
}

/// Codes for which the server has no character and the Encoding Standard has: by what it makes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holes {
    /// None.
    Without,
    /// C1 controls.
    Controls,
    /// Private use, and [`GBK_HOLES`].
    Gbk,
}

/// Codes of `gbk` that later standards gave a character and the servers did not.
const GBK_HOLES: [(u16, u16); 9] = [
    (0xa2e3, 0xa2e3),
    (0xa3a0, 0xa3a0),
    (0xa6d9, 0xa6df),
    (0xa6ec, 0xa6ed),
    (0xa6f3, 0xa6f3),
    (0xa8bc, 0xa8bc),
    (0xa8bf, 0xa8bf),
    (0xa989, 0xa995),
    (0xfe50, 0xfea0),
];

/// A character set of MySQL or MariaDB.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Charset {
    /// The server's name for it, `utf8` spelled `utf8mb3`.
    pub(crate) name: &'static str,
    /// Bytes of its longest character (`MAXLEN`): by it a declared length in characters becomes the
    /// length in bytes that the log states.
    pub(crate) max_len: u16,
    /// How to decode it; `None` where no exact decoder exists here.
    pub(crate) codec: Option<Codec>,
}

const fn charset(name: &'static str, max_len: u16, codec: Option<Codec>) -> Charset {
    Charset { name, max_len, codec }
}

const fn standard(name: &'static str, max_len: u16, encoding: &'static Encoding, holes: Holes) -> Charset {
    charset(name, max_len, Some(Codec::Standard(encoding, holes)))
}

const fn listed(name: &'static str, max_len: u16, codes: &'static Codes) -> Charset {
    charset(name, max_len, Some(Codec::Listed(codes)))
}

/// Every set of both servers. `latin1` is Windows-1252 with its five undefined bytes as C1 controls, which
/// is what the Encoding Standard calls windows-1252. The decoders are held to the servers by a test that
/// lets them convert every byte.
static CHARSETS: [Charset; 41] = [
    listed("armscii8", 1, &codes::ARMSCII8),
    charset("ascii", 1, Some(Codec::Ascii)),
    listed("big5", 2, &codes::BIG5),
    charset("binary", 1, None),
    standard("cp1250", 1, &encoding_rs::WINDOWS_1250_INIT, Holes::Controls),
    standard("cp1251", 1, &encoding_rs::WINDOWS_1251_INIT, Holes::Controls),
    listed("cp1256", 1, &codes::CP1256),
    standard("cp1257", 1, &encoding_rs::WINDOWS_1257_INIT, Holes::Controls),
    listed("cp850", 1, &codes::CP850),
    listed("cp852", 1, &codes::CP852),
    listed("cp866", 1, &codes::CP866),
    standard("cp932", 2, &encoding_rs::SHIFT_JIS_INIT, Holes::Without),
    listed("dec8", 1, &codes::DEC8),
    listed("eucjpms", 3, &codes::EUCJPMS),
    standard("euckr", 2, &encoding_rs::EUC_KR_INIT, Holes::Without),
    charset("gb18030", 4, Some(Codec::Gb18030)),
    listed("gb2312", 2, &codes::GB2312),
    standard("gbk", 2, &encoding_rs::GBK_INIT, Holes::Gbk),
    listed("geostd8", 1, &codes::GEOSTD8),
    listed("greek", 1, &codes::GREEK),
    listed("hebrew", 1, &codes::HEBREW),
    listed("hp8", 1, &codes::HP8),
    listed("keybcs2", 1, &codes::KEYBCS2),
    standard("koi8r", 1, &encoding_rs::KOI8_R_INIT, Holes::Without),
    listed("koi8u", 1, &codes::KOI8U),
    standard("latin1", 1, &encoding_rs::WINDOWS_1252_INIT, Holes::Without),
    standard("latin2", 1, &encoding_rs::ISO_8859_2_INIT, Holes::Without),
    listed("latin5", 1, &codes::LATIN5),
    listed("latin7", 1, &codes::LATIN7),
    listed("macce", 1, &codes::MACCE),
    listed("macroman", 1, &codes::MACROMAN),
    listed("sjis", 2, &codes::SJIS),
    charset("swe7", 1, None),
    listed("tis620", 1, &codes::TIS620),
    charset("ucs2", 2, Some(Codec::Ucs2)),
    listed("ujis", 3, &codes::UJIS),
    charset("utf16", 4, Some(Codec::Utf16Be)),
    charset("utf16le", 4, Some(Codec::Utf16Le)),
    charset("utf32", 4, Some(Codec::Utf32)),
    charset("utf8mb3", 3, Some(Codec::Utf8)),
    charset("utf8mb4", 4, Some(Codec::Utf8)),
];

/// Ranges of collation numbers (`information_schema.COLLATIONS.ID`), ascending, both ends included. From 576
/// on they are MariaDB's. Its NOPAD collations, 1024 above the padded ones, are folded before the look-up.
const COLLATIONS: [(u32, u32, &str); 105] = [
    (1, 1, "big5"),
    (2, 2, "latin2"),
    (3, 3, "dec8"),
    (4, 4, "cp850"),
    (5, 5, "latin1"),
    (6, 6, "hp8"),
    (7, 7, "koi8r"),
    (8, 8, "latin1"),
    (9, 9, "latin2"),
    (10, 10, "swe7"),
    (11, 11, "ascii"),
    (12, 12, "ujis"),
    (13, 13, "sjis"),
    (14, 14, "cp1251"),
    (15, 15, "latin1"),
    (16, 16, "hebrew"),
    (18, 18, "tis620"),
    (19, 19, "euckr"),
    (20, 20, "latin7"),
    (21, 21, "latin2"),
    (22, 22, "koi8u"),
    (23, 23, "cp1251"),
    (24, 24, "gb2312"),
    (25, 25, "greek"),
    (26, 26, "cp1250"),
    (27, 27, "latin2"),
    (28, 28, "gbk"),
    (29, 29, "cp1257"),
    (30, 30, "latin5"),
    (31, 31, "latin1"),
    (32, 32, "armscii8"),
    (33, 33, "utf8mb3"),
    (34, 34, "cp1250"),
    (35, 35, "ucs2"),
    (36, 36, "cp866"),
    (37, 37, "keybcs2"),
    (38, 38, "macce"),
    (39, 39, "macroman"),
    (40, 40, "cp852"),
    (41, 42, "latin7"),
    (43, 43, "macce"),
    (44, 44, "cp1250"),
    (45, 46, "utf8mb4"),
    (47, 49, "latin1"),
    (50, 52, "cp1251"),
    (53, 53, "macroman"),
    (54, 55, "utf16"),
    (56, 56, "utf16le"),
    (57, 57, "cp1256"),
    (58, 59, "cp1257"),
    (60, 61, "utf32"),
    (62, 62, "utf16le"),
    (63, 63, "binary"),
    (64, 64, "armscii8"),
    (65, 65, "ascii"),
    (66, 66, "cp1250"),
    (67, 67, "cp1256"),
    (68, 68, "cp866"),
    (69, 69, "dec8"),
    (70, 70, "greek"),
    (71, 71, "hebrew"),
    (72, 72, "hp8"),
    (73, 73, "keybcs2"),
    (74, 74, "koi8r"),
    (75, 75, "koi8u"),
    (76, 76, "utf8mb3"),
    (77, 77, "latin2"),
    (78, 78, "latin5"),
    (79, 79, "latin7"),
    (80, 80, "cp850"),
    (81, 81, "cp852"),
    (82, 82, "swe7"),
    (83, 83, "utf8mb3"),
    (84, 84, "big5"),
    (85, 85, "euckr"),
    (86, 86, "gb2312"),
    (87, 87, "gbk"),
    (88, 88, "sjis"),
    (89, 89, "tis620"),
    (90, 90, "ucs2"),
    (91, 91, "ujis"),
    (92, 93, "geostd8"),
    (94, 94, "latin1"),
    (95, 96, "cp932"),
    (97, 98, "eucjpms"),
    (99, 99, "cp1250"),
    (101, 124, "utf16"),
    (128, 151, "ucs2"),
    (159, 159, "ucs2"),
    (160, 183, "utf32"),
    (192, 215, "utf8mb3"),
    (223, 223, "utf8mb3"),
    (224, 247, "utf8mb4"),
    (248, 250, "gb18030"),
    (255, 323, "utf8mb4"),
    (576, 578, "utf8mb3"),
    (608, 610, "utf8mb4"),
    (640, 642, "ucs2"),
    (672, 674, "utf16"),
    (736, 738, "utf32"),
    (2048, 2303, "utf8mb3"),
    (2304, 2559, "utf8mb4"),
    (2560, 2815, "ucs2"),
    (2816, 3071, "utf16"),
    (3072, 3327, "utf32"),
];

impl Charset {
    /// The set of a name as the catalog gives it.
    pub(crate) fn by_name(name: &str) -> Option<&'static Charset> {
        let name = if name == "utf8" { "utf8mb3" } else { name };
        CHARSETS
            .binary_search_by(|known| known.name.cmp(name))
            .ok()
            .and_then(|index| CHARSETS.get(index))
    }

    /// The set that a collation belongs to, by the number that the log gives.
    pub(crate) fn by_collation(id: u32) -> Option<&'static Charset> {
        let id = if (1024..2048).contains(&id) { id - 1024 } else { id };
        let index = COLLATIONS.partition_point(|(_, last, _)| *last < id);
        let (first, _, name) = COLLATIONS.get(index)?;
        if *first > id {
            return None;
        }
        Charset::by_name(name)
    }

    /// The number of the collation of bytes.
    pub(crate) const BINARY: u32 = 63;

    /// The number of one of its collations.
    pub(crate) fn a_collation(&self) -> Option<u32> {
        let found = COLLATIONS.iter().find(|(_, _, name)| *name == self.name);
        found.map(|(first, _, _)| *first)
    }

    /// Whether strings in it are bytes, not text.
    pub(crate) fn is_binary(&self) -> bool {
        self.name == "binary"
    }
}

impl Codec {
    /// The text that `bytes` are, borrowed from them where they are UTF-8 already and else from `scratch`,
    /// which is overwritten. `None`: they are no text in this character set.
    pub(crate) fn decode<'a>(self, bytes: &'a [u8], scratch: &'a mut String) -> Option<&'a str> {
        match self {
            Codec::Utf8 => std::str::from_utf8(bytes).ok(),
            Codec::Ascii => ascii(bytes),
            Codec::Ucs2 => utf16(bytes, u16::from_be_bytes, scratch)
                .filter(|text| text.chars().all(|letter| letter <= '\u{ffff}')),
            Codec::Utf16Be => utf16(bytes, u16::from_be_bytes, scratch),
            Codec::Utf16Le => utf16(bytes, u16::from_le_bytes, scratch),
            Codec::Utf32 => utf32(bytes, scratch),
            Codec::Standard(encoding, holes) => {
                ascii(bytes).or_else(|| standard_text(encoding, holes, bytes, scratch))
            }
            Codec::Listed(codes) => ascii(bytes).or_else(|| codes.decode(bytes, scratch)),
            Codec::Gb18030 => ascii(bytes).or_else(|| gb18030::decode(bytes, scratch)),
        }
    }

    /// Whether other bytes are the same text, and those are the ones that the server writes for it: a key
    /// column may hold both, and its text does not tell them apart.
    pub(crate) fn is_doubled(self, bytes: &[u8]) -> bool {
        match self {
            Codec::Utf8
            | Codec::Ascii
            | Codec::Ucs2
            | Codec::Utf16Be
            | Codec::Utf16Le
            | Codec::Utf32
            | Codec::Gb18030 => false,
            // Of these only one has doubled codes, as a test knows.
            Codec::Standard(encoding, _) => encoding == SHIFT_JIS && is_doubled_in_cp932(bytes),
            Codec::Listed(codes) => !bytes.is_ascii() && codes.is_doubled(bytes),
        }
    }
}

/// What the Encoding Standard does not write back, it writes as another code, but for private use, which it
/// does not write at all.
fn is_doubled_in_cp932(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some((lead, after)) = rest.split_first() {
        rest = after;
        if matches!(lead, 0x00..=0x80 | 0xa1..0xe0) {
            continue;
        }
        let Some((trail, after)) = rest.split_first() else {
            return true;
        };
        rest = after;
        let code = [*lead, *trail];
        let (text, _) = SHIFT_JIS.decode_without_bom_handling(&code);
        let (back, _, unmappable) = SHIFT_JIS.encode(&text);
        if !unmappable && *back != code {
            return true;
        }
    }
    false
}

fn ascii(bytes: &[u8]) -> Option<&str> {
    if !bytes.is_ascii() {
        return None;
    }
    std::str::from_utf8(bytes).ok()
}

fn utf16<'a>(bytes: &[u8], unit: fn([u8; 2]) -> u16, scratch: &'a mut String) -> Option<&'a str> {
    scratch.clear();
    let (units, tail) = bytes.as_chunks::<2>();
    if !tail.is_empty() {
        return None;
    }
    for decoded in char::decode_utf16(units.iter().map(|pair| unit(*pair))) {
        scratch.push(decoded.ok()?);
    }
    Some(scratch)
}

fn utf32<'a>(bytes: &[u8], scratch: &'a mut String) -> Option<&'a str> {
    scratch.clear();
    let (points, tail) = bytes.as_chunks::<4>();
    if !tail.is_empty() {
        return None;
    }
    for point in points {
        scratch.push(char::from_u32(u32::from_be_bytes(*point))?);
    }
    Some(scratch)
}

fn standard_text<'a>(
    encoding: &'static Encoding,
    holes: Holes,
    bytes: &[u8],
    scratch: &'a mut String,
) -> Option<&'a str> {
    scratch.clear();
    let mut decoder = encoding.new_decoder_without_bom_handling();
    scratch.reserve(decoder.max_utf8_buffer_length_without_replacement(bytes.len())?);
    let (result, read) = decoder.decode_to_string_without_replacement(bytes, scratch, true);
    if result != DecoderResult::InputEmpty || read != bytes.len() {
        return None;
    }
    let hole = match holes {
        Holes::Without => false,
        Holes::Controls => scratch.contains(|letter| ('\u{80}'..='\u{9f}').contains(&letter)),
        Holes::Gbk => {
            scratch.contains(|letter| ('\u{e000}'..='\u{f8ff}').contains(&letter)) || has_gbk_hole(bytes)
        }
    };
    if hole { None } else { Some(scratch) }
}

/// Whether one of the codes has no character in the servers' `gbk`, where a code is one byte below 0x80 or two.
fn has_gbk_hole(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some((lead, after)) = rest.split_first() {
        rest = after;
        if *lead < 0x80 {
            continue;
        }
        let Some((trail, after)) = rest.split_first() else {
            return true;
        };
        rest = after;
        let code = u16::from_be_bytes([*lead, *trail]);
        let known_hole = GBK_HOLES
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&code));
        if *lead == 0x80 || *trail < 0x40 || known_hole {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Every code of one, two and three bytes that has a character.
    fn codes(codec: Codec) -> HashMap<String, Vec<Vec<u8>>> {
        let one = (0x00..=0xff_u8).map(|byte| vec![byte]);
        let two = (0x8000..=0xffff_u16).map(|code| code.to_be_bytes().to_vec());
        let three = (0x8f_a1a1..=0x8f_fefe_u32).map(|code| code.to_be_bytes()[1..].to_vec());
        let mut known: HashMap<String, Vec<Vec<u8>>> = HashMap::new();
        let mut scratch = String::new();
        for code in one.chain(two).chain(three) {
            match codec.decode(&code, &mut scratch) {
                Some(text) if text.chars().count() == 1 => {
                    known.entry(text.to_owned()).or_default().push(code)
                }
                Some(_) | None => {}
            }
        }
        known
    }

    #[test]
    fn one_code_of_each_character_is_the_one_for_keys() {
        let mut doubled = 0;
        for charset in &CHARSETS {
            let Some(codec @ (Codec::Standard(..) | Codec::Listed(_) | Codec::Gb18030)) = charset.codec
            else {
                continue;
            };
            for (text, codes) in codes(codec) {
                let first: Vec<&Vec<u8>> = codes.iter().filter(|code| !codec.is_doubled(code)).collect();
                assert_eq!(first.len(), 1, "{} {text:?}: {codes:02x?}", charset.name);
                doubled += codes.len() - 1;
            }
        }
        assert!(doubled > 400, "{doubled}");
    }

    #[test]
    fn hostile_bytes_are_text_or_none() {
        let mut scratch = String::new();
        for charset in &CHARSETS {
            let Some(codec) = charset.codec else { continue };
            for lead in 0..=255_u8 {
                for tail in [
                    &[][..],
                    &[0x30],
                    &[0x81, 0x30],
                    &[0xff, 0xff, 0xff],
                    &[0x8f, 0xa1],
                ] {
                    let bytes: Vec<u8> = std::iter::once(lead).chain(tail.iter().copied()).collect();
                    let text = codec.decode(&bytes, &mut scratch).map(str::len);
                    assert!(
                        text.is_none_or(|len| len <= 3 * bytes.len()),
                        "{} {bytes:02x?}",
                        charset.name
                    );
                    codec.is_doubled(&bytes);
                }
            }
        }
    }
}
