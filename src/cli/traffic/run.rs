//! A run: connections that take turns by the plan's pace, and what came of each query.
//!
//! One thread, one task for each connection. A query's number decides who asks what, whichever connection it
//! goes over, and with a rate when it was to begin; its time counts from then, so that answers which keep
//! others waiting do not go unnoticed ("coordinated omission"). Nothing is kept of a query but its sums.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use indicatif::ProgressBar;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::connection::{Connection, Failure, broken};
use super::feedback::{EventTotals, Experience, Feedback};
use super::plan::{Pace, Plan};
use super::schedule::Pacer;
use super::tally::{Outcome, Sums, Tally};
use crate::clock;
use crate::domain::Arm;
use crate::domain::metric::Usage;
use crate::domain::reading::{Format, Prices, Reading};

/// How often the progress is shown.
const LOOK: Duration = Duration::from_millis(200);
/// How long events may take to be posted after the last answer.
const MAIL_PATIENCE: Duration = Duration::from_secs(10);
/// The header with the exposure token, unless the gateway's file says otherwise.
const EXPOSURE: &str = "x-pointsman-exposure";

/// What came of a run.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) sums: Sums,
    /// From the first beginning to the last end.
    pub(super) length: Duration,
    /// The longest that a query had to wait for a free connection or for this program.
    pub(super) behind: Duration,
    /// Begun and not ended when the run was interrupted.
    pub(super) unfinished: u64,
    pub(super) interrupted: bool,
    pub(super) events: Option<EventTotals>,
    /// What the latest failure was.
    pub(super) last_failure: Option<String>,
}

/// Runs the plan to its end, or until it is interrupted.
///
/// # Errors
/// If nobody can be reached, or the system refuses what is needed.
pub(super) fn run(plan: Plan, progress: &ProgressBar) -> anyhow::Result<Ran> {
    let options = tokio::runtime::LocalOptions::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(options)?;
    runtime.block_on(carry_out(plan, progress))
}

async fn carry_out(plan: Plan, progress: &ProgressBar) -> anyhow::Result<Ran> {
    let mut interruption = Interruption::new()?;
    let connections = tokio::select! {
        opened = open(&plan) => opened?,
        () = interruption.comes() => anyhow::bail!("interrupted before the first query"),
    };
    let (feedback, mail) = plan.told.clone().map(Feedback::new).unzip();
    let mail = mail.map(|mail| tokio::task::spawn_local(mail.post()));
    let places = Arc::new(Semaphore::new(0));
    let begin = clock::now();
    let _pacer = match plan.pace {
        Pace::Open(schedule) => {
            let (requests, extra) = (plan.requests.unwrap_or(u64::MAX), connections.len());
            Some(Pacer::start(schedule, begin, requests, extra, Arc::clone(&places))?)
        }
        Pace::Closed { .. } => None,
    };
    let run = Rc::new(Run::new(plan, begin, places, feedback));
    let mut users = JoinSet::new();
    for (index, connection) in connections.into_iter().enumerate() {
        users.spawn_local(Rc::clone(&run).work(connection, index as u32));
    }
    let interrupted = tokio::select! {
        ended = all(&mut users) => ended.map(|()| false)?,
        () = interruption.comes() => true,
        () = run.show(progress) => false,
    };
    let length = clock::now().saturating_duration_since(begin);
    // What is under way is dropped with its task.
    users.shutdown().await;
    if let Some(feedback) = &run.feedback {
        feedback.close();
    }
    if let Some(mail) = mail {
        tokio::select! {
            // Whether it ended or not, its totals are told.
            _ = tokio::time::timeout(MAIL_PATIENCE, mail) => {}
            () = interruption.comes() => {}
        }
    }
    Ok(run.ran(length, interrupted))
}

