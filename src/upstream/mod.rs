//! The endpoints of one backend: names resolved, one address chosen for a request, health checked,
//! connections opened.
//!
//! | file | what |
//! |---|---|
//! | `address` | one resolved address, and connecting to it |
//! | `connection` | the byte stream that connecting gives |
//! | `tls` | how an `https` endpoint is trusted |
//! | `directory` | the addresses that each endpoint has now, and the set published for picking |
//! | `selection` | picking one address from a published set |
//! | `origin` | a place that is no backend, and connecting to it |
//! | `http1` | requests as bytes, bytes as answers |
//! | `fetch` | one bounded GET of a document that is not a user's |
//! | `resolve`, `health` | the background loops that feed the directory |
//!
//! It does not pool connections, speak HTTP to users, bound how long connecting takes, or know about
//! breakers: that is `proxy`. Imports of ours: `config::model`, `clock`.
//!
//! Invariant: picking reads one published set and never locks, resolves or checks; only the
//! background loops write, and a loop ends when its [`Upstream`] is dropped.

mod address;
mod connection;
mod directory;
mod fetch;
mod health;
pub mod http1;
mod origin;
mod resolve;
mod selection;
mod tls;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

pub use address::{Address, ConnectError};
pub use connection::{Connection, poll_send};
pub use directory::EndpointStatus;
pub use fetch::{Document, FetchError};
pub use origin::Origin;
pub use tls::BuildError;

use crate::config::model::{Backend, Balance, Endpoint, HealthCheck, HostHeader, Target, Tls};
use directory::Directory;

/// Largest sum of the weights of a backend's endpoints: the balancer keeps a slot for each unit.
pub const MAX_TOTAL_WEIGHT: usize = 10_000;

/// The endpoints of one backend.
pub struct Upstream {
    spec: Spec,
    directory: Arc<Directory>,
    /// Aborted when dropped, which is what ends the background loops.
    tasks: Mutex<JoinSet<()>>,
}

/// Everything of a backend's configuration that this module depends on.
#[derive(Debug, PartialEq)]
struct Spec {
    name: Arc<str>,
    endpoints: Vec<Endpoint>,
    balance: Balance,
    resolve_every: Duration,
    health_check: Option<HealthCheck>,
    tls: Tls,
    host: HostHeader,
}

impl Spec {
    fn of(backend: &Backend) -> Option<Self> {
        let Target::Endpoints(endpoints) = &backend.target else { return None };
        Some(Self {
            name: Arc::clone(&backend.name),
            endpoints: endpoints.clone(),
            balance: backend.balance,
            resolve_every: backend.resolve_every,
            health_check: backend.health_check.clone(),
            tls: backend.tls.clone(),
            host: backend.host.clone(),
        })
    }
}

impl Upstream {
    /// Builds it. Endpoints given as literal addresses can be picked at once, names only after
    /// [`Upstream::spawn_background`] has resolved them. The only I/O is reading the system's roots.
    ///
    /// # Errors
    /// When the backend has no endpoints, their weights exceed [`MAX_TOTAL_WEIGHT`], its certificate authorities do not parse, or an `https`
    /// endpoint has nothing to trust or no name to verify.
    pub fn new(backend: &Backend) -> Result<Arc<Self>, BuildError> {
        let spec = Spec::of(backend).ok_or(BuildError::NoEndpoints)?;
        let weights = spec.endpoints.iter().fold(0_usize, |sum, endpoint| sum.saturating_add(endpoint.weight));
        if weights > MAX_TOTAL_WEIGHT {
            return Err(BuildError::Weights(weights));
        }
        let ring = spec.balance == Balance::Consistent;
        let directory = Directory::new(Arc::clone(&spec.name), &spec.endpoints, &spec.tls, ring)?;
        Ok(Arc::new(Self { spec, directory: Arc::new(directory), tasks: Mutex::default() }))
    }

    /// Whether [`Upstream::new`] would build the same from `backend`. A reload then keeps this one,
    /// and with it its health, its resolved names and the identities of its addresses.
    #[must_use]
    pub fn serves(&self, backend: &Backend) -> bool {
        Spec::of(backend).is_some_and(|spec| spec == self.spec)
    }

    /// One address for a request, or `None` while no name has been resolved.
    ///
    /// `key` is the user's key, for [`Balance::Consistent`]; without one, and for
    /// [`Balance::RoundRobin`], addresses take turns by weight. Only healthy addresses are picked, but
    /// when none is healthy all are: a check that fails everywhere more often means that the check is
    /// wrong than that everything is down, and refusing every request would turn that mistake into an
    /// outage, while the breaker still sees the attempts themselves.
    #[must_use]
    pub fn pick(&self, key: Option<&[u8]>) -> Option<Arc<Address>> {
        self.directory.published().pick(key)
    }

    /// Starts resolving names and checking health on `runtime`, until this is dropped. A second call
    /// does nothing.
    pub fn spawn_background(&self, runtime: &Handle) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if !tasks.is_empty() {
            return;
        }
        for (endpoint, name, port) in self.directory.names() {
            let directory = Arc::clone(&self.directory);
            tasks.spawn_on(resolve::keep_resolved(directory, endpoint, name, port, self.spec.resolve_every), runtime);
        }
        if let Some(check) = &self.spec.health_check {
            let directory = Arc::clone(&self.directory);
            tasks.spawn_on(health::keep_checked(directory, check.clone(), self.spec.host.clone()), runtime);
        }
    }

    /// What is known about each address, and about each endpoint that has none.
    #[must_use]
    pub fn status(&self) -> Vec<EndpointStatus> {
        self.directory.status()
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("spec", &self.spec).finish_non_exhaustive()
    }
}
