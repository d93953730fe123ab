//! Flags among routes: what they are asked for is what requests get.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Client, Gateway, Setup};

/// Users of each kind of route.
const USERS: usize = 10_000;

/// One route for each way to decide; both backends answer by themselves, with the name of the arm. A route
/// that is added here is asked like the others.
const ROUTES: &str = r#"
[contexts.user]
key = [{ header = "x-user-id" }]
tier = { header = "x-tier" }
age = { header = "x-age", type = "number" }
[contexts.session]
key = [{ header = "x-session-id" }]
region = { header = "x-region" }
[segments]
insiders = { any = [{ user.tier = ["premium", "staff"] }, { session.region = "north" }] }
[backends.old]
respond = { body = "control" }
[backends.new]
respond = { body = "candidate" }
[routes.plain]
path = "/plain"
control = "old"
candidate = "new"
rollout = { percent = 25 }
fallback = { replay = "connect" }
[routes.held]
path = "/held"
control = "old"
candidate = "new"
holdout = 10
salt = "held-2"
targets = { control = ["user-1", "user-2"], candidate = ["user-3", "user-4"] }
rollout = { percent = 50 }
fallback = { replay = "connect" }
[routes.ruled]
path = "/ruled"
control = "old"
candidate = "new"
eligible = { user.age = { gte = 18 } }
rules = [
  { name = "insiders", if = { segment = "insiders" }, serve = "candidate" },
  { name = "south", if = { session.region = "south", user.key = { regex = "[0-6]$$" } }, percent = 40 },
]
rollout = { percent = 10 }
fallback = { replay = "connect" }
[routes.by-session]
path = "/by-session"
control = "old"
candidate = "new"
split_by = "session"
rules = [{ name = "premium", if = { user.tier = "premium" }, percent = 75 }]
rollout = { percent = 33.3 }
fallback = { replay = "connect" }
[routes.slotted]
path = "/slotted"
control = "old"
candidate = "new"
exclusive = { group = "search", slots = [0, 60] }
rollout = { percent = 50 }
fallback = { replay = "connect" }
[routes.other-slots]
path = "/other-slots"
control = "old"
candidate = "new"
exclusive = { group = "search", slots = [60, 100] }
rollout = { percent = 50 }
fallback = { replay = "connect" }
[routes.after]
path = "/after"
control = "old"
candidate = "new"
prerequisite = { route = "plain", arm = "candidate" }
rollout = { percent = 60 }
fallback = { replay = "connect" }
[routes.forced]
path = "/forced"
control = "old"
candidate = "new"
forced = "candidate"
fallback = { replay = "connect" }
"#;

/// What a client knows of user number `n`: as fields of a request, and as a context.
fn who(n: usize) -> (Vec<(&'static str, String)>, Value) {
    let (user, session) = (format!("user-{n}"), format!("session-{}", n / 3));
    let tier = ["free", "premium", "staff", "basic", "free"][n % 5];
    let region = ["north", "south", "east"][n % 3];
    let age = 10 + n % 60;
    let fields = vec![
        ("x-user-id", user.clone()),
        ("x-session-id", session.clone()),
        ("x-tier", tier.to_owned()),
        ("x-region", region.to_owned()),
        ("x-age", age.to_string()),
    ];
    let context = json!({
        "targetingKey": user,
        "user": { "tier": tier, "age": age },
        "session": { "key": session, "region": region },
    });
    (fields, context)
}

fn evaluate(admin: &mut Client, context: &Value) -> BTreeMap<String, String> {
    let fields = [("host", "localhost"), ("content-type", "application/json")];
    let body = json!({ "context": context }).to_string();
    let answer = admin.request("POST", "/ofrep/v1/evaluate/flags", &fields, body.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    let document: Value = serde_json::from_slice(&answer.body).unwrap();
    let flags = document["flags"].as_array().unwrap().iter();
    flags.map(|flag| (flag["key"].as_str().unwrap().to_owned(), flag["variant"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn a_flag_is_what_the_next_request_gets() {
    let setup = Setup::new(format!("ofrep.requests_per_second = 1000000\n{ROUTES}"));
    let gateway = setup.access_sample(0.0).start();
    let (mut client, mut admin) = (gateway.client(), Client::connect(gateway.admin()));
    let mut arms: BTreeMap<(String, String), usize> = BTreeMap::new();
    for n in 0..USERS {
        let (fields, context) = who(n);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for (route, variant) in evaluate(&mut admin, &context) {
            let served = client.get(&format!("/{route}"), &fields).text();
            assert_eq!(variant, served, "{route} for {context}");
            *arms.entry((route, variant)).or_default() += 1;
        }
    }
    // Both arms were seen on every route that splits, so that equality says something.
    let routes = ["after", "by-session", "held", "other-slots", "plain", "ruled", "slotted"];
    for (route, arm) in routes.into_iter().flat_map(|route| [(route, "control"), (route, "candidate")]) {
        let count = arms.get(&(route.to_owned(), arm.to_owned())).copied().unwrap_or_default();
        assert!(count > USERS / 50, "{route} {arm}: {count}");
    }
    assert_eq!(arms[&("forced".to_owned(), "candidate".to_owned())], USERS);
}

const MIXED: &str = r#"
[backends.old]
respond = { body = "old" }
[backends.new]
respond = { body = "new" }
[routes.answers]
path = "/query"
control = "old"
candidate = "new"
fallback = { replay = "connect" }
[routes.bare]
rollout = { percent = 100 }
values = { control = "small", candidate = "large" }
[routes.lent]
candidate = "new"
"#;

fn command(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_pointsman")).args(arguments).env_clear().output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {text}\n{}", gateway.stderr());
    text
}

#[test]
fn flags_stand_among_routes_everywhere() {
    let gateway = Setup::new(MIXED).start();
    let file = gateway.file.to_str().unwrap().to_owned();
    let url = format!("http://{}", gateway.admin());
    gateway.get("/query", &[("x-user-id", "u")]).expect(200, "old");
    assert_eq!(gateway.get("/bare", &[]).status, 404);

    let checked = command(&gateway, &["check", "-c", &file]);
    assert!(!checked.contains("warning:"), "{checked}");
    let status = command(&gateway, &["status", "--admin", &url]);
    let row = |begin: &str| status.lines().find(|line| line.trim_start().starts_with(begin)).map(str::to_owned);
    assert!(row("bare").is_some_and(|row| row.contains("flag")) && row("lent").is_some(), "{status}");

    let routes: Value = serde_json::from_str(&command(&gateway, &["status", "--json", "--admin", &url])).unwrap();
    let bare = &routes["routes"][1];
    assert_eq!((&bare["name"], &bare["match"], &bare["control"]), (&json!("bare"), &Value::Null, &Value::Null));
    assert_eq!(routes["routes"][2]["candidate"]["backend"], "new");

    for from in [vec!["-c", &file], vec!["--admin", &url]] {
        let arguments = [vec!["explain", "bare", "--key", "u"], from].concat();
        let told = command(&gateway, &arguments);
        assert!(told.starts_with("bare, key \"u\": candidate, reason rollout\n"), "{told}");
        assert!(told.contains("value: \"large\"\n"), "{told}");
    }
    let metrics = Client::connect(gateway.admin()).get("/metrics", &[("host", "localhost")]).text();
    assert!(metrics.contains("pointsman_rollout_percent{route=\"bare\"} 100"), "{metrics}");
}
