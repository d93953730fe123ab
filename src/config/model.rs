//! The configuration that the gateway runs with: checked, resolved, typed.
//!
//! Made only by `config::check` from what was typed in files and environment; nothing here can be
//! wrong any more. Names are unique, references are resolved to indices, secrets are read.

mod alerts;
mod backends;
mod events;
mod metrics;
mod rollout;
mod sampling;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use secrecy::SecretString;

use crate::domain::Arm;
use crate::domain::condition::{Fact, Slot, Type};
use crate::domain::decision::{Needs, Policy};
use crate::domain::pin::Pins;
use crate::domain::pointer::Pointer;
use crate::domain::{experiment, fallback, quality, rewrite};
use crate::jwt;

pub use alerts::{Alerts, SigningKey, Webhook, WebhookFormat};
pub use backends::{
    Backend, Balance, Endpoint, FixedAnswer, HealthCheck, HostHeader, Keepalive, Pass, Pricing, Target, Timeouts, Tls,
};
pub use events::{EVENTS_PATH, Events, Exposure, State, StorePlace};
pub use metrics::{EventSource, Metric, MetricRef, MetricSource, kind, parts};
pub use rollout::{Asks, Baseline, Condition, Figure, Guard, Rollout, Test};
pub use sampling::{Excerpt, JUDGE_EVENTS, Judge, Judging, SHADOW_EVENTS, Samples, Shadow, judge_event};

/// A whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data listener.
    pub listen: Listen,
    /// Probes and metrics, read-only.
    pub observe: Observe,
    /// The administrative API.
    pub admin: Admin,
    /// Flags for OpenFeature clients.
    pub ofrep: Ofrep,
    /// Bounds on everything a client can send.
    pub limits: Limits,
    /// How the process stops.
    pub shutdown: Shutdown,
    /// Log and access log.
    pub log: Log,
    /// What outlives the process.
    pub state: State,
    /// How exposure tokens are made; `None` makes none.
    pub exposure: Option<Exposure>,
    /// Events from browsers.
    pub events: Events,
    /// Who is told of what.
    pub alerts: Alerts,
    /// Who asks, by kind.
    pub contexts: Vec<ContextKind>,
    /// Tokens that claims are read from.
    pub jwt: Option<Jwt>,
    /// What conditions look at, by slot.
    pub attributes: Vec<Attribute>,
    /// What is measured.
    pub metrics: Vec<Metric>,
    /// Webhooks that score sampled exchanges.
    pub judges: Vec<Judge>,
    /// The upstreams.
    pub backends: Vec<Backend>,
    /// The routes, in the order of their names.
    pub routes: Vec<Route>,
    /// SHA-256 of everything that was read (files, environment, secret files), in hex.
    pub hash: String,
    /// Every file that was read or looked for; a change in one of them may change the configuration.
    pub watched: Vec<PathBuf>,
}

/// `[listen]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Listen {
    /// Where clients connect. Needs a restart.
    pub address: SocketAddr,
    /// Worker threads; 0 is one a core. Needs a restart.
    pub threads: usize,
    /// Peers whose identity and forwarding headers count.
    pub trusted_proxies: Vec<IpNet>,
}

/// `[observe]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observe {
    /// Where probes and scrapers connect. Needs a restart.
    pub address: SocketAddr,
}

/// `[admin]`.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Where operators connect. Needs a restart.
    pub address: SocketAddr,
    /// Hosts (without port) that the `Host` header may name, beside the address itself and localhost.
    pub hosts: Vec<String>,
    /// Who may do what.
    pub tokens: Vec<Token>,
}

/// `[admin.tokens.NAME]`.
#[derive(Debug, Clone)]
pub struct Token {
    /// The name that stands in the history.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The bearer token itself.
    pub token: SecretString,
}

