//! One copy of a request over one connection, and its answer read to the end and thrown away.
//!
//! Connections are its own: users' requests never wait for one that a copy has. Invariant: each step has a
//! deadline, and of an answer at most [`MAX_ANSWER`] bytes are read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::CopyRequest;
use super::capture::Capture;
use crate::clock;
use crate::config::model::Backend;
use crate::domain::attempt::Outcome;
use crate::domain::metric::Usage;
use crate::domain::reading::{Format, Reading};
use crate::live::shadows::Answered;

/// Bytes of an answer that are read.
const MAX_ANSWER: u64 = 64 << 20;
/// The longest that a copy takes where the route has no deadline.
const LONGEST: Duration = Duration::from_secs(600);

/// Connections that nobody uses, by address.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<HashMap<u64, Vec<Resting>>>);

#[derive(Debug)]
struct Resting {
    sender: SendRequest<Full<Bytes>>,
    expires: Instant,
}

impl Idle {
    fn take(&self, address: u64) -> Option<SendRequest<Full<Bytes>>> {
        let now = clock::now();
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let resting = idle.get_mut(&address)?;
        while let Some(Resting { sender, expires }) = resting.pop() {
            if expires > now && sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    fn put(&self, address: u64, sender: SendRequest<Full<Bytes>>, backend: &Backend) {
        let now = clock::now();
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, resting| {
            resting.retain(|resting| resting.expires > now && !resting.sender.is_closed());
            !resting.is_empty()
        });
        let resting = idle.entry(address).or_default();
        if resting.len() < backend.keepalive.max_idle {
            resting.push(Resting { sender, expires: now + backend.keepalive.idle });
        }
    }
}

/// What came of a copy.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) outcome: Outcome,
    pub(super) answered: Answered,
    /// Whether all of the answer was read.
    pub(super) whole: bool,
    pub(super) headers: HeaderMap,
    /// What was captured of the body.
    pub(super) body: Capture,
    /// What it cost, where the backend has prices.
    pub(super) cost: Option<f64>,
}

/// Sends a copy and reads its answer.
pub(super) async fn send(
    copy: &CopyRequest,
    body: &Bytes,
    backend: &Backend,
    deadline: Option<Duration>,
    idle: &Arc<Idle>,
    capture: Capture,
) -> Sent {
    let mut sent = Sent {
        outcome: Outcome::Timeout,
        answered: Answered { status: 0, duration: Duration::ZERO, bytes: 0 },
        whole: false,
        headers: HeaderMap::new(),
        body: capture,
        cost: None,
    };
    let mut began = clock::now();
    let exchanged =
        timeout(deadline.unwrap_or(LONGEST), exchange(copy, body, backend, idle, &mut sent, &mut began)).await;
    sent.outcome = exchanged.unwrap_or(Outcome::Timeout);
    sent.answered.duration = clock::now().saturating_duration_since(began);
    sent
}

async fn exchange(
    copy: &CopyRequest,
    body: &Bytes,
    backend: &Backend,
    idle: &Arc<Idle>,
    sent: &mut Sent,
    began: &mut Instant,
) -> Outcome {
    let answered = match idle.take(copy.address.id) {
        None => None,
        Some(mut sender) => {
            *began = clock::now();
            let answered = head(&mut sender, copy, body, backend).await;
            // One that rested may have been closed in the very moment in which it is used.
            let stale = answered.as_ref().is_err_and(|outcome| *outcome == Outcome::Reset);
            (!stale || !copy.method.is_idempotent()).then_some((sender, answered))
        }
    };
    let (sender, response) = match answered {
        Some(answered) => answered,
        None => {
            let mut sender = match connect(copy, backend).await {
                Ok(sender) => sender,
                Err(outcome) => return outcome,
            };
            // A user's request mostly finds a connection: opening one is not what is compared.
            *began = clock::now();
            let answered = head(&mut sender, copy, body, backend).await;
            (sender, answered)
        }
    };
    let response = match response {
        Ok(response) => response,
        Err(outcome) => return outcome,
    };
    let status = response.status();
    let outcome = read(response, backend, sent, *began).await;
    if sent.whole {
        idle.put(copy.address.id, sender, backend);
    }
    match outcome {
        Some(outcome) => outcome,
        None if status == StatusCode::TOO_MANY_REQUESTS => Outcome::TooMany,
        None if backend.failure_status.contains(&status) => Outcome::Status,
        None => Outcome::Success,
    }
}

async fn connect(copy: &CopyRequest, backend: &Backend) -> Result<SendRequest<Full<Bytes>>, Outcome> {
    let connected = async {
        let stream = copy.address.connect().await.map_err(|_| Outcome::Connect)?;
        http1::handshake(TokioIo::new(stream)).await.map_err(|_| Outcome::Connect)
    };
    let (sender, connection) = timeout(backend.timeouts.connect, connected).await.unwrap_or(Err(Outcome::Connect))?;
    // How it ends is told by what is sent over it.
    tokio::spawn(async { drop(connection.await) });
    Ok(sender)
}

async fn head(
    sender: &mut SendRequest<Full<Bytes>>,
    copy: &CopyRequest,
    body: &Bytes,
    backend: &Backend,
) -> Result<Response<Incoming>, Outcome> {
    let mut request = Request::new(Full::new(body.clone()));
    *request.method_mut() = copy.method.clone();
    *request.uri_mut() = copy.uri.clone();
    *request.headers_mut() = copy.headers.clone();
    match timeout(backend.timeouts.first_byte, sender.send_request(request)).await {
        Ok(answered) => answered.map_err(|_| Outcome::Reset),
        Err(_) => Err(Outcome::Timeout),
    }
}

/// Reads an answer; how that failed, if it did.
async fn read(response: Response<Incoming>, backend: &Backend, sent: &mut Sent, began: Instant) -> Option<Outcome> {
    let (head, mut body) = response.into_parts();
    sent.answered.status = head.status.as_u16();
    let content_type = head.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let format = content_type.and_then(Format::of).filter(|_| backend.pricing.is_some());
    let mut reading = format.map(Reading::new);
    sent.headers = head.headers;
    loop {
        let frame = match timeout(backend.timeouts.idle, body.frame()).await {
            Err(_) => return Some(Outcome::Timeout),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Some(Outcome::Truncated),
            Ok(Some(Ok(frame))) => frame,
        };
        let Some(piece) = frame.data_ref() else { continue };
        sent.answered.bytes += piece.len() as u64;
        if sent.answered.bytes > MAX_ANSWER {
            // That it is long is no fault of it; the rest is nobody's.
            return None;
        }
        sent.body.see(piece);
        if let Some(reading) = &mut reading {
            let at = clock::now().saturating_duration_since(began);
            reading.see(piece, u64::try_from(at.as_micros()).unwrap_or(u64::MAX), &[]);
        }
    }
    sent.whole = true;
    let prices = backend.pricing.as_ref().map(|pricing| pricing.prices);
    sent.cost = reading.and_then(|reading| reading.finish(&[]).usage(Usage::Cost, prices));
    None
}
