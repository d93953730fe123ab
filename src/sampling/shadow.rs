//! Copies of requests to the candidate, and what both arms made of the same request.
//!
//! A copy is sent once its user has had control's answer, within its route's own bounds. It feeds neither
//! breaker nor throttle nor evidence of users, and takes no room of the backend; what it costs counts in the
//! backend's budget. What it was like becomes an event `shadow.ROUTE`. Invariant: whatever the candidate does,
//! nobody but this module's lines waits for it.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::capture::{Capture, Room};
use super::lines::Lines;
use super::sending::{self, Idle, Sent};
use super::{CopyRequest, Exchange, Side};
use crate::clock;
use crate::config::model::{ArmRewrite, Backend, Excerpt, SHADOW_EVENTS, Shadow};
use crate::domain::Arm;
use crate::domain::attempt::Outcome;
use crate::domain::breaker::View;
use crate::domain::reading::Format;
use crate::domain::rewrite::{self, Given};
use crate::domain::sampling::{Fate, Purpose};
use crate::live::shadows::Answered;
use crate::live::{Live, RouteState};
use crate::store::{Attached, Store as _};

/// Seconds of a minute of the budget.
const MINUTE: i64 = 60;

/// See the module.
pub(super) struct Copies {
    context: Arc<Context>,
    lines: Lines<Arc<Exchange>>,
    sending: JoinSet<(Arc<Exchange>, Option<Side>)>,
}

/// What every copy needs.
struct Context {
    live: Arc<Live>,
    store: Arc<Attached>,
    room: Arc<Room>,
    idle: Arc<Idle>,
}

impl Copies {
    pub(super) fn new(live: Arc<Live>, store: Arc<Attached>, room: Arc<Room>) -> Self {
        let context = Arc::new(Context { live, store, room, idle: Arc::default() });
        Self { context, lines: Lines::default(), sending: JoinSet::new() }
    }

    /// Puts an exchange at the end of its route's line; gives back one of which there is no copy to be sent.
    pub(super) fn put(&mut self, exchange: Arc<Exchange>) -> Option<Arc<Exchange>> {
        if !exchange.drawn[Purpose::Shadow.index()] {
            return Some(exchange);
        }
        let name = Arc::clone(&exchange.definition().name);
        let queue = settings(&exchange).queue;
        let refused = self.lines.put(&name, queue, exchange).err()?;
        refused.count(Purpose::Shadow, Fate::QueueFull);
        Some(refused)
    }

