use super::super::fixture::{column, layout, log_target};
use super::*;
use crate::event::ColumnType;

#[test]
fn with_a_key_the_latest_version_of_each_row_is_shown_unless_it_is_gone() {
    let target = log_target(layout(vec![
        column("b/c", ColumnType::Int64, Some(1)),
        column("a", ColumnType::Bytes, Some(0)),
        column("v", ColumnType::Text, None),
    ]));
    let text = query(&target);
    let spelled = &target.columns[0].target;
    assert!(
        text.contains("WHERE _replicator_operation = 'CLEARED'")
            && text.contains(&format!(
                "PARTITION BY `a`, `{spelled}` ORDER BY _replicator_sequence DESC) = 1"
            )),
        "{text}"
    );
    assert_eq!(
        place(&target.destination.place).to_string(),
        "p.shop.orders_latest"
    );
}

#[test]
fn without_a_key_every_change_is_shown_once() {
    let target = log_target(layout(vec![column("v", ColumnType::Float64, None)]));
    let text = query(&target);
    // Nothing depends on the source's columns, which may be of types that cannot be grouped by.
    assert!(!text.contains("`v`"), "{text}");
    assert!(text.contains("PARTITION BY _replicator_sequence)"), "{text}");
}
