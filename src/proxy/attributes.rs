//! What conditions look at, read from the request: the attributes of one route and no others.
//!
//! What is not there, does not count, or cannot be read as its type is missing. Nothing here fails.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;

use super::identity::{self, Found, FoundFact, Shown};
use crate::config::model::{Attribute, Config, Place};
use crate::domain::condition::{Fact, Slot};

/// The request header that names the client behind proxies.
const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// A request as far as attributes are concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker<'a> {
    /// What it shows.
    pub(crate) shown: Shown<'a>,
    /// The address of the peer.
    pub(crate) peer: IpAddr,
    /// The kind that splits and the key that was found for it.
    pub(crate) key: (usize, Option<&'a str>),
}

/// The attributes of a request, and what of it did not count.
#[derive(Debug, Default)]
pub(crate) struct Attributes<'a> {
    /// By slot.
    pub(crate) facts: Vec<Option<Fact<'a>>>,
    /// Headers of a peer that is not trusted.
    pub(crate) untrusted: u64,
    /// Values that are none of their attribute's type.
    pub(crate) unreadable: u64,
}

impl<'a> Attributes<'a> {
    /// Reads the attributes in these slots, which ascend.
    #[must_use]
    pub(crate) fn read(config: &'a Config, slots: &[Slot], asker: Asker<'a>) -> Self {
        let mut read = Self::default();
        // Without conditions this allocates nothing.
        read.facts.resize(slots.last().map_or(0, |last| last + 1), None);
        for slot in slots {
            read.facts[*slot] = read.one(config, &config.attributes[*slot], asker);
        }
        read
    }

