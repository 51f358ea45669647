//! Google's own software as the judge: its descriptors against ours, its Python clients against the
//! emulator. Both come from PyPI in pinned versions, into a virtual environment that is kept.

#![expect(
    clippy::expect_used,
    reason = "a test reports what it did not expect by failing"
)]

#[path = "support/python.rs"]
mod python;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};
use python::run;
use replicator::clock::Clock;
use replicator::emulator::{Options, serve};
use replicator::proto::FILE_DESCRIPTOR_SET;
use serde::Deserialize;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers")
}

#[derive(Debug, PartialEq, Deserialize)]
struct Field {
    number: i32,
    r#type: i32,
    label: i32,
    type_name: String,
    oneof: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Call {
    kind: String,
    request: String,
    response: String,
}

/// What an API consists of, by full names.
#[derive(Debug, Default, Deserialize)]
struct Api {
    messages: BTreeMap<String, BTreeMap<String, Field>>,
    enums: BTreeMap<String, BTreeMap<String, i32>>,
    calls: BTreeMap<String, Call>,
}

/// Our package for descriptors stands for protobuf's own.
fn google_name(name: &str) -> String {
    let name = name.trim_start_matches('.');
    match name.strip_prefix("replicator.descriptor") {
        Some(rest) => format!("google.protobuf{rest}"),
        None => name.to_owned(),
    }
}

impl Api {
    fn ours() -> Api {
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("our descriptors");
        let mut api = Api::default();
        for file in &files.file {
            let package = google_name(file.package());
            for message in &file.message_type {
                api.add_message(&package, message);
            }
            for one in &file.enum_type {
                api.add_enum(&package, one);
            }
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{package}.{}/{}", service.name(), method.name());
                    let kind = match (method.client_streaming(), method.server_streaming()) {
                        (false, false) => "unary",
                        (true, true) => "bidirectional",
                        (true, false) => "client stream",
                        (false, true) => "server stream",
                    };
                    let call = Call {
                        kind: kind.to_owned(),
                        request: google_name(method.input_type()),
                        response: google_name(method.output_type()),
                    };
                    api.calls.insert(path, call);
                }
            }
        }
        api
    }

    fn add_message(&mut self, prefix: &str, message: &DescriptorProto) {
        let name = format!("{prefix}.{}", message.name());
        let mut fields = BTreeMap::new();
        for field in &message.field {
            let place = field.oneof_index.and_then(|place| usize::try_from(place).ok());
            let oneof = place.filter(|_| !field.proto3_optional());
            let oneof = oneof.and_then(|place| message.oneof_decl.get(place));
            let form = Field {
                number: field.number(),
                r#type: field.r#type.unwrap_or_else(|| Type::Message.into()),
                label: field.label.unwrap_or_else(|| Label::Optional.into()),
                type_name: google_name(field.type_name()),
                oneof: oneof.map(|oneof| oneof.name().to_owned()),
            };
            fields.insert(field.name().to_owned(), form);
        }
        self.messages.insert(name.clone(), fields);
        for nested in &message.nested_type {
            self.add_message(&name, nested);
        }
        for one in &message.enum_type {
            self.add_enum(&name, one);
        }
    }

    fn add_enum(&mut self, prefix: &str, one: &EnumDescriptorProto) {
        let values = one
            .value
            .iter()
            .map(|value| (value.name().to_owned(), value.number()));
        self.enums
            .insert(format!("{prefix}.{}", one.name()), values.collect());
    }
}

/// An extension of FieldOptions in Google's files (googleapis, `annotations.proto`), a plain field in ours.
const EXTENSION: (&str, &str, i32) = ("google.protobuf.FieldOptions", "column_name", 454_943_157);

#[test]
fn our_descriptors_are_a_part_of_googles() {
    let text = run(Command::new(python::python("peers")).arg(folder().join("descriptors.py")));
    let google: Api = serde_json::from_str(&text).expect("the descriptors");
    let ours = Api::ours();
    let mut differences = Vec::new();
    for (message, fields) in &ours.messages {
        let Some(known) = google.messages.get(message) else {
            differences.push(format!("Google has no message {message}"));
            continue;
        };
        for (name, field) in fields {
            if (message.as_str(), name.as_str(), field.number) == EXTENSION {
                continue;
            }
            if known.get(name) != Some(field) {
                differences.push(format!(
                    "{message}.{name}: {field:?}, Google's: {:?}",
                    known.get(name)
                ));
            }
        }
    }
    for (name, values) in &ours.enums {
        let known = google.enums.get(name);
        for (value, number) in values {
            if known.and_then(|known| known.get(value)) != Some(number) {
                differences.push(format!("{name}.{value} = {number}, Google's: {known:?}"));
            }
        }
    }
    for (path, call) in &ours.calls {
        if google.calls.get(path) != Some(call) {
            differences.push(format!(
                "{path}: {call:?}, Google's: {:?}",
                google.calls.get(path)
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let compared = (ours.messages.len() > 20, ours.enums.len() > 8, ours.calls.len());
    assert_eq!(compared, (true, true, 2), "everything was compared");
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_python_clients_find_a_bigquery() {
    let python = tokio::task::spawn_blocking(|| python::python("peers"))
        .await
        .expect("the environment");
    let emulator = serve(Options::local(Clock::turnable()));
    let emulator = emulator.await.expect("it starts");
    let (rest, write) = (emulator.rest_url(), emulator.write.to_string());
    let script = folder().join("google_clients.py");
    let work = move || {
        let mut command = Command::new(python);
        run(command
            .arg(script)
            .args([rest, write])
            .env("NO_PROXY", "127.0.0.1")
            .env("no_proxy", "127.0.0.1"))
    };
    let said = tokio::task::spawn_blocking(work)
        .await
        .expect("the clients are content");
    assert_eq!(said.trim(), "ok");
    emulator.shutdown().await.expect("it stops");
}
