//! The task that takes what is told, keeps it, and has it sent.
//!
//! One turn: take, look, keep, send. A message is sent after the store has taken it; while the store fails it
//! is sent all the same, and told to the store as soon as it works. Invariant: each webhook has at most one
//! message under way, and none waits for another's.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::book::{Book, Delivery};
use super::digest::Baseline;
use super::receiver::Receiver;
use super::watch::{Found, Watch};
use super::{Notice, Seen, Severity, Shared, Told, WebhookStatus};
use crate::clock;
use crate::config::model::Alerts as Settings;
use crate::domain::alert::{Kind, Message, digest_due};
use crate::live::Live;
use crate::store::{Attached, Failure, StateChange, StateVersion, Store as _};

/// How often it is looked for what fires, is due or too old.
const LOOK: Duration = Duration::from_millis(500);
/// What is taken at once.
const MAX_GROUP: usize = 1_024;
/// How long the first turn waits for the store, so that what fired before a restart is known.
const STORE_WAIT: Duration = Duration::from_secs(5);
/// Longest wait for the store to take the book.
const SAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a webhook that is tried by hand: the page that asks waits no longer.
const TEST_TIMEOUT: Duration = Duration::from_secs(8);
/// The state that holds the book; no route can have such a name.
const STATE: &str = "@alerts";

/// See the module.
pub(super) struct Desk {
    live: Arc<Live>,
    store: Arc<Attached>,
    shared: Arc<Shared>,
    book: Book,
    /// The version of the book in the store; `None` until it was read.
    version: Option<StateVersion>,
    unsaved: bool,
    generation: u64,
    settings: Settings,
    receivers: HashMap<Arc<str>, Arc<Receiver>>,
    counts: BTreeMap<Arc<str>, Counts>,
    under_way: JoinSet<Sent>,
    busy: HashSet<Arc<str>>,
    watch: Watch,
    baseline: Baseline,
}

#[derive(Debug, Default)]
struct Counts {
    delivered: u64,
    failed: u64,
    given_up: u64,
    error: Option<String>,
}

/// What came of a try.
struct Sent {
    webhook: Arc<str>,
    id: String,
    result: Result<(), String>,
}

impl Desk {
    pub(super) fn new(live: Arc<Live>, store: Arc<Attached>, shared: Arc<Shared>) -> Self {
        let snapshot = live.snapshot();
        let (settings, baseline) = (snapshot.config().alerts.clone(), Baseline::of(&snapshot, clock::timestamp()));
        drop(snapshot);
        Self {
            live,
            store,
            shared,
            book: Book { digested_at: Some(clock::timestamp()), ..Book::default() },
            version: None,
            unsaved: false,
            generation: 0,
            settings,
            receivers: HashMap::new(),
            counts: BTreeMap::new(),
            under_way: JoinSet::new(),
            busy: HashSet::new(),
            watch: Watch::default(),
            baseline,
        }
    }

    /// Runs until everybody who could tell something is gone.
    pub(super) async fn run(mut self, mut waiting: mpsc::Receiver<Told>) {
        // Without a store it goes on as well as it can.
        let _open = timeout(STORE_WAIT, self.store.attached()).await;
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = Vec::new();
        loop {
            tokio::select! {
                count = waiting.recv_many(&mut told, MAX_GROUP) => {
                    if count == 0 {
                        return;
                    }
                }
                Some(sent) = self.under_way.join_next() => self.settle(sent),
                _ = looks.tick() => self.look(),
            }
            self.load().await;
            self.refresh();
            let now = clock::timestamp();
            told.drain(..).for_each(|told| self.take(told, now));
            self.give_up(now);
            self.save().await;
            self.send(now);
            self.show();
        }
    }

