//! A MySQL server, the local BigQuery, the fakes before it, and the program between them, which finds the
//! fakes at Google's and AWS's own names: through the proxy and with the authority that its environment names.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::Router;
use mysql_async::prelude::Queryable;
use replicator::clock::Clock;
use replicator::emulator::{self, Options, Running};
use replicator::task::{self, Task};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::aws;
use crate::fakes::{self, CLIENT_SECRET, Fakes, NAMES, REFRESH_TOKEN};
use crate::jwt;
use crate::net::{Certified, PROXY_LOGIN, Proxy};
use crate::support::{Flavour, TestDb};

pub(crate) struct World {
    pub(crate) db: TestDb,
    pub(crate) fakes: Fakes,
    pub(crate) proxy: Proxy,
    /// One that is itself asked over TLS.
    pub(crate) secure_proxy: Proxy,
    /// Where the metadata services are, which are asked without TLS and without the proxy.
    pub(crate) metadata: String,
    pub(crate) folder: tempfile::TempDir,
    target: Running,
    _servers: [Task<()>; 2],
}

/// What a run of the program is given beside what all are.
#[derive(Default)]
pub(crate) struct Setup {
    /// Names the run: its target and its checkpoint are its own.
    pub(crate) name: &'static str,
    /// Lines below `bigquery:`.
    pub(crate) sink: String,
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl World {
    /// With tokens that last for `lifetime`.
    pub(crate) async fn new(lifetime: Duration) -> World {
        let db = TestDb::start(Flavour::Mysql, &[]);
        db.run(&[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.items (id INT PRIMARY KEY)",
            "INSERT INTO shop.items VALUES (1), (2), (3)",
        ])
        .await;
        let target = emulator::serve(Options {
            audit: false,
            ..Options::local(Clock::real())
        })
        .await
        .unwrap();
        let fakes = Fakes::new(target.rest_url(), target.write_url(), lifetime);
        let app = Router::new().fallback(fakes::answer).with_state(fakes.clone());
        let certified = Certified::new(&[NAMES.as_slice(), &["localhost"]].concat());
        let secure = certified.listen().await;
        let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let metadata = plain.local_addr().unwrap().to_string();
        let server = axum::serve::Listener::local_addr(&secure).unwrap();
        let proxy = Proxy::start(server, None).await;
        let secure_proxy = Proxy::start(server, Some(&certified)).await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), &certified.authority_pem).unwrap();
        let behind = app.clone();
        World {
            db,
            fakes,
            proxy,
            secure_proxy,
            metadata,
            folder,
            target,
            _servers: [
                task::spawn(
                    "secure",
                    async move { axum::serve(secure, behind).await.unwrap() },
                ),
                task::spawn("plain", async move { axum::serve(plain, app).await.unwrap() }),
            ],
        }
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// The environment that makes a file of credentials the default.
    pub(crate) fn named(&self, name: &str, content: &Value) -> Vec<(&'static str, String)> {
        let path = self.file(name, &content.to_string());
        vec![("GOOGLE_APPLICATION_CREDENTIALS", path)]
    }

    fn configuration(&self, setup: &Setup) -> PathBuf {
        let name = setup.name;
        let text = format!(
            "pipeline: shop\nsources:\n  - name: shop\n    mysql:\n      url: mysql://root@127.0.0.1:{}\n      \
             tls: {{ mode: disabled }}\n      tables: ['shop.*']\n\
             sink:\n  bigquery:\n    project: test\n    dataset: 'shop_{name}'\n    max_staleness: 0\n{}\
             checkpoint: file://{}\nhttp: 127.0.0.1:0\n",
            self.db.port,
            setup.sink,
            self.folder.path().join(format!("checkpoint-{name}")).display(),
        );
        PathBuf::from(self.file(&format!("{name}.yaml"), &text))
    }

    pub(crate) fn command(&self, command: &str, setup: &Setup) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_replicator"));
        program
            .arg(command)
            .arg("--config")
            .arg(self.configuration(setup))
            .env_clear()
            .env("HOME", self.folder.path().join("home"))
            .env(
                "HTTPS_PROXY",
                format!("http://{PROXY_LOGIN}@{}", self.proxy.address),
            )
            .env("SSL_CERT_FILE", self.folder.path().join("ca.pem"))
            .env("REPLICATOR_LOG", "debug")
            .envs(setup.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        program
    }

    /// Copies the table: exit code, and what the program said, which holds no secret.
    pub(crate) async fn snapshot(&self, setup: &Setup) -> (Option<i32>, String) {
        let mut command = self.command("snapshot", setup);
        let output = task::blocking("program", move || command.output().unwrap())
            .join()
            .await
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        self.keeps_secrets(&said);
        (output.status.code(), said)
    }

    pub(crate) fn keeps_secrets(&self, said: &str) {
        let seen = self.fakes.seen();
        let (_, password) = PROXY_LOGIN.split_once(':').unwrap();
        let fixed = [
            password,
            CLIENT_SECRET,
            REFRESH_TOKEN,
            aws::CONTAINER_TOKEN,
            "eyJ",
        ]
        .map(str::to_owned);
        let of_aws = aws::HOLDERS
            .iter()
            .flat_map(|(id, _)| [aws::secret(id), aws::session(id)]);
        let secrets = seen
            .tokens
            .iter()
            .chain(&seen.projected)
            .cloned()
            .chain(fixed)
            .chain(of_aws)
            .chain(jwt::secrets());
        for secret in secrets {
            let line = said.lines().find(|line| line.contains(&secret));
            assert!(line.is_none(), "a secret is shown: {line:?}");
        }
    }

    /// Rows of a run's target, asked for without any token.
    pub(crate) async fn rows(&self, name: &str) -> Option<u64> {
        let url = format!("{}/bigquery/v2/projects/test/queries", self.target.rest_url());
        let query = format!("SELECT COUNT(*) FROM `shop_{name}.items`");
        let body = json!({ "query": query, "useLegacySql": false, "maximumBytesBilled": "1000000000" });
        let answer = reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .post(url)
            .json(&body)
            .send()
            .await
            .unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer.pointer("/rows/0/f/0/v")?.as_str()?.parse().ok()
    }

    pub(crate) async fn insert(&self, id: u32) {
        let mut conn = self.db.connect().await;
        conn.query_drop(format!("INSERT INTO shop.items VALUES ({id})"))
            .await
            .unwrap();
        conn.disconnect().await.unwrap();
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: impl Fn() -> String, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..400 {
        if is_so().await {
            return;
        }
        Clock::real().sleep(Duration::from_millis(150)).await;
    }
    panic!("never: {}", what());
}

/// The program while it runs, killed when dropped; what it says goes to a file.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub(crate) fn start(world: &World, setup: &Setup) -> Process {
        let log = world.folder.path().join(format!("{}.log", setup.name));
        let file = std::fs::File::create(&log).unwrap();
        let child = world
            .command("run", setup)
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        Process { child, log }
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(Path::new(&self.log)).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
