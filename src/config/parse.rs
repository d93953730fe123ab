//! From one typed value to one checked value, kind by kind.
//!
//! Validation and construction use the same functions, so what was accepted can be built.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use ipnet::IpNet;
use jiff::fmt::friendly::SpanParser;
use serde_json::Value as Json;

use super::model::Endpoint;
use super::node::{Node, Value};
use super::report::did_you_mean;
use super::spec::Leaf;

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    /// What was found.
    pub(super) found: String,
    /// What would be right.
    pub(super) help: String,
}

/// What a value turned out to be.
pub(super) type Parsed<T> = Result<T, Mistake>;

fn expected<T>(node: &Node, help: impl Into<String>) -> Parsed<T> {
    Err(Mistake { found: format!("found {}", node.describe()), help: help.into() })
}

/// Checks a value that is not a container.
pub(super) fn leaf(leaf: &Leaf, node: &Node) -> Parsed<()> {
    match leaf {
        Leaf::Text | Leaf::Reference(_) => text(node).map(drop),
        Leaf::Word { now, later } => word(node, now, later).map(drop),
        Leaf::Integer(min, max) => integer(node, *min, *max).map(drop),
        Leaf::Float(min, max) => float(node, *min, *max).map(drop),
        Leaf::Bool => boolean(node).map(drop),
        Leaf::Duration(min, max) => duration(node, *min, *max).map(drop),
        Leaf::Size(min, max) => size(node, *min, *max).map(drop),
        Leaf::Address => address(node).map(drop),
        Leaf::Network => network(node).map(drop),
        Leaf::Host => host(node).map(drop),
        Leaf::Url => url(node).map(drop),
        Leaf::Path => path(node).map(drop),
        Leaf::HeaderName => header_name(node).map(drop),
        Leaf::HeaderValue => header_value(node).map(drop),
        Leaf::Method => method(node).map(drop),
        Leaf::Status => status(node).map(drop),
        Leaf::File => file(node).map(drop),
        Leaf::Secret => secret(node),
        Leaf::Condition => condition(node),
        Leaf::Constant => constant(node),
        Leaf::Json => json(node).map(drop),
    }
}

/// Any string.
pub(super) fn text(node: &Node) -> Parsed<&str> {
    node.as_text().map_or_else(|| expected(node, "expected a string"), Ok)
}

/// One of the words.
pub(super) fn word<'a>(node: &'a Node, now: &[&str], later: &[&str]) -> Parsed<&'a str> {
    let all = now.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
    let Some(text) = node.as_text() else { return expected(node, format!("expected one of {all}")) };
    if now.contains(&text) {
        return Ok(text);
    }
    if later.iter().any(|beginning| text.starts_with(beginning)) {
        return Err(Mistake {
            found: format!("{} is not yet available", node.describe()),
            help: format!("available: {all}"),
        });
    }
    let guess = did_you_mean(text, now.iter().copied()).unwrap_or_default();
    expected(node, format!("{guess}expected one of {all}"))
}

/// A whole number within bounds.
pub(super) fn integer(node: &Node, min: i64, max: i64) -> Parsed<i64> {
    match node.value {
        Value::Integer(number) if (min..=max).contains(&number) => Ok(number),
        Value::Integer(_)
        | Value::Text(_)
        | Value::Float(_)
        | Value::Bool(_)
        | Value::Other(_)
        | Value::List(_)
        | Value::Table(_) => expected(node, format!("expected a whole number from {min} to {max}")),
    }
}

/// A finite number within bounds; integers count.
pub(super) fn float(node: &Node, min: f64, max: f64) -> Parsed<f64> {
    let number = match node.value {
        Value::Integer(number) => number as f64,
        Value::Float(number) => number,
        Value::Text(_) | Value::Bool(_) | Value::Other(_) | Value::List(_) | Value::Table(_) => f64::NAN,
    };
    if (min..=max).contains(&number) {
        return Ok(number);
    }
    /// Bounds beyond this only keep infinity out.
    const NO_BOUND: f64 = 1e100;
    let from = if min > -NO_BOUND { format!(" from {min:?}") } else { String::new() };
    let to = if max < NO_BOUND { format!(" to {max:?}") } else { String::new() };
    expected(node, format!("expected a number{from}{to}"))
}

