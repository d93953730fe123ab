//! What one arm is sent instead of the client's request, and what the client gets instead of its answer.
//!
//! Only routes that rewrite come here. Bodies are gathered whole, within `limits.rewrite_body`; what
//! cannot be rewritten is refused before a byte of an answer has gone out, so that control can still
//! answer and no client ever gets half of one shape, or the wrong one. An arm's request is always made of
//! what the client sent, never of what another arm was sent.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde_json::Value;

use super::attempt::{Answer, ClientFault, Failure};
use super::attributes::{Asker, Attributes};
use super::connection::{Broken, Connection};
use super::document;
use super::exchange::{Exchange, Tried};
use super::headers;
use super::problem::Problem;
use super::reply::Reply;
use super::tap::Tap;
use super::timer::Timer;
use super::upload::{Extent, Patience, ReplayMemory};
use super::worker::Worker;
use crate::clock;
use crate::config::model::{ArmRewrite, Config, Route};
use crate::domain::Arm;
use crate::domain::attempt::Outcome;
use crate::domain::condition::Fact;
use crate::domain::fallback::Cause;
use crate::domain::rewrite::{self, Given};

/// Fields that tell of the bytes of a body, and are untrue of another one.
const OF_THE_BYTES: [&str; 13] = [
    "accept-ranges",
    "content-digest",
    "content-encoding",
    "content-length",
    "content-md5",
    "content-range",
    "digest",
    "etag",
    "repr-digest",
    "signature",
    "signature-input",
    "trailer",
    "transfer-encoding",
];

/// What rewriting needs of a request.
pub(crate) struct Rewriting {
    /// What templates mention.
    pub(super) facts: Vec<(Arc<str>, Option<Fact<'static>>)>,
    original: Original,
    /// What the arm that is asked now is sent instead; `None` for the client's own body.
    pub(super) body: Option<Bytes>,
}

/// The client's body.
enum Original {
    /// There is none, or nobody needs it.
    Absent,
    /// A document.
    Document(Value),
    /// Not one.
    NotJson,
    /// It is not known.
    Unknown(Problem),
}

impl Rewriting {
    /// For a route that rewrites.
    pub(crate) fn of(worker: &Worker, config: &Config, route: &Route, asker: Asker<'_>) -> Option<Box<Self>> {
        if route.rewrites.iter().all(Option::is_none) {
            return None;
        }
        let mut attributes = Attributes::read(config, &route.rewrite_slots, asker);
        worker.note_attributes(&attributes);
        let fact = |slot: &usize| {
            let found = attributes.facts.get_mut(*slot).and_then(Option::take);
            (Arc::clone(&config.attributes[*slot].name), found.map(Fact::into_owned))
        };
        let facts = route.rewrite_slots.iter().map(fact).collect();
        Some(Box::new(Self { facts, original: Original::Absent, body: None }))
    }

    fn request(&self) -> Option<&Value> {
        match &self.original {
            Original::Document(body) => Some(body),
            Original::Absent | Original::NotJson | Original::Unknown(_) => None,
        }
    }
}

impl Exchange {
    /// Whether an arm that may be asked needs the body.
    pub(super) fn must_know_body(&self) -> bool {
        if self.rewriting.is_none() {
            return false;
        }
        let needs = |arm| self.ledger.route().rewrite(arm).is_some_and(ArmRewrite::needs_body);
        needs(Arm::Control) || (self.ledger.served == Arm::Candidate && needs(Arm::Candidate))
    }

    /// Gathers the body, before the first try. Both arms' requests are made of it.
    pub(super) async fn know_body(&mut self) -> Result<(), ClientFault> {
        let (Some(upload), Some(rewriting)) = (self.upload.clone(), &mut self.rewriting) else { return Ok(()) };
        if document::is_encoded(&self.parts.headers) {
            rewriting.original = Original::Unknown(Problem::RewriteRequest);
            return Ok(());
        }
        let patience =
            Patience { idle: self.ledger.backend(Arm::Control).timeouts.idle, deadline: self.ledger.deadline() };
        let limit = self.ledger.snapshot().config().limits.rewrite_body;
        let gathered = upload.gather(limit, patience, &mut self.timer).await;
        self.now = clock::now();
        self.ledger.waited_for_client(self.now);
        let gathered = gathered.map_err(ClientFault::from)?;
        rewriting.original = match gathered.extent {
            Extent::Whole if gathered.bytes.is_empty() => Original::Absent,
            Extent::Whole => rewrite::document(&gathered.bytes).map_or(Original::NotJson, Original::Document),
            Extent::TooLarge => Original::Unknown(Problem::RewriteTooLarge),
            Extent::NoMemory => Original::Unknown(Problem::RewriteMemory),
        };
        Ok(())
    }

