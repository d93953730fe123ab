//! Exposure tokens: who gets one, what it says, and that keys can be replaced.

use serde_json::{Value, json};

use crate::support::{Answer, Gateway, Setup, Upstream, eventually};

const HEADER: &str = "x-pointsman-exposure";
const TOKEN: &str = "[admin.tokens.shop]\nrole = \"events\"\ntoken = \"shop-token-0123456789\"\n";

fn setup(upstream: &Upstream, exposure: &str) -> Setup {
    let keys = format!("rollout.percent = 50\nmissing_key = \"control\"\n{TOKEN}{exposure}");
    Setup::route(&upstream.url(), &upstream.url(), &keys).top("state.store = \"sqlite:pointsman.db\"")
}

fn post(gateway: &Gateway, event: &Value) -> Answer {
    let fields = [
        ("host", "localhost"),
        ("authorization", "Bearer shop-token-0123456789"),
        ("content-type", "application/json"),
    ];
    gateway.admin_client().request("POST", "/v1/events", &fields, event.to_string().as_bytes())
}

#[test]
fn client_and_backend_get_the_token_and_events_with_it_find_their_arm() {
    let upstream = Upstream::saying("ok");
    let gateway =
        setup(&upstream, "[exposure]\nkeys = [\"a long enough secret\"]\ncookie = \"pm\"\nmax_age = \"2h\"").start();
    let connection = rusqlite::Connection::open(gateway.beside("pointsman.db")).unwrap();
    let mut arms = std::collections::BTreeSet::new();
    for n in 0..12 {
        let user = format!("user-{n}");
        let answer = gateway.get("/", &[("x-user-id", &user), (HEADER, "forged"), ("connection", HEADER)]);
        let token = answer.get(HEADER).unwrap();
        let seen = upstream.requests().pop().unwrap();
        assert_eq!(seen.head.get(HEADER), Some(token), "the backend knows it, too");
        let cookie = answer.get("set-cookie").unwrap();
        assert_eq!(cookie, format!("pm.all={token}; Path=/; Max-Age=7200; SameSite=Lax"));
        let event = json!({"name": "n", "id": user, "exposure": token});
        post(&gateway, &event).expect(202, r#"{"stored":1,"duplicates":0}"#);
        let line = gateway.line_of(&answer);
        let (route, arm, randomised): (String, u8, f64) = connection
            .query_row("SELECT route, arm, randomised FROM events WHERE id = ?", [&user], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .unwrap();
        assert_eq!((route.as_str(), randomised), ("all", 50.0));
        assert_eq!(line["assigned"], ["control", "candidate"][usize::from(arm)]);
        arms.insert(arm);
    }
    assert_eq!(arms.len(), 2, "both arms were seen");
}

#[test]
fn without_a_key_there_is_no_token_and_a_clients_own_goes_no_further() {
    let upstream = Upstream::saying("ok");
    let gateway = setup(&upstream, "[exposure]\nkeys = [\"a long enough secret\"]\nheader = \"x-mine\"").start();
    let answer = gateway.get("/", &[("x-mine", "forged")]);
    assert_eq!((answer.get("x-mine"), answer.get("set-cookie")), (None, None));
    assert_eq!(upstream.requests().pop().unwrap().head.get("x-mine"), None);
    let plain = setup(&upstream, "").start();
    let answer = plain.get("/", &[("x-user-id", "u"), (HEADER, "whatever")]);
    assert_eq!(answer.get(HEADER), None);
    assert_eq!(upstream.requests().pop().unwrap().head.get(HEADER), Some("whatever"), "no business of ours");
}

#[test]
fn a_client_over_https_gets_a_secure_cookie() {
    let upstream = Upstream::saying("ok");
    let gateway = setup(&upstream, "[exposure]\nkeys = [\"a long enough secret\"]\ncookie = \"pm\"").start();
    let answer = gateway.get("/", &[("x-user-id", "u"), ("x-forwarded-proto", "https")]);
    assert!(answer.get("set-cookie").unwrap().ends_with("; SameSite=Lax; Secure"), "{answer:?}");
}

#[test]
fn keys_are_replaced_without_losing_an_event() {
    let upstream = Upstream::saying("ok");
    let with = |keys: &str| setup(&upstream, &format!("[exposure]\nkeys = {keys}"));
    let gateway = with("[\"the old secret key\"]").start();
    let token = gateway.get("/", &[("x-user-id", "u")]).get(HEADER).unwrap().to_owned();
    let send = |token: &str| post(&gateway, &json!({"name": "n", "exposure": token})).status;
    let generation = |expected: f64| {
        eventually("the reload", || {
            let text = gateway.admin_client().get("/metrics", &[("host", "localhost")]).text();
            text.contains(&format!("generation=\"{expected}\"")).then_some(())
        });
    };
    gateway.rewrite(&with("[\"the new secret key\", \"the old secret key\"]"));
    gateway.signal("HUP");
    generation(2.0);
    assert_eq!(send(&token), 202, "the old key still verifies");
    let newer = gateway.get("/", &[("x-user-id", "u")]).get(HEADER).unwrap().to_owned();
    assert_ne!(newer[1..10], token[1..10], "the new key signs");
    gateway.rewrite(&with("[\"the new secret key\"]"));
    gateway.signal("HUP");
    generation(3.0);
    assert_eq!((send(&token), send(&newer)), (400, 202));
    assert_eq!(gateway.count(r#"pointsman_exposure_rejected_total{reason="foreign"}"#), 1.0);
}
