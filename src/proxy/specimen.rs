//! What is taken of an exchange that was drawn, for judges and for people.
//!
//! It looks at pieces as they pass, in the middle of the way, and hands everything over when the request is
//! settled. Routes that ask for no samples pay a branch. Invariant: nothing of it can delay or change what
//! the client gets.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method, StatusCode, header};

use super::document;
use super::exchange::Exchange;
use super::headers::X_POINTSMAN_SHADOW;
use super::ledger::Ledger;
use super::upload::SharedUpload;
use super::worker::Worker;
use crate::clock;
use crate::config::model::{Excerpt, Route};
use crate::domain::Arm;
use crate::domain::reading::Format;
use crate::domain::sampling::{Fate, Purpose, may_be_copied};
use crate::measure::Record;
use crate::sampling::capture::Capture;
use crate::sampling::{CopyRequest, Exchange as Settled, Side};

/// See the module.
pub(crate) struct Specimen {
    drawn: [bool; Purpose::ALL.len()],
    /// Bytes of the answer that anybody looks at.
    answer_limit: usize,
    /// The request's fields that a judge is sent.
    fields: HeaderMap,
    /// What the request's body is.
    format: Result<Format, Fate>,
    copy: Option<Box<CopyRequest>>,
    /// What sees the request's body.
    upload: Option<SharedUpload>,
    response: Option<Side>,
    /// Whether the answer has passed to its end.
    whole: bool,
}

impl Exchange {
    /// Finds out what the request is drawn for, and begins to look. Upgrades and HEAD have no bodies to look at.
    pub(super) fn sample(&mut self) {
        let route = self.ledger.route();
        let percent = self.ledger.route_state().shadow_percent();
        if route.judge.is_none() && route.samples.is_none() && percent == 0.0 {
            return;
        }
        if self.parts.method == Method::HEAD || self.upgrade.is_some() {
            return;
        }
        self.ledger.specimen = self.specimen(percent);
    }

    fn specimen(&self, percent: f64) -> Option<Box<Specimen>> {
        let (route, id) = (self.ledger.route(), self.ledger.request().request_id.as_bytes());
        let arm = self.ledger.decision.serve.index();
        let judge = route.judge.as_deref().filter(|judge| Purpose::Judge.draws(judge.shares[arm], id));
        let samples = route.samples.as_deref().filter(|samples| Purpose::Samples.draws(samples.shares[arm], id));
        let copy = if self.is_copied(percent) { self.copy() } else { None };
        let of_documents = judge.map(|judge| judge.max_body).max(samples.map(|samples| samples.max_body));
        let of_copy = copy.is_some().then(|| usize::try_from(route.fallback.replay_body).unwrap_or(usize::MAX));
        let limit = of_documents.max(of_copy)?;
        let reads_request = copy.is_some() || samples.is_some() || judge.is_some_and(|judge| judge.reads_request());
        let upload = self.upload.as_ref().filter(|_| reads_request).cloned();
        let format = request_format(&self.parts.headers);
        let room = self.ledger.worker().sampling().room();
        if let Some(upload) = &upload {
            let refuse = if copy.is_some() { None } else { format.err() };
            upload.witness(Capture::new(Arc::clone(room), limit, refuse));
        }
        let fields = wanted(route, &self.parts.headers, |excerpt| match excerpt {
            Excerpt::RequestHeader(name) => Some(name),
            Excerpt::RequestJson(_) | Excerpt::ResponseJson(_) | Excerpt::ResponseHeader(_) => None,
        });
        let drawn = [judge.is_some(), samples.is_some(), copy.is_some()];
        let answer_limit = of_documents.unwrap_or(0);
        Some(Box::new(Specimen { drawn, answer_limit, fields, format, copy, upload, response: None, whole: false }))
    }

    /// Whether the candidate gets a copy of this request. A copy is not copied again.
    fn is_copied(&self, percent: f64) -> bool {
        let (route, decision) = (self.ledger.route(), &self.ledger.decision);
        decision.serve == Arm::Control
            && may_be_copied(decision.reason)
            && route.shadow.methods.contains(&self.parts.method)
            && Purpose::Shadow.draws_percent(percent, self.ledger.request().request_id.as_bytes())
            && !self.parts.headers.contains_key(X_POINTSMAN_SHADOW)
    }
}

