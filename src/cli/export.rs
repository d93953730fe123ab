//! `pointsman export`: all events that a running gateway has stored, the exchanges that it kept, or who was in which
//! arm, as a file.

mod assignments;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::client::{AdminArgs, Client};
use super::events::Which;
use super::fresh::Fresh;
use super::output;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table, for spreadsheets.
    Csv,
    /// One list.
    Json,
    /// A JSON object a line.
    Ndjson,
}

impl Format {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
        }
    }
}

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How events are written.
    #[arg(long, value_enum)]
    pub format: Format,
    /// Exchanges that were kept ([routes.NAME.samples]) instead of events.
    #[arg(long, conflicts_with = "name")]
    pub samples: bool,
    /// Where to; standard output without it.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the file, should it be there.
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Instead of events: who was in which arm of --route, as far as it is kept.
    #[arg(long)]
    pub assignments: bool,
    /// Which; all of them without more.
    #[command(flatten)]
    pub which: Which,
    /// The gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Writes the file: whole, or not at all.
///
/// # Errors
/// If the gateway cannot be asked, its answer breaks off, or the file cannot be written or is there already.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.admin.client()?;
    if args.assignments {
        return write_assignments(args, &client);
    }
    let mut query = args.which.query();
    if args.samples {
        query.append_pair("what", "samples");
    }
    let page = format!("/api/v1/export?{}", query.append_pair("format", args.format.as_str()).finish());
    let progress = progress();
    let Some(path) = &args.output else {
        client.download(&page, |piece| {
            progress.inc(piece.len() as u64);
            output::write_bytes(piece)
        })?;
        progress.finish_and_clear();
        return Ok(ExitCode::SUCCESS);
    };
    let mut fresh = Fresh::create(path, args.force)?;
    client.download(&page, |piece| {
        progress.inc(piece.len() as u64);
        fresh.file.write_all(piece)
    })?;
    fresh.keep()?;
    progress.finish_and_clear();
    output::note(&format!("{}: {}\n", path.display(), HumanBytes(progress.position())))?;
    Ok(ExitCode::SUCCESS)
}

fn write_assignments(args: &Args, client: &Client) -> anyhow::Result<ExitCode> {
    let (bytes, note) = assignments::written(args, client)?;
    match &args.output {
        None => output::write_bytes(&bytes)?,
        Some(path) => {
            let mut fresh = Fresh::create(path, args.force)?;
            fresh.file.write_all(&bytes)?;
            fresh.keep()?;
        }
    }
    output::note(&note)?;
    Ok(ExitCode::SUCCESS)
}

/// How much has come, where somebody looks.
fn progress() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {bytes} {binary_bytes_per_sec} {elapsed}");
    let progress = ProgressBar::new_spinner();
    match style {
        Ok(style) => progress.with_style(style),
        Err(_) => progress,
    }
}
