//! What of an existing table does not fit what it is to hold, each with its cure.

use super::{Found, FoundField};
use crate::sink::bigquery::name::{self, quoted};
use crate::sink::bigquery::plan::{Place, SEQUENCE, Target};
use crate::sink::bigquery::types::TargetType;

/// Why a column of an existing table cannot hold what it is to hold, with the cure.
pub(super) fn misfit(
    place: &Place,
    name: &str,
    kind: TargetType,
    field: Option<&FoundField>,
) -> Option<String> {
    let kind_name = kind.name();
    let (sql_table, sql_column) = (quoted(place), quoted(name));
    match field {
        None => Some(format!(
            "column {name} {kind_name} is missing (ALTER TABLE {sql_table} ADD COLUMN {sql_column} {kind_name})"
        )),
        Some(field) if !kind.is_named(&field.r#type) || field.mode == "REPEATED" => Some(format!(
            "column {name} is {} and should be {kind_name} (create the table anew)",
            field.r#type
        )),
        // NUMERIC(P, S) rounds without a word, STRING(L) refuses rows.
        Some(field) if field.precision.is_some() || field.max_length.is_some() => Some(format!(
            "column {name} is a {kind_name} with parameters (ALTER TABLE {sql_table} ALTER COLUMN {sql_column} SET DATA TYPE {kind_name})"
        )),
        Some(_) => None,
    }
}

/// What of an existing table does not fit, each with its cure.
pub(super) fn misfits(target: &Target, found: &Found) -> Vec<String> {
    let place = &target.destination.place;
    let sql_table = quoted(place);
    let mut problems = Vec::new();
    for (name, kind, required, _) in target.fields() {
        let field = found.schema.field(name);
        let nullable = target
            .columns
            .iter()
            .any(|column| column.target == name && column.nullable);
        problems.extend(misfit(place, name, kind, field));
        let fits = required || (!nullable && !target.is_log());
        if field.is_some_and(|field| field.mode == "REQUIRED") && !fits {
            problems.push(format!(
                "column {name} is REQUIRED, the source admits NULL (ALTER TABLE {sql_table} ALTER COLUMN {} DROP NOT NULL)",
                quoted(name)
            ));
        }
    }
    for field in &found.schema.fields {
        let ours = target
            .fields()
            .any(|(name, ..)| name::folded(&field.name) == name::folded(name));
        if field.mode == "REQUIRED" && !ours {
            problems.push(format!(
                "column {} is REQUIRED and not in the source (ALTER TABLE {sql_table} ALTER COLUMN {} DROP NOT NULL)",
                field.name,
                quoted(&field.name)
            ));
        }
    }
    let folded = |names: &[String]| {
        let mut folded: Vec<String> = names.iter().map(|name| name::folded(name)).collect();
        folded.sort_unstable();
        folded
    };
    let key = &found.table_constraints.primary_key.columns;
    if !target.is_log() && found.schema.field(SEQUENCE).is_some() {
        problems
            .push("it holds changes, one row each, and should hold rows (create the table anew)".to_owned());
    } else if folded(key) != folded(target.primary_key()) {
        let wanted: Vec<String> = target.primary_key().iter().map(quoted).collect();
        let wanted = wanted.join(", ");
        problems.push(if target.is_log() {
            "it holds rows by their primary key and should hold changes, one row each (create the table anew)"
                .to_owned()
        } else if key.is_empty() {
            format!("it has no primary key (ALTER TABLE {sql_table} ADD PRIMARY KEY ({wanted}) NOT ENFORCED)")
        } else {
            format!(
                "its primary key is ({}) and should be ({wanted}) (create the table anew)",
                key.join(", ")
            )
        });
    }
    problems
}
