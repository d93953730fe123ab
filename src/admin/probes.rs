//! Liveness, readiness, health and metrics: what kubelet and Prometheus ask.

use std::sync::Arc;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;

use super::Console;
use super::problem::Problem;
use crate::clock;
use crate::domain::breaker::{Millis, Position};
use crate::live::{LiveBackend, Snapshot};
use crate::telemetry::metrics;
use crate::upstream::EndpointStatus;

/// The process answers, so it lives.
pub(super) const fn live(_: &Console) -> &'static str {
    "alive\n"
}

/// Whether the process wants traffic.
pub(super) fn ready(console: &Console) -> (StatusCode, &'static str) {
    if console.live.is_ready() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "stopping\n") }
}

#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct Health {
    status: &'static str,
    generation: u64,
    store: StoreHealth,
    backends: Vec<BackendHealth>,
}

#[derive(Serialize, schemars::JsonSchema)]
struct StoreHealth {
    up: bool,
    size_bytes: u64,
    error: Option<String>,
}

#[derive(Serialize, schemars::JsonSchema)]
struct BackendHealth {
    name: Arc<str>,
    /// Whether requests can reach it as far as is known.
    healthy: bool,
    breaker: Position,
    rate_limited: bool,
    in_flight: u32,
    max_in_flight: Option<u32>,
    endpoints: Vec<EndpointHealth>,
}

#[derive(Serialize, schemars::JsonSchema)]
struct EndpointHealth {
    endpoint: String,
    address: Option<std::net::SocketAddr>,
    healthy: bool,
    resolve_error: Option<String>,
    check_error: Option<String>,
}

/// The parts, for people: neither a sick backend nor a store that fails makes the process unready.
pub(super) fn health(console: &Console) -> impl IntoResponse + use<> {
    let snapshot = console.live.snapshot();
    let ready = console.live.is_ready();
    let body = Json(Health {
        status: if ready { "ready" } else { "stopping" },
        generation: snapshot.generation,
        store: store(console),
        backends: backends(&snapshot, clock::now_millis()),
    });
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body)
}

fn store(console: &Console) -> StoreHealth {
    let store = console.intake.store();
    StoreHealth { up: store.is_up(), size_bytes: store.last_size(), error: store.what_is_wrong() }
}

fn backends(snapshot: &Snapshot, now: Millis) -> Vec<BackendHealth> {
    let pairs = snapshot.config().backends.iter().zip(&snapshot.backends);
    pairs.map(|(definition, live)| backend(live, definition.max_in_flight, now)).collect()
}

fn backend(live: &LiveBackend, max_in_flight: Option<u32>, now: Millis) -> BackendHealth {
    let endpoints: Vec<_> =
        live.upstream.iter().flat_map(|upstream| upstream.status()).map(EndpointHealth::from).collect();
    let breaker = live.state.position(now);
    let reachable = live.upstream.is_none() || endpoints.iter().any(|endpoint| endpoint.healthy);
    BackendHealth {
        name: Arc::clone(&live.state.name),
        healthy: reachable && breaker == Position::Closed,
        breaker,
        rate_limited: live.state.is_throttled(now),
        in_flight: live.state.in_flight(),
        max_in_flight,
        endpoints,
    }
}

impl From<EndpointStatus> for EndpointHealth {
    fn from(status: EndpointStatus) -> Self {
        Self {
            endpoint: status.origin().to_owned(),
            address: status.address,
            healthy: status.healthy,
            resolve_error: status.resolve_error,
            check_error: status.check_error,
        }
    }
}

/// Prometheus' text format.
pub(super) fn metrics(console: &Console) -> Result<impl IntoResponse + use<>, Problem> {
    let Console { live, intake, alerts, rollouts, access, .. } = console;
    match metrics::render(live, intake, alerts, rollouts, access.dropped() as u64) {
        Ok(text) => Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text)),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be told");
            Err(Problem::Internal)
        }
    }
}
