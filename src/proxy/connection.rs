//! One HTTP/1.1 connection to an upstream, polled by the exchange that uses it.
//!
//! It has no task of its own: the exchange writes and reads on it, then the body of the answer does, and nobody
//! while it lies in the pool. A task is made only for what outlives the answer: the rest of an upload.
//!
//! Invariant: one request at a time. A connection is used again only if the request has left whole, the answer has
//! come whole, and nothing came behind it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{Method, StatusCode, response};
use http_body::Frame;
use hyper::ext::ReasonPhrase;
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinHandle;
use tokio::task::coop::unconstrained;

use super::outbox::{Message, Outbox, OutboxError};
use super::upload::SharedUpload;
use crate::config::model::Keepalive;
use crate::upstream;
use crate::upstream::http1::{self, Decoded, Decoder, MAX_HEAD_BYTES, Malformed};

/// How much is read at once, at most.
const READ_BYTES: usize = 64 * 1_024;

/// What was read is copied up to this size, so that a slow reader holds no more than it has to. Beyond, the buffer
/// itself is passed on.
const COPIED_BYTES: usize = 16 * 1_024;

/// How many informational answers may come before the answer.
const MAX_INFORMATIONAL: u8 = 16;

/// What one worker reads into: connections take turns, since reading never waits with it.
#[derive(Default)]
pub(crate) struct ReadBuffer(RefCell<BytesMut>);

impl ReadBuffer {
    /// Reads once.
    fn poll_read(&self, stream: &mut upstream::Connection, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut buffer = self.0.borrow_mut();
        buffer.clear();
        buffer.reserve(READ_BYTES);
        let read = ready!(pin!(stream.read_buf(&mut *buffer)).poll(cx))?;
        Poll::Ready(Ok(if read <= COPIED_BYTES {
            Bytes::copy_from_slice(&buffer[..read])
        } else {
            buffer.split().freeze()
        }))
    }
}

/// See the module.
pub(crate) struct Connection {
    wire: Rc<RefCell<Wire>>,
    /// Sends what is left of the request; it ends with the connection.
    pump: RefCell<Option<Pump>>,
    /// Whose it is; see [`upstream::Address::id`].
    pub(crate) address: u64,
    pub(crate) keepalive: Keepalive,
}

/// Why there is no head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadError {
    /// Nothing of the request was written.
    Unsent,
    /// The connection was closed without a word.
    Silent,
    /// It was closed in the middle of a head.
    Cut,
    /// What came is no answer.
    Malformed,
    /// The request's body failed.
    Body,
}

/// Why the body of an answer breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

impl Connection {
    /// HTTP/1.1 over this byte stream.
    pub(crate) fn over(
        stream: upstream::Connection,
        buffer: Rc<ReadBuffer>,
        address: u64,
        keepalive: Keepalive,
    ) -> Self {
        let wire = Wire {
            stream,
            buffer,
            sending: Outbox::default(),
            input: Bytes::new(),
            partial: BytesMut::new(),
            method: Method::GET,
            informational: 0,
            decoder: Decoder::over(),
            reusable: true,
            pumped: false,
            reader: None,
        };
        Self { wire: Rc::new(RefCell::new(wire)), pump: RefCell::default(), address, keepalive }
    }

    /// Begins a request. It leaves while the connection is polled.
    pub(crate) fn begin(&self, message: Message<'_>) {
        self.wire.borrow_mut().begin(message);
    }

    /// Sends, and waits for the head of the answer.
    pub(crate) fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Result<response::Parts, HeadError>> {
        self.wire.borrow_mut().poll_head(cx)
    }

