use super::super::work::Change;
use super::*;
use crate::checkpoint::{Applying, Phase};
use crate::event::{
    BinlogCoord, CellVisitor, Column, ColumnName, ColumnType, Epoch, RowError, RowImages, RowRef,
};
use crate::schema::{Evolution, Projection};

#[derive(Debug)]
struct NoImages;

impl RowImages for NoImages {
    fn visit(&self, _row: RowRef, _visitor: &mut dyn CellVisitor) -> Result<(), RowError> {
        Ok(())
    }

    fn bytes(&self) -> usize {
        0
    }
}

fn at(offset: u64) -> TxnStart {
    TxnStart {
        epoch: Epoch(1),
        coord: BinlogCoord { file: 1, offset },
    }
}

fn layout(names: &[&str]) -> TableLayout {
    let column = |name: &&str| Column {
        name: ColumnName::new(*name),
        kind: ColumnType::Int64,
        declared: "int".to_owned(),
        nullable: true,
        key: (*name == "id").then_some(0),
    };
    TableLayout {
        table: TableId::new("s", "t"),
        columns: names.iter().map(column).collect(),
    }
}

fn rows(names: &[&str], offset: u64) -> RowChanges {
    RowChanges {
        layout: Arc::new(layout(names)),
        images: Arc::new(NoImages),
        txn: at(offset),
        committed_micros: 0,
        changes: Vec::new(),
        snapshot: false,
    }
}

fn state() -> TableState {
    TableState::new(layout(&["id"]), at(10), Phase::Streaming)
}

/// The table after a column was added at offset 20.
fn changed() -> TableState {
    let projection = Projection::identity(&layout(&["id", "a"]));
    let mut state = state();
    state.applied(Applying {
        at: at(20),
        statement: String::new(),
        target: projection.columns.iter().flatten().cloned().collect(),
        projection,
        evolution: Evolution::default(),
        refill: None,
        rekeyed: false,
    });
    state
}

#[test]
fn rows_are_judged_by_the_columns_of_their_place() {
    let routes = Routes::default();
    assert_eq!(routes.judge(&rows(&["id"], 5)), Verdict::Unknown);
    routes.open(&state());
    assert_eq!(routes.judge(&rows(&["id"], 5)), Verdict::Skip);
    assert_eq!(routes.judge(&rows(&["id"], 10)), Verdict::Send);
    assert_eq!(routes.judge(&rows(&["id", "a"], 20)), Verdict::Changed);
    routes.hold(&state().layout.table);
    assert_eq!(routes.judge(&rows(&["id", "a"], 20)), Verdict::Hold);
    routes.release(&changed());
    // A log that is read again, before the change and after it.
    assert_eq!(routes.judge(&rows(&["id"], 15)), Verdict::Send);
    assert_eq!(routes.judge(&rows(&["id", "a"], 20)), Verdict::Send);
    assert_eq!(routes.judge(&rows(&["id", "a"], 15)), Verdict::Contradicts);
    assert_eq!(routes.judge(&rows(&["id"], 25)), Verdict::Changed);
}

#[test]
fn a_statement_is_old_if_its_columns_were_changed_later() {
    let routes = Routes::default();
    routes.open(&changed());
    assert!(routes.is_current(&layout(&["id"]), at(15)));
    assert!(routes.is_current(&layout(&["id", "a"]), at(20)));
    assert!(!routes.is_current(&layout(&["id", "b"]), at(15)));
    assert!(routes.changed_after(&state().layout.table, at(15)));
    assert!(!routes.changed_after(&state().layout.table, at(20)));
}

#[test]
fn layouts_are_forgotten_once_no_row_can_have_them() {
    let mut state = changed();
    state.forget_before(at(19));
    assert_eq!(state.versions().len(), 2);
    state.forget_before(at(20));
    assert_eq!(state.versions().len(), 1);
}

#[tokio::test]
async fn a_table_is_at_rest_once_nobody_writes() {
    let routes = Arc::new(Routes::default());
    let table = state().layout.table;
    let (first, second) = (routes.writing(&table), routes.writing(&table));
    drop(first);
    let drained = routes.drained(&table);
    tokio::pin!(drained);
    assert!(futures_util::poll!(drained.as_mut()).is_pending());
    drop(second);
    drained.await;
}

#[test]
fn whoever_copied_a_table_is_superseded_when_it_is_opened_again() {
    let routes = Routes::default();
    let table = state().layout.table;
    routes.open(&state());
    let opening = routes.opening(&table);
    assert!(routes.is_open(&table, opening));
    routes.hold(&table);
    assert!(!routes.is_open(&table, opening));
    routes.release(&state());
    assert!(routes.is_open(&table, opening));
    routes.open(&state());
    assert!(!routes.is_open(&table, opening));
}

/// TRUNCATE asks for a look, and the ALTER that follows it at once has its rows held until it is carried out.
#[tokio::test]
async fn a_change_that_rows_wait_for_is_not_replaced_by_a_look() {
    let (routes, table) = (Routes::default(), TableId::new("s", "t"));
    let change = || Work::Change(Box::new(Change::seen_in(&rows(&["id", "a"], 20))));
    routes.open(&state());
    assert!(routes.hold(&table));
    routes.ask(&table, change());
    routes.ask(&table, Work::Look);
    assert_eq!(routes.wanted(|_| false).await, (table.clone(), change()));
    assert!(routes.is_idle());
    // Of a table that is closed, only its state says what is due.
    routes.ask(&table, change());
    routes.close(&table);
    routes.ask(&table, Work::Look);
    assert_eq!(routes.wanted(|_| false).await, (table, Work::Look));
}

#[test]
fn a_copy_that_never_began_leaves_another_one_at_its_place_of_the_log() {
    let mut state = TableState::new(layout(&["id"]), at(100), Phase::Opening);
    state.reopen("a statement concerned it".to_owned(), false);
    let low = at(100).low_after(state.numbered());
    assert!(low.is_some_and(|low| low > at(100).first_low() && low <= at(100)));
}
