//! The composition root: a configuration becomes running services, and these stop in order.

mod chronicle;
mod told;

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::admin::{self, Bound, Console};
use crate::alerts::Alerts;
use crate::config::{Loaded, Sources};
use crate::controller::rollout::Walker;
use crate::controller::{self, Keeper, Rollouts, SharedEvidence, SharedWindows};
use crate::events::{Intake, upkeep};
use crate::live::{Attempted, Live, Reloader, Watching};
use crate::proxy::listener::Stopper;
use crate::proxy::{DataPlane, StartError};
use crate::sampling::Sampling;
use crate::store::Journal;
use crate::telemetry::access::{AccessLog, AccessLogGuard};
use crate::telemetry::log::LogHandle;
use crate::upstream::BuildError;

/// Threads for everything that is not a client's request: administration, health checks, reloads.
const CONTROL_THREADS: usize = 1;
/// How long traffic waits for the store at the start.
const STORE_WAIT: Duration = Duration::from_secs(1);
/// How long the end waits for the history.
const JOURNAL_WAIT: Duration = Duration::from_secs(1);
/// How long the end waits for evidence to be written.
const KEEPER_WAIT: Duration = Duration::from_secs(5);

/// Why the gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The control runtime could not be made.
    #[error("cannot start the control runtime")]
    Runtime(#[source] std::io::Error),
    /// A backend could not be built.
    #[error("cannot build a backend")]
    Backend(#[from] BuildError),
    /// The thread that watches the configuration could not be made.
    #[error("cannot watch the configuration")]
    Watch(#[source] std::io::Error),
    /// An address for probes or administration cannot be listened on.
    #[error("cannot listen on {address} ({key})")]
    Listen {
        /// The key that names it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The data plane could not start.
    #[error("cannot start the data plane")]
    DataPlane(#[from] StartError),
}

/// A running gateway.
pub struct Gateway {
    /// What is running.
    pub live: Arc<Live>,
    /// The last minutes.
    pub windows: SharedWindows,
    /// Where the configuration came from.
    pub sources: Option<Sources>,
    /// Replaces the configuration; where it came from somewhere.
    pub reloader: Option<Arc<Reloader>>,
    /// Changes the log's filter.
    pub log: LogHandle,
    /// Takes events in, and has the store.
    pub intake: Arc<Intake>,
    /// Where rollouts stand.
    pub rollouts: Rollouts,
    /// Where probes and scrapers connect.
    pub observe: SocketAddr,
    /// Where operators connect.
    pub admin: SocketAddr,
    /// Tells webhooks.
    pub alerts: Alerts,
    journal: Journal,
    watching: Option<Watching>,
    data: DataPlane,
    access: Arc<AccessLogGuard>,
    keeper: Keeping,
    walking: Walking,
    control: Runtime,
}

impl Gateway {
    /// Starts everything; returns once clients can connect. `sources` are where the configuration came from
    /// and is reloaded from; without them it stays as it is. Access lines go to `access_log`.
    ///
    /// # Errors
    /// When an address is taken, a backend cannot be built or the system refuses threads.
    pub fn start(
        loaded: Loaded,
        access_log: impl std::io::Write + Send + 'static,
        sources: Option<Sources>,
        log: LogHandle,
    ) -> Result<Self, AppError> {
        let control = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(CONTROL_THREADS)
            .thread_name("control")
            .enable_all()
            .build()
            .map_err(AppError::Runtime)?;
        let workers = match loaded.config.listen.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let observe = listen("observe.address", loaded.config.observe.address)?;
        let admin = listen("admin.address", loaded.config.admin.address)?;
        let addresses = (observe.address(), admin.address());
        let live = Live::new(loaded, workers, control.handle().clone())?;
        let intake = Arc::new(Intake::new(Arc::clone(&live), Arc::default()));
        open_store(&control, &intake);
        let journal = Journal::start(Arc::clone(intake.store()), control.handle());
        let alerts = Alerts::start(Arc::clone(&live), Arc::clone(intake.store()), control.handle());
        let sampling = Sampling::start(Arc::clone(&live), Arc::clone(intake.store()), control.handle());
        let windows = SharedWindows::default();
        let evidence = SharedEvidence::default();
        let tell = told::teller(alerts.clone());
        let (rollouts, walker) =
            Rollouts::new(Arc::clone(&live), Arc::clone(intake.store()), windows.clone(), evidence.clone(), tell);
        // Before anybody connects: who had the candidate before a restart has it after.
        let walking = Walking::start(&control, walker);
        let (access_log, access) = AccessLog::new(access_log);
        let (data, rings) = DataPlane::start(&live, &access_log, &intake, &sampling)?;
        control.spawn(controller::run(Arc::clone(&live), rings, windows.clone(), evidence.clone()));
        let keeper = Keeping::start(&control, &live, &intake, (&evidence, &windows));
        let reloader = sources.clone().map(|sources| reloader(&live, sources, &log, &journal));
        let watching = reloader.clone().map(Watching::start).transpose().map_err(AppError::Watch)?;
        let console = Console {
            live: Arc::clone(&live),
            windows: windows.clone(),
            access: Arc::clone(&access),
            log: log.clone(),
            reloader: reloader.clone(),
            intake: Arc::clone(&intake),
            journal: journal.clone(),
            evidence,
            rollouts: rollouts.clone(),
            alerts: alerts.clone(),
        };
        journal.note(chronicle::started(live.snapshot().config()));
        admin::serve(control.handle(), observe, admin, console);
        let (observe, admin) = addresses;
        Ok(Self {
            live,
            windows,
            sources,
            reloader,
            log,
            intake,
            observe,
            admin,
            alerts,
            journal,
            watching,
            data,
            access,
            keeper,
            walking,
            rollouts,
            control,
        })
    }

    /// The runtime of everything that is not a client's request.
    #[must_use]
    pub const fn control(&self) -> &Runtime {
        &self.control
    }

    /// Where clients connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.data.address
    }

    /// Ends the workers at once; for a second signal.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.data.stopper()
    }

    /// Stops in order: not ready, `drain_delay`, accept no more, wait for what is in flight.
    pub fn stop(self) {
        let shutdown = self.live.snapshot().config().shutdown.clone();
        self.live.set_unready();
        self.journal.note(chronicle::stopped());
        self.data.linger(shutdown.drain_delay);
        self.data.drain(shutdown.drain_timeout);
        drop(self.watching);
        self.journal.flush(JOURNAL_WAIT);
        self.walking.end(&self.control);
        self.keeper.end(&self.control);
        self.control.shutdown_timeout(Duration::from_secs(1));
        drop(self.access);
    }
}

/// The task that keeps evidence, and how it is told to end.
struct Keeping {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Keeping {
    fn start(
        control: &Runtime,
        live: &Arc<Live>,
        intake: &Intake,
        (evidence, windows): (&SharedEvidence, &SharedWindows),
    ) -> Self {
        let (stop, stopping) = oneshot::channel();
        let keeper = Keeper::new(Arc::clone(live), Arc::clone(intake.store()), evidence.clone(), windows.clone());
        Self { stop, task: control.spawn(keeper.run(stopping)) }
    }

    /// Writes what has not been written, as far as there is time.
    fn end(self, control: &Runtime) {
        // The controller takes what is in the rings once more first.
        std::thread::sleep(2 * controller::TICK);
        if self.stop.send(()).is_err() {
            return;
        }
        // A timer needs the runtime around it when it is made.
        if control.block_on(async { tokio::time::timeout(KEEPER_WAIT, self.task).await }).is_err() {
            tracing::error!("the last evidence could not be written in time");
        }
    }
}

/// The task that walks rollouts, and how it is told to end.
struct Walking {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Walking {
    /// Waits until it is known where each rollout stands, or that the store does not tell.
    fn start(control: &Runtime, mut walker: Walker) -> Self {
        let (stop, stopping) = oneshot::channel();
        control.block_on(walker.begin());
        Self { stop, task: control.spawn(walker.run(stopping)) }
    }

    fn end(self, control: &Runtime) {
        if self.stop.send(()).is_err() {
            return;
        }
        if control.block_on(async { tokio::time::timeout(KEEPER_WAIT, self.task).await }).is_err() {
            tracing::error!("where the rollouts stand could not be written in time");
        }
    }
}

/// Opens the store in the background, and gives it a moment, so that who can connect can mostly use it.
fn open_store(control: &Runtime, intake: &Arc<Intake>) {
    let (tried, first_try) = mpsc::channel();
    control.spawn(upkeep::run(Arc::clone(intake), tried));
    // A store that takes longer, or fails, keeps no traffic away.
    let _late = first_try.recv_timeout(STORE_WAIT);
}

fn listen(key: &'static str, address: SocketAddr) -> Result<Bound, AppError> {
    Bound::to(address).map_err(|source| AppError::Listen { key, address, source })
}

/// The reloader of what runs, with the log's filter at its hand.
fn reloader(live: &Arc<Live>, sources: Sources, log: &LogHandle, journal: &Journal) -> Arc<Reloader> {
    let (log, journal) = (log.clone(), journal.clone());
    let set_log_filter = Box::new(move |filter: &str| {
        if let Err(error) = log.set(filter) {
            tracing::warn!(filter, %error, "the log goes on as it was");
        }
    });
    let tell = Box::new(move |attempted: &Attempted<'_>| {
        if let Some(entry) = chronicle::reloaded(attempted) {
            journal.note(entry);
        }
    });
    Arc::new(Reloader::new(Arc::clone(live), sources, set_log_filter).telling(tell))
}
