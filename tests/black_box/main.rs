//! The real binary over real sockets, file by behaviour.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests say what broke"
)]

mod support;

mod access_log;
mod alerting;
mod backends;
mod bad_answers;
mod bad_input;
mod bodies;
mod body_attributes;
mod commands;
mod crashes;
mod deciding;
mod events;
mod experiments;
mod exposure;
mod fallback;
mod flags;
mod forwarding;
mod health;
mod judging;
mod keeping;
mod life_cycle;
mod measuring;
mod measuring_events;
mod ofrep;
mod openapi;
mod openfeature;
mod pooling;
mod reading;
mod reloading;
mod rewriting;
mod rollouts;
mod samples;
mod shadowing;
mod splitting;
mod streaming;
mod targeting;
mod timeouts;
mod tokens;
mod traffic;
mod unnoticed;
mod upgrades;
