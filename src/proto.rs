//! BigQuery's Storage Write protocol, generated from `proto/` by the build script: messages, client
//! (for the sink) and server (for the emulator and for tests).

/// The shape of the generated modules: they refer to each other by their packages.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]
mod packages {
    pub mod google {
        pub mod cloud {
            pub mod bigquery {
                pub mod storage {
                    pub mod v1 {
                        tonic::include_proto!("google.cloud.bigquery.storage.v1");
                    }
                }
            }
        }
        pub mod rpc {
            tonic::include_proto!("google.rpc");
        }
    }
    pub mod replicator {
        pub mod descriptor {
            tonic::include_proto!("replicator.descriptor");
        }
    }
}

pub use packages::google::cloud::bigquery::storage::v1 as storage;
pub use packages::google::rpc;
pub use packages::replicator::descriptor;

/// The compiled definitions as a serialized `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bigquery_storage.bin"));

/// Type URL of [`storage::StorageError`] among the details of a [`rpc::Status`].
pub const STORAGE_ERROR_URL: &str = "type.googleapis.com/google.cloud.bigquery.storage.v1.StorageError";

/// Type URL of [`rpc::RetryInfo`] among the details of a [`rpc::Status`].
pub const RETRY_INFO_URL: &str = "type.googleapis.com/google.rpc.RetryInfo";

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    /// The bytes that protobuf's own description of `optional string c = 1 [(column_name) = "c d"]` has.
    #[test]
    fn column_name_travels_as_the_extension_does() {
        let field = descriptor::FieldDescriptorProto {
            name: Some("c".to_owned()),
            options: Some(descriptor::FieldOptions {
                packed: None,
                column_name: Some("c d".to_owned()),
            }),
            ..Default::default()
        };
        // Tag of field 454,943,157 with wire type 2 as a varint.
        let mut tag = Vec::new();
        prost::encoding::encode_varint((454_943_157 << 3) | 2, &mut tag);
        let mut expected = vec![0x0A, 1, b'c', 0x42, 9];
        expected.extend_from_slice(&tag);
        expected.extend_from_slice(&[3, b'c', b' ', b'd']);
        assert_eq!(tag.len(), 5);
        assert_eq!(field.encode_to_vec(), expected);
    }

    #[test]
    fn the_service_has_googles_name() {
        assert_eq!(
            storage::big_query_write_server::SERVICE_NAME,
            "google.cloud.bigquery.storage.v1.BigQueryWrite"
        );
        let name = b"google.cloud.bigquery.storage.v1";
        assert!(
            FILE_DESCRIPTOR_SET
                .windows(name.len())
                .any(|window| window == name)
        );
    }
}
