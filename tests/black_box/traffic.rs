//! The load generator against real gateways and backends, and the figures that it and the gateway tell.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::backends::tls;
use crate::commands::{expect, pointsman, text};
use crate::support::upstream::{Refusing, ok, status, with_fields};
use crate::support::{Gateway, Setup, Upstream, eventually};

const TOKEN: &str = "shop-token-0123456789";

/// Runs it, and gives what it tells.
#[track_caller]
fn traffic(url: &str, arguments: &[&str], code: i32) -> Value {
    let output = pointsman(&[&["traffic", url, "--json"][..], arguments].concat(), &[]);
    expect(&output, code);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn url(gateway: &Gateway, path: &str) -> String {
    format!("http://{}{path}", gateway.address)
}

/// An answer that tells its score and its tokens.
fn scored(score: &'static str) -> Upstream {
    let fields = format!("x-quality-score: {score}\r\ncontent-type: application/json\r\n");
    let body = r#"{"usage": {"prompt_tokens": 1000, "completion_tokens": 500}}"#;
    Upstream::answering(move |_| with_fields(200, "OK", &fields, body))
}

#[test]
fn counts_are_those_of_the_backends_and_shares_those_of_the_file() {
    const REQUESTS: usize = 600;
    const PERCENT: f64 = 30.0;
    let (control, candidate) = (scored("0.5"), scored("0.75"));
    let setup = Setup::route(&control.url(), &candidate.url(), &format!("salt = \"s\"\nrollout.percent = {PERCENT:?}"));
    let gateway = setup.start();
    let file = gateway.beside("result.json");
    let requests = REQUESTS.to_string();
    let told = traffic(
        &url(&gateway, "/query"),
        &[
            "--requests",
            &requests,
            "--rate",
            "1000",
            "--concurrency",
            "8",
            "--users",
            "3000",
            "--skew",
            "0",
            "--price",
            "control=1,2",
            "--price",
            "candidate=3,4",
            "--output",
            file.to_str().unwrap(),
        ],
        0,
    );
    assert_eq!(serde_json::from_slice::<Value>(&std::fs::read(&file).unwrap()).unwrap(), told);
    let lines = gateway.await_lines(REQUESTS);
    let mut users: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in &lines {
        users.entry(line["served"].as_str().unwrap()).or_default().insert(line["user"].as_str().unwrap());
    }
    for (arm, backend, score, cost) in [("control", &control, 0.5, 0.002), ("candidate", &candidate, 0.75, 0.005)] {
        let found = &told["arms"][arm];
        assert_eq!(found["queries"], backend.heads(), "{arm}: {told:#}");
        assert_eq!(found["users"], users[arm].len(), "{arm}: {told:#}");
        assert_eq!((found["errors"].as_u64(), found["success_rate"].as_f64()), (Some(0), Some(1.0)), "{arm}");
        let figures = [("score", score), ("cost_per_query", cost), ("cost", cost * backend.heads() as f64)];
        for (name, expected) in figures {
            let found = found[name].as_f64().unwrap();
            assert!((found - expected).abs() < 1e-9, "{arm} {name}: {found}, not {expected}");
        }
    }
    assert_eq!(told["total"]["queries"], REQUESTS);
    assert_eq!((&told["arms"]["unknown"]["queries"], &told["endings"]["200"]), (&0.into(), &REQUESTS.into()));
    // Users are drawn without regard to their arm: five standard deviations of a binomial distribution.
    let all = told["total"]["users"].as_f64().unwrap();
    let (share, p) = (users["candidate"].len() as f64 / all, PERCENT / 100.0);
    assert!((share - p).abs() < 5.0 * (p * (1.0 - p) / all).sqrt(), "{share} of {all}");
}

#[test]
fn the_result_has_the_fields_that_its_page_describes() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/traffic.md")).unwrap();
    let backend = Upstream::saying("ok");
    let events = Upstream::saying("{}");
    let to = format!("{}/v1/events", events.url());
    let told = traffic(
        &backend.url(),
        &["--requests", "5", "--rate", "1000", "--events", &to, "--fail-if", "error_rate > 1%"],
        0,
    );
    let mut names = BTreeSet::new();
    for (place, value) in [("", &told), ("asked", &told["asked"]), ("arms", &told["arms"]), ("total", &told["total"])] {
        assert!(value.is_object(), "{place}: {told:#}");
        names.extend(value.as_object().unwrap().keys().cloned());
    }
    names.extend(told["events"].as_object().unwrap().keys().cloned());
    names.extend(told["thresholds"][0].as_object().unwrap().keys().cloned());
    let missing: Vec<_> = names.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/traffic.md lacks {missing:?}");
    assert!(names.len() > 30, "{names:?}");
}

