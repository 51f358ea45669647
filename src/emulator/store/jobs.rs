//! Query jobs and their results, which are kept for a day.

use rusqlite::{OptionalExtension as _, params, params_from_iter};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Store;
use super::rows::{RestRow, rest_row};
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::schema::{Kind, TableRef};
use crate::emulator::sql::select::Translated;
use crate::emulator::sql::{self, QueryRequest, Statement};

/// How long a job and its results are kept, milliseconds.
const KEPT_MS: i64 = 24 * 3600 * 1_000;

/// Why a job failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    code: u16,
    reason: String,
    message: String,
}

impl Failure {
    /// The error again.
    pub(crate) fn to_error(&self) -> ApiError {
        let reason = [
            "invalid",
            "invalidQuery",
            "notFound",
            "duplicate",
            "resourceInUse",
            "rateLimitExceeded",
        ]
        .into_iter()
        .find(|reason| *reason == self.reason);
        ApiError {
            code: self.code,
            reason: reason.unwrap_or("internalError"),
            message: self.message.clone(),
        }
    }
}

/// A finished query job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) project: String,
    pub(crate) id: String,
    pub(crate) location: String,
    pub(crate) configuration: Value,
    pub(crate) created_ms: i64,
    pub(crate) ended_ms: i64,
    pub(crate) failure: Option<Failure>,
    pub(crate) statement_type: String,
    /// What a DDL statement did.
    pub(crate) operation: Option<String>,
    pub(crate) target: Option<TableRef>,
    /// Columns of the result; none of a DDL statement.
    pub(crate) columns: Vec<(String, Kind)>,
    pub(crate) rows: u64,
}

/// A query to run as a job.
#[derive(Debug, Clone)]
pub(crate) struct NewJob {
    pub(crate) id: String,
    pub(crate) location: String,
    pub(crate) configuration: Value,
    pub(crate) is_dry: bool,
    pub(crate) request: QueryRequest,
}

impl Store {
    /// Runs a query to its end and keeps what came of it, unless it is a dry run. A statement that fails makes a
    /// job that failed.
    pub(crate) fn run_job(&mut self, new: NewJob) -> ApiResult<Job> {
        let created_ms = self.now_ms();
        let mut job = Job {
            project: new.request.project.clone(),
            id: new.id,
            location: new.location,
            configuration: new.configuration,
            created_ms,
            ended_ms: created_ms,
            failure: None,
            statement_type: "SELECT".to_owned(),
            operation: None,
            target: None,
            columns: Vec::new(),
            rows: 0,
        };
        if self.find_job(&job.project, &job.id)?.is_some() {
            let what = format!("Job {}:{}.{}", job.project, job.location, job.id);
            return Err(ApiError::duplicate(what));
        }
        if let Err(error) = self.run_statement(&new.request, &mut job, new.is_dry) {
            (job.columns, job.rows) = (Vec::new(), 0);
            job.failure = Some(Failure {
                code: error.code,
                reason: error.reason.to_owned(),
                message: error.message,
            });
        }
        job.ended_ms = self.now_ms();
        if !new.is_dry {
            self.keep(&job)?;
        }
        Ok(job)
    }

    fn run_statement(&mut self, request: &QueryRequest, job: &mut Job, is_dry: bool) -> ApiResult<()> {
        match sql::prepare(self, request)? {
            Statement::Select(select) => {
                job.columns.clone_from(&select.columns);
                if !is_dry {
                    job.rows = self.atomically(|store| store.select(&select, job))?;
                }
            }
            Statement::Ddl(_) if is_dry => "DDL".clone_into(&mut job.statement_type),
            Statement::Ddl(ddl) => {
                let done = ddl.run(self, request)?;
                done.statement_type.clone_into(&mut job.statement_type);
                job.operation = Some(done.operation.to_owned());
                job.target = done.table;
            }
        }
        Ok(())
    }

    /// Runs a SELECT into the job's results; gives the number of rows.
    fn select(&mut self, select: &Translated, job: &Job) -> ApiResult<u64> {
        let failed = |error: rusqlite::Error| {
            if let rusqlite::Error::SqliteFailure(_, Some(text)) = error {
                ApiError::query(text)
            } else {
                ApiError::from(error)
            }
        };
        let mut statement = self.connection.prepare(&select.sql).map_err(failed)?;
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO results (project, id, place, row) VALUES (?, ?, ?, ?)")?;
        let mut found = statement
            .query(params_from_iter(&select.parameters))
            .map_err(failed)?;
        let mut place = 0_u64;
        while let Some(row) = found.next().map_err(failed)? {
            let values = rest_row(row, 0, select.columns.iter().map(|(_, kind)| *kind))?;
            let at = i64::try_from(place).unwrap_or(i64::MAX);
            insert.execute(params![job.project, job.id, at, serde_json::to_string(&values)?])?;
            place += 1;
        }
        Ok(place)
    }

    fn keep(&mut self, job: &Job) -> ApiResult<()> {
        self.atomically(|store| {
            let old = job.created_ms - KEPT_MS;
            store.connection.execute(
                "DELETE FROM results WHERE (project, id) IN (SELECT project, id FROM jobs WHERE created_ms < ?)",
                [old],
            )?;
            store.connection.execute("DELETE FROM jobs WHERE created_ms < ?", [old])?;
            store.connection.execute(
                "INSERT INTO jobs (project, id, created_ms, meta) VALUES (?, ?, ?, ?)",
                params![job.project, job.id, job.created_ms, serde_json::to_string(job)?],
            )?;
            Ok(())
        })
    }

    fn find_job(&self, project: &str, id: &str) -> ApiResult<Option<Job>> {
        let meta: Option<String> = self
            .connection
            .prepare_cached("SELECT meta FROM jobs WHERE project = ? AND id = ?")?
            .query_row(params![project, id], |row| row.get(0))
            .optional()?;
        Ok(meta.map(|meta| serde_json::from_str(&meta)).transpose()?)
    }

    /// The job of that name.
    pub(crate) fn job(&self, project: &str, id: &str) -> ApiResult<Job> {
        self.find_job(project, id)?
            .ok_or_else(|| ApiError::not_found(format!("Job {project}:{id}")))
    }

    /// The newest jobs of a project.
    pub(crate) fn jobs(&self, project: &str, most: u64) -> ApiResult<Vec<Job>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT meta FROM jobs WHERE project = ? ORDER BY created_ms DESC, id LIMIT ?")?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let mut found = statement.query(params![project, most])?;
        let mut jobs = Vec::new();
        while let Some(row) = found.next()? {
            jobs.push(serde_json::from_str(&row.get::<_, String>(0)?)?);
        }
        Ok(jobs)
    }

    /// Rows of a job's result from `start` on, about `bytes` bytes of them at most.
    pub(crate) fn results(&self, job: &Job, start: u64, most: u64, bytes: usize) -> ApiResult<Vec<RestRow>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT row FROM results WHERE project = ? AND id = ? AND place >= ? ORDER BY place LIMIT ?",
        )?;
        let clamp = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let mut found = statement.query(params![job.project, job.id, clamp(start), clamp(most)])?;
        let (mut rows, mut size) = (Vec::new(), 0);
        while let Some(row) = found.next()? {
            let text: String = row.get(0)?;
            size += text.len();
            rows.push(serde_json::from_str(&text)?);
            if size > bytes {
                break;
            }
        }
        Ok(rows)
    }
}
