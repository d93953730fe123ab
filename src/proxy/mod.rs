//! The data plane: what happens to a request.
//!
//! One thread a worker, each with its own runtime, listener and upstream connections. The way of a
//! request is told in [`exchange`]; it sees `domain`, `config`, `live`, `upstream`, `measure`, the
//! access log, the intake of events and where sampled exchanges go, and never the store, the controller or the administrative API.

mod admission;
mod arrival;
mod attempt;
mod attributes;
mod claims;
mod client_io;
mod connection;
pub mod document;
mod events;
mod exchange;
mod headers;
pub mod identity;
mod ledger;
pub mod listener;
mod outbox;
mod pins;
mod pool;
mod problem;
mod reply;
mod respond;
mod rewriting;
mod specimen;
mod tap;
mod target;
mod timer;
mod tunnel;
mod upload;
mod worker;

pub use listener::{DataPlane, StartError};
