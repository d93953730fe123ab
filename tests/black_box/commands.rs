//! Commands of the program, as they are typed: output, exit codes, and what they leave behind.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Gateway, Setup, Upstream};

/// The program with these arguments, in an environment that holds these variables alone.
pub(crate) fn pointsman(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.args(arguments).env_clear().envs(environment.iter().copied()).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
pub(crate) fn expect(output: &Output, code: i32) {
    let (told, noted) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{told}\n{noted}");
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

#[test]
fn variables_become_a_file_that_passes_check() {
    let folder = tempfile::tempdir().unwrap();
    let (env, toml) = (path(folder.path(), "old.env"), path(folder.path(), "gateway.toml"));
    std::fs::write(&env, "LIGHTRAG_INTEGRATION_ENABLED=true\nLIGHTRAG_ROLLOUT_PERCENTAGE=\"25\"\nLIGHTRAG_NEW=1\n")
        .unwrap();
    let import = ["import-env", "--env-file", &env, "-o", &toml];
    let output = pointsman(&import, &[("LIGHTRAG_USER_HASH_SALT", "default_salt"), ("GOOGLE_ANALYTICS_ID", "G-1")]);
    expect(&output, 0);
    let noted = text(&output.stderr);
    assert!(noted.contains("GOOGLE_ANALYTICS_ID: ") && noted.contains("LIGHTRAG_NEW: not known here"), "{noted}");
    expect(&pointsman(&["check", "-c", &toml], &[]), 0);
    // 11.17 % and 58.37 %, see the vectors in README.md.
    for (user, arm) in [("demo@example.com", "candidate"), ("user123", "control")] {
        let output = pointsman(&["explain", "lightrag", "--key", user, "-c", &toml, "--json"], &[]);
        expect(&output, 0);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&answer["served"], &answer["reason"]), (&arm.into(), &"rollout".into()), "{user}");
    }
    let before = std::fs::read_to_string(&toml).unwrap();
    expect(&pointsman(&import, &[]), 1);
    assert_eq!(std::fs::read_to_string(&toml).unwrap(), before);
    expect(&pointsman(&[&import[..], &["--force"]].concat(), &[("LIGHTRAG_LOG_LEVEL", "DEBUG")]), 0);
    assert!(std::fs::read_to_string(&toml).unwrap().contains("level = \"debug\""));
    let output = pointsman(&["import-env"], &[("XZE_KEYWORD_EXTRACTION_AB_TEST", "true")]);
    expect(&output, 0);
    assert!(text(&output.stdout).contains("[routes.keywords]"));
}

#[test]
fn mistakes_in_variables_are_told_together_and_no_file_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let toml = path(folder.path(), "gateway.toml");
    let wrong = [("LIGHTRAG_ROLLOUT_PERCENTAGE", "101"), ("RAG_TIMEOUT_MS", "soon")];
    let output = pointsman(&["import-env", "-o", &toml], &wrong);
    expect(&output, 2);
    let noted = text(&output.stderr);
    assert!(noted.contains("LIGHTRAG_ROLLOUT_PERCENTAGE: found \"101\"; expected a number from 0 to 100"), "{noted}");
    assert!(noted.contains("RAG_TIMEOUT_MS: found \"soon\""), "{noted}");
    assert!(!Path::new(&toml).exists());
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    let bytes = std::os::unix::ffi::OsStrExt::from_bytes(&[0xff]);
    let unread: &std::ffi::OsStr = bytes;
    let output = command.arg("import-env").env_clear().env("LIGHTRAG_LOG_LEVEL", unread).output().unwrap();
    expect(&output, 2);
    assert!(text(&output.stderr).contains("LIGHTRAG_LOG_LEVEL: its value is no text"), "{}", text(&output.stderr));
}

/// A route whose salt only the gateway knows.
fn split(percent: f64, more: &str) -> Setup {
    Setup::route(
        "http://127.0.0.1:1",
        "http://127.0.0.1:2",
        &format!("salt = \"grains\"\nrollout.percent = {percent:?}\n{more}"),
    )
}

