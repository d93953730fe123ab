//! The ledger of one request: what happened, settled in one place, once, whatever happened.
//!
//! Dropping the ledger settles it. It is opened as soon as a route is found, before anything is waited
//! for and so before there is a decision; it lives in the exchange until a response begins, then in the
//! response body, or in the tunnel. A client that goes away drops all of these.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::headers::Peer;
use super::reply::Reply;
use super::specimen::Specimen;
use super::tap;
use super::worker::{Current, Worker};
use crate::clock;
use crate::config::model::{Arms, Backend, Route};
use crate::domain::Arm;
use crate::domain::attempt::Outcome;
use crate::domain::breaker::{self, Lease, Position};
use crate::domain::decision::{Decision, Reason};
use crate::domain::fallback::Cause;
use crate::domain::metric::{MetricId, Values};
use crate::domain::reading::Unread;
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
    /// What was decided; [`Decision::NONE`] before.
    pub(crate) decision: Decision,
    /// The arm that answers, or will.
    pub(crate) served: Arm,
    /// Why that arm.
    pub(crate) reason: Reason,
    status: Option<StatusCode>,
    attempts: [Option<Attempt>; 2],
    /// What the last attempt's answer told of the metrics.
    values: Values,
    open: Option<OpenAttempt>,
    /// The right to a probe of the candidate, while nothing was sent yet.
    held: Option<Lease>,
    upstream_time: Duration,
    /// Time spent waiting for the client before the decision.
    client_time: Duration,
    response_bytes: u64,
    fallback: Option<Cause>,
    /// Whether the gateway answers itself, because something failed.
    refused: bool,
    request: RequestFacts,
    /// When the head of the response went to the client.
    first_byte_at: Option<Instant>,
    /// When the last byte of the answer came, once it has.
    finished_at: Option<Instant>,
    /// What is taken of the exchange, if it was drawn.
    pub(crate) specimen: Option<Box<Specimen>>,
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
    values: Values,
    /// Whether its answer is read as it passes, and has not ended.
    reading: bool,
}

impl Ledger {
    pub(crate) fn new(
        worker: Rc<Worker>,
        snapshot: Current,
        matched: Matched,
        arrived: Instant,
        request: RequestFacts,
    ) -> Self {
        worker.counters().started.add(1);
        Self {
            worker,
            snapshot,
            matched,
            arrived,
            decision: Decision::NONE,
            served: Decision::NONE.serve,
            reason: Decision::NONE.reason,
            status: None,
            attempts: [None, None],
            values: Values::default(),
            open: None,
            held: None,
            upstream_time: Duration::ZERO,
            client_time: Duration::ZERO,
            response_bytes: 0,
            fallback: None,
            refused: false,
            request,
            first_byte_at: None,
            finished_at: None,
            specimen: None,
        }
    }

    /// It was decided who asks and which arm is to serve.
    pub(crate) fn decide(&mut self, decision: Decision, key: Option<Box<str>>) {
        self.decision = decision;
        self.served = decision.serve;
        self.reason = decision.reason;
        self.request.key = key;
    }

    /// Keeps the right to a probe while the request is not yet ready to be sent.
    pub(crate) const fn hold(&mut self, lease: Option<Lease>) {
        self.held = lease;
    }

    /// Gives the right to a probe back.
    pub(crate) const fn take_held(&mut self) -> Option<Lease> {
        self.held.take()
    }

    /// Gives up the right to a probe: nothing was tried.
    pub(crate) fn give_up(&self, lease: Option<Lease>, now: Instant) {
        if let Some(lease) = lease {
            let index = self.arms().candidate;
            let settings = &self.snapshot.config().backends[index].breaker;
            let state = &self.snapshot.backends[index].state;
            state.record(Some(lease), breaker::Outcome::Neutral, clock::millis(now), settings);
        }
    }

