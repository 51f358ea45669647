//! Tables of every type and key that a server knows, and what happens to them.

use crate::world::World;

/// A table with one column of one type: `id` and `v`.
pub(super) struct OfType {
    name: String,
    values: &'static [&'static str],
}

/// Types, and values of each as literals. What a server does not know is left out.
const TYPES: &[(&str, &[&str])] = &[
    ("TINYINT", &["-128", "0", "127"]),
    ("TINYINT UNSIGNED", &["0", "255"]),
    ("SMALLINT", &["-32768", "32767"]),
    ("SMALLINT UNSIGNED", &["65535"]),
    ("MEDIUMINT", &["-8388608", "8388607"]),
    ("MEDIUMINT UNSIGNED", &["16777215"]),
    ("INT", &["-2147483648", "2147483647"]),
    ("INT UNSIGNED", &["4294967295"]),
    ("BIGINT", &["-9223372036854775808", "9223372036854775807"]),
    ("BIGINT UNSIGNED", &["0", "18446744073709551615"]),
    ("INT ZEROFILL", &["7"]),
    ("DECIMAL(10,2)", &["-99999999.99", "0.01", "99999999.99"]),
    ("DECIMAL(38,9)", &["-12345678901234567890123456789.123456789"]),
    (
        "DECIMAL(65,30)",
        &["-99999999999999999999999999999999999.999999999999999999999999999999"],
    ),
    (
        "DECIMAL(65,0)",
        &["12345678901234567890123456789012345678901234567890123456789012345"],
    ),
    ("FLOAT", &["0.1", "-3.4e38", "1e-37", "16777216"]),
    ("DOUBLE", &["0.1", "-1.7976931348623157e308", "5e-300"]),
    ("BIT(1)", &["b'0'", "b'1'"]),
    ("BIT(13)", &["b'1000000000001'"]),
    ("BIT(64)", &["~0"]),
    ("BOOLEAN", &["TRUE", "FALSE"]),
    ("YEAR", &["1901", "2155", "0"]),
    ("DATE", &["'1000-01-01'", "'1969-12-31'", "'9999-12-31'"]),
    ("TIME", &["'-838:59:59'", "'838:59:59'", "'00:00:00'"]),
    (
        "TIME(6)",
        &["'-00:00:00.000001'", "'-1:2:3.999999'", "'838:59:58.5'"],
    ),
    ("DATETIME", &["'1000-01-01'", "'9999-12-31 23:59:59'"]),
    (
        "DATETIME(6)",
        &["'1969-12-31 23:59:59.999999'", "'2024-02-29 01:02:03.000001'"],
    ),
    (
        "TIMESTAMP NULL",
        &["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'"],
    ),
    ("TIMESTAMP(6) NULL", &["'2024-02-29 01:02:03.000001'"]),
    ("CHAR(20)", &["'a'", "'a  b'", "''"]),
    ("VARCHAR(300)", &["REPEAT('é', 300)", "' '", "''"]),
    ("CHAR(10) CHARACTER SET latin1", &["'é'", "'€'"]),
    ("VARCHAR(20) CHARACTER SET utf16", &["'😀 é'"]),
    ("VARCHAR(20) CHARACTER SET ucs2", &["'日本'"]),
    ("VARCHAR(20) CHARACTER SET cp932", &["'日本ｶﾅ'"]),
    ("VARCHAR(20) CHARACTER SET sjis", &["'日本'"]),
    ("VARCHAR(20) CHARACTER SET ujis", &["'日本'"]),
    ("VARCHAR(20) CHARACTER SET gbk", &["'中文'"]),
    ("VARCHAR(20) CHARACTER SET gb18030", &["'中文😀'"]),
    ("VARCHAR(20) CHARACTER SET big5", &["'中文'"]),
    ("VARCHAR(20) CHARACTER SET euckr", &["'한국어'"]),
    ("TINYTEXT", &["'t'"]),
    ("TEXT", &["REPEAT('x', 60000)"]),
    ("LONGTEXT", &["REPEAT('日', 100000)"]),
    ("BINARY(8)", &["'a'", "X'0001000000000000'", "''"]),
    ("VARBINARY(300)", &["X'00FF00'", "''"]),
    ("BLOB", &["X'DEADBEEF'", "''"]),
    ("LONGBLOB", &["REPEAT(X'00FF', 100000)"]),
    ("ENUM('a','b c','ü','''')", &["'a'", "'b c'", "'ü'", "''''"]),
    ("SET('a','b','ü')", &["''", "'a,ü'"]),
    (
        "JSON",
        &[
            "'null'",
            "'{\"b\": [1, 2.5, \"é\", null, true], \"a\": {}}'",
            "'18446744073709551615'",
            "'\"\"'",
        ],
    ),
    ("POINT", &["ST_GeomFromText('POINT(1 -2.5)')"]),
    ("GEOMETRY", &["ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))')"]),
    ("VECTOR(3)", &["TO_VECTOR('[1,-2.5,0.1]')"]),
    ("UUID", &["'123e4567-e89b-12d3-a456-426655440000'"]),
    ("INET6", &["'2001:db8::1'", "'::ffff:1.2.3.4'"]),
    ("INET4", &["'192.168.0.1'"]),
    ("INT AS (id * 2) STORED", &[]),
    ("VARCHAR(20) AS (CONCAT('v', id)) VIRTUAL", &[]),
    ("INT DEFAULT 5 INVISIBLE", &["3"]),
];

