//! Rollouts and what breaks beneath them: processes that are killed, states that cannot be read, disks that are full.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::reading::{ask, get};
use crate::rollouts::{await_state, rollout, say, served, setup};
use crate::support::message::Ending;
use crate::support::{Client, Gateway, Upstream, eventually};

/// Rounds of killing; `POINTSMAN_KILL_ROUNDS` asks for more.
const KILL_ROUNDS: u64 = 15;

const STAGES: &str = "guards.x = { when = \"error_rate > 99%\", then = \"hold\" }\n\
    [[routes.all.rollout.stages]]\nname = \"few\"\npercent = 10\nhold = \"1h\"\n\
    [[routes.all.rollout.stages]]\nname = \"half\"\npercent = 50\nhold = \"1h\"\n\
    [[routes.all.rollout.stages]]\nname = \"all\"\npercent = 100\nhold = \"1h\"\n";

fn database(path: &Path) -> Connection {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection
}

/// What a command came to, if it was heard: `done`, or `already` and refusals, which change nothing.
enum Heard {
    Done(Value),
    Nothing,
}

/// Sends commands until the gateway is gone; what was heard of each, and the one of which nothing was.
fn command_until_killed(mut client: Client, round: u64) -> (Vec<(String, Heard)>, String) {
    const VERBS: [&str; 10] =
        ["start", "pause", "resume", "promote", "jump", "step_back", "rollback", "restart", "disable", "enable"];
    const STAGE_NAMES: [&str; 3] = ["few", "half", "all"];
    let mut heard = Vec::new();
    for n in 0.. {
        let reason = format!("{round}.{n}");
        let verb = VERBS[fastrand::usize(..VERBS.len())];
        let stage = (verb == "jump").then(|| STAGE_NAMES[fastrand::usize(..STAGE_NAMES.len())]);
        let command = json!({ "verb": verb, "stage": stage, "reason": reason }).to_string();
        let head = format!(
            "POST /api/v1/routes/all/rollout HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             authorization: Bearer deploy-token-0123456789\r\ncontent-length: {}\r\n\r\n{command}",
            command.len()
        );
        let answered = client.try_send(head).then(|| client.wire.head().ok().flatten()).flatten();
        let body = answered.and_then(|head| Some((client.wire.body(&head, true).ok()?, head)));
        let Some(((body, _, Ending::Whole), head)) = body else { return (heard, reason) };
        let told: Value = serde_json::from_slice(&body).unwrap();
        match told["result"].as_str() {
            Some("done") => heard.push((reason, Heard::Done(told["rollout"].clone()))),
            Some("already") => heard.push((reason, Heard::Nothing)),
            _ if head.start.contains(" 409 ") => heard.push((reason, Heard::Nothing)),
            _ => panic!("{verb}: {head:?} {told}"),
        }
    }
    unreachable!("numbers do not end")
}

