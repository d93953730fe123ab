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
        let path = route.matches().map_or("/", |rule| &rule.path);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::load_text;
    use crate::domain::Arm;
    use crate::domain::context::Contexts;
    use crate::domain::decision::{Health, decide};

    const FILE: &str = "[contexts.user]\nkey = [{ header = \"x-user-id\" }]\n[contexts.session]\n\
        key = [{ header = \"x-session-id\" }]\n[backends.a]\nurl = \"http://a\"\n[routes.r]\npath = \"/chat\"\n\
        methods = [\"GET\"]\ncontrol = \"a\"\ncandidate = \"a\"\nrollout.percent = 100\n\
        pin = { by = \"session\", idle = \"10m\", secrets = [\"0123456789abcdef\"] }\n";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
        fields.iter().map(field).collect()
    }

    #[test]
    fn the_first_token_that_counts_is_taken() {
        let config = load_text(FILE, "gateway.toml", &BTreeMap::new()).unwrap().config;
        let pin = config.routes[0].pin.as_ref().unwrap();
        let keys = Keys::one(pin.by, Some("s1"));
        let now = u64::try_from(clock::timestamp().as_second()).unwrap();
        let good = pin.pins.sign("s1", Arm::Control, now);
        let other = pin.pins.sign("s2", Arm::Candidate, now);
        let (both, many) = (format!("pointsman_pin={other}; pointsman_pin={good}"), "pointsman_pin=x; ".repeat(4));
        let beyond = format!("{many}pointsman_pin={good}");
        type Row<'a> = (&'a [(&'static str, &'a str)], Option<Arm>, Option<Rejection>);
        let rows: [Row<'_>; 7] = [
            (&[], None, None),
            (&[("cookie", "a=b")], None, None),
            (&[("x-pointsman-pin", &good)], Some(Arm::Control), None),
            (&[("x-pointsman-pin", &other)], None, Some(Rejection::Foreign)),
            (&[("x-pointsman-pin", "x"), ("cookie", &both)], Some(Arm::Control), None),
            (
                &[("x-pointsman-pin", "x"), ("cookie", &format!("pointsman_pin={other}"))],
                None,
                Some(Rejection::Malformed),
            ),
            (&[("cookie", &beyond)], None, Some(Rejection::Malformed)),
        ];
        for (fields, arm, rejected) in rows {
            let presented = Presented::read(Some(pin), keys, &headers(fields)).unwrap();
            assert_eq!((presented.pinned.map(|pinned| pinned.arm), presented.rejected), (arm, rejected), "{fields:?}");
        }
        assert!(Presented::read(Some(pin), Keys::default(), &headers(&[])).is_none(), "nobody knows the conversation");
        assert!(Presented::read(None, keys, &headers(&[])).is_none());
    }

    #[test]
    fn pins_are_given_out_for_draws_and_renewed_in_time() {
        let config = load_text(FILE, "gateway.toml", &BTreeMap::new()).unwrap().config;
        let (route, now) = (&config.routes[0], 1_795_161_600);
        let pin = route.pin.as_ref().unwrap();
        let user = Contexts::of_key(route.policy.split_by, "u");
        let kept = Contexts { pinned: Some(Arm::Control), ..user };
        let testing = Contexts { override_arm: Some(Arm::Control), ..user };
        let rows = [
            (user, None, Some(Arm::Candidate)),
            (kept, Some(Pinned { arm: Arm::Control, renew: false }), None),
            (kept, Some(Pinned { arm: Arm::Control, renew: true }), Some(Arm::Control)),
            (testing, Some(Pinned { arm: Arm::Control, renew: true }), None),
        ];
        for (contexts, pinned, expected) in rows {
            let decision = decide(&route.policy, &contexts, &Health::WELL);
            let presented = Presented { pin, session: "s1", now, pinned, rejected: None };
            let issued = presented.issue(&decision, route, true);
            assert_eq!(issued.is_some(), expected.is_some(), "{decision:?}");
            let (Some(issued), Some(arm)) = (issued, expected) else { continue };
            let mut headers = HeaderMap::new();
            issued.put(&mut headers);
            let token = headers[X_POINTSMAN_PIN].to_str().unwrap().to_owned();
            assert_eq!(pin.pins.verify(&token, "s1", now).map(|pinned| pinned.arm), Ok(arm));
            let cookie = format!("pointsman_pin={token}; Path=/chat; Max-Age=600; HttpOnly; SameSite=Lax; Secure");
            assert_eq!(headers[header::SET_COOKIE], cookie.as_str());
        }
    }
}
