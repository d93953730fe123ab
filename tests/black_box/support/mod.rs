//! The vocabulary of the black-box tests: the gateway as a process, scripted upstreams, a raw client.
//!
//! Nothing here sleeps to let something happen: it waits for a condition, with a bound.

pub(crate) mod client;
pub(crate) mod gateway;
pub(crate) mod message;
#[path = "../../../src/jwt/fixture.rs"]
pub(crate) mod token;
pub(crate) mod upstream;

use std::time::Duration;

pub(crate) use client::{Answer, Client};
pub(crate) use gateway::{Gateway, Setup};
pub(crate) use upstream::{Conversation, Upstream};

/// How long anything may take that has to happen. Only failing tests wait this long.
pub(crate) const BOUND: Duration = Duration::from_secs(15);

/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(5);

/// Waits until `look` gives something.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = pointsman::clock::now() + BOUND;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(pointsman::clock::now() < deadline, "{what}: not within {BOUND:?}");
        std::thread::sleep(POLL);
    }
}

/// Bytes that differ from place to place, so that a lost or doubled piece shows.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}