/// The gateway's own file with a change, beside it.
fn changed(gateway: &Gateway, changes: &[(&str, &str)]) -> String {
    let mut toml = std::fs::read_to_string(&gateway.file).unwrap();
    for (old, new) in changes {
        assert!(toml.contains(old), "{old}");
        toml = toml.replacen(old, new, 1);
    }
    let path = gateway.file.with_file_name("changed.toml");
    std::fs::write(&path, toml).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn diff_tells_who_moves_and_what_starts_anew() {
    let gateway = split(10.0, "").start();
    let admin = gateway.admin_url();
    let diff = |changes: &[(&str, &str)], more: &[&str]| {
        let file = changed(&gateway, changes);
        pointsman(&[&["diff", &file, "--admin", &admin][..], more].concat(), &[])
    };
    let same = diff(&[], &[]);
    expect(&same, 0);
    assert!(text(&same.stdout).contains("nothing changes"), "{}", text(&same.stdout));

    let output = diff(&[("percent = 10.0", "percent = 11.0")], &["--json"]);
    expect(&output, 1);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let route = &found["routes"][0];
    assert_eq!((&route["phase"], &route["users"]), (&serde_json::json!(["percentage"]), &10_000.into()));
    assert_eq!(route["candidate_to_control"]["count"], 0);
    let interval: Vec<f64> = serde_json::from_value(route["control_to_candidate"]["interval"].clone()).unwrap();
    assert!(interval[0] <= 1.0 && 1.0 <= interval[1], "{interval:?}");
    // Offline, between the same files: the same figures.
    let file = changed(&gateway, &[("percent = 10.0", "percent = 11.0")]);
    let old = gateway.file.to_str().unwrap();
    let offline = pointsman(&["diff", &file, "--offline", old, "--json"], &[]);
    expect(&offline, 1);
    let offline: Value = serde_json::from_slice(&offline.stdout).unwrap();
    assert_eq!((&offline["routes"], &offline["keys"]), (&found["routes"], &found["keys"]));

    let output = diff(&[("percent = 10.0", "percent = 11.0")], &[]);
    let told = text(&output.stdout);
    assert!(told.contains("of 10,000 sampled users ") && told.contains(" move control → candidate\n"), "{told}");
    assert!(told.contains("0 % [0, 0.04] move candidate → control\n"), "{told}");

    let output = diff(&[("grains", "corns"), ("listen.threads = 1", "listen.threads = 2")], &[]);
    expect(&output, 1);
    let told = text(&output.stdout);
    assert!(told.contains("evidence starts anew: salt\n"), "{told}");
    assert!(told.contains("needs a restart: listen.threads"), "{told}");

    let output = diff(&[("percent = 10.0", "percent = 110.0")], &[]);
    expect(&output, 2);
    assert!(text(&output.stderr).contains("routes.all.rollout.percent"));
    // Trouble is no difference.
    let file = changed(&gateway, &[]);
    expect(&pointsman(&["diff", &file, "--admin", "http://127.0.0.1:1"], &[]), 2);
}

#[test]
fn diff_asks_about_the_users_that_it_is_given() {
    let gateway = split(10.0, "").start();
    let folder = tempfile::tempdir().unwrap();
    let rows = [
        ("users.txt", "alice\nbob\n".to_owned(), 2),
        ("users.jsonl", "{\"key\": \"alice\", \"attributes\": {\"user.id\": \"x\"}}\n".to_owned(), 1),
        ("cases.toml", "[[case]]\nroute = \"all\"\nkey = \"alice\"\nexpect = \"control\"\n".repeat(3), 3),
    ];
    for (name, content, users) in rows {
        let file = path(folder.path(), name);
        std::fs::write(&file, content).unwrap();
        let new = changed(&gateway, &[("percent = 10.0", "percent = 100.0")]);
        let arguments = ["diff", &new, "--admin", &gateway.admin_url(), "--users", &file, "--json"];
        let output = pointsman(&arguments, &[]);
        expect(&output, 1);
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&found["routes"][0]["users"], &found["sampled"]), (&users.into(), &false.into()), "{name}");
        assert!(found["routes"][0]["control_to_candidate"]["interval"].is_null());
    }
    let file = path(folder.path(), "broken.toml");
    std::fs::write(&file, "[[case]]\nroute = 7\n").unwrap();
    let new = changed(&gateway, &[]);
    expect(&pointsman(&["diff", &new, "--admin", &gateway.admin_url(), "--users", &file], &[]), 2);
}

