//! What webhooks hear, over real sockets: signed messages, once, and however often it takes.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::backends::tls;
use crate::keeping::pointsman;
use crate::reading::{ask, get};
use crate::support::upstream::{Seen, status, with_fields};
use crate::support::{Answer, Gateway, Setup, Upstream, eventually};

const OLD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDazfDD07BYyo=";
const OTHER_SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// A candidate that nobody can reach, whose breaker opens with the first request, and these tables.
fn setup(alerts: &str) -> Setup {
    Setup::new(format!(
        "state.store = \"sqlite:pointsman.db\"\n{alerts}\n\
         [backends.old]\nrespond = {{ body = \"old\" }}\n\
         [backends.new]\nurl = \"http://127.0.0.1:1\"\n\
         breaker = {{ consecutive_failures = 1, open_for = \"300s\" }}\n\
         [routes.answers]\npath = \"/\"\ncontrol = \"old\"\ncandidate = \"new\"\nrollout.percent = 100\n\
         fallback.replay = \"connect\"\n\
         [admin.tokens.board]\nrole = \"viewer\"\ntoken = \"board-token-0123456789\"\n\
         [admin.tokens.deploy]\nrole = \"operator\"\ntoken = \"deploy-token-0123456789\"\n"
    ))
}

fn webhook(name: &str, url: &str, keys: &str) -> String {
    format!("[alerts.webhooks.{name}]\nurl = {url:?}\n{keys}\n")
}

/// Takes every message.
fn taking() -> Upstream {
    Upstream::answering(|_| status(204, "No Content", ""))
}

fn body(seen: &Seen) -> Value {
    serde_json::from_slice(&seen.body).unwrap()
}

/// Waits for so many messages.
#[track_caller]
fn messages(receiver: &Upstream, count: usize) -> Vec<Seen> {
    eventually("messages", || Some(receiver.requests()).filter(|requests| requests.len() >= count))
}

/// One request opens the breaker.
fn open_the_breaker(gateway: &Gateway) {
    assert_eq!(gateway.ask().text(), "old");
}

/// The file as it was, or with a mistake in it.
fn rewrite(gateway: &Gateway, alerts: &str, is_broken: bool) {
    let setup = setup(alerts);
    gateway.rewrite(&if is_broken { setup.top("nonsense = 1") } else { setup });
}

/// What the libraries of those who take webhooks make of a message; `None` where they are not installed.
fn as_clients_read_it(seen: &Seen, secrets: &[&str]) -> Option<Value> {
    let clients = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("clients");
    let python = clients.join("python/bin/python");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/receive_webhooks.py");
    let has = Command::new(&python).args(["-c", "import standardwebhooks, cloudevents.core"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "{} lacks packages: tests/clients/install", python.display());
        std::io::stderr().write_all(b"SKIPPED: receive_webhooks.py: run tests/clients/install\n").unwrap();
        return None;
    }
    let headers: serde_json::Map<String, Value> =
        seen.head.fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), json!(value))).collect();
    let sent = json!({ "secrets": secrets, "headers": headers, "body": String::from_utf8_lossy(&seen.body) });
    let mut child = Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{sent}").unwrap();
    let output = child.wait_with_output().unwrap();
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn a_breaker_that_opens_is_told_signed_with_every_secret() {
    let (ops, chat) = (taking(), taking());
    let alerts =
        webhook("ops", &format!("{}/hooks/in?a=1", ops.url()), &format!("secrets = [{OLD_SECRET:?}, {NEW_SECRET:?}]"))
            + &webhook("chat", &chat.url(), "format = \"slack\"");
    let gateway = setup(&format!("[alerts]\nsource = \"pointsman-eu\"\n{alerts}")).start();
    open_the_breaker(&gateway);
    let seen = messages(&ops, 1).remove(0);
    assert_eq!(seen.head.start, "POST /hooks/in?a=1 HTTP/1.1");
    assert_eq!(seen.head.get("content-type"), Some("application/cloudevents+json"));
    let event = body(&seen);
    let rows = [
        ("/specversion", json!("1.0")),
        ("/source", json!("pointsman-eu")),
        ("/type", json!("dev.pointsman.alert.firing")),
        ("/subject", json!("answers")),
        ("/data/key", json!("answers/breaker/candidate")),
        ("/data/severity", json!("warning")),
        ("/data/data/backend", json!("new")),
    ];
    for (pointer, expected) in rows {
        assert_eq!(event.pointer(pointer), Some(&expected), "{pointer} of {event:#}");
    }
    assert_eq!(seen.head.get("webhook-id"), event["id"].as_str());
    let signatures = seen.head.get("webhook-signature").unwrap();
    assert_eq!(signatures.split(' ').filter(|signature| signature.starts_with("v1,")).count(), 2, "{signatures}");
    if let Some(read) = as_clients_read_it(&seen, &[OLD_SECRET, NEW_SECRET, OTHER_SECRET]) {
        assert_eq!(read["verified"], json!([true, true, false]), "{read}");
        let fields = ["id", "source", "type", "subject", "data"];
        assert!(fields.iter().all(|field| read[field] == event[field]), "{read} is not {event}");
    }
    let text = body(&messages(&chat, 1)[0])["text"].clone();
    assert_eq!(text, ":warning: answers: the breaker of new (candidate) is open");
    assert_eq!(chat.only_request().head.get("webhook-signature"), None);
    let firing = get(&gateway, "/api/v1/alerts");
    assert_eq!(firing["firing"][0]["key"], "answers/breaker/candidate");
    eventually("the figures", || {
        let delivered = gateway.metric("pointsman_alert_deliveries_total{webhook=\"ops\",result=\"delivered\"}");
        (delivered == Some(1.0)).then_some(())
    });
    assert_eq!(gateway.count("pointsman_alerts_firing{severity=\"warning\"}"), 1.0);
}

