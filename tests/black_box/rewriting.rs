//! What one arm is sent instead of the client's request, and what the client gets instead of its answer.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::support::message::Ending;
use crate::support::upstream::{Seen, ok, status, with_fields};
use crate::support::{Answer, Gateway, Setup, Upstream, eventually};

/// The candidate speaks another shape in both directions.
const OTHER_SHAPE: &str = "rewrite.candidate.request = { path = \"/query\", template = { q = \"{{ query }}\" } }\n\
                           rewrite.candidate.response.template = { answer = \"{{ response }}\" }";

/// Control is sent another model than the client asks for.
const CONTROLS_OWN: &str = "rewrite.control.request.json_merge = { model = \"trusted\" }";

const ALWAYS: &str = "fallback = { replay = \"always\" }";

fn json_answer(body: &Value) -> Vec<u8> {
    with_fields(200, "OK", "content-type: application/json\r\netag: \"1\"\r\n", &body.to_string())
}

/// A gateway that sends everybody to the candidate.
fn before(control: &Upstream, candidate: &Upstream, keys: &str) -> Gateway {
    Setup::candidate(&control.url(), &candidate.url(), keys).start()
}

fn document(seen: &Seen) -> Value {
    assert_eq!(seen.head.get("content-length"), Some(seen.body.len().to_string().as_str()));
    assert_eq!(seen.head.get("content-type"), Some("application/json"));
    assert_eq!(seen.head.get("transfer-encoding"), None);
    serde_json::from_slice(&seen.body).unwrap()
}

fn post(gateway: &Gateway, body: &str) -> Answer {
    gateway.post(body.as_bytes())
}

#[track_caller]
fn expect_json(answer: &Answer, expected: &Value) {
    assert_eq!((answer.status, answer.ending), (200, Ending::Whole), "{answer:?}");
    assert_eq!(answer.get("content-type"), Some("application/json"));
    let length = answer.body.len().to_string();
    assert_eq!(answer.get("content-length"), Some(length.as_str()));
    assert_eq!(&serde_json::from_slice::<Value>(&answer.body).unwrap(), expected);
}

/// Control answered, since the candidate could not be sent this, or its answer could not be used.
#[track_caller]
fn expect_fallback(answer: &Answer, body: &str) {
    answer.expect(200, body);
    assert_eq!(answer.get("x-pointsman-reason"), Some("fallback"), "{answer:?}");
}

fn fallbacks(gateway: &Gateway) -> Option<f64> {
    gateway.metric("pointsman_fallbacks_total{route=\"all\",cause=\"rewrite\"}")
}