/// What a token may do. From `Viewer` on, each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Send events, and nothing else; from `Operator` on, others may do so, too.
    Events,
    /// Evaluate flags, for clients that cannot keep a secret.
    Flags,
    /// Read.
    Viewer,
    /// Change what runs.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Flags => "flags",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// `[ofrep]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ofrep {
    /// Requests that each token may make a second, with bursts of as many.
    pub requests_per_second: u32,
    /// Bytes of a request body; more is answered 413.
    pub max_body: usize,
    /// Origins whose pages may ask, as browsers write them, in lower case.
    pub cors: Vec<String>,
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head (request line and fields); more is answered 431.
    pub max_head: usize,
    /// Number of header fields; more is answered 431.
    pub max_headers: usize,
    /// From the first byte of a connection, or the end of the last request, to a whole head.
    pub header_timeout: Duration,
    /// Bytes of a request body; more is answered 413.
    pub max_body: u64,
    /// Client connections at the same time, in all workers together.
    pub max_connections: usize,
    /// Bytes of request bodies kept for replay, in all requests together.
    pub replay_memory: u64,
    /// Bytes of a request body that are read before the decision, where a route needs it.
    pub body_attributes: u64,
    /// Bytes of a body that is rewritten, before and after.
    pub rewrite_body: u64,
}

/// `[shutdown]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// After SIGTERM: not ready, but still accepting, for this long.
    pub drain_delay: Duration,
    /// Then what is in flight may end, for at most this long.
    pub drain_timeout: Duration,
}

/// `[log]`.
#[derive(Debug, Clone)]
pub struct Log {
    /// Filter directives as in `LOG_LEVEL`, for example `info,pointsman::proxy=debug`.
    pub level: String,
    /// Share of ordinary requests that get an access line, 0 to 1; errors, fallbacks and refusals always do.
    pub access_sample: f64,
    /// Whether there are access lines at all.
    pub access: bool,
    /// Key of the hash that stands for a user; kept in the store unless the file says one.
    pub user_hash_secret: Option<SecretString>,
    /// Whether user keys stand in access lines as they are.
    pub plain_user_keys: bool,
}

/// `[contexts.KIND]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextKind {
    /// `user`, `session`, ...
    pub name: String,
    /// Where its key comes from: the first that is present.
    pub key: Vec<Source>,
}

/// Where a fact about a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A request header; counts only from trusted peers.
    Header(HeaderName),
    /// A cookie.
    Cookie(String),
    /// A query parameter.
    Query(String),
    /// A claim of a verified token; counts from everybody, since it was signed.
    Claim(Pointer),
    /// A place in the request's body, where that is JSON.
    Body(Pointer),
}

/// `[jwt]`.
#[derive(Debug, Clone)]
pub struct Jwt {
    /// The header that has the token, behind `Bearer`; in others than `authorization` it may stand alone.
    pub header: Option<HeaderName>,
    /// The cookie that has it, where the header has none.
    pub cookie: Option<String>,
    /// What must hold of it.
    pub rules: jwt::Rules,
    /// The keys of the file.
    pub keys: Vec<jwt::Key>,
    /// Where more keys are published.
    pub jwks: Option<Jwks>,
}

/// `[jwt.jwks]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwks {
    /// Where it is.
    pub url: Endpoint,
    /// How often it is fetched.
    pub refresh: Duration,
    /// Of one fetch.
    pub timeout: Duration,
    /// Longest answer.
    pub max_bytes: usize,
    /// Whom to trust where it is `https`.
    pub tls: Tls,
}

/// An attribute of a kind: `[contexts.KIND]`, any key but `key`. Each kind's own key is one, too.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    /// `user.tier`.
    pub name: Arc<str>,
    /// What it is read as.
    pub kind: Type,
    /// Where it is read.
    pub place: Place,
}

/// Where an attribute is read.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// It is the key of a kind.
    Key(ContextIndex),
    /// A place that keys come from, too.
    Source(Source),
    /// A part of the path between slashes, counted from 1.
    PathSegment(usize),
    /// The address of the client.
    ClientIp,
    /// The request's method.
    Method,
    /// The file itself.
    Constant(Fact<'static>),
}

/// Index into [`Config::backends`].
pub type BackendIndex = usize;
/// Index into [`Config::judges`].
pub type JudgeIndex = usize;
/// Index into [`Config::metrics`].
pub type MetricIndex = usize;
/// Index into [`Config::contexts`].
pub use crate::domain::context::ContextIndex;

