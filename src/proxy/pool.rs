//! Idle upstream connections of one worker, by address. Last in, first out: the warmest is used first
//! and the surplus grows cold and is closed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

use hyper::client::conn::http1::SendRequest;

use super::upload::UploadBody;
use crate::config::model::Keepalive;

/// The sending side of an upstream connection.
pub(crate) type Sender = SendRequest<UploadBody>;

/// Idle connections.
#[derive(Default)]
pub(crate) struct Pool {
    idle: RefCell<BTreeMap<u64, Vec<Idle>>>,
}

struct Idle {
    sender: Sender,
    expires: Instant,
}

impl Pool {
    /// The warmest usable connection to this address.
    pub(crate) fn take(&self, address: u64, now: Instant) -> Option<Sender> {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.get_mut(&address)?;
        while let Some(candidate) = connections.pop() {
            if !candidate.sender.is_closed() && candidate.expires > now {
                return Some(candidate.sender);
            }
        }
        None
    }

    /// Keeps a connection whose exchange has ended.
    pub(crate) fn put(&self, address: u64, sender: Sender, now: Instant, keepalive: Keepalive) {
        if sender.is_closed() || keepalive.max_idle == 0 {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let connections = idle.entry(address).or_default();
        if connections.len() < keepalive.max_idle {
            connections.push(Idle { sender, expires: now + keepalive.idle });
        }
    }

    /// Closes what is closed or has lain too long.
    pub(crate) fn reap(&self, now: Instant) {
        self.idle.borrow_mut().retain(|_, connections| {
            connections.retain(|idle| !idle.sender.is_closed() && idle.expires > now);
            !connections.is_empty()
        });
    }

    /// Closes everything, as when the worker stops.
    pub(crate) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}
