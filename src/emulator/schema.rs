//! Datasets, tables and columns as the emulator keeps them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::{ApiError, ApiResult};
use super::numeric;

/// Declared digits of a NUMERIC or BIGNUMERIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Precision {
    /// All digits.
    pub(crate) precision: u32,
    /// Digits after the point.
    pub(crate) scale: u32,
}

/// Type of a column or of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Kind {
    Bool,
    Int64,
    Float64,
    Numeric(Option<Precision>),
    BigNumeric(Option<Precision>),
    /// With the longest length in characters, if declared.
    String(Option<u64>),
    /// With the longest length in bytes, if declared.
    Bytes(Option<u64>),
    Date,
    Time,
    DateTime,
    Timestamp,
    Json,
    Interval,
}

impl Kind {
    /// Reads a type's name (standard or legacy) and its parameters.
    pub(crate) fn parse(name: &str, parameters: &[u64]) -> ApiResult<Kind> {
        let upper = name.to_ascii_uppercase();
        let kind = match (upper.as_str(), parameters) {
            ("BOOL" | "BOOLEAN", []) => Kind::Bool,
            ("INT64" | "INTEGER" | "INT" | "SMALLINT" | "BIGINT" | "TINYINT" | "BYTEINT", []) => Kind::Int64,
            ("FLOAT64" | "FLOAT", []) => Kind::Float64,
            ("NUMERIC" | "DECIMAL", []) => Kind::Numeric(None),
            ("BIGNUMERIC" | "BIGDECIMAL", []) => Kind::BigNumeric(None),
            ("NUMERIC" | "DECIMAL", digits) => Kind::Numeric(Some(precision(
                &upper,
                digits,
                numeric::NUMERIC_SCALE,
                numeric::NUMERIC_INTEGER_DIGITS,
            )?)),
            ("BIGNUMERIC" | "BIGDECIMAL", digits) => Kind::BigNumeric(Some(precision(
                &upper,
                digits,
                numeric::BIGNUMERIC_SCALE,
                numeric::BIGNUMERIC_INTEGER_DIGITS,
            )?)),
            ("STRING", []) => Kind::String(None),
            ("STRING", [length]) if *length > 0 => Kind::String(Some(*length)),
            ("BYTES", []) => Kind::Bytes(None),
            ("BYTES", [length]) if *length > 0 => Kind::Bytes(Some(*length)),
            ("DATE", []) => Kind::Date,
            ("TIME", []) => Kind::Time,
            ("DATETIME", []) => Kind::DateTime,
            ("TIMESTAMP", []) => Kind::Timestamp,
            ("JSON", []) => Kind::Json,
            ("INTERVAL", []) => Kind::Interval,
            ("RECORD" | "STRUCT" | "ARRAY" | "GEOGRAPHY" | "RANGE", _) => {
                return Err(ApiError::invalid(format!(
                    "The emulator has no columns of type {upper}"
                )));
            }
            _ => {
                return Err(ApiError::invalid(format!(
                    "Invalid value for type: {name} is not a valid value"
                )));
            }
        };
        Ok(kind)
    }

