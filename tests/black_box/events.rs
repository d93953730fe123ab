//! Events: taken, stored before they are acknowledged, also when the process is killed or the disk is full.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::support::{Answer, BOUND, Client, Gateway, Setup, Upstream, eventually};

/// Rounds of killing; `POINTSMAN_KILL_ROUNDS` asks for more.
const KILL_ROUNDS: u64 = 25;
const KILL_CLIENTS: usize = 3;
const KILL_BATCH: usize = 10;

/// So many that their batches of nearly 1 MiB do not fit into the queue together.
const SENDERS: usize = 90;

const TOKENS: &str = "[admin.tokens.shop]\nrole = \"events\"\ntoken = \"shop-token-0123456789\"\n\
                      [admin.tokens.deploy]\nrole = \"operator\"\ntoken = \"deploy-token-0123456789\"\n\
                      [admin.tokens.board]\nrole = \"viewer\"\ntoken = \"board-token-0123456789\"\n";
const SHOP: &str = "Bearer shop-token-0123456789";

/// A gateway with a store beside its file, and one route that gives every user a fixed answer.
fn setup(tables: &str) -> Setup {
    let backends = "[backends.old]\nrespond = { body = \"old\" }\n[backends.new]\nrespond = { body = \"new\" }\n\
                    [routes.all]\npath = \"/\"\ncontrol = \"old\"\ncandidate = \"new\"\nrollout.percent = 50\n";
    Setup::new(format!("state.store = \"sqlite:pointsman.db\"\n{backends}{TOKENS}{tables}\n"))
}

fn post_as(client: &mut Client, token: &str, body: &[u8]) -> Answer {
    let fields = [("host", "localhost"), ("authorization", token), ("content-type", "application/json")];
    client.request("POST", "/v1/events", &fields, body)
}

fn post(gateway: &Gateway, body: &Value) -> Answer {
    post_as(&mut gateway.admin_client(), SHOP, body.to_string().as_bytes())
}

fn database(path: &Path) -> Connection {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection
}

