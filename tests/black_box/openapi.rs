//! What the gateway tells of its administrative API, held against what it does: the same endpoints, answers
//! of the told shapes, and a program that makes up questions from the document and finds nothing wrong.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::reading::{ask, get, setup, store};
use crate::support::message::Head;
use crate::support::{Answer, Gateway, Setup, eventually};

const METHODS: [&str; 8] = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"];

/// Everything that has a shape of its own in an answer: prices, budgets, metrics, gates, targeting, claims.
fn rich() -> Setup {
    setup().with(
        "[metrics.quality]\nkind = \"value\"\nbetter = \"higher\"\nfrom = { response_header = \"x-quality\" }\n\
         [contexts.user]\nkey = [{ header = \"x-user-id\" }]\ntier = { header = \"x-tier\" }\n\
         [backends.priced]\nurl = \"http://127.0.0.1:1\"\nprices = { input = 1.0, output = 2.0 }\n\
         budget = { cost_per_day = 5.0 }\nmax_in_flight = 4\n\
         [routes.rich]\npath = \"/rich\"\nmethods = [\"POST\"]\ncontrol = \"old\"\ncandidate = \"priced\"\n\
         quality_gate = { metric = \"quality\", min = 0.5 }\nfallback = { replay = \"connect\" }\n\
         rules = [{ name = \"premium\", if = { user.tier = \"premium\" }, serve = \"candidate\" }]\n\
         [alerts.webhooks.ops]\nurl = \"http://127.0.0.1:1\"\n\
         [routes.staged]\nguards.g = { when = \"error_rate > control\", then = \"hold\" }\n\
         [[routes.staged.rollout.stages]]\npercent = 10.0\nhold = \"1h\"\npass = [\"latency.p95 < 2s\"]\n\
         [routes.flag]\nvalues = { control = { top_k = 1 }, candidate = { top_k = 10 } }\n",
    )
}

fn document(gateway: &Gateway) -> Value {
    get(gateway, "/openapi.json")
}

/// `GET /api/v1/routes/{route}` and so on.
fn operations(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| (method.to_ascii_uppercase(), path.clone()))
        })
        .collect()
}

/// A path with something in place of its parameters.
fn filled(path: &str) -> String {
    path.replace("{route}", "all").replace("{id}", "x").replace("{key}", "flag").replace("{webhook}", "ops")
}

/// Status and fields of an answer whose end nobody waits for.
fn head(gateway: &Gateway, method: &str, target: &str) -> (u16, Head) {
    let mut client = gateway.admin_client();
    let fields = "host: localhost\r\nauthorization: Bearer root-token-0123456789";
    client.send(format!("{method} {target} HTTP/1.1\r\n{fields}\r\n\r\n"));
    client.head()
}

#[test]
fn the_document_tells_of_every_method_of_every_path_and_of_no_other() {
    let gateway = rich().start();
    let document = document(&gateway);
    assert_eq!(
        (&document["openapi"], &document["info"]["version"]),
        (&json!("3.1.0"), &json!(env!("CARGO_PKG_VERSION")))
    );
    let told = operations(&document);
    let paths: BTreeSet<&String> = told.iter().map(|(_, path)| path).collect();
    for path in paths {
        for method in METHODS {
            let as_told = if method == "HEAD" { "GET" } else { method };
            // The head alone, since the stream of changes goes on.
            let (status, head) = head(&gateway, method, &filled(path));
            let is_told = told.contains(&(as_told.to_owned(), path.clone()));
            assert_eq!(status != 405, is_told, "{method} {path}: {status}");
            let allowed = head.get("allow").unwrap_or_default().to_owned();
            let listed = allowed.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != "HEAD");
            for name in listed {
                assert!(told.contains(&(name.to_owned(), path.clone())), "{path} allows {name}");
            }
            assert_eq!(allowed.is_empty(), is_told, "{method} {path}: allow {allowed:?}");
        }
    }
    let open = Setup::new("[routes.flag]\n").start();
    assert_eq!(open.admin_client().get("/openapi.json", &[("host", "localhost")]).status, 200);
    let elsewhere = gateway.get("/openapi.json", &[]);
    assert_eq!(elsewhere.text(), "old", "the data plane passes it on like any other path");
}

