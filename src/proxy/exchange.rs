//! The way of one request, from the decision to the head of its answer.
//!
//! 1. arrive and be checked, 2. who asks, 3. where to ([`super::arrival`]), 4. may we, 5. send,
//! 6. answer or fall back (here), 7. stream ([`super::reply`]), 8. settle ([`super::ledger`]).

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, Version, header, response};
use hyper::upgrade::OnUpgrade;

use super::attempt::{Answer, ClientFault, Failure, Outgoing, RESET, SendError, Sending, TimeLimit, Try};
use super::connection::Connection;
use super::headers::{self, HopWishes, Survey};
use super::ledger::Ledger;
use super::pins::{Issued, X_POINTSMAN_PIN};
use super::problem::Problem;
use super::reply::{Reply, Stream};
use super::respond;
use super::rewriting::{self, Rewriting};
use super::tap::Tap;
use super::target::{replaced_uri, upstream_uri};
use super::timer::Timer;
use super::tunnel;
use super::upload::SharedUpload;
use crate::clock;
use crate::config::model::{ArmRewrite, Endpoint, Target};
use crate::domain::Arm;
use crate::domain::attempt::Outcome;
use crate::domain::breaker::{self, Lease, View};
use crate::domain::decision::Reason;
use crate::domain::fallback::{Cause, Situation};
use crate::domain::metric::Values;
use crate::live::Snapshot;
use crate::sampling::CopyRequest;

/// Fields that tell of how a request comes, which are not those of its copy: that has a body of known length,
/// and no trailers.
const FRAMING: [HeaderName; 5] =
    [header::CONNECTION, header::CONTENT_LENGTH, header::TE, header::TRAILER, header::TRANSFER_ENCODING];

/// How soon after a request a pooled connection breaks that had been closed before. Later, the backend broke off at its
/// work: what is not idempotent is control's then, not the same backend's once more.
const STALE_WITHIN: Duration = Duration::from_secs(1);

/// The client is gone, or must go: the connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the client went away")]
pub(crate) struct Gone;

/// A request on its way, until the head of its answer. It lives in a box: the future of a request is moved by hyper, and
/// would hold it at every step of the way that takes it.
pub(crate) struct Exchange {
    pub(crate) parts: Parts,
    pub(crate) upload: Option<SharedUpload>,
    pub(crate) idempotent: bool,
    /// Whether it may be sent twice: it is idempotent, or the route says so of all.
    pub(crate) may_repeat: bool,
    pub(crate) ledger: Box<Ledger>,
    /// The time, as it was read after the last wait.
    pub(crate) now: Instant,
    pub(crate) timer: Timer,
    pub(crate) survey: Survey,
    pub(crate) upgrade: Option<OnUpgrade>,
    pub(crate) wishes: HopWishes,
    pub(crate) host: HeaderValue,
    pub(crate) set_cookie: Option<HeaderValue>,
    pub(crate) pin: Option<Box<Issued>>,
    /// What rewriting needs, on a route that rewrites.
    pub(crate) rewriting: Option<Box<Rewriting>>,
    /// The exposure token, if one was made.
    pub(crate) exposure: Option<HeaderValue>,
    pub(crate) trusted: bool,
    /// Whether the client came over HTTPS, as far as a trusted peer tells.
    pub(crate) secure: bool,
}

/// What came of one arm.
pub(super) enum Tried {
    /// The head of an answer, checked, with how the attempt ends if the rest comes.
    Answer(Box<Answer>, Outcome),
    /// A fixed answer of the file.
    Fixed(Response<Reply>),
    /// A whole answer, made of the backend's. Its attempt has ended.
    Rewritten(Response<Reply>),
    /// Nothing that can be passed on.
    Failed(Failure),
    /// The arm was not asked: its bulkhead or breaker refused.
    Refused(Problem),
    /// The arm was not asked: what it is to be sent cannot be made from this request.
    Unfit(Problem),
}

