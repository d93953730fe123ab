//! What a report holds: plain values with names, as the API writes them and the command reads them.
//!
//! Numbers are finite; what is not known is absent (`null`).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::evidence::{CellKey, Measured, RouteEvidence, Stratum};
use super::super::guard;
use super::super::metric::BuiltIn;
use super::super::pairs::{Pairs, WinRate};
use super::super::series::Seconds;
use super::super::statistics::Interval;
use super::health::Users;
use super::{ARMS, Arm, Counted, Margin, Question};

/// Whether the candidate is better, and how sure that is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentReport")]
pub struct Report {
    /// The route.
    pub route: String,
    /// What the experiment is called.
    pub name: String,
    /// Where it stands in time.
    pub state: State,
    /// What to do.
    pub decision: Decision,
    /// The same in words.
    pub summary: String,
    /// What has to come before there is a decision.
    pub waiting_for: Vec<String>,
    /// The first randomised decision that counts.
    pub first: Option<Timestamp>,
    /// The last one, to a minute.
    pub last: Option<Timestamp>,
    /// How long its phases were in use.
    pub elapsed_seconds: Seconds,
    /// The chance of a false alarm over the whole run.
    pub alpha: f64,
    /// The chance to see a difference that is there.
    pub power: f64,
    /// The smallest relative difference that matters.
    pub effect: f64,
    /// The control arm.
    pub control: ArmReport,
    /// The candidate arm.
    pub candidate: ArmReport,
    /// Each phase and stratum that counts.
    pub strata: Vec<StratumReport>,
    /// Each metric.
    pub metrics: Vec<MetricReport>,
    /// What else must hold to ship the candidate.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Copies in shadow, judged in pairs; absent where there were none.
    #[serde(default)]
    pub shadow: Option<Shadowed>,
    /// What makes the comparison doubtful, or is worth knowing; the gravest first.
    pub findings: Vec<Finding>,
    /// What more data would show; absent without traffic or a comparison to go by.
    pub plan: Option<Plan>,
}

/// What a judge said of answers of both arms to the same requests.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentPairs")]
pub struct Shadowed {
    /// Which way they went, in all phases.
    pub pairs: Pairs,
    /// The candidate's share of those in which one was better, with its 95 % interval for one look.
    pub win_rate: Option<WinRate>,
}

/// A condition of the file for shipping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentCondition")]
pub struct Condition {
    /// As the file says it.
    pub condition: String,
    /// What is found: with `at` over all phases that count, otherwise in the present one.
    pub finding: guard::Finding,
}

/// Where an experiment stands in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentState")]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its start is to come.
    NotStarted,
    /// It goes on.
    Running,
    /// Its stop is over; what was seen stays.
    Ended,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentDecision")]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The candidate is better, and no guard says no.
    Ship,
    /// The candidate is worse, or a guard is violated.
    Keep,
    /// Not decided yet.
    Wait,
    /// The split is broken: the comparison is not to be trusted.
    Distrust,
    /// No primary metric was named, so there is nothing to decide.
    NoQuestion,
}

/// One arm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentArmReport")]
pub struct ArmReport {
    /// Users that were drawn for it; estimated from a random sample where they are many.
    pub users: f64,
    /// Of them, those with a whole answer.
    pub users_measured: f64,
    /// Randomised requests.
    pub requests: f64,
    /// Requests that no hash drew (targets, force, override, fixed rules, no key): counted, never compared.
    pub left_out: f64,
}

/// A phase and stratum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentStratumReport")]
pub struct StratumReport {
    /// The phase's name.
    pub phase: String,
    /// `rollout` or `rule:N`.
    pub stratum: String,
    /// The candidate's percentage; absent where there were several.
    pub percent: Option<f64>,
    /// Its first decision.
    pub first: Option<Timestamp>,
    /// Its last one.
    pub last: Option<Timestamp>,
    /// Whether it is in use now.
    pub current: bool,
    /// Users of control and candidate.
    pub users: [f64; 2],
}

