//! Header fields on their way through: hop-by-hop fields off, forwarding fields on (RFC 9110, 7.6).

use std::cell::Cell;
use std::net::IpAddr;

use http::header::{self, Entry, HeaderMap};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Version};

use super::identity;
use crate::config::model::{Backend, HeaderChanges, Pass, Source};
use crate::live::Snapshot;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
pub(crate) const X_POINTSMAN_ARM: HeaderName = HeaderName::from_static("x-pointsman-arm");
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
#[derive(Debug)]
pub(crate) struct Peer {
    address: IpAddr,
    /// The address as it stands in `x-forwarded-for`.
    text: HeaderValue,
    /// Whether it is trusted, and by which generation of the configuration.
    trust: Cell<(u64, bool)>,
}

impl Peer {
    pub(crate) fn new(address: IpAddr) -> Self {
        // An address is always a valid field value; nothing is forwarded should it not be.
        let text = HeaderValue::try_from(address.to_string()).unwrap_or(HeaderValue::from_static("unknown"));
        Self { address, text, trust: Cell::new((0, false)) }
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

/// Which fields of interest a message has; found in one pass.
#[derive(Debug, Default, Clone, Copy)]
struct Present {
    hop_by_hop: bool,
    connection: bool,
    te: bool,
    upgrade: bool,
    forwarded: bool,
    expect: bool,
}

fn survey(headers: &HeaderMap) -> Present {
    let mut present = Present::default();
    for name in headers.keys() {
        match name.as_str() {
            "connection" => present.connection = true,
            "te" => present.te = true,
            "upgrade" => present.upgrade = true,
            "keep-alive"
            | "proxy-connection"
            | "transfer-encoding"
            | "http2-settings"
            | "proxy-authenticate"
            | "proxy-authorization" => present.hop_by_hop = true,
            "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" | "x-forwarded-port"
            | "x-forwarded-prefix" | "x-real-ip" | "forwarded" => present.forwarded = true,
            "expect" => present.expect = true,
            _ => {}
        }
    }
    present
}

/// Takes the hop-by-hop fields off, those that `Connection` names among them. `te: trailers` and a
/// wanted upgrade are put on again by the caller.
fn strip_hop_by_hop(headers: &mut HeaderMap, present: Present) {
    if present.connection {
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
        headers.remove(header::CONNECTION);
    }
    if present.te {
        headers.remove(header::TE);
    }
    if present.upgrade {
        headers.remove(header::UPGRADE);
    }
    if present.hop_by_hop {
        for name in [
            KEEP_ALIVE,
            PROXY_CONNECTION,
            header::TRANSFER_ENCODING,
            HTTP2_SETTINGS,
            header::PROXY_AUTHENTICATE,
            header::PROXY_AUTHORIZATION,
        ] {
            headers.remove(name);
        }
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
pub(crate) fn prepare_request(parts: &mut Parts, peer: &Peer, trusted: bool, host: &HeaderValue) -> HopWishes {
    let present = survey(&parts.headers);
    let mut wishes = hop_wishes(&parts.headers, present);
    if parts.version == Version::HTTP_10 {
        // HTTP/1.0 knows no upgrade (RFC 9110, 7.8).
        wishes.upgrade = None;
    }
    strip_hop_by_hop(&mut parts.headers, present);
    if present.expect {
        // The client was told to go on by this hop; the next one gets the body at once.
        parts.headers.remove(header::EXPECT);
    }
    forward(&mut parts.headers, peer, trusted, present.forwarded, host);
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

fn hop_wishes(headers: &HeaderMap, present: Present) -> HopWishes {
    if !present.connection && !present.te {
        return HopWishes::default();
    }
    let trailers = present.te && has_token(headers, &header::TE, "trailers");
    let upgrade = (present.upgrade && has_token(headers, &header::CONNECTION, "upgrade"))
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

/// The request's id: the client's where it is short and visible ASCII, else a new UUIDv7.
pub(crate) fn request_id(headers: &mut HeaderMap, new: impl FnOnce() -> HeaderValue) -> HeaderValue {
    let usable = |value: &HeaderValue| {
        let bytes = value.as_bytes();
        !bytes.is_empty() && bytes.len() <= MAX_REQUEST_ID_BYTES && bytes.iter().all(u8::is_ascii_graphic)
    };
    match headers.entry(X_REQUEST_ID) {
        Entry::Occupied(entry) if usable(entry.get()) => entry.get().clone(),
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

/// Applies what the file says about a backend: credentials that are not passed, fields that are set.
pub(crate) fn fit_to_backend(headers: &mut HeaderMap, backend: &Backend, identity: &[Source]) {
    drop_credentials(headers, backend.pass, identity);
    for (name, value) in &backend.headers {
        headers.insert(name.clone(), value.clone());
    }
}

fn drop_credentials(headers: &mut HeaderMap, pass: Pass, identity: &[Source]) {
    if !pass.authorization {
        headers.remove(header::AUTHORIZATION);
    }
    if !pass.cookie {
        headers.remove(header::COOKIE);
    }
    if !pass.identity {
        for source in identity {
            if let Source::Header(name) = source {
                headers.remove(name);
            }
        }
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

/// Makes an upstream's response fields fit for the client.
///
/// # Errors
/// When its framing is not one that a proxy may pass on.
pub(crate) fn prepare_response(headers: &mut HeaderMap, version: Version) -> Result<(), BadFraming> {
    let present = survey(headers);
    if present.hop_by_hop && !is_chunked_or_absent(headers) {
        return Err(BadFraming);
    }
    if present.hop_by_hop || present.connection || present.te || present.upgrade {
        strip_hop_by_hop(headers, present);
    }
    add_via(headers, version);
    Ok(())
}

/// A transfer coding other than exactly one `chunked`.
#[derive(Debug)]
pub(crate) struct BadFraming;

/// Whether `transfer-encoding` is absent or exactly one `chunked`.
pub(crate) fn is_chunked_or_absent(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}
