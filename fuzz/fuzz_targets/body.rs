//! Arbitrary bodies and pointers: no panic, and never a key that may not be used.
#![no_main]

use http::Request;
use libfuzzer_sys::fuzz_target;
use pointsman::config::model::Source;
use pointsman::domain::condition::Type;
use pointsman::domain::context::usable_key;
use pointsman::domain::pointer::Pointer;
use pointsman::proxy::document;
use pointsman::proxy::identity::{Found, Shown, find_fact, find_key};

/// As in the file.
const TYPES: [&str; 6] = ["string", "number", "boolean", "list", "timestamp", "semver"];

fuzz_target!(|data: (String, Vec<u8>)| {
    let (pointer, body) = data;
    let Ok(pointer) = Pointer::parse(&pointer) else { return };
    let Ok(document) = document::parse(&body) else { return };
    assert!(std::str::from_utf8(&body).is_ok());
    let Ok(parts) = Request::post("/").body(()).map(|request| request.into_parts().0) else { return };
    let shown = Shown { parts: &parts, trusted: false, claims: None, body: Some(&document) };
    let source = Source::Body(pointer);
    for kind in TYPES.into_iter().filter_map(Type::parse) {
        let _found = find_fact(&source, kind, shown);
    }
    if let Found::Key(key) = find_key(&[source], shown) {
        assert_eq!(usable_key(&key), Some(&*key));
    }
});
