//! What the store keeps, read over the administrative address: pages, exports of any size, why one
//! request went where it did, and what is answered to questions that make no sense.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::message::{Ending, Head};
use crate::support::{Answer, Client, Gateway, Setup, eventually};

/// Events of the test that walks through pages.
const WALKED: usize = 2_500;
/// Events of the large export.
const EXPORTED: usize = 100_000;
/// How much the process may grow while everything is exported; the exports themselves are larger together.
const EXPORT_GROWTH_KIB: u64 = 48 * 1024;
/// Exports at the same time.
const MAX_EXPORTS: usize = 4;
/// Longer than the administrative address takes for any other answer.
const ANSWER_TIME: Duration = Duration::from_secs(11);

pub(crate) const TOKENS: &str = "[admin.tokens.shop]\nrole = \"events\"\ntoken = \"shop-token-0123456789\"\n\
                      [admin.tokens.flags]\nrole = \"flags\"\ntoken = \"flags-token-0123456789\"\n\
                      [admin.tokens.board]\nrole = \"viewer\"\ntoken = \"board-token-0123456789\"\n\
                      [admin.tokens.deploy]\nrole = \"operator\"\ntoken = \"deploy-token-0123456789\"\n\
                      [admin.tokens.root]\nrole = \"admin\"\ntoken = \"root-token-0123456789\"\n";

/// A gateway with a store beside its file, two routes with fixed answers, and tokens of every role.
pub(crate) fn setup() -> Setup {
    setup_with("sqlite:pointsman.db")
}

fn setup_with(store: &str) -> Setup {
    let backends = "[backends.old]\nrespond = { body = \"old\" }\n[backends.new]\nrespond = { body = \"new\" }\n\
                    [routes.all]\npath = \"/\"\ncontrol = \"old\"\ncandidate = \"new\"\nrollout.percent = 50\n\
                    [routes.other]\npath = \"/other\"\ncontrol = \"old\"\ncandidate = \"new\"\n";
    Setup::new(format!("state.store = {store:?}\n{backends}{TOKENS}"))
}

/// One question, with the token of this name.
pub(crate) fn ask(gateway: &Gateway, token: &str, method: &str, target: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {token}-token-0123456789");
    let mut fields = vec![("host", "localhost"), ("content-type", "application/json")];
    fields.extend((!token.is_empty()).then_some(("authorization", bearer.as_str())));
    gateway.admin_client().request(method, target, &fields, body.as_bytes())
}

