//! Why an arm serves a user: the decision, each step of it, and where each value was typed.
//!
//! One function answers the API, `pointsman explain` and `pointsman test`; only the health differs:
//! that of the running process, or [`assumed_well`] where there is only a file.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, Request, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Console;
use super::body;
use super::parameters::{Kind, Parameter};
use super::problem::Problem;
use super::question::{Given, Question, Unanswerable};
use crate::clock;
use crate::config::Loaded;
use crate::config::model::{QualityGate, Route, Target};
use crate::domain::Arm;
use crate::domain::assignment::MAX_KEY_BYTES;
use crate::domain::context::{Contexts, Keys, usable_key};
use crate::domain::decision::{self, Decision, Health, Reason, Step};
use crate::domain::pin::{Pinned, Rejection};
use crate::domain::quality;
use crate::live::RouteIndex;

/// What the answer rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The running process, with its health at this moment.
    Running,
    /// A file alone; the candidate's health is assumed well.
    File,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Explanation {
    /// What was asked.
    pub route: String,
    /// What was asked.
    pub key: Option<String>,
    /// What it rests on.
    pub basis: Basis,
    /// The generation of the running configuration; `None` from a file.
    pub generation: Option<u64>,
    /// The arm that rules and hash say.
    pub assigned: Arm,
    /// Why.
    pub assigned_by: Reason,
    /// The arm that would serve now.
    pub served: Arm,
    /// Why.
    pub reason: Reason,
    /// The backend that would serve now; `None` for a flag without one.
    pub backend: Option<String>,
    /// What the flag hands out with this arm.
    pub value: Value,
    /// The rule that decided, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The percentage by which this was drawn, if a hash drew it.
    pub randomised: Option<f64>,
    /// The assignment bucket, 0 to 2^32 - 1; like what follows, `None` without a key.
    pub bucket: Option<u32>,
    /// The bucket on the scale of percentages.
    pub percentage: Option<f64>,
    /// The statistical bucket, 0 to 1023.
    pub statistical_bucket: Option<u16>,
    /// The user sample, in decimal: JSON's numbers are too short for it.
    pub user_sample: Option<String>,
    /// Every step up to the one that decided.
    pub steps: Vec<Step>,
    /// What the decision was made from.
    pub values: Vec<TypedValue>,
    /// What should be known about this answer.
    pub notes: Vec<String>,
}

/// A value of the configuration and where it was typed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TypedValue {
    /// The key path.
    pub key: String,
    /// The value; lists of keys by their length.
    pub value: Value,
    /// `gateway.toml:41:13`, `environment NAME` or `default`.
    pub origin: String,
}

/// What may be asked in a query; [`Question::from_query`] reads it.
pub(super) const OF_EXPLAIN: [Parameter; 5] = [
    Parameter::new("route", Kind::Free { needed: true }, "The route's name."),
    Parameter::new("key", Kind::Free { needed: false }, "The key of the kind that splits."),
    Parameter::new("override", Kind::Word(&["control", "candidate"]), "The arm that a tester's header asks for."),
    Parameter::new("pin", Kind::Free { needed: false }, "The pin of a running conversation."),
    Parameter::new("attr", Kind::Pairs, "Attributes as NAME=VALUE, as often as wanted: `user.tier=premium`."),
];

/// A value, from the route and from what was typed of it.
type Shown = fn(&Route, &Value) -> Value;

/// The values that a route's decisions are made from. The salt is shown as it was typed, since it may
/// come from a variable that is nobody's business.
const VALUES: [(&str, Shown); 15] = [
    ("enabled", |route, _| json!(route.policy.enabled)),
    ("forced", |route, _| json!(route.policy.forced)),
    ("targets.control", |route, _| json!(route.policy.targets.count(Arm::Control))),
    ("targets.candidate", |route, _| json!(route.policy.targets.count(Arm::Candidate))),
    ("holdout", |route, _| json!(route.policy.holdout.as_ref().map_or(0.0, |holdout| holdout.share.percent().get()))),
    ("exclusive", |_, typed| typed.get("exclusive").cloned().unwrap_or(Value::Null)),
    ("prerequisite", |_, typed| typed.get("prerequisite").cloned().unwrap_or(Value::Null)),
    ("pin", |_, typed| typed.get("pin").cloned().unwrap_or(Value::Null)),
    ("eligible", |_, typed| typed.get("eligible").cloned().unwrap_or(Value::Null)),
    ("rules", |route, _| json!(route.policy.targeting.rules.len())),
    ("split_by", |_, typed| typed.get("split_by").cloned().unwrap_or(Value::Null)),
    ("salt", |route, typed| typed.get("salt").cloned().unwrap_or_else(|| json!(route.name))),
    ("rollout.percent", |route, _| json!(route.policy.rollout.percent())),
    ("control", |_, typed| typed.get("control").cloned().unwrap_or(Value::Null)),
    ("candidate", |_, typed| typed.get("candidate").cloned().unwrap_or(Value::Null)),
];

