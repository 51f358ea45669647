//! Which values of a key column have their text in common with another one. A key must not be shared by two
//! rows of the source, so such a value cannot be a key in the target; of those that share a text, one may.

use super::cell::Form;
use super::cursor::le_uint;
use super::types::Labels;

/// Whether a lower value of the column has the same text as this one, by its bytes in the log.
pub(crate) fn shares_its_text(form: &Form, bytes: &[u8]) -> bool {
    match form {
        Form::Text(codec) | Form::Char(codec) => codec.is_doubled(bytes),
        Form::Enum(..) | Form::Set(..) => shares_its_label(form, le_uint(bytes)),
        Form::Signed
        | Form::Unsigned
        | Form::Unsigned64
        | Form::Float
        | Form::Double
        | Form::Decimal { .. }
        | Form::Bool
        | Form::Bits
        | Form::Bits64
        | Form::Year
        | Form::Temporal(_)
        | Form::Bytes
        | Form::CompressedText(_)
        | Form::CompressedBytes
        | Form::Address(_)
        | Form::Binary(_)
        | Form::Geometry
        | Form::Json => false,
    }
}

/// The same of an ENUM or SET, by its number.
pub(crate) fn shares_its_label(form: &Form, number: u64) -> bool {
    if let Form::Enum(labels, _) = form {
        // The value that stands for an error is the empty string, like an empty label.
        return position(number).map_or_else(
            || labels.iter().any(|label| label.is_empty()),
            |index| repeats(labels, index),
        );
    }
    let Form::Set(labels, _) = form else {
        return false;
    };
    (0..labels.len().min(64))
        .filter(|index| number >> index & 1 == 1)
        .any(|index| labels.get(index).is_some_and(|label| label.is_empty()) || repeats(labels, index))
}

fn position(number: u64) -> Option<usize> {
    usize::try_from(number).ok()?.checked_sub(1)
}

/// Whether a label stands before this place, too: servers that are not strict let it.
fn repeats(labels: &Labels, index: usize) -> bool {
    let label = labels.get(index);
    labels.iter().take(index).any(|earlier| Some(earlier) == label)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::event::Value;
    use crate::source::mysql::cell::{self, Scratch};
    use crate::source::mysql::charset::Codec;

    fn text(form: &Form, number: u64) -> String {
        let mut scratch = Scratch::default();
        let value = if let Form::Set(labels, _) = form {
            cell::set_labels(labels, number, &mut scratch)
        } else if let Form::Enum(labels, _) = form {
            cell::enum_label(labels, number)
        } else {
            Err("no labels")
        };
        match value {
            Ok(Value::Text(text)) => text.to_owned(),
            other => panic!("{other:?}"),
        }
    }

    /// No text is that of two values that may be keys; where labels are not repeated, each is that of one.
    fn at_most_one_of_each(form: &Form, numbers: impl Iterator<Item = u64>, least: u32) {
        let mut kept: HashMap<String, u32> = HashMap::new();
        for number in numbers {
            *kept.entry(text(form, number)).or_default() += u32::from(!shares_its_label(form, number));
        }
        assert!(
            kept.values().all(|count| (least..=1).contains(count)),
            "{form:?}: {kept:?}"
        );
    }

    fn labels(all: &[&str]) -> Labels {
        all.iter().map(|label| Box::from(*label)).collect()
    }

    #[test]
    fn of_labels_that_are_alike_one_may_be_a_key() {
        for all in [&["a", "b"][..], &["a", "", "b"], &["a", "b", "a"], &["", "", "b"]] {
            let numbers = 0..=u64::try_from(all.len()).unwrap();
            at_most_one_of_each(&Form::Enum(labels(all), Codec::Utf8), numbers, 1);
            let least = u32::from(all.len() < 3);
            at_most_one_of_each(&Form::Set(labels(all), Codec::Utf8), 0..1 << all.len(), least);
        }
    }
}