/// Who asked what in which order, as a backend saw it.
fn asked(arguments: &[&str]) -> Vec<(String, String, Vec<String>)> {
    let backend = Upstream::saying("ok");
    let all = [&["--requests", "40", "--rate", "10000", "--concurrency", "1"][..], arguments].concat();
    traffic(&format!("{}/search?lang=de", backend.url()), &all, 0);
    let fields = ["x-user-tier", "x-device-type", "x-region", "x-organization-id", "x-extra"];
    let seen = |seen: &crate::support::upstream::Seen| {
        let what = format!("{} {}", seen.head.start, String::from_utf8_lossy(&seen.body));
        let more = fields.iter().map(|name| seen.head.get(name).unwrap_or_default().to_owned()).collect();
        (seen.head.get("x-user-id").unwrap().to_owned(), what, more)
    };
    backend.requests().iter().map(seen).collect()
}

#[test]
fn the_same_seed_gives_the_same_users_and_queries() {
    let first = asked(&[]);
    assert_eq!(first.len(), 40);
    assert_eq!(first, asked(&["--seed", "1"]));
    assert_ne!(first, asked(&["--seed", "2"]));
    assert!(first.iter().all(|(_, what, _)| what.starts_with("GET /search?lang=de&q=")), "{first:?}");
    let users: BTreeSet<&str> = first.iter().map(|(user, ..)| user.as_str()).collect();
    assert!((5..=40).contains(&users.len()), "{users:?}");
    assert!(first.iter().all(|(.., fields)| fields[..4].iter().all(|field| !field.is_empty())), "{first:?}");
}

#[test]
fn queries_come_from_a_file_and_fields_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queries.txt");
    std::fs::write(&file, "why?\n\n{\"messages\": [1]}\n").unwrap();
    let file = file.to_str().unwrap();
    let posted =
        asked(&["--method", "post", "--queries", file, "--header", "x-region: mars", "--header", "x-extra: 1"]);
    let bodies: BTreeSet<&str> = posted.iter().map(|(_, what, _)| what.as_str()).collect();
    let line = "POST /search?lang=de HTTP/1.1";
    let (one, other) = (format!("{line} {{\"messages\": [1]}}"), format!("{line} {{\"query\":\"why?\"}}"));
    assert_eq!(bodies, [one.as_str(), other.as_str()].into());
    assert!(posted.iter().all(|(.., fields)| (fields[2].as_str(), fields[4].as_str()) == ("mars", "1")), "{posted:?}");
    let got = asked(&["--queries", file, "--query-name", "text"]);
    let targets: BTreeSet<&str> = got.iter().map(|(_, what, _)| what.as_str()).collect();
    assert!(targets.iter().any(|target| target.starts_with("GET /search?lang=de&text=why%3F ")), "{targets:?}");
}

#[test]
fn users_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.jsonl");
    std::fs::write(&file, "ann@example.com\n{\"key\": \"bob\", \"headers\": {\"x-user-tier\": \"gold\"}}\n").unwrap();
    let seen = asked(&["--users-file", file.to_str().unwrap(), "--skew", "0"]);
    let users: BTreeSet<(&str, &str)> =
        seen.iter().map(|(user, _, fields)| (user.as_str(), fields[0].as_str())).collect();
    assert_eq!(users, [("ann@example.com", ""), ("bob", "gold")].into());
}

