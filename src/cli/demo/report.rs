//! What the demo prints.

use std::io::{self, Write};
use std::time::Duration;

use crate::compare::Comparison;

/// Measured lags of one kind.
#[derive(Debug, Default)]
pub(super) struct Lags(Vec<Duration>);

impl Lags {
    pub(super) fn add(&mut self, lag: Duration) {
        self.0.push(lag);
    }

    /// `0.12 s (median of 40), 0.61 s at most`.
    pub(super) fn text(&mut self) -> String {
        self.0.sort_unstable();
        let (Some(median), Some(most)) = (self.0.get(self.0.len() / 2), self.0.last()) else {
            return "not measured".to_owned();
        };
        format!(
            "{:.2} s median, {:.2} s at most, of {} samples",
            median.as_secs_f64(),
            most.as_secs_f64(),
            self.0.len()
        )
    }
}

/// A table of comparisons; `rule` and padding make it readable without colour.
pub(super) fn tables(out: &mut dyn Write, comparisons: &[Comparison]) -> io::Result<()> {
    let head = [
        "table",
        "source rows",
        "target rows",
        "source checksum",
        "target checksum",
        "equal",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(comparisons.iter().map(|found| {
        [
            found.table.to_string(),
            grouped(found.source_rows),
            grouped(found.target_rows),
            format!("{:032x}", found.source_checksum)
                .chars()
                .take(12)
                .collect(),
            format!("{:032x}", found.target_checksum)
                .chars()
                .take(12)
                .collect(),
            if found.equal() { "yes" } else { "NO" }.to_owned(),
        ]
    }));
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    for (index, row) in rows.iter().enumerate() {
        let mut line = String::from("  ");
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let text = match column {
                1 | 2 => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            };
            line.push_str(&text);
            line.push_str("  ");
        }
        writeln!(out, "{}", line.trim_end())?;
        if index == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
            writeln!(out, "  {}", rule.join("  "))?;
        }
    }
    Ok(())
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::TableId;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn lags_are_summed_up() {
        let mut lags = Lags::default();
        assert_eq!(lags.text(), "not measured");
        for millis in [300, 100, 200] {
            lags.add(Duration::from_millis(millis));
        }
        assert_eq!(lags.text(), "0.20 s median, 0.30 s at most, of 3 samples");
    }

    #[test]
    fn the_table_lines_up() {
        let found = |target_rows| Comparison {
            table: TableId::new("shop", "orders"),
            source_rows: 12_345,
            target_rows,
            source_checksum: 1 << 120,
            target_checksum: 1 << 120,
            missing_rows: 12_345 - target_rows,
            extra_rows: 0,
            different_rows: 0,
            missing: Vec::new(),
            extra: Vec::new(),
            different: Vec::new(),
        };
        let mut out = Vec::new();
        tables(&mut out, &[found(12_345), found(12_344)]).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        table        source rows  target rows  source checksum  target checksum  equal
        ───────────  ───────────  ───────────  ───────────────  ───────────────  ─────
        shop.orders       12,345       12,345  010000000000     010000000000     yes
        shop.orders       12,345       12,344  010000000000     010000000000     NO
        ");
    }
}
