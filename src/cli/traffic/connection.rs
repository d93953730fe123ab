//! One kept connection to a named address, and what can go wrong on it.
//!
//! It follows no redirect and knows of no proxy. Invariant: a request is sent a second time only where not
//! a byte of it was sent the first time, on a kept connection that had been closed meanwhile.

use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use crate::upstream;

/// Why a query was not answered to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection.
    Connect(String),
    /// No whole answer in time.
    Timeout,
    /// It broke off, or was no HTTP.
    Broken(String),
}

impl Failure {
    /// As they are told in the result.
    pub(super) const ALL: [&str; 3] = ["connect_failed", "timeout", "broken"];

    pub(super) const fn index(&self) -> usize {
        match self {
            Self::Connect(_) => 0,
            Self::Timeout => 1,
            Self::Broken(_) => 2,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(why) => f.write_str(why),
            Self::Timeout => f.write_str("no whole answer in time"),
            Self::Broken(why) => write!(f, "the answer broke off, or was no HTTP: {why}"),
        }
    }
}

/// See the module.
pub(super) struct Connection {
    address: Rc<upstream::Address>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// One that is not open yet.
    pub(super) const fn to(address: Rc<upstream::Address>) -> Self {
        Self { address, sender: None }
    }

    /// Opens it, unless it is open.
    pub(super) async fn open(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, Failure> {
        let sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => {
                let stream = self.address.connect().await.map_err(|error| Failure::Connect(error.to_string()))?;
                let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
                // How it ends is known from the exchange on it.
                tokio::task::spawn_local(async move { drop(driver.await) });
                sender
            }
        };
        Ok(self.sender.insert(sender))
    }

    /// Sends a request, and gives the head of its answer. The connection can be used again once the body has come.
    pub(super) async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        let mut is_kept = self.sender.is_some();
        loop {
            let sender = self.open().await?;
            // The answer before may have been taken to its end a moment ago.
            let sent = match sender.ready().await {
                Ok(()) => sender.try_send_request(request).await,
                Err(_closed) if is_kept => {
                    (self.sender, is_kept) = (None, false);
                    continue;
                }
                Err(error) => return Err(broken(error)),
            };
            let mut refused = match sent {
                Ok(response) => return Ok(response),
                Err(refused) => refused,
            };
            self.sender = None;
            match refused.take_message() {
                Some(unsent) if is_kept => (request, is_kept) = (unsent, false),
                Some(_) | None => return Err(broken(refused.into_error())),
            }
        }
    }

    /// Closes it: what is under way on it is of no use any more.
    pub(super) fn close(&mut self) {
        self.sender = None;
    }
}

/// An error with its causes.
pub(super) fn broken(error: impl std::error::Error) -> Failure {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    Failure::Broken(text)
}
