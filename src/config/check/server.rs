//! What concerns the process, and the small tables: kinds and metrics.

use secrecy::ExposeSecret as _;

use crate::config::model::{
    Admin, Better, ContextKind, Limits, Listen, Log, Metric, Observe, Role, Shutdown, Source, Token,
};
use crate::config::parse;
use crate::config::view::View;

use super::condition;

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
        Some("events") => Some(Role::Events),
        Some("viewer") => Some(Role::Viewer),
        Some("operator") => Some(Role::Operator),
        Some("admin") => Some(Role::Admin),
        Some(_) | None => None,
    };
    let token = view.secret("token", MIN_TOKEN);
    Some(Token { name: name.to_owned(), role: role?, token: token? })
}

pub(super) fn limits(view: &View<'_>) -> Option<Limits> {
    Some(Limits {
        max_head: usize::try_from(view.size("max_head")?).ok()?,
        max_headers: view.integer("max_headers")?,
        header_timeout: view.duration("header_timeout")?,
        max_body: view.size("max_body")?,
        max_connections: view.integer("max_connections")?,
        replay_memory: view.size("replay_memory")?,
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

pub(super) fn context(name: &str, view: &View<'_>) -> Option<ContextKind> {
    let sources = view.tables("key");
    if let Some(word) = condition::RESERVED.iter().find(|word| **word == name) {
        let found = format!("`{word}` cannot be the name of a kind");
        view.error("", found, "in conditions it has a meaning of its own");
    }
    if view.is_empty_list("key") {
        view.error("key", "no source", r#"for example key = [{ header = "x-user-id" }]"#);
    }
    let key = super::all(sources.iter().map(|source| source_of(view, source)))?;
    Some(ContextKind { name: name.to_owned(), key })
}

fn source_of(context: &View<'_>, view: &View<'_>) -> Option<Source> {
    let header = view.header_name("header").map(Source::Header);
    let cookie = view.text("cookie").map(|name| Source::Cookie(name.to_owned()));
    let query = view.text("query").map(|name| Source::Query(name.to_owned()));
    let named = [view.is_typed("header"), view.is_typed("cookie"), view.is_typed("query")];
    let count = named.into_iter().filter(|typed| *typed).count();
    let found: Vec<Source> = [header, cookie, query].into_iter().flatten().collect();
    if count > 1 || (count == 0 && found.is_empty()) {
        let help = "each source names one of `header`, `cookie` and `query`; several stand in the list in their order";
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

pub(super) fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"=;,&\"#".contains(&byte))
}

pub(super) fn metric(name: &str, view: &View<'_>) -> Option<Metric> {
    // `value` is the only kind there is so far.
    view.word("kind");
    let better = match view.word("better") {
        Some("higher") => Some(Better::Higher),
        Some("lower") => Some(Better::Lower),
        Some(_) | None => None,
    };
    let response_header = view.table("from").header_name("response_header");
    Some(Metric {
        name: name.to_owned(),
        description: view.text("description")?.to_owned(),
        unit: view.text("unit")?.to_owned(),
        better: better?,
        response_header: response_header?,
    })
}
