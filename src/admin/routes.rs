//! The routes as they run: what the file says, what the percentage is in effect, how the arms fare.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::Serialize;

use super::Console;
use super::problem::Problem;
use super::shadows::{self, ShadowView};
use crate::clock;
use crate::config::model::{Match, MissingKey, Pricing, Route, Source};
use crate::config::phase::{Parts, parts};
use crate::controller::RouteSummary;
use crate::controller::rollout::View as Rollout;
use crate::controller::windows::SHOWN;
use crate::domain::Arm;
use crate::domain::breaker::{Millis, Position};
use crate::domain::fallback::Cause;
use crate::domain::quality;
use crate::live::{RouteState, Snapshot};
use crate::measure::RouteTotals;
use crate::measure::counters::RequestTotal;

#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct Routes {
    generation: u64,
    routes: Vec<RouteView>,
}

#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct RouteView {
    name: Arc<str>,
    /// `null` for a route that is a flag only.
    #[serde(rename = "match")]
    matches: Option<MatchView>,
    /// `null` for an arm of a flag without a backend.
    control: Option<ArmView>,
    candidate: Option<ArmView>,
    policy: PolicyView,
    /// What the running configuration says.
    percent: f64,
    /// What came of it since the start; of the users that a hash drew, the share on the candidate.
    effective_percent: Option<f64>,
    quality_gate: Option<GateView>,
    /// `null` without copies.
    shadow: Option<ShadowView>,
    /// Where its rollout stands; `null` before that was first looked at.
    rollout: Option<Rollout>,
    /// Hashes of what begins a phase when it changes.
    phase: Parts,
    totals: Totals,
    recent: Recent,
}

#[derive(Serialize, schemars::JsonSchema)]
struct MatchView {
    host: Option<String>,
    path: String,
    methods: Vec<String>,
}

#[derive(Serialize, schemars::JsonSchema)]
struct ArmView {
    backend: Arc<str>,
    version: Option<String>,
    breaker: Position,
    rate_limited: bool,
    in_flight: u32,
    max_in_flight: Option<u32>,
    /// `null` where none are configured.
    prices: Option<PricesView>,
    budget: Option<BudgetView>,
}

/// For a million tokens.
#[derive(Serialize, schemars::JsonSchema)]
struct PricesView {
    input: f64,
    output: f64,
    currency: String,
}

#[derive(Serialize, schemars::JsonSchema)]
struct BudgetView {
    cost_per_day: f64,
    /// Today, in UTC, by this process.
    spent: f64,
}

#[derive(Serialize, schemars::JsonSchema)]
struct PolicyView {
    enabled: bool,
    forced: Option<Arm>,
    split_by: String,
    missing_key: &'static str,
    /// Where the key that splits comes from, in order.
    key: Vec<KeyView>,
    /// The header by which a tester chooses the arm; `null` where nobody can.
    override_header: Option<String>,
    holdout_percent: f64,
    /// How many keys are listed.
    targets: TargetsView,
    deadline_ms: Option<u64>,
}

