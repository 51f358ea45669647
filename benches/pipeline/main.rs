//! Throughput of the program as it is released: the stream against `mysqlbinlog` and a loop that only
//! decodes, the first copy against `mysqldump`. All on one server that the bench starts; competitors take
//! turns (A B C, A B C, …), so that what else the machine does falls on each of them alike.
//!
//! `decode` is the loop, run in a process of its own; `load` fills the table; `count` is the target, which
//! only counts; `server` and `process` start and watch programs; `rounds` measures; `report` writes
//! `benches/RESULTS.md`.

#![expect(clippy::print_stdout, reason = "a bench shows what it measured")]

mod count;
mod decode;
mod load;
mod process;
mod report;
mod rounds;
mod server;

use clap::{Parser, Subcommand};

use rounds::Rounds;

/// Whatever ends the bench.
type Fail = Box<dyn std::error::Error + Send + Sync>;

/// Fewer rows and an update could meet its insert in one request, where only the last change of a key is sent.
const MIN_ROWS: u64 = 150_000;

/// Measures the program.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Changes in the binlog: two thirds inserts, one third updates.
    #[arg(long, default_value_t = 600_000, value_parser = clap::value_parser!(u64).range(MIN_ROWS..))]
    rows: u64,
    /// How often each competitor runs.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Leave benches/RESULTS.md as it is.
    #[arg(long)]
    dry: bool,
    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Reads a binlog file and decodes its rows: a competitor.
    Decode(decode::Arguments),
}

fn main() -> Result<(), Fail> {
    let arguments = Arguments::parse();
    if let Some(Role::Decode(arguments)) = arguments.role {
        return decode::run(&arguments);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let results = runtime.block_on(Rounds::measure(arguments.rows, arguments.rounds))?;
    let text = report::markdown(&results);
    println!("\n{text}");
    if !arguments.dry {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/RESULTS.md");
        std::fs::write(path, text)?;
        println!("written to benches/RESULTS.md");
    }
    Ok(())
}
