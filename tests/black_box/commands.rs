//! Commands of the program, as they are typed: output, exit codes, and what they leave behind.

use std::path::Path;
use std::process::{Command, Output};

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
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
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
