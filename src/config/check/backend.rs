//! `[backends.NAME]`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, header};

use crate::config::model::{
    Backend, Balance, Endpoint, FixedAnswer, HealthCheck, HostHeader, Keepalive, Pass, Pricing, Target, Timeouts, Tls,
};
use crate::config::node::Node;
use crate::config::parse;
use crate::config::view::View;
use crate::domain::breaker::{RatioTrip, Settings};
use crate::domain::percent::Percent;
use crate::domain::reading::Prices;

pub(super) fn backend(name: &str, view: &View<'_>) -> Option<Backend> {
    let target = target(view);
    let balance = match view.word("balance") {
        Some("round_robin") => Some(Balance::RoundRobin),
        Some("consistent") => Some(Balance::Consistent),
        Some(_) | None => None,
    };
    let health_check = view.optional_table("health_check").map(|view| health_check(&view));
    let tls = tls(&view.table("tls"));
    let host = host(view);
    let headers = view.headers("headers");
    let timeouts = timeouts(&view.table("timeouts"));
    let keepalive = keepalive(&view.table("keepalive"));
    let breaker = breaker(&view.table("breaker"));
    let failure_status = view.items("failure_status").into_iter().filter_map(|node| parse::status(node).ok());
    let failure_status = failure_status.collect();
    let pricing = view.optional_table("prices").map(|view| pricing(&view));
    let cost_per_day = budget(view);
    Some(Backend {
        name: Arc::from(name),
        version: view.text("version").map(str::to_owned),
        resolve_every: view.duration("resolve_every")?,
        max_in_flight: view.integer("max_in_flight"),
        pass: pass(view),
        breaker_for_control: view.is_typed("breaker"),
        target: target?,
        balance: balance?,
        health_check: match health_check {
            Some(check) => Some(check?),
            None => None,
        },
        tls: tls?,
        host: host?,
        headers,
        timeouts: timeouts?,
        keepalive: keepalive?,
        breaker: breaker?,
        failure_status,
        pricing: match pricing {
            Some(pricing) => Some(pricing?),
            None => None,
        },
        cost_per_day,
    })
}

fn pricing(view: &View<'_>) -> Option<Pricing> {
    let (input, output) = (view.float("input"), view.float("output"));
    let currency = view.text("currency")?.to_owned();
    Some(Pricing { prices: Prices { input: input?, output: output? }, currency })
}

/// What it may cost on a day; `None` where nobody says, or what is said is a mistake.
fn budget(view: &View<'_>) -> Option<f64> {
    let budget = view.optional_table("budget")?;
    if !view.is_typed("prices") {
        let help = "without prices nobody knows what is spent: prices = { input = 3.0, output = 15.0 }";
        view.error("budget", "`budget` without `prices`", help);
    }
    budget.float("cost_per_day")
}

fn target(view: &View<'_>) -> Option<Target> {
    let named: Vec<&str> = ["url", "urls", "respond"].into_iter().filter(|key| view.is_typed(key)).collect();
    let (url, urls) = (view.node("url"), view.items("urls"));
    let respond = view.optional_table("respond").map(|view| respond(&view));
    match named.as_slice() {
        ["url"] => match parse::url(url?).ok()? {
            Some(url) => Some(Target::Endpoints(vec![endpoint(url, 1)])),
            None => Some(Target::Off),
        },
        ["urls"] => {
            if view.is_empty_list("urls") {
                view.error("urls", "an empty list", "name one URL at least, or use `url`");
            }
            super::all(urls.into_iter().map(|item| endpoint_of(view, item))).map(Target::Endpoints)
        }
        ["respond"] => respond?.map(Target::Respond),
        [] => {
            view.error("url", "neither `url` nor `urls` nor `respond`", "say where the backend is");
            None
        }
        [.., last] => {
            let found =
                format!("{} at once", named.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" and "));
            view.error(last, found, "a backend has one of `url`, `urls` and `respond`");
            None
        }
    }
}

pub(super) fn endpoint(url: parse::Url, weight: usize) -> Endpoint {
    let parse::Url { tls, host, port, authority, base_path } = url;
    Endpoint { tls, host, port, authority, base_path, weight }
}

fn endpoint_of(view: &View<'_>, item: &Node) -> Option<Endpoint> {
    let (node, weight) = match view.item_table("urls", item) {
        Some(table) => (item.get("url")?, table.integer("weight").filter(|_| table.node("url").is_some())?),
        None => (item, 1),
    };
    let Some(url) = parse::url(node).ok()? else {
        view.error_at(&node.origin, "urls", "an empty URL", "only `url` may be empty, which turns the backend off");
        return None;
    };
    Some(endpoint(url, weight))
}

