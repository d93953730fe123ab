//! A request arrives: it is checked, its route and its asker are found, and an arm is decided on.
//!
//! Its body is read before the decision only where the route's key or conditions come from it. From
//! here it goes to [`super::exchange`].

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use serde_json::Value;

use super::admission;
use super::attributes::{Asker, Attributes};
use super::claims;
use super::document;
use super::events;
use super::exchange::{Exchange, Gone};
use super::headers::{self, HopWishes, Peer, Survey};
use super::identity::{self, Found, Shown};
use super::ledger::{Ledger, RequestFacts};
use super::pins::{Issued, Presented};
use super::problem::Problem;
use super::reply::Reply;
use super::rewriting::Rewriting;
use super::upload::{Patience, SharedUpload, UploadLimits};
use super::worker::{Current, Worker};
use crate::clock;
use crate::config::model::{EVENTS_PATH, MissingKey};
use crate::domain::Arm;
use crate::domain::breaker::{Lease, Millis, View};
use crate::domain::context::{Contexts, Keys};
use crate::domain::decision::{self, Decision, Health, Reason};
use crate::domain::fallback::Replay;
use crate::live::{Matched, RouteIndex, Snapshot};

/// What is kept of a body for control's sake, which sends it again only where a pooled connection breaks: it must not take
/// the memory that fallback lives on.
const MAX_KEPT_FOR_CONTROL: u64 = 32 * 1_024;

/// Serves one request.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Gone> {
    let snapshot = worker.snapshot();
    if snapshot.config().events.public && request.uri().path() == EVENTS_PATH {
        return Ok(Box::pin(take_events(worker, peer, snapshot, request)).await);
    }
    let mut exchange = match arrive(worker, peer, snapshot, request) {
        Ok(exchange) => exchange,
        Err(refusal) => return Ok(*refusal),
    };
    if exchange.upload.is_some() && exchange.ledger.route().reads_body {
        return Box::pin(serve_by_body(exchange)).await;
    }
    let lease = settle_on(&mut exchange, None);
    exchange.run(lease).await
}

/// Events of browsers are for the gateway itself.
async fn take_events(
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    snapshot: Current,
    request: Request<Incoming>,
) -> Response<Reply> {
    let (mut parts, incoming) = request.into_parts();
    let survey = headers::survey(&parts.headers, &snapshot.private);
    let request_id = headers::request_id(&mut parts.headers, new_request_id);
    events::serve(worker, peer, snapshot, (parts, incoming), (survey, request_id)).await
}

/// As [`serve`], with a decision that looks at the body. The client has as long to send it as it would
/// have while it streams to control.
async fn serve_by_body(mut exchange: Box<Exchange>) -> Result<Response<Reply>, Gone> {
    let document = match &exchange.upload {
        Some(upload) => {
            let ledger = &exchange.ledger;
            let patience = Patience { idle: ledger.backend(Arm::Control).timeouts.idle, deadline: ledger.deadline() };
            let limit = ledger.snapshot().config().limits.body_attributes;
            let headers = &exchange.parts.headers;
            document::read(ledger.worker(), upload, headers, limit, patience, &mut exchange.timer).await
        }
        None => Ok(None),
    };
    exchange.now = clock::now();
    exchange.ledger.waited_for_client(exchange.now);
    match document {
        Ok(document) => {
            let lease = settle_on(&mut exchange, document.as_ref());
            drop(document);
            exchange.run(lease).await
        }
        Err(fault) => exchange.blame_client(fault.into()),
    }
}

/// Checks a request and finds its route. From here on it is in the ledger.
fn arrive(
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    snapshot: Current,
    request: Request<Incoming>,
) -> Result<Box<Exchange>, Box<Response<Reply>>> {
    let arrived = clock::now();
    let timer = peer.begin();
    let (mut parts, incoming) = request.into_parts();
    let survey = headers::survey(&parts.headers, &snapshot.private);
    let request_id = headers::request_id(&mut parts.headers, new_request_id);
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
            return Err(Box::new(problem.into_response(&request_id)));
        }
    };
    let trusted = peer.is_trusted(&snapshot);
    let upload = upload(&worker, &snapshot, incoming, arrived);
    let facts =
        RequestFacts { method: parts.method.clone(), path: parts.uri.path().into(), request_id, key: None, peer };
    Ok(Box::new(Exchange {
        upload,
        idempotent: parts.method.is_idempotent(),
        may_repeat: false,
        timer,
        survey,
        upgrade: None,
        set_cookie: None,
        pin: None,
        exposure: None,
        ledger: Box::new(Ledger::new(worker, snapshot, matched, arrived, facts)),
        now: arrived,
        parts,
        wishes: HopWishes::default(),
        host,
        trusted,
        secure: false,
        rewriting: None,
    }))
}

