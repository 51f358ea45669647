//! Statements that change rows without row events or whether tables are there, statements in disguise, and those that
//! change nothing.

use super::suite::Case;

pub(super) const CASES: &[Case] = &[
    (
        "truncate",
        &[
            "TRUNCATE TABLE T",
            "INSERT INTO T (id, n) VALUES (1, 1), (2, 2)",
            "TRUNCATE T",
        ],
    ),
    (
        "truncate_and_fill",
        &[
            "TRUNCATE T",
            "INSERT INTO T (id, n) VALUES (1, 10), (3, 30), (999, 1)",
        ],
    ),
    (
        "truncate_and_alter",
        &[
            "TRUNCATE T",
            "ALTER TABLE T ADD x INT DEFAULT 3",
            "INSERT INTO T (id) VALUES (4)",
            "TRUNCATE T",
            "INSERT INTO T (id) VALUES (5)",
        ],
    ),
    (
        "alter_and_truncate",
        &[
            "ALTER TABLE T ADD x INT NOT NULL DEFAULT 3",
            "TRUNCATE T",
            "INSERT INTO T (id) VALUES (4)",
        ],
    ),
    (
        "delete_all",
        &[
            "DELETE FROM T",
            "ALTER TABLE T DROP a",
            "INSERT INTO T (id, n) VALUES (1, 2)",
        ],
    ),
    (
        "partition",
        &[
            "ALTER TABLE T PARTITION BY HASH (id) PARTITIONS 4",
            "ALTER TABLE T COALESCE PARTITION 2",
            "ALTER TABLE T TRUNCATE PARTITION p0",
            "ALTER TABLE T ADD PARTITION PARTITIONS 1",
            "ALTER TABLE T REMOVE PARTITIONING",
        ],
    ),
    (
        "partition_range",
        &[
            "ALTER TABLE T PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20), PARTITION p2 VALUES LESS THAN MAXVALUE)",
            "ALTER TABLE T DROP PARTITION p0",
            "ALTER TABLE T REORGANIZE PARTITION p2 INTO (PARTITION p2 VALUES LESS THAN (30), PARTITION p3 VALUES LESS THAN MAXVALUE)",
            "ALTER TABLE T REBUILD PARTITION p1",
            "ALTER TABLE T TRUNCATE PARTITION p1, p2",
            "INSERT INTO T (id, n) VALUES (11, 1), (25, 2)",
        ],
    ),
    (
        "partition_exchange",
        &[
            "ALTER TABLE T PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)",
            "CREATE TABLE T_side LIKE T",
            "ALTER TABLE T_side REMOVE PARTITIONING",
            "INSERT INTO T_side (id, n) VALUES (3, 333), (4, 444)",
            "ALTER TABLE T EXCHANGE PARTITION p0 WITH TABLE T_side",
        ],
    ),
    (
        "rename_away",
        &[
            "RENAME TABLE T TO T_new",
            "INSERT INTO T_new (id, n) VALUES (700, 7)",
        ],
    ),
    (
        "rename_there_and_back",
        &[
            "RENAME TABLE T TO T_new",
            "UPDATE T_new SET n = 5 WHERE id < 5",
            "RENAME TABLE T_new TO T",
            "UPDATE T SET n = 6 WHERE id BETWEEN 5 AND 8",
        ],
    ),
    (
        "rename_swap",
        &[
            "CREATE TABLE T_b LIKE T",
            "INSERT INTO T_b (id, n) VALUES (1, 111)",
            "RENAME TABLE T TO T_tmp, T_b TO T, T_tmp TO T_b",
            "UPDATE T SET n = 112",
        ],
    ),
    (
        "rename_by_alter",
        &[
            "ALTER TABLE T RENAME TO T_new",
            "ALTER TABLE T_new ADD x INT DEFAULT 1, RENAME TO T_newer",
            "ALTER TABLE T_newer RENAME AS T",
        ],
    ),
    (
        "rename_to_elsewhere",
        &[
            "RENAME TABLE T TO aside.T",
            "INSERT INTO aside.T (id, n) VALUES (600, 6)",
            "RENAME TABLE aside.T TO T",
        ],
    ),
    (
        "drop_create",
        &[
            "DROP TABLE T",
            "CREATE TABLE T (id INT PRIMARY KEY, n INT, a INT)",
            "INSERT INTO T VALUES (1, 1, 1)",
        ],
    ),
    (
        "drop_create_other",
        &[
            "DROP TABLE IF EXISTS T",
            "CREATE TABLE IF NOT EXISTS T (id INT PRIMARY KEY, n INT, a DATE, extra JSON)",
            "INSERT INTO T VALUES (1, 1, '2020-02-02', '[1]')",
        ],
    ),
    (
        "drop_create_twice",
        &[
            "DROP TABLE T",
            "CREATE TABLE T (id INT PRIMARY KEY, n INT)",
            "INSERT INTO T VALUES (1, 1)",
            "DROP TABLE T",
            "CREATE TABLE T (id INT PRIMARY KEY, n INT, b TEXT)",
            "INSERT INTO T VALUES (2, 2, 'x')",
        ],
    ),
    ("drop", &["DROP TABLE T"]),
    (
        "create_like",
        &[
            "CREATE TABLE T_like LIKE T",
            "INSERT INTO T_like SELECT * FROM T",
            "ALTER TABLE T_like ADD x INT",
        ],
    ),
    (
        "create_select",
        &[
            "CREATE TABLE T_sel (PRIMARY KEY (id)) SELECT id, n, b FROM T",
            "UPDATE T_sel SET n = 1 WHERE id % 3 = 0",
        ],
    ),
    (
        "create_as",
        &[
            "CREATE TABLE T_as (id INT PRIMARY KEY, more TEXT) AS SELECT id, n FROM T",
            "DELETE FROM T_as WHERE id % 2",
        ],
    ),
    (
        "create_types",
        &["CREATE TABLE T_empty (id INT PRIMARY KEY, v GEOMETRY, w VECTOR(3), x YEAR)"],
    ),
    (
        "create_hidden_key",
        &[
            "SET sql_generate_invisible_primary_key = ON",
            "CREATE TABLE T_gipk (v INT)",
            "INSERT INTO T_gipk (v) VALUES (1), (2), (3)",
            "DELETE FROM T_gipk WHERE v = 2",
        ],
    ),
    (
        "create_temporary",
        &[
            "CREATE TEMPORARY TABLE T_temp (id INT PRIMARY KEY)",
            "INSERT INTO T_temp VALUES (1)",
            "DROP TEMPORARY TABLE T_temp",
            "UPDATE T SET n = 2 WHERE id = 2",
        ],
    ),
    (
        "create_drop_at_once",
        &[
            "CREATE TABLE T_short (id INT PRIMARY KEY)",
            "INSERT INTO T_short VALUES (1)",
            "DROP TABLE T_short",
        ],
    ),
    (
        "create_alter_at_once",
        &[
            "CREATE TABLE T_made (id INT PRIMARY KEY)",
            "INSERT INTO T_made VALUES (1)",
            "ALTER TABLE T_made ADD v INT NOT NULL DEFAULT 7",
            "INSERT INTO T_made VALUES (2, 8)",
        ],
    ),
    (
        "versioned_comment",
        &[
            "ALTER TABLE T /*!80000 ADD COLUMN x INT DEFAULT 5 */",
            "/*!50000 ALTER TABLE T DROP COLUMN a */",
        ],
    ),
    (
        "comments",
        &["ALTER /* ADD y */ TABLE -- DROP\n T # x\n ADD /* , DROP n */ COLUMN x INT"],
    ),
    (
        "ansi_quotes",
        &[
            "SET sql_mode = 'ANSI_QUOTES'",
            "ALTER TABLE T ADD \"x\" INT DEFAULT 5",
            "ALTER TABLE T RENAME COLUMN \"a\" TO \"y\"",
        ],
    ),
    (
        "strings",
        &[
            "ALTER TABLE T ADD x VARCHAR(60) DEFAULT 'DROP TABLE T; ALTER, RENAME COLUMN b TO c' COMMENT 'it''s, (a) \\'thing\\''",
            "ALTER TABLE T ADD y INT",
        ],
    ),
    (
        "case_of_words",
        &[
            "alter table T add column x int default 3",
            "AlTeR tAbLe T rEnAmE cOlUmN a tO y",
        ],
    ),
    (
        "ignored_statements",
        &[
            "CREATE VIEW T_v AS SELECT id FROM T",
            "CREATE TRIGGER T_tr BEFORE INSERT ON T FOR EACH ROW SET NEW.n = IFNULL(NEW.n, 0) + 1",
            "INSERT INTO T (id, n) VALUES (800, 1)",
            "DROP TRIGGER T_tr",
            "DROP VIEW T_v",
            "GRANT SELECT ON T TO CURRENT_USER()",
        ],
    ),
    (
        "procedure",
        &[
            "CREATE PROCEDURE shop.T_p() BEGIN UPDATE T SET n = n + 1; ALTER TABLE T ADD x INT DEFAULT 2; INSERT INTO T (id, n) VALUES (801, 1); END",
            "CALL shop.T_p()",
            "DROP PROCEDURE shop.T_p",
        ],
    ),
    (
        "prepared",
        &[
            "PREPARE s FROM 'ALTER TABLE T ADD x INT DEFAULT 2, DROP b'",
            "EXECUTE s",
            "DEALLOCATE PREPARE s",
        ],
    ),
    (
        "transaction_and_alter",
        &[
            "BEGIN",
            "UPDATE T SET n = 50 WHERE id < 9",
            "INSERT INTO T (id, n) VALUES (820, 1)",
            "ALTER TABLE T ADD x INT DEFAULT 1",
            "UPDATE T SET x = 2 WHERE id < 5",
        ],
    ),
    (
        "lock_tables",
        &[
            "LOCK TABLES T WRITE",
            "ALTER TABLE T ADD x INT DEFAULT 1",
            "UPDATE T SET x = 2 WHERE id < 5",
            "UNLOCK TABLES",
        ],
    ),
    (
        "foreign_key",
        &[
            "CREATE TABLE T_child (id INT PRIMARY KEY, t INT, FOREIGN KEY (t) REFERENCES T (id))",
            "INSERT INTO T_child VALUES (1, NULL)",
            "ALTER TABLE T_child ADD x INT DEFAULT 1",
        ],
    ),
    (
        "gh_ost",
        &[
            "CREATE TABLE _T_gho LIKE T",
            "ALTER TABLE _T_gho ADD x INT NOT NULL DEFAULT 5, DROP a",
            "INSERT INTO _T_gho (id, n, b, c, d, e, f) SELECT id, n, b, c, d, e, f FROM T",
            "RENAME TABLE T TO _T_del, _T_gho TO T",
            "UPDATE T SET x = 6 WHERE id % 2",
            "DROP TABLE _T_del",
        ],
    ),
    (
        "pt_online_schema_change",
        &[
            "CREATE TABLE _T_new LIKE T",
            "ALTER TABLE _T_new MODIFY a BIGINT, ADD x VARCHAR(9) DEFAULT 'q'",
            "INSERT LOW_PRIORITY IGNORE INTO _T_new (id, n, a, b, c, d, e, f) SELECT id, n, a, b, c, d, e, f FROM T LOCK IN SHARE MODE",
            "RENAME TABLE T TO _T_old, _T_new TO T",
            "DROP TABLE IF EXISTS _T_old",
            "UPDATE T SET x = 'r' WHERE id % 3 = 1",
        ],
    ),
    (
        "statement_format",
        &[
            "SET SESSION binlog_format = 'STATEMENT'",
            "UPDATE T SET n = 77 WHERE id % 2",
            "DELETE FROM T WHERE id % 5 = 0",
        ],
    ),
    (
        "partial_images",
        &[
            "SET SESSION binlog_row_image = 'MINIMAL'",
            "UPDATE T SET n = 78 WHERE id % 2",
            "DELETE FROM T WHERE id % 7 = 0",
            "INSERT INTO T (id) VALUES (830)",
        ],
    ),
    (
        "partial_then_alter",
        &[
            "SET SESSION binlog_row_image = 'MINIMAL'",
            "UPDATE T SET n = 78 WHERE id % 2",
            "ALTER TABLE T ADD x INT DEFAULT 4",
            "UPDATE T SET x = 5 WHERE id % 3 = 0",
        ],
    ),
    (
        "no_key",
        &[
            "CREATE TABLE T_nokey (v INT)",
            "INSERT INTO T_nokey VALUES (1)",
            "UPDATE T SET n = 3 WHERE id = 3",
        ],
    ),
];

/// What no target can follow: the table is parked, and nothing else.
pub(super) const PARKED: &[Case] = &[
    (
        "other_key",
        &["ALTER TABLE T DROP PRIMARY KEY, ADD PRIMARY KEY (id, n)"],
    ),
    ("key_gone", &["ALTER TABLE T DROP PRIMARY KEY"]),
    ("key_of_another_type", &["ALTER TABLE T MODIFY id VARCHAR(20)"]),
];
