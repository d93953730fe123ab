//! Who asks: the key that splits, and a tester's override, read from the request.

use std::borrow::Cow;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use ipnet::IpNet;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use subtle::ConstantTimeEq as _;

use crate::config::model::{ContextIndex, ContextKind, Override, Source};
use crate::domain::Arm;
use crate::domain::condition::{Fact, Type};
use crate::domain::context::usable_key;
use crate::domain::decision::KeyNeed;
use crate::domain::pointer::Pointer;

/// Name of the cookie that `missing_key = "cookie"` sets.
pub const ANONYMOUS_COOKIE: &str = "pointsman_id";

/// How long a browser keeps the anonymous id: 400 days, the longest that browsers grant.
const ANONYMOUS_COOKIE_SECONDS: u32 = 400 * 24 * 60 * 60;

/// Whether a peer's identity and forwarding headers count.
pub fn is_trusted(address: std::net::IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

/// What was found of a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// The key.
    Key(Cow<'a, str>),
    /// Only a header that does not count, since the peer is not trusted.
    Untrusted,
    /// Nothing.
    Nothing,
}

/// What a request shows of who asks.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// The head.
    pub parts: &'a Parts,
    /// Whether the peer's identity and forwarding headers count.
    pub trusted: bool,
    /// The claims of its token, if it has one that was verified.
    pub claims: Option<&'a Value>,
    /// Its body, if that was read and is JSON.
    pub body: Option<&'a Value>,
}

/// The first source that gives a usable key.
#[must_use]
pub fn find_key<'a>(sources: &[Source], shown: Shown<'a>) -> Found<'a> {
    let mut ignored = false;
    for source in sources {
        match find(source, shown) {
            Found::Key(key) if usable_key(&key).is_some() => return Found::Key(key),
            Found::Untrusted => ignored = true,
            Found::Key(_) | Found::Nothing => {}
        }
    }
    if ignored { Found::Untrusted } else { Found::Nothing }
}

/// The keys of the other kinds that a decision looks at. `untrusted` is called for each that does not
/// count.
#[must_use]
pub fn other_keys<'a>(
    kinds: &[ContextKind],
    needs: &[KeyNeed],
    shown: Shown<'a>,
    mut untrusted: impl FnMut(),
) -> Vec<(ContextIndex, Cow<'a, str>)> {
    let mut key = |need: &KeyNeed| {
        let key = match find_key(&kinds[need.kind].key, shown) {
            Found::Key(key) => Some(key),
            Found::Untrusted => {
                untrusted();
                None
            }
            Found::Nothing => None,
        };
        let key = key.or_else(|| anonymous_key(&shown.parts.headers).filter(|_| need.anonymous))?;
        Some((need.kind, key))
    };
    needs.iter().filter_map(&mut key).collect()
}

/// The sticky anonymous id, if the client has one.
#[must_use]
pub fn anonymous_key(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    cookie(headers, ANONYMOUS_COOKIE).filter(|id| usable_key(id).is_some())
}

/// What one source holds as a text, of any length.
fn find<'a>(source: &Source, shown: Shown<'a>) -> Found<'a> {
    let text = match source {
        Source::Header(name) if shown.trusted => header_text(&shown.parts.headers, name),
        Source::Header(name) if shown.parts.headers.contains_key(name) => return Found::Untrusted,
        Source::Header(_) => None,
        Source::Cookie(name) => cookie(&shown.parts.headers, name),
        Source::Query(name) => query(shown.parts.uri.query().unwrap_or_default(), name),
        Source::Claim(pointer) => shown.claims.and_then(|claims| text_at(pointer, claims)),
        Source::Body(pointer) => shown.body.and_then(|body| text_at(pointer, body)),
    };
    text.map_or(Found::Nothing, Found::Key)
}

/// What one source holds, read as a type.
#[must_use]
pub fn find_fact<'a>(source: &Source, kind: Type, shown: Shown<'a>) -> FoundFact<'a> {
    let value = match source {
        Source::Claim(pointer) => shown.claims.and_then(|claims| pointer.find(claims)),
        Source::Body(pointer) => shown.body.and_then(|body| pointer.find(body)),
        Source::Header(_) | Source::Cookie(_) | Source::Query(_) => {
            return match find(source, shown) {
                Found::Key(text) => Fact::read(kind, text).map_or(FoundFact::Unreadable, FoundFact::Fact),
                Found::Untrusted => FoundFact::Untrusted,
                Found::Nothing => FoundFact::Nothing,
            };
        }
    };
    match value {
        None | Some(Value::Null) => FoundFact::Nothing,
        Some(value) => Fact::from_json(kind, value).map_or(FoundFact::Unreadable, FoundFact::Fact),
    }
}

/// What was found of an attribute.
#[derive(Debug, PartialEq)]
pub enum FoundFact<'a> {
    /// Its value.
    Fact(Fact<'a>),
    /// Something that is none of its type.
    Unreadable,
    /// Only a header that does not count, since the peer is not trusted.
    Untrusted,
    /// Nothing.
    Nothing,
}

fn text_at<'a>(pointer: &Pointer, document: &'a Value) -> Option<Cow<'a, str>> {
    match Fact::from_json(Type::String, pointer.find(document)?)? {
        Fact::Text(text) => Some(text),
        Fact::Number(_) | Fact::Boolean(_) | Fact::List(_) | Fact::Timestamp(_) | Fact::Version(_) => None,
    }
}

fn header_text<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<Cow<'a, str>> {
    let value = headers.get(name)?;
    // Keys are hashed over raw bytes; what is no UTF-8 cannot be logged or targeted and is no key.
    std::str::from_utf8(value.as_bytes()).ok().map(Cow::Borrowed)
}

