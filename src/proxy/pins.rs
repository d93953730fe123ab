//! Pins on their way: read from a request, and given out with the answer.
//!
//! A pin that does not count is as good as none; it is counted and never an error. What is in a token,
//! and whether it counts, is [`crate::domain::pin`]'s.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::identity;
use crate::clock;
use crate::config::model::{Pin, Route};
use crate::domain::context::Keys;
use crate::domain::decision::{Decision, Reason};
use crate::domain::pin::{Pinned, Rejection};

/// The header in which clients get a pin, and in which those that keep no cookies give it back.
pub(crate) const X_POINTSMAN_PIN: HeaderName = HeaderName::from_static("x-pointsman-pin");
/// The cookie that holds a pin.
const COOKIE: &str = "pointsman_pin";
/// Tokens of one request that are looked at: routes below each other's paths have cookies of their own.
const MAX_TOKENS: usize = 4;

/// The pin of a running conversation, as far as the request shows one.
#[derive(Debug)]
pub(crate) struct Presented<'a> {
    pin: &'a Pin,
    session: &'a str,
    /// Seconds since 1970.
    now: u64,
    /// The one that counts.
    pub(crate) pinned: Option<Pinned>,
    /// Why none counts, where there were some.
    pub(crate) rejected: Option<Rejection>,
}

impl<'a> Presented<'a> {
    /// Reads the pins of a request; `None` where the route has none, or nobody knows the conversation.
    pub(crate) fn read(pin: Option<&'a Pin>, keys: Keys<'a>, headers: &HeaderMap) -> Option<Self> {
        let pin = pin?;
        let now = u64::try_from(clock::timestamp().as_second()).unwrap_or(0);
        let mut presented = Self { pin, session: keys.of(pin.by)?, now, pinned: None, rejected: None };
        let sent = headers.get_all(&X_POINTSMAN_PIN).iter().map(|value| value.to_str().unwrap_or_default().into());
        for token in sent.chain(identity::cookies(headers, COOKIE)).take(MAX_TOKENS) {
            match pin.pins.verify(&token, presented.session, now) {
                Ok(pinned) => return Some(Self { pinned: Some(pinned), rejected: None, ..presented }),
                Err(rejection) => presented.rejected = presented.rejected.or(Some(rejection)),
            }
        }
        Some(presented)
    }

    /// The pin that goes out with the answer: for what was drawn or given by a rule, and in place of one
    /// that is to be renewed.
    pub(crate) fn issue(&self, decision: &Decision, route: &Route, secure: bool) -> Option<Box<Issued>> {
        let renewed = decision.assigned_by == Reason::Pinned && self.pinned.is_some_and(|pinned| pinned.renew);
        if !renewed && !matches!(decision.assigned_by, Reason::Rule | Reason::Rollout) {
            return None;
        }
        let token = self.pin.pins.sign(self.session, decision.assigned, self.now);
        let path = route.matches.as_ref().map_or("/", |rule| &rule.path);
        let path = if path.contains(';') { "/" } else { path };
        let (idle, secure) = (self.pin.pins.idle().as_secs(), if secure { "; Secure" } else { "" });
        let cookie = format!("{COOKIE}={token}; Path={path}; Max-Age={idle}; HttpOnly; SameSite=Lax{secure}");
        Some(Box::new(Issued {
            header: HeaderValue::try_from(token).ok()?,
            cookie: HeaderValue::try_from(cookie).ok()?,
        }))
    }
}

/// A pin as it goes out.
#[derive(Debug)]
pub(crate) struct Issued {
    header: HeaderValue,
    cookie: HeaderValue,
}

impl Issued {
    /// Puts it into the head of an answer.
    pub(crate) fn put(self, headers: &mut HeaderMap) {
        headers.insert(X_POINTSMAN_PIN, self.header);
        headers.append(header::SET_COOKIE, self.cookie);
    }
}
