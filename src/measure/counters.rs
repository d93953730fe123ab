//! Exact counts of one worker: each cell has one writer, and is summed over workers when scraped.
//!
//! A count is a relaxed load and store, with no read-modify-write: one writer needs no more, and the
//! request path pays about one instruction a cell.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::Arm;
use crate::domain::attempt::Outcome;
use crate::domain::decision::Reason;
use crate::domain::fallback::Cause;
use crate::domain::pin;
use crate::domain::reading::{Tokens, Unread};
use crate::jwt::Rejection;

/// A count with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the worker that owns the cell may call this.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A sum of numbers with one writer.
#[derive(Debug, Default)]
pub struct Sum(AtomicU64);

impl Sum {
    /// Adds a number. Only the worker that owns the cell may call this.
    pub fn add(&self, number: f64) {
        self.0.store((self.get() + number).to_bits(), Ordering::Relaxed);
    }

    /// The sum so far.
    #[must_use]
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Upper bounds in microseconds for request and first-byte durations: from a cache's answer to an
/// LLM's. What is longer counts in `+Inf`.
pub const DURATION_BOUNDS: [u64; 16] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
];

/// Upper bounds in microseconds for the gateway's own time.
pub const OVERHEAD_BOUNDS: [u64; 16] =
    [20, 35, 50, 75, 100, 150, 200, 300, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 100_000, 1_000_000];

/// A histogram over fixed bounds, with one writer.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64; 16],
    buckets: [Counter; 17],
    sum_micros: Counter,
}

impl Histogram {
    /// Empty, over these bounds (microseconds).
    #[must_use]
    pub fn new(bounds: &'static [u64; 16]) -> Self {
        Self { bounds, buckets: Default::default(), sum_micros: Counter::default() }
    }

    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = self.bounds.partition_point(|&bound| bound < micros);
        self.buckets[bucket].add(1);
        self.sum_micros.add(micros);
    }
}

/// Sums of one histogram over all workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistogramTotals {
    /// Upper bounds in microseconds.
    pub bounds: &'static [u64; 16],
    /// Counts by bucket, not cumulative; the last is `+Inf`.
    pub buckets: [u64; 17],
    /// Sum in microseconds.
    pub sum_micros: u64,
}

impl HistogramTotals {
    fn of<'a>(shards: impl Iterator<Item = &'a Histogram>, bounds: &'static [u64; 16]) -> Self {
        let mut totals = Self { bounds, buckets: [0; 17], sum_micros: 0 };
        for shard in shards {
            for (total, bucket) in totals.buckets.iter_mut().zip(&shard.buckets) {
                *total += bucket.get();
            }
            totals.sum_micros += shard.sum_micros.get();
        }
        totals
    }

    /// Without any value.
    #[must_use]
    pub const fn empty(bounds: &'static [u64; 16]) -> Self {
        Self { bounds, buckets: [0; 17], sum_micros: 0 }
    }

    /// Counts one duration.
    pub fn add(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = self.bounds.partition_point(|&bound| bound < micros);
        self.buckets[bucket] += 1;
        self.sum_micros = self.sum_micros.saturating_add(micros);
    }

    /// How many values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// Class of the status that a client saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeClass {
    /// No status: the client went away before one was sent.
    None,
    /// By the first digit of the status.
    Of(u8),
}

impl CodeClass {
    /// `none` and `1xx` to `5xx`.
    pub const WORDS: [&'static str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

    /// The class of a status.
    #[must_use]
    pub fn of(status: Option<http::StatusCode>) -> Self {
        status.map_or(Self::None, |status| Self::Of((status.as_u16() / 100).clamp(1, 5) as u8))
    }

    /// The class of a status as a number; 0 for none.
    #[must_use]
    pub fn of_code(status: u16) -> Self {
        Self::of(http::StatusCode::from_u16(status).ok())
    }

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        Self::WORDS[self.index()]
    }

    /// Position in [`CodeClass::WORDS`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::None => 0,
            Self::Of(digit) => digit as usize,
        }
    }
}

/// Why nothing could be read of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyMiss {
    /// It is larger than `limits.body_attributes`.
    TooLarge,
    /// `limits.replay_memory` had no room for it.
    NoMemory,
    /// Its `content-type` is something other than JSON.
    ContentType,
    /// It has a `content-encoding`.
    ContentEncoding,
    /// It is not JSON.
    NotJson,
    /// It is nested too deeply.
    TooDeep,
}

