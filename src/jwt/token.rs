//! From a token's text to its claims, or to the reason why it does not count.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::key::{Algorithm, Key};

/// Most keys that a token without `kid` is tried with.
pub const MAX_TRIED_KEYS: usize = 8;
/// Milliseconds in a second.
const MILLIS: f64 = 1_000.0;

/// What must hold of a token beside its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How it may be signed.
    pub algorithms: Vec<Algorithm>,
    /// What `iss` must be; anything without.
    pub issuer: Option<String>,
    /// What `aud` must name one of; anything if empty.
    pub audience: Vec<String>,
    /// How far the issuer's clock and ours may be apart.
    pub leeway: Duration,
    /// Whether a token that never expires is refused.
    pub require_exp: bool,
    /// Longest token in bytes, so that its claims are bounded, too.
    pub max_bytes: usize,
}

/// Why a token does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// It is longer than it may be.
    TooLarge,
    /// It is no token in the compact form, or asks for an extension (`crit`), or a claim has a wrong type.
    Malformed,
    /// It is signed in a way that is not allowed, or not signed, or not in the way of the key that it names.
    Algorithm,
    /// No key has its `kid`; without one, none is for its algorithm.
    UnknownKey,
    /// No key that it may be signed with has signed it.
    Signature,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// It has no `exp`.
    NoExpiry,
    /// It is from somebody else.
    Issuer,
    /// It is for somebody else.
    Audience,
}

impl Rejection {
    /// All of them, in the order of [`Rejection::index`].
    pub const ALL: [Self; 10] = [
        Self::TooLarge,
        Self::Malformed,
        Self::Algorithm,
        Self::UnknownKey,
        Self::Signature,
        Self::Expired,
        Self::NotYetValid,
        Self::NoExpiry,
        Self::Issuer,
        Self::Audience,
    ];

    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::NoExpiry => "no_expiry",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
        }
    }

    /// Position in [`Rejection::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A token that holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// Its claims, an object.
    pub claims: Value,
    /// From when on it no longer counts, in milliseconds since 1970, leeway included; `None` is never.
    pub until: Option<i64>,
}

/// What we read of a header (RFC 7515, 4.1). Fields that come twice are refused by the reader.
#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood; we know none.
    crit: Option<Value>,
}

/// Verifies a token. Each set of keys is one place that keys come from; all of them count alike.
///
/// A token with `kid` is tried with the keys of that name, one without with those of its algorithm, in both
/// cases with at most [`MAX_TRIED_KEYS`]. How deep claims may go is bounded by `serde_json` (128 levels).
///
/// # Errors
/// The first reason that was found for refusing it.
pub fn verify(token: &str, keys: &[&[Key]], rules: &Rules, now: Timestamp) -> Result<Verified, Rejection> {
    if token.len() > rules.max_bytes {
        return Err(Rejection::TooLarge);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(Rejection::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(Rejection::Malformed)?;
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| Rejection::Malformed)?;
    if header.crit.is_some() {
        return Err(Rejection::Malformed);
    }
    let allowed = |algorithm: &Algorithm| rules.algorithms.contains(algorithm);
    let algorithm = Algorithm::parse(&header.alg).filter(allowed).ok_or(Rejection::Algorithm)?;
    let (payload, signature) = (decode(payload)?, decode(signature)?);
    let candidates = candidates(keys, header.kid.as_deref(), algorithm)?;
    if !candidates.into_iter().any(|key| key.signed(message.as_bytes(), &signature)) {
        return Err(Rejection::Signature);
    }
    let claims: Map<String, Value> = serde_json::from_slice(&payload).map_err(|_| Rejection::Malformed)?;
    let until = judge(&claims, rules, now)?;
    Ok(Verified { claims: Value::Object(claims), until })
}

/// Base64 as tokens have it: for URLs, without padding, and with no bits left over. A dot is none of its letters.
fn decode(part: &str) -> Result<Vec<u8>, Rejection> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Rejection::Malformed)
}

/// The keys that may have signed it: named so, and made for what it says it was signed with.
fn candidates<'k>(keys: &[&'k [Key]], kid: Option<&str>, algorithm: Algorithm) -> Result<Vec<&'k Key>, Rejection> {
    let all = || keys.iter().flat_map(|keys| keys.iter());
    let named = || all().filter(|key| kid.is_none() || key.kid() == kid);
    let found: Vec<&Key> = named().filter(|key| key.algorithm() == algorithm).take(MAX_TRIED_KEYS).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    Err(if kid.is_some() && named().next().is_some() { Rejection::Algorithm } else { Rejection::UnknownKey })
}

/// Times, issuer and audience (RFC 7519, 4.1). Until when it counts.
fn judge(claims: &Map<String, Value>, rules: &Rules, now: Timestamp) -> Result<Option<i64>, Rejection> {
    let now = now.as_millisecond();
    let leeway = i64::try_from(rules.leeway.as_millis()).unwrap_or(i64::MAX);
    let until = match time(claims, "exp")? {
        Some(time) => Some(time.saturating_add(leeway)),
        None if rules.require_exp => return Err(Rejection::NoExpiry),
        None => None,
    };
    if until.is_some_and(|until| now >= until) {
        return Err(Rejection::Expired);
    }
    if time(claims, "nbf")?.is_some_and(|begin| now < begin.saturating_sub(leeway)) {
        return Err(Rejection::NotYetValid);
    }
    let issuer = claims.get("iss").and_then(Value::as_str);
    if rules.issuer.is_some() && rules.issuer.as_deref() != issuer {
        return Err(Rejection::Issuer);
    }
    if !rules.audience.is_empty() && !is_for(claims.get("aud"), &rules.audience) {
        return Err(Rejection::Audience);
    }
    Ok(until)
}

/// A `NumericDate` in milliseconds since 1970; those beyond what can be counted are its end.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, Rejection> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().ok_or(Rejection::Malformed)?;
    // The cast ends at the bounds of the type.
    Ok(Some((seconds * MILLIS) as i64))
}

/// `aud` is one name or a list of names.
fn is_for(audience: Option<&Value>, ours: &[String]) -> bool {
    let is_ours = |value: &Value| value.as_str().is_some_and(|name| ours.iter().any(|our| our == name));
    match audience {
        Some(Value::Array(names)) => names.iter().any(is_ours),
        Some(name) => is_ours(name),
        None => false,
    }
}
