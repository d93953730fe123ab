//! One HTTP/1.1 connection to an upstream, polled by the exchange that uses it.
//!
//! hyper's connection is a future that somebody must poll. A task of its own would cost every request two
//! switches and two wake-ups each way, so the exchange polls it, then the body of the answer, and nobody
//! while it lies in the pool. A task is made only for what outlives the answer: an upload, a tunnel.
//!
//! Invariant: whatever happens on a connection while it is not polled reaches who uses it, and while
//! nobody does it is remembered until the connection is looked at.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;

use super::upload::UploadBody;
use crate::config::model::Keepalive;
use crate::upstream;

/// Idle keep-alive connections read at most this much ahead.
const UPSTREAM_BUFFER_BYTES: usize = 256 * 1024;

/// See the module.
pub(crate) struct Connection {
    sender: SendRequest<UploadBody>,
    /// Carries the bytes; `None` once the connection is closed, or has a task of its own.
    driver: Option<Driver>,
    relay: Arc<Relay>,
    /// What `driver` is polled with: the same for as long as the connection lasts.
    waker: Waker,
    /// Whether the last look may have brought more than was taken.
    ahead: bool,
    /// Whose it is; see [`upstream::Address::id`].
    pub(crate) address: u64,
    pub(crate) keepalive: Keepalive,
}

/// Boxed, since hyper does not name the future of a connection that can be upgraded.
type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>>>>;

/// What comes of a sending: the head of the answer, or an error that has the request if it was never written.
type Sent = Result<Response<Incoming>, TrySendError<Request<UploadBody>>>;

impl Connection {
    /// HTTP/1.1 over this byte stream.
    pub(crate) async fn over(stream: upstream::Connection, address: u64, keepalive: Keepalive) -> hyper::Result<Self> {
        let io = TokioIo::new(stream);
        let (sender, connection) = Builder::new().max_buf_size(UPSTREAM_BUFFER_BYTES).handshake(io).await?;
        let relay = Arc::new(Relay::default());
        let waker = Waker::from(Arc::clone(&relay));
        let driver: Driver = Box::pin(connection.with_upgrades());
        Ok(Self { sender, driver: Some(driver), relay, waker, ahead: false, address, keepalive })
    }

    /// Gives it a request. The future resolves only while the connection is polled.
    pub(crate) fn send(&mut self, request: Request<UploadBody>) -> impl Future<Output = Sent> + use<> {
        self.sender.try_send_request(request)
    }

    /// Lets the connection go on, then asks for what is to come of it; where the first piece of a body
    /// may have come together with the head, the other way round.
    ///
    /// Both wake each other through hyper's channels all the time. That must not wake the task, which is
    /// running; it is woken afterwards if there is nothing yet and something was left to do.
    pub(crate) fn poll_for<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut wanted: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.relay.set(State::Polled);
        let mut polled = Poll::Pending;
        if std::mem::take(&mut self.ahead) {
            polled = wanted(&mut Context::from_waker(&self.waker));
        }
        if polled.is_pending() {
            self.poll_driver();
            polled = wanted(&mut Context::from_waker(&self.waker));
            self.ahead = polled.is_ready();
        }
        if polled.is_pending() {
            self.relay.user.register(cx.waker());
        }
        if self.relay.swap(State::Awaited) == State::Stirred as u8 && polled.is_pending() {
            cx.waker().wake_by_ref();
        }
        polled
    }

    fn poll_driver(&mut self) {
        let Some(driver) = &mut self.driver else { return };
        if driver.as_mut().poll(&mut Context::from_waker(&self.waker)).is_ready() {
            // How a connection ends is known from the exchange on it.
            self.driver = None;
        }
    }

    /// Whether it can take another request.
    pub(crate) fn is_ready(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Nobody uses it any more: from now on it is not polled.
    pub(crate) fn rest(&mut self) {
        self.relay.set(State::Polled);
        self.ahead = false;
        // It may belong to a client that is gone, whose task's memory it would keep.
        drop(self.relay.user.take());
    }

    /// Whether a resting connection can still be used. Only one on which something has happened is looked at.
    pub(crate) fn is_usable(&mut self) -> bool {
        if self.relay.swap(State::Polled) == State::Stirred as u8 {
            self.poll_driver();
        }
        self.is_ready()
    }

    /// From now on it goes on by itself, until it ends.
    pub(crate) fn detach(&mut self) {
        if let Some(driver) = self.driver.take() {
            tokio::task::spawn_local(driver);
        }
    }

    /// Lets it go on by itself for at most this long: what was handed over may not have left yet.
    pub(crate) fn linger(mut self, bound: Duration) {
        if let Some(driver) = self.driver.take() {
            tokio::task::spawn_local(tokio::time::timeout(bound, driver));
        }
    }
}

/// Wakes the task that uses the connection, if one has to be woken.
#[derive(Default)]
struct Relay {
    user: AtomicWaker,
    /// A [`State`].
    state: AtomicU8,
}

/// Who has to hear of what happens on a connection.
#[derive(Clone, Copy, Default)]
enum State {
    /// The task that uses it.
    #[default]
    Awaited,
    /// Nobody: it is being polled, or rests.
    Polled,
    /// The same, and something has happened.
    Stirred,
}

impl Relay {
    fn set(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    fn swap(&self, state: State) -> u8 {
        self.state.swap(state as u8, Ordering::AcqRel)
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let (polled, stirred, awaited) = (State::Polled as u8, State::Stirred as u8, State::Awaited as u8);
        match self.state.compare_exchange(polled, stirred, Ordering::AcqRel, Ordering::Acquire) {
            Err(state) if state == awaited => self.user.wake(),
            Ok(_) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_is_woken() {
        let count = Arc::new(Count::default());
        let user = Waker::from(Arc::clone(&count));
        let woken = || count.0.load(Ordering::Relaxed);
        let relay = Arc::new(Relay::default());
        let waker = Waker::from(Arc::clone(&relay));
        relay.user.register(&user);
        relay.set(State::Polled);
        waker.wake_by_ref();
        waker.wake_by_ref();
        assert_eq!(woken(), 0, "who polls need not be woken");
        assert_eq!(relay.swap(State::Awaited), State::Stirred as u8);
        waker.wake_by_ref();
        assert_eq!(woken(), 1);
        relay.user.register(&user);
        relay.set(State::Polled);
        assert_eq!(relay.swap(State::Awaited), State::Polled as u8);
        waker.wake();
        assert_eq!(woken(), 2);
    }
}