    /// Reads what an earlier process kept, once the store can be read.
    async fn load(&mut self) {
        if self.version.is_some() || !self.store.is_up() {
            return;
        }
        match timeout(SAVE_TIMEOUT, self.store.state(STATE)).await {
            Ok(Ok(None)) => self.version = Some(0),
            Ok(Ok(Some(state))) => {
                self.version = Some(state.version);
                match serde_json::from_str::<Book>(&state.text) {
                    Ok(before) => self.book.adopt(before),
                    Err(error) => tracing::error!(%error, "what was kept of alerts cannot be read; it begins anew"),
                }
            }
            // It is tried again with the next turn.
            Ok(Err(_)) | Err(_) => return,
        }
        self.unsaved = true;
    }

    /// Takes the configuration over that runs now.
    fn refresh(&mut self) {
        let snapshot = self.live.snapshot();
        if self.generation == snapshot.generation {
            return;
        }
        self.generation = snapshot.generation;
        self.settings = snapshot.config().alerts.clone();
        let receiver = |webhook| Arc::new(Receiver::new(webhook, &self.settings.source));
        let webhooks = self.settings.webhooks.iter();
        self.receivers = webhooks.map(|webhook| (Arc::clone(&webhook.name), receiver(webhook))).collect();
    }

    fn take(&mut self, told: Told, now: Timestamp) {
        let message = match told {
            Told::Raise(alert) => self.book.board.raise(alert),
            Told::Resolve { key, at } => self.book.board.resolve(&key, at),
            Told::Notice(notice) => Some(notice.message(Kind::Transition)),
            Told::Test { webhook, answer } => return self.test(&webhook, answer, now),
        };
        message.into_iter().for_each(|message| self.accept(message, now));
    }

    fn accept(&mut self, message: Message, now: Timestamp) {
        tracing::info!(kind = ?message.kind, severity = message.severity.as_str(), title = message.title, "told");
        let id = message_id();
        for webhook in self.book.accept(message, &id, &self.settings, now) {
            self.counts.entry(webhook).or_default().given_up += 1;
        }
        self.unsaved = true;
    }

    /// What time and the gateway itself have to tell.
    fn look(&mut self) {
        let now = clock::timestamp();
        for found in self.watch.look(&self.live, &self.store, now) {
            let message = match found {
                Found::Fires(alert) if self.book.board.firing().any(|firing| firing.alert.key == alert.key) => None,
                Found::Fires(alert) => self.book.board.raise(alert),
                Found::Over(key) => self.book.board.resolve(&key, now),
            };
            message.into_iter().for_each(|message| self.accept(message, now));
        }
        self.forget_routes(now);
        for message in self.book.board.remind(self.settings.repeat_every, now) {
            self.accept(message, now);
        }
        self.digest(now);
    }

    /// Nobody would resolve what fires for a route that is gone.
    fn forget_routes(&mut self, now: Timestamp) {
        let snapshot = self.live.snapshot();
        let firing = self.book.board.firing();
        let of_gone = firing
            .filter(|firing| firing.alert.route.as_deref().is_some_and(|route| snapshot.route_named(route).is_none()));
        let keys: Vec<Arc<str>> = of_gone.map(|firing| Arc::clone(&firing.alert.key)).collect();
        drop(snapshot);
        for message in keys.iter().filter_map(|key| self.book.board.resolve(key, now)).collect::<Vec<_>>() {
            self.accept(message, now);
        }
    }

    fn digest(&mut self, now: Timestamp) {
        let Some((at, last)) = self.settings.digest.zip(self.book.digested_at) else { return };
        let Some(due) = digest_due(at, last, now) else { return };
        let snapshot = self.live.snapshot();
        let notice = self.baseline.digest(&snapshot, &self.book.board, now);
        self.baseline = Baseline::of(&snapshot, now);
        drop(snapshot);
        self.book.digested_at = Some(due);
        self.accept(notice.message(Kind::Digest), now);
    }

    fn give_up(&mut self, now: Timestamp) {
        for Delivery { webhook, id, tries, .. } in self.book.give_up(&self.settings, now) {
            tracing::warn!(webhook = &*webhook, id, tries, "a message is given up");
            self.counts.entry(webhook).or_default().given_up += 1;
            self.unsaved = true;
        }
    }

