//! What belongs to a name and outlives a reload: a backend's breaker, bulkhead and what it cost today, a
//! route's gate and counts. Atomics only; the request path takes no lock here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::shadows::ShadowState;
use crate::domain::breaker::{self, Lease, Millis, Position, Settings, State, View};
use crate::domain::budget::{Day, Spent};
use crate::domain::quality;
use crate::domain::sampling::{Fate, Purpose};
use crate::measure::{RouteCounters, RouteTotals};

/// The breaker, bulkhead and throttle of one backend, shared by all workers and routes.
#[derive(Debug)]
pub struct BackendState {
    /// The backend's name.
    pub name: Arc<str>,
    breaker: AtomicU64,
    ratio: RatioCounts,
    throttled_until: AtomicU64,
    /// A [`Spent`].
    spent: AtomicU64,
    in_flight: AtomicU32,
    moves: AtomicU32,
}

impl BackendState {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            breaker: AtomicU64::new(State::default().pack()),
            ratio: RatioCounts::default(),
            throttled_until: AtomicU64::new(0),
            spent: AtomicU64::new(Spent::default().pack()),
            in_flight: AtomicU32::new(0),
            moves: AtomicU32::new(0),
        }
    }

    /// What the breaker says now: one load.
    #[must_use]
    pub fn view(&self, now: Millis, settings: &Settings) -> View {
        self.state().view(now, settings)
    }

    /// The breaker's position, for pages and metrics.
    #[must_use]
    pub fn position(&self, now: Millis) -> Position {
        self.state().position(now)
    }

    /// Takes the right to one probe, if there is one.
    pub fn lease(&self, now: Millis, settings: &Settings) -> Option<Lease> {
        let mut word = self.breaker.load(Ordering::Acquire);
        loop {
            let (lease, next) = State::unpack(word).lease(now, settings)?;
            match self.breaker.compare_exchange_weak(word, next.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(lease),
                Err(current) => word = current,
            }
        }
    }

    /// Records the end of an attempt, or settles its lease. Returns the new position if it changed.
    pub fn record(
        &self,
        lease: Option<Lease>,
        outcome: breaker::Outcome,
        now: Millis,
        settings: &Settings,
    ) -> Option<Position> {
        let ratio_trips = lease.is_none() && self.ratio.count(outcome, now, settings);
        let mut word = self.breaker.load(Ordering::Acquire);
        loop {
            let state = State::unpack(word);
            let jitter = fastrand::f64();
            let next = match lease {
                Some(lease) => state.settle(lease, outcome, now, jitter, settings),
                None if ratio_trips => state.trip(now, jitter, settings),
                None => state.record(outcome, now, jitter, settings),
            };
            let next_word = next.pack();
            if next_word == word {
                return None;
            }
            match self.breaker.compare_exchange_weak(word, next_word, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    let position = next.position(now);
                    if position == Position::Open {
                        self.ratio.clear();
                    }
                    let moved = std::mem::discriminant(&state) != std::mem::discriminant(&next);
                    if moved {
                        self.moves.fetch_add(1, Ordering::Relaxed);
                    }
                    return moved.then_some(position);
                }
                Err(current) => word = current,
            }
        }
    }

    /// How often the breaker has moved.
    #[must_use]
    pub fn moves(&self) -> u32 {
        self.moves.load(Ordering::Relaxed)
    }

    /// The backend asked to be left alone until then; a later time wins.
    pub fn throttle(&self, until: Millis) {
        self.throttled_until.fetch_max(until, Ordering::Relaxed);
    }

    /// Whether the backend asked to be left alone, and the time is not up.
    #[must_use]
    pub fn is_throttled(&self, now: Millis) -> bool {
        now < self.throttled_until.load(Ordering::Relaxed)
    }

    /// Adds what an answer cost. Returns what was spent on the day before and after it.
    pub fn spend(&self, day: Day, cost: f64) -> (f64, f64) {
        let add = |word| Some(Spent::unpack(word).with(day, cost).pack());
        let before = self.spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        let before = Spent::unpack(before.unwrap_or_else(|word| word));
        (before.on(day), before.with(day, cost).on(day))
    }

    /// What was spent on a day: one load.
    #[must_use]
    pub fn spent(&self, day: Day) -> f64 {
        Spent::unpack(self.spent.load(Ordering::Relaxed)).on(day)
    }

    /// Requests under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether `max` requests are under way.
    #[must_use]
    pub fn is_busy(&self, max: Option<u32>) -> bool {
        max.is_some_and(|max| self.in_flight() >= max)
    }

    /// Takes a place among `max`, or refuses. A place taken must be given back with [`Self::leave`].
    #[must_use]
    pub fn enter(&self, max: Option<u32>) -> bool {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let entered = max.is_none_or(|max| before < max);
        if !entered {
            self.leave();
        }
        entered
    }

    /// Gives a place back.
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    fn state(&self) -> State {
        State::unpack(self.breaker.load(Ordering::Acquire))
    }
}

