//! What is measured, round by round.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use tempfile::TempDir;

use crate::count::Counter;
use crate::process::{Program, Usage};
use crate::server::Server;
use crate::{Fail, load};

/// Lines of the programs' log that are shown when one fails.
const LOG_LINES: usize = 15;

/// One run of the stream, from a checkpoint that lies before all changes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamRun {
    /// From the program's start until the last row was acknowledged.
    pub(crate) whole: Duration,
    /// Rows per second between the first append and the last.
    pub(crate) steady: f64,
    /// Of the process to its end.
    pub(crate) usage: Usage,
    /// Bytes of the rows as they were sent.
    pub(crate) sent: u64,
}

/// Everything that was measured; the n-th of each list belong to one round.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    pub(crate) version: String,
    pub(crate) inserts: u64,
    pub(crate) updates: u64,
    /// Bytes of the binlog file.
    pub(crate) log_bytes: u64,
    /// What it takes to start a tool of the server through the script; it is taken off their times.
    pub(crate) launch: Vec<Duration>,
    pub(crate) stream: Vec<StreamRun>,
    pub(crate) decode: Vec<Usage>,
    pub(crate) mysqlbinlog: Vec<Usage>,
    pub(crate) snapshot: Vec<Usage>,
    pub(crate) mysqldump: Vec<Usage>,
}

/// What the runs have in common.
struct Bench<'a> {
    server: Server,
    counter: Counter,
    folder: &'a Path,
    /// The binlog file with all changes.
    file: String,
    changes: u64,
    inserts: u64,
}

impl Rounds {
    /// Starts what is needed and lets the competitors take turns.
    pub(crate) async fn measure(changes: u64, rounds: u64) -> Result<Rounds, Fail> {
        let folder = TempDir::new()?;
        let measured = Rounds::measure_in(folder.path(), changes, rounds).await;
        measured.map_err(|error| {
            let text = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let end = lines
                .get(lines.len().saturating_sub(LOG_LINES)..)
                .unwrap_or_default();
            format!("{error}\n{}", end.join("\n")).into()
        })
    }

    async fn measure_in(folder: &Path, changes: u64, rounds: u64) -> Result<Rounds, Fail> {
        let mut results = Rounds::default();
        let bench = Bench::prepare(folder, changes, &mut results).await?;
        for round in 1..=rounds {
            results.launch.push(bench.launch().await?);
            results.stream.push(bench.stream().await?);
            results.decode.push(bench.decode().await?);
            results.mysqlbinlog.push(bench.mysqlbinlog().await?);
            results.snapshot.push(bench.snapshot().await?);
            results.mysqldump.push(bench.mysqldump().await?);
            println!("round {round} of {rounds} done");
        }
        Ok(results)
    }
}

