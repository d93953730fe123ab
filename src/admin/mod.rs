//! The faces of the process itself: what runs, how it fares, and the few things that change it.
//!
//! | file | what |
//! |---|---|
//! | `server` | the two listeners and the life of a connection |
//! | `guard` | who may ask what: `Host`, `Origin`, tokens, roles |
//! | `probes` | `/livez /readyz /healthz /metrics` |
//! | `routes`, `config` | what runs |
//! | [`explain`], [`assignments`] | why an arm serves a user, and which arms many users are assigned |
//! | `ofrep` | flags for OpenFeature clients |
//! | [`stats`] | how the arms fared over a stretch of time |
//! | `acts` | reload, log filter |
//! | `events` | events come in |
//! | `kept` | events and history, read, exported and removed |
//! | `features`, `recent` | what this gateway can do, and why a request of late went where it did |
//! | `problem`, `body` | errors and input |
//!
//! `[observe]` serves the probes alone, read-only, to anybody. `[admin]` serves everything. Reading
//! there is open on a loopback address as long as the file names no token, and needs a `viewer`
//! otherwise, or for flags alone a token for `flags`; the probes are open on both; every write needs an
//! `operator`, on loopback too, but for events, which a token of their own may send and only an `admin` may remove. Nothing
//! here is on the way of a client's request. Invariant: no answer holds a secret.

mod acts;
pub mod assignments;
mod body;
mod config;
mod events;
pub mod explain;
mod features;
mod guard;
mod kept;
mod ofrep;
mod probes;
mod problem;
pub mod question;
mod recent;
mod routes;
mod server;
mod shadows;
pub mod stats;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::clock;
use crate::config::model::EVENTS_PATH;
use crate::controller::{SharedEvidence, SharedWindows};
use crate::events::Intake;
use crate::live::{Live, Reloader};
use crate::store::{Entry, Journal};
use crate::telemetry::access::AccessLogGuard;
use crate::telemetry::log::LogHandle;
use problem::Problem;
pub use server::Bound;

/// For one answer, from the whole request head to the response head.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything that the pages read and change.
pub struct Console {
    /// What is running.
    pub live: Arc<Live>,
    /// The last minutes.
    pub windows: SharedWindows,
    /// Tells what the access log lost.
    pub access: Arc<AccessLogGuard>,
    /// The log's filter.
    pub log: LogHandle,
    /// Replaces the configuration; where it came from somewhere.
    pub reloader: Option<Arc<Reloader>>,
    /// What was counted.
    pub evidence: SharedEvidence,
    /// Takes events in.
    pub intake: Arc<Intake>,
    /// Takes what is done for the history.
    pub journal: Journal,
}

/// An entry of the history about the process as a whole, of now.
#[must_use]
pub fn history_entry(kind: &str, actor: &str, detail: &serde_json::Value) -> Entry {
    let (at, detail) = (clock::timestamp(), detail.to_string().into());
    Entry { at, route: "".into(), kind: kind.into(), actor: actor.into(), detail }
}

/// Serves both faces on `runtime` until it ends.
pub fn serve(runtime: &Handle, observe: Bound, admin: Bound, console: Console) {
    let console = Arc::new(console);
    let address = admin.address();
    runtime.spawn(server::run(observe, observe_router(Arc::clone(&console))));
    runtime.spawn(server::run(admin, admin_router(console, address)));
}

fn observe_router(console: Arc<Console>) -> Router {
    bounded(with_problems(probe_routes()).with_state(console))
}

fn admin_router(console: Arc<Console>, address: SocketAddr) -> Router {
    let guard = Arc::new(guard::Guard { live: Arc::clone(&console.live), address });
    let exports = Arc::new(Semaphore::new(kept::export::MAX_EXPORTS));
    let export = async move |console, version, query| kept::export::begin(exports, console, version, query).await;
    let routes = probe_routes()
        .route("/api/v1/routes", page(routes::all))
        .route("/api/v1/routes/{route}", get(async |console, name| routes::one(console, name)))
        .route("/api/v1/stats", get(stats::page))
        .route("/api/v1/config", page(config::page))
        .route(guard::EXPLAIN, get(async |console, query| explain::by_query(console, query)).post(explain::by_body))
        .route(guard::ASSIGNMENTS, post(assignments::by_body))
        .route("/api/v1/log", page(acts::log_filter).put(acts::set_log_filter))
        .route("/-/reload", post(acts::reload))
        .route(EVENTS_PATH, post(events::take))
        .route(guard::EVENTS, get(kept::events).delete(kept::removal::prune))
        .route(guard::ERASE, post(kept::removal::erase))
        .route("/api/v1/history", get(kept::history))
        .route("/api/v1/export", get(export))
        .route("/api/v1/requests/{id}", get(recent::line))
        .route("/api/v1/features", get(features::page));
    let live = Arc::clone(&console.live);
    let routes = routes.merge(ofrep::routes(Arc::clone(&live)));
    let routes = with_problems(routes).layer(middleware::from_fn_with_state(guard, guard::admit));
    let routes = routes.layer(middleware::from_fn_with_state(live, ofrep::cors::tell));
    bounded(routes.with_state(console))
}

fn probe_routes() -> Router<Arc<Console>> {
    Router::new()
        .route("/livez", page(probes::live))
        .route("/readyz", page(probes::ready))
        .route("/healthz", page(probes::health))
        .route("/metrics", page(probes::metrics))
}

/// A page that only reads.
fn page<T: IntoResponse + 'static>(answer: fn(&Console) -> T) -> MethodRouter<Arc<Console>> {
    get(move |State(console): State<Arc<Console>>| async move { answer(&console).into_response() })
}

fn with_problems(router: Router<Arc<Console>>) -> Router<Arc<Console>> {
    router.fallback(|| async { Problem::NotFound }).method_not_allowed_fallback(|| async { Problem::MethodNotAllowed })
}

fn bounded(router: Router) -> Router {
    router.layer(middleware::from_fn(finish))
}

/// Bounds the time of an answer, and marks it as nothing to keep, unless it says otherwise, or to guess about.
async fn finish(request: Request, next: Next) -> Response {
    let answered = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await;
    let mut response = answered.unwrap_or_else(|_| Problem::Timeout.into_response());
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