/// The value of a cookie.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<Cow<'a, str>> {
    cookies(headers, name).next()
}

/// The values of all cookies of a name. Percent-encoding is undone, as browsers' libraries expect.
pub fn cookies<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(cookie::Cookie::split_parse_encoded)
        .filter_map(Result::ok)
        .filter(move |cookie| cookie.name() == name)
        .map(|cookie| Cow::Owned(cookie.value().to_owned()))
}

fn query<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value)
}

/// The arm that a tester asks for: `ARM KEY` in the route's override header. A wrong key is no override.
pub fn overridden(rule: Option<&Override>, headers: &HeaderMap) -> Option<Arm> {
    let rule = rule?;
    let (word, key) = headers.get(&rule.header)?.to_str().ok()?.trim().split_once(' ')?;
    let expected = rule.key.expose_secret().as_bytes();
    let matches = bool::from(key.trim().as_bytes().ct_eq(expected));
    Arm::parse(word).filter(|_| matches)
}

/// The `set-cookie` that makes an anonymous id sticky.
pub fn anonymous_cookie(id: &str, secure: bool) -> Option<HeaderValue> {
    let secure = if secure { "; Secure" } else { "" };
    let text =
        format!("{ANONYMOUS_COOKIE}={id}; Path=/; Max-Age={ANONYMOUS_COOKIE_SECONDS}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use serde_json::json;

    fn parts(fields: &[(&str, &str)], uri: &str) -> Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn sources() -> Vec<Source> {
        vec![
            Source::Header(http::HeaderName::from_static("x-user-id")),
            Source::Cookie("uid".into()),
            Source::Query("user".into()),
        ]
    }

    #[test]
    fn the_first_usable_source_gives_the_key() {
        let long = "x".repeat(crate::domain::assignment::MAX_KEY_BYTES + 1);
        let cookie_only: &[(&str, &str)] = &[("cookie", "a=b; uid=%C3%A5sa; c=d")];
        type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, bool, Found<'a>);
        let rows: [Row<'_>; 9] = [
            (&[("x-user-id", "u1"), ("cookie", "uid=u2")], "/?user=u3", true, Found::Key("u1".into())),
            (&[("x-user-id", "u1"), ("cookie", "uid=u2")], "/?user=u3", false, Found::Key("u2".into())),
            (&[("x-user-id", ""), ("cookie", "uid=u2")], "/", true, Found::Key("u2".into())),
            (&[("x-user-id", &long)], "/?user=u%203", true, Found::Key("u 3".into())),
            (cookie_only, "/", true, Found::Key("åsa".into())),
            (&[("x-user-id", "u1")], "/", false, Found::Untrusted),
            (&[("cookie", "uid")], "/", true, Found::Nothing),
            (&[("cookie", "=;;uid=")], "/?user", true, Found::Nothing),
            (&[], "/", true, Found::Nothing),
        ];
        for (fields, uri, trusted, expected) in rows {
            let parts = parts(fields, uri);
            let shown = Shown { parts: &parts, trusted, claims: None, body: None };
            assert_eq!(find_key(&sources(), shown), expected, "{fields:?} {uri} {trusted}");
        }
    }

    #[test]
    fn claims_and_bodies_give_keys_and_typed_facts() {
        let parts = parts(&[], "/");
        let (claims, body) = (json!({"sub": "u1", "n": 7, "none": null}), json!({"user": {"id": 42, "tags": ["a"]}}));
        let shown = Shown { parts: &parts, trusted: false, claims: Some(&claims), body: Some(&body) };
        let at = |text| Pointer::parse(text).unwrap();
        let key = |source| find_key(&[source], shown);
        assert_eq!(key(Source::Claim(at("/sub"))), Found::Key("u1".into()));
        assert_eq!(key(Source::Body(at("/user/id"))), Found::Key("42".into()));
        assert_eq!(key(Source::Body(at("/user"))), Found::Nothing);
        assert_eq!(find_key(&[Source::Claim(at("/sub"))], Shown { claims: None, ..shown }), Found::Nothing);
        let rows = [
            (Source::Claim(at("/n")), Type::Number, FoundFact::Fact(Fact::Number(7.0))),
            (Source::Claim(at("/n")), Type::List, FoundFact::Unreadable),
            (Source::Claim(at("/none")), Type::String, FoundFact::Nothing),
            (Source::Body(at("/user/tags")), Type::List, FoundFact::Fact(Fact::List(vec!["a".into()]))),
            (Source::Body(at("/other")), Type::String, FoundFact::Nothing),
        ];
        for (source, kind, expected) in rows {
            assert_eq!(find_fact(&source, kind, shown), expected, "{source:?} {kind:?}");
        }
    }

    #[test]
    fn an_override_needs_its_key() {
        let rule = Override { header: http::HeaderName::from_static("x-pointsman-override"), key: "s3cret".into() };
        let rows = [
            ("candidate s3cret", Some(Arm::Candidate)),
            ("control  s3cret", Some(Arm::Control)),
            ("candidate s3cre", None),
            ("candidate", None),
            ("both s3cret", None),
            ("", None),
        ];
        for (value, expected) in rows {
            let parts = parts(&[("x-pointsman-override", value)], "/");
            assert_eq!(overridden(Some(&rule), &parts.headers), expected, "{value}");
            assert_eq!(overridden(None, &parts.headers), None);
        }
    }

    #[test]
    fn mapped_addresses_are_trusted_like_their_own() {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        for (address, expected) in [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("::1", true), ("11.0.0.1", false)] {
            assert_eq!(is_trusted(address.parse().unwrap(), &trusted), expected, "{address}");
        }
    }
}