/// Answers from a file alone.
///
/// # Errors
/// When there is no such route or attribute.
pub fn from_file(loaded: &Loaded, question: &Question) -> Result<Explanation, Unanswerable> {
    let routes = &loaded.config.routes;
    let Some(index) = routes.iter().position(|route| *route.name == *question.route) else {
        let known = routes.iter().map(|route| &*route.name).collect::<Vec<_>>().join(", ");
        return Err(Unanswerable::Route { name: question.route.clone(), known });
    };
    let route = &routes[index];
    let given = question.facts(&loaded.config, route)?;
    let health = assumed_well(route);
    let asked = Asked { loaded, index, question, given: &given };
    let decision = decision::decide(&route.policy, &asked.contexts(), &health);
    let note = "answered from the file: the candidate's breaker, gate and room are assumed well";
    let mut explanation = explain(&asked, (&decision, &health));
    explanation.notes.push(note.to_owned());
    Ok(explanation)
}

/// The arm that rules and hash say for a question, and why; health has no say in it.
///
/// # Errors
/// When there is no such attribute.
pub(super) fn assigned(loaded: &Loaded, index: RouteIndex, question: &Question) -> Result<(Arm, Reason), Unanswerable> {
    let route = &loaded.config.routes[index];
    let given = question.facts(&loaded.config, route)?;
    let asked = Asked { loaded, index, question, given: &given };
    let decision = decision::decide(&route.policy, &asked.contexts(), &Health::WELL);
    Ok((decision.assigned, decision.assigned_by))
}

/// A question and what it is asked of.
struct Asked<'a> {
    loaded: &'a Loaded,
    index: RouteIndex,
    question: &'a Question,
    given: &'a Given,
}

impl Asked<'_> {
    fn route(&self) -> &Route {
        &self.loaded.config.routes[self.index]
    }

    /// The facts that the decision is made from.
    fn contexts(&self) -> Contexts<'_> {
        let key = self.question.key.as_deref().and_then(usable_key);
        let keys = Keys::one(self.route().policy.split_by, key).with(&self.given.keys);
        let pinned = self.pinned(keys).and_then(|verified| verified.ok()).map(|pinned| pinned.arm);
        Contexts { keys, override_arm: self.question.override_arm, pinned, facts: &self.given.facts }
    }

    /// What the pin says, or why it does not count; `None` where there is none, or nobody knows whose it is.
    fn pinned(&self, keys: Keys<'_>) -> Option<Result<Pinned, Rejection>> {
        let pin = self.route().pin.as_ref()?;
        let now = u64::try_from(clock::timestamp().as_second()).unwrap_or(0);
        Some(pin.pins.verify(self.question.pin.as_deref()?, keys.of(pin.by)?, now))
    }
}

/// A candidate whose breaker is closed, whose gate is open and who has room.
fn assumed_well(route: &Route) -> Health {
    let open = |gate: &QualityGate| (quality::Position::Open, gate.settings.probes);
    Health { gate: route.quality_gate.as_ref().map(open), ..Health::WELL }
}

/// Answers from the running process.
fn from_running(console: &Console, question: &Question) -> Result<Json<Explanation>, Problem> {
    let snapshot = console.live.snapshot();
    let unknown = || Problem::UnknownRoute(question.route.clone());
    let index = snapshot.route_named(&question.route).ok_or_else(unknown)?;
    let given = question.facts(snapshot.config(), &snapshot.config().routes[index]);
    let given = given.map_err(|unknown| Problem::Invalid(unknown.to_string()))?;
    let asked = Asked { loaded: &snapshot.loaded, index, question, given: &given };
    let (decision, health) = snapshot.decide(index, &asked.contexts(), clock::now_millis());
    let explanation = explain(&asked, (&decision, &health));
    Ok(Json(Explanation { basis: Basis::Running, generation: Some(snapshot.generation), ..explanation }))
}

