//! A writer's schema bound to a table: which field of its messages is which column, and the reading of its
//! rows by that. The rules are those of proto2: an absent field is NULL.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::decode::{Form, cell};
use super::key;
use super::schema::{Kind, Table};
use super::sequence::Sequence;
use super::value::Cell;
use super::wire::{Fields, Raw};
use crate::proto::descriptor::field_descriptor_proto::{Label, Type};
use crate::proto::descriptor::{DescriptorProto, FieldDescriptorProto};

/// Name of the pseudo-column that says what a row does.
const CHANGE_TYPE: &str = "_CHANGE_TYPE";
/// Name of the pseudo-column that orders the changes of a key.
const CHANGE_SEQUENCE_NUMBER: &str = "_CHANGE_SEQUENCE_NUMBER";

/// Most columns of a table that changes are streamed into.
const CHANGED_COLUMNS: usize = 2_000;

/// What a row does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeType {
    Upsert,
    Delete,
}

/// A decoded row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row<'a> {
    /// None for a row that is appended.
    pub(crate) change: Option<ChangeType>,
    pub(crate) sequence: Option<Sequence>,
    /// One per column of the table, in its order.
    pub(crate) cells: Vec<Cell<'a>>,
    /// Identity of the row; none without a primary key, or for an appended row whose key has NULL.
    pub(crate) key: Option<Vec<u8>>,
}

/// A writer's schema that does not fit its table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BindError {
    #[error("Input schema has more fields than BigQuery schema, extra fields: '{0}'")]
    ExtraFields(String),
    #[error(
        "The proto field mismatched with BigQuery field at {field}, the proto field type {form}, BigQuery field type {kind}"
    )]
    Mismatch {
        field: String,
        form: String,
        kind: String,
    },
    #[error("Invalid proto schema: {0}")]
    Descriptor(String),
    #[error("The field {0} is REQUIRED in the BigQuery table and missing in the proto message")]
    MissingRequired(String),
    #[error("_CHANGE_TYPE needs a table with a primary key; {0} has none")]
    NoPrimaryKey(String),
    #[error("_CHANGE_TYPE needs a table of at most {CHANGED_COLUMNS} columns; {0} has more")]
    TooManyColumns(String),
    #[error("The primary key column {0} is missing in the proto message")]
    MissingKey(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Column(usize, Kind),
    ChangeType,
    Sequence,
}

#[derive(Debug)]
struct Slot {
    number: u32,
    name: String,
    form: Form,
    target: Target,
    /// Whether every message must have it.
    required: bool,
}

/// A writer's schema bound to a table of one generation.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Sorted by number.
    slots: Vec<Slot>,
    names: Vec<String>,
    required: Vec<bool>,
    /// Places of the key's columns, in the key's order.
    key: Vec<usize>,
    /// Generation of the table's columns.
    pub(crate) generation: u64,
    /// Identity of the table.
    pub(crate) uid: i64,
    has_changes: bool,
}