#[test]
fn a_reload_that_fails_is_told_and_that_it_is_over() {
    let ops = taking();
    let alerts = webhook("ops", &ops.url(), "");
    let gateway = setup(&alerts).start();
    rewrite(&gateway, &alerts, true);
    let event = body(&messages(&ops, 1)[0]);
    assert_eq!(
        (&event["type"], &event["data"]["key"]),
        (&json!("dev.pointsman.alert.firing"), &json!("gateway/reload"))
    );
    assert!(event["data"]["detail"].as_str().unwrap().contains("nonsense"), "{event}");
    assert_eq!(event.get("subject"), None);
    rewrite(&gateway, &alerts, false);
    let event = body(&messages(&ops, 2)[1]);
    assert_eq!(event["type"], "dev.pointsman.alert.resolved");
    let table = pointsman(&gateway, "board", &["alerts"]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("Firing\nnone") && table.contains("resolved") && table.contains("cloudevents"), "{table}");
    let json: Value = serde_json::from_slice(&pointsman(&gateway, "board", &["alerts", "--json"]).stdout).unwrap();
    assert_eq!(json["recent"][0]["kind"], "resolved");
}

#[test]
fn a_message_is_tried_again_until_it_is_taken_and_keeps_its_id() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let ops = Upstream::answering(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => status(503, "Service Unavailable", "no"),
        1 => with_fields(302, "Found", "location: http://127.0.0.1:1/elsewhere\r\n", ""),
        _ => status(200, "OK", &"much is said ".repeat(10_000)),
    });
    let gateway = setup(&webhook("ops", &ops.url(), "")).start();
    open_the_breaker(&gateway);
    let seen = messages(&ops, 3);
    let ids: Vec<&str> = seen.iter().map(|seen| seen.head.get("webhook-id").unwrap()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(body(&seen[0]), body(&seen[2]));
    let status = eventually("it is delivered", || {
        let page = get(&gateway, "/api/v1/alerts");
        Some(page["webhooks"][0].clone()).filter(|webhook| webhook["delivered"] == 1)
    });
    assert_eq!((&status["failed"], &status["waiting"], &status["error"]), (&json!(2), &json!(0), &Value::Null));
}

#[test]
fn what_was_accepted_before_a_crash_is_delivered_after_it() {
    let takes = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&takes);
    // It hears the message, and never answers; later it does.
    let ops = Upstream::scripted(move |conversation| {
        while let Some(_seen) = conversation.request() {
            if asked.load(Ordering::SeqCst) == 0 {
                return conversation.await_departure();
            }
            conversation.write(status(204, "No Content", ""));
        }
    });
    let mut gateway = setup(&webhook("ops", &ops.url(), "timeout = \"60s\"")).start();
    open_the_breaker(&gateway);
    let first = messages(&ops, 1).remove(0);
    gateway.kill();
    takes.store(1, Ordering::SeqCst);
    gateway.start_again();
    let seen = messages(&ops, 3);
    let id = |seen: &Seen| seen.head.get("webhook-id").unwrap().to_owned();
    assert!(seen[1..].iter().any(|seen| id(seen) == id(&first) && body(seen) == body(&first)), "{seen:?}");
    // The new process begins with a breaker that is closed.
    assert!(seen[1..].iter().any(|seen| body(seen)["type"] == "dev.pointsman.alert.resolved"), "{seen:?}");
}

