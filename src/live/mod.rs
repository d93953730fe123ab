//! What is running: one [`Snapshot`] behind an `ArcSwap`, swapped as a whole.
//!
//! A request loads exactly one snapshot and keeps it to its end. Only the reload path and the
//! controller publish. What must outlive a reload belongs to a name and is kept in the registry:
//! a breaker to its backend, gate and counts to their route ([`state`]).

mod exposing;
pub mod exposures;
#[cfg(test)]
mod fixture;
pub mod judges;
pub mod jwks;
pub mod meters;
mod private;
mod pulse;
pub mod quota;
pub mod reload;
pub mod routes;
pub mod shadows;
pub mod state;
pub mod users;
pub mod watch;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::clock;
use crate::config::model::{Backend, BackendIndex, QualityGate, Source, Target};
use crate::config::{Config, Loaded, phase};
use crate::domain::Arm;
use crate::domain::breaker::Millis;
use crate::domain::context::Contexts;
use crate::domain::decision::{self, Decision, Health};
use crate::domain::metric::MetricId;
use crate::domain::phase::Phase;
use crate::measure::counters::WorkerCounters;
use crate::upstream::{BuildError, Upstream};
use meters::MetricIds;

pub use exposing::Exposing;
pub use exposures::Exposures;
pub use judges::{Judge, JudgeState};
pub use jwks::{Jwks, Ring};
pub use meters::{ArmMeters, Meters};
pub use private::PrivateFields;
pub use reload::{Attempted, ReloadOutcome, Reloader, Trigger};
pub use routes::{Matched, RouteIndex, RouteTable};
pub use state::{BackendState, RouteState};
pub use users::Users;
pub use watch::Watching;

/// Everything a request needs to know, whole and unchanging.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts the configurations that this process has run with, from 1.
    pub generation: u64,
    /// The configuration, with where each value came from.
    pub loaded: Loaded,
    /// When it was published.
    pub published_at: jiff::Timestamp,
    /// Which route takes a request.
    pub table: RouteTable,
    /// State of the routes, in the order of `Config::routes`.
    pub routes: Vec<Arc<RouteState>>,
    /// State of the backends, in the order of `Config::backends`.
    pub backends: Vec<LiveBackend>,
    /// The judges, in the order of `Config::judges`.
    pub judges: Vec<Judge>,
    /// The phases that the routes are in, in the order of `Config::routes`.
    pub phases: Vec<Phase>,
    /// What is read from answers.
    pub meters: Meters,
    /// Whether a route looks at claims of a token, in the order of `Config::routes`.
    pub reads_claims: Box<[bool]>,
    /// Request fields that backends do not get by themselves.
    pub private: PrivateFields,
    /// The keys that the issuer of tokens publishes.
    pub jwks: Option<Arc<Jwks>>,
    /// How exposure tokens are signed, if they are.
    pub exposing: Option<Exposing>,
}

/// A backend as it runs.
#[derive(Debug, Clone)]
pub struct LiveBackend {
    /// Breaker, bulkhead, throttle.
    pub state: Arc<BackendState>,
    /// Its endpoints, if it has any.
    pub upstream: Option<Arc<Upstream>>,
}

impl Snapshot {
    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// The health of a route's candidate as `decide` wants it.
    #[must_use]
    pub fn health(&self, route: RouteIndex, now: Millis) -> Health {
        let definition = &self.config().routes[route];
        let gate = |gate: &QualityGate| (self.routes[route].gate(), gate.settings.probes);
        let gate = definition.quality_gate.as_ref().map(gate);
        // A flag without a backend has nothing that could be ill.
        let Some(candidate) = definition.backend(Arm::Candidate) else { return Health { gate, ..Health::WELL } };
        let (backend, state) = (&self.config().backends[candidate], &self.backends[candidate].state);
        Health {
            breaker: state.view(now, &backend.breaker),
            rate_limited: state.is_throttled(now),
            spent: is_spent(state, backend),
            gate,
            busy: state.is_busy(backend.max_in_flight),
        }
    }

