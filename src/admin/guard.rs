//! Who may ask what: names that point here, pages that ask, tokens and their roles.
//!
//! The tokens and hosts are those of the running configuration, so a reload changes them at once.
//! Invariant: how long a refusal takes tells nothing about the tokens.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::uri::{Authority, Uri};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::ofrep;
use super::openapi;
use super::problem::Problem;
pub(super) use super::problem::enough;
use super::server::Reached;
use crate::config::Config;
use crate::config::model::{Admin, EVENTS_PATH, Role, Token};
use crate::live::Live;

/// The pages beside those of OFREP whose POST only reads.
pub(super) const EXPLAIN: &str = "/api/v1/explain";
pub(super) const ASSIGNMENTS: &str = "/api/v1/assignments";
/// Where events are read, and removed by age.
pub(super) const EVENTS: &str = "/api/v1/events";
/// Where the events of a user are removed.
pub(super) const ERASE: &str = "/api/v1/erase";

/// Where everything that is stored is read. Exchanges have what users wrote: these are for operators.
const EXPORT: &str = "/api/v1/export";

/// Where OFREP's clients may send their token instead.
pub(super) const API_KEY: &str = "x-api-key";

/// What the guard looks at.
pub(super) struct Guard {
    pub(super) live: Arc<Live>,
    /// Where the admin face listens.
    pub(super) address: SocketAddr,
}

/// Whose token it was, for log and history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Actor(pub(super) Arc<str>);

/// Lets a request pass, or answers it.
pub(super) async fn admit(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let snapshot = guard.live.snapshot();
    let judged = judge(snapshot.config(), guard.address, &parts);
    drop(snapshot);
    match judged {
        Err(problem) => problem.into_response(),
        Ok(actor) => {
            if let Some(actor) = actor {
                parts.extensions.insert(actor);
            }
            next.run(Request::from_parts(parts, body)).await
        }
    }
}

/// The whole decision.
fn judge(config: &Config, address: SocketAddr, parts: &Parts) -> Result<Option<Actor>, Problem> {
    let (admin, path) = (&config.admin, parts.uri.path());
    let host = host(parts)?;
    let reached = parts.extensions.get::<Reached>().map_or(address, |reached| reached.0);
    if !is_ours(host.host(), &admin.hosts, &[address.ip(), reached.ip()]) {
        return Err(Problem::UnknownHost);
    }
    let guest = ofrep::cors::allowed(&config.ofrep.cors, path, &parts.headers).is_some();
    if !guest && !is_same_origin(&parts.headers, &host) {
        return Err(Problem::ForeignOrigin);
    }
    // A preflight carries no token (Fetch standard, CORS-preflight fetch).
    if guest && parts.method == Method::OPTIONS {
        return Ok(None);
    }
    let Some(role) = needed(&parts.method, parts.uri.path(), parts.uri.query()) else { return Ok(None) };
    let open = matches!(role, Role::Flags | Role::Viewer)
        && admin.tokens.is_empty()
        && address.ip().to_canonical().is_loopback();
    match shown(admin, parts) {
        Shown::Nothing if open => Ok(None),
        Shown::Nothing => Err(Problem::TokenRequired(role)),
        Shown::Unknown => Err(Problem::InvalidToken),
        Shown::Token(token) if !suffices(token.role, role) => Err(Problem::RoleTooLow(role)),
        Shown::Token(token) => Ok(Some(Actor(token.name.as_str().into()))),
    }
}

/// What a request shows of who sends it.
enum Shown<'a> {
    Nothing,
    /// What nobody has.
    Unknown,
    Token(&'a Token),
}

/// OFREP's clients send their token either way, and to the stream of changes a ticket that stands for it.
fn shown<'a>(admin: &'a Admin, parts: &Parts) -> Shown<'a> {
    let path = parts.uri.path();
    let api_key = || {
        let value = parts.headers.get(API_KEY).filter(|_| path.starts_with(ofrep::PREFIX))?;
        Some(value.to_str().unwrap_or_default())
    };
    let found = if let Some(given) = bearer(&parts.headers).or_else(api_key) {
        find(&admin.tokens, given, |token| Some(digest(token.token.expose_secret())))
    } else if let Some(given) = parts.uri.query().filter(|_| path == ofrep::STREAM).and_then(ticket) {
        find(&admin.tokens, &given, |token| ofrep::ticket(token).map(|ticket| digest(&ticket)))
    } else {
        return Shown::Nothing;
    };
    found.map_or(Shown::Unknown, Shown::Token)
}

