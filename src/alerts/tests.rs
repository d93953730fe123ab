use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::clock;
use crate::config::load_text;
use crate::store::memory::Memory;
use crate::store::{StateChange, Store as _};

/// Longer than anything here takes that has to happen.
const BOUND: Duration = Duration::from_secs(15);

/// Takes every message, and hands on its body.
async fn receiver() -> (String, mpsc::UnboundedReceiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, bodies) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut text = Vec::new();
            let body = loop {
                let mut piece = [0; 4096];
                let count = socket.read(&mut piece).await.unwrap();
                text.extend_from_slice(&piece[..count]);
                let Some(head) = text.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
                if let Ok(body) = serde_json::from_slice::<Value>(&text[head + 4..]) {
                    break body;
                }
            };
            socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            if sender.send(body).is_err() {
                return;
            }
        }
    });
    (url, bodies)
}

async fn next(bodies: &mut mpsc::UnboundedReceiver<Value>) -> Value {
    tokio::time::timeout(BOUND, bodies.recv()).await.expect("a message comes").unwrap()
}

fn live(alerts: &str) -> Arc<Live> {
    let file = format!("{alerts}\n[routes.answers]\n[routes.other]\n");
    let loaded = load_text(&file, "gateway.toml", &BTreeMap::new()).unwrap();
    Live::new(loaded, 1, Handle::current()).unwrap()
}

fn store() -> Arc<Attached> {
    let store = Arc::new(Attached::default());
    store.attach(Arc::new(Memory::default()), 0);
    store
}

fn alert(route: &str, severity: Severity) -> Alert {
    Alert {
        key: format!("{route}/errors").into(),
        route: Some(route.into()),
        severity,
        title: format!("{route}: more errors"),
        detail: "1 % -> 4 %".to_owned(),
        data: json!({ "rate": 0.04 }),
        at: clock::timestamp(),
    }
}