impl BodyMiss {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::TooLarge, Self::NoMemory, Self::ContentType, Self::ContentEncoding, Self::NotJson, Self::TooDeep];

    /// The word in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::NoMemory => "no_memory",
            Self::ContentType => "content_type",
            Self::ContentEncoding => "content_encoding",
            Self::NotJson => "not_json",
            Self::TooDeep => "too_deep",
        }
    }

    /// Position in [`BodyMiss::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

const REASONS: usize = Reason::ALL.len();
const CLASSES: usize = CodeClass::WORDS.len();
const OUTCOMES: usize = Outcome::ALL.len();
const CAUSES: usize = Cause::ALL.len();
const REJECTIONS: usize = pin::Rejection::ALL.len();
const UNREADS: usize = Unread::ALL.len();

/// `[assigned][served][reason][class]`.
type Requests<T> = [[[[T; CLASSES]; REASONS]; 2]; 2];

/// What one worker counted of one route.
#[derive(Debug)]
pub struct RouteCounters {
    /// Requests by assigned arm, served arm, reason and class of the status.
    pub requests: Requests<Counter>,
    /// Attempts by arm and outcome.
    pub attempts: [[Counter; OUTCOMES]; 2],
    /// Fallbacks by cause.
    pub fallbacks: [Counter; CAUSES],
    /// Fallbacks that did not happen, by cause.
    pub suppressed: [Counter; CAUSES],
    /// From arrival to the last byte, by served arm.
    pub duration: [Histogram; 2],
    /// From sending to the response head, by the attempt's arm.
    pub first_byte: [Histogram; 2],
    /// The gateway's own time: from arrival to the response head, less the time spent on upstreams.
    pub overhead: Histogram,
    /// Requests without a key to split by.
    pub keyless: Counter,
    /// Requests that the hash drew against the route's own percentage, by assigned arm.
    pub drawn: [Counter; 2],
    /// Pins that did not count, by why.
    pub pins_rejected: [Counter; REJECTIONS],
    /// What was read of answers, by arm.
    pub read: [ReadCounters; 2],
}

/// What one worker read of one arm's answers.
#[derive(Debug)]
pub struct ReadCounters {
    /// Tokens of prompts and of answers.
    pub tokens: [Counter; 2],
    /// What they cost, in the currency of the backend's prices.
    pub cost: Sum,
    /// From sending to the first token.
    pub first_token: Histogram,
    /// Answers of which nothing is known, by why.
    pub unread: [Counter; UNREADS],
}

impl Default for ReadCounters {
    fn default() -> Self {
        Self {
            tokens: Default::default(),
            cost: Sum::default(),
            first_token: Histogram::new(&DURATION_BOUNDS),
            unread: Default::default(),
        }
    }
}

impl ReadCounters {
    /// Counts the tokens that an answer told of.
    pub fn tokens(&self, tokens: Tokens) {
        let Tokens { input, output } = tokens;
        for (counter, count) in self.tokens.iter().zip([input, output]) {
            counter.add(count.unwrap_or_default());
        }
    }
}

impl Default for RouteCounters {
    fn default() -> Self {
        Self {
            requests: Default::default(),
            attempts: Default::default(),
            fallbacks: Default::default(),
            suppressed: Default::default(),
            duration: [Histogram::new(&DURATION_BOUNDS), Histogram::new(&DURATION_BOUNDS)],
            first_byte: [Histogram::new(&DURATION_BOUNDS), Histogram::new(&DURATION_BOUNDS)],
            overhead: Histogram::new(&OVERHEAD_BOUNDS),
            keyless: Counter::default(),
            drawn: Default::default(),
            pins_rejected: Default::default(),
            read: Default::default(),
        }
    }
}

impl RouteCounters {
    /// Counts a request.
    pub fn request(&self, assigned: Arm, served: Arm, reason: Reason, class: CodeClass) {
        self.requests[assigned.index()][served.index()][reason.index()][class.index()].add(1);
    }

    /// Counts an attempt.
    pub fn attempt(&self, arm: Arm, outcome: Outcome) {
        self.attempts[arm.index()][outcome.index()].add(1);
    }
}

