//! `pointsman rehearse`: what a file's plan and guards would do with evidence that is made up, or was recorded.
//!
//! It reads a file and starts nothing: no request is sent. `--demands` asks the same of Pointsman's own guards.

mod assumed;
mod demanded;
mod recorded;
mod told;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};

use super::environment::SourceArgs;
use super::{MISTAKES, output};
use crate::config::model::{Config, MetricRef, Route, kind, parts};
use crate::config::{load, report};
use crate::domain::Arm;
use crate::domain::guard::{Metrics, Parts};
use crate::domain::metric::{Kind, MetricId};
use crate::domain::rehearsal::{Courses, Pace, Subject, Traffic, run as rehearse};
use crate::domain::rollout::Plan;

/// Most runs.
const MAX_RUNS: u64 = 100_000;
/// Most users.
const MAX_USERS: u32 = 1_000_000;
/// Most looks of a run; longer runs look less often.
const MAX_LOOKS: u64 = 20_000;
/// Most requests of a run.
const MAX_REQUESTS: f64 = 20e6;
/// The longest run.
const MAX_DAYS: f64 = 90.0;
/// How long a plan may take, in times of its own hold times, where nobody says.
const PATIENCE: u32 = 3;
/// What a percentage that the file owns is rehearsed for, where nobody says.
const FIXED: Duration = Duration::from_secs(24 * 3600);

/// Arguments of `rehearse`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration, as with --config.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub file: Option<PathBuf>,
    /// The route.
    #[arg(long, value_name = "NAME", required_unless_present = "demands")]
    pub route: Option<String>,
    /// Runs with equal arms, and as many with an effect.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_RUNS))]
    pub runs: Option<u64>,
    /// Made-up users.
    #[arg(long, value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_USERS)))]
    pub users: u32,
    /// How uneven they ask: at 0 all alike, at 1 the n-th most active 1/n as often as the first.
    #[arg(long, value_name = "NUMBER", default_value = "0.8", value_parser = between(0.0, 2.0))]
    pub skew: f64,
    /// How much of the differences lies between users, the rest between their requests: 0 to 1.
    #[arg(long, value_name = "SHARE", default_value = "0.3", value_parser = between(0.0, 1.0))]
    pub between_users: f64,
    /// Requests a second, of both arms.
    #[arg(long, value_name = "N", default_value = "10", value_parser = between(0.001, 10_000.0))]
    pub rate: f64,
    /// The longest time that a run may take, in days; three times the plan's own by default.
    #[arg(long, value_name = "DAYS", value_parser = between(0.001, MAX_DAYS))]
    pub days: Option<f64>,
    /// Another seed, other users and chances.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// The mean of a metric in both arms, and for numbers its standard deviation, as often as wanted: error_rate=2%,
    /// latency=400ms, quality=0.85,0.2. What is told shows what is assumed.
    #[arg(long = "mean", value_name = "METRIC=MEAN[,DEVIATION]")]
    pub means: Vec<String>,
    /// What the candidate's mean is in a second set of runs, as often as wanted: error_rate=10%.
    #[arg(long = "effect", value_name = "METRIC=MEAN")]
    pub effects: Vec<String>,
    /// Replay the events of a file that `pointsman export --format ndjson` wrote, instead of made-up requests.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["users", "skew", "rate", "between_users", "means"])]
    pub from: Option<PathBuf>,
    /// Check what Pointsman promises of its own guards, without a file: dead candidates, falling quality, errors, equal arms.
    #[arg(long, conflicts_with_all = ["route", "file", "from", "effects", "means"])]
    pub demands: bool,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

fn between(least: f64, most: f64) -> impl Fn(&str) -> Result<f64, String> + Clone {
    move |word| {
        let number = word.parse::<f64>().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("expected a number from {least} to {most}"))
    }
}

/// Where the metrics of a file are.
struct OfFile<'a>(&'a Config);

impl Metrics for OfFile<'_> {
    fn parts(&self, metric: MetricRef, arm: Arm) -> Parts {
        // A file has far fewer metrics than there are numbers.
        parts(&self.0.metrics, metric, arm, |index| MetricId(u16::try_from(index).unwrap_or(u16::MAX)))
    }

    fn kind(&self, metric: MetricRef) -> Kind {
        kind(&self.0.metrics, metric)
    }
}

