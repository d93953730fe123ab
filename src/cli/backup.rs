//! `pointsman backup`: a copy of the store, also while the gateway runs, and the way back.
//!
//! It works on files, not through the gateway: who holds a token may not choose where a gateway writes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::environment::SourceArgs;
use super::fresh::Fresh;
use super::{MISTAKES, output};
use crate::config::model::StorePlace;
use crate::config::{load, report};
use crate::store::sqlite::backup;

/// Arguments of `backup`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The copy.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The other way: put the copy in the place of the store, while no gateway uses it.
    #[arg(long)]
    pub restore: bool,
    /// Replace what is there.
    #[arg(long)]
    pub force: bool,
    /// The store; without it `state.store` of the configuration.
    #[arg(long, value_name = "FILE")]
    pub store: Option<PathBuf>,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Copies the store, or puts a copy in its place. Exit code 2: the configuration has mistakes.
///
/// # Errors
/// If there is no store, the copy is none, the store is in use, or something would be replaced.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(store) = store(args)? else { return Ok(ExitCode::from(MISTAKES)) };
    if is_same(&store, &args.file) {
        bail!("{} is the store itself", args.file.display());
    }
    let told = if args.restore { restore(args, &store)? } else { back_up(args, &store)? };
    output::note(&told)?;
    Ok(ExitCode::SUCCESS)
}

fn store(args: &Args) -> anyhow::Result<Option<PathBuf>> {
    if let Some(store) = &args.store {
        return Ok(Some(store.clone()));
    }
    match load(&args.source.sources()?, None) {
        Ok(loaded) => match loaded.config.state.store {
            StorePlace::Sqlite(path) => Ok(Some(path)),
            StorePlace::Memory => bail!("state.store is \"memory\": there is no file to copy"),
        },
        Err(mistakes) => {
            output::note(&report::render(&mistakes.diagnostics, output::note_style()))?;
            Ok(None)
        }
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn back_up(args: &Args, store: &Path) -> anyhow::Result<String> {
    let fresh = Fresh::create(&args.file, args.force)?;
    let events = backup::copy(store, fresh.part())?;
    fresh.keep()?;
    Ok(format!("{}: a copy of {} with {events} events\n", args.file.display(), store.display()))
}

fn restore(args: &Args, store: &Path) -> anyhow::Result<String> {
    if !args.force && store.symlink_metadata().is_ok() {
        bail!("{} is there already; --force replaces it", store.display());
    }
    backup::check(&args.file).context("the copy cannot be used")?;
    // On the same file system as the store, so that it can take its place at once.
    let fresh = Fresh::create(store, args.force)?;
    let events = backup::copy(&args.file, fresh.part()).context("the copy cannot be used")?;
    backup::replace(store, fresh.part())?;
    Ok(format!("{}: restored from {} with {events} events\n", store.display(), args.file.display()))
}