/// One metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentMetricReport")]
pub struct MetricReport {
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// `occurrence`, `count`, `value` or `ratio`.
    pub kind: String,
    /// `higher` or `lower`.
    pub better: String,
    /// `primary`, `guard` or `exploratory`.
    pub role: String,
    /// How much worse is no worse; of a guard.
    pub margin: Option<MarginReport>,
    /// What was found.
    pub verdict: Verdict,
    /// The same in words.
    pub words: String,
    /// Control.
    pub control: Option<f64>,
    /// The candidate.
    pub candidate: Option<f64>,
    /// The candidate less control.
    pub difference: Option<Difference>,
    /// The same relative to control; absent where that is too near zero.
    pub relative: Option<Difference>,
    /// Of a guard: bounds of how much worse the candidate is, each one-sided and valid at every look.
    pub harm: Option<Range>,
    /// Two-sided p-value of one look that was planned beforehand.
    pub p_fixed_horizon: Option<f64>,
    /// Two-sided p-value that holds at every look.
    pub p_always_valid: Option<f64>,
    /// At the present traffic and difference, how long until it is decided; absent where that is not to be expected.
    pub decision_in_seconds: Option<Seconds>,
    /// What is below the line of control and candidate: requests, values.
    pub denominators: [f64; 2],
    /// Buckets of users with values; at most 1,024.
    pub clusters: [f64; 2],
    /// Strata that count, and those that have only one arm.
    pub strata: [usize; 2],
    /// Of times: quantiles.
    pub quantiles: Vec<QuantileReport>,
    /// Of times: the share of slow requests.
    #[serde(default)]
    pub slower: Option<Slower>,
    /// What tools say that take each request for another user's; decides nothing.
    #[serde(default)]
    pub by_request: Option<ByRequest>,
}

/// The share of requests that took longer than 95 % of control's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentSlower")]
pub struct Slower {
    /// Than how long, in the metric's unit.
    pub than: f64,
    /// Control's share.
    pub control: f64,
    /// The candidate's.
    pub candidate: f64,
    /// The candidate's less control's; by users.
    pub difference: Difference,
}

/// A test of single requests at one look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentByRequest")]
pub struct ByRequest {
    /// `chi_square`, `fisher` where few were expected, or `welch`.
    pub test: String,
    /// Two-sided.
    pub p: Option<f64>,
    /// Of the difference: Newcombe's for shares, Student's for means.
    pub interval: Option<Range>,
    /// `cohen_h` or `cohen_d`.
    pub effect: String,
    /// How large the difference is beside the spread of single requests.
    pub effect_size: Option<f64>,
    /// The stratum that it is of, the largest: `PHASE/STRATUM`.
    pub stratum: String,
    /// Of times: whether quantiles are the same.
    #[serde(default)]
    pub quantiles: Vec<SameQuantile>,
}

/// Whether both arms have the same quantile, each request taken for another user's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentSameQuantile")]
pub struct SameQuantile {
    /// Which: 0.95.
    pub quantile: f64,
    /// Two-sided p-value that holds at every look.
    pub p_always_valid: f64,
}

/// A margin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentMarginReport")]
pub struct MarginReport {
    /// As a share of control.
    pub relative: f64,
    /// In the metric's unit.
    pub absolute: f64,
}

/// What was found of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentVerdict")]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The candidate is better.
    Better,
    /// The candidate is worse.
    Worse,
    /// The candidate is no worse than the margin; of a guard.
    NoWorse,
    /// Not decided yet.
    Undecided,
    /// It cannot be compared; the words say why.
    Unknown,
}

/// A difference with its intervals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentDifference")]
pub struct Difference {
    /// The estimate.
    pub value: f64,
    /// Its standard error, clustered by users; absent where it has none (Fieller).
    pub standard_error: Option<f64>,
    /// Right for one look, planned beforehand.
    pub fixed_horizon: Option<Range>,
    /// Right at every look at once.
    pub always_valid: Option<Range>,
}

/// An interval with finite ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentRange")]
pub struct Range {
    /// The lower end.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
}

/// A quantile of both arms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentQuantileReport")]
pub struct QuantileReport {
    /// Which: 0.95.
    pub quantile: f64,
    /// Control.
    pub control: f64,
    /// The candidate.
    pub candidate: f64,
    /// The candidate less control; fixed horizon only.
    pub difference: Difference,
}

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentSeverity")]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The comparison does not hold.
    Alarm,
    /// It may not hold.
    Warning,
    /// Worth knowing.
    Note,
}

/// One thing about the health of the experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentFinding")]
pub struct Finding {
    /// A stable word for it: `sample_ratio_mismatch`.
    pub code: String,
    /// How grave it is.
    pub severity: Severity,
    /// What was seen.
    pub what: String,
    /// What it means.
    pub meaning: String,
    /// What to do.
    pub action: String,
}

