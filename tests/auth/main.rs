//! Every way to a token, with the program as it is run: through a proxy that wants a password, to servers
//! whose certificates only `SSL_CERT_FILE` vouches for, at the names that Google and AWS have. Who shows no
//! valid token does not get through to the local BigQuery, and nothing that is secret is ever said.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod aws;
mod fakes;
mod jwt;
mod net;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::time::Duration;

use fakes::{AUDIENCE, BIGQUERY, CLIENT_SECRET, REFRESH_TOKEN, STORAGE};
use net::PROXY_LOGIN;
use serde_json::{Value, json};
use world::{Process, Setup, World, until};

const HOUR: Duration = Duration::from_secs(3600);

/// A file of credentials for the provider; `from` says where the token to exchange comes from.
fn federated(from: &Value, kind: &str) -> Value {
    json!({
        "type": "external_account",
        "audience": AUDIENCE,
        "subject_token_type": format!("urn:ietf:params:{kind}"),
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": from,
    })
}

/// The same, with a service account to act as.
fn acting_as(mut file: Value, account: &str) -> Value {
    file["service_account_impersonation_url"] = json!(format!(
        "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
    ));
    file
}

/// What `gcloud … create-cred-config --aws` writes.
fn from_aws() -> Value {
    let source = json!({
        "environment_id": "aws1",
        "region_url": "http://169.254.169.254/latest/meta-data/placement/availability-zone",
        "url": "http://169.254.169.254/latest/meta-data/iam/security-credentials",
        "regional_cred_verification_url":
            "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
        "imdsv2_session_token_url": "http://169.254.169.254/latest/api/token",
    });
    federated(&source, "aws:token-type:aws4_request")
}

/// A user as `gcloud auth application-default login` leaves it.
fn user() -> Value {
    json!({
        "type": "authorized_user",
        "client_id": "1.apps.googleusercontent.com",
        "client_secret": CLIENT_SECRET,
        "refresh_token": REFRESH_TOKEN,
        "quota_project_id": "bills",
    })
}

impl World {
    /// Copies the table and says who all calls to BigQuery were let in as.
    async fn copied_as(&self, setup: &Setup) -> String {
        self.fakes.seen().calls.clear();
        let name = setup.name;
        let (code, said) = self.snapshot(setup).await;
        assert_eq!(code, Some(0), "{name}: {said}");
        assert_eq!(self.rows(name).await, Some(3), "{name}: {said}");
        let calls = self.fakes.seen().calls.clone();
        for host in [BIGQUERY, STORAGE] {
            assert!(calls.iter().any(|call| call.host == host), "{name}: {calls:?}");
        }
        assert!(
            calls.iter().all(|call| call.who == calls[0].who),
            "{name}: {calls:?}"
        );
        calls[0].who.clone()
    }
}

fn setup(name: &'static str, sink: &str, environment: Vec<(&'static str, String)>) -> Setup {
    Setup {
        name,
        sink: sink.to_owned(),
        environment,
    }
}

