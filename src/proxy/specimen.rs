//! What is taken of an exchange that was drawn, for judges and for people.
//!
//! It looks at pieces as they pass, in the middle of the way, and hands everything over when the request is
//! settled. Routes that ask for no samples pay a branch. Invariant: nothing of it can delay or change what
//! the client gets.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::document;
use super::ledger::Ledger;
use super::upload::SharedUpload;
use super::worker::Worker;
use crate::clock;
use crate::config::model::{Excerpt, Route};
use crate::domain::reading::Format;
use crate::domain::sampling::{Fate, Purpose};
use crate::measure::Record;
use crate::sampling::capture::Capture;
use crate::sampling::{Exchange, Side};

/// See the module.
pub(crate) struct Specimen {
    drawn: [bool; Purpose::ALL.len()],
    limit: usize,
    fields: HeaderMap,
    /// What sees the request's body.
    upload: Option<SharedUpload>,
    response: Option<Side>,
    /// Whether the answer has passed to its end.
    whole: bool,
}

impl Specimen {
    /// For a request that was drawn. Upgrades and HEAD have no bodies to look at.
    pub(crate) fn of(
        worker: &Worker,
        route: &Route,
        parts: &Parts,
        upload: Option<&SharedUpload>,
        id: &HeaderValue,
    ) -> Option<Box<Self>> {
        let (judge, samples) = (route.judge.as_deref(), route.samples.as_deref());
        if judge.is_none() && samples.is_none() {
            return None;
        }
        if parts.method == Method::HEAD || parts.headers.contains_key(header::UPGRADE) {
            return None;
        }
        let judge = judge.filter(|judge| Purpose::Judge.draws(judge.share, id.as_bytes()));
        let samples = samples.filter(|samples| Purpose::Samples.draws(samples.share, id.as_bytes()));
        let limit = judge.map(|judge| judge.max_body).max(samples.map(|samples| samples.max_body))?;
        let reads_request = samples.is_some() || judge.is_some_and(|judge| judge.reads_request());
        let upload = upload.filter(|_| reads_request).cloned();
        if let Some(upload) = &upload {
            let format = request_format(&parts.headers);
            upload.witness(Capture::new(Arc::clone(worker.sampling().room()), limit, format));
        }
        let fields = wanted(route, &parts.headers, |excerpt| match excerpt {
            Excerpt::RequestHeader(name) => Some(name),
            Excerpt::RequestJson(_) | Excerpt::ResponseJson(_) | Excerpt::ResponseHeader(_) => None,
        });
        let drawn = [judge.is_some(), samples.is_some()];
        Some(Box::new(Self { drawn, limit, fields, upload, response: None, whole: false }))
    }

    /// The head of the answer that the client gets.
    pub(crate) fn begin(&mut self, worker: &Worker, route: &Route, status: StatusCode, headers: &HeaderMap) {
        let fields = wanted(route, headers, |excerpt| match excerpt {
            Excerpt::ResponseHeader(name) => Some(name),
            Excerpt::RequestJson(_) | Excerpt::ResponseJson(_) | Excerpt::RequestHeader(_) => None,
        });
        let format = answer_format(status, headers);
        let body = Capture::new(Arc::clone(worker.sampling().room()), self.limit, format);
        self.response = Some(Side { fields, body });
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
        let empty = || Capture::new(Arc::clone(worker.sampling().room()), 0, Err(Fate::ContentType));
        let mut body = empty();
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
        worker.sampling().offer(Exchange {
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
            request: Side { fields: self.fields, body },
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