    /// The name that the REST API uses.
    pub(crate) fn legacy_name(self) -> &'static str {
        match self.standard_name() {
            "BOOL" => "BOOLEAN",
            "INT64" => "INTEGER",
            "FLOAT64" => "FLOAT",
            same => same,
        }
    }

    /// The name without parameters that SQL uses.
    pub(crate) fn standard_name(self) -> &'static str {
        match self {
            Kind::Bool => "BOOL",
            Kind::Int64 => "INT64",
            Kind::Float64 => "FLOAT64",
            Kind::Numeric(_) => "NUMERIC",
            Kind::BigNumeric(_) => "BIGNUMERIC",
            Kind::String(_) => "STRING",
            Kind::Bytes(_) => "BYTES",
            Kind::Date => "DATE",
            Kind::Time => "TIME",
            Kind::DateTime => "DATETIME",
            Kind::Timestamp => "TIMESTAMP",
            Kind::Json => "JSON",
            Kind::Interval => "INTERVAL",
        }
    }

    /// Whether a primary key may have such a column.
    pub(crate) fn fits_key(self) -> bool {
        match self {
            Kind::Bool
            | Kind::Int64
            | Kind::Numeric(_)
            | Kind::BigNumeric(_)
            | Kind::String(_)
            | Kind::Date
            | Kind::DateTime
            | Kind::Timestamp => true,
            Kind::Float64 | Kind::Bytes(_) | Kind::Time | Kind::Json | Kind::Interval => false,
        }
    }

    /// The declared longest length of a STRING or BYTES.
    pub(crate) fn max_length(self) -> Option<u64> {
        if let Kind::String(length) | Kind::Bytes(length) = self {
            length
        } else {
            None
        }
    }

    /// The declared digits of a NUMERIC or BIGNUMERIC.
    pub(crate) fn digits(self) -> Option<Precision> {
        if let Kind::Numeric(digits) | Kind::BigNumeric(digits) = self {
            digits
        } else {
            None
        }
    }

    /// The type without its parameters: what expressions are of.
    pub(crate) fn plain(self) -> Kind {
        match self {
            Kind::Numeric(_) => Kind::Numeric(None),
            Kind::BigNumeric(_) => Kind::BigNumeric(None),
            Kind::String(_) => Kind::String(None),
            Kind::Bytes(_) => Kind::Bytes(None),
            Kind::Bool
            | Kind::Int64
            | Kind::Float64
            | Kind::Date
            | Kind::Time
            | Kind::DateTime
            | Kind::Timestamp
            | Kind::Json
            | Kind::Interval => self,
        }
    }

    /// Whether a column of this type may become one of type `to` (`ALTER COLUMN SET DATA TYPE`).
    pub(crate) fn widens_to(self, to: Kind) -> bool {
        let longer =
            |from: Option<u64>, to: Option<u64>| to.is_none() || from.is_some_and(|from| to >= Some(from));
        match (self, to) {
            (Kind::String(from), Kind::String(to)) | (Kind::Bytes(from), Kind::Bytes(to)) => longer(from, to),
            (Kind::Numeric(from), Kind::Numeric(to)) | (Kind::BigNumeric(from), Kind::BigNumeric(to)) => {
                wider(from, to)
            }
            (Kind::Numeric(from), Kind::BigNumeric(to)) => {
                let from = from.unwrap_or(Precision {
                    precision: numeric::NUMERIC_INTEGER_DIGITS + numeric::NUMERIC_SCALE,
                    scale: numeric::NUMERIC_SCALE,
                });
                wider(Some(from), to)
            }
            (Kind::Int64, Kind::Numeric(to) | Kind::BigNumeric(to)) => {
                let digits = Precision {
                    precision: 19,
                    scale: 0,
                };
                wider(Some(digits), to)
            }
            (from, to) => from == to,
        }
    }
}

fn wider(from: Option<Precision>, to: Option<Precision>) -> bool {
    match (from, to) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(from), Some(to)) => {
            to.scale >= from.scale
                && to.precision.saturating_sub(to.scale) >= from.precision.saturating_sub(from.scale)
        }
    }
}

fn precision(name: &str, digits: &[u64], scales: u32, integers: u32) -> ApiResult<Precision> {
    let refuse = || ApiError::invalid(format!("{name} has invalid precision or scale"));
    let (precision, scale) = match digits {
        [precision] => (*precision, 0),
        [precision, scale] => (*precision, *scale),
        _ => return Err(refuse()),
    };
    let found = Precision {
        precision: u32::try_from(precision).map_err(|_| refuse())?,
        scale: u32::try_from(scale).map_err(|_| refuse())?,
    };
    let least = found.scale.max(1);
    let most = integers + found.scale;
    if found.scale > scales || !(least..=most).contains(&found.precision) {
        return Err(refuse());
    }
    Ok(found)
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.standard_name())?;
        if let Some(length) = self.max_length() {
            write!(f, "({length})")?;
        }
        match self.digits() {
            Some(Precision { precision, scale: 0 }) => write!(f, "({precision})"),
            Some(Precision { precision, scale }) => write!(f, "({precision}, {scale})"),
            None => Ok(()),
        }
    }
}

