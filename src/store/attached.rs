//! The store as the process has it: attached, or not yet; and how it fares.
//!
//! It is itself a [`Store`]: until one is attached everything fails as unavailable, so that who uses it
//! need not know. Failures are counted by operation, whoever asked. It opens nothing and tries nothing
//! again. Invariant: [`Attached::stored`] never tells of an event before it is on disk.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{SetOnce, watch};

use super::{
    Appended, Checkpoint, Cursor, Entry, Event, EventQuery, Failure, HistoryQuery, Page, Sample, SampleQuery, State,
    StateChange, StateVersion, Store, UserHash,
};

/// What can fail, in words for metrics.
pub const OPERATIONS: [&str; 18] = [
    "append_events",
    "read_events",
    "append_samples",
    "read_samples",
    "forget_samples",
    "prune",
    "drop_oldest",
    "erase_user",
    "save_checkpoint",
    "read_checkpoint",
    "read_state",
    "save_state",
    "append_history",
    "read_history",
    "keep",
    "back_up",
    "size",
    "open",
];

/// What an outcome proves when it is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// It can be written.
    Writes,
    /// It can be read.
    Reads,
    /// Neither: there was nothing to do.
    Nothing,
}

/// See the module.
#[derive(Debug)]
pub struct Attached {
    store: SetOnce<Arc<dyn Store>>,
    cannot_write: AtomicBool,
    cannot_read: AtomicBool,
    failures: [AtomicU64; OPERATIONS.len()],
    size: AtomicU64,
    trouble: Mutex<Option<String>>,
    stored: watch::Sender<Cursor>,
}

impl Default for Attached {
    fn default() -> Self {
        Self {
            store: SetOnce::new(),
            cannot_write: AtomicBool::new(false),
            cannot_read: AtomicBool::new(false),
            failures: std::array::from_fn(|_| AtomicU64::new(0)),
            size: AtomicU64::new(0),
            trouble: Mutex::new(Some("it is being opened".to_owned())),
            stored: watch::Sender::new(0),
        }
    }
}

impl Attached {
    /// Attaches a store, whose last event is `last`. The first one stays.
    pub fn attach(&self, store: Arc<dyn Store>, last: Cursor) {
        if self.store.set(store).is_ok() {
            *self.trouble() = None;
            self.tell(last);
        }
    }

    /// It could not be opened, for this reason; counted.
    pub fn note_unopened(&self, reason: String) {
        self.count("open");
        *self.trouble() = Some(reason);
    }

    /// Waits until a store is attached.
    pub async fn attached(&self) {
        self.store.wait().await;
    }

    /// Whether it is attached, and the last that was written and read could be.
    #[must_use]
    pub fn is_up(&self) -> bool {
        let fails = self.cannot_write.load(Ordering::Relaxed) || self.cannot_read.load(Ordering::Relaxed);
        self.store.get().is_some() && !fails
    }

    /// What is wrong, while something is.
    #[must_use]
    pub fn what_is_wrong(&self) -> Option<String> {
        self.trouble().clone()
    }

    /// The number of the last event that is stored; changes as events come in.
    #[must_use]
    pub fn stored(&self) -> watch::Receiver<Cursor> {
        self.stored.subscribe()
    }

    /// How often each of [`OPERATIONS`] failed.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        OPERATIONS.into_iter().zip(&self.failures).map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }

