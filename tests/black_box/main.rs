//! The real binary over real sockets, file by behaviour.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests say what broke"
)]

mod support;

mod bodies;
mod fallback;
mod forwarding;
mod health;
mod splitting;
mod streaming;
mod timeouts;
mod upgrades;
