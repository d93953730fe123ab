//! Rollouts from outside: plans, guards, verbs, latches, restarts.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::keeping::{asking, pointsman};
use crate::ofrep::{event, listen};
use crate::reading::{TOKENS, ask, get};
use crate::support::upstream::{ok, status};
use crate::support::{Gateway, Setup, Upstream, eventually};

/// A gateway whose route has this plan, between backends that answer as they like.
pub(crate) fn setup(control: &Upstream, candidate: &Upstream, keys: &str) -> Setup {
    Setup::route(&control.url(), &candidate.url(), keys)
        .top("state.store = \"sqlite:pointsman.db\"")
        .with(TOKENS)
        .with("[contexts.user]\nkey = [{ header = \"x-user-id\" }]")
}

pub(crate) fn rollout(gateway: &Gateway) -> Value {
    get(gateway, "/api/v1/routes/all/rollout")
}

#[track_caller]
pub(crate) fn say(gateway: &Gateway, verb: &str, more: Value) -> (u16, Value) {
    let mut command = json!({ "verb": verb, "reason": "as the test wants it" });
    command.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    let answer = ask(gateway, "deploy", "POST", "/api/v1/routes/all/rollout", &command.to_string());
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

pub(crate) fn await_state(gateway: &Gateway, wanted: &str) -> Value {
    eventually(wanted, || {
        let found = rollout(gateway);
        let at = format!("{} {}", found["state"].as_str()?, found["stage"].as_str().unwrap_or("-"));
        (at == wanted).then_some(found)
    })
}

/// The arms that so many users get, candidates first.
pub(crate) fn served(gateway: &Gateway, users: usize) -> (usize, usize) {
    let mut client = gateway.client();
    let arms = (0..users).map(|user| client.get("/", &[("x-user-id", &format!("u{user}"))]).text());
    arms.fold(
        (0, 0),
        |(candidate, control), body| {
            if body == "new" { (candidate + 1, control) } else { (candidate, control + 1) }
        },
    )
}

const PLAN: &str = "guards.never = { when = \"error_rate > 99%\", then = \"rollback\" }\n[routes.all.rollout]\nwatch = \"1s\"\n\
    [[routes.all.rollout.stages]]\nname = \"internal\"\npercent = 0\nhold = \"1s\"\n\
    [[routes.all.rollout.stages]]\nname = \"half\"\npercent = 50\napprove = true\n\
    [[routes.all.rollout.stages]]\nname = \"all\"\npercent = 100\nhold = \"1s\"\n";

#[test]
fn a_plan_is_walked_and_waits_for_who_has_to_approve() {
    let (control, candidate) = (Upstream::saying("old"), Upstream::saying("new"));
    let gateway = setup(&control, &candidate, PLAN).start();
    let waits = eventually("a report", || {
        let draft = await_state(&gateway, "draft -");
        Some(draft["report"]["waits"][0]["what"].as_str()?.to_owned())
    });
    assert_eq!(waits, "not started: `start` begins it");
    assert_eq!(served(&gateway, 20), (0, 20));
    let answer = gateway.get("/", &[("x-user-id", "u1")]);
    assert_eq!(answer.get("x-pointsman-reason"), Some("not_started"));
    assert_eq!(say(&gateway, "start", json!({})).1["result"], "done");
    assert_eq!(say(&gateway, "start", json!({})).1["result"], "already");
    await_state(&gateway, "awaiting_approval half");
    let (new, old) = served(&gateway, 200);
    assert!(new > 60 && old > 60, "{new} {old}");
    let before: Vec<bool> = (0..50).map(|user| arm(&gateway, user)).collect();
    assert_eq!(say(&gateway, "approve", json!({})).0, 200);
    await_state(&gateway, "completed all");
    assert_eq!(served(&gateway, 50), (50, 0), "nobody is moved back: {before:?}");
    let history = get(&gateway, "/api/v1/history?route=all");
    let kinds: Vec<&str> =
        history["history"].as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["completed", "watching", "promoted", "awaiting_approval", "promoted", "started"]);
    let started = &history["history"][5];
    assert_eq!((&started["actor"], &started["detail"]["reason"]), (&json!("deploy"), &json!("as the test wants it")));
    assert!(started["detail"]["config"].as_str().unwrap().len() == 64);
}

