//! A request arrives: it is checked, its route and its asker are found, and an arm is decided on.
//!
//! From here it goes to [`super::exchange`].

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;

use super::admission;
use super::attributes::{Asker, Attributes};
use super::events;
use super::exchange::{Exchange, Gone};
use super::headers::{self, Peer, Survey};
use super::identity::{self, Found, Shown};
use super::ledger::{Ledger, RequestFacts};
use super::problem::Problem;
use super::reply::Reply;
use super::upload::{SharedUpload, UploadLimits};
use super::worker::Worker;
use crate::clock;
use crate::config::model::{EVENTS_PATH, MissingKey};
use crate::domain::Arm;
use crate::domain::breaker::{Lease, View};
use crate::domain::context::{Contexts, Keys};
use crate::domain::decision::{self, Decision, Health, Reason};
use crate::domain::fallback::Replay;
use crate::live::{Matched, RouteIndex, Snapshot};

/// Serves one request.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Gone> {
    let arrived = clock::now();
    let timer = peer.begin();
    let snapshot = worker.snapshot();
    let (mut parts, incoming) = request.into_parts();
    let survey = headers::survey(&parts.headers);
    let request_id = headers::request_id(&mut parts.headers, new_request_id);
    if snapshot.config().events.public && parts.uri.path() == EVENTS_PATH {
        return Ok(Box::pin(events::serve(worker, peer, snapshot, (parts, incoming), (survey, request_id))).await);
    }
    let (host, matched) = match route(&snapshot, &parts, survey, &incoming) {
        Ok(routed) => routed,
        Err(problem) => {
            let counters = worker.counters();
            if problem == Problem::NoRoute {
                counters.unrouted.add(1);
            } else {
                counters.rejected.add(1);
            }
            peer.rest(arrived);
            return Ok(problem.into_response(&request_id));
        }
    };
    let route = matched.route;
    let trusted = peer.is_trusted(&snapshot);
    let shown = Shown { parts: &parts, trusted, claims: None, body: None };
    let who = identify(&worker, &snapshot, route, shown);
    let splits = snapshot.config().routes[route].policy.split_by;
    let asker = Asker { shown, peer: peer.address(), key: (splits, who.key.as_deref()) };
    let (decision, lease) = decide(&worker, &snapshot, matched, asker, who.override_arm, arrived);
    let secure = snapshot.exposing.is_some() && is_secure(shown);
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let wishes = headers::prepare_request(&mut parts, survey, &peer, trusted, &host);
    let exposure = expose(&snapshot, route, &decision, &mut parts.headers);
    headers::apply(&mut parts.headers, &snapshot.config().routes[route].request_headers);
    let facts =
        RequestFacts { method: parts.method.clone(), path: parts.uri.path().into(), request_id, key: who.key, peer };
    let ledger = Box::new(Ledger::new(Rc::clone(&worker), Rc::clone(&snapshot), matched, arrived, decision, facts));
    let exchange = Exchange {
        upload: upload(&worker, &snapshot, route, &parts, incoming, decision.serve, arrived),
        idempotent: parts.method.is_idempotent(),
        timer,
        survey,
        upgrade: upgrade.filter(|_| wishes.upgrade.is_some()),
        set_cookie: who.set_cookie,
        exposure,
        ledger,
        now: arrived,
        parts,
        wishes,
        host,
        trusted,
        secure,
    };
    exchange.run(lease).await
}

/// Checks a request and finds its route.
fn route(
    snapshot: &Snapshot,
    parts: &Parts,
    survey: Survey,
    incoming: &Incoming,
) -> Result<(HeaderValue, Matched), Problem> {
    let host = admission::check(parts, survey)?;
    if incoming.size_hint().lower() > snapshot.config().limits.max_body {
        return Err(Problem::ContentTooLarge);
    }
    let name = admission::without_port(&host);
    let matched = snapshot.table.find(name, parts.uri.path(), &parts.method).ok_or(Problem::NoRoute)?;
    Ok((host, matched))
}

/// Who asks, as far as the decision is concerned.
struct Who {
    key: Option<Box<str>>,
    override_arm: Option<Arm>,
    set_cookie: Option<HeaderValue>,
}