#[test]
fn each_key_changes_what_the_arm_is_sent_and_nothing_else() {
    let (control, candidate) = (Upstream::saying("control"), Upstream::saying("candidate"));
    let rows = [
        ("path = \"/v2/ask\"", "/v2/ask?a=b", None, json!({"query": "why?", "n": 1})),
        (
            "headers = { remove = [\"x-a\"], set = { x-b = \"2\" }, add = { x-c = \"3\" } }",
            "/?a=b",
            Some("2"),
            json!({"query": "why?", "n": 1}),
        ),
        (
            "json_merge = { model = \"m\", n = 2, deep = { x = [1] } }",
            "/?a=b",
            None,
            json!({"query": "why?", "n": 2, "model": "m", "deep": {"x": [1]}}),
        ),
        ("json_merge = '{\"n\": null, \"max_tokens\": 5}'", "/?a=b", None, json!({"query": "why?", "max_tokens": 5})),
        (
            "template = { text = \"Answer concisely about NYC taxi data: {{ query }}\", n = \"{{ n }}\" }",
            "/?a=b",
            None,
            json!({"text": "Answer concisely about NYC taxi data: why?", "n": 1}),
        ),
        (
            "template = '{\"q\": {{ query }}, \"who\": {{ arm ~ \" of \" ~ route }}}'",
            "/?a=b",
            None,
            json!({"q": "why?", "who": "candidate of all"}),
        ),
        (
            "template = { q = \"{{ query }}\", model = \"x\" }\nrewrite.candidate.request.json_merge = { model = \"last\" }",
            "/?a=b",
            None,
            json!({"q": "why?", "model": "last"}),
        ),
    ];
    for (keys, target, set, expected) in rows {
        let gateway = before(&control, &candidate, &format!("rewrite.candidate.request.{keys}"));
        let fields = [("x-user-id", "u"), ("x-a", "1"), ("x-b", "1"), ("x-c", "1"), ("content-type", "text/x")];
        let answer = gateway.request("POST", "/?a=b", &fields, br#"{"query": "why?", "n": 1}"#);
        answer.expect(200, "candidate");
        let seen = candidate.last_request();
        assert_eq!(seen.head.start, format!("POST {target} HTTP/1.1"));
        assert_eq!(serde_json::from_slice::<Value>(&seen.body).unwrap(), expected, "{keys}");
        assert_eq!(seen.head.get("content-length"), Some(seen.body.len().to_string().as_str()));
        let rewritten = keys.starts_with("json_merge") || keys.starts_with("template");
        assert_eq!(seen.head.get("content-type"), Some(if rewritten { "application/json" } else { "text/x" }));
        assert_eq!(seen.head.get("x-b"), Some(set.unwrap_or("1")));
        assert_eq!(seen.head.get("x-a"), if set.is_some() { None } else { Some("1") });
    }
    assert_eq!(control.heads(), 0);
}

#[test]
fn templates_see_attributes_and_those_that_are_missing_are_absent() {
    let (control, candidate) = (Upstream::saying("control"), Upstream::saying("candidate"));
    let contexts = "[contexts.user]\nkey = [{ header = \"x-user-id\" }]\ntier = { header = \"x-tier\" }\n\
                    age = { query = \"age\", type = \"number\" }\nlang = { json = \"/lang\" }\n";
    let template = "rewrite.candidate.request.template = { who = \"{{ contexts.user.key }}\", \
                    tier = \"{{ contexts.user.tier | default('free') }}\", age = \"{{ contexts.user.age }}\", \
                    lang = \"{{ contexts.user.lang }}\" }";
    let gateway = Setup::candidate(&control.url(), &candidate.url(), template).with(contexts).start();
    let ask = |target: &str, fields: &[(&str, &str)]| gateway.request("POST", target, fields, br#"{"lang": "sv"}"#);
    ask("/?age=41", &[("x-user-id", "ann"), ("x-tier", "gold")]).expect(200, "candidate");
    let expected = json!({"who": "ann", "tier": "gold", "age": 41, "lang": "sv"});
    assert_eq!(document(&candidate.last_request()), expected);
    ask("/?age=41", &[("x-user-id", "ann")]).expect(200, "candidate");
    assert_eq!(document(&candidate.last_request())["tier"], "free");
    // An attribute that is missing, and has no default, is a mistake of this request.
    expect_fallback(&ask("/", &[("x-user-id", "ann")]), "control");
}

#[test]
fn what_cannot_be_rewritten_goes_to_control_as_it_came() {
    let (control, candidate) = (Upstream::echo(), Upstream::saying("candidate"));
    let template = "rewrite.candidate.request.template = \
                    '[{% for a in list %}{% for b in list %}{{ query }},{% endfor %}{% endfor %}0]'";
    let gateway =
        Setup::candidate(&control.url(), &candidate.url(), template).top("limits.rewrite_body = \"4KiB\"").start();
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let large = format!("{{\"query\": \"{}\", \"list\": []}}", "x".repeat(4_096));
    let long = format!("{{\"query\": 1, \"list\": {:?}}}", vec![1; 900]);
    let growing = format!("{{\"query\": \"{}\", \"list\": [1, 2, 3]}}", "x".repeat(1_000));
    let bodies = ["not JSON", "{\"query\": ", "{\"list\": [1]}", "{}", &deep, &large, &long, &growing, "\u{1}"];
    for (index, body) in bodies.into_iter().enumerate() {
        expect_fallback(&post(&gateway, body), body);
        assert_eq!(fallbacks(&gateway), Some(index as f64 + 1.0));
    }
    let encoded = [("x-user-id", "u"), ("content-encoding", "gzip")];
    expect_fallback(&gateway.request("POST", "/", &encoded, b"{\"list\": []}"), "{\"list\": []}");
    assert_eq!(candidate.heads(), 0);
    // None of this was the candidate's fault.
    assert_eq!(gateway.metric("pointsman_breaker_state{backend=\"candidate\"}"), Some(0.0));
    assert_eq!(
        gateway.metric("pointsman_attempts_total{route=\"all\",arm=\"candidate\",outcome=\"rewrite\"}").unwrap_or(0.0),
        0.0
    );
    post(&gateway, "{\"list\": []}").expect(200, "candidate");
    assert_eq!(document(&candidate.only_request()), json!([0]));
}

#[test]
fn control_that_cannot_be_sent_a_request_says_why() {
    let control = Upstream::saying("control");
    let keys = "rewrite.control.request.template = { q = \"{{ query }}\" }\n\
                rewrite.control.response.template = \"{{ body }}\"";
    let gateway = Setup::route(&control.url(), &control.url(), keys).top("limits.rewrite_body = \"1KiB\"").start();
    let large = format!("{{\"query\": \"{}\"}}", "x".repeat(1_024));
    let rows = [
        ("not JSON", 422, "rewrite_request"),
        ("{\"other\": 1}", 422, "rewrite_request"),
        (large.as_str(), 413, "rewrite_too_large"),
        ("{\"query\": \"x\", \"stream\": true}", 422, "rewrite_stream_request"),
    ];
    for (body, status, code) in rows {
        let answer = post(&gateway, body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{body}");
    }
    let encoded = gateway.request("POST", "/", &[("content-encoding", "br")], b"{\"query\": 1}");
    assert_eq!((encoded.status, encoded.code().as_str()), (422, "rewrite_request"));
    assert_eq!(control.heads(), 0);
    let no_room = Setup::route(&control.url(), &control.url(), keys).top("limits.replay_memory = 4").start();
    let answer = post(&no_room, "{\"query\": \"x\"}");
    assert_eq!((answer.status, answer.code().as_str()), (503, "rewrite_memory"));
    // The ledger knows each once.
    gateway.await_lines(5);
    let labels = "route=\"all\",assigned=\"control\",served=\"control\",reason=\"rollout\",code_class=\"4xx\"";
    let counted = || gateway.metric(&format!("pointsman_requests_total{{{labels}}}"));
    eventually("four requests of the user are counted", || counted().filter(|count| *count == 4.0));
}

#[test]
fn control_gets_its_own_rewriting_of_the_original() {
    let control = Upstream::echo();
    let failing = Upstream::answering(|_| status(503, "Oh", "no"));
    let gateway = before(&control, &failing, &format!("{ALWAYS}\n{OTHER_SHAPE}\n{CONTROLS_OWN}"));
    let answer = post(&gateway, "{\"query\": \"x\", \"model\": \"mine\"}");
    assert_eq!(answer.get("x-pointsman-reason"), Some("fallback"));
    assert_eq!(document(&failing.only_request()), json!({"q": "x"}));
    assert_eq!(failing.only_request().head.start, "POST /query HTTP/1.1");
    assert_eq!(document(&control.only_request()), json!({"query": "x", "model": "trusted"}));
    assert_eq!(control.only_request().head.start, "POST / HTTP/1.1");
    // What control alone needs is known before the candidate is asked.
    let gateway = before(&control, &failing, &format!("{ALWAYS}\n{CONTROLS_OWN}"));
    post(&gateway, "{\"query\": \"y\"}");
    assert_eq!(failing.last_request().body, b"{\"query\": \"y\"}");
    assert_eq!(document(&control.last_request()), json!({"query": "y", "model": "trusted"}));
}

#[test]
fn nothing_in_a_body_becomes_more_than_a_value() {
    let (control, candidate) = (Upstream::saying("control"), Upstream::saying("candidate"));
    for template in ["{ q = \"{{ query }}\", end = 1 }", "'{\"q\": {{ query }}, \"end\": 1}'"] {
        let gateway = before(&control, &candidate, &format!("rewrite.candidate.request.template = {template}"));
        for attack in
            ["\"}], \"x\": \"", "\"", "\\", "{{ 7 * 7 }}", "{% raw %}", "\r\n\r\nGET / HTTP/1.1", "\u{2028}\u{0}"]
        {
            post(&gateway, &json!({ "query": attack }).to_string()).expect(200, "candidate");
            assert_eq!(document(&candidate.last_request()), json!({"q": attack, "end": 1}), "{attack:?}");
        }
    }
}

#[test]
fn chunked_bodies_are_rewritten_and_trailers_dropped() {
    let (control, candidate) = (Upstream::saying("control"), Upstream::saying("candidate"));
    let gateway = before(&control, &candidate, "rewrite.candidate.request.json_merge = { model = \"m\" }");
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n");
    client.send("content-md5: Q2hlY2s=\r\n\r\n4\r\n{\"n\"\r\n3\r\n: 1\r\n1\r\n}\r\n0\r\nx-t: 1\r\n\r\n");
    client.answer().expect(200, "candidate");
    let seen = candidate.only_request();
    assert_eq!(document(&seen), json!({"n": 1, "model": "m"}));
    assert_eq!((seen.head.get("trailer"), seen.head.get("content-md5")), (None, None));
    // Without a body there is nothing to rewrite, and the next request on the connection is whole.
    for method in ["GET", "POST"] {
        client.request(method, "/", &[("x-user-id", "u")], b"").expect(200, "candidate");
        assert!(candidate.last_request().body.is_empty());
    }
}

#[test]
fn answers_take_the_clients_shape() {
    let control = Upstream::saying("control");
    let candidate = Upstream::answering(|_| json_answer(&json!({"response": "\"}, {", "extra": 1})));
    let gateway = before(&control, &candidate, &format!("{ALWAYS}\n{OTHER_SHAPE}"));
    let mut client = gateway.client();
    for _ in 0..2 {
        let fields = [("x-user-id", "u"), ("accept-encoding", "gzip"), ("range", "bytes=0-1")];
        let answer = client.request("POST", "/", &fields, b"{\"query\": \"x\"}");
        expect_json(&answer, &json!({"answer": "\"}, {"}));
        assert_eq!((answer.get("etag"), answer.get("x-pointsman-arm")), (None, Some("candidate")));
        let seen = candidate.last_request();
        assert_eq!((seen.head.get("accept-encoding"), seen.head.get("range")), (Some("identity"), None));
    }
    // The connection serves again after an answer that was gathered.
    assert_eq!((candidate.connections(), candidate.heads()), (1, 2));
    let line = gateway.await_lines(2).pop().unwrap();
    assert_eq!(line["attempts"][0]["outcome"], "success", "{line}");
    // Only 2xx have the backend's shape; HEAD has no body at all.
    let missing = Upstream::answering(|_| status(404, "No", "{\"detail\": 1}"));
    let gateway = before(&control, &missing, OTHER_SHAPE);
    post(&gateway, "{\"query\": \"x\"}").expect(404, "{\"detail\": 1}");
    let head = Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n".to_vec()
    });
    let gateway = before(&control, &head, OTHER_SHAPE);
    let answer = gateway.client().request("HEAD", "/", &[("x-user-id", "u")], b"");
    assert_eq!((answer.status, answer.get("content-length")), (200, None));
    let empty = Upstream::answering(|_| b"HTTP/1.1 204 No Content\r\n\r\n".to_vec());
    let gateway = before(&control, &empty, OTHER_SHAPE);
    assert_eq!(post(&gateway, "{\"query\": \"x\"}").status, 204);
}

/// Answers that cannot be rewritten, and what control's client is told of them.
fn unusable() -> [(&'static str, Vec<u8>); 9] {
    let stream =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
    [
        ("rewrite_stream", stream.to_vec()),
        ("rewrite_answer", with_fields(200, "OK", "content-type: text/plain\r\n", "{\"response\": 1}")),
        ("rewrite_answer", with_fields(200, "OK", "content-type: application/json\r\ncontent-encoding: gzip\r\n", "x")),
        ("rewrite_answer", with_fields(206, "Partial", "content-type: application/json\r\n", "{\"response\": 1}")),
        ("rewrite_answer", ok("not JSON")),
        ("rewrite_answer", json_answer(&json!({"other": 1}))),
        ("rewrite_answer", json_answer(&json!({"response": "x".repeat(5_000)}))),
        (
            "rewrite_answer",
            [
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1388\r\n".to_vec(),
                vec![b'['; 5_000],
                b"\r\n0\r\n\r\n".to_vec(),
            ]
            .concat(),
        ),
        ("connection_reset", b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{\"response\": ".to_vec()),
    ]
}

#[test]
fn an_answer_that_cannot_be_rewritten_is_refused_or_covered_up() {
    for (code, raw) in unusable() {
        let cut = code == "connection_reset";
        let upstream = Upstream::scripted(move |conversation| {
            while conversation.request().is_some() {
                conversation.write(&raw);
                if cut {
                    return conversation.close();
                }
            }
        });
        let control = Upstream::saying("control");
        let limits = "limits.rewrite_body = \"4KiB\"";
        let start = |keys: &str| Setup::candidate(&control.url(), &upstream.url(), keys).top(limits).start();
        let covered = start(&format!("{ALWAYS}\n{OTHER_SHAPE}"));
        expect_fallback(&post(&covered, "{\"query\": \"x\"}"), "control");
        // It was the candidate's fault, even though nobody saw it.
        let line = covered.await_lines(1).remove(0);
        assert_eq!(line["attempts"][0]["outcome"], if cut { "reset" } else { "rewrite" }, "{line}");
        // A POST may have been obeyed, so it is not sent to control unless the file says so.
        let shown = start(OTHER_SHAPE);
        let answer = post(&shown, "{\"query\": \"x\"}");
        assert_eq!((answer.status, answer.code().as_str()), (502, code), "{answer:?}");
        let own = OTHER_SHAPE.replace("candidate", "control");
        let alone = Setup::route(&upstream.url(), &control.url(), &own).top(limits).start();
        let answer = post(&alone, "{\"query\": \"x\"}");
        assert_eq!((answer.status, answer.code().as_str()), (502, code), "{answer:?}");
    }
}

#[test]
fn failed_rewriting_of_answers_opens_the_breaker() {
    let (control, candidate) = (Upstream::saying("control"), Upstream::saying("no JSON"));
    let keys = format!("{ALWAYS}\n{OTHER_SHAPE}\n[backends.candidate.breaker]\nconsecutive_failures = 3");
    let gateway = before(&control, &candidate, &keys);
    for _ in 0..3 {
        expect_fallback(&post(&gateway, "{\"query\": \"x\"}"), "control");
    }
    let answer = post(&gateway, "{\"query\": \"x\"}");
    assert_eq!(answer.get("x-pointsman-reason"), Some("breaker_open"));
    assert_eq!(candidate.heads(), 3);
}

#[test]
fn streams_pass_where_no_answer_is_rewritten() {
    let control = Upstream::saying("control");
    let candidate = Upstream::scripted(|conversation| {
        while conversation.request().is_some() {
            conversation
                .write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
            conversation.write_chunk(b"data: 1\n\n");
            conversation.write_chunk(b"data: [DONE]\n\n");
            conversation.write("0\r\n\r\n");
        }
    });
    let asked = "{\"query\": \"x\", \"stream\": true}";
    let gateway = before(&control, &candidate, "rewrite.candidate.request.json_merge = { model = \"m\" }");
    post(&gateway, asked).expect(200, "data: 1\n\ndata: [DONE]\n\n");
    // Where it would be, a request for a stream goes to control before anything is sent.
    let gateway = before(&control, &candidate, OTHER_SHAPE);
    expect_fallback(&post(&gateway, asked), "control");
    assert_eq!(candidate.heads(), 1);
}

#[test]
fn deadlines_hold_while_an_answer_is_gathered() {
    let control = Upstream::saying("control");
    let stalling = Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation.write("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{\"response\": ");
            conversation.await_departure();
        }
    });
    let idle = "[backends.candidate.timeouts]\nidle = \"200ms\"";
    let gateway = before(&control, &stalling, &format!("{ALWAYS}\n{OTHER_SHAPE}\n{idle}"));
    expect_fallback(&post(&gateway, "{\"query\": \"x\"}"), "control");
    assert_eq!(gateway.await_lines(1)[0]["attempts"][0]["outcome"], "timeout");
    let gateway = before(&control, &stalling, &format!("deadline = \"300ms\"\n{ALWAYS}\n{OTHER_SHAPE}"));
    let answer = post(&gateway, "{\"query\": \"x\"}");
    assert_eq!((answer.status, answer.code().as_str()), (504, "timeout"));
}

