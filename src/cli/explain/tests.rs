use std::collections::BTreeMap;

use clap::Parser as _;

use super::*;
use crate::app::Gateway;
use crate::cli::{self, Cli};
use crate::config::load_text;
use crate::telemetry::log::LogHandle;

const FILE: &str = r#"
[listen]
address = "127.0.0.1:0"
threads = 1
[observe]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[shutdown]
drain_delay = "0s"
[backends.old]
url = "http://127.0.0.1:1"
[backends.new]
url = "http://127.0.0.1:2"
[routes.answers]
control = "old"
candidate = "new"
holdout = 5.0
targets = { candidate = ["demo"] }
rollout = { percent = 25.0 }
"#;

fn gateway() -> Gateway {
    let loaded = load_text(FILE, "gateway.toml", &BTreeMap::new()).unwrap();
    Gateway::start(loaded, std::io::sink(), None, LogHandle::none()).unwrap()
}

fn question(key: &str) -> Question {
    Question { route: "answers".to_owned(), key: Some(key.to_owned()), ..Question::default() }
}

#[test]
fn the_file_and_the_running_gateway_give_the_same_answer() {
    let gateway = gateway();
    let client = Client::new(&format!("http://{}/", gateway.admin), &TokenArgs::default()).unwrap();
    let loaded = gateway.live.snapshot().loaded.clone();
    let mut candidates = 0;
    for key in (0..1_000).map(|user| format!("user {user}&ü")) {
        let running = from_gateway(&client, &question(&key)).unwrap().unwrap();
        let file = from_loaded(&loaded, &question(&key)).unwrap();
        let as_running =
            Explanation { basis: Basis::Running, generation: Some(1), notes: running.notes.clone(), ..file };
        assert_eq!(running, as_running);
        candidates += usize::from(running.served == Arm::Candidate);
    }
    assert!((150..350).contains(&candidates), "{candidates}");
    let unknown = Question { route: "nothing".to_owned(), ..question("a") };
    assert!(from_gateway(&client, &unknown).unwrap().unwrap_err().contains("nothing"));
    gateway.stop();
}

#[test]
fn commands_ask_the_running_gateway() {
    let gateway = gateway();
    let admin = format!("http://{}", gateway.admin);
    let rows: [(&[&str], ExitCode); 5] = [
        (&["explain", "answers", "--key", "demo"], ExitCode::SUCCESS),
        (&["explain", "answers", "--override", "candidate", "--json"], ExitCode::SUCCESS),
        (&["explain", "nothing", "--key", "demo"], ExitCode::from(MISTAKES)),
        (&["status"], ExitCode::SUCCESS),
        (&["status", "--json"], ExitCode::SUCCESS),
    ];
    for (words, expected) in rows {
        let words = ["pointsman"].iter().chain(words).copied().chain(["--admin", admin.as_str()]);
        let code = cli::run(Cli::parse_from(words)).unwrap();
        assert_eq!(format!("{code:?}"), format!("{expected:?}"));
    }
    gateway.stop();
    assert!(cli::run(Cli::parse_from(["pointsman", "status", "--admin", &admin])).is_err());
    assert!(cli::run(Cli::parse_from(["pointsman", "status", "--admin", "https://localhost"])).is_err());
}

#[test]
fn a_taken_address_is_an_error_that_names_it() {
    let gateway = gateway();
    let wanted = gateway.admin.to_string();
    let text = FILE.replace("[admin]\naddress = \"127.0.0.1:0\"", &format!("[admin]\naddress = \"{wanted}\""));
    let loaded = load_text(&text, "gateway.toml", &BTreeMap::new()).unwrap();
    let error = Gateway::start(loaded, std::io::sink(), None, LogHandle::none()).err().unwrap();
    assert_eq!(error.to_string(), format!("cannot listen on {wanted} (admin.address)"));
    gateway.stop();
}

#[test]
fn what_people_see() {
    let loaded = load_text(FILE, "gateway.toml", &BTreeMap::new()).unwrap();
    insta::assert_snapshot!(told(&from_loaded(&loaded, &question("user_0")).unwrap()));
}

const TARGETED: &str = r#"
[contexts.user]
key = [{ header = "x-user-id" }]
tier = { header = "x-user-tier" }
age = { header = "x-user-age", type = "number" }
[segments]
grown = { user.age = { gte = 18 } }
[backends.old]
url = "http://127.0.0.1:1"
[backends.new]
url = "http://127.0.0.1:2"
[routes.answers]
control = "old"
candidate = "new"
eligible = { not = { user.tier = ["trial"] } }
rules = [
  { name = "seniors", if = { user.age = { gt = 60 } }, serve = "control" },
  { name = "paying", if = { any = [{ user.tier = "premium" }, { segment = "grown" }] }, percent = 50.0 },
]
"#;

#[test]
fn every_clause_is_shown_with_what_was_found() {
    let loaded = load_text(TARGETED, "gateway.toml", &BTreeMap::new()).unwrap();
    let attributes = ["user.tier=starter", "user.age=44"].map(|text| attribute(text).unwrap());
    let question = Question { attributes: attributes.into(), ..question("user123") };
    insta::assert_snapshot!(told(&from_loaded(&loaded, &question).unwrap()));
    let unreadable = Question { attributes: [attribute("user.age=old").unwrap()].into(), ..question.clone() };
    let notes = from_loaded(&loaded, &unreadable).unwrap().notes.join("\n");
    assert!(notes.contains("user.age cannot be read"), "{notes}");
    let unknown = Question { attributes: [attribute("user.plan=a").unwrap()].into(), ..question };
    assert!(from_loaded(&loaded, &unknown).unwrap_err().contains("there is no attribute \"user.plan\""));
}
