//! Which of the target's columns a table's columns are written to, by place of the log. A log is read
//! again after a crash, and a row of it must go where a row of its place goes now: a column that was
//! renamed since is found under its new name, and no change of columns is made backwards.

use serde::{Deserialize, Serialize};

use super::{Phase, TableState};
use crate::event::{ColumnName, TableLayout, TxnStart};
use crate::schema::{Evolution, Projection, TargetColumn};

/// Where a table's columns are written to. The default: each one to a column of its own name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Columns {
    /// The target's columns, those that nothing is written to any more included.
    pub target: Vec<TargetColumn>,
    /// For each column of the layout its target.
    pub written: Vec<Option<TargetColumn>>,
    /// The transaction that the layout is valid from; `None`: from the floor.
    pub since: Option<TxnStart>,
    /// Layouts that were valid before, oldest first.
    #[serde(default)]
    pub past: Vec<Version>,
}

/// A layout that was valid until the next one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// The transaction that it is valid from; `None`: from the floor.
    pub since: Option<TxnStart>,
    /// The columns and where they are written to now.
    pub projection: Projection,
}

/// A change of columns: intended, then carried out at the target, then done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Applying {
    /// The transaction that the new columns are valid from.
    pub at: TxnStart,
    /// The statement that changed them, if one was seen.
    pub statement: String,
    /// The new columns and where they are written to.
    pub projection: Projection,
    /// The target's columns then.
    pub target: Vec<TargetColumn>,
    /// What changes at the target.
    pub evolution: Evolution,
    /// Why rows that exist are read again afterwards, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refill: Option<String>,
    /// Whether rows that exist may have other keys since: what the target has of them is then deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rekeyed: bool,
}

impl Columns {
    /// Whether each column is written to one of its own name.
    pub fn is_plain(&self) -> bool {
        *self == Columns::default()
    }
}

impl TableState {
    /// A table that was opened, each of its columns written to one of its own name.
    pub fn new(layout: TableLayout, floor: TxnStart, phase: Phase) -> TableState {
        TableState {
            layout,
            floor,
            phase,
            columns: Columns::default(),
            applying: None,
            sweep: None,
            copied: None,
        }
    }

    /// A table that was opened, with nothing in its target but what is written to it from here on.
    pub fn opened(projection: Projection, floor: TxnStart, phase: Phase) -> TableState {
        if projection.columns.iter().all(Option::is_some) {
            return TableState::new(projection.layout, floor, phase);
        }
        let target = projection.columns.iter().flatten().cloned().collect();
        TableState::begun(projection, target, floor, phase)
    }

    /// The columns and where they are written to.
    pub fn projection(&self) -> Projection {
        if self.columns.written.len() == self.layout.columns.len() {
            return Projection {
                layout: self.layout.clone(),
                columns: self.columns.written.clone(),
            };
        }
        Projection::identity(&self.layout)
    }

    /// The target's columns.
    pub fn target(&self) -> Vec<TargetColumn> {
        if self.columns.target.is_empty() {
            self.projection().columns.into_iter().flatten().collect()
        } else {
            self.columns.target.clone()
        }
    }

    /// Every layout that rows may still have, oldest first, and the transaction that each is valid from.
    pub fn versions(&self) -> Vec<Version> {
        let current = Version {
            since: self.columns.since,
            projection: self.projection(),
        };
        self.columns.past.iter().cloned().chain([current]).collect()
    }

    /// Where rows of each of those layouts go.
    pub fn projections(&self) -> Vec<Projection> {
        let versions = self.versions().into_iter();
        versions.map(|version| version.projection).collect()
    }

    /// Whether a change of columns is intended that comes before anything else that is done to the table.
    pub fn is_changing(&self) -> bool {
        let done_with = matches!(
            self.phase,
            Phase::Parked { .. } | Phase::Dropped | Phase::Reopening { .. }
        );
        self.applying.is_some() && !done_with
    }

    /// The new columns are in force from `applying.at` on; older ones go where they go now.
    pub fn applied(&mut self, applying: Applying) {
        let mut past = self.versions();
        for version in &mut past {
            for column in version.projection.columns.iter_mut().flatten() {
                follow(column, &applying);
            }
        }
        self.layout = applying.projection.layout;
        self.columns = Columns {
            target: applying.target,
            written: applying.projection.columns,
            since: Some(applying.at),
            past,
        };
        self.applying = None;
    }

    /// The columns of a table that is opened anew: there is no past.
    pub fn begun(
        projection: Projection,
        target: Vec<TargetColumn>,
        floor: TxnStart,
        phase: Phase,
    ) -> TableState {
        TableState {
            layout: projection.layout,
            floor,
            phase,
            columns: Columns {
                target,
                written: projection.columns,
                since: None,
                past: Vec::new(),
            },
            applying: None,
            sweep: None,
            copied: None,
        }
    }

    /// Forgets layouts that no row from `next` on can have.
    pub fn forget_before(&mut self, next: TxnStart) {
        let begins: Vec<Option<TxnStart>> = self
            .columns
            .past
            .iter()
            .skip(1)
            .map(|version| version.since)
            .chain([self.columns.since])
            .collect();
        let mut begins = begins.into_iter();
        self.columns
            .past
            .retain(|_| begins.next().flatten().is_some_and(|following| next < following));
    }
}

/// A target column as it is after a change.
fn follow(column: &mut TargetColumn, applying: &Applying) {
    let renamed: Option<&(ColumnName, ColumnName)> = applying
        .evolution
        .renamed
        .iter()
        .find(|(old, _)| *old == column.name);
    if let Some((_, new)) = renamed {
        column.name = new.clone();
    }
    if let Some(now) = applying.target.iter().find(|now| now.name == column.name) {
        column.kind = now.kind;
    }
}
