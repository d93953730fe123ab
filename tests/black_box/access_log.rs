//! The access log: what stands in a line, and which requests get one.

use crate::support::upstream::{ok, status};
use crate::support::{Setup, Upstream};

#[test]
fn a_line_tells_what_was_decided_and_what_happened() {
    let upstream = Upstream::saying("twelve bytes");
    let gateway = Setup::route(&upstream.url(), &upstream.url(), "rollout.percent = 25\nsalt = \"s\"").start();
    let answer = gateway.get("/a/b?secret=1", &[("x-user-id", "u")]);
    let line = gateway.line_of(&answer);
    let arm = answer.get("x-pointsman-arm").unwrap();
    for (key, expected) in [
        ("category", "decision"),
        ("route", "all"),
        ("method", "GET"),
        ("path", "/a/b"),
        ("assigned", arm),
        ("served", arm),
        ("assigned_by", "rollout"),
        ("reason", "rollout"),
        ("user", "u"),
    ] {
        assert_eq!(line[key], expected, "{key} in {line}");
    }
    assert_eq!((&line["status"], &line["percentage"]), (&200.into(), &25.0.into()), "{line}");
    assert_eq!((&line["response_bytes"], &line["generation"]), (&12.into(), &1.into()), "{line}");
    assert!(line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{line}");
    let attempt = &line["attempts"][0];
    assert_eq!((&attempt["arm"], &attempt["outcome"]), (&arm.into(), &"success".into()), "{line}");
    let micros = |value: &serde_json::Value| value.as_u64().unwrap();
    assert!(micros(&attempt["first_byte_us"]) <= micros(&attempt["duration_us"]), "{line}");
    assert!(micros(&attempt["duration_us"]) <= micros(&line["duration_us"]), "{line}");
    assert!(micros(&line["overhead_us"]) <= micros(&line["duration_us"]), "{line}");
    assert!(!line.to_string().contains("secret"), "a query may hold secrets: {line}");
}

#[test]
fn user_keys_are_hashed_and_the_same_user_has_the_same_hash() {
    let upstream = Upstream::saying("ok");
    let gateway = Setup::route(&upstream.url(), &upstream.url(), "").hashed_users().start();
    let user = |name: &str| gateway.line_of(&gateway.get("/", &[("x-user-id", name)]))["user"].clone();
    let (first, again, other) = (user("alice"), user("alice"), user("bob"));
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert_eq!(first.as_str().unwrap().len(), 32);
    assert!(!gateway.access_lines().iter().any(|line| line.to_string().contains("alice")));
}

#[test]
fn errors_and_fallbacks_always_get_a_line() {
    let control = Upstream::answering(|seen| match seen.head.start.contains("/broken") {
        true => status(500, "Oh", "no"),
        false => ok("control"),
    });
    let candidate = Upstream::answering(|_| status(503, "Oh", "no"));
    let gateway =
        Setup::route(&control.url(), &candidate.url(), "targets = { candidate = [\"u\"] }").access_sample(0.0).start();
    let mut client = gateway.client();
    for _ in 0..20 {
        client.get("/", &[]).expect(200, "control");
    }
    client.get("/", &[("x-user-id", "u"), ("x-request-id", "covered")]).expect(200, "control");
    client.get("/broken", &[("x-request-id", "error")]).expect(500, "no");
    assert_eq!(gateway.line_with_id("covered")["fallback"], "status");
    assert_eq!(gateway.line_with_id("error")["status"], 500);
    assert_eq!(gateway.access_lines().len(), 2, "ordinary requests get none");
}

#[test]
fn an_answer_that_broke_off_gets_a_line_whatever_the_share() {
    let upstream = Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
            conversation.close();
        }
    });
    let gateway = Setup::route(&upstream.url(), &upstream.url(), "").access_sample(0.0).start();
    gateway.get("/", &[("x-request-id", "cut")]);
    let line = gateway.line_with_id("cut");
    assert_eq!((&line["status"], &line["response_bytes"]), (&200.into(), &4.into()), "{line}");
}