#[tokio::test]
async fn ten_thousand_repeats_are_one_message_and_a_resolve_another() {
    let (url, mut bodies) = receiver().await;
    let live = live(&format!("[alerts.webhooks.ops]\nurl = {url:?}"));
    let alerts = Alerts::start(live, store(), &Handle::current());
    for n in 0..10_000 {
        alerts.raise(alert("answers", Severity::Warning));
        if n % 1_000 == 0 {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let told = next(&mut bodies).await;
    assert_eq!((&told["type"], &told["subject"]), (&json!("dev.pointsman.alert.firing"), &json!("answers")));
    let firing = loop {
        let seen = alerts.seen();
        if let Some(firing) = seen.firing.first().filter(|firing| firing.count + alerts.dropped() == 10_000) {
            break firing.clone();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(&*firing.alert.key, "answers/errors");
    alerts.resolve("answers/errors", clock::timestamp());
    alerts.resolve("answers/errors", clock::timestamp());
    let over = next(&mut bodies).await;
    assert_eq!(
        (&over["type"], &over["data"]["key"]),
        (&json!("dev.pointsman.alert.resolved"), &json!("answers/errors"))
    );
    alerts.tell(Notice {
        route: None,
        severity: Severity::Info,
        title: "promoted".to_owned(),
        detail: String::new(),
        data: json!({}),
        at: clock::timestamp(),
    });
    assert_eq!(next(&mut bodies).await["type"], "dev.pointsman.rollout.transition", "nothing came between them");
}

#[tokio::test]
async fn a_webhook_hears_of_its_routes_and_severities() {
    let (all, mut everything) = receiver().await;
    let (few, mut critical) = receiver().await;
    let live = live(&format!(
        "[alerts.webhooks.all]\nurl = {all:?}\n\
         [alerts.webhooks.few]\nurl = {few:?}\nroutes = [\"answers\"]\nseverities = [\"critical\"]\nformat = \"slack\""
    ));
    let alerts = Alerts::start(live, store(), &Handle::current());
    alerts.raise(alert("answers", Severity::Warning));
    alerts.raise(alert("other", Severity::Critical));
    alerts.raise(alert("answers", Severity::Critical));
    let titles = [next(&mut everything).await, next(&mut everything).await, next(&mut everything).await];
    let titles = titles.map(|message| (message["subject"].clone(), message["data"]["severity"].clone()));
    let expected = [("answers", "warning"), ("other", "critical"), ("answers", "critical")];
    assert_eq!(titles, expected.map(|(route, severity)| (json!(route), json!(severity))));
    let text = next(&mut critical).await["text"].clone();
    assert_eq!(text, ":rotating_light: answers: more errors");
    assert!(critical.try_recv().is_err());
}

/// What an earlier process left: a message that was not taken, an alert that fires, a digest of days ago.
fn left_behind() -> String {
    let ago = clock::timestamp() - jiff::SignedDuration::from_hours(49);
    let now = clock::timestamp();
    let alert = alert("answers", Severity::Warning);
    let firing = json!({ "answers/errors": Firing { alert, since: ago, count: 7, told_at: now } });
    let message = json!({
        "kind": "firing", "key": "gateway/reload", "route": null, "severity": "warning", "title": "t", "detail": "d",
        "data": {}, "at": now, "since": now, "count": 1,
    });
    let delivery = json!({
        "id": "msg_left", "webhook": "ops", "message": message, "accepted_at": now, "tries": 3, "next_at": now,
    });
    json!({ "board": firing, "outbox": [delivery], "recent": [], "digested_at": ago }).to_string()
}

#[tokio::test]
async fn what_an_earlier_process_left_is_delivered_and_a_digest_made_up_for() {
    let (url, mut bodies) = receiver().await;
    let store = store();
    let change = StateChange {
        route: "@alerts".into(),
        expected: 0,
        text: left_behind(),
        now: clock::timestamp(),
        history: vec![],
    };
    store.save_state(change).await.unwrap();
    let live = live(&format!("[alerts.webhooks.ops]\nurl = {url:?}\n[alerts.digest]\nat = \"00:00\""));
    let alerts = Alerts::start(live, store, &Handle::current());
    let left = next(&mut bodies).await;
    assert_eq!((&left["id"], &left["data"]["key"]), (&json!("msg_left"), &json!("gateway/reload")));
    let digest = next(&mut bodies).await;
    assert_eq!((&digest["type"], &digest["data"]["data"]["firing"]), (&json!("dev.pointsman.digest"), &json!(1)));
    assert_eq!(digest["data"]["title"], "The day: 2 routes; alerts that fire: 1");
    let routes = &digest["data"]["data"]["routes"];
    assert_eq!(
        (&routes[0]["route"], &routes[0]["served"]),
        (&json!("answers"), &json!({"control": 0, "candidate": 0}))
    );
    // It fired already, so a repetition is no news.
    alerts.raise(alert("answers", Severity::Warning));
    alerts.resolve("answers/errors", clock::timestamp());
    assert_eq!(next(&mut bodies).await["type"], "dev.pointsman.alert.resolved");
}

#[tokio::test]
async fn what_fires_for_a_route_that_is_gone_is_resolved() {
    let (url, mut bodies) = receiver().await;
    let live = live(&format!("[alerts.webhooks.ops]\nurl = {url:?}"));
    let alerts = Alerts::start(Arc::clone(&live), store(), &Handle::current());
    alerts.raise(alert("other", Severity::Warning));
    assert_eq!(next(&mut bodies).await["type"], "dev.pointsman.alert.firing");
    let file = format!("[alerts.webhooks.ops]\nurl = {url:?}\n[routes.answers]\n");
    live.publish(load_text(&file, "gateway.toml", &BTreeMap::new()).unwrap()).unwrap();
    assert_eq!(next(&mut bodies).await["type"], "dev.pointsman.alert.resolved");
}

#[tokio::test]
async fn whoever_tells_waits_for_nothing_and_what_is_lost_is_counted() {
    let alerts = Alerts::unheard();
    alerts.raise(alert("answers", Severity::Info));
    assert_eq!((alerts.dropped(), alerts.seen().firing.len()), (1, 0));
    assert_eq!(alerts.test("ops").await, Some(Err("too much waits to be told".to_owned())));
    let live = live("");
    let alerts = Alerts::start(live, Arc::default(), &Handle::current());
    // The desk waits for its store meanwhile.
    for _ in 0..MAX_WAITING + 7 {
        alerts.raise(alert("answers", Severity::Info));
    }
    assert_eq!(alerts.dropped(), 7);
}
