//! Which arm of which route an event counts for, and whose it is.
//!
//! The rule that `docs/events.md` publishes: an exposure token decides; without one, the event counts for
//! the route that it names, or for the only route there is, by the same assignment that a request of the
//! user would get now; otherwise it is stored without an attribution.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Sender;
use super::batch::{Draft, Mistake, quoted};
use crate::config::model::{Attribute, Config, Place, Route};
use crate::domain::condition::{Fact, Slot};
use crate::domain::context::{ContextIndex, Contexts, Keys, usable_key};
use crate::domain::decision::{self, Decision, Health};
use crate::domain::exposure::{Exposure, Refusal};
use crate::live::{RouteIndex, Snapshot, Users};
use crate::store::{Attribution, Event, UserHash};

/// What an attribution is made from.
pub(super) struct Asked<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) users: &'a Users,
    pub(super) sender: &'a Sender<'a>,
    pub(super) now: Timestamp,
}

/// Why an event cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    Token(Refusal),
    OtherRoute,
    NoRoute(String),
    /// A browser said who the user is.
    Claimed(&'static str),
    /// A browser showed nothing of who it is.
    Anonymous,
}

impl From<Refused> for Mistake {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Token(refusal) => Self::new("exposure", refusal.to_string()),
            Refused::OtherRoute => Self::new("route", "the exposure token is of another route"),
            Refused::NoRoute(name) => Self::new("route", format!("there is no route {}", quoted(&name))),
            Refused::Claimed(field) => Self::new(field, "who the user is may be said only with an API token"),
            Refused::Anonymous => Self::new(
                "exposure",
                "an event of a browser has an exposure token, or names a route that finds its key in the request",
            ),
        }
    }
}

/// Where an event belongs, and the key of its user.
struct Found {
    attribution: Option<Attribution>,
    user: Option<Box<str>>,
}

impl Asked<'_> {
    pub(super) fn event(&self, mut draft: Draft) -> Result<Event, Refused> {
        let named = draft.route.as_deref().map(|name| self.route_named(name)).transpose()?;
        let found = match self.sender {
            Sender::Trusted => self.trusted(&mut draft, named)?,
            Sender::Public { key } => self.public(&draft, named, key)?,
        };
        let user = found.user.map(|key| UserHash(self.users.hash(&self.config().log, &key)));
        let Draft { id, name, at, value, data, .. } = draft;
        Ok(Event { id, name, at, received_at: self.now, user, attribution: found.attribution, value, data })
    }

    fn config(&self) -> &Config {
        self.snapshot.config()
    }

    fn route_named(&self, name: &str) -> Result<RouteIndex, Refused> {
        self.snapshot.route_named(name).ok_or_else(|| Refused::NoRoute(name.to_owned()))
    }

    fn trusted(&self, draft: &mut Draft, named: Option<RouteIndex>) -> Result<Found, Refused> {
        let user = draft.user.take();
        let attribution = match &draft.exposure {
            Some(token) => Some(self.by_token(token, named)?.1),
            None => self.only(named).and_then(|route| self.by_key(route, user.as_deref(), draft.contexts.as_ref())),
        };
        Ok(Found { attribution, user })
    }

    fn public(
        &self,
        draft: &Draft,
        named: Option<RouteIndex>,
        key: &dyn Fn(RouteIndex) -> Option<Box<str>>,
    ) -> Result<Found, Refused> {
        for (field, is_there) in [("user", draft.user.is_some()), ("contexts", draft.contexts.is_some())] {
            if is_there {
                return Err(Refused::Claimed(field));
            }
        }
        if let Some(token) = &draft.exposure {
            let (route, attribution) = self.by_token(token, named)?;
            return Ok(Found { attribution: Some(attribution), user: key(route) });
        }
        let route = self.only(named).ok_or(Refused::Anonymous)?;
        let user = key(route).ok_or(Refused::Anonymous)?;
        // What conditions look at cannot be read from a request to another path, and must not be taken on trust.
        let needs = &self.config().routes[route].policy.needs;
        let is_known = needs.slots.is_empty() && needs.keys.is_empty();
        let attribution = if is_known { self.by_key(route, Some(&user), None) } else { None };
        Ok(Found { attribution, user: Some(user) })
    }

    /// The route that is meant without a token.
    fn only(&self, named: Option<RouteIndex>) -> Option<RouteIndex> {
        named.or_else(|| (self.config().routes.len() == 1).then_some(0))
    }

    fn by_token(&self, token: &str, named: Option<RouteIndex>) -> Result<(RouteIndex, Attribution), Refused> {
        let (route, exposure) = self.snapshot.read_exposure(token, self.now).map_err(Refused::Token)?;
        if named.is_some_and(|named| named != route) {
            return Err(Refused::OtherRoute);
        }
        let Exposure { arm, phase, rule, randomised, bucket, sample, .. } = exposure;
        let name = Box::from(&*self.config().routes[route].name);
        let randomised = randomised.map(|percent| percent.get());
        Ok((route, Attribution { route: name, arm, phase: phase.0, rule, randomised, bucket, sample }))
    }

    /// The assignment alone: health does not move users from arm to arm.
    fn by_key(
        &self,
        index: RouteIndex,
        user: Option<&str>,
        contexts: Option<&Map<String, Value>>,
    ) -> Option<Attribution> {
        let route = &self.config().routes[index];
        let given = Given::read(self.config(), route, user, contexts);
        let keys = Keys::one(route.policy.split_by, given.key.as_deref()).with(&given.others);
        let asks = Contexts { keys, override_arm: None, pinned: None, facts: &given.facts };
        let Decision { assigned, randomised, rule, digest, .. } = decision::decide(&route.policy, &asks, &Health::WELL);
        let digest = digest?;
        Some(Attribution {
            route: Box::from(&*route.name),
            arm: assigned,
            phase: self.snapshot.phases[index].0,
            rule: rule.and_then(|rule| u16::try_from(rule).ok()),
            randomised: randomised.map(|percent| percent.get()),
            bucket: digest.statistical_bucket(),
            sample: digest.user_sample(),
        })
    }
}

