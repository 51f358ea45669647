//! What random programs are made of: steps that become statements of the columns that a table has by then, so that a
//! program stays one whatever is left out of it.

use proptest::prelude::{Just, Strategy, any, prop_oneof};

use super::suite::BASE;

/// What columns are made of.
const KINDS: [&str; 28] = [
    "INT",
    "INT UNSIGNED",
    "TINYINT",
    "SMALLINT UNSIGNED",
    "BIGINT",
    "BIGINT UNSIGNED",
    "VARCHAR(3)",
    "VARCHAR(60)",
    "VARCHAR(60) CHARACTER SET latin1",
    "CHAR(8)",
    "TEXT",
    "LONGTEXT CHARACTER SET utf16",
    "DECIMAL(10,2)",
    "DECIMAL(24,6)",
    "DECIMAL(60,12)",
    "DOUBLE",
    "FLOAT",
    "DATE",
    "DATETIME(3)",
    "TIMESTAMP(6)",
    "TIME(2)",
    "YEAR",
    "ENUM('7','x','y')",
    "ENUM('w','y','x','7')",
    "SET('7','x','y')",
    "BLOB",
    "BINARY(4)",
    "BIT(12)",
];

/// What is said of a column besides.
const FILLED: [&str; 8] = [
    "",
    "",
    "NULL DEFAULT NULL",
    "NOT NULL",
    "DEFAULT '7'",
    "NOT NULL DEFAULT '7'",
    "NOT NULL DEFAULT ('7')",
    "INVISIBLE",
];

/// What columns are called.
const NAMES: [&str; 9] = ["a", "b", "c", "d", "e", "f", "x", "y z", "Ünder"];

/// What cells are set to; a server that is not strict makes something of it for nearly every kind.
const VALUES: [&str; 8] = [
    "'7'",
    "NULL",
    "'12'",
    "20240229",
    "'2023-01-02 03:04:05.678901'",
    "'x'",
    "-3.75",
    "id",
];

#[derive(Debug, Clone)]
pub(super) enum Action {
    Add {
        name: usize,
        kind: usize,
        filled: usize,
        place: Option<usize>,
    },
    Generated {
        name: usize,
        stored: bool,
    },
    Drop(usize),
    Rename(usize, usize),
    Modify {
        column: usize,
        kind: usize,
        filled: usize,
    },
    Change {
        column: usize,
        name: usize,
        kind: usize,
    },
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Alter(Vec<Action>),
    Insert {
        id: u16,
        value: usize,
    },
    Update {
        column: usize,
        value: usize,
        part: u8,
    },
    Delete(u8),
    /// Rows get other keys.
    Move(u8),
    Truncate,
    /// Dropped, and made again.
    Again,
    /// A copy takes the table's place.
    Swap,
    /// Away, and back under its name.
    Away,
    Rest(u8),
}

fn action() -> impl Strategy<Value = Action> {
    let (name, column) = (0..NAMES.len(), 0..8_usize);
    let (kind, filled) = (0..KINDS.len(), 0..FILLED.len());
    let place = prop_oneof![
        3 => Just(None),
        1 => column.clone().prop_map(Some),
    ];
    prop_oneof![
        4 => (name.clone(), kind.clone(), filled.clone(), place)
            .prop_map(|(name, kind, filled, place)| Action::Add { name, kind, filled, place }),
        1 => (name.clone(), any::<bool>()).prop_map(|(name, stored)| Action::Generated { name, stored }),
        3 => column.clone().prop_map(Action::Drop),
        2 => (column.clone(), name.clone()).prop_map(|(column, name)| Action::Rename(column, name)),
        3 => (column.clone(), kind.clone(), filled)
            .prop_map(|(column, kind, filled)| Action::Modify { column, kind, filled }),
        1 => (column, name, kind).prop_map(|(column, name, kind)| Action::Change { column, name, kind }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let (value, column, part) = (0..VALUES.len(), 0..8_usize, 0..7_u8);
    prop_oneof![
        9 => proptest::collection::vec(action(), 1..4).prop_map(Step::Alter),
        4 => (any::<u16>(), value.clone()).prop_map(|(id, value)| Step::Insert { id, value }),
        5 => (column, value, part.clone())
            .prop_map(|(column, value, part)| Step::Update { column, value, part }),
        2 => part.clone().prop_map(Step::Delete),
        1 => part.prop_map(Step::Move),
        1 => Just(Step::Truncate),
        1 => Just(Step::Again),
        1 => Just(Step::Swap),
        1 => Just(Step::Away),
        3 => any::<u8>().prop_map(Step::Rest),
    ]
}

pub(super) fn program() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..14)
}

