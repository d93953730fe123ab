//! The response body on its way to the client.
//!
//! Pieces leave as they come; nothing is gathered. An upstream that breaks off is passed on as a
//! broken answer, never as a whole one. The ledger rides along, so that a request is settled when its
//! last byte has gone, or when the client has.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::connection::Connection;
use super::ledger::Ledger;
use super::tap::Tap;
use super::timer::Timer;
use super::upload::SharedUpload;
use crate::clock;
use crate::domain::attempt::Outcome;

/// Why an answer broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReplyError {
    /// The upstream broke off.
    #[error("the backend broke off its answer")]
    Truncated,
    /// A deadline passed.
    #[error("the backend's answer stalled")]
    Timeout,
}

/// The body of a response: of our own, or an upstream's as it comes in.
pub(crate) enum Reply {
    /// Ours, in one piece.
    Full(Option<Bytes>),
    /// Ours, with a ledger that settles when it is dropped.
    Settling(Option<Bytes>, #[expect(dead_code, reason = "kept for its drop")] Box<Ledger>),
    /// An upstream's.
    Stream(Box<Stream>),
}

impl Reply {
    pub(crate) const fn full(bytes: Bytes) -> Self {
        Self::Full(Some(bytes))
    }
}

/// An upstream's answer under way.
pub(crate) struct Stream {
    pub(crate) ledger: Box<Ledger>,
    /// Goes back to the pool when the answer has ended.
    pub(crate) connection: Option<Connection>,
    /// The request's body, which may still be on its way.
    pub(crate) upload: Option<SharedUpload>,
    pub(crate) timer: Timer,
    pub(crate) idle: Duration,
    pub(crate) deadline: Option<Instant>,
    /// When the head of the answer had come.
    pub(crate) began: Instant,
    /// Since when the next piece has to come from the backend.
    pub(crate) waiting_since: Option<Instant>,
    /// For how long pieces had to be waited for, where there is a deadline.
    pub(crate) waited: Duration,
    /// How the attempt ends when the answer is whole.
    pub(crate) outcome: Outcome,
    /// Reads what passes, where metrics or costs come from it.
    pub(crate) tap: Option<Box<Tap>>,
    /// How the answer broke off, while what came before has not left.
    pub(crate) broken: Option<Outcome>,
}

impl Stream {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        if let Some(outcome) = self.broken {
            return Poll::Ready(Some(Err(self.break_off(outcome))));
        }
        // It is given away once the answer is whole.
        let Some(connection) = &self.connection else { return Poll::Ready(None) };
        match connection.poll_piece(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let since = self.waiting_since.take();
                if let (Some(since), Some(_)) = (since, self.deadline) {
                    self.waited += clock::now().saturating_duration_since(since);
                }
                if let Some(data) = frame.data_ref() {
                    self.ledger.add_bytes(data.len() as u64);
                    self.ledger.show(data);
                    if let Some(tap) = &mut self.tap {
                        tap.see(data, &self.ledger);
                    }
                }
                if connection.is_answered() {
                    self.complete(clock::now());
                } else if let Some(deadline) = self.deadline
                    && self.timer.poll_until(cx, deadline).is_ready()
                {
                    // Where there is always another piece, it is the pieces that have to be asked.
                    return Poll::Ready(Some(Err(self.give_up(deadline))));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => {
                // hyper drops what it has not sent when a body fails, and sends it when a body has to be waited for.
                self.broken = Some(self.to_blame());
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(None) => {
                self.complete(clock::now());
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_deadline(cx),
        }
    }

    /// While nothing comes: has the gap between two pieces, or the whole exchange, grown too long?
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        let since = *self.waiting_since.get_or_insert_with(clock::now);
        let idle = since + self.idle;
        let until = self.deadline.map_or(idle, |deadline| deadline.min(idle));
        self.timer.poll_until(cx, until).map(|()| Some(Err(self.give_up(until))))
    }

    /// The gap has grown too long, or the whole exchange: whose fault is it?
    fn give_up(&mut self, until: Instant) -> ReplyError {
        let outcome = if self.client_is_late(until) { Outcome::ClientGone } else { Outcome::Timeout };
        self.break_off(outcome);
        ReplyError::Timeout
    }

    /// Whether a client that sends or reads slowly is to blame: else it could have a backend's breaker opened.
    fn client_is_late(&self, until: Instant) -> bool {
        let progress = self.upload.as_ref().map(SharedUpload::progress);
        if progress.is_some_and(|progress| progress.client_is_late(self.ledger.arrived(), until)) {
            return true;
        }
        let now = clock::now();
        let waited =
            self.waited + self.waiting_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        // A gap as long as `idle` is the backend's alone.
        self.deadline == Some(until) && waited < now.saturating_duration_since(self.began) / 2
    }

    /// Whether all of the body was handed on.
    fn is_over(&self) -> bool {
        self.connection.as_ref().is_none_or(Connection::is_answered)
    }

    /// How many bytes are still to come, where that is known.
    fn left(&self) -> Option<u64> {
        self.connection.as_ref().map_or(Some(0), Connection::left)
    }

    /// The answer is whole: the connection can serve again, and the attempt has ended well.
    pub(crate) fn complete(&mut self, now: Instant) {
        match self.connection.take() {
            Some(connection) if connection.is_ready() => self.ledger.worker().pool().put(connection, now),
            // The answer came before the last of the upload had left.
            Some(connection) => {
                if let Some(upload) = self.upload.take() {
                    connection.outlive_answer(upload, self.idle);
                }
            }
            None => {}
        }
        self.ledger.request().peer.keep_timer(std::mem::take(&mut self.timer));
        if let Some(tap) = self.tap.take() {
            tap.finish(&mut self.ledger);
        }
        self.ledger.finish(self.outcome, now);
    }

    /// A body that the client broke off, or made too large, takes the upstream connection with it.
    fn to_blame(&self) -> Outcome {
        match self.upload.as_ref().and_then(SharedUpload::failure) {
            Some(_) => Outcome::ClientGone,
            None => Outcome::Truncated,
        }
    }

    fn break_off(&mut self, outcome: Outcome) -> ReplyError {
        self.connection = None;
        self.ledger.end(outcome, clock::now());
        if outcome == Outcome::Timeout { ReplyError::Timeout } else { ReplyError::Truncated }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        match self.get_mut() {
            Self::Full(bytes) | Self::Settling(bytes, _) => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Stream(stream) => stream.poll_piece(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) | Self::Settling(bytes, _) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Stream(stream) => stream.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) | Self::Settling(bytes, _) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Stream(stream) => stream.left().map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
