//! One resolved address of one endpoint, and connecting to it.
//!
//! It does not bound how long connecting takes and keeps no connection. Invariant: an `id` is given
//! out once in the life of the process, so that a pool keyed by it never mixes two addresses.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;

use super::connection::Connection;
use super::tls::Peer;
use crate::config::model::Endpoint;

/// Head start of the preferred address family (the "connection attempt delay" of RFC 8305, 5).
const FAMILY_HEAD_START: Duration = Duration::from_millis(250);

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// One resolved address of one endpoint.
pub struct Address {
    /// Unique in the process, and the same for as long as the address stays.
    pub id: u64,
    /// Where to connect.
    pub socket: SocketAddr,
    /// The URL it belongs to.
    pub endpoint: Arc<Endpoint>,
    /// The same endpoint in the other address family, if its name has both.
    alternate: Option<SocketAddr>,
    peer: Option<Peer>,
    healthy: AtomicBool,
    check_error: Mutex<Option<String>>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answered at the address, or refused.
    #[error("cannot connect: {0}")]
    Tcp(#[source] io::Error),
    /// Somebody answered, but is not whom we trust, or does not speak TLS.
    #[error("TLS handshake failed: {0}")]
    Tls(#[source] io::Error),
}

impl Address {
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        peer: Option<Peer>,
        socket: SocketAddr,
        alternate: Option<SocketAddr>,
    ) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            socket,
            endpoint,
            alternate,
            peer,
            healthy: AtomicBool::new(true),
            check_error: Mutex::default(),
        }
    }

    /// Opens a connection: TCP without Nagle's delay, and TLS where the endpoint is `https`.
    ///
    /// # Errors
    /// See [`ConnectError`]. It never gives up by itself on a silent peer: the caller bounds it.
    pub async fn connect(&self) -> Result<Connection, ConnectError> {
        let stream = self.dial().await.map_err(ConnectError::Tcp)?;
        stream.set_nodelay(true).map_err(ConnectError::Tcp)?;
        let Some(peer) = &self.peer else { return Ok(Connection::Plain(stream)) };
        let stream = peer.handshake(stream).await.map_err(ConnectError::Tls)?;
        Ok(Connection::Tls(Box::new(stream)))
    }

    /// Tries the preferred family, then the other beside it: `localhost` is often both, with a server
    /// on one of them only. The error told is the preferred family's where it was first to fail.
    async fn dial(&self) -> io::Result<TcpStream> {
        let mut preferred = pin!(TcpStream::connect(self.socket));
        let Some(alternate) = self.alternate else { return preferred.await };
        match tokio::time::timeout(FAMILY_HEAD_START, preferred.as_mut()).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => return TcpStream::connect(alternate).await.map_err(|_| error),
            Err(_head_start_over) => {}
        }
        let mut other = pin!(TcpStream::connect(alternate));
        tokio::select! {
            first = preferred.as_mut() => match first {
                Ok(stream) => Ok(stream),
                Err(error) => other.await.map_err(|_| error),
            },
            first = other.as_mut() => match first {
                Ok(stream) => Ok(stream),
                Err(_) => preferred.await,
            },
        }
    }

    /// Whether health checks find it well; true as long as there was none.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    pub(super) fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Relaxed);
    }

    /// What the last health check said, if it failed.
    pub(super) fn check_error(&self) -> Option<String> {
        self.check_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_check_error(&self, error: Option<String>) {
        *self.check_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    pub(super) fn is_at(&self, socket: SocketAddr, alternate: Option<SocketAddr>) -> bool {
        self.socket == socket && self.alternate == alternate
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("id", &self.id)
            .field("socket", &self.socket)
            .field("endpoint", &self.endpoint)
            .field("healthy", &self.is_healthy())
            .finish_non_exhaustive()
    }
}