    /// An exchange whose copy has ended, with what the candidate answered if that can be read; never while there
    /// is none.
    pub(super) async fn ended(&mut self) -> (Arc<Exchange>, Option<Side>) {
        loop {
            match self.sending.join_next().await {
                Some(Ok(ended)) => return ended,
                // It panicked, which was logged.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Begins to send where there is room.
    pub(super) fn send(&mut self) {
        while let Some((exchange, place)) = self.lines.next(|exchange| settings(exchange).max_in_flight) {
            let context = Arc::clone(&self.context);
            self.sending.spawn(async move {
                let (fate, side) = match begin(&exchange) {
                    Ok(copy) => settle(&context, &exchange, copy).await,
                    Err(fate) => (fate, None),
                };
                exchange.count(Purpose::Shadow, fate);
                drop(place);
                (exchange, side)
            });
        }
    }
}

fn settings(exchange: &Exchange) -> &Shadow {
    &exchange.definition().shadow
}

fn state(exchange: &Exchange) -> &RouteState {
    &exchange.snapshot.routes[exchange.route]
}

/// Whether a copy may be sent now.
fn begin(exchange: &Exchange) -> Result<&CopyRequest, Fate> {
    let health = exchange.snapshot.health(exchange.route, clock::now_millis());
    if health.breaker != View::Pass || health.rate_limited || health.spent {
        return Err(Fate::Unhealthy);
    }
    if health.busy {
        return Err(Fate::Busy);
    }
    let minute = (clock::timestamp().as_second() / MINUTE).cast_unsigned();
    let settings = settings(exchange);
    let (minute, day) = ((minute, settings.per_minute), (clock::utc_day(), settings.per_day));
    if !state(exchange).shadow.quotas.take(minute, day) {
        return Err(Fate::Budget);
    }
    exchange.copy.as_deref().ok_or(Fate::Rewrite)
}

/// From the copy to its figures.
async fn settle(context: &Context, exchange: &Exchange, copy: &CopyRequest) -> (Fate, Option<Side>) {
    let Some((index, backend)) = backend(exchange) else { return (Fate::Unhealthy, None) };
    let rewrite = exchange.definition().rewrite(Arm::Candidate);
    let Ok(body) = request_body(exchange, copy, rewrite) else { return (Fate::Rewrite, None) };
    let limit = exchange.definition().judge.as_ref().filter(|_| exchange.drawn[Purpose::Judge.index()]);
    let refuse = if limit.is_some() { None } else { Some(Fate::TooLarge) };
    let capture = Capture::new(Arc::clone(&context.room), limit.map_or(0, |judge| judge.max_body), refuse);
    let deadline = exchange.definition().deadline;
    let mut sent = sending::send(copy, &body, backend, deadline, &context.idle, capture).await;
    if let Some(cost) = sent.cost {
        exchange.snapshot.backends[index].state.spend(clock::utc_day(), cost);
    }
    let side = side(context, exchange, copy, &mut sent, rewrite);
    let control = Answered {
        status: exchange.status,
        duration: std::time::Duration::from_micros(exchange.attempt_micros.unwrap_or(exchange.duration_micros)),
        bytes: exchange.response_bytes,
    };
    state(exchange).shadow.note([&control, &sent.answered], sent.outcome, sent.whole);
    (tell(context, exchange, &control, &sent).await, side)
}

fn backend(exchange: &Exchange) -> Option<(usize, &Backend)> {
    let index = exchange.definition().backend(Arm::Candidate)?;
    Some((index, &exchange.snapshot.config().backends[index]))
}

/// The body as the candidate would have got it.
fn request_body(exchange: &Exchange, copy: &CopyRequest, rewrite: Option<&ArmRewrite>) -> Result<Bytes, ()> {
    let original = exchange.request.body.bytes();
    let Some(rewrite) = rewrite.filter(|rewrite| rewrite.needs_body() && !original.is_empty()) else {
        return Ok(Bytes::copy_from_slice(original));
    };
    let Ok(document) = rewrite::document(original) else {
        return if rewrite.body.is_empty() { Ok(Bytes::copy_from_slice(original)) } else { Err(()) };
    };
    if rewrite.answer.is_some() && rewrite::asks_for_stream(&document) {
        return Err(());
    }
    if rewrite.body.is_empty() {
        return Ok(Bytes::copy_from_slice(original));
    }
    let given = given(exchange, copy, &document, None);
    rewrite.body.rewrite(&given, limit(exchange)).map(Bytes::from).map_err(drop)
}

fn given<'a>(
    exchange: &'a Exchange,
    copy: &'a CopyRequest,
    body: &'a Value,
    answer: Option<(Option<&'a Value>, u16)>,
) -> Given<'a> {
    Given { body, facts: &copy.facts, route: &exchange.definition().name, arm: Arm::Candidate, answer }
}

fn limit(exchange: &Exchange) -> usize {
    usize::try_from(exchange.snapshot.config().limits.rewrite_body).unwrap_or(usize::MAX)
}

/// What a judge may compare of the answer, as a client would have got it: a 2xx, whole, and rewritten where the
/// file says so.
fn side(
    context: &Context,
    exchange: &Exchange,
    copy: &CopyRequest,
    sent: &mut Sent,
    rewrite: Option<&ArmRewrite>,
) -> Option<Side> {
    if !sent.whole || sent.outcome != Outcome::Success || !(200..300).contains(&sent.answered.status) {
        return None;
    }
    let empty = Capture::new(Arc::clone(&context.room), 0, None);
    let mut body = std::mem::replace(&mut sent.body, empty);
    let encoded = sent.headers.get_all(http::header::CONTENT_ENCODING).iter().any(|coding| coding != "identity");
    let content_type = sent.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mut format = if encoded { None } else { content_type.and_then(Format::of) };
    if let Some(template) = rewrite.and_then(|rewrite| rewrite.answer.as_ref()) {
        let answer = rewrite::document(body.bytes()).ok().filter(|_| format == Some(Format::Json));
        let request = rewrite::document(exchange.request.body.bytes()).ok();
        let status = sent.answered.status;
        let rewritten = answer.and_then(|answer| {
            template.rewrite(&given(exchange, copy, &answer, Some((request.as_ref(), status))), limit(exchange)).ok()
        });
        let Some(rewritten) = rewritten else {
            if body.is_lost(usize::MAX).is_none() {
                sent.outcome = Outcome::Rewrite;
            }
            return None;
        };
        body = Capture::new(Arc::clone(&context.room), rewritten.len(), None);
        body.see(&rewritten);
        format = Some(Format::Json);
    }
    let mut fields = http::HeaderMap::new();
    let excerpts = exchange.definition().judge.iter().flat_map(|judge| &judge.send).flat_map(|(_, arms)| arms);
    for excerpt in excerpts {
        if let Excerpt::ResponseHeader(name) = excerpt
            && let Some(value) = sent.headers.get(name)
        {
            fields.insert(name.clone(), value.clone());
        }
    }
    Some(Side { fields, format: format.ok_or(Fate::ContentType), body })
}

/// Stores what both made of it. An event that the store does not take is not offered again: there will be more.
async fn tell(context: &Context, exchange: &Exchange, control: &Answered, sent: &Sent) -> Fate {
    let millis = |answered: &Answered| answered.duration.as_secs_f64() * 1e3;
    let side = |answered: &Answered| json!({ "status": answered.status, "duration_ms": millis(answered), "bytes": answered.bytes });
    let mut candidate = side(&sent.answered);
    candidate["outcome"] = sent.outcome.as_str().into();
    let difference = sent.whole.then(|| {
        json!({
            "duration_ms": millis(&sent.answered) - millis(control),
            "bytes": sent.answered.bytes as f64 - control.bytes as f64,
        })
    });
    let data = json!({
        "control": side(control), "candidate": candidate, "difference": difference,
        "request_id": exchange.request_id,
    });
    let name = format!("{SHADOW_EVENTS}{}", exchange.definition().name);
    let Some(event) = exchange.event(&context.live, name.into(), &data) else { return Fate::Store };
    if context.store.append_events(vec![event]).await.is_ok() { Fate::Done } else { Fate::Store }
}