/// Answers, held against a document.
struct Held {
    document: Value,
    seen: BTreeSet<(String, String)>,
}

impl Held {
    fn new(gateway: &Gateway) -> Self {
        let mut document = document(gateway);
        // What is not told must not come either; whoever reads the document may be told more later.
        for schema in document["components"]["schemas"].as_object_mut().unwrap().values_mut() {
            close(schema);
        }
        Self { document, seen: BTreeSet::new() }
    }

    /// The answer to this operation is one of those that are told.
    #[track_caller]
    fn check(&mut self, method: &str, path: &str, answer: &Answer) {
        let what = format!("{method} {path} -> {} {}", answer.status, answer.text());
        let operation = &self.document["paths"][path][method.to_ascii_lowercase()];
        let response = &operation["responses"][answer.status.to_string()];
        assert!(response.is_object(), "no such status is told: {what}");
        for (name, field) in response["headers"].as_object().into_iter().flatten() {
            assert!(field["required"] != true || answer.get(name).is_some(), "no {name}: {what}");
        }
        if answer.status < 400 {
            self.seen.insert((method.to_owned(), path.to_owned()));
        }
        let Some(contents) = response["content"].as_object() else {
            return assert!(answer.body.is_empty(), "{what}");
        };
        let kind = answer.get("content-type").unwrap();
        let content = contents.get(kind).unwrap_or_else(|| panic!("no {kind} is told: {what}"));
        if matches!(kind, "application/json" | "application/problem+json") {
            let mut schema = content["schema"].clone();
            schema["components"] = self.document["components"].clone();
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            let validator = jsonschema::validator_for(&schema).unwrap();
            let mistakes: Vec<String> =
                validator.iter_errors(&body).map(|error| format!("{}: {error}", error.instance_path())).collect();
            assert!(mistakes.is_empty(), "{mistakes:#?}\n{what}");
        }
    }
}

/// Objects have the told fields alone.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.contains_key("properties") && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".to_owned(), json!(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Requests and an event; gives the ids of a request that went well, and of one that fell back.
fn exercised(gateway: &Gateway) -> [String; 2] {
    let answers: Vec<Answer> = (0..40).map(|n| gateway.get("/", &[("x-user-id", &n.to_string())])).collect();
    let rich = [("x-user-id", "u"), ("x-tier", "premium")];
    let fell_back = gateway.request("POST", "/rich", &rich, b"question");
    store(gateway, &[json!({"name": "n", "user": "u", "route": "all", "value": 1.5, "data": {"a": [1]}})]);
    gateway.line_of(&fell_back);
    [&answers[0], &fell_back].map(|answer| answer.get("x-request-id").unwrap().to_owned())
}

/// Method, path, what stands for its parameter, query, body.
type Row<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);