    /// Bytes in use when somebody last asked for the size.
    #[must_use]
    pub fn last_size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    fn open(&self) -> Result<&Arc<dyn Store>, Failure> {
        self.store.get().ok_or_else(|| {
            let trouble = self.trouble().clone().unwrap_or_default();
            Failure::Unavailable(format!("it is not open: {trouble}"))
        })
    }

    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        // Every change under it is one assignment.
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, operation: &str) {
        if let Some(index) = OPERATIONS.iter().position(|name| *name == operation) {
            self.failures[index].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes how an operation ended; logs where that changes.
    fn note<T>(&self, operation: &'static str, proof: Proof, outcome: Result<T, Failure>) -> Result<T, Failure> {
        match &outcome {
            Ok(_) => self.note_success(proof),
            Err(failure @ (Failure::Unavailable(_) | Failure::Corrupt(_))) => {
                self.count(operation);
                if self.store.get().is_some() {
                    self.note_failure(operation, proof, failure);
                }
            }
            // The store does what it should.
            Err(Failure::Busy(_) | Failure::Conflict { .. } | Failure::Unsupported(_)) => {}
        }
        outcome
    }

    fn note_success(&self, proof: Proof) {
        let flag = match proof {
            Proof::Writes => &self.cannot_write,
            Proof::Reads => &self.cannot_read,
            Proof::Nothing => return,
        };
        if flag.swap(false, Ordering::Relaxed) && self.is_up() {
            *self.trouble() = None;
            tracing::info!("the store works again");
        }
    }

    fn note_failure(&self, operation: &str, proof: Proof, failure: &Failure) {
        let flag = if proof == Proof::Reads { &self.cannot_read } else { &self.cannot_write };
        *self.trouble() = Some(failure.to_string());
        if !flag.swap(true, Ordering::Relaxed) {
            tracing::error!(operation, error = %failure, "the store fails; traffic goes on, events are refused");
        }
    }

    fn tell(&self, last: Cursor) {
        self.stored.send_if_modified(|known| {
            let newer = last > *known;
            *known = last.max(*known);
            newer
        });
    }
}

/// Something was written if anything was removed.
fn removal(outcome: &Result<u64, Failure>) -> Proof {
    if outcome.as_ref().is_ok_and(|removed| *removed == 0) { Proof::Nothing } else { Proof::Writes }
}

#[async_trait]
impl Store for Attached {
    async fn append_events(&self, events: Vec<Event>) -> Result<Appended, Failure> {
        let outcome = match self.open() {
            Ok(store) => store.append_events(events).await,
            Err(failure) => Err(failure),
        };
        if let Ok(appended) = &outcome {
            self.tell(appended.last);
        }
        let proof = if outcome.as_ref().is_ok_and(|done| done.stored == 0) { Proof::Nothing } else { Proof::Writes };
        self.note("append_events", proof, outcome)
    }

    async fn events(&self, query: EventQuery) -> Result<Page<Event>, Failure> {
        let outcome = match self.open() {
            Ok(store) => store.events(query).await,
            Err(failure) => Err(failure),
        };
        self.note("read_events", Proof::Reads, outcome)
    }

    async fn append_samples(&self, samples: Vec<Sample>) -> Result<Appended, Failure> {
        let outcome = match self.open() {
            Ok(store) => store.append_samples(samples).await,
            Err(failure) => Err(failure),
        };
        let proof = if outcome.as_ref().is_ok_and(|done| done.stored == 0) { Proof::Nothing } else { Proof::Writes };
        self.note("append_samples", proof, outcome)
    }

    async fn samples(&self, query: SampleQuery) -> Result<Page<Sample>, Failure> {
        let outcome = match self.open() {
            Ok(store) => store.samples(query).await,
            Err(failure) => Err(failure),
        };
        self.note("read_samples", Proof::Reads, outcome)
    }

    async fn forget_samples(&self, route: &str, before: Timestamp) -> Result<u64, Failure> {
        let outcome = match self.open() {
            Ok(store) => store.forget_samples(route, before).await,
            Err(failure) => Err(failure),
        };
        self.note("forget_samples", removal(&outcome), outcome)
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, Failure> {
        let outcome = match self.open() {
            Ok(store) => store.prune(before).await,
            Err(failure) => Err(failure),
        };
        self.note("prune", removal(&outcome), outcome)
    }

    async fn drop_oldest(&self) -> Result<u64, Failure> {
        let outcome = match self.open() {
            Ok(store) => store.drop_oldest().await,
            Err(failure) => Err(failure),
        };
        self.note("drop_oldest", removal(&outcome), outcome)
    }

    async fn erase_user(&self, user: UserHash) -> Result<u64, Failure> {
        let outcome = match self.open() {
            Ok(store) => store.erase_user(user).await,
            Err(failure) => Err(failure),
        };
        self.note("erase_user", removal(&outcome), outcome)
    }

    async fn save_checkpoint(&self, checkpoint: Checkpoint) -> Result<(), Failure> {
        let outcome = match self.open() {
            Ok(store) => store.save_checkpoint(checkpoint).await,
            Err(failure) => Err(failure),
        };
        self.note("save_checkpoint", Proof::Writes, outcome)
    }

    async fn checkpoint(&self) -> Result<Checkpoint, Failure> {
        let outcome = match self.open() {
            Ok(store) => store.checkpoint().await,
            Err(failure) => Err(failure),
        };
        self.note("read_checkpoint", Proof::Reads, outcome)
    }

    async fn state(&self, route: &str) -> Result<Option<State>, Failure> {
        let outcome = match self.open() {
            Ok(store) => store.state(route).await,
            Err(failure) => Err(failure),
        };
        self.note("read_state", Proof::Reads, outcome)
    }

    async fn states(&self) -> Result<Vec<(Box<str>, State)>, Failure> {
        let outcome = match self.open() {
            Ok(store) => store.states().await,
            Err(failure) => Err(failure),
        };
        self.note("read_states", Proof::Reads, outcome)
    }

    async fn save_state(&self, change: StateChange) -> Result<StateVersion, Failure> {
        let outcome = match self.open() {
            Ok(store) => store.save_state(change).await,
            Err(failure) => Err(failure),
        };
        self.note("save_state", Proof::Writes, outcome)
    }

    async fn append_history(&self, entries: Vec<Entry>) -> Result<(), Failure> {
        let proof = if entries.is_empty() { Proof::Nothing } else { Proof::Writes };
        let outcome = match self.open() {
            Ok(store) => store.append_history(entries).await,
            Err(failure) => Err(failure),
        };
        self.note("append_history", proof, outcome)
    }

    async fn history(&self, query: HistoryQuery) -> Result<Page<Entry>, Failure> {
        let outcome = match self.open() {
            Ok(store) => store.history(query).await,
            Err(failure) => Err(failure),
        };
        self.note("read_history", Proof::Reads, outcome)
    }

    async fn keep(&self, name: &'static str, value: String) -> Result<String, Failure> {
        let outcome = match self.open() {
            Ok(store) => store.keep(name, value).await,
            Err(failure) => Err(failure),
        };
        // What is known already is not written.
        self.note("keep", Proof::Nothing, outcome)
    }

    async fn back_up(&self, to: &Path) -> Result<(), Failure> {
        let outcome = match self.open() {
            Ok(store) => store.back_up(to).await,
            Err(failure) => Err(failure),
        };
        // A bad place for the copy says nothing about the store.
        match &outcome {
            Ok(()) => {}
            Err(_) => self.count("back_up"),
        }
        outcome
    }

    async fn size(&self) -> Result<u64, Failure> {
        let outcome = match self.open() {
            Ok(store) => store.size().await,
            Err(failure) => Err(failure),
        };
        if let Ok(size) = &outcome {
            self.size.store(*size, Ordering::Relaxed);
        }
        self.note("size", Proof::Reads, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::event;
    use crate::store::memory::Memory;

    fn failures(store: &Attached) -> Vec<(&'static str, u64)> {
        store.failures().filter(|(_, count)| *count > 0).collect()
    }

    #[tokio::test]
    async fn until_it_is_attached_everything_is_unavailable() {
        let store = Attached::default();
        store.note_unopened("permission denied".into());
        let refused = store.append_events(vec![event("a", 1)]).await.unwrap_err();
        assert!(refused.to_string().contains("permission denied"), "{refused}");
        assert!(store.size().await.is_err() && !store.is_up());
        assert_eq!(failures(&store), [("append_events", 1), ("size", 1), ("open", 1)]);
    }

    #[tokio::test]
    async fn what_is_stored_is_told() {
        let store = Attached::default();
        let mut stored = store.stored();
        let memory = Memory::default();
        memory.append_events(vec![event("before", 1)]).await.unwrap();
        store.attach(Arc::new(memory), 1);
        store.attached().await;
        assert_eq!(*stored.borrow_and_update(), 1);
        store.append_events(vec![event("a", 1), event("b", 1)]).await.unwrap();
        assert_eq!(*stored.borrow_and_update(), 3);
        store.append_events(vec![event("a", 1)]).await.unwrap();
        assert!(!stored.has_changed().unwrap(), "nothing new");
        assert!(store.is_up() && store.what_is_wrong().is_none());
        assert!(store.size().await.unwrap() > 0 && store.last_size() > 0);
        assert_eq!(failures(&store), []);
    }

    #[tokio::test]
    async fn it_is_down_until_it_can_be_written_again() {
        let store = Attached::default();
        store.attach(Arc::new(Memory::default()), 0);
        let full: Result<(), Failure> = Err(Failure::Unavailable("disk full".into()));
        store.note("save_state", Proof::Writes, full).unwrap_err();
        assert!(!store.is_up() && store.what_is_wrong().unwrap().contains("disk full"));
        store.append_events(Vec::new()).await.unwrap();
        store.events(EventQuery::default()).await.unwrap();
        assert!(!store.is_up(), "nothing was written");
        store.append_events(vec![event("a", 1)]).await.unwrap();
        assert!(store.is_up() && store.what_is_wrong().is_none());
        assert_eq!(failures(&store), [("save_state", 1)]);
    }
}
