//! What is done to the store from outside: history of acts, removal, backups while events come in, and
//! the commands that read it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::reading::{ask, get, setup, store};
use crate::support::{Gateway, eventually};

/// Backups that are taken while events come in.
const BACKUPS: usize = 5;

/// A command that asks this gateway with the token of this name.
pub(crate) fn pointsman(gateway: &Gateway, token: &str, arguments: &[&str]) -> Output {
    asking(gateway, token, arguments).output().unwrap()
}

/// The same, not yet begun.
pub(crate) fn asking(gateway: &Gateway, token: &str, arguments: &[&str]) -> Command {
    let file = gateway.beside("token");
    std::fs::write(&file, format!("{token}-token-0123456789\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.args(arguments).args(["--admin", &gateway.admin_url(), "--token-file"]).arg(file).env_clear();
    command
}

fn backup(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pointsman")).arg("backup").args(arguments).env_clear().output().unwrap()
}

#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let (told, noted) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{told}\n{noted}");
    format!("{told}{noted}")
}

/// The history, oldest first, as kind and actor.
fn history(gateway: &Gateway) -> Vec<(String, String, Value)> {
    let page = get(gateway, "/api/v1/history?limit=1000");
    let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    let rows = page["history"].as_array().unwrap().iter().rev();
    rows.map(|row| (text(row, "kind"), text(row, "actor"), row["detail"].clone())).collect()
}

fn find(gateway: &Gateway, kind: &str, actor: &str) -> Value {
    eventually(&format!("{kind} by {actor}"), || {
        history(gateway).into_iter().find(|(k, a, _)| (k.as_str(), a.as_str()) == (kind, actor)).map(|found| found.2)
    })
}

#[test]
fn the_history_tells_who_did_what() {
    let mut gateway = setup().start();
    let hash = get(&gateway, "/api/v1/config")["hash"].clone();
    assert_eq!(find(&gateway, "started", "process")["config"], hash);
    gateway.rewrite(&setup().with("[backends.more]\nrespond = { body = \"more\" }"));
    let applied = find(&gateway, "reloaded", "file");
    assert_eq!(applied["config"], get(&gateway, "/api/v1/config")["hash"]);
    assert!(applied["config"] != hash && applied["generation"] == 2, "{applied}");
    gateway.rewrite(&setup().with("[backends.more]\nrespont = 1"));
    let failed = find(&gateway, "reload_failed", "file");
    assert!(failed["error"].as_str().unwrap().contains("respont"), "{failed}");
    // The watcher may be faster than a question of ours, so there may have to be several.
    let mut round = 0;
    eventually("a reload for a token", || {
        round += 1;
        gateway.rewrite(&setup().with(&format!("[backends.n{round}]\nrespond = {{ body = \"n\" }}")));
        let answer = ask(&gateway, "deploy", "POST", "/-/reload", "");
        (answer.text().contains("\"applied\"")).then_some(())
    });
    assert_eq!(find(&gateway, "reloaded", "deploy")["trigger"], "api");
    eventually("a reload for a signal", || {
        round += 1;
        gateway.rewrite(&setup().with(&format!("[backends.n{round}]\nrespond = {{ body = \"n\" }}")));
        gateway.signal("HUP");
        let hash = || get(&gateway, "/api/v1/config")["generation"].clone();
        let before = hash();
        eventually("the change", || (hash() != before || history(&gateway).len() > 3 + round).then_some(()));
        history(&gateway).into_iter().any(|(kind, actor, _)| kind == "reloaded" && actor == "signal").then_some(())
    });
    assert_eq!(ask(&gateway, "deploy", "PUT", "/api/v1/log", "{\"filter\": \"warn\"}").status, 200);
    assert_eq!(find(&gateway, "log_filter_changed", "deploy")["filter"], "warn");
    store(&gateway, &[json!({"name": "n", "user": "alice"}), json!({"name": "n", "user": "bob"})]);
    ask(&gateway, "root", "POST", "/api/v1/erase", "{\"user\": \"alice\"}").expect(200, "{\"removed\":1}");
    assert_eq!(find(&gateway, "erased", "root"), json!({"removed": 1}), "not who it was");
    let bob = get(&gateway, "/api/v1/events")["events"][0]["user"].as_str().unwrap().to_owned();
    ask(&gateway, "root", "POST", "/api/v1/erase", &json!({"user_hash": bob}).to_string())
        .expect(200, "{\"removed\":1}");
    gateway.signal("TERM");
    assert!(gateway.await_exit().success());
    gateway.start_again();
    let kinds: Vec<String> = eventually("both starts", || {
        let kinds: Vec<String> = history(&gateway).into_iter().map(|(kind, ..)| kind).collect();
        (kinds.iter().filter(|kind| *kind == "started").count() == 2).then_some(kinds)
    });
    assert_eq!(kinds[kinds.len() - 2..], ["stopped", "started"]);
    let now = pointsman::clock::timestamp();
    assert_eq!(ask(&gateway, "root", "DELETE", &format!("/api/v1/events?before={now}"), "").status, 200);
    find(&gateway, "pruned", "root");
    assert_eq!(history(&gateway).len(), 1, "history goes with the events of its time");
}

#[test]
fn history_comes_in_pages_newest_first() {
    let gateway = setup().start();
    for n in 0..25 {
        let filter = format!("{{\"filter\": \"warn,n{n}=info\"}}");
        assert_eq!(ask(&gateway, "deploy", "PUT", "/api/v1/log", &filter).status, 200);
    }
    eventually("all entries", || (history(&gateway).len() == 26).then_some(()));
    let (mut numbers, mut before) = (Vec::new(), String::new());
    loop {
        let page = get(&gateway, &format!("/api/v1/history?limit=10{before}"));
        numbers.extend(page["history"].as_array().unwrap().iter().map(|row| row["number"].as_u64().unwrap()));
        let Some(next) = page["next"].as_u64() else { break };
        before = format!("&before={next}");
    }
    assert_eq!(numbers, (1..=26).rev().collect::<Vec<u64>>());
    assert_eq!(get(&gateway, "/api/v1/history?route=all")["history"], json!([]));
}

/// Every event that was acknowledged before a backup began is in it.
#[test]
fn a_backup_is_whole_while_events_come_in_and_is_restored_elsewhere() {
    let mut gateway = setup().start();
    let (acknowledged, stop) = (Mutex::new(Vec::<String>::new()), AtomicBool::new(false));
    let config = gateway.file.to_str().unwrap().to_owned();
    let copy = |n: usize| gateway.beside(&format!("copy-{n}.db"));
    let promised: Vec<Vec<String>> = std::thread::scope(|scope| {
        let (gateway, acknowledged, stop) = (&gateway, &acknowledged, &stop);
        scope.spawn(move || {
            let mut n = 0;
            while !stop.load(Ordering::SeqCst) {
                let ids: Vec<String> = (n..n + 20).map(|n| n.to_string()).collect();
                n += 20;
                store(
                    gateway,
                    &ids.iter().map(|id| json!({"name": "n", "id": id, "data": "x".repeat(500)})).collect::<Vec<_>>(),
                );
                acknowledged.lock().unwrap().extend(ids);
            }
        });
        let promised = (0..BACKUPS).map(|n| {
            let known = acknowledged.lock().unwrap().len();
            eventually("more events", || (acknowledged.lock().unwrap().len() > known + 100).then_some(()));
            let before = acknowledged.lock().unwrap().clone();
            said(&backup(&["-c", &config, copy(n).to_str().unwrap()]), 0);
            before
        });
        let promised = promised.collect();
        stop.store(true, Ordering::SeqCst);
        promised
    });
    for (n, promised) in promised.into_iter().enumerate() {
        let restored = gateway.beside(&format!("restored-{n}.db"));
        let copied = copy(n);
        let arguments = ["--restore", copied.to_str().unwrap(), "--store", restored.to_str().unwrap()];
        said(&backup(&arguments), 0);
        assert!(said(&backup(&arguments), 1).contains("--force"));
        let database = rusqlite::Connection::open(&restored).unwrap();
        let mut select = database.prepare("SELECT id FROM events").unwrap();
        let ids: BTreeSet<String> = select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let missing: Vec<&String> = promised.iter().filter(|id| !ids.contains(*id)).collect();
        assert!(promised.len() > 100 && missing.is_empty(), "{missing:?}");
    }
    let (first, path) = (copy(0), gateway.beside("pointsman.db"));
    let first = first.to_str().unwrap();
    assert!(said(&backup(&["-c", &config, first]), 1).contains("--force"), "nothing is written over");
    assert!(said(&backup(&["-c", &config, "--force", path.to_str().unwrap()]), 1).contains("the store itself"));
    assert!(said(&backup(&["-c", &config, "--restore", first]), 1).contains("--force"));
    assert!(said(&backup(&["-c", &config, "--restore", "--force", first]), 1).contains("in use"));
    let events = acknowledged.lock().unwrap().len();
    assert_eq!(count(&path), events as i64, "it is as it was");
    gateway.signal("TERM");
    assert!(gateway.await_exit().success());
    said(&backup(&["-c", &config, "--restore", "--force", first]), 0);
    let restored = count(&path);
    assert!(restored >= 100 && restored < events as i64);
    gateway.start_again();
    let last = eventually("the store is open", || {
        let last = get(&gateway, "/api/v1/features")["store"]["last_event"].as_i64();
        last.filter(|last| *last > 0)
    });
    assert_eq!(last, restored);
    store(&gateway, &[json!({"name": "after"})]);
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        assert!(!entry.unwrap().file_name().to_string_lossy().contains(".part-"), "nothing half is left");
    }
}

