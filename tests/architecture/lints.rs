//! Each lint of Cargo.toml fires, with the thresholds of clippy.toml.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::source::{read, root};

/// What is right for all of them.
const CLEAN: &str = "//! Says what it is.\n/// Adds.\npub fn sum(a: u8, b: u8) -> u8 {\n    a.saturating_add(b)\n}\n";

/// A snippet for each lint that breaks it and no other one.
const SNIPPETS: &[(&str, &str)] = &[
    ("unsafe_code", "fn f() -> u8 {\n    unsafe { std::mem::zeroed() }\n}\n"),
    ("missing_docs", "pub fn f() {}\n"),
    ("unreachable_pub", "mod inner {\n    pub fn f() {}\n}\n"),
    ("clippy::unwrap_used", "fn f(x: Option<u8>) -> u8 {\n    x.unwrap()\n}\n"),
    ("clippy::expect_used", "fn f(x: Option<u8>) -> u8 {\n    x.expect(\"there\")\n}\n"),
    ("clippy::panic", "fn f() {\n    panic!(\"no\")\n}\n"),
    ("clippy::todo", "fn f() {\n    todo!()\n}\n"),
    ("clippy::unimplemented", "fn f() {\n    unimplemented!()\n}\n"),
    ("clippy::dbg_macro", "fn f() {\n    dbg!(1);\n}\n"),
    ("clippy::print_stdout", "fn f() {\n    println!(\"x\");\n}\n"),
    ("clippy::print_stderr", "fn f() {\n    eprintln!(\"x\");\n}\n"),
    (
        "clippy::wildcard_enum_match_arm",
        "enum E {\n    A,\n    B,\n    C,\n}\nfn f(e: E) -> u8 {\n    match e {\n        E::A => 1,\n        _ => 2,\n    }\n}\n",
    ),
    ("clippy::allow_attributes", "#[allow(dead_code)]\nfn f() {}\n"),
    ("clippy::unused_async", "async fn f() -> u8 {\n    1\n}\n"),
    ("clippy::disallowed_methods", "fn f() -> std::time::Instant {\n    std::time::Instant::now()\n}\n"),
    ("clippy::disallowed_methods", "fn f() -> std::time::SystemTime {\n    std::time::SystemTime::now()\n}\n"),
];

/// Functions whose body has exactly as many lines as clippy.toml allows, and one more.
fn long_functions() -> [String; 2] {
    let settings: toml::Table = read("clippy.toml").parse().unwrap();
    let most = settings["too-many-lines-threshold"].as_integer().unwrap();
    assert_eq!(most, 70);
    [most, most + 1].map(|lines| {
        let body: String = (0..lines).map(|line| format!("    let _x{line} = {line};\n")).collect();
        format!("fn f() {{\n{body}}}\n")
    })
}

/// The lints of Cargo.toml with their levels.
fn declared() -> BTreeMap<String, String> {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let group = |name: &str, prefix: &str| -> Vec<(String, String)> {
        let lints = manifest["lints"][name].as_table().unwrap().iter();
        lints.map(|(lint, level)| (format!("{prefix}{lint}"), level.as_str().unwrap().to_owned())).collect()
    };
    group("rust", "").into_iter().chain(group("clippy", "clippy::")).collect()
}

/// clippy-driver of the toolchain that builds this crate; `None`, loudly, where it is not installed.
fn driver() -> Option<PathBuf> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).current_dir(root()).output().unwrap();
    let path = PathBuf::from(String::from_utf8(sysroot.stdout).unwrap().trim()).join("bin/clippy-driver");
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var("CI").is_err(), "{} is missing", path.display());
    crate::skip(&format!("{} is missing; `rustup component add clippy`", path.display()));
    None
}

/// The lints that stop a text from being compiled.
fn errors(driver: &PathBuf, lints: &BTreeMap<String, String>, text: &str) -> BTreeSet<String> {
    let levels = lints.iter().map(|(lint, level)| format!("--{level}={lint}"));
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(driver)
        .args(["--edition=2024", "--crate-type=lib", "--crate-name=snippet", "--emit=metadata"])
        .args(["--error-format=json", "--out-dir"])
        .arg(folder.path())
        .args(levels)
        .arg("-")
        .env("CLIPPY_CONF_DIR", root())
        .env_remove("RUSTFLAGS")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let messages = String::from_utf8(output.stderr).unwrap();
    let mut found = BTreeSet::new();
    for line in messages.lines() {
        let message: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{messages}"));
        if message["level"] == "error" && !message["spans"].as_array().unwrap().is_empty() {
            found.insert(message["code"]["code"].as_str().unwrap_or_else(|| panic!("{messages}")).to_owned());
        }
    }
    assert_eq!(output.status.success(), found.is_empty(), "{messages}");
    found
}

#[test]
fn every_lint_fires() {
    let Some(driver) = driver() else { return };
    let lints = declared();
    let [just_right, too_long] = long_functions();
    let documented = |text: &str| format!("//! Says what it is.\n{text}");
    let mut rows: Vec<(&str, String)> = SNIPPETS.iter().map(|(lint, text)| (*lint, documented(text))).collect();
    rows.push(("clippy::too_many_lines", documented(&too_long)));
    let proved: BTreeSet<&str> = rows.iter().map(|(lint, _)| *lint).collect();
    assert_eq!(proved, lints.keys().map(String::as_str).collect(), "each lint of Cargo.toml has a snippet");
    rows.extend([("", CLEAN.to_owned()), ("", documented(&just_right))]);
    std::thread::scope(|scope| {
        for (lint, text) in &rows {
            let (driver, lints) = (&driver, &lints);
            scope.spawn(move || {
                let expected = Some(*lint).filter(|lint| !lint.is_empty()).map(str::to_owned).into_iter().collect();
                assert_eq!(errors(driver, lints, text), expected, "{text}");
            });
        }
    });
}