    /// Whether answers of an arm's backend are read as they pass.
    #[must_use]
    pub fn reads_answers(&self, arm: Arm, backend: BackendIndex) -> bool {
        !self.meters.of(arm).json.is_empty() || self.reads_usage(arm, backend)
    }

    /// Whether tokens are read from answers of an arm's backend.
    #[must_use]
    pub fn reads_usage(&self, arm: Arm, backend: BackendIndex) -> bool {
        !self.meters.of(arm).usage.is_empty() || self.config().backends[backend].pricing.is_some()
    }

    /// Decides for a route, as a request at `now` would be decided.
    #[must_use]
    pub fn decide(&self, route: RouteIndex, contexts: &Contexts<'_>, now: Millis) -> (Decision, Health) {
        let health = self.health(route, now);
        (decision::decide(&self.config().routes[route].policy, contexts, &health), health)
    }

    /// The index of the route with this name.
    #[must_use]
    pub fn route_named(&self, name: &str) -> Option<RouteIndex> {
        self.config().routes.iter().position(|route| &*route.name == name)
    }
}

/// Whether a backend has a budget, and today's is spent. Only one with a budget is asked for the day.
fn is_spent(state: &BackendState, backend: &Backend) -> bool {
    backend.cost_per_day.is_some_and(|most| state.spent(clock::utc_day()) >= most)
}

/// What came of the attempts to reload.
#[derive(Debug, Clone, Default)]
pub struct ReloadStatus {
    /// Whether something that was typed does not run: the last attempt failed, or a file of `routes.d`
    /// was left out.
    pub failed: bool,
    /// What is wrong, when something is.
    pub error: Option<String>,
    /// When a configuration was last published.
    pub succeeded_at: Option<jiff::Timestamp>,
    /// Counts by result (`applied`, `unchanged`, `failed`) and trigger (`watch`, `poll`, `signal`, `api`).
    pub counts: HashMap<(&'static str, &'static str), u64>,
    /// Keys that were changed in the file and take effect only after a restart.
    pub restart_required: Vec<String>,
    /// How changes are noticed: `inotify+poll`, or `poll` alone; empty where nothing is reloaded.
    pub watching: &'static str,
}

/// The running configuration and everything that belongs to names.
#[derive(Debug)]
pub struct Live {
    current: ArcSwap<Snapshot>,
    generation: AtomicU64,
    /// Keeps a word for who waits in [`Live::published`].
    published: Notify,
    registry: Mutex<Registry>,
    reloads: Mutex<ReloadStatus>,
    ready: AtomicBool,
    /// Counts of each worker beside routes.
    pub workers: Box<[WorkerCounters]>,
    /// What stands for users in logs and events.
    pub users: Users,
    /// The background tasks of new upstreams run here.
    background: tokio::runtime::Handle,
}

/// State by name. It only grows: a route that comes back finds its counts.
#[derive(Debug, Default)]
struct Registry {
    routes: HashMap<Arc<str>, Arc<RouteState>>,
    backends: HashMap<Arc<str>, LiveBackend>,
    judges: HashMap<Arc<str>, Judge>,
    metrics: MetricIds,
    jwks: Option<Arc<Jwks>>,
    /// What runs, as the file has it.
    base: Option<Loaded>,
    exposures: Exposures,
}

impl Live {
    /// Publishes the first configuration, for this many workers.
    ///
    /// # Errors
    /// When a backend cannot be built, for example because its certificates cannot be read.
    pub fn new(loaded: Loaded, workers: usize, background: tokio::runtime::Handle) -> Result<Arc<Self>, BuildError> {
        let mut registry = Registry::default();
        let snapshot = registry.snapshot(loaded, 1, workers, &background)?;
        Ok(Arc::new(Self {
            current: ArcSwap::from_pointee(snapshot),
            generation: AtomicU64::new(1),
            published: Notify::new(),
            registry: Mutex::new(registry),
            reloads: Mutex::new(ReloadStatus { succeeded_at: Some(clock::timestamp()), ..ReloadStatus::default() }),
            ready: AtomicBool::new(true),
            users: Users::default(),
            workers: std::iter::repeat_with(WorkerCounters::default).take(workers).collect(),
            background,
        }))
    }

