use super::*;
use crate::source::Estimate;
use crate::source::mysql::catalog::CatalogColumn;
use crate::source::mysql::lexer::Dialect;

fn server() -> ServerInfo {
    ServerInfo {
        flavour: Flavour::Mysql,
        version_text: "8.4.6".to_owned(),
        version: (8, 4, 6),
        server_uuid: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562".to_owned()),
        server_id: 1,
        log_bin: true,
        binlog_format: "ROW".to_owned(),
        binlog_row_image: "FULL".to_owned(),
        binlog_row_metadata: Some("FULL".to_owned()),
        binlog_row_value_options: String::new(),
        binlog_checksum: "CRC32".to_owned(),
        gtid_mode: "ON".to_owned(),
        lower_case_table_names: 0,
        gtid_executed: Some(crate::event::GtidSet::default()),
        gtid_purged: Some(crate::event::GtidSet::default()),
        domains: None,
        current: None,
        logs: Vec::new(),
        max_allowed_packet: 64 << 20,
        sql_mode: String::new(),
        log_expires_after: Some(2_592_000),
        rds_retention_hours: None,
        hidden_cascades: true,
    }
}

fn grants(lines: &[&str]) -> Grants {
    let mut grants = Grants::parse(lines.iter().copied(), Dialect::of(&server()));
    grants.account = "repl@%".to_owned();
    grants
}

fn table(name: &str, engine: &str) -> TableFacts {
    TableFacts {
        id: TableId::new("shop", name),
        engine: engine.to_owned(),
        versioned: false,
        estimate: Estimate {
            rows: 10,
            bytes: 1000,
        },
    }
}

fn catalog(name: &str, data_type: &str, key: Option<u16>) -> CatalogTable {
    CatalogTable {
        id: TableId::new("shop", name),
        columns: vec![CatalogColumn {
            name: crate::event::ColumnName::new("id"),
            column_type: data_type.to_owned(),
            data_type: data_type.to_owned(),
            charset: None,
            collation: None,
            nullable: false,
            key,
            generated: false,
            invisible: false,
        }],
    }
}

fn good() -> Facts {
    Facts {
        server: server(),
        grants: grants(&[
            "GRANT SELECT, LOCK TABLES, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `repl`@`%`",
        ]),
        tables: vec![table("orders", "InnoDB")],
        catalog: vec![catalog("orders", "bigint", Some(0))],
        cascades: Vec::new(),
    }
}

fn judged(facts: &Facts, patterns: &[&str]) -> Vec<Finding> {
    let patterns = TablePatterns::parse(patterns).unwrap();
    judge(facts, &patterns, SnapshotMode::Initial, &Overrides::default())
}

/// What is not as it should be: `severity subject`.
fn complaints(facts: &Facts) -> Vec<String> {
    judged(facts, &["shop.*"])
        .into_iter()
        .filter(|finding| finding.severity != Severity::Ok)
        .inspect(|finding| assert!(!finding.cure.is_empty(), "{finding:?}"))
        .map(|finding| format!("{:?} {}", finding.severity, finding.subject))
        .collect()
}

#[test]
fn a_server_as_it_should_be_has_no_complaint() {
    assert_eq!(complaints(&good()), Vec::<String>::new());
}

#[test]
fn each_setting_is_judged() {
    type Change = fn(&mut ServerInfo);
    let cases: [(Change, &str); 11] = [
        (|server| server.log_bin = false, "Error log_bin"),
        (
            |server| server.binlog_format = "STATEMENT".to_owned(),
            "Error binlog_format",
        ),
        (
            |server| server.binlog_row_image = "MINIMAL".to_owned(),
            "Error binlog_row_image",
        ),
        (
            |server| server.binlog_row_value_options = "OTHER".to_owned(),
            "Error binlog_row_value_options",
        ),
        (
            |server| server.binlog_row_metadata = Some("MINIMAL".to_owned()),
            "Warning binlog_row_metadata",
        ),
        (
            |server| server.binlog_row_metadata = None,
            "Warning binlog_row_metadata",
        ),
        (
            |server| server.binlog_checksum = "NONE".to_owned(),
            "Warning binlog_checksum",
        ),
        (
            |server| server.log_expires_after = Some(3600),
            "Warning binlog_expire_logs_seconds",
        ),
        (
            |server| server.rds_retention_hours = Some(0),
            "Warning binlog retention hours",
        ),
        (|server| server.gtid_executed = None, "Warning gtid_mode"),
        (|server| server.version = (5, 7, 44), "Warning server"),
    ];
    for (change, expected) in cases {
        let mut facts = good();
        change(&mut facts.server);
        assert_eq!(complaints(&facts), [expected]);
    }
}

