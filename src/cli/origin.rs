//! The one source of a configuration, of whichever kind: what the commands ask of it beside what a pipeline does.

use std::sync::Arc;

use super::{Failure, cost};
use crate::bill::Table;
use crate::clock::Clock;
use crate::config::{Config, SourceConfig};
use crate::event::LogPosition;
use crate::source::mysql::Mysql;
use crate::source::mysql::error::MysqlError;
use crate::source::mysql::preflight::{self, Facts, judge};
use crate::source::mysql::server::ServerInfo;
use crate::source::{Finding, Source};

/// A source, connected to when something is asked of it.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// A MySQL or MariaDB server.
    Mysql(Arc<Mysql>),
}

impl Origin {
    /// The source of a configuration.
    ///
    /// # Errors
    /// Its kind is not in this version.
    pub(super) fn new(config: &Config, clock: Clock) -> Result<Origin, Failure> {
        match &config.source {
            SourceConfig::Mysql(source) => Ok(Origin::Mysql(Arc::new(Mysql::new(source.clone(), clock)))),
            SourceConfig::Dynamodb(_) => Err(Failure::Failed {
                what: "sources[0].dynamodb: reading DynamoDB is not in this version".to_owned(),
                hint: Some("name a configuration whose source is mysql".to_owned()),
            }),
        }
    }

    /// As the pipeline sees it.
    pub(super) fn source(&self) -> Arc<dyn Source> {
        match self {
            Origin::Mysql(mysql) => Arc::<Mysql>::clone(mysql),
        }
    }

    /// Everything about it that matters to a pipeline.
    ///
    /// # Errors
    /// It cannot be reached or refuses.
    pub(super) async fn findings(&self) -> Result<Vec<Finding>, Failure> {
        match self {
            Origin::Mysql(mysql) => {
                let source = mysql.connector().source();
                let mut conn = mysql
                    .connector()
                    .connect_query()
                    .await
                    .map_err(|error| Failure::failed(&error))?;
                let facts = Facts::read(&mut conn, &source.tables)
                    .await
                    .map_err(|error| Failure::failed(&error))?;
                Ok(judge(&facts, &source.tables, source.snapshot.mode))
            }
        }
    }

    /// Whether it still has what comes after a position.
    ///
    /// # Errors
    /// It cannot be reached or refuses.
    pub(super) async fn place(&self, position: &LogPosition) -> Result<Finding, Failure> {
        match self {
            Origin::Mysql(mysql) => {
                let failed = |error: &MysqlError| Failure::failed(error);
                let mut conn = mysql
                    .connector()
                    .connect_query()
                    .await
                    .map_err(|error| failed(&error))?;
                let server = ServerInfo::read(&mut conn)
                    .await
                    .map_err(|error| failed(&error))?;
                Ok(preflight::position::judge(&server, position))
            }
        }
    }

    /// The captured tables with their sizes and rates of change; `given`: changes of each in a day, instead of what
    /// was counted.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn tables(&self, given: Option<u32>) -> Result<Vec<Table>, Failure> {
        match self {
            Origin::Mysql(mysql) => cost::tables(mysql, given).await,
        }
    }
}
