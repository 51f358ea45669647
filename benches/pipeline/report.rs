//! From times to `benches/RESULTS.md`: medians of the runs, and medians of the ratios within each round.

use std::fmt::Write as _;
use std::time::Duration;

use crate::process::Usage;
use crate::rounds::Rounds;

/// Times the decode-only loop's rate that the stream should reach.
const STREAM_TARGET: f64 = 4.0;

/// Peak memory that should not be exceeded, in bytes.
const MEMORY_TARGET: u64 = 200_000_000;

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    if values.len() % 2 == 1 {
        at(middle)
    } else {
        f64::midpoint(at(middle.saturating_sub(1)), at(middle))
    }
}

/// A count for arithmetic; exact up to 2³².
fn float(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

fn seconds(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    format!("{:.2} ({least:.2} to {most:.2})", median(values.iter().copied()))
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "**not met**" }
}

/// Times of one competitor.
struct Row<'a> {
    name: &'a str,
    walls: Vec<f64>,
    usages: Vec<Usage>,
    rows: f64,
    /// Bytes of its source, where that is what it moves.
    bytes: f64,
}

impl Row<'_> {
    fn line(&self) -> String {
        let rate = |amount: f64| amount / median(self.walls.iter().copied());
        let megabytes = match self.bytes {
            0.0 => "–".to_owned(),
            bytes => format!("{:.0}", rate(bytes) / 1e6),
        };
        format!(
            "| {} | {} | {:.0} | {megabytes} | {:.2} | {:.0} |\n",
            self.name,
            seconds(&self.walls),
            rate(self.rows),
            median(self.usages.iter().map(|usage| usage.cpu.as_secs_f64())),
            median(self.usages.iter().map(|usage| float(usage.peak) / 1e6)),
        )
    }
}

const HEAD: &str = "| | s, median (least to most) | rows/s | MB/s | CPU s | peak RSS, MB |\n\
                    | --- | ---: | ---: | ---: | ---: | ---: |\n";

/// The whole report.
pub(crate) fn markdown(results: &Rounds) -> String {
    let launch = median(results.launch.iter().map(Duration::as_secs_f64));
    let walls = |usages: &[Usage], off: f64| -> Vec<f64> {
        usages
            .iter()
            .map(|usage| usage.wall.as_secs_f64() - off)
            .collect()
    };
    let changes = float(results.inserts + results.updates);
    let log = float(results.log_bytes);
    let row = |name, usages: &[Usage], off, rows, bytes| Row {
        name,
        walls: walls(usages, off),
        usages: usages.to_vec(),
        rows,
        bytes,
    };
    let stream = Row {
        name: "replicator run",
        walls: results.stream.iter().map(|run| run.whole.as_secs_f64()).collect(),
        usages: results.stream.iter().map(|run| run.usage).collect(),
        rows: changes,
        bytes: log,
    };
    let decode = row("decode-only loop", &results.decode, 0.0, changes, log);
    let binlog = row("mysqlbinlog --raw", &results.mysqlbinlog, launch, changes, log);
    let inserts = float(results.inserts);
    let snapshot = row("replicator snapshot", &results.snapshot, 0.0, inserts, 0.0);
    let dump = row("mysqldump", &results.mysqldump, launch, inserts, 0.0);
    let mut text = introduction(results, launch);
    text += "## Stream\n\n";
    text += HEAD;
    for row in [&stream, &decode, &binlog] {
        text += &row.line();
    }
    let steady = median(results.stream.iter().map(|run| run.steady));
    let sent = median(results.stream.iter().map(|run| float(run.sent)));
    let _infallible = write!(
        text,
        "\nFor `replicator run` the time is from the start of the process (connecting, preflight) to the last row's \
         acknowledgement. From its first append to its last: {steady:.0} rows/s. Row bytes sent: {:.0} MB.\n\n\
         ## First copy\n\n{HEAD}{}{}",
        sent / 1e6,
        snapshot.line(),
        dump.line()
    );
    text += &targets(results, [&stream, &decode, &binlog, &snapshot, &dump]);
    text
}

fn introduction(results: &Rounds, launch: f64) -> String {
    let file = |path| std::fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory) = (file("/proc/cpuinfo"), file("/proc/meminfo"));
    let value = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.map_or_else(
            || "unknown".to_owned(),
            |line| line.trim_matches([':', ' ', '\t']).to_owned(),
        )
    };
    format!(
        "# Throughput\n\n\
         Written by `make bench`. One order table of 8 columns, one of them JSON; {} inserts, then {} updates, in \
         transactions of 100 rows; a binlog file of {:.0} MB. MySQL {}, the competitor and the counting target share \
         {} cores ({}), memory {}. {} rounds, in each of which everybody runs once, one after the other.\n\n\
         Tools of the server are started through a script; its time ({launch:.2} s) is taken off theirs. The \
         decode-only loop is `mysql_async` reading the file and `mysql_common` turning each row into values; \
         `mysqlbinlog` copies the file's bytes to disk; `mysqldump --single-transaction --quick` writes to \
         /dev/null. The replicator converts, encodes and sends each row, and has it acknowledged by a Storage \
         Write server that counts.\n\n",
        results.inserts,
        results.updates,
        float(results.log_bytes) / 1e6,
        results.version,
        std::thread::available_parallelism().map_or(0, usize::from),
        value(&cpu, "model name"),
        value(&memory, "MemTotal"),
        results.stream.len(),
    )
}

/// Median over the rounds of one competitor's time in parts of the other's.
fn ratio(of: &Row<'_>, to: &Row<'_>) -> f64 {
    median(of.walls.iter().zip(&to.walls).map(|(of, to)| of / to))
}

fn targets(results: &Rounds, [stream, decode, binlog, snapshot, dump]: [&Row<'_>; 5]) -> String {
    let whole = ratio(decode, stream);
    let steady = median(
        results
            .stream
            .iter()
            .zip(&decode.walls)
            .map(|(run, wall)| run.steady / (decode.rows / wall)),
    );
    let cpu = |row: &Row<'_>| median(row.usages.iter().map(|usage| usage.cpu.as_secs_f64()));
    let copy = ratio(dump, snapshot);
    let peak = |row: &Row<'_>| row.usages.iter().map(|usage| usage.peak).max().unwrap_or(0);
    let memory = peak(stream).max(peak(snapshot));
    format!(
        "\n## Targets\n\n\
         Ratios are medians of the ratios within each round.\n\n\
         | | measured | target | |\n| --- | --- | --- | --- |\n\
         | stream against the decode-only loop | {whole:.2}× its rows/s ({steady:.2}× from the first append on; \
         {:.2}× its CPU time) | ≥ {STREAM_TARGET}× | {} |\n\
         | stream against mysqlbinlog --raw | {:.2}× its bytes/s | – | – |\n\
         | mysqlbinlog --raw against the decode-only loop, for scale: it decodes nothing | {:.2}× its bytes/s | – | – |\n\
         | first copy against mysqldump | {copy:.2}× its rows/s | ≥ 1× | {} |\n\
         | peak RSS of any run | {:.0} MB | ≤ {} MB | {} |\n",
        cpu(stream) / cpu(decode),
        met(whole >= STREAM_TARGET),
        ratio(binlog, stream),
        ratio(decode, binlog),
        met(copy >= 1.0),
        float(memory) / 1e6,
        MEMORY_TARGET / 1_000_000,
        met(memory <= MEMORY_TARGET),
    )
}