/// Slices of the failure-ratio window.
const RATIO_SLICES: usize = 10;

/// Attempts and failures in time slices, each slice one word: 24 bits of slice number, 20 of
/// attempts, 20 of failures. Counts of a slice stop at a million, where a ratio is well settled.
#[derive(Debug, Default)]
struct RatioCounts([AtomicU64; RATIO_SLICES]);

const COUNT_BITS: u32 = 20;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const NUMBER_MASK: u64 = (1 << 24) - 1;

impl RatioCounts {
    /// Counts an outcome and says whether the ratio now trips.
    fn count(&self, outcome: breaker::Outcome, now: Millis, settings: &Settings) -> bool {
        let Some(trip) = settings.ratio else { return false };
        let failed = match outcome {
            breaker::Outcome::Neutral => return false,
            breaker::Outcome::Success => 0,
            breaker::Outcome::Failure => 1,
        };
        let slice_millis = (trip.window.as_millis() as u64 / RATIO_SLICES as u64).max(1);
        let number = now / slice_millis;
        let cell = &self.0[(number % RATIO_SLICES as u64) as usize];
        let add = |word: u64| {
            let (attempts, failures) = counts(word, number).unwrap_or((0, 0));
            (attempts < COUNT_MASK).then(|| pack(number, attempts + 1, failures + failed))
        };
        // A refused update means a full slice: it keeps its ratio.
        let _full = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        if failed == 0 {
            return false;
        }
        let (attempts, failures) = self.sum(number);
        attempts >= u64::from(trip.min_requests)
            && failures as f64 * 100.0 >= trip.failure_ratio.get() * attempts as f64
    }

    fn sum(&self, newest: u64) -> (u64, u64) {
        let mut sum = (0, 0);
        for back in 0..(RATIO_SLICES as u64).min(newest + 1) {
            let number = newest - back;
            let word = self.0[(number % RATIO_SLICES as u64) as usize].load(Ordering::Relaxed);
            let (attempts, failures) = counts(word, number).unwrap_or((0, 0));
            sum = (sum.0 + attempts, sum.1 + failures);
        }
        sum
    }

    fn clear(&self) {
        for cell in &self.0 {
            cell.store(0, Ordering::Relaxed);
        }
    }
}

fn counts(word: u64, number: u64) -> Option<(u64, u64)> {
    (word >> (2 * COUNT_BITS) == number & NUMBER_MASK).then_some(((word >> COUNT_BITS) & COUNT_MASK, word & COUNT_MASK))
}

const fn pack(number: u64, attempts: u64, failures: u64) -> u64 {
    ((number & NUMBER_MASK) << (2 * COUNT_BITS)) | (attempts << COUNT_BITS) | failures
}

/// What belongs to a route's name.
#[derive(Debug)]
pub struct RouteState {
    /// The route's name.
    pub name: Arc<str>,
    /// Number of the name, given once in the life of the process.
    pub id: u32,
    /// Counts, one set a worker.
    pub counters: Box<[RouteCounters]>,
    gate: AtomicU8,
    gate_moves: AtomicU32,
    evidence_bytes: AtomicU64,
    evidence_dropped: AtomicU64,
    /// Copies of its requests.
    pub shadow: ShadowState,
    sampled: [[AtomicU64; Fate::ALL.len()]; Purpose::ALL.len()],
}

impl RouteState {
    pub(super) fn new(name: Arc<str>, id: u32, workers: usize) -> Self {
        let counters = std::iter::repeat_with(RouteCounters::default).take(workers).collect();
        Self {
            name,
            id,
            counters,
            gate: AtomicU8::new(gate_code(quality::Position::Open)),
            gate_moves: AtomicU32::new(0),
            evidence_bytes: AtomicU64::new(0),
            evidence_dropped: AtomicU64::new(0),
            shadow: ShadowState::default(),
            sampled: Default::default(),
        }
    }

    /// The percentage of requests that are copied to the candidate now: what the file says, until something
    /// else sets it.
    #[must_use]
    pub fn shadow_percent(&self) -> f64 {
        self.shadow.percent()
    }

