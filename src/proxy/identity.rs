//! Who asks: the key that splits, and a tester's override, read from the request.

use std::borrow::Cow;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use ipnet::IpNet;
use secrecy::ExposeSecret as _;
use subtle::ConstantTimeEq as _;

use crate::config::model::{Override, Source};
use crate::domain::Arm;
use crate::domain::context::usable_key;

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

/// The first source that gives a usable key.
pub fn find_key<'a>(sources: &[Source], parts: &'a Parts, trusted: bool) -> Found<'a> {
    let mut ignored = false;
    for source in sources {
        match find(source, parts, trusted) {
            Found::Key(key) if usable_key(&key).is_some() => return Found::Key(key),
            Found::Untrusted => ignored = true,
            Found::Key(_) | Found::Nothing => {}
        }
    }
    if ignored { Found::Untrusted } else { Found::Nothing }
}

/// What one source holds, of any length.
pub fn find<'a>(source: &Source, parts: &'a Parts, trusted: bool) -> Found<'a> {
    let found = match source {
        Source::Header(name) if trusted => header_text(&parts.headers, name),
        Source::Header(name) if parts.headers.contains_key(name) => return Found::Untrusted,
        Source::Header(_) => None,
        Source::Cookie(name) => cookie(&parts.headers, name),
        Source::Query(name) => query(parts.uri.query().unwrap_or_default(), name),
    };
    found.map_or(Found::Nothing, Found::Key)
}

fn header_text<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<Cow<'a, str>> {
    let value = headers.get(name)?;
    // Keys are hashed over raw bytes; what is no UTF-8 cannot be logged or targeted and is no key.
    std::str::from_utf8(value.as_bytes()).ok().map(Cow::Borrowed)
}

/// The value of a cookie. Percent-encoding is undone, as browsers' libraries expect.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<Cow<'a, str>> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(cookie::Cookie::split_parse_encoded)
        .filter_map(Result::ok)
        .find(|cookie| cookie.name() == name)
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
            assert_eq!(find_key(&sources(), &parts(fields, uri), trusted), expected, "{fields:?} {uri} {trusted}");
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
