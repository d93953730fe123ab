use serde_json::{Value, json};

use super::*;
use crate::config::load_text;
use proptest::prelude::*;

const FILE: &str = r#"
[contexts.user]
key = [{ header = "x-user-id" }]
tier = { header = "x-tier" }
age = { query = "age", type = "number" }
plan = { const = "gold" }
[contexts.session]
key = [{ cookie = "sid" }]
verb = { method = true }
[routes.by-session]
split_by = "session"
targets = { candidate = ["s1"] }
[routes.by-user]
rules = [
  { name = "premium", if = { user.tier = "premium" }, serve = "candidate" },
  { name = "adults", if = { user.age = { gte = 18 } }, serve = "candidate" },
  { name = "silver", if = { user.plan = "silver" }, serve = "candidate" },
  { name = "me", if = { user.key = "me", session.key = "s1" }, serve = "candidate" },
  { name = "get", if = { session.verb = "GET" }, serve = "candidate" },
]
"#;

/// Variants of `by-session` and `by-user`.
fn variants(live: &Live, context: Value) -> [Value; 2] {
    let asked = Asked::parse(json!({ "context": context }).to_string().as_bytes()).unwrap();
    let snapshot = live.snapshot();
    let key = asked.targeting_key().unwrap();
    [0, 1].map(|route| {
        serde_json::to_value(answer::evaluate(&snapshot, route, &asked, key, 1)).unwrap()["variant"].clone()
    })
}

#[tokio::test]
async fn contexts_are_read_as_requests_are() {
    let loaded = load_text(FILE, "gateway.toml", &std::collections::BTreeMap::new()).unwrap();
    let live = Live::new(loaded, 1, tokio::runtime::Handle::current()).unwrap();
    let rows = [
        (json!({ "targetingKey": "u" }), "control", "control"),
        (json!({ "targetingKey": "u", "user": { "tier": "premium" } }), "control", "candidate"),
        // Without its kind it is nobody's attribute.
        (json!({ "targetingKey": "u", "tier": "premium" }), "control", "control"),
        (json!({ "targetingKey": "u", "user": "premium" }), "control", "control"),
        (json!({ "targetingKey": "u", "user": { "age": 18 } }), "control", "candidate"),
        (json!({ "targetingKey": "u", "user": { "age": "18" } }), "control", "candidate"),
        (json!({ "targetingKey": "u", "user": { "age": "old" } }), "control", "control"),
        (json!({ "targetingKey": "u", "user": { "age": [18] } }), "control", "control"),
        // What the file says always cannot be said otherwise.
        (json!({ "targetingKey": "u", "user": { "plan": "silver" } }), "control", "control"),
        (json!({ "targetingKey": "s1" }), "candidate", "control"),
        (json!({ "targetingKey": "u", "session": { "key": "s1" } }), "candidate", "control"),
        (json!({ "targetingKey": "me", "session": { "key": "s1" } }), "candidate", "candidate"),
        // The kind's own key goes before that of who asks.
        (json!({ "targetingKey": "s1", "session": { "key": "s2" } }), "control", "control"),
        (json!({ "targetingKey": "s1", "session": { "key": "" } }), "candidate", "control"),
        (
            json!({ "targetingKey": "u", "session": { "verb": "GET" }, "galaxy": { "far": [1] } }),
            "control",
            "candidate",
        ),
    ];
    for (context, session, user) in rows {
        assert_eq!(variants(&live, context.clone()), [session, user], "{context}");
    }
}

#[test]
fn mistakes_have_the_protocols_codes() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let many = |count: usize| format!("[{}1]", "1,".repeat(count - 2));
    let context = |value: &str| format!(r#"{{"context": {{"targetingKey": "u", "a": {value}}}}}"#);
    let rows = [
        ("".to_owned(), "PARSE_ERROR"),
        ("{".to_owned(), "PARSE_ERROR"),
        ("[]".to_owned(), "PARSE_ERROR"),
        ("\u{0}".to_owned(), "PARSE_ERROR"),
        (format!(r#"{{"context": {}}}"#, deep(500)), "PARSE_ERROR"),
        ("{}".to_owned(), "TARGETING_KEY_MISSING"),
        (r#"{"context": null}"#.to_owned(), "TARGETING_KEY_MISSING"),
        (r#"{"context": {}}"#.to_owned(), "TARGETING_KEY_MISSING"),
        (r#"{"context": {"targetingKey": ""}}"#.to_owned(), "TARGETING_KEY_MISSING"),
        (format!(r#"{{"context": {{"targetingKey": "{}"}}}}"#, "x".repeat(10_000)), "TARGETING_KEY_MISSING"),
        (r#"{"context": {"targetingKey": 7}}"#.to_owned(), "INVALID_CONTEXT"),
        (r#"{"context": []}"#.to_owned(), "INVALID_CONTEXT"),
        (context(&deep(16)), "INVALID_CONTEXT"),
        (context(&many(4_096)), "INVALID_CONTEXT"),
        (context(&deep(15)), "u"),
        (context(&many(4_095)), "u"),
        (r#"{"context": {"targetingKey": "u"}, "more": [1]}"#.to_owned(), "u"),
    ];
    for (body, expected) in rows {
        let key = Asked::parse(body.as_bytes()).and_then(|asked| asked.targeting_key().map(str::to_owned));
        let found = key.unwrap_or_else(|failure| failure.code().unwrap_or_default().to_owned());
        assert_eq!(found, expected, "{:.80}", body);
    }
}

#[test]
fn entity_tags_are_compared_weakly() {
    let values =
        |values: &[&'static str]| values.iter().map(|value| HeaderValue::from_static(value)).collect::<Vec<_>>();
    for known in [&["\"a\""] as &[_], &["W/\"a\""], &["\"b\", \"a\""], &["\"b\"", "\"a\""], &["*"]] {
        assert!(is_known(&values(known), "\"a\""), "{known:?}");
    }
    for unknown in [&[] as &[_], &["\"b\""], &["a"], &["\"A\""]] {
        assert!(!is_known(&values(unknown), "\"a\""), "{unknown:?}");
    }
}

proptest! {
    #[test]
    fn whatever_is_sent_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,60}") {
        let _read = Asked::parse(&body);
        let _read = Asked::parse(format!(r#"{{"context":{{"targetingKey":"u","user":{text}}}}}"#).as_bytes());
    }
}