#[test]
fn diff_takes_a_viewer() {
    let token = "viewer-token-0123456789";
    let gateway = split(10.0, "").with(&format!("[admin.tokens.v]\nrole = \"viewer\"\ntoken = \"{token}\"")).start();
    let file = changed(&gateway, &[]);
    let refused = pointsman(&["diff", &file, "--admin", &gateway.admin_url()], &[]);
    expect(&refused, 2);
    assert!(text(&refused.stderr).contains("token_required"), "{}", text(&refused.stderr));
    let token_file = gateway.file.with_file_name("token");
    std::fs::write(&token_file, token).unwrap();
    let environment = [("POINTSMAN_TOKEN_FILE", token_file.to_str().unwrap())];
    expect(&pointsman(&["diff", &file, "--admin", &gateway.admin_url()], &environment), 0);
}

/// A salt from a variable stays in the gateway, and yet another one is seen.
#[test]
fn diff_sees_another_salt_without_being_told_it() {
    let gateway = Setup::route("http://127.0.0.1:1", "http://127.0.0.1:2", "salt = \"${SALT}\"\nrollout.percent = 10")
        .environment("SALT", "grains")
        .start();
    let file = changed(&gateway, &[]);
    for (salt, code) in [("grains", 0), ("corns", 1)] {
        let output = pointsman(&["diff", &file, "--admin", &gateway.admin_url()], &[("SALT", salt)]);
        expect(&output, code);
        assert_eq!(text(&output.stdout).contains("evidence starts anew: salt"), code == 1);
    }
    let mut admin = crate::support::Client::connect(gateway.admin_url().trim_start_matches("http://").parse().unwrap());
    for page in ["/api/v1/config", "/api/v1/routes", "/api/v1/explain?route=all&key=u"] {
        let answer = admin.get(page, &[("host", "localhost")]);
        assert!(answer.status == 200 && !answer.text().contains("grains"), "{page}: {}", answer.text());
    }
}

/// A gateway before two backends, with a tester's key and the file that holds it.
struct Trial {
    control: Upstream,
    candidate: Upstream,
    gateway: Gateway,
    key: String,
}

impl Trial {
    fn new(candidate: Upstream, keys: &str) -> Self {
        let control = Upstream::saying(
            "{\"answer\": \"old\", \"usage\": {\"prompt_tokens\": 5, \"completion_tokens\": 7, \"total_tokens\": 12}}",
        );
        let keys = format!("override = {{ key = \"open-sesame\" }}\n{keys}");
        let gateway = Setup::route(&control.url(), &candidate.url(), &keys).start();
        let key = gateway.file.with_file_name("key");
        std::fs::write(&key, "open-sesame\n").unwrap();
        let key = key.to_str().unwrap().to_owned();
        Self { control, candidate, gateway, key }
    }

    fn try_it(&self, more: &[&str]) -> Output {
        let (admin, url) = (self.gateway.admin_url(), format!("http://{}", self.gateway.address));
        let known = ["try", "all", "--admin", &admin, "--url", &url, "--override-key-file", &self.key];
        pointsman(&[&known[..], more].concat(), &[])
    }
}