fn ticket(query: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "ticket").map(|(_, value)| value.into_owned())
}

/// Whether a role does for what another is asked for. Events are sent by those who do nothing else, and by
/// those who may change what runs; reading alone is not enough.
fn suffices(has: Role, needed: Role) -> bool {
    match needed {
        Role::Events => has == Role::Events || has >= Role::Operator,
        Role::Flags | Role::Viewer | Role::Operator | Role::Admin => has >= needed,
    }
}

/// What a request takes; `None` for what is open.
pub(super) fn needed(method: &Method, path: &str, query: Option<&str>) -> Option<Role> {
    let asks_for = |wanted: &str| {
        let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        pairs.any(|(name, value)| name == "what" && value == wanted)
    };
    match (method.is_safe(), path) {
        // Nothing of them can be written, whoever asks.
        (_, "/livez" | "/readyz" | "/healthz" | "/metrics" | openapi::PATH) => None,
        (_, path) if path.starts_with(ofrep::PREFIX) => Some(Role::Flags),
        (true, EXPORT) if asks_for("samples") => Some(Role::Operator),
        (true, _) | (false, EXPLAIN | ASSIGNMENTS) => Some(Role::Viewer),
        (false, EVENTS_PATH) => Some(Role::Events),
        (false, EVENTS | ERASE) => Some(Role::Admin),
        (false, _) => Some(Role::Operator),
    }
}

fn host(parts: &Parts) -> Result<Authority, Problem> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(Problem::BadHost) };
    let host = Authority::try_from(host.as_bytes()).map_err(|_| Problem::BadHost)?;
    let target_agrees = parts.uri.authority().is_none_or(|target| *target == host);
    if host.as_str().contains('@') || !target_agrees {
        return Err(Problem::BadHost);
    }
    Ok(host)
}

/// Addresses cannot be made to point elsewhere, names can (DNS rebinding): only known ones count.
fn is_ours(host: &str, known: &[String], addresses: &[IpAddr]) -> bool {
    if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        let ip = ip.to_canonical();
        if ip.is_loopback() || addresses.iter().any(|ours| ours.to_canonical() == ip) {
            return true;
        }
    }
    host.eq_ignore_ascii_case("localhost") || known.iter().any(|name| name.eq_ignore_ascii_case(host))
}

/// Whether no page asks, or one of our own.
fn is_same_origin(headers: &HeaderMap, host: &Authority) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else {
        return !headers.contains_key(header::ORIGIN);
    };
    let Ok(origin) = Uri::try_from(origin.as_bytes()) else { return false };
    let default_port = match origin.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        Some(_) | None => return false,
    };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default_port);
    origin
        .authority()
        .is_some_and(|origin| origin.host().eq_ignore_ascii_case(host.host()) && port(origin) == port(host))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    // What is not the scheme we know is a token that nobody has.
    let value = headers.get(header::AUTHORIZATION)?.to_str().unwrap_or_default();
    let (scheme, token) = value.split_once(' ').unwrap_or_default();
    Some(if scheme.eq_ignore_ascii_case("bearer") { token.trim() } else { "" })
}

/// The token whose secret was given, by the digests of both. Every one is compared to its end, so that neither
/// its place nor its length shows.
fn find<'a>(tokens: &'a [Token], given: &str, of: impl Fn(&Token) -> Option<[u8; 32]>) -> Option<&'a Token> {
    const NOBODY: u64 = u64::MAX;
    let given = digest(given);
    let mut found = NOBODY;
    for (index, token) in (0_u64..).zip(tokens) {
        let Some(known) = of(token) else { continue };
        let same: Choice = known.ct_eq(&given);
        found.conditional_assign(&index, same);
    }
    usize::try_from(found).ok().and_then(|index| tokens.get(index))
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests;
