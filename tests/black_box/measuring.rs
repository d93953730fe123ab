//! What is read of answers as they pass: metrics, tokens, costs, and what a day may cost.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use serde_json::{Value, json};

use crate::support::message::{Ending, Head};
use crate::support::upstream::with_fields;
use crate::support::{BOUND, Conversation, Gateway, Setup, Upstream, eventually};

const OPENAI: &str = r#"{"choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":11,"completion_tokens":7}}"#;
const OPENAI_STREAM: &[&str] = &[
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\"usage\":null}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}],\"usage\":null}\n\n",
    ": keep-alive\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"lo\"}}],\"usage\":null}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7}}\n\n",
    "data: [DONE]\n\n",
];
const ANTHROPIC: &str = r#"{"type":"message","content":[{"text":"Hi"}],"usage":{"input_tokens":6,"cache_read_input_tokens":5,"output_tokens":7}}"#;
const ANTHROPIC_STREAM: &[&str] = &[
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":11,\"output_tokens\":1}}}\n\n",
    "event: content_block_delta\r\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"Hi\"}}\r\n\r\nevent: mess",
    "age_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":7}}\n\n",
];
const OLLAMA: &str = r#"{"message":{"content":"Hi"},"done":true,"prompt_eval_count":11,"eval_count":7}"#;
const OLLAMA_STREAM: &[&str] = &[
    "{\"message\":{\"content\":\"Hi\"},\"done\":false}\n",
    "{\"message\":{\"content\":\"\"},\"done\":true,\"prompt_eval_count\":11,\"eval_count\":7}\n",
];

