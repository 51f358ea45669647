//! Columns of every type with the values at their edges, as SQL.

use crate::server::Flavour;

/// A column: its declaration and the expressions that fill it.
pub(crate) struct Spec {
    pub(crate) declared: String,
    pub(crate) values: Vec<String>,
}

fn spec(declared: &str, values: &[&str]) -> Spec {
    Spec {
        declared: declared.to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    }
}

/// Every column of a server.
pub(crate) fn all(flavour: Flavour) -> Vec<Spec> {
    let mut specs = numbers();
    specs.extend(temporal());
    specs.extend(text());
    specs.extend(bytes_and_labels());
    specs.extend(spatial());
    match flavour {
        Flavour::Mysql => {
            let gb18030 = &["'汉字ḿ€😀'", "'a'"];
            specs.push(spec("varchar(20) CHARACTER SET gb18030", gb18030));
            specs.push(spec("enum('汉','ḿ') CHARACTER SET gb18030", &["1", "2"]));
            specs.push(spec("json", &JSON));
            specs.push(spec("vector(3)", &["STRING_TO_VECTOR('[1,-2.5,3e10]')"]));
            specs.push(spec("year AS (2000) VIRTUAL", &[]));
            specs.push(spec("int unsigned AS (4000000000) STORED", &[]));
            specs.push(spec("int INVISIBLE", &["7"]));
        }
        Flavour::MariaDb => {
            specs.push(spec("json", &["'{\"b\": 1.50, \"a\":[ ]}'", "'null'"]));
            specs.extend(addresses());
            specs.extend(compressed());
            specs.push(spec("int unsigned AS (4000000000) STORED", &[]));
            specs.push(spec("int INVISIBLE", &["7"]));
        }
    }
    // After all others, so that a property counted wrongly lands here.
    specs.push(spec("int unsigned", &["4294967295", "0"]));
    specs
}

fn numbers() -> Vec<Spec> {
    let nines = "9".repeat(35);
    let negative = format!("-{nines}.{}", "9".repeat(30));
    let fraction = format!("0.{}", "1234567890".repeat(3));
    vec![
        spec("year", &["0", "1901", "2155", "2026"]),
        spec("tinyint", &["-128", "127", "0", "-1"]),
        spec("tinyint unsigned", &["255", "0", "128"]),
        spec("tinyint(1)", &["1", "-5"]),
        spec("smallint", &["-32768", "32767", "-1"]),
        spec("smallint unsigned", &["65535", "32768"]),
        spec("mediumint", &["-5", "-8388608", "8388607"]),
        spec("mediumint unsigned", &["16777215", "8388608"]),
        spec("int", &["-2147483648", "2147483647", "-1"]),
        spec("int unsigned zerofill", &["4294967295", "42"]),
        spec("bigint", &["-9223372036854775808", "9223372036854775807", "-1"]),
        spec(
            "bigint unsigned",
            &["18446744073709551615", "9223372036854775808", "1"],
        ),
        spec(
            "float",
            &["0.1", "-3.4028234e38", "1.17549435e-38", "16777217", "-0.0"],
        ),
        spec("float(7,3)", &["1234.567", "-0.001"]),
        spec(
            "double",
            &["0.1", "1.7976931348623157e308", "-2.2250738585072014e-308", "1/3"],
        ),
        spec("double unsigned", &["0.5"]),
        spec(
            "decimal(65,30)",
            &[&negative, "0", "-0.000000000000000000000000000001"],
        ),
        spec("decimal(30,30)", &[&fraction, "-0.5"]),
        spec("decimal(10,0)", &["-1234567890", "9999999999", "0"]),
        spec(
            "decimal(38,10)",
            &["9999999999999999999999999999.9999999999", "-1.5"],
        ),
        spec(
            "decimal(39,0)",
            &["-999999999999999999999999999999999999999", "7", "0"],
        ),
        spec("decimal(5,2) zerofill", &["1.5", "999.99", "0"]),
        spec("decimal(41,2) zerofill", &["1.5"]),
        spec("decimal(18,9)", &["-123456789.987654321", "0.000000001"]),
        spec("decimal(10,2) unsigned", &["99999999.99"]),
        spec("bit(1)", &["b'1'", "b'0'"]),
        spec("bit(7)", &["b'1010101'"]),
        spec("bit(8)", &["255", "1"]),
        spec("bit(17)", &["65537"]),
        spec("bit(63)", &["9223372036854775807"]),
        spec("bit(64)", &["18446744073709551615", "1"]),
    ]
}

