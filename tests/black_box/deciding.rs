//! Who gets which arm by what is around a route: files of keys, other routes, groups, and a conversation
//! that is under way.

use std::fs;

use serde_json::Value;

use crate::support::{Answer, Gateway, Setup, Upstream, eventually};

const CONTEXTS: &str =
    "[contexts.user]\nkey = [{ header = \"x-user-id\" }]\n[contexts.session]\nkey = [{ header = \"x-session-id\" }]\n";
const SECRET: &str = "a secret for the pins";

struct Pair {
    control: Upstream,
    candidate: Upstream,
}

impl Pair {
    fn new() -> Self {
        Self { control: Upstream::saying("control"), candidate: Upstream::saying("candidate") }
    }

    /// One route, `all`, with these keys, and tables behind it.
    fn setup(&self, keys: &str, more: &str) -> Setup {
        Setup::route(&self.control.url(), &self.candidate.url(), keys).with(CONTEXTS).with(more)
    }
}

#[track_caller]
fn check(answer: &Answer, arm: &str, reason: &str) {
    answer.expect(200, arm);
    assert_eq!(answer.get("x-pointsman-reason"), Some(reason));
}

/// A counter as the metrics tell it.
fn metric(gateway: &Gateway, line: &str) -> Option<f64> {
    let text = gateway.metrics();
    text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
}

#[test]
fn keys_from_a_file_of_100_000_lines_are_reloaded() {
    let pair = Pair::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("beta-testers.txt");
    let write = |lines: &str| {
        let fresh = file.with_extension("fresh");
        fs::write(&fresh, lines).unwrap();
        fs::rename(&fresh, &file).unwrap();
    };
    // SHA-256 of "user123".
    let hashed = "sha256:e606e38b0d8c19b24cf0ee3808183162ea7cd63ff7912dbb22b5e803286b4446";
    write(&format!("# beta testers\n\nalice@example.com\r\n  bob@example.com\n{hashed}\n"));
    let keys = format!("targets = {{ control = [\"carol\"], candidate_file = {:?} }}", file.display().to_string());
    let gateway = pair.setup(&keys, "").start();
    let ask = |user: &str| gateway.get("/", &[("x-user-id", user)]);
    for (user, arm, reason) in [
        ("alice@example.com", "candidate", "target"),
        ("bob@example.com", "candidate", "target"),
        ("user123", "candidate", "target"),
        ("carol", "control", "target"),
        ("# beta testers", "control", "rollout"),
        ("dave", "control", "rollout"),
    ] {
        check(&ask(user), arm, reason);
    }
    let many: String = (0..100_000).map(|n| format!("tester-{n}@example.com\n")).collect();
    write(&many);
    eventually("the change", || (ask("tester-99999@example.com").text() == "candidate").then_some(()));
    check(&ask("alice@example.com"), "control", "rollout");
    // What is wrong is told by its line, and nothing of it is shown.
    write(&format!("{many}sha256:secret-person\ncarol\n"));
    eventually("the mistake is told", || gateway.stderr().contains("line 100001").then_some(()));
    let told = gateway.stderr();
    assert!(told.contains("line 100002") && told.contains("listed for both arms"), "{told}");
    assert!(!told.contains("secret-person"), "{told}");
    check(&ask("tester-0@example.com"), "candidate", "target");
    write("dave\n");
    eventually("the repair", || (ask("dave").text() == "candidate").then_some(()));
}

#[test]
fn a_prerequisite_reads_the_key_of_its_own_kind() {
    let pair = Pair::new();
    let other = "[routes.other]\ncontrol = \"control\"\ncandidate = \"candidate\"\nsplit_by = \"session\"\n\
                 targets = { candidate = [\"s1\"] }\n";
    let keys = "rollout.percent = 100\nprerequisite = { route = \"other\", arm = \"candidate\" }";
    let gateway = pair.setup(keys, other).start();
    for (fields, arm, reason) in [
        (&[("x-user-id", "u"), ("x-session-id", "s1")][..], "candidate", "rollout"),
        (&[("x-user-id", "u"), ("x-session-id", "s2")], "control", "prerequisite"),
        (&[("x-user-id", "u")], "control", "prerequisite"),
        (&[("x-session-id", "s1")], "control", "no_key"),
    ] {
        check(&gateway.get("/", fields), arm, reason);
    }
}

