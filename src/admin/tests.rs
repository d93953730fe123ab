use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};

use super::explain::{Explanation, from_file};
use super::question::Question;
use super::*;
use crate::clock;
use crate::config::{self, Sources};
use crate::domain::Arm;
use crate::domain::breaker::Outcome;
use crate::live::Reloader;
use crate::telemetry::access::AccessLog;

const FILE: &str = r#"
[admin.tokens.deploy]
role = "operator"
token = "deploy-token-0123456789"
[admin.tokens.board]
role = "viewer"
token = "board-token-0123456789"
[metrics.quality]
kind = "value"
better = "higher"
from = { response_header = "x-quality-score" }
[backends.old]
url = "http://127.0.0.1:1/secret-path"
headers = { authorization = "Bearer upstream-secret" }
[backends.new]
urls = ["http://127.0.0.1:2", "http://127.0.0.1:3"]
max_in_flight = 8
breaker = { consecutive_failures = 1 }
[routes.answers]
path = "/query"
methods = ["POST"]
control = "old"
candidate = "new"
salt = "answers"
holdout = 5.0
targets = { candidate = ["demo"], control = ["boss"] }
rollout = { percent = 25.0 }
quality_gate = { metric = "quality", min = 0.7 }
fallback = { replay = "connect" }
override = { key = "override-secret" }
"#;

const OPERATOR: &str = "Bearer deploy-token-0123456789";
const VIEWER: &str = "Bearer board-token-0123456789";
const SECRETS: [&str; 4] = ["deploy-token", "board-token", "upstream-secret", "override-secret"];

/// Both faces of a gateway without a data plane.
struct Faces {
    live: Arc<Live>,
    observe: TowerToHyperService<Router>,
    admin: TowerToHyperService<Router>,
    folder: tempfile::TempDir,
}

fn faces() -> Faces {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, FILE).unwrap();
    let sources = Sources { path, profile: None, environment: BTreeMap::new() };
    let loaded = config::load(&sources, None).unwrap();
    let live = Live::new(loaded, 1, Handle::current()).unwrap();
    let (_, access) = AccessLog::new(std::io::sink());
    let reloader = Arc::new(Reloader::new(Arc::clone(&live), sources, Box::new(|_| ())));
    let console = Arc::new(Console {
        live: Arc::clone(&live),
        windows: SharedWindows::default(),
        access,
        log: LogHandle::none(),
        reloader: Some(reloader),
        journal: Journal::start(Arc::default(), &Handle::current()),
        evidence: SharedEvidence::default(),
        alerts: Alerts::unheard(),
        rollouts: Rollouts::unheard(),
        intake: Arc::new(Intake::new(Arc::clone(&live), Arc::default())),
    });
    let observe = TowerToHyperService::new(observe_router(Arc::clone(&console)));
    let admin = TowerToHyperService::new(admin_router(console, "127.0.0.1:9901".parse().unwrap()));
    Faces { live, observe, admin, folder }
}

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

