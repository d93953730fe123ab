//! Which route takes a request: host, then the longest path prefix, then the method.

use std::collections::HashMap;

use http::Method;

use crate::config::model::{Arms, Config, Match, Purpose};

/// Index into `Config::routes`.
pub type RouteIndex = usize;

/// The route that takes a request, and where it may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matched {
    /// The route.
    pub route: RouteIndex,
    /// Its backends.
    pub arms: Arms,
}

/// The matches of all routes, arranged for look-up.
#[derive(Debug, Default)]
pub struct RouteTable {
    by_host: HashMap<String, Prefixes>,
    any_host: Prefixes,
}

/// Entries by path prefix, whole segments.
#[derive(Debug, Default)]
struct Prefixes {
    by_prefix: HashMap<String, Vec<Entry>>,
    /// Entries of the prefix `/`, which need no look-up.
    root: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    methods: Vec<Method>,
    matched: Matched,
}

impl RouteTable {
    /// Arranges the routes of a configuration. Flags take none and are left out.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut table = Self::default();
        for (route, definition) in config.routes.iter().enumerate() {
            match definition.purpose {
                Purpose::Traffic { ref matches, arms } => table.insert(matches, Matched { route, arms }),
                Purpose::Flag { .. } => {}
            }
        }
        table
    }

    /// The route for a request: an exact host before any host, the longest prefix first, and within
    /// it one that names the method before one that takes any. `host` is without port.
    #[must_use]
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Option<Matched> {
        let for_host = if self.by_host.is_empty() { None } else { self.prefixes_for(host) };
        for_host.and_then(|prefixes| prefixes.find(path, method)).or_else(|| self.any_host.find(path, method))
    }

    fn prefixes_for(&self, host: &str) -> Option<&Prefixes> {
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.by_host.get(&host.to_ascii_lowercase())
        } else {
            self.by_host.get(host)
        }
    }

    fn insert(&mut self, rule: &Match, matched: Matched) {
        let prefixes = match &rule.host {
            Some(host) => self.by_host.entry(host.clone()).or_default(),
            None => &mut self.any_host,
        };
        let entries = match rule.path.as_str() {
            "/" => &mut prefixes.root,
            path => prefixes.by_prefix.entry(path.to_owned()).or_default(),
        };
        entries.push(Entry { methods: rule.methods.clone(), matched });
        // Those that name methods first: `false` sorts before `true`.
        entries.sort_by_key(|entry| entry.methods.is_empty());
    }
}

impl Prefixes {
    fn find(&self, path: &str, method: &Method) -> Option<Matched> {
        let mut prefix = path;
        while !self.by_prefix.is_empty() && !prefix.is_empty() {
            if let Some(matched) = self.by_prefix.get(prefix).and_then(|entries| pick(entries, method)) {
                return Some(matched);
            }
            // Cut the last segment off; what is left of "/a" is "".
            prefix = &prefix[..prefix.rfind('/').unwrap_or(0)];
        }
        pick(&self.root, method)
    }
}

fn pick(entries: &[Entry], method: &Method) -> Option<Matched> {
    let takes = |entry: &&Entry| entry.methods.is_empty() || entry.methods.contains(method);
    entries.iter().find(takes).map(|entry| entry.matched)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rules: &[(Option<&str>, &str, &[Method])]) -> RouteTable {
        let mut table = RouteTable::default();
        for (route, (host, path, methods)) in rules.iter().enumerate() {
            let rule = Match { host: host.map(Into::into), path: (*path).into(), methods: methods.to_vec() };
            table.insert(&rule, Matched { route, arms: Arms { control: 0, candidate: 1 } });
        }
        table
    }

    #[test]
    fn rows() {
        let table = table(&[
            (None, "/", &[]),
            (None, "/query", &[]),
            (None, "/query", &[Method::POST]),
            (None, "/query/deep/er", &[Method::GET]),
            (Some("api.example.com"), "/query", &[Method::GET]),
        ]);
        let rows = [
            ("x", "/", Method::GET, Some(0)),
            ("x", "/other", Method::GET, Some(0)),
            ("x", "/query", Method::GET, Some(1)),
            ("x", "/query/", Method::GET, Some(1)),
            ("x", "/query/more", Method::GET, Some(1)),
            ("x", "/queryfoo", Method::GET, Some(0)),
            ("x", "/query", Method::POST, Some(2)),
            ("x", "/query/deep/er", Method::GET, Some(3)),
            ("x", "/query/deep/er", Method::POST, Some(2)),
            ("x", "/query/deep/erer", Method::GET, Some(1)),
            ("API.example.com", "/query/a", Method::GET, Some(4)),
            ("api.example.com", "/query/a", Method::POST, Some(2)),
            ("api.example.com", "/", Method::GET, Some(0)),
        ];
        for (host, path, method, expected) in rows {
            assert_eq!(
                table.find(host, path, &method).map(|matched| matched.route),
                expected,
                "{host} {path} {method}"
            );
        }
    }

    #[test]
    fn without_a_catch_all_something_is_unrouted() {
        let table = table(&[(None, "/query", &[])]);
        assert_eq!(table.find("x", "/", &Method::GET), None);
        assert_eq!(table.find("x", "*", &Method::OPTIONS), None);
    }
}