#[test]
fn try_shows_both_answers_side_by_side() {
    let trial = Trial::new(Upstream::saying("{\"answer\": \"new\"}"), "rewrite.prefix = \"/v2\"");
    let more = ["--user", "alice", "--path", "/q?x=1", "--header", "x-a: b"];
    let output = trial.try_it(&more);
    expect(&output, 0);
    let told = text(&output.stdout);
    for part in ["control", "candidate", "override", "5 + 7 = 12", "-  \"answer\": \"old\"", "+  \"answer\": \"new\""] {
        assert!(told.contains(part), "{part}:\n{told}");
    }
    assert!(text(&output.stderr).contains("reaches both backends"));
    assert!(!told.contains("sesame"));
    for upstream in [&trial.control, &trial.candidate] {
        let seen = upstream.only_request();
        assert_eq!((seen.head.start.as_str(), seen.head.get("x-a")), ("GET /v2/q?x=1 HTTP/1.1", Some("b")));
        assert_eq!(seen.head.get("x-pointsman-override"), None);
    }
    assert!(told.contains("control: cost is not configured"), "{told}");
    let lines = trial.gateway.await_lines(2);
    assert!(lines.iter().all(|line| line["user"] == "alice" && line["reason"] == "override"), "{lines:?}");

    let output = trial.try_it(&["--json"]);
    expect(&output, 0);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["ok"], &found["arms"][0]["output_tokens"]), (&true.into(), &7.into()));
    assert_eq!((&found["arms"][1]["served"], &found["arms"][1]["status"]), (&"candidate".into(), &200.into()));
}

#[test]
fn try_shows_what_each_answer_cost() {
    let candidate = Upstream::answering(|_| {
        let stream = "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 5, \"completion_tokens\": 100}}\n\n";
        crate::support::upstream::with_fields(200, "OK", "content-type: text/event-stream\r\n", stream)
    });
    let prices = "[backends.control.prices]\ninput = 3.0\noutput = 15.0\n\
                  [backends.candidate.prices]\ninput = 0.15\noutput = 0.6\ncurrency = \"EUR\"\n";
    let trial = Trial::new(candidate, prices);
    let output = trial.try_it(&[]);
    expect(&output, 0);
    let told = text(&output.stdout);
    for part in ["5 + 7 = 12", "0.000120 USD", "5 + 100 = 105", "0.000061 EUR"] {
        assert!(told.contains(part), "{part}:\n{told}");
    }
}

#[test]
fn try_sends_what_may_change_something_only_if_told() {
    let trial = Trial::new(Upstream::echo(), "");
    let data = ["--data", "{\"a\": 1}"];
    let output = trial.try_it(&data);
    expect(&output, 2);
    assert!(text(&output.stderr).contains("--yes"), "{}", text(&output.stderr));
    assert_eq!((trial.control.heads(), trial.candidate.heads()), (0, 0));
    expect(&trial.try_it(&[&data[..], &["--yes"]].concat()), 0);
    let seen = trial.candidate.only_request();
    assert_eq!((seen.body.as_slice(), seen.head.get("content-type")), (&b"{\"a\": 1}"[..], Some("application/json")));
    assert!(seen.head.start.starts_with("POST "), "{}", seen.head.start);
}

#[test]
fn try_fails_where_the_candidate_did_not_answer_itself() {
    let failing = Upstream::answering(|_| crate::support::upstream::status(503, "Unavailable", "down"));
    let trial = Trial::new(failing, "");
    let output = trial.try_it(&[]);
    expect(&output, 1);
    assert!(text(&output.stdout).contains("candidate did not answer itself: control served, fallback"));
    let trial = Trial::new(Upstream::saying("new"), "");
    std::fs::write(&trial.key, "close-sesame").unwrap();
    let output = trial.try_it(&[]);
    expect(&output, 1);
    assert!(text(&output.stderr).contains("did not take the override"), "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains("sesame"));
    assert_eq!(trial.candidate.heads(), 0);
}

#[test]
fn try_needs_an_override_and_says_so() {
    let gateway = split(10.0, "").start();
    let key = gateway.file.with_file_name("key");
    std::fs::write(&key, "open-sesame").unwrap();
    for (route, told) in [("all", "has no `override`"), ("no/such", "there is no route \"no/such\"")] {
        let output = pointsman(
            &["try", route, "--admin", &gateway.admin_url(), "--override-key-file", key.to_str().unwrap()],
            &[],
        );
        expect(&output, 2);
        assert!(text(&output.stderr).contains(told), "{}", text(&output.stderr));
    }
}