/// Finds out who asks, decides, and makes the request fit to be sent. Gives the right to a probe, where
/// there is one.
fn settle_on(exchange: &mut Exchange, body: Option<&Value>) -> Option<Lease> {
    let (worker, snapshot) = (Rc::clone(exchange.ledger.worker()), Rc::clone(exchange.ledger.snapshot()));
    let matched = exchange.ledger.matched();
    let route = matched.route;
    let definition = &snapshot.config().routes[route];
    let claims = claims::of(&worker, &snapshot, route, &exchange.parts.headers);
    let shown = Shown { parts: &exchange.parts, trusted: exchange.trusted, claims: claims.as_deref(), body };
    let who = identify(&worker, &snapshot, route, shown);
    let key = (definition.policy.split_by, who.key.as_deref());
    let asker = Asker { shown, peer: exchange.ledger.request().peer.address(), key };
    let Decided { decision, lease, pin } = decide(&worker, &snapshot, matched, asker, who.override_arm, exchange.now);
    exchange.may_repeat = exchange.idempotent || definition.fallback.replay == Replay::Always;
    if let Some(upload) = exchange.upload.as_ref().filter(|_| exchange.may_repeat) {
        let bytes = definition.fallback.replay_body;
        upload.keep_up_to(if decision.serve == Arm::Candidate { bytes } else { bytes.min(MAX_KEPT_FOR_CONTROL) });
    }
    let secure = snapshot.exposing.is_some() && is_secure(shown);
    let rewriting = Rewriting::of(&worker, snapshot.config(), definition, asker);
    exchange.ledger.decide(decision, who.key);
    exchange.set_cookie = who.set_cookie;
    exchange.pin = pin;
    exchange.secure = secure;
    exchange.rewriting = rewriting;
    let upgrade = exchange.parts.extensions.remove::<OnUpgrade>();
    let peer = &exchange.ledger.request().peer;
    exchange.wishes =
        headers::prepare_request(&mut exchange.parts, exchange.survey, peer, exchange.trusted, &exchange.host);
    exchange.upgrade = upgrade.filter(|_| exchange.wishes.upgrade.is_some());
    exchange.exposure = expose(&snapshot, route, &decision, &mut exchange.parts.headers);
    headers::apply(&mut exchange.parts.headers, &definition.request_headers);
    exchange.sample();
    lease
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

/// What was decided, and what follows from it.
struct Decided {
    decision: Decision,
    lease: Option<Lease>,
    pin: Option<Box<Issued>>,
}

/// Decides, and takes the right to a probe where one is due.
fn decide(
    worker: &Worker,
    snapshot: &Snapshot,
    Matched { route, arms }: Matched,
    asker: Asker<'_>,
    override_arm: Option<Arm>,
    now: Instant,
) -> Decided {
    let now = clock::millis(now);
    let definition = &snapshot.config().routes[route];
    let needs = &definition.policy.needs;
    let attributes = Attributes::read(snapshot.config(), &needs.slots, asker);
    worker.note_attributes(&attributes);
    let kinds = &snapshot.config().contexts;
    let others = identity::other_keys(kinds, &needs.keys, asker.shown, || worker.note_untrusted());
    let keys = Keys::one(asker.key.0, asker.key.1).with(&others);
    let presented = Presented::read(definition.pin.as_ref(), keys, &asker.shown.parts.headers);
    if let Some(rejection) = presented.as_ref().and_then(|presented| presented.rejected) {
        snapshot.routes[route].counters[worker.index()].pins_rejected[rejection.index()].add(1);
    }
    let pinned = presented.as_ref().and_then(|presented| presented.pinned).map(|pinned| pinned.arm);
    let contexts = &Contexts { keys, override_arm, pinned, facts: &attributes.facts };
    let (mut decision, health) = snapshot.decide(route, contexts, now);
    let pin = presented.and_then(|presented| presented.issue(&decision, definition, is_secure(asker.shown)));
    let lease = lease(snapshot, Matched { route, arms }, (&mut decision, &health), contexts, now);
    Decided { decision, lease, pin }
}

/// Takes the right to a probe where one is due; the decision then says so.
fn lease(
    snapshot: &Snapshot,
    Matched { route, arms }: Matched,
    (decision, health): (&mut Decision, &Health),
    contexts: &Contexts<'_>,
    now: Millis,
) -> Option<Lease> {
    if decision.reason != Reason::BreakerOpen || health.breaker != View::ProbeDue {
        return None;
    }
    let definition = &snapshot.config().routes[route];
    // Would it be served, were the breaker closed? A probe that the gate refuses proves nothing.
    let through = decision::decide(&definition.policy, contexts, &Health { breaker: View::Pass, ..*health });
    if through.serve == Arm::Control {
        return None;
    }
    let settings = &snapshot.config().backends[arms.candidate].breaker;
    let lease = snapshot.backends[arms.candidate].state.lease(now, settings);
    if lease.is_some() {
        decision.serve = Arm::Candidate;
        decision.reason = Reason::BreakerProbe;
    }
    lease
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

fn upload(worker: &Worker, snapshot: &Snapshot, incoming: Incoming, now: Instant) -> Option<SharedUpload> {
    if incoming.is_end_stream() {
        return None;
    }
    let limits = &snapshot.config().limits;
    let limits = UploadLimits::new(limits.max_body, limits.replay_memory);
    Some(SharedUpload::new(incoming, limits, Arc::clone(worker.replay_memory()), now))
}

fn new_request_id() -> HeaderValue {
    let mut text = [0_u8; uuid::fmt::Hyphenated::LENGTH];
    clock::new_uuid().hyphenated().encode_lower(&mut text);
    // It is copied into the request, the answer and perhaps a second sending: these share it from the start.
    HeaderValue::from_maybe_shared(Bytes::from_owner(text)).unwrap_or(HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod sizes {
    /// hyper moves the future of every request; paths that are seldom taken belong in a box of their own.
    const MAX_FUTURE_BYTES: usize = 2_048;

    #[test]
    fn the_future_of_a_request_stays_small() {
        fn size<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
            std::mem::size_of::<F>()
        }
        let bytes = size(super::serve);
        assert!(bytes <= MAX_FUTURE_BYTES, "{bytes}");
    }
}
