//! The demo's DynamoDB table, on moto: the sessions of the shop's visitors, with every type that an attribute may have,
//! and a writer that puts, changes and deletes them until told to stop.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, PutRequest,
    ScalarAttributeType, StreamSpecification, StreamViewType, WriteRequest,
};
use aws_sdk_dynamodb::{Client, Error};
use fastrand::Rng;

use super::child::{Program, free_address};
use super::error::DemoError;
use crate::clock::Clock;
use crate::event::{Column, ColumnName, ColumnType, TableId, TableLayout};
use crate::task::{self, Task};

/// The source's name in the configuration, and so the data set.
const SOURCE: &str = "app";
/// The table.
const TABLE: &str = "sessions";
/// Items before anything moves.
pub(super) const SEEDED: u64 = 1_000;
/// What one BatchWriteItem takes.
const BATCH: u64 = 25;
/// Visitors; each has sessions that are told apart by when they began.
const VISITORS: u64 = 250;
/// When the first session began, Unix seconds.
const FIRST: u64 = 1_790_000_000;

/// Pause between the writer's requests.
const PAUSE: Duration = Duration::from_millis(20);
/// Attempts to reach a server that starts, and the pause between them.
const ATTEMPTS: u32 = 300;
const STARTING: Duration = Duration::from_millis(100);

/// moto, which stands in for DynamoDB; gone with its owner.
#[derive(Debug)]
pub(super) struct Moto {
    _program: Program,
    address: SocketAddr,
    client: Client,
}

impl Moto {
    /// Starts it with the Python that has it, and makes and fills the table.
    pub(super) async fn start(python: &Path, folder: &Path, clock: &Clock) -> Result<Moto, DemoError> {
        let address = free_address()?;
        let mut command = Command::new(python);
        command
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p"])
            .arg(address.port().to_string());
        let mut program = Program::start("moto", &mut command, folder.join("moto.log"))?;
        let client = client(address);
        let mut attempt = 0;
        while let Err(error) = client.list_tables().send().await {
            program.check()?;
            attempt += 1;
            if attempt == ATTEMPTS {
                return Err(Error::from(error).into());
            }
            clock.sleep(STARTING).await;
        }
        create(&client).await?;
        fill(&client).await?;
        Ok(Moto {
            _program: program,
            address,
            client,
        })
    }

    /// Where it listens, on 127.0.0.1.
    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Who asks it.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }
}

fn client(address: SocketAddr) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("demo", "demo", None, None, "demo"))
        .endpoint_url(format!("http://{address}"))
        .http_client(aws_smithy_http_client::Builder::new().build_http());
    Client::from_conf(config.build())
}

async fn create(client: &Client) -> Result<(), Error> {
    let mut create = client
        .create_table()
        .table_name(TABLE)
        .billing_mode(BillingMode::PayPerRequest);
    for (name, role, kind) in [
        ("visitor", KeyType::Hash, ScalarAttributeType::S),
        ("began", KeyType::Range, ScalarAttributeType::N),
    ] {
        let key = KeySchemaElement::builder().attribute_name(name).key_type(role);
        let attribute = AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(kind);
        create = create
            .key_schema(key.build()?)
            .attribute_definitions(attribute.build()?);
    }
    let stream = StreamSpecification::builder()
        .stream_enabled(true)
        .stream_view_type(StreamViewType::NewAndOldImages)
        .build()?;
    create.stream_specification(stream).send().await?;
    Ok(())
}

async fn fill(client: &Client) -> Result<(), Error> {
    let mut rng = Rng::with_seed(5);
    for batch in 0..SEEDED / BATCH {
        let mut requests = Vec::new();
        for number in batch * BATCH..(batch + 1) * BATCH {
            let put = PutRequest::builder()
                .set_item(Some(item(&mut rng, number)))
                .build()?;
            requests.push(WriteRequest::builder().put_request(put).build());
        }
        client
            .batch_write_item()
            .request_items(TABLE, requests)
            .send()
            .await?;
    }
    Ok(())
}

fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn number(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

type Attributes = std::collections::HashMap<String, AttributeValue>;

/// The key of a session by its number.
fn key(session: u64) -> Attributes {
    Attributes::from([
        (
            "visitor".to_owned(),
            text(format!("visitor-{}", session % VISITORS)),
        ),
        ("began".to_owned(), number(FIRST + session / VISITORS)),
    ])
}

/// A session; sometimes without what others have.
fn item(rng: &mut Rng, session: u64) -> Attributes {
    let mut item = key(session);
    let mut add = |name: &str, value| item.insert(name.to_owned(), value);
    let pages = (0..rng.u8(0..4))
        .map(|_| text(format!("/p/{}", rng.u16(..))))
        .collect();
    add("pages", AttributeValue::L(pages));
    add(
        "spent",
        number(format!(
            "{}.{:018}",
            rng.u64(..),
            rng.u64(..1_000_000_000_000_000_000)
        )),
    );
    add("member", AttributeValue::Bool(rng.bool()));
    let cart = Attributes::from([
        ("lines".to_owned(), number(rng.u8(..9))),
        ("coupon".to_owned(), AttributeValue::Null(true)),
        ("note".to_owned(), text("Grüße 👋 \"quoted\"")),
    ]);
    add("cart", AttributeValue::M(cart));
    if rng.bool() {
        add(
            "tags",
            AttributeValue::Ss(vec!["sale".to_owned(), "eco".to_owned(), String::from("新")]),
        );
        add(
            "scores",
            AttributeValue::Ns(vec![rng.i16(..).to_string(), "1e30".to_owned()]),
        );
    }
    if rng.bool() {
        add("token", AttributeValue::B(Blob::new(rng.u64(..).to_be_bytes())));
        add("empty", text(""));
    }
    item
}

/// What the writer did so far.
#[derive(Debug, Default)]
struct Counters {
    written: AtomicU64,
    stop: AtomicBool,
}

/// A running writer.
#[derive(Debug)]
pub(super) struct Writer {
    counters: Arc<Counters>,
    writer: Task<Result<(), DemoError>>,
}

impl Writer {
    /// Lets it run.
    pub(super) fn start(moto: &Moto, clock: &Clock) -> Writer {
        let counters = Arc::new(Counters::default());
        let (client, clock, shared) = (moto.client.clone(), clock.clone(), Arc::clone(&counters));
        let writer = task::spawn("sessions", async move {
            let mut rng = Rng::with_seed(104);
            while !shared.stop.load(Ordering::Relaxed) {
                write(&client, &mut rng).await?;
                shared.written.fetch_add(1, Ordering::Relaxed);
                clock.sleep(PAUSE).await;
            }
            Ok(())
        });
        Writer { counters, writer }
    }

    /// Stops it; how many writes there were.
    pub(super) async fn stop(self) -> Result<u64, DemoError> {
        self.counters.stop.store(true, Ordering::Relaxed);
        self.writer.join().await??;
        Ok(self.counters.written.load(Ordering::Relaxed))
    }
}

/// One write: a new session or another content of one, a change of one, or its end.
async fn write(client: &Client, rng: &mut Rng) -> Result<(), Error> {
    let session = rng.u64(..SEEDED * 3 / 2);
    match rng.u8(..10) {
        0..5 => {
            let put = client.put_item().table_name(TABLE);
            put.set_item(Some(item(rng, session))).send().await?;
        }
        5..8 => {
            let update = client.update_item().table_name(TABLE).set_key(Some(key(session)));
            update
                .update_expression("SET #n = :n REMOVE #e")
                .expression_attribute_names("#n", "last page")
                .expression_attribute_names("#e", "empty")
                .expression_attribute_values(":n", text(format!("/p/{}", rng.u16(..))))
                .send()
                .await?;
        }
        _ => {
            let delete = client.delete_item().table_name(TABLE);
            delete.set_key(Some(key(session))).send().await?;
        }
    }
    Ok(())
}

/// The target's columns, written out so that the comparison leans on nothing that it checks.
pub(super) fn layout() -> TableLayout {
    let columns = [
        ("visitor", ColumnType::Text, Some(0)),
        ("began", ColumnType::Text, Some(1)),
        ("item", ColumnType::Json, None),
    ];
    let column = |(name, kind, key): (&str, ColumnType, Option<u16>)| Column {
        name: ColumnName::new(name),
        kind,
        declared: String::new(),
        nullable: key.is_none(),
        key,
    };
    TableLayout {
        table: TableId::new(SOURCE, TABLE),
        columns: columns.map(column).into(),
    }
}
