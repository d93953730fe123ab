//! Exchanges that were drawn: handed over by workers when they are settled, then judged and kept.
//!
//! | file | what |
//! |---|---|
//! | `capture` | copies of bodies as they pass, within bounds |
//! | `judging` | asks judges, within their budgets, and stores verdicts as events |
//! | `keeping` | redacts, and stores what is kept for people |
//!
//! It changes nothing of an exchange and serves nobody. Invariants: handing over waits for nothing;
//! whatever was drawn ends in exactly one [`Fate`] for each purpose, and is counted; of a body nothing is
//! sent but what the file lists, and nothing kept that it redacts.

pub mod capture;
mod judging;
mod keeping;

use std::sync::Arc;

use http::HeaderMap;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::config::model::Route;
use crate::domain::Arm;
use crate::domain::decision::{Decision, Reason};
use crate::domain::phase::Phase;
use crate::domain::sampling::{Fate, Purpose};
use crate::live::{Live, RouteIndex, Snapshot};
use crate::store::{Attached, Attribution, UserHash};
use capture::{Capture, Room};

/// Exchanges that were handed over and not looked at yet.
const MAX_WAITING: usize = 256;

/// One side of an exchange.
#[derive(Debug)]
pub struct Side {
    /// The fields that a judge is sent.
    pub fields: HeaderMap,
    /// The body.
    pub body: Capture,
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
        let Some(response) = &self.response else { return Some(Fate::NoAnswer) };
        let (limit, request, answer) = match purpose {
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
        let lost = |side: &Side, is_read: bool| if is_read { side.body.is_lost(limit) } else { None };
        lost(&self.request, request).or_else(|| lost(response, answer))
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
        runtime.spawn(run(live, store, incoming));
        Arc::new(Self { queue, room: Arc::default() })
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

/// Gives exchanges to those that they were drawn for; neither makes the other wait.
async fn run(live: Arc<Live>, store: Arc<Attached>, mut incoming: mpsc::Receiver<Box<Exchange>>) {
    let keeper = keeping::start(Arc::clone(&live), Arc::clone(&store));
    let mut judges = judging::Judges::new(live, store);
    loop {
        tokio::select! {
            exchange = incoming.recv() => {
                let Some(exchange) = exchange else { return };
                let exchange: Arc<Exchange> = Arc::from(exchange);
                if exchange.drawn[Purpose::Samples.index()] {
                    keeping::hand_over(&keeper, Arc::clone(&exchange));
                }
                if exchange.drawn[Purpose::Judge.index()] {
                    judges.put(exchange);
                }
            }
            () = judges.ended() => {}
        }
        judges.ask();
    }
}