/// What more data would show, for the primary metric, at the present traffic and spread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentPlan")]
pub struct Plan {
    /// The metric.
    pub metric: String,
    /// Users that come in a day, both arms.
    pub users_per_day: f64,
    /// The smallest relative difference that would show now, at one look.
    pub detectable_now: f64,
    /// Users of both arms for the effect that matters, at one look.
    pub users_fixed_horizon: f64,
    /// The same for looking all the time, at most.
    pub users_always_valid: f64,
    /// How long that takes from the beginning, at one look.
    pub days_fixed_horizon: f64,
    /// The same for looking all the time, at most.
    pub days_always_valid: f64,
    /// How many times as many users the present split costs than halves.
    pub split_penalty: f64,
    /// What would show after so many days from the beginning.
    pub detectable: Vec<Detectable>,
    /// How long the effect takes by split, at one look.
    pub splits: Vec<Split>,
}

/// What shows after some days.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentDetectable")]
pub struct Detectable {
    /// Days from the beginning.
    pub days: f64,
    /// The smallest relative difference.
    pub relative: f64,
}

/// How long an effect takes with a split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentSplit")]
pub struct Split {
    /// The candidate's percentage.
    pub percent: f64,
    /// Days from the beginning.
    pub days: f64,
}

impl Range {
    /// An interval, if its ends are finite.
    #[must_use]
    pub fn of(interval: Interval) -> Option<Self> {
        let Interval { lower, upper } = interval;
        (lower.is_finite() && upper.is_finite()).then_some(Self { lower, upper })
    }
}

impl From<Margin> for MarginReport {
    fn from(Margin { relative, absolute }: Margin) -> Self {
        Self { relative, absolute }
    }
}

/// What the other parts of this module have found.
pub(super) struct Parts {
    pub(super) verdict: (Decision, String, Vec<String>),
    pub(super) metrics: Vec<MetricReport>,
    pub(super) findings: Vec<Finding>,
    pub(super) plan: Option<Plan>,
    pub(super) users: Users,
    pub(super) elapsed: Seconds,
}

pub(super) fn assemble(
    evidence: &RouteEvidence,
    question: Question<'_>,
    counted: &[Counted<'_>],
    parts: Parts,
) -> Report {
    let settings = question.settings;
    let [control, candidate] = ARMS.map(|arm| arm_report(evidence, counted, arm, parts.users));
    let time = |at: Option<Seconds>| at.and_then(|at| Timestamp::from_second(at).ok());
    let (decision, summary, waiting_for) = parts.verdict;
    Report {
        route: question.route.to_owned(),
        name: question.name.to_owned(),
        state: state(question),
        decision,
        summary,
        waiting_for,
        first: time(counted.iter().map(|of| of.draw.first).min()),
        last: time(counted.iter().map(|of| of.draw.last).max()),
        elapsed_seconds: parts.elapsed,
        alpha: settings.alpha,
        power: settings.power,
        effect: settings.effect,
        control,
        candidate,
        strata: counted.iter().map(|of| stratum_report(of, question)).collect(),
        metrics: parts.metrics,
        conditions: question.conditions.to_vec(),
        shadow: None,
        findings: parts.findings,
        plan: parts.plan,
    }
}

/// Where it stands in time.
pub(super) fn state(Question { settings, now, .. }: Question<'_>) -> State {
    if settings.start.is_some_and(|start| now < start) {
        State::NotStarted
    } else if settings.stop.is_some_and(|stop| now >= stop) {
        State::Ended
    } else {
        State::Running
    }
}

fn arm_report(evidence: &RouteEvidence, counted: &[Counted<'_>], arm: Arm, users: Users) -> ArmReport {
    let requests = |phase, stratum| {
        let key = CellKey { phase, stratum, arm, metric: Measured::BuiltIn(BuiltIn::Requests) };
        evidence.cell(key).map_or(0.0, |cell| cell.total().count)
    };
    let mut phases: Vec<_> = counted.iter().map(|of| of.phase).collect();
    phases.sort_unstable();
    phases.dedup();
    ArmReport {
        users: users.assigned[arm.index()],
        users_measured: users.measured[arm.index()],
        requests: counted.iter().map(|of| requests(of.phase, of.stratum)).sum(),
        left_out: phases.into_iter().map(|phase| requests(phase, Stratum::Fixed)).sum(),
    }
}

fn stratum_report(of: &Counted<'_>, question: Question<'_>) -> StratumReport {
    let share = of.draw.users.share();
    StratumReport {
        phase: of.phase.to_string(),
        stratum: of.stratum.name(),
        percent: (!of.draw.mixed).then_some(of.draw.percent),
        first: Timestamp::from_second(of.draw.first).ok(),
        last: Timestamp::from_second(of.draw.last).ok(),
        current: question.current == Some(of.phase),
        users: of.sampled.assigned.map(|users| users / share),
    }
}
