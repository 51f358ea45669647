//! Query jobs and their results, which are kept for a day.

use rusqlite::{OptionalExtension as _, params, params_from_iter};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Store;
use super::rows::{RestRow, rest_row};
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::faults::{Call, Effect};
use crate::emulator::schema::{Kind, TableRef};
use crate::emulator::sql::select::Translated;
use crate::emulator::sql::{self, QueryRequest, Statement};

/// How long a job and its results are kept, milliseconds.
const KEPT_MS: i64 = 24 * 3600 * 1_000;

/// Whom jobs run as unless they say another.
pub(crate) const CALLER: &str = "emulator@localhost";

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
        ApiError {
            code: self.code,
            reason: self.reason.clone().into(),
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
    /// What it read beyond the baseline that it asked for: merges of pending changes.
    #[serde(default)]
    pub(crate) bytes: u64,
    /// Whom it ran as; none for the caller.
    #[serde(default)]
    pub(crate) user: Option<String>,
}

/// How long a request's own name is known, microseconds (documented: 15 minutes).
const REQUEST_KEPT: i64 = 15 * 60 * 1_000_000;

/// A query to run as a job.
#[derive(Debug, Clone)]
pub(crate) struct NewJob {
    pub(crate) id: String,
    pub(crate) location: String,
    pub(crate) configuration: Value,
    pub(crate) is_dry: bool,
    pub(crate) request: QueryRequest,
}

impl Job {
    /// Refuses a query that would bill more than it was allowed to.
    fn check_bill(&self) -> ApiResult<()> {
        let allowed = self.configuration.pointer("/query/maximumBytesBilled");
        let allowed = allowed.and_then(Value::as_str).and_then(|text| text.parse().ok());
        match allowed {
            Some(allowed) if self.bytes > allowed => {
                let text = format!(
                    "Query exceeded limit for bytes billed: {allowed}. {} or higher required.",
                    self.bytes
                );
                Err(ApiError::of_job(
                    "bytesBilledLimitExceeded".to_owned(),
                    Some(text),
                ))
            }
            _ => Ok(()),
        }
    }
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
            bytes: 0,
            user: None,
        };
        if self.find_job(&job.project, &job.id)?.is_some() {
            let what = format!("Job {}:{}.{}", job.project, job.location, job.id);
            return Err(ApiError::duplicate(what));
        }
        let done = match self.script.strike(Call::Job {
            sql: &new.request.sql,
        }) {
            Some(Effect::Fail(reason)) => Err(ApiError::of_job(reason.reason, reason.message)),
            Some(Effect::Pending(pending)) => {
                self.postpone(&job, pending.polls);
                self.run_statement(&new.request, &mut job, new.is_dry)
            }
            _ => {
                self.postpone(&job, self.script.profile().job_polls);
                self.run_statement(&new.request, &mut job, new.is_dry)
            }
        };
        if let Err(error) = done {
            (job.columns, job.rows) = (Vec::new(), 0);
            job.failure = Some(Failure {
                code: error.code,
                reason: error.reason.into_owned(),
                message: error.message,
            });
        }
        job.ended_ms = self.now_ms();
        if !new.is_dry {
            self.atomically(|store| store.keep(&job))?;
        }
        Ok(job)
    }

    /// Runs a query, or finds the job that the same request started before.
    pub(crate) fn run_request(&mut self, new: NewJob, request: Option<String>) -> ApiResult<Job> {
        let Some(request) = request else {
            return self.run_job(new);
        };
        let now = self.clock().unix_micros();
        self.requests.retain(|_, (_, at)| now - *at < REQUEST_KEPT);
        let name = (new.request.project.clone(), request);
        if let Some((id, _)) = self.requests.get(&name) {
            return self.job(&name.0, id);
        }
        let job = self.run_job(new)?;
        self.requests.insert(name, (job.id.clone(), now));
        Ok(job)
    }

    fn postpone(&mut self, job: &Job, polls: u32) {
        if polls > 0 {
            self.polls.insert((job.project.clone(), job.id.clone()), polls);
        }
    }

    /// Whether a job is complete; each time it is asked brings it nearer.
    pub(crate) fn poll(&mut self, job: &Job) -> bool {
        let name = (job.project.clone(), job.id.clone());
        match self.polls.get_mut(&name) {
            Some(left) if *left > 0 => {
                *left -= 1;
                false
            }
            _ => {
                self.polls.remove(&name);
                true
            }
        }
    }

    fn run_statement(&mut self, request: &QueryRequest, job: &mut Job, is_dry: bool) -> ApiResult<()> {
        match sql::prepare(self, request)? {
            Statement::Select(select) => {
                job.columns.clone_from(&select.columns);
                if !is_dry {
                    for table in &select.merges {
                        job.bytes += self.note_merge(table)?;
                    }
                    job.check_bill()?;
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

    pub(super) fn keep(&mut self, job: &Job) -> ApiResult<()> {
        let old = job.created_ms - KEPT_MS;
        self.connection.execute(
            "DELETE FROM results WHERE (project, id) IN (SELECT project, id FROM jobs WHERE created_ms < ?)",
            [old],
        )?;
        self.connection
            .execute("DELETE FROM jobs WHERE created_ms < ?", [old])?;
        self.connection.execute(
            "INSERT OR REPLACE INTO jobs (project, id, created_ms, meta) VALUES (?, ?, ?, ?)",
            params![job.project, job.id, job.created_ms, serde_json::to_string(job)?],
        )?;
        Ok(())
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