const ROWS: &[Row<'_>] = &[
    ("GET", "/livez", "", "", ""),
    ("GET", "/readyz", "", "", ""),
    ("GET", "/healthz", "", "", ""),
    ("GET", "/metrics", "", "", ""),
    ("GET", "/openapi.json", "", "", ""),
    ("GET", "/api/v1/routes", "", "", ""),
    ("GET", "/api/v1/routes/{route}", "rich", "", ""),
    ("GET", "/api/v1/routes/{route}", "flag", "", ""),
    ("GET", "/api/v1/routes/{route}", "nobody", "", ""),
    ("GET", "/api/v1/routes/{route}/rollout", "staged", "", ""),
    ("GET", "/api/v1/routes/{route}/rollout", "nobody", "", ""),
    ("GET", "/api/v1/routes/{route}/rollout", "staged", "", ""),
    ("POST", "/api/v1/routes/{route}/rollout", "staged", "", "{}"),
    ("GET", "/api/v1/routes/{route}/experiment", "all", "", ""),
    ("GET", "/api/v1/routes/{route}/experiment", "nobody", "", ""),
    ("GET", "/api/v1/routes/{route}/assignments", "all", "", ""),
    ("GET", "/api/v1/routes/{route}/assignments", "nobody", "", ""),
    ("GET", "/api/v1/stats", "", "", ""),
    ("GET", "/api/v1/stats", "", "window=-1s", ""),
    ("GET", "/api/v1/stats", "", "route=nobody", ""),
    ("GET", "/api/v1/config", "", "", ""),
    ("GET", "/api/v1/features", "", "", ""),
    ("GET", "/api/v1/requests/{id}", "nobody", "", ""),
    ("GET", "/api/v1/explain", "", "route=rich&key=u&attr=user.tier=premium&override=control&pin=x", ""),
    ("GET", "/api/v1/explain", "", "key=u", ""),
    ("POST", "/api/v1/explain", "", "", "{\"route\": \"all\", \"key\": \"u\"}"),
    ("POST", "/api/v1/explain", "", "", "{\"route\": 1}"),
    ("POST", "/api/v1/assignments", "", "", "{\"route\": \"all\", \"subjects\": [{\"key\": \"u\"}, {}]}"),
    ("POST", "/api/v1/assignments", "", "", "{\"route\": \"nobody\", \"subjects\": []}"),
    ("GET", "/api/v1/log", "", "", ""),
    ("PUT", "/api/v1/log", "", "", "{\"filter\": \"info\"}"),
    ("PUT", "/api/v1/log", "", "", "{\"filter\": \"a=loud\"}"),
    ("GET", "/api/v1/alerts", "", "", ""),
    ("POST", "/api/v1/alerts/test/{webhook}", "ops", "", ""),
    ("POST", "/api/v1/alerts/test/{webhook}", "nobody", "", ""),
    ("POST", "/-/reload", "", "", ""),
    ("POST", "/v1/events", "", "", "{\"name\": \"n\"}"),
    ("POST", "/v1/events", "", "", "[{\"name\": \"\"}, 1]"),
    ("GET", "/api/v1/events", "", "limit=10", ""),
    ("GET", "/api/v1/events", "", "limit=0", ""),
    ("GET", "/api/v1/history", "", "", ""),
    ("GET", "/api/v1/export", "", "", ""),
    ("GET", "/api/v1/export", "", "format=csv", ""),
    ("GET", "/api/v1/export", "", "format=ndjson", ""),
    ("POST", "/ofrep/v1/evaluate/flags/{key}", "flag", "", "{}"),
    ("POST", "/ofrep/v1/evaluate/flags", "", "", "["),
    ("DELETE", "/api/v1/events", "", "before=2020-01-01T00:00:00Z", ""),
    ("DELETE", "/api/v1/events", "", "before=2999-01-01T00:00:00Z", ""),
    ("POST", "/api/v1/erase", "", "", "{\"user\": \"u\"}"),
];

#[test]
fn every_answer_has_the_told_shape() {
    let gateway = rich().start();
    let lines = exercised(&gateway);
    let context = json!({"context": {"targetingKey": "u", "user": {"tier": "premium"}}}).to_string();
    let told = |keys: &str| format!("{{\"reason\": \"as the test wants it\", {keys}}}");
    let [start, approve, stale, dry] = [
        "\"verb\": \"start\"",
        "\"verb\": \"approve\"",
        "\"verb\": \"start\", \"version\": 99",
        "\"verb\": \"rollback\", \"dry_run\": true",
    ]
    .map(told);
    let rows: [Row<'_>; 10] = [
        ("POST", "/api/v1/routes/{route}/rollout", "staged", "", &stale),
        ("POST", "/api/v1/routes/{route}/rollout", "staged", "", &start),
        ("POST", "/api/v1/routes/{route}/rollout", "staged", "", &approve),
        ("POST", "/api/v1/routes/{route}/rollout", "staged", "", &dry),
        ("POST", "/api/v1/routes/{route}/rollout", "nobody", "", &start),
        ("GET", "/api/v1/requests/{id}", &lines[0], "", ""),
        ("GET", "/api/v1/requests/{id}", &lines[1], "", ""),
        ("POST", "/ofrep/v1/evaluate/flags/{key}", "flag", "", &context),
        ("POST", "/ofrep/v1/evaluate/flags/{key}", "nobody", "", &context),
        ("POST", "/ofrep/v1/evaluate/flags", "", "", &context),
    ];
    let mut held = Held::new(&gateway);
    for (method, path, name, query, body) in rows.iter().chain(ROWS).copied() {
        let target = path.split('/').map(|part| if part.starts_with('{') { name } else { part });
        let target = format!("{}?{query}", target.collect::<Vec<_>>().join("/"));
        held.check(method, path, &ask(&gateway, "root", method, &target, body));
        // Whoever shows nothing, and whoever names another host, is told so in a shape that is told, too.
        for fields in [[("host", "localhost"), ("x-no", "x")], [("host", "evil.example.com"), ("x-no", "x")]] {
            held.check(method, path, &gateway.admin_client().request(method, &target, &fields, b""));
        }
    }
    for path in ["/ofrep/v1/evaluate/flags/{key}", "/ofrep/v1/evaluate/flags", "/ofrep/v1/stream"] {
        held.check("OPTIONS", path, &ask(&gateway, "root", "OPTIONS", &filled(path), ""));
    }
    check_stream(&gateway, &mut held);
    broken_reload(&gateway, &mut held);
    let left: Vec<_> = operations(&held.document).difference(&held.seen).cloned().collect();
    assert!(left.is_empty(), "no answer to {left:?} was seen");
}