fn temporal() -> Vec<Spec> {
    let mut specs = vec![spec(
        "date",
        &[
            "'0000-00-00'",
            "'2020-00-00'",
            "'2020-02-29'",
            "'9999-12-31'",
            "'1000-01-01'",
        ],
    )];
    for digits in 0..=6 {
        specs.push(spec(
            &format!("time({digits})"),
            &[
                "'-838:59:59'",
                "'838:59:58.999999'",
                "'-12:34:56.789012'",
                "'-00:00:00.111111'",
                "'-00:00:01'",
                "'23:59:59.5'",
                "0",
            ],
        ));
        specs.push(spec(
            &format!("datetime({digits})"),
            &[
                "'0000-00-00'",
                "'2020-00-00 00:00:00'",
                "'9999-12-31 23:59:58.999999'",
                "'1000-01-01 00:00:00.000001'",
                "'2026-11-23 12:34:56.123456'",
            ],
        ));
        specs.push(spec(
            &format!("timestamp({digits})"),
            &[
                "'0000-00-00'",
                "'1970-01-01 00:00:01'",
                "'2038-01-19 03:14:06.999999'",
                "'2001-09-09 01:46:40.000001'",
            ],
        ));
    }
    specs
}

/// Character sets that must be read, each with text of its own.
const CHARSETS: [(&str, &str); 23] = [
    ("utf8mb4", "é😀漢"),
    ("utf8mb3", "é漢"),
    ("ascii", "plain"),
    ("latin1", "€éÿ"),
    ("latin2", "řž"),
    ("ucs2", "é漢"),
    ("utf16", "é😀"),
    ("utf16le", "é😀"),
    ("utf32", "é😀"),
    ("cp932", "日本①～"),
    ("gbk", "汉字"),
    ("euckr", "한글"),
    ("cp1250", "ř"),
    ("cp1251", "Ж"),
    ("cp1257", "ģ"),
    ("koi8r", "Ж"),
    ("sjis", "日本〜ｱ"),
    ("ujis", "日本丂"),
    ("eucjpms", "日本①"),
    ("big5", "漢字"),
    ("gb2312", "汉字"),
    ("cp850", "éß"),
    ("macroman", "é€"),
];

fn text() -> Vec<Spec> {
    let mut specs = vec![
        spec(
            "char(255) CHARACTER SET utf8mb4",
            &["'x'", "REPEAT('é', 255)", "' y  '"],
        ),
        spec("char(64) CHARACTER SET utf8mb3", &["REPEAT('漢', 64)", "''"]),
        spec(
            "varchar(63) CHARACTER SET utf8mb4",
            &["'short'", "REPEAT('😀', 63)", "'pad  '"],
        ),
        spec(
            "varchar(64) CHARACTER SET utf8mb4",
            &["'short'", "REPEAT('😀', 64)"],
        ),
        spec("varchar(255) CHARACTER SET latin1", &["REPEAT('é', 255)"]),
        spec("varchar(256) CHARACTER SET latin1", &["REPEAT('é', 256)", "''"]),
        spec("tinytext CHARACTER SET latin1", &["'é'"]),
        spec("text CHARACTER SET utf8mb4", &["REPEAT('é', 20000)", "''"]),
        spec("mediumtext CHARACTER SET utf8mb4", &["REPEAT('x', 70000)"]),
        spec("longtext CHARACTER SET utf16", &["REPEAT('é', 70000)"]),
    ];
    for (charset, sample) in CHARSETS {
        let sample = format!("'{sample}'");
        for kind in ["char(20)", "varchar(20)"] {
            specs.push(spec(
                &format!("{kind} CHARACTER SET {charset}"),
                &[&sample, "' a '", "''"],
            ));
        }
    }
    specs
}

