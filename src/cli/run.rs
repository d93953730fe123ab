//! `pointsman run`: the gateway, until a signal ends it.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::environment::SourceArgs;
use super::{MISTAKES, output};
use crate::app::Gateway;
use crate::config;
use crate::live::Trigger;
use crate::live::reload::LEVEL_VARIABLE;
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
    let gateway = Gateway::start(loaded, std::io::stdout(), Some(sources), log)?;
    reload_on_hangup(&gateway).context("SIGHUP cannot be received")?;
    let (mut terminate, mut interrupt) = {
        let _inside = gateway.control().enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    gateway.control().block_on(either(&mut terminate, &mut interrupt));
    tracing::info!("stopping; a second signal ends at once");
    let stopper = gateway.stopper();
    gateway.control().spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        stopper.end_now();
    });
    gateway.stop();
    Ok(ExitCode::SUCCESS)
}

/// Lets SIGHUP reload the configuration, as long as the gateway runs.
fn reload_on_hangup(gateway: &Gateway) -> std::io::Result<()> {
    let Some(reloader) = gateway.reloader.clone() else { return Ok(()) };
    let mut hangup = {
        let _inside = gateway.control().enter();
        signal(SignalKind::hangup())?
    };
    gateway.control().spawn(async move {
        while hangup.recv().await.is_some() {
            let reloader = Arc::clone(&reloader);
            // What came of it is in the log already, unless it panicked.
            let reload = tokio::task::spawn_blocking(move || reloader.reload(Trigger::Signal));
            if let Err(error) = reload.await {
                tracing::error!(%error, "a reload broke off");
            }
        }
    });
    Ok(())
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