impl<'a> Bench<'a> {
    async fn prepare(folder: &'a Path, changes: u64, results: &mut Rounds) -> Result<Bench<'a>, Fail> {
        let server = Server::start()?;
        let counter = Counter::start().await?;
        let mut conn = server.connect().await?;
        load::create(&mut conn).await?;
        let mut bench = Bench {
            server,
            counter,
            folder,
            file: String::new(),
            changes: 0,
            inserts: 0,
        };
        // A copy of nothing: what it leaves is the position from which each stream run begins.
        bench.configure("empty")?;
        bench.replicator("snapshot", "empty")?.end().await?;
        conn.query_drop("FLUSH BINARY LOGS").await?;
        println!("MySQL {}: writing {changes} changes", bench.server.version);
        (bench.inserts, results.updates) = load::fill(&mut conn, changes).await?;
        bench.changes = bench.inserts + results.updates;
        conn.query_drop("FLUSH BINARY LOGS").await?;
        conn.query_drop(format!("ANALYZE TABLE {}", load::TABLE)).await?;
        let mut logs: Vec<(String, u64)> = conn
            .exec_map("SHOW BINARY LOGS", (), |row: mysql_async::Row| {
                (row.get(0).unwrap_or_default(), row.get(1).unwrap_or_default())
            })
            .await?;
        logs.pop();
        (bench.file, results.log_bytes) = logs.pop().ok_or("no closed binlog file")?;
        results.version.clone_from(&bench.server.version);
        results.inserts = bench.inserts;
        conn.disconnect().await?;
        Ok(bench)
    }

    /// Writes the configuration of a pipeline `name`, whose checkpoint is in the folder of that name.
    fn configure(&self, name: &str) -> Result<(), Fail> {
        let http = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let text = format!(
            "pipeline: bench\n\
             sources:\n  - name: shop\n    mysql:\n      url: mysql://root@127.0.0.1:{port}\n      \
             tls: {{ mode: disabled }}\n      tables: [\"{table}\"]\n\
             sink:\n  bigquery:\n    project: bench\n    auth: none\n    \
             endpoints: {{ rest: \"{rest}\", write: \"{write}\" }}\n\
             checkpoint: file://{checkpoint}\n\
             http: {http}\n",
            port = self.server.port,
            table = load::TABLE,
            rest = self.counter.rest,
            write = self.counter.write,
            checkpoint = self.folder.join(name).display(),
        );
        std::fs::create_dir_all(self.folder.join(name))?;
        std::fs::write(self.folder.join(format!("{name}.yaml")), text)?;
        Ok(())
    }

    fn replicator(&self, command: &str, name: &str) -> Result<Program, Fail> {
        let mut program = Command::new(env!("CARGO_BIN_EXE_replicator"));
        let config = self.folder.join(format!("{name}.yaml"));
        program.arg(command).arg("--config").arg(config);
        self.start(program)
    }

    fn start(&self, command: Command) -> Result<Program, Fail> {
        Program::start(command, &self.folder.join("log"))
    }

    async fn stream(&self) -> Result<StreamRun, Fail> {
        self.configure("stream")?;
        for entry in std::fs::read_dir(self.folder.join("empty"))? {
            let entry = entry?;
            std::fs::copy(entry.path(), self.folder.join("stream").join(entry.file_name()))?;
        }
        self.counter.reset();
        let mut program = self.replicator("run", "stream")?;
        let began = program.began;
        while self.counter.tally().rows < self.changes {
            if !program.look().await? {
                return Err("the stream ended by itself".into());
            }
        }
        let usage = program.stop().await?;
        let tally = self.counter.tally();
        self.expect(self.changes)?;
        let (first, last) = (tally.first.unwrap_or(began), tally.last.unwrap_or(began));
        let steady = last.saturating_duration_since(first).as_secs_f64();
        let later = u32::try_from(tally.rows - tally.first_rows)?;
        Ok(StreamRun {
            whole: last.saturating_duration_since(began),
            steady: f64::from(later) / steady,
            usage,
            sent: tally.bytes,
        })
    }

    async fn snapshot(&self) -> Result<Usage, Fail> {
        self.configure("snapshot")?;
        for entry in std::fs::read_dir(self.folder.join("snapshot"))? {
            std::fs::remove_file(entry?.path())?;
        }
        self.counter.reset();
        let usage = self.replicator("snapshot", "snapshot")?.end().await?;
        self.expect(self.inserts)?;
        Ok(usage)
    }

    /// Every row once: otherwise something else was measured than is said.
    fn expect(&self, rows: u64) -> Result<(), Fail> {
        match self.counter.tally().rows {
            counted if counted == rows => Ok(()),
            counted => Err(format!("{counted} rows came, and not {rows}").into()),
        }
    }

    async fn decode(&self) -> Result<Usage, Fail> {
        let mut command = Command::new(std::env::current_exe()?);
        let (port, rows) = (self.server.port.to_string(), self.changes.to_string());
        command.args(["decode", "--port", &port, "--file", &self.file, "--expect", &rows]);
        self.start(command)?.end().await
    }

    async fn mysqlbinlog(&self) -> Result<Usage, Fail> {
        let folder = self.folder.join("raw");
        std::fs::create_dir_all(&folder)?;
        let result = format!("--result-file={}/", folder.display());
        let arguments = ["--read-from-remote-server", "--raw", &result, &self.file];
        self.start(self.server.tool("mysqlbinlog", &arguments))?
            .end()
            .await
    }

    async fn mysqldump(&self) -> Result<Usage, Fail> {
        let (schema, table) = load::TABLE.split_once('.').ok_or("a table has a schema")?;
        let arguments = [
            "--single-transaction",
            "--quick",
            "--set-gtid-purged=OFF",
            schema,
            table,
        ];
        self.start(self.server.tool("mysqldump", &arguments))?.end().await
    }

    /// The way to a tool that does nothing.
    async fn launch(&self) -> Result<Duration, Fail> {
        let nothing = self.server.tool("mysqldump", &["--version"]);
        Ok(self.start(nothing)?.end().await?.wall)
    }
}