    /// Makes the body that an arm is sent.
    pub(super) fn rewrite_for(&mut self, arm: Arm) -> Result<(), Problem> {
        let body = self.rewritten(arm)?;
        if let Some(rewriting) = &mut self.rewriting {
            rewriting.body = body;
        }
        Ok(())
    }

    fn rewritten(&self, arm: Arm) -> Result<Option<Bytes>, Problem> {
        let Some(rewriting) = &self.rewriting else { return Ok(None) };
        let Some(rewrite) = self.ledger.route().rewrite(arm).filter(|rewrite| rewrite.needs_body()) else {
            return Ok(None);
        };
        let body = match &rewriting.original {
            Original::Absent => return Ok(None),
            Original::NotJson if rewrite.body.is_empty() => return Ok(None),
            Original::NotJson => return Err(Problem::RewriteRequest),
            Original::Unknown(problem) => return Err(*problem),
            Original::Document(body) => body,
        };
        if rewrite.answer.is_some() && rewrite::asks_for_stream(body) {
            return Err(Problem::RewriteStreamRequest);
        }
        if rewrite.body.is_empty() {
            return Ok(None);
        }
        let given = self.given(rewriting, arm, body);
        match rewrite.body.rewrite(&given, self.rewrite_limit()) {
            Ok(bytes) => Ok(Some(Bytes::from(bytes))),
            Err(failure) => Err(self.failed(arm, "request", &failure, Problem::RewriteRequest)),
        }
    }

