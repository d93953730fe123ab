//! The request body on its way to an upstream, and what is kept of it for a second try.
//!
//! Nothing is gathered first: pieces go out as they come in, and those that may be needed again are
//! kept beside (a piece is a reference count, not a copy). When a try is given up, its body is revoked:
//! the next try replays what was kept and goes on reading where the first stopped.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::clock;

/// Why the client's body ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UploadError {
    /// More than `limits.max_body`.
    #[error("the request body is larger than limits.max_body")]
    TooLarge,
    /// The client went away, or broke the framing.
    #[error("the client did not send its whole body")]
    Broken,
    /// This try was given up; another one has the body now.
    #[error("the attempt was given up")]
    Revoked,
}

/// Bytes of request bodies kept for replay, in all requests together.
#[derive(Debug, Default)]
pub(crate) struct ReplayMemory(AtomicU64);

impl ReplayMemory {
    fn reserve(&self, bytes: u64, limit: u64) -> bool {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > limit {
            self.release(bytes);
            return false;
        }
        true
    }

    fn release(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// How much of a body may come, and how much of it is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UploadLimits {
    /// `limits.max_body`.
    pub(crate) max_body: u64,
    /// `fallback.replay_body`, or 0 where a second try is out of the question.
    pub(crate) keep: u64,
    /// `limits.replay_memory`.
    pub(crate) keep_all: u64,
}

/// The state of a request body, shared by the exchange and the body of the present try.
pub(crate) struct Upload {
    incoming: Incoming,
    kept: Vec<Bytes>,
    kept_bytes: u64,
    trailers: Option<HeaderMap>,
    received: u64,
    limits: UploadLimits,
    memory: Arc<ReplayMemory>,
    /// Whether all that was received is kept.
    whole: bool,
    finished: bool,
    turn: u32,
    /// Whether the present try has sent all that was kept.
    caught_up: bool,
    /// Who waits for the client's next piece.
    waiting: Option<Waker>,
    failure: Option<UploadError>,
    waiting_for_client: bool,
    progress_at: Instant,
}

/// A shared [`Upload`].
#[derive(Clone)]
pub(crate) struct SharedUpload(Rc<RefCell<Upload>>);

/// What the exchange wants to know while it waits for an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// Whether the whole body was handed over.
    pub(crate) finished: bool,
    /// Whether the next piece has to come from the client.
    pub(crate) waiting_for_client: bool,
    /// When the last piece moved.
    pub(crate) at: Instant,
}

impl SharedUpload {
    pub(crate) fn new(incoming: Incoming, limits: UploadLimits, memory: Arc<ReplayMemory>, now: Instant) -> Self {
        Self(Rc::new(RefCell::new(Upload {
            incoming,
            kept: Vec::new(),
            kept_bytes: 0,
            trailers: None,
            received: 0,
            limits,
            memory,
            whole: true,
            finished: false,
            turn: 0,
            caught_up: true,
            waiting: None,
            failure: None,
            waiting_for_client: false,
            progress_at: now,
        })))
    }

    /// The body for the next try; the body of the one before is revoked.
    pub(crate) fn next_body(&self, now: Instant) -> UploadBody {
        let mut upload = self.0.borrow_mut();
        upload.turn += 1;
        upload.caught_up = upload.kept.is_empty();
        if let Some(revoked) = upload.waiting.take() {
            // It would never learn of it, and hold its connection for ever.
            revoked.wake();
        }
        upload.progress_at = now;
        UploadBody(Some(Reading { upload: self.clone(), turn: upload.turn, replayed: 0, trailers_sent: false }))
    }

    /// Whether a next try can send the whole body.
    pub(crate) fn can_replay(&self) -> bool {
        let upload = self.0.borrow();
        upload.whole && upload.failure.is_none()
    }

    /// The next try is the last: nothing more is kept. What was kept is for that try.
    pub(crate) fn keep_no_more(&self) {
        self.0.borrow_mut().limits.keep = 0;
    }

    /// An answer has begun, so no try will follow: what was kept and has been sent is freed.
    pub(crate) fn release(&self) {
        let mut upload = self.0.borrow_mut();
        upload.limits.keep = 0;
        if upload.caught_up {
            upload.forget();
        }
    }

