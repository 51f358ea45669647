//! Documents that no server writes. Those that servers do write are compared with their text in `tests/rows`.

use proptest::prelude::*;

use super::*;

fn text(document: &[u8]) -> Result<String, BadJson> {
    let mut out = String::new();
    write_text(document, &mut out).map(|()| out)
}

/// `{"a": [1, "x"]}`.
const SAMPLE: [u8; 30] = [
    0, 1, 0, 29, 0, 11, 0, 1, 0, 2, 12, 0, b'a', 2, 0, 17, 0, 5, 1, 0, 12, 10, 0, 1, b'x', 0, 0, 0, 0, 0,
];

#[test]
fn a_sample_and_all_its_truncations() {
    assert_eq!(text(&SAMPLE).unwrap(), r#"{"a": [1, "x"]}"#);
    for end in 1..SAMPLE.len() {
        assert_eq!(text(&SAMPLE[..end]), Err(BadJson), "cut at {end}");
    }
    assert_eq!(text(&[]).unwrap(), "null", "a column added with NOT NULL");
}

#[test]
fn doubles_as_the_server_writes_them() {
    for (number, expected) in [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (1e14, "100000000000000.0"),
        (1e15, "1e15"),
        (1e-14, "0.00000000000001"),
        (1e-15, "0.000000000000001"),
        (1e-16, "1e-16"),
        (1.5e-7, "0.00000015"),
        (-1.25e300, "-1.25e300"),
        (1_234_567_890_123_456.8, "1234567890123456.8"),
        (5e-324, "5e-324"),
    ] {
        let mut out = String::new();
        write_double(number, &mut out).unwrap();
        assert_eq!(out, expected);
    }
    assert_eq!(write_double(f64::NAN, &mut String::new()), Err(BadJson));
}

#[test]
fn a_document_that_leads_to_itself_ends() {
    // An array of two whose elements are both the array of the same place.
    let again = [2, 2, 0, 10, 0, 2, 0, 0, 2, 0, 0];
    assert_eq!(text(&again), Err(BadJson));
    // Each level holds the next one twice: without a budget 2^50 values.
    let mut shared = vec![2];
    for _ in 0..50 {
        shared.extend([2, 0, 0xff, 0, 2, 10, 0, 2, 10, 0]);
    }
    assert_eq!(text(&shared), Err(BadJson));
}

proptest! {
    #[test]
    fn any_bytes_are_a_document_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(text) = text(&bytes) {
            prop_assert!(text.len() <= 40 * (bytes.len() + 1));
        }
    }

    #[test]
    fn a_bent_document_is_a_document_or_an_error(at in 0usize..30, byte: u8) {
        let mut bent = SAMPLE;
        bent[at] = byte;
        if let Ok(text) = text(&bent) {
            prop_assert!(text.len() <= 40 * bent.len());
        }
    }

    #[test]
    fn doubles_read_back(bits: u64) {
        let number = f64::from_bits(bits);
        let mut out = String::new();
        if write_double(number, &mut out).is_ok() {
            prop_assert_eq!(out.parse::<f64>().unwrap().to_bits(), bits);
        }
    }
}
