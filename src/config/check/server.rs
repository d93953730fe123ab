//! What concerns the process, and the small tables: kinds and metrics.

use secrecy::ExposeSecret as _;

use crate::config::model::{Admin, ContextKind, Limits, Listen, Log, Observe, Ofrep, Role, Shutdown, Source, Token};
use crate::config::parse;
use crate::config::view::View;
use crate::domain::pointer::Pointer;

use super::{condition, jwt};

/// Shortest bearer token, in bytes.
const MIN_TOKEN: usize = 16;
/// Shortest key of the user hash, in bytes.
const MIN_HASH_SECRET: usize = 16;

pub(super) fn listen(view: &View<'_>) -> Option<Listen> {
    let address = view.address("address");
    let threads = view.integer("threads");
    let trusted_proxies = view.items("trusted_proxies").into_iter().filter_map(|node| parse::network(node).ok());
    let trusted_proxies = trusted_proxies.collect();
    Some(Listen { address: address?, threads: threads?, trusted_proxies })
}

pub(super) fn observe(view: &View<'_>) -> Option<Observe> {
    Some(Observe { address: view.address("address")? })
}

pub(super) fn admin(view: &View<'_>) -> Option<Admin> {
    let address = view.address("address");
    let hosts = view.items("hosts").into_iter().filter_map(|node| parse::host(node).ok()).collect();
    let mut tokens: Vec<Token> = Vec::new();
    for (name, view) in view.named("tokens") {
        let Some(token) = token(name, &view) else { continue };
        if let Some(other) = tokens.iter().find(|other| other.token.expose_secret() == token.token.expose_secret()) {
            let found = format!("the same token as `{}`", other.name);
            view.error("token", found, "the history could not tell the two apart");
        }
        tokens.push(token);
    }
    Some(Admin { address: address?, hosts, tokens })
}

fn token(name: &str, view: &View<'_>) -> Option<Token> {
    let role = match view.word("role") {
        Some("flags") => Some(Role::Flags),
        Some("events") => Some(Role::Events),
        Some("viewer") => Some(Role::Viewer),
        Some("operator") => Some(Role::Operator),
        Some("admin") => Some(Role::Admin),
        Some(_) | None => None,
    };
    let token = view.secret("token", MIN_TOKEN);
    Some(Token { name: name.to_owned(), role: role?, token: token? })
}

pub(super) fn ofrep(view: &View<'_>) -> Option<Ofrep> {
    let requests_per_second = view.integer("requests_per_second");
    let max_body = view.size("max_body").and_then(|bytes| usize::try_from(bytes).ok());
    let cors = super::all(view.items("cors").into_iter().map(|node| {
        let origin = node.as_text().and_then(origin);
        if origin.is_none() {
            let help = "an origin is a scheme and a host: `https://app.example.com`, with a port if it is another";
            view.error_at(&node.origin, "cors", format!("found {}", node.describe()), help);
        }
        origin
    }));
    Some(Ofrep { requests_per_second: requests_per_second?, max_body: max_body?, cors: cors? })
}

/// An origin as browsers write it (RFC 6454, 6.2): lower case, and no port where it is the scheme's own.
fn origin(text: &str) -> Option<String> {
    let (scheme, host) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let own_port = match scheme.as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    let host = host.to_ascii_lowercase();
    let authority: http::uri::Authority = host.parse().ok()?;
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return None;
    }
    Some(format!("{scheme}://{}", host.strip_suffix(own_port).unwrap_or(&host)))
}

pub(super) fn limits(view: &View<'_>) -> Option<Limits> {
    Some(Limits {
        max_head: usize::try_from(view.size("max_head")?).ok()?,
        max_headers: view.integer("max_headers")?,
        header_timeout: view.duration("header_timeout")?,
        max_body: view.size("max_body")?,
        max_connections: view.integer("max_connections")?,
        replay_memory: view.size("replay_memory")?,
        body_attributes: view.size("body_attributes")?,
        rewrite_body: view.size("rewrite_body")?,
    })
}

