//! A source made of a seed: what it changes, what of that the target cannot take, and what has to be in the
//! target and among the dead letters in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use replicator::event::{
    BinlogCoord, CellVisitor, CivilDate, ColumnType, Epoch, Op, OrderKey, Ordinal, RowError, RowImages,
    RowRef, TableId, TableLayout, TxnStart, Value,
};
use replicator::fault::chain;
use replicator::sink::{Batch, Sink, SinkError};

use crate::world::{World, batch, changes_of, layout, row_ref};

/// What a row that is refused at random is refused with.
pub(crate) const AT_RANDOM: &str = "refused at random";

/// Keys of a table.
const KEYS: u64 = 40;
/// Rows of a transaction, at most.
const ROWS: usize = 12;
/// The first number that BIGNUMERIC does not hold.
const PAST: &str = "578960446186580977117854925043439539266.34992332820282019728792003956564819968";

/// A row of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    id: i64,
    year: u16,
    n: &'static str,
    note: String,
    /// Whether it was sent with the column that came later.
    is_wide: bool,
}

impl Row {
    /// As a query shows it.
    fn shown(&self) -> Vec<String> {
        let born = format!("{:04}-05-06", self.year);
        let later = if self.is_wide {
            self.note.clone()
        } else {
            String::new()
        };
        vec![
            self.id.to_string(),
            born,
            self.n.to_owned(),
            self.note.clone(),
            later,
        ]
    }
}

#[derive(Debug)]
struct Images {
    rows: Vec<Row>,
    columns: usize,
}

impl RowImages for Images {
    fn visit(&self, row: RowRef, visitor: &mut dyn CellVisitor) -> Result<(), RowError> {
        let row = &self.rows[usize::try_from(row.at).expect("an index")];
        let (year, month, day) = (row.year, 5, 6);
        let cells = [
            Value::Int(row.id),
            Value::Date(CivilDate { year, month, day }),
            Value::DecimalText(row.n),
            Value::Text(&row.note),
            Value::Text(&row.note),
        ];
        let cells = cells.into_iter().take(self.columns).enumerate();
        cells
            .into_iter()
            .try_for_each(|(column, value)| visitor.cell(column, value))
    }

    fn bytes(&self) -> usize {
        self.rows.len() * 100
    }
}

/// A version of a row that was sent: the last one of its key in its transaction.
#[derive(Debug, Clone)]
struct Sent {
    sequence: String,
    /// `None`: deleted.
    row: Option<Row>,
    refused: bool,
}

/// What a dead letter has to say: table, key, sequence, operation, column, position.
type Letter = [String; 6];

struct Table {
    layout: Arc<TableLayout>,
    /// The source's rows.
    now: BTreeMap<i64, Row>,
    sent: BTreeMap<i64, Vec<Sent>>,
}

/// The load.
pub(crate) struct Load {
    random: fastrand::Rng,
    offset: u64,
    tables: Vec<Table>,
    /// Letters that have to be there, whatever the faults are.
    letters: BTreeSet<Letter>,
    /// Those that a random refusal may have brought: every change that was sent.
    possible: BTreeSet<Letter>,
}

impl Load {
    pub(crate) fn new(seed: u64, tables: &[&str], columns: &[(&str, ColumnType)]) -> Load {
        let table = |name: &&str| Table {
            layout: layout(TableId::new("d", *name), columns),
            now: BTreeMap::new(),
            sent: BTreeMap::new(),
        };
        Load {
            random: fastrand::Rng::with_seed(seed),
            offset: 4,
            tables: tables.iter().map(table).collect(),
            letters: BTreeSet::new(),
            possible: BTreeSet::new(),
        }
    }

    pub(crate) fn layouts(&self) -> Vec<&TableLayout> {
        self.tables.iter().map(|table| &*table.layout).collect()
    }

    /// The table's rows have other columns from here on.
    pub(crate) fn widen(&mut self, table: usize, layout: Arc<TableLayout>) {
        self.tables[table].layout = layout;
    }

    /// Sends transactions to all tables, several at once, and waits until each is safe.
    ///
    /// # Errors
    /// What the sink stopped with.
    pub(crate) async fn run(&mut self, world: &World, transactions: usize) -> Result<(), String> {
        let mut batches = Vec::new();
        for _ in 0..transactions {
            for table in 0..self.tables.len() {
                batches.push(self.transaction(table));
            }
        }
        send(world, batches).await
    }