#[test]
fn a_client_that_leaves_while_an_answer_is_gathered_ends_the_attempt() {
    let control = Upstream::saying("control");
    let candidate = Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation.write("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{\"response\": ");
            conversation.await_departure();
        }
    });
    let gateway = before(&control, &candidate, &format!("{ALWAYS}\n{OTHER_SHAPE}"));
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\ncontent-length: 14\r\n\r\n{\"query\": \"x\"}");
    candidate.await_heads(1);
    client.reset();
    candidate.await_departures(1);
    let line = gateway.await_lines(1).remove(0);
    assert_eq!((&line["attempts"][0]["outcome"], control.heads()), (&json!("client_gone"), 0), "{line}");
    eventually("nothing is under way", || gateway.metric("pointsman_requests_in_flight").filter(|count| *count == 0.0));
}

#[test]
fn a_stale_connection_is_sent_the_rewritten_body_again() {
    let control = Upstream::saying("control");
    // Each connection answers once, and is closed in the moment when it is used again.
    let candidate = Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation.write(ok("candidate"));
            conversation.head();
            conversation.reset();
        }
    });
    let gateway = before(&control, &candidate, "rewrite.candidate.request.json_merge = { model = \"m\" }");
    for body in [&b"{\"n\": 1}"[..], b"{\"n\": 2}"] {
        gateway.request("PUT", "/", &[("x-user-id", "u")], body).expect(200, "candidate");
    }
    let bodies: Vec<Value> = candidate.requests().iter().map(document).collect();
    assert_eq!(bodies, [json!({"n": 1, "model": "m"}), json!({"n": 2, "model": "m"})]);
    assert_eq!((candidate.connections(), control.heads()), (2, 0));
}

