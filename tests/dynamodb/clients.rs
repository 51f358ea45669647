//! AWS's own clients, pointed at a local server.

use std::collections::HashMap;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::Client as Tables;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
    PointInTimeRecoverySpecification, ScalarAttributeType, StreamSpecification, StreamViewType,
};
use aws_sdk_dynamodbstreams::Client as Streams;
use aws_smithy_http_client::Builder;

pub(crate) type Attributes = HashMap<String, AttributeValue>;

fn credentials() -> Credentials {
    Credentials::new("AKIDEXAMPLE", "secret", None, None, "test")
}

/// Clients of HTTP want one that encrypts, also where nothing is encrypted.
pub(crate) fn choose_tls() {
    let _chosen = rustls::crypto::ring::default_provider().install_default();
}

/// How a server is called: each call is tried once.
fn calling(url: &str) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials()))
        .endpoint_url(url)
        .retry_config(RetryConfig::disabled())
        .http_client(Builder::new().build_http())
        .build()
}

/// The client of tables.
pub(crate) fn tables(url: &str) -> Tables {
    Tables::new(&calling(url))
}

/// The client of streams.
pub(crate) fn streams(url: &str) -> Streams {
    Streams::new(&calling(url))
}

pub(crate) fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

pub(crate) fn n(text: &str) -> AttributeValue {
    AttributeValue::N(text.to_owned())
}

/// An item of these attributes.
pub(crate) fn item<const COUNT: usize>(attributes: [(&str, AttributeValue); COUNT]) -> Attributes {
    attributes
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Makes a table with a key `id` of strings and, where given, a stream. Gives the stream's name.
pub(crate) async fn create(client: &Tables, name: &str, view: Option<StreamViewType>) -> Option<String> {
    let key = KeySchemaElement::builder()
        .attribute_name("id")
        .key_type(KeyType::Hash);
    let attribute = AttributeDefinition::builder()
        .attribute_name("id")
        .attribute_type(ScalarAttributeType::S);
    let stream = view.map(|view| {
        StreamSpecification::builder()
            .stream_enabled(true)
            .stream_view_type(view)
            .build()
            .expect("complete")
    });
    let made = client
        .create_table()
        .table_name(name)
        .key_schema(key.build().expect("complete"))
        .attribute_definitions(attribute.build().expect("complete"))
        .billing_mode(BillingMode::PayPerRequest)
        .set_stream_specification(stream)
        .send()
        .await
        .expect("a table");
    let described = made.table_description.expect("its description");
    described.latest_stream_arn
}

pub(crate) async fn put(client: &Tables, table: &str, item: Attributes) {
    let put = client.put_item().table_name(table).set_item(Some(item));
    put.send().await.expect("it is put");
}

/// Lets a table be exported.
pub(crate) async fn recoverable(client: &Tables, name: &str) {
    let recovery = PointInTimeRecoverySpecification::builder()
        .point_in_time_recovery_enabled(true)
        .build()
        .expect("complete");
    let update = client
        .update_continuous_backups()
        .table_name(name)
        .point_in_time_recovery_specification(recovery);
    update.send().await.expect("it is turned on");
}