/// A stream of pieces, each a chunk of its own.
fn stream(conversation: &mut Conversation, content_type: &str, pieces: &[&str]) {
    conversation
        .write(format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"));
    pieces.iter().for_each(|piece| conversation.write_chunk(piece.as_bytes()));
    conversation.write("0\r\n\r\n");
}

fn json_answer(body: &str) -> Vec<u8> {
    with_fields(200, "OK", "content-type: application/json\r\n", body)
}

/// Answers by the path that is asked for.
fn models() -> Upstream {
    Upstream::scripted(|conversation| {
        while let Some(seen) = conversation.request() {
            match seen.head.start.split(' ').nth(1).unwrap() {
                "/openai" => conversation.write(json_answer(OPENAI)),
                "/openai-stream" => stream(conversation, "text/event-stream; charset=utf-8", OPENAI_STREAM),
                "/anthropic" => conversation.write(json_answer(ANTHROPIC)),
                "/anthropic-stream" => stream(conversation, "text/event-stream", ANTHROPIC_STREAM),
                "/ollama" => conversation.write(json_answer(OLLAMA)),
                _ => stream(conversation, "application/x-ndjson", OLLAMA_STREAM),
            }
        }
    })
}

/// A metric that comes from there.
fn metric(name: &str, kind: &str, from: &str) -> String {
    format!("[metrics.{name}]\nkind = {kind:?}\nbetter = \"lower\"\nfrom = {{ {from} }}\n")
}

const PRICES: &str = "[backends.candidate.prices]\ninput = 3.0\noutput = 15.0\n";
/// Of 11 tokens of the prompt and 7 of the answer.
const COST: f64 = (11.0 * 3.0 + 7.0 * 15.0) / 1e6;

fn counted(gateway: &Gateway, name: &str, label: &str) -> f64 {
    gateway.metric(&format!("pointsman_{name}{{route=\"all\",arm=\"candidate\"{label}}}")).unwrap_or(-1.0)
}

fn unread(gateway: &Gateway, reason: &str) -> f64 {
    counted(gateway, "answers_unread_total", &format!(",reason=\"{reason}\""))
}

fn close_to(found: &Value, expected: f64) -> bool {
    found.as_f64().is_some_and(|found| (found - expected).abs() < 1e-9)
}

#[test]
fn tokens_costs_and_times_of_answers_of_every_shape() {
    let models = models();
    let metrics = [
        metric("cost", "value", "usage = \"cost\""),
        metric("output", "count", "usage = \"output_tokens\""),
        metric("first", "value", "usage = \"first_token\""),
        metric("choices", "count", "response_json = \"/choices\""),
    ];
    let gateway = Setup::candidate(&models.url(), &models.url(), "").with(PRICES).with(&metrics.concat()).start();
    let rows = [
        ("/openai", false),
        ("/openai-stream", true),
        ("/anthropic", false),
        ("/anthropic-stream", true),
        ("/ollama", false),
        ("/ollama-stream", true),
    ];
    for (asked, (path, streams)) in (1..).zip(rows) {
        let answer = gateway.get(path, &[("x-user-id", "u")]);
        assert_eq!((answer.status, answer.ending), (200, Ending::Whole), "{path}");
        let line = gateway.line_of(&answer);
        let told = &line["metrics"];
        assert!(close_to(&told["cost"], COST) && told["output"] == 7.0, "{path}: {line}");
        assert_eq!(told["first"].is_number(), streams, "{path}: {line}");
        // The last event that has it counts: the one with the usage has no choices left.
        let choices = match path {
            "/openai" => json!(1.0),
            "/openai-stream" => json!(0.0),
            _ => Value::Null,
        };
        assert_eq!(told["choices"], choices, "{path}: {line}");
        let directions =
            ["input", "output"].map(|word| counted(&gateway, "tokens_total", &format!(",direction={word:?}")));
        assert_eq!(directions, [11.0 * f64::from(asked), 7.0 * f64::from(asked)], "{path}");
        assert!((counted(&gateway, "cost_total", "") - f64::from(asked) * COST).abs() < 1e-9, "{path}");
    }
    assert_eq!(counted(&gateway, "time_to_first_token_seconds_count", ""), 3.0);
    assert_eq!(gateway.metric("pointsman_cost_total{route=\"all\",arm=\"control\"}"), None, "control has no prices");
}

#[test]
fn each_arm_has_its_places_and_a_gate_judges_a_number_of_the_body() {
    let control = Upstream::answering(|_| with_fields(200, "OK", "x-score: 0.9\r\n", "control"));
    let candidate =
        Upstream::answering(|_| json_answer(r#"{"rag": {"similarity": 0.25}, "keywords": ["a", "b", "c"]}"#));
    let metrics = [
        "[metrics.quality]\nkind = \"value\"\nbetter = \"higher\"\n\
         from = { control = { response_header = \"x-score\" }, candidate = { response_json = \"/rag/similarity\" } }\n",
        &metric("keywords", "count", "response_json = \"/keywords\""),
    ];
    let gate = "quality_gate = { metric = \"quality\", min = 0.7, window = \"2s\", min_samples = 3, \
                retry_after = \"60s\" }";
    let gateway = Setup::candidate(&control.url(), &candidate.url(), gate).with(&metrics.concat()).start();
    let first = gateway.ask();
    let line = gateway.line_of(&first);
    assert_eq!(line["metrics"], json!({"quality": 0.25, "keywords": 3.0}), "{line}");
    assert_eq!(line["attempts"][0]["score"], 0.25, "{line}");
    let last = eventually("the gate shuts", || {
        let answer = gateway.ask();
        (answer.get("x-pointsman-reason") == Some("quality_gate")).then_some(answer)
    });
    let line = gateway.line_of(&last);
    assert_eq!(line["metrics"], json!({"quality": 0.9}), "{line}");
}

/// Answers of which nothing can be read, by the path that is asked for.
fn unreadable() -> Upstream {
    Upstream::scripted(|conversation| {
        while let Some(seen) = conversation.request() {
            let json = "content-type: application/json\r\n";
            match seen.head.start.split(' ').nth(1).unwrap() {
                "/encoded" => {
                    conversation.write(with_fields(200, "OK", &format!("{json}content-encoding: gzip\r\n"), OPENAI))
                }
                "/content_type" => conversation.write(with_fields(200, "OK", "content-type: text/html\r\n", OPENAI)),
                "/not_json" => conversation.write(json_answer("<html>")),
                "/no_usage" => conversation.write(json_answer("{}")),
                "/partial" => conversation.write(with_fields(206, "Partial", json, OPENAI)),
                "/too_long" => conversation.write(json_answer(&OPENAI.replace("Hi", &"x".repeat(1 << 20)))),
                "/empty" => conversation.write(with_fields(200, "OK", json, "")),
                "/page" => conversation.write(with_fields(404, "Not Found", "content-type: text/html\r\n", "no")),
                "/timeout" | "/client_gone" => {
                    conversation.write(format!("HTTP/1.1 200 OK\r\n{json}content-length: 500\r\n\r\n{OPENAI}"));
                    return conversation.await_departure();
                }
                // Everything but its end has come.
                _ => {
                    conversation.write(
                        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
                    );
                    OPENAI_STREAM.iter().for_each(|piece| conversation.write_chunk(piece.as_bytes()));
                    return conversation.close();
                }
            }
        }
    })
}

#[test]
fn what_cannot_be_read_is_unknown_and_counted() {
    let (control, candidate) = (Upstream::saying("control"), unreadable());
    let metrics =
        [metric("tokens", "count", "usage = \"total_tokens\""), metric("n", "count", "response_json = \"/choices\"")];
    let gateway = Setup::candidate(&control.url(), &candidate.url(), "")
        .with("[backends.candidate.timeouts]\nidle = \"1s\"")
        .with(PRICES)
        .with(&metrics.concat())
        .start();
    let rows = [
        ("/encoded", Some("encoded"), 1.0),
        ("/content_type", Some("content_type"), 1.0),
        ("/not_json", Some("not_json"), 1.0),
        ("/no_usage", Some("no_usage"), 1.0),
        ("/truncated", Some("truncated"), 1.0),
        ("/partial", Some("truncated"), 2.0),
        ("/timeout", Some("timeout"), 1.0),
        ("/too_long", Some("too_long"), 1.0),
        ("/empty", None, 0.0),
        ("/page", None, 0.0),
    ];
    for (path, reason, count) in rows {
        let line = gateway.line_of(&gateway.get(path, &[("x-user-id", "u")]));
        assert_eq!(line["metrics"], Value::Null, "{path}: {line}");
        if let Some(reason) = reason {
            assert_eq!(unread(&gateway, reason), count, "{path}");
        }
    }
    let mut client = gateway.client();
    client.send("GET /client_gone HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\nx-request-id: gone\r\n\r\n");
    client.head();
    client.reset();
    gateway.line_with_id("gone");
    assert_eq!(unread(&gateway, "client_gone"), 1.0);
    let unread: f64 = rows.iter().filter(|(path, reason, _)| reason.is_some() && *path != "/partial").count() as f64;
    let told: f64 = gateway
        .metrics()
        .lines()
        .filter(|line| line.starts_with("pointsman_answers_unread_total"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert_eq!(told, unread + 2.0, "nothing else is counted");
    assert_eq!(counted(&gateway, "tokens_total", ",direction=\"input\""), 0.0);
}

#[test]
fn memory_for_reading_is_bounded() {
    let candidate = Upstream::answering(|_| json_answer(&OPENAI.replace("Hi", &"x".repeat(100_000))));
    let gateway = Setup::candidate(&candidate.url(), &candidate.url(), "")
        .top("limits.replay_memory = \"64KiB\"")
        .with(PRICES)
        .start();
    let answer = gateway.ask();
    assert_eq!((answer.ending, answer.body.len()), (Ending::Whole, OPENAI.len() + 99_998));
    gateway.line_of(&answer);
    assert_eq!(unread(&gateway, "no_memory"), 1.0);
}

#[test]
fn a_rewritten_answer_is_read_as_the_backend_gave_it() {
    let (control, candidate) = (Upstream::saying("control"), Upstream::answering(|_| json_answer(OPENAI)));
    let rewrite = "rewrite.candidate.response.template = { answer = \"{{ choices[0].message.content }}\" }";
    let metrics = metric("tokens", "count", "usage = \"total_tokens\"");
    let gateway = Setup::candidate(&control.url(), &candidate.url(), rewrite).with(PRICES).with(&metrics).start();
    let answer = gateway.ask();
    answer.expect(200, r#"{"answer":"Hi"}"#);
    let line = gateway.line_of(&answer);
    assert_eq!(line["metrics"], json!({"tokens": 18.0}), "{line}");
    assert!((counted(&gateway, "cost_total", "") - COST).abs() < 1e-12);
}

/// An upstream that sends the next piece when it is told to; whoever gathers, waits for ever.
fn in_step(pieces: &'static [&'static str]) -> (Upstream, Sender<()>) {
    let (go, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let upstream = Upstream::scripted(move |conversation| {
        if conversation.request().is_none() {
            return;
        }
        conversation.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
        for piece in pieces {
            gate.lock().unwrap().recv_timeout(BOUND).unwrap();
            conversation.write_chunk(piece.as_bytes());
        }
        conversation.write("0\r\n\r\n");
    });
    (upstream, go)
}

#[test]
fn a_stream_passes_as_if_nobody_read_it() {
    let metrics =
        [metric("tokens", "count", "usage = \"total_tokens\""), metric("n", "count", "response_json = \"/choices\"")];
    for pieces in [OPENAI_STREAM, ANTHROPIC_STREAM, OLLAMA_STREAM] {
        let passed = ["", &format!("{PRICES}{}", metrics.concat())].map(|tables| {
            let (upstream, go) = in_step(pieces);
            let gateway = Setup::candidate(&upstream.url(), &upstream.url(), "").with(tables).start();
            let mut client = gateway.client();
            client.send("GET / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\nx-request-id: same\r\n\r\n");
            let (_, head) = client.head();
            let next = |_| {
                go.send(()).unwrap();
                client.wire.chunk().unwrap().unwrap()
            };
            let chunks: Vec<Vec<u8>> = pieces.iter().map(next).collect();
            assert_eq!(client.wire.chunk().unwrap().unwrap(), b"", "the end");
            (comparable(&head), chunks)
        });
        assert_eq!(passed[0], passed[1]);
        let sent: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
        assert_eq!(passed[1].1, sent, "chunk by chunk, as it was sent");
    }
}

/// The fields but for those that tell times.
fn comparable(head: &Head) -> Vec<(String, String)> {
    let fields = head.fields.iter().filter(|(name, _)| !["date", "server-timing"].contains(&name.as_str()));
    fields.cloned().collect()
}

#[test]
fn a_spent_budget_gives_the_users_to_control() {
    let (control, candidate) = (Upstream::saying("control"), Upstream::answering(|_| json_answer(OPENAI)));
    let budget = format!("budget = {{ cost_per_day = {} }}\n", 2.0 * COST);
    let tables = format!(
        "[backends.candidate]\nurl = {:?}\n{budget}prices = {{ input = 3.0, output = 15.0 }}\n\
        [backends.control]\nurl = {:?}\nprices = {{ input = 3.0, output = 15.0 }}\n{budget}\
        [routes.all]\npath = \"/\"\ncontrol = \"control\"\ncandidate = \"candidate\"\nrollout.percent = 100\n\
        override = {{ key = \"open-sesame\" }}\n",
        candidate.url(),
        control.url()
    );
    let gateway = Setup::new(tables).start();
    let ratio = || gateway.metric("pointsman_budget_used_ratio{backend=\"candidate\"}").unwrap();
    let asked = |reason: &str, body: &str| {
        let answer = gateway.ask();
        answer.expect(200, body);
        assert_eq!(answer.get("x-pointsman-reason"), Some(reason), "{answer:?}");
        gateway.line_of(&answer)
    };
    asked("rollout", OPENAI);
    assert!((ratio() - 0.5).abs() < 1e-3, "{}", ratio());
    assert!(!gateway.stderr().contains("budget"), "{}", gateway.stderr());
    asked("rollout", OPENAI);
    let line = asked("budget", "control");
    assert_eq!((&line["assigned"], &line["served"]), (&"candidate".into(), &"control".into()), "{line}");
    asked("budget", "control");
    assert!((ratio() - 1.0).abs() < 1e-3 && candidate.heads() == 2, "{}", ratio());
    let warned = eventually("the warning", || Some(gateway.stderr()).filter(|log| log.contains("budget is spent")));
    assert_eq!(warned.matches("the daily budget is spent").count(), 1, "{warned}");
    let api = |target: &str| -> Value {
        let answer = crate::support::Client::connect(gateway.admin()).get(target, &[("host", "localhost")]);
        serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"))
    };
    let explained = api("/api/v1/explain?route=all&key=u");
    let step = explained["steps"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(step, json!({"step": "budget", "decided": true, "found": "today's budget is spent"}), "{explained}");
    let route = api("/api/v1/routes/all");
    assert_eq!(route["candidate"]["prices"], json!({"input": 3.0, "output": 15.0, "currency": "USD"}), "{route}");
    let budget_view = &route["candidate"]["budget"];
    assert!(
        close_to(&budget_view["cost_per_day"], 2.0 * COST) && close_to(&budget_view["spent"], 2.0 * COST),
        "{route}"
    );
    // Who insists on the candidate gets it; its cost is counted, and nobody is warned again.
    let override_ = [("x-user-id", "u"), ("x-pointsman-override", "candidate open-sesame")];
    gateway.get("/", &override_).expect(200, OPENAI);
    assert!(eventually("more than its budget", || Some(ratio()).filter(|ratio| *ratio > 1.4)) < 1.6);
    assert_eq!(gateway.stderr().matches("the daily budget is spent").count(), 1);
    // More room, from the file: what was spent stays spent.
    let roomier = std::fs::read_to_string(&gateway.file).unwrap().replace(&budget, "budget = { cost_per_day = 1.0 }\n");
    std::fs::write(&gateway.file, roomier).unwrap();
    eventually("the candidate again", || (gateway.ask().get("x-pointsman-reason") == Some("rollout")).then_some(()));
    assert!(ratio() > 2.9 * COST && ratio() < 1e-2, "{}", ratio());
}

#[test]
fn control_is_never_switched_off_by_a_budget() {
    let control = Upstream::answering(|_| json_answer(OPENAI));
    let tables = "prices = { input = 3.0, output = 15.0 }\nbudget = { cost_per_day = 0.0001 }\n";
    let gateway = Setup::new(format!(
        "[backends.control]\nurl = {:?}\n{tables}[backends.candidate]\nrespond = {{}}\n\
         [routes.all]\npath = \"/\"\ncontrol = \"control\"\ncandidate = \"candidate\"\n",
        control.url()
    ))
    .start();
    for _ in 0..3 {
        gateway.ask().expect(200, OPENAI);
    }
    gateway.await_lines(3);
    assert!(gateway.metric("pointsman_budget_used_ratio{backend=\"control\"}").unwrap() > 1.0);
}

/// The real client, which parses what it gets; each chunk as it understood it.
#[test]
fn the_openai_client_streams_the_same_with_and_without_the_gateway() {
    const CLIENT: &str = "import sys, openai\n\
        client = openai.OpenAI(base_url=sys.argv[1], api_key='k', max_retries=0, default_headers={'x-user-id': 'u'})\n\
        for chunk in client.chat.completions.create(model='m', stream=True, stream_options={'include_usage': True},\n    \
            messages=[{'role': 'user', 'content': 'Hello'}]):\n    \
            print(chunk.model_dump_json())\n";
    let python = std::env::var("POINTSMAN_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let run = |arguments: &[&str]| std::process::Command::new(&python).args(arguments).output();
    if !run(&["-c", "import openai"]).is_ok_and(|found| found.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "the Python package openai is missing");
        let skipped = b"SKIPPED: the Python package openai is missing (pip install openai)\n";
        std::io::stderr().write_all(skipped).unwrap();
        return;
    }
    let upstream = Upstream::scripted(|conversation| {
        while let Some(seen) = conversation.request() {
            let asked: Value = serde_json::from_slice(&seen.body).unwrap();
            assert_eq!(asked["stream_options"]["include_usage"], true);
            let chunk = |choices: Value, usage: Value| {
                let chunk = json!({
                    "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                    "choices": choices, "usage": usage,
                });
                format!("data: {chunk}\n\n")
            };
            let words = ["", "Hel", "lo", " wörld"]
                .map(|word| chunk(json!([{"index": 0, "delta": {"role": "assistant", "content": word}}]), Value::Null));
            let usage = json!({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18});
            let last = [chunk(json!([]), usage), "data: [DONE]\n\n".to_owned()];
            let pieces: Vec<&str> = words.iter().chain(&last).map(String::as_str).collect();
            stream(conversation, "text/event-stream; charset=utf-8", &pieces);
        }
    });
    let metrics = metric("tokens", "count", "usage = \"total_tokens\"");
    let gateway = Setup::candidate(&upstream.url(), &upstream.url(), "").with(PRICES).with(&metrics).start();
    let [direct, through] = [upstream.address, gateway.address].map(|address| {
        let output = run(&["-c", CLIENT, &format!("http://{address}/v1")]).unwrap();
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    });
    assert_eq!(direct, through);
    assert_eq!(direct.0.lines().count(), 5, "{direct:?}");
    let lines = gateway.await_lines(1);
    assert_eq!(lines[0]["metrics"], json!({"tokens": 18.0}), "{lines:?}");
    assert_eq!(counted(&gateway, "time_to_first_token_seconds_count", ""), 1.0);
}
