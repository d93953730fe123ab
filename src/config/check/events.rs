//! What is kept, exposure tokens, and events.

use http::Uri;

use crate::config::model::{Events, Exposure, State, StorePlace};
use crate::config::view::View;

use super::server::is_token;

/// Shortest key of exposure tokens, in bytes.
const MIN_EXPOSURE_KEY: usize = 16;
/// Most keys of exposure tokens: one that signs, and those that still verify.
const MAX_EXPOSURE_KEYS: usize = 8;

pub(super) fn state(view: &View<'_>) -> Option<State> {
    let store = view.text("store").and_then(|text| place(view, text));
    let (keep_events, max_size) = (view.duration("keep_events"), view.size("max_size"));
    Some(State { store: store?, keep_events: keep_events?, max_size: max_size? })
}

fn place(view: &View<'_>, text: &str) -> Option<StorePlace> {
    const KNOWN: &str = r#"available: "memory", "sqlite:FILE""#;
    match text.split_once(':') {
        None if text == "memory" => return Some(StorePlace::Memory),
        Some(("sqlite", "")) => view.error("store", "`sqlite:` without a file", r#"for example "sqlite:pointsman.db""#),
        Some(("sqlite", file)) => return Some(StorePlace::Sqlite(view.beside(file))),
        Some(("redis" | "rediss", _)) => view.error("store", format!("{text:?} is not yet available"), KNOWN),
        Some(_) | None => view.error("store", format!("found {text:?}"), KNOWN),
    }
    None
}

pub(super) fn exposure(view: &View<'_>) -> Option<Exposure> {
    let keys = view.secrets("keys", MIN_EXPOSURE_KEY);
    let help = format!("1 to {MAX_EXPOSURE_KEYS} secrets; a new one goes before the others, an old one from their end");
    let count = view.items("keys").len();
    if view.is_empty_list("keys") || count > MAX_EXPOSURE_KEYS {
        view.error("keys", format!("{count} keys"), help);
        return None;
    }
    let cookie = view.text("cookie");
    if cookie.is_some_and(|name| !is_token(name)) {
        view.error("cookie", "an empty name, or one with spaces or separators", "for example `pointsman_exposure`");
    }
    let header = view.header_name("header");
    if let Some(header) = &header {
        view.check_settable(&view.path("header"), view.place("header"), header);
    }
    let max_age = view.duration("max_age");
    Some(Exposure { keys: keys?, header: header?, cookie: cookie.map(str::to_owned), max_age: max_age? })
}

pub(super) fn events(view: &View<'_>) -> Option<Events> {
    let public = view.boolean("public");
    let mut origins = Vec::new();
    for node in view.items("origins") {
        let Some(text) = node.as_text() else { continue };
        match origin(text) {
            Some(origin) => origins.push(origin),
            None => {
                let help = "an origin is scheme, host and perhaps a port: `https://www.example.com`";
                view.error_at(&node.origin, "origins", format!("found {text:?}"), help);
            }
        }
    }
    let (events_per_second, burst) = (view.float("events_per_second"), view.integer("burst"));
    Some(Events { public: public?, origins, events_per_second: events_per_second?, burst: burst? })
}

/// An origin as browsers write it (RFC 6454, 6.2).
fn origin(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let bare = format!("{scheme}://{authority}");
    let is_origin = matches!(scheme, "http" | "https") && bare.eq_ignore_ascii_case(text) && !text.contains('@');
    is_origin.then(|| bare.to_ascii_lowercase())
}