async fn ask(face: &TowerToHyperService<Router>, request: axum::http::Request<Body>) -> Answer {
    let (parts, body) = face.call(request).await.unwrap().into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert_eq!(parts.headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(parts.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    Answer { status: parts.status, headers: parts.headers, text }
}

fn request(method: &str, target: &str, token: &str, body: &str) -> axum::http::Request<Body> {
    let request = axum::http::Request::builder().method(method).uri(target).header("host", "localhost");
    let request = request.header("content-type", "application/json").header("authorization", token);
    request.body(Body::from(body.to_owned())).unwrap()
}

async fn get(face: &TowerToHyperService<Router>, target: &str) -> Answer {
    ask(face, request("GET", target, VIEWER, "")).await
}

#[tokio::test]
async fn both_faces_answer_the_probes_and_readiness_does_not_depend_on_backends() {
    let faces = faces();
    let snapshot = faces.live.snapshot();
    let new = &snapshot.config().backends[0];
    assert_eq!(&*new.name, "new");
    snapshot.backends[0].state.record(None, Outcome::Failure, clock::now_millis(), &new.breaker);
    for face in [&faces.observe, &faces.admin] {
        for (path, expected) in [("/livez", "alive\n"), ("/readyz", "ready\n")] {
            let answer = get(face, path).await;
            assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, expected));
        }
        let health = get(face, "/healthz").await;
        assert_eq!(health.status, StatusCode::OK);
        let (new, old) = (&health.json()["backends"][0], &health.json()["backends"][1]);
        assert_eq!((&new["breaker"], &new["healthy"]), (&json!("open"), &json!(false)));
        assert_eq!((&old["healthy"], &old["endpoints"][0]["endpoint"]), (&json!(true), &json!("http://127.0.0.1:1")));
        let metrics = get(face, "/metrics").await;
        assert!(metrics.text.contains("pointsman_breaker_state{backend=\"new\"} 2\n"), "{}", metrics.text);
        assert_eq!(metrics.headers[header::CONTENT_TYPE], "text/plain; version=0.0.4");
    }
    faces.live.set_unready();
    for face in [&faces.observe, &faces.admin] {
        assert_eq!(get(face, "/livez").await.status, StatusCode::OK);
        for path in ["/readyz", "/healthz"] {
            assert_eq!(get(face, path).await.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        }
    }
}

#[tokio::test]
async fn observe_answers_any_host_and_reads_only() {
    let faces = faces();
    let any = axum::http::Request::builder().uri("/readyz").header("host", "evil.example.com");
    let any = any.header("origin", "https://evil.example.com").body(Body::empty()).unwrap();
    assert_eq!(ask(&faces.observe, any).await.status, StatusCode::OK);
    assert_eq!(ask(&faces.observe, request("HEAD", "/metrics", "", "")).await.text, "");
    for (method, path, status) in [
        ("POST", "/livez", StatusCode::METHOD_NOT_ALLOWED),
        ("GET", "/api/v1/routes", StatusCode::NOT_FOUND),
        ("POST", "/-/reload", StatusCode::NOT_FOUND),
    ] {
        let answer = ask(&faces.observe, request(method, path, OPERATOR, "")).await;
        assert_eq!(answer.status, status, "{method} {path}");
    }
}

#[tokio::test]
async fn errors_are_problems_with_stable_codes() {
    let faces = faces();
    let large = format!("{{\"filter\": \"{}\"}}", "x".repeat(body::MAX_BODY));
    let rows: [(&str, &str, &str, &str, u16, &str); 13] = [
        ("GET", "/nothing", VIEWER, "", 404, "not_found"),
        ("GET", "/api/v1/routes/nothing", VIEWER, "", 404, "unknown_route"),
        ("GET", "/api/v1/routes/%ff", VIEWER, "", 400, "invalid_request"),
        ("DELETE", "/api/v1/routes", OPERATOR, "", 405, "method_not_allowed"),
        ("GET", "/api/v1/routes", "Bearer nobody", "", 401, "invalid_token"),
        ("PUT", "/api/v1/log", VIEWER, "{\"filter\": \"info\"}", 403, "role_too_low"),
        ("PUT", "/api/v1/log", OPERATOR, &large, 413, "content_too_large"),
        ("PUT", "/api/v1/log", OPERATOR, "{\"filter\": 1}", 400, "invalid_request"),
        ("PUT", "/api/v1/log", OPERATOR, "{\"filter\": \"pointsman=loud\"}", 400, "invalid_request"),
        ("PUT", "/api/v1/log", OPERATOR, "{\"filter\": \"info\"}", 409, "no_log"),
        ("GET", "/api/v1/explain", VIEWER, "", 400, "invalid_request"),
        ("GET", "/api/v1/explain?route=answers&overide=control", VIEWER, "", 400, "invalid_request"),
        ("POST", "/api/v1/explain", VIEWER, "{\"route\": \"nothing\"}", 404, "unknown_route"),
    ];
    for (method, target, token, body, status, code) in rows {
        let answer = ask(&faces.admin, request(method, target, token, body)).await;
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json", "{method} {target}");
        let document = answer.json();
        assert_eq!((answer.status.as_u16(), &document["code"]), (status, &json!(code)), "{method} {target}");
        assert_eq!(document["status"], json!(status));
    }
    let mut form = request("POST", "/api/v1/explain", VIEWER, "{\"route\": \"answers\"}");
    form.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    let answer = ask(&faces.admin, form).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (415, &json!("not_json")));
    let answer = ask(&faces.admin, request("DELETE", "/api/v1/log", OPERATOR, "")).await;
    assert_eq!(answer.headers[header::ALLOW], "GET,HEAD,PUT");
    let answer = ask(&faces.admin, request("GET", "/api/v1/routes", "Bearer nobody", "")).await;
    assert!(answer.headers.contains_key(header::WWW_AUTHENTICATE));
}