/// An OpenAI that says who it is, and what it was asked.
fn openai() -> Upstream {
    Upstream::answering(|seen| {
        let asked: Value = serde_json::from_slice(&seen.body).unwrap();
        let text = asked["messages"].as_array().unwrap().last().unwrap()["content"].clone();
        let message = json!({"role": "assistant", "content": format!("openai: {}", text.as_str().unwrap_or("?"))});
        let choice = json!({"index": 0, "finish_reason": "stop", "message": message});
        let usage = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
        json_answer(&json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": asked["model"],
            "choices": [choice], "usage": usage,
        }))
    })
}

/// A LightRAG: `POST /query` with `query` and `mode`, answered by `response`.
fn lightrag() -> Upstream {
    Upstream::answering(|seen| {
        let asked: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
        if !seen.head.start.starts_with("POST /query ") || asked["mode"] != "hybrid" {
            return status(422, "Unprocessable", "{\"detail\": []}");
        }
        json_answer(&json!({"response": format!("lightrag: {}", asked["query"].as_str().unwrap()), "references": []}))
    })
}

fn openai_beside_lightrag(openai: &Upstream, lightrag: &Upstream) -> Gateway {
    Setup::new(include_str!("../../examples/openai-beside-lightrag.toml"))
        .environment("OPENAI_URL", &openai.url())
        .environment("LIGHTRAG_URL", &lightrag.url())
        .start()
}

