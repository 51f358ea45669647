//! Keys of every type, as SQL.

/// A key's declaration and the expressions that fill it; `{i}` counts, `{r}` is a random number.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static str,
    pub(crate) key: &'static str,
    pub(crate) values: &'static str,
}

/// Of both servers.
pub(crate) const KEYS: &[Key] = &[
    Key {
        name: "int_signed",
        columns: "a INT",
        key: "a",
        values: "{r} % 100000 - 50000",
    },
    Key {
        name: "tiny_signed",
        columns: "a TINYINT",
        key: "a",
        values: "{r} % 256 - 128",
    },
    Key {
        name: "bigint_unsigned",
        columns: "a BIGINT UNSIGNED",
        key: "a",
        values: "18446744073709551615 - {r}",
    },
    Key {
        name: "bigint_signed",
        columns: "a BIGINT",
        key: "a",
        values: "-9223372036854775808 + {r} % 3000",
    },
    Key {
        name: "zerofill",
        columns: "a INT(8) ZEROFILL",
        key: "a",
        values: "{r} % 100000",
    },
    Key {
        name: "year_key",
        columns: "a YEAR, b INT",
        key: "a, b",
        values: "IF({i} % 7 = 0, 0, 1901 + {r} % 255), {i}",
    },
    Key {
        name: "decimal_key",
        columns: "a DECIMAL(30,10)",
        key: "a",
        values: "({r} - 500000000) / 7.0",
    },
    Key {
        name: "float_key",
        columns: "a FLOAT",
        key: "a",
        values: "({r} - 500000000) / 7e3",
    },
    Key {
        name: "float_fixed",
        columns: "a FLOAT(9,3), b INT",
        key: "a, b",
        values: "({r} % 1000 - 500) / 7, {i}",
    },
    Key {
        name: "double_key",
        columns: "a DOUBLE, b INT",
        key: "a, b",
        values: "({r} % 40 - 20) / 7e-30, {i}",
    },
    Key {
        name: "text_ci",
        columns: "a VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
        key: "a",
        values: r#"CONCAT(ELT(1 + {r} % 12, 'a', 'A', 'é', 'ß', 'ss', '''', '\\', '\"', '%', 'Ω', '😀', 'z '), {r} % 500)"#,
    },
    Key {
        name: "text_bin",
        columns: "a VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        key: "a",
        values: r"CONCAT(ELT(1 + {r} % 6, 'a', 'A', 'é', '', '''\\', '\n'), {r} % 500)",
    },
    Key {
        name: "text_latin1",
        columns: "a VARCHAR(40) CHARACTER SET latin1, b INT",
        key: "a, b",
        values: "CONCAT(ELT(1 + {r} % 4, 'é', 'E', 'Ü', ''), {r} % 9), {i}",
    },
    Key {
        name: "text_sjis",
        columns: "a VARCHAR(40) CHARACTER SET cp932",
        key: "a",
        values: "CONCAT('表', {r} % 700, 'ソ')",
    },
    Key {
        name: "text_utf16",
        columns: "a CHAR(20) CHARACTER SET utf16",
        key: "a",
        values: "CONCAT('ü', {r} % 700)",
    },
    Key {
        name: "binary_key",
        columns: "a BINARY(8)",
        key: "a",
        values: "UNHEX(SUBSTR(SHA2({r}, 256), 1, 1 + 1))",
    },
    Key {
        name: "varbinary_key",
        columns: "a VARBINARY(16)",
        key: "a",
        values: "UNHEX(SUBSTR(SHA2({r}, 256), 1, 2 * ({r} % 9)))",
    },
    Key {
        name: "blob_prefix",
        columns: "a BLOB",
        key: "a(6)",
        values: "UNHEX(SHA2({r}, 256))",
    },
    Key {
        name: "date_key",
        columns: "a DATE, b INT",
        key: "a, b",
        values: "IF({i} % 5 = 0, '0000-00-00', DATE_ADD('2020-01-01', INTERVAL {r} % 90 DAY)), {i}",
    },
    Key {
        name: "partial_date",
        columns: "a DATE, b INT",
        key: "a, b",
        values: "IF({i} % 2, '2020-00-00', '2020-02-31'), {i}",
    },
    Key {
        name: "datetime6",
        columns: "a DATETIME(6)",
        key: "a",
        values: "DATE_ADD('1999-12-31 23:59:59.999999', INTERVAL {r} MICROSECOND)",
    },
    Key {
        name: "zero_datetime",
        columns: "a DATETIME(3), b INT",
        key: "a, b",
        values: "IF({i} % 3 = 0, '0000-00-00 00:00:00', DATE_ADD('2020-01-01', INTERVAL {r} % 50 SECOND)), {i}",
    },
    Key {
        name: "timestamp_key",
        columns: "a TIMESTAMP(6), b INT",
        key: "a, b",
        values: "DATE_ADD('2020-03-29 00:59:59', INTERVAL {r} % 100 SECOND), {i}",
    },
    Key {
        name: "time_key",
        columns: "a TIME(2), b INT",
        key: "a, b",
        values: "SEC_TO_TIME(({r} % 200 - 100) * 29000.25), {i}",
    },
    Key {
        name: "enum_key",
        columns: "a ENUM('z', 'm', 'a', '''', '10'), b INT",
        key: "a, b",
        values: "1 + {r} % 5, {i}",
    },
    Key {
        name: "set_key",
        columns: "a SET('z', 'm', 'a', 'b'), b INT",
        key: "a, b",
        values: "{r} % 16, {i}",
    },
    Key {
        name: "bit_key",
        columns: "a BIT(33), b INT",
        key: "a, b",
        values: "{r} % 40, {i}",
    },
    Key {
        name: "three",
        columns: "a INT, b VARCHAR(5), c DATE",
        key: "b, a, c",
        values: "{r} % 4, ELT(1 + {r} % 3, 'x', 'X''', ''), DATE_ADD('2020-01-01', INTERVAL {i} DAY)",
    },
    Key {
        name: "descending",
        columns: "a INT, b VARCHAR(9), c INT",
        key: "a DESC, b, c DESC",
        values: "{r} % 9 - 4, ELT(1 + {r} % 3, 'x', 'Y', ''), {i}",
    },
];