fn respond(view: &View<'_>) -> Option<FixedAnswer> {
    let status = parse::status(view.node("status")?).ok()?;
    let body = Bytes::from(view.text("body")?.to_owned());
    let mut headers = view.headers("headers");
    if !headers.iter().any(|(name, _)| *name == header::CONTENT_TYPE) {
        headers.push((header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")));
    }
    Some(FixedAnswer { status, headers, body })
}

fn health_check(view: &View<'_>) -> Option<HealthCheck> {
    let (interval, timeout) = (view.duration("interval"), view.duration("timeout"));
    if timeout > interval && interval.is_some() {
        view.error("timeout", "longer than `interval`", "a check must end before the next begins");
    }
    Some(HealthCheck {
        path: view.request_path("path"),
        interval: interval?,
        timeout: timeout?,
        healthy_after: view.integer("healthy_after")?,
        unhealthy_after: view.integer("unhealthy_after")?,
    })
}

fn tls(view: &View<'_>) -> Option<Tls> {
    let ca = view.file("ca");
    if ca.is_some_and(|pem| !has_certificate(pem)) {
        view.error("ca", "the file holds no certificate", "expected PEM: `-----BEGIN CERTIFICATE-----`");
    }
    let insecure = view.boolean("insecure");
    if insecure == Some(true) {
        view.warning("insecure", "any certificate is accepted", "name the authority with `ca` instead");
    }
    Some(Tls { ca: ca.map(Bytes::copy_from_slice), sni: view.host("sni"), insecure: insecure? })
}

pub(super) fn has_certificate(pem: &[u8]) -> bool {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;

    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates.is_ok_and(|certificates| !certificates.is_empty())
}

fn host(view: &View<'_>) -> Option<HostHeader> {
    match view.text("host")? {
        "backend" => Some(HostHeader::Backend),
        "client" => Some(HostHeader::Client),
        name => {
            let authority = name.parse::<http::uri::Authority>().ok().filter(|_| !name.contains('@'));
            let value = authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
            if value.is_none() {
                view.error("host", format!("found {name:?}"), r#"expected "backend", "client", or a host name"#);
            }
            value.map(HostHeader::Fixed)
        }
    }
}

fn pass(view: &View<'_>) -> Pass {
    let mut pass = Pass::default();
    for word in view.items("pass").into_iter().filter_map(Node::as_text) {
        match word {
            "authorization" => pass.authorization = true,
            "cookie" => pass.cookie = true,
            "identity" => pass.identity = true,
            // Judged by its kind.
            _ => {}
        }
    }
    pass
}

fn timeouts(view: &View<'_>) -> Option<Timeouts> {
    Some(Timeouts {
        connect: view.duration("connect")?,
        first_byte: view.duration("first_byte")?,
        idle: view.duration("idle")?,
    })
}

fn keepalive(view: &View<'_>) -> Option<Keepalive> {
    Some(Keepalive { idle: view.duration("idle")?, max_idle: view.integer("max_idle")? })
}

fn breaker(view: &View<'_>) -> Option<Settings> {
    let ratio = ratio(view);
    let (open_for, open_for_max) = (view.duration("open_for"), view.duration("open_for_max"));
    Some(Settings {
        consecutive_failures: view.integer("consecutive_failures")?,
        ratio: ratio?,
        open_for: open_for?,
        open_for_max: longest(view, open_for?, open_for_max?),
        probes: view.integer("probes")?,
        successes: view.integer("successes")?,
        probe_timeout: view.duration("probe_timeout")?,
        recover_over: view.duration("recover_over")?,
    })
}

/// The default gives way to a longer `open_for`; a typed one does not.
fn longest(view: &View<'_>, open_for: Duration, open_for_max: Duration) -> Duration {
    if open_for_max < open_for && view.is_typed("open_for_max") {
        view.error("open_for_max", "shorter than `open_for`", "the longest time is at least the first");
    }
    open_for_max.max(open_for)
}

/// The outer `None` is a mistake, the inner one a breaker that does not look at shares.
fn ratio(view: &View<'_>) -> Option<Option<RatioTrip>> {
    let (min_requests, window) = (view.integer("min_requests"), view.duration("window"));
    let share = view.float("failure_ratio");
    if !view.is_typed("failure_ratio") {
        for key in ["min_requests", "window"].into_iter().filter(|key| view.is_typed(key)) {
            view.error(key, format!("`{key}` without `failure_ratio`"), "it says how the share of failures is judged");
        }
        return Some(None);
    }
    let failure_ratio = Percent::new(share? * Percent::HUNDRED.get())?;
    Some(Some(RatioTrip { failure_ratio, min_requests: min_requests?, window: window? }))
}
