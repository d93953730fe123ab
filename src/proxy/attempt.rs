//! One try at one backend: an address, a connection, the request, the head of the answer.
//!
//! A connection from the pool may have been closed by the other side in the very moment we use it.
//! Then the request is sent once more on a fresh one: here if it was never written, by the exchange if
//! it may be repeated, by its method or by the word of the route. That is still the same attempt.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, response};

use super::connection::{Connection, HeadError};
use super::outbox::Message;
use super::problem::Problem;
use super::timer::Timer;
use super::upload::{SharedUpload, UploadBody, UploadError};
use super::worker::Worker;
use crate::clock;
use crate::config::model::{Backend, Timeouts};
use crate::domain::fallback::Cause;
use crate::upstream::{Address, ConnectError};

/// How a try failed before the head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The backend's fault.
    Backend(Cause, Problem),
    /// The client's body was too large, stopped, or broke.
    Client(ClientFault),
}

/// The connection broke before an answer.
pub(crate) const RESET: Failure = Failure::Backend(Cause::Reset, Problem::Reset);

/// The backend did not answer in time.
const LATE: Failure = Failure::Backend(Cause::Timeout, Problem::Timeout);

/// Why a sending gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendError {
    /// It failed.
    Failed(Failure),
    /// A pooled connection broke without a word, as it does when the other side closes it in the very
    /// moment it is used. Whether the request was read is not known.
    Stale,
}

impl From<Failure> for SendError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What the client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientFault {
    /// The body is larger than allowed.
    TooLarge,
    /// The body stopped coming for longer than `idle`.
    Stalled,
    /// The client went away.
    Gone,
}

/// What is to be sent, perhaps twice.
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) target: PathAndQuery,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Sending,
}

/// The body of what is to be sent.
pub(crate) enum Sending {
    /// The client's own, as it comes, if there is one.
    Original(Option<SharedUpload>),
    /// One that was made of it.
    Rewritten(Bytes),
}

impl Sending {
    fn next_body(&self, now: Instant) -> Option<UploadBody> {
        match self {
            Self::Original(upload) => upload.as_ref().map(|upload| upload.next_body(now)),
            Self::Rewritten(bytes) => Some(UploadBody::whole(bytes.clone())),
        }
    }

    /// The client's body, whose pieces move while the request is sent.
    const fn upload(&self) -> Option<&SharedUpload> {
        match self {
            Self::Original(upload) => upload.as_ref(),
            Self::Rewritten(_) => None,
        }
    }
}

/// The head of an answer, with the connection that its body comes on.
pub(crate) struct Answer {
    pub(crate) head: response::Parts,
    pub(crate) connection: Connection,
}

/// How long an exchange may take, and on whom it has to wait.
#[derive(Clone, Copy)]
pub(crate) struct TimeLimit<'a> {
    pub(crate) arrived: Instant,
    /// The route's, for both tries together.
    pub(crate) deadline: Option<Instant>,
    /// The body that the client sends, in whatever form it goes on.
    pub(crate) client: Option<&'a SharedUpload>,
}

impl TimeLimit<'_> {
    /// This bound and what passing it means, unless the whole exchange has to be over before.
    fn bound(&self, until: Instant, failure: Failure) -> (Instant, Failure) {
        match self.deadline {
            Some(deadline) if deadline < until => {
                let client_is_late = |client: &SharedUpload| client.progress().client_is_late(self.arrived, deadline);
                let client_is_late = self.client.is_some_and(client_is_late);
                (deadline, if client_is_late { Failure::Client(ClientFault::Stalled) } else { LATE })
            }
            Some(_) | None => (until, failure),
        }
    }
}

/// Where and how long one try may go.
pub(crate) struct Try<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) backend: &'a Backend,
    pub(crate) address: &'a Address,
    pub(crate) limit: TimeLimit<'a>,
    /// Whether no other backend is asked after this one.
    pub(crate) last: bool,
}

