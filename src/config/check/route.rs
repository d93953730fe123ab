//! `[routes.NAME]`.

use std::collections::BTreeSet;
use std::sync::Arc;

use secrecy::ExposeSecret as _;

use crate::config::model::{
    Arms, Backend, ContextIndex, Expose, HeaderChanges, Match, Metric, MissingKey, Override, Pin, Purpose, QualityGate,
    Route, Target, Values,
};
use crate::config::parse;
use crate::config::view::View;
use crate::domain::assignment::Share;
use crate::domain::fallback::{self, Cause, Replay};
use crate::domain::percent::Percent;
use crate::domain::pin::{self, Pins};
use crate::domain::quality;

use super::condition::Conditions;
use super::{Names, experiment, guard, matches, policy, reference, rewrite, rollout, sampling, targeting};

/// Shortest override key, in bytes.
const MIN_OVERRIDE_KEY: usize = 8;

pub(super) fn route(
    name: &str,
    view: &View<'_>,
    names: &Names<'_>,
    backends: &[Option<Backend>],
    metrics: &[Metric],
    conditions: &mut Conditions<'_>,
) -> Option<Route> {
    let matches = matches::of(view);
    let control = reference(view, "control", "backend", &names.backends);
    let candidate = reference(view, "candidate", "backend", &names.backends);
    if control.is_some() && control == candidate {
        view.warning("candidate", "the same backend as `control`", "both arms behave alike: good for an A/A test only");
    }
    let candidate_off = off(view, control, candidate, backends);
    let split_by = kind_with_key(view, "split_by", names, conditions);
    let targeting = targeting::of(view, conditions);
    let rollout = rollout::of(&view.table("rollout"), metrics);
    let guards = guard::all(view, metrics);
    let plan = rollout.as_ref().map(|rollout| &rollout.plan);
    let policy = policy::of(name, view, candidate_off, split_by, targeting, plan).map(Arc::new);
    if let (Some(rollout), Some(guards)) = (&rollout, &guards) {
        rollout::nobody_to_compare(view, rollout, guards);
    }
    let override_header = view.optional_table("override").map(|view| override_of(&view));
    let pin = view.optional_table("pin").map(|view| pin(name, &view, names, conditions));
    let quality_gate = view.optional_table("quality_gate").map(|view| quality_gate(&view, &names.metrics));
    let experiment = view.optional_table("experiment");
    let experiment = experiment.map(|view| experiment::experiment(name, &view, &names.metrics, metrics));
    let values = view.optional_table("values").map(|view| values(&view));
    let fallback = fallback_of(&view.table("fallback"));
    matches::ask_for_replay(view, matches.as_ref());
    let shadow = sampling::shadow(&view.table("shadow"), matches.as_ref()).map(Box::new);
    let purpose = purpose(view, matches, (control, candidate));
    let missing_key = match view.word("missing_key") {
        Some("control") => Some(MissingKey::Control),
        Some("cookie") => Some(MissingKey::Cookie),
        Some(_) | None => None,
    };
    let request_headers = header_changes(&view.table("request_headers"));
    let response_headers = header_changes(&view.table("response_headers"));
    let rewriting = view.table("rewrite");
    let rewrites = rewrite::arms(&rewriting, conditions);
    let rewrite_prefix = rewriting.request_path("prefix");
    let expose = match view.word("expose") {
        Some("trusted") => Some(Expose::Trusted),
        Some("always") => Some(Expose::Always),
        Some("never") => Some(Expose::Never),
        Some(_) | None => None,
    };
    let judge = view.optional_table("judge").map(|view| sampling::judging(&view, names).map(Box::new));
    let samples = view.optional_table("samples").map(|view| sampling::samples(&view).map(Box::new));
    let (rewrites, rewrite_slots) = rewrites?;
    Some(Route {
        name: Arc::from(name),
        purpose: purpose?,
        deadline: view.duration("deadline"),
        // What it depends on is known only once every part is built.
        reads_body: false,
        policy: policy?,
        values: transpose(values)?.unwrap_or_default(),
        missing_key: missing_key?,
        override_header: transpose(override_header)?,
        pin: transpose(pin)?,
        rewrite_prefix,
        rewrites,
        rewrite_slots,
        request_headers,
        response_headers,
        rollout: rollout?,
        guards: guards?,
        quality_gate: transpose(quality_gate)?,
        experiment: transpose(experiment)?,
        fallback: fallback?,
        expose: expose?,
        judge: transpose(judge)?,
        samples: transpose(samples)?,
        shadow: shadow?,
    })
}

/// What the route is there for. With `path` both backends must be named; without it, nothing that a proxied
/// request would notice has an effect.
fn purpose(view: &View<'_>, matches: Option<Match>, backends: (Option<usize>, Option<usize>)) -> Option<Purpose> {
    let (control, candidate) = backends;
    if view.is_typed("path") {
        for key in ["control", "candidate"].into_iter().filter(|key| !view.is_typed(key)) {
            let help = "a route with `path` names both backends; without `path` it is a flag that needs none";
            view.error_at(view.place("path"), key, format!("`path` without `{key}`"), help);
        }
        return Some(Purpose::Traffic { matches: matches?, arms: Arms { control: control?, candidate: candidate? } });
    }
    for key in PROXIED_ONLY.into_iter().filter(|key| view.is_typed(key)) {
        view.warning(key, format!("`{key}` without `path`"), "a flag proxies nothing, so this changes nothing");
    }
    let named_well = |key: &str, index: Option<usize>| index.is_some() || !view.is_typed(key);
    let whole = named_well("control", control) && named_well("candidate", candidate);
    whole.then_some(Purpose::Flag { control, candidate })
}

