//! What this build and this configuration can do, for clients that adapt to it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use serde::Serialize;

use super::Console;
use super::guard::Actor;
use crate::config::model::{Purpose, StorePlace};

/// Features that are compiled in.
const COMPILED: &[&str] = if cfg!(feature = "mimalloc") { &["mimalloc"] } else { &[] };

#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Features {
    version: &'static str,
    compiled: &'static [&'static str],
    generation: u64,
    store: StoreView,
    /// `null` where reading is open and no token was shown.
    token: Option<TokenView>,
    counts: Counts,
}

#[derive(Debug, Serialize, schemars::JsonSchema)]
struct StoreView {
    /// `sqlite` or `memory`.
    engine: &'static str,
    up: bool,
    /// What is wrong, while something is.
    error: Option<String>,
    size_bytes: u64,
    /// The number of the last event that was stored.
    last_event: u64,
}

#[derive(Debug, Serialize, schemars::JsonSchema)]
struct TokenView {
    name: Arc<str>,
    role: &'static str,
}

#[derive(Debug, Serialize, schemars::JsonSchema)]
struct Counts {
    backends: usize,
    /// Flags among them.
    routes: usize,
    /// Routes that take no requests.
    flags: usize,
    metrics: usize,
}

/// The page.
pub(super) async fn page(
    State(console): State<Arc<Console>>,
    actor: Option<Extension<Actor>>,
) -> Json<impl Serialize + use<>> {
    let snapshot = console.live.snapshot();
    let config = snapshot.config();
    let store = console.intake.store();
    // The store is opened once, with what the process started with.
    let started = console.reloader.as_ref().map_or(config, |reloader| reloader.started());
    let engine = match started.state.store {
        StorePlace::Memory => "memory",
        StorePlace::Sqlite(_) => "sqlite",
    };
    let token = actor.and_then(|Extension(Actor(name))| {
        let role = config.admin.tokens.iter().find(|token| *token.name == *name)?.role.as_str();
        Some(TokenView { name, role })
    });
    let flags = config.routes.iter().filter(|route| matches!(route.purpose, Purpose::Flag { .. })).count();
    Json(Features {
        version: env!("CARGO_PKG_VERSION"),
        compiled: COMPILED,
        generation: snapshot.generation,
        store: StoreView {
            engine,
            up: store.is_up(),
            error: store.what_is_wrong(),
            size_bytes: store.last_size(),
            last_event: *store.stored().borrow(),
        },
        token,
        counts: Counts {
            backends: config.backends.len(),
            routes: config.routes.len(),
            flags,
            metrics: config.metrics.len(),
        },
    })
}