impl Plan {
    /// Binds a writer's schema to a table.
    pub(crate) fn bind(descriptor: &DescriptorProto, table: &Table) -> Result<Plan, BindError> {
        let mut slots = Vec::new();
        let mut extra = Vec::new();
        let (mut seen, mut fields) = (BTreeSet::new(), BTreeSet::new());
        for field in &descriptor.field {
            let name = column_name(field);
            if !seen.insert(name.to_lowercase()) || !fields.insert(field.name()) {
                return Err(BindError::Descriptor(format!("two fields are named {name}")));
            }
            if !is_identifier(field.name()) {
                let name = field.name();
                return Err(BindError::Descriptor(format!(
                    "\"{name}\" is not a valid identifier."
                )));
            }
            match slot(descriptor, field, table)? {
                Some(slot) => slots.push(slot),
                None => extra.push(name.to_owned()),
            }
        }
        if !extra.is_empty() {
            return Err(BindError::ExtraFields(extra.join(", ")));
        }
        slots.sort_by_key(|slot| slot.number);
        if slots
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if a.number == b.number))
        {
            return Err(BindError::Descriptor("two fields have one number".to_owned()));
        }
        let place = |id| table.fields.iter().position(|field| field.id == id);
        let plan = Plan {
            has_changes: slots.iter().any(|slot| slot.target == Target::ChangeType),
            slots,
            names: table.fields.iter().map(|field| field.name.clone()).collect(),
            required: table.fields.iter().map(|field| field.required).collect(),
            key: table.primary_key.iter().filter_map(|id| place(*id)).collect(),
            generation: table.schema_generation,
            uid: table.uid,
        };
        plan.check(table)?;
        Ok(plan)
    }

    fn check(&self, table: &Table) -> Result<(), BindError> {
        if self.has_changes && self.key.is_empty() {
            return Err(BindError::NoPrimaryKey(table.name.to_string()));
        }
        if self.has_changes && self.names.len() > CHANGED_COLUMNS {
            return Err(BindError::TooManyColumns(table.name.to_string()));
        }
        for (place, name) in self.names.iter().enumerate() {
            let is_sent = self
                .slots
                .iter()
                .any(|slot| matches!(slot.target, Target::Column(at, _) if at == place));
            if is_sent {
                continue;
            }
            if self.has_changes && self.key.contains(&place) {
                return Err(BindError::MissingKey(name.clone()));
            }
            // A writer of changes may send deletes only, which need the key alone.
            if !self.has_changes && self.is_required(place) {
                return Err(BindError::MissingRequired(name.clone()));
            }
        }
        Ok(())
    }

    fn is_required(&self, place: usize) -> bool {
        self.required.get(place).copied().unwrap_or(false)
    }

    fn slot(&self, number: u32) -> Option<&Slot> {
        // Numbers usually run from 1.
        let guess = usize::try_from(number)
            .ok()
            .and_then(|number| self.slots.get(number.wrapping_sub(1)));
        if let Some(slot) = guess.filter(|slot| slot.number == number) {
            return Some(slot);
        }
        let place = self
            .slots
            .binary_search_by_key(&number, |slot| slot.number)
            .ok()?;
        self.slots.get(place)
    }

    /// Reads one row.
    ///
    /// # Errors
    /// The text of the row error.
    pub(crate) fn read<'a>(&'a self, message: &'a [u8]) -> Result<Row<'a>, String> {
        let mut row = Row {
            change: None,
            sequence: None,
            cells: vec![Cell::Null; self.names.len()],
            key: None,
        };
        let (mut change, mut sequence) = (None, None);
        let mut seen = 0_usize;
        for field in Fields::new(message) {
            let (number, raw) = field.map_err(|error| format!("The row is no protobuf message: {error}"))?;
            let Some(slot) = self.slot(number) else { continue };
            seen += usize::from(slot.required);
            match slot.target {
                Target::Column(place, kind) => {
                    let value = cell(kind, &slot.form, raw)
                        .map_err(|error| format!("Field {} ({kind}): {error}", slot.name))?;
                    if let Some(cell) = row.cells.get_mut(place) {
                        *cell = value;
                    }
                }
                Target::ChangeType => change = Some(pseudo(slot, raw)?),
                Target::Sequence => sequence = Some(pseudo(slot, raw)?),
            }
        }
        self.check_labels(seen, message)?;
        row.change = change.map(change_type).transpose()?;
        row.sequence = sequence.map(|text| sequence_number(&text)).transpose()?;
        self.complete(row)
    }

    /// Fields labelled `required` must be there; counting them first spares the search in most rows.
    fn check_labels(&self, seen: usize, message: &[u8]) -> Result<(), String> {
        let required = self.slots.iter().filter(|slot| slot.required);
        if seen >= required.clone().count() {
            return Ok(());
        }
        let present: BTreeSet<u32> = Fields::new(message).flatten().map(|(number, _)| number).collect();
        match required.into_iter().find(|slot| !present.contains(&slot.number)) {
            Some(slot) => Err(format!("The row lacks the required field {}", slot.name)),
            None => Ok(()),
        }
    }

    fn complete<'a>(&self, mut row: Row<'a>) -> Result<Row<'a>, String> {
        let mut key = Vec::new();
        let is_whole = self.key.iter().all(|place| {
            let cell = row.cells.get(*place).unwrap_or(&Cell::Null);
            key::push(&mut key, cell).is_ok()
        });
        if !self.key.is_empty() && is_whole {
            row.key = Some(key);
        } else if row.change.is_some() {
            return Err("A primary key column has no value".to_owned());
        }
        if row.change != Some(ChangeType::Delete) {
            let missing = row
                .cells
                .iter()
                .enumerate()
                .find(|(place, cell)| **cell == Cell::Null && self.is_required(*place));
            if let Some((place, _)) = missing {
                let name = self.names.get(place).map_or("", String::as_str);
                return Err(format!("Field {name}: a required field has no value"));
            }
        }
        Ok(row)
    }
}

