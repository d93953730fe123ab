//! The request body on its way to an upstream, and what is kept of it for a second try.
//!
//! Pieces go out as they come in, and those that may be needed again are kept beside (a piece is a
//! reference count, not a copy). When a try is given up, its body is revoked: the next try replays what
//! was kept and goes on reading where the first stopped. Only where the beginning of a body has to be
//! known before the first try is it gathered ([`SharedUpload::gather`]); it is then kept like any other
//! piece, and every try, the first among them, begins with what was kept. Nothing is ever lost or sent
//! out of order.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::timer::Timer;
use crate::clock;
use crate::sampling::capture::Capture;

/// Why the client's body ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UploadError {
    /// More than `limits.max_body`.
    #[error("the request body is larger than limits.max_body")]
    TooLarge,
    /// The client went away, or broke the framing.
    #[error("the client did not send its whole body")]
    Broken,
    /// Nothing more came in time while the body was gathered.
    #[error("the request body stopped coming")]
    Stalled,
    /// This try was given up; another one has the body now.
    #[error("the attempt was given up")]
    Revoked,
}

/// Bytes of request bodies kept for replay, in all requests together.
#[derive(Debug, Default)]
pub(crate) struct ReplayMemory(AtomicU64);

impl ReplayMemory {
    /// Counts what is to be kept; not if it is more than the limit. What is counted must be released.
    pub(crate) fn reserve(&self, bytes: u64, limit: u64) -> bool {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > limit {
            self.release(bytes);
            return false;
        }
        true
    }

    /// Counts what is kept whatever the limit.
    fn insist(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes back what was counted.
    pub(crate) fn release(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// How much of a body may come, and how much of it is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UploadLimits {
    /// `limits.max_body`.
    pub(crate) max_body: u64,
    /// What [`SharedUpload::keep_up_to`] allowed, 0 before.
    keep: u64,
    /// `limits.replay_memory`.
    pub(crate) keep_all: u64,
}

impl UploadLimits {
    /// `limits.max_body` and `limits.replay_memory`; nothing is kept for a second try so far.
    pub(crate) const fn new(max_body: u64, keep_all: u64) -> Self {
        Self { max_body, keep: 0, keep_all }
    }
}

/// The beginning of a body, or all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gathered {
    /// In one piece. Empty where the announced length alone was too large.
    pub(crate) bytes: Bytes,
    /// Whether that is all.
    pub(crate) extent: Extent,
}

/// How much of a body was gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    Whole,
    /// The body is larger than the limit; the rest streams on behind what was gathered.
    TooLarge,
    /// `limits.replay_memory` has no room for more; the rest streams on behind what was gathered.
    NoMemory,
}

/// How long gathering waits for the client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Between two pieces, and before the first.
    pub(crate) idle: Duration,
    /// When everything has to be over.
    pub(crate) deadline: Option<Instant>,
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
    /// Since when the next piece has to come from the client.
    waiting_since: Option<Instant>,
    /// How long that was before.
    client_time: Duration,
    progress_at: Instant,
    /// Sees each piece as it comes in, where the exchange is sampled.
    witness: Option<Box<Capture>>,
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
    /// For how long pieces had to be waited for.
    client_time: Duration,
    /// When the last piece moved.
    pub(crate) at: Instant,
}

