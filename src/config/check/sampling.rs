//! `[judges.NAME]`, and what routes say of sampled exchanges.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::config::model::{Excerpt, Judge, Judging, Match, Samples, Shadow, Tls};
use crate::config::parse;
use crate::config::view::View;
use crate::domain::assignment::Share;
use crate::domain::percent::Percent;
use crate::domain::pointer::Pointer;
use crate::domain::sampling::Redaction;

use super::backend::{endpoint, has_certificate};
use super::{Names, reference};

/// Parts of an exchange that a judge is sent.
const MAX_EXCERPTS: usize = 32;
/// Places and names that are redacted.
const MAX_REDACTIONS: usize = 256;
/// Where a part can come from.
const PLACES: [&str; 4] = ["request_json", "request_header", "response_json", "response_header"];
/// Where a part can come from that differs by arm.
const ARM_PLACES: [&str; 2] = ["response_json", "response_header"];

pub(super) fn judge(name: &str, view: &View<'_>) -> Option<Judge> {
    let ca = view.file("ca");
    if ca.is_some_and(|pem| !has_certificate(pem)) {
        view.error("ca", "the file holds no certificate", "expected PEM: `-----BEGIN CERTIFICATE-----`");
    }
    let url = parse::url(view.node("url")?).ok()?;
    if url.is_none() {
        view.error("url", "an empty URL", "leave the judge out where there is none");
    }
    let headers = view.headers("headers");
    let budget = view.table("budget");
    let (per_minute, per_day) = (budget.integer("per_minute"), budget.integer("per_day"));
    Some(Judge {
        name: Arc::from(name),
        url: endpoint(url?, 1),
        tls: Tls { ca: ca.map(Bytes::copy_from_slice), ..Tls::default() },
        headers,
        timeout: view.duration("timeout")?,
        retries: view.integer("retries")?,
        max_in_flight: view.integer("max_in_flight")?,
        queue: view.integer("queue")?,
        per_minute: per_minute?,
        per_day: per_day?,
    })
}

pub(super) fn judging(view: &View<'_>, names: &Names<'_>) -> Option<Judging> {
    let by = reference(view, "by", "judge", &names.judges);
    let shares = shares(view);
    let parts = view.named("send");
    if parts.is_empty() || parts.len() > MAX_EXCERPTS {
        let help = format!("1 to {MAX_EXCERPTS}, for example answer = {{ response_json = \"/answer\" }}");
        view.error("send", format!("{} parts", parts.len()), help);
    }
    let send = super::all(parts.iter().map(|(name, view)| Some(((*name).into(), excerpts(view)?))));
    Some(Judging { by: by?, shares: shares?, max_body: bytes(view, "max_body")?, send: send? })
}

/// A part, for each arm.
fn excerpts(view: &View<'_>) -> Option<[Excerpt; 2]> {
    let arms = ["control", "candidate"].map(|arm| view.optional_table(arm));
    let of_arm = arms.map(|view| view.map(|view| one(&view, &ARM_PLACES)));
    let common = PLACES.into_iter().any(|place| view.is_typed(place)) || of_arm.iter().any(Option::is_none);
    let both = if common { Some(one(view, &PLACES)?) } else { None };
    let [control, candidate] = of_arm.map(|arm| arm.unwrap_or_else(|| both.clone()));
    Some([control?, candidate?])
}

fn one(view: &View<'_>, places: &[&str]) -> Option<Excerpt> {
    let count = places.iter().filter(|place| view.is_typed(place)).count();
    if count != 1 {
        let list = places.iter().map(|place| format!("`{place}`")).collect::<Vec<_>>().join(", ");
        view.error("", format!("a part with {count} places"), format!("it is read from one of {list}"));
        return None;
    }
    let typed = places.iter().find(|place| view.is_typed(place))?;
    let pointer = || view.text(typed).and_then(|text| pointer(text, |found, help| view.error(typed, found, help)));
    match *typed {
        "request_json" => pointer().map(Excerpt::RequestJson),
        "response_json" => pointer().map(Excerpt::ResponseJson),
        "request_header" => view.header_name(typed).map(Excerpt::RequestHeader),
        _ => view.header_name(typed).map(Excerpt::ResponseHeader),
    }
}

fn pointer(text: &str, report: impl FnOnce(String, String)) -> Option<Pointer> {
    match Pointer::parse(text) {
        Ok(pointer) => Some(pointer),
        Err(mistake) => {
            report(format!("found {text:?}"), format!("{mistake}; for example `/answer`"));
            None
        }
    }
}

pub(super) fn samples(view: &View<'_>) -> Option<Samples> {
    let shares = shares(view);
    let (max_body, keep) = (bytes(view, "max_body"), view.duration("keep"));
    let pointers = super::all(view.items("redact").into_iter().map(|node| {
        let report = |found, help| view.error_at(&node.origin, "redact", found, help);
        node.as_text().and_then(|text| pointer(text, report))
    }));
    let fields = view.items("redact_fields").into_iter().filter_map(|node| node.as_text()).map(Box::from).collect();
    for key in ["redact", "redact_fields"].into_iter().filter(|key| view.items(key).len() > MAX_REDACTIONS) {
        view.error(key, format!("{} of them", view.items(key).len()), format!("at most {MAX_REDACTIONS}"));
    }
    Some(Samples { shares: shares?, max_body: max_body?, keep: keep?, redaction: Redaction::new(pointers?, fields) })
}

/// One percentage for both arms, or one for each.
fn shares(view: &View<'_>) -> Option<[Share; 2]> {
    let share = |key| view.float(key).and_then(Percent::new).map(Share::new);
    let (common, candidate) = (share("percent")?, share("candidate_percent"));
    let candidate = if view.is_typed("candidate_percent") { candidate? } else { common };
    Some([common, candidate])
}

fn bytes(view: &View<'_>, key: &str) -> Option<usize> {
    view.size(key).and_then(|bytes| usize::try_from(bytes).ok())
}

pub(super) fn shadow(view: &View<'_>, matches: Option<&Match>) -> Option<Shadow> {
    let methods: Vec<_> = view.items("methods").into_iter().filter_map(|node| parse::method(node).ok()).collect();
    let taken = |matches: &Match| matches.methods.is_empty() || matches.methods.iter().any(|one| methods.contains(one));
    let percent = view.float("percent").and_then(Percent::new);
    if percent.is_some_and(|percent| percent != Percent::ZERO) && !matches.is_none_or(taken) {
        let help = "name what is to be copied, for example methods = [\"POST\"]: the candidate does what it is asked";
        view.warning("methods", "no request of this route is copied", help);
    }
    let budget = view.table("budget");
    let (per_minute, per_day) = (budget.integer("per_minute"), budget.integer("per_day"));
    Some(Shadow {
        percent: percent?,
        methods,
        max_in_flight: view.integer("max_in_flight")?,
        queue: view.integer("queue")?,
        per_minute: per_minute?,
        per_day: per_day?,
    })
}

/// A judge that no route names is asked nothing; a metric from one that is asked nothing has no values.
pub(super) fn unused(judges: &[(&str, View<'_>)], routes: &[(&str, View<'_>)]) {
    let used: BTreeSet<&str> = routes
        .iter()
        .filter_map(|(_, route)| route.optional_table("judge"))
        .filter_map(|view| view.text("by"))
        .collect();
    for (name, view) in judges.iter().filter(|(name, _)| !used.contains(name)) {
        view.warning("", format!("no route is judged by {name:?}"), "remove it, or name it in [routes.NAME.judge]");
    }
}