/// A column's identity within its table: names change, this does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct FieldId(pub(crate) u32);

impl fmt::Display for FieldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

/// A column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Field {
    pub(crate) id: FieldId,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
    pub(crate) description: Option<String>,
}

/// A time-unit partitioning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TimePartitioning {
    /// HOUR, DAY, MONTH or YEAR.
    pub(crate) unit: String,
    /// The column, or none for ingestion time.
    pub(crate) column: Option<FieldId>,
    /// How long a partition lives from the moment that it is for, milliseconds.
    #[serde(default)]
    pub(crate) expiration_ms: Option<i64>,
}

/// A dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Dataset {
    pub(crate) location: String,
    pub(crate) description: Option<String>,
    pub(crate) friendly_name: Option<String>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) created_ms: i64,
}

/// `project.dataset`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct DatasetRef {
    pub(crate) project: String,
    pub(crate) dataset: String,
}

impl fmt::Display for DatasetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dataset {}:{}", self.project, self.dataset)
    }
}

/// `project.dataset.table`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct TableRef {
    pub(crate) dataset: DatasetRef,
    pub(crate) table: String,
}

impl fmt::Display for TableRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Table {}:{}.{}",
            self.dataset.project, self.dataset.dataset, self.table
        )
    }
}

/// What can be said of a table beside its columns.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct TableOptions {
    pub(crate) description: Option<String>,
    pub(crate) friendly_name: Option<String>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// Canonical text of the interval.
    pub(crate) max_staleness: Option<String>,
    pub(crate) require_partition_filter: Option<bool>,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub(crate) expiration_ms: Option<i64>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Table {
    /// Names the table in the storage and in answers; a table made again has another.
    pub(crate) uid: i64,
    pub(crate) name: TableRef,
    pub(crate) fields: Vec<Field>,
    /// The next column's identity.
    pub(crate) next_field: u32,
    pub(crate) primary_key: Vec<FieldId>,
    pub(crate) clustering: Vec<FieldId>,
    pub(crate) partitioning: Option<TimePartitioning>,
    pub(crate) options: TableOptions,
    pub(crate) created_ms: i64,
    pub(crate) modified_ms: i64,
    /// Counts changes of the metadata.
    pub(crate) generation: u64,
    /// The generation in which the columns changed last.
    pub(crate) schema_generation: u64,
    /// Whether changes (upserts, deletes) were ever streamed into it.
    pub(crate) has_changes: bool,
    /// Whether a table of that name was dropped not long before it was made.
    #[serde(default)]
    pub(crate) is_again: bool,
    /// The state of its apply jobs; none of a table whose queries always see everything.
    #[serde(default)]
    pub(crate) baseline: Option<Baseline>,
    /// The query of a view, which has no rows of its own.
    #[serde(default)]
    pub(crate) view: Option<String>,
}

/// How far pending changes are applied; microseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Baseline {
    /// When the last apply job was due.
    pub(crate) due: i64,
    /// When one last applied something.
    pub(crate) watermark: Option<i64>,
}