#[test]
fn conditions_decide_the_exit_code() {
    let well = scored("0.9");
    let half = AtomicUsize::new(0);
    let flaky = Upstream::answering(move |_| {
        if half.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) { ok("ok") } else { status(503, "Ill", "ill") }
    });
    let ill = Upstream::answering(|_| status(500, "Ill", "ill"));
    let rows: [(&Upstream, &[&str], i32); 10] = [
        (&well, &[], 0),
        (&well, &["error_rate > 1%", "p95 > 1h", "queries < 20", "score < 0.85"], 0),
        (&well, &["error_rate > 1%", "queries < 21"], 1),
        (&well, &["score > 0.5"], 1),
        (&well, &["candidate.p95 > 1h"], 1),
        (&well, &["cost > 100"], 1),
        (&flaky, &["error_rate > 50%"], 0),
        (&flaky, &["error_rate > 49%"], 1),
        (&flaky, &[], 0),
        (&ill, &[], 1),
    ];
    for (backend, conditions, code) in rows {
        let conditions: Vec<&str> = conditions.iter().flat_map(|condition| ["--fail-if", condition]).collect();
        let told = traffic(&backend.url(), &[&["--requests", "20", "--rate", "1000"][..], &conditions].concat(), code);
        let failed = told["thresholds"].as_array().unwrap().iter().any(|verdict| verdict["failed"] == true);
        assert_eq!(failed, code == 1 && !conditions.is_empty(), "{conditions:?}: {told:#}");
    }
    let output = pointsman(&["traffic", &flaky.url(), "--requests", "20", "--fail-if", "error_rate > 10%"], &[]);
    expect(&output, 1);
    let told = text(&output.stdout);
    for expected in
        ["arm", "success", "unknown", "total", "50.00 %", "endings: 10 200, 10 503", "FAILED: error_rate > 10%"]
    {
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

#[test]
fn what_cannot_be_sent_is_told_before_anything_is() {
    let backend = Upstream::saying("ok");
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    let (empty, url) = (empty.to_str().unwrap(), backend.url());
    let refusing = Refusing::new().url();
    let rows: [(&str, &[&str], &str); 15] = [
        (&url, &["--users-file", empty], "expected one a line"),
        (&url, &["--users-file", "x", "--users", "5"], "cannot be used with"),
        (&refusing, &[], "is somebody listening there?"),
        ("127.0.0.1:80", &[], "expected \"http://host"),
        (&url, &["--rate", "0"], "above 0"),
        (&url, &["--ramp", "30"], "with its unit"),
        (&url, &["--think", "1s", "--rate", "5"], "cannot be used with"),
        (&url, &["--requests", "0"], "0 is not in 1.."),
        (&url, &["--fail-if", "errors > 1%"], "there are queries, users"),
        (&url, &["--price", "candidate"], "for example candidate=3,15"),
        (&url, &["--queries", empty], "expected one a line"),
        (&url, &["--queries", "/not/there"], "cannot read /not/there"),
        (&url, &["--output", empty], "--force replaces it"),
        (&url, &["--event-share", "50%"], "--events <URL>"),
        ("https://127.0.0.1:1/", &["--ca", empty], "no certificate"),
    ];
    for (url, arguments, expected) in rows {
        let output = pointsman(&[&["traffic", url][..], arguments].concat(), &[]);
        expect(&output, 2);
        let noted = text(&output.stderr);
        assert!(noted.contains(expected), "{arguments:?}: {noted}");
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn nothing_but_the_given_address_is_called() {
    let (backend, other) = (Arc::new(Mutex::new(String::new())), Upstream::saying("other"));
    *backend.lock().unwrap() = other.url();
    let redirecting = Upstream::answering(move |_| {
        let other = backend.lock().unwrap().clone();
        with_fields(302, "Found", &format!("location: {other}/\r\nlink: <{other}/>; rel=preload\r\n"), "")
    });
    let proxy = other.url();
    let variables = ["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].map(|name| (name, &*proxy));
    let output =
        pointsman(&["traffic", &redirecting.url(), "--requests", "10", "--rate", "1000", "--json"], &variables);
    // A redirect is not the answer that was wanted.
    expect(&output, 1);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((told["endings"]["302"].as_u64(), redirecting.heads(), other.connections()), (Some(10), 10, 0));
}

#[test]
fn rate_and_ramp_keep_the_schedule() {
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let noting = Arc::clone(&arrivals);
    let backend = Upstream::answering(move |_| {
        noting.lock().unwrap().push(pointsman::clock::now());
        ok("ok")
    });
    let before = pointsman::clock::now();
    let told = traffic(&backend.url(), &["--rate", "200", "--ramp", "1s", "--duration", "1500ms"], 0);
    // 100 in the ramp, and 100 in the half second after it.
    assert_eq!((told["total"]["queries"].as_u64(), backend.heads()), (Some(200), 200));
    assert!(told["seconds"].as_f64().unwrap() >= 1.49, "{told:#}");
    let mut arrivals = arrivals.lock().unwrap().clone();
    arrivals.sort();
    for (number, at) in (0_u32..).zip(arrivals) {
        let number = f64::from(number);
        let due = if number < 100.0 { (number / 100.0).sqrt() } else { 1.0 + (number - 100.0) / 200.0 };
        let elapsed = (at - before).as_secs_f64();
        assert!(elapsed >= due - 1e-6, "query {number} came after {elapsed} s, and was due after {due} s");
    }
}

#[test]
fn a_query_that_had_to_wait_for_others_is_as_late_as_its_user_felt() {
    const SERVICE: Duration = Duration::from_millis(50);
    let backend = Upstream::answering(|_| {
        std::thread::sleep(SERVICE);
        ok("ok")
    });
    let told = traffic(&backend.url(), &["--requests", "20", "--rate", "100", "--concurrency", "1"], 0);
    // The last was due after 190 ms, and 19 others of 50 ms came before it.
    assert!(told["total"]["max_ms"].as_f64().unwrap() >= 810.0, "{told:#}");
    assert!(told["behind_ms"].as_f64().unwrap() >= 760.0, "{told:#}");
    let thinking = traffic(&backend.url(), &["--requests", "6", "--think", "0s", "--concurrency", "2"], 0);
    assert_eq!((backend.heads(), &thinking["asked"]["rate"]), (26, &Value::Null));
}

#[test]
fn in_a_closed_loop_each_user_waits_for_an_answer() {
    const USERS: usize = 3;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&most);
    let backend = Upstream::answering(move |_| {
        counted.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(2));
        now.fetch_sub(1, Ordering::SeqCst);
        ok("ok")
    });
    let closed = ["--requests", "60", "--think", "1ms", "--concurrency", "3", "--ramp", "10ms"];
    let told = traffic(&backend.url(), &closed, 0);
    assert_eq!((told["total"]["queries"].as_u64(), backend.connections()), (Some(60), USERS));
    assert!((1..=USERS).contains(&most.load(Ordering::SeqCst)));
    let told = traffic(&backend.url(), &["--duration", "100ms", "--think", "5ms", "--concurrency", "3"], 0);
    let queries = told["total"]["queries"].as_u64().unwrap();
    assert!((1..=180).contains(&queries), "{told:#}");
    assert_eq!(backend.heads() as u64, 60 + queries);
}

#[test]
fn slow_and_broken_answers_are_errors_of_their_kind() {
    let silent = Upstream::scripted(|conversation| while conversation.request().is_some() {});
    let told = traffic(&silent.url(), &["--requests", "3", "--rate", "1000", "--timeout", "200ms"], 1);
    assert_eq!((told["endings"]["timeout"].as_u64(), told["total"]["error_rate"].as_f64()), (Some(3), Some(1.0)));
    assert!(told["total"]["p50_ms"].as_f64().unwrap() >= 198.0, "{told:#}");
    let breaking = Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation.write("HTTP/1.1 200 OK\r\nx-pointsman-arm: candidate\r\ncontent-length: 9\r\n\r\nhalf");
        }
    });
    let told = traffic(&breaking.url(), &["--requests", "3", "--rate", "1000"], 1);
    assert_eq!((told["endings"]["broken"].as_u64(), told["arms"]["candidate"]["errors"].as_u64()), (Some(3), Some(3)));
    assert!(told["last_failure"].as_str().unwrap().contains("broke off"), "{told:#}");
}

