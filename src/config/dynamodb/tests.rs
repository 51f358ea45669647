use super::*;
use crate::config::{Config, ConfigErrors, SourceConfig, parse};
use crate::event::TableId;

fn read(dynamodb: &str) -> Result<Config, ConfigErrors> {
    let text = format!(
        "pipeline: p\nsources: [{{ name: sessions, dynamodb: {{ {dynamodb} }} }}]\n\
         sink: {{ bigquery: {{ project: my-project }} }}\ncheckpoint: file:///c\n"
    );
    parse(&text, &|name| (name == "SECRET").then(|| "sw0rd fish".to_owned()))
}

fn source(dynamodb: &str) -> DynamodbSource {
    match read(dynamodb).unwrap().source {
        SourceConfig::Dynamodb(source) => source,
        SourceConfig::Mysql(_) => panic!("another kind of source"),
    }
}

fn keys(dynamodb: &str) -> Vec<String> {
    let errors = read(dynamodb).err().map(|it| it.errors).unwrap_or_default();
    errors
        .into_iter()
        .map(|error| error.key.replacen("sources[0].dynamodb.", "", 1))
        .collect()
}

const LEAST: &str = "region: eu-west-1, tables: [sessions]";

#[test]
fn the_least_and_the_whole() {
    let least = source(&format!("{LEAST}, export_bucket: my-exports"));
    let export = |prefix: &str| {
        FirstLoad::Export(ExportPlace {
            bucket: "my-exports".to_owned(),
            prefix: prefix.to_owned(),
        })
    };
    let mut expected = DynamodbSource {
        name: "sessions".to_owned(),
        region: "eu-west-1".to_owned(),
        tables: vec!["sessions".to_owned()],
        layout: Layout::Document,
        promoted: BTreeMap::new(),
        first_load: export("replicator"),
        parallelism: 4,
        role: None,
        endpoint: None,
        reload: false,
    };
    assert_eq!(least, expected);
    let whole = source(
        "region: eu-west-1, tables: [sessions, Carts.2-b_c], layout: document, first_load: export,
         export_bucket: my-exports, export_prefix: a/b.c, parallelism: 9,
         role_arn: 'arn:aws:iam::123456789012:role/replicator', external_id: x, endpoint: 'http://127.0.0.1:8000/'",
    );
    expected.tables.push("Carts.2-b_c".to_owned());
    expected.first_load = export("a/b.c");
    expected.parallelism = 9;
    expected.role = Some(Role {
        arn: "arn:aws:iam::123456789012:role/replicator".to_owned(),
        external_id: Some("x".to_owned()),
    });
    expected.endpoint = Some("http://127.0.0.1:8000".to_owned());
    assert_eq!(whole, expected);
}

#[test]
fn what_a_source_says_of_the_first_copy() {
    for (text, load, copies) in [
        (
            "first_load: scan",
            FirstLoad::Scan(ScanLimits {
                read_units_per_second: 100,
            }),
            true,
        ),
        (
            "first_load: scan, scan_read_units_per_second: 7",
            FirstLoad::Scan(ScanLimits {
                read_units_per_second: 7,
            }),
            true,
        ),
        ("first_load: none", FirstLoad::None, false),
        ("first_load: \"none\"", FirstLoad::None, false),
    ] {
        let config = read(&format!("{LEAST}, parallelism: 2, {text}")).unwrap();
        assert_eq!(config.source.copies(), copies, "{text}");
        assert_eq!(
            (config.source.name(), config.source.parallelism()),
            ("sessions", 2)
        );
        assert_eq!(
            config.target(&TableId::new("sessions", "carts")),
            ("sessions".to_owned(), "carts".to_owned())
        );
        assert!(
            matches!(config.source, SourceConfig::Dynamodb(it) if it.first_load == load),
            "{text}"
        );
    }
}

#[test]
fn each_attribute_may_have_a_column() {
    let given = source(&format!("{LEAST}, first_load: scan, layout: columns"));
    assert_eq!(given.layout, Layout::Columns);
}

#[test]
fn what_is_required() {
    assert_eq!(keys(""), ["region", "tables", "export_bucket"]);
    assert_eq!(keys("first_load: scan"), ["region", "tables"]);
}