/// It goes on for an hour, so that its head has to do.
fn check_stream(gateway: &Gateway, held: &mut Held) {
    let (status, head) = head(gateway, "GET", "/ofrep/v1/stream");
    let response = &held.document["paths"]["/ofrep/v1/stream"]["get"]["responses"][status.to_string()];
    assert!(response["content"][head.get("content-type").unwrap()].is_object(), "{status} {head:?}");
    held.seen.insert(("GET".to_owned(), "/ofrep/v1/stream".to_owned()));
}

fn broken_reload(gateway: &Gateway, held: &mut Held) {
    gateway.rewrite(&rich().top("nonsense = 1"));
    let answer = eventually("the mistake is told", || {
        let answer = ask(gateway, "root", "POST", "/-/reload", "");
        (answer.status == 422).then_some(answer)
    });
    held.check("POST", "/-/reload", &answer);
    held.check("GET", "/api/v1/config", &ask(gateway, "root", "GET", "/api/v1/config", ""));
}

/// How far it goes: questions by the shapes' edges, and so many that are made up. The stream would not end.
/// `positive_data_acceptance` expects that whatever fits the shapes is taken, and shapes cannot say that an
/// end lies behind a start.
const BOUNDS: [&str; 8] = [
    "--phases=examples,coverage,fuzzing",
    "--max-examples=10",
    "--seed=1",
    "--no-shrink",
    "--request-timeout=20",
    "--exclude-path=/ofrep/v1/stream",
    "--exclude-checks=positive_data_acceptance",
    "--output-sanitize=true",
];