fn change_type(text: String) -> Result<ChangeType, String> {
    match text.as_str() {
        "UPSERT" => Ok(ChangeType::Upsert),
        "DELETE" => Ok(ChangeType::Delete),
        other => Err(format!("The given value is not a valid CHANGE_TYPE: {other}")),
    }
}

fn sequence_number(text: &str) -> Result<Sequence, String> {
    Sequence::parse(text.as_bytes())
        .map_err(|error| format!("The given value is not a valid CHANGE_SEQUENCE_NUMBER: {error}"))
}

fn pseudo(slot: &Slot, raw: Raw<'_>) -> Result<String, String> {
    match cell(Kind::String(None), &slot.form, raw) {
        Ok(Cell::Text(text)) => Ok(text.into_owned()),
        Ok(_) => Err(format!("Field {}: no text", slot.name)),
        Err(error) => Err(format!("Field {}: {error}", slot.name)),
    }
}

/// Whether protobuf takes it for a field's name; every other column has to be named by the annotation.
fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn column_name(field: &FieldDescriptorProto) -> &str {
    let annotated = field
        .options
        .as_ref()
        .and_then(|options| options.column_name.as_deref());
    annotated.unwrap_or_else(|| field.name())
}

/// The slot of one field of the writer's message; none if the table has no such column.
fn slot(
    root: &DescriptorProto,
    field: &FieldDescriptorProto,
    table: &Table,
) -> Result<Option<Slot>, BindError> {
    let name = column_name(field);
    let target = if name.eq_ignore_ascii_case(CHANGE_TYPE) {
        Target::ChangeType
    } else if name.eq_ignore_ascii_case(CHANGE_SEQUENCE_NUMBER) {
        Target::Sequence
    } else {
        let folded = name.to_lowercase();
        let found = table
            .fields
            .iter()
            .position(|field| field.name.to_lowercase() == folded);
        let Some(place) = found else { return Ok(None) };
        let kind = table
            .fields
            .get(place)
            .map_or(Kind::String(None), |field| field.kind);
        Target::Column(place, kind)
    };
    let kind = match target {
        Target::Column(_, kind) => kind,
        Target::ChangeType | Target::Sequence => Kind::String(None),
    };
    let number = u32::try_from(field.number())
        .ok()
        .filter(|number| (1..1 << 29).contains(number));
    let number = number.ok_or_else(|| BindError::Descriptor(format!("field {name} has no valid number")))?;
    let mismatch = |form: &str| BindError::Mismatch {
        field: format!("{}.{name}", root.name()),
        form: form.to_owned(),
        kind: kind.legacy_name().to_owned(),
    };
    let form = form(root, field)?.ok_or_else(|| mismatch(field.r#type().as_str_name()))?;
    if field.label() == Label::Repeated {
        return Err(mismatch("repeated"));
    }
    if !form.fits(kind) {
        return Err(mismatch(form.name()));
    }
    Ok(Some(Slot {
        number,
        name: name.to_owned(),
        form,
        target,
        required: field.label() == Label::Required,
    }))
}

/// The form of a field; none for types that no column takes.
fn form(root: &DescriptorProto, field: &FieldDescriptorProto) -> Result<Option<Form>, BindError> {
    if field.r#type.is_some_and(|number| Type::try_from(number).is_err()) {
        return Err(BindError::Descriptor(format!(
            "field {} has an unknown type",
            field.name()
        )));
    }
    let kind = field.r#type();
    if kind == Type::Enum {
        return enumeration(root, field).map(Some);
    }
    if kind == Type::Message {
        return Ok(Form::of_well_known(field.type_name()));
    }
    Ok(Form::of_scalar(kind))
}

/// The names of an enumeration that is nested anywhere in the root.
fn enumeration(root: &DescriptorProto, field: &FieldDescriptorProto) -> Result<Form, BindError> {
    let wanted = field.type_name().rsplit('.').next().unwrap_or_default();
    let mut open = vec![root];
    while let Some(message) = open.pop() {
        if let Some(found) = message.enum_type.iter().find(|one| one.name() == wanted) {
            let names: BTreeMap<i32, String> = found
                .value
                .iter()
                .map(|value| (value.number(), value.name().to_owned()))
                .collect();
            return Ok(Form::Enum(Arc::new(names)));
        }
        open.extend(&message.nested_type);
    }
    Err(BindError::Descriptor(format!(
        "the type {} of field {} is not in the message",
        field.type_name(),
        field.name()
    )))
}

#[cfg(test)]
mod tests;
