use super::super::fixture::client::link;
use super::super::fixture::{plain, target};
use super::*;
use crate::event::TableId;
use crate::proto::descriptor::DescriptorProto;

/// Deliveries that are never handed over keep their tickets, as if their connection were slow.
struct Tables {
    pool: Pool,
    tickets: HashMap<String, Vec<Ticket>>,
}

impl Tables {
    fn new(own: usize, most: usize) -> Tables {
        let nowhere = "http://127.0.0.1:1";
        Tables {
            pool: Pool::new(link(nowhere, nowhere), Limits { own, most }),
            tickets: HashMap::new(),
        }
    }

    /// Where one more delivery of `mode` to `dataset.table` goes.
    fn sent(&mut self, mode: Mode, dataset: &str, table: &str) -> usize {
        let mut place = target(plain()).destination.place.clone();
        (place.dataset, place.table) = (dataset.to_owned(), table.to_owned());
        let stream = place.stream();
        let source = TableId::new(dataset, table);
        let destination = Destination::new(source, place, mode, DescriptorProto::default());
        let (_, ticket) = self.pool.way(&destination, 100).unwrap();
        self.tickets.entry(stream.clone()).or_default().push(ticket);
        self.pool.modes.lock().unwrap()[&mode].of[&stream].connection
    }

    fn cdc(&mut self, table: &str) -> usize {
        self.sent(Mode::Cdc, "shop", table)
    }

    /// More than the table's connection can keep up with.
    fn flood(&mut self, table: &str) {
        for _ in 0..=BUSY_REQUESTS {
            self.cdc(table);
        }
    }

    /// All deliveries of a table end.
    fn end(&mut self, table: &str) {
        let name = format!("/{table}/");
        self.tickets.retain(|stream, _| !stream.contains(&name));
    }
}

#[tokio::test]
async fn tables_have_connections_of_their_own_and_beyond_the_limit_share() {
    let mut tables = Tables::new(3, 5);
    let ways = ["a", "b", "c", "d", "e", "f", "g"].map(|table| tables.cdc(table));
    assert_eq!(ways[..3], [0, 1, 2]);
    let mut shared = ways[3..6].to_vec();
    shared.sort_unstable();
    assert_eq!(shared, [0, 1, 2]);
    // They keep them.
    let again = ["a", "b", "c", "d", "e", "f", "g"].map(|table| tables.cdc(table));
    assert_eq!(again, ways);
}

#[tokio::test]
async fn changes_plain_rows_and_data_sets_never_share() {
    let mut tables = Tables::new(1, 1);
    assert_eq!(tables.cdc("a"), 0);
    assert_eq!(tables.cdc("b"), 0);
    assert_eq!(tables.sent(Mode::Append, "shop", "a"), 0);
    assert_eq!(tables.sent(Mode::Cdc, "elsewhere", "a"), 1);
    assert_eq!(tables.sent(Mode::Cdc, "elsewhere", "b"), 1);
    let modes = tables.pool.modes.lock().unwrap();
    assert_eq!(
        (modes[&Mode::Cdc].all.len(), modes[&Mode::Append].all.len()),
        (2, 1)
    );
}

#[tokio::test]
async fn a_table_leaves_a_busy_connection_at_rest_only() {
    let mut tables = Tables::new(2, 3);
    let ways = ["a", "b", "c", "d"].map(|table| tables.cdc(table));
    assert_eq!(ways, [0, 1, 0, 1]);
    tables.flood("a");
    // One of its deliveries is on its way, and order holds on one connection only.
    assert_eq!(tables.cdc("c"), 0);
    tables.end("c");
    // At rest it goes where there is less to do.
    assert_eq!(tables.cdc("c"), 1);
    // With all of them busy there is one more, and no more than that.
    tables.flood("b");
    tables.end("d");
    assert_eq!(tables.cdc("d"), 2);
    tables.end("c");
    assert_eq!(tables.cdc("c"), 2);
    tables.flood("d");
    tables.end("c");
    assert_eq!(tables.cdc("c"), 2);
}

#[tokio::test]
async fn a_table_that_is_alone_stays_however_busy() {
    let mut tables = Tables::new(2, 4);
    assert_eq!((tables.cdc("a"), tables.cdc("b")), (0, 1));
    tables.flood("a");
    tables.end("a");
    tables.flood("b");
    assert_eq!(tables.cdc("a"), 0);
}