fn count(gateway: &Gateway, condition: &str) -> i64 {
    let connection = database(&gateway.beside("pointsman.db"));
    connection.query_row(&format!("SELECT count(*) FROM events WHERE {condition}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn events_are_stored_before_they_are_acknowledged_and_once() {
    let gateway = setup("").start();
    let batch = json!([
        {"name": "a.b", "id": "1", "user": "u", "value": 0.5, "data": {"x": "'; DROP TABLE events; --"}},
        {"name": "never.heard.of", "id": "2"},
    ]);
    post(&gateway, &batch).expect(202, r#"{"stored":2,"duplicates":0}"#);
    assert_eq!(count(&gateway, "id = '1' AND route = 'all' AND value = 0.5 AND user IS NOT NULL"), 1);
    assert_eq!(count(&gateway, "id = '2' AND route IS NULL AND user IS NULL"), 1);
    post(&gateway, &batch).expect(202, r#"{"stored":0,"duplicates":2}"#);
    assert_eq!(gateway.count(r#"pointsman_events_total{result="stored"}"#), 2.0);
    assert_eq!(gateway.count(r#"pointsman_events_total{result="duplicate"}"#), 2.0);
    assert_eq!(gateway.count("pointsman_store_up"), 1.0);
}

#[test]
fn one_bad_event_costs_the_batch_and_every_mistake_is_told() {
    let gateway = setup("").start();
    let answer = post(&gateway, &json!([{"name": "good", "id": "g"}, {"value": "1"}, {"name": "n", "route": "x"}]));
    assert_eq!((answer.status, answer.code().as_str()), (400, "bad_events"));
    let told: Value = serde_json::from_slice(&answer.body).unwrap();
    let told: Vec<_> =
        told["events"].as_array().unwrap().iter().map(|e| (e["index"].clone(), e["field"].clone())).collect();
    assert_eq!(told, [(json!(1), json!("name")), (json!(1), json!("value")), (json!(2), json!("route"))]);
    let deep = format!("[{}{}]", "[".repeat(50_000), "]".repeat(50_000));
    for body in ["{", "[NaN]", "[{\"name\": \"n\", \"value\": 1e999}]", deep.as_str()] {
        let answer = post_as(&mut gateway.admin_client(), SHOP, body.as_bytes());
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{:.40}", body);
    }
    assert_eq!(count(&gateway, "1"), 0);
    let mut client = gateway.admin_client();
    client.send(format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nauthorization: {SHOP}\r\ncontent-type: application/json\r\n\
         content-length: 10000000\r\n\r\n"
    ));
    // What is too large is not read to its end: sending may fail before all is sent.
    let _refused = client.try_send(vec![b'['; 10_000_000]);
    if let Ok(Some(head)) = client.wire.head() {
        assert!(head.start.contains("413"), "{head:?}");
    }
    post(&gateway, &json!({"name": "n"})).expect(202, r#"{"stored":1,"duplicates":0}"#);
}

#[test]
fn sending_takes_a_token_that_may_and_that_token_may_nothing_else() {
    let gateway = setup("").start();
    let rows = [
        (SHOP, 202),
        ("Bearer deploy-token-0123456789", 202),
        ("Bearer board-token-0123456789", 403),
        ("Bearer nobody-token-0123456789", 401),
    ];
    for (token, expected) in rows {
        assert_eq!(post_as(&mut gateway.admin_client(), token, br#"{"name": "n"}"#).status, expected, "{token}");
    }
    let mut client = gateway.admin_client();
    let fields = [("host", "localhost"), ("content-type", "application/json")];
    assert_eq!(client.request("POST", "/v1/events", &fields, br#"{"name": "n"}"#).code(), "token_required");
    let fields = [("host", "localhost"), ("authorization", SHOP)];
    for (method, target) in [("GET", "/api/v1/routes"), ("GET", "/api/v1/config"), ("POST", "/-/reload")] {
        assert_eq!(client.request(method, target, &fields, b"").code(), "role_too_low", "{method} {target}");
    }
    assert_eq!(client.request("POST", "/v1/events", &fields, br#"{"name": "n"}"#).code(), "not_json");
}

#[test]
fn a_user_has_one_hash_in_log_and_events_also_after_a_restart() {
    let mut gateway = setup("").hashed_users().start();
    let mut hashes = Vec::new();
    for id in ["before", "after"] {
        let line = gateway.line_of(&gateway.get("/", &[("x-user-id", "alice")]));
        post(&gateway, &json!({"name": "n", "id": id, "user": "alice"})).expect(202, r#"{"stored":1,"duplicates":0}"#);
        let stored: Vec<u8> = database(&gateway.beside("pointsman.db"))
            .query_row("SELECT user FROM events WHERE id = ?", [id], |row| row.get(0))
            .unwrap();
        let stored: String = stored.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(line["user"], stored.as_str());
        hashes.push(stored);
        gateway.kill();
        gateway.start_again();
    }
    assert_eq!(hashes[0], hashes[1]);
}

#[test]
fn browsers_may_send_where_the_file_allows_it() {
    let upstream = Upstream::saying("backend");
    let events = "[exposure]\nkeys = [\"a long enough secret\"]\n\
                  [events]\npublic = true\norigins = [\"https://shop.example\"]\nevents_per_second = 0.001\nburst = 4\n";
    let keys = format!("rollout.percent = 50\n{TOKENS}{events}");
    let gateway =
        Setup::route(&upstream.url(), &upstream.url(), &keys).top("state.store = \"sqlite:pointsman.db\"").start();
    let answer = gateway.get("/", &[("x-user-id", "u")]);
    let token = answer.get("x-pointsman-exposure").unwrap().to_owned();
    let send = |origin: &str, body: &Value| {
        let fields = [("content-type", "application/json"), ("origin", origin)];
        gateway.request("POST", "/v1/events", &fields, body.to_string().as_bytes())
    };
    let preflight = |origin: &str| {
        gateway.request("OPTIONS", "/v1/events", &[("origin", origin), ("access-control-request-method", "POST")], b"")
    };
    let allowed = preflight("https://shop.example");
    assert_eq!(allowed.status, 204);
    assert_eq!(allowed.get("access-control-allow-origin"), Some("https://shop.example"));
    assert_eq!(allowed.get("access-control-allow-methods"), Some("POST"));
    let refused = preflight("https://evil.example");
    assert_eq!((refused.status, refused.get("access-control-allow-origin")), (403, None));
    let event = json!({"name": "clicked", "id": "c", "exposure": token});
    assert_eq!(send("https://evil.example", &event).code(), "foreign_origin");
    let stored = send("https://shop.example", &event);
    stored.expect(202, r#"{"stored":1,"duplicates":0}"#);
    assert_eq!(stored.get("access-control-allow-origin"), Some("https://shop.example"));
    assert_eq!(count(&gateway, "id = 'c' AND route = 'all' AND user IS NULL AND bucket IS NOT NULL"), 1);
    let forged = send("https://shop.example", &json!({"name": "n", "user": "somebody", "exposure": token}));
    assert_eq!(forged.code(), "bad_events");
    let anonymous = send("http://gateway.example", &json!({"name": "n"}));
    assert_eq!(anonymous.code(), "bad_events");
    assert_eq!(send("http://gateway.example", &event).text(), r#"{"stored":0,"duplicates":1}"#);
    let limited = send("https://shop.example", &event);
    assert_eq!((limited.code().as_str(), limited.status), ("too_many_events", 429));
    assert!(limited.get("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(gateway.request("PUT", "/v1/events", &[], b"").code(), "method_not_allowed");
    assert!(!upstream.requests().iter().any(|seen| seen.head.start.contains("/v1/events")));
    gateway.get("/v1/events/more", &[]).expect(200, "backend");
}

#[test]
fn where_the_file_does_not_allow_it_the_path_is_the_backends() {
    let upstream = Upstream::saying("backend");
    let gateway = Setup::route(&upstream.url(), &upstream.url(), "").start();
    gateway.request("POST", "/v1/events", &[("origin", "https://x.example")], b"{}").expect(200, "backend");
}

#[test]
fn a_store_that_cannot_be_opened_keeps_no_traffic_away_and_heals() {
    let toml = "state.store = \"sqlite:state/pointsman.db\"\n[backends.old]\nrespond = { body = \"old\" }\n\
                [routes.all]\npath = \"/\"\ncontrol = \"old\"\ncandidate = \"old\"\n";
    let gateway = Setup::new(format!("{toml}{TOKENS}")).without_a_store().start();
    gateway.get("/", &[]).expect(200, "old");
    let failures = r#"pointsman_store_failures_total{operation="open"}"#;
    eventually("the first try", || (gateway.count(failures) >= 1.0).then_some(()));
    let refused = post(&gateway, &json!({"name": "n"}));
    assert_eq!((refused.status, refused.code().as_str()), (503, "store_unavailable"));
    assert!(refused.get("retry-after").is_some());
    assert_eq!(gateway.count("pointsman_store_up"), 0.0);
    let health = gateway.admin_client().get("/healthz", &[("host", "localhost")]);
    let document: Value = serde_json::from_slice(&health.body).unwrap();
    assert_eq!((health.status, &document["store"]["up"]), (200, &json!(false)), "{document}");
    assert!(document["store"]["error"].as_str().unwrap().contains("cannot be opened"), "{document}");
    assert!(gateway.stderr().contains("the store cannot be opened"));
    std::fs::create_dir(gateway.beside("state")).unwrap();
    eventually("the store is opened", || (gateway.count("pointsman_store_up") == 1.0).then_some(()));
    post(&gateway, &json!({"name": "n"})).expect(202, r#"{"stored":1,"duplicates":0}"#);
}

#[test]
fn a_full_disk_refuses_events_and_nothing_else_and_heals() {
    let gateway = setup("").file_limit_kib(600).start();
    let batch = |n: usize| -> Value {
        (0..20).map(|i| json!({"name": "n", "id": format!("{n}-{i}"), "data": "x".repeat(2_000)})).collect()
    };
    let mut acknowledged = 0;
    let refused = loop {
        let answer = post(&gateway, &batch(acknowledged));
        gateway.get("/", &[]).expect(200, "old");
        if answer.status != 202 {
            break answer;
        }
        acknowledged += 1;
        assert!(acknowledged < 100, "the limit of files does not bite");
    };
    assert!(acknowledged > 0);
    assert_eq!((refused.status, refused.code().as_str()), (503, "store_unavailable"));
    assert_eq!(gateway.count("pointsman_store_up"), 0.0);
    assert!(gateway.count(r#"pointsman_store_failures_total{operation="append_events"}"#) >= 1.0);
    eventually("the log tells", || gateway.stderr().contains("the store fails").then_some(()));
    for _ in 0..20 {
        gateway.get("/", &[]).expect(200, "old");
    }
    gateway.limit_files(None);
    post(&gateway, &batch(acknowledged)).expect(202, r#"{"stored":20,"duplicates":0}"#);
    assert_eq!(gateway.count("pointsman_store_up"), 1.0);
    assert_eq!(count(&gateway, "1"), 20 * (acknowledged as i64 + 1), "what was acknowledged, and nothing else");
    eventually("the log tells", || gateway.stderr().contains("the store works again").then_some(()));
}

#[test]
fn beyond_the_queue_senders_are_told_to_try_again() {
    let gateway = setup("").start();
    let events: Value = (0..60).map(|_| json!({"name": "n", "data": "x".repeat(16_000)})).collect();
    let body = events.to_string();
    // Another process writes for a long time.
    let writer = database(&gateway.beside("pointsman.db"));
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let told = Mutex::new(None);
    let deadline = pointsman::clock::now() + 4 * BOUND;
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                while told.lock().unwrap().is_none() && pointsman::clock::now() < deadline {
                    let answer = post_as(&mut gateway.admin_client(), SHOP, body.as_bytes());
                    if answer.status == 429 {
                        let retry = answer.get("retry-after").map(str::to_owned);
                        *told.lock().unwrap() = Some((answer.code(), retry));
                    }
                    assert!(matches!(answer.status, 202 | 429 | 503), "{answer:?}");
                }
            });
        }
        while told.lock().unwrap().is_none() && pointsman::clock::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        writer.execute_batch("ROLLBACK").unwrap();
    });
    assert_eq!(told.into_inner().unwrap(), Some(("store_busy".to_owned(), Some("1".to_owned()))));
    gateway.get("/", &[]).expect(200, "old");
    assert!(gateway.count(r#"pointsman_events_total{result="busy"}"#) >= 60.0);
    post(&gateway, &json!({"name": "n"})).expect(202, r#"{"stored":1,"duplicates":0}"#);
}

#[test]
fn what_is_too_old_or_too_much_goes() {
    let mut gateway = setup("").start();
    let ago = pointsman::clock::timestamp() - jiff::SignedDuration::from_hours(2);
    let old = json!([{"name": "old", "timestamp": ago.to_string()}, {"name": "young"}]);
    post(&gateway, &old).expect(202, r#"{"stored":2,"duplicates":0}"#);
    gateway.kill();
    gateway.rewrite(&setup("").top("state.keep_events = \"1h\""));
    gateway.start_again();
    eventually("the old one is gone", || (count(&gateway, "name = 'old'") == 0).then_some(()));
    assert_eq!(count(&gateway, "1"), 1);
    eventually("it is counted", || {
        (gateway.count(r#"pointsman_store_pruned_total{cause="age"}"#) == 1.0).then_some(())
    });
    for n in 0..3 {
        let much: Value =
            (0..50).map(|i| json!({"name": "n", "id": format!("{n}-{i}"), "data": "x".repeat(15_000)})).collect();
        post(&gateway, &much).expect(202, r#"{"stored":50,"duplicates":0}"#);
    }
    gateway.kill();
    gateway.rewrite(&setup("").top("state.max_size = \"1MiB\""));
    gateway.start_again();
    eventually("the oldest are gone", || {
        (gateway.count(r#"pointsman_store_pruned_total{cause="size"}"#) > 0.0
            && gateway.count("pointsman_store_size_bytes") <= f64::from(1 << 20))
        .then_some(())
    });
    assert_eq!((count(&gateway, "id = '0-0'"), count(&gateway, "id = '2-49'")), (0, 1), "the oldest went first");
    eventually("the log tells", || gateway.stderr().contains("over state.max_size").then_some(()));
}

/// Sends batches until the connection breaks. Gives those that were acknowledged and the one that was not.
fn send_until_killed(mut client: Client, name: &str) -> (Vec<String>, String) {
    let mut acknowledged = Vec::new();
    for n in 0.. {
        let batch = format!("{name}.{n}");
        let body = batch_named(&batch);
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nauthorization: {SHOP}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answered = client.try_send(head).then(|| client.wire.head().ok().flatten()).flatten();
        let Some(head) = answered else { return (acknowledged, batch) };
        assert!(head.start.contains(" 202 "), "{head:?}");
        // The head alone tells that the batch is stored.
        acknowledged.push(batch.clone());
        if client.wire.body(&head, true).is_err() {
            return (acknowledged, batch);
        }
    }
    unreachable!("the loop has no end")
}

fn batch_named(name: &str) -> String {
    let events: Value =
        (0..KILL_BATCH).map(|i| json!({"name": "n", "id": format!("{name}/{i}"), "user": name})).collect();
    events.to_string()
}

/// How many events of each batch are stored after `number`, and the last number.
fn stored_batches(path: &Path, number: i64) -> (BTreeMap<String, usize>, i64) {
    let connection = database(path);
    let mut select = connection.prepare("SELECT number, id FROM events WHERE number > ? ORDER BY number").unwrap();
    let rows = select.query_map([number], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).unwrap();
    let (mut batches, mut last) = (BTreeMap::new(), number);
    for row in rows {
        let (number, id): (i64, String) = row.unwrap();
        last = number;
        *batches.entry(id.split_once('/').unwrap().0.to_owned()).or_insert(0) += 1;
    }
    (batches, last)
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_batches_are_whole() {
    let rounds = std::env::var("POINTSMAN_KILL_ROUNDS").map_or(KILL_ROUNDS, |rounds| rounds.parse().unwrap());
    let begun = pointsman::clock::now();
    let mut gateway = setup("").start();
    let path = gateway.beside("pointsman.db");
    let (mut last, mut total, mut cut) = (0, 0, 0);
    for round in 0..rounds {
        let results = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for client in 0..KILL_CLIENTS {
                let (connection, name) = (gateway.admin_client(), format!("{round}.{client}"));
                let results = &results;
                scope.spawn(move || {
                    let result = send_until_killed(connection, &name);
                    results.lock().unwrap().push(result);
                });
            }
            // A moment that nobody chose: sometimes before the first commit, mostly in the middle of one.
            std::thread::sleep(Duration::from_micros(fastrand::u64(0..120_000)));
            gateway.kill();
        });
        gateway.start_again();
        let (stored, end) = stored_batches(&path, last);
        last = end;
        assert!(stored.values().all(|events| *events == KILL_BATCH), "round {round}: a part of a batch: {stored:?}");
        let results = results.into_inner().unwrap();
        for (acknowledged, open) in &results {
            for batch in acknowledged {
                assert!(stored.contains_key(batch), "round {round}: {batch} was acknowledged and is lost");
            }
            total += acknowledged.len();
            cut += usize::from(stored.contains_key(open) && !acknowledged.contains(open));
        }
        for (_, open) in results {
            let known = if stored.contains_key(&open) { KILL_BATCH } else { 0 };
            let answer = post_as(&mut gateway.admin_client(), SHOP, batch_named(&open).as_bytes());
            answer.expect(202, &format!(r#"{{"stored":{},"duplicates":{known}}}"#, KILL_BATCH - known));
        }
    }
    let check: String = database(&path).query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!(
        "{rounds} kills in {seconds:.1} s: {total} batches acknowledged, none lost; {cut} stored but not acknowledged"
    );
}
