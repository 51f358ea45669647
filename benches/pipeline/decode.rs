//! The loop that only decodes: `mysql_async` reads the binlog from the server, `mysql_common` turns every
//! row into values, and nothing is done with them.

use std::hint::black_box;

use futures_util::StreamExt as _;
use mysql_async::{BinlogStreamRequest, Conn, OptsBuilder};
use mysql_common::binlog::events::EventData;

use crate::Fail;

/// What is read.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Port of the server on 127.0.0.1.
    #[arg(long)]
    pub(crate) port: u16,
    /// Binlog file to begin with.
    #[arg(long)]
    pub(crate) file: String,
    /// Rows after which it ends.
    #[arg(long)]
    pub(crate) expect: u64,
}

/// Id among the server's replicas.
const SERVER_ID: u32 = 77_001;

/// Decodes until all rows were seen.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Fail> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(decode(arguments))
}

async fn decode(arguments: &Arguments) -> Result<(), Fail> {
    let opts = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(arguments.port)
        .user(Some("root"));
    let request = BinlogStreamRequest::new(SERVER_ID)
        .with_filename(arguments.file.as_bytes())
        .with_pos(4);
    let mut stream = Conn::new(opts).await?.get_binlog_stream(request).await?;
    let mut rows = 0;
    while rows < arguments.expect {
        let event = stream.next().await.ok_or("the binlog ended early")??;
        let Some(EventData::RowsEvent(data)) = event.read_data()? else {
            continue;
        };
        let table = stream
            .get_tme(data.table_id())
            .ok_or("rows without a table map")?;
        for row in data.rows(table) {
            black_box(row?);
            rows += 1;
        }
    }
    Ok(())
}
