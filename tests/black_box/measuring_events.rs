//! Metrics from configuration alone: events and answers become figures of each arm, which outlive the
//! process, and of which no event is lost or counted twice.

use serde_json::{Value, json};

use crate::support::upstream::with_fields;
use crate::support::{Gateway, Setup, Upstream, eventually};

const TOKEN: &str = "[admin.tokens.app]\nrole = \"operator\"\ntoken = \"app-token-0123456789\"\n";

/// The metrics of a chatbot, as a file has them.
const CHATBOT: &str = r#"
[metrics.connected]
kind = "occurrence"
better = "higher"
from = { event = "chatbot.connection.status", value = "/data/success" }
[metrics.messages]
kind = "count"
better = "higher"
from = { event = "chatbot.message.sent" }
[metrics.chat_errors]
kind = "count"
better = "lower"
from = { event = "chatbot.error" }
[metrics.response_time]
kind = "value"
better = "lower"
unit = "ms"
from = { event = "chatbot.response.time", value = "/value" }
[metrics.errors_per_message]
kind = "ratio"
better = "lower"
from = { ratio = ["chat_errors", "messages"] }
[metrics.cost]
kind = "value"
better = "lower"
unit = "USD"
from = { event = "answer.rated", value = "/data/cost", where = { success = true } }
[metrics.satisfaction]
kind = "value"
better = "higher"
from = { event = "answer.rated", value = "/data/stars" }
[metrics.cache_hits]
kind = "occurrence"
better = "higher"
from = { response_header = "x-cache" }
[metrics.events_per_request]
kind = "ratio"
better = "higher"
from = { ratio = ["messages", "requests"] }
[metrics.mean_latency]
kind = "ratio"
better = "lower"
unit = "ms"
from = { ratio = ["latency", "served"] }
"#;

fn setup(candidate: &Upstream) -> Setup {
    Setup::new(format!(
        "state.store = \"sqlite:pointsman.db\"\n{TOKEN}{CHATBOT}[backends.old]\nrespond = {{ body = \"old\" }}\n\
         [backends.new]\nurl = {:?}\n[routes.chat]\npath = \"/\"\ncontrol = \"old\"\ncandidate = \"new\"\n\
         methods = [\"GET\"]\ntargets.control = [\"someone\"]\nrollout.percent = 100\n",
        candidate.url()
    ))
}