/// Keys: the columns' declarations, the key, and rows.
const KEYS: &[(&str, &str, &[&str])] = &[
    (
        "a BIGINT UNSIGNED",
        "a",
        &["0", "18446744073709551615", "9223372036854775808"],
    ),
    ("a INT", "a DESC", &["-1", "0", "1"]),
    (
        "a VARCHAR(40) CHARACTER SET utf8mb4",
        "a",
        &["'b'", "'A'", "'é'", "'z z'", "'日本'"],
    ),
    (
        "a VARCHAR(40) CHARACTER SET latin1 COLLATE latin1_bin",
        "a",
        &["'b'", "'B'", "'é'"],
    ),
    ("a CHAR(3), b INT", "a, b", &["'x', 1", "'x', 2", "'y', 1"]),
    (
        "a DATETIME(6), b DECIMAL(12,4)",
        "b, a",
        &[
            "'2024-01-01', 1.5",
            "'2024-01-01 00:00:00.000001', 1.5",
            "'1999-01-01', -2",
        ],
    ),
    ("a BINARY(4)", "a", &["X'00000000'", "X'00FF'", "'abcd'"]),
    ("a VARBINARY(20)", "a", &["X'00'", "''", "X'0000'"]),
    (
        "a DATE, b ENUM('z','a')",
        "a, b",
        &["'2024-01-01', 'z'", "'2024-01-01', 'a'"],
    ),
    (
        "a TIME(3), b YEAR",
        "a, b",
        &["'-1:00:00.5', 2024", "'1:00:00', 1999"],
    ),
];

/// Tables for everything else.
pub(super) const PLAIN: &[&str] = &[
    "CREATE TABLE vacant (id INT PRIMARY KEY, v INT)",
    "CREATE TABLE parent (id INT PRIMARY KEY, v VARCHAR(20))",
    "CREATE TABLE moved (id INT PRIMARY KEY, v INT)",
    "CREATE TABLE parted (id INT, day DATE, v INT, PRIMARY KEY (id, day)) PARTITION BY HASH (id) PARTITIONS 4",
    "INSERT INTO parent VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e'), (6, 'f'), (7, 'g'), (8, 'h'), (9, 'i')",
    "INSERT INTO moved VALUES (1, 1), (2, 2), (3, 3)",
    "INSERT INTO parted VALUES (1, '2024-01-01', 1), (2, '2024-01-02', 2), (3, '2024-01-03', 3)",
];