#[test]
fn missing_grants_come_with_the_statements_that_give_them() {
    let mut facts = good();
    facts.server.gtid_executed = None;
    facts.grants = grants(&["GRANT USAGE ON *.* TO `repl`@`%`"]);
    let cures: Vec<String> = judged(&facts, &["shop.*"])
        .into_iter()
        .filter(|finding| finding.subject.starts_with("grant"))
        .map(|finding| finding.cure)
        .collect();
    assert_eq!(
        cures,
        [
            "GRANT REPLICATION SLAVE ON *.* TO `repl`@`%`",
            "GRANT REPLICATION CLIENT ON *.* TO `repl`@`%`",
            "GRANT SELECT ON `shop`.* TO `repl`@`%`",
            "GRANT LOCK TABLES ON `shop`.* TO `repl`@`%`",
        ]
    );
    facts.grants.account = "o'brien`@%".to_owned();
    facts.tables = vec![TableFacts {
        id: TableId::new("a_b`c", "t"),
        ..table("t", "InnoDB")
    }];
    let cures: Vec<String> = judged(&facts, &["a_b`c.t", "x%.y"])
        .into_iter()
        .map(|finding| finding.cure)
        .filter(|cure| cure.contains(".* TO"))
        .collect();
    let account = "`o'brien```@`%`";
    assert_eq!(
        cures.get(2..),
        Some(
            &[
                format!(r"GRANT SELECT ON `a\_b``c`.* TO {account}"),
                format!(r"GRANT LOCK TABLES ON `a\_b``c`.* TO {account}"),
                format!(
                    r"check the spelling (names compare as written), or GRANT SELECT ON `x\%`.* TO {account}"
                ),
            ][..]
        ),
        "{cures:?}"
    );
}

#[test]
fn tables_that_cannot_be_copied_are_named() {
    let mut facts = good();
    facts.tables.push(table("log", "MyISAM"));
    facts.catalog.push(catalog("log", "int", None));
    facts.catalog.push(catalog("places", "point", Some(0)));
    facts.cascades.push(Cascade {
        child: TableId::new("shop", "items"),
        parent: TableId::new("shop", "orders"),
        constraint: "fk_1".to_owned(),
    });
    assert_eq!(
        complaints(&facts),
        [
            "Warning primary key",
            "Error shop.places",
            "Warning engine",
            "Warning foreign keys"
        ]
    );
    let keyless = judged(&facts, &["shop.*"])
        .into_iter()
        .find(|finding| finding.subject == "primary key")
        .unwrap();
    assert!(keyless.text.ends_with("without: shop.log"), "{}", keyless.text);
}

#[test]
fn a_table_without_a_key_must_not_be_asked_for_its_rows_by_key() {
    let mut facts = good();
    facts.tables.push(table("log", "InnoDB"));
    facts.catalog.push(catalog("log", "int", None));
    let mut overrides = Overrides::default();
    overrides.add("shop.*", Some(TableMode::Upsert)).unwrap();
    let patterns = TablePatterns::parse(&["shop.*"]).unwrap();
    let found = judge(&facts, &patterns, SnapshotMode::Initial, &overrides);
    let error = found
        .iter()
        .find(|finding| finding.severity == Severity::Error)
        .unwrap();
    assert!(error.text.ends_with("without: shop.log"), "{}", error.text);
    assert!(
        error.cure.contains("mode: append") && error.cure.contains("\"!shop.log\""),
        "{}",
        error.cure
    );
}