    fn one(&mut self, config: &'a Config, attribute: &'a Attribute, asker: Asker<'a>) -> Option<Fact<'a>> {
        let text = match &attribute.place {
            Place::Constant(fact) => return Some(fact.borrowed()),
            Place::Source(source) => return self.found(identity::find_fact(source, attribute.kind, asker.shown)),
            Place::Key(kind) if *kind == asker.key.0 => asker.key.1.map(Cow::Borrowed),
            Place::Key(kind) => self.key(identity::find_key(&config.contexts[*kind].key, asker.shown)),
            Place::PathSegment(number) => path_segment(asker.shown.parts.uri.path(), *number),
            Place::ClientIp => Some(Cow::Owned(client(&config.listen.trusted_proxies, asker).to_string())),
            Place::Method => Some(Cow::Borrowed(asker.shown.parts.method.as_str())),
        }?;
        let fact = Fact::read(attribute.kind, text);
        self.unreadable += u64::from(fact.is_none());
        fact
    }

    fn key(&mut self, found: Found<'a>) -> Option<Cow<'a, str>> {
        match found {
            Found::Key(text) => Some(text),
            Found::Untrusted => {
                self.untrusted += 1;
                None
            }
            Found::Nothing => None,
        }
    }

    fn found(&mut self, found: FoundFact<'a>) -> Option<Fact<'a>> {
        match found {
            FoundFact::Fact(fact) => return Some(fact),
            FoundFact::Unreadable => self.unreadable += 1,
            FoundFact::Untrusted => self.untrusted += 1,
            FoundFact::Nothing => {}
        }
        None
    }
}

/// Counted from 1; an empty one is missing.
fn path_segment(path: &str, number: usize) -> Option<Cow<'_, str>> {
    let segment = path.split('/').nth(number).filter(|segment| !segment.is_empty())?;
    percent_encoding::percent_decode_str(segment).decode_utf8().ok()
}

/// The nearest address that is no trusted proxy; the farthest known where all are trusted.
pub(crate) fn client(proxies: &[IpNet], asker: Asker<'_>) -> IpAddr {
    let mut client = asker.peer.to_canonical();
    if !asker.shown.trusted {
        return client;
    }
    let values = asker.shown.parts.headers.get_all(X_FORWARDED_FOR).iter().rev();
    let hops = values.flat_map(|value| value.to_str().unwrap_or("?").rsplit(','));
    for hop in hops {
        // Behind what is no address nothing can be believed.
        let Ok(address) = hop.trim().parse::<IpAddr>() else { break };
        client = address.to_canonical();
        if !identity::is_trusted(client, proxies) {
            break;
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::request::Parts;
    use std::collections::BTreeMap;

    use crate::config::load_text;
    use proptest::prelude::*;

    const FILE: &str = r#"
[contexts.user]
key = [{ header = "x-user-id" }]
tier = { header = "x-tier" }
age = { query = "age", type = "number" }
beta = { cookie = "beta", type = "boolean" }
[contexts.request]
tenant = { path_segment = 2 }
address = { client_ip = true }
verb = { method = true }
plan = { const = ["a", "b"], type = "list" }
[contexts.session]
key = [{ cookie = "sid" }]
[listen]
trusted_proxies = ["10.0.0.0/8"]
[backends.a]
url = "http://a"
[routes.r]
path = "/"
control = "a"
candidate = "a"
"#;

    fn config() -> Config {
        load_text(FILE, "gateway.toml", &BTreeMap::new()).unwrap().config
    }

    fn parts(fields: &[(&str, &str)], uri: &str) -> Parts {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn shown(parts: &Parts, trusted: bool) -> Shown<'_> {
        Shown { parts, trusted, claims: None, body: None }
    }

    /// All attributes as `name=value`, and what did not count.
    fn read(fields: &[(&str, &str)], uri: &str, trusted: bool) -> (String, u64, u64) {
        let (config, parts) = (config(), parts(fields, uri));
        let user = config.contexts.iter().position(|kind| kind.name == "user").unwrap();
        let asker = Asker { shown: shown(&parts, trusted), peer: [10, 0, 0, 1].into(), key: (user, Some("u")) };
        let slots: Vec<Slot> = (0..config.attributes.len()).collect();
        let attributes = Attributes::read(&config, &slots, asker);
        let shown = config.attributes.iter().zip(&attributes.facts);
        let shown = shown.filter_map(|(known, fact)| Some(format!("{}={}", known.name, fact.as_ref()?)));
        (shown.collect::<Vec<_>>().join(" "), attributes.untrusted, attributes.unreadable)
    }

    #[test]
    fn attributes_come_from_where_the_file_says() {
        let found = read(&[("x-tier", "gold"), ("cookie", "beta=true; sid=s")], "/a/caf%C3%A9?age=7", true);
        let all = "request.address=\"10.0.0.1\" request.plan=[\"a\", \"b\"] request.tenant=\"café\" \
                   request.verb=\"GET\" session.key=\"s\" user.key=\"u\" user.age=7 user.beta=true user.tier=\"gold\"";
        assert_eq!(found, (all.to_owned(), 0, 0));
        let few = "request.address=\"10.0.0.1\" request.plan=[\"a\", \"b\"] request.verb=\"GET\" user.key=\"u\"";
        assert_eq!(read(&[("x-tier", "gold")], "/", false), (few.to_owned(), 1, 0), "an untrusted header");
        assert_eq!(read(&[("cookie", "beta=maybe")], "/a/?age=old", true), (few.to_owned(), 0, 2), "ill-typed");
    }

    #[test]
    fn the_client_is_the_nearest_that_is_no_proxy() {
        type Row<'a> = (&'a [(&'a str, &'a str)], bool, &'a str);
        let rows: [Row<'_>; 7] = [
            (&[], true, "10.0.0.1"),
            (&[(X_FORWARDED_FOR, "1.1.1.1")], true, "1.1.1.1"),
            (&[(X_FORWARDED_FOR, "1.1.1.1")], false, "10.0.0.1"),
            (&[(X_FORWARDED_FOR, "9.9.9.9, 1.1.1.1, 10.0.0.2")], true, "1.1.1.1"),
            (&[(X_FORWARDED_FOR, "9.9.9.9, 1.1.1.1"), (X_FORWARDED_FOR, "10.0.0.2")], true, "1.1.1.1"),
            (&[(X_FORWARDED_FOR, "10.0.0.4,10.0.0.3")], true, "10.0.0.4"),
            (&[(X_FORWARDED_FOR, "1.1.1.1, unknown, 10.0.0.3")], true, "10.0.0.3"),
        ];
        for (fields, trusted, expected) in rows {
            let parts = parts(fields, "/");
            let asker = Asker { shown: shown(&parts, trusted), peer: [10, 0, 0, 1].into(), key: (0, None) };
            assert_eq!(client(&config().listen.trusted_proxies, asker).to_string(), expected, "{fields:?} {trusted}");
        }
    }

    #[test]
    fn a_route_without_conditions_reads_nothing() {
        let (config, parts) = (config(), parts(&[("x-tier", "gold")], "/"));
        let asker = Asker { shown: shown(&parts, true), peer: [10, 0, 0, 1].into(), key: (0, None) };
        assert_eq!(Attributes::read(&config, &[], asker).facts.capacity(), 0);
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_read_or_missing(
            header in proptest::collection::vec(32_u8..=255, 0..40),
            path in "[!-~]{0,30}",
        ) {
            let mut parts = parts(&[], "/");
            for name in ["x-tier", "cookie", X_FORWARDED_FOR] {
                if let Ok(value) = http::HeaderValue::from_bytes(&header) {
                    parts.headers.insert(name, value);
                }
            }
            if let Ok(uri) = format!("/{path}").parse() {
                parts.uri = uri;
            }
            let config = config();
            let slots: Vec<Slot> = (0..config.attributes.len()).collect();
            let asker = Asker { shown: shown(&parts, true), peer: [10, 0, 0, 1].into(), key: (0, None) };
            prop_assert_eq!(Attributes::read(&config, &slots, asker).facts.len(), slots.len());
        }
    }
}
