//! Judges: what they are sent, what their verdicts count for, and that nobody else notices them.

use serde_json::{Value, json};

use crate::reading::{ask, get, store};
use crate::support::message::Ending;
use crate::support::upstream::{Refusing, status, with_fields};
use crate::support::{Conversation, Gateway, Setup, Upstream, eventually};

const TOKENS: &str = "[admin.tokens.board]\nrole = \"viewer\"\ntoken = \"board-token-0123456789\"\n\
                      [admin.tokens.shop]\nrole = \"events\"\ntoken = \"shop-token-0123456789\"\n\
                      [admin.tokens.deploy]\nrole = \"operator\"\ntoken = \"deploy-token-0123456789\"\n\
                      [admin.tokens.root]\nrole = \"admin\"\ntoken = \"root-token-0123456789\"\n";

const METRICS: &str = "[metrics.quality]\nkind = \"value\"\nbetter = \"higher\"\nfrom = { judge = \"llm\" }\n\
                       [metrics.refused]\nkind = \"occurrence\"\nbetter = \"lower\"\n\
                       from = { judge = \"llm\", score = \"no answer\" }\n";

/// Everything is judged; `judge` are keys of the judge, `route` of the route.
fn setup(backends: [&Upstream; 2], url: &str, judge: &str, route: &str) -> Setup {
    let [control, candidate] = backends.map(Upstream::url);
    Setup::new(format!(
        "state.store = \"sqlite:pointsman.db\"\n{TOKENS}{METRICS}[judges.llm]\nurl = {url:?}\n{judge}\n\
         [backends.old]\nurl = {control:?}\n[backends.new]\nurl = {candidate:?}\n\
         [routes.all]\npath = \"/\"\ncontrol = \"old\"\ncandidate = \"new\"\ntargets.candidate = [\"v\"]\n\
         fallback.replay = \"connect\"\n{route}\n[routes.all.judge]\nby = \"llm\"\npercent = 100\nmax_body = \"1KiB\"\n\
         [routes.all.judge.send]\nquery = {{ request_json = \"/query\" }}\nlanguage = {{ request_header = \"accept-language\" }}\n\
         model = {{ response_header = \"x-model\" }}\n\
         answer = {{ response_json = \"/choices/0/text\", candidate = {{ response_json = \"/answer\" }} }}\n"
    ))
}

fn json_answer(fields: &str, body: &Value) -> Vec<u8> {
    with_fields(200, "OK", &format!("content-type: application/json\r\n{fields}"), &body.to_string())
}

fn control() -> Upstream {
    Upstream::answering(|_| {
        json_answer(
            "x-model: old-1\r\nset-cookie: secret-cookie\r\n",
            &json!({"choices": [{"text": "from old"}], "internal": "secret-internal"}),
        )
    })
}

fn candidate() -> Upstream {
    Upstream::answering(|_| json_answer("", &json!({"answer": "from new", "context": "secret-context"})))
}

fn judge() -> Upstream {
    Upstream::answering(|seen| {
        let asked: Value = serde_json::from_slice(&seen.body).unwrap();
        let good = asked["exchange"]["answer"] == "from new";
        json_answer(
            "",
            &json!({"scores": {"quality": if good { 0.9 } else { 0.4 }, "no answer": !good}, "why": "because"}),
        )
    })
}

fn post(gateway: &Gateway, user: &str) {
    let fields = [
        ("x-user-id", user),
        ("content-type", "application/json"),
        ("accept-language", "en"),
        ("cookie", "a=secret-cookie"),
    ];
    let answer = gateway.request(
        "POST",
        "/?token=secret-token",
        &fields,
        b"{\"query\": \"why?\", \"user\": {\"mail\": \"secret-mail\"}}",
    );
    assert_eq!((answer.status, answer.ending), (200, Ending::Whole), "{answer:?}");
}

/// How many exchanges became this.
fn count(gateway: &Gateway, result: &str) -> f64 {
    gateway.count(&format!("pointsman_sampled_total{{route=\"all\",purpose=\"judge\",result=\"{result}\"}}"))
}

