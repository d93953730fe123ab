//! `pointsman traffic`: made-up users who ask at a rate or think in between, and how the arms answered them.
//!
//! | file | what |
//! |---|---|
//! | `args`, `threshold` | what is typed |
//! | `plan`, `crowd`, `questions` | who asks what, checked before anything is called |
//! | `schedule`, `run`, `connection` | when, over which connection, and what came of it |
//! | `feedback` | events that users send |
//! | `tally`, `told` | figures, and how they are shown |
//!
//! It asks a gateway as strangers do and knows nothing of it from inside. Invariant: nothing is looked up or
//! called but the addresses on the command line.

mod args;
mod connection;
mod crowd;
mod feedback;
mod plan;
mod questions;
mod run;
mod schedule;
mod tally;
mod threshold;
mod told;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

pub use args::Args;
use plan::Plan;
use run::Ran;
use told::PlanFigures;

use super::fresh::Fresh;
use super::{MISTAKES, output};
use crate::clock;

/// Exit code of a process that was interrupted, as shells have it for SIGINT.
const INTERRUPTED: u8 = 130;
/// How often the progress is drawn, though nothing moved.
const TICK: Duration = Duration::from_millis(200);

/// Sends traffic and tells what came of it. Exit code 1: a condition of --fail-if holds, or nothing was answered
/// 2xx. 2: it cannot be sent so, or nobody is there. 130: it was interrupted.
///
/// # Errors
/// If the result cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let prepared = Plan::new(args).and_then(|plan| {
        let fresh = args.told.output.as_ref().map(|path| Fresh::create(path, args.told.force)).transpose()?;
        Ok((plan, fresh))
    });
    let (plan, fresh) = match prepared {
        Ok(prepared) => prepared,
        Err(mistake) => return mistaken(&mistake),
    };
    let figures = PlanFigures::of(&plan, clock::timestamp());
    let progress = progress(plan.requests);
    let ran = run::run(plan, &progress);
    progress.finish_and_clear();
    match ran {
        Ok(ran) => tell(args, &figures, &ran, fresh),
        Err(mistake) => mistaken(&mistake),
    }
}

fn mistaken(mistake: &anyhow::Error) -> anyhow::Result<ExitCode> {
    output::failure(mistake);
    Ok(ExitCode::from(MISTAKES))
}

fn tell(args: &Args, figures: &PlanFigures, ran: &Ran, fresh: Option<Fresh>) -> anyhow::Result<ExitCode> {
    let judge = |threshold: &threshold::Threshold| {
        threshold.judge(|group| group.map_or(&ran.sums.total, |group| ran.sums.group(group)))
    };
    let verdicts: Vec<_> = args.told.fail_if.iter().map(judge).collect();
    let json = told::as_json(args, figures, ran, &verdicts);
    if let Some(mut fresh) = fresh {
        fresh.file.write_all(format!("{json:#}\n").as_bytes())?;
        fresh.keep()?;
    }
    if args.told.json {
        output::write_json(&json)?;
    } else {
        output::write(&told::told(ran, &verdicts))?;
    }
    let nothing = ran.sums.total.errors == ran.sums.total.queries;
    Ok(if ran.interrupted {
        ExitCode::from(INTERRUPTED)
    } else if nothing || verdicts.iter().any(|verdict| verdict.failed) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// How far it is, where somebody looks.
fn progress(requests: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (progress, template) = match requests {
        Some(requests) => (ProgressBar::new(requests), "{elapsed} {wide_bar} {pos}/{len} {per_sec} {msg}"),
        None => (ProgressBar::new_spinner(), "{spinner} {elapsed} {pos} {per_sec} {msg}"),
    };
    progress.enable_steady_tick(TICK);
    match ProgressStyle::with_template(template) {
        Ok(style) => progress.with_style(style),
        Err(_) => progress,
    }
}