fn explain(asked: &Asked<'_>, outcome: (&Decision, &Health)) -> Explanation {
    let (decision, health) = outcome;
    let Asked { loaded, index, question, .. } = *asked;
    let route = &loaded.config.routes[index];
    let digest = decision.digest;
    Explanation {
        route: question.route.clone(),
        key: question.key.clone(),
        basis: Basis::File,
        generation: None,
        assigned: decision.assigned,
        assigned_by: decision.assigned_by,
        served: decision.serve,
        reason: decision.reason,
        backend: route.backend(decision.serve).map(|index| loaded.config.backends[index].name.to_string()),
        value: route.values.of(decision.serve).clone(),
        rule: decision.rule.map(|index| route.policy.targeting.rules[index].name.to_string()),
        randomised: decision.randomised.map(|percent| percent.get()),
        bucket: digest.map(|digest| digest.bucket().0),
        percentage: digest.map(|digest| digest.bucket().percentage()),
        statistical_bucket: digest.map(|digest| digest.statistical_bucket()),
        user_sample: digest.map(|digest| digest.user_sample().to_string()),
        steps: decision::trace(&route.policy, &asked.contexts(), health, decision),
        values: values(loaded, route),
        notes: notes(asked, route),
    }
}

fn values(loaded: &Loaded, route: &Route) -> Vec<TypedValue> {
    let typed = loaded.redacted.get("routes").and_then(|routes| routes.get(&*route.name)).unwrap_or(&Value::Null);
    let value = |(name, value): (&str, Shown)| {
        let key = format!("routes.{}.{name}", route.name);
        let origin = loaded.origins.of(&key).to_owned();
        TypedValue { key, value: value(route, typed), origin }
    };
    VALUES.into_iter().map(value).collect()
}

fn notes(asked: &Asked<'_>, route: &Route) -> Vec<String> {
    let Asked { loaded, question, given, .. } = *asked;
    let mut notes = Vec::new();
    let candidate = route.backend(Arm::Candidate).map(|index| &loaded.config.backends[index]);
    if let Some(candidate) = candidate.filter(|candidate| matches!(candidate.target, Target::Off)) {
        notes.push(format!("the URL of {} is empty, so the candidate is off", candidate.name));
    }
    if question.key.as_deref().is_some_and(|key| usable_key(key).is_none()) {
        notes.push(format!("a key has 1 to {MAX_KEY_BYTES} bytes; this one counts as missing"));
    }
    if question.override_arm.is_some() && route.override_header.is_none() {
        notes.push("the route has no [override], so no header could ask for an arm".to_owned());
    }
    notes.extend(pin_note(asked, route));
    for name in &given.unreadable {
        notes.push(format!("{name} cannot be read as its type; it counts as missing"));
    }
    notes
}

/// Why a pin does not count, where it does not.
fn pin_note(asked: &Asked<'_>, route: &Route) -> Option<String> {
    asked.question.pin.as_ref()?;
    let Some(pin) = &route.pin else { return Some("the route has no [pin], so no token counts".to_owned()) };
    match asked.pinned(asked.contexts().keys) {
        None => {
            let kind = &asked.loaded.config.contexts[pin.by].name;
            Some(format!("the pin needs the key of its conversation: the attribute {kind}.key"))
        }
        Some(Err(rejection)) => Some(format!("the pin does not count: {}", rejection.as_str())),
        Some(Ok(_)) => None,
    }
}

/// `GET /api/v1/explain?route=&key=&override=&pin=&attr=NAME=VALUE`.
pub(super) fn by_query(
    State(console): State<Arc<Console>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Explanation>, Problem> {
    let question = Question::from_query(query.as_deref().unwrap_or_default()).map_err(Problem::Invalid)?;
    from_running(&console, &question)
}

/// `POST /api/v1/explain`, for keys that should not stand in the logs of what is on the way.
pub(super) async fn by_body(
    State(console): State<Arc<Console>>,
    request: Request,
) -> Result<Json<Explanation>, Problem> {
    from_running(&console, &body::read(request).await?)
}
