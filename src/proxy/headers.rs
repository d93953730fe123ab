//! Header fields on their way through: hop-by-hop fields off, forwarding fields on (RFC 9110, 7.6).

use std::cell::Cell;
use std::net::IpAddr;
use std::time::Instant;

use http::header::{self, Entry, HeaderMap};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Version};

use super::identity;
use super::timer::Timer;
use crate::config::model::{Backend, HeaderChanges, Pass};
use crate::live::{PrivateFields, Snapshot};
use crate::upstream::http1;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
pub(crate) const X_POINTSMAN_ARM: HeaderName = HeaderName::from_static("x-pointsman-arm");
/// Marks copies of requests.
pub(crate) const X_POINTSMAN_SHADOW: HeaderName = HeaderName::from_static("x-pointsman-shadow");
pub(crate) const X_POINTSMAN_REASON: HeaderName = HeaderName::from_static("x-pointsman-reason");
pub(crate) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

const VIA: HeaderValue = HeaderValue::from_static("1.1 pointsman");
const VIA_10: HeaderValue = HeaderValue::from_static("1.0 pointsman");

/// Longest `x-request-id` taken over from a client, in bytes.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// The peer of a client connection, as far as headers are concerned.
pub(crate) struct Peer {
    address: IpAddr,
    /// The address as it stands in `x-forwarded-for`.
    text: HeaderValue,
    /// Whether it is trusted, and by which generation of the configuration.
    trust: Cell<(u64, bool)>,
    /// The timer of its exchanges, which come one after another.
    timer: Cell<Timer>,
    /// Since when there has been no request; `None` while there is one.
    resting_since: Cell<Option<Instant>>,
    /// When the answer that is under way has to be over, however slowly it is read.
    answered_by: Cell<Option<Instant>>,
}

impl Peer {
    pub(crate) fn new(address: IpAddr, now: Instant) -> Self {
        // An address is always a valid field value; nothing is forwarded should it not be.
        let text = HeaderValue::try_from(address.to_string()).unwrap_or(HeaderValue::from_static("unknown"));
        Self {
            address,
            text,
            trust: Cell::new((0, false)),
            timer: Cell::default(),
            resting_since: Cell::new(Some(now)),
            answered_by: Cell::new(None),
        }
    }

    /// Since when this peer has owed the head of a request; `None` while a request is under way.
    pub(crate) const fn resting_since(&self) -> Option<Instant> {
        self.resting_since.get()
    }

    /// A request is over.
    pub(crate) fn rest(&self, now: Instant) {
        self.resting_since.set(Some(now));
        self.answered_by.set(None);
    }

    /// When the answer that is under way has to be over, if anything says so.
    pub(crate) const fn answered_by(&self) -> Option<Instant> {
        self.answered_by.get()
    }

    /// An answer begins that has to be over by then.
    pub(crate) fn answer_by(&self, deadline: Instant) {
        self.answered_by.set(Some(deadline));
    }

    /// A request begins. Gives the timer for it, which may still be armed by the one before.
    pub(crate) fn begin(&self) -> Timer {
        self.resting_since.set(None);
        self.timer.take()
    }

    /// Keeps the timer for the next exchange.
    pub(crate) fn keep_timer(&self, timer: Timer) {
        self.timer.set(timer);
    }

    /// Where the connection comes from.
    pub(crate) const fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether this peer's identity and forwarding headers count.
    pub(crate) fn is_trusted(&self, snapshot: &Snapshot) -> bool {
        let (generation, trusted) = self.trust.get();
        if generation == snapshot.generation {
            return trusted;
        }
        let trusted = identity::is_trusted(self.address, &snapshot.config().listen.trusted_proxies);
        self.trust.set((snapshot.generation, trusted));
        trusted
    }
}