/// `true` or `false`.
pub(super) fn boolean(node: &Node) -> Parsed<bool> {
    if let Value::Bool(word) = node.value { Ok(word) } else { expected(node, "expected `true` or `false`") }
}

/// A length of time within bounds.
pub(super) fn duration(node: &Node, min: Duration, max: Duration) -> Parsed<Duration> {
    match node.as_text().and_then(parse_duration) {
        Some(length) if (min..=max).contains(&length) => Ok(length),
        Some(_) => expected(node, format!("expected from {} to {}", show_duration(min), show_duration(max))),
        None => expected(node, r#"expected a length of time with its unit, for example "250ms", "30s" or "1h30m""#),
    }
}

/// Days, which are always 24 hours here, may come before everything else: `7d`, `1d12h`.
fn parse_duration(text: &str) -> Option<Duration> {
    let (days, rest) = match text.trim().split_once('d') {
        Some((days, rest)) if days.bytes().all(|byte| byte.is_ascii_digit()) => (days.parse().ok()?, rest.trim()),
        Some(_) | None => (0_u32, text),
    };
    let rest = match rest {
        "" if days > 0 => Duration::ZERO,
        rest => SpanParser::new().parse_unsigned_duration(rest).ok()?,
    };
    Duration::from_secs(24 * 3600).checked_mul(days)?.checked_add(rest)
}

/// A length of time as it is written in the file.
pub(super) fn show_duration(length: Duration) -> String {
    let millis = length.as_millis();
    match (millis, millis % 1000, millis / 1000) {
        (0, ..) => "0s".to_owned(),
        (_, 0, seconds) if seconds > 24 * 3600 && seconds % (24 * 3600) == 0 => format!("{}d", seconds / (24 * 3600)),
        (_, 0, seconds) if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        (_, 0, seconds) if seconds % 60 == 0 => format!("{}m", seconds / 60),
        (_, 0, seconds) => format!("{seconds}s"),
        (millis, ..) => format!("{millis}ms"),
    }
}

/// Units of sizes, and their bytes.
const UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// Bytes within bounds.
pub(super) fn size(node: &Node, min: u64, max: u64) -> Parsed<u64> {
    let bytes = match &node.value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::Text(text) => parse_size(text),
        Value::Float(_) | Value::Bool(_) | Value::Other(_) | Value::List(_) | Value::Table(_) => None,
    };
    match bytes {
        Some(bytes) if (min..=max).contains(&bytes) => Ok(bytes),
        Some(_) => expected(node, format!("expected from {} to {}", show_size(min), show_size(max))),
        None => expected(node, r#"expected bytes, as a whole number or with a unit: 65536, "64KiB", "10MB""#),
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let (unit, factor) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number = text.strip_suffix(unit)?.trim_end();
    // `parse` alone would accept a plus sign.
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse::<u64>().ok())??.checked_mul(*factor)
}

/// Bytes as they are written in the file.
pub(super) fn show_size(bytes: u64) -> String {
    let unit = UNITS.iter().take(3).rev().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| bytes.to_string(), |(unit, factor)| format!("{}{unit}", bytes / factor))
}