/// Google's own ways, each with whom it leads to.
fn google_ways(world: &World) -> Vec<(Setup, &'static str)> {
    let key = world.file("key.json", &jwt::key_file().to_string());
    let by_key = format!("    auth: service_account\n    credentials: ${{file:{key}}}\n");
    let through = format!("{by_key}    impersonate: a@shop.iam.gserviceaccount.com\n");
    let delegated = format!("{through}    impersonate_delegates: [b@shop.iam.gserviceaccount.com]\n");
    let impersonated = acting_as(
        json!({ "type": "impersonated_service_account", "source_credentials": user(), "delegates": [] }),
        "c@shop.iam.gserviceaccount.com",
    );
    let named = |name: &str, file: &Value| world.named(name, file);
    let metadata = vec![("GCE_METADATA_HOST", world.metadata.clone())];
    let a = "a@shop.iam.gserviceaccount.com";
    vec![
        (setup("key", &by_key, vec![]), jwt::ACCOUNT),
        (setup("default", "", named("2", &jwt::key_file())), jwt::ACCOUNT),
        (setup("impersonation", &through, vec![]), a),
        (setup("delegation", &delegated, vec![]), a),
        (
            setup("impersonated", "", named("3", &impersonated)),
            "c@shop.iam.gserviceaccount.com",
        ),
        (setup("metadata", "", metadata), "the node"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn google() {
    let world = World::new(HOUR).await;
    for (setup, who) in google_ways(&world) {
        assert_eq!(world.copied_as(&setup).await, who, "{}", setup.name);
    }
    world.file(
        "home/.config/gcloud/application_default_credentials.json",
        &user().to_string(),
    );
    assert_eq!(world.copied_as(&setup("user", "", vec![])).await, "a user");
    let seen = world.fakes.seen();
    assert!(
        seen.calls
            .iter()
            .all(|call| call.user_project.as_deref() == Some("bills"))
    );
    let b = "projects/-/serviceAccounts/b@shop.iam.gserviceaccount.com".to_owned();
    let of = |who: &str, account: &str, delegates| {
        let account = format!("{account}@shop.iam.gserviceaccount.com");
        (who.to_owned(), account, delegates)
    };
    assert_eq!(
        seen.impersonations,
        [
            of(jwt::ACCOUNT, "a", vec![]),
            of(jwt::ACCOUNT, "a", vec![b]),
            of("a user", "c", vec![])
        ]
    );
    assert_eq!(seen.refused, 0);
    // All that is not on this machine went through the proxy.
    let asked = world.proxy.asked();
    for name in [
        BIGQUERY,
        STORAGE,
        "iamcredentials.googleapis.com",
        "oauth2.googleapis.com",
    ] {
        assert!(asked.contains(&format!("{name}:443")), "{asked:?}");
    }
}

/// What a cluster and AWS give a process, each with whom it leads to; `token` is the cluster's.
fn aws_ways(world: &World, token: &str) -> Vec<(Setup, &'static str)> {
    let in_file = federated(&json!({ "file": token }), "oauth:token-type:jwt");
    let pod = world.file("pod-token", aws::CONTAINER_TOKEN);
    let at = |path: &str| format!("http://{}{path}", world.metadata);
    let way = |name, file: &Value, variables: Vec<(&'static str, String)>| {
        setup(name, "", [world.named(name, file), variables].concat())
    };
    let region = || ("AWS_REGION", "eu-west-1".to_owned());
    let container = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    let irsa = vec![
        region(),
        ("AWS_ROLE_ARN", aws::ROLE.to_owned()),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_owned()),
    ];
    let pod_identity = vec![
        region(),
        (container, at("/pod")),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", pod),
    ];
    let ecs = vec![
        region(),
        (container, at("/container")),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN",
            aws::CONTAINER_TOKEN.to_owned(),
        ),
    ];
    let ec2 = vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", at(""))];
    vec![
        (way("projected", &in_file, vec![]), "the cluster"),
        (way("acting", &acting_as(in_file, ACCOUNT), vec![]), ACCOUNT),
        (way("environment", &from_aws(), keys()), "the environment"),
        (way("irsa", &from_aws(), irsa), "the web identity"),
        (way("pod_identity", &from_aws(), pod_identity), "the pod"),
        (way("ecs", &acting_as(from_aws(), ACCOUNT), ecs), ACCOUNT),
        (way("ec2", &from_aws(), ec2), "the instance"),
    ]
}

const ACCOUNT: &str = "replicator@shop.iam.gserviceaccount.com";

/// Keys of AWS in the environment.
fn keys() -> Vec<(&'static str, String)> {
    let id = "AKIAENVIRONMENT";
    vec![
        ("AWS_REGION", "eu-west-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", id.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", aws::secret(id)),
        ("AWS_SESSION_TOKEN", aws::session(id)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_workloads() {
    let world = World::new(HOUR).await;
    let token = world.file("token", "");
    for (number, (setup, who)) in aws_ways(&world, &token).into_iter().enumerate() {
        // The cluster replaces the file from time to time; the old token is no more.
        let text = format!("eyJ.number-{number}.of-the-cluster");
        world.file("token", &text);
        world.fakes.seen().projected = [text].into();
        assert_eq!(world.copied_as(&setup).await, who, "{}", setup.name);
    }
    let seen = world.fakes.seen();
    let actors: Vec<&str> = seen
        .impersonations
        .iter()
        .map(|(who, _, _)| who.as_str())
        .collect();
    assert_eq!(actors, ["the cluster", "the container"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_said_without_secrets() {
    let world = World::new(HOUR).await;
    let token = world.file("token", "eyJ.nobody-knows.this-one");
    let unknown = federated(&json!({ "file": token }), "oauth:token-type:jwt");
    let format = json!({ "type": "json", "subject_token_field_name": "id_token" });
    let other = world.file(
        "token.json",
        &json!({ "access_token": "eyJ.an0ther.t0ken" }).to_string(),
    );
    let misread = federated(
        &json!({ "file": other, "format": format }),
        "oauth:token-type:jwt",
    );
    let mut elsewhere = from_aws();
    elsewhere["audience"] = json!("//iam.googleapis.com/another");
    for (name, environment, expected) in [
        (
            "unknown",
            world.named("1", &unknown),
            "invalid_grant: it is not accepted",
        ),
        ("misread", world.named("2", &misread), "`id_token`"),
        (
            "elsewhere",
            [world.named("3", &elsewhere), keys()].concat(),
            "invalid_target: it is not accepted",
        ),
        ("no_region", world.named("4", &from_aws()), "set AWS_REGION"),
        (
            "no_file",
            vec![(
                "GOOGLE_APPLICATION_CREDENTIALS",
                "/nonexistent/key.json".to_owned(),
            )],
            "/nonexistent/key.json",
        ),
    ] {
        let off = ("AWS_EC2_METADATA_DISABLED", "true".to_owned());
        let setup = Setup {
            name,
            environment: [environment, vec![off]].concat(),
            ..Setup::default()
        };
        let (code, said) = world.snapshot(&setup).await;
        assert!(code.is_some_and(|code| code != 0), "{name}: {said}");
        assert!(
            said.contains(expected) && said.contains("docs/operations.md"),
            "{name}: {said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_may_be_asked_over_tls() {
    let world = World::new(HOUR).await;
    let token = world.file("token", "eyJ.of-the-cluster");
    world.fakes.seen().projected = ["eyJ.of-the-cluster".to_owned()].into();
    let address = format!(
        "https://{PROXY_LOGIN}@localhost:{}",
        world.secure_proxy.address.port()
    );
    for (mut setup, who) in aws_ways(&world, &token) {
        if ["acting", "irsa"].contains(&setup.name) {
            setup.environment.push(("HTTPS_PROXY", address.clone()));
            assert_eq!(world.copied_as(&setup).await, who, "{}", setup.name);
        }
    }
    assert!(world.proxy.asked().is_empty());
    for name in fakes::NAMES
        .into_iter()
        .filter(|name| *name != "oauth2.googleapis.com")
    {
        let asked = world.secure_proxy.asked();
        assert!(asked.contains(&format!("{name}:443")), "{name}: {asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_to_the_authority_or_to_the_proxy_stops_with_the_cure() {
    let world = World::new(HOUR).await;
    let key = world.named("key.json", &jwt::key_file());
    let other = world.file("other.pem", &net::Certified::new(&["localhost"]).authority_pem);
    let without_login = format!("http://{}", world.proxy.address);
    let one = setup(
        "untrusted",
        "",
        [key.clone(), vec![("SSL_CERT_FILE", other)]].concat(),
    );
    let two = setup(
        "refused",
        "",
        [key, vec![("HTTPS_PROXY", without_login)]].concat(),
    );
    // Both are tried for some seconds.
    let (untrusted, refused) = tokio::join!(world.snapshot(&one), world.snapshot(&two));
    for ((code, said), expected) in [(untrusted, "invalid peer certificate"), (refused, "proxy auth")] {
        assert!(code.is_some_and(|code| code != 0), "{said}");
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(said.contains("HTTPS_PROXY, SSL_CERT_FILE"), "{said}");
    }
    assert!(world.proxy.asked().contains(&"refused".to_owned()));
    assert!(world.fakes.seen().calls.is_empty());
}

/// Programs that run side by side, each with its own way to a token.
struct Fleet {
    world: World,
    /// Each with its name and who it is to BigQuery.
    programs: Vec<(Process, &'static str, &'static str)>,
    rows: u32,
}

impl Fleet {
    fn said(&self) -> String {
        self.programs.iter().map(|(process, ..)| process.said()).collect()
    }

    /// Adds a row, and waits until it is in every target.
    async fn follow(&mut self) {
        self.rows += 1;
        self.world.insert(self.rows).await;
        self.arrived().await;
    }

    async fn arrived(&self) {
        let rows = Some(u64::from(self.rows));
        for (process, name, _) in &self.programs {
            let what = || format!("{name} has {rows:?} rows: {}", process.said());
            until(what, async || self.world.rows(name).await == rows).await;
        }
    }

    fn streams(&self) -> Vec<usize> {
        let of = |(_, _, who): &(Process, &str, &str)| self.world.fakes.streams_of(who);
        self.programs.iter().map(of).collect()
    }

    /// How many tokens each was given; nothing of who signs its own.
    fn given(&self) -> Vec<usize> {
        let given = |(_, _, who): &(Process, &str, &str)| self.world.fakes.given_to(who);
        self.programs
            .iter()
            .map(given)
            .filter(|count| *count > 0)
            .collect()
    }

    /// Waits until each was given so many tokens more.
    async fn renewed(&self, times: usize) {
        let had = self.given();
        let what = || format!("{had:?} are {times} more: {}", self.said());
        let more = |(now, then): (usize, &usize)| now >= then + times;
        until(what, async || self.given().into_iter().zip(&had).all(more)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_outlives_its_token_and_a_refused_one_is_replaced() {
    // The credentials renew a token of so few seconds every ten.
    let world = World::new(Duration::from_secs(14)).await;
    let token = world.file("token", "eyJ.old-one.of-the-cluster");
    world.fakes.seen().projected = ["eyJ.old-one.of-the-cluster".to_owned()].into();
    let mut ways = google_ways(&world);
    ways.extend(aws_ways(&world, &token));
    let chosen = [
        "key",
        "impersonation",
        "metadata",
        "projected",
        "irsa",
        "pod_identity",
    ];
    ways.retain(|(setup, _)| chosen.contains(&setup.name));
    let programs: Vec<_> = ways
        .iter()
        .map(|(setup, who)| (Process::start(&world, setup), setup.name, *who))
        .collect();
    assert_eq!(programs.len(), chosen.len());
    let mut fleet = Fleet {
        world,
        programs,
        rows: 3,
    };
    fleet.arrived().await;
    // The cluster's token is another by now, and the first of all tokens are past their end: the streams are the same.
    let opened = fleet.streams();
    fleet.world.file("token", "eyJ.new-one.of-the-cluster");
    fleet.world.fakes.seen().projected = ["eyJ.new-one.of-the-cluster".to_owned()].into();
    fleet.renewed(3).await;
    fleet.follow().await;
    assert_eq!(fleet.streams(), opened, "{}", fleet.said());
    // Cut off, each opens another with a token that is valid now.
    fleet.world.proxy.cut();
    fleet.follow().await;
    let again = fleet.streams();
    assert!(
        again.iter().zip(&opened).all(|(now, then)| now > then),
        "{again:?}"
    );
    assert_eq!(fleet.world.fakes.seen().refused, 0, "{}", fleet.said());
    // Revoked before its end, a token is refused and replaced.
    fleet.world.fakes.revoke();
    fleet.world.proxy.cut();
    fleet.follow().await;
    assert!(fleet.world.fakes.seen().refused >= fleet.programs.len());
    for (process, name, _) in &fleet.programs {
        let said = process.said();
        assert!(said.contains("the access token was refused"), "{name}: {said}");
        fleet.world.keeps_secrets(&said);
    }
}