#[test]
fn no_user_is_in_two_candidates_of_a_group() {
    let pair = Pair::new();
    let route = |name: &str, slots: &str| {
        format!(
            "[routes.{name}]\npath = \"/{name}\"\ncontrol = \"control\"\ncandidate = \"candidate\"\n\
             rollout.percent = 100\nexclusive = {{ group = \"search\", slots = {slots} }}\n"
        )
    };
    let more = route("one", "[0, 50]") + &route("two", "[50, 100]");
    let gateway = pair.setup("", &more).start();
    let mut client = gateway.client();
    for user in 0..100 {
        let name = format!("user-{user}");
        let arms = ["/one", "/two"].map(|path| client.get(path, &[("x-user-id", &name)]).text());
        assert!(arms == ["control", "candidate"] || arms == ["candidate", "control"], "{name}: {arms:?}");
    }
}

fn pinned(keys: &str) -> String {
    format!("pin = {{ by = \"session\", idle = \"10m\", secrets = [{SECRET:?}] }}\n{keys}")
}

#[test]
fn a_conversation_keeps_its_arm_through_a_change_of_the_percentage() {
    let pair = Pair::new();
    let setup = |percent: &str| pair.setup(&pinned(&format!("rollout.percent = {percent}")), "");
    let gateway = setup("100").start();
    let who = [("x-user-id", "u"), ("x-session-id", "s1")];
    let first = gateway.get("/", &who);
    check(&first, "candidate", "rollout");
    let token = first.get("x-pointsman-pin").expect("no pin").to_owned();
    let cookie = first.get("set-cookie").expect("no cookie").to_owned();
    assert!(cookie.starts_with(&format!("pointsman_pin={token}; Path=/; Max-Age=600; HttpOnly")), "{cookie}");
    gateway.rewrite(&setup("0"));
    eventually("the change", || (gateway.get("/", &[("x-user-id", "u")]).text() == "control").then_some(()));
    for pin in [("x-pointsman-pin", token.clone()), ("cookie", format!("a=b; pointsman_pin={token}"))] {
        let answer = gateway.get("/", &[who[0], who[1], (pin.0, &pin.1)]);
        check(&answer, "candidate", "pinned");
        assert_eq!(answer.get("x-pointsman-pin"), None, "it is renewed when half of its time has passed");
        let line = gateway.line_of(&answer);
        assert_eq!((&line["assigned_by"], &line["percentage"]), (&"pinned".into(), &Value::Null), "{line}");
    }
    assert!(pair.candidate.requests().iter().all(|seen| seen.head.get("x-pointsman-pin").is_none()), "told upstream");
    // A new conversation is drawn anew, and another one cannot use this pin.
    check(&gateway.get("/", &[who[0], ("x-session-id", "s2")]), "control", "rollout");
    let foreign = gateway.get("/", &[who[0], ("x-session-id", "s2"), ("x-pointsman-pin", &token)]);
    check(&foreign, "control", "rollout");
    let changed = if &token[50..51] == "x" { "y" } else { "x" };
    let forged = format!("{}{changed}{}", &token[..50], &token[51..]);
    check(&gateway.get("/", &[who[0], who[1], ("x-pointsman-pin", &forged)]), "control", "rollout");
    check(&gateway.get("/", &[who[0], who[1], ("x-pointsman-pin", "x")]), "control", "rollout");
    let rejected =
        |reason: &str| metric(&gateway, &format!("pointsman_pins_rejected_total{{route=\"all\",reason={reason:?}}}"));
    let counts = ["foreign", "forged", "malformed", "expired"].map(rejected);
    assert_eq!(counts, [Some(1.0), Some(1.0), Some(1.0), Some(0.0)]);
    // The kill switch beats it.
    gateway.rewrite(&pair.setup(&pinned("enabled = false"), ""));
    let killed = || gateway.get("/", &[who[0], who[1], ("x-pointsman-pin", &token)]);
    eventually("the kill switch", || (killed().get("x-pointsman-reason") == Some("disabled")).then_some(()));
}

#[test]
fn lines_name_the_rule_that_decided() {
    let pair = Pair::new();
    let rules = "rules = [{ name = \"alices\", if = { user.key.prefix = \"alice\" }, serve = \"candidate\" }]";
    let gateway = pair.setup(rules, "").start();
    let line = |user: &str| gateway.line_of(&gateway.get("/", &[("x-user-id", user)]));
    assert_eq!(line("alice-1")["rule"], "alices");
    assert_eq!(line("bob").get("rule"), None);
}