impl Specimen {
    /// The head of the answer that the client gets.
    pub(crate) fn begin(&mut self, worker: &Worker, route: &Route, status: StatusCode, headers: &HeaderMap) {
        let fields = wanted(route, headers, |excerpt| match excerpt {
            Excerpt::ResponseHeader(name) => Some(name),
            Excerpt::RequestJson(_) | Excerpt::ResponseJson(_) | Excerpt::RequestHeader(_) => None,
        });
        let format = answer_format(status, headers);
        let refuse = if self.answer_limit == 0 { Some(Fate::TooLarge) } else { format.err() };
        let mut body = Capture::new(Arc::clone(worker.sampling().room()), self.answer_limit, refuse);
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        body.announce(length.unwrap_or(0));
        self.response = Some(Side { fields, format, body });
    }

    /// A piece of the answer passes.
    pub(crate) fn see(&mut self, piece: &[u8]) {
        if let Some(response) = &mut self.response {
            response.body.see(piece);
        }
    }

    /// The answer has passed to its end.
    pub(crate) const fn complete(&mut self) {
        self.whole = true;
    }

    /// The request is settled.
    pub(crate) fn submit(mut self, ledger: &Ledger, record: &Record) {
        let worker = ledger.worker();
        let mut body = Capture::new(Arc::clone(worker.sampling().room()), 0, None);
        if let Some(upload) = &self.upload {
            body = upload.take_witness().unwrap_or(body);
            if !upload.progress().finished {
                body.lose(Fate::Truncated);
            }
        }
        if let Some(response) = self.response.as_mut().filter(|_| !self.whole) {
            response.body.lose(Fate::Truncated);
        }
        let request = ledger.request();
        let answered = record.attempts.iter().flatten().find(|attempt| attempt.arm == record.served);
        worker.sampling().offer(Settled {
            snapshot: Arc::clone(ledger.snapshot()),
            route: ledger.route_index(),
            at: clock::timestamp(),
            drawn: self.drawn,
            request_id: request.request_id.to_str().unwrap_or_default().into(),
            user: request.key.clone(),
            decision: ledger.decision,
            phase: record.phase,
            served: record.served,
            reason: record.reason,
            method: request.method.as_str().into(),
            path: request.path.clone(),
            status: record.status,
            duration_micros: record.duration_micros,
            attempt_micros: answered.map(|attempt| attempt.duration_micros),
            response_bytes: ledger.response_bytes(),
            // Without a backend's answer the client had one of ours, unless it went away before.
            whole: self.whole || (self.response.is_none() && record.status != 0),
            copy: self.copy,
            request: Side { fields: self.fields, format: self.format, body },
            response: self.response,
        });
    }
}

/// The fields that a judge is sent, and no others.
fn wanted(route: &Route, headers: &HeaderMap, name: impl Fn(&Excerpt) -> Option<&HeaderName>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let excerpts = route.judge.iter().flat_map(|judge| &judge.send).flat_map(|(_, arms)| arms);
    for name in excerpts.filter_map(name) {
        if let Some(value) = headers.get(name) {
            fields.insert(name.clone(), value.clone());
        }
    }
    fields
}

/// A request may leave out what it is.
fn request_format(headers: &HeaderMap) -> Result<Format, Fate> {
    if document::is_encoded(headers) {
        return Err(Fate::Encoded);
    }
    if document::promises_json(headers) { Ok(Format::Json) } else { Err(Fate::ContentType) }
}

fn answer_format(status: StatusCode, headers: &HeaderMap) -> Result<Format, Fate> {
    if status == StatusCode::PARTIAL_CONTENT {
        return Err(Fate::Truncated);
    }
    if document::is_encoded(headers) {
        return Err(Fate::Encoded);
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.and_then(Format::of).ok_or(Fate::ContentType)
}
