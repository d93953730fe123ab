//! The target of a request as an upstream sees it.

use http::Uri;
use http::uri::PathAndQuery;

/// The target that the upstream sees: origin-form, with the matched prefix replaced and the base path before.
pub(crate) fn upstream_uri(uri: &Uri, matched: &str, rewrite: Option<&str>, base_path: &str) -> Option<PathAndQuery> {
    if rewrite.is_none() && base_path.is_empty() {
        return match uri.path_and_query() {
            // What a URL without a path stands for is said on the wire (RFC 9112, 3.2.1).
            Some(target) if target.as_str().starts_with('?') => {
                PathAndQuery::try_from(format!("/{}", target.as_str())).ok()
            }
            Some(target) => Some(target.clone()),
            None => Some(PathAndQuery::from_static("/")),
        };
    }
    let path = uri.path();
    let rest = match rewrite {
        // The root prefix ends in the slash that the rest begins with.
        Some(_) => path.strip_prefix(matched.trim_end_matches('/')).unwrap_or(path),
        None => path,
    };
    let prefix = rewrite.unwrap_or_default().trim_end_matches('/');
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let slash = if rest.starts_with('/') || (rest.is_empty() && !(prefix.is_empty() && base_path.is_empty())) {
        ""
    } else {
        "/"
    };
    PathAndQuery::try_from(format!("{base_path}{prefix}{slash}{rest}{query}")).ok()
}

/// The target with another path, the base path before it and the query behind it as it was.
pub(crate) fn replaced_uri(uri: &Uri, path: &str, base_path: &str) -> Option<PathAndQuery> {
    let path = if path == "/" && !base_path.is_empty() { "" } else { path };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    PathAndQuery::try_from(format!("{base_path}{path}{query}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_targets() {
        let rows = [
            ("/a/b?c=d", "/a", None, "", "/a/b?c=d"),
            ("http://host/a?b", "/", None, "", "/a?b"),
            ("http://host", "/", None, "", "/"),
            ("http://host?b", "/", None, "", "/?b"),
            ("http://host?b", "/", None, "/base", "/base/?b"),
            ("*", "/", None, "", "*"),
            ("/a/b?c", "/a", Some("/v2"), "", "/v2/b?c"),
            ("/a", "/a", Some("/v2"), "", "/v2"),
            ("/a", "/a", Some("/"), "", "/"),
            ("/a/b", "/a", Some("/"), "", "/b"),
            ("/a/b", "/", Some("/v2/"), "", "/v2/a/b"),
            ("/a/b", "/a", None, "/base", "/base/a/b"),
            ("/a/b", "/a", Some("/v2"), "/base", "/base/v2/b"),
            ("/a", "/a", Some("/"), "/base", "/base"),
        ];
        for (uri, matched, rewrite, base, expected) in rows {
            let uri: Uri = uri.parse().unwrap();
            let found = upstream_uri(&uri, matched, rewrite, base).unwrap();
            assert_eq!(found.as_str(), expected, "{uri} {matched} {rewrite:?} {base}");
        }
    }

    #[test]
    fn replaced_targets() {
        let rows = [
            ("/a/b?c=d", "/query", "", "/query?c=d"),
            ("http://host/a", "/query", "/base", "/base/query"),
            ("/a", "/", "/base", "/base"),
            ("/a?b", "/", "", "/?b"),
        ];
        for (uri, path, base, expected) in rows {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(replaced_uri(&uri, path, base).unwrap().as_str(), expected, "{uri} {path} {base}");
        }
    }
}