    /// Counts what became of an exchange that was drawn.
    pub fn note_sampled(&self, purpose: Purpose, fate: Fate) {
        self.sampled[purpose.index()][fate.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// How many exchanges that were drawn for a purpose ended like this.
    #[must_use]
    pub fn sampled(&self, purpose: Purpose, fate: Fate) -> u64 {
        self.sampled[purpose.index()][fate.index()].load(Ordering::Relaxed)
    }

    /// Where the quality gate stands.
    #[must_use]
    pub fn gate(&self) -> quality::Position {
        match self.gate.load(Ordering::Relaxed) {
            0 => quality::Position::Open,
            1 => quality::Position::Shut,
            _ => quality::Position::Probing,
        }
    }

    /// Bytes of its evidence, and observations that found no room in it.
    #[must_use]
    pub fn evidence(&self) -> (u64, u64) {
        (self.evidence_bytes.load(Ordering::Relaxed), self.evidence_dropped.load(Ordering::Relaxed))
    }

    /// Tells how large its evidence is. Only the controller does.
    pub fn note_evidence(&self, bytes: u64, dropped: u64) {
        self.evidence_bytes.store(bytes, Ordering::Relaxed);
        self.evidence_dropped.store(dropped, Ordering::Relaxed);
    }

    /// Publishes a position of the quality gate. Only the controller does.
    pub fn set_gate(&self, position: quality::Position) {
        self.gate.store(gate_code(position), Ordering::Relaxed);
        self.gate_moves.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a position was published.
    #[must_use]
    pub fn gate_moves(&self) -> u32 {
        self.gate_moves.load(Ordering::Relaxed)
    }

    /// The counts of all workers together.
    #[must_use]
    pub fn totals(&self) -> RouteTotals {
        RouteTotals::of(&self.counters)
    }
}

const fn gate_code(position: quality::Position) -> u8 {
    match position {
        quality::Position::Open => 0,
        quality::Position::Shut => 1,
        quality::Position::Probing => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::percent::Percent;
    use std::time::Duration;

    fn state() -> Arc<BackendState> {
        Arc::new(BackendState::new("lightrag".into()))
    }

    #[test]
    fn the_bulkhead_never_holds_more_than_it_may() {
        let state = state();
        assert!(state.enter(Some(2)) && state.enter(Some(2)));
        assert!(state.is_busy(Some(2)));
        assert!(!state.enter(Some(2)));
        assert_eq!(state.in_flight(), 2);
        state.leave();
        assert!(state.enter(Some(2)));
    }

    #[test]
    fn what_is_spent_adds_up_across_workers_and_ends_with_the_day() {
        let state = state();
        let reaches = || matches!(state.spend(7, 0.01), (before, after) if before < 20.0 && after >= 20.0);
        let reached: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| (0..1_000).filter(|_| reaches()).count())).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(reached, 1, "one of all notices that a budget is reached");
        assert!((state.spent(7) - 40.0).abs() < 1e-6, "{}", state.spent(7));
        assert_eq!(state.spent(8), 0.0);
        assert_eq!(state.spend(8, 1.5), (0.0, 1.5));
    }

    #[test]
    fn a_failure_ratio_opens_only_from_enough_requests() {
        let ratio = breaker::RatioTrip {
            failure_ratio: Percent::new(50.0).unwrap(),
            min_requests: 10,
            window: Duration::from_secs(10),
        };
        let settings = Settings { consecutive_failures: 1_000, ratio: Some(ratio), ..Settings::default() };
        let state = state();
        for n in 0..9 {
            let outcome = if n % 2 == 0 { breaker::Outcome::Failure } else { breaker::Outcome::Success };
            assert_eq!(state.record(None, outcome, 1_000, &settings), None);
        }
        assert_eq!(state.record(None, breaker::Outcome::Failure, 1_000, &settings), Some(Position::Open));
    }

    #[test]
    fn what_left_the_window_does_not_count() {
        let ratio = breaker::RatioTrip {
            failure_ratio: Percent::new(50.0).unwrap(),
            min_requests: 4,
            window: Duration::from_secs(10),
        };
        let settings = Settings { consecutive_failures: 1_000, ratio: Some(ratio), ..Settings::default() };
        let state = state();
        for _ in 0..3 {
            state.record(None, breaker::Outcome::Failure, 1_000, &settings);
        }
        assert_eq!(state.record(None, breaker::Outcome::Failure, 12_000, &settings), None);
    }

    #[test]
    fn racing_leases_are_as_many_as_probes() {
        let settings = Settings { consecutive_failures: 1, probes: 3, ..Settings::default() };
        let state = state();
        state.record(None, breaker::Outcome::Failure, 1, &settings);
        let granted: usize = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..100).filter(|_| state.lease(1_000_000, &settings).is_some()).count()))
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        assert_eq!(granted, 3);
    }
}