    /// The next piece of the answer's body, or its trailers, while what is left of the request is sent.
    pub(crate) fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.wire.borrow_mut().poll_piece(cx)
    }

    /// Whether the body of the answer has come whole.
    pub(crate) fn is_answered(&self) -> bool {
        self.wire.borrow().decoder.is_over()
    }

    /// How many bytes of the answer's body are still to come, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        self.wire.borrow().decoder.left()
    }

    /// Whether it can take another request.
    pub(crate) fn is_ready(&self) -> bool {
        self.wire.borrow().is_ready()
    }

    /// Whether the request has left whole.
    pub(crate) fn has_sent(&self) -> bool {
        self.wire.borrow().sending.is_over()
    }

    /// Whether a resting connection can still be used: nothing may have come, not even its end.
    pub(crate) fn is_usable(&self) -> bool {
        let mut wire = self.wire.borrow_mut();
        wire.is_ready() && wire.stream.is_quiet()
    }

    /// As [`Self::is_usable`]; and who used it last is not woken by it any more, nor kept in memory.
    pub(crate) fn is_at_rest(&self) -> bool {
        let mut wire = self.wire.borrow_mut();
        let Wire { stream, buffer, .. } = &mut *wire;
        // Hundreds may be looked at in one turn, more than a task is given to read.
        let read = pin!(unconstrained(poll_fn(|cx| buffer.poll_read(stream, cx))));
        read.poll(&mut Context::from_waker(Waker::noop())).is_pending() && wire.is_ready()
    }

    /// From now on the request goes on by itself, until it has left or the connection is dropped. The answer is
    /// still to be polled.
    pub(crate) fn detach(&self) {
        self.wire.borrow_mut().pumped = true;
        *self.pump.borrow_mut() = Some(Pump::of(&self.wire));
    }

    /// After the answer is whole: lets what is left of the request go on, for as long as the client sends and the
    /// other side takes something within each `idle`.
    pub(crate) fn outlive_answer(self, upload: SharedUpload, idle: Duration) {
        let pump = self.pump.take().unwrap_or_else(|| Pump::of(&self.wire));
        tokio::task::spawn_local(pump.outlive(upload, idle));
    }

    /// The stream itself, with what was read ahead, for another protocol. `None` while a request is on its way.
    pub(crate) fn into_stream(self) -> Option<(upstream::Connection, Bytes)> {
        let wire = Rc::into_inner(self.wire)?.into_inner();
        wire.sending.is_over().then_some((wire.stream, wire.input))
    }
}

/// A task that sends what is left of a request. It ends when this is dropped.
struct Pump(JoinHandle<()>);

impl Pump {
    fn of(wire: &Rc<RefCell<Wire>>) -> Self {
        let wire = Rc::clone(wire);
        Self(tokio::task::spawn_local(poll_fn(move |cx| {
            let mut wire = wire.borrow_mut();
            let sent = ready!(wire.poll_send(cx));
            if sent == Err(OutboxError::Body)
                && let Some(reader) = wire.reader.take()
            {
                // The answer to half a request is not waited for.
                reader.wake();
            }
            Poll::Ready(())
        })))
    }

