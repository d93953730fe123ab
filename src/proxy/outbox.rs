//! A request on its way out: its head, then its body as it comes.
//!
//! It owns no connection; whoever does polls it with the stream. Invariant: what leaves is one request, whole and in
//! order, or it fails and says so; at most so much of a body is taken over as the stream is soon to take.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderName, Method, header};
use http_body::{Body as _, Frame};
use tokio::io::AsyncWrite;

use super::upload::UploadBody;
use crate::upstream::http1::{self, Framing};

/// How much of an upload waits for the socket before more is asked for.
const MAX_QUEUED_BYTES: usize = 64 * 1_024;

/// How many pieces wait for it; a client may make each byte a piece.
const MAX_QUEUED_PIECES: usize = 48;

/// How many pieces are written at once, at most.
const MAX_SLICES: usize = 16;

/// A head that was longer than this leaves no buffer behind.
const KEPT_HEAD_BYTES: usize = 4 * 1_024;

/// What is to be sent.
pub(crate) struct Message<'a> {
    pub(crate) method: &'a Method,
    /// As it stands on the wire.
    pub(crate) target: &'a str,
    pub(crate) fields: &'a HeaderMap,
    /// `None` for a request without a body.
    pub(crate) body: Option<UploadBody>,
}

/// Why the request did not leave whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutboxError {
    /// The other side takes nothing more. It may have answered.
    Io,
    /// The body failed, and the request with it.
    Body,
}