#[test]
fn a_table_without_a_key_is_read_under_a_lock_also_with_gtids() {
    let mut facts = good();
    facts.tables.push(table("log", "InnoDB"));
    facts.catalog.push(catalog("log", "int", None));
    facts.grants = grants(&["GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `repl`@`%`"]);
    let found = judged(&facts, &["shop.*"]);
    let lock = found
        .iter()
        .find(|finding| finding.subject == KEYLESS_GRANT)
        .unwrap();
    assert_eq!(
        (lock.severity, lock.text.as_str()),
        (Severity::Error, "missing on shop.log")
    );
}

#[test]
fn a_table_with_history_is_refused() {
    let mut facts = good();
    let mut versioned = table("prices", "InnoDB");
    versioned.versioned = true;
    facts.tables.push(versioned);
    facts.catalog.push(catalog("prices", "int", Some(0)));
    assert_eq!(complaints(&facts), ["Error system versioning"]);
}

#[test]
fn tables_that_are_not_there_are_named() {
    let missing = |patterns: &[&str], facts: &Facts| -> Vec<String> {
        judged(facts, patterns)
            .into_iter()
            .filter(|finding| finding.severity != Severity::Ok)
            .map(|finding| format!("{:?} {}", finding.severity, finding.subject))
            .collect()
    };
    assert_eq!(missing(&["shop.*", "shop.items"], &good()), ["Error shop.items"]);
    let mut empty = good();
    empty.tables.clear();
    empty.catalog.clear();
    // The first one may be made later.
    assert_eq!(missing(&["shop.*"], &empty), ["Warning tables"]);
}

#[test]
fn a_long_list_is_cut() {
    let names: Vec<String> = (0..25).map(|number| format!("t{number}")).collect();
    assert!(shortened(&names).ends_with("t19 and 5 more"));
    assert_eq!(shortened(&["a".to_owned(), "b".to_owned()]), "a, b");
}

#[test]
fn a_position_is_held_against_the_logs_that_are_left() {
    use crate::event::{BinlogCoord, Epoch, LogPosition, TxnStart};
    use crate::source::mysql::server::LogFile;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    let set = |text: &str| Some(text.parse().unwrap());
    let at = |file: u64, gtids: Option<crate::event::GtidSet>| LogPosition {
        server: "s".into(),
        file_name: format!("b.{file:06}").into(),
        file_born: 1,
        next: TxnStart {
            epoch: Epoch(1),
            coord: BinlogCoord { file, offset: 99 },
        },
        gtids,
        domains: None,
        last_event: None,
        prepared: Vec::new(),
        streams: Vec::new(),
    };
    let mut server = server();
    (server.gtid_executed, server.gtid_purged) = (set(&format!("{UUID}:1-9")), set(&format!("{UUID}:1-5")));
    let names = ["b.000003", "b.000004", "b.000005"];
    server.logs = names
        .map(|name| LogFile {
            name: name.to_owned(),
            bytes: 500,
        })
        .into();
    let mut judged = |gtids: bool, file: u64, ours: Option<crate::event::GtidSet>| {
        if !gtids {
            server.gtid_executed = None;
        }
        position::judge(&server, &at(file, ours)).severity
    };
    assert_eq!(judged(true, 4, set(&format!("{UUID}:1-7"))), Severity::Ok);
    assert_eq!(judged(true, 3, set(&format!("{UUID}:1-7"))), Severity::Warning);
    assert_eq!(judged(true, 3, set(&format!("{UUID}:1-4"))), Severity::Error);
    assert_eq!(judged(true, 4, set(&format!("{UUID}:1-10"))), Severity::Error);
    assert_eq!(judged(false, 4, None), Severity::Ok);
    assert_eq!(judged(false, 3, None), Severity::Warning);
    assert_eq!(judged(false, 2, None), Severity::Error);
}
