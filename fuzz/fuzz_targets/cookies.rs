//! Who asks, read from arbitrary `cookie` headers: no panic, never a key that may not be used, and the same
//! whether a peer is trusted or not.
#![no_main]

use http::{HeaderValue, Request, header};
use libfuzzer_sys::fuzz_target;
use pointsman::config::model::Source;
use pointsman::domain::context::usable_key;
use pointsman::proxy::identity::{Found, Shown, cookie, find_key};

fuzz_target!(|cookies: Vec<Vec<u8>>| {
    let mut parts = Request::get("/").body(()).unwrap().into_parts().0;
    for value in cookies.iter().filter_map(|value| HeaderValue::from_bytes(value).ok()) {
        parts.headers.append(header::COOKIE, value);
    }
    let sources = [Source::Cookie("uid".into())];
    let found = |trusted| find_key(&sources, Shown { parts: &parts, trusted, claims: None, body: None });
    assert_eq!(found(true), found(false));
    if let Found::Key(key) = found(false) {
        assert_eq!(usable_key(&key), Some(&*key));
        assert_eq!(cookie(&parts.headers, "uid").as_deref(), Some(&*key));
    }
});