/// What is still to come of a request's body.
struct Upload {
    body: UploadBody,
    /// How many bytes; `None` in chunks.
    left: Option<u64>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Outbox {
    /// The head, which keeps its room for the next one.
    head: Vec<u8>,
    /// How much of the head has left.
    head_sent: usize,
    /// Pieces of the body that have not left.
    pieces: VecDeque<Bytes>,
    /// Bytes of the body that have been queued since nothing waited.
    queued: usize,
    upload: Option<Upload>,
    /// The trailers that were announced.
    trailers: Vec<HeaderName>,
    unflushed: bool,
    /// Whether anything has left.
    begun: bool,
    /// Why it will never leave whole.
    failed: Option<OutboxError>,
}

impl Outbox {
    /// The next request; the one before has left.
    pub(super) fn begin(&mut self, Message { method, target, fields, body }: Message<'_>) {
        let framing = match &body {
            // Said by the client, and perhaps asked for by the backend.
            None if fields.contains_key(header::CONTENT_LENGTH) => Framing::Length(0),
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
        self.upload = body.zip(left).map(|(body, left)| Upload { body, left });
        self.trailers = if framing == Framing::Chunked { http1::announced_trailers(fields) } else { Vec::new() };
        self.begun = false;
    }

    /// Whether it has left whole.
    pub(super) fn is_over(&self) -> bool {
        self.head.is_empty()
            && self.pieces.is_empty()
            && self.upload.is_none()
            && !self.unflushed
            && self.failed.is_none()
    }

    /// Whether anything has left.
    pub(super) const fn has_begun(&self) -> bool {
        self.begun
    }

    /// Why it will never leave whole.
    pub(super) const fn failure(&self) -> Option<OutboxError> {
        self.failed
    }

    /// Ready once the request has left.
    pub(super) fn poll_send(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), OutboxError>> {
        if let Some(error) = self.failed {
            return Poll::Ready(Err(error));
        }
        let sent = ready!(self.poll_all(stream, cx));
        if let Err(error) = sent {
            self.failed = Some(error);
            self.upload = None;
            self.pieces.clear();
            self.forget_head();
        }
        Poll::Ready(sent)
    }

    fn poll_all(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), OutboxError>> {
        loop {
            self.take_pieces(cx)?;
            if self.head.is_empty() && self.pieces.is_empty() {
                if self.unflushed {
                    ready!(Pin::new(&mut *stream).poll_flush(cx)).map_err(|_| OutboxError::Io)?;
                    self.unflushed = false;
                }
                return if self.upload.is_some() { Poll::Pending } else { Poll::Ready(Ok(())) };
            }
            let written = ready!(self.poll_write(stream, cx)).map_err(|_| OutboxError::Io)?;
            if written == 0 {
                return Poll::Ready(Err(OutboxError::Io));
            }
            self.begun = true;
            self.unflushed = true;
            self.advance(written);
        }
    }

    /// Asks the body for more, while there is room for it.
    fn take_pieces(&mut self, cx: &mut Context<'_>) -> Result<(), OutboxError> {
        while let Some(upload) = self.upload.as_mut() {
            if self.queued >= MAX_QUEUED_BYTES || self.pieces.len() >= MAX_QUEUED_PIECES {
                return Ok(());
            }
            let Poll::Ready(frame) = Pin::new(&mut upload.body).poll_frame(cx) else { return Ok(()) };
            let ended = match frame.transpose().map_err(|_| OutboxError::Body)?.map(Frame::into_data) {
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

    fn queue(&mut self, piece: Bytes) -> Result<(), OutboxError> {
        // An empty chunk would be the last.
        let Some(upload) = self.upload.as_mut().filter(|_| !piece.is_empty()) else { return Ok(()) };
        self.queued += piece.len();
        if let Some(left) = &mut upload.left {
            *left = left.checked_sub(piece.len() as u64).ok_or(OutboxError::Body)?;
            self.pieces.push_back(piece);
        } else {
            let mut line = Vec::new();
            http1::encode_chunk_size(&mut line, piece.len());
            self.pieces.extend([line.into(), piece, Bytes::from_static(b"\r\n")]);
        }
        Ok(())
    }

    fn end_upload(&mut self, trailers: Option<HeaderMap>) -> Result<(), OutboxError> {
        match (self.upload.take().map(|upload| upload.left), trailers) {
            (Some(Some(left)), _) if left > 0 => return Err(OutboxError::Body),
            (Some(None), Some(trailers)) => {
                let mut end = Vec::new();
                http1::encode_trailers(&mut end, &trailers, &self.trailers);
                self.pieces.push_back(end.into());
            }
            (Some(None), None) => self.pieces.push_back(Bytes::from_static(http1::LAST_CHUNK)),
            (Some(Some(_)) | None, _) => {}
        }
        Ok(())
    }

    fn poll_write(&self, stream: &mut (impl AsyncWrite + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (head, pieces) = (&self.head[self.head_sent..], &self.pieces);
        if pieces.is_empty() {
            return Pin::new(stream).poll_write(cx, head);
        }
        let all = std::iter::once(head).chain(pieces.iter().map(|piece| &piece[..]));
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(all.filter(|piece| !piece.is_empty())) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        Pin::new(stream).poll_write_vectored(cx, &slices[..count])
    }

    /// Makes room for the next head, unless this one was unusually long.
    fn forget_head(&mut self) {
        self.head_sent = 0;
        self.head.clear();
        if self.head.capacity() > KEPT_HEAD_BYTES {
            self.head = Vec::new();
        }
    }

    /// Forgets what has left.
    fn advance(&mut self, mut written: usize) {
        let of_head = written.min(self.head.len() - self.head_sent);
        self.head_sent += of_head;
        if self.head_sent == self.head.len() {
            self.forget_head();
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
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes so many bytes at a time, in one piece or several, and has to be asked again after each.
    struct Trickle {
        step: usize,
        taken: Vec<u8>,
        rests: bool,
    }

    impl AsyncWrite for Trickle {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            pieces: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.rests = !self.rests;
            if self.rests {
                return Poll::Pending;
            }
            let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
            let taken = all.len().min(self.step);
            self.taken.extend_from_slice(&all[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn however_little_is_taken_at_once_two_requests_leave_in_order() {
        let expected =
            "PUT /a HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\na b c d eGET /b HTTP/1.1\r\nhost: h\r\n\r\n";
        let fields = HeaderMap::from_iter([(http::header::HOST, http::HeaderValue::from_static("h"))]);
        for step in [1, 2, 7, 64, 1_000] {
            let mut stream = Trickle { step, taken: Vec::new(), rests: false };
            let mut outbox = Outbox::default();
            let body = UploadBody::whole(Bytes::from_static(b"a b c d e"));
            for (method, target, body) in [(Method::PUT, "/a", Some(body)), (Method::GET, "/b", None)] {
                outbox.begin(Message { method: &method, target, fields: &fields, body });
                assert!(!outbox.is_over() && !outbox.has_begun());
                let mut polls = 0;
                let cx = &mut Context::from_waker(Waker::noop());
                while outbox.poll_send(&mut stream, cx).is_pending() {
                    polls += 1;
                    assert!(polls < 1_000, "it does not end");
                }
                assert!(outbox.is_over() && outbox.has_begun() && outbox.failure().is_none());
            }
            assert_eq!(String::from_utf8_lossy(&stream.taken), expected, "{step} bytes at a time");
        }
    }

    #[test]
    fn a_stream_that_takes_nothing_more_is_told_of_and_forgotten() {
        let mut outbox = Outbox::default();
        outbox.begin(Message { method: &Method::GET, target: "/", fields: &HeaderMap::new(), body: None });
        let mut stream = Trickle { step: 0, taken: Vec::new(), rests: true };
        let cx = &mut Context::from_waker(Waker::noop());
        assert_eq!(outbox.poll_send(&mut stream, cx), Poll::Ready(Err(OutboxError::Io)));
        assert!(!outbox.is_over() && !outbox.has_begun());
        assert_eq!(outbox.poll_send(&mut stream, cx), Poll::Ready(Err(OutboxError::Io)), "and remembered");
    }
}
