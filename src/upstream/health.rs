//! Active health checks: a GET, or a connect alone, to every address of one backend.
//!
//! Pingora counts successes and failures in a row and says when health changes; what a check is, and
//! that it goes over the same TCP, TLS and `Host` as traffic, is decided here. It judges nothing by
//! traffic: that is the breaker. Invariant: no check outlives its timeout, and a change is published
//! as soon as it is known, not at the end of a round.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::future;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pingora_core::{Error, ErrorType};
use pingora_load_balancing::discovery::ServiceDiscovery;
use pingora_load_balancing::health_check::HealthCheck as PingoraCheck;
use pingora_load_balancing::{Backend as Node, Backends};
use tracing::{info, warn};

use super::address::{Address, ConnectError};
use super::connection::Connection;
use super::directory::Directory;
use super::selection::{attached, check_node};
use crate::config::model::{HealthCheck, HostHeader};

const CHECK_USER_AGENT: HeaderValue = HeaderValue::from_static("pointsman-health-check");

/// Checks every address at once, then every interval and whenever addresses came or went, for as long
/// as it is polled.
pub(super) async fn keep_checked(directory: Arc<Directory>, settings: HealthCheck, host: HostHeader) {
    let interval = settings.interval;
    let mut backends = Backends::new(Box::new(Addresses(Arc::clone(&directory))));
    backends.set_health_check(Box::new(Check { directory: Arc::clone(&directory), settings, host }));
    loop {
        if let Err(error) = backends.update(|_| {}).await {
            warn!(backend = %directory.backend(), %error, "addresses to check cannot be listed");
        }
        backends.run_health_check(true).await;
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = directory.changed() => {}
        }
    }
}

/// The directory, as pingora asks for it.
struct Addresses(Arc<Directory>);

#[async_trait]
impl ServiceDiscovery for Addresses {
    async fn discover(&self) -> pingora_core::Result<(BTreeSet<Node>, HashMap<u64, bool>)> {
        Ok((self.0.addresses().iter().map(check_node).collect(), HashMap::new()))
    }
}

/// One kind of check, for all addresses of a backend.
struct Check {
    directory: Arc<Directory>,
    settings: HealthCheck,
    host: HostHeader,
}

/// Why a check failed; the text is what the status shows.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error("no answer in time")]
    Timeout,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the path cannot be asked for: {0}")]
    Request(#[from] http::Error),
    #[error("no valid HTTP answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("answered {0}")]
    Status(StatusCode),
}

impl Check {
    async fn once(&self, address: &Address) -> Result<(), CheckError> {
        let connection = address.connect().await?;
        let Some(path) = &self.settings.path else { return Ok(()) };
        let host = match &self.host {
            HostHeader::Fixed(host) => host,
            HostHeader::Backend | HostHeader::Client => &address.endpoint.authority,
        };
        let request = Request::get(path)
            .header(HOST, host)
            .header(USER_AGENT, CHECK_USER_AGENT)
            .header(CONNECTION, "close")
            .body(Empty::<Bytes>::new())?;
        match get(connection, request).await? {
            status if status.is_success() || status.is_redirection() => Ok(()),
            status => Err(CheckError::Status(status)),
        }
    }

    async fn bounded(&self, address: &Address) -> Result<(), CheckError> {
        tokio::time::timeout(self.settings.timeout, self.once(address)).await.unwrap_or(Err(CheckError::Timeout))
    }
}

async fn get(connection: Connection, request: Request<Empty<Bytes>>) -> Result<StatusCode, hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(connection)).await?;
    let driven = async {
        // Its failure reaches the request, and an end right after the answer must not hide the answer.
        drop(connection.await);
        future::pending::<Infallible>().await
    };
    tokio::select! {
        response = sender.send_request(request) => Ok(response?.status()),
        never = driven => match never {},
    }
}

#[async_trait]
impl PingoraCheck for Check {
    async fn check(&self, target: &Node) -> pingora_core::Result<()> {
        let Some(address) = attached(target) else {
            return Error::e_explain(ErrorType::InternalError, "nothing is attached to the backend");
        };
        let outcome = self.bounded(address).await;
        address.set_check_error(outcome.as_ref().err().map(ToString::to_string));
        outcome.map_err(|error| Error::because(ErrorType::ConnectError, "health check", error))
    }

    async fn health_status_change(&self, target: &Node, healthy: bool) {
        let Some(address) = attached(target) else { return };
        address.set_healthy(healthy);
        self.directory.republish();
        let (backend, host, socket) = (self.directory.backend(), &address.endpoint.host, address.socket);
        if healthy {
            info!(%backend, %host, %socket, "endpoint is healthy again");
        } else {
            let error = address.check_error().unwrap_or_default();
            warn!(%backend, %host, %socket, %error, "endpoint is unhealthy");
        }
    }

    fn backend_summary(&self, target: &Node) -> String {
        attached(target).map_or_else(String::new, |address| format!("{} {}", self.directory.backend(), address.socket))
    }

    fn health_threshold(&self, success: bool) -> usize {
        if success { self.settings.healthy_after } else { self.settings.unhealthy_after }
    }
}
