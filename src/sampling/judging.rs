//! Asks judges, each within its bounds, and stores verdicts as events.
//!
//! A verdict is an event of the name `judge.NAME`, attributed like the exchange: so it is durable, exported,
//! erased with its user, and counted once by who counts events. One that fails is asked for again, later
//! and later; what a judge has no time for is dropped and counted. One task holds all lines, so there is
//! no lock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, StatusCode};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::{Exchange, Side};
use crate::clock;
use crate::config::model::{Excerpt, Judge as Settings, Judging, judge_event};
use crate::domain::sampling::{Document, Fate, Purpose};
use crate::domain::verdict;
use crate::live::{Judge, Live};
use crate::store::{Attached, Event, Failure, Store as _};
use crate::upstream::FetchError;

/// Bytes of a judge's answer.
const MAX_ANSWER: usize = 64 << 10;
/// Before a request is sent again for the first time; doubles with every further one. Up to half of a pause is
/// left to chance.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between two requests.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often a verdict is offered to the store.
const STORE_TRIES: u32 = 4;
/// Seconds of a minute of the budget.
const MINUTE: i64 = 60;

/// See the module.
pub(super) struct Judges {
    live: Arc<Live>,
    store: Arc<Attached>,
    lines: HashMap<Arc<str>, Line>,
    asking: JoinSet<()>,
}

/// Who waits for one judge.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Arc<Exchange>>,
    /// Held by each request under way, whatever becomes of its task.
    place: Arc<()>,
}

impl Line {
    fn in_flight(&self) -> usize {
        Arc::strong_count(&self.place) - 1
    }
}

impl Judges {
    pub(super) fn new(live: Arc<Live>, store: Arc<Attached>) -> Self {
        Self { live, store, lines: HashMap::new(), asking: JoinSet::new() }
    }

    /// Puts an exchange at the end of its judge's line, or drops and counts it.
    pub(super) fn put(&mut self, exchange: Arc<Exchange>) {
        let Some(settings) = settings(&exchange) else { return };
        let line = self.lines.entry(Arc::clone(&settings.name)).or_default();
        if line.waiting.len() >= settings.queue {
            return exchange.count(Purpose::Judge, Fate::QueueFull);
        }
        line.waiting.push_back(exchange);
    }

    /// Ready once a request has ended; never while there is none.
    pub(super) async fn ended(&mut self) {
        if self.asking.join_next().await.is_none() {
            std::future::pending().await
        }
    }

    /// Begins to ask where there is room.
    pub(super) fn ask(&mut self) {
        for line in self.lines.values_mut() {
            while let Some(exchange) = line.waiting.front() {
                let Some((settings, judge)) = settings(exchange).zip(judge(exchange)) else {
                    line.waiting.pop_front();
                    continue;
                };
                if line.in_flight() >= settings.max_in_flight {
                    judge.state.set_waiting(line.waiting.len());
                    break;
                }
                judge.state.set_waiting(line.waiting.len() - 1);
                let Some(exchange) = line.waiting.pop_front() else { break };
                let (live, store, place) = (Arc::clone(&self.live), Arc::clone(&self.store), Arc::clone(&line.place));
                self.asking.spawn(async move {
                    let fate = settle(&exchange, &live, &store).await;
                    exchange.count(Purpose::Judge, fate);
                    drop(place);
                });
            }
        }
    }
}

fn judging(exchange: &Exchange) -> Option<&Judging> {
    exchange.definition().judge.as_deref()
}

fn settings(exchange: &Exchange) -> Option<&Settings> {
    judging(exchange).map(|judging| &exchange.snapshot.config().judges[judging.by])
}

fn judge(exchange: &Exchange) -> Option<&Judge> {
    judging(exchange).map(|judging| &exchange.snapshot.judges[judging.by])
}

/// From the exchange to its verdict in the store.
async fn settle(exchange: &Exchange, live: &Live, store: &Attached) -> Fate {
    let event = async {
        let question = question(exchange)?;
        let scores = asked(exchange, question).await?;
        verdict_event(exchange, live, scores)
    };
    match event.await {
        Ok(event) => keep(store, event).await,
        Err(fate) => fate,
    }
}