/// Keys and facts as an event tells them: `{"user": {"tier": "premium"}, "session": {"key": "s-7"}}`, or with
/// dots in the names. What no attribute is named like is left aside.
struct Given<'a> {
    key: Option<Cow<'a, str>>,
    others: Vec<(ContextIndex, Cow<'a, str>)>,
    facts: Vec<Option<Fact<'a>>>,
}

impl<'a> Given<'a> {
    fn read(config: &'a Config, route: &Route, user: Option<&'a str>, told: Option<&'a Map<String, Value>>) -> Self {
        let split_by = route.policy.split_by;
        let told_key = |kind: ContextIndex| {
            let name = format!("{}.key", config.contexts[kind].name);
            let key = told.and_then(|told| find(told, &name)).and_then(Value::as_str);
            key.filter(|key| usable_key(key).is_some()).map(Cow::Borrowed)
        };
        let key = user.map(Cow::Borrowed).or_else(|| told_key(split_by));
        let others = (0..config.contexts.len()).filter(|kind| *kind != split_by);
        let others = others.filter_map(|kind| Some((kind, told_key(kind)?))).collect();
        let slots: &[Slot] = &route.policy.needs.slots;
        let mut facts = Vec::new();
        facts.resize(slots.last().map_or(0, |last| last + 1), None);
        for slot in slots {
            let attribute = &config.attributes[*slot];
            facts[*slot] = match &attribute.place {
                Place::Constant(fact) => Some(fact.borrowed()),
                Place::Key(kind) if *kind == split_by => key.clone().map(Fact::Text),
                Place::Key(_) | Place::Source(_) | Place::PathSegment(_) | Place::ClientIp | Place::Method => {
                    told.and_then(|told| fact(attribute, find(told, &attribute.name)?))
                }
            };
        }
        Self { key, others, facts }
    }
}

/// What is told under `kind.name`: nested, or with the dot.
fn find<'a>(told: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let (kind, name) = path.split_once('.')?;
    told.get(kind).and_then(|kind| kind.get(name)).or_else(|| told.get(path))
}

/// As `explain` reads it: of its type, or in words.
fn fact<'a>(attribute: &Attribute, value: &'a Value) -> Option<Fact<'a>> {
    Fact::from_json(attribute.kind, value).or_else(|| match value {
        Value::Number(_) | Value::Bool(_) => Fact::read(attribute.kind, Cow::Owned(value.to_string())),
        Value::String(_) | Value::Array(_) | Value::Null | Value::Object(_) => None,
    })
}