    /// All this time since it arrived went on waiting for the client.
    pub(crate) fn waited_for_client(&mut self, now: Instant) {
        self.client_time = now.saturating_duration_since(self.arrived);
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

    pub(crate) const fn matched(&self) -> Matched {
        self.matched
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

    /// When the request arrived.
    pub(crate) const fn arrived(&self) -> Instant {
        self.arrived
    }

    /// When the whole exchange has to be over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.route().deadline.map(|deadline| self.arrived + deadline)
    }

    /// Begins an attempt. The caller has entered the backend's bulkhead; the ledger leaves it.
    pub(crate) fn begin(&mut self, arm: Arm, lease: Option<Lease>, now: Instant) {
        let values = Values::default();
        self.open = Some(OpenAttempt { arm, started: now, first_byte: None, lease, values, reading: false });
    }

    /// Whether an attempt is under way.
    pub(crate) const fn is_trying(&self) -> bool {
        self.open.is_some()
    }

    /// So much more time went on waiting for the upstream.
    pub(crate) fn waited_for_upstream(&mut self, waited: Duration) {
        self.upstream_time += waited;
    }

    /// The response head of the present attempt came in, with what it tells of the metrics.
    pub(crate) fn first_byte(&mut self, now: Instant, values: Values) {
        let Some(open) = &mut self.open else { return };
        open.first_byte = Some(now);
        open.values = values;
        let waited = now.saturating_duration_since(open.started);
        let arm = open.arm;
        self.upstream_time += waited;
        self.counters().first_byte[arm.index()].record(waited);
    }

    /// The answer of the present attempt is read as it passes. Returns when the attempt began.
    pub(crate) fn begin_reading(&mut self) -> Option<Instant> {
        let open = self.open.as_mut()?;
        open.reading = true;
        Some(open.started)
    }

    /// What was read of the present attempt's whole answer, beside what its head told.
    pub(crate) fn has_read(&mut self, values: &Values) {
        let Some(open) = &mut self.open else { return };
        open.reading = false;
        values.iter().for_each(|(metric, value)| open.values.put(metric, value));
    }

    /// Nothing is known of an answer that was to be read.
    pub(crate) fn unread(&self, arm: Arm, why: Unread) {
        self.counters().read[arm.index()].unread[why.index()].add(1);
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
        if open.reading {
            self.unread(open.arm, tap::unread_by(outcome));
        }
        let since_start = |at: Instant| at.saturating_duration_since(open.started);
        let duration = since_start(now);
        let attempt = Attempt {
            arm: open.arm,
            outcome,
            first_byte_micros: open.first_byte.map(|at| micros(since_start(at))),
            duration_micros: micros(duration),
            score: self.gate_metric().and_then(|metric| open.values.get(metric)),
        };
        if open.first_byte.is_none() {
            self.upstream_time += duration;
        }
        let slot = usize::from(self.attempts[0].is_some());
        self.attempts[slot] = Some(attempt);
        // What the user got counts for the user; an earlier attempt's answer was thrown away.
        self.values = open.values;
    }

    fn gate_metric(&self) -> Option<MetricId> {
        self.route().quality_gate.as_ref().map(|gate| self.snapshot.meters.id(gate.metric))
    }

    /// The present attempt ended, and with it the whole request.
    pub(crate) fn finish(&mut self, outcome: Outcome, now: Instant) {
        self.end(outcome, now);
        self.finished_at = Some(now);
        if let Some(specimen) = &mut self.specimen {
            specimen.complete();
        }
    }

    /// Control takes over after the candidate failed, or for want of room.
    pub(crate) fn fall_back(&mut self, cause: Cause) {
        self.counters().fallbacks[cause.index()].add(1);
        self.fallback = Some(cause);
        self.served = Arm::Control;
        // Where nothing was tried, the reason is the decision's own word.
        self.reason = if matches!(cause, Cause::Busy) { Reason::Busy } else { Reason::Fallback };
    }

    /// Control would have helped, and may not.
    pub(crate) fn suppress(&self, cause: Cause) {
        self.counters().suppressed[cause.index()].add(1);
    }

    /// The gateway answers itself; `rejected` where the request is malformed or too large.
    pub(crate) fn refuse(&mut self, rejected: bool) {
        self.refused = true;
        if rejected {
            self.worker.counters().rejected.add(1);
        }
    }

    /// Shows the head of a backend's answer to who samples the exchange.
    pub(crate) fn show_head(&mut self, status: StatusCode, headers: &HeaderMap) {
        if let Some(mut specimen) = self.specimen.take() {
            specimen.begin(&self.worker, self.route(), status, headers);
            self.specimen = Some(specimen);
        }
    }

    /// Shows a whole answer to who samples the exchange.
    pub(crate) fn show_whole(&mut self, response: &Response<Reply>) {
        self.show_head(response.status(), response.headers());
        if let (Some(specimen), Reply::Full(bytes)) = (&mut self.specimen, response.body()) {
            specimen.see(bytes.as_deref().unwrap_or_default());
            specimen.complete();
        }
    }

    /// Shows a piece of it.
    pub(crate) fn show(&mut self, piece: &[u8]) {
        if let Some(specimen) = &mut self.specimen {
            specimen.see(piece);
        }
    }

    /// The head of the response is about to go to the client.
    pub(crate) fn respond(&mut self, status: StatusCode, now: Instant) {
        self.status = Some(status);
        self.first_byte_at = Some(now);
        self.counters().overhead.record(self.own_time(now));
    }

    pub(crate) const fn add_bytes(&mut self, bytes: u64) {
        self.response_bytes += bytes;
    }

    /// The gateway's own time: since arrival, less the time spent on upstreams and on the client before
    /// the decision.
    fn own_time(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.arrived).saturating_sub(self.upstream_time + self.client_time)
    }

