//! Programs that use OpenFeature, with the public clients, against the gateway. `tests/clients/install`
//! installs them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::{Value, json};

use crate::support::{BOUND, Gateway, Setup, eventually};

const TOKEN: &str = "web-token-0123456789";

const FILE: &str = r#"
[contexts.user]
key = [{ header = "x-user-id" }]
tier = { header = "x-tier" }
[admin.tokens.web]
role = "flags"
token = "web-token-0123456789"
[routes.boolean]
targets = { candidate = ["demo"] }
[routes.string]
targets = { candidate = ["demo"] }
values = { control = "perplexity", candidate = "lightrag" }
[routes.integer]
targets = { candidate = ["demo"] }
values = { control = 1, candidate = 10 }
[routes.float]
targets = { candidate = ["demo"] }
values = { control = 0.25, candidate = 0.75 }
[routes.object]
rules = [{ name = "premium", if = { user.tier = "premium" }, serve = "candidate" }]
values = { control = { mode = "naive" }, candidate = { mode = "hybrid", limits = { top_k = 10 }, since = 2026-11-21 } }
[routes.split]
rollout = { percent = 50 }
[routes.off]
enabled = false
"#;

/// One of `tests/clients`, running.
struct Program {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<Value>,
}

/// Where `tests/clients/install` puts them.
fn installed() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("clients")
}

impl Program {
    /// `None`, told loudly, where it is not installed, unless this is CI.
    fn start(script: &str, gateway: &Gateway, token: &str) -> Option<Self> {
        let (source, clients) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script), installed());
        let python = script.ends_with(".py");
        let needed = clients.join(if python { "python/bin/python" } else { "node/node_modules/@openfeature/core" });
        if !needed.exists() {
            assert!(std::env::var_os("CI").is_none(), "{} is not there: tests/clients/install", needed.display());
            let told = format!("SKIPPED: {script}: run tests/clients/install\n");
            std::io::stderr().write_all(told.as_bytes()).unwrap();
            return None;
        }
        let mut command = if python {
            let mut command = Command::new(&needed);
            command.arg(&source);
            command
        } else {
            // A module finds its packages from where it lies.
            let copy = clients.join("node").join(script);
            let fresh = copy.with_extension(format!("{}.mjs", std::process::id()));
            fs::copy(&source, &fresh).unwrap();
            fs::rename(&fresh, &copy).unwrap();
            let mut command = Command::new("node");
            command.arg(copy);
            command
        };
        command.arg(format!("http://{}", gateway.admin())).arg(token);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Some(Self { child, stdin, lines })
    }

    #[track_caller]
    fn line(&self) -> Value {
        self.lines.recv_timeout(BOUND).expect("the program says nothing")
    }

    /// Value, variant, reason and error of an answer.
    #[track_caller]
    fn ask(&mut self, question: &Value) -> [Value; 4] {
        writeln!(self.stdin, "{question}").unwrap();
        let mut answer = self.line();
        while answer.get("changed").is_some() {
            answer = self.line();
        }
        ["value", "variant", "reason", "error"].map(|name| answer[name].take())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn question(kind: &str, flag: &str, default: Value, key: &str) -> Value {
    json!({ "type": kind, "flag": flag, "default": default, "key": key, "attributes": {} })
}

/// What every client has to make of the same flags.
fn check(program: &mut Program) {
    let premium = json!({
        "type": "object", "flag": "object", "default": {}, "key": "u", "attributes": { "user": { "tier": "premium" } },
    });
    let hybrid = json!({ "mode": "hybrid", "limits": { "top_k": 10 }, "since": "2026-11-21" });
    let rows = [
        (question("boolean", "boolean", json!(false), "demo"), json!(true), "candidate", "TARGETING_MATCH"),
        (question("boolean", "boolean", json!(true), "u"), json!(false), "control", "STATIC"),
        (question("string", "string", json!(""), "demo"), json!("lightrag"), "candidate", "TARGETING_MATCH"),
        (question("string", "string", json!(""), "u"), json!("perplexity"), "control", "STATIC"),
        (question("integer", "integer", json!(0), "demo"), json!(10), "candidate", "TARGETING_MATCH"),
        (question("float", "float", json!(0.5), "u"), json!(0.25), "control", "STATIC"),
        (question("object", "object", json!({}), "u"), json!({ "mode": "naive" }), "control", "STATIC"),
        (premium, hybrid, "candidate", "TARGETING_MATCH"),
        (question("boolean", "off", json!(true), "u"), json!(false), "control", "DISABLED"),
    ];
    for (question, value, variant, reason) in rows {
        assert_eq!(program.ask(&question), [value, json!(variant), json!(reason), Value::Null], "{question}");
    }
    let [value, variant, reason, error] = program.ask(&question("boolean", "split", json!(false), "u"));
    assert_eq!((value == json!(true), reason, error), (variant == "candidate", json!("SPLIT"), Value::Null));
    let mistakes = [
        (question("boolean", "nothing", json!(true), "u"), "FLAG_NOT_FOUND"),
        (question("string", "boolean", json!("mine"), "u"), "TYPE_MISMATCH"),
    ];
    for (question, code) in mistakes {
        let [value, _, reason, error] = program.ask(&question);
        assert_eq!([&value, &reason, &error], [&question["default"], &json!("ERROR"), &json!(code)], "{question}");
    }
}

/// Clients that ask for each evaluation.
fn server_side(script: &str) {
    let gateway = Setup::new(FILE).start();
    let Some(mut program) = Program::start(script, &gateway, TOKEN) else { return };
    check(&mut program);
    let nobody = json!({ "type": "boolean", "flag": "boolean", "default": true, "attributes": {} });
    let [value, _, _, error] = program.ask(&nobody);
    assert_eq!((value, error), (json!(true), json!("TARGETING_KEY_MISSING")));
    // The next evaluation sees a change of the file.
    gateway.rewrite(&Setup::new(FILE.replace("perplexity", "elsewhere")));
    let asked = question("string", "string", json!(""), "u");
    eventually("the change", || (program.ask(&asked)[0] == "elsewhere").then_some(()));

    let mut stranger = Program::start(script, &gateway, "nobodys-token-0123").unwrap();
    let [value, _, reason, _] = stranger.ask(&question("boolean", "boolean", json!(true), "demo"));
    assert_eq!((value, reason), (json!(true), json!("ERROR")));
}

#[test]
fn a_python_program() {
    server_side("python_client.py");
}

#[test]
fn a_node_server() {
    server_side("node_client.mjs");
}

#[test]
fn a_page_that_hears_of_changes() {
    let gateway = Setup::new(FILE).start();
    let Some(mut program) = Program::start("web_client.mjs", &gateway, TOKEN) else { return };
    check(&mut program);
    // It does not poll, so only the stream can tell it.
    let asked = question("string", "string", json!(""), "u");
    assert_eq!(program.ask(&asked)[0], "perplexity");
    gateway.rewrite(&Setup::new(FILE.replace("perplexity", "elsewhere")));
    eventually("the change is heard of", || {
        let line = program.line();
        line["changed"].as_array().is_some_and(|flags| flags.contains(&json!("string"))).then_some(())
    });
    assert_eq!(program.ask(&asked)[0], "elsewhere");
}
