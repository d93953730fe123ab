//! The listeners of `[observe]` and `[admin]`, and the life of a connection.
//!
//! HTTP/1.1 only. It knows no pages. Invariant: at most [`MAX_CONNECTIONS`] are open, and none of them
//! can hold its place without sending a whole head in time.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections of one listener at the same time; what comes beyond is closed at once.
const MAX_CONNECTIONS: usize = 256;
/// For a whole request head, from the connection or the end of the last request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// For a client to take what was sent to it (RFC 5482); a stream that nobody reads does not keep its place.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request head.
const MAX_HEAD: usize = 16 * 1024;
/// After accepting failed, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An address that is taken, before anything is served on it.
#[derive(Debug)]
pub struct Bound {
    listener: StdListener,
    address: SocketAddr,
}

impl Bound {
    /// Takes an address.
    ///
    /// # Errors
    /// When it is taken already, or not one of this machine.
    pub fn to(address: SocketAddr) -> io::Result<Self> {
        let listener = StdListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The address; with the port that the system chose where 0 was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The address at which a client reached us, for the check of its `Host`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reached(pub(super) SocketAddr);

/// Serves until the task is dropped.
pub(super) async fn run(bound: Bound, router: Router) {
    let listener = match TcpListener::from_std(bound.listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, address = %bound.address, "a listener does not work"),
    };
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, address = %bound.address, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let router = router.clone();
        tokio::spawn(async move {
            connection(socket, router).await;
            drop(place);
        });
    }
}

async fn connection(socket: TcpStream, router: Router) {
    if let Err(error) = SockRef::from(&socket).set_tcp_user_timeout(Some(SEND_TIMEOUT)) {
        tracing::debug!(%error, "a client that takes nothing will be noticed late");
    }
    let Ok(reached) = socket.local_addr() else { return };
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Reached(reached));
        router.call(request)
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEAD);
    if let Err(error) = server.serve_connection(TokioIo::new(socket), service).await {
        tracing::trace!(%error, "an administrative connection ended early");
    }
}