fn await_count(gateway: &Gateway, result: &str, wanted: f64) {
    eventually(&format!("{wanted} {result}"), || (count(gateway, result) >= wanted).then_some(()));
    assert_eq!(count(gateway, result), wanted, "{result}");
}

fn metric(gateway: &Gateway, arm: &str, name: &str) -> Value {
    get(gateway, "/api/v1/stats?window=1h&route=all")["routes"]["all"][arm]["metrics"][name].clone()
}

#[test]
fn a_judge_is_sent_what_the_file_lists_and_its_scores_count_for_the_arm() {
    let (control, candidate, judge) = (control(), candidate(), judge());
    let headers = "headers = { authorization = \"Bearer of-the-judge\" }";
    let gateway = setup([&control, &candidate], &format!("{}/score", judge.url()), headers, "").start();
    post(&gateway, "u");
    judge.await_heads(1);
    post(&gateway, "v");
    await_count(&gateway, "done", 2.0);
    let exchanges = [
        json!({"query": "why?", "language": "en", "model": "old-1", "answer": "from old"}),
        json!({"query": "why?", "language": "en", "model": null, "answer": "from new"}),
    ];
    for (seen, exchange) in judge.requests().iter().zip(exchanges) {
        let asked: Value = serde_json::from_slice(&seen.body).unwrap();
        assert_eq!(asked, json!({"id": asked["id"], "route": "all", "exchange": exchange}));
        assert_eq!(seen.head.get("authorization"), Some("Bearer of-the-judge"));
        assert_eq!(seen.head.start, "POST /score HTTP/1.1");
        let everything = format!("{:?} {asked}", seen.head);
        assert!(!everything.contains("secret") && !everything.contains("x-user-id"), "{everything}");
    }
    let rows = [
        ("control", "quality", 0.4),
        ("control", "refused", 1.0),
        ("candidate", "quality", 0.9),
        ("candidate", "refused", 0.0),
    ];
    for (arm, name, mean) in rows {
        let told = || Some(metric(&gateway, arm, name)).filter(|told| told["count"] == json!(1.0));
        assert_eq!(eventually("a score", told)["mean"], mean, "{arm} {name}");
    }
    let events = get(&gateway, "/api/v1/events?type=judge.llm");
    let event = &events["events"][1];
    assert_eq!(
        (&event["route"], &event["arm"], &event["data"]["served"]),
        (&json!("all"), &json!("candidate"), &json!("candidate"))
    );
    assert!(event["user"].is_string() && event["bucket"].is_u64(), "{event}");
    ask(&gateway, "root", "POST", "/api/v1/erase", "{\"user\": \"v\"}").expect(200, "{\"removed\":1}");
}

#[test]
fn streams_are_judged_by_all_their_texts_together() {
    let stream = "data: {\"answer\":\"from \"}\n\ndata: {\"answer\":\"new\"}\n\ndata: [DONE]\n\n";
    let candidate = Upstream::answering(move |_| with_fields(200, "OK", "content-type: text/event-stream\r\n", stream));
    let (control, judge) = (control(), judge());
    let gateway = setup([&control, &candidate], &judge.url(), "", "").start();
    post(&gateway, "v");
    await_count(&gateway, "done", 1.0);
    assert_eq!(
        eventually("a score", || Some(metric(&gateway, "candidate", "quality"))
            .filter(|told| told["count"] == json!(1.0)))["mean"],
        0.9
    );
}