fn bytes_and_labels() -> Vec<Spec> {
    let many: Vec<String> = (0..300).map(|label| format!("'label{label}'")).collect();
    let members: Vec<String> = (0..64).map(|label| format!("'m{label}'")).collect();
    vec![
        spec("binary(4)", &["x'0102'", "x'01020000'", "x''", "x'00000001'"]),
        spec("binary(255)", &["x'ff'"]),
        spec("varbinary(10)", &["x'010200'", "x''"]),
        spec("varbinary(300)", &["REPEAT(x'ab', 300)"]),
        spec("tinyblob", &["x'00ff'"]),
        spec("blob", &["x''", "REPEAT(x'00', 1000)"]),
        spec("mediumblob", &["REPEAT(x'01', 70000)"]),
        spec("longblob", &["REPEAT(x'02', 70000)"]),
        spec(
            r"enum('a','b''c','','x y','back\\slash','comma,)','é','line\nend') CHARACTER SET utf8mb4",
            &[
                "'a'",
                "2",
                "3",
                "'no such label'",
                r"'back\\slash'",
                "6",
                "'é'",
                "8",
            ],
        ),
        spec(
            &format!("enum({}) CHARACTER SET latin1", many.join(",")),
            &["1", "255", "256", "300"],
        ),
        spec("enum('é','ß') CHARACTER SET latin1", &["'é'", "'ß'"]),
        spec("enum('ж','漢') CHARACTER SET utf16", &["'ж'", "2"]),
        spec("set('a','b','é') CHARACTER SET utf8mb4", &["'a,é'", "''", "7"]),
        spec(
            "set('','a','b') CHARACTER SET utf8mb4",
            &["0", "1", "2", "3", "4", "5", "6", "7"],
        ),
        spec("set('ö','ü') CHARACTER SET latin1", &["'ö,ü'", "'ü'"]),
        spec(
            &format!("set({}) CHARACTER SET latin1", members.join(",")),
            &["1", "9223372036854775808", "18446744073709551615"],
        ),
        spec(
            &format!("set({}) CHARACTER SET latin1", members[..17].join(",")),
            &["65537"],
        ),
        spec(
            &format!("set({}) CHARACTER SET latin1", members[..40].join(",")),
            &["549755813889"],
        ),
    ]
}

fn spatial() -> Vec<Spec> {
    vec![
        spec(
            "geometry",
            &[
                "ST_GeomFromText('LINESTRING(0 0,1 1)')",
                "ST_GeomFromText('POINT(1 2)', 4326)",
            ],
        ),
        spec("point", &["ST_GeomFromText('POINT(1 2)')"]),
        spec("linestring", &["ST_GeomFromText('LINESTRING(0 0,1 1)')"]),
        spec("polygon", &["ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))')"]),
        spec("multipoint", &["ST_GeomFromText('MULTIPOINT(0 0,1 1)')"]),
        spec(
            "multilinestring",
            &["ST_GeomFromText('MULTILINESTRING((0 0,1 1))')"],
        ),
        spec(
            "multipolygon",
            &["ST_GeomFromText('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))')"],
        ),
        spec(
            "geometrycollection",
            &["ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2))')"],
        ),
    ]
}

/// Types that the log shows as BINARY.
fn addresses() -> Vec<Spec> {
    let inet6 = [
        "::",
        "::1",
        "::ffff",
        "::1:0",
        "::1.2.3.4",
        "::ffff:1.2.3.4",
        "::ffff:0:0",
        "::fffe:1.2.3.4",
        "::ffff:0:1.2.3.4",
        "::1:0:0",
        "1::",
        "0:0:1:0:0:0:1:0",
        "1:0:2:0:3:0:4:0",
        "1:0:0:2:0:0:3:4",
        "1:2:3:4:5:6:7:0",
        "0:2:3:4:5:6:7:8",
        "2001:DB8::1:0:0:1",
        "64:ff9b::1.2.3.4",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "1:0:0:0:2:0:0:0",
    ];
    let quoted: Vec<String> = inet6.iter().map(|text| format!("'{text}'")).collect();
    vec![
        spec(
            "uuid",
            &[
                "'123e4567-e89b-12d3-a456-426655440000'",
                "'00000000-0000-0000-0000-000000000000'",
                "'018F6D9C-1234-7000-8000-0000000000ff'",
                "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
                "UUID()",
            ],
        ),
        spec(
            "inet4",
            &["'1.2.3.4'", "'0.0.0.0'", "'255.255.255.255'", "'10.0.0.0'"],
        ),
        Spec {
            declared: "inet6".to_owned(),
            values: quoted,
        },
        spec("binary(16)", &["'123e4567e89b12d3'"]),
    ]
}