pub(crate) fn get(gateway: &Gateway, target: &str) -> Value {
    let answer = ask(gateway, "board", "GET", target, "");
    assert_eq!((answer.status, answer.ending), (200, Ending::Whole), "{target}: {}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

pub(crate) fn store(gateway: &Gateway, events: &[Value]) {
    for batch in events.chunks(1_000) {
        let answer = ask(gateway, "shop", "POST", "/v1/events", &Value::from(batch).to_string());
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
}

/// The numbers of all events that a query finds, page by page.
fn walk(gateway: &Gateway, query: &str) -> Vec<u64> {
    let (mut numbers, mut cursor) = (Vec::new(), Value::from(0));
    loop {
        let page = get(gateway, &format!("/api/v1/events?{query}&cursor={cursor}"));
        numbers.extend(page["events"].as_array().unwrap().iter().map(|event| event["number"].as_u64().unwrap()));
        cursor = page["next"].clone();
        if cursor.is_null() {
            return numbers;
        }
    }
}

#[test]
fn pages_follow_each_other_and_filters_hold() {
    let gateway = setup().start();
    let events: Vec<Value> = (0..WALKED)
        .map(|n| {
            let (name, route) = (if n % 5 == 0 { "rare" } else { "common" }, if n % 2 == 0 { "all" } else { "other" });
            let at = pointsman::clock::timestamp() - jiff::SignedDuration::from_secs(3_600 * i64::from(n % 10 == 0));
            json!({"name": name, "id": n.to_string(), "user": format!("u{}", n % 7), "route": route, "timestamp": at})
        })
        .collect();
    store(&gateway, &events);
    let all: Vec<u64> = (1..=WALKED as u64).collect();
    for limit in ["limit=1000", "limit=333", "x=", "limit=500"].map(|limit| limit.replace("x=", "limit=100")) {
        assert_eq!(walk(&gateway, &limit), all, "{limit}");
    }
    assert_eq!(get(&gateway, "/api/v1/events")["events"].as_array().unwrap().len(), 100, "the default");
    let ago = pointsman::clock::timestamp() - jiff::SignedDuration::from_mins(30);
    let rows = [
        ("type=rare".to_owned(), WALKED / 5),
        ("type=common&route=other".to_owned(), WALKED * 4 / 10),
        ("route=all&type=rare".to_owned(), WALKED / 10),
        (format!("start={ago}"), WALKED * 9 / 10),
        (format!("end={ago}"), WALKED / 10),
        (format!("start={ago}&end={ago}"), 0),
        ("type=%27+OR+1%3D1+--".to_owned(), 0),
        ("route=nobody".to_owned(), 0),
    ];
    for (query, expected) in rows {
        let numbers = walk(&gateway, &format!("{query}&limit=77"));
        let distinct: BTreeSet<&u64> = numbers.iter().collect();
        assert!(numbers.is_sorted() && distinct.len() == expected && numbers.len() == expected, "{query}");
    }
    let last = get(&gateway, "/api/v1/events?type=nobody");
    assert_eq!((&last["next"], &last["last"]), (&Value::Null, &json!(WALKED)));
    let event = &get(&gateway, "/api/v1/events?limit=1&cursor=1")["events"][0];
    assert_eq!((&event["number"], &event["id"], &event["name"]), (&json!(2), &json!("1"), &json!("common")));
    let digits = |field: &str| event[field].as_str().unwrap().len();
    assert_eq!((digits("user"), digits("phase"), &event["route"]), (32, 8, &json!("other")));
}

#[test]
fn an_export_of_any_size_is_whole_and_takes_bounded_memory() {
    let gateway = setup().start();
    let row = |n: usize| json!({"name": "=n", "id": format!("-{n}"), "value": -0.5, "data": {"text": "a,\"b\"\r\nc", "n": n}});
    store(&gateway, &(0..EXPORTED).map(row).collect::<Vec<_>>());
    // By itself: who takes nothing for half a minute is cut, and the rest may take longer than that.
    let slow = begin_slowly(&gateway);
    let slow = std::thread::spawn(move || slow.expect_whole());
    let before = gateway.peak_kib();
    for format in ["csv", "json", "ndjson"] {
        // A place becomes free only after its client was seen to be gone, or has been told the end.
        let answer = eventually("a place", || {
            let answer = ask(&gateway, "board", "GET", &format!("/api/v1/export?format={format}"), "");
            (answer.status != 429).then_some(answer)
        });
        assert_eq!((answer.status, answer.ending), (200, Ending::Whole), "{format}");
        assert!(answer.get("content-disposition").unwrap().ends_with(&format!(".{format}\"")), "{answer:.200?}");
        let ids: Vec<String> = match format {
            "csv" => {
                let mut reader = csv::Reader::from_reader(&*answer.body);
                let rows = reader.records().map(|row| row.unwrap());
                let check = |row: csv::StringRecord| {
                    assert_eq!((&row[1], &row[12]), ("'=n", "-0.5"));
                    assert_eq!(serde_json::from_str::<Value>(&row[13]).unwrap()["text"], "a,\"b\"\r\nc");
                    row[2].trim_start_matches('\'').to_owned()
                };
                rows.map(check).collect()
            }
            "json" => {
                let rows: Vec<Value> = serde_json::from_slice(&answer.body).unwrap();
                rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
            }
            _ => answer
                .text()
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
                .collect(),
        };
        assert_eq!(ids.len(), EXPORTED, "{format}");
        assert!(ids.iter().enumerate().all(|(n, id)| *id == format!("-{n}")), "{format}");
        println!("{format}: {} bytes; VmHWM {before} KiB before, {} KiB after", answer.body.len(), gateway.peak_kib());
    }
    // The kernel counts roughly: it can even be less.
    let grown = gateway.peak_kib().saturating_sub(before);
    assert!(grown < EXPORT_GROWTH_KIB, "{grown} KiB");
    let few = ask(&gateway, "board", "GET", "/api/v1/export?format=ndjson&type=nobody", "");
    assert_eq!((few.text().as_str(), few.ending), ("", Ending::Whole));
    slow.join().unwrap();
}

/// An export of which its client has taken the head alone.
struct Slow {
    client: Client,
    head: Head,
    begun: Instant,
}

/// As many exports as there may be, of which one stays.
fn begin_slowly(gateway: &Gateway) -> Slow {
    let question = "GET /api/v1/export?format=ndjson HTTP/1.1\r\nhost: localhost\r\n\
                    authorization: Bearer board-token-0123456789\r\n\r\n";
    let begin = || {
        let mut client = gateway.admin_client();
        client.send(question);
        let (status, head) = client.head();
        assert_eq!(status, 200, "{head:?}");
        Slow { client, head, begun: pointsman::clock::now() }
    };
    let mut slow: Vec<Slow> = (0..MAX_EXPORTS).map(|_| begin()).collect();
    let refused = ask(gateway, "board", "GET", "/api/v1/export", "");
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_exports"));
    slow.remove(0)
}

impl Slow {
    /// It is not cut by the bound on the time of an answer.
    fn expect_whole(mut self) {
        let waited = || pointsman::clock::now().saturating_duration_since(self.begun);
        eventually("longer than an answer may take", || (waited() > ANSWER_TIME).then_some(()));
        let (body, _, ending) = self.client.wire.body(&self.head, true).unwrap();
        assert_eq!((body.iter().filter(|byte| **byte == b'\n').count(), ending), (EXPORTED, Ending::Whole));
    }
}

#[test]
fn what_cannot_be_read_to_its_end_is_cut_and_leaves_no_file() {
    let gateway = setup().start();
    store(
        &gateway,
        &(0..3_000).map(|n| json!({"name": "n", "id": n.to_string(), "user": "u", "route": "all"})).collect::<Vec<_>>(),
    );
    let path = gateway.beside("pointsman.db");
    let database = rusqlite::Connection::open(&path).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    database.execute("UPDATE events SET arm = 7 WHERE number = 2900", []).unwrap();
    for format in ["csv", "json", "ndjson"] {
        let answer = ask(&gateway, "board", "GET", &format!("/api/v1/export?format={format}"), "");
        assert_eq!((answer.status, answer.ending), (200, Ending::Truncated), "{format}");
        let file = gateway.beside("events.out");
        let output =
            super::keeping::pointsman(&gateway, "board", &["export", "--format", format, "-o", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("this is not all") && !file.exists(), "{said}");
    }
    database.execute("UPDATE events SET arm = 1 WHERE number = 2900", []).unwrap();
    let answer = ask(&gateway, "board", "GET", "/api/v1/export?format=ndjson", "");
    assert_eq!((answer.text().lines().count(), answer.ending), (3_000, Ending::Whole));
    let old = b"GET /api/v1/export HTTP/1.0\r\nhost: localhost\r\nauthorization: Bearer board-token-0123456789\r\n\r\n";
    let mut client = gateway.admin_client();
    client.send(old);
    assert_eq!(client.head().0, 400, "before HTTP/1.1 a part looks like the whole");
}

#[test]
fn questions_that_make_no_sense_are_told_by_name_and_nothing_happens() {
    let gateway = setup().start();
    store(&gateway, &[json!({"name": "n", "user": "u"})]);
    let long = "x".repeat(257);
    let huge = u64::MAX.to_string();
    let rows = [
        ("GET", "/api/v1/events?limit=0".to_owned(), "", "limit"),
        ("GET", "/api/v1/events?limit=1001".to_owned(), "", "limit"),
        ("GET", "/api/v1/events?limit=-1".to_owned(), "", "limit"),
        ("GET", "/api/v1/events?limit=NaN".to_owned(), "", "limit"),
        ("GET", "/api/v1/events?limit=1.5".to_owned(), "", "limit"),
        ("GET", format!("/api/v1/events?cursor={huge}"), "", "cursor"),
        ("GET", "/api/v1/events?cursor=99999999999999999999999".to_owned(), "", "cursor"),
        ("GET", "/api/v1/events?start=yesterday".to_owned(), "", "start"),
        ("GET", "/api/v1/events?end=1e400".to_owned(), "", "end"),
        ("GET", "/api/v1/events?type=".to_owned(), "", "type"),
        ("GET", format!("/api/v1/events?route={long}"), "", "route"),
        ("GET", "/api/v1/events?type=a&type=b".to_owned(), "", "type"),
        ("GET", "/api/v1/events?format=json".to_owned(), "", "format"),
        ("GET", "/api/v1/history?limit=1001".to_owned(), "", "limit"),
        ("GET", "/api/v1/history?before=0".to_owned(), "", "before"),
        ("GET", format!("/api/v1/history?before={huge}"), "", "before"),
        ("GET", "/api/v1/history?cursor=1".to_owned(), "", "cursor"),
        ("GET", "/api/v1/export?format=xml".to_owned(), "", "format"),
        ("GET", "/api/v1/export?limit=1".to_owned(), "", "limit"),
        ("GET", "/api/v1/export?start=NaN".to_owned(), "", "start"),
        ("DELETE", "/api/v1/events".to_owned(), "", "before"),
        ("DELETE", "/api/v1/events?before=now".to_owned(), "", "before"),
        ("DELETE", "/api/v1/events?before=2999-01-01T00:00:00Z".to_owned(), "", "before"),
        ("DELETE", "/api/v1/events?befor=2026-01-01T00:00:00Z".to_owned(), "", "befor"),
        ("POST", "/api/v1/erase".to_owned(), "{}", "user"),
        ("POST", "/api/v1/erase".to_owned(), "{\"user\": 1e308}", "user"),
        ("POST", "/api/v1/erase".to_owned(), "{\"user\": \"\"}", "user"),
        ("POST", "/api/v1/erase".to_owned(), "{\"user\": \"u\", \"user_hash\": \"00\"}", "user"),
        ("POST", "/api/v1/erase".to_owned(), "{\"user_hash\": \"0123456789abcdef\"}", "user_hash"),
        ("POST", "/api/v1/erase".to_owned(), "{\"user_hash\": [1]}", "user_hash"),
    ];
    for (method, target, body, parameter) in rows {
        let answer = ask(&gateway, "root", method, &target, body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{method} {target} {body}");
        let told: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(told["parameter"], parameter, "{method} {target} {body}");
    }
    for body in ["{", "[]", "{\"user\": NaN}", "{\"user\": \"u\", \"all\": true}", "null"] {
        assert_eq!(ask(&gateway, "root", "POST", "/api/v1/erase", body).code(), "invalid_request", "{body}");
    }
    for (method, target) in
        [("POST", "/api/v1/events"), ("PUT", "/api/v1/history"), ("POST", "/api/v1/export"), ("GET", "/api/v1/erase")]
    {
        assert_eq!(ask(&gateway, "root", method, target, "{}").code(), "method_not_allowed", "{method} {target}");
    }
    assert_eq!(walk(&gateway, "limit=10"), [1], "nothing was removed");
}

#[test]
fn reading_takes_a_viewer_and_removing_an_admin() {
    let gateway = setup().start();
    let read = ["/api/v1/events", "/api/v1/history", "/api/v1/export", "/api/v1/features", "/api/v1/requests/x"];
    for target in read {
        assert_eq!(ask(&gateway, "", "GET", target, "").code(), "token_required", "{target}");
        assert_eq!(ask(&gateway, "nobody", "GET", target, "").code(), "invalid_token", "{target}");
        for token in ["shop", "flags"] {
            assert_eq!(ask(&gateway, token, "GET", target, "").code(), "role_too_low", "{target}");
        }
        for token in ["board", "deploy", "root"] {
            assert!(matches!(ask(&gateway, token, "GET", target, "").status, 200 | 404), "{target}");
        }
    }
    let removals =
        [("DELETE", "/api/v1/events?before=2020-01-01T00:00:00Z", ""), ("POST", "/api/v1/erase", "{\"user\": \"u\"}")];
    for (method, target, body) in removals {
        assert_eq!(ask(&gateway, "", method, target, body).code(), "token_required", "{target}");
        for token in ["shop", "flags", "board", "deploy"] {
            assert_eq!(ask(&gateway, token, method, target, body).code(), "role_too_low", "{token} {target}");
        }
        ask(&gateway, "root", method, target, body).expect(200, "{\"removed\":0}");
    }
    let features = get(&gateway, "/api/v1/features");
    assert_eq!(features["token"], json!({"name": "board", "role": "viewer"}));
    assert_eq!((&features["store"]["engine"], &features["store"]["up"]), (&json!("sqlite"), &json!(true)));
    assert_eq!(features["counts"], json!({"backends": 2, "routes": 2, "flags": 0, "metrics": 0}));
    assert_eq!(features["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn without_a_store_what_needs_one_says_so() {
    let gateway = setup_with("sqlite:/dev/null/nowhere.db").without_a_store().start();
    let rows = [
        ("GET", "/api/v1/events", ""),
        ("GET", "/api/v1/history", ""),
        ("GET", "/api/v1/export", ""),
        ("DELETE", "/api/v1/events?before=2020-01-01T00:00:00Z", ""),
        ("POST", "/api/v1/erase", "{\"user\": \"u\"}"),
        ("POST", "/api/v1/erase", "{\"user_hash\": \"0123456789abcdef0123456789abcdef\"}"),
    ];
    for (method, target, body) in rows {
        let answer = ask(&gateway, "root", method, target, body);
        assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"), "{method} {target}");
        assert!(answer.get("retry-after").is_some());
    }
    assert_eq!(get(&gateway, "/api/v1/features")["store"]["up"], false);
    gateway.ask();
}

#[test]
fn why_a_request_went_where_it_did() {
    let gateway = setup().start();
    let answer = gateway.ask();
    let id = answer.get("x-request-id").unwrap();
    let line = eventually("the line", || {
        let answer = ask(&gateway, "board", "GET", &format!("/api/v1/requests/{id}"), "");
        (answer.status == 200).then(|| serde_json::from_slice::<Value>(&answer.body).unwrap())
    });
    assert_eq!(line, gateway.line_of(&answer));
    let missing = ask(&gateway, "board", "GET", "/api/v1/requests/nobody", "");
    assert_eq!((missing.status, missing.code().as_str()), (404, "unknown_request"));
    assert!(missing.text().contains("log.access_sample, which is 1"), "{}", missing.text());
    assert_eq!(ask(&gateway, "board", "GET", "/api/v1/requests/%ff", "").code(), "invalid_request");
}