/// The route's history after a number: reason and where it led, oldest first, and the last number.
fn history_since(database: &Connection, last: i64) -> (Vec<(String, Value)>, i64) {
    let mut statement = database
        .prepare("SELECT number, detail FROM history WHERE route = 'all' AND number > ? ORDER BY number")
        .unwrap();
    let rows = statement.query_map([last], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let rows: Vec<(i64, String)> = rows.map(Result::unwrap).collect();
    let end = rows.last().map_or(last, |(number, _)| *number);
    let read = |(_, detail): (i64, String)| {
        let detail: Value = serde_json::from_str(&detail).unwrap();
        (detail["reason"].as_str().unwrap().to_owned(), detail["to"].clone())
    };
    (rows.into_iter().map(read).collect(), end)
}

/// Waits until the store has told where the route stands, which is where its history ends; commands are refused before.
#[track_caller]
fn check_stands(gateway: &Gateway, end: &Value) {
    let now = eventually("where it stands", || Some(rollout(gateway)).filter(|now| now["state"] != "state_unknown"));
    for field in ["state", "stage", "percent"].into_iter().filter(|_| !end.is_null()) {
        assert_eq!(now[field], end[field], "{field} of {now} after {end}");
    }
}

/// Every command that was heard to be done is in the history once, in its order; of the last one nobody knows; and
/// the gateway goes on where the history ends.
#[test]
fn no_transition_is_lost_repeated_or_undone_by_a_kill() {
    let rounds = std::env::var("POINTSMAN_KILL_ROUNDS").map_or(KILL_ROUNDS, |rounds| rounds.parse().unwrap());
    let begun = pointsman::clock::now();
    let (control, candidate) = (Upstream::saying("old"), Upstream::saying("new"));
    let mut gateway = setup(&control, &candidate, STAGES).start();
    let path = gateway.beside("pointsman.db");
    let (mut last, mut total, mut cut, mut stands) = (0, 0, 0, Value::Null);
    check_stands(&gateway, &stands);
    for round in 0..rounds {
        let client = gateway.admin_client();
        let (heard, open) = std::thread::scope(|scope| {
            let commands = scope.spawn(move || command_until_killed(client, round));
            // A moment that nobody chose: sometimes before the first commit, mostly in the middle of one.
            std::thread::sleep(Duration::from_micros(fastrand::u64(0..80_000)));
            gateway.kill();
            commands.join().unwrap()
        });
        gateway.start_again();
        let (rows, end) = history_since(&database(&path), last);
        last = end;
        let done: Vec<&String> =
            heard.iter().filter(|(_, heard)| matches!(heard, Heard::Done(_))).map(|(reason, _)| reason).collect();
        let mut kept: Vec<&String> = rows.iter().map(|(reason, _)| reason).collect();
        let is_cut = kept.last() == Some(&&open);
        kept.truncate(kept.len() - usize::from(is_cut));
        assert_eq!(kept, done, "round {round}");
        for ((_, to), view) in rows.iter().zip(heard.iter().filter_map(|(_, heard)| match heard {
            Heard::Done(view) => Some(view),
            Heard::Nothing => None,
        })) {
            assert_eq!((&to["state"], &to["percent"]), (&view["state"], &view["percent"]), "round {round}");
            assert_eq!(view["stored"], true, "round {round}");
        }
        stands = rows.last().map_or(stands, |(_, to)| to.clone());
        check_stands(&gateway, &stands);
        total += done.len();
        cut += usize::from(is_cut);
    }
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!(
        "{rounds} kills in {seconds:.1} s: {total} transitions acknowledged, none lost, repeated or undone; {cut} stored \
         but not acknowledged"
    );
}

/// A gateway that was stopped, whose store is then spoiled, and that starts again.
fn spoiled(keys: &str, spoil: impl FnOnce(&mut Gateway)) -> (Gateway, [Upstream; 2]) {
    let (control, candidate) = (Upstream::saying("old"), Upstream::saying("new"));
    let mut gateway = setup(&control, &candidate, keys).start();
    await_state(&gateway, if keys.contains("stages") { "draft -" } else { "running -" });
    let (verb, more) = if keys.contains("stages") { ("jump", json!({ "stage": "all" })) } else { ("pause", json!({})) };
    // Refused while a slow disk does not take it.
    eventually(verb, || (say(&gateway, verb, more.clone()).0 == 200).then_some(()));
    assert_eq!(served(&gateway, 5), (5, 0));
    gateway.signal("TERM");
    assert!(gateway.await_exit().success());
    spoil(&mut gateway);
    gateway.start_again();
    (gateway, [control, candidate])
}

fn spoil_state(text: &'static str) -> impl FnOnce(&mut Gateway) {
    move |gateway| {
        let changed =
            database(&gateway.beside("pointsman.db")).execute("UPDATE states SET text = ? WHERE route = 'all'", [text]);
        assert_eq!(changed.unwrap(), 1);
    }
}

#[track_caller]
fn check_unknown(gateway: &Gateway) {
    assert_eq!(served(gateway, 10), (0, 10));
    assert_eq!(gateway.get("/", &[("x-user-id", "u1")]).get("x-pointsman-reason"), Some("state_unknown"));
    assert_eq!(ask(gateway, "", "GET", "/readyz", "").status, 200, "it is ready all the same");
    assert_eq!(gateway.count(r#"pointsman_rollout_state{route="all",state="state_unknown"}"#), 1.0);
    assert_eq!(gateway.count(r#"pointsman_rollout_state{route="all",state="running"}"#), 0.0);
    let found = rollout(gateway);
    assert_eq!((&found["state"], &found["percent"]), (&json!("state_unknown"), &json!(0.0)));
    assert!(found["why"].as_str().is_some_and(|why| !why.is_empty()), "{found}");
    eventually("the log tells", || gateway.stderr().contains("where the rollout stands cannot be read").then_some(()));
    eventually("an alert", || firing(gateway).contains("all/state_unknown").then_some(()));
    // What is only asked for changes nothing.
    let (code, told) = say(gateway, "restart", json!({ "dry_run": true }));
    assert_eq!((code, &told["result"]), (200, &json!("would")), "{told}");
    let (code, problem) = say(gateway, "promote", json!({}));
    assert_eq!((code, &problem["code"]), (503, &json!("rollout_unstored")), "{problem}");
    // Two looks later; what must not happen cannot be awaited.
    std::thread::sleep(Duration::from_millis(2_200));
    assert_eq!(served(gateway, 10), (0, 10));
}

fn firing(gateway: &Gateway) -> String {
    get(gateway, "/api/v1/alerts")["firing"].to_string()
}

/// Whether it is written down that the route stands there.
fn is_stored(gateway: &Gateway, state: &str) -> bool {
    let text =
        database(&gateway.beside("pointsman.db"))
            .query_row("SELECT text FROM states WHERE route = 'all'", [], |row| row.get::<_, String>(0));
    text.is_ok_and(|text| text.contains(state))
}

const GUARDED: &str = "rollout.percent = 100\nguards.x = { when = \"error_rate > 99%\", then = \"hold\" }\nfallback.replay = \"always\"\n";

#[test]
fn a_state_that_cannot_be_read_serves_control_and_is_repaired_by_a_command() {
    let rows = [
        (STAGES, "nonsense", "rollback"),
        (STAGES, "{}", "restart"),
        (GUARDED, "{\"scheme\": 99}", "restart"),
        (GUARDED, "", "rollback"),
    ];
    for (keys, text, verb) in rows {
        let (gateway, _upstreams) = spoiled(keys, spoil_state(text));
        check_unknown(&gateway);
        let (code, told) = say(&gateway, verb, json!({}));
        assert_eq!((code, &told["result"], &told["rollout"]["stored"]), (200, &json!("done"), &json!(true)), "{told}");
        eventually("the alert ends", || (!firing(&gateway).contains("state_unknown")).then_some(()));
        assert_eq!(gateway.count(r#"pointsman_rollout_state{route="all",state="state_unknown"}"#), 0.0);
        let (expected, stored) = match (verb, keys == GUARDED) {
            ("rollback", _) => ((0, 200), "rolled_back"),
            (_, true) => ((200, 0), "running"),
            // The first stage, of which 200 users see about a tenth.
            (_, false) => ((served(&gateway, 200).0, 200 - served(&gateway, 200).0), "running"),
        };
        assert_eq!(served(&gateway, 200), expected, "{verb}");
        assert!(is_stored(&gateway, stored), "{verb}");
    }
}

#[test]
fn a_store_that_cannot_be_opened_serves_control_and_a_rollback_is_written_when_it_can() {
    let (gateway, _upstreams) = spoiled(GUARDED, |gateway| {
        gateway.awaits_store = false;
        std::fs::rename(gateway.beside("pointsman.db"), gateway.beside("kept.db")).unwrap();
        for end in ["db-wal", "db-shm"] {
            // They are gone where the end was in order.
            let _gone = std::fs::remove_file(gateway.beside(&format!("pointsman.{end}")));
        }
        std::fs::write(gateway.beside("pointsman.db"), "no database".repeat(1_000)).unwrap();
    });
    check_unknown(&gateway);
    let (code, problem) = say(&gateway, "restart", json!({}));
    assert_eq!((code, &problem["code"]), (503, &json!("rollout_unstored")), "what raises is stored first: {problem}");
    assert_eq!(served(&gateway, 10), (0, 10));
    let (code, told) = say(&gateway, "rollback", json!({}));
    assert_eq!((code, &told["rollout"]["stored"]), (200, &json!(false)), "{told}");
    assert_eq!(gateway.get("/", &[("x-user-id", "u1")]).get("x-pointsman-reason"), Some("rolled_back"));
    std::fs::rename(gateway.beside("kept.db"), gateway.beside("pointsman.db")).unwrap();
    eventually("it is stored", || (rollout(&gateway)["stored"] == true).then_some(()));
    assert!(is_stored(&gateway, "rolled_back"));
    assert_eq!(served(&gateway, 10), (0, 10));
}

/// The route's history, oldest first, as kind and actor.
fn moves(gateway: &Gateway) -> Vec<String> {
    let history = get(gateway, "/api/v1/history?route=all");
    let told = |row: &Value| format!("{} by {}", row["kind"].as_str().unwrap(), row["actor"].as_str().unwrap());
    history["history"].as_array().unwrap().iter().rev().map(told).collect()
}

/// What was refused because the store did not answer is not where the next process begins, although the write arrived.
#[test]
fn a_promotion_that_is_stored_after_its_refusal_is_taken_back() {
    let (control, candidate) = (Upstream::saying("old"), Upstream::saying("new"));
    let mut gateway = setup(&control, &candidate, STAGES).start();
    await_state(&gateway, "draft -");
    assert_eq!(say(&gateway, "start", json!({})).0, 200);
    let other = database(&gateway.beside("pointsman.db"));
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for reason in ["first", "second"] {
        let (code, problem) = say(&gateway, "promote", json!({ "reason": reason }));
        assert_eq!((code, &problem["code"]), (503, &json!("rollout_unstored")), "{problem}");
    }
    other.execute_batch("ROLLBACK").unwrap();
    eventually("its write is taken back", || (moves(&gateway).last()? == "taken_back by store").then_some(()));
    assert_eq!(moves(&gateway), ["started by deploy", "promoted by deploy", "taken_back by store"]);
    let found = rollout(&gateway);
    assert_eq!((&found["stage"], &found["stored"]), (&json!("few"), &json!(true)), "{found}");
    gateway.kill();
    gateway.start_again();
    await_state(&gateway, "running few");
    assert_eq!(say(&gateway, "promote", json!({})).0, 200);
    assert_eq!(moves(&gateway)[3..], ["promoted by deploy"]);
}

/// A rollback waits for nobody, is written once, and nothing that was refused meanwhile undoes it.
#[test]
fn a_rollback_that_is_stored_late_is_in_the_history_once() {
    let (control, candidate) = (Upstream::saying("old"), Upstream::saying("new"));
    let mut gateway = setup(&control, &candidate, GUARDED).start();
    await_state(&gateway, "running -");
    assert_eq!(served(&gateway, 5), (5, 0));
    let other = database(&gateway.beside("pointsman.db"));
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (code, told) = say(&gateway, "rollback", json!({}));
    assert_eq!((code, &told["rollout"]["stored"]), (200, &json!(false)), "{told}");
    assert_eq!(served(&gateway, 5), (0, 5));
    let (code, problem) = say(&gateway, "restart", json!({}));
    assert_eq!((code, &problem["code"]), (503, &json!("rollout_unstored")), "{problem}");
    other.execute_batch("ROLLBACK").unwrap();
    eventually("it is stored", || (rollout(&gateway)["stored"] == true).then_some(()));
    assert_eq!(moves(&gateway), ["rolled_back by deploy"]);
    gateway.kill();
    gateway.start_again();
    await_state(&gateway, "rolled_back -");
    assert_eq!(served(&gateway, 5), (0, 5));
}

/// From now on nothing that is kept finds room.
fn fill(gateway: &Gateway) {
    gateway.limit_files(Some(1));
    assert_eq!(ask(gateway, "shop", "POST", "/v1/events", "{\"name\": \"n\"}").status, 503);
}

fn full_disk(keys: &str) -> (Gateway, [Upstream; 2]) {
    let (control, candidate) = (Upstream::saying("old"), Upstream::saying("new"));
    let gateway = setup(&control, &candidate, keys).file_limit_kib(100_000).start();
    (gateway, [control, candidate])
}

#[test]
fn a_full_disk_stops_no_rollback_and_keeps_every_promotion_waiting() {
    let quick = STAGES.replacen("hold = \"1h\"", "hold = \"2s\"", 1);
    let (gateway, _upstreams) = full_disk(&quick);
    await_state(&gateway, "draft -");
    assert_eq!(say(&gateway, "start", json!({})).0, 200);
    await_state(&gateway, "running few");
    fill(&gateway);
    let (code, problem) = say(&gateway, "promote", json!({}));
    assert_eq!((code, &problem["code"]), (503, &json!("rollout_unstored")), "{problem}");
    let waits = eventually("the plan's own promotion waits, too", || {
        let found = rollout(&gateway);
        let waits = found["report"]["waits"].to_string();
        assert_eq!(found["stage"], "few", "nothing is raised that is not stored");
        waits.contains("store").then_some((waits, found["stored"].clone()))
    });
    assert_eq!(waits.1, false, "{}", waits.0);
    let (code, told) = say(&gateway, "rollback", json!({}));
    assert_eq!((code, &told["rollout"]["state"]), (200, &json!("rolled_back")), "{told}");
    assert_eq!(told["rollout"]["stored"], false);
    assert_eq!(served(&gateway, 20), (0, 20), "at once");
    assert!(!is_stored(&gateway, "rolled_back"));
    gateway.limit_files(None);
    eventually("it is stored later", || (rollout(&gateway)["stored"] == true).then_some(()));
    assert!(is_stored(&gateway, "rolled_back"));
    let history = get(&gateway, "/api/v1/history?route=all");
    let kinds: HashMap<&str, usize> =
        history["history"].as_array().unwrap().iter().fold(HashMap::new(), |mut kinds, row| {
            *kinds.entry(row["kind"].as_str().unwrap()).or_default() += 1;
            kinds
        });
    assert_eq!((kinds.get("started"), kinds.get("rolled_back"), kinds.get("promoted")), (Some(&1), Some(&1), None));
}