pub(super) fn shutdown(view: &View<'_>) -> Option<Shutdown> {
    Some(Shutdown { drain_delay: view.duration("drain_delay")?, drain_timeout: view.duration("drain_timeout")? })
}

pub(super) fn log(view: &View<'_>) -> Option<Log> {
    let level = view.text("level");
    if let Some(level) = level.filter(|level| !is_filter(level)) {
        let help = "expected a level (error, warn, info, debug, trace, off), or `target=level` with commas between";
        view.error("level", format!("found {level:?}"), help);
    }
    let user_hash_secret = view.secret("user_hash_secret", MIN_HASH_SECRET);
    Some(Log {
        level: level?.to_owned(),
        access_sample: view.float("access_sample")?,
        access: view.boolean("access")?,
        user_hash_secret,
        plain_user_keys: view.boolean("plain_user_keys")?,
    })
}

/// A bare word would be taken for a target, and a level that was misspelt would log everything.
fn is_filter(level: &str) -> bool {
    use tracing_subscriber::filter::{LevelFilter, Targets};

    level.split(',').all(|part| {
        let word = part.rsplit_once('=').map_or(part, |(_, word)| word);
        word.trim().parse::<LevelFilter>().is_ok()
    }) && level.parse::<Targets>().is_ok()
}

pub(super) fn context(name: &str, view: &View<'_>, has_jwt: bool) -> Option<ContextKind> {
    let sources = view.tables("key");
    if let Some(word) = condition::RESERVED.iter().find(|word| **word == name) {
        let found = format!("`{word}` cannot be the name of a kind");
        view.error("", found, "in conditions it has a meaning of its own");
    }
    if view.is_empty_list("key") {
        view.error("key", "no source", r#"for example key = [{ header = "x-user-id" }]"#);
    }
    let key = super::all(sources.iter().map(|source| source_of(view, source, has_jwt)))?;
    Some(ContextKind { name: name.to_owned(), key })
}

/// Places that a source can name; it names one.
const PLACES: [&str; 5] = ["header", "cookie", "query", "json", "jwt"];

fn source_of(context: &View<'_>, view: &View<'_>, has_jwt: bool) -> Option<Source> {
    let header = view.header_name("header").map(Source::Header);
    let cookie = view.text("cookie").map(|name| Source::Cookie(name.to_owned()));
    let query = view.text("query").map(|name| Source::Query(name.to_owned()));
    let body = pointer(view, "json").map(Source::Body);
    let claim = jwt::claim(view, has_jwt, |place, found, help| context.error_at(place, "key", found, help));
    let named = PLACES.map(|key| view.is_typed(key));
    let count = named.into_iter().filter(|typed| *typed).count();
    let found: Vec<Source> = [header, cookie, query, body, claim].into_iter().flatten().collect();
    if count > 1 || (count == 0 && found.is_empty()) {
        let places = PLACES.map(|key| format!("`{key}`")).join(", ");
        let help = format!("each source names one of {places}; several stand in the list in their order");
        context.error_at(view.origin(), "key", format!("a source with {count} places"), help);
        return None;
    }
    let source = found.into_iter().next()?;
    if matches!(&source, Source::Cookie(name) | Source::Query(name) if !is_token(name)) {
        context.error_at(view.origin(), "key", "an empty name, or one with spaces or separators", "for example `uid`");
        return None;
    }
    Some(source)
}

/// A JSON pointer.
pub(super) fn pointer(view: &View<'_>, key: &str) -> Option<Pointer> {
    let text = view.text(key)?;
    match Pointer::parse(text) {
        Ok(pointer) => Some(pointer),
        Err(mistake) => {
            view.error(key, format!("found {text:?}"), format!("{mistake}; for example `/user/id`"));
            None
        }
    }
}

pub(super) fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"=;,&\"#".contains(&byte))
}