/// Types and collations that only MySQL has.
pub(crate) const MYSQL_KEYS: &[Key] = &[
    Key {
        name: "text_0900",
        columns: "a VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci",
        key: "a",
        values: "CONCAT(ELT(1 + {r} % 8, 'a', 'Á', 'ß', 'ss', 'a ', 'æ', '😀', ''), {r} % 500, ELT(1 + {r} % 2, ' ', ''))",
    },
    Key {
        name: "text_0900_as_cs",
        columns: "a VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_as_cs, b INT",
        key: "a, b",
        values: "CONCAT(ELT(1 + {r} % 6, 'a', 'A', 'á', 'a ', 'Z', ''), {r} % 5), {i}",
    },
];

/// Types and collations that only MariaDB has.
pub(crate) const MARIADB_KEYS: &[Key] = &[
    Key {
        name: "text_nopad",
        columns: "a VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_nopad_ci",
        key: "a",
        values: "CONCAT(ELT(1 + {r} % 4, 'a', 'A', 'é', ''), {r} % 300, ELT(1 + {r} % 3, ' ', '  ', ''))",
    },
    Key {
        name: "uuid_key",
        columns: "a UUID",
        key: "a",
        values: "CONCAT(LPAD(HEX({r}), 8, '0'), '-e89b-', LPAD({r} % 9, 4, '0'), '-a456-', LPAD({i}, 12, '0'))",
    },
    Key {
        name: "inet_keys",
        columns: "a INET6, b INET4",
        key: "a, b",
        values: "CONCAT(ELT(1 + {r} % 4, '2001:db8::', '::', '::ffff:0:', '1:0:2::'), HEX({r} % 60000)), CONCAT('10.0.', {r} % 256, '.', {i} % 256)",
    },
];