    async fn outlive(mut self, upload: SharedUpload, idle: Duration) {
        tokio::select! {
            // It has left, or never will: nobody takes the rest of the body.
            _ended = &mut self.0 => {}
            () = upload.outlive_answer(idle) => {
                let _late = tokio::time::timeout(idle, &mut self.0).await;
            }
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The connection itself.
struct Wire {
    stream: upstream::Connection,
    buffer: Rc<ReadBuffer>,
    sending: Outbox,
    /// Read, and not taken.
    input: Bytes,
    /// The beginning of a head.
    partial: BytesMut,
    method: Method,
    informational: u8,
    decoder: Decoder,
    /// Whether another request may follow, as far as the answer tells.
    reusable: bool,
    /// Whether the request has a task of its own.
    pumped: bool,
    /// Who waits for the answer while it has.
    reader: Option<Waker>,
}

impl Wire {
    fn begin(&mut self, message: Message<'_>) {
        self.method.clone_from(message.method);
        self.informational = 0;
        self.decoder = Decoder::over();
        self.reusable = false;
        self.sending.begin(message);
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), OutboxError>> {
        self.sending.poll_send(&mut self.stream, cx)
    }

    fn is_ready(&self) -> bool {
        self.reusable && self.decoder.is_over() && self.input.is_empty() && self.sending.is_over() && !self.pumped
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<response::Parts, HeadError>> {
        match self.poll_send(cx) {
            Poll::Ready(Err(OutboxError::Body)) => return Poll::Ready(Err(HeadError::Body)),
            // TLS may have sent a record before the one that failed.
            Poll::Ready(Err(OutboxError::Io)) if !self.sending.has_begun() => {
                let plain = matches!(self.stream, upstream::Connection::Plain(_));
                return Poll::Ready(Err(if plain { HeadError::Unsent } else { HeadError::Silent }));
            }
            // It may have answered before it took everything.
            Poll::Ready(Err(OutboxError::Io) | Ok(())) | Poll::Pending => {}
        }
        loop {
            if !self.input.is_empty()
                && let Some(head) = self.take_head().map_err(|Malformed| HeadError::Malformed)?
            {
                return Poll::Ready(Ok(head));
            }
            let read = ready!(self.buffer.poll_read(&mut self.stream, cx)).unwrap_or_default();
            if read.is_empty() {
                return Poll::Ready(Err(if self.partial.is_empty() { HeadError::Silent } else { HeadError::Cut }));
            }
            if self.partial.is_empty() {
                self.input = read;
                continue;
            }
            self.partial.extend_from_slice(&read);
            // Read anew for every byte of it, a long head would cost its square.
            if http1::ends_head(&self.partial, read.len()) || self.partial.len() > MAX_HEAD_BYTES {
                self.input = std::mem::take(&mut self.partial).freeze();
            }
        }
    }

    /// The head of the answer, if it has come whole. Informational ones before it are left out.
    fn take_head(&mut self) -> Result<Option<response::Parts>, Malformed> {
        while let Some((head, length)) = http1::parse_head(&self.input, &self.method)? {
            self.input.advance(length);
            if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(self.accept(head)));
            }
            self.informational += 1;
            if self.informational > MAX_INFORMATIONAL {
                return Err(Malformed);
            }
        }
        if self.input.len() > MAX_HEAD_BYTES {
            return Err(Malformed);
        }
        self.partial.extend_from_slice(&std::mem::take(&mut self.input));
        Ok(None)
    }

    fn accept(&mut self, head: http1::Head) -> response::Parts {
        self.decoder = head.body;
        self.reusable = head.keep_alive && head.status != StatusCode::SWITCHING_PROTOCOLS;
        let (mut parts, ()) = response::Response::new(()).into_parts();
        parts.status = head.status;
        parts.version = head.version;
        parts.headers = head.headers;
        if let Some(reason) = head.reason.and_then(|reason| ReasonPhrase::try_from(&reason[..]).ok()) {
            parts.extensions.insert(reason);
        }
        parts
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.pumped {
            self.reader = Some(cx.waker().clone());
            if self.sending.failure() == Some(OutboxError::Body) {
                return Poll::Ready(Some(Err(Broken)));
            }
        } else if !self.sending.is_over()
            && let Poll::Ready(Err(OutboxError::Body)) = self.poll_send(cx)
        {
            return Poll::Ready(Some(Err(Broken)));
        }
        loop {
            match self.decoder.decode(&mut self.input) {
                Ok(Decoded::Piece(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Ok(Decoded::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Decoded::End) => return Poll::Ready(None),
                Ok(Decoded::More) => {}
                Err(Malformed) => return Poll::Ready(Some(Err(Broken))),
            }
            match ready!(self.buffer.poll_read(&mut self.stream, cx)) {
                Ok(read) if !read.is_empty() => self.input = read,
                Ok(_) if self.decoder.close().is_ok() => return Poll::Ready(None),
                Ok(_) | Err(_) => return Poll::Ready(Some(Err(Broken))),
            }
        }
    }
}
