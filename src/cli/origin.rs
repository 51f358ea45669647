//! The one source of a configuration, of whichever kind: what the commands ask of it beside what a pipeline does.

use std::sync::Arc;

use aws_config::SdkConfig;

use super::start::failed;
use super::{Failure, cost};
use crate::aws;
use crate::bill::Table;
use crate::clock::Clock;
use crate::config::{Config, DynamodbSource, Overrides, SourceConfig};
use crate::event::LogPosition;
use crate::source::dynamodb::load::{LoadError, Loader};
use crate::source::dynamodb::{self, Dynamodb};
use crate::source::mysql::Mysql;
use crate::source::mysql::preflight::{self, Facts, judge};
use crate::source::mysql::server::ServerInfo;
use crate::source::{Finding, Source};

/// A source, connected to when something is asked of it.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// A MySQL or MariaDB server, and what is said of single tables.
    Mysql(Arc<Mysql>, Overrides),
    /// DynamoDB tables.
    Dynamodb(Arc<Tables>),
}

/// DynamoDB tables of one account and region.
#[derive(Debug)]
pub(super) struct Tables {
    config: DynamodbSource,
    aws: SdkConfig,
    loader: Loader,
    source: Arc<Dynamodb>,
}

impl Tables {
    async fn new(config: &DynamodbSource, pipeline: &str, clock: Clock) -> Result<Tables, LoadError> {
        let aws = aws::of_source(config).await;
        Ok(Tables {
            loader: Loader::new(config, pipeline, &aws, clock.clone())?,
            source: Arc::new(Dynamodb::new(config.clone(), pipeline, &aws, clock)?),
            config: config.clone(),
            aws,
        })
    }

    /// The tables with their sizes. AWS counts no changes.
    async fn sizes(&self, given: Option<u32>) -> Result<Vec<Table>, LoadError> {
        let mut tables = Vec::new();
        for name in &self.config.tables {
            let size = self.loader.estimate(name).await?;
            tables.push(Table {
                name: format!("{}.{name}", self.config.name),
                rows: size.rows,
                bytes: size.bytes,
                rate: given.map(cost::rate),
            });
        }
        Ok(tables)
    }
}

impl Origin {
    /// The source of a configuration.
    ///
    /// # Errors
    /// The settings make no client.
    pub(super) async fn new(config: &Config, clock: Clock) -> Result<Origin, Failure> {
        match &config.source {
            SourceConfig::Mysql(source) => {
                let mysql = Arc::new(Mysql::new(source.clone(), clock));
                Ok(Origin::Mysql(mysql, config.tables.clone()))
            }
            SourceConfig::Dynamodb(source) => {
                let tables = Box::pin(Tables::new(source, &config.pipeline, clock)).await;
                Ok(Origin::Dynamodb(Arc::new(
                    tables.map_err(|error| failed(&error))?,
                )))
            }
        }
    }

    /// As the pipeline sees it.
    pub(super) fn source(&self) -> Arc<dyn Source> {
        match self {
            Origin::Mysql(mysql, _) => Arc::<Mysql>::clone(mysql),
            Origin::Dynamodb(tables) => Arc::<Dynamodb>::clone(&tables.source),
        }
    }

    /// Everything about it that matters to a pipeline.
    ///
    /// # Errors
    /// It cannot be reached or refuses.
    pub(super) async fn findings(&self) -> Result<Vec<Finding>, Failure> {
        match self {
            Origin::Mysql(mysql, overrides) => {
                let source = mysql.connector().source();
                let mut conn = mysql
                    .connector()
                    .connect_query()
                    .await
                    .map_err(|error| failed(&error))?;
                let facts = Facts::read(&mut conn, &source.tables)
                    .await
                    .map_err(|error| failed(&error))?;
                Ok(judge(&facts, &source.tables, source.snapshot.mode, overrides))
            }
            Origin::Dynamodb(tables) => {
                let looking = dynamodb::preflight::look(&tables.config, &tables.aws, &tables.loader);
                let found = Box::pin(looking).await;
                found.map_err(|error| failed(&error))
            }
        }
    }

    /// Whether it still has what comes after a position.
    ///
    /// # Errors
    /// It cannot be reached or refuses.
    pub(super) async fn place(&self, position: &LogPosition) -> Result<Finding, Failure> {
        match self {
            Origin::Mysql(mysql, _) => {
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
            Origin::Dynamodb(tables) => {
                let found = dynamodb::preflight::place(&tables.config, &tables.aws, position).await;
                found.map_err(|error| failed(&error))
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
            Origin::Mysql(mysql, _) => cost::tables(mysql, given).await,
            Origin::Dynamodb(tables) => tables.sizes(given).await.map_err(|error| failed(&error)),
        }
    }
}
