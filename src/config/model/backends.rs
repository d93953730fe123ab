//! `[backends.NAME]`, as the gateway runs with them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::domain::breaker;

/// `[backends.NAME]`.
#[derive(Debug, Clone)]
pub struct Backend {
    /// The name.
    pub name: Arc<str>,
    /// Where it is.
    pub target: Target,
    /// Another image behind the same URL is another candidate.
    pub version: Option<String>,
    /// How an endpoint is chosen where there are several.
    pub balance: Balance,
    /// How often names are resolved again.
    pub resolve_every: Duration,
    /// Active health checks.
    pub health_check: Option<HealthCheck>,
    /// TLS towards `https` endpoints.
    pub tls: Tls,
    /// What `Host` the upstream sees.
    pub host: HostHeader,
    /// Set on every request to it, replacing what the client sent. May hold secrets: never shown.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What of the client's credentials is passed on.
    pub pass: Pass,
    /// Requests at the same time, in all workers together.
    pub max_in_flight: Option<u32>,
    /// Deadlines of one attempt.
    pub timeouts: Timeouts,
    /// Idle upstream connections: how long, and how many for each worker and endpoint.
    pub keepalive: Keepalive,
    /// How its circuit breaker behaves. Always there for candidates.
    pub breaker: breaker::Settings,
    /// Whether the file asks for a breaker, so that it holds for the control arm too.
    pub breaker_for_control: bool,
    /// Statuses that count as failure.
    pub failure_status: Vec<StatusCode>,
}

/// Where a backend is.
#[derive(Debug, Clone)]
pub enum Target {
    /// One or more endpoints.
    Endpoints(Vec<Endpoint>),
    /// No upstream at all: this answer.
    Respond(FixedAnswer),
    /// `url = ""`, an unset variable: there is no such backend now.
    Off,
}

/// One URL of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether it is `https`.
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Port, the scheme's default filled in.
    pub port: u16,
    /// `host[:port]` as it stands in `Host`.
    pub authority: HeaderValue,
    /// Path that precedes the request's; empty or begins with `/`, and does not end with one.
    pub base_path: String,
    /// Share among the endpoints, at least 1.
    pub weight: usize,
}

/// A backend without an upstream.
#[derive(Debug, Clone)]
pub struct FixedAnswer {
    /// The status.
    pub status: StatusCode,
    /// The fields, `content-type` among them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// By the user key, so that a user finds warm caches; round robin without a key.
    Consistent,
}

/// `[backends.NAME.health_check]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// The path to GET (2xx or 3xx is healthy), or `None` for a TCP connect alone.
    pub path: Option<String>,
    /// Between two checks.
    pub interval: Duration,
    /// Of one check.
    pub timeout: Duration,
    /// Successes in a row that make an endpoint healthy.
    pub healthy_after: usize,
    /// Failures in a row that make it unhealthy.
    pub unhealthy_after: usize,
}

/// `[backends.NAME.tls]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM of the certificate authorities to trust instead of the system's.
    pub ca: Option<Bytes>,
    /// The name to ask for and to verify, where it is not the URL's host.
    pub sni: Option<String>,
    /// Accept any certificate.
    pub insecure: bool,
}

/// What `Host` the upstream sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostHeader {
    /// The endpoint's own authority.
    Backend,
    /// What the client sent.
    Client,
    /// This.
    Fixed(HeaderValue),
}

/// What of the client's credentials is passed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pass {
    /// `authorization` and `proxy-authorization`.
    pub authorization: bool,
    /// `cookie`.
    pub cookie: bool,
    /// The headers that `[contexts]` reads keys from.
    pub identity: bool,
}

/// Deadlines of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS among it.
    pub connect: Duration,
    /// From the request being sent to the response head.
    pub first_byte: Duration,
    /// Between two pieces of a body, in either direction.
    pub idle: Duration,
}

/// Idle upstream connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Closed after this long without use.
    pub idle: Duration,
    /// Kept for each worker and endpoint.
    pub max_idle: usize,
}