/// Sums over all workers of one route.
#[derive(Debug, Clone)]
pub struct RouteTotals {
    /// Non-zero counts of requests.
    pub requests: Vec<RequestTotal>,
    /// Attempts by arm and outcome, in the order of [`Outcome::ALL`].
    pub attempts: [[u64; OUTCOMES]; 2],
    /// Fallbacks, in the order of [`Cause::ALL`].
    pub fallbacks: [u64; CAUSES],
    /// Suppressed fallbacks, in the order of [`Cause::ALL`].
    pub suppressed: [u64; CAUSES],
    /// See [`RouteCounters::duration`].
    pub duration: [HistogramTotals; 2],
    /// See [`RouteCounters::first_byte`].
    pub first_byte: [HistogramTotals; 2],
    /// See [`RouteCounters::overhead`].
    pub overhead: HistogramTotals,
    /// Requests without a key.
    pub keyless: u64,
    /// See [`RouteCounters::drawn`].
    pub drawn: [u64; 2],
    /// Pins that did not count, in the order of [`pin::Rejection::ALL`].
    pub pins_rejected: [u64; REJECTIONS],
    /// See [`RouteCounters::read`].
    pub read: [ReadTotals; 2],
}

/// Sums over all workers of what was read of one arm's answers. See [`ReadCounters`].
#[derive(Debug, Clone)]
pub struct ReadTotals {
    /// Tokens of prompts and of answers.
    pub tokens: [u64; 2],
    /// What they cost.
    pub cost: f64,
    /// From sending to the first token.
    pub first_token: HistogramTotals,
    /// Answers of which nothing is known, in the order of [`Unread::ALL`].
    pub unread: [u64; UNREADS],
}

impl ReadTotals {
    fn of(shards: &[RouteCounters], arm: usize) -> Self {
        let shards = || shards.iter().map(|shard| &shard.read[arm]);
        Self {
            tokens: std::array::from_fn(|n| shards().map(|read| read.tokens[n].get()).sum()),
            cost: shards().map(|read| read.cost.get()).sum(),
            first_token: HistogramTotals::of(shards().map(|read| &read.first_token), &DURATION_BOUNDS),
            unread: std::array::from_fn(|n| shards().map(|read| read.unread[n].get()).sum()),
        }
    }
}

/// One cell of `pointsman_requests_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestTotal {
    /// The arm that was assigned.
    pub assigned: Arm,
    /// The arm that served.
    pub served: Arm,
    /// Why.
    pub reason: Reason,
    /// One of [`CodeClass::WORDS`].
    pub code_class: &'static str,
    /// How many.
    pub count: u64,
}

impl RouteTotals {
    /// Sums the shards of a route.
    #[must_use]
    pub fn of(shards: &[RouteCounters]) -> Self {
        let by_arm = |arm: usize, pick: fn(&RouteCounters, usize) -> &Histogram| {
            HistogramTotals::of(shards.iter().map(move |shard| pick(shard, arm)), &DURATION_BOUNDS)
        };
        let sum = |pick: &dyn Fn(&RouteCounters) -> u64| shards.iter().map(pick).sum::<u64>();
        Self {
            requests: request_totals(shards),
            attempts: std::array::from_fn(|arm| std::array::from_fn(|n| sum(&|shard| shard.attempts[arm][n].get()))),
            fallbacks: std::array::from_fn(|n| sum(&|shard| shard.fallbacks[n].get())),
            suppressed: std::array::from_fn(|n| sum(&|shard| shard.suppressed[n].get())),
            duration: [0, 1].map(|arm| by_arm(arm, |shard, arm| &shard.duration[arm])),
            first_byte: [0, 1].map(|arm| by_arm(arm, |shard, arm| &shard.first_byte[arm])),
            overhead: HistogramTotals::of(shards.iter().map(|shard| &shard.overhead), &OVERHEAD_BOUNDS),
            keyless: sum(&|shard| shard.keyless.get()),
            drawn: std::array::from_fn(|arm| sum(&|shard| shard.drawn[arm].get())),
            pins_rejected: std::array::from_fn(|n| sum(&|shard| shard.pins_rejected[n].get())),
            read: [0, 1].map(|arm| ReadTotals::of(shards, arm)),
        }
    }

    /// Requests that this arm served.
    #[must_use]
    pub fn served(&self, arm: Arm) -> u64 {
        self.requests.iter().filter(|total| total.served == arm).map(|total| total.count).sum()
    }

    /// Percentage of requests assigned to the candidate, among those that the hash drew against the route's
    /// own percentage. `None` before the first.
    #[must_use]
    pub fn effective_percent(&self) -> Option<f64> {
        let [control, candidate] = self.drawn;
        let all = control + candidate;
        (all > 0).then(|| candidate as f64 / all as f64 * 100.0)
    }

    /// Attempts at this arm, and how many of them failed.
    #[must_use]
    pub fn attempts_and_failures(&self, arm: Arm) -> (u64, u64) {
        let counts = &self.attempts[arm.index()];
        let failures = Outcome::ALL.into_iter().filter(|outcome| outcome.is_failure());
        (counts.iter().sum(), failures.map(|outcome| counts[outcome.index()]).sum())
    }
}