fn arm(gateway: &Gateway, user: usize) -> bool {
    gateway.get("/", &[("x-user-id", &format!("u{user}"))]).text() == "new"
}

#[test]
fn a_rollback_is_at_once_and_outlives_restart_edit_and_force() {
    let (control, candidate) = (Upstream::saying("old"), Upstream::saying("new"));
    let mut gateway =
        setup(&control, &candidate, "rollout.percent = 100\nguards.x = { when = \"breaker_open\", then = \"hold\" }")
            .start();
    await_state(&gateway, "running -");
    assert_eq!(served(&gateway, 10), (10, 0));
    let (code, told) = say(&gateway, "rollback", json!({}));
    assert_eq!((code, &told["rollout"]["state"]), (200, &json!("rolled_back")));
    let seen = candidate.heads();
    assert_eq!(served(&gateway, 20), (0, 20));
    assert_eq!(candidate.heads(), seen, "no candidate request begins after the answer");
    // Nobody waits for a slow disk with a rollback.
    eventually("it is stored", || (rollout(&gateway)["stored"] == true).then_some(()));
    gateway.kill();
    gateway.start_again();
    await_state(&gateway, "rolled_back -");
    assert_eq!(served(&gateway, 20), (0, 20));
    gateway.rewrite(&setup(&control, &candidate, "forced = \"candidate\"\nrollout.percent = 80"));
    eventually("the edit runs", || (get(&gateway, "/api/v1/config")["generation"].as_u64()? > 2).then_some(()));
    assert_eq!(served(&gateway, 20), (0, 20), "the latch beats force");
    assert_eq!(gateway.get("/", &[("x-user-id", "u1")]).get("x-pointsman-reason"), Some("rolled_back"));
    let renamed = format!(
        "[backends.control]\nurl = {:?}\n[backends.candidate]\nurl = {:?}\n[routes.renamed]\npath = \"/\"\ncontrol = \"control\"\n\
         candidate = \"candidate\"\nrollout.percent = 100\n",
        control.url(),
        candidate.url()
    );
    let keys = "[contexts.user]\nkey = [{ header = \"x-user-id\" }]";
    gateway.rewrite(&Setup::new(renamed).top("state.store = \"sqlite:pointsman.db\"").with(TOKENS).with(keys));
    eventually("another name", || {
        let found = get(&gateway, "/api/v1/routes");
        (found["routes"][0]["name"] == "renamed").then_some(())
    });
    eventually("the latch under another name", || {
        let answer = ask(&gateway, "board", "GET", "/api/v1/routes/renamed/rollout", "");
        answer.text().contains("route all was rolled back").then_some(())
    });
    assert_eq!(served(&gateway, 20), (0, 20));
    gateway.kill();
    gateway.start_again();
    eventually("the latch of the name that is gone", || {
        let answer = ask(&gateway, "board", "GET", "/api/v1/routes/all/rollout", "");
        let found: Value = serde_json::from_slice(&answer.body).ok()?;
        (found["vanished"] == true && found["state"] == "rolled_back").then_some(())
    });
    gateway.rewrite(&setup(&control, &candidate, "rollout.percent = 100"));
    eventually("the old name", || (get(&gateway, "/api/v1/routes")["routes"][0]["name"] == "all").then_some(()));
    await_state(&gateway, "rolled_back -");
    assert_eq!(say(&gateway, "restart", json!({})).0, 200);
    assert_eq!(served(&gateway, 10), (10, 0));
}

#[test]
fn a_dead_candidate_costs_nobody_an_error_and_is_rolled_back_within_ten_attempts() {
    let (control, candidate) = (Upstream::saying("old"), Upstream::answering(|_| status(503, "Down", "down")));
    let gateway =
        setup(&control, &candidate, "rollout.run = \"1\"\n[[routes.all.rollout.stages]]\npercent = 100\nhold = \"1h\"")
            .start();
    await_state(&gateway, "running stage 1");
    let mut client = gateway.client();
    let state = eventually("a rollback", || {
        let answer = client.get("/", &[("x-user-id", "u1")]);
        assert_eq!((answer.status, answer.text()), (200, "old".to_owned()));
        let found = rollout(&gateway);
        (found["state"] == "rolled_back").then_some(found)
    });
    assert!(candidate.heads() <= 10, "{}", candidate.heads());
    assert!(state["why"].as_str().unwrap().contains("of the last"), "{state}");
    eventually("an alert", || {
        let alerts = get(&gateway, "/api/v1/alerts");
        alerts["firing"].to_string().contains("all/catastrophe").then_some(())
    });
}

