//! The ledger of one request: what happened, settled in one place, once, whatever happened.
//!
//! Dropping the ledger settles it. It lives in the exchange until a response begins, then in the
//! response body, or in the tunnel; a client that goes away drops all of these.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, StatusCode};

use super::headers::Peer;
use super::worker::{Current, Worker};
use crate::clock;
use crate::config::model::{Arms, Backend, Route};
use crate::domain::Arm;
use crate::domain::attempt::Outcome;
use crate::domain::breaker::{Lease, Position};
use crate::domain::decision::{Decision, Reason};
use crate::domain::fallback::Cause;
use crate::live::{BackendState, Matched, RouteIndex, RouteState};
use crate::measure::counters::CodeClass;
use crate::measure::{Attempt, Record, RouteCounters};
use crate::telemetry::access::Line;

/// See the module.
pub(crate) struct Ledger {
    worker: Rc<Worker>,
    snapshot: Current,
    matched: Matched,
    arrived: Instant,
    /// What was decided.
    pub(crate) decision: Decision,
    /// The arm that answers, or will.
    pub(crate) served: Arm,
    /// Why that arm.
    pub(crate) reason: Reason,
    status: Option<StatusCode>,
    attempts: [Option<Attempt>; 2],
    open: Option<OpenAttempt>,
    upstream_time: Duration,
    response_bytes: u64,
    fallback: Option<Cause>,
    request: RequestFacts,
    /// When the last byte of the answer came, once it has.
    finished_at: Option<Instant>,
}

/// What the access log tells about the request itself.
pub(crate) struct RequestFacts {
    pub(crate) method: Method,
    /// A copy: a slice of the head would keep the whole read buffer for as long as a stream lasts.
    pub(crate) path: Box<str>,
    pub(crate) request_id: HeaderValue,
    pub(crate) key: Option<Box<str>>,
    pub(crate) peer: Rc<Peer>,
}

/// An attempt that has not ended.
struct OpenAttempt {
    arm: Arm,
    started: Instant,
    first_byte: Option<Instant>,
    lease: Option<Lease>,
    score: Option<f64>,
}

impl Ledger {
    pub(crate) fn new(
        worker: Rc<Worker>,
        snapshot: Current,
        matched: Matched,
        arrived: Instant,
        decision: Decision,
        request: RequestFacts,
    ) -> Self {
        worker.counters().started.add(1);
        Self {
            worker,
            snapshot,
            matched,
            arrived,
            decision,
            served: decision.serve,
            reason: decision.reason,
            status: None,
            attempts: [None, None],
            open: None,
            upstream_time: Duration::ZERO,
            response_bytes: 0,
            fallback: None,
            request,
            finished_at: None,
        }
    }

    pub(crate) const fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    pub(crate) fn route(&self) -> &Route {
        &self.snapshot.config().routes[self.matched.route]
    }

    pub(crate) const fn route_index(&self) -> RouteIndex {
        self.matched.route
    }

    pub(crate) const fn arms(&self) -> Arms {
        self.matched.arms
    }

    pub(crate) fn backend(&self, arm: Arm) -> &Backend {
        &self.snapshot.config().backends[self.arms().backend(arm)]
    }

    pub(crate) const fn snapshot(&self) -> &Current {
        &self.snapshot
    }

    pub(crate) const fn request(&self) -> &RequestFacts {
        &self.request
    }