    /// Sends every row of a table that was made anew, as a snapshot does.
    ///
    /// # Errors
    /// What the sink stopped with.
    pub(crate) async fn copy_again(&mut self, world: &World, table: usize) -> Result<(), String> {
        let txn = self.next();
        let rows: Vec<Row> = self.tables[table].now.values().cloned().collect();
        self.tables[table].sent.clear();
        let ops = (0..rows.len())
            .map(|at| Op::Insert { after: row_ref(at) })
            .collect();
        for row in &rows {
            self.note(table, txn, Ordinal(0), row.id, Some(row.clone()));
        }
        let batch = self.batch(table, txn, rows, ops, true);
        send(world, vec![batch]).await
    }

    fn next(&mut self) -> TxnStart {
        self.offset += self.random.u64(1..1_000);
        TxnStart {
            epoch: Epoch(1),
            coord: BinlogCoord {
                file: 7,
                offset: self.offset,
            },
        }
    }

    fn batch(&self, table: usize, txn: TxnStart, rows: Vec<Row>, ops: Vec<Op>, snapshot: bool) -> Batch {
        let layout = &self.tables[table].layout;
        let columns = layout.columns.len();
        let mut piece = changes_of(layout, txn, ops, Arc::new(Images { rows, columns }));
        piece.snapshot = snapshot;
        batch(piece)
    }

    /// One transaction of random changes.
    fn transaction(&mut self, table: usize) -> Batch {
        let txn = self.next();
        let (mut rows, mut ops) = (Vec::new(), Vec::new());
        let mut last: BTreeMap<i64, (Ordinal, Option<Row>)> = BTreeMap::new();
        for ordinal in 1..=self.random.u64(1..=u64::try_from(ROWS).expect("few")) {
            let id = i64::try_from(self.random.u64(0..KEYS)).expect("a small key");
            let at = row_ref(rows.len());
            let before = self.tables[table].now.get(&id).cloned();
            let after = self.row(table, id, (txn.coord.offset, ordinal));
            let is_delete = before.is_some() && self.random.u8(..) < 60;
            let op = match &before {
                Some(before) if is_delete => {
                    rows.push(before.clone());
                    Op::Delete { before: at }
                }
                Some(before) => {
                    rows.push(before.clone());
                    let next = row_ref(rows.len());
                    rows.push(after.clone());
                    Op::Update {
                        before: at,
                        after: next,
                        key_changed: false,
                    }
                }
                None => {
                    rows.push(after.clone());
                    Op::Insert { after: at }
                }
            };
            ops.push(op);
            let now = &mut self.tables[table].now;
            let row = (!is_delete).then_some(after);
            match &row {
                Some(row) => now.insert(id, row.clone()),
                None => now.remove(&id),
            };
            last.insert(id, (Ordinal(ordinal), row));
        }
        for (id, (ordinal, row)) in last {
            self.note(table, txn, ordinal, id, row);
        }
        self.batch(table, txn, rows, ops, false)
    }

    fn row(&mut self, table: usize, id: i64, (offset, ordinal): (u64, u64)) -> Row {
        let is_wide = self.tables[table].layout.columns.len() > 4;
        let (old, past) = (self.random.u8(..) < 25, self.random.u8(..) < 10);
        Row {
            id,
            year: if old { 1950 } else { 2025 },
            n: if past { PAST } else { "-7.5" },
            note: format!("{offset} {ordinal}"),
            is_wide,
        }
    }

    /// Notes what is sent, and whether the target can take it.
    fn note(&mut self, table: usize, txn: TxnStart, ordinal: Ordinal, id: i64, row: Option<Row>) {
        let name = self.tables[table].layout.table.name().to_owned();
        let order = match (&row, ordinal) {
            (Some(_), Ordinal(0)) => OrderKey::snapshot(txn),
            (Some(_), _) => OrderKey::upsert(txn, ordinal),
            (None, _) => OrderKey::delete(txn, ordinal),
        };
        let position = match ordinal {
            Ordinal(0) => format!("the snapshot at {txn}"),
            Ordinal(at) => format!("transaction {txn}, byte {at} of its rows"),
        };
        let operation = if row.is_some() { "UPSERT" } else { "DELETE" };
        // The number is checked before anything is sent, the partition by the target.
        let column = match &row {
            Some(row) if row.n == PAST => Some("n"),
            Some(row) if row.year == 1950 && name == "dated" => Some("born"),
            _ => None,
        };
        let sequence = order.to_string();
        let letter = |column: &str| {
            let key = format!("{{\"id\":{id}}}");
            [&name, &key, &sequence, operation, column, &position].map(str::to_owned)
        };
        match column {
            Some(column) => self.letters.insert(letter(column)),
            None => self.possible.insert(letter("NULL")),
        };
        let refused = column.is_some();
        let sent = Sent {
            sequence,
            row,
            refused,
        };
        self.tables[table].sent.entry(id).or_default().push(sent);
    }

