//! Commands of the program, as they are typed: output, exit codes, and what they leave behind.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Gateway, Setup};

/// The program with these arguments, in an environment that holds these variables alone.
fn pointsman(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.args(arguments).env_clear().envs(environment.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn expect(output: &Output, code: i32) {
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
    let admin = gateway.admin();
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
    expect(&pointsman(&["diff", &file, "--admin", "http://127.0.0.1:1"], &[]), 1);
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
        let arguments = ["diff", &new, "--admin", &gateway.admin(), "--users", &file, "--json"];
        let output = pointsman(&arguments, &[]);
        expect(&output, 1);
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&found["routes"][0]["users"], &found["sampled"]), (&users.into(), &false.into()), "{name}");
        assert!(found["routes"][0]["control_to_candidate"]["interval"].is_null());
    }
    let file = path(folder.path(), "broken.toml");
    std::fs::write(&file, "[[case]]\nroute = 7\n").unwrap();
    let new = changed(&gateway, &[]);
    expect(&pointsman(&["diff", &new, "--admin", &gateway.admin(), "--users", &file], &[]), 2);
}

/// Neither by hashes nor by arms does the salt leave the gateway; a viewer's token is enough, and needed.
#[test]
fn diff_takes_a_viewer_and_learns_no_salt() {
    let token = "viewer-token-0123456789";
    let gateway = split(10.0, "").with(&format!("[admin.tokens.v]\nrole = \"viewer\"\ntoken = \"{token}\"")).start();
    let file = changed(&gateway, &[]);
    expect(&pointsman(&["diff", &file, "--admin", &gateway.admin()], &[]), 1);
    let token_file = gateway.file.with_file_name("token");
    std::fs::write(&token_file, token).unwrap();
    let environment = [("POINTSMAN_TOKEN_FILE", token_file.to_str().unwrap())];
    expect(&pointsman(&["diff", &file, "--admin", &gateway.admin()], &environment), 0);
}
