use proptest::prelude::*;

use super::*;

fn table(name: &str, bytes: u64, rate: Option<Rate>) -> Table {
    Table {
        name: name.to_owned(),
        rows: 1_000_000,
        bytes,
        rate,
    }
}

const BUSY: Rate = Rate {
    inserts: 50_000.0,
    others: 50_000.0,
};

#[test]
fn a_tebibyte_at_15_minutes_is_read_96_times_a_day() {
    let prices = Prices::own().unwrap();
    let bill = reckon(&[table("shop.orders", 1 << 40, Some(BUSY))], &prices);
    let expected = 730.0 * 4.0 * prices.query_per_tib;
    assert!((bill.total.apply_15m - expected).abs() < 0.01);
    assert!((bill.total.apply_3h - expected / 12.0).abs() < 0.01);
    assert!(bill.advice[0].contains("shop.orders") && bill.advice[0].contains("BACKGROUND"));
    assert!(!bill.advice[0].contains("mode: append"));
}

#[test]
fn a_quiet_table_is_applied_as_often_as_it_changes() {
    let rate = Rate {
        inserts: 24.0 / 730.0,
        others: 0.0,
    };
    let bill = reckon(&[table("shop.log", 1 << 40, Some(rate))], &Prices::own().unwrap());
    assert!((bill.total.apply_15m - bill.total.verify).abs() < 1e-6);
    assert!(bill.advice[0].contains("mode: append"));
}

#[test]
fn the_free_part_is_taken_once_for_all_tables() {
    let prices = Prices::own().unwrap();
    // A row of 1 MiB and so many a day that each table sends 1.5 TiB a month.
    let daily = 1.5 * 1024.0 * 1024.0 * 24.0 / 730.0;
    let one = |name: &str| Table {
        name: name.to_owned(),
        rows: 1,
        bytes: (1 << 20) - 75,
        rate: Some(Rate {
            inserts: daily,
            others: 0.0,
        }),
    };
    let bill = reckon(&[one("a.a"), one("a.b")], &prices);
    assert!((bill.total.ingest - 1024.0 * 0.025).abs() < 0.01);
}

#[test]
fn egress_falls_in_price() {
    let prices = Prices::own().unwrap();
    assert!(prices.egress(100.0).abs() < 1e-9);
    assert!((prices.egress(200.0) - 9.0).abs() < 1e-9);
    assert!((prices.egress(10_340.0) - (10_140.0 * 0.09 + 100.0 * 0.085)).abs() < 1e-6);
}

#[test]
fn a_price_list_that_cannot_be_one_is_refused() {
    let own = include_str!("../../config/prices.yaml");
    for (from, to) in [
        ("query_per_tib: 6.25", "query_per_tib: -1"),
        ("query_per_tib: 6.25", "query_per_tib: .nan"),
        ("query_per_tib: 6.25", "query_per_tob: 6.25"),
        ("up_to_gb: 51200", "up_to_gb: 512"),
        ("{ per_gb: 0.05 }", "{ up_to_gb: 999999, per_gb: 0.05 }"),
    ] {
        assert!(own.contains(from), "{from}");
        assert!(Prices::parse(&own.replace(from, to)).is_err(), "{to}");
    }
}

#[test]
fn the_text_is_aligned_and_says_what_it_assumes() {
    let bill = reckon(
        &[
            table("shop.orders", 1 << 40, Some(BUSY)),
            table("shop.a_table_of_long_name", 4096, None),
        ],
        &Prices::own().unwrap(),
    );
    let text = bill.render();
    let lines: Vec<&str> = text.lines().skip(2).take(4).collect();
    assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{text}");
    assert!(lines[1].starts_with("shop.orders ") && lines[3].starts_with("total "));
    assert!(lines[2].contains("10000*") && text.contains("--changes-per-day"));
    assert!(text.contains(&bill.prices_of));
}

proptest! {
    #[test]
    fn waiting_longer_never_costs_more_and_parts_make_the_total(
        tables in prop::collection::vec((0u64..1 << 50, 0u64..1 << 40, 0f64..1e9, 0f64..1e9), 0..20)
    ) {
        let tables: Vec<Table> = tables.into_iter().enumerate().map(|(index, (bytes, rows, inserts, others))| Table {
            name: format!("s.t{index}"),
            rows,
            bytes,
            rate: Some(Rate { inserts, others }),
        }).collect();
        let bill = reckon(&tables, &Prices::own().unwrap());
        for line in &bill.tables {
            prop_assert!(line.costs.total_3h <= line.costs.total_15m);
            prop_assert!(line.costs.total_15m.is_finite() && line.costs.ingest >= 0.0);
        }
        let sum: f64 = bill.tables.iter().map(|line| line.costs.total_15m).sum();
        prop_assert!((sum - bill.total.total_15m).abs() <= 1e-6 * sum.max(1.0));
    }
}