/// What `schemathesis` found, where `tests/clients/install` has put it.
fn schemathesis(gateway: &Gateway, token: Option<&str>) {
    let clients = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("clients");
    let program = clients.join("python/bin/schemathesis");
    if !program.exists() {
        assert!(std::env::var_os("CI").is_none(), "{} is not there: tests/clients/install", program.display());
        std::io::stderr().write_all(b"SKIPPED: schemathesis: run tests/clients/install\n").unwrap();
        return;
    }
    let mut command = Command::new(program);
    let folder = gateway.beside("schemathesis");
    std::fs::create_dir_all(&folder).unwrap();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/schemathesis.toml");
    command
        .arg("--config-file")
        .arg(config)
        .arg("run")
        .arg(format!("{}/openapi.json", gateway.admin_url()))
        .args(BOUNDS);
    if let Some(token) = token {
        command.arg("--header").arg(format!("Authorization: Bearer {token}"));
    }
    let output = command.current_dir(folder).env("NO_COLOR", "1").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// No question is answered otherwise than the document says, or makes the gateway log an error.
fn check_made_up_questions(gateway: &Gateway, token: Option<&str>) {
    // Where the disk is slow, the start itself tells that the store is not open yet.
    let start = gateway.stderr().len();
    schemathesis(gateway, token);
    let told = &gateway.stderr()[start..];
    assert!(!told.contains("ERROR"), "{told}");
}

#[test]
fn made_up_questions_of_an_admin_find_nothing() {
    let gateway = rich().start();
    store(&gateway, &[json!({"name": "n", "user": "u", "route": "all"})]);
    check_made_up_questions(&gateway, Some("root-token-0123456789"));
}

#[test]
fn made_up_questions_of_a_stranger_find_nothing() {
    check_made_up_questions(&rich().start(), None);
}

/// What fits nowhere, or only a text.
const NONSENSE: [&str; 12] = [
    "",
    "NaN",
    "-1",
    "-1h",
    "1e400",
    "99999999999999999999999999",
    "2999-01-01T00%3A00%3A00Z",
    "0000-00-00T00%3A00%3A00Z",
    "%00",
    "%FF%FE",
    "%27%3B+DROP+TABLE+events%3B+--",
    "%3Dcmd%7C%27+%2FC+calc%27%21A0",
];

/// Whatever is wrong is told as a mistake of the client's, with words.
#[track_caller]
fn check_refusal(held: &mut Held, method: &str, path: &str, answer: &Answer) {
    assert!(answer.status < 500, "{method} {path}: {answer:?}");
    held.check(method, path, answer);
    if answer.status >= 400 {
        let told: Value = serde_json::from_slice(&answer.body).unwrap();
        let words = if path.starts_with("/ofrep") { "errorDetails" } else { "detail" };
        assert!(told[words].as_str().is_some_and(|words| words.len() > 10), "{method} {path}: {told}");
    }
}

#[test]
fn nonsense_in_every_parameter_and_body_is_told_as_such() {
    let gateway = rich().start();
    let mut held = Held::new(&gateway);
    let large = format!("\"{}\"", "x".repeat(10 << 20));
    for (method, path) in operations(&held.document).into_iter().filter(|(_, path)| path != "/ofrep/v1/stream") {
        let operation = held.document["paths"][&path][method.to_ascii_lowercase()].clone();
        let names = operation["parameters"].as_array().unwrap().iter().filter(|parameter| parameter["in"] == "query");
        for (name, value) in
            names.flat_map(|parameter| NONSENSE.map(|value| (parameter["name"].as_str().unwrap(), value)))
        {
            let target = format!("{}?{name}={value}", filled(&path));
            check_refusal(&mut held, &method, &path, &ask(&gateway, "root", &method, &target, ""));
        }
        for value in NONSENSE.iter().filter(|value| !value.is_empty() && path.contains('{')) {
            let target = path.split('/').map(|part| if part.starts_with('{') { value } else { part });
            let target = target.collect::<Vec<_>>().join("/");
            check_refusal(&mut held, &method, &path, &ask(&gateway, "root", &method, &target, ""));
        }
        if operation["requestBody"].is_null() {
            continue;
        }
        for body in ["NaN", "null", "[]", "{}", "1e400", "\"\u{0}\"", "{\"a\":", "{\"route\": -1}", "\u{feff}{}"] {
            check_refusal(&mut held, &method, &path, &ask(&gateway, "root", &method, &filled(&path), body));
        }
        let mut client = gateway.admin_client();
        let head = format!(
            "{method} {} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer root-token-0123456789\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            filled(&path),
            large.len()
        );
        client.send(head);
        // It stops taking what it will not read.
        let _all_taken = client.try_send(&large);
        let answer = client.answer_to(&method);
        assert_eq!(answer.status, 413, "{method} {path}");
        check_refusal(&mut held, &method, &path, &answer);
        if !path.starts_with("/ofrep") {
            let fields = [
                ("host", "localhost"),
                ("authorization", "Bearer root-token-0123456789"),
                ("content-type", "text/csv"),
            ];
            let answer = gateway.admin_client().request(&method, &filled(&path), &fields, b"a,b");
            assert_eq!((answer.status, answer.code().as_str()), (415, "not_json"), "{method} {path}");
            check_refusal(&mut held, &method, &path, &answer);
        }
    }
}