    /// When the whole exchange has to be over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.route().deadline.map(|deadline| self.arrived + deadline)
    }

    /// Begins an attempt. The caller has entered the backend's bulkhead; the ledger leaves it.
    pub(crate) fn begin(&mut self, arm: Arm, lease: Option<Lease>, now: Instant) {
        self.open = Some(OpenAttempt { arm, started: now, first_byte: None, lease, score: None });
    }

    /// The response head of the present attempt came in.
    pub(crate) fn first_byte(&mut self, now: Instant, score: Option<f64>) {
        let Some(open) = &mut self.open else { return };
        open.first_byte = Some(now);
        open.score = score;
        let waited = now.saturating_duration_since(open.started);
        let arm = open.arm;
        self.upstream_time += waited;
        self.counters().first_byte[arm.index()].record(waited);
    }

    /// The present attempt ended. Without one, nothing happens.
    pub(crate) fn end(&mut self, outcome: Outcome, now: Instant) {
        let Some(open) = self.open.take() else { return };
        let index = self.arms().backend(open.arm);
        let state = &self.snapshot.backends[index].state;
        state.leave();
        let settings = &self.snapshot.config().backends[index].breaker;
        let moved = state.record(open.lease, outcome.for_breaker(), clock::millis(now), settings);
        if let Some(position) = moved {
            log_breaker(state, position, outcome);
        }
        self.counters().attempt(open.arm, outcome);
        let since_start = |at: Instant| micros(at.saturating_duration_since(open.started));
        let attempt = Attempt {
            arm: open.arm,
            outcome,
            first_byte_micros: open.first_byte.map(since_start),
            duration_micros: since_start(now),
            score: open.score,
        };
        if open.first_byte.is_none() {
            self.upstream_time += now.saturating_duration_since(open.started);
        }
        let slot = usize::from(self.attempts[0].is_some());
        self.attempts[slot] = Some(attempt);
    }

    /// The present attempt ended, and with it the whole request.
    pub(crate) fn finish(&mut self, outcome: Outcome, now: Instant) {
        self.end(outcome, now);
        self.finished_at = Some(now);
    }

    /// Control takes over after the candidate failed.
    pub(crate) fn fall_back(&mut self, cause: Cause) {
        self.counters().fallbacks[cause.index()].add(1);
        self.fallback = Some(cause);
        self.served = Arm::Control;
        self.reason = Reason::Fallback;
    }

    /// Control would have helped, and may not.
    pub(crate) fn suppress(&self, cause: Cause) {
        self.counters().suppressed[cause.index()].add(1);
    }

    /// The head of the response is about to go to the client.
    pub(crate) fn respond(&mut self, status: StatusCode, now: Instant) {
        self.status = Some(status);
        let own = now.saturating_duration_since(self.arrived).saturating_sub(self.upstream_time);
        self.counters().overhead.record(own);
    }

    pub(crate) const fn add_bytes(&mut self, bytes: u64) {
        self.response_bytes += bytes;
    }

    /// Time spent waiting for upstreams so far.
    pub(crate) const fn upstream_time(&self) -> Duration {
        self.upstream_time
    }

    fn route_state(&self) -> &RouteState {
        &self.snapshot.routes[self.matched.route]
    }

    fn counters(&self) -> &RouteCounters {
        &self.route_state().counters[self.worker.index()]
    }

    fn record(&self, now: Instant) -> Record {
        Record {
            route: self.route_state().id,
            at: clock::millis(now),
            assigned: self.decision.assigned,
            served: self.served,
            reason: self.reason,
            randomised: self.decision.randomised,
            status: self.status.map_or(0, |status| status.as_u16()),
            duration_micros: micros(now.saturating_duration_since(self.arrived)),
            attempts: self.attempts,
            statistical_bucket: self.decision.digest.map(|digest| digest.statistical_bucket()),
            user_sample: self.decision.digest.map(|digest| digest.user_sample()),
        }
    }

    fn log(&self, now: Instant, record: &Record) {
        let failed = record.attempts.iter().flatten().any(|attempt| attempt.outcome.is_failure());
        let noteworthy = failed || self.status.is_none_or(|status| status.is_server_error()) || self.fallback.is_some();
        let log = self.worker.access();
        if !log.wants(&self.snapshot.config().log, noteworthy) {
            return;
        }
        let shown = |key| self.worker.live().users.shown(&self.snapshot.config().log, key);
        log.write(&Line {
            record,
            route: &self.route().name,
            method: &self.request.method,
            path: &self.request.path,
            request_id: &self.request.request_id,
            user: self.request.key.as_deref().map(shown),
            fallback: self.fallback,
            assigned_by: self.decision.assigned_by,
            generation: self.snapshot.generation,
            response_bytes: self.response_bytes,
            own_micros: micros(now.saturating_duration_since(self.arrived).saturating_sub(self.upstream_time)),
            at: clock::timestamp(),
        });
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let now = self.finished_at.unwrap_or_else(clock::now);
        // An attempt still open here was cut by the client: everything else ends its attempts itself.
        self.end(Outcome::ClientGone, now);
        let counters = self.counters();
        counters.request(self.decision.assigned, self.served, self.reason, CodeClass::of(self.status));
        counters.duration[self.served.index()].record(now.saturating_duration_since(self.arrived));
        if self.request.key.is_none() {
            counters.keyless.add(1);
        }
        if self.decision.assigned_by == Reason::Rollout {
            counters.drawn[self.decision.assigned.index()].add(1);
        }
        let record = self.record(now);
        self.worker.push(record);
        self.log(now, &record);
        self.request.peer.rest(now);
        self.worker.counters().finished.add(1);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn log_breaker(state: &BackendState, position: Position, outcome: Outcome) {
    let (backend, position, outcome) = (&*state.name, position.as_str(), outcome.as_str());
    match position {
        "open" => tracing::warn!(backend, position, outcome, "breaker moved"),
        _ => tracing::info!(backend, position, outcome, "breaker moved"),
    }
}
