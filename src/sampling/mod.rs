//! Exchanges that were drawn: handed over by workers when they are settled, then copied, judged and kept.
//!
//! | file | what |
//! |---|---|
//! | `capture` | copies of bodies as they pass, within bounds |
//! | `lines` | what waits for somebody, within bounds |
//! | `shadow` | sends copies to the candidate and compares the arms |
//! | `sending` | one copy over one connection |
//! | `judging` | asks judges, within their budgets, and stores verdicts as events |
//! | `keeping` | redacts, and stores what is kept for people |
//!
//! It changes nothing of an exchange and serves nobody. Invariants: handing over waits for nothing;
//! whatever was drawn ends in exactly one [`Fate`] for each purpose, and is counted; of a body nothing is
//! sent but what the file lists, and nothing kept that it redacts.

pub mod capture;
mod judging;
mod keeping;
mod lines;
mod sending;
mod shadow;

use std::sync::Arc;

use http::{HeaderMap, Method, Uri};
use jiff::Timestamp;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::clock;
use crate::config::model::Route;
use crate::domain::Arm;
use crate::domain::condition::Fact;
use crate::domain::decision::{Decision, Reason};
use crate::domain::phase::Phase;
use crate::domain::reading::Format;
use crate::domain::sampling::{Document, Fate, Purpose};
use crate::live::{Live, RouteIndex, Snapshot};
use crate::store::{Attached, Attribution, Event, UserHash};
use crate::upstream::Address;
use capture::{Capture, Room};

/// Exchanges that were handed over and not looked at yet.
const MAX_WAITING: usize = 256;

/// One side of an exchange.
#[derive(Debug)]
pub struct Side {
    /// The fields that a judge is sent.
    pub fields: HeaderMap,
    /// How the body holds documents, or why it is none that can be read.
    pub format: Result<Format, Fate>,
    /// The body.
    pub body: Capture,
}

impl Side {
    /// Why it is of no use to who takes at most so many bytes of JSON; `None` if it may be.
    fn is_lost(&self, limit: usize) -> Option<Fate> {
        let unreadable = || self.format.err().filter(|_| !self.body.bytes().is_empty());
        self.body.is_lost(limit).or_else(unreadable)
    }

    /// The body as documents.
    fn document(&self, limit: usize) -> Result<Document, Fate> {
        match (self.is_lost(limit), self.format) {
            (Some(fate), _) => Err(fate),
            (None, Ok(format)) if !self.body.bytes().is_empty() => {
                Document::read(format, self.body.bytes()).ok_or(Fate::NotJson)
            }
            (None, _) => Ok(Document::Empty),
        }
    }
}

/// What a copy is made of, beside the body: the request as the candidate would have got it.
#[derive(Debug)]
pub struct CopyRequest {
    /// Where to.
    pub address: Arc<Address>,
    /// The method.
    pub method: Method,
    /// The target.
    pub uri: Uri,
    /// The fields, without those of framing.
    pub headers: HeaderMap,
    /// What templates mention.
    pub facts: Vec<(Arc<str>, Option<Fact<'static>>)>,
}

/// An exchange that was drawn, as it was settled.
#[derive(Debug)]
pub struct Exchange {
    /// What ran when it arrived.
    pub snapshot: Arc<Snapshot>,
    /// Its route.
    pub route: RouteIndex,
    /// When it was settled.
    pub at: Timestamp,
    /// What it was drawn for, by [`Purpose::index`].
    pub drawn: [bool; Purpose::ALL.len()],
    /// The request's id.
    pub request_id: Box<str>,
    /// The key of who asked.
    pub user: Option<Box<str>>,
    /// What was decided.
    pub decision: Decision,
    /// The phase of its route.
    pub phase: Phase,
    /// The arm that answered.
    pub served: Arm,
    /// Why that arm.
    pub reason: Reason,
    /// The request's method.
    pub method: Box<str>,
    /// The request's path.
    pub path: Box<str>,
    /// The status that the client got.
    pub status: u16,
    /// Microseconds from arrival to the last byte.
    pub duration_micros: u64,
    /// Microseconds of the try that gave the answer; `None` if none did.
    pub attempt_micros: Option<u64>,
    /// Bytes of the answer.
    pub response_bytes: u64,
    /// Whether the answer came to its end.
    pub whole: bool,
    /// What a copy is made of, if the candidate is to get one.
    pub copy: Option<Box<CopyRequest>>,
    /// The request.
    pub request: Side,
    /// What the client got; `None` if no backend answered.
    pub response: Option<Side>,
}

impl Exchange {
    fn definition(&self) -> &Route {
        &self.snapshot.config().routes[self.route]
    }

    fn count(&self, purpose: Purpose, fate: Fate) {
        self.snapshot.routes[self.route].note_sampled(purpose, fate);
    }

