use super::*;

#[test]
fn routing_headers_are_percent_encoded() {
    let mut metadata = MetadataMap::new();
    let bearer = Bearer::default();
    address(&mut metadata, "write_stream", "projects/example.com:p/x", bearer);
    assert_eq!(
        metadata.get("x-goog-request-params").unwrap(),
        "write_stream=projects/example.com%3Ap/x"
    );
}