#[tokio::test]
async fn routes_tell_policy_health_and_counts() {
    let faces = faces();
    let state = Arc::clone(&faces.live.snapshot().routes[0]);
    let class = crate::measure::counters::CodeClass::Of(2);
    let reason = crate::domain::decision::Reason::Fallback;
    state.counters[0].request(Arm::Candidate, Arm::Control, reason, class);
    state.counters[0].drawn[Arm::Candidate.index()].add(1);
    let all = get(&faces.admin, "/api/v1/routes").await.json();
    let one = get(&faces.admin, "/api/v1/routes/answers").await.json();
    assert_eq!(all["routes"][0], one);
    let rows = [
        ("/match/path", json!("/query")),
        ("/percent", json!(25.0)),
        ("/effective_percent", json!(100.0)),
        ("/policy/holdout_percent", json!(5.0)),
        ("/policy/targets/candidate", json!(1)),
        ("/candidate/backend", json!("new")),
        ("/candidate/breaker", json!("closed")),
        ("/candidate/max_in_flight", json!(8)),
        ("/quality_gate/position", json!("open")),
        ("/totals/candidate/assigned", json!(1)),
        ("/totals/control/served", json!(1)),
        ("/recent/candidate/requests", json!(0)),
    ];
    for (pointer, expected) in rows {
        assert_eq!(one.pointer(pointer), Some(&expected), "{pointer} of {one:#}");
    }
}

#[tokio::test]
async fn a_reload_is_told_in_answer_and_page() {
    let faces = faces();
    let path = faces.folder.path().join("gateway.toml");
    let reload = async || ask(&faces.admin, request("POST", "/-/reload", OPERATOR, "")).await;
    let page = async || get(&faces.admin, "/api/v1/config").await.json();
    assert_eq!(reload().await.json()["result"], "unchanged");
    assert_eq!(page().await.pointer("/config/routes/answers/rollout/percent"), Some(&json!(25.0)));

    std::fs::write(&path, FILE.replace("percent = 25.0", "percent = 50.0")).unwrap();
    let answer = reload().await;
    assert_eq!((answer.status, &answer.json()["result"]), (StatusCode::OK, &json!("applied")), "{}", answer.text);
    assert_eq!(page().await["generation"], 2);

    std::fs::write(&path, FILE.replace("percent = 25.0", "percent = 250.0")).unwrap();
    let answer = reload().await;
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (422, &json!("reload_failed")));
    assert_eq!(answer.json()["diagnostics"][0]["key"], "routes.answers.rollout.percent");
    let page = page().await;
    assert_eq!((&page["generation"], &page["reload"]["failed"]), (&json!(2), &json!(true)));
    assert_eq!(page.pointer("/config/routes/answers/rollout/percent"), Some(&json!(50.0)));
}

#[tokio::test]
async fn file_and_running_process_explain_alike() {
    let faces = faces();
    let loaded = faces.live.snapshot().loaded.clone();
    let special = ["demo".to_owned(), "boss".to_owned(), String::new(), "x".repeat(300), "a b&c=ü".to_owned()];
    for key in (0..1_000).map(|n| format!("user_{n}")).chain(special) {
        for override_arm in [None, Some(Arm::Candidate)] {
            let question =
                Question { route: "answers".into(), key: Some(key.clone()), override_arm, ..Question::default() };
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("route", "answers").append_pair("key", &key);
            override_arm.iter().for_each(|arm| _ = query.append_pair("override", arm.as_str()));
            let query = format!("/api/v1/explain?{}", query.finish());
            let body = serde_json::to_string(&question).unwrap();
            let by_query = get(&faces.admin, &query).await;
            let by_body = ask(&faces.admin, request("POST", "/api/v1/explain", VIEWER, &body)).await;
            assert_eq!(by_query.text, by_body.text);
            let running: Explanation = serde_json::from_str(&by_query.text).unwrap();
            let mut file = from_file(&loaded, &question).unwrap();
            (file.basis, file.generation) = (running.basis, running.generation);
            file.notes.truncate(running.notes.len());
            assert_eq!(file, running, "{key}");
        }
    }
}

