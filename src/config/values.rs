//! What becomes of values that the target cannot hold: the part of the configuration that is said for each
//! kind of value, with a default for each.

use schemars::JsonSchema;
use serde::Deserialize;

/// What becomes of a value that the target cannot hold. Keys are exempt: a row is put aside rather than
/// have its key changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ValuePolicy")]
pub enum ValuePolicy {
    /// NULL is written, and counted.
    Null,
    /// The row is put aside as a dead letter.
    DeadLetter,
    /// The value is written as text, and counted.
    String,
}

impl ValuePolicy {
    /// The policy as it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            ValuePolicy::Null => "null",
            ValuePolicy::DeadLetter => "dead_letter",
            ValuePolicy::String => "string",
        }
    }
}

/// The policy of each kind of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Values {
    /// Dates and times that BigQuery's calendar lacks: zero, in part zero, impossible, of year 0.
    pub zero_dates: ValuePolicy,
    /// Numbers that the column's type in BigQuery has no room for.
    pub out_of_range: ValuePolicy,
    /// Bytes that are no text in their column's character set.
    pub invalid_text: ValuePolicy,
    /// Numbers in JSON that neither 64 bits nor a double give back.
    pub json_numbers: ValuePolicy,
    /// Values of another type than the column that was asked for them; the row has them elsewhere too.
    pub other_types: ValuePolicy,
}

impl Default for Values {
    fn default() -> Values {
        Values {
            zero_dates: ValuePolicy::Null,
            out_of_range: ValuePolicy::DeadLetter,
            invalid_text: ValuePolicy::DeadLetter,
            json_numbers: ValuePolicy::String,
            other_types: ValuePolicy::Null,
        }
    }
}

/// What becomes of values that BigQuery cannot hold, by kind. Keys are exempt: a row is put aside rather
/// than have its key changed.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Values")]
pub(super) struct RawValues {
    /// Dates and times that BigQuery's calendar lacks (`0000-00-00`, `2024-00-15`, `2024-02-30`, year 0): `null`
    /// unless set. With `string` every DATE, DATETIME and TIMESTAMP column outside the key becomes a STRING.
    zero_dates: Option<ValuePolicy>,
    /// Numbers that the column's type in BigQuery has no room for: `dead_letter` unless set. By itself a column
    /// has a type with room for all its numbers.
    out_of_range: Option<ValuePolicy>,
    /// Bytes that are no text in their column's character set: `dead_letter` unless set. With `string` they
    /// are written as `0x` and hexadecimal digits.
    invalid_text: Option<ValuePolicy>,
    /// Numbers in JSON that neither 64 bits nor a double give back: `string` unless set, a JSON string of the same
    /// digits; with `null` a JSON null.
    json_numbers: Option<ValuePolicy>,
    /// Values at a promoted path of a DynamoDB item that are not of the column's type: `null` unless set; the whole item
    /// has them all the same. `string` is as `dead_letter`: the column has its type.
    other_types: Option<ValuePolicy>,
}

impl RawValues {
    /// The policies, those that are not given from `base`.
    pub(super) fn over(&self, base: Values) -> Values {
        Values {
            zero_dates: self.zero_dates.unwrap_or(base.zero_dates),
            out_of_range: self.out_of_range.unwrap_or(base.out_of_range),
            invalid_text: self.invalid_text.unwrap_or(base.invalid_text),
            json_numbers: self.json_numbers.unwrap_or(base.json_numbers),
            other_types: self.other_types.unwrap_or(base.other_types),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigErrors, parse};

    fn read(values: &str) -> Result<Values, ConfigErrors> {
        let text = format!(
            "pipeline: p\nsources: [{{ name: s, mysql: {{ url: 'mysql://u@h', tables: [a.b] }} }}]\n\
             sink: {{ bigquery: {{ project: my-project }} }}\ncheckpoint: file:///c\nvalues: {{ {values} }}\n"
        );
        parse(&text, &|_| None).map(|config| config.values)
    }

    fn policies(values: &str) -> [ValuePolicy; 5] {
        let values = read(values).unwrap();
        [
            values.zero_dates,
            values.out_of_range,
            values.invalid_text,
            values.json_numbers,
            values.other_types,
        ]
    }

    #[test]
    fn each_kind_has_its_policy_and_null_is_one() {
        let (null, letter, string) = (ValuePolicy::Null, ValuePolicy::DeadLetter, ValuePolicy::String);
        assert_eq!(policies(""), [null, letter, letter, string, null]);
        let given = "zero_dates: dead_letter, out_of_range: null, invalid_text: string, json_numbers: \"null\", other_types: dead_letter";
        assert_eq!(policies(given), [letter, null, string, null, letter]);
    }

    #[test]
    fn every_mistake_is_told() {
        let errors = read("zero_dates: NULLS, zero_numbers: string, json_numbers: 0").unwrap_err();
        let keys: Vec<&str> = errors.errors.iter().map(|error| error.key.as_str()).collect();
        assert_eq!(
            keys,
            ["values.zero_dates", "values.zero_numbers", "values.json_numbers"]
        );
    }
}