impl Exchange {
    /// Goes the way to the head of an answer.
    pub(crate) async fn run(mut self: Box<Self>, mut lease: Option<Lease>) -> Result<Response<Reply>, Gone> {
        if self.must_know_body() {
            self.ledger.hold(lease);
            if let Err(fault) = Box::pin(self.know_body()).await {
                return self.blame_client(fault);
            }
            lease = self.ledger.take_held();
        }
        if self.ledger.reason == Reason::Busy && !self.makes_way() {
            return Ok(self.refuse(Problem::Busy));
        }
        if self.ledger.served == Arm::Candidate {
            match self.attempt(Arm::Candidate, lease).await {
                Tried::Answer(answer, outcome) => match cause_of(outcome) {
                    Some(cause) if self.may_fall_back(cause) => {
                        drop(answer);
                        self.fall_back(cause, outcome);
                    }
                    Some(_) | None => return self.answer(*answer, outcome),
                },
                Tried::Fixed(response) => return Ok(self.settle_fixed(response)),
                Tried::Rewritten(response) => return Ok(self.settle(response)),
                Tried::Failed(Failure::Client(fault)) => return self.blame_client(fault),
                Tried::Unfit(problem) => {
                    if !self.may_fall_back(Cause::Rewrite) {
                        return Ok(self.refuse(problem));
                    }
                    self.ledger.fall_back(Cause::Rewrite);
                }
                Tried::Failed(Failure::Backend(cause, problem)) => {
                    if !self.may_fall_back(cause) {
                        self.ledger.end(cause.into(), self.now);
                        return Ok(self.refuse(problem));
                    }
                    self.fall_back(cause, cause.into());
                }
                Tried::Refused(problem) => {
                    if !self.makes_way() {
                        return Ok(self.refuse(problem));
                    }
                }
            }
        }
        match self.attempt(Arm::Control, None).await {
            Tried::Answer(answer, outcome) => self.answer(*answer, outcome),
            Tried::Fixed(response) => Ok(self.settle_fixed(response)),
            Tried::Rewritten(response) => Ok(self.settle(response)),
            Tried::Failed(Failure::Client(fault)) => self.blame_client(fault),
            Tried::Failed(Failure::Backend(cause, problem)) => {
                self.ledger.end(cause.into(), self.now);
                Ok(self.refuse(problem))
            }
            Tried::Refused(problem) | Tried::Unfit(problem) => Ok(self.refuse(problem)),
        }
    }

    /// Asks one arm.
    async fn attempt(&mut self, arm: Arm, lease: Option<Lease>) -> Tried {
        let snapshot = Rc::clone(self.ledger.snapshot());
        let index = self.ledger.arms().backend(arm);
        let (backend, live) = (&snapshot.config().backends[index], &snapshot.backends[index]);
        let now = self.now;
        if let Err(problem) = self.rewrite_for(arm) {
            self.ledger.give_up(lease, now);
            return Tried::Unfit(problem);
        }
        let lease = match (arm, backend.breaker_for_control) {
            (Arm::Control, true) => match live.state.view(clock::millis(now), &backend.breaker) {
                View::Pass | View::Recovering(_) => None,
                View::ProbeDue | View::Refuse => match live.state.lease(clock::millis(now), &backend.breaker) {
                    Some(lease) => Some(lease),
                    None => return Tried::Refused(Problem::BreakerOpen),
                },
            },
            (Arm::Control | Arm::Candidate, _) => lease,
        };
        if !live.state.enter(backend.max_in_flight) {
            if let Some(lease) = lease {
                live.state.record(Some(lease), breaker::Outcome::Neutral, clock::millis(now), &backend.breaker);
            }
            return Tried::Refused(Problem::Busy);
        }
        self.ledger.begin(arm, lease, now);
        let upstream = match (&backend.target, &live.upstream) {
            (Target::Respond(fixed), _) => return Tried::Fixed(respond::fixed(fixed)),
            (Target::Endpoints(_), Some(upstream)) => upstream,
            (Target::Endpoints(_) | Target::Off, _) => {
                return Tried::Failed(Failure::Backend(Cause::Connect, Problem::NoAddress));
            }
        };
        let key = self.ledger.request().key.as_deref().map(str::as_bytes);
        let Some(address) = upstream.pick(key) else {
            return Tried::Failed(Failure::Backend(Cause::Connect, Problem::NoAddress));
        };
        let outgoing = match self.outgoing(arm, &snapshot, &address.endpoint) {
            Ok(outgoing) => outgoing,
            Err(failure) => return Tried::Failed(failure),
        };
        let worker = Rc::clone(self.ledger.worker());
        let (deadline, last) = (self.ledger.deadline(), arm == Arm::Control);
        let limit = TimeLimit { arrived: self.ledger.arrived(), deadline, client: self.upload.as_ref() };
        let tried = Try { worker: &worker, backend, address: &address, limit, last };
        let sent = match tried.send(&outgoing, now, &mut self.timer).await {
            Ok(answer) => Ok(answer),
            Err(SendError::Failed(failure)) => Err(failure),
            Err(SendError::Stale) if self.may_send_again(now) => {
                // It may have been read the first time, so that it is not true that nothing was sent.
                let again = Box::pin(tried.send_fresh(&outgoing, &mut self.timer)).await;
                again.map_err(|failure| match failure {
                    Failure::Backend(Cause::Connect, problem) => Failure::Backend(Cause::Reset, problem),
                    Failure::Backend(..) | Failure::Client(_) => failure,
                })
            }
            Err(SendError::Stale) => Err(RESET),
        };
        self.now = clock::now();
        match sent {
            Ok(answer) => {
                let tried = self.inspect(answer, arm, &snapshot);
                if self.rewrites_answer(arm, &tried) { Box::pin(self.rewrite_answer(arm, tried)).await } else { tried }
            }
            Err(failure) => Tried::Failed(failure),
        }
    }

