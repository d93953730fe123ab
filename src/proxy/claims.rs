//! The claims of a request's token, for the routes that look at any.
//!
//! A token that held is kept by its hash, so that a user who comes again costs no second verification.
//! Invariants: what is kept is bounded, and dies at the token's end, with the snapshot and with the keys; a
//! token that does not hold is absent, counted by its reason, and never told.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use http::{HeaderMap, HeaderName, header};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::identity;
use super::worker::Worker;
use crate::clock;
use crate::config::model::Jwt;
use crate::jwt::{self, Rejection, Verified};
use crate::live::{RouteIndex, Snapshot};

/// Most tokens that one worker keeps.
const MAX_KEPT_TOKENS: usize = 1_024;
/// Most bytes of the texts of these tokens.
const MAX_KEPT_BYTES: usize = 2 << 20;
/// The scheme of RFC 6750.
const BEARER: &str = "bearer ";

/// SHA-256 of a token.
type Hash = [u8; 32];

/// The tokens that a worker has verified.
#[derive(Debug, Default)]
pub(crate) struct Tokens(RefCell<Kept>);

/// Half of what may be kept is young; when it is full it grows old, and what was old and not asked for is gone.
#[derive(Debug, Default)]
struct Kept {
    /// The snapshot's generation and the version of the published keys that these were verified under.
    under: (u64, u64),
    young: HashMap<Hash, Entry>,
    old: HashMap<Hash, Entry>,
    young_bytes: usize,
}

#[derive(Debug, Clone)]
struct Entry {
    claims: Rc<Value>,
    /// See [`Verified::until`].
    until: Option<i64>,
    bytes: usize,
}

/// The claims, if the route looks at any and the request has a token that holds.
pub(crate) fn of(worker: &Worker, snapshot: &Snapshot, route: RouteIndex, headers: &HeaderMap) -> Option<Rc<Value>> {
    if !snapshot.reads_claims[route] {
        return None;
    }
    let jwt = snapshot.config().jwt.as_ref()?;
    let found = token(headers, jwt).transpose()?;
    let claims = found.and_then(|token| {
        // Before it is hashed, so that nobody can make that long.
        if token.len() > jwt.rules.max_bytes {
            return Err(Rejection::TooLarge);
        }
        let now = clock::timestamp();
        let ring = snapshot.jwks.as_ref().map(|jwks| jwks.ring());
        let (version, published) = ring.as_ref().map_or((0, &[][..]), |ring| (ring.version, &ring.keys));
        worker.tokens().claims(&token, (snapshot.generation, version), now.as_millisecond(), || {
            jwt::verify(&token, &[&jwt.keys, published], &jwt.rules, now)
        })
    });
    match claims {
        Ok(claims) => Some(claims),
        Err(reason) => {
            worker.counters().jwt_rejected[reason.index()].add(1);
            if reason == Rejection::UnknownKey {
                snapshot.jwks.iter().for_each(|jwks| jwks.wish());
            }
            None
        }
    }
}

/// The token of a request; two in headers are none that anybody could tell apart.
fn token<'h>(headers: &'h HeaderMap, jwt: &Jwt) -> Result<Option<Cow<'h, str>>, Rejection> {
    if let Some(name) = &jwt.header {
        let mut tokens = headers.get_all(name).iter().filter_map(|value| bearer(name, value.to_str().ok()?));
        match (tokens.next(), tokens.next()) {
            (None, _) => {}
            (Some(found), None) => return Ok(Some(Cow::Borrowed(found))),
            (Some(_), Some(_)) => return Err(Rejection::Malformed),
        }
    }
    let cookie = jwt.cookie.as_ref().and_then(|name| identity::cookie(headers, name));
    Ok(cookie.filter(|token| !token.is_empty()))
}

/// What stands behind `Bearer`. Other schemes of `authorization` are somebody else's matter.
fn bearer<'h>(name: &HeaderName, value: &'h str) -> Option<&'h str> {
    let value = value.trim();
    let token = match value.get(..BEARER.len()) {
        Some(scheme) if scheme.eq_ignore_ascii_case(BEARER) => value[BEARER.len()..].trim_start(),
        Some(_) | None if *name == header::AUTHORIZATION => return None,
        Some(_) | None => value,
    };
    (!token.is_empty()).then_some(token)
}

impl Tokens {
    /// The claims of a token that is kept, or else of what `verify` finds.
    fn claims(
        &self,
        token: &str,
        under: (u64, u64),
        now: i64,
        verify: impl FnOnce() -> Result<Verified, Rejection>,
    ) -> Result<Rc<Value>, Rejection> {
        let mut kept = self.0.borrow_mut();
        if kept.under != under {
            *kept = Kept { under, ..Kept::default() };
        }
        let hash = Sha256::digest(token).into();
        if let Some(entry) = kept.find(&hash) {
            return if entry.until.is_none_or(|until| now < until) {
                Ok(Rc::clone(&entry.claims))
            } else {
                kept.forget(&hash);
                Err(Rejection::Expired)
            };
        }
        let Verified { claims, until } = verify()?;
        let claims = Rc::new(claims);
        kept.keep(hash, Entry { claims: Rc::clone(&claims), until, bytes: token.len() });
        Ok(claims)
    }
}

impl Kept {
    fn find(&mut self, hash: &Hash) -> Option<&Entry> {
        if let Some(entry) = self.old.remove(hash) {
            self.keep(*hash, entry);
        }
        self.young.get(hash)
    }

    fn keep(&mut self, hash: Hash, entry: Entry) {
        if self.young.len() >= MAX_KEPT_TOKENS / 2 || self.young_bytes + entry.bytes > MAX_KEPT_BYTES / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += entry.bytes;
        self.young.insert(hash, entry);
    }

