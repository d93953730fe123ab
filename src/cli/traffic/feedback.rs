//! What users do after an answer: some of them say how content they are, as events.
//!
//! Their satisfaction is made up, from 1 to 5: it rises with the score that the answer tells, falls with the
//! time it took, and is 1 where it failed. A task posts events in batches beside the queries; invariant: it
//! holds up none, what it cannot keep up with is left out and counted.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::args::{AskedArgs, EventArgs};
use super::connection::{Connection, broken};
use super::plan::tls;
use crate::clock;
use crate::upstream::Origin;

/// Events that wait to be posted.
const MAX_WAITING: usize = 10_000;
/// Events of one batch.
const BATCH: usize = 100;
/// How often a batch is sent before it is given up.
const TRIES: u32 = 5;
/// Longest wait for the answer to a batch.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest wait that the gateway may ask for.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are looked at.
const MAX_ANSWER: usize = 1 << 20;
/// What a score is worth where an answer tells none.
const USUAL_SCORE: f64 = 0.75;

/// Where events go, and which.
pub(super) struct Told {
    origin: Origin,
    target: PathAndQuery,
    token: Option<HeaderValue>,
    share: f64,
    name: String,
    route: Option<String>,
}

impl Told {
    /// From the arguments; `None` where no events are asked for.
    ///
    /// # Errors
    /// If the token or what to trust cannot be read.
    pub(super) fn new(args: &EventArgs, asked: &AskedArgs) -> anyhow::Result<Option<Self>> {
        let Some(address) = &args.events else { return Ok(None) };
        let token = args.token.read()?.map(|token| {
            let mut value =
                HeaderValue::try_from(format!("Bearer {token}")).context("the token cannot stand in a header")?;
            value.set_sensitive(true);
            anyhow::Ok(value)
        });
        Ok(Some(Self {
            origin: Origin::new(&address.endpoint, &tls(asked)?)?,
            target: address.target.clone(),
            token: token.transpose()?,
            share: args.event_share,
            name: args.event_name.clone(),
            route: args.event_route.clone(),
        }))
    }
}

/// What came of the events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct EventTotals {
    #[serde(skip)]
    made: u64,
    /// Acknowledged by the gateway.
    pub(super) stored: u64,
    /// Refused, or not answered to the end.
    pub(super) failed: u64,
    /// Not sent: too many waited, or the run ended before.
    pub(super) left_out: u64,
    /// Not made: the answer brought no exposure token, and nobody may name a user without a token.
    pub(super) unattributed: u64,
    /// The latest failure.
    pub(super) last_failure: Option<String>,
}

/// What users say, as they say it.
pub(super) struct Feedback {
    told: Rc<Told>,
    /// `None` once nobody says anything any more.
    waiting: RefCell<Option<mpsc::Sender<Value>>>,
    totals: Rc<RefCell<EventTotals>>,
}

/// An answer, as a user sees it.
pub(super) struct Experience<'a> {
    /// The key of the user.
    pub(super) user: &'a str,
    pub(super) is_success: bool,
    pub(super) latency: Duration,
    pub(super) score: Option<f64>,
    /// The exposure token that came with it.
    pub(super) exposure: Option<&'a str>,
}

impl Feedback {
    /// What users say, and what is to be posted.
    pub(super) fn new(told: Rc<Told>) -> (Self, Mail) {
        let (waiting, events) = mpsc::channel(MAX_WAITING);
        let totals = Rc::default();
        let mail = Mail { told: Rc::clone(&told), events, totals: Rc::clone(&totals) };
        (Self { told, waiting: RefCell::new(Some(waiting)), totals }, mail)
    }

    /// The user may say something.
    pub(super) fn consider(&self, experience: &Experience<'_>, rng: &mut fastrand::Rng) {
        if rng.f64() >= self.told.share {
            return;
        }
        let Some(event) = self.event(experience, rng) else {
            self.totals.borrow_mut().unattributed += 1;
            return;
        };
        let mut totals = self.totals.borrow_mut();
        match self.waiting.borrow().as_ref().map(|waiting| waiting.try_send(event)) {
            Some(Ok(())) => totals.made += 1,
            Some(Err(_)) | None => totals.left_out += 1,
        }
    }

    /// The event; `None` where it would belong to nobody.
    fn event(&self, experience: &Experience<'_>, rng: &mut fastrand::Rng) -> Option<Value> {
        let mut event = Map::new();
        event.insert("id".to_owned(), clock::new_uuid().to_string().into());
        event.insert("name".to_owned(), self.told.name.as_str().into());
        event.insert("value".to_owned(), satisfaction(experience, rng).into());
        // Who holds a token may say who the user is; a browser may not.
        if self.told.token.is_some() {
            event.insert("user".to_owned(), experience.user.into());
        }
        match (experience.exposure, &self.told.route) {
            (Some(exposure), _) => drop(event.insert("exposure".to_owned(), exposure.into())),
            (None, _) if self.told.token.is_none() => return None,
            (None, Some(route)) => drop(event.insert("route".to_owned(), route.as_str().into())),
            (None, None) => {}
        }
        Some(Value::Object(event))
    }