/// What the judge is sent: what the file lists, and nothing that tells it which arm answered.
fn question(exchange: &Exchange) -> Result<Bytes, Fate> {
    let (judging, response) = judging(exchange).zip(exchange.response.as_ref()).ok_or(Fate::NoAnswer)?;
    let request = document(&exchange.request, judging.reads_request(), judging.max_body)?;
    let answer = document(response, judging.reads_answer(), judging.max_body)?;
    let found = |excerpt: &Excerpt| match excerpt {
        Excerpt::RequestJson(pointer) => request.find(pointer),
        Excerpt::ResponseJson(pointer) => answer.find(pointer),
        Excerpt::RequestHeader(name) => field(&exchange.request, name),
        Excerpt::ResponseHeader(name) => field(response, name),
    };
    let parts = judging
        .send
        .iter()
        .map(|(name, arms)| (name.to_string(), found(&arms[exchange.served.index()]).unwrap_or_default()));
    let parts: Map<String, Value> = parts.collect();
    let route = &*exchange.definition().name;
    Ok(json!({ "id": clock::new_uuid().to_string(), "route": route, "exchange": parts }).to_string().into())
}

fn field(side: &Side, name: &HeaderName) -> Option<Value> {
    side.fields.get(name).and_then(|value| value.to_str().ok()).map(Value::from)
}

fn document(side: &Side, is_read: bool, limit: usize) -> Result<Document, Fate> {
    if is_read { side.body.document(limit) } else { Ok(Document::Empty) }
}

/// Asks, however often the file allows.
async fn asked(exchange: &Exchange, question: Bytes) -> Result<Map<String, Value>, Fate> {
    let (settings, judge) = settings(exchange).zip(judge(exchange)).ok_or(Fate::Failed)?;
    let mut pause = FIRST_PAUSE;
    for attempt in 0..=settings.retries {
        if attempt > 0 {
            tokio::time::sleep(pause.mul_f64(1.0 - fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        let minute = (clock::timestamp().as_second() / MINUTE).cast_unsigned();
        if !judge.state.admit(settings, minute, clock::utc_day()) {
            return Err(Fate::Budget);
        }
        let webhook = &judge.webhook.document;
        match webhook.post(&settings.headers, question.clone(), MAX_ANSWER, settings.timeout).await {
            Ok(answer) => {
                let scores = verdict::scores(&answer);
                judge.state.count(if scores.is_some() { OK } else { INVALID });
                return scores.ok_or(Fate::Invalid);
            }
            Err(error) => {
                judge.state.count(result(&error));
                tracing::debug!(judge = &*settings.name, %error, attempt, "the judge gave no verdict");
                match error {
                    FetchError::TooLong(_) => return Err(Fate::Invalid),
                    FetchError::Status(status) if !may_pass(status) => return Err(Fate::Failed),
                    FetchError::Status(_)
                    | FetchError::Timeout
                    | FetchError::Resolve(_)
                    | FetchError::Connect(_)
                    | FetchError::Request(_)
                    | FetchError::Http(_) => {}
                }
            }
        }
    }
    Err(Fate::Failed)
}

/// Places in [`crate::live::judges::RESULTS`].
const OK: usize = 0;
const CONNECT: usize = 1;
const TIMEOUT: usize = 2;
const STATUS: usize = 3;
const INVALID: usize = 4;

const fn result(error: &FetchError) -> usize {
    match error {
        FetchError::Timeout => TIMEOUT,
        FetchError::Resolve(_) | FetchError::Connect(_) => CONNECT,
        FetchError::Status(_) => STATUS,
        FetchError::Request(_) | FetchError::Http(_) | FetchError::TooLong(_) => INVALID,
    }
}

/// Whether a status may be another one the next time.
fn may_pass(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT
}

fn verdict_event(exchange: &Exchange, live: &Live, scores: Map<String, Value>) -> Result<Event, Fate> {
    let judge = settings(exchange).ok_or(Fate::Failed)?;
    let data = json!({ "scores": scores, "served": exchange.served, "request_id": exchange.request_id });
    Ok(Event {
        id: clock::new_uuid().to_string().into(),
        name: judge_event(&judge.name).into(),
        at: exchange.at,
        received_at: clock::timestamp(),
        user: exchange.user(live).ok_or(Fate::Store)?,
        attribution: exchange.attribution(),
        value: None,
        data: data.to_string().into(),
    })
}

/// Stores a verdict; its id stays the same, so that it counts once however often this is tried.
async fn keep(store: &Attached, event: Event) -> Fate {
    let mut pause = FIRST_PAUSE;
    for _ in 0..STORE_TRIES {
        match store.append_events(vec![event.clone()]).await {
            Ok(_) => return Fate::Done,
            Err(Failure::Busy(_) | Failure::Unavailable(_)) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(Failure::Corrupt(_) | Failure::Conflict { .. } | Failure::Unsupported(_)) => break,
        }
    }
    Fate::Store
}
