//! The addresses that each endpoint has now, and the set published for picking.
//!
//! It resolves and checks nothing itself. Invariants: an address that stays keeps its identity and
//! health; a failed resolution takes nothing away; every change is published before it is logged.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::address::Address;
use super::selection::Published;
use super::tls::{BuildError, Peer};
use crate::config::model::{Endpoint, Tls};

/// What is known about one address, or about an endpoint that has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointStatus {
    /// `scheme://authority/base`, as configured.
    pub url: String,
    /// Where it is; `None` while the name is not resolved.
    pub address: Option<SocketAddr>,
    /// Whether it is resolved and health checks, if any, find it well.
    pub healthy: bool,
    /// Why its name cannot be resolved now; the addresses known before stay in use.
    pub resolve_error: Option<String>,
    /// Why the last health check failed.
    pub check_error: Option<String>,
    /// When its name was last resolved; `None` for a literal address.
    pub resolved_at: Option<Timestamp>,
}

impl EndpointStatus {
    /// `scheme://authority`: the path may hold what is not for everybody.
    #[must_use]
    pub fn origin(&self) -> &str {
        let authority = self.url.find("://").map_or(0, |at| at + 3);
        let path = self.url[authority..].find('/');
        path.map_or(&self.url, |path| &self.url[..authority + path])
    }
}

/// See the module.
pub(super) struct Directory {
    backend: Arc<str>,
    entries: Mutex<Vec<Entry>>,
    published: ArcSwap<Published>,
    with_ring: bool,
    changed: Notify,
}

struct Entry {
    endpoint: Arc<Endpoint>,
    peer: Option<Peer>,
    addresses: Vec<Arc<Address>>,
    resolve_error: Option<String>,
    resolved_at: Option<Timestamp>,
}

impl Directory {
    /// With literal addresses in it already.
    pub(super) fn new(
        backend: Arc<str>,
        endpoints: &[Endpoint],
        tls: &Tls,
        with_ring: bool,
    ) -> Result<Self, BuildError> {
        let endpoints = merged(endpoints);
        let peers = Peer::of_all(&endpoints, tls)?;
        let mut entries: Vec<Entry> = endpoints.into_iter().zip(peers).map(Entry::new).collect();
        for entry in &mut entries {
            if let Ok(literal) = entry.endpoint.host.parse::<IpAddr>() {
                let socket = SocketAddr::new(literal, entry.endpoint.port);
                entry.addresses = entry.addresses_at(&[socket]);
            }
        }
        let published = ArcSwap::from_pointee(Published::new(&all(&entries), with_ring));
        Ok(Self { backend, entries: Mutex::new(entries), published, with_ring, changed: Notify::new() })
    }

    pub(super) fn backend(&self) -> &Arc<str> {
        &self.backend
    }

    pub(super) fn published(&self) -> Guard<Arc<Published>> {
        self.published.load()
    }

    /// Every address of every endpoint.
    pub(super) fn addresses(&self) -> Vec<Arc<Address>> {
        all(&self.entries())
    }

    /// Resolves when addresses came or went since the last time it was awaited.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The endpoints that have to be resolved: their position, name and port.
    pub(super) fn names(&self) -> Vec<(usize, String, u16)> {
        let entries = self.entries();
        let names = entries.iter().enumerate().filter(|(_, entry)| entry.endpoint.host.parse::<IpAddr>().is_err());
        names.map(|(index, entry)| (index, entry.endpoint.host.clone(), entry.endpoint.port)).collect()
    }

    /// Takes what resolving the name of the endpoint at `index` gave. Returns whether it was of use.
    pub(super) fn resolved(&self, index: usize, outcome: io::Result<Vec<SocketAddr>>, now: Timestamp) -> bool {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(index) else { return false };
        let found = outcome.and_then(|sockets| {
            if sockets.is_empty() { Err(io::Error::other("the name has no addresses")) } else { Ok(sockets) }
        });
        let sockets = match found {
            Ok(sockets) => sockets,
            Err(error) => {
                entry.failed(&self.backend, error.to_string());
                return false;
            }
        };
        let changed = entry.moved_to(&sockets, now);
        if changed {
            self.publish(&entries);
        }
        if let Some(entry) = entries.get_mut(index) {
            entry.recovered(&self.backend, changed);
        }
        drop(entries);
        if changed {
            self.changed.notify_one();
        }
        true
    }

