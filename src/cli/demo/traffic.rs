//! Users of the demo: a constant rate of requests over real sockets, and what the users saw.
//!
//! The rate does not wait for answers; what is under way is bounded, and what the bound left out is
//! counted. Nothing here knows the gateway from inside: an error is what a client saw.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::cli::people::{Person, QUERIES};
use crate::clock;
use crate::domain::Arm;
use crate::domain::decision::Reason;

/// Distinct users.
pub(super) const USERS: usize = 400;

/// Requests under way at the same time.
const MAX_IN_FLIGHT: usize = 512;

/// How often the requests that are due are sent.
const TICK: Duration = Duration::from_millis(5);

/// A client gives up after this long, and counts an error.
const PATIENCE: Duration = Duration::from_secs(15);

/// Every so many-th request to `/search` is a POST.
const POST_EVERY: u64 = 4;

/// Where a request goes, by its number: most to the route that is toured first.
const PATHS: [Path; 6] = [Path::Search, Path::Search, Path::Search, Path::Search, Path::Better, Path::Worse];

/// Where requests go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    Search,
    Better,
    Worse,
}

impl Path {
    const fn of(number: u64) -> Self {
        PATHS[(number % PATHS.len() as u64) as usize]
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Search => "/search",
            Self::Better => "/better",
            Self::Worse => "/worse",
        }
    }

    /// The judge reads the question from a body.
    const fn is_posted(self, number: u64) -> bool {
        match self {
            Self::Search => number.is_multiple_of(POST_EVERY),
            Self::Better => true,
            Self::Worse => false,
        }
    }
}

/// What the users saw; shared by all of them.
#[derive(Debug)]
pub(super) struct Seen {
    answers: AtomicU64,
    errors: AtomicU64,
    left_out: AtomicU64,
    to_candidate: AtomicU64,
    to_control: AtomicU64,
    /// The arm of `/search` that each user was last assigned: 0 unknown, else one more than [`Arm::index`].
    assigned: Box<[AtomicU8]>,
    last_error: Mutex<Option<String>>,
}

/// [`Seen`] at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SeenTotals {
    /// Answers, good or bad, and failures to get one.
    pub(super) answers: u64,
    /// Answers that are not 2xx, and failures to get one.
    pub(super) errors: u64,
    /// Requests that were due and not sent, because too many were under way.
    pub(super) left_out: u64,
    /// Users by the arm of `/search` that they were last assigned; so are the moves.
    pub(super) users: [usize; 2],
    /// How often a user's assigned arm changed from control to candidate.
    pub(super) to_candidate: u64,
    /// How often a user's assigned arm changed from candidate to control.
    pub(super) to_control: u64,
    /// What the last error was.
    pub(super) last_error: Option<String>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            answers: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            to_candidate: AtomicU64::new(0),
            to_control: AtomicU64::new(0),
            assigned: std::iter::repeat_with(AtomicU8::default).take(USERS).collect(),
            last_error: Mutex::new(None),
        }
    }
}

