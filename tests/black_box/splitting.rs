//! Who gets which arm.

use crate::support::{Gateway, Setup, Upstream};

struct Pair {
    control: Upstream,
    candidate: Upstream,
}

impl Pair {
    fn new() -> Self {
        Self { control: Upstream::saying("control"), candidate: Upstream::saying("candidate") }
    }

    fn start(&self, keys: &str) -> Gateway {
        Setup::route(&self.control.url(), &self.candidate.url(), keys).start()
    }
}

/// Asks and checks the body, which names the arm, and the reason that trusted peers are told.
#[track_caller]
fn check(gateway: &Gateway, target: &str, fields: &[(&str, &str)], arm: &str, reason: &str) {
    let answer = gateway.get(target, fields);
    answer.expect(200, arm);
    let told = (answer.get("x-pointsman-arm"), answer.get("x-pointsman-reason"));
    assert_eq!(told, (Some(arm), Some(reason)), "{target} {fields:?}");
}

#[test]
fn a_user_keeps_the_arm_and_the_share_is_plausible() {
    let pair = Pair::new();
    let keys = "rollout.percent = 30\nsalt = \"s\"";
    let gateway = Setup::route(&pair.control.url(), &pair.candidate.url(), keys).threads(2).start();
    let mut clients = [gateway.client(), gateway.client()];
    let mut candidates = 0;
    for user in 0..400 {
        let name = format!("user-{user}");
        let arms = clients.each_mut().map(|client| client.get("/", &[("x-user-id", &name)]).text());
        assert_eq!(arms[0], arms[1], "{name}");
        candidates += usize::from(arms[0] == "candidate");
    }
    // 99.99 % of all sets of 400 users lie within 30 % +- 9 points.
    assert!((84..=156).contains(&candidates), "{candidates} of 400");
}

#[test]
fn the_first_source_that_is_present_gives_the_key() {
    let pair = Pair::new();
    let gateway = Setup::route(&pair.control.url(), &pair.candidate.url(), "targets = { candidate = [\"demo\"] }")
        .with("[contexts.user]\nkey = [{ header = \"x-user-id\" }, { cookie = \"uid\" }, { query = \"user\" }]")
        .start();
    check(&gateway, "/", &[("x-user-id", "demo")], "candidate", "target");
    check(&gateway, "/", &[("cookie", "a=b; uid=demo")], "candidate", "target");
    check(&gateway, "/?x=1&user=demo", &[], "candidate", "target");
    check(&gateway, "/?user=demo", &[("x-user-id", "other")], "control", "rollout");
    check(&gateway, "/", &[], "control", "no_key");
    check(&gateway, "/", &[("x-user-id", "")], "control", "no_key");
}

#[test]
fn a_user_without_a_key_gets_a_sticky_cookie() {
    let pair = Pair::new();
    let gateway = pair.start("rollout.percent = 50\nmissing_key = \"cookie\"");
    for _ in 0..8 {
        let first = gateway.get("/", &[]);
        let cookie = first.get("set-cookie").expect("no cookie").split(';').next().unwrap().to_owned();
        assert!(cookie.starts_with("pointsman_id="), "{cookie}");
        for _ in 0..3 {
            let again = gateway.get("/", &[("cookie", &cookie)]);
            assert_eq!(again.text(), first.text(), "{cookie}");
            assert_eq!(again.get("set-cookie"), None);
        }
    }
    assert_eq!(gateway.get("/", &[("x-user-id", "u")]).get("set-cookie"), None);
}

#[test]
fn the_identity_header_of_an_untrusted_peer_does_not_count() {
    let pair = Pair::new();
    let gateway = Setup::route(&pair.control.url(), &pair.candidate.url(), "targets = { candidate = [\"demo\"] }")
        .top("listen.trusted_proxies = [\"10.0.0.0/8\"]")
        .start();
    let answer = gateway.get("/", &[("x-user-id", "demo"), ("x-forwarded-for", "10.1.1.1")]);
    answer.expect(200, "control");
    assert_eq!((answer.get("x-pointsman-arm"), answer.get("server-timing")), (None, None), "told to a stranger");
    let seen = pair.control.only_request();
    assert_eq!(seen.head.get("x-user-id"), None);
    assert_eq!(seen.head.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(gateway.line_of(&answer)["reason"], "no_key");
}

#[test]
fn a_tester_chooses_the_arm_with_the_key_and_only_with_it() {
    let pair = Pair::new();
    let gateway = pair.start("override = { key = \"open-sesame\" }\nrollout.percent = 0");
    let rows = [
        ("candidate open-sesame", "candidate", "override"),
        ("control open-sesame", "control", "override"),
        ("candidate open-sesam", "control", "rollout"),
        ("candidate", "control", "rollout"),
        ("nobody open-sesame", "control", "rollout"),
    ];
    for (value, arm, reason) in rows {
        check(&gateway, "/", &[("x-user-id", "u"), ("x-pointsman-override", value)], arm, reason);
    }
    let secrets = |upstream: &Upstream| {
        upstream.requests().iter().flat_map(|seen| seen.head.fields.clone()).any(|(_, value)| value.contains("sesam"))
    };
    assert!(!secrets(&pair.control) && !secrets(&pair.candidate), "the key went to an upstream");
}

#[test]
fn rules_of_the_file_come_in_their_order() {
    let pair = Pair::new();
    let rows = [
        ("rollout.percent = 100", "candidate", "rollout"),
        ("rollout.percent = 0", "control", "rollout"),
        ("forced = \"candidate\"", "candidate", "forced"),
        ("forced = \"control\"\nrollout.percent = 100", "control", "forced"),
        ("enabled = false\nforced = \"candidate\"\nrollout.percent = 100", "control", "disabled"),
        ("targets = { candidate = [\"u\"] }", "candidate", "target"),
        ("targets = { control = [\"u\"] }\nrollout.percent = 100", "control", "target"),
        ("holdout = 100\nrollout.percent = 100", "control", "holdout"),
    ];
    for (keys, arm, reason) in rows {
        check(&pair.start(keys), "/", &[("x-user-id", "u")], arm, reason);
    }
}

#[test]
fn no_variable_in_any_layer_undoes_a_kill_switch() {
    let pair = Pair::new();
    let gateway = Setup::candidate(&pair.control.url(), &pair.candidate.url(), "")
        .environment("POINTSMAN__ROUTES__ALL__ENABLED", "false")
        .start();
    check(&gateway, "/", &[("x-user-id", "u")], "control", "disabled");
}

#[test]
fn an_unset_candidate_is_off() {
    let pair = Pair::new();
    let gateway = Setup::candidate(&pair.control.url(), "", "").start();
    check(&gateway, "/", &[("x-user-id", "u")], "control", "disabled");
}

#[test]
fn who_is_told_the_arm_is_up_to_the_route() {
    let pair = Pair::new();
    for (expose, trusted, told) in
        [("trusted", true, true), ("trusted", false, false), ("always", false, true), ("never", true, false)]
    {
        let setup = Setup::route(&pair.control.url(), &pair.candidate.url(), &format!("expose = {expose:?}"));
        let gateway = if trusted { setup } else { setup.top("listen.trusted_proxies = []") }.start();
        let answer = gateway.get("/", &[]);
        for name in ["x-pointsman-arm", "x-pointsman-reason", "server-timing"] {
            assert_eq!(answer.get(name).is_some(), told, "{expose} {trusted} {name}");
        }
    }
}
