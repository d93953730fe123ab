//! The OpenFeature Remote Evaluation Protocol, word by word.

use serde_json::{Value, json};

use crate::support::{Answer, Client, Gateway, Setup, eventually};

const FLAG: &str = "/ofrep/v1/evaluate/flags/";
const FLAGS: &str = "/ofrep/v1/evaluate/flags";
const STREAM: &str = "/ofrep/v1/stream";

/// Two flags, and one route that passes requests on to a candidate that nobody can reach.
const FILE: &str = r#"
[contexts.user]
key = [{ header = "x-user-id" }]
tier = { header = "x-tier" }
[backends.old]
respond = { body = "old" }
[backends.new]
url = "http://127.0.0.1:1"
breaker = { consecutive_failures = 1, open_for = "60s" }
[routes.answers]
path = "/"
control = "old"
candidate = "new"
fallback = { replay = "connect" }
rollout = { percent = 100 }
values = { control = "perplexity", candidate = "lightrag" }
[routes.banner]
targets = { candidate = ["demo"] }
rules = [{ name = "premium", if = { user.tier = "premium" }, serve = "candidate" }]
[routes.off]
enabled = false
values = { control = { top_k = 1 }, candidate = { top_k = 10 } }
"#;

const TOKENS: &str = r#"
[admin.tokens.web]
role = "flags"
token = "web-token-0123456789"
[admin.tokens.board]
role = "viewer"
token = "board-token-0123456789"
"#;

fn admin(gateway: &Gateway) -> Client {
    Client::connect(gateway.admin())
}

fn post(gateway: &Gateway, target: &str, fields: &[(&str, &str)], body: &str) -> Answer {
    let fields: Vec<_> =
        fields.iter().copied().chain([("host", "localhost"), ("content-type", "application/json")]).collect();
    admin(gateway).request("POST", target, &fields, body.as_bytes())
}

fn context(context: Value) -> String {
    json!({ "context": context }).to_string()
}

fn user(key: &str) -> String {
    context(json!({ "targetingKey": key }))
}

