//! Picking one address from a published set.
//!
//! It does not decide what is in the set (`directory`). Invariant: picking takes no lock and
//! allocates nothing; pingora's selectors are used without its `LoadBalancer::select`, which clones
//! a backend and fills a hash set for every request.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use pingora_load_balancing::selection::{BackendIter, BackendSelection, Consistent, RoundRobin};
use pingora_load_balancing::{Backend as Node, Extensions};
use sha2::{Digest, Sha256};

use super::address::Address;

/// What requests choose from: one immutable set, replaced as a whole.
pub(super) struct Published {
    /// The healthy ones, or all when none is.
    usable: Box<[Arc<Address>]>,
    /// By weight, over the usable ones.
    turns: Arc<RoundRobin>,
    /// By key, over all: a walk past the unhealthy ones then moves only their keys, which a ring
    /// built anew for other weights would not keep to.
    ring: Option<Arc<Consistent>>,
    /// Whether no address is healthy, so that all are taken.
    none_healthy: bool,
    /// Steps after which a walk has seen every point of the ring.
    ring_points: usize,
}

/// Points of the ring for each address, on average: 40 hashes of 4 points, as ketama has it.
const POINTS_PER_ADDRESS: usize = 160;

impl Published {
    pub(super) fn new(all: &[Arc<Address>], with_ring: bool) -> Self {
        let healthy: Box<[Arc<Address>]> = all.iter().filter(|address| address.is_healthy()).cloned().collect();
        let none_healthy = healthy.is_empty();
        let usable = if none_healthy { all.into() } else { healthy };
        let turns = Arc::new(RoundRobin::build(&usable.iter().map(ring_node).collect()));
        let ring = with_ring.then(|| Arc::new(Consistent::build(&all.iter().map(ring_node).collect::<BTreeSet<_>>())));
        Self { usable, turns, ring, none_healthy, ring_points: all.len() * POINTS_PER_ADDRESS }
    }

    pub(super) fn pick(&self, key: Option<&[u8]>) -> Option<Arc<Address>> {
        match &*self.usable {
            [] => None,
            [only] => Some(Arc::clone(only)),
            _several => self.by_key(key).or_else(|| self.in_turn()),
        }
    }

    fn by_key(&self, key: Option<&[u8]>) -> Option<Arc<Address>> {
        let (key, ring) = (key?, self.ring.as_ref()?);
        let mut walk = ring.iter(key);
        for _ in 0..self.ring_points {
            let address = attached(walk.next()?)?;
            if self.none_healthy || address.is_healthy() {
                return Some(Arc::clone(address));
            }
        }
        None
    }

    fn in_turn(&self) -> Option<Arc<Address>> {
        attached(self.turns.iter(&[]).next()?).cloned()
    }
}

/// The address as the selectors see it. Its place on the ring comes from endpoint and socket alone,
/// so that every replica sends a key the same way; the socket itself would not do, since several
/// endpoints (virtual hosts behind one load balancer) may share one.
fn ring_node(address: &Arc<Address>) -> Node {
    let endpoint = &address.endpoint;
    let mut hash = Sha256::new();
    hash.update([u8::from(endpoint.tls)]);
    for part in [endpoint.authority.as_bytes(), endpoint.base_path.as_bytes()] {
        hash.update(part);
        hash.update([0]);
    }
    hash.update(address.socket.to_string());
    let digest: [u8; 32] = hash.finalize().into();
    let label = digest.iter().take(16).fold(0_u128, |label, byte| label << 8 | u128::from(*byte));
    node(address, label)
}

/// The address as the health checks see it: apart from every other that ever was, so that the health
/// of one that went away does not stick to its successor.
pub(super) fn check_node(address: &Arc<Address>) -> Node {
    node(address, u128::from(address.id))
}

/// Pingora tells backends apart by socket address and weight; ours is only a label, never dialled.
fn node(address: &Arc<Address>, label: u128) -> Node {
    let label = SocketAddrV6::new(Ipv6Addr::from(label), address.socket.port(), 0, 0);
    let mut ext = Extensions::new();
    ext.insert(Arc::clone(address));
    Node { addr: SocketAddr::V6(label).into(), weight: address.endpoint.weight, ext }
}

/// The address behind what a selector or a health check was given.
pub(super) fn attached(node: &Node) -> Option<&Arc<Address>> {
    node.ext.get::<Arc<Address>>()
}
