//! The experiment: is the candidate better, and how sure is that.
//!
//! From the evidence of a route to a [`Report`], as a function: by the arm that was *assigned*, of randomised decisions
//! only, stratified by phase and by the percentage of a rule, with the variance between buckets of users. It decides
//! nothing about traffic. Every input has an answer in words: no number in a report is infinite or no number at all.
//!
//! Within a phase evidence has no times: a phase counts as a whole if it was in use between `start` and `stop`.

mod beside;
mod combine;
mod decide;
mod health;
mod judge;
mod novelty;
mod plan;
mod quantiles;
pub mod report;
pub mod words;

use super::Arm;
use super::evidence::{Draw, Measured, RouteEvidence, Sampled, Stratum};
use super::metric::{Better, Kind};
use super::phase::Phase;
use super::series::Seconds;
pub use combine::{Comparison, Shortfall, compare};
pub use report::{Condition, Report, Shadowed};

/// How an experiment is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The chance of a false alarm, over the whole run.
    pub alpha: f64,
    /// The chance to see a difference that is there.
    pub power: f64,
    /// The smallest relative difference that matters: 0.05 is 5 % of control. Tunes the always-valid interval.
    pub effect: f64,
    /// Users that each arm needs before anything is decided.
    pub min_users: f64,
    /// How long it has to run before anything is decided.
    pub min_duration: Seconds,
    /// Phases that ended before this do not count.
    pub start: Option<Seconds>,
    /// Phases that began after this do not count.
    pub stop: Option<Seconds>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { alpha: 0.05, power: 0.8, effect: 0.05, min_users: 100.0, min_duration: 0, start: None, stop: None }
    }
}

/// What a metric is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Role {
    /// It decides whether the candidate is better.
    Primary,
    /// It must not become worse by more than the margin.
    Guard(Margin),
    /// It is shown.
    Exploratory,
}

/// How much worse is no worse: the sum of both parts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Margin {
    /// As a share of control.
    pub relative: f64,
    /// In the metric's unit.
    pub absolute: f64,
}

/// Which sum of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The sum of the values.
    Sum,
    /// How many values there were.
    Count,
}

/// What stands above or below the line of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Term {
    /// The cell.
    pub measured: Measured,
    /// Which of its sums.
    pub part: Part,
    /// How many of the unit one of it is.
    pub scale: f64,
}

/// One metric of an experiment: a ratio of two sums, for each arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// Its unit; may be empty.
    pub unit: String,
    /// Its kind.
    pub kind: Kind,
    /// Which direction is good.
    pub better: Better,
    /// What it is for.
    pub role: Role,
    /// Above the line, by `Arm::index`.
    pub over: [Term; 2],
    /// Below the line.
    pub under: [Term; 2],
    /// The cell with the distribution of its times, where there is one.
    pub times: Option<Term>,
}

/// What is asked of a route's evidence.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The route's name.
    pub route: &'a str,
    /// What the experiment is called.
    pub name: &'a str,
    /// How it is judged.
    pub settings: &'a Settings,
    /// Its metrics.
    pub metrics: &'a [Metric],
    /// What else must hold to ship the candidate, and what is found of it.
    pub conditions: &'a [Condition],
    /// The phase that the route is in now.
    pub current: Option<Phase>,
    /// Now.
    pub now: Seconds,
}

/// A phase and stratum that counts.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a> {
    /// The phase.
    pub phase: Phase,
    /// The stratum within it.
    pub stratum: Stratum,
    /// What was drawn in it.
    pub draw: &'a Draw,
    /// Its users, as tests count them.
    pub sampled: Sampled,
}

/// The phases and strata that count, in the order in which they began.
#[must_use]
pub fn counted<'a>(evidence: &'a RouteEvidence, settings: &Settings) -> Vec<Counted<'a>> {
    let within = |draw: &Draw| {
        settings.start.is_none_or(|start| draw.last >= start) && settings.stop.is_none_or(|stop| draw.first <= stop)
    };
    let draws = evidence.draws().filter(|(_, draw)| within(draw));
    let mut counted: Vec<Counted<'a>> =
        draws.map(|((phase, stratum), draw)| Counted { phase, stratum, draw, sampled: draw.users.sampled() }).collect();
    counted.sort_by_key(|counted| (counted.draw.first, counted.phase, counted.stratum));
    counted
}

/// For how long something was drawn: what more data have to be measured in. Strata of one phase run at the same time, and so
/// may phases that came back.
fn elapsed(counted: &[Counted<'_>]) -> Seconds {
    // They are in the order in which they began.
    let (mut all, mut reached) = (0, Seconds::MIN);
    for Draw { first, last, .. } in counted.iter().map(|of| of.draw) {
        let from = reached.max(*first);
        all += last.saturating_sub(from).max(0);
        reached = reached.max(*last);
    }
    all
}

/// How many metrics share a level.
#[derive(Debug, Clone, Copy)]
struct Shares {
    guards: usize,
    exploratory: usize,
}

/// Judges what was seen so far.
#[must_use]
pub fn report(evidence: &RouteEvidence, question: Question<'_>) -> Report {
    let Question { settings, metrics, .. } = question;
    let counted = counted(evidence, settings);
    let elapsed = elapsed(&counted);
    let has = |wanted: fn(&Role) -> bool| metrics.iter().filter(|metric| wanted(&metric.role)).count().max(1);
    let shares = Shares {
        guards: has(|role| matches!(role, Role::Guard(_))),
        exploratory: has(|role| matches!(role, Role::Exploratory)),
    };
    let users = health::users(&counted);
    let judge = judge::Judge { settings, shares, elapsed, users };
    let compared: Vec<_> = metrics.iter().map(|metric| compare(evidence, &counted, metric)).collect();
    let judged: Vec<_> =
        metrics.iter().zip(&compared).map(|(metric, found)| judge.metric(evidence, &counted, metric, found)).collect();
    let findings = health::findings(evidence, question, &counted, users);
    let plan = plan::plan(settings, metrics, &compared, &counted, elapsed, users);
    let verdict = judge.overall(question, &judged, &findings);
    report::assemble(
        evidence,
        question,
        &counted,
        report::Parts { verdict, metrics: judged, findings, plan, users, elapsed },
    )
}

/// Control first.
const ARMS: [Arm; 2] = Arm::ALL;

#[cfg(test)]
mod tests;