/// `ip:port`.
pub(super) fn address(node: &Node) -> Parsed<SocketAddr> {
    let address = node.as_text().and_then(|text| text.parse().ok());
    address.map_or_else(|| expected(node, r#"expected "ip:port", for example "0.0.0.0:8080" or "[::]:8080""#), Ok)
}

/// An address range; a single address is a range of one.
pub(super) fn network(node: &Node) -> Parsed<IpNet> {
    let network = node
        .as_text()
        .and_then(|text| text.parse().ok().or_else(|| text.parse().ok().map(|ip: std::net::IpAddr| ip.into())));
    network.map_or_else(|| expected(node, r#"expected an address range, for example "10.0.0.0/8" or "::1""#), Ok)
}

/// A host name or address without port, in lower case.
pub(super) fn host(node: &Node) -> Parsed<String> {
    let help = r#"expected a host name without scheme and port, for example "api.example.com"; no wildcards"#;
    let Some(text) = node.as_text() else { return expected(node, help) };
    let name = text.to_ascii_lowercase();
    if is_host_name(&name) || is_bracketed_v6(&name) { Ok(name) } else { expected(node, help) }
}

fn is_host_name(name: &str) -> bool {
    const LONGEST: usize = 253;
    (1..=LONGEST).contains(&name.len())
        && name.trim_end_matches('.').split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}

fn is_bracketed_v6(name: &str) -> bool {
    let inner = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
}

/// A URL taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    /// Whether it is `https`.
    pub(super) tls: bool,
    /// Without brackets.
    pub(super) host: String,
    /// The scheme's default filled in.
    pub(super) port: u16,
    /// `host[:port]` as typed.
    pub(super) authority: HeaderValue,
    /// Without a slash at its end.
    pub(super) base_path: String,
}

/// A URL of a backend; `None` for the empty string.
pub(super) fn url(node: &Node) -> Parsed<Option<Url>> {
    let Some(text) = node.as_text() else { return expected(node, "expected a URL") };
    if text.is_empty() {
        return Ok(None);
    }
    if has_credentials(node) {
        let help = "no user name or password in a URL: set `headers.authorization` instead".to_owned();
        return Err(Mistake { found: "found a URL with an `@`".to_owned(), help });
    }
    match parse_url(text) {
        Ok(url) => Ok(Some(url)),
        Err(help) => expected(node, help),
    }
}

/// Whether a URL holds a password, or something that could be meant as one.
pub(super) fn has_credentials(node: &Node) -> bool {
    node.as_text().is_some_and(|text| text.contains('@'))
}

/// What would be right in place of a text that is no URL of a backend; `None` if it is one.
#[must_use]
pub fn url_mistake(text: &str) -> Option<&'static str> {
    endpoint(text).err()
}

/// Where a URL leads that stands in no file.
///
/// # Errors
/// What would be right in place of a text that is no URL of a backend.
pub fn endpoint(text: &str) -> Result<Endpoint, &'static str> {
    if text.contains('@') {
        return Err("no user name or password in a URL");
    }
    let Url { tls, host, port, authority, base_path } = parse_url(text)?;
    Ok(Endpoint { tls, host, port, authority, base_path, weight: 1 })
}

pub(super) fn parse_url(text: &str) -> Result<Url, &'static str> {
    let example = r#"expected "http://host[:port][/path]" or "https://...""#;
    let (tls, rest) = match text.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        Some(_) => return Err(r#"the scheme must be "http" or "https""#),
        None => return Err(example),
    };
    if rest.contains(['?', '#']) {
        return Err("a backend's URL has no query and no fragment");
    }
    let (authority, base_path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let authority: http::uri::Authority = authority.parse().map_err(|_| example)?;
    let host = authority.host();
    if !is_host_name(host) && !is_bracketed_v6(host) {
        return Err(example);
    }
    let port = match (authority.port(), authority.as_str().len() > host.len()) {
        (Some(port), _) => port.as_u16(),
        (None, true) => return Err("the port must be a number from 1 to 65535"),
        (None, false) => {
            if tls {
                443
            } else {
                80
            }
        }
    };
    if port == 0 {
        return Err("the port must be a number from 1 to 65535");
    }
    let base_path = normal_path(base_path).ok_or("the path may not contain `..`, spaces or control characters")?;
    let value = HeaderValue::from_str(authority.as_str()).map_err(|_| example)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    Ok(Url { tls, host, port, authority: value, base_path: base_path.trim_end_matches('/').to_owned() })
}

/// A path without a slash at its end, unless it is all.
pub(super) fn path(node: &Node) -> Parsed<String> {
    let help = r#"expected a path that begins with "/", without `..`, `//`, `?`, `#` and spaces"#;
    let Some(text) = node.as_text() else { return expected(node, help) };
    match normal_path(text) {
        Some(path) if text.starts_with('/') => Ok(if path.is_empty() { "/".to_owned() } else { path }),
        Some(_) | None => expected(node, help),
    }
}

/// Without slashes at its end; `None` for what cannot stand in a path of ours.
fn normal_path(text: &str) -> Option<String> {
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    let clean = trimmed.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'\\'))
        && !trimmed.split('/').any(|segment| matches!(segment, "." | ".."))
        && !text.contains("//");
    clean.then(|| trimmed.to_owned())
}

