//! From arguments and what the gateway says of the route to the request that both arms get.
//!
//! A pure function: what cannot work is said before anything is sent.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use serde::Deserialize;
use serde_json::Value;

use super::answer::Pricing;
use crate::domain::Arm;

/// What is asked for.
#[derive(Debug, Default)]
pub(super) struct Wish<'a> {
    /// The data listener, `http://host:port`.
    pub(super) url: &'a str,
    pub(super) method: Option<&'a Method>,
    pub(super) path: Option<&'a str>,
    pub(super) headers: &'a [(HeaderName, HeaderValue)],
    pub(super) data: Option<&'a [u8]>,
    pub(super) user: Option<&'a str>,
    /// Whether methods that are not safe may be sent.
    pub(super) yes: bool,
}

/// What is read of `/api/v1/routes/{route}`.
#[derive(Debug, Deserialize)]
pub(super) struct RoutePage {
    name: String,
    #[serde(rename = "match")]
    matches: Option<MatchPage>,
    control: Option<ArmPage>,
    candidate: Option<ArmPage>,
    policy: PolicyPage,
}

#[derive(Debug, Deserialize)]
struct ArmPage {
    prices: Option<Pricing>,
}

#[derive(Debug, Deserialize)]
struct MatchPage {
    host: Option<String>,
    path: String,
    methods: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct PolicyPage {
    enabled: bool,
    override_header: Option<String>,
    key: Vec<KeySource>,
}

/// Where a key is read from; other sources cannot be filled from a command line.
#[derive(Debug, Deserialize)]
struct KeySource {
    header: Option<String>,
    cookie: Option<String>,
    query: Option<String>,
}

/// The request, but for the arm.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) override_header: HeaderName,
    /// By `Arm::index`.
    pub(super) prices: [Option<Pricing>; 2],
}

impl Plan {
    /// Makes the request, or tells what keeps it from being tried.
    ///
    /// # Errors
    /// In words, for who typed it.
    pub(super) fn new(wish: &Wish<'_>, page: &RoutePage) -> Result<Self, String> {
        let name = &page.name;
        let Some(rule) = &page.matches else { return Err(format!("{name} is a flag only: it proxies nothing")) };
        let Some(override_header) = &page.policy.override_header else {
            let help = format!("add [routes.{name}.override] with a `key` to the file");
            return Err(format!("the route {name} has no `override`, by which a tester chooses the arm; {help}"));
        };
        if !page.policy.enabled {
            return Err(format!("the route {name} is disabled, and an override does not go past that"));
        }
        let method = wish.method.cloned().unwrap_or(if wish.data.is_some() { Method::POST } else { Method::GET });
        let known = rule.methods.is_empty() || rule.methods.iter().any(|known| *known == method.as_str());
        if !known {
            return Err(format!("the route {name} takes {} only, not {method}; see --method", rule.methods.join(", ")));
        }
        if !method.is_safe() && !wish.yes {
            return Err(format!("{method} may change something, and would reach both backends; --yes sends it"));
        }
        let mut target = wish.path.unwrap_or(&rule.path).to_owned();
        if !takes(&rule.path, &target) {
            return Err(format!("{target} is no path of the route {name}, which takes {}", rule.path));
        }
        let mut headers = headers(wish, rule)?;
        if let Some(user) = wish.user {
            set_user(user, &page.policy.key, &mut headers, &mut target)?;
        }
        Ok(Self {
            method,
            uri: uri(wish.url, &target)?,
            headers,
            override_header: override_header.parse().map_err(|_| format!("{override_header:?} is no header"))?,
            prices: [&page.control, &page.candidate].map(|arm| arm.as_ref()?.prices.clone()),
        })
    }

