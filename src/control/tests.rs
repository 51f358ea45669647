use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::event::TableId;

struct Served {
    running: Running,
    status: Arc<Status>,
    clock: Clock,
    stop: CancellationToken,
}

async fn start() -> Served {
    let (status, clock, stop) = (
        Arc::new(Status::default()),
        Clock::manual(),
        CancellationToken::new(),
    );
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let options = Options {
        addr: "127.0.0.1:0".parse().unwrap(),
        about: About {
            pipeline: "shop".to_owned(),
            version: "1.2.3",
            max_staleness_ms: Some(900_000),
        },
        status: Arc::clone(&status),
        steering: Arc::default(),
        clock: clock.clone(),
        metrics: recorder.handle(),
    };
    Served {
        running: serve(options, stop.clone()).await.unwrap(),
        status,
        clock,
        stop,
    }
}

async fn get(served: &Served, path: &str) -> (u16, String, String) {
    request(served, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n")).await
}

/// One request over a connection of its own: (status code, head, body).
async fn request(served: &Served, head: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(served.running.addr).await.unwrap();
    let request = format!("{head}content-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn ready_follows_progress_and_live_does_not() {
    let served = start().await;
    let (code, _, body) = get(&served, "/readyz").await;
    assert_eq!(code, 503);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["problems"][0], "log reader has not started");
    assert_eq!(body["parts"][1]["alive"], false);

    served.status.reader.beat(&served.clock);
    served.status.keeper.beat(&served.clock);
    served.status.sink.beat(&served.clock);
    assert_eq!(get(&served, "/readyz").await.0, 200);

    served.status.fatal("the position is lost");
    let (code, _, body) = get(&served, "/readyz").await;
    assert_eq!(code, 503);
    assert!(body.contains("the position is lost"), "{body}");
    assert_eq!(get(&served, "/livez").await.0, 200);
}

#[tokio::test]
async fn the_page_takes_nothing_from_elsewhere_and_its_json_names_the_tables() {
    let served = start().await;
    let (code, head, page) = get(&served, "/").await;
    assert_eq!(code, 200);
    assert!(
        head.to_lowercase()
            .contains("content-security-policy: default-src 'none'"),
        "{head}"
    );
    assert!(!page.contains("src=") && !page.contains("@import") && !page.contains("innerHTML"));

    let table = TableId::new("shop", "orders");
    served.status.parked(&table, "its columns changed");
    served.status.acknowledged(&table, 3, 100);
    let (code, _, body) = get(&served, "/api/status").await;
    assert_eq!(code, 200);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["pipeline"], "shop");
    assert_eq!(body["max_staleness_ms"], 900_000);
    assert_eq!(body["tables"]["shop.orders"]["state"], "parked");
    assert_eq!(body["tables"]["shop.orders"]["cause"], "its columns changed");
    assert_eq!(body["tables"]["shop.orders"]["rows"], 3);
}

#[tokio::test]
async fn metrics_are_text_and_unknown_paths_are_not_found() {
    let served = start().await;
    let (code, head, _) = get(&served, "/metrics").await;
    assert_eq!(code, 200);
    assert!(head.to_lowercase().contains("text/plain"), "{head}");
    assert_eq!(get(&served, "/nothing").await.0, 404);
}

#[tokio::test]
async fn stop_ends_the_server_and_frees_the_address() {
    let served = start().await;
    let addr = served.running.addr;
    served.stop.cancel();
    served.running.ended().await.unwrap();
    TcpListener::bind(addr).await.unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let served = start().await;
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let options = Options {
        addr: served.running.addr,
        about: About {
            pipeline: "other".to_owned(),
            version: "1",
            max_staleness_ms: None,
        },
        status: Arc::new(Status::default()),
        steering: Arc::default(),
        clock: Clock::manual(),
        metrics: recorder.handle(),
    };
    let error = serve(options, CancellationToken::new()).await.unwrap_err();
    assert!(
        error.to_string().contains(&served.running.addr.to_string()),
        "{error}"
    );
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn a_copy_is_asked_for_from_this_machine_and_of_this_pipeline_alone() {
    let served = start().await;
    let ask = async |headers: &str| {
        let head = format!("POST /api/resync/shop.orders HTTP/1.1\r\n{headers}");
        let (code, _, body) = request(&served, &head).await;
        (code, body)
    };
    let (code, body) = ask("host: localhost\r\n").await;
    assert_eq!(
        (code, body.contains("x-replicator-pipeline")),
        (403, true),
        "{body}"
    );
    let (code, _) = ask("host: elsewhere.example\r\nx-replicator-pipeline: shop\r\n").await;
    assert_eq!(code, 403);
    let (code, body) = ask("host: localhost\r\nx-replicator-pipeline: toys\r\n").await;
    assert_eq!(code, 409, "{body}");
    // No pipeline runs here.
    let (code, body) = ask("host: 127.0.0.1:1\r\nx-replicator-pipeline: shop\r\n").await;
    assert_eq!(code, 503, "{body}");
    assert_eq!(get(&served, "/api/resync/shop.orders").await.0, 405);
}