/// Rehearses. Exit code 1: a demand does not hold, 2: mistakes in the file, or nothing to rehearse.
///
/// # Errors
/// What is wrong with the arguments or the recording; or the result cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.demands {
        return demanded::run(args);
    }
    let mut sources = args.source.sources()?;
    if let Some(file) = &args.file {
        sources.path.clone_from(file);
    }
    let loaded = match load(&sources, None) {
        Ok(loaded) => loaded,
        Err(report) => return mistakes(&report::render(&report.diagnostics, output::note_style())),
    };
    let config = &loaded.config;
    let name = args.route.as_deref().unwrap_or_default();
    let Some(route) = config.routes.iter().find(|route| *route.name == *name) else {
        let known: Vec<&str> = config.routes.iter().map(|route| &*route.name).collect();
        return mistakes(&format!("error: there is no route {name:?}; there are {}\n", known.join(", ")));
    };
    if route.guards.is_empty() && route.rollout.plan.is_empty() {
        return mistakes(&format!(
            "error: route {name} has neither guards nor stages, so there is nothing to rehearse\n  help: add \
             [routes.{name}.guards.NAME] or [[routes.{name}.rollout.stages]]\n"
        ));
    }
    let told = rehearsed(args, config, route)?;
    if args.json {
        output::write_json(&told::as_json(&told))?;
    } else {
        output::write(&told::as_text(&told))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn mistakes(text: &str) -> anyhow::Result<ExitCode> {
    output::note(text)?;
    Ok(ExitCode::from(MISTAKES))
}

/// Everything that was found out.
struct Told<'a> {
    route: &'a Route,
    pace: Pace,
    seed: u64,
    assumed: Vec<assumed::Assumed>,
    /// With equal arms, then with the effect, if there is one.
    courses: Vec<Courses>,
    notes: Vec<String>,
}

fn rehearsed<'a>(args: &Args, config: &Config, route: &'a Route) -> anyhow::Result<Told<'a>> {
    let metrics = OfFile(config);
    let subject = Subject {
        plan: &route.rollout.plan,
        gates: &route.rollout.gates,
        guards: &route.guards,
        error_budget: route.rollout.error_budget,
        abort_on_failures: route.rollout.abort_on_failures,
        metrics: &metrics,
    };
    let mut notes = Vec::new();
    let assumed = match &args.from {
        None => assumed::all(args, config, route, &metrics)?,
        Some(_) => Vec::new(),
    };
    let mut pace = pace(args, &route.rollout.plan)?;
    let mut courses = Vec::new();
    if let Some(path) = &args.from {
        let replayed = recorded::read(path, args, config, route)?;
        notes.extend(replayed.notes);
        // Behind the last event there is nothing to see.
        let length = Duration::from_secs(replayed.equal.events.last().map_or(0, |event| event.at) + 1);
        pace = paced(length.min(pace.horizon));
        let both = [Some(&replayed.equal), replayed.effect.as_ref()];
        let all: Vec<Traffic<'_>> = both.into_iter().flatten().map(Traffic::Recording).collect();
        courses.extend(many(args, &subject, &all, pace));
        return Ok(Told { route, pace, seed: args.seed, assumed: replayed.assumed, courses, notes });
    }
    if args.rate * pace.horizon.as_secs_f64() > MAX_REQUESTS {
        bail!("a run would have more than {MAX_REQUESTS:.0} requests; a lower --rate or fewer --days would do");
    }
    let worlds = assumed::worlds(args, &assumed);
    let all: Vec<Traffic<'_>> = worlds.iter().map(Traffic::World).collect();
    courses.extend(many(args, &subject, &all, pace));
    Ok(Told { route, pace, seed: args.seed, assumed, courses, notes })
}

/// All runs of each kind of traffic.
fn many(args: &Args, subject: &Subject<'_>, all: &[Traffic<'_>], pace: Pace) -> Vec<Courses> {
    let runs = args.runs.unwrap_or(200);
    let progress = progress(runs * all.len() as u64);
    let each = all.iter().map(|traffic| {
        let mut courses = Courses::default();
        for number in 0..runs {
            courses.add(rehearse(subject, *traffic, pace, seed(args.seed, number)));
            progress.inc(1);
        }
        courses
    });
    let all = each.collect();
    progress.finish_and_clear();
    all
}

/// The seed of a run.
const fn seed(of_all: u64, number: u64) -> u64 {
    of_all.wrapping_mul(MAX_RUNS).wrapping_add(number)
}

/// How long a run may take, and how often it is looked at.
fn pace(args: &Args, plan: &Plan) -> anyhow::Result<Pace> {
    let planned = match plan {
        Plan::Fixed(_) => FIXED,
        Plan::Staged(plan) => {
            let hold = plan.stages.iter().map(|stage| stage.hold.max(stage.settle));
            hold.fold(plan.watch, Duration::saturating_add)
        }
    };
    let times = if plan.is_empty() { 1 } else { PATIENCE };
    let horizon = match args.days {
        Some(days) => Duration::from_secs_f64(days * 86_400.0),
        None => planned.saturating_mul(times).saturating_add(Duration::from_secs(3_600)),
    };
    if horizon.as_secs_f64() > MAX_DAYS * 86_400.0 {
        bail!("the plan takes too long to be rehearsed as a whole; --days bounds it ({MAX_DAYS} at most)");
    }
    Ok(paced(horizon))
}

fn paced(horizon: Duration) -> Pace {
    let look = Duration::from_secs(horizon.as_secs().div_ceil(MAX_LOOKS).max(1));
    Pace { look, horizon }
}

/// How far it is, where somebody looks.
fn progress(runs: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let progress = ProgressBar::new(runs);
    match ProgressStyle::with_template("{elapsed} {wide_bar} {pos}/{len} runs, {eta} left") {
        Ok(style) => progress.with_style(style),
        Err(_) => progress,
    }
}

#[cfg(test)]
mod tests;