#[test]
fn a_webhook_that_hangs_delays_neither_another_nor_traffic() {
    let hanging = Upstream::scripted(|conversation| {
        let _seen = conversation.request();
        conversation.await_departure();
    });
    let ops = taking();
    let alerts = webhook("hanging", &hanging.url(), "timeout = \"60s\"") + &webhook("ops", &ops.url(), "");
    let gateway = setup(&alerts).start();
    open_the_breaker(&gateway);
    hanging.await_heads(1);
    rewrite(&gateway, &alerts, true);
    rewrite(&gateway, &alerts, false);
    messages(&ops, 1);
    open_the_breaker(&gateway);
    rewrite(&gateway, &alerts, true);
    messages(&ops, 2);
    assert_eq!(hanging.heads(), 1, "its first message is still under way");
    assert!(get(&gateway, "/api/v1/alerts")["webhooks"][0]["waiting"].as_u64().unwrap() >= 2);
}

fn test(gateway: &Gateway, token: &str, name: &str) -> Answer {
    ask(gateway, token, "POST", &format!("/api/v1/alerts/test/{name}"), "")
}

#[test]
fn an_operator_can_try_a_webhook() {
    let ops = taking();
    let alerts = webhook("ops", &ops.url(), "") + &webhook("gone", "http://127.0.0.1:1/hidden-path", "");
    let gateway = setup(&alerts).start();
    let told = |answer: &Answer| serde_json::from_slice::<Value>(&answer.body).unwrap();
    assert_eq!(told(&test(&gateway, "deploy", "ops")), json!({ "delivered": true, "error": null }));
    assert_eq!(body(&ops.only_request())["type"], "dev.pointsman.test");
    let failed = told(&test(&gateway, "deploy", "gone"));
    assert!(failed["delivered"] == false && failed["error"].is_string(), "{failed}");
    assert_eq!(test(&gateway, "deploy", "nobody").code(), "unknown_webhook");
    assert_eq!(test(&gateway, "board", "ops").code(), "role_too_low");
    let taken = pointsman(&gateway, "deploy", &["alerts", "test", "ops"]);
    assert_eq!(String::from_utf8_lossy(&taken.stdout), "ops took it\n");
    let refused = pointsman(&gateway, "deploy", &["alerts", "test", "gone"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    eventually("it stands in the history", || {
        let page = get(&gateway, "/api/v1/history");
        page["history"].as_array().unwrap().iter().any(|row| row["kind"] == "alerts_tested").then_some(())
    });
}

#[test]
fn a_webhook_behind_tls_is_verified() {
    let receiver = tls("localhost");
    let url = receiver.url.replace("127.0.0.1", "localhost");
    let trusted = webhook("trusted", &url, &format!("ca = {:?}", receiver.authority.path()));
    let gateway = setup(&(trusted + &webhook("strange", &url, ""))).start();
    let told = |name| serde_json::from_slice::<Value>(&test(&gateway, "deploy", name).body).unwrap();
    assert_eq!(told("trusted"), json!({ "delivered": true, "error": null }));
    let strange = told("strange");
    assert!(strange["delivered"] == false && strange["error"].is_string(), "{strange}");
}

#[test]
fn neither_secrets_nor_urls_are_told_anywhere() {
    let url = "http://127.0.0.1:1/services/T0/B0/hidden-path?token=hidden-token";
    let alerts = webhook("ops", url, &format!("secrets = [{OLD_SECRET:?}]"));
    let gateway = setup(&alerts).start();
    open_the_breaker(&gateway);
    eventually("a try fails", || {
        (get(&gateway, "/api/v1/alerts")["webhooks"][0]["failed"].as_u64() > Some(0)).then_some(())
    });
    test(&gateway, "deploy", "ops");
    rewrite(&gateway, &alerts.replace("T0", "T0 T1"), true);
    let log = eventually("the mistake is logged", || Some(gateway.stderr()).filter(|log| log.contains("nonsense")));
    let pages = ["/api/v1/alerts", "/api/v1/config", "/api/v1/history", "/api/v1/features", "/metrics", "/healthz"];
    let told = pages.map(|page| ask(&gateway, "board", "GET", page, "").text()).concat() + &log;
    for secret in ["hidden-path", "hidden-token", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "services"] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}
