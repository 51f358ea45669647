//! The GTID set algebra held to the server's own functions, on random sets with and without tags.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation is a failed test"
)]

mod support;

use mysql_async::prelude::Queryable;
use replicator::event::GtidSet;
use support::{Flavour, TestDb};

const UUIDS: [&str; 3] = [
    "3e11fa47-71ca-11e1-9e33-c80aa9429562",
    "3E11FA48-71CA-11E1-9E33-C80AA9429562",
    "00000000000000000000000000000001",
];
const TAGS: [&str; 4] = ["", ":a", ":Blue_1", ":_z"];

/// Text of a set: out of order, overlapping, in mixed case, sometimes empty.
fn random_set(random: &mut fastrand::Rng) -> String {
    let groups: Vec<String> = (0..random.usize(0..5))
        .map(|_| {
            let mut group = UUIDS[random.usize(..UUIDS.len())].to_owned();
            for _ in 0..random.usize(1..4) {
                group.push_str(TAGS[random.usize(..TAGS.len())]);
                for _ in 0..random.usize(1..4) {
                    let first = random.u64(1..30);
                    let last = first + random.u64(0..8);
                    group.push_str(&match last == first {
                        true => format!(":{first}"),
                        false => format!(":{first}-{last}"),
                    });
                }
            }
            group
        })
        .collect();
    groups.join(",")
}

#[tokio::test]
async fn algebra_is_the_servers() {
    let db = TestDb::start(Flavour::Mysql, &[]);
    let mut conn = db.connect().await;
    let mut random = fastrand::Rng::with_seed(20_261_123);
    for round in 0..400 {
        let (a, b) = (random_set(&mut random), random_set(&mut random));
        // The server has no union; subtracting nothing is its way to normalise text.
        let row: (String, String, bool, String) = conn
            .exec_first(
                "SELECT GTID_SUBTRACT(?, ''), GTID_SUBTRACT(?, ?), GTID_SUBSET(?, ?), \
                 GTID_SUBTRACT(CONCAT_WS(',', NULLIF(?, ''), NULLIF(?, '')), '')",
                (&a, &a, &b, &a, &b, &a, &b),
            )
            .await
            .unwrap()
            .unwrap();
        let plain = |text: &str| text.replace('\n', "");
        let (left, right): (GtidSet, GtidSet) = (a.parse().unwrap(), b.parse().unwrap());
        let mut union = left.clone();
        union.union(&right);
        let ours = (
            left.to_string(),
            left.subtract(&right).to_string(),
            left.is_subset(&right),
            union.to_string(),
        );
        let theirs = (plain(&row.0), plain(&row.1), row.2, plain(&row.3));
        assert_eq!(ours, theirs, "round {round}: {a:?} and {b:?}");
        // What the server prints is read back as the same set.
        assert_eq!(row.0.parse::<GtidSet>().unwrap(), left, "{a:?}");
    }
    conn.disconnect().await.unwrap();
}
