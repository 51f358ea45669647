//! First loads against servers on loopback that speak the wire forms of DynamoDB and S3, through the real clients.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;

use super::*;
use crate::config::ScanLimits;
use crate::event::{Epoch, OrderKey};
use crate::fault::{Classify, Fault};
use crate::task;

mod fixture;

use fixture::{Aws, ids, item, plan, read, seconds};

const DAY: i64 = 86_400;

#[tokio::test]
async fn an_export_is_read_file_by_file_below_every_row_of_the_stream() {
    let aws = Aws::start().await;
    aws.told().items = ["a", "b", "c"].map(item).to_vec();
    let (loader, low) = (aws.exporting().await, aws.low());
    let chunks = plan(&loader, low).await.unwrap();
    assert_eq!(chunks.len(), 3);
    let mut all = Vec::new();
    for chunk in &chunks {
        all.extend(read(&loader, low, chunk).await.unwrap());
    }
    assert_eq!(ids(&all), ["a", "b", "c"]);
    let generation = low.epoch.0.cast_signed();
    assert!(
        all.iter()
            .all(|row| (row.1, row.2, row.3) == (false, OrderKey::snapshot(low), generation))
    );
    let asked = aws.calls("ExportTableToPointInTime");
    assert_eq!(asked.len(), 1);
    assert_eq!(seconds(&asked[0]["ExportTime"]), generation);
    assert_eq!(asked[0]["S3Prefix"], format!("folder/shop/carts/{generation}"));
}

#[tokio::test]
async fn a_process_that_comes_back_finds_the_export_again() {
    let aws = Aws::start().await;
    aws.told().items = ["a", "b"].map(item).to_vec();
    let low = aws.low();
    let chunks = plan(&*aws.exporting().await, low).await.unwrap();
    // Somebody else's, and one of another generation.
    let mut other = aws.told().exports[0].clone();
    other["S3Prefix"] = json!("elsewhere");
    other["ExportArn"] = json!("arn:aws:dynamodb:eu-west-1:1:table/carts/export/0-z");
    aws.told().exports.insert(0, other);
    aws.clock.advance(Duration::from_secs(10 * 3600));
    let again = aws.exporting().await;
    assert_eq!(
        again.plan("carts", low, chunks[0].upper.as_ref()).await.unwrap(),
        chunks[1]
    );
    assert_eq!(ids(&read(&again, low, &chunks[1]).await.unwrap()), ["b"]);
    assert_eq!(aws.calls("ExportTableToPointInTime").len(), 1);
    let mut later = low;
    later.epoch = Epoch(low.epoch.0 + 100);
    plan(&again, later).await.unwrap();
    assert_eq!(aws.calls("ExportTableToPointInTime").len(), 2);
}

#[tokio::test]
async fn an_export_that_runs_is_waited_for_and_one_that_failed_is_told() {
    let aws = Aws::start().await;
    aws.told().slow = 3;
    let (loader, low) = (aws.exporting().await, aws.low());
    let turned = aws.clock.clone();
    let turning = task::spawn("turning", async move {
        loop {
            turned.advance(Duration::from_secs(60));
            tokio::task::yield_now().await;
        }
    });
    let chunks = plan(&loader, low).await.unwrap();
    drop(turning);
    assert_eq!(chunks.len(), 3);
    assert!(aws.calls("DescribeExport").len() >= 4);

    aws.told().exports[0]["ExportStatus"] = json!("FAILED");
    let failed = json!({ "ExportDescription": { "ExportArn": "arn:x/export/1-a", "ExportStatus": "FAILED",
        "FailureCode": "S3AccessDenied", "FailureMessage": "no" } });
    aws.told()
        .answers
        .push(("ExportTableToPointInTime", StatusCode::OK, failed));
    let error = plan(&*aws.exporting().await, low).await.unwrap_err();
    assert!(error.to_string().contains("S3AccessDenied: no"), "{error}");
    assert!(error.hint().unwrap().contains("s3:PutObject"));
    assert_eq!(error.fault(), Fault::Fatal);
    // Each attempt has a token of its own: the failed one's would give the failed one again.
    let asked = aws.calls("ExportTableToPointInTime");
    assert_ne!(asked[0]["ClientToken"], asked[1]["ClientToken"]);
}

#[tokio::test]
async fn what_the_api_refuses_is_told_with_its_cure() {
    for (action, code, cure, fault) in [
        (
            "ExportTableToPointInTime",
            "PointInTimeRecoveryUnavailableException",
            "update-continuous-backups --table-name carts",
            true,
        ),
        (
            "ExportTableToPointInTime",
            "AccessDeniedException",
            "allow dynamodb:ExportTableToPointInTime",
            true,
        ),
        (
            "DescribeTable",
            "ResourceNotFoundException",
            "table carts is in the configured region",
            true,
        ),
        ("ListExports", "UnrecognizedClientException", "credentials", true),
        ("DescribeTable", "LimitExceededException", "", false),
    ] {
        let aws = Aws::start().await;
        let body = json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "m" });
        for _ in 0..4 {
            aws.told()
                .answers
                .push((action, StatusCode::BAD_REQUEST, body.clone()));
        }
        let error = plan(&*aws.exporting().await, aws.low()).await.unwrap_err();
        assert_eq!(error.fault() == Fault::Fatal, fault, "{code}: {error}");
        assert!(
            error.hint().unwrap_or_default().contains(cure),
            "{code}: {:?}",
            error.hint()
        );
    }
}