    /// The running snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The running generation: changes after the snapshot has.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Publishes a configuration. Returns its generation.
    ///
    /// # Errors
    /// When a backend cannot be built; what ran before goes on.
    pub fn publish(&self, loaded: Loaded) -> Result<u64, BuildError> {
        // The lock is held to the end, so that of two publications the later one stays.
        let mut registry = lock(&self.registry);
        let generation = self.generation() + 1;
        let snapshot = registry.snapshot(loaded, generation, self.workers.len(), &self.background)?;
        self.current.store(Arc::new(snapshot));
        self.generation.store(generation, Ordering::Release);
        self.published.notify_one();
        Ok(generation)
    }

    /// Ready once a configuration was published since this was ready the last time. For one waiter: the controller.
    pub async fn published(&self) {
        self.published.notified().await;
    }

    /// Publishes what the controller says about shares. Routes that are not named stay as they are; what
    /// says what was said already publishes nothing.
    pub fn expose(&self, exposures: Exposures) {
        let mut registry = lock(&self.registry);
        let news = exposures.iter().any(|(route, exposure)| registry.exposures.get(route) != Some(exposure));
        let Some(base) = registry.base.clone().filter(|_| news) else { return };
        registry.exposures.extend(exposures);
        let generation = self.generation() + 1;
        match registry.snapshot(base, generation, self.workers.len(), &self.background) {
            Ok(snapshot) => {
                self.current.store(Arc::new(snapshot));
                self.generation.store(generation, Ordering::Release);
            }
            // Only a backend that is new can fail to be built, and there is none.
            Err(error) => tracing::error!(%error, "a change of shares could not be published"),
        }
    }

    /// The number of a metric, also of one that no configuration names any more.
    #[must_use]
    pub fn metric_id(&self, name: &str) -> MetricId {
        lock(&self.registry).metrics.of(&Arc::from(name))
    }

    /// The names of all metrics that there have been, by number.
    #[must_use]
    pub fn metric_names(&self) -> Vec<Arc<str>> {
        lock(&self.registry).metrics.names()
    }

    /// The number of a route, also of one that no configuration names any more.
    #[must_use]
    pub fn route_id(&self, name: &str) -> u32 {
        lock(&self.registry).route(&Arc::from(name), self.workers.len()).id
    }

    /// The names of all routes that there have been, by number.
    #[must_use]
    pub fn route_names(&self) -> HashMap<u32, Arc<str>> {
        lock(&self.registry).routes.values().map(|state| (state.id, Arc::clone(&state.name))).collect()
    }

    /// What came of reloads; for reading and for the reload path.
    pub fn reloads(&self) -> MutexGuard<'_, ReloadStatus> {
        lock(&self.reloads)
    }

    /// Whether this process wants traffic. Does not depend on backends: they fail alone.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Asks for no more traffic, as the first step of stopping.
    pub fn set_unready(&self) {
        self.ready.store(false, Ordering::Relaxed);
    }
}

