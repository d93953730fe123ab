//! Keys and attributes that come from the body: what is read before the decision goes on as it came.

use std::io::Write as _;

use crate::support::message::Ending;
use crate::support::upstream::{Refusing, status};
use crate::support::{Client, Gateway, Setup, Upstream, eventually, pattern};

/// Control takes everything but queries of 100 to 1000 characters.
const LENGTHS: &str = "eligible = { body.query = { min_length = 100, max_length = 1000 } }\nrollout.percent = 100";

/// Everybody whose query is `new` gets the candidate.
const RULE: &str = "rules = [{ name = \"new\", if = { body.query = \"new\" }, serve = \"candidate\" }]";

const CONTEXTS: &str =
    "[contexts.user]\nkey = [{ header = \"x-user-id\" }]\n[contexts.body]\nquery = { json = \"/query\" }\n";

const MISSED: &str = "pointsman_body_attributes_missed_total";

/// A gateway before a candidate and a control that give bodies back.
fn before(keys: &str, limits: &str) -> (Upstream, Upstream, Gateway) {
    let (control, candidate) = (Upstream::echo(), Upstream::echo());
    let gateway = Setup::route(&control.url(), &candidate.url(), keys).with(CONTEXTS).top(limits).start();
    (control, candidate, gateway)
}