    /// Why it is of no use for a purpose; `None` if it may be.
    fn refused(&self, purpose: Purpose) -> Option<Fate> {
        let (limit, request, answer) = match purpose {
            Purpose::Shadow => {
                let cut = (!self.whole).then_some(Fate::Truncated);
                return self.request.body.is_lost(self.copy_limit()).or(cut);
            }
            Purpose::Judge => {
                let judging = self.definition().judge.as_ref()?;
                if self.decision.digest.is_none() {
                    return Some(Fate::NoKey);
                }
                if !(200..300).contains(&self.status) {
                    return Some(Fate::Status);
                }
                (judging.max_body, judging.reads_request(), judging.reads_answer())
            }
            Purpose::Samples => (self.definition().samples.as_ref()?.max_body, true, true),
        };
        let Some(response) = &self.response else { return Some(Fate::NoAnswer) };
        let lost = |side: &Side, is_read: bool| if is_read { side.is_lost(limit) } else { None };
        lost(&self.request, request).or_else(|| lost(response, answer))
    }

    /// Bytes of a request that can be copied: as many as can be sent twice.
    fn copy_limit(&self) -> usize {
        usize::try_from(self.definition().fallback.replay_body).unwrap_or(usize::MAX)
    }

    /// Where it counts; `None` without a key.
    fn attribution(&self) -> Option<Attribution> {
        let digest = self.decision.digest?;
        Some(Attribution {
            route: Box::from(&*self.definition().name),
            arm: self.decision.assigned,
            phase: self.phase.0,
            rule: self.decision.rule.and_then(|rule| u16::try_from(rule).ok()),
            randomised: self.decision.randomised.map(|percent| percent.get()),
            bucket: digest.statistical_bucket(),
            sample: digest.user_sample(),
        })
    }

    /// An event that tells of it; `None` while hashes of users could not be found again.
    fn event(&self, live: &Live, name: Box<str>, data: &Value) -> Option<Event> {
        Some(Event {
            id: clock::new_uuid().to_string().into(),
            name,
            at: self.at,
            received_at: clock::timestamp(),
            user: self.user(live)?,
            attribution: self.attribution(),
            value: None,
            data: data.to_string().into(),
        })
    }

    /// What stands for who asked. `None` as the outer answer while hashes could not be found again.
    fn user(&self, live: &Live) -> Option<Option<UserHash>> {
        let log = &self.snapshot.config().log;
        let settled = live.users.are_settled(log);
        settled.then(|| self.user.as_deref().map(|key| UserHash(live.users.hash(log, key))))
    }
}

/// See the module.
#[derive(Debug)]
pub struct Sampling {
    queue: mpsc::Sender<Box<Exchange>>,
    room: Arc<Room>,
}

impl Sampling {
    /// Begins to judge and to keep, on `runtime`.
    #[must_use]
    pub fn start(live: Arc<Live>, store: Arc<Attached>, runtime: &Handle) -> Arc<Self> {
        let (queue, incoming) = mpsc::channel(MAX_WAITING);
        let room = Arc::default();
        runtime.spawn(run(live, store, Arc::clone(&room), incoming));
        Arc::new(Self { queue, room })
    }

    /// What captures of bodies count in.
    #[must_use]
    pub const fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// Takes an exchange over, or drops and counts it. Waits for nothing.
    pub fn offer(&self, mut exchange: Exchange) {
        for purpose in Purpose::ALL {
            if exchange.drawn[purpose.index()]
                && let Some(fate) = exchange.refused(purpose)
            {
                exchange.drawn[purpose.index()] = false;
                exchange.count(purpose, fate);
            }
        }
        if exchange.drawn == [false; Purpose::ALL.len()] {
            return;
        }
        if let Err(mpsc::error::TrySendError::Full(lost) | mpsc::error::TrySendError::Closed(lost)) =
            self.queue.try_send(Box::new(exchange))
        {
            let drawn = Purpose::ALL.into_iter().filter(|purpose| lost.drawn[purpose.index()]);
            drawn.for_each(|purpose| lost.count(purpose, Fate::QueueFull));
        }
    }
}

/// Gives exchanges to those that they were drawn for; none makes another wait, but a judge for the copy that it
/// is to compare.
async fn run(live: Arc<Live>, store: Arc<Attached>, room: Arc<Room>, mut incoming: mpsc::Receiver<Box<Exchange>>) {
    let keeper = keeping::start(Arc::clone(&live), Arc::clone(&store));
    let mut copies = shadow::Copies::new(Arc::clone(&live), Arc::clone(&store), room);
    let mut judges = judging::Judges::new(live, store);
    loop {
        tokio::select! {
            exchange = incoming.recv() => {
                let Some(exchange) = exchange else { return };
                let exchange: Arc<Exchange> = Arc::from(exchange);
                if exchange.drawn[Purpose::Samples.index()] {
                    keeping::hand_over(&keeper, Arc::clone(&exchange));
                }
                if let Some(exchange) = copies.put(exchange) {
                    judges.put(exchange, None);
                }
            }
            (exchange, candidate) = copies.ended() => judges.put(exchange, candidate),
            () = judges.ended() => {}
        }
        copies.send();
        judges.ask();
    }
}