    /// Whether a request that was sent and may already have been read can be sent a second time to the same arm.
    fn may_send_again(&self, sent_at: Instant) -> bool {
        let stale = || clock::now().saturating_duration_since(sent_at) < STALE_WITHIN;
        (self.idempotent || self.may_repeat && stale()) && self.upload.as_ref().is_none_or(SharedUpload::can_replay)
    }

    /// The request as this arm's backend gets it. The fields are copied only where another arm may need them.
    fn outgoing(&mut self, arm: Arm, snapshot: &Snapshot, endpoint: &Endpoint) -> Result<Outgoing, Failure> {
        let mut fields = match arm {
            Arm::Control => std::mem::take(&mut self.parts.headers),
            Arm::Candidate => self.parts.headers.clone(),
        };
        let body = self.rewriting.as_ref().and_then(|rewriting| rewriting.body.clone());
        self.fit_fields(&mut fields, arm, snapshot, (endpoint, body.as_ref()));
        let target = self.target_for(arm, endpoint);
        let target =
            target.ok_or(Failure::Backend(Cause::Connect, Problem::BadRequest("the rewritten path is not valid")))?;
        let body = body.map_or_else(|| Sending::Original(self.upload.clone()), Sending::Rewritten);
        Ok(Outgoing { method: self.parts.method.clone(), target, fields, body })
    }

    /// Makes the fields fit an arm's backend.
    fn fit_fields(
        &self,
        headers: &mut HeaderMap,
        arm: Arm,
        snapshot: &Snapshot,
        (endpoint, body): (&Endpoint, Option<&Bytes>),
    ) {
        let (route, backend) = (self.ledger.route(), self.ledger.backend(arm));
        headers::fit_to_backend(headers, self.survey, backend, &snapshot.private, &route.request_headers);
        if route.pin.is_some() {
            headers.remove(X_POINTSMAN_PIN);
        }
        if self.survey.announces_trailers {
            let exposure = snapshot.config().exposure.as_ref().map(|settings| &settings.header);
            let is_private = |name: &HeaderName| snapshot.private.contains(name.as_str());
            headers::unannounce(headers, |name| *name == X_POINTSMAN_PIN || exposure == Some(name) || is_private(name));
        }
        headers.insert(header::HOST, respond::upstream_host(backend, endpoint, &self.host));
        if let Some(rewrite) = route.rewrite(arm) {
            rewriting::fit_request(headers, rewrite, body);
        }
    }

    /// The target as an arm's backend gets it.
    fn target_for(&self, arm: Arm, endpoint: &Endpoint) -> Option<PathAndQuery> {
        let route = self.ledger.route();
        let matched = route.matches().map_or("", |rule| &rule.path);
        match route.rewrite(arm).and_then(|rewrite| rewrite.path.as_deref()) {
            Some(path) => replaced_uri(&self.parts.uri, path, &endpoint.base_path),
            None => upstream_uri(&self.parts.uri, matched, route.rewrite_prefix.as_deref(), &endpoint.base_path),
        }
    }