/// `[routes.NAME]`.
#[derive(Debug, Clone)]
pub struct Route {
    /// The name.
    pub name: Arc<str>,
    /// What it is there for, with the backends of its arms.
    pub purpose: Purpose,
    /// Whether keys or attributes that its decision looks at come from the body.
    pub reads_body: bool,
    /// The split itself. `enabled` is false when the candidate's URL is empty. Shared, since routes that
    /// have this one as a prerequisite look at it.
    pub policy: Arc<Policy>,
    /// What a flag hands out.
    pub values: Values,
    /// What to do without a key.
    pub missing_key: MissingKey,
    /// Tester's override.
    pub override_header: Option<Override>,
    /// With what a running conversation keeps its arm.
    pub pin: Option<Pin>,
    /// From arrival to the last byte, both tries together.
    pub deadline: Option<Duration>,
    /// Replaces the matched prefix of the path.
    pub rewrite_prefix: Option<String>,
    /// What each arm alone is sent and answers; see [`Route::rewrite`].
    pub rewrites: [Option<Box<ArmRewrite>>; 2],
    /// The attributes that templates of the route mention.
    pub rewrite_slots: Box<[Slot]>,
    /// Changes to the request's fields.
    pub request_headers: HeaderChanges,
    /// Changes to the response's fields.
    pub response_headers: HeaderChanges,
    /// Who owns the percentage, and the plan.
    pub rollout: Rollout,
    /// What alerts, holds or rolls back, in the order of names.
    pub guards: Vec<Guard>,
    /// The quality gate.
    pub quality_gate: Option<QualityGate>,
    /// What is to be decided.
    pub experiment: Option<Experiment>,
    /// What control answers when the candidate fails.
    pub fallback: fallback::Settings,
    /// Who is told which arm served.
    pub expose: Expose,
    /// Which exchanges are scored.
    pub judge: Option<Box<Judging>>,
    /// Which exchanges are kept.
    pub samples: Option<Box<Samples>>,
    /// Which requests are copied to the candidate.
    pub shadow: Box<Shadow>,
}

/// What a route is there for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// Requests are passed on.
    Traffic {
        /// Which.
        matches: Match,
        /// Where to.
        arms: Arms,
    },
    /// It is a flag only: OFREP answers it. The candidate's backend lends it its health, if there is one.
    Flag {
        /// The trusted backend.
        control: Option<BackendIndex>,
        /// The new backend.
        candidate: Option<BackendIndex>,
    },
}

/// The backends of a route that passes requests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arms {
    /// The trusted backend.
    pub control: BackendIndex,
    /// The new backend.
    pub candidate: BackendIndex,
}

impl Arms {
    /// The backend of an arm.
    #[must_use]
    pub const fn backend(self, arm: Arm) -> BackendIndex {
        match arm {
            Arm::Control => self.control,
            Arm::Candidate => self.candidate,
        }
    }
}

/// `[routes.NAME.values]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Values {
    /// To who gets control.
    pub control: serde_json::Value,
    /// To who gets the candidate.
    pub candidate: serde_json::Value,
}

impl Values {
    /// The value of an arm.
    #[must_use]
    pub const fn of(&self, arm: Arm) -> &serde_json::Value {
        match arm {
            Arm::Control => &self.control,
            Arm::Candidate => &self.candidate,
        }
    }
}

impl Default for Values {
    /// A flag that is on for who gets the candidate.
    fn default() -> Self {
        Self { control: false.into(), candidate: true.into() }
    }
}

/// `[routes.NAME.rewrite.ARM]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ArmRewrite {
    /// Replaces the whole path.
    pub path: Option<String>,
    /// Changes to the request's fields.
    pub headers: HeaderChanges,
    /// What becomes of the request's body.
    pub body: rewrite::Body,
    /// Makes the body of the answer.
    pub answer: Option<rewrite::Template>,
}

impl ArmRewrite {
    /// Whether the request's body must be known: to be rewritten, or since a stream that it asks for
    /// cannot be.
    #[must_use]
    pub const fn needs_body(&self) -> bool {
        !self.body.is_empty() || self.answer.is_some()
    }
}

