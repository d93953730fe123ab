//! One HTTP/1.1 connection to an upstream, polled by the exchange that uses it.
//!
//! It has no task of its own: the exchange writes and reads on it, then the body of the answer does, and nobody
//! while it lies in the pool. A task is made only for what outlives the answer: the rest of an upload.
//!
//! Invariant: one request at a time. A connection is used again only if the request has left whole, the answer has
//! come whole, and nothing came behind it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, response};
use http_body::{Body as _, Frame};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};

use super::upload::UploadBody;
use crate::config::model::Keepalive;
use crate::upstream;
use crate::upstream::http1::{self, Decoded, Decoder, Framing, MAX_HEAD_BYTES, Malformed};

/// How much is read at once, at most.
const READ_BYTES: usize = 64 * 1_024;

/// What was read is copied up to this size, so that a slow reader holds no more than it has to. Beyond, the buffer
/// itself is passed on.
const COPIED_BYTES: usize = 16 * 1_024;

/// How much of an upload waits for the socket before more is asked for.
const MAX_QUEUED_BYTES: usize = 64 * 1_024;

/// How many pieces are written at once, at most.
const MAX_SLICES: usize = 16;

/// A head that was longer than this leaves no buffer behind.
const KEPT_HEAD_BYTES: usize = 4 * 1_024;

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
    /// Whose it is; see [`upstream::Address::id`].
    pub(crate) address: u64,
    pub(crate) keepalive: Keepalive,
}

/// What is to be sent.
pub(crate) struct Message<'a> {
    pub(crate) method: &'a Method,
    /// As it stands on the wire.
    pub(crate) target: &'a str,
    pub(crate) fields: &'a HeaderMap,
    /// `None` for a request without a body.
    pub(crate) body: Option<UploadBody>,
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
            head: BytesMut::new(),
            pieces: VecDeque::new(),
            queued: 0,
            upload: None,
            unflushed: false,
            wrote: false,
            cannot_send: None,
            input: Bytes::new(),
            partial: BytesMut::new(),
            method: Method::GET,
            informational: 0,
            decoder: Decoder::over(),
            reusable: true,
            pumped: false,
            reader: None,
        };
        Self { wire: Rc::new(RefCell::new(wire)), address, keepalive }
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

    /// Whether a resting connection can still be used: nothing may have come, not even its end.
    pub(crate) fn is_usable(&self) -> bool {
        let mut wire = self.wire.borrow_mut();
        wire.is_ready() && wire.stream.is_quiet()
    }

    /// As [`Self::is_usable`]; and who used it last is not woken by it any more, nor kept in memory.
    pub(crate) fn is_at_rest(&self) -> bool {
        let mut wire = self.wire.borrow_mut();
        let Wire { stream, buffer, .. } = &mut *wire;
        buffer.poll_read(stream, &mut Context::from_waker(Waker::noop())).is_pending() && wire.is_ready()
    }

    /// From now on the request goes on by itself, until it has left. The answer is still to be polled.
    pub(crate) fn detach(&self) {
        self.wire.borrow_mut().pumped = true;
        tokio::task::spawn_local(pump(Rc::clone(&self.wire)));
    }

    /// Lets what was handed over leave, for at most this long, unless it goes on by itself already.
    pub(crate) fn linger(self, bound: Duration) {
        if self.wire.borrow().pumped {
            return;
        }
        tokio::task::spawn_local(tokio::time::timeout(bound, pump(self.wire)));
    }

    /// The stream itself, with what was read ahead, for another protocol. `None` while a request is on its way.
    pub(crate) fn into_stream(self) -> Option<(upstream::Connection, Bytes)> {
        let wire = Rc::into_inner(self.wire)?.into_inner();
        wire.has_sent().then_some((wire.stream, wire.input))
    }
}

/// Sends what is left of a request.
async fn pump(wire: Rc<RefCell<Wire>>) {
    std::future::poll_fn(|cx| {
        let mut wire = wire.borrow_mut();
        let sent = ready!(wire.poll_send(cx));
        if sent == Err(SendError::Body)
            && let Some(reader) = wire.reader.take()
        {
            // The answer to half a request is not waited for.
            reader.wake();
        }
        Poll::Ready(())
    })
    .await;
}

/// Why the request did not leave whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SendError {
    /// The other side takes nothing more. It may have answered.
    Io,
    /// The body failed, and the request with it.
    Body,
}

/// What is still to come of a request's body.
struct Upload {
    body: Pin<Box<UploadBody>>,
    /// How many bytes; `None` in chunks.
    left: Option<u64>,
}

/// The connection itself.
struct Wire {
    stream: upstream::Connection,
    buffer: Rc<ReadBuffer>,
    /// The head of the present request, and framing, as far as it has not left.
    head: BytesMut,
    /// Pieces of its body that have not left.
    pieces: VecDeque<Bytes>,
    /// Bytes of its body that have been queued since nothing waited.
    queued: usize,
    upload: Option<Upload>,
    unflushed: bool,
    /// Whether anything of the present request has left.
    wrote: bool,
    /// Why the request will never leave whole.
    cannot_send: Option<SendError>,
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
    fn begin(&mut self, Message { method, target, fields, body }: Message<'_>) {
        let framing = match &body {
            None => Framing::None,
            Some(body) if body.is_end_stream() => Framing::Length(0),
            Some(body) => body.size_hint().exact().map_or(Framing::Chunked, Framing::Length),
        };
        http1::encode_head(&mut self.head, method, target, fields, framing);
        let left = match framing {
            Framing::None | Framing::Length(0) => None,
            Framing::Length(left) => Some(Some(left)),
            Framing::Chunked => Some(None),
        };
        self.upload = body.zip(left).map(|(body, left)| Upload { body: Box::pin(body), left });
        self.method.clone_from(method);
        self.wrote = false;
        self.informational = 0;
        self.decoder = Decoder::over();
        self.reusable = false;
    }