#[test]
fn a_guard_acts_on_figures_after_its_time_and_tells_them() {
    let (control, candidate) = (
        Upstream::saying("old"),
        Upstream::answering(|seen| if seen.head.start.contains("bad") { status(500, "No", "no") } else { ok("new") }),
    );
    let plan = "guards.errors = { when = \"error_rate > 20%\", then = \"halve\", for = \"1s\", min_samples = 10 }\n\
                rollout.run = \"1\"\n[[routes.all.rollout.stages]]\npercent = 80\nhold = \"1h\"";
    let gateway = setup(&control, &candidate, plan).start();
    await_state(&gateway, "running stage 1");
    let mut client = gateway.client();
    let found = eventually("a halved share", || {
        for user in 0..20 {
            let target = if user % 3 == 0 { "/bad" } else { "/good" };
            client.get(target, &[("x-user-id", &format!("u{user}"))]);
        }
        let found = rollout(&gateway);
        (found["state"] == "held").then_some(found)
    });
    assert_eq!(found["percent"], 40.0);
    assert!(found["why"].as_str().unwrap().starts_with("guard errors (error_rate > 20%): 0."), "{found}");
    let history = get(&gateway, "/api/v1/history?route=all&limit=1");
    let figures = &history["history"][0]["detail"]["figures"]["errors"];
    assert!(figures["found"].as_f64().unwrap() > 0.2 && figures["limit"] == 0.2, "{history}");
}