/// Waits for all of them; a panic of one is an error, not a run with fewer queries.
async fn all(users: &mut JoinSet<()>) -> anyhow::Result<()> {
    while let Some(ended) = users.join_next().await {
        ended.context("a mistake in this program ended the run")?;
    }
    Ok(())
}

/// Opens the connections, so that no query pays for it. The first one tells whether anybody is there; others may
/// fail, which queries will tell.
async fn open(plan: &Plan) -> anyhow::Result<Vec<Connection>> {
    let authority = plan.origin.endpoint().authority.to_str().unwrap_or_default();
    let cannot = || format!("cannot reach {authority}; is somebody listening there?");
    let address = tokio::time::timeout(plan.timeout, plan.origin.address()).await.with_context(cannot)?;
    let address = Rc::new(address.with_context(cannot)?);
    let mut first = Connection::to(Rc::clone(&address));
    let opened = tokio::time::timeout(plan.timeout, first.open()).await.with_context(cannot)?.map(drop);
    opened.map_err(|failure| anyhow::anyhow!("{failure}").context(cannot()))?;
    let mut connections = vec![first];
    let mut opening = JoinSet::new();
    for _ in 1..plan.concurrency {
        let (mut connection, patience) = (Connection::to(Rc::clone(&address)), plan.timeout);
        opening.spawn_local(async move {
            // It is opened again with the first query that needs it, and told then.
            let _opened = tokio::time::timeout(patience, connection.open()).await.is_ok_and(|opened| opened.is_ok());
            connection
        });
    }
    while let Some(opened) = opening.join_next().await {
        connections.push(opened?);
    }
    Ok(connections)
}

/// SIGINT and SIGTERM.
struct Interruption {
    interrupt: Signal,
    terminate: Signal,
}