fn quoted(name: &str) -> String {
    format!("`{name}`")
}

/// An action on a table with these columns, the key left out.
fn clause(action: &Action, columns: &[String]) -> String {
    let column = |at: usize| match columns.get(at.checked_rem(columns.len()).unwrap_or(0)) {
        Some(name) => quoted(name),
        None => quoted("none"),
    };
    match action {
        Action::Add {
            name,
            kind,
            filled,
            place,
        } => {
            let place = match place {
                None => String::new(),
                Some(0) => " FIRST".to_owned(),
                Some(at) => format!(" AFTER {}", column(*at)),
            };
            let (kind, filled) = (KINDS[*kind], FILLED[*filled]);
            format!("ADD COLUMN `{}` {kind} {filled}{place}", NAMES[*name])
        }
        Action::Generated { name, stored } => {
            let how = if *stored { "STORED" } else { "VIRTUAL" };
            format!("ADD `{}` BIGINT AS (id * 3) {how}", NAMES[*name])
        }
        Action::Drop(at) => format!("DROP COLUMN {}", column(*at)),
        Action::Rename(at, name) => format!("RENAME COLUMN {} TO `{}`", column(*at), NAMES[*name]),
        Action::Modify {
            column: at,
            kind,
            filled,
        } => format!("MODIFY {} {} {}", column(*at), KINDS[*kind], FILLED[*filled]),
        Action::Change {
            column: at,
            name,
            kind,
        } => format!("CHANGE {} `{}` {}", column(*at), NAMES[*name], KINDS[*kind]),
    }
}

/// The statements of a step on a table with these columns.
pub(super) fn statements(step: &Step, columns: &[String]) -> Vec<String> {
    match step {
        Step::Alter(actions) => {
            let clauses: Vec<String> = actions.iter().map(|action| clause(action, columns)).collect();
            vec![format!("ALTER TABLE T {}", clauses.join(", "))]
        }
        Step::Insert { id, value } => {
            let (mut names, mut cells) = (String::new(), String::new());
            for name in columns {
                names.push_str(&format!(", {}", quoted(name)));
                cells.push_str(&format!(", {}", VALUES[*value]));
            }
            vec![
                format!(
                    "INSERT IGNORE INTO T (id) VALUES ({}), ({})",
                    1000 + id % 50,
                    2000 + id % 70
                ),
                format!(
                    "REPLACE INTO T (id{names}) SELECT id + 100{cells} FROM (SELECT {} AS id) AS one",
                    id % 90
                ),
            ]
        }
        Step::Update { column, value, part } => {
            let Some(name) = columns.get(column.checked_rem(columns.len()).unwrap_or(0)) else {
                return Vec::new();
            };
            let value = VALUES[*value];
            vec![format!(
                "UPDATE T SET {} = {value} WHERE id % 7 = {part}",
                quoted(name)
            )]
        }
        Step::Delete(part) => vec![format!("DELETE FROM T WHERE id % 11 = {part}")],
        Step::Move(part) => vec![format!(
            "UPDATE T SET id = id + 10000 WHERE id % 13 = {part} AND id < 9000"
        )],
        Step::Truncate => vec!["TRUNCATE T".to_owned()],
        Step::Again => vec![
            "DROP TABLE T".to_owned(),
            BASE.to_owned(),
            "INSERT INTO T (id, n, a) VALUES (1, 1, 1), (2, 2, NULL), (3000, 3, 3)".to_owned(),
        ],
        Step::Swap => vec![
            "DROP TABLE IF EXISTS T_new, T_old".to_owned(),
            "CREATE TABLE T_new LIKE T".to_owned(),
            "INSERT IGNORE INTO T_new (id) SELECT id + 1 FROM T".to_owned(),
            "RENAME TABLE T TO T_old, T_new TO T".to_owned(),
        ],
        Step::Away => vec![
            "DROP TABLE IF EXISTS T_away".to_owned(),
            "RENAME TABLE T TO T_away".to_owned(),
            "RENAME TABLE T_away TO T".to_owned(),
        ],
        Step::Rest(_) => Vec::new(),
    }
}
