//! What belongs to a route's copies: their percentage, what of their budget is spent, how the two arms fared on
//! the same requests.
//!
//! The request path loads the percentage and nothing else; figures have a lock, which only those who send
//! copies and those who show them take.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::lock;
use super::quota::Quotas;
use crate::domain::Arm;
use crate::domain::attempt::Outcome;
use crate::domain::pairs::Preference;
use crate::measure::counters::{CodeClass, DURATION_BOUNDS, HistogramTotals};

/// See the module.
#[derive(Debug, Default)]
pub struct ShadowState {
    /// The bits of a percentage.
    percent: AtomicU64,
    /// What of the budget is spent.
    pub quotas: Quotas,
    figures: Mutex<Figures>,
}

/// Figures of requests that both arms were asked, since the process began.
#[derive(Debug, Clone)]
pub struct Figures {
    /// How copies ended, by [`Outcome::index`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// From arrival, or from sending the copy, to the last byte, by arm; where both came to their end.
    pub durations: [HistogramTotals; 2],
    /// Bytes of the same answers, by arm.
    pub bytes: [u64; 2],
    /// Classes of both statuses: control's, then the candidate's.
    pub statuses: BTreeMap<[&'static str; 2], u64>,
    /// Verdicts on pairs, in the order of [`Preference::ALL`].
    pub preferences: [u64; Preference::ALL.len()],
}

impl Default for Figures {
    fn default() -> Self {
        let durations = [(); 2].map(|()| HistogramTotals::empty(&DURATION_BOUNDS));
        Self { outcomes: [0; _], durations, bytes: [0; 2], statuses: BTreeMap::new(), preferences: [0; _] }
    }
}

/// How one arm answered a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answered {
    /// The status; 0 without one.
    pub status: u16,
    /// To the last byte.
    pub duration: Duration,
    /// Bytes of the body.
    pub bytes: u64,
}

impl ShadowState {
    /// The percentage in effect: one load.
    #[must_use]
    pub fn percent(&self) -> f64 {
        f64::from_bits(self.percent.load(Ordering::Relaxed))
    }

    /// Sets the percentage in effect, from 0 to 100.
    pub fn set_percent(&self, percent: f64) {
        self.percent.store(percent.to_bits(), Ordering::Relaxed);
    }

    /// Notes how both arms answered one request, how the copy ended, and whether its answer was read to its end.
    pub fn note(&self, answered: [&Answered; 2], outcome: Outcome, whole: bool) {
        let mut figures = self.figures();
        figures.outcomes[outcome.index()] += 1;
        let classes = answered.map(|answered| CodeClass::of_code(answered.status).as_str());
        *figures.statuses.entry(classes).or_default() += 1;
        for (arm, answered) in Arm::ALL.into_iter().zip(answered).filter(|_| whole) {
            figures.durations[arm.index()].add(answered.duration);
            figures.bytes[arm.index()] += answered.bytes;
        }
    }

    /// Notes which answer of a pair was better.
    pub fn note_preference(&self, preference: Preference) {
        self.figures().preferences[preference.index()] += 1;
    }

    /// The figures so far.
    pub fn figures(&self) -> MutexGuard<'_, Figures> {
        lock(&self.figures)
    }
}
