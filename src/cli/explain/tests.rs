use std::collections::BTreeMap;

use clap::Parser as _;

use super::*;
use crate::app::Gateway;
use crate::cli::{self, Cli};
use crate::config::load_text;
use crate::domain::decision::Reason;
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

#[test]
fn groups_prerequisites_and_pins_are_explained() {
    let text = FILE.replace("[routes.answers]", "[contexts.user]\nkey = [{ header = \"x-user-id\" }]\n[contexts.session]\nkey = [{ header = \"x-session-id\" }]\n[routes.answers]")
        + "exclusive = { group = \"search\", slots = [50, 100] }\nprerequisite = { route = \"first\", arm = \"candidate\" }\n\
           pin = { by = \"session\", secrets = [\"0123456789abcdef\"] }\n\
           [routes.first]\ncontrol = \"old\"\ncandidate = \"new\"\nsplit_by = \"session\"\n\
           targets = { candidate = [\"s1\"] }\n[routes.plain]\ncontrol = \"old\"\ncandidate = \"new\"\n";
    let loaded = load_text(&text, "gateway.toml", &BTreeMap::new()).unwrap();
    let answers = loaded.config.routes.iter().find(|route| &*route.name == "answers").unwrap();
    let pins = &answers.pin.as_ref().unwrap().pins;
    let now = crate::clock::timestamp().as_second() as u64;
    let session = |key: &str| BTreeMap::from([("session.key".to_owned(), Value::from(key))]);
    let asked = |key: &str, of: &str, pin: Option<String>| {
        let question = Question { attributes: session(of), pin, ..question(key) };
        let explanation = from_loaded(&loaded, &question).unwrap();
        let found = |reason: Reason| {
            let step = explanation.steps.iter().find(|step| step.step == reason);
            step.map_or_else(String::new, |step| step.found.clone())
        };
        (explanation.assigned_by, found(Reason::Excluded), found(Reason::Prerequisite), explanation.notes.join("; "))
    };
    // `user123` has slot 72.701635.
    let (by, slot, other, _) = asked("user123", "s1", None);
    assert_eq!(by, Reason::Rollout);
    assert_eq!(slot, "bucket 3122511456, that is 72.701635, is within the slots 50 to 100 of \"search\"");
    assert_eq!(other, "first assigns candidate by target, as asked for");
    let (by, _, other, _) = asked("user123", "s2", None);
    assert_eq!(by, Reason::Prerequisite);
    assert_eq!(other, "first assigns control by rollout, and the other arm is asked for");
    let outside = (0..100).map(|n| asked(&format!("user_{n}"), "s1", None)).find(|found| found.0 == Reason::Excluded);
    assert!(outside.unwrap().1.contains("is outside of the slots 50 to 100"));
    let token = |of: &str| Some(pins.sign(of, Arm::Candidate, now));
    assert_eq!(asked("user123", "s1", token("s1")).0, Reason::Pinned);
    let (by, .., notes) = asked("user123", "s1", token("s2"));
    assert_eq!(by, Reason::Rollout);
    assert!(notes.contains("the pin does not count: foreign"), "{notes}");
    let pin = token("s1");
    let without = from_loaded(&loaded, &Question { pin: pin.clone(), ..question("user123") }).unwrap().notes.join("; ");
    assert!(without.contains("the pin needs the key of its conversation: the attribute session.key"), "{without}");
    let plain = Question { route: "plain".to_owned(), pin, ..question("user123") };
    assert!(from_loaded(&loaded, &plain).unwrap().notes.join("; ").contains("the route has no [pin]"));
}