#[tokio::test]
async fn an_explanation_names_where_values_were_typed() {
    let faces = faces();
    let answer = get(&faces.admin, "/api/v1/explain?route=answers&key=demo").await.json();
    assert_eq!(
        (&answer["served"], &answer["reason"], &answer["basis"]),
        (&json!("candidate"), &json!("target"), &json!("running"))
    );
    let values = answer["values"].as_array().unwrap();
    let of = |name: &str| values.iter().find(|value| value["key"] == format!("routes.answers.{name}")).unwrap();
    let origin = of("rollout.percent")["origin"].as_str().unwrap();
    assert!(origin.ends_with("gateway.toml:27:23"), "{origin}");
    assert_eq!(of("enabled")["origin"], "default");
}

#[tokio::test]
async fn connections_are_served_over_sockets() {
    let faces = faces();
    let bound = Bound::to("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.address();
    assert!(Bound::to(address).is_err(), "a taken address is an error");
    let console = Console {
        live: Arc::clone(&faces.live),
        windows: SharedWindows::default(),
        access: AccessLog::new(std::io::sink()).1,
        log: LogHandle::none(),
        reloader: None,
        journal: Journal::start(Arc::default(), &Handle::current()),
        evidence: SharedEvidence::default(),
        alerts: Alerts::unheard(),
        rollouts: Rollouts::unheard(),
        intake: Arc::new(Intake::new(Arc::clone(&faces.live), Arc::default())),
    };
    tokio::spawn(server::run(bound, admin_router(Arc::new(console), address)));
    let answer = tokio::task::spawn_blocking(move || {
        use std::io::{Read as _, Write as _};
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let head = format!("{} /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n", Method::GET);
        socket.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = answer.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("ready\n"), "{answer}");
}

#[tokio::test]
async fn many_users_are_assigned_as_each_is_explained() {
    let faces = faces();
    let mut subjects: Vec<Value> = (0..300).map(|n| json!({ "key": format!("user_{n}") })).collect();
    subjects.extend([json!({}), json!({ "key": "demo" }), json!({ "key": "boss", "attributes": { "user.new": 1 } })]);
    let asked = |route: &str, subjects: &[Value]| json!({ "route": route, "subjects": subjects }).to_string();
    let post = async |body: &str| ask(&faces.admin, request("POST", "/api/v1/assignments", VIEWER, body)).await;
    let answer = post(&asked("answers", &subjects)).await.json();
    assert_eq!((&answer["generation"], &answer["unknown_attributes"]), (&json!(1), &json!(["user.new"])));
    let loaded = faces.live.snapshot().loaded.clone();
    for (subject, found) in subjects.iter().zip(answer["assignments"].as_array().unwrap()) {
        let key = subject["key"].as_str().map(str::to_owned);
        let question = Question { route: "answers".into(), key, ..Question::default() };
        let expected = from_file(&loaded, &question).unwrap();
        assert_eq!(found, &json!({ "assigned": expected.assigned, "by": expected.assigned_by }), "{subject}");
    }
    assert_eq!(answer["assignments"].as_array().unwrap().len(), subjects.len());

    let limit = super::assignments::MAX_SUBJECTS;
    assert_eq!(post(&asked("answers", &vec![json!({}); limit])).await.status, StatusCode::OK);
    let long = "x".repeat(super::assignments::MAX_BODY);
    let rows = [
        (asked("answers", &vec![json!({}); limit + 1]), 400, "invalid_request"),
        (asked("nothing", &[]), 404, "unknown_route"),
        (asked("answers", &[json!({ "kee": "u" })]), 400, "invalid_request"),
        (asked("answers", &[json!({ "key": long })]), 413, "content_too_large"),
    ];
    for (body, status, code) in rows {
        let answer = post(&body).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (status, &json!(code)), "{}", &body[..40]);
    }
}

#[tokio::test]
async fn a_phase_is_told_by_hashes_and_a_process_by_what_it_started_with() {
    let faces = faces();
    let one = get(&faces.admin, "/api/v1/routes/answers").await.json();
    let names: Vec<_> = one["phase"].as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "candidate",
        "control",
        "exclusive",
        "holdout",
        "percentage",
        "prerequisite",
        "rewriting",
        "salt",
        "split_key",
        "targeting",
    ];
    assert_eq!(names, expected);
    let expected = json!({
        "admin.address": "127.0.0.1:9901", "listen.address": "0.0.0.0:8080",
        "listen.threads": "0", "observe.address": "127.0.0.1:9902", "state.store": "memory",
    });
    assert_eq!(get(&faces.admin, "/api/v1/config").await.json()["restart_keys"], expected);
}