/// Which requests a route takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Lower-case host without port; `None` matches any.
    pub host: Option<String>,
    /// Path prefix, by whole segments: `/a` takes `/a` and `/a/b`, not `/ab`. Begins with `/`, and
    /// does not end with one unless it is all.
    pub path: String,
    /// Methods; empty matches any.
    pub methods: Vec<Method>,
}

/// `missing_key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingKey {
    /// Control serves.
    Control,
    /// The client gets a sticky anonymous id as a cookie.
    Cookie,
}

/// `[routes.NAME.override]`.
#[derive(Debug, Clone)]
pub struct Override {
    /// The header, `x-pointsman-override` by default. Its value is `ARM KEY`, for example `candidate s3cret`.
    pub header: HeaderName,
    /// The key that the tester must know.
    pub key: SecretString,
}

/// `[routes.NAME.pin]`.
#[derive(Debug, Clone)]
pub struct Pin {
    /// The kind whose key is the conversation's.
    pub by: ContextIndex,
    /// What signs and verifies.
    pub pins: Pins,
}

/// Changes to header fields, in this order: remove, set, add.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// Taken away.
    pub remove: Vec<HeaderName>,
    /// Put in place of what is there.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Put beside what is there.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

/// `[routes.NAME.quality_gate]`.
#[derive(Debug, Clone)]
pub struct QualityGate {
    /// The metric it judges.
    pub metric: MetricIndex,
    /// How it judges.
    pub settings: quality::Settings,
}

/// `[routes.NAME.experiment]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    /// What it is called.
    pub name: String,
    /// The metric that decides.
    pub primary: MetricRef,
    /// What must not become worse, and by how much it may.
    pub guards: Vec<(MetricRef, experiment::Margin)>,
    /// What else must hold to ship the candidate.
    pub ship: Vec<Condition>,
    /// How it is judged.
    pub settings: experiment::Settings,
}

/// Who is told which arm served (`x-pointsman-arm`, `x-pointsman-reason`, `server-timing`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expose {
    /// Trusted peers.
    Trusted,
    /// Everybody.
    Always,
    /// Nobody.
    Never,
}

impl Config {
    /// Whether a request of a route can need a source that `is`: for the key that splits, or for what its
    /// conditions and templates look at.
    #[must_use]
    pub fn reads(&self, route: &Route, is: impl Fn(&Source) -> bool) -> bool {
        let key = |kind: ContextIndex| self.contexts[kind].key.iter().any(&is);
        let looks = |slot: &usize| match &self.attributes[*slot].place {
            Place::Key(kind) => key(*kind),
            Place::Source(source) => is(source),
            Place::PathSegment(_) | Place::ClientIp | Place::Method | Place::Constant(_) => false,
        };
        let Needs { slots, keys } = &route.policy.needs;
        key(route.policy.split_by)
            || keys.iter().any(|need| key(need.kind))
            || slots.iter().chain(&route.rewrite_slots).any(looks)
    }
}

impl Route {
    /// What an arm alone is sent and answers.
    #[must_use]
    pub fn rewrite(&self, arm: Arm) -> Option<&ArmRewrite> {
        self.rewrites[arm.index()].as_deref()
    }

    /// Which requests it takes; `None` for a flag.
    #[must_use]
    pub const fn matches(&self) -> Option<&Match> {
        match &self.purpose {
            Purpose::Traffic { matches, .. } => Some(matches),
            Purpose::Flag { .. } => None,
        }
    }

    /// The backend of an arm; a flag need not have any. Who passes a request on has [`Arms`] at hand.
    #[must_use]
    pub const fn backend(&self, arm: Arm) -> Option<BackendIndex> {
        match (&self.purpose, arm) {
            (Purpose::Traffic { arms, .. }, arm) => Some(arms.backend(arm)),
            (Purpose::Flag { control, .. }, Arm::Control) => *control,
            (Purpose::Flag { candidate, .. }, Arm::Candidate) => *candidate,
        }
    }
}
