//! MySQL and MariaDB: connections, judgement of a server, catalog, statements and snapshot chunks.

pub mod connect;
pub mod ddl;
pub mod error;
pub mod lexer;
pub mod query_event;
pub mod server;
