//! Compares a table's columns before and after a change and says what follows.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::preserve::keeps_values;
use super::{Fit, Fits, Projection, TargetColumn};
use crate::config::{Adding, Incompatible, Renaming, SchemaChanges, name_matches};
use crate::event::{AlterSaid, Column, ColumnName, TableLayout};

/// What has to change at the target, each part of it at most once. Columns by the names that they have
/// in [`TargetColumn`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evolution {
    /// Columns that get another name, all at once: old, new.
    pub renamed: Vec<(ColumnName, ColumnName)>,
    /// Columns whose type is widened, as they are then.
    pub widened: Vec<TargetColumn>,
    /// Columns to add.
    pub added: Vec<TargetColumn>,
}

impl Evolution {
    /// Whether the target stays as it is.
    pub fn is_empty(&self) -> bool {
        self.renamed.is_empty() && self.widened.is_empty() && self.added.is_empty()
    }
}

/// What follows a change of columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The target's columns afterwards, those that no column of the source is written to included.
    pub target: Vec<TargetColumn>,
    /// Where the values of the new columns go.
    pub projection: Projection,
    /// What has to change at the target.
    pub evolution: Evolution,
    /// Why rows that exist must be read again, if they must.
    pub refill: Option<String>,
    /// Whether rows that exist may have other keys now: then those of the target have to go as well.
    pub rekeyed: bool,
    /// Columns that are not written, with the policy that says so.
    pub held: Vec<(ColumnName, Adding)>,
}

/// Why a change cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The key consists of other columns, or of columns of another type.
    #[error("its key changed: {0}")]
    Key(String),
    /// A column's type is incompatible, and the policy is to park.
    #[error("column {0} has a type that its target cannot hold")]
    Type(ColumnName),
}

/// What is done to a target with columns `target`, of which `before` is written, to take `after`.
///
/// # Errors
/// [`Unfit`] where no change of the target's columns would do.
pub fn plan(
    target: &[TargetColumn],
    before: &Projection,
    after: &TableLayout,
    said: &AlterSaid,
    (policies, fits): (&SchemaChanges, Fits<'_>),
) -> Result<Planned, Unfit> {
    let (said, swapped) = without_circles(said);
    let mut planner = Planner {
        before,
        said: &said,
        policies,
        fits,
        target: target.to_vec(),
        evolution: Evolution::default(),
        refill: None,
        rekeyed: false,
        held: Vec::new(),
        taken: BTreeSet::new(),
    };
    for name in swapped {
        let is_key = |one: &Column| one.key.is_some() && same(one.name.as_str(), &name);
        planner.rekeyed |= after.columns.iter().any(is_key);
        planner.refill(format!("column {name} changed places with another one"));
    }
    let mut places = vec![None; after.columns.len()];
    // Columns that were there first: what is new must not take their places.
    for (place, column) in places.iter_mut().zip(&after.columns) {
        if let Some(previous) = planner.previous(after, column) {
            *place = Some(planner.carried(&previous, column)?);
        }
    }
    planner.rename(after, &places);
    let mut columns = Vec::with_capacity(places.len());
    for (place, column) in places.into_iter().zip(&after.columns) {
        columns.push(match place {
            Some(place) => place,
            None => planner.added(column),
        });
    }
    let projection = Projection {
        layout: after.clone(),
        columns: columns
            .iter()
            .map(|index| index.and_then(|index| planner.target.get(index).cloned()))
            .collect(),
    };
    same_key(before, &projection)?;
    Ok(Planned {
        target: planner.target,
        projection,
        evolution: planner.evolution,
        refill: planner.refill,
        rekeyed: planner.rekeyed,
        held: planner.held,
    })
}

fn is_held(policies: &SchemaChanges, column: &Column) -> bool {
    let mut patterns = policies.hold_names.iter();
    patterns.any(|pattern| name_matches(pattern, column.name.as_str()))
}

/// Where the columns of a table go that is opened for the first time: each to one of its own name, but for those that are
/// held back by name.
pub fn opening(layout: &TableLayout, policies: &SchemaChanges) -> Projection {
    let mut projection = Projection::identity(layout);
    for (column, place) in layout.columns.iter().zip(&mut projection.columns) {
        if column.key.is_none() && is_held(policies, column) {
            *place = None;
        }
    }
    projection
}

/// A table's columns without those that were not written and may be by now, so that they are taken for new ones. For a
/// table that is copied as a whole.
pub fn let_in(before: &Projection, policies: &SchemaChanges) -> Projection {
    let mut kept = before.clone();
    let stays = |column: &Column, place: &Option<TargetColumn>| {
        place.is_some() || is_held(policies, column) || policies.add_column != Adding::Add
    };
    let pairs = before.layout.columns.iter().zip(&before.columns);
    (kept.layout.columns, kept.columns) = pairs
        .filter(|(column, place)| stays(column, place))
        .map(|(column, place)| (column.clone(), place.clone()))
        .unzip();
    kept
}

struct Planner<'a> {
    before: &'a Projection,
    said: &'a AlterSaid,
    policies: &'a SchemaChanges,
    fits: Fits<'a>,
    target: Vec<TargetColumn>,
    evolution: Evolution,
    refill: Option<String>,
    rekeyed: bool,
    held: Vec<(ColumnName, Adding)>,
    /// Indexes of target columns that a column of the source is written to.
    taken: BTreeSet<usize>,
}