fn identify(worker: &Worker, snapshot: &Snapshot, route: RouteIndex, shown: Shown<'_>) -> Who {
    let config = snapshot.config();
    let definition = &config.routes[route];
    let override_arm = identity::overridden(definition.override_header.as_ref(), &shown.parts.headers);
    let sources = &config.contexts[definition.policy.split_by].key;
    let key: Option<Box<str>> = match identity::find_key(sources, shown) {
        Found::Key(key) => Some(key.into()),
        Found::Untrusted => {
            worker.note_untrusted();
            None
        }
        Found::Nothing => None,
    };
    if key.is_some() || definition.missing_key == MissingKey::Control {
        return Who { key, override_arm, set_cookie: None };
    }
    if let Some(id) = identity::anonymous_key(&shown.parts.headers) {
        return Who { key: Some(id.into()), override_arm, set_cookie: None };
    }
    let id = clock::new_uuid().to_string();
    let set_cookie = identity::anonymous_cookie(&id, is_secure(shown));
    Who { key: Some(id.into()), override_arm, set_cookie }
}

/// Whether the client came over HTTPS, as far as a trusted peer tells.
fn is_secure(shown: Shown<'_>) -> bool {
    shown.trusted && headers::has_token(&shown.parts.headers, &headers::X_FORWARDED_PROTO, "https")
}

/// Decides, and takes the right to a probe where one is due.
fn decide(
    worker: &Worker,
    snapshot: &Snapshot,
    Matched { route, arms }: Matched,
    asker: Asker<'_>,
    override_arm: Option<Arm>,
    now: Instant,
) -> (Decision, Option<Lease>) {
    let now = clock::millis(now);
    let needs = &snapshot.config().routes[route].policy.needs;
    let attributes = Attributes::read(snapshot.config(), &needs.slots, asker);
    worker.note_attributes(&attributes);
    let kinds = &snapshot.config().contexts;
    let others = identity::other_keys(kinds, &needs.keys, asker.shown, || worker.note_untrusted());
    let keys = Keys::one(asker.key.0, asker.key.1).with(&others);
    let contexts = &Contexts { keys, override_arm, facts: &attributes.facts };
    let (mut decision, health) = snapshot.decide(route, contexts, now);
    if decision.reason != Reason::BreakerOpen || health.breaker != View::ProbeDue {
        return (decision, None);
    }
    let definition = &snapshot.config().routes[route];
    // Would it be served, were the breaker closed? A probe that the gate refuses proves nothing.
    let through = decision::decide(&definition.policy, contexts, &Health { breaker: View::Pass, ..health });
    if through.serve == Arm::Control {
        return (decision, None);
    }
    let settings = &snapshot.config().backends[arms.candidate].breaker;
    let lease = snapshot.backends[arms.candidate].state.lease(now, settings);
    if lease.is_some() {
        decision.serve = Arm::Candidate;
        decision.reason = Reason::BreakerProbe;
    }
    (decision, lease)
}

/// Puts the exposure token in place of whatever the client sent under its name.
fn expose(snapshot: &Snapshot, route: RouteIndex, decision: &Decision, headers: &mut HeaderMap) -> Option<HeaderValue> {
    let settings = snapshot.config().exposure.as_ref()?;
    let token = snapshot.exposure_token(route, decision, clock::timestamp());
    let token = token.and_then(|token| HeaderValue::from_bytes(token.as_bytes()).ok());
    match &token {
        Some(token) => drop(headers.insert(&settings.header, token.clone())),
        None => drop(headers.remove(&settings.header)),
    }
    token
}

fn upload(
    worker: &Worker,
    snapshot: &Snapshot,
    route: RouteIndex,
    parts: &Parts,
    incoming: Incoming,
    arm: Arm,
    now: Instant,
) -> Option<SharedUpload> {
    if incoming.is_end_stream() {
        return None;
    }
    let limits = &snapshot.config().limits;
    let fallback = &snapshot.config().routes[route].fallback;
    let may_repeat = arm == Arm::Candidate && (parts.method.is_idempotent() || fallback.replay == Replay::Always);
    let fits = incoming.size_hint().lower() <= fallback.replay_body;
    let keep = if may_repeat && fits { fallback.replay_body } else { 0 };
    let limits = UploadLimits { max_body: limits.max_body, keep, keep_all: limits.replay_memory };
    Some(SharedUpload::new(incoming, limits, Arc::clone(worker.replay_memory()), now))
}

fn new_request_id() -> HeaderValue {
    let mut text = uuid::Uuid::encode_buffer();
    let text = clock::new_uuid().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod sizes {
    /// hyper moves the future of every request; paths that are seldom taken belong in a box of their own.
    const MAX_FUTURE_BYTES: usize = 3_584;

    #[test]
    fn the_future_of_a_request_stays_small() {
        fn size<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
            std::mem::size_of::<F>()
        }
        let bytes = size(super::serve);
        assert!(bytes <= MAX_FUTURE_BYTES, "{bytes}");
    }
}