impl Progress {
    /// Whether it is the client's fault that this deadline of the whole exchange passes: it still has to send, or it
    /// has taken half of the time. Else whoever sends slowly could have a backend's breaker opened.
    pub(crate) fn client_is_late(&self, arrived: Instant, deadline: Instant) -> bool {
        self.waiting_for_client || self.client_time >= deadline.saturating_duration_since(arrived) / 2
    }
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
            waiting_since: None,
            client_time: Duration::ZERO,
            progress_at: now,
            witness: None,
        })))
    }

    /// From now on a witness sees what comes in; it is shown what was gathered before.
    pub(crate) fn witness(&self, mut witness: Capture) {
        let mut upload = self.0.borrow_mut();
        witness.announce(upload.kept_bytes + upload.incoming.size_hint().lower());
        upload.kept.iter().for_each(|piece| witness.see(piece));
        upload.witness = Some(Box::new(witness));
    }

    /// Gives the witness back.
    pub(crate) fn take_witness(&self) -> Option<Capture> {
        self.0.borrow_mut().witness.take().map(|witness| *witness)
    }

    /// Reads the body before the first try, up to its end or to the first piece beyond `limit` bytes, and
    /// gives what came in one piece. Every try then begins with it. A body whose announced length is
    /// beyond the limit is not touched. Calling it again with a larger limit goes on where it stopped.
    ///
    /// What is gathered is kept up to the beginning of the answer and counts in `limits.replay_memory`:
    /// at most `limit` bytes and one piece of the connection's read buffer. Should the memory have no
    /// room, gathering ends with the piece that was too much.
    ///
    /// Dropping the future half-way spoils the body: drop the upload with it.
    ///
    /// # Errors
    /// `TooLarge` beyond `limits.max_body`, `Broken` for a client that went away or broke the framing,
    /// `Stalled` when `patience` ran out. No try may follow.
    pub(crate) async fn gather(
        &self,
        limit: u64,
        patience: Patience,
        timer: &mut Timer,
    ) -> Result<Gathered, UploadError> {
        let mut gathering = match self.0.borrow_mut().begin_gathering(limit) {
            Ok(gathering) => gathering,
            Err(gathered) => return Ok(gathered),
        };
        let extent = poll_fn(|cx| {
            let mut upload = self.0.borrow_mut();
            if let Poll::Ready(extent) = upload.poll_gather(cx, limit, &mut gathering) {
                return Poll::Ready(extent);
            }
            let idle = upload.progress_at + patience.idle;
            let until = patience.deadline.map_or(idle, |deadline| deadline.min(idle));
            timer.poll_until(cx, until).map(|()| Err(upload.fail(UploadError::Stalled)))
        })
        .await?;
        Ok(self.0.borrow_mut().end_gathering(gathering, extent))
    }

    /// From now on up to so many bytes are kept for a second try; none of a body that is announced to be
    /// larger, beside what was gathered.
    pub(crate) fn keep_up_to(&self, bytes: u64) {
        let mut upload = self.0.borrow_mut();
        let announced = upload.kept_bytes + upload.incoming.size_hint().lower();
        upload.limits.keep = if announced <= bytes { bytes } else { 0 };
    }

    /// The body for the next try; the body of the one before is revoked.
    pub(crate) fn next_body(&self, now: Instant) -> UploadBody {
        let mut upload = self.0.borrow_mut();
        upload.revoke();
        upload.caught_up = upload.kept.is_empty();
        upload.progress_at = now;
        let lost = !upload.whole;
        let reading = Reading { upload: self.clone(), turn: upload.turn, lost, replayed: 0, trailers_sent: false };
        UploadBody(Content::Client(reading))
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

    /// After the answer is whole: lets the body go on for as long as it moves, and gives it up once
    /// nothing came for `idle`, since nobody else waits for it any more.
    pub(crate) async fn outlive_answer(self, idle: Duration) {
        loop {
            let Progress { finished, at, .. } = self.progress();
            if finished || self.failure().is_some() {
                return;
            }
            if at + idle <= clock::now() {
                return self.0.borrow_mut().revoke();
            }
            tokio::time::sleep_until((at + idle).into()).await;
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        let upload = self.0.borrow();
        let finished = upload.finished && upload.caught_up;
        let (waiting_for_client, client_time) = (upload.waiting_since.is_some(), upload.client_time);
        Progress { finished, waiting_for_client, client_time, at: upload.progress_at }
    }
}

impl Upload {
    /// Takes the body away from the present try.
    fn revoke(&mut self) {
        self.turn += 1;
        if let Some(revoked) = self.waiting.take() {
            // It would never learn of it, and hold its connection for ever.
            revoked.wake();
        }
    }

    /// What was gathered before, or all there is to know already.
    fn begin_gathering(&mut self, limit: u64) -> Result<BytesMut, Gathered> {
        let so_far = std::mem::take(&mut self.kept);
        let mut gathering = BytesMut::new();
        so_far.iter().for_each(|piece| gathering.extend_from_slice(piece));
        if self.finished {
            return Err(self.end_gathering(gathering, Extent::Whole));
        }
        let announced = self.kept_bytes + self.incoming.size_hint().lower();
        if announced > limit { Err(self.end_gathering(gathering, Extent::TooLarge)) } else { Ok(gathering) }
    }

    /// Ready once the body has ended, or no more of it is to be gathered.
    fn poll_gather(
        &mut self,
        cx: &mut Context<'_>,
        limit: u64,
        gathering: &mut BytesMut,
    ) -> Poll<Result<Extent, UploadError>> {
        while !self.finished {
            let Some(frame) = ready!(self.poll_incoming(cx)) else { break };
            let frame = frame?;
            let Some(data) = frame.data_ref() else { continue };
            // Copied: a client could make each byte a piece, and a piece is larger than a byte.
            gathering.extend_from_slice(data);
            let length = data.len() as u64;
            self.kept_bytes += length;
            let fits = self.memory.reserve(length, self.limits.keep_all);
            if !fits {
                // It came, so it is held; that was the last.
                self.memory.insist(length);
            }
            if self.finished {
                break;
            }
            if self.kept_bytes > limit {
                return Poll::Ready(Ok(Extent::TooLarge));
            }
            if !fits {
                return Poll::Ready(Ok(Extent::NoMemory));
            }
        }
        Poll::Ready(Ok(if self.kept_bytes > limit { Extent::TooLarge } else { Extent::Whole }))
    }

    fn end_gathering(&mut self, gathering: BytesMut, extent: Extent) -> Gathered {
        let bytes = gathering.freeze();
        self.kept = if bytes.is_empty() { Vec::new() } else { vec![bytes.clone()] };
        Gathered { bytes, extent }
    }

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
        let Poll::Ready(polled) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            self.waiting_since.get_or_insert_with(clock::now);
            self.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let since = self.waiting_since.take();
        let frame = match polled {
            None => {
                self.finished = true;
                return Poll::Ready(None);
            }
            Some(Err(_)) => return Poll::Ready(Some(Err(self.fail(UploadError::Broken)))),
            Some(Ok(frame)) => frame,
        };
        self.progress_at = clock::now();
        self.client_time += since.map_or(Duration::ZERO, |since| self.progress_at.saturating_duration_since(since));
        if let Some(data) = frame.data_ref() {
            self.received += data.len() as u64;
            if let Some(witness) = &mut self.witness {
                witness.see(data);
            }
            if self.received > self.limits.max_body {
                return Poll::Ready(Some(Err(self.fail(UploadError::TooLarge))));
            }
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

/// The request body of one try.
pub(crate) struct UploadBody(Content);

/// Where a request body comes from.
enum Content {
    /// In one piece, until it is taken.
    Whole(Option<Bytes>),
    /// From the client.
    Client(Reading),
}

struct Reading {
    upload: SharedUpload,
    turn: u32,
    /// Whether something of the body is gone: what is left of it must never pass for the whole.
    lost: bool,
    replayed: usize,
    trailers_sent: bool,
}

impl UploadBody {
    /// A body of the gateway's own making.
    pub(crate) const fn whole(bytes: Bytes) -> Self {
        Self(Content::Whole(Some(bytes)))
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let reading = match &mut self.0 {
            Content::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Client(reading) => reading,
        };
        let mut upload = reading.upload.0.borrow_mut();
        if upload.turn != reading.turn || reading.lost {
            return Poll::Ready(Some(Err(UploadError::Revoked)));
        }
        // What an earlier turn, or gathering, has kept goes first.
        if let Some(piece) = upload.kept.get(reading.replayed).cloned() {
            reading.replayed += 1;
            upload.caught_up = reading.replayed == upload.kept.len();
            upload.progress_at = clock::now();
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        upload.caught_up = true;
        if upload.finished {
            let trailers = upload.trailers.clone().filter(|_| !reading.trailers_sent);
            reading.trailers_sent = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = ready!(upload.poll_incoming(cx));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref) {
            upload.keep(data);
        }
        // What was read in this turn was sent in this turn, whether or not it was kept.
        reading.replayed = upload.kept.len();
        reading.trailers_sent |= frame.as_ref().is_some_and(|frame| frame.as_ref().is_ok_and(Frame::is_trailers));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let reading = match &self.0 {
            Content::Whole(bytes) => return bytes.as_ref().is_none_or(Bytes::is_empty),
            Content::Client(reading) => reading,
        };
        let upload = reading.upload.0.borrow();
        let replayed = reading.replayed >= upload.kept.len();
        let trailers_due = !reading.trailers_sent && upload.trailers.is_some();
        upload.turn == reading.turn
            && !reading.lost
            && replayed
            && !trailers_due
            && (upload.finished || upload.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let reading = match &self.0 {
            Content::Whole(bytes) => return SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::Client(reading) => reading,
        };
        let upload = reading.upload.0.borrow();
        let replay: u64 = upload.kept.iter().skip(reading.replayed).map(|piece| piece.len() as u64).sum();
        match upload.incoming.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(rest + replay),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests;
