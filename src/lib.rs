//! Pointsman: a reverse-proxy routing gateway with two backends per route.
//!
//! | module | what |
//! |---|---|
//! | [`domain`] | thinks: assignment, decision, breaker, gate; functions of their arguments |
//! | [`config`] | from texts to a [`config::Config`], with every mistake and its place |
//! | [`jwt`] | signed tokens: who signed what, until when; functions of their arguments |
//! | [`live`] | what runs, what belongs to names, the reload path |
//! | [`upstream`] | the endpoints of one backend |
//! | [`proxy`] | the data plane |
//! | [`measure`], [`controller`] | what workers record, and the slow loop that judges it |
//! | [`events`] | takes events in, attributes them to arms, keeps the store within its bounds |
//! | [`sampling`] | sampled exchanges: judged, and kept for people |
//! | [`store`] | events, evidence, states and history: what outlives the process |
//! | [`alerts`] | who is told of what, by webhook |
//! | [`telemetry`], [`admin`] | what the gateway tells, and who may ask and change |
//! | [`app`], [`cli`] | the composition root, and the commands |
//! | [`clock`] | the only reader of the time |
//!
//! ARCHITECTURE.md tells who may import whom and why; `tests/architecture.rs` checks it. Invariants, all
//! about absence: no request that is passed on waits for anything but its backends; only `live` publishes a
//! snapshot, for the reload path and the walker of rollouts, and a request loads exactly one; nothing outside [`clock`] asks the time.

pub mod admin;
pub mod alerts;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod controller;
pub mod domain;
pub mod events;
pub mod jwt;
pub mod live;
pub mod measure;
pub mod proxy;
pub mod sampling;
pub mod store;
pub mod telemetry;
pub mod upstream;