#[test]
fn what_cannot_be_judged_is_counted_by_its_reason() {
    let body = |conversation: &mut Conversation, bytes: &[u8]| {
        if conversation.request().is_some() {
            conversation.write(bytes);
        }
        conversation.close();
    };
    let ok = |fields: &str, text: &str| with_fields(200, "OK", fields, text);
    let json = "content-type: application/json\r\n";
    let rows: [(&str, Vec<u8>, &str); 8] = [
        ("encoded", ok(&format!("{json}content-encoding: gzip\r\n"), "{}"), "v"),
        ("content_type", ok("content-type: text/plain\r\n", "{}"), "v"),
        ("content_type", ok("", "{}"), "v"),
        ("too_large", ok(json, &format!("\"{}\"", "x".repeat(1_100))), "v"),
        ("not_json", ok(json, "{\"a\""), "v"),
        ("status", with_fields(404, "Not Found", json, "{}"), "v"),
        ("no_key", ok(json, "{}"), ""),
        (
            "truncated",
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{}".to_vec(),
            "v",
        ),
    ];
    for (reason, bytes, user) in rows {
        let answered = Upstream::scripted(move |conversation| body(conversation, &bytes));
        let judge = judge();
        let gateway = setup([&answered, &answered], &judge.url(), "", "").start();
        let fields = [("x-user-id", user), ("content-type", "application/json")];
        gateway.request("POST", "/", &fields[usize::from(user.is_empty())..], b"{}");
        await_count(&gateway, reason, 1.0);
        assert_eq!((judge.heads(), count(&gateway, "done")), (0, 0.0), "{reason}");
    }
}

#[test]
fn requests_and_events_that_are_no_documents() {
    let (control, candidate, judge) = (control(), candidate(), judge());
    let gateway = setup([&control, &candidate], &judge.url(), "", "").start();
    let rows = [("text/plain", "", "content_type"), ("application/json", "gzip", "encoded")];
    for (content_type, encoding, reason) in rows {
        let fields = [("x-user-id", "u"), ("content-type", content_type), ("content-encoding", encoding)];
        let fields = &fields[..if encoding.is_empty() { 2 } else { 3 }];
        assert_eq!(gateway.request("POST", "/", fields, b"{}").status, 200);
        await_count(&gateway, reason, 1.0);
    }
    assert_eq!(gateway.get("/", &[("x-user-id", "u")]).status, 200);
    await_count(&gateway, "done", 1.0);
    let forged = ask(&gateway, "shop", "POST", "/v1/events", "{\"name\": \"judge.llm\", \"user\": \"u\"}");
    assert!(forged.status == 400 && forged.text().contains("judge."), "{}", forged.text());
    store(&gateway, &[json!({"name": "judged", "user": "u"})]);
}

#[test]
fn a_judge_that_fails_costs_no_client_anything() {
    let refusing = Refusing::new();
    let (garbage, huge, refusal) = (
        Upstream::saying("<html>"),
        Upstream::answering(|_| with_fields(200, "OK", "", &" ".repeat(100_000))),
        Upstream::answering(|_| status(403, "Forbidden", "")),
    );
    let hanging = Upstream::scripted(|conversation| {
        conversation.request();
        conversation.await_departure();
    });
    let rows = [
        (refusing.url(), "failed", "connect", 1.0),
        (garbage.url(), "invalid", "invalid", 1.0),
        (huge.url(), "invalid", "invalid", 1.0),
        (refusal.url(), "failed", "status", 1.0),
        (hanging.url(), "failed", "timeout", 1.0),
    ];
    for (url, fate, result, requests) in rows {
        let (control, candidate) = (control(), candidate());
        let gateway = setup([&control, &candidate], &url, "retries = 0\ntimeout = \"200ms\"", "").start();
        post(&gateway, "v");
        await_count(&gateway, fate, 1.0);
        let asked = gateway.count(&format!("pointsman_judge_requests_total{{judge=\"llm\",result=\"{result}\"}}"));
        assert_eq!(asked, requests, "{url} {result}");
        post(&gateway, "v");
    }
}