impl Registry {
    fn snapshot(
        &mut self,
        mut loaded: Loaded,
        generation: u64,
        workers: usize,
        background: &tokio::runtime::Handle,
    ) -> Result<Snapshot, BuildError> {
        let base = loaded.clone();
        exposures::doubt(&mut self.exposures, self.base.as_ref().map(|base| &base.config), &loaded.config);
        exposures::lay_over(&mut loaded.config, &self.exposures);
        let mut upstreams = Vec::with_capacity(loaded.config.backends.len());
        for backend in &loaded.config.backends {
            let kept = self.backends.get(&backend.name).and_then(|live| live.upstream.clone());
            upstreams.push(match (&backend.target, kept.filter(|upstream| upstream.serves(backend))) {
                (Target::Endpoints(_), Some(upstream)) => Some((upstream, false)),
                (Target::Endpoints(_), None) => Some((Upstream::new(backend)?, true)),
                (Target::Respond(_) | Target::Off, _) => None,
            });
        }
        let jwks = self.jwks(&loaded.config)?;
        let judges = loaded.config.judges.iter().map(|judge| Judge::new(judge, self.judges.get(&judge.name)));
        let judges = judges.collect::<Result<Vec<_>, _>>()?;
        // From here on nothing can fail: the registry changes only when the snapshot stands.
        self.judges.extend(judges.iter().map(|judge| (Arc::clone(&judge.state.name), judge.clone())));
        let backends = loaded.config.backends.iter().zip(upstreams);
        let backends = backends.map(|(backend, upstream)| self.backend(&backend.name, upstream, background)).collect();
        let routes = loaded.config.routes.iter().map(|route| self.route(&route.name, workers));
        let routes: Vec<Arc<RouteState>> = routes.collect();
        for (route, state) in loaded.config.routes.iter().zip(&routes) {
            state.shadow.set_percent(route.shadow.percent.get());
        }
        let table = RouteTable::new(&loaded.config);
        let phases = loaded.config.routes.iter().map(|route| phase::parts(&loaded.config, route).phase()).collect();
        let meters = self.metrics.meters(&loaded.config.metrics);
        let is_claim = |source: &Source| matches!(source, Source::Claim(_));
        let reads_claims = loaded.config.routes.iter().map(|route| loaded.config.reads(route, is_claim)).collect();
        if let Some(jwks) = &jwks {
            jwks.spawn_background(background);
        }
        self.jwks.clone_from(&jwks);
        self.base = Some(base);
        let exposing = Exposing::new(&loaded.config);
        let private = PrivateFields::new(&loaded.config);
        Ok(Snapshot {
            generation,
            loaded,
            published_at: clock::timestamp(),
            table,
            routes,
            backends,
            judges,
            phases,
            meters,
            reads_claims,
            private,
            jwks,
            exposing,
        })
    }

    fn jwks(&self, config: &Config) -> Result<Option<Arc<Jwks>>, BuildError> {
        let Some(settings) = config.jwt.as_ref().and_then(|jwt| jwt.jwks.as_ref()) else { return Ok(None) };
        match self.jwks.as_ref().filter(|jwks| jwks.serves(settings)) {
            Some(jwks) => Ok(Some(Arc::clone(jwks))),
            None => Jwks::new(settings, self.jwks.as_deref()).map(Arc::new).map(Some),
        }
    }

    fn backend(
        &mut self,
        name: &Arc<str>,
        upstream: Option<(Arc<Upstream>, bool)>,
        background: &tokio::runtime::Handle,
    ) -> LiveBackend {
        let upstream = upstream.map(|(upstream, fresh)| {
            if fresh {
                upstream.spawn_background(background);
            }
            upstream
        });
        let known = self.backends.get(name).map(|live| Arc::clone(&live.state));
        let state = known.unwrap_or_else(|| Arc::new(BackendState::new(Arc::clone(name))));
        let live = LiveBackend { state, upstream };
        self.backends.insert(Arc::clone(name), live.clone());
        live
    }

    fn route(&mut self, name: &Arc<str>, workers: usize) -> Arc<RouteState> {
        let id = u32::try_from(self.routes.len()).unwrap_or(u32::MAX);
        let new = || Arc::new(RouteState::new(Arc::clone(name), id, workers));
        Arc::clone(self.routes.entry(Arc::clone(name)).or_insert_with(new))
    }
}

/// What a panicking holder left behind is whole: every change under these locks is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
