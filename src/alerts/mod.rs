//! Alerts and notices go to webhooks: once, signed, and however often it takes.
//!
//! | file | what |
//! |---|---|
//! | `desk` | the task that takes what is told, keeps it and has it sent |
//! | `book` | what is kept: what fires, what waits to be sent, what was told last |
//! | `receiver` | one webhook, and one try at it |
//! | `format` | messages as CloudEvents and for Slack |
//! | `signature` | Standard Webhooks |
//! | `watch` | breakers, budgets, reloads and the store, looked at from time to time |
//! | `digest` | the message of the day |
//!
//! When to tell is decided in [`crate::domain::alert`]. Whoever has something to tell holds [`Alerts`] and
//! waits for nothing. Invariants: what the store has taken is delivered or given up in the open, also
//! after a crash; a webhook that does not answer holds up no other; no message, log or page holds a secret.

mod book;
mod desk;
mod digest;
mod format;
mod receiver;
mod signature;
mod watch;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

pub use crate::domain::alert::{Alert, Firing, Message, Notice, Severity};
use crate::live::Live;
use crate::store::Attached;

/// What may wait for the desk.
const MAX_WAITING: usize = 4_096;

/// Where alerts and notices are told. Cheap to clone; telling waits for nothing.
#[derive(Debug, Clone)]
pub struct Alerts {
    queue: mpsc::Sender<Told>,
    shared: Arc<Shared>,
}

/// What is told.
#[derive(Debug)]
enum Told {
    Raise(Alert),
    Resolve {
        key: Arc<str>,
        at: Timestamp,
    },
    Notice(Notice),
    /// `None` comes back if there is no such webhook.
    Test {
        webhook: String,
        answer: oneshot::Sender<Option<Result<(), String>>>,
    },
}

/// What others may look at.
#[derive(Debug, Default)]
struct Shared {
    dropped: AtomicU64,
    seen: ArcSwap<Seen>,
}

/// What fires and what was told, as it last was.
#[derive(Debug, Default, Serialize, schemars::JsonSchema)]
#[schemars(rename = "AlertsPage")]
pub struct Seen {
    /// What fires, by key.
    pub firing: Vec<Firing>,
    /// What was told last, newest first.
    pub recent: Vec<Message>,
    /// How the webhooks fare, by name.
    pub webhooks: Vec<WebhookStatus>,
}

/// How a webhook fares.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct WebhookStatus {
    /// Its name.
    pub name: Arc<str>,
    /// `cloudevents` or `slack`.
    pub format: &'static str,
    /// Messages that it has not taken yet.
    pub waiting: usize,
    /// Messages that it took since the start.
    pub delivered: u64,
    /// Tries that failed since the start.
    pub failed: u64,
    /// Messages that were given up since the start: too old, or too many waited.
    pub given_up: u64,
    /// Why the last try failed, if it did.
    pub error: Option<String>,
}

impl Alerts {
    /// A desk on `runtime` that looks at `live` and `store` itself, too.
    #[must_use]
    pub fn start(live: Arc<Live>, store: Arc<Attached>, runtime: &Handle) -> Self {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        let shared = Arc::new(Shared::default());
        runtime.spawn(desk::Desk::new(live, store, Arc::clone(&shared)).run(waiting));
        Self { queue, shared }
    }

    /// One that nobody listens to.
    #[must_use]
    pub fn unheard() -> Self {
        Self { queue: mpsc::channel(1).0, shared: Arc::default() }
    }

    /// One that nobody listens to and that shows this.
    #[cfg(test)]
    pub(crate) fn showing(seen: Seen) -> Self {
        let alerts = Self::unheard();
        alerts.shared.seen.store(Arc::new(seen));
        alerts
    }

    /// It fires; as often as wanted.
    pub fn raise(&self, alert: Alert) {
        self.send(Told::Raise(alert));
    }

    /// It is over; as often as wanted, told if it fired. Where too much waits it is lost like anything else, so
    /// that whoever watches says it with every look.
    pub fn resolve(&self, key: impl Into<Arc<str>>, at: Timestamp) {
        self.send(Told::Resolve { key: key.into(), at });
    }

    /// Something happened once.
    pub fn tell(&self, notice: Notice) {
        self.send(Told::Notice(notice));
    }

    /// Sends a message to a webhook at once, once. `None` if there is no such webhook.
    pub async fn test(&self, webhook: &str) -> Option<Result<(), String>> {
        let (answer, answered) = oneshot::channel();
        self.send(Told::Test { webhook: webhook.to_owned(), answer });
        answered.await.unwrap_or_else(|_| Some(Err("too much waits to be told".to_owned())))
    }

    /// What fires and what was told.
    #[must_use]
    pub fn seen(&self) -> Arc<Seen> {
        self.shared.seen.load_full()
    }

    /// How much was lost because too much waited.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    fn send(&self, told: Told) {
        if self.queue.try_send(told).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