#[test]
fn an_interrupted_run_tells_what_it_has() {
    let served = AtomicUsize::new(0);
    let backend = Upstream::scripted(move |conversation| {
        while conversation.request().is_some() {
            if served.fetch_add(1, Ordering::SeqCst) < 5 && !conversation.try_write(ok("ok")) {
                return;
            }
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("result.json");
    let child = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["traffic", &backend.url(), "--requests", "1000000", "--rate", "500", "--concurrency", "4", "--output"])
        .arg(&file)
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Five were answered, and each of four connections waits for another one.
    backend.await_heads(9);
    let sent = Command::new("kill").arg("-INT").arg(child.id().to_string()).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    expect(&output, 130);
    let noted = text(&output.stdout);
    assert!(noted.contains("interrupted; 4 queries were not waited for"), "{noted}");
    let told: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(
        (&told["interrupted"], &told["total"]["queries"], &told["unfinished"]),
        (&true.into(), &5.into(), &4.into())
    );
}

#[test]
fn https_is_verified() {
    let backend = tls("localhost");
    let url = backend.url.replace("127.0.0.1", "localhost");
    let authority = backend.authority.path().to_str().unwrap();
    let rows: [(&[&str], i32); 3] = [(&["--ca", authority], 0), (&["--insecure"], 0), (&[], 2)];
    for (arguments, code) in rows {
        let output = pointsman(&[&["traffic", &url, "--requests", "1", "--json"][..], arguments].concat(), &[]);
        expect(&output, code);
        let noted = text(&output.stderr);
        assert_eq!(code == 2, noted.contains("TLS"), "{arguments:?}: {noted}");
    }
}

/// A gateway that counts satisfaction by arm.
fn rated(control: &Upstream, candidate: &Upstream) -> Gateway {
    let keys = format!(
        "salt = \"s\"\nrollout.percent = 50\n[metrics.satisfaction]\nkind = \"value\"\nbetter = \"higher\"\n\
         from = {{ event = \"satisfaction\", value = \"/value\" }}\n[events]\npublic = true\n\
         [exposure]\nkeys = [\"a long enough secret\"]\n\
         [admin.tokens.shop]\nrole = \"operator\"\ntoken = \"{TOKEN}\"\n"
    );
    Setup::route(&control.url(), &candidate.url(), &keys).top("state.store = \"sqlite:pointsman.db\"").start()
}

#[test]
fn users_rate_answers_and_stats_tells_how_the_arms_fared() {
    let (control, candidate) = (scored("0.1"), scored("0.9"));
    let gateway = rated(&control, &candidate);
    let token = gateway.beside("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let (token, admin) = (token.to_str().unwrap(), gateway.admin_url());
    let load = ["--requests", "100", "--rate", "1000", "--concurrency", "4", "--event-share", "100%"];
    let events = format!("{admin}/v1/events");
    let told = traffic(&url(&gateway, "/"), &[&load[..], &["--events", &events, "--token-file", token]].concat(), 0);
    assert_eq!((&told["events"]["stored"], &told["events"]["failed"]), (&100.into(), &0.into()), "{told:#}");

    // Browsers show the exposure token of the answer, and need no other.
    let public = url(&gateway, "/v1/events");
    let few = ["--requests", "10", "--rate", "1000", "--event-share", "1", "--seed", "2", "--events", &public];
    let told = traffic(&url(&gateway, "/"), &few, 0);
    assert_eq!(told["events"]["stored"], 10, "{told:#}");

    let stats = |more: &[&str]| {
        let output = pointsman(&[&["stats", "--admin", &admin, "--token-file", token][..], more].concat(), &[]);
        expect(&output, 0);
        text(&output.stdout)
    };
    let found = eventually("all events are counted", || {
        let found: Value = serde_json::from_str(&stats(&["--json", "--window", "30m", "--route", "all"])).unwrap();
        let arms = &found["routes"]["all"];
        let sum = |read: &dyn Fn(&Value) -> Option<f64>| Some(read(&arms["control"])? + read(&arms["candidate"])?);
        let events = sum(&|arm| arm["metrics"]["satisfaction"]["count"].as_f64())?;
        let requests = sum(&|arm| arm["requests"].as_f64())?;
        (events >= 110.0 && requests >= 110.0).then_some(found)
    });
    for (arm, backend) in [("control", &control), ("candidate", &candidate)] {
        let figures = &found["routes"]["all"][arm];
        assert_eq!(figures["requests"], backend.heads(), "{arm}");
        assert_eq!(figures["metrics"]["satisfaction"]["count"].as_f64(), Some(backend.heads() as f64), "{arm}");
    }
    let mean = |arm: &str| found["routes"]["all"][arm]["metrics"]["satisfaction"]["mean"].as_f64().unwrap();
    assert!(mean("control") < 2.5 && mean("candidate") > 3.5, "{found:#}");

    let told = stats(&["--start", "1h"]);
    for expected in ["fallbacks", "candidate", "100.00 %", "satisfaction", "by the arm that served"] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    let refused: [(&[&str], i32, &str); 4] = [
        (&["--window", "1y"], 1, "no length of time up to"),
        (&["--route", "none"], 1, "unknown_route"),
        (&["--window", "1h", "--start", "2h"], 2, "cannot be used with"),
        (&["--start", "yesterday"], 2, "expected a time such as"),
    ];
    for (arguments, code, expected) in refused {
        let output = pointsman(&[&["stats", "--admin", &admin, "--token-file", token][..], arguments].concat(), &[]);
        expect(&output, code);
        assert!(text(&output.stderr).contains(expected), "{arguments:?}: {}", text(&output.stderr));
    }
    let output = pointsman(&["stats", "--admin", &admin], &[]);
    expect(&output, 1);
    assert!(text(&output.stderr).contains("token_required"), "{}", text(&output.stderr));
}

#[test]
fn events_that_are_refused_are_counted_and_hold_up_nothing() {
    let backend = Upstream::saying("ok");
    let refusing = Refusing::new();
    let url = backend.url();
    let ask = |events: &str, more: &[&str]| {
        let all = ["--requests", "5", "--rate", "1000", "--event-share", "100%", "--events", events];
        traffic(&url, &[&all[..], more].concat(), 0)["events"].clone()
    };
    // Without a token of either kind an event would belong to nobody.
    let told = ask(&refusing.url(), &[]);
    assert_eq!((&told["unattributed"], &told["stored"]), (&5.into(), &0.into()));
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let bad = Upstream::answering(|_| status(400, "Bad", r#"{"detail": "no such route"}"#));
    let told = ask(&bad.url(), &["--token-file", token.to_str().unwrap(), "--event-route", "all"]);
    assert_eq!((&told["failed"], told["last_failure"].as_str()), (&5.into(), Some("400 Bad Request: no such route")));
    let sent = bad.requests();
    let events: Vec<Value> =
        sent.iter().flat_map(|seen| serde_json::from_slice::<Vec<Value>>(&seen.body).unwrap()).collect();
    assert_eq!(events.len(), 5);
    assert!(events.iter().all(|event| event["route"] == "all" && event["name"] == "satisfaction"), "{events:?}");
    assert!(events.iter().all(|event| event["user"].as_str().unwrap().starts_with("user_")), "{events:?}");
    assert_eq!(sent[0].head.get("authorization"), Some(&*format!("Bearer {TOKEN}")));
}
