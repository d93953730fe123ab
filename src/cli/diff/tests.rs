use std::collections::BTreeMap;

use super::*;
use crate::config::load_text;

const OLD: &str = r#"
[contexts.user]
key = [{ header = "x-user-id" }]
tier = { header = "x-tier" }
[backends.old]
url = "http://old"
[backends.new]
url = "http://new"
[routes.answers]
control = "old"
candidate = "new"
salt = "one"
rollout = { percent = 10.0 }
[routes.targeted]
control = "old"
candidate = "new"
eligible = { user.tier = "premium" }
rollout = { percent = 50.0 }
[routes.leaving]
control = "old"
candidate = "new"
"#;

fn file(changes: &[(&str, &str)]) -> Loaded {
    let mut text = OLD.to_owned();
    for (old, new) in changes {
        assert!(text.contains(old), "{old}");
        text = text.replacen(old, new, 1);
    }
    load_text(&text, "gateway.toml", &BTreeMap::new()).unwrap_or_else(|report| panic!("{report}"))
}

fn between(changes: &[(&str, &str)], subjects: &Subjects) -> Difference {
    compare(&sides::of_file(&file(&[]), subjects), &sides::of_file(&file(changes), subjects), subjects.are_sampled())
}

const CHANGES: [(&str, &str); 5] = [
    ("percent = 10.0", "percent = 11.0"),
    ("http://new", "http://newer"),
    ("[routes.leaving]", "[routes.coming]"),
    ("[contexts.user]", "listen.threads = 2\n[contexts.user]"),
    ("percent = 50.0", "percent = 50"),
];

#[test]
fn what_people_see() {
    let subjects = Subjects::sampled(10_000);
    let found = between(&CHANGES, &subjects);
    insta::assert_snapshot!("changes", told(&found, "new.toml", "old.toml", &subjects));
    let none = between(&[], &subjects);
    insta::assert_snapshot!("no_changes", told(&none, "new.toml", "old.toml", &subjects));
    let listed = Subjects::Listed("users.txt".into(), (0..3).map(|n| user(&format!("u{n}"), None)).collect());
    let found = between(&[("percent = 10.0", "percent = 100.0"), ("salt = \"one\"", "salt = \"two\"")], &listed);
    insta::assert_snapshot!("listed_users", told(&found, "new.toml", "old.toml", &listed));
}

fn user(key: &str, tier: Option<&str>) -> crate::admin::assignments::Subject {
    let attributes = tier.map(|tier| ("user.tier".to_owned(), json!(tier)));
    crate::admin::assignments::Subject { key: Some(key.to_owned()), attributes: attributes.into_iter().collect() }
}

/// Raising by p points moves p percent of all, and nobody back; lowering is its mirror.
#[test]
fn shares_are_those_of_the_formula() {
    let subjects = Subjects::sampled(10_000);
    let raised = between(&[("percent = 10.0", "percent = 15.0")], &subjects);
    let route = &raised.routes[0];
    let [low, high] = route.control_to_candidate.interval.unwrap();
    assert!(low <= 5.0 && 5.0 <= high, "{route:?}");
    assert_eq!((route.candidate_to_control.count, route.phase.as_slice()), (0, &["percentage".to_owned()][..]));
    let lowered = between(&[("percent = 10.0", "percent = 5.0")], &subjects);
    assert_eq!(lowered.routes[0].control_to_candidate.count, 0);
    assert!(lowered.routes[0].candidate_to_control.count > 400);
    // Another salt: 10 % * 90 % each way.
    let salted = between(&[("salt = \"one\"", "salt = \"two\"")], &subjects);
    for moved in [salted.routes[0].control_to_candidate, salted.routes[0].candidate_to_control] {
        assert!((800..=1_000).contains(&moved.count), "{moved:?}");
    }
    assert_eq!(salted.routes[0].phase, ["salt"]);
    let off = between(&[("salt = \"one\"", "enabled = false")], &subjects);
    assert_eq!(off.routes[0].phase, ["salt"]);
    assert!(off.routes[0].other_reason > 8_000);
}

#[test]
fn conditions_need_real_users_and_sampling_says_so() {
    let change = [("percent = 50.0", "percent = 100.0")];
    let sampled = between(&change, &Subjects::sampled(1_000));
    let targeted = sampled.routes.iter().find(|route| route.route == "targeted").unwrap();
    assert_eq!(targeted.control_to_candidate.count, 0);
    assert!(targeted.notes[0].contains("every condition saw them as missing"), "{:?}", targeted.notes);
    assert!(sampled.routes[0].notes.is_empty());
    let users = (0..1_000).map(|n| user(&format!("u{n}"), Some("premium"))).collect();
    let listed = between(&change, &Subjects::Listed("users.txt".into(), users));
    let targeted = listed.routes.iter().find(|route| route.route == "targeted").unwrap();
    assert!((400..600).contains(&targeted.control_to_candidate.count), "{targeted:?}");
    assert_eq!((targeted.notes.len(), targeted.control_to_candidate.interval), (0, None));
    let renamed = between(
        &[("tier = {", "plan = {"), ("user.tier", "user.plan")],
        &Subjects::Listed("users.txt".into(), vec![user("u", Some("premium"))]),
    );
    assert!(renamed.routes[1].notes[0].contains("the new side has no attribute user.tier"), "{renamed:?}");
}

#[test]
fn numbers_for_people() {
    for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
        assert_eq!(grouped(number), text);
    }
    let moved = Moved { count: 102, percent: Some(1.02), interval: Some([0.8409, 1.2369]) };
    assert_eq!(share(moved), "1.02 % [0.8, 1.2]");
    assert_eq!(share(Moved { count: 0, percent: Some(0.0), interval: Some([0.0, 0.0384]) }), "0 % [0, 0.04]");
    assert_eq!(share(Moved { count: 1, percent: Some(33.333), interval: None }), "1 (33.33 %)");
}
