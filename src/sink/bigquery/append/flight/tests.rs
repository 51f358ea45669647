use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::sync::{Semaphore, oneshot};

use super::super::super::block::Block;
use super::super::super::delivery::Mode;
use super::super::super::fixture::{plain, target};
use super::super::super::load::{Load, Ticket};
use tonic::Code;

use super::*;
use crate::clock::Clock;
use crate::event::TableId;
use crate::proto::descriptor::DescriptorProto;

fn destinations() -> Vec<Arc<Destination>> {
    let place = target(plain()).destination.place.clone();
    let new = |name: &str| {
        let mut place = place.clone();
        name.clone_into(&mut place.table);
        let table = TableId::new("shop", name);
        Arc::new(Destination::new(
            table,
            place,
            Mode::Cdc,
            DescriptorProto::default(),
        ))
    };
    vec![new("a"), new("b"), new("c")]
}

fn parcel(destination: &Arc<Destination>, bytes: usize) -> Parcel {
    let block = Block {
        body: Bytes::from(vec![0; bytes]),
        rows: 0,
    };
    let delivery = Delivery {
        destination: Arc::clone(destination),
        block,
        room: Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(),
        done: oneshot::channel().0,
    };
    let ticket = Ticket::new(&Arc::default(), bytes, &Arc::default());
    Parcel { delivery, ticket }
}

/// Sends all that may be sent.
fn fill(flight: &mut Flight, now: Instant, fresh: bool) -> Vec<u64> {
    let mut sent = Vec::new();
    while let Next::Send(number) = flight.next(now, fresh && sent.is_empty()) {
        flight.sent(number, now, false);
        sent.push(number);
    }
    sent
}

#[test]
fn in_flight_are_so_many_requests_and_so_many_bytes_at_most() {
    let (now, to) = (Clock::manual().now(), destinations());
    let mut small = Flight::default();
    for _ in 0..100 {
        small.enter(parcel(&to[0], 10), now);
    }
    assert_eq!(fill(&mut small, now, true).len(), WINDOW);
    small.answered().unwrap();
    assert_eq!(fill(&mut small, now, false), [64]);

    let mut large = Flight::default();
    for bytes in [WINDOW_BYTES + 1, 20_000_000, 12_000_000, 1] {
        large.enter(parcel(&to[0], bytes), now);
    }
    // One that is larger than all that may be in flight goes alone.
    assert_eq!(fill(&mut large, now, true), [0]);
    large.answered().unwrap();
    assert_eq!(fill(&mut large, now, false), [1, 2]);
}

#[test]
fn a_table_in_trouble_is_tried_alone_and_first_on_a_stream_while_others_go_on() {
    let (now, to) = (Clock::manual().now(), destinations());
    let mut flight = Flight::default();
    for table in [0, 1, 0, 1] {
        flight.enter(parcel(&to[table], 10), now);
    }
    flight.trouble(&to[0].stream, now).hold(now);
    assert_eq!(fill(&mut flight, now, false), [1, 3]);
    let later = flight.wake(now).unwrap();
    assert!(later > now);
    // The others' answers are awaited, then the stream is exchanged.
    assert_eq!(flight.next(later, false), Next::Nothing);
    for number in [1, 3] {
        assert_eq!(flight.answered().unwrap().number, number);
        flight.end(number).unwrap();
    }
    assert_eq!(flight.next(later, false), Next::Renew);
    assert_eq!(fill(&mut flight, later, true), [0]);
    flight.enter(parcel(&to[1], 10), later);
    assert_eq!(flight.next(later, false), Next::Nothing);
    flight.answered().unwrap();
    flight.well(&to[0].stream);
    flight.end(0).unwrap();
    assert_eq!(fill(&mut flight, later, false), [2, 4]);
}

#[test]
fn a_table_that_is_being_looked_for_is_held_until_that_is_known() {
    let (now, to) = (Clock::manual().now(), destinations());
    let mut flight = Flight::default();
    flight.enter(parcel(&to[0], 10), now);
    assert!(flight.trouble(&to[0].stream, now).hold_until_known());
    assert!(!flight.trouble(&to[0].stream, now).hold_until_known());
    let later = now + Duration::from_secs(1000);
    assert_eq!(flight.next(later, true), Next::Nothing);
    flight.troubled(&to[0].stream).unwrap().known(later);
    let then = flight.wake(later).unwrap();
    assert_eq!(flight.next(then, true), Next::Send(0));
}

#[test]
fn a_table_that_was_changed_begins_on_a_new_stream() {
    let (now, to, anew) = (Clock::manual().now(), destinations(), destinations());
    let mut flight = Flight::default();
    flight.opened();
    for destination in [&to[0], &to[1], &anew[0], &to[1]] {
        flight.enter(parcel(destination, 10), now);
    }
    assert_eq!(fill(&mut flight, now, true), [0, 1]);
    for number in [0, 1] {
        assert_eq!(flight.next(now, false), Next::Nothing);
        flight.answered().unwrap();
        flight.end(number).unwrap();
    }
    assert_eq!(flight.next(now, false), Next::Renew);
    flight.opened();
    assert_eq!(fill(&mut flight, now, true), [2, 3]);
}

#[test]
fn suspects_are_sent_one_by_one() {
    let (now, to) = (Clock::manual().now(), destinations());
    let mut flight = Flight::default();
    for _ in 0..3 {
        flight.enter(parcel(&to[0], 10), now);
    }
    assert_eq!(fill(&mut flight, now, true), [0, 1, 2]);
    flight.take_back(true);
    flight.enter(parcel(&to[0], 10), now);
    for number in 0..3 {
        assert_eq!(fill(&mut flight, now, false), [number]);
        flight.answered().unwrap();
        flight.end(number).unwrap();
    }
    assert_eq!(fill(&mut flight, now, false), [3]);
}

