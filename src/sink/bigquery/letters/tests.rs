use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex as StdMutex, PoisonError};

use super::super::fixture::rest::{Answer, answer, refusal};
use super::super::fixture::server::Step;
use super::super::fixture::{Field, fields, inserts, plain};
use super::super::tests::{DATASET, Ends, ends};
use super::*;
use crate::sink::{Batch, Sink};

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Logged(Arc<StdMutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn made() -> Vec<Answer> {
    let table = "GET projects/p/datasets/shop/tables/_replicator_dead_letters";
    vec![
        refusal(table, 404, "notFound"),
        answer(DATASET, 200, json!({})),
        answer("POST projects/p/datasets/shop/tables", 200, json!({})),
    ]
}

/// One row that BigQuery refuses.
async fn refused() -> Ends {
    let ends = ends(made(), vec![Step::RowErrors(vec![0])]).await;
    let layout = plain();
    let pieces = vec![inserts(&layout, 16, &[(4711, "secret")])];
    let pending = ends
        .passing(ends.sink.write(Batch { layout, pieces }))
        .await
        .unwrap();
    ends.passing(pending).await.unwrap();
    ends
}

#[tokio::test]
async fn the_table_is_cut_into_days_that_go_away() {
    let ends = refused().await;
    let resource = &ends.rest.calls()[2].1;
    assert_eq!(
        resource["tableReference"],
        json!({ "projectId": "p", "datasetId": "shop", "tableId": "_replicator_dead_letters" })
    );
    let by_day = json!({ "type": "DAY", "field": "happened_at", "expirationMs": "2592000000" });
    assert_eq!(resource["timePartitioning"], by_day);
    assert_eq!(resource["labels"]["replicator_pipeline"], "shop");
}

#[tokio::test]
async fn a_letter_says_everything() {
    let ends = refused().await;
    let columns = ends.rest.calls()[2].1["schema"]["fields"].clone();
    let rows = ends.write.rows_of("_replicator_dead_letters");
    assert_eq!(rows.len(), 1);
    let mut letter: BTreeMap<&str, Field> = fields(&rows[0])
        .into_iter()
        .map(|(number, field)| {
            let column = &columns[usize::try_from(number).unwrap() - 1];
            (column["name"].as_str().unwrap(), field)
        })
        .collect();
    let id = letter.remove("id").unwrap().text();
    assert_eq!(id.len(), 32);
    let Some(Field::Varint(at)) = letter.remove("happened_at") else {
        panic!("no time");
    };
    assert!(at >= 1_767_225_600_000_000, "{at}");
    let hash = letter.remove("payload_sha256").unwrap().text();
    let payload = "{\"id\":4711,\"v\":\"secret\"}";
    assert_eq!(hash, hex_text(&Sha256::digest(payload)));
    let text = |text: &str| Field::Bytes(text.as_bytes().to_vec());
    let expected = [
        ("pipeline", text("shop")),
        ("source", text("shop")),
        ("source_schema", text("shop")),
        ("source_table", text("orders")),
        ("target", text("p.shop.orders")),
        ("position", text("transaction 1/000002:16, byte 1 of its rows")),
        ("sequence", text("1/2/10/3")),
        ("operation", text("UPSERT")),
        ("committed_at", Field::Varint(1_700_000_000_000_000)),
        ("key", text("{\"id\":4711}")),
        ("column", text("v")),
        ("reason", text("field v is bad")),
        ("stale", Field::Varint(0)),
        ("payload", text(payload)),
        ("payload_bytes", Field::Varint(24)),
    ];
    assert_eq!(letter, BTreeMap::from(expected));
}

#[tokio::test]
async fn the_log_names_everything_but_values() {
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone());
    let _logging = tracing::subscriber::set_default(subscriber.finish());
    let _ends = refused().await;
    let log = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
    let line = log.lines().find(|line| line.contains("put aside")).unwrap();
    for part in [
        "WARN",
        "table=shop.orders",
        "4711",
        "column=\"v\"",
        "000002:16",
        "refused by BigQuery",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!log.contains("secret") && !log.contains("is bad"), "{log}");
}