fn ask(gateway: &Gateway, method: &str, target: &str, body: &Value) -> Value {
    let fields =
        [("host", "localhost"), ("authorization", "Bearer app-token-0123456789"), ("content-type", "application/json")];
    let answer = gateway.admin_client().request(method, target, &fields, body.to_string().as_bytes());
    assert!((200..300).contains(&answer.status), "{method} {target}: {answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

fn stats(gateway: &Gateway) -> Value {
    ask(gateway, "GET", "/api/v1/stats?window=1h&route=chat", &Value::Null)["routes"]["chat"].clone()
}

fn events() -> Value {
    let event = |name: &str, user: &str, value: Value, data: Value| json!({"name": name, "user": user, "value": value, "data": data});
    json!([
        event("chatbot.connection.status", "u", Value::Null, json!({"success": true})),
        event("chatbot.connection.status", "u", Value::Null, json!({"success": false})),
        event("chatbot.message.sent", "u", Value::Null, json!({})),
        event("chatbot.message.sent", "v", Value::Null, json!({})),
        event("chatbot.message.sent", "someone", Value::Null, json!({})),
        event("chatbot.error", "u", Value::Null, json!({"code": 5})),
        event("chatbot.response.time", "u", json!(120), json!({})),
        event("chatbot.response.time", "v", json!(180), json!({})),
        event("answer.rated", "u", Value::Null, json!({"success": true, "cost": 0.25, "stars": 4})),
        event("answer.rated", "v", Value::Null, json!({"success": false, "cost": 9.0, "stars": 2})),
        event("nobody.asked", "u", json!(1), json!({})),
    ])
}

/// Every figure of the candidate that the events and two requests make.
fn check(found: &Value) {
    let of = |name: &str| found["candidate"]["metrics"][name].clone();
    let rows = [
        ("connected", 2.0, 1.0, Some(0.5)),
        ("messages", 2.0, 2.0, None),
        ("chat_errors", 1.0, 1.0, None),
        ("response_time", 2.0, 300.0, Some(150.0)),
        ("errors_per_message", 2.0, 1.0, Some(0.5)),
        ("cost", 1.0, 0.25, Some(0.25)),
        ("satisfaction", 2.0, 6.0, Some(3.0)),
        ("cache_hits", 2.0, 1.0, Some(0.5)),
        ("events_per_request", 2.0, 2.0, Some(1.0)),
    ];
    for (name, count, sum, mean) in rows {
        let metric = of(name);
        let expected = (json!(count), json!(sum), json!(mean));
        assert_eq!(
            (metric["count"].clone(), metric["sum"].clone(), metric["mean"].clone()),
            expected,
            "{name}: {found}"
        );
    }
    let (ratio, told) = (of("mean_latency")["mean"].as_f64(), found["candidate"]["latency"]["mean"].as_f64());
    assert!(ratio.zip(told).is_some_and(|(ratio, told)| (ratio - told).abs() < 1e-6 * told), "{found}");
    assert_eq!(found["candidate"]["requests"], 2, "{found}");
    assert_eq!(found["candidate"]["success_rate"], 1.0, "{found}");
    assert!(found["candidate"]["latency"]["p99"].as_f64().is_some_and(|millis| millis > 0.0), "{found}");
    assert_eq!(found["control"]["metrics"]["messages"]["sum"], 1.0, "targeted users are counted, apart: {found}");
    assert_eq!(found["control"]["requests"], 0, "{found}");
}

#[test]
fn a_chatbots_metrics_come_from_configuration_alone_and_outlive_the_process() {
    let hits = std::sync::atomic::AtomicUsize::new(0);
    let candidate = Upstream::answering(move |_| {
        let cache = if hits.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 { "HIT" } else { "miss" };
        with_fields(200, "OK", &format!("x-cache: {cache}\r\n"), "new")
    });
    let mut gateway = setup(&candidate).start();
    for user in ["u", "v"] {
        assert_eq!(gateway.get("/", &[("x-user-id", user)]).status, 200);
    }
    let kept = ask(&gateway, "POST", "/v1/events", &events());
    assert_eq!(kept, json!({"stored": 11, "duplicates": 0}));
    let found = eventually("all events are counted", || {
        let found = stats(&gateway);
        let rated = found["candidate"]["metrics"]["satisfaction"]["count"] == 2.0;
        (rated && found["candidate"]["requests"] == 2).then_some(found)
    });
    check(&found);
    gateway.signal("TERM");
    assert!(gateway.await_exit().success());
    gateway.start_again();
    check(&eventually("what was kept is read", || {
        Some(stats(&gateway)).filter(|found| found["candidate"]["requests"] == 2)
    }));
}

#[test]
fn after_a_crash_every_event_counts_once() {
    let mut gateway = setup(&Upstream::saying("new")).start();
    let message = |id: usize| json!({"name": "chatbot.message.sent", "user": "u", "id": format!("m{id}")});
    let mut sent = 0;
    for round in 0..4 {
        let batch: Vec<Value> = (0..50).map(|n| message(round * 50 + n)).collect();
        ask(&gateway, "POST", "/v1/events", &json!(batch));
        sent += batch.len();
        // Now and then evidence has been written when the process is killed, and now and then not.
        if round % 2 == 0 {
            let _counted = eventually("counted", || {
                let found = stats(&gateway)["candidate"]["metrics"]["messages"]["sum"].as_f64();
                found.filter(|found| *found == sent as f64)
            });
        }
        gateway.kill();
        gateway.start_again();
        let _counted = eventually("every event is counted, and once", || {
            let found = stats(&gateway)["candidate"]["metrics"]["messages"]["sum"].as_f64();
            assert!(found.is_none_or(|found| found <= sent as f64), "{found:?} of {sent}");
            found.filter(|found| *found == sent as f64)
        });
    }
}

#[test]
fn a_stretch_that_cannot_be_is_told() {
    let gateway = setup(&Upstream::saying("new")).start();
    let fields = [("host", "localhost"), ("authorization", "Bearer app-token-0123456789")];
    let rows = [
        ("window=1y", 400),
        ("start=yesterday", 400),
        ("limit=1", 400),
        ("route=nope", 404),
        ("window=%00", 400),
        ("start=2026-11-21T12:00:00Z&window=1h", 400),
        ("window=1h", 200),
    ];
    for (query, status) in rows {
        let answer = gateway.admin_client().request("GET", &format!("/api/v1/stats?{query}"), &fields, b"");
        assert_eq!(answer.status, status, "{query}: {answer:?}");
    }
    let without = gateway.admin_client().get("/api/v1/stats", &[("host", "localhost")]);
    assert_eq!(without.status, 401, "{without:?}");
}
