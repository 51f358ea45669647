//! The bill for people: aligned columns, the dearest table first, then what it rests on and what to do.

use super::{Bill, Costs, real};

const HEADS: [&str; 11] = [
    "table",
    "size",
    "changes/day",
    "ingest",
    "egress",
    "apply 15m",
    "apply 3h",
    "verify",
    "total 15m",
    "total 3h",
    "append",
];

impl Bill {
    /// The bill as text.
    pub fn render(&self) -> String {
        let mut rows = vec![HEADS.map(str::to_owned)];
        for line in &self.tables {
            let mark = if line.assumed { "*" } else { "" };
            let changes = format!("{:.0}{mark}", line.changes_per_day);
            rows.push(row(line.table.clone(), size(line.bytes), changes, &line.costs));
        }
        let bytes = self
            .tables
            .iter()
            .map(|line| line.bytes)
            .fold(0, u64::saturating_add);
        let changes: f64 = self.tables.iter().map(|line| line.changes_per_day).sum();
        rows.push(row(
            "total".to_owned(),
            size(bytes),
            format!("{changes:.0}"),
            &self.total,
        ));
        let mut text = format!(
            "Cost of a month in US dollars, estimated from list prices of {}.\n\n",
            self.prices_of
        );
        text.push_str(&align(&rows));
        text.push_str(
            "\ningest    Storage Write API\n\
             egress    out of AWS; nothing if the source is not there\n\
             apply     BigQuery reads the whole table for each apply; on demand, without a BACKGROUND reservation\n\
             verify    one query over the whole table a month\n\
             append    no applies; the month's rows are stored in addition; a view of the latest rows reads them all\n",
        );
        if self.tables.iter().any(|line| line.assumed) {
            text.push_str(
                "*         no rate could be read: 1 % of the rows a day is assumed; --changes-per-day N says better\n",
            );
        }
        for advice in &self.advice {
            text.push_str(&format!("\n{advice}\n"));
        }
        text
    }
}

fn row(table: String, size: String, changes: String, costs: &Costs) -> [String; 11] {
    [
        table,
        size,
        changes,
        dollars(costs.ingest),
        dollars(costs.egress),
        dollars(costs.apply_15m),
        dollars(costs.apply_3h),
        dollars(costs.verify),
        dollars(costs.total_15m),
        dollars(costs.total_3h),
        dollars(costs.append),
    ]
}

/// Names to the left, numbers to the right.
fn align(rows: &[[String; 11]]) -> String {
    let mut widths = [0; 11];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        for (index, (width, cell)) in widths.iter().zip(row).enumerate() {
            if index == 0 {
                text.push_str(&format!("{cell:<width$}"));
            } else {
                text.push_str(&format!("  {cell:>width$}"));
            }
        }
        text.push('\n');
    }
    text
}

/// An amount of money; what is something but no cent is not shown as nothing.
pub(super) fn dollars(amount: f64) -> String {
    if amount > 0.0 && amount < 0.005 {
        return "<$0.01".to_owned();
    }
    format!("${amount:.2}")
}

fn size(bytes: u64) -> String {
    let mut left = real(bytes);
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if left < 1024.0 {
            return format!("{left:.1} {unit}");
        }
        left /= 1024.0;
    }
    format!("{left:.1} TiB")
}
