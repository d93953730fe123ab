//! Which requests a route takes, and whether two routes take the same.

use http::Method;

use crate::config::model::{EVENTS_PATH, Events, Match};
use crate::config::parse;
use crate::config::view::View;

/// The match of a route; `None` for a flag.
pub(super) fn of(view: &View<'_>) -> Option<Match> {
    let host = view.host("host");
    let methods: Vec<Method> = view.items("methods").into_iter().filter_map(|node| parse::method(node).ok()).collect();
    let path = view.request_path("path");
    if !view.is_typed("path") {
        for key in ["host", "methods"].into_iter().filter(|key| view.is_typed(key)) {
            view.error(key, format!("`{key}` without `path`"), r#"add path = "/" to take every path"#);
        }
        let rewrite = view.table("rewrite");
        if ["prefix", "control", "candidate"].into_iter().any(|key| rewrite.is_typed(key)) {
            view.error("rewrite", "`rewrite` without `path`", "a flag without a path proxies nothing");
        }
    }
    Some(Match { host, path: path?, methods })
}

/// Warns where requests that are not idempotent match and the file does not say what to do with them.
pub(super) fn ask_for_replay(view: &View<'_>, matches: Option<&Match>) {
    let Some(matches) = matches else { return };
    let posts = matches.methods.is_empty() || matches.methods.iter().any(|method| !method.is_idempotent());
    if posts && !view.table("fallback").is_typed("replay") {
        let help = "set fallback.replay: \"connect\" never sends one twice, \"always\" hides more failures";
        view.warning("fallback", "requests like POST match, and `replay` is not set", help);
    }
}

/// Reports routes that take the same requests.
pub(super) fn conflicts(routes: &[(&str, View<'_>)]) {
    let matches: Vec<(&str, &View<'_>, Match)> =
        routes.iter().filter_map(|(name, view)| Some((*name, view, quiet(view)?))).collect();
    for (index, (name, view, one)) in matches.iter().enumerate() {
        for (other_name, other_view, other) in &matches[..index] {
            if one.host != other.host || one.path != other.path || !overlap(&one.methods, &other.methods) {
                continue;
            }
            // A file of routes.d must not be able to take the main file's routes down.
            let blame_other = is_fragment(other_view) && !is_fragment(view);
            let (blamed, first) = if blame_other { (other_view, name) } else { (view, other_name) };
            let help = "routes differ in host, path or methods";
            blamed.error("path", format!("the same requests as route `{first}`"), help);
        }
    }
}

/// Warns where a route was meant to take what the gateway answers itself. A route for everything was not.
pub(super) fn shadows(routes: &[(&str, View<'_>)], events: Option<&Events>) {
    if !events.is_some_and(|events| events.public) {
        return;
    }
    for (_, view) in routes {
        let path = quiet(view).map_or_else(|| "/".to_owned(), |rule| rule.path);
        let rest = EVENTS_PATH.strip_prefix(path.as_str()).filter(|_| path != "/");
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            let found = format!("`{EVENTS_PATH}` does not reach this route: `events.public` answers it");
            view.warning("path", found, "choose another path, or take events on the administrative address alone");
        }
    }
}

fn is_fragment(view: &View<'_>) -> bool {
    view.place("path").kind() == Some(crate::config::node::SourceKind::Fragment)
}

/// The match alone, without reporting what `of` has reported.
fn quiet(view: &View<'_>) -> Option<Match> {
    let methods = view.items("methods").into_iter().filter_map(|node| parse::method(node).ok()).collect();
    Some(Match { host: view.host("host"), path: view.request_path("path")?, methods })
}

fn overlap(one: &[Method], other: &[Method]) -> bool {
    one.is_empty() || other.is_empty() || one.iter().any(|method| other.contains(method))
}
