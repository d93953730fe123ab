//! `[routes.NAME]`.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::model::{
    Attribute, Backend, ContextKind, Expose, HeaderChanges, MissingKey, Override, Place, QualityGate, Route, Source,
    Target,
};
use crate::config::parse;
use crate::config::view::View;
use crate::domain::assignment::Share;
use crate::domain::fallback::{self, Cause, Replay};
use crate::domain::percent::Percent;
use crate::domain::quality;

use super::condition::Conditions;
use super::{Names, matches, policy, reference, rewrite, targeting};

/// Shortest override key, in bytes.
const MIN_OVERRIDE_KEY: usize = 8;

pub(super) fn route(
    name: &str,
    view: &View<'_>,
    names: &Names<'_>,
    backends: &[Option<Backend>],
    conditions: &mut Conditions<'_>,
) -> Option<Route> {
    let matches = matches::of(view);
    let control = reference(view, "control", "backend", &names.backends);
    let candidate = reference(view, "candidate", "backend", &names.backends);
    if control.is_some() && control == candidate {
        view.warning("candidate", "the same backend as `control`", "both arms behave alike: good for an A/A test only");
    }
    let candidate_off = off(view, control, candidate, backends);
    let split_by = reference(view, "split_by", "kind in [contexts]", &names.contexts);
    if let Some(kind) = split_by.filter(|kind| !conditions.has_key(*kind)) {
        let found = format!("the kind {:?} has no key", names.contexts[kind]);
        view.error("split_by", found, r#"for example key = [{ header = "x-user-id" }] in its table"#);
    }
    let targeting = targeting::of(view, conditions);
    let policy = policy::of(name, view, candidate_off, targeting);
    let override_header = view.optional_table("override").map(|view| override_of(&view));
    let quality_gate = view.optional_table("quality_gate").map(|view| quality_gate(&view, &names.metrics));
    let fallback = fallback_of(&view.table("fallback"));
    matches::ask_for_replay(view, matches.as_ref());
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
    let (rewrites, rewrite_slots) = rewrites?;
    Some(Route {
        name: Arc::from(name),
        matches,
        deadline: view.duration("deadline"),
        control: control?,
        candidate: candidate?,
        split_by: split_by?,
        // What it depends on is known only once every part is built.
        reads_body: false,
        policy: policy?,
        missing_key: missing_key?,
        override_header: transpose(override_header)?,
        rewrite_prefix,
        rewrites,
        rewrite_slots,
        request_headers,
        response_headers,
        quality_gate: transpose(quality_gate)?,
        fallback: fallback?,
        expose: expose?,
    })
}

/// Notes which routes need the body for their decision: for the key that splits, for the key of another
/// kind, or for an attribute that a condition looks at or a template mentions.
pub(super) fn note_bodies(routes: &mut [Route], contexts: &[ContextKind], attributes: &[Attribute]) {
    let in_body = |source: &Source| matches!(source, Source::Body(_));
    let key_in_body = |kind: usize| contexts[kind].key.iter().any(in_body);
    for route in routes {
        let slots = route.policy.targeting.slots.iter().chain(&route.rewrite_slots);
        let mut places = slots.map(|slot| &attributes[*slot].place);
        route.reads_body = key_in_body(route.split_by)
            || places.any(|place| match place {
                Place::Key(kind) => key_in_body(*kind),
                Place::Source(source) => in_body(source),
                Place::PathSegment(_) | Place::ClientIp | Place::Method | Place::Constant(_) => false,
            });
    }
}

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
    if is_off(control) {
        view.error("control", "a backend whose `url` is empty", "only a candidate can be off: nobody would answer");
    }
    if is_off(candidate) {
        view.warning("candidate", "its `url` is empty, so the candidate is off", "control serves everybody");
    }
    is_off(candidate)
}

fn override_of(view: &View<'_>) -> Option<Override> {
    let key = view.secret("key", MIN_OVERRIDE_KEY);
    Some(Override { header: view.header_name("header")?, key: key? })
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
