//! Whether the candidate of a route is better: `GET /api/v1/routes/{route}/experiment`, and who was in which arm:
//! `GET /api/v1/routes/{route}/assignments`.
//!
//! Evidence is copied under its lock and judged outside of it, on a thread that nobody waits for. A route without
//! `[routes.NAME.experiment]` is reported, too; there is nothing to decide then.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};

use super::Console;
use super::problem::Problem;
use crate::clock;
use crate::config::model::{Config, MetricRef, MetricSource, Purpose, Route};
use crate::controller::rollout::found;
use crate::domain::Arm;
use crate::domain::evidence::{Measured, RouteEvidence};
pub use crate::domain::experiment::Report;
use crate::domain::experiment::{self, Condition, Metric, Part, Question, Role, Settings, Term};
use crate::domain::metric::{BuiltIn, Kind};
use crate::live::Snapshot;

/// Built-in metrics that go by the arm that was assigned.
const BUILT_IN: [BuiltIn; 4] = [BuiltIn::Errors, BuiltIn::Fallbacks, BuiltIn::Latency, BuiltIn::FirstByte];

/// Who was in which arm, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentAssignments")]
pub struct Assignments {
    /// The route.
    pub route: String,
    /// Whether every user is here; `false` where a random share was kept, since there were more.
    pub complete: bool,
    /// By phase and stratum.
    pub strata: Vec<Assigned>,
}

/// The users of a phase and stratum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "ExperimentAssigned")]
pub struct Assigned {
    /// The phase.
    pub phase: String,
    /// `rollout` or `rule:N`.
    pub stratum: String,
    /// The candidate's percentage; absent where there were several.
    pub percent: Option<f64>,
    /// The share of all users that are here.
    pub share: f64,
    /// Each user: the sample in hex (bytes 16 to 23 of `sha256("{key}:{salt}")`), `control`, `candidate` or `both`, and
    /// whether they got a whole answer.
    pub users: Vec<(String, String, bool)>,
}