fn folded(name: &ColumnName) -> String {
    name.as_str().to_lowercase()
}

impl Planner<'_> {
    fn refill(&mut self, reason: String) {
        match &mut self.refill {
            Some(reasons) => {
                reasons.push_str("; ");
                reasons.push_str(&reason);
            }
            None => self.refill = Some(reason),
        }
    }

    fn position(&self, name: &ColumnName) -> Option<usize> {
        let wanted = folded(name);
        self.target
            .iter()
            .position(|column| folded(&column.name) == wanted)
    }

    /// The column that was this one before the change.
    fn previous(&self, after: &TableLayout, column: &Column) -> Option<Column> {
        let name = column.name.as_str();
        let renamed = self.said.renamed.iter().find(|(_, new)| same(new, name));
        if let Some((old, _)) = renamed
            && let Some(previous) = self
                .before
                .layout
                .columns
                .iter()
                .find(|one| same(one.name.as_str(), old))
        {
            return Some(previous.clone());
        }
        let previous = self
            .before
            .layout
            .columns
            .iter()
            .find(|one| same(one.name.as_str(), name))?;
        // It lives on under another name.
        let moved = self.said.renamed.iter().any(|(old, new)| {
            same(old, name) && after.columns.iter().any(|one| same(one.name.as_str(), new))
        });
        (!moved).then(|| previous.clone())
    }

    /// A column that was there before: where its values go.
    fn carried(&mut self, previous: &Column, column: &Column) -> Result<Option<usize>, Unfit> {
        let Some(old) = self.before.column(&previous.name) else {
            return Ok(self.unwritten(column));
        };
        let Some(index) = self.position(&old.name.clone()) else {
            return Ok(self.added(column));
        };
        let was = self.target.get(index).map_or(column.kind, |target| target.kind);
        let key = column.key.is_some();
        let place = match (self.fits)(was, column.kind, key) {
            Fit::Same => index,
            Fit::Widen if key => return Err(self.key_type(previous, column)),
            Fit::Widen => {
                self.widen(index, column);
                index
            }
            Fit::Never if key => return Err(self.key_type(previous, column)),
            Fit::Never if self.policies.incompatible_type == Incompatible::Park => {
                return Err(Unfit::Type(column.name.clone()));
            }
            Fit::Never => {
                self.refill(format!("column {} is {}", column.name, column.declared));
                return Ok(Some(self.add(self.free_name(&column.name), column)));
            }
        };
        self.taken.insert(place);
        if !keeps_values(previous, column) {
            self.rekeyed |= key;
            self.refill(format!(
                "column {} was {} and is {}",
                column.name,
                described(previous),
                described(column)
            ));
        }
        Ok(Some(place))
    }

    fn key_type(&self, previous: &Column, column: &Column) -> Unfit {
        Unfit::Key(format!(
            "column {} was {} and is {}",
            column.name, previous.declared, column.declared
        ))
    }

    fn widen(&mut self, index: usize, column: &Column) {
        if let Some(target) = self.target.get_mut(index) {
            target.kind = column.kind;
            self.evolution.widened.push(target.clone());
        }
    }

    /// A column that was not written stays so, whatever it is called by now: only a copy of the whole table lets it in.
    fn unwritten(&mut self, column: &Column) -> Option<usize> {
        if column.key.is_some() {
            return self.added(column);
        }
        let policy = match self.policy(column) {
            Adding::Ignore => Adding::Ignore,
            Adding::Hold | Adding::Add => Adding::Hold,
        };
        self.held.push((column.name.clone(), policy));
        None
    }

    fn policy(&self, column: &Column) -> Adding {
        if is_held(self.policies, column) {
            Adding::Hold
        } else {
            self.policies.add_column
        }
    }

    /// A column that is new: where its values go, if anywhere.
    fn added(&mut self, column: &Column) -> Option<usize> {
        let name = column.name.as_str();
        let policy = self.policy(column);
        if policy != Adding::Add && column.key.is_none() {
            self.held.push((column.name.clone(), policy));
            return None;
        }
        let empty = self.said.added_empty.iter().any(|one| same(one, name));
        if let Some(index) = self.position(&column.name)
            && !self.taken.contains(&index)
            && let Some(was) = self.target.get(index).cloned()
        {
            let fit = (self.fits)(was.kind, column.kind, column.key.is_some());
            if fit == Fit::Widen {
                self.widen(index, column);
            }
            if fit != Fit::Never {
                self.taken.insert(index);
                // Rows that exist still have the values of the one before.
                self.refill(format!("column {name} is new again"));
                return Some(index);
            }
        }
        if !empty {
            self.refill(format!(
                "column {name} is new and may have values in rows that exist"
            ));
        }
        Some(self.add(self.free_name(&column.name), column))
    }

    fn add(&mut self, name: ColumnName, column: &Column) -> usize {
        let added = TargetColumn {
            name,
            kind: column.kind,
            key: column.key.is_some(),
        };
        self.evolution.added.push(added.clone());
        self.target.push(added);
        let index = self.target.len() - 1;
        self.taken.insert(index);
        index
    }

    /// The name itself, or the first of `name_v2`, `name_v3`, … that no column of the target has.
    fn free_name(&self, name: &ColumnName) -> ColumnName {
        if self.position(name).is_none() {
            return name.clone();
        }
        let mut number = 2_u32;
        loop {
            let candidate = ColumnName::new(format!("{name}_v{number}"));
            if self.position(&candidate).is_none() {
                return candidate;
            }
            number += 1;
        }
    }

    /// Gives target columns the names that their source columns got, where the policy says so and the name is
    /// free or becomes so. Key columns cannot be renamed.
    fn rename(&mut self, after: &TableLayout, places: &[Option<Option<usize>>]) {
        if self.policies.rename_column == Renaming::Keep {
            return;
        }
        let mut wanted: Vec<(usize, ColumnName)> = Vec::new();
        for (place, column) in places.iter().zip(&after.columns) {
            let Some(index) = place.flatten() else { continue };
            let Some((old, _)) = self
                .said
                .renamed
                .iter()
                .find(|(_, new)| same(new, column.name.as_str()))
            else {
                continue;
            };
            let ours = self
                .target
                .get(index)
                .is_some_and(|target| !target.key && same(target.name.as_str(), old));
            if ours {
                wanted.push((index, column.name.clone()));
            }
        }
        // A name is free if no column has it, or the column that has it leaves it.
        loop {
            let leaving: BTreeSet<usize> = wanted.iter().map(|(index, _)| *index).collect();
            let before = wanted.len();
            wanted.retain(|(_, name)| self.position(name).is_none_or(|holder| leaving.contains(&holder)));
            if wanted.len() == before {
                break;
            }
        }
        for (index, name) in wanted {
            if let Some(target) = self.target.get_mut(index) {
                let old = std::mem::replace(&mut target.name, name.clone());
                for widened in self.evolution.widened.iter_mut().filter(|one| one.name == old) {
                    widened.name = name.clone();
                }
                self.evolution.renamed.push((old, name));
            }
        }
    }
}