/// Columns whose values are compressed one by one.
fn compressed() -> Vec<Spec> {
    let mut specs = Vec::new();
    for kind in ["varchar(300)", "tinytext", "text", "mediumtext", "longtext"] {
        for charset in ["utf8mb4", "latin1", "utf16"] {
            let declared = format!("{kind} COMPRESSED CHARACTER SET {charset}");
            specs.push(spec(&declared, &["REPEAT('é', 100)", "''", "'x'", "'pad  '"]));
        }
    }
    for kind in ["varbinary(255)", "varbinary(254)", "tinyblob", "blob", "longblob"] {
        specs.push(spec(
            &format!("{kind} COMPRESSED"),
            &["REPEAT(x'ab', 250)", "x''", "x'00ff'"],
        ));
    }
    specs.push(spec(
        "longtext COMPRESSED CHARACTER SET utf8mb4",
        &["REPEAT('x', 200000)", "REPEAT('y', 70000)"],
    ));
    specs
}

/// Documents of every kind that MySQL stores.
const JSON: [&str; 30] = [
    "'null'",
    "'true'",
    "'-1'",
    "'65535'",
    "'-32769'",
    "'4294967295'",
    "'9223372036854775807'",
    "'18446744073709551615'",
    "'-9223372036854775808'",
    "'99999999999999999999999'",
    "'[1.0, -0.0, 0.1, 1e15, 1e14, 123456789012345678, 1.5e-7, 1e-14, 1e-15, 1e-16, 1e300, 5e-324]'",
    "'[1.7976931348623157e308, 2.2250738585072014e-308, 1234567890123456.7, 0.30000000000000004, 100.0, 1e16]'",
    r#"'{"b": {"a": [1, [], {}]}, "a": "é😀", "": "", "long key": null}'"#,
    r#"'"quote \\" slash \\\\ / \\b\\f\\n\\r\\t \\u0000\\u001f\\u007f\\u2028"'"#,
    "CAST(CAST('-12.3400' AS DECIMAL(10,4)) AS JSON)",
    "CAST(CAST('0.5' AS DECIMAL(30,30)) AS JSON)",
    "JSON_ARRAY(CAST('99999999999999999999999999999999999.123456789012345678901234567890' AS DECIMAL(65,30)))",
    "CAST(DATE'2020-02-29' AS JSON)",
    "CAST(TIME'-12:34:56.789' AS JSON)",
    "CAST(TIME'838:59:59' AS JSON)",
    "CAST(CAST('2020-02-29 12:34:56.123456' AS DATETIME(6)) AS JSON)",
    "JSON_OBJECT('t', TIMESTAMP'1999-12-31 23:59:59', 'y', CAST(2020 AS YEAR))",
    "JSON_ARRAY(x'cafe', _binary'\\0bytes', b'101')",
    "JSON_ARRAY(REPEAT(x'ab', 57), REPEAT(x'ab', 58), REPEAT(x'ab', 200), x'')",
    "JSON_ARRAY(REPEAT('x', 127), REPEAT('y', 128), REPEAT('z', 20000))",
    "JSON_ARRAY(REPEAT('x', 70000), 1, -70000, 70000, TRUE, NULL, 'after')",
    "JSON_OBJECT(REPEAT('k', 40000), 1, REPEAT('l', 40000), -2147483648)",
    "JSON_ARRAY(ST_GeomFromText('POINT(1 2)'), TRUE, FALSE)",
    "CONCAT(REPEAT('[', 100), REPEAT(']', 100))",
    "JSON_ARRAY(CAST(18446744073709551615 AS UNSIGNED), 1.5e0, PI(), 0e0)",
];