#[test]
fn clients_speak_openai_to_lightrag() {
    let (openai, lightrag) = (openai(), lightrag());
    let gateway = openai_beside_lightrag(&openai, &lightrag);
    let question = json!({"model": "gpt-4o", "temperature": 0.5, "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How many \"taxis\"?"},
    ]});
    let ask = |user: &str, body: &Value| {
        let fields = [("x-user-id", user), ("content-type", "application/json"), ("authorization", "Bearer client")];
        gateway.request("POST", "/v1/chat/completions", &fields, body.to_string().as_bytes())
    };
    for (user, arm, says) in [("carl", "control", "openai"), ("ann", "candidate", "lightrag")] {
        let answer = ask(user, &question);
        assert_eq!((answer.status, answer.get("x-pointsman-arm")), (200, Some(arm)), "{answer:?}");
        let document: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((&document["object"], &document["model"]), (&json!("chat.completion"), &json!("gpt-4o")));
        let message = json!({"role": "assistant", "content": format!("{says}: How many \"taxis\"?")});
        assert_eq!(document["choices"][0]["message"], message);
    }
    assert_eq!(serde_json::from_slice::<Value>(&openai.only_request().body).unwrap(), question);
    let seen = lightrag.only_request();
    let expected = json!({"query": "How many \"taxis\"?", "mode": "hybrid", "conversation_history": [
        {"role": "system", "content": "Be brief."},
    ]});
    assert_eq!((document(&seen), seen.head.get("authorization")), (expected, None));
    // The content may come in parts, and a stream is control's.
    let parts = json!([{"type": "text", "text": "one"}, {"type": "image_url"}, {"type": "text", "text": "two"}]);
    ask("ann", &json!({"model": "m", "messages": [{"role": "user", "content": parts}]}));
    assert_eq!(document(&lightrag.last_request())["query"], "one\ntwo");
    let mut streaming = question.clone();
    streaming["stream"] = json!(true);
    assert_eq!(ask("ann", &streaming).get("x-pointsman-reason"), Some("fallback"));
    assert_eq!((lightrag.heads(), openai.heads()), (2, 2));
}

