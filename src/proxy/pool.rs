//! Idle upstream connections of one worker, by address. Last in, first out: the warmest is used first
//! and the surplus grows cold and is closed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

use super::connection::Connection;

/// Idle connections.
#[derive(Default)]
pub(crate) struct Pool {
    idle: RefCell<BTreeMap<u64, Vec<Idle>>>,
}

struct Idle {
    connection: Connection,
    expires: Instant,
}

impl Idle {
    fn is_usable(&self, now: Instant) -> bool {
        self.expires > now && self.connection.is_usable()
    }
}

impl Pool {
    /// The warmest usable connection to this address.
    pub(crate) fn take(&self, address: u64, now: Instant) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.get_mut(&address)?;
        while let Some(candidate) = connections.pop() {
            if candidate.is_usable(now) {
                return Some(candidate.connection);
            }
        }
        None
    }

    /// Keeps a connection that is ready for another request.
    pub(crate) fn put(&self, connection: Connection, now: Instant) {
        let keepalive = connection.keepalive;
        if keepalive.max_idle == 0 {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let connections = idle.entry(connection.address).or_default();
        if connections.len() < keepalive.max_idle {
            connections.push(Idle { connection, expires: now + keepalive.idle });
        }
    }

    /// Closes what is closed or has lain too long.
    pub(crate) fn reap(&self, now: Instant) {
        self.idle.borrow_mut().retain(|_, connections| {
            connections.retain(|idle| idle.expires > now && idle.connection.is_at_rest());
            !connections.is_empty()
        });
    }

    /// Closes everything, as when the worker stops.
    pub(crate) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}
