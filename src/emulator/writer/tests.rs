use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::emulator::schema::{DatasetRef, Field, FieldId, TableOptions, TableRef};
use crate::proto::descriptor::{EnumDescriptorProto, EnumValueDescriptorProto, FieldOptions};

/// A table with one column of each type, its key the first.
fn table() -> Table {
    let kinds = [
        Kind::Int64,
        Kind::Bool,
        Kind::Float64,
        Kind::Numeric(None),
        Kind::BigNumeric(None),
        Kind::String(Some(10)),
        Kind::Bytes(None),
        Kind::Date,
        Kind::Time,
        Kind::DateTime,
        Kind::Timestamp,
        Kind::Json,
        Kind::Interval,
    ];
    let field = |(id, kind): (u32, Kind)| Field {
        id: FieldId(id),
        name: format!("F{id}"),
        kind,
        required: false,
        description: None,
    };
    let name = TableRef {
        dataset: DatasetRef {
            project: "p".to_owned(),
            dataset: "d".to_owned(),
        },
        table: "t".to_owned(),
    };
    Table {
        uid: 1,
        name,
        fields: (0..).zip(kinds).map(field).collect(),
        next_field: 100,
        primary_key: vec![FieldId(0)],
        clustering: Vec::new(),
        partitioning: None,
        options: TableOptions {
            labels: BTreeMap::new(),
            ..TableOptions::default()
        },
        created_ms: 0,
        modified_ms: 0,
        generation: 1,
        schema_generation: 1,
        has_changes: false,
        is_again: false,
        baseline: None,
        view: None,
    }
}

fn declared(name: &str, number: i32, kind: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        ..FieldDescriptorProto::default()
    }
}

/// A writer of all columns and both pseudo-columns, each in a form that its column takes.
fn descriptor() -> DescriptorProto {
    let forms = [
        Type::Int64,
        Type::Bool,
        Type::Double,
        Type::Bytes,
        Type::String,
        Type::String,
        Type::Bytes,
        Type::Int32,
        Type::Int64,
        Type::Int64,
        Type::Int64,
        Type::String,
        Type::String,
    ];
    let columns = (0_i32..).zip(forms);
    let mut field: Vec<FieldDescriptorProto> = columns
        .map(|(id, kind)| declared(&format!("f{id}"), id + 1, kind))
        .collect();
    field.push(declared("_CHANGE_TYPE", 14, Type::String));
    field.push(declared("_CHANGE_SEQUENCE_NUMBER", 15, Type::String));
    DescriptorProto {
        name: Some("row".to_owned()),
        field,
        ..DescriptorProto::default()
    }
}

/// Rules: column-annotation.
#[test]
fn an_annotation_names_the_column_and_an_enum_gives_its_name() {
    let mut annotated = declared("col_x", 1, Type::Int64);
    annotated.options = Some(FieldOptions {
        packed: None,
        column_name: Some("f0".to_owned()),
    });
    let mut colour = declared("f5", 2, Type::Enum);
    colour.type_name = Some("row.Colour".to_owned());
    let value = |name: &str, number| EnumValueDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
    };
    let root = DescriptorProto {
        name: Some("row".to_owned()),
        field: vec![annotated, colour],
        enum_type: vec![EnumDescriptorProto {
            name: Some("Colour".to_owned()),
            value: vec![value("RED", 0), value("BLUE", 7)],
        }],
        ..DescriptorProto::default()
    };
    let plan = Plan::bind(&root, &table()).unwrap();
    let row = plan.read(&[0x08, 5, 0x10, 7]).unwrap();
    assert_eq!(row.cells[0], Cell::Int(5));
    assert_eq!(row.cells[5], Cell::Text("BLUE".into()));
    assert!(plan.read(&[0x08, 5, 0x10, 6]).is_err(), "no such value");
}

#[test]
fn schemas_that_do_not_fit_are_refused() {
    let bind = |change: &dyn Fn(&mut DescriptorProto)| {
        let mut root = descriptor();
        change(&mut root);
        Plan::bind(&root, &table()).map(|_| ())
    };
    assert_eq!(bind(&|_| {}), Ok(()));
    let extra = bind(&|root| root.field.push(declared("more", 20, Type::Int64)));
    assert_eq!(extra, Err(BindError::ExtraFields("more".to_owned())));
    let twice = bind(&|root| root.field.push(declared("F1", 20, Type::Bool)));
    assert!(matches!(twice, Err(BindError::Descriptor(_))));
    let number = bind(&|root| root.field[1].number = Some(1));
    assert!(matches!(number, Err(BindError::Descriptor(_))));
    let repeated = bind(&|root| root.field[1].label = Some(Label::Repeated.into()));
    assert!(matches!(repeated, Err(BindError::Mismatch { .. })));
    let keyless = bind(&|root| drop(root.field.remove(0)));
    assert_eq!(keyless, Err(BindError::MissingKey("F0".to_owned())));
}

proptest! {
    #[test]
    fn hostile_rows_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let plan = Plan::bind(&descriptor(), &table()).unwrap();
        let _read = plan.read(&bytes).is_ok();
    }

    /// Well-formed fields with hostile values: each reaches its column's own reader.
    #[test]
    fn hostile_values_never_panic(
        numbers in prop::collection::vec((1..16_u32, any::<u64>()), 0..10),
        texts in prop::collection::vec((1..16_u32, prop::collection::vec(any::<u8>(), 0..40)), 0..10),
    ) {
        let plan = Plan::bind(&descriptor(), &table()).unwrap();
        let mut row = vec![0x08, 1];
        for (number, value) in &numbers {
            prost::encoding::uint64::encode(*number, value, &mut row);
        }
        for (number, value) in &texts {
            prost::encoding::bytes::encode(*number, value, &mut row);
        }
        let _read = plan.read(&row).is_ok();
    }
}

/// Rules: change-columns.
#[test]
fn changes_need_a_table_of_at_most_two_thousand_columns() {
    let field = |id: u32| Field {
        id: FieldId(id),
        name: format!("F{id}"),
        kind: Kind::Int64,
        required: false,
        description: None,
    };
    let with = |columns: u32| Table {
        fields: (0..columns).map(field).collect(),
        ..table()
    };
    let changes = DescriptorProto {
        field: vec![
            declared("F0", 1, Type::Int64),
            declared(CHANGE_TYPE, 2, Type::String),
        ],
        ..DescriptorProto::default()
    };
    let plain = DescriptorProto {
        field: vec![declared("F0", 1, Type::Int64)],
        ..DescriptorProto::default()
    };
    assert!(Plan::bind(&changes, &with(2_000)).is_ok());
    let refused = Plan::bind(&changes, &with(2_001)).unwrap_err();
    assert!(matches!(refused, BindError::TooManyColumns(_)), "{refused}");
    assert!(Plan::bind(&plain, &with(2_001)).is_ok());
}