/// Which fields of interest a message has; found in one pass, so that what is not there is not looked for.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Survey {
    /// How often `Host` stands.
    pub(crate) hosts: u8,
    /// How often `Transfer-Encoding` stands.
    pub(crate) transfer_encodings: u8,
    /// Whether trailers are announced.
    pub(crate) announces_trailers: bool,
    connection: bool,
    te: bool,
    upgrade: bool,
    other_hop_by_hop: bool,
    forwarded: bool,
    expect: bool,
    authorization: bool,
    cookie: bool,
    told_of_decision: bool,
    shadow: bool,
    /// Whether one of [`PrivateFields`] stands there.
    private: bool,
}

/// Surveys a request's fields.
pub(crate) fn survey(headers: &HeaderMap, private: &PrivateFields) -> Survey {
    survey_with(headers, |name| private.contains(name))
}

fn survey_with(headers: &HeaderMap, is_private: impl Fn(&str) -> bool) -> Survey {
    let mut survey = Survey::default();
    for name in headers.iter().map(|(name, _)| name.as_str()) {
        survey.private |= is_private(name);
        match name {
            "host" => survey.hosts = survey.hosts.saturating_add(1),
            "transfer-encoding" => survey.transfer_encodings = survey.transfer_encodings.saturating_add(1),
            "trailer" => survey.announces_trailers = true,
            "connection" => survey.connection = true,
            "te" => survey.te = true,
            "upgrade" => survey.upgrade = true,
            "expect" => survey.expect = true,
            "authorization" => survey.authorization = true,
            "cookie" => survey.cookie = true,
            "keep-alive" | "proxy-connection" | "http2-settings" | "proxy-authenticate" | "proxy-authorization" => {
                survey.other_hop_by_hop = true;
            }
            "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" | "x-forwarded-port"
            | "x-forwarded-prefix" | "x-real-ip" | "forwarded" => survey.forwarded = true,
            "x-pointsman-arm" | "x-pointsman-reason" => survey.told_of_decision = true,
            "x-pointsman-shadow" => survey.shadow = true,
            _ => {}
        }
    }
    survey
}

/// Takes the hop-by-hop fields off, those that `Connection` names among them. `te: trailers` and a
/// wanted upgrade are put on again by the caller.
fn strip_hop_by_hop(headers: &mut HeaderMap, survey: Survey) {
    if survey.connection {
        strip_named_by_connection(headers);
        headers.remove(header::CONNECTION);
    }
    if survey.te {
        headers.remove(header::TE);
    }
    if survey.upgrade {
        headers.remove(header::UPGRADE);
    }
    if survey.transfer_encodings > 0 {
        headers.remove(header::TRANSFER_ENCODING);
    }
    if survey.other_hop_by_hop {
        for name in
            [KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS, header::PROXY_AUTHENTICATE, header::PROXY_AUTHORIZATION]
        {
            headers.remove(name);
        }
    }
}

