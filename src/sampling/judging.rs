//! Asks judges, each within its bounds, and stores verdicts as events.
//!
//! A verdict is an event of the name `judge.NAME`, attributed like the exchange: so it is durable, exported,
//! erased with its user, and counted once by who counts events. One that fails is asked for again, later
//! and later; what a judge has no time for is dropped and counted. One task holds all lines, so there is
//! no lock.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, StatusCode};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::lines::Lines;
use super::{Exchange, Side};
use crate::clock;
use crate::config::model::{Excerpt, Judge as Settings, Judging, MetricSource, judge_event};
use crate::domain::Arm;
use crate::domain::metric::Better;
use crate::domain::pairs::Preference;
use crate::domain::sampling::{Document, Fate, Purpose, shows_candidate_first};
use crate::domain::verdict::{self, PairVerdict};
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
    lines: Lines<Case>,
    asking: JoinSet<()>,
}

/// What is to be judged.
struct Case {
    exchange: Arc<Exchange>,
    /// The candidate's answer to a copy, where two are to be compared.
    candidate: Option<Side>,
}

impl Judges {
    pub(super) fn new(live: Arc<Live>, store: Arc<Attached>) -> Self {
        Self { live, store, lines: Lines::default(), asking: JoinSet::new() }
    }

    /// Puts an exchange at the end of its judge's line, or drops and counts it. One that was not drawn is let go.
    pub(super) fn put(&mut self, exchange: Arc<Exchange>, candidate: Option<Side>) {
        let Some(settings) = settings(&exchange).filter(|_| exchange.drawn[Purpose::Judge.index()]) else { return };
        let (name, queue) = (Arc::clone(&settings.name), settings.queue);
        if let Err(case) = self.lines.put(&name, queue, Case { exchange, candidate }) {
            case.exchange.count(Purpose::Judge, Fate::QueueFull);
        }
    }

    /// Ready once a request has ended; never while there is none.
    pub(super) async fn ended(&mut self) {
        if self.asking.join_next().await.is_none() {
            std::future::pending().await
        }
    }

