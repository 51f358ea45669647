use proptest::prelude::*;

use super::*;
use crate::bill::Rate;

const MINUTE: Duration = Duration::from_secs(60);

/// A table that changes all the time.
fn table(bytes: u64) -> Table {
    Table {
        name: "shop.orders".to_owned(),
        rows: 1_000_000,
        bytes,
        rate: Some(Rate {
            inserts: 0.0,
            others: 1e9,
        }),
    }
}

fn chosen(tables: &[Table], slowest_apply: Option<u64>, budget: Option<f64>) -> Choice {
    let terms = Terms {
        slowest_apply: slowest_apply.map(Duration::from_secs),
        budget,
        prices: &Prices::own().unwrap(),
    };
    choose(tables, &terms)
}

#[test]
fn values_rise_to_a_day() {
    let all: Vec<Duration> = steps().collect();
    assert_eq!((all[0], all[59], all[60]), (MINUTE, 60 * MINUTE, 75 * MINUTE));
    assert_eq!(all.last(), Some(&Staleness::LONGEST));
    assert!(all.is_sorted() && all.len() == 60 + 20 + 18);
    assert_eq!(step(Duration::from_secs(61)), 2 * MINUTE);
    assert_eq!(step(100 * Staleness::LONGEST), Staleness::LONGEST);
}

#[test]
fn without_a_budget_it_is_the_usual_one_or_what_is_recommended() {
    let of = |slowest| chosen(&[table(1 << 30)], slowest, None);
    assert_eq!(of(None).max_staleness, 15 * MINUTE);
    assert_eq!(of(Some(240)).max_staleness, 15 * MINUTE);
    // 2 × 10 minutes and 7.
    assert_eq!(of(Some(600)).max_staleness, 27 * MINUTE);
    assert!(of(Some(600)).reason.to_string().contains("600 s"));
    assert!(
        of(None)
            .reason
            .to_string()
            .contains("without apply_budget_per_month")
    );
}

#[test]
fn a_budget_raises_it_as_far_as_it_must_and_lowers_it_as_far_as_it_may() {
    // 1 TiB costs 6.25 to read: 730 hours at 3 hours are 243 reads.
    let tebibyte = [table(1 << 40)];
    let at_3h = 730.0 / 3.0 * 6.25;
    assert_eq!(
        chosen(&tebibyte, None, Some(at_3h + 1.0)).max_staleness,
        180 * MINUTE
    );
    assert_eq!(
        chosen(&tebibyte, None, Some(at_3h - 1.0)).max_staleness,
        195 * MINUTE
    );
    let over = chosen(&tebibyte, None, Some(50.0));
    assert_eq!(over.max_staleness, Staleness::LONGEST);
    assert!(over.reason.to_string().contains("still above"), "{}", over.reason);
    // A small one may be applied more often than is usual, once it is known how long that takes.
    let small = [table(1 << 20)];
    assert_eq!(chosen(&small, Some(1), Some(50.0)).max_staleness, 8 * MINUTE);
    assert_eq!(chosen(&small, None, Some(50.0)).max_staleness, 15 * MINUTE);
    // What is recommended is kept to whatever the budget admits.
    let slow = chosen(&small, Some(600), Some(50.0));
    assert_eq!(slow.max_staleness, 27 * MINUTE);
    assert!(matches!(slow.reason, Reason::Recommended { .. }));
}

#[test]
fn all_tables_share_the_budget() {
    let one = chosen(&[table(1 << 40)], None, Some(2000.0)).max_staleness;
    let two = chosen(&[table(1 << 40), table(1 << 40)], None, Some(2000.0)).max_staleness;
    assert!(two >= 2 * one - 30 * MINUTE && two > one, "{one:?} {two:?}");
}

#[test]
fn a_table_that_is_loaded_gets_the_longest() {
    let usual = chosen(&[], None, None);
    assert_eq!(usual.of(true).max_staleness, Staleness::LONGEST);
    assert!(usual.of(true).reason.to_string().contains("being loaded"));
    assert_eq!(usual.of(false), usual);
}

#[test]
fn a_value_that_is_near_is_kept_unless_it_is_too_small() {
    let usual = chosen(&[], None, None);
    for (minutes, replaced) in [(0, true), (14, true), (15, false), (18, false), (19, true)] {
        assert_eq!(usual.replaces(minutes * MINUTE), replaced, "{minutes}");
    }
}

#[test]
fn durations_are_spelled() {
    for (seconds, text) in [
        (0, "0s"),
        (90, "90s"),
        (900, "15m"),
        (7200, "2h"),
        (9000, "2h30m"),
        (86_400, "24h"),
        (3601, "3601s"),
    ] {
        assert_eq!(spelled(Duration::from_secs(seconds)), text);
    }
}

proptest! {
    #[test]
    fn the_smallest_within_the_budget_and_not_below_what_is_recommended(
        bytes in prop::collection::vec((0u64..1 << 44, 0f64..1e6), 0..12),
        slowest in prop::option::of(0u64..20_000),
        budget in 0f64..5000.0,
    ) {
        let prices = Prices::own().unwrap();
        let tables: Vec<Table> = bytes.into_iter().map(|(bytes, others)| Table {
            rate: Some(Rate { inserts: 0.0, others }),
            ..table(bytes)
        }).collect();
        let cost = |staleness| tables.iter().map(|table| apply(table, staleness, &prices)).sum::<f64>();
        let choice = chosen(&tables, slowest, Some(budget));
        let value = choice.max_staleness;
        let least = slowest.map_or(USUAL, |slowest| Duration::from_secs(2 * slowest) + CONVERSION);
        prop_assert!(value >= least.min(Staleness::LONGEST));
        prop_assert_eq!(matches!(choice.reason, Reason::OverBudget { .. }), cost(value) > budget);
        if cost(value) > budget {
            prop_assert_eq!(value, Staleness::LONGEST);
        }
        for smaller in steps().filter(|step| *step < value && *step >= least) {
            prop_assert!(cost(smaller) > budget);
        }
        // Choosing again changes nothing.
        prop_assert!(!choice.replaces(value));
        prop_assert!(!choice.of(true).replaces(Staleness::LONGEST));
    }

    #[test]
    fn more_money_never_makes_it_longer(bytes in 0u64..1 << 44, less in 0f64..1000.0, more in 0f64..1000.0) {
        let tables = [table(bytes)];
        let of = |budget| chosen(&tables, None, Some(budget)).max_staleness;
        prop_assert!(of(less + more) <= of(less));
    }
}