    /// The value of the override header.
    ///
    /// # Errors
    /// If the key cannot stand in a header.
    pub(super) fn override_value(arm: Arm, key: &str) -> Result<HeaderValue, String> {
        let mut value = HeaderValue::from_str(&format!("{arm} {key}"))
            .map_err(|_| "the override's key cannot stand in a header".to_owned())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Whether a prefix by whole segments takes a target, whose query does not count.
fn takes(prefix: &str, target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    let rest = path.strip_prefix(prefix.trim_end_matches('/'));
    path.starts_with('/') && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn headers(wish: &Wish<'_>, rule: &MatchPage) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in wish.headers {
        headers.append(name, value.clone());
    }
    if let (Some(host), false) = (&rule.host, headers.contains_key(header::HOST)) {
        let value = HeaderValue::from_str(host).map_err(|_| format!("{host:?} is no host"))?;
        headers.insert(header::HOST, value);
    }
    if let (Some(data), false) = (wish.data, headers.contains_key(header::CONTENT_TYPE)) {
        let is_json = serde_json::from_slice::<Value>(data).is_ok();
        let kind = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    Ok(headers)
}

/// Puts the key where the gateway reads it first.
fn set_user(user: &str, sources: &[KeySource], headers: &mut HeaderMap, target: &mut String) -> Result<(), String> {
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| format!("{user:?} cannot stand in a header"));
    for KeySource { header, cookie, query } in sources {
        if let Some(name) = header {
            let name: HeaderName = name.parse().map_err(|_| format!("{name:?} is no header"))?;
            headers.insert(name, value(user)?);
            return Ok(());
        }
        if let Some(name) = cookie {
            let value = value(&cookie::Cookie::new(name.as_str(), user).encoded().to_string())?;
            headers.append(header::COOKIE, value);
            return Ok(());
        }
        if let Some(name) = query {
            let pair = form_urlencoded::Serializer::new(String::new()).append_pair(name, user).finish();
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str(&pair);
            return Ok(());
        }
    }
    Err("the key that splits comes from no header, cookie or query: send what holds it with --header or --data".into())
}

fn uri(url: &str, target: &str) -> Result<Uri, String> {
    let whole = format!("{}{target}", url.trim_end_matches('/'));
    let uri: Uri = whole.parse().map_err(|error| format!("{whole:?} is no URL: {error}"))?;
    let plain = uri.scheme_str() == Some("http") && uri.host().is_some();
    if plain { Ok(uri) } else { Err(format!("{url:?} does not begin with http://host")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(changes: &[(&str, Value)]) -> RoutePage {
        let mut page = json!({
            "name": "answers",
            "match": { "host": null, "path": "/query", "methods": ["GET", "POST"] },
            "policy": { "enabled": true, "override_header": "x-pointsman-override", "key": [{ "header": "x-user-id" }] },
        });
        for (pointer, value) in changes {
            *page.pointer_mut(pointer).unwrap() = value.clone();
        }
        serde_json::from_value(page).unwrap()
    }

    fn wish<'a>() -> Wish<'a> {
        Wish { url: "http://127.0.0.1:8080/", user: Some("a b&c=ü"), ..Wish::default() }
    }

    #[test]
    fn what_cannot_work_is_said_before_anything_is_sent() {
        let post = &Method::POST;
        let put = &Method::PUT;
        type Row<'a> = (Wish<'a>, &'a [(&'a str, Value)], &'a str);
        let rows: [Row<'_>; 10] = [
            (wish(), &[("/policy/override_header", Value::Null)], "has no `override`"),
            (wish(), &[("/match", Value::Null)], "flag only"),
            (wish(), &[("/policy/enabled", json!(false))], "is disabled"),
            (Wish { method: Some(post), ..wish() }, &[], "--yes sends it"),
            (Wish { data: Some(b"{}"), ..wish() }, &[], "POST may change something"),
            (Wish { method: Some(put), yes: true, ..wish() }, &[], "takes GET, POST only"),
            (Wish { path: Some("/queries"), ..wish() }, &[], "is no path of the route"),
            (Wish { path: Some("/query x"), ..wish() }, &[], "is no path of the route"),
            (Wish { url: "https://127.0.0.1", ..wish() }, &[], "does not begin with http://"),
            (wish(), &[("/policy/key", json!([{ "claim": "/sub" }]))], "comes from no header"),
        ];
        for (wish, changes, expected) in rows {
            let error = Plan::new(&wish, &page(changes)).err().unwrap_or_default();
            assert!(error.contains(expected), "{wish:?}: {error}");
        }
        assert!(Plan::override_value(Arm::Control, "a\nb").is_err());
    }

    #[test]
    fn the_key_goes_where_the_gateway_reads_it() {
        let rows = [
            (json!([{ "header": "x-user-id" }]), "x-user-id", "/query"),
            (json!([{ "claim": "/sub" }, { "cookie": "uid" }]), "cookie", "/query"),
            (json!([{ "query": "u" }]), "", "/query?u=a+b%26c%3D%C3%BC"),
        ];
        for (key, header, target) in rows {
            let plan = Plan::new(&wish(), &page(&[("/policy/key", key)])).unwrap();
            assert_eq!(plan.uri.path_and_query().unwrap(), target);
            assert_eq!(plan.headers.len(), usize::from(!header.is_empty()));
            assert!(header.is_empty() || plan.headers.contains_key(header), "{:?}", plan.headers);
        }
    }

    #[test]
    fn method_host_and_type_are_what_the_request_needs() {
        let host = page(&[("/match/host", json!("api.example.com"))]);
        let plan = Plan::new(&Wish { data: Some(b"{\"a\": 1}"), yes: true, ..wish() }, &host).unwrap();
        assert_eq!((plan.method.as_str(), &plan.headers["host"]), ("POST", &"api.example.com".parse().unwrap()));
        assert_eq!(plan.headers["content-type"], "application/json");
        let own = [(header::CONTENT_TYPE, HeaderValue::from_static("text/csv")), (header::HOST, "a".parse().unwrap())];
        let wish = Wish { data: Some(b"a,b"), yes: true, headers: &own, path: Some("/query/x?y=1"), ..wish() };
        let plan = Plan::new(&wish, &host).unwrap();
        assert_eq!((&plan.headers["content-type"], &plan.headers["host"]), (&own[0].1, &own[1].1));
        assert_eq!(plan.uri, "http://127.0.0.1:8080/query/x?y=1");
    }
}
