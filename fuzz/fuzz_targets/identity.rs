//! Who asks, read from arbitrary headers, cookies and queries: no panic, and never a key that may not be used.
#![no_main]

use http::{HeaderName, HeaderValue, Request};
use libfuzzer_sys::fuzz_target;
use pointsman::config::model::Source;
use pointsman::domain::context::usable_key;
use pointsman::proxy::identity::{Found, Shown, find_key};

fuzz_target!(|data: (Vec<u8>, Vec<u8>, String, bool)| {
    let (header, cookie, query, trusted) = data;
    let Ok(mut parts) = Request::get(format!("/?{query}")).body(()).map(|request| request.into_parts().0) else { return };
    for (name, value) in [("x-user-id", header), ("cookie", cookie)] {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            parts.headers.append(HeaderName::from_static(name), value);
        }
    }
    let sources =
        [Source::Header(HeaderName::from_static("x-user-id")), Source::Cookie("uid".into()), Source::Query("user".into())];
    let shown = Shown { parts: &parts, trusted, claims: None, body: None };
    if let Found::Key(key) = find_key(&sources, shown) {
        assert_eq!(usable_key(&key), Some(&*key));
    }
});