#[tokio::test]
async fn an_export_is_never_of_a_time_before_the_stream() {
    let aws = Aws::start().await;
    aws.told().label = Some("2038-01-01T00:00:00.250");
    let low = aws.low();
    aws.clock.advance(Duration::from_secs(365 * 86_400 * 13));
    plan(&*aws.exporting().await, low).await.unwrap();
    let asked = aws.calls("ExportTableToPointInTime");
    assert_eq!(seconds(&asked[0]["ExportTime"]), 2_145_916_801);
}

#[tokio::test]
async fn a_file_that_is_not_as_it_was_written_stops_the_load() {
    let aws = Aws::start().await;
    aws.told().items = ["a", "b"].map(item).to_vec();
    let (loader, low) = (aws.exporting().await, aws.low());
    let chunks = plan(&loader, low).await.unwrap();
    let key = chunks[0].upper.as_ref().unwrap().0[0].clone();
    let other = aws.told().objects[&chunks[1].upper.as_ref().unwrap().0[0]].clone();
    let good = aws.told().objects.insert(key.clone(), other).unwrap();
    let error = read(&loader, low, &chunks[0]).await.unwrap_err();
    assert!(crate::fault::chain(&*error).contains("checksum"), "{error}");
    aws.told()
        .objects
        .insert(key.clone(), good[..good.len() - 4].to_vec());
    assert_eq!(
        read(&loader, low, &chunks[0]).await.unwrap_err().fault(),
        Fault::Fatal
    );
    aws.told().objects.remove(&key);
    let error = read(&loader, low, &chunks[0]).await.unwrap_err();
    assert!(error.hint().unwrap().contains("s3:GetObject"));
    let alien = Chunk {
        lower: None,
        upper: Some(Bound(vec!["x/AWSDynamoDB/7-x/data/y".to_owned()])),
    };
    assert!(read(&aws.exporting().await, low, &alien).await.is_err());
}

#[tokio::test]
async fn deletes_that_the_target_may_have_forgotten_are_sent_again_in_the_end() {
    let aws = Aws::start().await;
    aws.told().items = ["a", "b"].map(item).to_vec();
    aws.told().changes = vec![
        json!({ "Metadata": {}, "Keys": item("a"), "NewImage": item("a") }),
        json!({ "Metadata": {}, "Keys": { "id": { "S": "b" } } }),
        json!({ "Metadata": {}, "Keys": { "id": { "S": "c" } } }),
    ];
    let (loader, low) = (aws.exporting().await, aws.low());
    let last = plan(&loader, low).await.unwrap().pop().unwrap();
    aws.clock.advance(Duration::from_secs(86_400 - 3600));
    assert!(
        read(&loader, low, &last).await.unwrap().is_empty(),
        "the target remembers these"
    );
    aws.clock.advance(Duration::from_secs(86_400 + 7200));
    let rows = read(&loader, low, &last).await.unwrap();
    assert_eq!(ids(&rows), ["b", "c", "b", "c"], "once for each of two days");
    let [generation, file, offset, number] = rows[0].2.sections();
    assert_eq!([generation, file, offset], [low.epoch.0, 0, 0]);
    assert!(
        rows.iter()
            .all(|row| row.1 && row.2 == rows[0].2 && row.2 > OrderKey::snapshot(low)),
        "{number}"
    );
    let spans: Vec<(i64, i64)> = aws
        .calls("ExportTableToPointInTime")
        .iter()
        .filter(|body| body["ExportType"] == "INCREMENTAL_EXPORT")
        .map(|body| {
            let time = |name: &str| seconds(&body["IncrementalExportSpecification"][name]);
            (time("ExportFromTime"), time("ExportToTime"))
        })
        .collect();
    let at = low.epoch.0.cast_signed();
    assert_eq!(spans, [(at, at + DAY), (at + DAY, at + 2 * DAY)]);
}

#[tokio::test]
async fn a_scan_reads_every_item_once_and_within_its_rate() {
    let aws = Aws::start().await;
    aws.told().items = (0..7).map(|number| item(&format!("i{number}"))).collect();
    let limits = ScanLimits {
        read_units_per_second: 10,
    };
    let (loader, low) = (aws.loader(FirstLoad::Scan(limits)).await, aws.low());
    let busy = json!({ "__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException" });
    for _ in 0..4 {
        aws.told()
            .answers
            .push(("Scan", StatusCode::BAD_REQUEST, busy.clone()));
    }
    let (clock, began) = (aws.clock.clone(), aws.clock.now());
    let turning = task::spawn("turning", async move {
        loop {
            clock.advance(Duration::from_millis(20));
            tokio::task::yield_now().await;
        }
    });
    let chunks = plan(&loader, low).await.unwrap();
    assert_eq!(chunks.len(), 2);
    let mut all = Vec::new();
    for chunk in &chunks {
        all.extend(read(&loader, low, chunk).await.unwrap());
    }
    drop(turning);
    let mut found = ids(&all);
    found.sort_unstable();
    assert_eq!(found, ["i0", "i1", "i2", "i3", "i4", "i5", "i6"]);
    assert!(all.iter().all(|row| !row.1 && row.2 == OrderKey::snapshot(low)));
    // Each of seven pages costs a second, of which the last is not waited for.
    assert!(aws.clock.now() - began >= Duration::from_secs(6));
    assert!(
        aws.calls("Scan")
            .iter()
            .all(|body| body["ConsistentRead"] == true)
    );
}