    /// Compares every table with the source, row by row, and the dead letters with what had to be refused.
    pub(crate) async fn compare(&self, world: &World) -> Found {
        let (at_random, others) = letters(world).await;
        let mut differences: Vec<String> = others
            .symmetric_difference(&self.letters)
            .chain(at_random.difference(&self.possible))
            .map(|letter| format!("missing or unfounded: {letter:?}"))
            .collect();
        for table in &self.tables {
            let name = table.layout.table.name();
            let mut there = shown(world, name, table.layout.columns.len()).await;
            for (id, sent) in &table.sent {
                let wanted = acceptable(sent, |sent| {
                    let is_of = |letter: &Letter| letter[0] == name && letter[2] == sent.sequence;
                    at_random.iter().any(is_of)
                });
                let shown = there.remove(id);
                if !wanted.contains(&shown) {
                    differences.push(format!("{name} {id}: {shown:?} is none of {wanted:?}"));
                }
            }
            differences.extend(there.values().map(|row| format!("{name}: never sent: {row:?}")));
        }
        let audit = ["dated", "plain", "other"].map(async |table| {
            let counted = world.emulator.audit(&format!("p.d.{table}")).await;
            let losses = [
                "numbers_with_two_contents",
                "snapshot_numbers_with_two_contents",
                "rows_swallowed",
                "values_swallowed",
                "changes_without_number",
            ];
            let counts = losses.map(|loss| (loss, counted[loss].as_u64().unwrap_or(0)));
            counts
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .map(|(loss, _)| loss)
                .collect::<Vec<_>>()
        });
        let mut audited = Vec::new();
        for table in audit {
            audited.extend(table.await);
        }
        Found {
            differences,
            audited,
            refused_at_random: at_random.len(),
        }
    }
}

/// What a comparison found.
#[derive(Debug)]
pub(crate) struct Found {
    /// Rows and dead letters that are not what the source says.
    pub(crate) differences: Vec<String>,
    /// What the service counted that no sink may bring about.
    pub(crate) audited: Vec<&'static str>,
    /// Rows that were put aside because they were refused at random.
    pub(crate) refused_at_random: usize,
}

/// What a table shows, by key.
async fn shown(world: &World, name: &str, columns: usize) -> BTreeMap<i64, Vec<String>> {
    let later = if columns > 4 { "later" } else { "NULL" };
    let sql = format!("SELECT id, born, n, note, {later} FROM d.{name}");
    let mut there = BTreeMap::new();
    for row in world.emulator.query(&sql).await.expect("rows") {
        let row: Vec<String> = row.into_iter().map(Option::unwrap_or_default).collect();
        let again = there.insert(row[0].parse::<i64>().expect("a key"), row);
        assert_eq!(again, None, "{name}: a key is there twice");
    }
    there
}

/// What a key may show: its newest version, or an older one where the newer ones were put aside. A row that was
/// refused at random may have been taken before, by a request whose answer was lost.
fn acceptable(sent: &[Sent], at_random: impl Fn(&Sent) -> bool) -> Vec<Option<Vec<String>>> {
    let mut wanted = Vec::new();
    for version in sent.iter().rev() {
        let shown = version.row.as_ref().map(Row::shown);
        if version.refused {
            continue;
        }
        wanted.push(shown);
        if !at_random(version) {
            return wanted;
        }
    }
    wanted.push(None);
    wanted
}

/// The dead letters: those of random refusals, and the others.
async fn letters(world: &World) -> (BTreeSet<Letter>, BTreeSet<Letter>) {
    let sql = "SELECT source_table, TO_JSON_STRING(key), sequence, operation, `column`, position, reason \
               FROM d._replicator_dead_letters";
    let (mut at_random, mut others) = (BTreeSet::new(), BTreeSet::new());
    for row in world.emulator.query(sql).await.expect("letters") {
        let mut row: Vec<String> = row
            .into_iter()
            .map(|cell| cell.unwrap_or_else(|| "NULL".to_owned()))
            .collect();
        let reason = row.pop().expect("a reason");
        let letter = row.try_into().expect("six columns");
        if reason.contains(AT_RANDOM) {
            at_random.insert(letter);
        } else {
            others.insert(letter);
        }
    }
    (at_random, others)
}

/// Hands batches over in their order, and waits for all of them.
async fn send(world: &World, batches: Vec<Batch>) -> Result<(), String> {
    let sending = async {
        let mut pending = Vec::new();
        for batch in batches {
            pending.push(world.sink.write(batch).await?);
        }
        for proof in pending {
            proof.await?;
        }
        Ok::<(), SinkError>(())
    };
    let sent = world.passing(sending).await;
    sent.map_err(|error| chain(&*error))
}