    /// To be called after the health of an address changed.
    pub(super) fn republish(&self) {
        let entries = self.entries();
        self.publish(&entries);
    }

    /// Only with the lock held, so that an older set never replaces a newer one.
    fn publish(&self, entries: &MutexGuard<'_, Vec<Entry>>) {
        self.published.store(Arc::new(Published::new(&all(entries), self.with_ring)));
    }

    pub(super) fn status(&self) -> Vec<EndpointStatus> {
        self.entries().iter().flat_map(Entry::status).collect()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn new((endpoint, peer): (Endpoint, Option<Peer>)) -> Self {
        Self { endpoint: Arc::new(endpoint), peer, addresses: Vec::new(), resolve_error: None, resolved_at: None }
    }

    /// Returns whether an address came or went.
    fn moved_to(&mut self, sockets: &[SocketAddr], now: Timestamp) -> bool {
        let ids = |addresses: &[Arc<Address>]| addresses.iter().map(|address| address.id).collect::<BTreeSet<_>>();
        let before = ids(&self.addresses);
        self.addresses = self.addresses_at(sockets);
        self.resolved_at = Some(now);
        before != ids(&self.addresses)
    }

    /// The addresses for `sockets`: those that are known already stay the same. The family of the
    /// first one, which is the resolver's preference, is used; the other stands by for each.
    fn addresses_at(&self, sockets: &[SocketAddr]) -> Vec<Arc<Address>> {
        let preferred_is_v4 = sockets.first().is_some_and(SocketAddr::is_ipv4);
        let distinct: BTreeSet<SocketAddr> = sockets.iter().copied().collect();
        let (preferred, others): (Vec<_>, Vec<_>) =
            distinct.into_iter().partition(|socket| socket.is_ipv4() == preferred_is_v4);
        let mut others = others.iter().copied().cycle();
        preferred.into_iter().map(|socket| self.address_at(socket, others.next())).collect()
    }

    fn address_at(&self, socket: SocketAddr, alternate: Option<SocketAddr>) -> Arc<Address> {
        let known = self.addresses.iter().find(|address| address.is_at(socket, alternate));
        known
            .cloned()
            .unwrap_or_else(|| Arc::new(Address::new(Arc::clone(&self.endpoint), self.peer.clone(), socket, alternate)))
    }

    fn failed(&mut self, backend: &str, error: String) {
        if self.resolve_error.is_none() {
            warn!(backend, host = %self.endpoint.host, %error, kept = self.addresses.len(), "name cannot be resolved");
        }
        self.resolve_error = Some(error);
    }

    fn recovered(&mut self, backend: &str, changed: bool) {
        let failed_before = self.resolve_error.take().is_some();
        if failed_before || changed {
            let addresses: Vec<SocketAddr> = self.addresses.iter().map(|address| address.socket).collect();
            info!(backend, host = %self.endpoint.host, ?addresses, "name resolved");
        }
    }

    fn status(&self) -> Vec<EndpointStatus> {
        let scheme = if self.endpoint.tls { "https" } else { "http" };
        let authority = String::from_utf8_lossy(self.endpoint.authority.as_bytes());
        let of = |address: Option<&Arc<Address>>| EndpointStatus {
            url: format!("{scheme}://{authority}{}", self.endpoint.base_path),
            address: address.map(|address| address.socket),
            healthy: address.is_some_and(|address| address.is_healthy()),
            resolve_error: self.resolve_error.clone(),
            check_error: address.and_then(|address| address.check_error()),
            resolved_at: self.resolved_at,
        };
        if self.addresses.is_empty() { vec![of(None)] } else { self.addresses.iter().map(|a| of(Some(a))).collect() }
    }
}

fn all(entries: &[Entry]) -> Vec<Arc<Address>> {
    entries.iter().flat_map(|entry| entry.addresses.iter().cloned()).collect()
}

/// An endpoint that is listed twice is one with both weights: the selectors know no duplicates.
fn merged(endpoints: &[Endpoint]) -> Vec<Endpoint> {
    let mut merged: Vec<Endpoint> = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        let same = |known: &&mut Endpoint| Endpoint { weight: endpoint.weight, ..(**known).clone() } == *endpoint;
        match merged.iter_mut().find(same) {
            Some(known) => known.weight += endpoint.weight,
            None => merged.push(endpoint.clone()),
        }
    }
    merged
}