impl Table {
    /// The column of that name; case does not matter.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        let folded = name.to_lowercase();
        self.fields
            .iter()
            .find(|field| field.name.to_lowercase() == folded)
    }

    pub(crate) fn field_by_id(&self, id: FieldId) -> Option<&Field> {
        self.fields.iter().find(|field| field.id == id)
    }

    /// Names of columns by their identities.
    pub(crate) fn names(&self, ids: &[FieldId]) -> Vec<&str> {
        ids.iter()
            .filter_map(|id| self.field_by_id(*id))
            .map(|field| field.name.as_str())
            .collect()
    }

    /// Name of the storage's table of rows.
    pub(crate) fn storage(&self) -> String {
        format!("rows_{}", self.uid)
    }

    /// Name of the storage's table of rows as of the last apply job.
    pub(crate) fn base(&self) -> String {
        format!("base_{}", self.uid)
    }

    /// Name of the storage's table of what changed since.
    pub(crate) fn dirty(&self) -> String {
        format!("dirty_{}", self.uid)
    }

    /// The tag that a conditional change names.
    pub(crate) fn etag(&self) -> String {
        format!("{}.{}", self.uid, self.generation)
    }

    /// Whether a column may be neither dropped nor renamed.
    pub(crate) fn is_bound(&self, id: FieldId) -> bool {
        self.primary_key.contains(&id)
            || self.clustering.contains(&id)
            || self.partitioning.as_ref().and_then(|by| by.column) == Some(id)
    }
}

/// Prefixes that no column's name may have, in any case.
const RESERVED: [&str; 9] = [
    "_TABLE_",
    "_FILE_",
    "_PARTITION",
    "_ROW_TIMESTAMP",
    "__ROOT__",
    "_COLIDENTIFIER",
    "_CHANGE_SEQUENCE_NUMBER",
    "_CHANGE_TYPE",
    "_CHANGE_TIMESTAMP",
];

/// Whether a character is a letter, mark or number of any script, a connector or a dash: what names of tables
/// and of columns share in Google's documents.
fn is_of_a_name(c: char) -> bool {
    use icu_properties::props::GeneralCategory as Is;
    matches!(
        icu_properties::CodePointMapData::<Is>::new().get(c),
        Is::UppercaseLetter
            | Is::LowercaseLetter
            | Is::TitlecaseLetter
            | Is::ModifierLetter
            | Is::OtherLetter
            | Is::NonspacingMark
            | Is::SpacingMark
            | Is::EnclosingMark
            | Is::DecimalNumber
            | Is::LetterNumber
            | Is::OtherNumber
            | Is::ConnectorPunctuation
            | Is::DashPunctuation
    )
}

/// Checks a column's name (flexible names included).
pub(crate) fn check_column_name(name: &str) -> ApiResult<()> {
    let is_flexible = |c| {
        matches!(
            c,
            ' ' | '&' | '%' | '=' | '+' | ':' | '\'' | '<' | '>' | '#' | '|'
        ) || is_of_a_name(c)
    };
    if !(1..=300).contains(&name.chars().count()) || !name.chars().all(is_flexible) {
        return Err(ApiError::invalid(format!(
            "Invalid field name \"{name}\". Fields must contain the allowed characters, and be at most 300 characters long."
        )));
    }
    let upper = name.to_uppercase();
    match RESERVED.iter().find(|prefix| upper.starts_with(**prefix)) {
        Some(prefix) => Err(ApiError::invalid(format!(
            "Invalid field name \"{name}\". Field names are not allowed to start with the (case-insensitive) prefix {prefix}"
        ))),
        None => Ok(()),
    }
}

/// Checks a dataset's name: letters, digits, underscores.
pub(crate) fn check_dataset_name(name: &str) -> ApiResult<()> {
    let fits =
        (1..=1024).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    fits.then_some(()).ok_or_else(|| {
        ApiError::invalid(format!(
            "Invalid dataset ID \"{name}\". Dataset IDs must be alphanumeric (plus underscores) and must be at most 1024 characters long."
        ))
    })
}

/// Checks a table's name: letters, marks, digits, connectors, dashes, spaces; at most 1,024 bytes.
pub(crate) fn check_table_name(name: &str) -> ApiResult<()> {
    let fits = (1..=1024).contains(&name.len()) && name.chars().all(|c| c == ' ' || is_of_a_name(c));
    fits.then_some(()).ok_or_else(|| {
        ApiError::invalid(format!(
            "Invalid table ID \"{name}\". Table IDs must be alphanumeric (plus underscores) and must be at most 1024 characters long."
        ))
    })
}
