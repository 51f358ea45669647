//! The suite of beliefs about BigQuery: against the local one, or, where the environment names a project and a data
//! set, against Google's service (`make test-live`).

#![expect(
    clippy::expect_used,
    reason = "a test reports what it did not expect by failing"
)]

use std::io::Write as _;
use std::time::Duration;

use replicator::clock::Clock;
use replicator::config::{self, Config, process_env};
use replicator::conformance::{self, CASES};
use replicator::emulator::{Options, Profile, Running, serve};

/// What the queries of a run may bill unless `REPLICATOR_LIVE_MAX_BYTES` says otherwise.
const MAX_BYTES: u64 = 1 << 30;

fn config(project: &str, more: &str) -> Config {
    let text = format!(
        "pipeline: conformance\nsources:\n  - name: s\n    mysql: {{ url: 'mysql://r@localhost', tables: ['*.*'] }}\n\
         sink:\n  bigquery:\n    project: {project}\n    max_staleness: '0'\n{more}checkpoint: file:///nowhere\n"
    );
    config::parse(&text, &|_| None).expect("a configuration")
}

/// The local BigQuery, with its data set, on a clock that is turned.
async fn local(location: &str, profile: Profile) -> (Running, Config, Clock) {
    // The client wants one even where nothing is encrypted; another test may have been first.
    let _first = rustls::crypto::ring::default_provider().install_default();
    let clock = Clock::manual();
    let any = "127.0.0.1:0".parse().expect("an address");
    let options = Options {
        rest: any,
        write: any,
        data: None,
        clock: clock.clone(),
        audit: true,
        profile,
    };
    let running = serve(options).await.expect("it starts");
    let more = format!(
        "    auth: none\n    endpoints: {{ rest: '{}', write: '{}' }}\n",
        running.rest_url(),
        running.write_url()
    );
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let body = serde_json::json!({
        "datasetReference": { "projectId": "p", "datasetId": "d" }, "location": location,
    });
    let url = format!("{}/bigquery/v2/projects/p/datasets", running.rest_url());
    let made = http.post(url).json(&body).send().await.expect("it answers");
    assert!(made.status().is_success());
    (running, config("p", &more), clock)
}

/// Drives `future` while the clock runs: metadata takes its time to spread.
async fn passing<T>(clock: &Clock, future: impl Future<Output = T>) -> T {
    tokio::pin!(future);
    let real = Clock::real();
    let deadline = real.now() + Duration::from_secs(120);
    loop {
        tokio::select! {
            biased;
            done = &mut future => return done,
            () = real.sleep(Duration::from_millis(2)) => {}
        }
        assert!(real.now() < deadline, "no end in time");
        clock.advance(Duration::from_millis(200));
    }
}

#[tokio::test]
async fn bigquery_is_as_believed() {
    let set = |name: &str| process_env(name).filter(|value| !value.is_empty());
    let report = if let Some(project) = set("REPLICATOR_LIVE_PROJECT") {
        let dataset =
            set("REPLICATOR_LIVE_DATASET").expect("REPLICATOR_LIVE_DATASET names a data set that is there");
        let place = set("REPLICATOR_LIVE_LOCATION").map(|place| format!("    location: {place}\n"));
        let most = set("REPLICATOR_LIVE_MAX_BYTES").map_or(MAX_BYTES, |text| text.parse().expect("bytes"));
        let config = config(&project, &place.unwrap_or_default());
        conformance::run(&config, &dataset, Clock::real(), most).await
    } else {
        let (_running, config, clock) = local("EU", Profile::USUAL).await;
        passing(&clock, conformance::run(&config, "d", clock.clone(), MAX_BYTES)).await
    };
    let report = report.expect("a way to the service");
    let text = report.text();
    writeln!(std::io::stderr(), "{text}").expect("it can be written");
    assert_eq!(report.results.len(), CASES.len());
    assert!(report.holds() && report.left.is_empty(), "{text}");
}

/// The same where everything takes as long as it may.
#[tokio::test]
async fn bigquery_is_as_believed_with_every_delay() {
    let (_running, config, clock) = local("EU", Profile::STRICT).await;
    let report = passing(&clock, conformance::run(&config, "d", clock.clone(), MAX_BYTES)).await;
    let report = report.expect("a way to the service");
    assert!(report.holds() && report.left.is_empty(), "{}", report.text());
}

/// Nothing is run that could bill past the bound.
#[tokio::test]
async fn no_query_is_run_past_the_bound_of_the_bill() {
    let (_running, config, clock) = local("US", Profile::USUAL).await;
    let report = passing(&clock, conformance::run(&config, "d", clock.clone(), 5 << 20)).await;
    let report = report.expect("a way to the service");
    assert!(!report.holds());
    let text = report.text();
    assert!(
        text.contains("tables.key               FAIL     not run: the bill is at its bound"),
        "{text}"
    );
    assert_eq!(report.left, Vec::<String>::new());
}

#[tokio::test]
async fn a_probe_goes_the_way_of_a_row_and_names_the_step_that_fails() {
    let (_running, config, clock) = local("EU", Profile::USUAL).await;
    let steps = passing(&clock, conformance::probe(&config, "d", clock.clone())).await;
    assert_eq!(steps.len(), 5, "{steps:?}");
    assert!(steps.iter().all(|step| step.failure.is_none()), "{steps:?}");

    // A data set that is made for the probe is gone after it; one that was there stays.
    let steps = passing(&clock, conformance::probe(&config, "fresh", clock.clone())).await;
    assert!(steps.iter().all(|step| step.failure.is_none()), "{steps:?}");
    let url = format!("{}/bigquery/v2/projects/p/datasets", config.sink.rest);
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let listed = http
        .get(url)
        .send()
        .await
        .expect("it answers")
        .text()
        .await
        .expect("a text");
    assert!(listed.contains("\"d\"") && !listed.contains("fresh"), "{listed}");

    let mut elsewhere = config.clone();
    elsewhere.sink.rest = "http://127.0.0.1:9".to_owned();
    let steps = passing(&clock, conformance::probe(&elsewhere, "d", clock.clone())).await;
    let [step] = steps.as_slice() else {
        panic!("one step is tried: {steps:?}");
    };
    let (_, cure) = step.failure.as_ref().expect("it fails");
    assert!(cure.contains("endpoints.rest"), "{cure}");
}

/// The document lists exactly what nothing but the local BigQuery has confirmed.
#[test]
fn the_document_lists_what_is_not_proven() {
    let document = include_str!("../docs/unproven.md");
    let rows: String = document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(
        rows,
        conformance::unproven(),
        "docs/unproven.md is not what CASES say"
    );
}

#[test]
fn every_case_has_a_name_of_its_own() {
    let mut names: Vec<&str> = CASES.iter().map(|case| case.id).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), CASES.len());
}
