//! Events come in: read, checked, attributed to an arm, and stored before anybody is told so.
//!
//! | file | what |
//! |---|---|
//! | `batch` | from JSON to drafts, with every mistake and its index |
//! | `attribution` | which arm of which route a draft counts for |
//! | `answer` | what a sender is told |
//! | `limiter` | how many events one address may send |
//! | `shape` | what a batch looks like, for `/openapi.json` |
//! | [`upkeep`] | opens the store, tries again, keeps it within its bounds |
//!
//! It listens nowhere: `admin` and `proxy` do. It draws no conclusions: what metrics make of events is
//! read from the store. Invariants: a batch is stored whole or not at all; 202 comes after the store's
//! commit; nothing here blocks the thread that asks.

pub mod answer;
mod attribution;
mod batch;
mod limiter;
mod shape;
pub mod upkeep;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::domain::exposure::Refusal;
use crate::live::{Live, RouteIndex, Snapshot};
use crate::store::{Attached, Event, Failure, MAX_BATCH, Store as _};
use answer::Outcome;
pub use batch::Mistake;
use limiter::Limiter;
pub use shape::shape;

/// Bytes of a batch from those who have a token.
pub const MAX_BODY: usize = 1 << 20;
/// Bytes of a batch from a browser; reading it must not hold a worker up.
pub const MAX_PUBLIC_BODY: usize = 64 << 10;

/// What became of events, in words for metrics.
pub const RESULTS: [&str; 5] = ["stored", "duplicate", "refused", "busy", "failed"];
/// Why the store let go of events, in words for metrics.
pub const PRUNED: [&str; 2] = ["age", "size"];

const STORED: usize = 0;
const DUPLICATE: usize = 1;
const REFUSED: usize = 2;
const BUSY: usize = 3;
const FAILED: usize = 4;

/// Who sends.
pub enum Sender<'a> {
    /// Somebody with a token: what they say of users is believed.
    Trusted,
    /// A browser: it may show an exposure token, and its requests show who it is as those to the route do.
    Public {
        /// The key that a route finds in the request, if it finds one.
        key: &'a dyn Fn(RouteIndex) -> Option<Box<str>>,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Intake {
    live: Arc<Live>,
    store: Arc<Attached>,
    limiter: Limiter,
    results: [AtomicU64; RESULTS.len()],
    rejected: [AtomicU64; Refusal::ALL.len()],
    pruned: [AtomicU64; PRUNED.len()],
}