#[track_caller]
fn document(answer: &Answer) -> Value {
    assert_eq!(answer.get("content-type"), Some("application/json"), "{answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

#[test]
fn one_flag_is_answered_with_value_variant_reason_and_metadata() {
    let gateway = Setup::new(FILE).start();
    let rows = [
        ("banner", json!({ "targetingKey": "demo" }), json!(true), "candidate", "TARGETING_MATCH", "target"),
        ("banner", json!({ "targetingKey": "u" }), json!(false), "control", "STATIC", "rollout"),
        (
            "banner",
            json!({ "targetingKey": "u", "user": { "tier": "premium" } }),
            json!(true),
            "candidate",
            "TARGETING_MATCH",
            "rule",
        ),
        ("answers", json!({ "targetingKey": "u" }), json!("lightrag"), "candidate", "STATIC", "rollout"),
        ("off", json!({ "targetingKey": "u" }), json!({ "top_k": 1 }), "control", "DISABLED", "disabled"),
    ];
    for (flag, who, value, variant, reason, ours) in rows {
        let answer = post(&gateway, &format!("{FLAG}{flag}"), &[], &context(who.clone()));
        assert_eq!((answer.status, answer.get("cache-control")), (200, Some("no-store")), "{answer:?}");
        let found = document(&answer);
        assert_eq!(
            (&found["key"], &found["value"], &found["variant"], &found["reason"], &found["metadata"]["reason"]),
            (&json!(flag), &value, &json!(variant), &json!(reason), &json!(ours)),
            "{who}"
        );
        let metadata = found["metadata"].as_object().unwrap();
        assert!(metadata.values().all(|value| value.is_boolean() || value.is_string() || value.is_number()), "{found}");
        assert_eq!(metadata["generation"], 1);
    }
    let answer = document(&post(&gateway, &format!("{FLAG}answers"), &[], &user("u")));
    let metadata = json!({
        "percent": 100.0, "assigned": "candidate", "reason": "rollout", "bucket": answer["metadata"]["bucket"],
        "holdout": false, "generation": 1,
    });
    assert_eq!(answer["metadata"], metadata);
    assert!(answer["metadata"]["bucket"].is_u64());
}

#[test]
fn mistakes_are_answered_as_the_protocol_says() {
    let gateway = Setup::new(format!("ofrep.max_body = \"1KiB\"\n{FILE}")).start();
    let large = context(json!({ "targetingKey": "u", "more": "x".repeat(1_024) }));
    let rows = [
        ("banner", "{", 400, "PARSE_ERROR"),
        ("banner", "", 400, "PARSE_ERROR"),
        ("banner", "{}", 400, "TARGETING_KEY_MISSING"),
        ("banner", r#"{"context":{}}"#, 400, "TARGETING_KEY_MISSING"),
        ("banner", r#"{"context":{"targetingKey":""}}"#, 400, "TARGETING_KEY_MISSING"),
        ("banner", r#"{"context":{"targetingKey":{}}}"#, 400, "INVALID_CONTEXT"),
        ("banner", r#"{"context":"u"}"#, 400, "INVALID_CONTEXT"),
        ("banner", &large, 413, "GENERAL"),
        ("nothing", r#"{"context":{"targetingKey":"u"}}"#, 404, "FLAG_NOT_FOUND"),
        ("no%20thing", "{}", 404, "FLAG_NOT_FOUND"),
        ("%ff", "{}", 400, "GENERAL"),
    ];
    for (flag, body, status, code) in rows {
        let answer = post(&gateway, &format!("{FLAG}{flag}"), &[], body);
        let found = document(&answer);
        assert_eq!((answer.status, &found["errorCode"]), (status, &json!(code)), "{flag} {body}: {found}");
        assert!(found["key"].is_string() && found["errorDetails"].is_string(), "{found}");
        if status != 404 && flag == "banner" {
            // The answer for all flags says the same, without a key.
            let all = post(&gateway, FLAGS, &[], body);
            let found = document(&all);
            assert_eq!((all.status, &found["errorCode"], found.get("key")), (status, &json!(code), None), "{body}");
        }
    }
    for method in ["GET", "PUT", "DELETE"] {
        let answer = admin(&gateway).request(method, FLAGS, &[("host", "localhost")], b"");
        assert_eq!(answer.status, 405, "{method}");
    }
}

#[test]
fn all_flags_come_in_order_with_a_tag_that_spares_the_second_time() {
    let gateway = Setup::new(FILE).start();
    let first = post(&gateway, FLAGS, &[], &user("u"));
    let found = document(&first);
    let keys: Vec<_> = found["flags"].as_array().unwrap().iter().map(|flag| flag["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["answers", "banner", "off"]);
    assert_eq!(found["metadata"], json!({ "generation": 1 }));
    let offer = json!([{ "type": "sse", "endpoint": { "requestUri": STREAM }, "inactivityDelaySec": 120 }]);
    assert_eq!(found["eventStreams"], offer);
    for flag in found["flags"].as_array().unwrap() {
        let alone = document(&post(&gateway, &format!("{FLAG}{}", flag["key"].as_str().unwrap()), &[], &user("u")));
        assert_eq!(*flag, alone);
    }
    let tag = first.get("etag").unwrap().to_owned();
    assert_eq!(first.get("cache-control"), Some("private, no-cache"));
    let again = post(&gateway, FLAGS, &[("if-none-match", &tag)], &user("u"));
    assert_eq!((again.status, again.get("etag"), again.body.len()), (304, Some(&*tag), 0));
    // The order of what is sent, and what nobody looks at, make no difference; who asks does.
    let same = r#"{"context":{"galaxy":7,"targetingKey":"u"}}"#;
    assert_eq!(post(&gateway, FLAGS, &[("if-none-match", &tag)], same).status, 304);
    let other = post(&gateway, FLAGS, &[("if-none-match", &tag)], &user("demo"));
    assert_eq!(other.status, 200);
    assert_ne!(other.get("etag"), Some(&*tag));
    gateway.rewrite(&Setup::new(FILE.replace("enabled = false", "enabled = true")));
    eventually("the change", || {
        (post(&gateway, FLAGS, &[("if-none-match", &tag)], &user("u")).status == 200).then_some(())
    });
}

/// The data of the next event; signs of life are passed over.
#[track_caller]
pub(crate) fn event(stream: &mut Client) -> (String, Value) {
    loop {
        let text = String::from_utf8(stream.wire.chunk().unwrap().expect("the stream broke off")).unwrap();
        let Some(rest) = text.strip_prefix("id: ") else { continue };
        let (id, rest) = rest.split_once("\nevent: message\ndata: ").unwrap();
        let data = serde_json::from_str(rest.strip_suffix("\n\n").unwrap()).unwrap();
        return (id.to_owned(), data);
    }
}

pub(crate) fn listen(gateway: &Gateway, target: &str, fields: &str) -> Client {
    let mut stream = admin(gateway);
    stream.send(format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n"));
    let (status, head) = stream.head();
    assert_eq!((status, head.get("content-type")), (200, Some("text/event-stream")), "{head:?}");
    stream
}

#[test]
fn clients_hear_of_everything_that_changes_an_answer() {
    let mut gateway = Setup::new(format!("shutdown = {{ drain_delay = \"3s\" }}\n{FILE}")).start();
    let mut stream = listen(&gateway, STREAM, "");
    let (first, data) = event(&mut stream);
    assert_eq!((&data["type"], &data["etag"]), (&json!("refetchEvaluation"), &json!(format!("\"{first}\""))));
    assert!(data["lastModified"].as_i64().unwrap() > 1_700_000_000);

    // The breaker opens: the flag says control, whatever the rollout says.
    assert_eq!(document(&post(&gateway, &format!("{FLAG}answers"), &[], &user("u")))["variant"], "candidate");
    gateway.ask().expect(200, "old");
    let (second, _) = event(&mut stream);
    let found = document(&post(&gateway, &format!("{FLAG}answers"), &[], &user("u")));
    let expected = json!(["perplexity", "control", "UNKNOWN", "breaker_open", "candidate"]);
    let told = json!([
        found["value"],
        found["variant"],
        found["reason"],
        found["metadata"]["reason"],
        found["metadata"]["assigned"]
    ]);
    assert_eq!(told, expected);

    gateway.rewrite(&Setup::new(format!("shutdown = {{ drain_delay = \"3s\" }}\n{FILE}[routes.more]\n")));
    let (third, _) = event(&mut stream);
    assert!(first != second && second != third && third != first);

    // Who was away hears at once whether something was missed.
    let (missed, _) = event(&mut listen(&gateway, STREAM, &format!("last-event-id: {second}\r\n")));
    assert_eq!(missed, third);
    let mut nothing = listen(&gateway, STREAM, &format!("last-event-id: {third}\r\n"));
    assert_eq!(nothing.wire.chunk().unwrap().unwrap(), b":\n\n");

    gateway.signal("TERM");
    assert_eq!(stream.wire.chunk().unwrap(), Some(Vec::new()), "the stream ends whole");
    assert!(gateway.await_exit().success());
}

#[test]
fn tokens_open_flags_and_the_stream_that_belongs_to_them() {
    let gateway = Setup::new(format!("{FILE}{TOKENS}")).start();
    let asked = |fields: &[(&str, &str)]| post(&gateway, FLAGS, fields, &user("u"));
    assert_eq!(asked(&[]).status, 401);
    assert_eq!(asked(&[("x-api-key", "wrong-token-0123456789")]).status, 401);
    for fields in [("authorization", "Bearer board-token-0123456789"), ("x-api-key", "board-token-0123456789")] {
        assert_eq!(asked(&[fields]).status, 200, "{fields:?}");
    }
    let answer = asked(&[("x-api-key", "web-token-0123456789")]);
    let found = document(&answer);
    // A browser cannot send a token with its EventSource, so the address opens the stream, and nothing else.
    let address = found["eventStreams"][0]["endpoint"]["requestUri"].as_str().unwrap();
    let ticket = address.strip_prefix("/ofrep/v1/stream?ticket=").unwrap();
    assert!(!answer.text().contains("web-token") && ticket.len() == 64);
    event(&mut listen(&gateway, address, ""));
    let status = |target: &str, fields: &[(&str, &str)]| {
        let fields: Vec<_> = fields.iter().copied().chain([("host", "localhost")]).collect();
        admin(&gateway).get(target, &fields).status
    };
    assert_eq!(status(STREAM, &[]), 401);
    assert_eq!(status(&format!("{address}0"), &[]), 401);
    assert_eq!(status("/api/v1/config", &[("authorization", "Bearer web-token-0123456789")]), 403);
    assert_eq!(status("/api/v1/config", &[("authorization", "Bearer board-token-0123456789")]), 200);
    assert_eq!(status(&format!("/api/v1/config?ticket={ticket}"), &[]), 401);
}

#[test]
fn pages_of_named_origins_may_ask_for_flags() {
    let cors = "ofrep.cors = [\"https://app.example.com\"]\n";
    let gateway = Setup::new(format!("{cors}{FILE}{TOKENS}")).start();
    let ours = ("origin", "https://app.example.com");
    let preflight = |origin: &str| {
        let wanted = [("host", "localhost"), ("origin", origin), ("access-control-request-method", "POST")];
        admin(&gateway).request("OPTIONS", FLAGS, &wanted, b"")
    };
    let allowed = preflight(ours.1);
    assert_eq!((allowed.status, allowed.get("access-control-allow-origin")), (204, Some(ours.1)));
    assert!(allowed.get("access-control-allow-headers").unwrap().contains("x-api-key"));
    let foreign = preflight("https://evil.example.com");
    assert_eq!((foreign.status, foreign.get("access-control-allow-origin")), (403, None));

    let told = |answer: &Answer| answer.get("access-control-allow-origin").map(str::to_owned);
    let answer = post(&gateway, FLAGS, &[ours, ("x-api-key", "web-token-0123456789")], &user("u"));
    assert_eq!((answer.status, told(&answer).as_deref(), answer.get("vary")), (200, Some(ours.1), Some("origin")));
    assert!(answer.get("access-control-expose-headers").unwrap().contains("etag"));
    // A page can tell that its token is wrong.
    let refused = post(&gateway, FLAGS, &[ours], &user("u"));
    assert_eq!((refused.status, told(&refused).as_deref()), (401, Some(ours.1)));
    let elsewhere = [ours, ("host", "localhost"), ("authorization", "Bearer board-token-0123456789")];
    let elsewhere = admin(&gateway).get("/api/v1/routes", &elsewhere);
    assert_eq!((elsewhere.status, told(&elsewhere)), (403, None));
}

#[test]
fn who_asks_too_often_is_told_when_to_come_back() {
    let gateway = Setup::new(format!("ofrep.requests_per_second = 3\n{FILE}{TOKENS}")).start();
    let ask = |token: &str| post(&gateway, &format!("{FLAG}banner"), &[("x-api-key", token)], &user("u"));
    let refused = eventually("the limit", || Some(ask("web-token-0123456789")).filter(|answer| answer.status != 200));
    assert_eq!((refused.status, refused.get("retry-after")), (429, Some("1")));
    assert!(document(&refused)["errorDetails"].is_string());
    assert_eq!(ask("board-token-0123456789").status, 200, "tokens do not take from each other");
}