/// `GET /api/v1/routes/{route}/experiment`.
pub(super) async fn page(
    State(console): State<Arc<Console>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Report>, Problem> {
    let (snapshot, index) = find(&console, name)?;
    let evidence = copied(&console, &snapshot, index);
    let now = clock::timestamp().as_second();
    let judged = tokio::task::spawn_blocking(move || judge(&snapshot, index, &evidence, now)).await;
    judged.map(Json).map_err(|_| Problem::Internal)
}

/// `GET /api/v1/routes/{route}/assignments`.
pub(super) async fn assignments(
    State(console): State<Arc<Console>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Assignments>, Problem> {
    let (snapshot, index) = find(&console, name)?;
    let evidence = copied(&console, &snapshot, index);
    let route = snapshot.config().routes[index].name.to_string();
    let strata = evidence.draws().map(|((phase, stratum), draw)| {
        let users = draw.users.each();
        Assigned {
            phase: phase.to_string(),
            stratum: stratum.name(),
            percent: (!draw.mixed).then_some(draw.percent),
            share: draw.users.share(),
            users: users.map(|user| (format!("{:016x}", user.sample), arms(user.arms), user.measured)).collect(),
        }
    });
    let strata = strata.collect();
    Ok(Json(Assignments { route, complete: evidence.draws().all(|(_, draw)| draw.users.is_exact()), strata }))
}

fn arms(assigned: [bool; 2]) -> String {
    match assigned {
        [true, true] => "both".to_owned(),
        [false, _] => Arm::Candidate.to_string(),
        [true, false] => Arm::Control.to_string(),
    }
}

fn find(console: &Console, name: Result<Path<String>, PathRejection>) -> Result<(Arc<Snapshot>, usize), Problem> {
    let Path(name) = name.map_err(|rejection| Problem::Invalid(rejection.body_text()))?;
    let snapshot = console.live.snapshot();
    let index = snapshot.route_named(&name).ok_or(Problem::UnknownRoute(name))?;
    Ok((snapshot, index))
}

fn copied(console: &Console, snapshot: &Snapshot, index: usize) -> RouteEvidence {
    console.evidence.lock().route(snapshot.routes[index].id).cloned().unwrap_or_default()
}

fn judge(snapshot: &Snapshot, index: usize, evidence: &RouteEvidence, now: i64) -> Report {
    let route = &snapshot.config().routes[index];
    let default = Settings::default();
    let settings = route.experiment.as_ref().map_or(&default, |experiment| &experiment.settings);
    let metrics = metrics(snapshot, route);
    let name = route.experiment.as_ref().map_or(&*route.name, |experiment| &experiment.name);
    let current = snapshot.phases.get(index).copied();
    let mut phases: Vec<u32> = experiment::counted(evidence, settings).iter().map(|of| of.phase.0).collect();
    phases.dedup();
    let ship = route.experiment.iter().flat_map(|experiment| &experiment.ship);
    let conditions: Vec<Condition> = ship
        .map(|asked| Condition {
            condition: asked.text.to_string(),
            finding: found(snapshot, index, evidence, &phases, asked),
        })
        .collect();
    let conditions = conditions.as_slice();
    experiment::report(
        evidence,
        Question { route: &route.name, name, settings, metrics: &metrics, conditions, current, now },
    )
}

/// The primary metric, the guards, and everything else.
fn metrics(snapshot: &Snapshot, route: &Route) -> Vec<Metric> {
    let config = snapshot.config();
    let mut asked: Vec<(MetricRef, Role)> = Vec::new();
    if let Some(experiment) = &route.experiment {
        asked.push((experiment.primary, Role::Primary));
        asked.extend(experiment.guards.iter().map(|(metric, margin)| (*metric, Role::Guard(*margin))));
    }
    let own = (0..config.metrics.len()).map(MetricRef::Own);
    for metric in own.chain(BUILT_IN.map(MetricRef::BuiltIn)) {
        if !asked.iter().any(|(known, _)| *known == metric) {
            asked.push((metric, Role::Exploratory));
        }
    }
    asked.into_iter().map(|(metric, role)| definition(snapshot, config, route, metric, role)).collect()
}

fn definition(snapshot: &Snapshot, config: &Config, route: &Route, metric: MetricRef, role: Role) -> Metric {
    let index = match metric {
        MetricRef::BuiltIn(metric) => return built_in(metric, role),
        MetricRef::Own(index) => index,
    };
    let defined = &config.metrics[index];
    let own = |part| Term { measured: Measured::Own(snapshot.meters.id(index)), part, scale: 1.0 };
    // A count is for each request; where nothing is proxied, for each event.
    let of_requests = defined.kind == Kind::Count && matches!(route.purpose, Purpose::Traffic { .. });
    let requests = Term { measured: Measured::BuiltIn(BuiltIn::Requests), part: Part::Count, scale: 1.0 };
    let terms = |arm: Arm| match &defined.sources[arm.index()] {
        MetricSource::Ratio(parts) => parts.map(|part| sum_of(snapshot, part)),
        MetricSource::Header(_) | MetricSource::Json(_) | MetricSource::Usage(_) | MetricSource::Event(_) => {
            [own(Part::Sum), if of_requests { requests } else { own(Part::Count) }]
        }
    };
    let [[over, under], [candidate_over, candidate_under]] = Arm::ALL.map(terms);
    Metric {
        name: defined.name.to_string(),
        unit: defined.unit.clone(),
        kind: defined.kind,
        better: defined.better,
        role,
        over: [over, candidate_over],
        under: [under, candidate_under],
        times: None,
    }
}

fn sum_of(snapshot: &Snapshot, part: MetricRef) -> Term {
    match part {
        MetricRef::Own(index) => {
            Term { measured: Measured::Own(snapshot.meters.id(index)), part: Part::Sum, scale: 1.0 }
        }
        MetricRef::BuiltIn(metric) => {
            Term { measured: Measured::BuiltIn(metric), part: Part::Sum, scale: metric.scale() }
        }
    }
}

fn built_in(metric: BuiltIn, role: Role) -> Metric {
    let term = |part, scale| Term { measured: Measured::BuiltIn(metric), part, scale };
    let sum = term(Part::Sum, metric.scale());
    let is_time = metric.kind() == Kind::Value;
    Metric {
        name: metric.as_str().to_owned(),
        unit: if is_time { "ms".to_owned() } else { String::new() },
        kind: metric.kind(),
        better: metric.better(),
        role,
        over: [sum; 2],
        under: [term(Part::Count, 1.0); 2],
        times: is_time.then_some(sum),
    }
}
