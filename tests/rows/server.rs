//! A server of the test's own, its catalog, its log and its rows.

use std::process::Command;

use bytes::Bytes;
use futures_util::StreamExt;
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStreamRequest, Conn, OptsBuilder, Row};
use replicator::event::{ColumnName, TableId};
pub(crate) use replicator::source::mysql::server::Flavour;
use replicator::source::mysql::{CatalogColumn, CatalogTable, RowsHead, RowsKind, TableMap};

/// A running server; it ends with this value.
pub(crate) struct Server {
    pub(crate) flavour: Flavour,
    port: u16,
    folder: String,
}

/// A rows event after its table map.
pub(crate) struct RowsEvent {
    pub(crate) kind: RowsKind,
    pub(crate) map: TableMap,
    pub(crate) body: Bytes,
}

impl Server {
    pub(crate) fn start(flavour: Flavour) -> Server {
        let kind = match flavour {
            Flavour::Mysql => "mysql",
            Flavour::MariaDb => "mariadb",
        };
        let owner = std::process::id().to_string();
        let started = Command::new("scripts/db")
            .args(["start", kind, "--owner", &owner])
            .output()
            .unwrap();
        let text = String::from_utf8(started.stdout).unwrap();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&started.stderr)))
                .to_owned()
        };
        Server {
            flavour,
            port: field("PORT=").parse().unwrap(),
            folder: field("DIR="),
        }
    }

    pub(crate) async fn connect(&self) -> Conn {
        let opts = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .user(Some("root"))
            .prefer_socket(false)
            .max_allowed_packet(Some(1 << 30));
        let mut conn = Conn::new(opts).await.unwrap();
        conn.query_drop("SET NAMES utf8mb4, time_zone = '+00:00', sql_mode = ''")
            .await
            .unwrap();
        conn
    }

    /// Every rows event of the log, with the table map before it.
    pub(crate) async fn log(&self) -> Vec<RowsEvent> {
        let mut conn = self.connect().await;
        let files: Vec<Row> = conn.query("SHOW BINARY LOGS").await.unwrap();
        let name: String = files[0].get(0).unwrap();
        let request = BinlogStreamRequest::new(77)
            .with_non_blocking()
            .with_filename(name.as_bytes())
            .with_pos(4);
        let mut stream = conn.get_binlog_stream(request).await.unwrap();
        let mut map = None;
        let mut found = Vec::new();
        while let Some(event) = stream.next().await {
            let event = event.unwrap();
            let body = Bytes::copy_from_slice(event.data());
            let event_type = event.header().event_type_raw();
            if event_type == 19 {
                map = Some(TableMap::parse(&body, self.flavour).unwrap());
            } else if let Some(kind) = RowsKind::of(event_type) {
                let map = map.clone().unwrap();
                assert_eq!(RowsHead::parse(&body).unwrap().table_id, map.table_id);
                found.push(RowsEvent { kind, map, body });
            }
        }
        found
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stopped = Command::new("scripts/db").args(["stop", &self.folder]).status();
        assert!(stopped.is_ok_and(|status| status.success()), "the server stops");
    }
}

/// A table as the catalog has it.
pub(crate) async fn catalog(conn: &mut Conn, table: &TableId) -> CatalogTable {
    let of_schema = catalogs(conn, table.schema()).await;
    of_schema.into_iter().find(|found| found.id == *table).unwrap()
}

/// Every table of a schema as the catalog has it: in one query, because each costs a server much.
pub(crate) async fn catalogs(conn: &mut Conn, schema: &str) -> Vec<CatalogTable> {
    let rows: Vec<Row> = conn
        .exec(
            "SELECT c.COLUMN_NAME, c.COLUMN_TYPE, c.DATA_TYPE, c.CHARACTER_SET_NAME, c.COLLATION_NAME, c.IS_NULLABLE, \
             c.EXTRA, s.SEQ_IN_INDEX, c.TABLE_NAME FROM information_schema.COLUMNS c \
             LEFT JOIN information_schema.STATISTICS s \
             ON s.TABLE_SCHEMA = ? AND s.TABLE_NAME = c.TABLE_NAME AND s.COLUMN_NAME = c.COLUMN_NAME \
             AND s.INDEX_NAME = 'PRIMARY' WHERE c.TABLE_SCHEMA = ? ORDER BY c.TABLE_NAME, c.ORDINAL_POSITION",
            (schema, schema),
        )
        .await
        .unwrap();
    let mut tables: Vec<CatalogTable> = Vec::new();
    for row in rows {
        let id = TableId::new(schema, row.get::<String, _>(8).unwrap());
        let column = catalog_column(&row);
        match tables.last_mut().filter(|table| table.id == id) {
            Some(table) => table.columns.push(column),
            None => tables.push(CatalogTable {
                id,
                columns: vec![column],
            }),
        }
    }
    tables
}

fn catalog_column(row: &Row) -> CatalogColumn {
    let extra: String = row.get(6).unwrap();
    let nullable: String = row.get(5).unwrap();
    let place: Option<u16> = row.get(7).unwrap();
    CatalogColumn {
        name: ColumnName::new(row.get::<String, _>(0).unwrap()),
        column_type: row.get(1).unwrap(),
        data_type: row.get(2).unwrap(),
        charset: row.get(3).unwrap(),
        collation: row.get(4).unwrap(),
        nullable: nullable == "YES",
        key: place.map(|place| place - 1),
        generated: extra.contains("GENERATED"),
        invisible: extra.contains("INVISIBLE"),
    }
}