impl Interruption {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn comes(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// What the tasks share.
struct Run {
    plan: Plan,
    begin: Instant,
    /// A permit for each query that is due.
    places: Arc<Semaphore>,
    feedback: Option<Feedback>,
    next: Cell<u64>,
    under_way: Cell<u64>,
    behind: Cell<Duration>,
    tally: RefCell<Tally>,
}

/// What the head of an answer tells.
#[derive(Debug, Default)]
struct Head {
    arm: Option<Arm>,
    score: Option<f64>,
    exposure: Option<HeaderValue>,
    cost: Option<f64>,
}

impl Run {
    fn new(plan: Plan, begin: Instant, places: Arc<Semaphore>, feedback: Option<Feedback>) -> Self {
        let tally = RefCell::new(Tally::new(plan.crowd.users()));
        let (next, under_way, behind) = (Cell::new(0), Cell::new(0), Cell::new(Duration::ZERO));
        Self { plan, begin, places, feedback, next, under_way, behind, tally }
    }

    /// One connection's life, and in a closed loop one user's.
    async fn work(self: Rc<Self>, mut connection: Connection, index: u32) {
        if let Pace::Closed { ramp, .. } = self.plan.pace {
            self.rest(ramp * index / self.plan.concurrency).await;
        }
        while let Some((number, due)) = self.turn().await {
            self.query(&mut connection, number, due).await;
            if let Pace::Closed { think, .. } = self.plan.pace {
                self.rest(think.mul_f64(0.5 + fastrand::f64())).await;
            }
        }
    }

    /// Waits, but not beyond the end.
    async fn rest(&self, length: Duration) {
        let elapsed = clock::now().saturating_duration_since(self.begin);
        let left = self.plan.length.map_or(Duration::MAX, |end| end.saturating_sub(elapsed));
        if !length.is_zero() {
            tokio::time::sleep(length.min(left)).await;
        }
    }

    /// The next query's number, and when it was to begin; `None` at the end.
    async fn turn(&self) -> Option<(u64, Instant)> {
        if matches!(self.plan.pace, Pace::Open(_)) {
            // Never closed.
            self.places.acquire().await.ok()?.forget();
        }
        let (number, now) = (self.next.get(), clock::now());
        if self.plan.requests.is_some_and(|most| number >= most) {
            return None;
        }
        let due = match self.plan.pace {
            Pace::Open(schedule) => self.begin + schedule.due(number),
            Pace::Closed { .. } => now,
        };
        if self.plan.length.is_some_and(|length| due.saturating_duration_since(self.begin) >= length) {
            return None;
        }
        self.next.set(number + 1);
        self.behind.set(self.behind.get().max(now.saturating_duration_since(due)));
        Some((number, due))
    }

    async fn query(&self, connection: &mut Connection, number: u64, due: Instant) {
        let (mut rng, person, request) = self.plan.query(number);
        let mut head = Head::default();
        self.under_way.set(self.under_way.get() + 1);
        let asked = tokio::time::timeout(self.plan.timeout, self.ask(connection, request, &mut head)).await;
        let ended = asked.unwrap_or(Err(Failure::Timeout));
        let latency = clock::now().saturating_duration_since(due);
        self.under_way.set(self.under_way.get() - 1);
        if ended.is_err() {
            connection.close();
        }
        let Head { arm, score, exposure, cost } = head;
        let outcome = Outcome { user: person.index, arm, ended, latency, score, cost };
        self.tally.borrow_mut().record(&outcome);
        if let Some(feedback) = &self.feedback {
            let exposure = exposure.as_ref().and_then(|token| token.to_str().ok());
            let experience = Experience {
                user: &self.plan.crowd.key(person),
                is_success: outcome.is_success(),
                latency,
                score,
                exposure,
            };
            feedback.consider(&experience, &mut rng);
        }
    }

    /// Sends a request and takes its answer to the end; what the head tells is kept, also if the body breaks off.
    async fn ask(
        &self,
        connection: &mut Connection,
        request: Request<Full<bytes::Bytes>>,
        head: &mut Head,
    ) -> Result<StatusCode, Failure> {
        let response = connection.send(request).await?;
        let status = response.status();
        *head = self.head(response.headers());
        let prices = self.plan.prices(head.arm);
        let mut reading = prices.and_then(|prices| reading(response.headers(), prices));
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            if let (Ok(piece), Some((reading, _))) = (frame.map_err(broken)?.into_data(), &mut reading) {
                reading.see(&piece, 0, &[]);
            }
        }
        head.cost = reading.and_then(|(reading, prices)| reading.finish(&[]).usage(Usage::Cost, Some(prices)));
        Ok(status)
    }

    fn head(&self, headers: &HeaderMap) -> Head {
        let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
        let arm = headers.get("x-pointsman-arm").and_then(text).and_then(|word| Arm::parse(&word));
        let score = headers.get(&self.plan.score_header).and_then(text).and_then(|word| word.parse().ok());
        let exposure = self.feedback.as_ref().and_then(|_| headers.get(EXPOSURE).cloned());
        Head { arm, score: score.filter(|score: &f64| score.is_finite()), exposure, cost: None }
    }

    /// Shows how far it is; never ends.
    async fn show(&self, progress: &ProgressBar) {
        loop {
            let (ended, errors) = self.tally.borrow().progress();
            progress.set_position(ended);
            progress.set_message(format!("{errors} errors, {} under way", self.under_way.get()));
            tokio::time::sleep(LOOK).await;
        }
    }

    fn ran(&self, length: Duration, interrupted: bool) -> Ran {
        let tally = self.tally.borrow();
        Ran {
            sums: tally.sums(length),
            length,
            behind: self.behind.get(),
            unfinished: self.under_way.get(),
            interrupted,
            events: self.feedback.as_ref().map(Feedback::totals),
            last_failure: tally.last_failure().map(str::to_owned),
        }
    }
}

/// What reads the tokens of an answer, if its type may tell of them.
fn reading(headers: &HeaderMap, prices: Prices) -> Option<(Reading, Prices)> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some((Reading::new(Format::of(content_type)?), prices))
}
