//! The client's socket, with a bound on how long it may refuse to take what we send.
//!
//! hyper polls a response body only while the socket takes bytes, so a reader that stops reading would
//! hold its request, and the backend behind it, for ever.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::timer::Timer;
use crate::clock;
use crate::upstream::poll_send;

/// How long a client may take nothing of what is sent to it.
const WRITE_STALL: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct ClientIo {
    socket: TcpStream,
    stall: Timer,
    stalled_since: Option<std::time::Instant>,
}

impl ClientIo {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self { socket, stall: Timer::default(), stalled_since: None }
    }

    fn bounded(&mut self, cx: &mut Context<'_>, written: Poll<Result<usize>>) -> Poll<Result<usize>> {
        if written.is_ready() {
            self.stalled_since = None;
            return written;
        }
        let since = *self.stalled_since.get_or_insert_with(clock::now);
        ready!(self.stall.poll_until(cx, since + WRITE_STALL));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the client takes nothing of what is sent to it")))
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.bounded(cx, written)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let written = poll_send(&mut this.socket, cx, pieces);
        this.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
