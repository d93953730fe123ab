//! The faces of the process itself: what runs, how it fares, and the few things that change it.
//!
//! | file | what |
//! |---|---|
//! | `endpoint`, `endpoints` | what is served, as a table |
//! | `openapi` | the same table, told to programs |
//! | `server` | the two listeners and the life of a connection |
//! | `guard` | who may ask what: `Host`, `Origin`, tokens, roles |
//! | `probes` | `/livez /readyz /healthz /metrics` |
//! | `routes`, `config` | what runs |
//! | `rollout` | where a rollout stands, and the verbs that move it |
//! | [`explain`], [`assignments`] | why an arm serves a user, and which arms many users are assigned |
//! | `ofrep` | flags for OpenFeature clients |
//! | [`stats`] | how the arms fared over a stretch of time |
//! | [`experiment`] | whether the candidate is better, and who was in which arm |
//! | `acts` | reload, log filter |
//! | `alerts` | what fires, and whether webhooks hear of it |
//! | `events` | events come in |
//! | `kept` | events and history, read, exported and removed |
//! | `features`, `recent` | what this gateway can do, and why a request of late went where it did |
//! | `problem`, `body`, `parameters` | errors and input |
//!
//! `[observe]` serves the probes alone, read-only, to anybody. `[admin]` serves everything. Reading
//! there is open on a loopback address as long as the file names no token, and needs a `viewer`
//! otherwise, or for flags alone a token for `flags`; the probes are open on both; every write needs an
//! `operator`, on loopback too, but for events, which a token of their own may send and only an `admin` may remove. Nothing
//! here is on the way of a client's request. Invariant: no answer holds a secret.

mod acts;
mod alerts;
pub mod assignments;
mod body;
mod config;
mod endpoint;
mod endpoints;
mod events;
pub mod experiment;
pub mod explain;
mod features;
mod guard;
mod kept;
mod ofrep;
mod openapi;
mod parameters;
mod probes;
mod problem;
pub mod question;
mod recent;
mod rollout;
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
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodFilter;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::alerts::Alerts;
use crate::clock;
use crate::controller::{Rollouts, SharedEvidence, SharedWindows};
use crate::events::Intake;
use crate::live::{Live, Reloader};
use crate::store::{Entry, Journal};
use crate::telemetry::access::AccessLogGuard;
use crate::telemetry::log::LogHandle;
use endpoint::{Endpoint, Shared};
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
    /// Where rollouts stand, and what moves them.
    pub rollouts: Rollouts,
    /// Takes events in.
    pub intake: Arc<Intake>,
    /// Takes what is done for the history.
    pub journal: Journal,
    /// Tells webhooks.
    pub alerts: Alerts,
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
    let ofrep = Arc::new(ofrep::Ofrep::new(Arc::clone(&console.live)));
    let shared = Shared { ofrep, exports: Arc::new(Semaphore::new(0)) };
    bounded(with_problems(served(&shared, endpoints::probes())).with_state(console))
}

fn admin_router(console: Arc<Console>, address: SocketAddr) -> Router {
    let guard = Arc::new(guard::Guard { live: Arc::clone(&console.live), address });
    let ofrep = Arc::new(ofrep::Ofrep::new(Arc::clone(&console.live)));
    let shared = Shared { ofrep, exports: Arc::new(Semaphore::new(kept::export::MAX_EXPORTS)) };
    let live = Arc::clone(&console.live);
    let routes = served(&shared, endpoints::probes().into_iter().chain(endpoints::all()));
    let routes = with_problems(routes).layer(middleware::from_fn_with_state(guard, guard::admit));
    let routes = routes.layer(middleware::from_fn_with_state(live, ofrep::cors::tell));
    bounded(routes.with_state(console))
}

/// The only place where anything is routed: what is served is what the table says.
fn served(shared: &Shared, endpoints: impl IntoIterator<Item = Endpoint>) -> Router<Arc<Console>> {
    endpoints.into_iter().fold(Router::new(), |router, endpoint| {
        // A method that axum does not know would be served by nothing, and a test would tell.
        let Ok(method) = MethodFilter::try_from(endpoint.method.clone()) else { return router };
        router.route(endpoint.path, (endpoint.serve)(shared, method))
    })
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
