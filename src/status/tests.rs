use super::*;

#[test]
fn ready_means_that_every_part_showed_life_lately() {
    let (status, clock) = (Status::default(), Clock::manual());
    assert_eq!(status.view(&clock).problems.len(), 3);
    status.reader.beat(&clock);
    status.keeper.beat(&clock);
    status.sink.beat(&clock);
    assert!(status.view(&clock).ready);
    clock.advance(Duration::from_secs(61));
    status.keeper.beat(&clock);
    status.sink.beat(&clock);
    assert_eq!(
        status.view(&clock).problems,
        ["log reader has been silent for 61 s"]
    );
    status.reader.beat(&clock);
    status.fatal("position lost");
    assert_eq!(status.view(&clock).problems, ["position lost"]);
    status.standby(Some("a".to_owned()));
    assert_eq!(
        status.view(&clock).problems,
        ["standing by: the pipeline is owned by a"]
    );
}

#[test]
fn rows_copied_and_rows_followed_are_told_apart_when_shown() {
    let status = Status::default();
    let table = TableId::new("shop", "orders");
    status.snapshot_begins(&table, 100, 0, 0);
    status.snapshot_progress(&table, 40, 4);
    status.acknowledged(&table, 7, 70);
    let view = status.view(&Clock::manual());
    assert_eq!(
        serde_json::to_string(&view.tables["shop.orders"]).unwrap(),
        r#"{"state":"snapshot","estimate":100,"copied_rows":40,"chunks":4,"rows":7,"bytes":70,"skipped":0}"#
    );
    assert_eq!(view.rows, 7);
}

#[test]
fn dead_letters_are_counted_and_the_last_is_told() {
    let status = Status::default();
    let table = TableId::new("shop", "orders");
    status.put_aside(&table, 2, Some("first".to_owned()));
    status.put_aside(&table, 0, None);
    status.put_aside(&table, 1, Some("second".to_owned()));
    let view = serde_json::to_value(status.view(&Clock::manual())).unwrap();
    let shown = &view["tables"]["shop.orders"];
    assert_eq!(
        (&shown["dead_letters"], &shown["last_dead_letter"]),
        (&3.into(), &"second".into())
    );
}

#[test]
fn lag_counts_from_the_last_acknowledged_commit_until_all_is_acknowledged() {
    let (status, clock) = (Status::default(), Clock::manual());
    assert_eq!(status.view(&clock).appended_lag_ms, None);
    let start = clock.unix_micros();
    status.read_to(&clock, Some(start));
    status.acknowledged_to(Some(start));
    status.read_to(&clock, Some(start + 1));
    clock.advance(Duration::from_secs(3));
    assert_eq!(status.view(&clock).appended_lag_ms, Some(3000));
    status.acknowledged_to(Some(start + 1));
    status.read_to(&clock, None);
    assert_eq!(status.view(&clock).appended_lag_ms, Some(0));
}
