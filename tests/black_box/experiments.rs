//! Whether the candidate is better: from requests to a report, over the API and as a command, across a restart.

use std::process::{Command, Output};

use pointsman::domain::assignment::Digest;
use serde_json::Value;

use crate::support::upstream::with_fields;
use crate::support::{Gateway, Setup, Upstream, eventually};

const USERS: usize = 400;
const HOST: [(&str, &str); 1] = [("host", "localhost")];

/// An upstream that scores its answers: each user has a liking of their own.
fn scoring(base: f64) -> Upstream {
    Upstream::answering(move |seen| {
        let user: usize = seen.head.get("x-user-id").and_then(|user| user[1..].parse().ok()).unwrap_or(0);
        let score = base + (user * 37 % 100) as f64 / 500.0;
        with_fields(200, "OK", &format!("x-quality-score: {score}\r\n"), "fine")
    })
}

fn gateway(control: &Upstream, candidate: &Upstream) -> Gateway {
    let toml = format!(
        "state.store = \"sqlite:pointsman.db\"\n[contexts.user]\nkey = [{{ header = \"x-user-id\" }}]\n\
         [metrics.quality]\nkind = \"value\"\nbetter = \"higher\"\nfrom = {{ response_header = \"x-quality-score\" }}\n\
         [backends.old]\nurl = {:?}\n[backends.new]\nurl = {:?}\n[routes.chat]\npath = \"/\"\nmethods = [\"GET\"]\n\
         control = \"old\"\ncandidate = \"new\"\ntargets.candidate = [\"u7\"]\nrollout.percent = 50\n\
         [routes.chat.experiment]\nname = \"new & old\"\nprimary = \"quality\"\nmin_users = 50\nmin_duration = \"0s\"\n\
         guards.errors = {{ absolute = 0.03 }}\n[routes.flag]\n",
        control.url(),
        candidate.url()
    );
    Setup::new(toml).start()
}

fn ask(gateway: &Gateway, route: &str) -> Value {
    let answer = gateway.admin_client().get(&format!("/api/v1/routes/{route}/experiment"), &HOST);
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

/// Every user asks twice; then everything is counted.
fn traffic(gateway: &Gateway) -> Value {
    let mut client = gateway.client();
    for user in 0..USERS {
        for _ in 0..2 {
            client.get("/", &[("host", "a"), ("x-user-id", &format!("u{user}"))]).expect(200, "fine");
        }
    }
    eventually("all requests are counted", || {
        let report = ask(gateway, "chat");
        let of = |arm: &str, what: &str| report[arm][what].as_f64().unwrap();
        let all = of("control", "requests") + of("candidate", "requests") + of("candidate", "left_out");
        (all == 2.0 * USERS as f64).then_some(report)
    })
}

fn pointsman(gateway: &Gateway, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    let output = command.args(arguments).args(["--admin", &gateway.admin_url()]).env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    output
}

fn told(gateway: &Gateway, arguments: &[&str]) -> String {
    String::from_utf8(pointsman(gateway, arguments).stdout).unwrap()
}

#[test]
fn a_better_candidate_is_found_and_told_in_every_form() {
    let (control, candidate) = (scoring(0.5), scoring(0.7));
    let gateway = gateway(&control, &candidate);
    assert_eq!(ask(&gateway, "chat")["decision"], "wait", "nobody has come");
    let report = traffic(&gateway);
    assert_eq!((&report["decision"], &report["name"]), (&"ship".into(), &"new & old".into()), "{report:#}");
    let quality = &report["metrics"][0];
    assert_eq!((&quality["name"], &quality["verdict"]), (&"quality".into(), &"better".into()));
    let difference = quality["difference"]["value"].as_f64().unwrap();
    assert!((difference - 0.2).abs() < 0.02, "{quality:#}");
    assert_eq!(report["metrics"][1]["verdict"], "no_worse", "{report:#}");
    assert_eq!(report["candidate"]["left_out"], 2.0, "who is listed is not compared");
    assert_eq!(report["strata"][0]["percent"], 50.0);
    let users = report["control"]["users"].as_f64().unwrap() + report["candidate"]["users"].as_f64().unwrap();
    assert_eq!(users, USERS as f64 - 1.0);

    let json: Value = serde_json::from_str(&told(&gateway, &["report", "chat", "--json"])).unwrap();
    assert_eq!((&json["decision"], &json["metrics"]), (&report["decision"], &report["metrics"]));
    let table = told(&gateway, &["report", "chat"]);
    assert!(table.starts_with("new & old: ship the candidate\n") && table.contains("quality"), "{table}");
    assert!(told(&gateway, &["report", "chat", "--markdown"]).contains("| quality | primary |"));
    let html = told(&gateway, &["report", "chat", "--html"]);
    assert!(html.contains("<title>new &amp; old</title>") && html.contains("<svg"), "{html}");
    assert!(told(&gateway, &["report", "chat", "--plan"]).contains("plan"));
}

#[test]
fn what_was_seen_outlives_the_process() {
    let (control, candidate) = (scoring(0.5), scoring(0.7));
    let mut gateway = gateway(&control, &candidate);
    let before = traffic(&gateway);
    gateway.signal("TERM");
    gateway.await_exit();
    gateway.start_again();
    let after = eventually("what was kept is read", || {
        let report = ask(&gateway, "chat");
        (report["control"]["requests"] == before["control"]["requests"]).then_some(report)
    });
    for part in ["decision", "metrics", "strata", "control", "candidate", "findings"] {
        assert_eq!(after[part], before[part], "{part}");
    }
}

#[test]
fn who_was_in_which_arm_is_exported() {
    let (control, candidate) = (scoring(0.5), scoring(0.7));
    let gateway = gateway(&control, &candidate);
    traffic(&gateway);
    let arguments = ["export", "--assignments", "--route", "chat", "--format", "csv"];
    let output = pointsman(&gateway, &arguments);
    let note = String::from_utf8(output.stderr).unwrap();
    assert!(note.starts_with("every randomised user of every phase"), "{note}");
    let csv = String::from_utf8(output.stdout).unwrap();
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("route,phase,stratum,percent,user_sample,arm,answered"));
    assert_eq!(lines.count(), USERS - 1, "the listed user is not among them");
    for user in [0, 1, 2, 3] {
        let digest = Digest::of(format!("u{user}").as_bytes(), b"chat");
        let arm = if digest.bucket().percentage() <= 50.0 { "candidate" } else { "control" };
        let row = format!("rollout,50,{:016x},{arm},true", digest.user_sample());
        assert!(csv.contains(&row), "{row}: {csv}");
    }
    let lines = told(&gateway, &["export", "--assignments", "--route", "chat", "--format", "ndjson"]);
    assert_eq!(lines.lines().count(), USERS - 1);
}

#[test]
fn a_route_without_an_experiment_has_a_report_and_an_unknown_one_has_none() {
    let (control, candidate) = (scoring(0.5), scoring(0.7));
    let gateway = gateway(&control, &candidate);
    let report = ask(&gateway, "flag");
    assert_eq!((&report["decision"], &report["name"]), (&"no_question".into(), &"flag".into()));
    for page in ["experiment", "assignments"] {
        let answer = gateway.admin_client().get(&format!("/api/v1/routes/nothing/{page}"), &HOST);
        assert_eq!((answer.status, answer.code().as_str()), (404, "unknown_route"), "{answer:?}");
    }
}
