//! Judges as they run: where they are, what of their budgets is spent, how they fared.
//!
//! It asks nobody anything. What is counted belongs to a judge's name and outlives a reload; a restart
//! begins anew. Atomics only.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::lock;
use super::quota::Quotas;
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
    quotas: Quotas,
    results: [AtomicU64; RESULTS.len()],
    waiting: AtomicU64,
}

impl JudgeState {
    fn new(name: &Arc<str>) -> Self {
        let (quotas, results, waiting) = Default::default();
        Self { name: Arc::clone(name), quotas, results, waiting }
    }

    /// Takes the right to one request in this minute and on this day, or refuses.
    #[must_use]
    pub fn admit(&self, settings: &Settings, minute: u64, day: Day) -> bool {
        self.quotas.take((minute, settings.per_minute), (day, settings.per_day))
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

impl super::Live {
    /// Tells how many exchanges wait for a judge.
    pub fn note_waiting(&self, judge: &str, waiting: usize) {
        if let Some(judge) = lock(&self.registry).judges.get(judge) {
            judge.state.set_waiting(waiting);
        }
    }

    /// Every judge that there has been, for metrics.
    #[must_use]
    pub fn judges(&self) -> Vec<Judge> {
        let mut judges: Vec<Judge> = lock(&self.registry).judges.values().cloned().collect();
        judges.sort_by(|a, b| a.state.name.cmp(&b.state.name));
        judges
    }
}