impl Seen {
    /// What was seen so far.
    pub(super) fn totals(&self) -> SeenTotals {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let users = |arm: Arm| self.assigned.iter().filter(|cell| cell.load(Ordering::Relaxed) == code(arm)).count();
        SeenTotals {
            answers: count(&self.answers),
            errors: count(&self.errors),
            left_out: count(&self.left_out),
            users: Arm::ALL.map(users),
            to_candidate: count(&self.to_candidate),
            to_control: count(&self.to_control),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn record(&self, user: usize, path: Path, answer: Result<(StatusCode, Option<Arm>), String>) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        let error = match answer {
            Ok((status, assigned)) => {
                if let Some(arm) = assigned.filter(|_| path == Path::Search) {
                    self.assign(user, arm);
                }
                (!status.is_success()).then(|| format!("status {status}"))
            }
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            self.errors.fetch_add(1, Ordering::Relaxed);
            *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    }

    fn assign(&self, user: usize, arm: Arm) {
        let before = self.assigned[user].swap(code(arm), Ordering::Relaxed);
        if before == code(Arm::Control) && arm == Arm::Candidate {
            self.to_candidate.fetch_add(1, Ordering::Relaxed);
        }
        if before == code(Arm::Candidate) && arm == Arm::Control {
            self.to_control.fetch_add(1, Ordering::Relaxed);
        }
    }
}

const fn code(arm: Arm) -> u8 {
    1 + arm.index() as u8
}

/// The running traffic.
#[derive(Debug)]
pub(super) struct Traffic {
    seen: Arc<Seen>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Traffic {
    /// Sends `rate` requests a second to the gateway, until it is stopped.
    pub(super) fn start(gateway: SocketAddr, rate: u32, runtime: &Handle) -> Self {
        let seen = Arc::new(Seen::default());
        let (stop, stopped) = watch::channel(false);
        let task = runtime.spawn(send(gateway, rate, Arc::clone(&seen), stopped));
        Self { seen, stop, task }
    }

    /// What the users saw.
    pub(super) fn seen(&self) -> SeenTotals {
        self.seen.totals()
    }

    /// Sends no more, and waits for what is under way.
    pub(super) async fn stop(self) -> SeenTotals {
        self.stop.send_replace(true);
        // A panic of the sender is none of the users' errors; what they saw is counted all the same.
        let _panicked = self.task.await;
        self.seen.totals()
    }
}

type HttpClient = Client<HttpConnector, Full<Bytes>>;

async fn send(gateway: SocketAddr, rate: u32, seen: Arc<Seen>, mut stopped: watch::Receiver<bool>) {
    let client: HttpClient = Client::builder(TokioExecutor::new()).build_http();
    let places = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let began = clock::now();
    let mut sent = 0;
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            _ = ticks.tick() => {}
        }
        let elapsed = clock::now().saturating_duration_since(began);
        let due = (elapsed.as_secs_f64() * f64::from(rate)) as u64;
        while sent < due {
            sent += 1;
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                seen.left_out.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let (client, seen, number) = (client.clone(), Arc::clone(&seen), sent);
            tokio::spawn(async move {
                let user = fastrand::usize(..USERS);
                seen.record(user, Path::of(number), ask(&client, gateway, user, number).await);
                drop(place);
            });
        }
    }
    // All places back: nothing is under way. The semaphore is never closed.
    let _all = places.acquire_many(MAX_IN_FLIGHT as u32).await;
}

async fn ask(
    client: &HttpClient,
    gateway: SocketAddr,
    user: usize,
    number: u64,
) -> Result<(StatusCode, Option<Arm>), String> {
    let request = question(gateway, user, number).map_err(|error| error.to_string())?;
    let exchange = async {
        let response = client.request(request).await.map_err(|error| chain(&error))?;
        let (status, assigned) = (response.status(), assigned(response.headers()));
        response.into_body().collect().await.map_err(|error| chain(&error))?;
        Ok((status, assigned))
    };
    tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

fn question(gateway: SocketAddr, user: usize, number: u64) -> http::Result<Request<Full<Bytes>>> {
    let text = QUERIES[fastrand::usize(..QUERIES.len())];
    let path = Path::of(number);
    let url = format!("http://{gateway}{}", path.as_str());
    let mut request = if path.is_posted(number) {
        let body = serde_json::json!({ "query": text }).to_string();
        let request = Request::builder().method(Method::POST).uri(url);
        request.header(header::CONTENT_TYPE, "application/json").body(Full::from(body))?
    } else {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("q", text).finish();
        Request::builder().uri(format!("{url}?{query}")).body(Full::default())?
    };
    Person { index: user as u32 }.introduce(request.headers_mut());
    Ok(request)
}

/// The arm that a user was assigned, by what the gateway tells trusted peers: who served, and why. Where
/// health or a fallback gave the request to control, candidate was assigned.
fn assigned(headers: &HeaderMap) -> Option<Arm> {
    let word = |name: &str| headers.get(name)?.to_str().ok();
    let served = Arm::parse(word("x-pointsman-arm")?)?;
    let reason = word("x-pointsman-reason")?;
    let reason = Reason::ALL.into_iter().find(|known| known.as_str() == reason)?;
    match reason {
        Reason::BreakerOpen
        | Reason::RateLimited
        | Reason::Budget
        | Reason::QualityGate
        | Reason::Busy
        | Reason::BreakerProbe
        | Reason::QualityProbe
        | Reason::Fallback => Some(Arm::Candidate),
        Reason::Disabled
        | Reason::RolledBack
        | Reason::StateUnknown
        | Reason::NotStarted
        | Reason::Override
        | Reason::Forced
        | Reason::Target
        | Reason::Holdout
        | Reason::Excluded
        | Reason::Prerequisite
        | Reason::Condition
        | Reason::Pinned
        | Reason::Rule
        | Reason::NoKey
        | Reason::Rollout => Some(served),
        Reason::Undecided => None,
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_assigned_arm_is_not_always_the_one_that_served() {
        let rows = [
            ("control", "rollout", Some(Arm::Control)),
            ("candidate", "rollout", Some(Arm::Candidate)),
            ("control", "fallback", Some(Arm::Candidate)),
            ("control", "breaker_open", Some(Arm::Candidate)),
            ("control", "disabled", Some(Arm::Control)),
            ("control", "whim", None),
            ("nobody", "rollout", None),
        ];
        for (arm, reason, expected) in rows {
            let headers = HeaderMap::from_iter(
                [("x-pointsman-arm", arm), ("x-pointsman-reason", reason)]
                    .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value))),
            );
            assert_eq!(assigned(&headers), expected, "{arm} {reason}");
        }
    }

    #[test]
    fn moves_and_errors_are_counted() {
        let seen = Seen::default();
        for (user, arm) in [(0, Arm::Control), (1, Arm::Candidate), (0, Arm::Candidate), (0, Arm::Candidate)] {
            seen.record(user, Path::Search, Ok((StatusCode::OK, Some(arm))));
        }
        seen.record(0, Path::Better, Ok((StatusCode::OK, Some(Arm::Control))));
        seen.record(1, Path::Search, Ok((StatusCode::BAD_GATEWAY, Some(Arm::Control))));
        seen.record(2, Path::Worse, Err("connection closed".to_owned()));
        let totals = seen.totals();
        assert_eq!((totals.answers, totals.errors), (7, 2));
        assert_eq!((totals.to_candidate, totals.to_control), (1, 1));
        assert_eq!(totals.users, [1, 1]);
        assert_eq!(totals.last_error.as_deref(), Some("connection closed"));
    }
}
