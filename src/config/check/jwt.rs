//! `[jwt]`.

use bytes::Bytes;
use http::HeaderName;
use secrecy::ExposeSecret as _;

use crate::config::model::{Jwks, Jwt, Source, Tls};
use crate::config::node::{Node, Origin};
use crate::config::parse;
use crate::config::view::View;
use crate::domain::pointer::Pointer;
use crate::jwt::{Algorithm, Key, MIN_SECRET_BYTES, Rules};

use super::backend::{endpoint, has_certificate};
use super::server::is_token;

pub(super) fn jwt(view: &View<'_>) -> Option<Jwt> {
    let rules = rules(view);
    let algorithms = rules.as_ref().map_or(&[][..], |rules| &rules.algorithms);
    let keys = keys(view, algorithms);
    let jwks = view.optional_table("jwks").map(|table| {
        if !algorithms.is_empty() && algorithms.iter().all(|algorithm| algorithm.is_symmetric()) {
            view.error("jwks", "no algorithm that it has keys for", "HS256 needs a secret in `[jwt.keys.NAME]`");
        }
        jwks(&table)
    });
    if view.named("keys").is_empty() && jwks.is_none() {
        view.error("keys", "neither `keys` nor `jwks`", "add [jwt.keys.NAME], or [jwt.jwks] with a `url`");
    }
    Some(Jwt {
        header: header(view),
        cookie: cookie(view).map(str::to_owned),
        rules: rules?,
        keys: keys?,
        jwks: match jwks {
            Some(jwks) => Some(jwks?),
            None => None,
        },
    })
}

/// Without a word on headers, a cookie is all there is.
fn header(view: &View<'_>) -> Option<HeaderName> {
    let header = view.header_name("header");
    header.filter(|_| view.is_typed("header") || !view.is_typed("cookie"))
}

fn cookie<'v>(view: &View<'v>) -> Option<&'v str> {
    let cookie = view.text("cookie")?;
    if !is_token(cookie) {
        view.error("cookie", "an empty name, or one with spaces or separators", "for example `session`");
    }
    Some(cookie)
}

fn rules(view: &View<'_>) -> Option<Rules> {
    let algorithms = view.items("algorithms").into_iter().filter_map(Node::as_text).filter_map(Algorithm::parse);
    let algorithms: Vec<Algorithm> = algorithms.collect();
    if view.is_empty_list("algorithms") {
        view.error("algorithms", "an empty list", r#"name what tokens may be signed with, for example ["RS256"]"#);
    }
    let texts = |nodes: Vec<&Node>| nodes.into_iter().filter_map(Node::as_text).map(str::to_owned).collect();
    Some(Rules {
        algorithms,
        issuer: view.text("issuer").map(str::to_owned),
        audience: texts(view.items("audience")),
        leeway: view.duration("leeway")?,
        require_exp: view.boolean("require_exp")?,
        max_bytes: usize::try_from(view.size("max_bytes")?).ok()?,
    })
}

fn keys(view: &View<'_>, allowed: &[Algorithm]) -> Option<Vec<Key>> {
    let mut keys: Vec<Option<Key>> = Vec::new();
    for (name, view) in view.named("keys") {
        let key = key(name, &view, allowed);
        let same = |other: &&Key| key.as_ref().is_some_and(|key| key.kid() == other.kid());
        if let Some(kid) = keys.iter().flatten().find(same).and_then(Key::kid) {
            view.error("kid", format!("a second key with the `kid` {kid:?}"), "tokens could not tell the two apart");
        }
        keys.push(key);
    }
    super::all(keys)
}

fn key(name: &str, view: &View<'_>, allowed: &[Algorithm]) -> Option<Key> {
    let kid = view.text("kid").unwrap_or(name);
    let secret = view.secret("secret", MIN_SECRET_BYTES);
    let public_key = view.secret("public_key", 1);
    let algorithm = view.word("algorithm").and_then(Algorithm::parse)?;
    if !allowed.is_empty() && !allowed.contains(&algorithm) {
        let found = format!("{} is not in `jwt.algorithms`", algorithm.as_str());
        view.error("algorithm", found, "a key that is never used is a mistake: add the algorithm, or take the key out");
    }
    let (right, wrong) = if algorithm.is_symmetric() { ("secret", "public_key") } else { ("public_key", "secret") };
    if view.is_typed(wrong) {
        view.error(wrong, format!("`{wrong}` for {}", algorithm.as_str()), format!("it has a `{right}`"));
    }
    if !view.is_typed(right) {
        view.error("", format!("a key without `{right}`"), format!("{} needs one", algorithm.as_str()));
    }
    if algorithm.is_symmetric() {
        return Some(Key::from_secret(kid, secret?.expose_secret().as_bytes()));
    }
    match Key::from_pem(kid, algorithm, public_key?.expose_secret().as_bytes()) {
        Ok(key) => Some(key),
        Err(error) => {
            view.error("public_key", error.to_string(), "expected PEM: `-----BEGIN PUBLIC KEY-----`");
            None
        }
    }
}

fn jwks(view: &View<'_>) -> Option<Jwks> {
    let ca = view.file("ca");
    if ca.is_some_and(|pem| !has_certificate(pem)) {
        view.error("ca", "the file holds no certificate", "expected PEM: `-----BEGIN CERTIFICATE-----`");
    }
    let url = parse::url(view.node("url")?).ok()?;
    if url.is_none() {
        view.error("url", "an empty URL", "leave [jwt.jwks] out where there is no set of keys");
    }
    Some(Jwks {
        url: endpoint(url?, 1),
        refresh: view.duration("refresh")?,
        timeout: view.duration("timeout")?,
        max_bytes: usize::try_from(view.size("max_bytes")?).ok()?,
        tls: Tls { ca: ca.map(Bytes::copy_from_slice), ..Tls::default() },
    })
}

/// The place of a claim, where a source or an attribute names one. `error` reports a mistake at that key.
pub(super) fn claim(view: &View<'_>, has_jwt: bool, error: impl Fn(&Origin, String, &'static str)) -> Option<Source> {
    let text = view.text("jwt")?;
    let report = |found: String, help: &'static str| error(view.place("jwt"), found, help);
    if !has_jwt {
        report("a claim without a table [jwt]".to_owned(), "say there where tokens come from and who signs them");
    }
    match Pointer::parse(text) {
        Ok(_) if text.is_empty() => {
            report("the whole token".to_owned(), r#"expected a place in it, for example "/sub""#);
            None
        }
        Ok(pointer) => Some(Source::Claim(pointer)),
        Err(mistake) => {
            report(format!("{text:?}: {mistake}"), r#"expected a JSON pointer, for example "/sub" or "/org/industry""#);
            None
        }
    }
}
