//! Who the program is to Google.

use super::*;

/// A service account's key with a field left out.
fn key_without(field: &str) -> String {
    let mut key = json!({
        "type": "service_account", "project_id": "p", "private_key_id": "1", "private_key": SECRET,
        "client_email": "r@p.iam.gserviceaccount.com"
    });
    key.as_object_mut().unwrap().remove(field);
    key.to_string()
}

#[test]
fn a_service_accounts_key_is_read_anew_only_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.json");
    let mut file = least();
    set(&mut file, "/sink/bigquery/auth", json!("service_account"));
    for (written, rotated) in [
        (format!("${{file:{}}}", path.display()), true),
        (key_without("none"), false),
    ] {
        std::fs::write(&path, key_without("none")).unwrap();
        set(&mut file, "/sink/bigquery/credentials", json!(written));
        let config = read(&file).unwrap();
        assert!(!format!("{config:?}").contains(SECRET));
        let Auth::ServiceAccount(key) = config.sink.auth else {
            panic!("another kind of credentials");
        };
        assert_eq!(key.reveal().unwrap(), key_without("none"));
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(key.reveal().unwrap() == "{}", rotated);
    }
}

#[test]
fn a_key_that_is_none_is_refused_and_not_shown() {
    let mut file = least();
    set(&mut file, "/sink/bigquery/auth", json!("service_account"));
    for (text, said) in [
        (SECRET.to_owned(), "is not the JSON"),
        ("/run/secrets/key.json".to_owned(), "is not the JSON"),
        (key_without("type"), "its \"type\" is not"),
        (key_without("private_key"), "lacks private_key"),
        (key_without("client_email"), "lacks client_email"),
    ] {
        set(&mut file, "/sink/bigquery/credentials", json!(text));
        let errors = read(&file).unwrap_err().to_string();
        assert!(
            errors.contains("sink.bigquery.credentials") && errors.contains(said),
            "{errors}"
        );
        assert!(!errors.contains(SECRET), "{errors}");
    }
    set(&mut file, "/sink/bigquery/auth", json!("adc"));
    assert_eq!(keys(&file), ["sink.bigquery.credentials"]);
}

#[test]
fn whom_to_act_as() {
    let mut file = least();
    assert_eq!(read(&file).unwrap().sink.impersonate, None);
    set(
        &mut file,
        "/sink/bigquery/impersonate_delegates",
        json!(["a@p.iam.gserviceaccount.com"]),
    );
    assert_eq!(keys(&file), ["sink.bigquery.impersonate_delegates"]);
    set(
        &mut file,
        "/sink/bigquery/impersonate",
        json!("b@p.iam.gserviceaccount.com"),
    );
    let expected = Impersonation {
        account: "b@p.iam.gserviceaccount.com".to_owned(),
        delegates: vec!["a@p.iam.gserviceaccount.com".to_owned()],
    };
    assert_eq!(read(&file).unwrap().sink.impersonate, Some(expected));
    set(
        &mut file,
        "/sink/bigquery/impersonate_delegates",
        json!(["a@b/../c.d", "ab", "@", "a@b"]),
    );
    let delegates = (0..4).map(|number| format!("sink.bigquery.impersonate_delegates[{number}]"));
    assert_eq!(keys(&file), delegates.collect::<Vec<_>>());
}