impl Intake {
    /// An intake for what runs, into this store.
    #[must_use]
    pub fn new(live: Arc<Live>, store: Arc<Attached>) -> Self {
        let limiter = Limiter::default();
        let (results, rejected, pruned) = Default::default();
        Self { live, store, limiter, results, rejected, pruned }
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Arc<Attached> {
        &self.store
    }

    /// Reads, checks and attributes a batch. Waits for nothing.
    ///
    /// # Errors
    /// What is wrong with it; then nothing of it may be stored.
    pub fn prepare(&self, snapshot: &Snapshot, body: &[u8], sender: &Sender<'_>, now: Timestamp) -> Prepared {
        let prepared = self.read(snapshot, body, sender, now);
        if let Err(outcome) = &prepared {
            let result = if *outcome == Outcome::Unavailable { FAILED } else { REFUSED };
            let count = if let Outcome::Bad { of, .. } = outcome { *of } else { 1 };
            self.results[result].fetch_add(count as u64, Ordering::Relaxed);
        }
        prepared
    }

    fn read(&self, snapshot: &Snapshot, body: &[u8], sender: &Sender<'_>, now: Timestamp) -> Prepared {
        let config = snapshot.config();
        if !self.live.users.are_settled(&config.log) {
            // Hashes made now would not be found again.
            return Err(Outcome::Unavailable);
        }
        let drafts = batch::read(body, now, config.state.keep_events).map_err(Outcome::Invalid)?;
        let most = match sender {
            Sender::Trusted => MAX_BATCH,
            Sender::Public { .. } => MAX_BATCH.min(config.events.burst as usize),
        };
        if drafts.len() > most {
            return Err(Outcome::Invalid(format!("{} events; a batch has at most {most} here", drafts.len())));
        }
        let of = drafts.len();
        let (mut events, mut mistakes) = (Vec::with_capacity(of), Vec::new());
        for (index, draft) in drafts.into_iter().enumerate() {
            let event = draft.and_then(|draft| self.attribute(snapshot, draft, sender, now));
            match event {
                Ok(event) => events.push(event),
                Err(found) => mistakes.extend(found.into_iter().map(|mistake| Mistake { index, ..mistake })),
            }
        }
        if mistakes.is_empty() { Ok(events) } else { Err(Outcome::Bad { mistakes, of }) }
    }

    fn attribute(
        &self,
        snapshot: &Snapshot,
        draft: batch::Draft,
        sender: &Sender<'_>,
        now: Timestamp,
    ) -> Result<Event, Vec<Mistake>> {
        let asked = attribution::Asked { snapshot, users: &self.live.users, sender, now };
        asked.event(draft).map_err(|refused| {
            if let attribution::Refused::Token(refusal) = &refused {
                self.rejected[refusal.index()].fetch_add(1, Ordering::Relaxed);
            }
            vec![refused.into()]
        })
    }

    /// Stores what was prepared; ready once it is on disk, or known not to be.
    pub async fn keep(&self, events: Vec<Event>) -> Outcome {
        let count = events.len() as u64;
        let add = |result: usize, count: u64| self.results[result].fetch_add(count, Ordering::Relaxed);
        match self.store.append_events(events).await {
            Ok(appended) => {
                add(STORED, appended.stored as u64);
                add(DUPLICATE, appended.duplicates as u64);
                Outcome::Stored(appended)
            }
            Err(Failure::Busy(wait)) => {
                add(BUSY, count);
                Outcome::Busy(wait)
            }
            // The store has logged and counted it.
            Err(Failure::Unavailable(_) | Failure::Corrupt(_) | Failure::Conflict { .. } | Failure::Unsupported(_)) => {
                add(FAILED, count);
                Outcome::Unavailable
            }
        }
    }

    /// Whether an address may send anything, as `[events]` allows it; before its batch is read.
    ///
    /// # Errors
    /// What to tell a sender who must wait.
    pub fn may_send(&self, snapshot: &Snapshot, from: IpAddr, now: Instant) -> Result<(), Outcome> {
        let settings = &snapshot.config().events;
        let looked = self.limiter.look(from, settings.events_per_second, settings.burst, now);
        looked.map_err(|wait| self.too_many(1, wait))
    }

    /// Takes the right to send so many events from an address; at least one, since reading cost something.
    ///
    /// # Errors
    /// What to tell a sender who must wait.
    pub fn admit(&self, snapshot: &Snapshot, from: IpAddr, count: usize, now: Instant) -> Result<(), Outcome> {
        let settings = &snapshot.config().events;
        let count = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        let taken = self.limiter.take(from, count, settings.events_per_second, settings.burst, now);
        taken.map_err(|wait| self.too_many(count, wait))
    }

    fn too_many(&self, count: u32, wait: Duration) -> Outcome {
        self.results[BUSY].fetch_add(u64::from(count), Ordering::Relaxed);
        Outcome::TooMany(wait)
    }

    /// How many events ended as each of [`RESULTS`].
    pub fn results(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RESULTS.into_iter().zip(read(&self.results))
    }

    /// How many exposure tokens were refused, by reason.
    pub fn rejected(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refusal::ALL.into_iter().map(Refusal::as_str).zip(read(&self.rejected))
    }

    /// How many rows the store has let go, by [`PRUNED`].
    pub fn pruned(&self) -> impl Iterator<Item = (&'static str, u64)> {
        PRUNED.into_iter().zip(read(&self.pruned))
    }
}

/// Events that are ready to be stored, or what to tell their sender.
pub type Prepared = Result<Vec<Event>, Outcome>;

fn read(counts: &[AtomicU64]) -> impl Iterator<Item = u64> {
    counts.iter().map(|count| count.load(Ordering::Relaxed))
}
