//! Conditions on who asks, through the whole program.

use crate::support::{Gateway, Setup, Upstream};

const CONTEXTS: &str = r#"
[contexts.user]
key = [{ header = "x-user-id" }]
tier = { header = "x-user-tier" }
beta = { cookie = "beta", type = "boolean" }
age = { query = "age", type = "number" }
[contexts.request]
tenant = { path_segment = 1 }
address = { client_ip = true }
"#;

const KEYS: &str = r#"
eligible = { not = { request.tenant = "closed" } }
rules = [
  { name = "outside", if = { not = { request.address = { cidr = ["127.0.0.0/8", "::1"] } } }, serve = "control" },
  { name = "premium", if = { user.tier = "premium" }, serve = "candidate" },
  { name = "beta", if = { user.beta = true, user.age = { gte = 18 } }, percent = 100 },
]
"#;

fn start(top: &str) -> (Upstream, Upstream, Gateway) {
    let (control, candidate) = (Upstream::saying("control"), Upstream::saying("candidate"));
    let setup = Setup::route(&control.url(), &candidate.url(), KEYS).with(CONTEXTS).top(top);
    let gateway = setup.start();
    (control, candidate, gateway)
}

#[test]
fn attributes_of_the_request_decide() {
    let (_control, _candidate, gateway) = start("");
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, &'a str);
    let rows: [Row<'_>; 8] = [
        ("/open", &[("x-user-tier", "premium")], "candidate", "rule"),
        ("/open", &[("x-user-tier", "trial")], "control", "rollout"),
        ("/closed/x", &[("x-user-tier", "premium")], "control", "condition"),
        ("/open?age=18", &[("cookie", "beta=true")], "candidate", "rule"),
        ("/open?age=17", &[("cookie", "beta=true")], "control", "rollout"),
        ("/open?age=old", &[("cookie", "beta=true")], "control", "rollout"),
        ("/open", &[("x-user-tier", "premium"), ("x-forwarded-for", "8.8.8.8")], "control", "rule"),
        // Without a first segment nothing is known of the tenant, and `not unknown` is unknown.
        ("/", &[("x-user-tier", "premium")], "control", "condition"),
    ];
    for (target, fields, arm, reason) in rows {
        let fields: Vec<(&str, &str)> = fields.iter().copied().chain([("x-user-id", "u")]).collect();
        let answer = gateway.get(target, &fields);
        answer.expect(200, arm);
        assert_eq!(answer.get("x-pointsman-reason"), Some(reason), "{target} {fields:?}");
    }
}

#[test]
fn headers_of_an_untrusted_peer_are_no_attributes() {
    let (_control, _candidate, gateway) = start("listen.trusted_proxies = []");
    let answer = gateway.get("/open", &[("x-user-tier", "premium")]);
    answer.expect(200, "control");
    assert_eq!(gateway.line_of(&answer)["reason"], "no_key");
}