#[test]
fn each_mistake_is_told_by_its_key() {
    let bucket = "export_bucket: my-exports";
    for (text, expected) in [
        (
            "layout: columns, promote: { sessions: { a: JSON } }",
            vec!["promote"],
        ),
        ("layout: column", vec!["layout"]),
        ("first_load: exports", vec!["first_load"]),
        ("export_prefix: /a", vec!["export_prefix"]),
        ("export_prefix: a//b", vec!["export_prefix"]),
        ("export_prefix: a/../b", vec!["export_prefix"]),
        ("export_prefix: 'a b'", vec!["export_prefix"]),
        ("parallelism: 0", vec!["parallelism"]),
        ("parallelism: 65", vec!["parallelism"]),
        ("role_arn: replicator", vec!["role_arn"]),
        ("external_id: x", vec!["external_id"]),
        ("endpoint: 127.0.0.1:8000", vec!["endpoint"]),
        ("endpoint: 'http://u:p@h'", vec!["endpoint"]),
        (
            "scan_read_units_per_second: 5",
            vec!["scan_read_units_per_second"],
        ),
    ] {
        assert_eq!(keys(&format!("{LEAST}, {bucket}, {text}")), expected, "{text}");
    }
    for (text, expected) in [
        ("region: EU, tables: [abc]", vec!["region"]),
        ("region: eu-1, tables: []", vec!["tables"]),
        (
            "region: eu-1, tables: [ab, 'session*', abc, 3, abc, \"${SECRET}\"]",
            vec!["tables[3]", "tables[0]", "tables[1]", "tables[4]", "tables[5]"],
        ),
    ] {
        assert_eq!(keys(&format!("{text}, {bucket}")), expected, "{text}");
    }
    for bucket in ["s3://my-exports", "My-exports", "ab"] {
        assert_eq!(
            keys(&format!("{LEAST}, export_bucket: '{bucket}'")),
            ["export_bucket"]
        );
    }
    let none = "first_load: none, export_bucket: abc, export_prefix: a, scan_read_units_per_second: 1";
    assert_eq!(
        keys(&format!("{LEAST}, {none}")),
        ["export_bucket", "export_prefix", "scan_read_units_per_second"]
    );
    assert_eq!(
        keys(&format!(
            "{LEAST}, first_load: scan, scan_read_units_per_second: 0"
        )),
        ["scan_read_units_per_second"]
    );
}

#[test]
fn what_is_put_in_is_not_shown() {
    let text =
        "region: '${SECRET}', tables: ['${SECRET}'], export_bucket: '${SECRET}', role_arn: '${SECRET}'";
    let errors = read(text).unwrap_err().to_string();
    assert!(errors.contains("${SECRET}"), "{errors}");
    assert!(!errors.contains("sw0rd"), "{errors}");
}

#[test]
fn a_source_is_of_one_kind_and_all_below_both_is_told() {
    let text = "pipeline: p\nsources: [{ name: s, mysql: { url: 'mysql://u@h' }, dynamodb: { region: x } }]\n\
                sink: { bigquery: { project: my-project } }\ncheckpoint: file:///c\n";
    let errors = parse(text, &|_| None).unwrap_err().errors;
    let keys: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "sources[0]",
            "sources[0].mysql.tables",
            "sources[0].dynamodb.tables",
            "sources[0].dynamodb.export_bucket"
        ]
    );
}

#[test]
fn promoted_paths_are_told_by_table_and_path() {
    let given = source(&format!(
        "{LEAST}, first_load: scan, promote: {{ sessions: {{ 'items[0].sku': STRING, address.city: JSON }} }}"
    ));
    let of = |path: &str, kind| Promoted::new(super::super::Path::parse(path).unwrap(), kind);
    use super::super::PromotedType::{Json, String};
    let expected = vec![of("address.city", Json), of("items[0].sku", String)];
    assert_eq!(
        given.promoted,
        BTreeMap::from([("sessions".to_owned(), expected)])
    );
    for (promote, expected) in [
        ("{ carts: { a: STRING } }", vec![r#"promote."carts""#]),
        ("{ sessions: { a: TEXT } }", vec![r#"promote."sessions"."a""#]),
        (
            "{ sessions: { a..b: INT64, '': JSON, c: JSON } }",
            vec![r#"promote."sessions"."a..b""#, r#"promote."sessions"."""#],
        ),
        (
            "{ sessions: { a.b: INT64, A_b: JSON } }",
            vec![r#"promote."sessions"."A_b""#],
        ),
        ("{ sessions: { a: 5 } }", vec![r#"promote."sessions"."a""#]),
        ("[a]", vec!["promote"]),
    ] {
        let text = format!("{LEAST}, first_load: scan, promote: {promote}");
        assert_eq!(keys(&text), expected, "{promote}");
    }
}
