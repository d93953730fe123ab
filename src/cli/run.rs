//! `pointsman run`: the gateway, until a signal ends it.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::environment::SourceArgs;
use super::{MISTAKES, output};
use crate::app::Gateway;
use crate::config;
use crate::live::reload::LEVEL_VARIABLE;
use crate::live::{Reloader, Trigger};
use crate::telemetry::log;

/// Options of `pointsman run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Loads the file, starts the gateway, and waits for SIGTERM or SIGINT. SIGHUP reloads the file.
///
/// # Errors
/// When an address is taken, or the system refuses what the gateway needs.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let sources = args.source.sources()?;
    let loaded = match config::load(&sources, None) {
        Ok(loaded) => loaded,
        Err(report) => {
            output::note(&config::report::render(&report.diagnostics, output::note_style()))?;
            return Ok(ExitCode::from(MISTAKES));
        }
    };
    let level = sources.environment.get(LEVEL_VARIABLE).unwrap_or(&loaded.config.log.level);
    let log = log::start(level).context("the log level is not a filter")?;
    for warning in &loaded.warnings {
        tracing::warn!(place = warning.place_text(), key = warning.path, "{}", warning.found);
    }
    // Before anybody can connect: a signal that comes early must not end the process unheard.
    let hearing = Hearing::start().context("signals cannot be received")?;
    let gateway = Gateway::start(loaded, std::io::stdout(), Some(sources), log)?;
    let Hearing { runtime, mut terminate, mut interrupt, hangup } = hearing;
    runtime.spawn(reload_on_hangup(gateway.reloader.clone(), hangup));
    runtime.block_on(either(&mut terminate, &mut interrupt));
    tracing::info!("stopping; a second signal ends at once");
    let stopper = gateway.stopper();
    runtime.spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        stopper.end_now();
    });
    gateway.stop();
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// The signals, with the runtime that hears them.
struct Hearing {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Hearing {
    fn start() -> std::io::Result<Self> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(1)
            .thread_name("signals")
            .enable_all()
            .build()?;
        let (terminate, interrupt, hangup) = {
            let _inside = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?)
        };
        Ok(Self { runtime, terminate, interrupt, hangup })
    }
}

/// Lets SIGHUP reload the configuration, as long as the gateway runs.
async fn reload_on_hangup(reloader: Option<Arc<Reloader>>, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        let Some(reloader) = reloader.clone() else { continue };
        // What came of it is in the log already, unless it panicked.
        let reload = tokio::task::spawn_blocking(move || reloader.reload(Trigger::Signal));
        if let Err(error) = reload.await {
            tracing::error!(%error, "a reload broke off");
        }
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