fn count(path: &Path) -> i64 {
    let database = rusqlite::Connection::open(path).unwrap();
    database.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap()
}

#[test]
fn commands_show_export_and_remove_events() {
    let gateway = setup().start();
    let old = pointsman::clock::timestamp() - jiff::SignedDuration::from_hours(5);
    store(
        &gateway,
        &[
            json!({"name": "old", "user": "alice", "timestamp": old}),
            json!({"name": "new", "user": "alice", "value": 2.5, "route": "all", "data": {"a": 1}}),
            json!({"name": "new", "user": "bob"}),
        ],
    );
    let shown = said(&pointsman(&gateway, "board", &["events"]), 0);
    assert_eq!(shown.lines().count(), 3, "a header, and not the old one: {shown}");
    assert!(shown.contains("2.5") && shown.contains("{\"a\":1}"), "{shown}");
    let shown = said(&pointsman(&gateway, "board", &["events", "--since", "1d", "--type", "old", "--json"]), 0);
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap()["name"], "old");
    let shown = said(&pointsman(&gateway, "board", &["events", "--follow", "--limit", "2", "--json"]), 0);
    assert_eq!(shown.lines().filter(|line| line.starts_with('{')).count(), 2, "{shown}");
    let file = gateway.beside("events.csv");
    let export = ["export", "--format", "csv", "-o", file.to_str().unwrap()];
    said(&pointsman(&gateway, "board", &export), 0);
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(written.lines().count(), 4, "{written}");
    assert!(said(&pointsman(&gateway, "board", &[&export[..], &["--type", "old"]].concat()), 1).contains("--force"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
    said(&pointsman(&gateway, "board", &[&export[..], &["--type", "old", "--force"]].concat()), 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 2);
    assert_eq!(said(&pointsman(&gateway, "board", &["export", "--format", "ndjson"]), 0).lines().count(), 3);
    assert!(said(&pointsman(&gateway, "deploy", &["erase", "alice"]), 1).contains("role_too_low"));
    assert!(said(&pointsman(&gateway, "root", &["erase", "alice"]), 0).starts_with("2 events"));
    let bob = get(&gateway, "/api/v1/events")["events"][0]["user"].as_str().unwrap().to_owned();
    assert!(said(&pointsman(&gateway, "root", &["erase", "--hash", &bob]), 0).starts_with("1 events"));
    assert!(said(&pointsman(&gateway, "root", &["prune", "--before", "1h"]), 0).starts_with("0 events"));
    said(&pointsman(&gateway, "root", &["prune", "--before", "soon"]), 2);
}