/// What transactions may be like.
pub(super) const TRANSACTIONS: &[&str] = &[
    "START TRANSACTION",
    "INSERT INTO parent VALUES (20, 'twenty')",
    "UPDATE parent SET v = 'B' WHERE id = 2",
    "DELETE FROM parent WHERE id = 3",
    "INSERT INTO parted VALUES (4, '2024-01-04', 4)",
    "COMMIT",
    "START TRANSACTION",
    "DELETE FROM parent",
    "ROLLBACK",
    "START TRANSACTION",
    "INSERT INTO parent VALUES (21, 'stays')",
    "SAVEPOINT here",
    "INSERT INTO parent VALUES (22, 'goes')",
    "ROLLBACK TO SAVEPOINT here",
    "INSERT INTO parent VALUES (23, 'stays')",
    "COMMIT",
    "UPDATE moved SET id = id + 10 ORDER BY id DESC",
    "UPDATE moved SET id = id - 9 ORDER BY id",
    "REPLACE INTO moved VALUES (2, 99)",
    "INSERT INTO moved VALUES (2, 5), (50, 5) ON DUPLICATE KEY UPDATE v = v + 1",
    "INSERT INTO vacant SELECT id, 1 FROM parent",
    "UPDATE parent JOIN moved ON moved.id = parent.id SET parent.v = 'both', moved.v = -1",
];

/// What may happen to a table.
pub(super) const CHANGES: &[&str] = &[
    "ALTER TABLE parent ADD COLUMN n INT",
    "ALTER TABLE parent ADD COLUMN d VARCHAR(10) NOT NULL DEFAULT 'x' FIRST",
    "ALTER TABLE parent CHANGE COLUMN n m BIGINT",
    "ALTER TABLE parent DROP COLUMN m",
    "ALTER TABLE moved MODIFY v DECIMAL(14,2)",
    "CREATE TABLE made (id INT PRIMARY KEY, v JSON)",
    "INSERT INTO made VALUES (1, '[1]'), (2, '{}')",
    "CREATE TABLE copied LIKE moved",
    "INSERT INTO copied SELECT * FROM moved",
    "RENAME TABLE copied TO renamed",
    "TRUNCATE TABLE vacant",
    "INSERT INTO vacant VALUES (5, 5)",
    "ALTER TABLE parted ADD PARTITION PARTITIONS 2",
];

/// Between them, changes of rows.
pub(super) const BESIDES: &str = "UPDATE moved SET v = v + 1";

/// Makes a table of each type that the server knows.
pub(super) async fn of_types(world: &mut World) -> Vec<OfType> {
    let mut made = Vec::new();
    for (number, (declared, values)) in TYPES.iter().enumerate() {
        let name = format!("type_{number}");
        let statement = format!("CREATE TABLE {name} (id INT PRIMARY KEY, v {declared})");
        if world.tried(&statement).await {
            made.push(OfType { name, values });
        }
    }
    made
}

/// Makes a table of each kind of key, with its rows.
pub(super) async fn of_keys(world: &mut World) {
    for (number, (columns, key, rows)) in KEYS.iter().enumerate() {
        let name = format!("key_{number}");
        let statement = format!("CREATE TABLE {name} ({columns}, v INT, PRIMARY KEY ({key}))");
        if world.tried(&statement).await {
            let rows: Vec<String> = (0..).zip(*rows).map(|(v, row)| format!("({row}, {v})")).collect();
            let insert = format!("INSERT INTO {name} VALUES {}", rows.join(", "));
            let update = format!("UPDATE {name} SET v = v + 1");
            world.run(&[&insert, &update]).await;
        }
    }
}

impl OfType {
    /// A row of each value and one with NULL, from a number on.
    pub(super) async fn insert(&self, world: &mut World, from: usize) {
        for (id, value) in (from..).zip(self.values.iter().chain(&["NULL"])) {
            let insert = match self.values {
                [] => format!("INSERT INTO {} (id) VALUES ({id})", self.name),
                _ => format!("INSERT INTO {} (id, v) VALUES ({id}, {value})", self.name),
            };
            world.run(&[&insert]).await;
        }
    }

    /// Values change places, one row gets NULL, one goes, one gets another key.
    pub(super) async fn change(&self, world: &mut World) {
        let name = &self.name;
        for (id, value) in (100..).zip(self.values.iter().rev()) {
            world
                .run(&[&format!("UPDATE {name} SET v = {value} WHERE id = {id}")])
                .await;
        }
        if !self.values.is_empty() {
            world
                .run(&[&format!("UPDATE {name} SET v = NULL WHERE id = 0")])
                .await;
        }
        world
            .run(&[
                &format!("UPDATE {name} SET id = 1000 WHERE id = 100"),
                &format!("DELETE FROM {name} WHERE id = 1"),
            ])
            .await;
    }
}