#[test]
fn a_judge_is_asked_again_and_its_verdict_counts_once() {
    let (control, candidate) = (control(), candidate());
    let answers = std::sync::Mutex::new(vec![
        json_answer("", &json!({"scores": {"quality": 0.5}})),
        status(429, "Too Many Requests", ""),
        status(503, "Service Unavailable", ""),
    ]);
    let judge = Upstream::answering(move |_| answers.lock().unwrap().pop().unwrap());
    let gateway = setup([&control, &candidate], &judge.url(), "retries = 2", "").start();
    post(&gateway, "v");
    await_count(&gateway, "done", 1.0);
    assert_eq!(gateway.count("pointsman_judge_requests_total{judge=\"llm\",result=\"status\"}"), 2.0);
    let bodies: Vec<Vec<u8>> = judge.requests().into_iter().map(|seen| seen.body).collect();
    assert!(
        bodies.len() == 3 && bodies.windows(2).all(|pair| pair[0] == pair[1]),
        "the same question, with the same id"
    );
    assert_eq!(
        eventually("a score", || Some(metric(&gateway, "candidate", "quality")).filter(|told| !told.is_null()))["count"],
        json!(1.0)
    );
}

#[test]
fn budgets_and_queues_have_an_end() {
    let (control, candidate, judge) = (control(), candidate(), judge());
    let gateway =
        setup([&control, &candidate], &judge.url(), "budget = { per_minute = 1000, per_day = 3 }", "").start();
    (0..10).for_each(|_| post(&gateway, "v"));
    await_count(&gateway, "budget", 7.0);
    await_count(&gateway, "done", 3.0);
    assert_eq!(judge.heads(), 3);
    let hanging = Upstream::scripted(|conversation| {
        conversation.request();
        conversation.await_departure();
    });
    let gateway = setup([&control, &candidate], &hanging.url(), "queue = 2\nmax_in_flight = 1", "").start();
    post(&gateway, "v");
    hanging.await_heads(1);
    (0..9).for_each(|_| post(&gateway, "v"));
    await_count(&gateway, "queue_full", 7.0);
    assert_eq!(gateway.count("pointsman_judge_waiting{judge=\"llm\"}"), 2.0);
    assert_eq!(hanging.heads(), 1);
}

#[test]
fn a_percentage_is_drawn_by_the_requests_id() {
    let (control, candidate, judge) = (control(), candidate(), judge());
    let setup = setup([&control, &candidate], &judge.url(), "queue = 1000\nbudget.per_minute = 10000", "");
    let gateway = setup.start();
    gateway.rewrite(
        &self::setup([&control, &candidate], &judge.url(), "queue = 1000\nbudget.per_minute = 10000", "")
            .replacing("percent = 100\nmax_body", "percent = 20\nmax_body"),
    );
    eventually("the new share", || (get(&gateway, "/api/v1/config")["generation"] == 2).then_some(()));
    let mut client = gateway.client();
    let mut drawn = 0;
    for n in 0..200 {
        let id = format!("id-{n}");
        // The formula that docs/judge.md publishes.
        drawn +=
            u32::from(pointsman::domain::assignment::Digest::of(id.as_bytes(), b"judge").bucket().percentage() <= 20.0);
        let fields = [("x-user-id", "v"), ("x-request-id", id.as_str()), ("content-type", "application/json")];
        assert_eq!(client.request("POST", "/", &fields, b"{}").status, 200);
    }
    assert!((20..60).contains(&drawn), "{drawn}");
    await_count(&gateway, "done", f64::from(drawn));
}

#[test]
fn a_quality_gate_can_look_at_a_judges_scores() {
    let (control, candidate) = (control(), candidate());
    let judge = Upstream::answering(|_| json_answer("", &json!({"scores": {"quality": 0.1}})));
    let gate = "[routes.all.quality_gate]\nmetric = \"quality\"\nmin = 0.5\nmin_samples = 3\n";
    let gateway = setup([&control, &candidate], &judge.url(), "", gate).start();
    (0..3).for_each(|_| post(&gateway, "v"));
    eventually("the gate shuts", || (gateway.count("pointsman_quality_gate_open{route=\"all\"}") == 0.0).then_some(()));
    let before = candidate.heads();
    post(&gateway, "v");
    assert_eq!(candidate.heads(), before, "control serves");
    // What control answered in the candidate's place says nothing about the candidate.
    await_count(&gateway, "done", 4.0);
    let told = eventually("four scores", || {
        Some(metric(&gateway, "candidate", "quality")).filter(|told| told["count"] == json!(4.0))
    });
    assert_eq!(told["mean"], 0.1);
}