/// Keys that act on requests and their answers, and on nothing else.
const PROXIED_ONLY: [&str; 12] = [
    "override",
    "pin",
    "missing_key",
    "deadline",
    "request_headers",
    "response_headers",
    "quality_gate",
    "fallback",
    "expose",
    "judge",
    "samples",
    "shadow",
];

/// Of a part that may be left out (outer) and may have a mistake (inner), the part or the mistake.
fn transpose<T>(part: Option<Option<T>>) -> Option<Option<T>> {
    part.map_or(Some(None), |part| part.map(Some))
}

/// Whether the candidate has no URL now. A control without one is a mistake.
fn off(view: &View<'_>, control: Option<usize>, candidate: Option<usize>, backends: &[Option<Backend>]) -> bool {
    let is_off = |index: Option<usize>| {
        let backend = index.and_then(|index| backends.get(index)).and_then(Option::as_ref);
        backend.is_some_and(|backend| matches!(backend.target, Target::Off))
    };
    if is_off(control) && view.is_typed("path") {
        view.error("control", "a backend whose `url` is empty", "only a candidate can be off: nobody would answer");
    }
    if is_off(candidate) {
        view.warning("candidate", "its `url` is empty, so the candidate is off", "control serves everybody");
    }
    is_off(candidate)
}

/// What a flag hands out.
fn values(view: &View<'_>) -> Option<Values> {
    let values = Values { control: view.json("control")?, candidate: view.json("candidate")? };
    let (control, candidate) = (json_type(&values.control), json_type(&values.candidate));
    if control != candidate {
        let found = format!("{candidate}, and `control` is {control}");
        view.warning(
            "candidate",
            found,
            "OpenFeature clients ask by type, and one of the two would be an error to them",
        );
    }
    for (key, value) in [("control", &values.control), ("candidate", &values.candidate)] {
        if value.is_array() {
            let help = "OFREP knows booleans, strings, numbers and objects: put the list into a table";
            view.warning(key, "a list is no type that every OpenFeature client can ask for", help);
        }
    }
    Some(values)
}

const fn json_type(value: &serde_json::Value) -> &'static str {
    use serde_json::Value;

    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn override_of(view: &View<'_>) -> Option<Override> {
    let key = view.secret("key", MIN_OVERRIDE_KEY);
    Some(Override { header: view.header_name("header")?, key: key? })
}

fn pin(route: &str, view: &View<'_>, names: &Names<'_>, conditions: &Conditions<'_>) -> Option<Pin> {
    let by = kind_with_key(view, "by", names, conditions);
    let secrets = view.secrets("secrets", pin::MIN_SECRET_BYTES);
    let count = view.items("secrets").len();
    if !(1..=pin::MAX_SECRETS).contains(&count) {
        let help = format!("1 to {}: the first signs, all verify", pin::MAX_SECRETS);
        view.error("secrets", format!("{count} secrets"), help);
    }
    let secrets = secrets?;
    let secrets = secrets.iter().map(|secret| secret.expose_secret().as_bytes());
    Some(Pin { by: by?, pins: Pins::new(route, view.duration("idle")?, secrets)? })
}

/// A kind that has a key.
fn kind_with_key(view: &View<'_>, key: &str, names: &Names<'_>, conditions: &Conditions<'_>) -> Option<ContextIndex> {
    let kind = reference(view, key, "kind in [contexts]", &names.contexts)?;
    if !conditions.has_key(kind) {
        let found = format!("the kind {:?} has no key", names.contexts[kind]);
        view.error(key, found, r#"for example key = [{ header = "x-user-id" }] in its table"#);
    }
    Some(kind)
}

pub(super) fn header_changes(view: &View<'_>) -> HeaderChanges {
    let mut remove = Vec::new();
    for node in view.items("remove") {
        if let Ok(name) = parse::header_name(node) {
            view.check_settable(&view.path("remove"), &node.origin, &name);
            remove.push(name);
        }
    }
    HeaderChanges { remove, set: view.headers("set"), add: view.headers("add") }
}

fn quality_gate(view: &View<'_>, metrics: &[&str]) -> Option<QualityGate> {
    let metric = reference(view, "metric", "metric", metrics);
    let probes = view.float("probe_percent").and_then(Percent::new).map(Share::new);
    let settings = quality::Settings {
        min: view.float("min")?,
        margin: view.float("margin")?,
        window: view.duration("window")?,
        min_samples: view.integer("min_samples")?,
        retry_after: view.duration("retry_after")?,
        probes: probes?,
    };
    Some(QualityGate { metric: metric?, settings })
}

fn fallback_of(view: &View<'_>) -> Option<fallback::Settings> {
    let words = view.items("on").into_iter().filter_map(|node| node.as_text());
    let on = words.filter_map(|word| Cause::ALL.into_iter().find(|cause| cause.as_str() == word)).collect();
    let replay = match view.word("replay") {
        Some("connect") => Some(Replay::Connect),
        Some("always") => Some(Replay::Always),
        Some(_) | None => None,
    };
    Some(fallback::Settings { on, replay: replay?, replay_body: view.size("replay_body")? })
}

/// A backend that no route names is probably a name that was misspelt.
pub(super) fn unused_backends(backends: &[(&str, View<'_>)], routes: &[(&str, View<'_>)]) {
    let used: BTreeSet<&str> =
        routes.iter().flat_map(|(_, route)| [route.text("control"), route.text("candidate")]).flatten().collect();
    for (name, view) in backends.iter().filter(|(name, _)| !used.contains(name)) {
        view.warning("", format!("no route uses the backend {name:?}"), "remove it, or name it in a route");
    }
}