    /// What a copy for the candidate is made of; `None` where there is nowhere to send it.
    pub(super) fn copy(&self) -> Option<Box<CopyRequest>> {
        let snapshot = self.ledger.snapshot();
        let upstream = snapshot.backends[self.ledger.arms().candidate].upstream.as_ref()?;
        let address = upstream.pick(self.ledger.request().key.as_deref().map(str::as_bytes))?;
        let mut headers = self.parts.headers.clone();
        self.fit_fields(&mut headers, Arm::Candidate, snapshot, (&address.endpoint, None));
        let rewrites = |rewrite: &ArmRewrite| !rewrite.body.is_empty() && self.upload.is_some();
        if self.ledger.route().rewrite(Arm::Candidate).is_some_and(rewrites) {
            rewriting::become_json(&mut headers);
        }
        for framing in FRAMING {
            headers.remove(framing);
        }
        headers.insert(headers::X_POINTSMAN_SHADOW, HeaderValue::from_static("1"));
        let uri = Uri::from(self.target_for(Arm::Candidate, &address.endpoint)?);
        let facts = self.rewriting.as_ref().map(|rewriting| rewriting.facts.clone()).unwrap_or_default();
        Some(Box::new(CopyRequest { address, method: self.parts.method.clone(), uri, headers, facts }))
    }

    /// Looks at the head of an answer: may it be passed on, and does it count as a failure?
    fn inspect(&mut self, mut answer: Answer, arm: Arm, snapshot: &Snapshot) -> Tried {
        let now = self.now;
        let backend = self.ledger.backend(arm);
        let status = answer.head.status;
        let values = respond::measure(snapshot.meters.of(arm), &answer.head.headers);
        let version = answer.head.version;
        let outcome = if status == StatusCode::TOO_MANY_REQUESTS {
            Outcome::TooMany
        } else if backend.failure_status.contains(&status) {
            Outcome::Status
        } else {
            Outcome::Success
        };
        if outcome != Outcome::Success
            && let Some(wait) =
                respond::retry_after(&answer.head.headers, outcome == Outcome::TooMany, clock::timestamp())
        {
            let index = self.ledger.arms().backend(arm);
            snapshot.backends[index].state.throttle(clock::millis(now + wait));
        }
        self.ledger.first_byte(now, values);
        // A connection on which the request is still on its way cannot speak another protocol.
        let can_switch = self.upgrade.is_some() && answer.connection.has_sent();
        if status == StatusCode::SWITCHING_PROTOCOLS && !can_switch {
            return Tried::Failed(Failure::Backend(Cause::Reset, Problem::BadAnswer));
        }
        headers::prepare_response(&mut answer.head.headers, version);
        // The version is each hop's own (RFC 9110, 6.2): an old backend does not make clients old.
        answer.head.version = Version::HTTP_11;
        Tried::Answer(Box::new(answer), outcome)
    }

    fn may_fall_back(&self, cause: Cause) -> bool {
        let situation = Situation {
            asked: self.ledger.is_trying(),
            idempotent: self.idempotent,
            body_kept: self.upload.as_ref().is_none_or(SharedUpload::can_replay),
            out_of_time: self.ledger.deadline().is_some_and(|deadline| deadline <= self.now),
        };
        let allowed = self.ledger.route().fallback.allows(cause, situation).is_ok();
        if !allowed {
            self.ledger.suppress(cause);
        }
        allowed
    }

    /// The candidate has no room, or lost it since the decision: control serves, if it may.
    fn makes_way(&mut self) -> bool {
        self.ledger.served = Arm::Control;
        self.ledger.reason = Reason::Busy;
        let allowed = self.may_fall_back(Cause::Busy);
        if allowed {
            self.ledger.fall_back(Cause::Busy);
        }
        allowed
    }

    fn fall_back(&mut self, cause: Cause, outcome: Outcome) {
        self.ledger.end(outcome, self.now);
        self.ledger.fall_back(cause);
    }