    fn forget(&mut self, hash: &Hash) {
        if let Some(entry) = self.young.remove(hash) {
            self.young_bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use serde_json::json;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn jwt(header: Option<&str>, cookie: Option<&str>) -> Jwt {
        let rules = jwt::Rules {
            algorithms: Vec::new(),
            issuer: None,
            audience: Vec::new(),
            leeway: std::time::Duration::ZERO,
            require_exp: true,
            max_bytes: 0,
        };
        let header = header.map(|name| name.parse().unwrap());
        Jwt { header, cookie: cookie.map(str::to_owned), rules, keys: Vec::new(), jwks: None }
    }

    #[test]
    fn a_token_stands_behind_bearer_in_its_header_or_in_its_cookie() {
        let (own, other) = (jwt(Some("authorization"), None), jwt(Some("x-token"), None));
        let (cookie, both) = (jwt(None, Some("session")), jwt(Some("authorization"), Some("session")));
        type Row<'a> = (&'a Jwt, &'a [(&'static str, &'a str)], Result<Option<&'a str>, Rejection>);
        let rows: [Row<'_>; 17] = [
            (&own, &[("authorization", "Bearer a.b.c")], Ok(Some("a.b.c"))),
            (&own, &[("authorization", " bEARER   a.b.c ")], Ok(Some("a.b.c"))),
            (&own, &[("authorization", "Basic dTpw")], Ok(None)),
            (&own, &[("authorization", "a.b.c")], Ok(None)),
            (&own, &[("authorization", "Bearer ")], Ok(None)),
            (&own, &[("authorization", "Bearer")], Ok(None)),
            (&own, &[("authorization", "Basic dTpw"), ("authorization", "Bearer a")], Ok(Some("a"))),
            (&own, &[("authorization", "Bearer a"), ("authorization", "Bearer b")], Err(Rejection::Malformed)),
            (&own, &[("cookie", "session=a")], Ok(None)),
            (&own, &[], Ok(None)),
            (&other, &[("x-token", "a.b.c"), ("authorization", "Bearer x")], Ok(Some("a.b.c"))),
            (&other, &[("x-token", "Bearer a.b.c")], Ok(Some("a.b.c"))),
            (&cookie, &[("cookie", "a=b; session=a.b.c"), ("authorization", "Bearer x")], Ok(Some("a.b.c"))),
            (&cookie, &[("cookie", "session=")], Ok(None)),
            (&both, &[("cookie", "session=c"), ("authorization", "Bearer h")], Ok(Some("h"))),
            (&both, &[("cookie", "session=c"), ("authorization", "Basic dTpw")], Ok(Some("c"))),
            (&both, &[], Ok(None)),
        ];
        for (jwt, fields, expected) in rows {
            let headers = headers(fields);
            let found = token(&headers, jwt);
            assert_eq!(found.as_ref().map(Option::as_deref), expected.as_ref().map(|found| *found), "{fields:?}");
        }
    }

    /// Whether a token had to be verified.
    fn verified(tokens: &Tokens, token: &str, under: (u64, u64), now: i64) -> bool {
        let asked = std::cell::Cell::new(false);
        let verify = || {
            asked.set(true);
            Ok(Verified { claims: json!({"sub": token}), until: Some(100) })
        };
        if let Ok(claims) = tokens.claims(token, under, now, verify) {
            assert_eq!(claims["sub"], token);
        }
        asked.get()
    }

    #[test]
    fn a_token_is_verified_once_until_its_end_or_another_generation_or_other_keys() {
        let tokens = Tokens::default();
        let rows = [
            ("a", (1, 0), 0, true),
            ("a", (1, 0), 99, false),
            ("b", (1, 0), 0, true),
            ("a", (1, 1), 0, true),
            ("a", (2, 1), 0, true),
            ("b", (2, 1), 0, true),
            ("b", (2, 1), 0, false),
        ];
        for (token, under, now, expected) in rows {
            assert_eq!(verified(&tokens, token, under, now), expected, "{token} {under:?} {now}");
        }
        let expired = tokens.claims("a", (2, 1), 100, || panic!("it is kept"));
        assert_eq!(expired, Err(Rejection::Expired));
        assert!(verified(&tokens, "a", (2, 1), 0), "what has ended is forgotten");
    }

    #[test]
    fn what_does_not_hold_is_not_kept() {
        let tokens = Tokens::default();
        assert_eq!(tokens.claims("a", (1, 0), 0, || Err(Rejection::Signature)), Err(Rejection::Signature));
        assert!(verified(&tokens, "a", (1, 0), 0));
    }

    #[test]
    fn what_is_kept_is_bounded_and_those_who_come_again_stay() {
        let tokens = Tokens::default();
        let size = |tokens: &Tokens| {
            let kept = tokens.0.borrow();
            let bytes = kept.young.values().chain(kept.old.values()).map(|entry| entry.bytes).sum::<usize>();
            (kept.young.len() + kept.old.len(), bytes)
        };
        assert!(verified(&tokens, "often", (1, 0), 0));
        for n in 0..5 * MAX_KEPT_TOKENS {
            verified(&tokens, &n.to_string(), (1, 0), 0);
            assert!(!verified(&tokens, "often", (1, 0), 0), "{n}");
            assert!(size(&tokens).0 <= MAX_KEPT_TOKENS);
        }
        for n in 0..100 {
            verified(&tokens, &format!("{n}{}", "x".repeat(MAX_KEPT_BYTES / 8)), (1, 0), 0);
            assert!(size(&tokens).1 <= MAX_KEPT_BYTES + 16);
        }
    }
}