    /// Begins to ask where there is room.
    pub(super) fn ask(&mut self) {
        let at_once = |case: &Case| settings(&case.exchange).map_or(0, |settings| settings.max_in_flight);
        while let Some((case, place)) = self.lines.next(at_once) {
            let (live, store) = (Arc::clone(&self.live), Arc::clone(&self.store));
            self.asking.spawn(async move {
                let fate = settle(&case, &live, &store).await;
                case.exchange.count(Purpose::Judge, fate);
                drop(place);
            });
        }
        for (name, waiting) in self.lines.waiting() {
            self.live.note_waiting(name, waiting);
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
async fn settle(case: &Case, live: &Live, store: &Attached) -> Fate {
    let event = async {
        // What of the candidate's answer cannot be compared leaves control's to be judged alone.
        if let Some(pair) = case.candidate.as_ref().and_then(|candidate| pair_question(&case.exchange, candidate)) {
            let verdict = asked(&case.exchange, pair, verdict::pair).await?;
            return pair_event(&case.exchange, live, verdict);
        }
        let scores = asked(&case.exchange, question(&case.exchange)?, verdict::scores).await?;
        let data = json!({ "scores": scores, "served": case.exchange.served, "request_id": case.exchange.request_id });
        event(&case.exchange, live, &data)
    };
    match event.await {
        Ok(event) => keep(store, event).await,
        Err(fate) => fate,
    }
}

/// What the judge is sent: what the file lists, and nothing that tells it which arm answered.
fn question(exchange: &Exchange) -> Result<Bytes, Fate> {
    let response = exchange.response.as_ref().ok_or(Fate::NoAnswer)?;
    let parts = parts(exchange, exchange.served, response)?;
    Ok(posed(exchange, json!({ "exchange": parts })))
}

/// The same of two answers. The order is drawn, so that a judge who likes the first, or the second, has no
/// favourite arm; `None` if one of them cannot be read.
fn pair_question(exchange: &Exchange, candidate: &Side) -> Option<Bytes> {
    let sides = [(Arm::Control, exchange.response.as_ref()?), (Arm::Candidate, candidate)];
    let mut pair = Map::new();
    for (arm, side) in if candidate_first(exchange) { [sides[1], sides[0]] } else { sides } {
        pair.insert(arm.to_string(), Value::Object(parts(exchange, arm, side).ok()?));
    }
    Some(posed(exchange, json!({ "pair": pair, "first": first(exchange) })))
}

fn candidate_first(exchange: &Exchange) -> bool {
    shows_candidate_first(exchange.request_id.as_bytes())
}

fn first(exchange: &Exchange) -> Arm {
    if candidate_first(exchange) { Arm::Candidate } else { Arm::Control }
}

/// A question with its name, which stays the same however often it is asked.
fn posed(exchange: &Exchange, mut question: Value) -> Bytes {
    question["id"] = clock::new_uuid().to_string().into();
    question["route"] = (*exchange.definition().name).into();
    question.to_string().into()
}

/// The parts that the file lists, of one answer.
fn parts(exchange: &Exchange, arm: Arm, response: &Side) -> Result<Map<String, Value>, Fate> {
    let judging = judging(exchange).ok_or(Fate::NoAnswer)?;
    let request = document(&exchange.request, judging.reads_request(), judging.max_body)?;
    let answer = document(response, judging.reads_answer(), judging.max_body)?;
    let found = |excerpt: &Excerpt| match excerpt {
        Excerpt::RequestJson(pointer) => request.find(pointer),
        Excerpt::ResponseJson(pointer) => answer.find(pointer),
        Excerpt::RequestHeader(name) => field(&exchange.request, name),
        Excerpt::ResponseHeader(name) => field(response, name),
    };
    let part =
        |(name, arms): &(Box<str>, [Excerpt; 2])| (name.to_string(), found(&arms[arm.index()]).unwrap_or_default());
    Ok(judging.send.iter().map(part).collect())
}

fn field(side: &Side, name: &HeaderName) -> Option<Value> {
    side.fields.get(name).and_then(|value| value.to_str().ok()).map(Value::from)
}

fn document(side: &Side, is_read: bool, limit: usize) -> Result<Document, Fate> {
    if is_read { side.document(limit) } else { Ok(Document::Empty) }
}

/// Asks, however often the file allows, and reads the answer.
async fn asked<V>(exchange: &Exchange, question: Bytes, read: fn(&[u8]) -> Option<V>) -> Result<V, Fate> {
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
                let verdict = read(&answer);
                judge.state.count(if verdict.is_some() { OK } else { INVALID });
                return verdict.ok_or(Fate::Invalid);
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

/// What becomes of a verdict on a pair: counted for the process at once, from the store for good.
fn pair_event(exchange: &Exchange, live: &Live, verdict: PairVerdict) -> Result<Event, Fate> {
    let PairVerdict { preference, scores } = verdict;
    let preference = preference.or_else(|| scores.as_ref().and_then(|scores| preferred(exchange, scores)));
    if let Some(preference) = preference {
        exchange.snapshot.routes[exchange.route].shadow.note_preference(preference);
    }
    let scores = scores.map(|[control, candidate]| json!({ "control": control, "candidate": candidate }));
    let first = first(exchange);
    let data = json!({ "preference": preference, "first": first, "scores": scores, "request_id": exchange.request_id });
    event(exchange, live, &data)
}

/// By the first metric of the file that comes from this judge and tells the two apart.
fn preferred(exchange: &Exchange, [control, candidate]: &[Map<String, Value>; 2]) -> Option<Preference> {
    let name = judge_event(&settings(exchange)?.name);
    let metrics = &exchange.snapshot.config().metrics;
    let compared = metrics.iter().filter_map(|metric| {
        let MetricSource::Event(source) = &metric.sources[0] else { return None };
        let pointer = source.value.as_ref().filter(|_| *source.name == *name)?;
        let score = |scores: &Map<String, Value>| {
            let document = json!({ "data": { "scores": scores } });
            pointer.find(&document).and_then(|score| metric.kind.read_json(score))
        };
        let more = score(candidate)?.partial_cmp(&score(control)?)?;
        Some(if metric.better == Better::Higher { more } else { more.reverse() })
    });
    let orders: Vec<Ordering> = compared.collect();
    let decided = orders.iter().find(|order| order.is_ne());
    match decided.or(orders.first())? {
        Ordering::Less => Some(Preference::Control),
        Ordering::Equal => Some(Preference::Tie),
        Ordering::Greater => Some(Preference::Candidate),
    }
}

fn event(exchange: &Exchange, live: &Live, data: &Value) -> Result<Event, Fate> {
    let judge = settings(exchange).ok_or(Fate::Failed)?;
    exchange.event(live, judge_event(&judge.name).into(), data).ok_or(Fate::Store)
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