fn strip_named_by_connection(headers: &mut HeaderMap) {
    let names_nothing = |value: &HeaderValue| {
        let value = value.as_bytes();
        value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close")
    };
    if headers.get_all(header::CONNECTION).iter().all(names_nothing) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| HeaderName::try_from(token.trim()).ok())
        .filter(|name| !is_end_to_end(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// Fields that `Connection` may not take away: a client could otherwise strip what later steps rely on.
fn is_end_to_end(name: &HeaderName) -> bool {
    matches!(name.as_str(), "host" | "content-length" | "content-type" | "authorization" | "cookie" | "cache-control")
        || name.as_str().starts_with("x-forwarded-")
        || name == X_REQUEST_ID
}

/// What a request asks of its hop, read before hop-by-hop fields go.
#[derive(Debug, Default)]
pub(crate) struct HopWishes {
    /// The protocols of a wanted upgrade.
    pub(crate) upgrade: Option<HeaderValue>,
    /// Whether trailers are welcome.
    pub(crate) trailers: bool,
}

/// Makes a client's request fields fit to be forwarded. Returns what it asked of its hop.
pub(crate) fn prepare_request(
    parts: &mut Parts,
    survey: Survey,
    peer: &Peer,
    trusted: bool,
    host: &HeaderValue,
) -> HopWishes {
    let mut wishes = hop_wishes(&parts.headers, survey);
    if parts.version == Version::HTTP_10 {
        // HTTP/1.0 knows no upgrade (RFC 9110, 7.8).
        wishes.upgrade = None;
    }
    strip_hop_by_hop(&mut parts.headers, survey);
    if survey.expect {
        // The client was told to go on by this hop; the next one gets the body at once.
        parts.headers.remove(header::EXPECT);
    }
    if survey.shadow && !trusted {
        // Backends may do without what a copy must not do: not for whoever says so.
        parts.headers.remove(X_POINTSMAN_SHADOW);
    }
    forward(&mut parts.headers, peer, trusted, survey.forwarded, host);
    add_via(&mut parts.headers, parts.version);
    if let Some(protocols) = &wishes.upgrade {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(header::UPGRADE, protocols.clone());
    } else if wishes.trailers {
        parts.headers.insert(header::TE, HeaderValue::from_static("trailers"));
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    wishes
}

fn hop_wishes(headers: &HeaderMap, survey: Survey) -> HopWishes {
    if !survey.connection && !survey.te {
        return HopWishes::default();
    }
    let trailers = survey.te && has_token(headers, &header::TE, "trailers");
    let upgrade = (survey.upgrade && has_token(headers, &header::CONNECTION, "upgrade"))
        .then(|| headers.get(header::UPGRADE).cloned())
        .flatten()
        // h2c would let a client speak past this gateway's rules.
        .filter(|protocols| !protocols.to_str().unwrap_or("h2c").to_ascii_lowercase().contains("h2c"));
    HopWishes { upgrade, trailers }
}

pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

fn forward(headers: &mut HeaderMap, peer: &Peer, trusted: bool, present: bool, host: &HeaderValue) {
    if present && !trusted {
        for name in ["x-forwarded-port", "x-forwarded-prefix", "x-real-ip", "forwarded"] {
            headers.remove(name);
        }
    }
    if present && trusted {
        append_forwarded_for(headers, peer);
        headers.entry(X_FORWARDED_HOST).or_insert_with(|| host.clone());
        headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    } else {
        headers.insert(X_FORWARDED_FOR, peer.text.clone());
        headers.insert(X_FORWARDED_HOST, host.clone());
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
}

fn append_forwarded_for(headers: &mut HeaderMap, peer: &Peer) {
    let mut chain = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        chain.extend_from_slice(value.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(peer.text.as_bytes());
    headers.insert(X_FORWARDED_FOR, HeaderValue::try_from(chain).unwrap_or_else(|_| peer.text.clone()));
}

fn add_via(headers: &mut HeaderMap, version: Version) {
    let via = if version == Version::HTTP_10 { VIA_10 } else { VIA };
    headers.append(header::VIA, via);
}

/// The request's id: the client's first where it is short and visible ASCII, else a new UUIDv7. The fields then have
/// this one and no other.
pub(crate) fn request_id(headers: &mut HeaderMap, new: impl FnOnce() -> HeaderValue) -> HeaderValue {
    let usable = |value: &HeaderValue| {
        let bytes = value.as_bytes();
        !bytes.is_empty() && bytes.len() <= MAX_REQUEST_ID_BYTES && bytes.iter().all(u8::is_ascii_graphic)
    };
    match headers.entry(X_REQUEST_ID) {
        Entry::Occupied(mut entry) if usable(entry.get()) => {
            // A copy: a slice of the head would keep the whole read buffer for as long as a stream lasts.
            let id = HeaderValue::from_bytes(entry.get().as_bytes()).unwrap_or_else(|_| new());
            if entry.iter().nth(1).is_some() {
                entry.insert(id.clone());
            }
            id
        }
        Entry::Occupied(mut entry) => {
            let id = new();
            entry.insert(id.clone());
            id
        }
        Entry::Vacant(entry) => {
            let id = new();
            entry.insert(id.clone());
            id
        }
    }
}

/// Applies what the file says about a backend: credentials that are not passed, fields that are set. What the route puts
/// in place of the client's, or beside it, is the file's own word and stays.
pub(crate) fn fit_to_backend(
    headers: &mut HeaderMap,
    survey: Survey,
    backend: &Backend,
    private: &PrivateFields,
    ours: &HeaderChanges,
) {
    if drop_credentials(headers, survey, backend.pass, private) {
        put_back(headers, ours);
    }
    for (name, value) in &backend.headers {
        headers.insert(name.clone(), value.clone());
    }
}

/// Takes back the announcement of trailers with these names: what counts in a head must not come behind it, where
/// nobody has looked at it.
pub(crate) fn unannounce(headers: &mut HeaderMap, is_meant: impl Fn(&HeaderName) -> bool) {
    let announced = http1::announced_trailers(headers);
    if announced.iter().any(&is_meant) {
        let left: Vec<&str> = announced.iter().filter(|name| !is_meant(name)).map(HeaderName::as_str).collect();
        headers.remove(header::TRAILER);
        if let Ok(left) = HeaderValue::try_from(left.join(", ")) {
            headers.insert(header::TRAILER, left);
        }
    }
}

/// Drops what of the client's credentials is not passed. Tells whether there was any.
fn drop_credentials(headers: &mut HeaderMap, survey: Survey, pass: Pass, private: &PrivateFields) -> bool {
    let authorization = survey.authorization && !pass.authorization;
    if authorization {
        headers.remove(header::AUTHORIZATION);
    }
    let cookie = survey.cookie && !pass.cookie;
    if cookie {
        headers.remove(header::COOKIE);
    }
    if survey.private {
        let identity = if pass.identity { &[][..] } else { private.identity() };
        for name in identity.iter().chain(private.overrides()) {
            headers.remove(name);
        }
    }
    authorization || cookie || survey.private
}

/// Puts fields of the route's that are gone where they were.
fn put_back(headers: &mut HeaderMap, ours: &HeaderChanges) {
    let is_gone = |(name, _): &&(HeaderName, HeaderValue)| !headers.contains_key(name);
    let gone: Vec<_> = ours.set.iter().chain(&ours.add).filter(is_gone).collect();
    for (name, value) in gone {
        headers.append(name.clone(), value.clone());
    }
}

/// Applies a route's changes: remove, set, add.
pub(crate) fn apply(headers: &mut HeaderMap, changes: &HeaderChanges) {
    for name in &changes.remove {
        headers.remove(name);
    }
    for (name, value) in &changes.set {
        headers.insert(name.clone(), value.clone());
    }
    for (name, value) in &changes.add {
        headers.append(name.clone(), value.clone());
    }
}

/// Makes an upstream's response fields fit for the client. Those that only frame are gone already, see
/// [`crate::upstream::http1::Head`].
pub(crate) fn prepare_response(headers: &mut HeaderMap, version: Version) {
    let survey = survey_with(headers, |_| false);
    strip_hop_by_hop(headers, survey);
    if survey.told_of_decision {
        // What an upstream of the same kind said of its own decision is not for this client.
        headers.remove(X_POINTSMAN_ARM);
        headers.remove(X_POINTSMAN_REASON);
    }
    add_via(headers, version);
}

/// Whether `transfer-encoding` is absent or exactly one `chunked`.
pub(crate) fn is_chunked_or_absent(headers: &HeaderMap, survey: Survey) -> bool {
    let is_chunked = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    match survey.transfer_encodings {
        0 => true,
        1 => headers.get(header::TRANSFER_ENCODING).is_some_and(is_chunked),
        _ => false,
    }
}