/// The name of a header field.
pub(super) fn header_name(node: &Node) -> Parsed<HeaderName> {
    let name = node.as_text().and_then(|text| HeaderName::from_bytes(text.as_bytes()).ok());
    name.map_or_else(|| expected(node, r#"expected the name of a header, for example "x-user-id""#), Ok)
}

/// The value of a header field.
pub(super) fn header_value(node: &Node) -> Parsed<HeaderValue> {
    let value = node.as_text().and_then(|text| HeaderValue::from_str(text).ok());
    value.map_or_else(|| expected(node, "expected the value of a header: a string of visible ASCII, on one line"), Ok)
}

/// A request method, in capitals.
pub(super) fn method(node: &Node) -> Parsed<Method> {
    let help = r#"expected a method in capitals, for example "GET" or "POST"; CONNECT is never taken"#;
    let Some(text) = node.as_text() else { return expected(node, help) };
    let shaped = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    match Method::from_bytes(text.as_bytes()) {
        Ok(method) if shaped && method != Method::CONNECT => Ok(method),
        Ok(_) | Err(_) => expected(node, help),
    }
}

/// A status code of a final answer.
pub(super) fn status(node: &Node) -> Parsed<StatusCode> {
    let number = integer(node, 200, 599)?;
    let status = u16::try_from(number).ok().and_then(|number| StatusCode::from_u16(number).ok());
    status.map_or_else(|| expected(node, "expected a status from 200 to 599"), Ok)
}

/// `{ file = "..." }`: the path, if the value is one.
pub(super) fn file_reference(node: &Node) -> Option<&str> {
    let table = node.as_table()?;
    if table.len() == 1 { table.get("file")?.node.as_text() } else { None }
}

/// The path of a file.
pub(super) fn file(node: &Node) -> Parsed<&str> {
    match node.as_text() {
        Some(text) if !text.is_empty() => Ok(text),
        Some(_) | None => expected(node, "expected the path of a file"),
    }
}

/// A table with a clause at least.
fn condition(node: &Node) -> Parsed<()> {
    match node.as_table() {
        Some(table) if !table.is_empty() => Ok(()),
        Some(_) => {
            let help = "leave the key out for everybody".to_owned();
            Err(Mistake { found: "found a condition without clauses".to_owned(), help })
        }
        None => expected(node, r#"expected a table of clauses, for example { user.tier = "premium" }"#),
    }
}

/// A value that an attribute can have.
fn constant(node: &Node) -> Parsed<()> {
    let right = match &node.value {
        Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Bool(_) => true,
        Value::List(items) => items.iter().all(|item| item.as_text().is_some()),
        Value::Other(_) | Value::Table(_) => false,
    };
    if right { Ok(()) } else { expected(node, "expected a string, a number, `true`, `false`, or a list of strings") }
}

/// Most levels of a value that is turned into JSON.
const MAX_JSON_DEPTH: usize = 32;

/// Any value as JSON; dates become texts, as RFC 3339 writes them.
pub(super) fn json(node: &Node) -> Parsed<Json> {
    json_below(node, 1)
}

fn json_below(node: &Node, depth: usize) -> Parsed<Json> {
    if depth > MAX_JSON_DEPTH {
        return expected(node, format!("expected at most {MAX_JSON_DEPTH} levels"));
    }
    match &node.value {
        Value::Text(text) => Ok(Json::from(text.as_str())),
        Value::Integer(number) => Ok(Json::from(*number)),
        Value::Float(number) if number.is_finite() => Ok(Json::from(*number)),
        Value::Other(text) if let Ok(date) = text.parse::<toml::value::Datetime>() => Ok(Json::from(date.to_string())),
        Value::Float(_) | Value::Other(_) => {
            expected(node, "expected what JSON can hold: finite numbers, integers of 64 bits")
        }
        Value::Bool(word) => Ok(Json::from(*word)),
        Value::List(items) => items.iter().map(|item| json_below(item, depth + 1)).collect(),
        Value::Table(table) => table
            .iter()
            .map(|(name, entry)| Ok((name.clone(), json_below(&entry.node, depth + 1)?)))
            .collect::<Parsed<_>>()
            .map(Json::Object),
    }
}

/// A secret: a string, or a reference to a file.
fn secret(node: &Node) -> Parsed<()> {
    if node.as_text().is_some() || file_reference(node).is_some_and(|path| !path.is_empty()) {
        return Ok(());
    }
    let help = r#"expected a string, "${VARIABLE}", or { file = "/run/secrets/name" }"#;
    Err(Mistake { found: "found something else than a secret".to_owned(), help: help.to_owned() })
}
