//! The access log: what stands in a line, and which requests get one.

use std::time::Duration;

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
fn the_pace_of_a_streamed_answer_is_none_of_the_gateways_time() {
    const PAUSE: Duration = Duration::from_millis(200);
    const EVENTS: u32 = 4;
    let upstream = Upstream::scripted(|conversation| {
        if conversation.request().is_none() {
            return;
        }
        conversation.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
        for _ in 0..EVENTS {
            std::thread::sleep(PAUSE);
            conversation.write_chunk(b"data: x\n\n");
        }
        conversation.write("0\r\n\r\n");
    });
    let gateway = Setup::route(&upstream.url(), &upstream.url(), "").start();
    let line = gateway.line_of(&gateway.get("/", &[]));
    let pauses = (PAUSE * EVENTS).as_micros() as u64;
    assert!(line["duration_us"].as_u64().unwrap() >= pauses, "{line}");
    assert!(line["overhead_us"].as_u64().unwrap() < pauses, "{line}");
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
fn refusals_of_the_gateways_own_always_get_a_line() {
    let upstream = Upstream::answering(|seen| match seen.head.start.contains("/none") {
        true => status(404, "None", "here"),
        false => ok("ok"),
    });
    let gateway = Setup::route(&upstream.url(), &upstream.url(), "")
        .with("[routes.rewritten]\npath = \"/rewritten\"\ncontrol = \"control\"\ncandidate = \"candidate\"")
        .with("rewrite.control.request.json_merge = { a = 1 }")
        .replacing("[backends.candidate]", "timeouts = { idle = \"100ms\" }\n[backends.candidate]")
        .top("limits.max_body = \"10KiB\"\nlimits.rewrite_body = \"1KiB\"")
        .access_sample(0.0)
        .start();
    gateway.get("/none", &[]).expect(404, "here");
    gateway.get("/", &[]).expect(200, "ok");
    let chunks = format!("2801\r\n{}\r\n", "x".repeat(0x2801));
    let rows = [
        ("/", "transfer-encoding: chunked", chunks.as_str(), 413),
        ("/rewritten", "content-length: 2000", &chunks[..2_000], 413),
        ("/rewritten", "content-length: 3", "{}}", 422),
        ("/", "content-length: 10", "half", 408),
    ];
    for (path, framing, body, expected) in rows {
        let mut client = gateway.client();
        client.send(format!("POST {path} HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n{body}"));
        let answer = client.answer();
        assert_eq!(answer.status, expected, "{answer:?}");
        assert_eq!(gateway.line_of(&answer)["status"], expected);
    }
    assert_eq!(gateway.access_lines().len(), rows.len(), "what a backend answers is sampled");
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