    /// Nobody says anything any more.
    pub(super) fn close(&self) {
        self.waiting.borrow_mut().take();
    }

    /// What came of it; what was not sent by now is left out.
    pub(super) fn totals(&self) -> EventTotals {
        let totals = self.totals.borrow().clone();
        let unsent = totals.made - totals.stored - totals.failed;
        EventTotals { left_out: totals.left_out + unsent, ..totals }
    }
}

fn satisfaction(experience: &Experience<'_>, rng: &mut fastrand::Rng) -> u8 {
    if !experience.is_success {
        return 1;
    }
    let score = experience.score.unwrap_or(USUAL_SCORE).clamp(0.0, 1.0);
    let impatience = experience.latency.as_secs_f64().min(2.0);
    (1.0 + 4.0 * score - impatience + rng.f64() - 0.5).round().clamp(1.0, 5.0) as u8
}

/// Posts what users say.
pub(super) struct Mail {
    told: Rc<Told>,
    events: mpsc::Receiver<Value>,
    totals: Rc<RefCell<EventTotals>>,
}

impl Mail {
    /// Posts until nobody says anything any more.
    pub(super) async fn post(mut self) {
        let address = self.told.origin.address().await.map(Rc::new);
        let mut connection = address.map(Connection::to).map_err(|error| error.to_string());
        let mut batch = Vec::with_capacity(BATCH);
        while self.events.recv_many(&mut batch, BATCH).await > 0 {
            let count = batch.len() as u64;
            let body = Bytes::from(Value::Array(std::mem::take(&mut batch)).to_string());
            let delivered = match &mut connection {
                Ok(connection) => self.deliver(connection, body).await,
                Err(why) => Err(why.clone()),
            };
            let mut totals = self.totals.borrow_mut();
            match delivered {
                Ok(()) => totals.stored += count,
                Err(why) => {
                    totals.failed += count;
                    totals.last_failure = Some(why);
                }
            }
        }
    }

    /// Sends a batch, again where the gateway says when; ids keep it from counting twice.
    async fn deliver(&self, connection: &mut Connection, body: Bytes) -> Result<(), String> {
        let mut tries = 1;
        loop {
            let wait = match tokio::time::timeout(PATIENCE, self.send(connection, body.clone())).await {
                Ok(Ok((status, _, _))) if status.is_success() => return Ok(()),
                Ok(Ok((status, wait, why))) => match wait {
                    Some(wait) if tries < TRIES => wait,
                    Some(_) | None => return Err(format!("{status}: {why}")),
                },
                Ok(Err(why)) if tries == TRIES => return Err(why),
                Err(_elapsed) if tries == TRIES => return Err("no answer in time".to_owned()),
                Ok(Err(_)) | Err(_) => Duration::from_secs(1),
            };
            connection.close();
            tries += 1;
            tokio::time::sleep(wait.min(MAX_WAIT)).await;
        }
    }

    /// The status, how long to wait where the gateway asks for it, and what it says.
    async fn send(
        &self,
        connection: &mut Connection,
        body: Bytes,
    ) -> Result<(StatusCode, Option<Duration>, String), String> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.told.target.clone().into();
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.told.origin.endpoint().authority.clone());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(token) = &self.told.token {
            headers.insert(header::AUTHORIZATION, token.clone());
        }
        let response = connection.send(request).await.map_err(|failure| failure.to_string())?;
        let (status, wait) = (response.status(), retry_after(response.headers()));
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| broken(&*error).to_string())?.to_bytes();
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        let why = problem.get("detail").and_then(Value::as_str).unwrap_or_default();
        Ok((status, wait, why.to_owned()))
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_like_what_is_good_and_fast() {
        let mean = |is_success, millis, score| {
            let mut rng = fastrand::Rng::with_seed(3);
            let latency = Duration::from_millis(millis);
            let experience = Experience { user: "u", is_success, latency, score, exposure: None };
            (0..1_000).map(|_| f64::from(satisfaction(&experience, &mut rng))).sum::<f64>() / 1_000.0
        };
        assert!((mean(false, 1, Some(1.0)) - 1.0).abs() < 1e-9);
        assert!(mean(true, 10, Some(0.9)) > mean(true, 10, Some(0.5)));
        assert!(mean(true, 10, Some(0.9)) > mean(true, 1_500, Some(0.9)));
        assert!((1.0..=5.0).contains(&mean(true, 100_000, Some(-7.0))));
    }
}