/// A document with this query that is `length` bytes long.
fn document(query: &str, length: usize) -> Vec<u8> {
    let short = format!("{{\"query\": {query:?}, \"pad\": \"\"}}");
    short.replace("\"\"}", &format!("\"{}\"}}", "x".repeat(length - short.len()))).into_bytes()
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    for piece in body.chunks(size) {
        wire.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        wire.extend_from_slice(piece);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\nx-sum: 7\r\n\r\n");
    wire
}

const LENGTH: &str = "content-length";
const CHUNKS: &str = "transfer-encoding";

/// The same request with either framing: its head, and the rest as bytes on the wire.
fn framed(body: &[u8]) -> [(String, Vec<u8>); 3] {
    let head =
        |field: &str, value: &str| format!("POST / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\n{field}: {value}\r\n\r\n");
    [
        (head(LENGTH, &body.len().to_string()), body.to_vec()),
        (head(CHUNKS, "chunked"), chunked(body, body.len().max(1))),
        (head(CHUNKS, "chunked"), chunked(body, 1 + body.len() / 500)),
    ]
}

#[track_caller]
fn expect(client: &mut Client, arm: &str, reason: &str, body: &[u8]) {
    let answer = client.answer();
    assert_eq!((answer.status, answer.ending), (200, Ending::Whole), "{answer:?}");
    assert_eq!((answer.get("x-pointsman-arm"), answer.get("x-pointsman-reason")), (Some(arm), Some(reason)));
    assert!(answer.body == body, "the body differs");
}

#[test]
fn the_length_of_a_query_decides_however_it_is_framed() {
    let (_control, _candidate, gateway) = before(LENGTHS, "");
    let mut client = gateway.client();
    for (length, arm, reason) in [
        (99, "control", "condition"),
        (100, "candidate", "rollout"),
        (1_000, "candidate", "rollout"),
        (1_001, "control", "condition"),
    ] {
        let body = format!("{{\"query\": {:?}}}", "ä".repeat(length)).into_bytes();
        for (head, rest) in framed(&body) {
            client.send(&head);
            client.send(&rest);
            expect(&mut client, arm, reason, &body);
            // Byte by byte, each in a packet of its own as far as the kernel lets it.
            if length == 100 {
                for byte in [head.as_bytes(), &rest].concat() {
                    client.wire.socket.write_all(&[byte]).unwrap();
                }
                expect(&mut client, arm, reason, &body);
            }
        }
    }
}

#[test]
fn the_framing_and_the_trailers_stay_what_they_were() {
    let (_control, candidate, gateway) = before(RULE, "");
    let body = document("new", 2_000);
    for (index, (head, rest)) in framed(&body).into_iter().enumerate() {
        let mut client = gateway.client();
        let trailing = "\r\nte: trailers\r\nconnection: te\r\ntrailer: x-sum\r\n\r\n";
        client.send(head.replace("\r\n\r\n", trailing));
        client.send(&rest);
        expect(&mut client, "candidate", "rule", &body);
        let seen = candidate.last_request();
        let length = (index == 0).then(|| body.len().to_string());
        assert_eq!(seen.head.get("content-length"), length.as_deref());
        assert_eq!(seen.trailers.get("x-sum"), (index > 0).then_some("7"));
        assert!(seen.body == body && seen.ending == Ending::Whole);
    }
}

#[test]
fn a_body_at_the_limit_is_read_and_a_larger_one_streams_on_whole() {
    let (control, candidate, gateway) = before(RULE, "limits.body_attributes = \"4KiB\"");
    let mut client = gateway.client();
    for (length, arm, reason) in [(4_096, "candidate", "rule"), (4_097, "control", "rollout")] {
        let body = document("new", length);
        assert_eq!(body.len(), length);
        for (head, rest) in framed(&body) {
            client.send(&head);
            client.send(&rest);
            expect(&mut client, arm, reason, &body);
        }
    }
    assert_eq!((control.heads(), candidate.heads()), (3, 3));
    assert_eq!(gateway.metric(&format!("{MISSED}{{reason=\"too_large\"}}")), Some(3.0));
}

#[test]
fn ten_megabytes_stream_on_whole() {
    let (control, _candidate, gateway) = before(RULE, "");
    let body = pattern(10_000_000);
    for (head, rest) in framed(&body) {
        let mut client = gateway.client();
        client.send(&head);
        client.send(&rest);
        expect(&mut client, "control", "rollout", &body);
        assert!(control.last_request().body == body);
    }
}

#[test]
fn what_cannot_be_read_is_missing_and_counted() {
    let (_control, _candidate, gateway) = before(RULE, "");
    let deep =
        [b"{\"query\": \"new\", \"deep\": ".to_vec(), vec![b'['; 10_000], vec![b']'; 10_000], b"}".to_vec()].concat();
    let new: &[u8] = b"{\"query\": \"new\"}";
    let rows: [(&str, &str, &[u8]); 8] = [
        ("not_json", "", b"query=new"),
        ("not_json", "", b"{\"query\": \"new\""),
        ("not_json", "", b"{\"query\": \"new\", \"x\": \"\xff\"}"),
        ("too_deep", "", &deep),
        ("content_type", "content-type: text/plain\r\n", new),
        ("content_encoding", "content-encoding: gzip\r\n", new),
        ("", "content-type: application/json; charset=utf-8\r\n", new),
        ("", "content-type: application/ld+json\r\n", b"{\"query\": \"old\", \"query\": \"new\"}"),
    ];
    let mut client = gateway.client();
    for (reason, field, body) in rows {
        let counted = || gateway.metric(&format!("{MISSED}{{reason=\"{reason}\"}}"));
        let before = counted();
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\n{field}content-length: {}\r\n\r\n",
            body.len()
        ));
        client.send(body);
        let (arm, why) = if reason.is_empty() { ("candidate", "rule") } else { ("control", "rollout") };
        expect(&mut client, arm, why, body);
        assert_eq!(counted(), before.map(|count| count + 1.0), "{reason}");
    }
}