    /// Time spent waiting for upstreams so far.
    pub(crate) const fn upstream_time(&self) -> Duration {
        self.upstream_time
    }

    pub(crate) const fn response_bytes(&self) -> u64 {
        self.response_bytes
    }

    pub(crate) fn route_state(&self) -> &RouteState {
        &self.snapshot.routes[self.matched.route]
    }

    pub(crate) fn counters(&self) -> &RouteCounters {
        &self.route_state().counters[self.worker.index()]
    }

    fn record(&mut self, now: Instant, duration_micros: u64) -> Record {
        let values = std::mem::take(&mut self.values);
        Record {
            route: self.route_state().id,
            at: clock::millis(now),
            assigned: self.decision.assigned,
            served: self.served,
            reason: self.reason,
            randomised: self.decision.randomised,
            // A route has at most 1,000 rules.
            rule: self.decision.rule.and_then(|rule| u16::try_from(rule).ok()),
            status: self.status.map_or(0, |status| status.as_u16()),
            duration_micros,
            attempts: self.attempts,
            phase: self.snapshot.phases[self.matched.route],
            first_byte_micros: self.first_byte_at.map(|at| micros(at.saturating_duration_since(self.arrived))),
            fell_back: self.fallback.is_some(),
            values,
            statistical_bucket: self.decision.digest.map(|digest| digest.statistical_bucket()),
            user_sample: self.decision.digest.map(|digest| digest.user_sample()),
        }
    }

    /// The values of the request by the names of their metrics.
    fn named_values(&self, values: &Values) -> Vec<(&str, f64)> {
        let metrics = &self.snapshot.config().metrics;
        let named = |(id, value)| Some((&*metrics[self.snapshot.meters.index(id)?].name, value));
        values.iter().filter_map(named).collect()
    }

    fn log(&self, now: Instant, record: &Record) {
        let failed = record.attempts.iter().flatten().any(|attempt| attempt.outcome.is_failure());
        let noteworthy = failed
            || self.refused
            || self.fallback.is_some()
            || self.status.is_none_or(|status| status.is_server_error());
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
            rule: self.decision.rule.map(|rule| &*self.route().policy.targeting.rules[rule].name),
            generation: self.snapshot.generation,
            response_bytes: self.response_bytes,
            // As the metric has it: what comes behind the head is the backend's pace and the client's.
            own_micros: micros(self.own_time(self.first_byte_at.unwrap_or(now))),
            metrics: self.named_values(&record.values),
            at: clock::timestamp(),
        });
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let now = self.finished_at.unwrap_or_else(clock::now);
        self.give_up(self.held, now);
        // An attempt still open here was cut by the client: everything else ends its attempts itself.
        self.end(Outcome::ClientGone, now);
        let counters = self.counters();
        counters.request(self.decision.assigned, self.served, self.reason, CodeClass::of(self.status));
        let duration = now.saturating_duration_since(self.arrived);
        counters.duration[self.served.index()].record(duration);
        if self.request.key.is_none() && self.reason != Reason::Undecided {
            counters.keyless.add(1);
        }
        if self.decision.assigned_by == Reason::Rollout {
            counters.drawn[self.decision.assigned.index()].add(1);
        }
        let record = self.record(now, micros(duration));
        if let Some(specimen) = self.specimen.take() {
            specimen.submit(self, &record);
        }
        self.log(now, &record);
        self.worker.push(record);
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