#[test]
fn arms_differ_in_model_settings_and_prompt() {
    let provider = openai();
    let gateway = Setup::new(include_str!("../../examples/prompt-and-model.toml"))
        .environment("OPENAI_URL", &provider.url())
        .start();
    let ask = |user: &str, tier: &str| {
        let fields = [("x-user-id", user), ("x-user-tier", tier)];
        gateway.request("POST", "/ask", &fields, b"{\"query\": \"How many?\"}")
    };
    expect_json(&ask("carl", "gold"), &json!({"answer": "openai: How many?"}));
    let expected = json!({"model": "gpt-4o", "max_tokens": 1000, "temperature": 0.7, "messages": [
        {"role": "user", "content": "How many?"},
    ]});
    assert_eq!(document(&provider.last_request()), expected);
    expect_json(&ask("ann", "gold"), &json!({"answer": "openai: Answer concisely about NYC taxi data: How many?"}));
    let expected = json!({"model": "gpt-4o-mini", "max_tokens": 300, "temperature": 0.2, "messages": [
        {"role": "system", "content": "The reader has the plan gold."},
        {"role": "user", "content": "Answer concisely about NYC taxi data: How many?"},
    ]});
    assert_eq!(document(&provider.last_request()), expected);
}

/// The real client, which checks what it gets against its own types.
#[test]
fn the_openai_client_reads_both_arms() {
    const CLIENT: &str = "import sys, openai\n\
        client = openai.OpenAI(base_url=sys.argv[1], api_key='k', max_retries=0)\n\
        for user in ('carl', 'ann'):\n    \
            answer = client.chat.completions.create(model='gpt-4o', extra_headers={'x-user-id': user},\n        \
                messages=[{'role': 'user', 'content': 'How many?'}])\n    \
            print(answer.model, answer.choices[0].message.role, answer.choices[0].message.content, sep='|')\n";
    let python = std::env::var("POINTSMAN_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let run = |arguments: &[&str]| std::process::Command::new(&python).args(arguments).output();
    if !run(&["-c", "import openai"]).is_ok_and(|found| found.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "the Python package openai is missing");
        let skipped = b"SKIPPED: the Python package openai is missing (pip install openai)\n";
        std::io::stderr().write_all(skipped).unwrap();
        return;
    }
    let (openai, lightrag) = (openai(), lightrag());
    let gateway = openai_beside_lightrag(&openai, &lightrag);
    let output = run(&["-c", CLIENT, &format!("http://{}/v1", gateway.address)]).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = "gpt-4o|assistant|openai: How many?\ngpt-4o|assistant|lightrag: How many?\n";
    assert_eq!(said, expected, "{}", String::from_utf8_lossy(&output.stderr));
}
