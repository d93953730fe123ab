//! Judges as they run: where they are, what of their budgets is spent, how they fared.
//!
//! It asks nobody anything. What is counted belongs to a judge's name and outlives a reload; a restart
//! begins anew. Atomics only.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::lock;
use crate::config::model::{Endpoint, Judge as Settings, Tls};
use crate::domain::budget::Day;
use crate::upstream::{BuildError, Document};

/// How requests to a judge end, in words for metrics.
pub const RESULTS: [&str; 5] = ["ok", "connect", "timeout", "status", "invalid"];

/// A judge of the running configuration.
#[derive(Debug, Clone)]
pub struct Judge {
    /// What belongs to its name.
    pub state: Arc<JudgeState>,
    /// Where it is asked.
    pub webhook: Arc<Webhook>,
}

/// Where a judge is asked.
pub struct Webhook {
    url: Endpoint,
    tls: Tls,
    /// The webhook itself.
    pub document: Document,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Judge {
    /// A judge by these settings, with what is known of its name.
    pub(super) fn new(settings: &Settings, before: Option<&Self>) -> Result<Self, BuildError> {
        let same = before.filter(|judge| judge.webhook.url == settings.url && judge.webhook.tls == settings.tls);
        let webhook = match same {
            Some(judge) => Arc::clone(&judge.webhook),
            None => {
                let document = Document::new(&settings.url, &settings.tls)?;
                Arc::new(Webhook { url: settings.url.clone(), tls: settings.tls.clone(), document })
            }
        };
        let state = before.map(|judge| Arc::clone(&judge.state));
        Ok(Self { state: state.unwrap_or_else(|| Arc::new(JudgeState::new(&settings.name))), webhook })
    }
}

/// What belongs to a judge's name.
#[derive(Debug)]
pub struct JudgeState {
    /// The name.
    pub name: Arc<str>,
    minute: Quota,
    day: Quota,
    results: [AtomicU64; RESULTS.len()],
    waiting: AtomicU64,
}

impl JudgeState {
    fn new(name: &Arc<str>) -> Self {
        let (minute, day, results, waiting) = Default::default();
        Self { name: Arc::clone(name), minute, day, results, waiting }
    }

    /// Takes the right to one request in this minute and on this day, or refuses.
    #[must_use]
    pub fn admit(&self, settings: &Settings, minute: u64, day: Day) -> bool {
        // One that the minute allows and the day refuses is taken from the minute, too: the day ends later.
        self.minute.take(minute, settings.per_minute) && self.day.take(u64::from(day), settings.per_day)
    }

    /// Counts how a request ended, by its place in [`RESULTS`].
    pub fn count(&self, result: usize) {
        self.results[result].fetch_add(1, Ordering::Relaxed);
    }

    /// How many requests ended as each of [`RESULTS`].
    pub fn results(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RESULTS.into_iter().zip(&self.results).map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }

    /// Tells how many exchanges wait for it.
    pub fn set_waiting(&self, waiting: usize) {
        self.waiting.store(waiting as u64, Ordering::Relaxed);
    }

    /// How many exchanges wait for it.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// How many were taken in the present period: its number in the upper half, the count in the lower.
#[derive(Debug, Default)]
struct Quota(AtomicU64);

impl Quota {
    fn take(&self, period: u64, most: u32) -> bool {
        let period = period & u64::from(u32::MAX);
        let take = |word: u64| {
            let taken = if word >> 32 == period { word & u64::from(u32::MAX) } else { 0 };
            (taken < u64::from(most)).then_some((period << 32) | (taken + 1))
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

impl super::Live {
    /// Every judge that there has been, for metrics.
    #[must_use]
    pub fn judges(&self) -> Vec<Judge> {
        let mut judges: Vec<Judge> = lock(&self.registry).judges.values().cloned().collect();
        judges.sort_by(|a, b| a.state.name.cmp(&b.state.name));
        judges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_ends_with_its_period_and_not_before() {
        let quota = Quota::default();
        let taken = |period| (0..10).filter(|_| quota.take(period, 3)).count();
        assert_eq!((taken(7), taken(7), taken(8), taken(9)), (3, 0, 3, 3));
        assert!(!quota.take(10, 0));
        let racers = std::thread::scope(|scope| {
            let taken: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..100).filter(|_| quota.take(11, 57)).count())).collect();
            taken.into_iter().map(|taken| taken.join().unwrap()).sum::<usize>()
        });
        assert_eq!(racers, 57);
    }
}