    fn given<'a>(&'a self, rewriting: &'a Rewriting, arm: Arm, body: &'a Value) -> Given<'a> {
        Given { body, facts: &rewriting.facts, route: &self.ledger.route().name, arm, answer: None }
    }

    fn rewrite_limit(&self) -> usize {
        usize::try_from(self.ledger.snapshot().config().limits.rewrite_body).unwrap_or(usize::MAX)
    }

    fn failed(&self, arm: Arm, side: &str, failure: &rewrite::Failure, problem: Problem) -> Problem {
        let (route, arm) = (&*self.ledger.route().name, arm.as_str());
        tracing::debug!(route, arm, side, %failure, "cannot be rewritten");
        match (failure, problem) {
            (rewrite::Failure::TooLarge, Problem::RewriteRequest) => Problem::RewriteTooLarge,
            _ => problem,
        }
    }

    /// Whether an answer of this arm is to be rewritten: one of the 2xx, which are the answers that have
    /// the backend's shape.
    pub(super) fn rewrites_answer(&self, arm: Arm, tried: &Tried) -> bool {
        self.rewriting.is_some()
            && matches!(tried, Tried::Answer(answer, Outcome::Success) if answer.head.status.is_success())
            && self.ledger.route().rewrite(arm).is_some_and(|rewrite| rewrite.answer.is_some())
    }

    /// Makes the client's answer of the backend's.
    pub(super) async fn rewrite_answer(&mut self, arm: Arm, tried: Tried) -> Tried {
        let Tried::Answer(mut answer, outcome) = tried else { return tried };
        if self.parts.method == Method::HEAD {
            strip(&mut answer.head.headers);
            return Tried::Answer(answer, outcome);
        }
        if answer.connection.is_answered() {
            return Tried::Answer(answer, outcome);
        }
        match self.answer_of(arm, *answer).await {
            Ok(response) => {
                self.ledger.end(outcome, self.now);
                Tried::Rewritten(response)
            }
            Err(failure) => Tried::Failed(failure),
        }
    }

    async fn answer_of(&mut self, arm: Arm, answer: Answer) -> Result<Response<Reply>, Failure> {
        let refused = |problem| Failure::Backend(Cause::Rewrite, problem);
        let Answer { mut head, connection } = answer;
        if is_event_stream(&head.headers) {
            return Err(refused(Problem::RewriteStream));
        }
        let partial = head.status == StatusCode::PARTIAL_CONTENT;
        if partial || document::is_encoded(&head.headers) || !document::promises_json(&head.headers) {
            return Err(refused(Problem::RewriteAnswer));
        }
        // What is read is what the backend said.
        let tap = Tap::on(&mut self.ledger, arm, head.status, &head.headers);
        let bytes = self.gather_answer(arm, connection).await?;
        if let Some(mut tap) = tap {
            tap.see(&bytes, &self.ledger);
            tap.finish(&mut self.ledger);
        }
        let rewritten = self.make_answer(arm, &bytes, head.status).map_err(refused)?;
        strip(&mut head.headers);
        head.headers.insert(header::CONTENT_TYPE, JSON);
        self.ledger.add_bytes(rewritten.len() as u64);
        Ok(Response::from_parts(head, Reply::full(rewritten)))
    }

    async fn gather_answer(&mut self, arm: Arm, connection: Connection) -> Result<Bytes, Failure> {
        let limits = &self.ledger.snapshot().config().limits;
        let mut gathering = Gathering {
            connection,
            bytes: BytesMut::new(),
            limit: limits.rewrite_body,
            held: Held::new(self.ledger.worker(), limits.replay_memory),
        };
        let idle = self.ledger.backend(arm).timeouts.idle;
        let gathered = gathering.run(idle, self.ledger.deadline(), &mut self.timer).await;
        let now = clock::now();
        self.ledger.waited_for_upstream(now.saturating_duration_since(self.now));
        self.now = now;
        gathered?;
        let Gathering { connection, bytes, .. } = gathering;
        if connection.is_ready() {
            self.ledger.worker().pool().put(connection, now);
        }
        Ok(bytes.freeze())
    }

    fn make_answer(&self, arm: Arm, bytes: &[u8], status: StatusCode) -> Result<Bytes, Problem> {
        let failed = |failure| self.failed(arm, "response", &failure, Problem::RewriteAnswer);
        let template = self.ledger.route().rewrite(arm).and_then(|rewrite| rewrite.answer.as_ref());
        let (Some(rewriting), Some(template)) = (&self.rewriting, template) else { return Err(Problem::RewriteAnswer) };
        let body = rewrite::document(bytes).map_err(failed)?;
        let answer = Some((rewriting.request(), status.as_u16()));
        let given = Given { answer, ..self.given(rewriting, arm, &body) };
        template.rewrite(&given, self.rewrite_limit()).map(Bytes::from).map_err(failed)
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Makes the fields fit the arm's request.
pub(super) fn fit_request(fields: &mut HeaderMap, rewrite: &ArmRewrite, body: Option<&Bytes>) {
    if let Some(body) = body {
        strip(fields);
        fields.insert(header::CONTENT_TYPE, JSON);
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    headers::apply(fields, &rewrite.headers);
    if rewrite.answer.is_some() {
        // An encoded answer, or a part of one, could not be rewritten.
        fields.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        fields.remove(header::RANGE);
        fields.remove(header::IF_RANGE);
    }
}

/// Makes the fields those of a JSON body of unknown length.
pub(super) fn become_json(fields: &mut HeaderMap) {
    strip(fields);
    fields.insert(header::CONTENT_TYPE, JSON);
}

fn strip(fields: &mut HeaderMap) {
    for name in OF_THE_BYTES {
        fields.remove(HeaderName::from_static(name));
    }
}

fn is_event_stream(fields: &HeaderMap) -> bool {
    let media_type = fields.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// Memory that is counted for as long as this lives.
pub(super) struct Held {
    memory: Arc<ReplayMemory>,
    bytes: u64,
    limit: u64,
}

impl Held {
    pub(super) fn new(worker: &Worker, limit: u64) -> Self {
        Self { memory: Arc::clone(worker.replay_memory()), bytes: 0, limit }
    }

    /// Counts so many bytes in all, or more if it were more before. `false` if there is no room.
    pub(super) fn at_least(&mut self, bytes: u64) -> bool {
        bytes <= self.bytes || self.more(bytes - self.bytes)
    }

    fn more(&mut self, bytes: u64) -> bool {
        let fits = self.memory.reserve(bytes, self.limit);
        self.bytes += if fits { bytes } else { 0 };
        fits
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.release(self.bytes);
    }
}

/// An answer on its way into one piece.
struct Gathering {
    connection: Connection,
    bytes: BytesMut,
    limit: u64,
    held: Held,
}

impl Gathering {
    async fn run(&mut self, idle: Duration, deadline: Option<Instant>, timer: &mut Timer) -> Result<(), Failure> {
        let refused = |problem| Failure::Backend(Cause::Rewrite, problem);
        let mut since = clock::now();
        loop {
            if self.bytes.len() as u64 + self.connection.left().unwrap_or_default() > self.limit {
                return Err(refused(Problem::RewriteAnswer));
            }
            let until = deadline.map_or(since + idle, |deadline| deadline.min(since + idle));
            let frame = poll_fn(|cx| {
                if let Poll::Ready(frame) = self.connection.poll_piece(cx) {
                    return Poll::Ready(Ok(frame));
                }
                timer.poll_until(cx, until).map(|()| Err(Failure::Backend(Cause::Timeout, Problem::Timeout)))
            })
            .await?;
            let Some(frame) = frame else { return Ok(()) };
            let frame = frame.map_err(|Broken| super::attempt::RESET)?;
            since = clock::now();
            let Some(data) = frame.data_ref() else { continue };
            if !self.held.more(data.len() as u64) {
                return Err(refused(Problem::RewriteMemory));
            }
            self.bytes.extend_from_slice(data);
        }
    }
}