    pub(crate) fn failure(&self) -> Option<UploadError> {
        self.0.borrow().failure
    }

    pub(crate) fn progress(&self) -> Progress {
        let upload = self.0.borrow();
        Progress { finished: upload.finished, waiting_for_client: upload.waiting_for_client, at: upload.progress_at }
    }
}

impl Upload {
    fn keep(&mut self, data: &Bytes) {
        if !self.whole {
            return;
        }
        let length = data.len() as u64;
        let fits = self.kept_bytes + length <= self.limits.keep;
        if fits && self.memory.reserve(length, self.limits.keep_all) {
            self.kept.push(data.clone());
            self.kept_bytes += length;
        } else {
            self.whole = false;
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.memory.release(self.kept_bytes);
        self.kept_bytes = 0;
        self.kept = Vec::new();
        if self.received > 0 {
            self.whole = false;
        }
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        self.waiting_for_client = polled.is_pending();
        if polled.is_pending() {
            self.waiting = Some(cx.waker().clone());
        }
        let frame = match ready!(polled) {
            None => {
                self.finished = true;
                return Poll::Ready(None);
            }
            Some(Err(_)) => return Poll::Ready(Some(Err(self.fail(UploadError::Broken)))),
            Some(Ok(frame)) => frame,
        };
        self.progress_at = clock::now();
        if let Some(data) = frame.data_ref() {
            self.received += data.len() as u64;
            if self.received > self.limits.max_body {
                return Poll::Ready(Some(Err(self.fail(UploadError::TooLarge))));
            }
            let data = data.clone();
            self.keep(&data);
        } else if let Some(trailers) = frame.trailers_ref() {
            self.trailers = self.whole.then(|| trailers.clone());
        }
        // Nothing comes after trailers, and nobody asks for more.
        self.finished = frame.is_trailers() || self.incoming.is_end_stream();
        Poll::Ready(Some(Ok(frame)))
    }

    fn fail(&mut self, error: UploadError) -> UploadError {
        self.failure = Some(error);
        error
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.memory.release(self.kept_bytes);
    }
}

/// The request body of one try; `None` for a request without one.
pub(crate) struct UploadBody(Option<Reading>);

struct Reading {
    upload: SharedUpload,
    turn: u32,
    replayed: usize,
    trailers_sent: bool,
}

impl UploadBody {
    /// The body of a request that has none.
    pub(crate) const EMPTY: Self = Self(None);
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let Some(reading) = &mut self.0 else { return Poll::Ready(None) };
        let mut upload = reading.upload.0.borrow_mut();
        if upload.turn != reading.turn {
            return Poll::Ready(Some(Err(UploadError::Revoked)));
        }
        // In the first turn what is kept has just been sent; from the second on it is replayed first.
        if reading.turn > 1
            && let Some(piece) = upload.kept.get(reading.replayed).cloned()
        {
            reading.replayed += 1;
            upload.progress_at = clock::now();
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        upload.caught_up = true;
        if upload.finished {
            let trailers = upload.trailers.clone().filter(|_| reading.turn > 1 && !reading.trailers_sent);
            reading.trailers_sent = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = ready!(upload.poll_incoming(cx));
        // What was read in this turn was sent in this turn, whether or not it was kept.
        reading.replayed = upload.kept.len();
        reading.trailers_sent |= frame.as_ref().is_some_and(|frame| frame.as_ref().is_ok_and(Frame::is_trailers));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let Some(reading) = &self.0 else { return true };
        let upload = reading.upload.0.borrow();
        let replayed = reading.turn <= 1 || reading.replayed >= upload.kept.len();
        let trailers_due = reading.turn > 1 && !reading.trailers_sent && upload.trailers.is_some();
        upload.turn == reading.turn && replayed && !trailers_due && (upload.finished || upload.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let Some(reading) = &self.0 else { return SizeHint::with_exact(0) };
        let upload = reading.upload.0.borrow();
        let replay: u64 = match reading.turn {
            0 | 1 => 0,
            _ => upload.kept.iter().skip(reading.replayed).map(|piece| piece.len() as u64).sum(),
        };
        match upload.incoming.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(rest + replay),
            None => SizeHint::default(),
        }
    }
}