#[test]
fn after_too_much_one_request_at_a_time_until_one_is_acknowledged() {
    let (now, to) = (Clock::manual().now(), destinations());
    let mut flight = Flight::default();
    for _ in 0..3 {
        flight.enter(parcel(&to[0], 10), now);
    }
    flight.slow_down();
    assert_eq!(fill(&mut flight, now, true), [0]);
    flight.answered().unwrap();
    flight.well(&to[0].stream);
    flight.end(0).unwrap();
    assert_eq!(fill(&mut flight, now, false), [1, 2]);
}

#[test]
fn the_patience_with_a_table_ends_with_its_last_delivery() {
    let (now, to) = (Clock::manual().now(), destinations());
    let mut flight = Flight::default();
    for _ in 0..2 {
        flight.enter(parcel(&to[0], 10), now);
    }
    let meet = |flight: &mut Flight, at| flight.trouble(&to[0].stream, at).meet(Code::NotFound, at);
    for _ in 0..7 {
        assert_eq!(meet(&mut flight, now), Duration::ZERO);
    }
    flight.end(0).unwrap();
    let later = now + Duration::from_secs(600);
    assert_eq!(meet(&mut flight, later), Duration::from_secs(600));
    flight.end(1).unwrap();
    assert_eq!(meet(&mut flight, later), Duration::ZERO);
}

#[derive(Debug, Clone)]
enum Act {
    Enter(usize, usize),
    Fill,
    Append,
    Again,
    Trouble,
    Lose(bool),
    Wait,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0_usize..3, 0_usize..20_000_000).prop_map(|(table, bytes)| Act::Enter(table, bytes)),
        4 => Just(Act::Fill),
        4 => Just(Act::Append),
        1 => Just(Act::Again),
        1 => Just(Act::Trouble),
        1 => any::<bool>().prop_map(Act::Lose),
        1 => Just(Act::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_is_lost_and_the_bounds_hold(acts in proptest::collection::vec(act(), 0..80)) {
        let (mut now, to) = (Clock::manual().now(), destinations());
        let mut flight = Flight::default();
        let mut open = BTreeMap::new();
        let mut ended = 0;
        let mut fresh = true;
        let mut entered = 0;
        // In the end everything passes.
        let passing = std::iter::repeat_n([Act::Wait, Act::Fill, Act::Append], 1000).flatten();
        for act in acts.into_iter().chain(passing) {
            match act {
                Act::Enter(table, bytes) => {
                    flight.enter(parcel(&to[table], bytes), now);
                    open.insert(entered, bytes);
                    entered += 1;
                }
                Act::Fill => {
                    if flight.next(now, fresh) == Next::Renew {
                        prop_assert_eq!(flight.on_stream(), 0);
                        flight.opened();
                        fresh = true;
                    }
                    fresh &= fill(&mut flight, now, fresh).is_empty();
                    let bytes: usize = flight.sent.iter().map(|sent| open[&sent.number]).sum();
                    prop_assert_eq!(bytes, flight.sent_bytes);
                    prop_assert!(flight.on_stream() <= WINDOW);
                    prop_assert!(bytes <= WINDOW_BYTES || flight.on_stream() == 1);
                }
                Act::Append => if let Some(sent) = flight.answered() {
                    let stream = flight.delivery(sent.number).unwrap().destination.stream.clone();
                    flight.well(&stream);
                    flight.end(sent.number).unwrap();
                    open.remove(&sent.number).unwrap();
                    ended += 1;
                },
                Act::Again => if let Some(sent) = flight.answered() {
                    flight.again(sent.number);
                },
                Act::Trouble => if let Some(sent) = flight.answered() {
                    let stream = flight.delivery(sent.number).unwrap().destination.stream.clone();
                    flight.again(sent.number);
                    flight.trouble(&stream, now).hold(now);
                },
                Act::Lose(suspects) => {
                    flight.take_back(suspects);
                    flight.opened();
                    fresh = true;
                }
                Act::Wait => now = flight.wake(now).unwrap_or(now),
            }
        }
        prop_assert!(flight.is_empty());
        prop_assert_eq!(ended, entered);
    }

    #[test]
    fn without_trouble_each_stream_sees_the_order_of_arrival(tables in proptest::collection::vec(0_usize..3, 1..60), lost in 0_usize..60) {
        let (now, to) = (Clock::manual().now(), destinations());
        let mut flight = Flight::default();
        for table in &tables {
            flight.enter(parcel(&to[*table], 10), now);
        }
        let all: Vec<u64> = (0..).take(tables.len()).collect();
        prop_assert_eq!(&fill(&mut flight, now, true), &all);
        for number in all.iter().take(lost) {
            flight.answered().unwrap();
            flight.end(*number).unwrap();
        }
        flight.take_back(false);
        prop_assert_eq!(&fill(&mut flight, now, true), &all[lost.min(all.len())..]);
    }
}

#[test]
fn an_ended_delivery_counts_no_more() {
    let (now, to) = (Clock::manual().now(), destinations());
    let (load, table) = (Arc::<Load>::default(), Arc::new(()));
    let mut flight = Flight::default();
    let mut taken = parcel(&to[0], 10);
    taken.ticket = Ticket::new(&load, 10, &table);
    flight.enter(taken, now);
    assert_eq!(
        (load.requests(), load.bytes(), Arc::strong_count(&table)),
        (1, 10, 2)
    );
    let delivery = flight.end(0).unwrap();
    // Before anybody hears of its end.
    assert_eq!(
        (load.requests(), load.bytes(), Arc::strong_count(&table)),
        (0, 0, 1)
    );
    drop(delivery);
}