    /// Keeps the book, if it changed and can be kept.
    async fn save(&mut self) {
        let Some(expected) = self.version.filter(|_| self.unsaved) else { return };
        let Ok(text) = serde_json::to_string(&self.book) else { return };
        let now = clock::timestamp();
        let change = StateChange { route: STATE.into(), expected, text, now, history: Vec::new() };
        match timeout(SAVE_TIMEOUT, self.store.save_state(change)).await {
            Ok(Ok(version)) => (self.version, self.unsaved) = (Some(version), false),
            // The book of this process is the newer one.
            Ok(Err(Failure::Conflict { found })) => self.version = Some(found),
            // The store has told, and it is tried again with the next turn.
            Ok(Err(Failure::Busy(_) | Failure::Unavailable(_) | Failure::Corrupt(_) | Failure::Unsupported(_)))
            | Err(_) => {}
        }
    }

    /// Begins a try for every webhook that has something to be sent and nothing under way.
    fn send(&mut self, now: Timestamp) {
        for (name, receiver) in &self.receivers {
            if self.busy.contains(name) {
                continue;
            }
            let Some(delivery) = self.book.due(name, now).cloned() else { continue };
            self.busy.insert(Arc::clone(name));
            let (webhook, id, receiver) = (Arc::clone(name), delivery.id.clone(), Arc::clone(receiver));
            let at = now.as_second();
            self.under_way.spawn(async move {
                let result = receiver.send(delivery, at, Duration::MAX).await;
                Sent { webhook, id, result }
            });
        }
    }

    fn settle(&mut self, sent: Result<Sent, tokio::task::JoinError>) {
        let Ok(Sent { webhook, id, result }) = sent else {
            // Nobody knows whose it was: all may begin again, and a repetition has the same id.
            return self.busy.clear();
        };
        self.busy.remove(&webhook);
        let counts = self.counts.entry(Arc::clone(&webhook)).or_default();
        match result {
            Ok(()) => {
                counts.delivered += 1;
                counts.error = None;
                self.book.delivered(&webhook, &id);
            }
            Err(error) => {
                if counts.error.is_none() {
                    tracing::warn!(webhook = &*webhook, error, "a webhook does not take messages");
                }
                counts.failed += 1;
                counts.error = Some(error);
                self.book.failed(&webhook, &id, clock::timestamp(), fastrand::f64());
            }
        }
        self.unsaved = true;
    }

    fn test(&self, webhook: &str, answer: oneshot::Sender<Option<Result<(), String>>>, now: Timestamp) {
        let Some((name, receiver)) = self.receivers.get_key_value(webhook) else {
            // Whoever asked may have gone.
            return drop(answer.send(None));
        };
        let (title, detail) = ("A test".to_owned(), "Somebody wants to know whether messages arrive here.".to_owned());
        let notice = Notice { route: None, severity: Severity::Info, title, detail, data: json!({}), at: now };
        let delivery = Delivery {
            id: message_id(),
            webhook: Arc::clone(name),
            message: notice.message(Kind::Test),
            accepted_at: now,
            tries: 0,
            next_at: now,
        };
        let sending = Arc::clone(receiver).send(delivery, now.as_second(), TEST_TIMEOUT);
        tokio::spawn(async move { drop(answer.send(Some(sending.await))) });
    }

    fn show(&self) {
        let status = |webhook: &crate::config::model::Webhook| {
            let none = Counts::default();
            let counts = self.counts.get(&webhook.name).unwrap_or(&none);
            WebhookStatus {
                name: Arc::clone(&webhook.name),
                format: webhook.format.as_str(),
                waiting: self.book.outbox.iter().filter(|delivery| delivery.webhook == webhook.name).count(),
                delivered: counts.delivered,
                failed: counts.failed,
                given_up: counts.given_up,
                error: counts.error.clone(),
            }
        };
        self.shared.seen.store(Arc::new(Seen {
            firing: self.book.board.firing().cloned().collect(),
            recent: self.book.recent.iter().cloned().collect(),
            webhooks: self.settings.webhooks.iter().map(status).collect(),
        }));
    }
}

/// By which a repetition is known.
fn message_id() -> String {
    format!("msg_{}", clock::new_uuid().simple())
}
