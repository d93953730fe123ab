//! What outlives the process: events, evidence, the state of rollouts, and their history.
//!
//! A store keeps and gives back; it draws no conclusions and knows no configuration. [`Store`] is the
//! contract, [`conformance`] holds every engine to it: [`sqlite`] keeps one file, [`memory`] forgets at
//! exit. No request waits for a store: who serves traffic hands over and goes on.
//!
//! Invariants: a write that was answered with `Ok` is on disk; one that was not is there whole or not
//! at all; of two writers of one state, the one that has not read the newest version loses.

pub mod attached;
#[cfg(test)]
mod conformance;
pub mod journal;
pub mod memory;
pub mod record;
pub mod sqlite;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

pub use attached::Attached;
pub use journal::Journal;
pub use record::{
    Appended, Attribution, Cell, CellKey, Checkpoint, Cursor, Entry, Event, EventId, EventQuery, HistoryQuery, Page,
    Sample, SampleQuery, State, StateChange, StateVersion, UserHash,
};

/// Most events of one batch; a longer one is refused before it reaches the store.
pub const MAX_BATCH: usize = 1_000;
/// Most rows of one page.
pub const MAX_PAGE: usize = 10_000;

/// Why a store did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Its queue is full; try again after this long.
    #[error("the store has too much to write; try again in {} s", .0.as_secs().max(1))]
    Busy(Duration),
    /// Disk full, I/O error, or a file that is no longer there. Nothing was changed.
    #[error("the store cannot write or read: {0}")]
    Unavailable(String),
    /// What was read is not what this version writes.
    #[error("the store holds what is not understood: {0}")]
    Corrupt(String),
    /// The state has another version than the one that was expected.
    #[error("the state was changed meanwhile (version {found})")]
    Conflict {
        /// The version that it has.
        found: StateVersion,
    },
    /// It cannot do this at all, as a store in memory has no file to copy.
    #[error("this store cannot do that: {0}")]
    Unsupported(&'static str),
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A newer program wrote it.
    #[error("{path} was written by a newer version (schema {found}, known {known}): use that version, or a backup")]
    Newer {
        /// Which file.
        path: String,
        /// Its schema.
        found: i64,
        /// The newest that this program can live with.
        known: i64,
    },
    /// It cannot be opened or brought up to date.
    #[error("{path} cannot be opened: {reason}")]
    Unusable {
        /// Which file.
        path: String,
        /// Why.
        reason: String,
    },
}

/// Keeps what outlives the process. All methods may be called at the same time.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Keeps events; those whose id is known already are counted and left out. All or none.
    async fn append_events(&self, events: Vec<Event>) -> Result<Appended, Failure>;

    /// A page of events, in the order in which they were kept.
    async fn events(&self, query: EventQuery) -> Result<Page<Event>, Failure>;

    /// Keeps exchanges; those whose id is known already are counted and left out. All or none.
    async fn append_samples(&self, samples: Vec<Sample>) -> Result<Appended, Failure>;

    /// A page of kept exchanges, in the order in which they were kept.
    async fn samples(&self, query: SampleQuery) -> Result<Page<Sample>, Failure>;

    /// Forgets a route's kept exchanges before a moment. Returns how many went.
    async fn forget_samples(&self, route: &str, before: Timestamp) -> Result<u64, Failure>;

    /// Forgets events, kept exchanges and history before a moment. Returns how many rows went.
    async fn prune(&self, before: Timestamp) -> Result<u64, Failure>;

    /// Forgets the oldest tenth of the events and of the kept exchanges, by the order in which they were kept;
    /// at least one of each, if there are any. Returns how many went.
    async fn drop_oldest(&self) -> Result<u64, Failure>;

    /// Forgets the events and kept exchanges of a user. Returns how many went.
    async fn erase_user(&self, user: UserHash) -> Result<u64, Failure>;

    /// Replaces cells of evidence, together with the event up to which they count. All or none.
    async fn save_checkpoint(&self, checkpoint: Checkpoint) -> Result<(), Failure>;

    /// All cells, and the event up to which they count.
    async fn checkpoint(&self) -> Result<Checkpoint, Failure>;

    /// The state of a route; `None` if there is none.
    async fn state(&self, route: &str) -> Result<Option<State>, Failure>;

    /// The states of all routes, by name; of routes, too, that no file names any more.
    async fn states(&self) -> Result<Vec<(Box<str>, State)>, Failure>;

    /// Writes a state and its entries in the history, if the stored version is still the expected one.
    /// All or none.
    ///
    /// # Errors
    /// [`Failure::Conflict`] with the version that it has.
    async fn save_state(&self, change: StateChange) -> Result<StateVersion, Failure>;

    /// Adds entries to the history.
    async fn append_history(&self, entries: Vec<Entry>) -> Result<(), Failure>;

    /// A page of the history, newest first.
    async fn history(&self, query: HistoryQuery) -> Result<Page<Entry>, Failure>;

    /// A value that belongs to the store as a whole, such as a secret that it was created with. The
    /// first writer's value stays, and is returned to everybody.
    async fn keep(&self, name: &'static str, value: String) -> Result<String, Failure>;

    /// Writes a whole, consistent copy to a file that must not exist.
    async fn back_up(&self, to: &Path) -> Result<(), Failure>;

    /// Bytes in use.
    async fn size(&self) -> Result<u64, Failure>;
}