#[test]
fn commands_are_checked_and_versions_hold() {
    let (control, candidate) = (Upstream::saying("old"), Upstream::saying("new"));
    let gateway = setup(&control, &candidate, PLAN).start();
    let version = await_state(&gateway, "draft -")["version"].clone();
    let rows: [(&str, Value, u16, &str); 8] = [
        ("fly", json!({}), 400, "there is no verb"),
        ("jump", json!({}), 400, "`jump` needs a stage"),
        ("jump", json!({ "stage": "nowhere" }), 400, "internal, half, all"),
        ("start", json!({ "stage": "half" }), 400, "takes no stage"),
        ("start", json!({ "reason": " " }), 400, "a reason is needed"),
        ("start", json!({ "reason": "two\nlines" }), 400, "one line"),
        ("approve", json!({}), 409, "nothing waits for approval"),
        ("start", json!({ "version": 77 }), 409, "changed meanwhile"),
    ];
    for (verb, more, code, words) in rows {
        let (found, problem) = say(&gateway, verb, more);
        assert_eq!(found, code, "{verb} {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
        assert_eq!(problem["rollout"]["state"] == "draft", code == 409, "{problem}");
    }
    let (code, told) = say(&gateway, "jump", json!({ "stage": "half", "dry_run": true }));
    assert_eq!((code, &told["result"], &told["rollout"]["percent"]), (200, &json!("would"), &json!(50.0)));
    assert_eq!(rollout(&gateway)["state"], "draft", "nothing was done");
    assert_eq!(say(&gateway, "jump", json!({ "stage": "half", "version": version })).0, 200);
    let answer = ask(&gateway, "board", "POST", "/api/v1/routes/all/rollout", r#"{"verb":"start","reason":"x"}"#);
    assert_eq!(answer.status, 403);
    assert_eq!(ask(&gateway, "deploy", "GET", "/api/v1/routes/none/rollout", "").status, 404);
    let told = pointsman(&gateway, "deploy", &["rollout", "rollback", "all", "--reason", "by hand"]);
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(text.starts_with("all: rolled_back, stage half (2 of 3), 0 % of users"), "{text}");
    let told = pointsman(&gateway, "board", &["rollout", "report", "all"]);
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(text.contains("half") && text.contains("rolled_back") && text.contains("half: by hand"), "{text}");
    let told = pointsman(&gateway, "board", &["rollout", "show", "all"]);
    assert!(String::from_utf8(told.stdout).unwrap().contains("why       by hand"));
}

#[test]
fn clients_of_flags_hear_of_every_stage_and_ask_again() {
    let (control, candidate) = (Upstream::saying("old"), Upstream::saying("new"));
    let gateway = setup(&control, &candidate, &PLAN.replace("hold = \"1s\"", "hold = \"1h\"")).start();
    await_state(&gateway, "draft -");
    let mut stream = listen(&gateway, "/ofrep/v1/stream", "authorization: Bearer flags-token-0123456789\r\n");
    let evaluated = || {
        let context = r#"{"context": {"targetingKey": "u1"}}"#;
        let answer = ask(&gateway, "flags", "POST", "/ofrep/v1/evaluate/flags/all", context);
        let found: Value = serde_json::from_slice(&answer.body).unwrap();
        json!([found["variant"], found["metadata"]["reason"]])
    };
    let (mut last, _) = event(&mut stream);
    assert_eq!(evaluated(), json!(["control", "not_started"]));
    for (verb, stage, expected) in [
        ("jump", Some("all"), json!(["candidate", "rollout"])),
        ("rollback", None, json!(["control", "rolled_back"])),
        ("restart", None, json!(["control", "not_started"])),
    ] {
        assert_eq!(say(&gateway, verb, json!({ "stage": stage })).0, 200);
        let (next, _) = event(&mut stream);
        assert_ne!(next, last, "{verb}");
        assert_eq!(evaluated(), expected, "{verb}");
        last = next;
    }
}

#[test]
fn every_face_tells_where_a_rollout_stands() {
    let (control, candidate) = (Upstream::saying("old"), Upstream::saying("new"));
    let gateway = setup(&control, &candidate, PLAN).start();
    await_state(&gateway, "draft -");
    assert_eq!(say(&gateway, "jump", json!({ "stage": "half" })).0, 200);
    // About half of them are the candidate's, of whom the guard needs 20.
    served(&gateway, 100);
    await_state(&gateway, "awaiting_approval half");
    let state = |state: &str| gateway.count(&format!(r#"pointsman_rollout_state{{route="all",state="{state}"}}"#));
    assert_eq!((state("awaiting_approval"), state("running"), state("state_unknown")), (1.0, 0.0, 0.0));
    assert_eq!(gateway.count(r#"pointsman_rollout_percent{route="all"}"#), 50.0);
    let guard = |verdict: &str| {
        gateway.count(&format!(r#"pointsman_guard_state{{route="all",guard="never",verdict="{verdict}"}}"#))
    };
    eventually("the guard has values", || (guard("fails") == 1.0).then_some(()));
    assert_eq!((guard("holds"), guard("not_enough_data")), (0.0, 0.0));
    let routes = get(&gateway, "/api/v1/routes");
    let shown = &routes["routes"][0]["rollout"];
    assert_eq!((&shown["state"], &shown["stage"]), (&json!("awaiting_approval"), &json!("half")));
    let told = String::from_utf8(pointsman(&gateway, "board", &["status"]).stdout).unwrap();
    assert!(told.contains("all: awaiting_approval, stage half (2 of 3), 50 % of users ("), "{told}");

    let mut watch = asking(&gateway, "board", &["status", "--watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut find = |wanted: &str| lines.by_ref().find(|line| line.contains(wanted)).unwrap();
    find("all: awaiting_approval");
    find("somebody has to `approve`");
    let guard = find("error_rate > 99%");
    assert!(guard.contains("fine") && guard.contains("0.9900"), "{guard}");
    assert_eq!(say(&gateway, "rollback", json!({})).0, 200);
    find("all: rolled_back, stage half (2 of 3), 0 % of users");
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert_eq!(gateway.count(r#"pointsman_rollout_percent{route="all"}"#), 0.0);
    assert_eq!((state("rolled_back"), state("awaiting_approval")), (1.0, 0.0));
}

/// A latch leaves the file's percentage in the file, and nobody gets it.
#[test]
fn a_latched_percentage_of_the_file_is_told_as_none() {
    let (control, candidate) = (Upstream::saying("old"), Upstream::saying("new"));
    let gateway = setup(&control, &candidate, "rollout.percent = 40").start();
    await_state(&gateway, "running -");
    assert_eq!(gateway.count(r#"pointsman_rollout_percent{route="all"}"#), 40.0);
    assert_eq!(say(&gateway, "rollback", json!({})).0, 200);
    assert_eq!(gateway.count(r#"pointsman_rollout_percent{route="all"}"#), 0.0);
    assert_eq!(served(&gateway, 20), (0, 20));
}