fn request_totals(shards: &[RouteCounters]) -> Vec<RequestTotal> {
    let mut totals = Vec::new();
    for assigned in Arm::ALL {
        for served in Arm::ALL {
            for reason in Reason::ALL {
                for (class, code_class) in CodeClass::WORDS.into_iter().enumerate() {
                    let cell = |shard: &RouteCounters| {
                        shard.requests[assigned.index()][served.index()][reason.index()][class].get()
                    };
                    let count = shards.iter().map(cell).sum();
                    if count > 0 {
                        totals.push(RequestTotal { assigned, served, reason, code_class, count });
                    }
                }
            }
        }
    }
    totals
}

/// What one worker counted beside routes.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    /// Client connections accepted.
    pub connections: Counter,
    /// Client connections closed.
    pub disconnections: Counter,
    /// Connections refused because `limits.max_connections` was reached.
    pub connections_refused: Counter,
    /// Requests that began; the difference to `finished` is what is in flight.
    pub started: Counter,
    /// Requests that were settled.
    pub finished: Counter,
    /// Requests that no route takes.
    pub unrouted: Counter,
    /// Requests that were refused because they were malformed or too large, by the parser or by the proxy.
    pub rejected: Counter,
    /// Identity or forwarding headers of untrusted peers, ignored.
    pub untrusted_identity: Counter,
    /// Values that could not be read as their attribute's type.
    pub unreadable_attributes: Counter,
    /// Bodies that attributes or keys were to come from, and of which nothing could be read, in the order
    /// of [`BodyMiss::ALL`].
    pub body_misses: [Counter; BodyMiss::ALL.len()],
    /// Tokens that do not count, in the order of [`Rejection::ALL`].
    pub jwt_rejected: [Counter; Rejection::ALL.len()],
    /// Records dropped because the ring was full.
    pub records_dropped: Counter,
    /// Requests whose task panicked.
    pub panics: Counter,
}

impl WorkerCounters {
    /// Client connections that are open, as another thread sees it: both counts move meanwhile, so that it may be off by
    /// those that came or went in that moment.
    #[must_use]
    pub fn open_connections(&self) -> u64 {
        // First those that are gone, so that none is gone that has not come yet; nothing orders the two loads.
        let closed = self.disconnections.get();
        self.connections.get().saturating_sub(closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_at_most_its_bound() {
        let histogram = Histogram::new(&DURATION_BOUNDS);
        for micros in [0, 1_000, 1_001, 120_000_000, 120_000_001] {
            histogram.record(Duration::from_micros(micros));
        }
        let totals = HistogramTotals::of(std::iter::once(&histogram), &DURATION_BOUNDS);
        assert_eq!((totals.buckets[0], totals.buckets[1], totals.buckets[15], totals.buckets[16]), (2, 1, 1, 1));
        assert_eq!(totals.count(), 5);
        assert_eq!(totals.sum_micros, 240_002_002);
    }

    #[test]
    fn no_more_connections_are_closed_than_there_were() {
        let counters = WorkerCounters::default();
        for (counter, open) in [
            (&counters.connections, 1),
            (&counters.disconnections, 0),
            (&counters.disconnections, 0),
            (&counters.connections, 0),
        ] {
            counter.add(1);
            assert_eq!(counters.open_connections(), open);
        }
        counters.connections.add(3);
        assert_eq!(counters.open_connections(), 3);
    }

    #[test]
    fn shards_add_up() {
        let shards = [RouteCounters::default(), RouteCounters::default()];
        for shard in &shards {
            shard.request(Arm::Candidate, Arm::Control, Reason::Fallback, CodeClass::of(Some(http::StatusCode::OK)));
            shard.drawn[Arm::Candidate.index()].add(1);
            shard.attempt(Arm::Candidate, Outcome::Reset);
            shard.attempt(Arm::Candidate, Outcome::ClientGone);
        }
        let totals = RouteTotals::of(&shards);
        let expected = RequestTotal {
            assigned: Arm::Candidate,
            served: Arm::Control,
            reason: Reason::Fallback,
            code_class: "2xx",
            count: 2,
        };
        assert_eq!(totals.requests, [expected]);
        assert_eq!(totals.served(Arm::Control), 2);
        assert_eq!(totals.attempts_and_failures(Arm::Candidate), (4, 2));
        assert_eq!(totals.effective_percent(), Some(100.0));
        shards[1].drawn[Arm::Control.index()].add(6);
        assert_eq!(RouteTotals::of(&shards).effective_percent(), Some(25.0));
    }
}