#[test]
fn without_a_body_there_is_nothing_to_read() {
    let (_control, _candidate, gateway) = before(LENGTHS, "");
    let mut client = gateway.client();
    for (method, field) in [("GET", ""), ("HEAD", ""), ("POST", ""), ("POST", "content-length: 0\r\n")] {
        client.send(format!("{method} / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\n{field}\r\n"));
        let answer = client.answer_to(method);
        assert_eq!((answer.status, answer.get("x-pointsman-reason")), (200, Some("condition")), "{method} {field}");
    }
    client.send("POST / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    expect(&mut client, "control", "condition", b"");
    for reason in ["not_json", "too_large", "content_type"] {
        assert_eq!(gateway.metric(&format!("{MISSED}{{reason=\"{reason}\"}}")), Some(0.0), "{reason}");
    }
}

#[test]
fn control_gets_the_same_body_when_the_candidate_fails() {
    let control = Upstream::echo();
    let failing = Upstream::answering(|_| status(500, "Oh", "no"));
    let refusing = Refusing::new();
    for (candidate, beyond) in
        [(failing.url(), false), (failing.url(), true), (refusing.url(), false), (refusing.url(), true)]
    {
        let rule = if beyond { "forced = \"candidate\"\n" } else { "" };
        let keys = format!("{rule}fallback = {{ replay = \"always\" }}\n{RULE}");
        let gateway = Setup::route(&control.url(), &candidate, &keys)
            .with(CONTEXTS)
            .top("limits.body_attributes = \"16KiB\"")
            .start();
        let body = document("new", if beyond { 100_000 } else { 16_000 });
        for (head, rest) in framed(&body) {
            let mut client = gateway.client();
            client.send(&head);
            client.send(&rest);
            expect(&mut client, "control", "fallback", &body);
        }
    }
    assert_eq!(failing.heads(), 6);
    let bodies: Vec<usize> = failing.requests().iter().map(|seen| seen.body.len()).collect();
    assert_eq!(bodies, [16_000, 16_000, 16_000, 100_000, 100_000, 100_000]);
}

#[test]
fn a_client_that_waits_for_100_gets_it_before_the_decision() {
    let (_control, candidate, gateway) = before(RULE, "");
    let body = document("new", 500);
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\nexpect: 100-continue\r\ncontent-length: 500\r\n\r\n");
    assert_eq!(client.head().0, 100);
    assert_eq!(candidate.connections(), 0);
    client.send(&body);
    expect(&mut client, "candidate", "rule", &body);
}

/// What is sent of a request that never comes to its decision.
const HALF: &str =
    "POST / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\nx-request-id: half\r\ncontent-length: 100\r\n\r\n{\"query\":";

/// The request with the id `half` is counted once, as undecided, and none is under way.
#[track_caller]
fn expect_undecided(gateway: &Gateway, status: Option<u16>) {
    let line = gateway.line_with_id("half");
    let told = (line["status"].as_u64(), line["reason"].as_str(), line["served"].as_str());
    assert_eq!(told, (status.map(u64::from), Some("undecided"), Some("control")), "{line}");
    assert_eq!(line["attempts"], serde_json::json!([]), "{line}");
    let class = status.map_or("none".to_owned(), |status| format!("{}xx", status / 100));
    let labels =
        format!("route=\"all\",assigned=\"control\",served=\"control\",reason=\"undecided\",code_class=\"{class}\"");
    let counted = || gateway.metric(&format!("pointsman_requests_total{{{labels}}}"));
    eventually("the request is counted", || counted().filter(|count| *count == 1.0));
    eventually("no request is under way", || {
        gateway.metric("pointsman_requests_in_flight").filter(|count| *count == 0.0)
    });
    assert_eq!(gateway.metric("pointsman_keyless_requests_total{route=\"all\"}"), Some(0.0));
}

#[test]
fn a_route_that_does_not_look_into_the_body_does_not_wait_for_it() {
    let (control, _candidate, gateway) = before("", "");
    let mut client = gateway.client();
    client.send(HALF);
    control.await_heads(1);
    client.send("x".repeat(91));
    assert_eq!(client.answer().body.len(), 100);
}

#[test]
fn a_client_that_stalls_is_told_so() {
    let upstream = Upstream::echo();
    let url = upstream.url();
    for (idle, deadline) in [("idle = \"100ms\"", ""), ("idle = \"60s\"", "deadline = \"100ms\"")] {
        let gateway = Setup::new(format!(
            "[backends.a]\nurl = {url:?}\ntimeouts = {{ {idle} }}\n[backends.b]\nurl = {url:?}\n\
             [routes.all]\npath = \"/\"\ncontrol = \"a\"\ncandidate = \"b\"\n{deadline}\n{RULE}\n{CONTEXTS}"
        ))
        .start();
        let mut client = gateway.client();
        client.send(HALF);
        let answer = client.answer();
        assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));
        assert_eq!(answer.get("connection"), Some("close"));
        expect_undecided(&gateway, Some(408));
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_client_that_leaves_is_settled() {
    for reset in [false, true] {
        let (control, candidate, gateway) = before(RULE, "");
        let mut client = gateway.client();
        client.send(HALF);
        // The gateway is known to have read that much once it counts the request.
        eventually("it is under way", || gateway.metric("pointsman_requests_in_flight").filter(|count| *count == 1.0));
        if reset {
            client.reset();
        } else {
            drop(client);
        }
        expect_undecided(&gateway, None);
        assert_eq!((control.connections(), candidate.connections()), (0, 0));
    }
}

#[test]
fn a_body_that_breaks_the_rules_ends_the_request() {
    let (control, candidate, gateway) = before(RULE, "limits.max_body = \"1KiB\"");
    let head = "POST / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\nx-request-id: half\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut client = gateway.client();
    client.send(head);
    client.send("zz\r\n");
    client.expect_closed();
    expect_undecided(&gateway, None);

    let (_, _, gateway) = before(RULE, "limits.max_body = \"1KiB\"");
    let mut client = gateway.client();
    client.send(head);
    // The end is not sent: nothing may be left unread when the gateway closes.
    client.send(format!("401\r\n{}", "x".repeat(1_025)));
    let answer = client.answer();
    assert_eq!((answer.status, answer.code().as_str()), (413, "content_too_large"));
    expect_undecided(&gateway, Some(413));
    assert_eq!((control.connections(), candidate.connections()), (0, 0));
}

#[test]
fn users_are_split_by_a_key_in_the_body() {
    let (control, candidate) = (Upstream::echo(), Upstream::echo());
    let keys = "salt = \"default_salt\"\nrollout.percent = 60";
    let contexts = "[contexts.user]\nkey = [{ header = \"x-user-id\" }, { json = \"/user/id\" }]\n";
    let gateway = Setup::route(&control.url(), &candidate.url(), keys).with(contexts).start();
    // Their percentages stand in the README: 58.4, 70.3, 81.7 and 11.2.
    let rows = [
        (r#"{"user": {"id": "user123"}}"#, "candidate", "rollout", Some("user123")),
        (r#"{"user": {"id": "user_0"}}"#, "control", "rollout", Some("user_0")),
        (r#"{"user": {"id": "user_1"}}"#, "control", "rollout", Some("user_1")),
        (r#"{"user": {"id": "demo@example.com"}}"#, "candidate", "rollout", Some("demo@example.com")),
        (r#"{"user": {"id": ""}}"#, "control", "no_key", None),
        (r#"{"user": {"id": null}}"#, "control", "no_key", None),
        (r#"{"user": {"id": ["user123"]}}"#, "control", "no_key", None),
        (r#"{"user": "user123"}"#, "control", "no_key", None),
    ];
    for (body, arm, reason, key) in rows {
        let answer = gateway.request("POST", "/", &[], body.as_bytes());
        assert_eq!(answer.get("x-pointsman-arm"), Some(arm), "{body}");
        assert_eq!(answer.get("x-pointsman-reason"), Some(reason), "{body}");
        assert_eq!(gateway.line_of(&answer)["user"].as_str(), key, "{body}");
    }
    let answer = gateway.request("POST", "/", &[("x-user-id", "user_0")], rows[0].0.as_bytes());
    assert_eq!(answer.get("x-pointsman-arm"), Some("control"), "the header stands first");
    let number = gateway.request("POST", "/", &[], br#"{"user": {"id": 42}}"#);
    assert_eq!(gateway.line_of(&number)["user"], "42");
}

#[test]
fn the_memory_of_bodies_is_given_back() {
    let (_control, _candidate, gateway) = before(RULE, "limits.replay_memory = \"64KiB\"");
    let body = document("new", 50_000);
    let whole = |gateway: &Gateway| {
        let mut client = gateway.client();
        for (head, rest) in framed(&body) {
            client.send(&head);
            client.send(&rest);
            expect(&mut client, "candidate", "rule", &body);
        }
    };
    whole(&gateway);
    let mut holding = gateway.client();
    holding.send(format!("POST / HTTP/1.1\r\nhost: a\r\nx-request-id: half\r\ncontent-length: {}\r\n\r\n", body.len()));
    holding.send(&body[..40_000]);
    // As long as that one waits, others find no room, and stream on.
    let no_room = || {
        let mut client = gateway.client();
        // In small pieces: what has come whole is used even if it was too much.
        let (head, rest) = &framed(&body)[2];
        client.send(head);
        client.send(rest);
        let answer = client.answer();
        assert!(answer.body == body);
        (answer.get("x-pointsman-arm") == Some("control")).then_some(())
    };
    eventually("the memory is full", no_room);
    assert!(gateway.metric(&format!("{MISSED}{{reason=\"no_memory\"}}")) >= Some(1.0));
    drop(holding);
    expect_undecided(&gateway, None);
    whole(&gateway);
}