/// `{"header": "x-user-id"}`.
#[derive(Serialize, schemars::JsonSchema)]
struct KeyView(BTreeMap<&'static str, String>);

#[derive(Serialize, schemars::JsonSchema)]
struct TargetsView {
    control: usize,
    candidate: usize,
}

#[derive(Serialize, schemars::JsonSchema)]
struct GateView {
    metric: String,
    min: f64,
    position: quality::Position,
}

/// Counts since the start.
#[derive(Serialize, schemars::JsonSchema)]
struct Totals {
    control: ArmTotals,
    candidate: ArmTotals,
    keyless: u64,
    fallbacks: Vec<CauseCount>,
    fallbacks_suppressed: Vec<CauseCount>,
}

#[derive(Serialize, schemars::JsonSchema)]
struct ArmTotals {
    assigned: u64,
    served: u64,
    attempts: u64,
    failures: u64,
}

#[derive(Serialize, schemars::JsonSchema)]
struct CauseCount {
    cause: Cause,
    count: u64,
}

/// The last minutes.
#[derive(Serialize, schemars::JsonSchema)]
struct Recent {
    window_seconds: u64,
    #[serde(flatten)]
    arms: RouteSummary,
}

/// Every route.
pub(super) fn all(console: &Console) -> Json<impl Serialize + use<>> {
    let snapshot = console.live.snapshot();
    let now = clock::now_millis();
    let routes = snapshot.config().routes.iter().zip(&snapshot.routes);
    let routes = routes.map(|(route, state)| view(console, &snapshot, route, state, now)).collect();
    Json(Routes { generation: snapshot.generation, routes })
}

/// One route.
pub(super) fn one(
    State(console): State<Arc<Console>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<impl Serialize>, Problem> {
    let Path(name) = name.map_err(|rejection| Problem::Invalid(rejection.body_text()))?;
    let snapshot = console.live.snapshot();
    let Some(index) = snapshot.route_named(&name) else { return Err(Problem::UnknownRoute(name)) };
    let (route, state) = (&snapshot.config().routes[index], &snapshot.routes[index]);
    Ok(Json(view(&console, &snapshot, route, state, clock::now_millis())))
}

fn view(console: &Console, snapshot: &Snapshot, route: &Route, state: &RouteState, now: Millis) -> RouteView {
    let totals = state.totals();
    RouteView {
        name: Arc::clone(&route.name),
        matches: route.matches().map(MatchView::from),
        control: arm(snapshot, route, Arm::Control, now),
        candidate: arm(snapshot, route, Arm::Candidate, now),
        policy: policy(snapshot, route),
        percent: route.policy.rollout.percent().get(),
        effective_percent: totals.effective_percent(),
        quality_gate: route.quality_gate.as_ref().map(|gate| GateView {
            metric: snapshot.config().metrics[gate.metric].name.to_string(),
            min: gate.settings.min,
            position: state.gate(),
        }),
        shadow: shadows::view(console, state, parts(snapshot.config(), route).phase()),
        rollout: console.rollouts.view(&route.name),
        phase: parts(snapshot.config(), route),
        totals: Totals::from(&totals),
        recent: Recent { window_seconds: SHOWN.as_secs(), arms: console.windows.summary(state.id) },
    }
}

impl From<&Match> for MatchView {
    fn from(rule: &Match) -> Self {
        let methods = rule.methods.iter().map(ToString::to_string).collect();
        Self { host: rule.host.clone(), path: rule.path.clone(), methods }
    }
}

impl From<&Source> for KeyView {
    fn from(source: &Source) -> Self {
        let (place, name) = match source {
            Source::Header(name) => ("header", name.to_string()),
            Source::Cookie(name) => ("cookie", name.clone()),
            Source::Query(name) => ("query", name.clone()),
            Source::Claim(pointer) => ("jwt", pointer.to_string()),
            Source::Body(pointer) => ("json", pointer.to_string()),
        };
        Self(BTreeMap::from([(place, name)]))
    }
}

fn arm(snapshot: &Snapshot, route: &Route, arm: Arm, now: Millis) -> Option<ArmView> {
    let index = route.backend(arm)?;
    let (definition, state) = (&snapshot.config().backends[index], &snapshot.backends[index].state);
    Some(ArmView {
        backend: Arc::clone(&definition.name),
        version: definition.version.clone(),
        breaker: state.position(now),
        rate_limited: state.is_throttled(now),
        in_flight: state.in_flight(),
        max_in_flight: definition.max_in_flight,
        prices: definition.pricing.as_ref().map(PricesView::from),
        budget: definition
            .cost_per_day
            .map(|cost_per_day| BudgetView { cost_per_day, spent: state.spent(clock::utc_day()) }),
    })
}

impl From<&Pricing> for PricesView {
    fn from(Pricing { prices, currency }: &Pricing) -> Self {
        Self { input: prices.input, output: prices.output, currency: currency.clone() }
    }
}

fn policy(snapshot: &Snapshot, route: &Route) -> PolicyView {
    let policy = &route.policy;
    PolicyView {
        enabled: policy.enabled,
        forced: policy.forced,
        split_by: snapshot.config().contexts[route.policy.split_by].name.clone(),
        key: snapshot.config().contexts[route.policy.split_by].key.iter().map(KeyView::from).collect(),
        override_header: route.override_header.as_ref().map(|rule| rule.header.to_string()),
        missing_key: match route.missing_key {
            MissingKey::Control => "control",
            MissingKey::Cookie => "cookie",
        },
        holdout_percent: policy.holdout.as_ref().map_or(0.0, |holdout| holdout.share.percent().get()),
        targets: TargetsView {
            control: policy.targets.count(Arm::Control),
            candidate: policy.targets.count(Arm::Candidate),
        },
        deadline_ms: route.deadline.map(|deadline| u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX)),
    }
}

impl From<&RouteTotals> for Totals {
    fn from(totals: &RouteTotals) -> Self {
        Self {
            control: arm_totals(totals, Arm::Control),
            candidate: arm_totals(totals, Arm::Candidate),
            keyless: totals.keyless,
            fallbacks: causes(&totals.fallbacks),
            fallbacks_suppressed: causes(&totals.suppressed),
        }
    }
}

fn arm_totals(totals: &RouteTotals, arm: Arm) -> ArmTotals {
    let (attempts, failures) = totals.attempts_and_failures(arm);
    let assigned = |total: &&RequestTotal| total.assigned == arm;
    let assigned = totals.requests.iter().filter(assigned).map(|total| total.count).sum();
    ArmTotals { assigned, served: totals.served(arm), attempts, failures }
}

fn causes(counts: &[u64]) -> Vec<CauseCount> {
    let counts = Cause::ALL.into_iter().zip(counts).filter(|(_, count)| **count > 0);
    counts.map(|(cause, &count)| CauseCount { cause, count }).collect()
}
