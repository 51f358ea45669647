//! The faults in force, and the profile: shared by all parts of a running emulator.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Effect, Fault, Place};
use crate::clock::Clock;
use crate::emulator::error::{ApiError, ApiResult};
use crate::emulator::profile::Profile;
use crate::emulator::schema::TableRef;

/// Faults that may be in force at once.
const MOST: usize = 1_000;

/// What is about to happen, for a fault to match.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Call<'a> {
    Append(&'a TableRef),
    Stream(&'a TableRef),
    Rest { method: &'a str, path: &'a str },
    Job { sql: &'a str },
    Apply(&'a TableRef),
}

/// The script of a running emulator. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    clock: Clock,
    moments: Arc<AtomicU64>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    faults: Vec<Active>,
    next: u64,
    profile: Profile,
}

#[derive(Debug)]
struct Active {
    id: u64,
    fault: Fault,
    /// Microseconds since 1970 at which it ends.
    until: Option<i64>,
    matched: u64,
    fired: u64,
    random: fastrand::Rng,
}

impl Script {
    pub(crate) fn new(clock: Clock, profile: Profile) -> Script {
        let state = State {
            faults: Vec::new(),
            next: 1,
            profile,
        };
        Script {
            clock,
            moments: Arc::default(),
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A number above all that it gave before: tells what came first where the clock stands still.
    pub(crate) fn moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn profile(&self) -> Profile {
        self.state().profile
    }

    pub(crate) fn set_profile(&self, profile: Profile) {
        self.state().profile = profile;
    }

    /// Adds faults: all of them, or none if one is wrong.
    pub(crate) fn add(&self, faults: Vec<Fault>) -> ApiResult<()> {
        let mut wrong = Vec::new();
        for (place, fault) in faults.iter().enumerate() {
            wrong.extend(
                fault
                    .mistakes()
                    .into_iter()
                    .map(|text| format!("fault {place}: {text}")),
            );
        }
        let now = self.clock.unix_micros();
        let mut state = self.state();
        if state.faults.len() + faults.len() > MOST {
            wrong.push(format!("more than {MOST} faults"));
        }
        if !wrong.is_empty() {
            return Err(ApiError::invalid(wrong.join("; ")));
        }
        for fault in faults {
            let id = state.next;
            state.next += 1;
            let lasts = fault.seconds.and_then(|seconds| i64::try_from(seconds).ok());
            let active = Active {
                id,
                until: lasts.map(|seconds| now.saturating_add(seconds.saturating_mul(1_000_000))),
                matched: 0,
                fired: 0,
                random: fastrand::Rng::with_seed(fault.seed),
                fault,
            };
            state.faults.push(active);
        }
        Ok(())
    }

    /// Removes the fault of that number; says whether there was one.
    pub(crate) fn remove(&self, id: u64) -> bool {
        let mut state = self.state();
        let before = state.faults.len();
        state.faults.retain(|active| active.id != id);
        state.faults.len() < before
    }

    /// Removes all faults.
    pub(crate) fn clear(&self) {
        self.state().faults.clear();
    }

    /// All faults with what became of them.
    pub(crate) fn list(&self) -> ApiResult<Value> {
        let now = self.clock.unix_micros();
        let state = self.state();
        let show = |active: &Active| {
            Ok(json!({
                "id": active.id,
                "fault": serde_json::to_value(&active.fault)?,
                "matched": active.matched,
                "fired": active.fired,
                "active": active.is_in_force(now) && !active.is_spent(),
            }))
        };
        let shown: ApiResult<Vec<Value>> = state.faults.iter().map(show).collect();
        Ok(json!({ "faults": shown? }))
    }

    /// What is to happen to a call: the effect of the first fault that strikes it.
    pub(crate) fn strike(&self, call: Call<'_>) -> Option<Effect> {
        let now = self.clock.unix_micros();
        let mut state = self.state();
        state
            .faults
            .iter_mut()
            .find_map(|active| active.strike(call, now))
    }

    /// Whether background jobs leave a table alone at the moment.
    pub(crate) fn is_stalled(&self, table: &TableRef) -> bool {
        let now = self.clock.unix_micros();
        let state = self.state();
        let mut faults = state.faults.iter();
        faults.any(|active| active.is_in_force(now) && active.fault.matches(Call::Apply(table)))
    }

    /// Waits `millis` milliseconds of the emulator's time.
    pub(crate) async fn sleep_ms(&self, millis: u64) {
        self.clock.sleep(Duration::from_millis(millis)).await;
    }
}

impl Active {
    fn is_in_force(&self, now: i64) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    fn is_spent(&self) -> bool {
        self.fault.times.is_some_and(|times| self.fired >= times)
    }

    fn strike(&mut self, call: Call<'_>, now: i64) -> Option<Effect> {
        if !self.is_in_force(now) || self.is_spent() || !self.fault.matches(call) {
            return None;
        }
        self.matched += 1;
        if self.matched <= self.fault.after {
            return None;
        }
        let spared = |chance: f64| self.random.f64() >= chance;
        if self.fault.probability.is_some_and(spared) {
            return None;
        }
        self.fired += 1;
        Some(self.fault.effect.clone())
    }
}

impl Fault {
    fn matches(&self, call: Call<'_>) -> bool {
        let names = |table: &TableRef| {
            let full = format!("{}.{}", table.dataset.dataset, table.table);
            self.table.as_ref().is_none_or(|wanted| *wanted == full)
        };
        let contains = |wanted: &Option<String>, text: &str| {
            wanted.as_ref().is_none_or(|part| text.contains(part.as_str()))
        };
        match (self.on, call) {
            (Place::Append, Call::Append(table))
            | (Place::Streams, Call::Stream(table))
            | (Place::Applies, Call::Apply(table)) => names(table),
            (Place::Rest, Call::Rest { method, path }) => {
                let of_table = self.table.as_ref().and_then(|table| table.split_once('.'));
                let is_table = of_table.is_none_or(|(dataset, table)| {
                    let resource = format!("/datasets/{dataset}/tables/{table}");
                    let rest = path.split_once(&resource).map(|(_, rest)| rest);
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                });
                let is_method = self.method.as_ref();
                is_table
                    && is_method.is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
                    && contains(&self.path, path)
            }
            (Place::Jobs, Call::Job { sql }) => contains(&self.sql, sql),
            (Place::Append | Place::Streams | Place::Rest | Place::Jobs | Place::Applies, _) => false,
        }
    }
}