    fn has_sent(&self) -> bool {
        self.head.is_empty()
            && self.pieces.is_empty()
            && self.upload.is_none()
            && !self.unflushed
            && self.cannot_send.is_none()
    }

    fn is_ready(&self) -> bool {
        self.reusable && self.decoder.is_over() && self.input.is_empty() && self.has_sent() && !self.pumped
    }

    /// Ready once the request has left.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if let Some(error) = self.cannot_send {
            return Poll::Ready(Err(error));
        }
        let sent = ready!(self.poll_send_all(cx));
        if let Err(error) = sent {
            self.cannot_send = Some(error);
            self.upload = None;
            self.pieces.clear();
            self.head.clear();
        }
        Poll::Ready(sent)
    }

    fn poll_send_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        loop {
            self.take_pieces(cx)?;
            if self.head.is_empty() && self.pieces.is_empty() {
                if self.unflushed {
                    ready!(Pin::new(&mut self.stream).poll_flush(cx)).map_err(|_| SendError::Io)?;
                    self.unflushed = false;
                }
                if self.head.capacity() > KEPT_HEAD_BYTES {
                    self.head = BytesMut::new();
                }
                return if self.upload.is_some() { Poll::Pending } else { Poll::Ready(Ok(())) };
            }
            let written = ready!(self.poll_write(cx)).map_err(|_| SendError::Io)?;
            if written == 0 {
                return Poll::Ready(Err(SendError::Io));
            }
            self.wrote = true;
            self.unflushed = true;
            self.advance(written);
        }
    }

    /// Asks the body for more, while there is room for it.
    fn take_pieces(&mut self, cx: &mut Context<'_>) -> Result<(), SendError> {
        while let Some(upload) = self.upload.as_mut().filter(|_| self.queued < MAX_QUEUED_BYTES) {
            let Poll::Ready(frame) = upload.body.as_mut().poll_frame(cx) else { return Ok(()) };
            let ended = match frame.transpose().map_err(|_| SendError::Body)?.map(Frame::into_data) {
                None => Some(None),
                Some(Err(frame)) => Some(frame.into_trailers().ok()),
                Some(Ok(piece)) => {
                    let is_last = upload.body.is_end_stream();
                    self.queue(piece)?;
                    is_last.then_some(None)
                }
            };
            if let Some(trailers) = ended {
                self.end_upload(trailers)?;
            }
        }
        Ok(())
    }

    fn queue(&mut self, piece: Bytes) -> Result<(), SendError> {
        // An empty chunk would be the last.
        let Some(upload) = self.upload.as_mut().filter(|_| !piece.is_empty()) else { return Ok(()) };
        self.queued += piece.len();
        if let Some(left) = &mut upload.left {
            *left = left.checked_sub(piece.len() as u64).ok_or(SendError::Body)?;
            self.pieces.push_back(piece);
        } else {
            let mut line = BytesMut::new();
            http1::encode_chunk_size(&mut line, piece.len());
            self.pieces.extend([line.freeze(), piece, Bytes::from_static(b"\r\n")]);
        }
        Ok(())
    }

    fn end_upload(&mut self, trailers: Option<HeaderMap>) -> Result<(), SendError> {
        match (self.upload.take().map(|upload| upload.left), trailers) {
            (Some(Some(left)), _) if left > 0 => return Err(SendError::Body),
            (Some(None), Some(trailers)) => {
                let mut end = BytesMut::new();
                http1::encode_trailers(&mut end, &trailers);
                self.pieces.push_back(end.freeze());
            }
            (Some(None), None) => self.pieces.push_back(Bytes::from_static(http1::LAST_CHUNK)),
            (Some(Some(_)) | None, _) => {}
        }
        Ok(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { stream, head, pieces, .. } = self;
        if pieces.is_empty() {
            return Pin::new(stream).poll_write(cx, head);
        }
        let all = std::iter::once(&head[..]).chain(pieces.iter().map(|piece| &piece[..]));
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(all.filter(|piece| !piece.is_empty())) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        Pin::new(stream).poll_write_vectored(cx, &slices[..count])
    }

    /// Forgets what has left.
    fn advance(&mut self, mut written: usize) {
        let of_head = written.min(self.head.len());
        if of_head == self.head.len() {
            // Keeps its room for the next one.
            self.head.clear();
        } else {
            self.head.advance(of_head);
        }
        written -= of_head;
        while let Some(first) = self.pieces.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.pieces.pop_front();
        }
        self.queued = 0;
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<response::Parts, HeadError>> {
        match self.poll_send(cx) {
            Poll::Ready(Err(SendError::Body)) => return Poll::Ready(Err(HeadError::Body)),
            Poll::Ready(Err(SendError::Io)) if !self.wrote => return Poll::Ready(Err(HeadError::Unsent)),
            // It may have answered before it took everything.
            Poll::Ready(Err(SendError::Io) | Ok(())) | Poll::Pending => {}
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
            self.input = if self.partial.is_empty() {
                read
            } else {
                self.partial.extend_from_slice(&read);
                self.partial.split().freeze()
            };
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
        parts
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.pumped {
            self.reader = Some(cx.waker().clone());
            if self.cannot_send == Some(SendError::Body) {
                return Poll::Ready(Some(Err(Broken)));
            }
        } else if !self.has_sent()
            && let Poll::Ready(Err(SendError::Body)) = self.poll_send(cx)
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
