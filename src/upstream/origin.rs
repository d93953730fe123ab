//! A place that is no backend: a URL somebody named, and whom to expect there.
//!
//! It keeps no connection, checks no health and looks its name up only when asked. Invariant: nothing but
//! the named host is looked up and connected to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::address::Address;
use super::tls::{BuildError, Peer};
use crate::config::model::{Endpoint, Tls};

/// See the module.
pub struct Origin {
    endpoint: Arc<Endpoint>,
    peer: Option<Peer>,
}

impl Origin {
    /// Prepares connecting. The only I/O is reading the system's roots, for `https`.
    ///
    /// # Errors
    /// When there is nothing to trust, or no name to verify.
    pub fn new(endpoint: &Endpoint, tls: &Tls) -> Result<Self, BuildError> {
        let peer = Peer::of_all(std::slice::from_ref(endpoint), tls)?.pop().flatten();
        Ok(Self { endpoint: Arc::new(endpoint.clone()), peer })
    }

    /// The URL.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// An address, with one of the other family behind it where there is one.
    ///
    /// # Errors
    /// When the name has none.
    pub async fn address(&self) -> io::Result<Address> {
        let (host, port) = (self.endpoint.host.as_str(), self.endpoint.port);
        let (socket, alternate) = match host.parse::<IpAddr>() {
            Ok(literal) => (SocketAddr::new(literal, port), None),
            Err(_name) => {
                let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
                let first = *found.first().ok_or_else(|| io::Error::other("the name has no addresses"))?;
                (first, found.into_iter().find(|other| other.is_ipv4() != first.is_ipv4()))
            }
        };
        Ok(Address::new(Arc::clone(&self.endpoint), self.peer.clone(), socket, alternate))
    }
}