/// What was said without renames in a circle (a to b, b to a): whether those were carried out at a target cannot
/// be told by looking at it, so the names stay where they are and the values move, which takes reading them again.
fn without_circles(said: &AlterSaid) -> (AlterSaid, Vec<String>) {
    let next = |name: &str| {
        let pair = said.renamed.iter().find(|(old, _)| same(old, name));
        pair.map(|(_, new)| new.as_str())
    };
    let in_circle = |begin: &str| {
        let mut name = begin;
        for _ in &said.renamed {
            match next(name) {
                Some(new) if same(new, begin) => return true,
                Some(new) => name = new,
                None => return false,
            }
        }
        false
    };
    let (circles, lines): (Vec<_>, Vec<_>) =
        said.renamed.iter().cloned().partition(|(old, _)| in_circle(old));
    let rest = AlterSaid {
        renamed: lines,
        added_empty: said.added_empty.clone(),
        columns: said.columns,
        copies_go_on: said.copies_go_on,
    };
    (rest, circles.into_iter().map(|(_, new)| new).collect())
}

fn same(left: &str, right: &str) -> bool {
    left == right || left.to_lowercase() == right.to_lowercase()
}

fn described(column: &Column) -> String {
    let null = if column.nullable { "" } else { " not null" };
    format!("{}{null}", column.declared)
}

/// Whether the key is written to the same columns in the same order.
fn same_key(before: &Projection, after: &Projection) -> Result<(), Unfit> {
    let names = |projection: &Projection| -> Vec<ColumnName> {
        let indexes = projection.layout.key_columns().into_iter();
        let columns = indexes.map(|index| projection.columns.get(index).and_then(Option::as_ref));
        columns.flatten().map(|column| column.name.clone()).collect()
    };
    let (was, is) = (names(before), names(after));
    // A rename that the target follows is none of the key: key columns keep their names there.
    if was == is {
        return Ok(());
    }
    let list = |names: &[ColumnName]| {
        let names: Vec<&str> = names.iter().map(ColumnName::as_str).collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            format!("({})", names.join(", "))
        }
    };
    Err(Unfit::Key(format!("it was {} and is {}", list(&was), list(&is))))
}
