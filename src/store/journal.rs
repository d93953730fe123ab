//! The history's way into the store, behind the backs of those whose acts it tells.
//!
//! Who does something notes it and goes on; a task appends what was noted, in groups, and tries again
//! while the store fails. It knows no acts. Invariants: noting waits for nothing; at most
//! [`MAX_WAITING`] entries wait, and one that is lost is logged and counted as a failure of
//! `append_history`.

use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::{Attached, Entry, Failure, Store as _};

/// Entries that wait, for example until the store is open.
pub const MAX_WAITING: usize = 1_024;
/// Entries that are appended together.
const MAX_GROUP: usize = 128;
/// Before the second try to append; doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Clone)]
pub struct Journal {
    queue: mpsc::Sender<Noted>,
    store: Arc<Attached>,
}

#[derive(Debug)]
enum Noted {
    Entry(Entry),
    /// Disconnected once everything before it is kept.
    Flush(blocking::Sender<()>),
}

impl Journal {
    /// A journal that appends on `runtime`.
    #[must_use]
    pub fn start(store: Arc<Attached>, runtime: &Handle) -> Self {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        runtime.spawn(run(Arc::clone(&store), waiting));
        Self { queue, store }
    }

    /// Notes what happened.
    pub fn note(&self, entry: Entry) {
        if let Err(mpsc::error::TrySendError::Full(lost) | mpsc::error::TrySendError::Closed(lost)) =
            self.queue.try_send(Noted::Entry(entry))
        {
            self.store.count("append_history");
            if let Noted::Entry(Entry { kind, actor, .. }) = lost {
                tracing::warn!(kind = &*kind, actor = &*actor, "an entry of the history is lost");
            }
        }
    }

    /// Blocks until what was noted before is kept, at most for so long; not to be called by a task.
    pub fn flush(&self, wait: Duration) {
        let (telling, told) = blocking::channel();
        if self.queue.try_send(Noted::Flush(telling)).is_ok() {
            // Disconnected is what is waited for, and there is no use in waiting longer.
            let _kept = told.recv_timeout(wait);
        }
    }
}

async fn run(store: Arc<Attached>, mut waiting: mpsc::Receiver<Noted>) {
    store.attached().await;
    let mut group = Vec::new();
    while waiting.recv_many(&mut group, MAX_GROUP).await > 0 {
        let (mut entries, mut flushes) = (Vec::new(), Vec::new());
        for noted in group.drain(..) {
            match noted {
                Noted::Entry(entry) => entries.push(entry),
                Noted::Flush(telling) => flushes.push(telling),
            }
        }
        if !entries.is_empty() {
            append(&store, entries).await;
        }
        drop(flushes);
    }
}

/// Appends, however often it takes.
async fn append(store: &Attached, entries: Vec<Entry>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match store.append_history(entries.clone()).await {
            Ok(()) => return,
            // The store has counted it.
            Err(Failure::Unavailable(_) | Failure::Busy(_)) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(failure @ (Failure::Corrupt(_) | Failure::Conflict { .. } | Failure::Unsupported(_))) => {
                tracing::error!(error = %failure, entries = entries.len(), "entries of the history are lost");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::at;
    use crate::store::memory::Memory;
    use crate::store::{HistoryQuery, Store};

    fn entry(kind: &str) -> Entry {
        Entry { at: at(1), route: "".into(), kind: kind.into(), actor: "test".into(), detail: "{}".into() }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_noted_before_the_store_is_open_is_kept_in_order_once_it_is() {
        let store = Arc::new(Attached::default());
        let journal = Journal::start(Arc::clone(&store), &Handle::current());
        for kind in ["first", "second", "third"] {
            journal.note(entry(kind));
        }
        store.attach(Arc::new(Memory::default()), 0);
        let flushed = tokio::task::spawn_blocking(move || journal.flush(Duration::from_secs(10)));
        flushed.await.unwrap();
        let page = store.history(HistoryQuery { limit: 10, ..HistoryQuery::default() }).await.unwrap();
        let kinds: Vec<&str> = page.rows.iter().map(|(_, entry)| &*entry.kind).collect();
        assert_eq!(kinds, ["third", "second", "first"]);
    }

    #[tokio::test]
    async fn beyond_its_bound_entries_are_lost_and_counted() {
        let store = Arc::new(Attached::default());
        let journal = Journal::start(Arc::clone(&store), &Handle::current());
        for _ in 0..MAX_WAITING + 7 {
            journal.note(entry("x"));
        }
        let lost = store.failures().find(|(name, _)| *name == "append_history").unwrap().1;
        assert_eq!(lost, 7);
    }
}