impl Try<'_> {
    /// Sends the request `now`, on a pooled connection if there is one, and waits for the head of the
    /// answer. One that was never written goes out again on a fresh connection.
    pub(crate) async fn send(&self, outgoing: &Outgoing, now: Instant, timer: &mut Timer) -> Result<Answer, SendError> {
        let Some(connection) = self.worker.pool().take(self.address.id, now) else {
            return Ok(Box::pin(self.send_fresh(outgoing, timer)).await?);
        };
        match self.exchange(connection, outgoing, now, timer).await {
            Ok(answer) => Ok(answer),
            // Of the body something may have been taken over, though it never left.
            Err(Broken::Unsent) if outgoing.body.upload().is_none_or(SharedUpload::can_replay) => {
                Ok(Box::pin(self.send_fresh(outgoing, timer)).await?)
            }
            Err(Broken::Unsent) => Err(SendError::Failed(RESET)),
            Err(Broken::Silent) => Err(SendError::Stale),
            Err(Broken::Failed(failure)) => Err(SendError::Failed(failure)),
        }
    }

    /// Sends the request on a fresh connection and waits for the head of the answer.
    pub(crate) async fn send_fresh(&self, outgoing: &Outgoing, timer: &mut Timer) -> Result<Answer, Failure> {
        if let Some(upload) = outgoing.body.upload().filter(|_| self.last) {
            // On a fresh connection nothing is sent again.
            upload.keep_no_more();
        }
        let connection = self.connect(timer).await?;
        self.exchange(connection, outgoing, clock::now(), timer).await.map_err(|broken| match broken {
            Broken::Failed(failure) => failure,
            Broken::Unsent | Broken::Silent => RESET,
        })
    }

    async fn connect(&self, timer: &mut Timer) -> Result<Connection, Failure> {
        let late = Failure::Backend(Cause::Connect, Problem::ConnectTimeout);
        let (until, failure) = self.limit.bound(clock::now() + self.backend.timeouts.connect, late);
        let connected = with_deadline(timer, until, self.address.connect()).await;
        let stream = match connected {
            None if matches!(failure, Failure::Client(_)) => return Err(failure),
            None => return Err(late),
            Some(Err(ConnectError::Tcp(_))) => return Err(Failure::Backend(Cause::Connect, Problem::Connect)),
            Some(Err(ConnectError::Tls(_))) => return Err(Failure::Backend(Cause::Connect, Problem::Tls)),
            Some(Ok(stream)) => stream,
        };
        let buffer = Rc::clone(self.worker.read_buffer());
        Ok(Connection::over(stream, buffer, self.address.id, self.backend.keepalive))
    }

    async fn exchange(
        &self,
        connection: Connection,
        outgoing: &Outgoing,
        sent_at: Instant,
        timer: &mut Timer,
    ) -> Result<Answer, Broken> {
        let Outgoing { method, target, fields, body } = outgoing;
        let upload = body.upload();
        connection.begin(Message { method, target: target.as_str(), fields, body: body.next_body(sent_at) });
        let wait = Wait { timeouts: self.backend.timeouts, sent_at, limit: self.limit };
        let answered = poll_fn(|cx| {
            if let Poll::Ready(answered) = connection.poll_head(cx) {
                return Poll::Ready(Ok(answered));
            }
            loop {
                let (until, expired) = wait.until(upload);
                if timer.poll_until(cx, until).is_pending() {
                    return Poll::Pending;
                }
                // A piece may have moved since the deadline was computed.
                if wait.until(upload).0 <= until {
                    return Poll::Ready(Err(expired));
                }
            }
        })
        .await
        .map_err(Broken::Failed)?;
        match answered {
            Ok(head) => Ok(Answer { head, connection }),
            Err(error) => Err(match (upload.and_then(SharedUpload::failure), error) {
                (Some(fault), _) => Broken::Failed(Failure::Client(fault.into())),
                (None, HeadError::Unsent) => Broken::Unsent,
                (None, HeadError::Silent) => Broken::Silent,
                (None, HeadError::Malformed) => Broken::Failed(Failure::Backend(Cause::Reset, Problem::BadAnswer)),
                (None, HeadError::Cut | HeadError::Body) => Broken::Failed(RESET),
            }),
        }
    }
}

/// Why a sending on one connection gave no answer.
enum Broken {
    /// The connection was closed before anything was written.
    Unsent,
    /// It was closed without a word.
    Silent,
    /// It failed.
    Failed(Failure),
}

impl From<UploadError> for ClientFault {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::TooLarge => Self::TooLarge,
            UploadError::Stalled => Self::Stalled,
            UploadError::Broken | UploadError::Revoked => Self::Gone,
        }
    }
}

/// The deadlines while a request is out and its answer has not begun.
struct Wait<'a> {
    timeouts: Timeouts,
    sent_at: Instant,
    limit: TimeLimit<'a>,
}

impl Wait<'_> {
    /// The next deadline, and what it means when it passes.
    fn until(&self, upload: Option<&SharedUpload>) -> (Instant, Failure) {
        let (until, failure) = match upload.map(SharedUpload::progress) {
            None => (self.sent_at + self.timeouts.first_byte, LATE),
            Some(progress) if progress.finished => (progress.at + self.timeouts.first_byte, LATE),
            Some(progress) if progress.waiting_for_client => {
                (progress.at + self.timeouts.idle, Failure::Client(ClientFault::Stalled))
            }
            Some(progress) => (progress.at + self.timeouts.idle, LATE),
        };
        self.limit.bound(until, failure)
    }
}

/// Runs a future until a deadline; `None` when it passed.
async fn with_deadline<T>(timer: &mut Timer, until: Instant, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        timer.poll_until(cx, until).map(|()| None)
    })
    .await
}
