//! Server-sent events that tell clients to evaluate again (OFREP ADR 8; WHATWG HTML, 9.2).
//!
//! An event says only that something may have changed: a reload, a gate, a breaker. It comes at most a few
//! times a second, since what runs is looked at so often and not pushed; that also shows what time alone
//! changes. Invariant: there are at most [`MAX_STREAMS`], each keeps one event at most, lives for at most
//! [`MAX_LIFE`], and ends when the process stops, so a client that reads slowly costs a place and no memory.
//! Who connects again, or missed anything, is told at once.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body::Frame;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::json;
use sha2::Sha256;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::failure::Failure;
use crate::admin::guard::Actor;
use crate::clock;
use crate::config::model::{Admin, Token};
use crate::live::Live;

/// Where it is.
pub(in crate::admin) const PATH: &str = "/ofrep/v1/stream";

/// Streams at the same time: half of what the listener takes, so that operators find room.
const MAX_STREAMS: usize = 128;
/// Between two looks at what runs.
const LOOK: Duration = Duration::from_millis(250);
/// Between two signs of life, which keep what is on the way from closing an idle connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// For a client to take what waits for it.
const SLOW: Duration = Duration::from_secs(30);
/// Then a client has to connect again, which browsers do by themselves.
const MAX_LIFE: Duration = Duration::from_secs(3_600);
/// After how long a page that is not looked at closes its stream, in seconds.
const INACTIVITY_SECONDS: u32 = 120;
/// What a ticket is a code of.
const TICKET: &[u8] = b"pointsman ofrep stream";

/// Where a client hears of changes.
#[derive(Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EventStream")]
pub(super) struct Offer {
    r#type: &'static str,
    endpoint: Endpoint,
    inactivity_delay_sec: u32,
}

#[derive(Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EventStreamEndpoint")]
struct Endpoint {
    request_uri: String,
}

impl Offer {
    /// For who asked with this token: a browser's `EventSource` cannot send one, so the address holds a ticket.
    pub(super) fn to(admin: &Admin, actor: Option<&Actor>) -> Self {
        let token = actor.and_then(|actor| admin.tokens.iter().find(|token| *token.name == *actor.0));
        let query = token.and_then(ticket).map_or_else(String::new, |ticket| format!("?ticket={ticket}"));
        let endpoint = Endpoint { request_uri: format!("{PATH}{query}") };
        Self { r#type: "sse", endpoint, inactivity_delay_sec: INACTIVITY_SECONDS }
    }
}

/// A ticket is made from its token, so every replica knows it and it ends with the token; it opens nothing but
/// this stream, and the token cannot be told from it.
pub(in crate::admin) fn ticket(token: &Token) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(token.token.expose_secret().as_bytes()).ok()?;
    mac.update(TICKET);
    Some(mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The streams.
pub(super) struct Streams {
    live: Arc<Live>,
    places: Arc<Semaphore>,
    /// What runs, as it was last looked at: all streams share the look.
    pulse: Arc<Mutex<Option<(Instant, u64)>>>,
}

impl Streams {
    pub(super) fn new(live: Arc<Live>) -> Self {
        Self { live, places: Arc::new(Semaphore::new(MAX_STREAMS)), pulse: Arc::default() }
    }

    /// Begins a stream.
    pub(super) fn open(&self, headers: &HeaderMap) -> Result<Response, Failure> {
        if !self.live.is_ready() {
            return Err(Failure::NoStream("the process is stopping"));
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| Failure::NoStream("as many streams as there may be are open"))?;
        let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(parse_id);
        let (sender, receiver) = mpsc::channel(1);
        let (live, pulse) = (Arc::clone(&self.live), Arc::clone(&self.pulse));
        tokio::spawn(feed(live, pulse, sender, seen, place));
        let mut response = Response::new(Body::new(Events(receiver)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // Proxies that collect answers would hold events back.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        Ok(response)
    }
}

async fn feed(
    live: Arc<Live>,
    shared: Arc<Mutex<Option<(Instant, u64)>>>,
    sender: mpsc::Sender<Bytes>,
    seen: Option<u64>,
    _place: OwnedSemaphorePermit,
) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let begin = clock::now();
    let (mut told, mut spoke_at) = (seen, None::<Instant>);
    loop {
        tokio::select! {
            () = sender.closed() => return,
            _ = looks.tick() => {}
        }
        let now = clock::now();
        if !live.is_ready() || now.saturating_duration_since(begin) > MAX_LIFE {
            return;
        }
        let pulse = look(&live, &shared, now);
        let quiet = spoke_at.is_none_or(|at| now.saturating_duration_since(at) >= KEEP_ALIVE);
        let text = match (told == Some(pulse), quiet) {
            (true, false) => continue,
            (true, true) => ":\n\n".to_owned(),
            (false, _) => event(pulse),
        };
        (told, spoke_at) = (Some(pulse), Some(now));
        let sent = tokio::time::timeout(SLOW, sender.send(Bytes::from(text))).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

/// The pulse, computed once for all streams that look at about the same time.
fn look(live: &Live, shared: &Mutex<Option<(Instant, u64)>>, now: Instant) -> u64 {
    let mut last = shared.lock().unwrap_or_else(PoisonError::into_inner);
    match *last {
        Some((at, pulse)) if now.saturating_duration_since(at) < LOOK / 2 => pulse,
        Some(_) | None => {
            let pulse = live.snapshot().pulse(clock::millis(now));
            *last = Some((now, pulse));
            pulse
        }
    }
}

fn event(pulse: u64) -> String {
    let id = format!("{pulse:016x}");
    let data = json!({
        "type": "refetchEvaluation",
        "etag": format!("\"{id}\""),
        "lastModified": clock::timestamp().as_second(),
    });
    format!("id: {id}\nevent: message\ndata: {data}\n\n")
}

fn parse_id(id: &str) -> Option<u64> {
    u64::from_str_radix(id, 16).ok()
}

/// What was written for a client and waits to be sent.
struct Events(mpsc::Receiver<Bytes>);

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
