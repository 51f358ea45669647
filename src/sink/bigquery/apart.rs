//! Whose a target is. BigQuery tells names apart that differ in no more than case, unless the data set was made to
//! ignore case (<https://cloud.google.com/bigquery/docs/tables#table_naming>), so that `Orders` and `orders` each
//! keep their names; where two tables would be written to one target all the same, the later one is refused.

use std::collections::HashMap;
use std::sync::PoisonError;

use super::plan::{Place, Target};
use super::{BigQuery, Error, name};
use crate::event::TableId;

/// The tables that have targets, in the order in which they came, by their targets' names without regard to case.
#[derive(Debug, Default)]
pub(super) struct Owners(HashMap<String, Vec<(TableId, Place)>>);

impl Owners {
    /// Takes a table in.
    ///
    /// # Errors
    /// [`Error::Collision`] if another one has the very same target.
    pub(super) fn admit(&mut self, table: &TableId, place: &Place) -> Result<(), Error> {
        let alike = self.0.entry(name::folded(&place.to_string())).or_default();
        if alike.iter().any(|(owner, _)| owner == table) {
            return Ok(());
        }
        if let Some((owner, _)) = alike.iter().find(|(_, theirs)| theirs == place) {
            return Err(collision(owner, table, place));
        }
        alike.push((table.clone(), place.clone()));
        Ok(())
    }

    /// Every target.
    pub(super) fn places(&self) -> Vec<Place> {
        let all = self.0.values().flatten();
        all.map(|(_, place)| place.clone()).collect()
    }

    /// Those whose target's name differs in no more than case from this one's, and that came before.
    fn before(&self, table: &TableId, place: &Place) -> Vec<(TableId, Place)> {
        let alike = self
            .0
            .get(&name::folded(&place.to_string()))
            .into_iter()
            .flatten();
        alike.take_while(|(owner, _)| owner != table).cloned().collect()
    }
}

fn collision(first: &TableId, second: &TableId, target: &Place) -> Error {
    Error::Collision {
        first: first.clone(),
        second: second.clone(),
        target: target.to_string(),
    }
}

impl BigQuery {
    /// Sees that a table shares its target with none that came before.
    ///
    /// # Errors
    /// [`Error::Collision`], or what the calls failed with.
    pub(super) async fn apart(&self, target: &Target) -> Result<(), Error> {
        let (table, place) = (&target.layout.table, &target.destination.place);
        let before = {
            let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
            targets.owners.before(table, place)
        };
        for (owner, theirs) in before {
            if self.is_one(&theirs, place).await? {
                return Err(collision(&owner, table, place));
            }
        }
        Ok(())
    }

    /// Sees that no two of these tables share a target.
    ///
    /// # Errors
    /// [`Error::Collisions`], or what the calls failed with.
    pub(super) async fn all_apart(&self, tables: &[TableId]) -> Result<(), Error> {
        let mut owners = Owners::default();
        let mut shared = Vec::new();
        for table in tables {
            let place = self.place(table);
            let before = owners.before(table, &place);
            let mut owner = None;
            for (other, theirs) in before {
                if self.is_one(&theirs, &place).await? {
                    owner = Some(other);
                    break;
                }
            }
            match owner {
                Some(owner) => shared.push((owner, table.clone(), place.to_string())),
                None => owners.admit(table, &place)?,
            }
        }
        if shared.is_empty() {
            return Ok(());
        }
        Err(Error::Collisions(shared))
    }

    /// Whether BigQuery takes two names for one that differ in case or not at all.
    async fn is_one(&self, one: &Place, other: &Place) -> Result<bool, Error> {
        if one == other || self.tables.ignores_case(one).await? {
            return Ok(true);
        }
        Ok(one.dataset != other.dataset && self.tables.ignores_case(other).await?)
    }
}