    /// Passes an answer on.
    fn answer(mut self: Box<Self>, answer: Answer, outcome: Outcome) -> Result<Response<Reply>, Gone> {
        if let Some(upload) = &self.upload {
            upload.release();
        }
        let Answer { mut head, connection } = answer;
        self.finish_head(head.status, &mut head.headers);
        self.ledger.show_head(head.status, &head.headers);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(self.upgrade(head, connection));
        }
        if self.upload.as_ref().is_some_and(|upload| !upload.progress().finished) {
            // The client may take nothing of the answer before it has sent everything.
            connection.detach();
        }
        let idle = self.ledger.backend(self.ledger.served).timeouts.idle;
        let deadline = self.ledger.deadline();
        let arm = self.ledger.served;
        let answered = connection.is_answered();
        let tap = if answered { None } else { Tap::on(&mut self.ledger, arm, head.status, &head.headers) };
        let mut stream = Box::new(Stream {
            ledger: self.ledger,
            connection: Some(connection),
            upload: self.upload,
            timer: self.timer,
            idle,
            deadline,
            began: self.now,
            waiting_since: None,
            waited: Duration::ZERO,
            outcome,
            tap,
            broken: None,
        });
        if answered {
            stream.complete(self.now);
        } else if let Some(deadline) = deadline {
            stream.ledger.request().peer.answer_by(deadline);
        }
        Ok(Response::from_parts(head, Reply::Stream(stream)))
    }

    fn upgrade(self: Box<Self>, mut head: response::Parts, connection: Connection) -> Response<Reply> {
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocols) = self.wishes.upgrade {
            head.headers.entry(header::UPGRADE).or_insert(protocols);
        }
        if let (Some(client), Some(upstream)) = (self.upgrade, connection.into_stream()) {
            tokio::task::spawn_local(tunnel::join(client, upstream, self.ledger));
        }
        Response::from_parts(head, Reply::Full(None))
    }

    fn settle_fixed(mut self: Box<Self>, response: Response<Reply>) -> Response<Reply> {
        let now = self.now;
        self.ledger.first_byte(now, Values::default());
        self.ledger.end(Outcome::Success, now);
        self.settle(response)
    }

    /// Answers with a whole answer whose attempt has ended.
    fn settle(mut self: Box<Self>, mut response: Response<Reply>) -> Response<Reply> {
        if let Some(upload) = &self.upload {
            upload.release();
        }
        self.finish_head(response.status(), response.headers_mut());
        self.ledger.show_whole(&response);
        self.attach_ledger(response)
    }

    /// Answers with a problem of the gateway's own.
    fn refuse(mut self: Box<Self>, problem: Problem) -> Response<Reply> {
        self.ledger.refuse(problem.is_rejection());
        let mut response = problem.into_response(&self.ledger.request().request_id);
        self.finish_head(response.status(), response.headers_mut());
        self.attach_ledger(response)
    }

    fn attach_ledger(self: Box<Self>, response: Response<Reply>) -> Response<Reply> {
        response.map(|body| match body {
            Reply::Full(bytes) => Reply::Settling(bytes, self.ledger),
            other @ (Reply::Settling(..) | Reply::Stream(_)) => other,
        })
    }

    /// Ends a request by a fault of its client.
    pub(crate) fn blame_client(mut self: Box<Self>, fault: ClientFault) -> Result<Response<Reply>, Gone> {
        self.ledger.end(Outcome::ClientGone, self.now);
        match fault {
            ClientFault::TooLarge => Ok(self.refuse(Problem::ContentTooLarge)),
            ClientFault::Stalled => Ok(self.refuse(Problem::RequestTimeout)),
            ClientFault::Gone => Err(Gone),
        }
    }

    /// The last touches to a response head, and the note of it in the ledger.
    fn finish_head(&mut self, status: StatusCode, headers: &mut HeaderMap) {
        headers::apply(headers, &self.ledger.route().response_headers);
        headers.insert(headers::X_REQUEST_ID, self.ledger.request().request_id.clone());
        if let Some(cookie) = self.set_cookie.take() {
            headers.append(header::SET_COOKIE, cookie);
        }
        if let Some(pin) = self.pin.take() {
            pin.put(headers);
        }
        if let Some(token) = self.exposure.take() {
            respond::tell_exposure(headers, &self.ledger, token, self.secure);
        }
        self.ledger.respond(status, self.now);
        respond::expose(headers, &self.ledger, self.trusted);
    }
}

/// The fallback's word for an answer that counts as a failure.
const fn cause_of(outcome: Outcome) -> Option<Cause> {
    match outcome {
        Outcome::Status => Some(Cause::Status),
        Outcome::TooMany => Some(Cause::TooMany),
        Outcome::Success
        | Outcome::Connect
        | Outcome::Timeout
        | Outcome::Reset
        | Outcome::Truncated
        | Outcome::ClientGone
        | Outcome::Rewrite => None,
    }
}
