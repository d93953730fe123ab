//! Claims of signed tokens as attributes and keys, through the whole program.

use std::fs;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::token::{RSA_PUBLIC, Signer, base64};
use crate::support::upstream::{Refusing, ok};
use crate::support::{Conversation, Gateway, Setup, Upstream, eventually};

const SECRET: &str = "a secret that is at least 32 bytes long";

const CONTEXTS: &str = r#"
[contexts.user]
key = [{ jwt = "/sub" }, { header = "x-user-id" }]
[contexts.organization]
industry = { jwt = "/org/industry" }
seats = { jwt = "/org/seats", type = "number" }
roles = { jwt = "/roles", type = "list" }
since = { jwt = "/since", type = "timestamp" }
"#;

const KEYS: &str = r#"
targets = { candidate = ["friend"] }
rules = [
  { name = "logistics", if = { organization.industry = "logistics" }, serve = "candidate" },
  { name = "large", if = { organization.seats = { gte = 500 } }, serve = "candidate" },
  { name = "testers", if = { organization.roles = { contains = "tester" } }, serve = "candidate" },
  { name = "old", if = { organization.since = { before = 2020-01-01T00:00:00Z } }, serve = "candidate" },
]
"#;

const SHARED: &str = r#"
[jwt]
algorithms = ["HS256"]
issuer = "https://issuer.example"
audience = ["answers"]
keys.shared = { algorithm = "HS256", secret = "a secret that is at least 32 bytes long" }
"#;

/// Far away.
const LATER: i64 = 4_000_000_000;

/// Claims that hold, and more.
fn claims(more: &Value) -> Value {
    let mut claims = json!({"iss": "https://issuer.example", "aud": "answers", "sub": "u", "exp": LATER});
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// A token that leads to the candidate.
fn logistics(signer: &Signer, kid: &str) -> String {
    signer.token(kid, &claims(&json!({"org": {"industry": "logistics"}})))
}

struct House {
    control: Upstream,
    candidate: Upstream,
    gateway: Gateway,
}

impl House {
    /// A gateway with these tables and keys before every table.
    fn start(jwt: &str, top: &str) -> Self {
        let (control, candidate) = (Upstream::saying("control"), Upstream::saying("candidate"));
        let gateway = setup(&control, &candidate, jwt).top(top).start();
        Self { control, candidate, gateway }
    }

    /// Who answers a request with this token.
    #[track_caller]
    fn ask(&self, token: &str) -> String {
        let answer = self.gateway.get("/", &[("authorization", &format!("Bearer {token}"))]);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text()
    }

    #[track_caller]
    fn await_arm(&self, token: &str, arm: &str) {
        eventually(&format!("{arm} answers"), || (self.ask(token) == arm).then_some(()));
    }

    fn rejected(&self, reason: &str) -> f64 {
        self.gateway.metric(&format!("pointsman_jwt_rejected_total{{reason=\"{reason}\"}}")).unwrap()
    }
}

fn setup(control: &Upstream, candidate: &Upstream, jwt: &str) -> Setup {
    Setup::route(&control.url(), &candidate.url(), KEYS).with(CONTEXTS).with(jwt)
}

#[test]
fn claims_decide_and_split() {
    let house = House::start(SHARED, "");
    let signer = Signer::hs256(SECRET);
    let rows = [
        (json!({}), "control", "rollout"),
        (json!({"org": {"industry": "logistics"}}), "candidate", "rule"),
        (json!({"org": {"industry": "steel", "seats": 500}}), "candidate", "rule"),
        (json!({"org": {"seats": 499.5}}), "control", "rollout"),
        (json!({"org": {"seats": "many"}}), "control", "rollout"),
        (json!({"roles": ["admin", "tester"]}), "candidate", "rule"),
        (json!({"since": 1_500_000_000}), "candidate", "rule"),
        (json!({"since": "2019-12-31T23:59:59Z"}), "candidate", "rule"),
        (json!({"sub": "friend"}), "candidate", "target"),
        (json!({"sub": null}), "control", "no_key"),
        (json!({"sub": "x".repeat(5_000)}), "control", "no_key"),
    ];
    for (more, arm, reason) in rows {
        let token = signer.token("shared", &claims(&more));
        for _again in 0..2 {
            let answer = house.gateway.get("/", &[("authorization", &format!("Bearer {token}"))]);
            answer.expect(200, arm);
            assert_eq!(answer.get("x-pointsman-reason"), Some(reason), "{more}");
            let user = more.get("sub").map_or(json!("u"), Value::clone);
            let line = house.gateway.line_of(&answer);
            assert_eq!(line["user"], if reason == "no_key" { Value::Null } else { user }, "{line}");
        }
    }
    assert!(house.control.requests().iter().all(|seen| seen.head.get("authorization").is_none()));
    assert_eq!(house.gateway.metric("pointsman_unreadable_attributes_total"), Some(2.0));
}

#[test]
fn what_does_not_hold_is_as_if_it_were_not_there() {
    let house = House::start(SHARED, "");
    let (signer, thief) = (Signer::hs256(SECRET), Signer::hs256("another secret that has 32 bytes, too"));
    let friend = |more: Value| {
        let mut claims = claims(&json!({"sub": "friend"}));
        more.as_object().unwrap().iter().for_each(|(name, value)| claims[name] = value.clone());
        claims
    };
    let good = signer.token("shared", &friend(json!({})));
    let (message, _) = good.rsplit_once('.').unwrap();
    let (_, payload) = message.split_once('.').unwrap();
    let rows = [
        (signer.token("shared", &friend(json!({"exp": 1_000_000_000}))), "expired"),
        (signer.token("shared", &friend(json!({"nbf": LATER}))), "not_yet_valid"),
        (signer.token("shared", &friend(json!({"iss": "https://somebody.else"}))), "issuer"),
        (signer.token("shared", &friend(json!({"aud": ["others"]}))), "audience"),
        (
            signer.token("shared", &json!({"sub": "friend", "iss": "https://issuer.example", "aud": "answers"})),
            "no_expiry",
        ),
        (thief.token("shared", &friend(json!({}))), "signature"),
        (signer.token("unheard-of", &friend(json!({}))), "unknown_key"),
        (Signer::rs256().token("shared", &friend(json!({}))), "algorithm"),
        (format!("{}.{payload}.", base64(r#"{"alg":"none"}"#)), "algorithm"),
        (message.to_owned(), "malformed"),
        ("opaque".to_owned(), "malformed"),
        (format!("{good}{}", "A".repeat(9_000)), "too_large"),
    ];
    for (token, reason) in &rows {
        let before = house.rejected(reason);
        let bearer = format!("Bearer {token}");
        let answer = house.gateway.get("/", &[("authorization", &bearer)]);
        answer.expect(200, "control");
        assert_eq!(answer.get("x-pointsman-reason"), Some("no_key"), "{reason}");
        assert_eq!(house.rejected(reason), before + 1.0, "{reason}");
        let answer = house.gateway.get("/", &[("authorization", &bearer), ("x-user-id", "friend")]);
        assert_eq!(answer.get("x-pointsman-reason"), Some("target"), "{reason}: the next source counts");
    }
    assert_eq!(house.ask(&good), "candidate");
    let told = format!("{} {:?}", house.gateway.stderr(), house.gateway.access_lines());
    for (token, reason) in &rows {
        let end = &token[token.len().saturating_sub(30)..];
        assert!(!told.contains(end), "{reason}: {told}");
    }
    assert!(!told.contains(payload), "{told}");
}

#[test]
fn claims_count_from_peers_that_are_not_trusted() {
    let house = House::start(SHARED, "listen.trusted_proxies = []");
    assert_eq!(house.ask(&logistics(&Signer::hs256(SECRET), "shared")), "candidate");
}

#[test]
fn a_token_may_come_in_a_cookie_or_a_header_of_its_own() {
    let token = logistics(&Signer::hs256(SECRET), "shared");
    let jwt = SHARED.replace("[jwt]", "[jwt]\nheader = \"x-token\"\ncookie = \"session\"");
    let house = House::start(&jwt, "");
    let (cookie, bearer) = (format!("a=b; session={token}"), format!("Bearer {token}"));
    let rows =
        [("x-token", &token, "candidate"), ("cookie", &cookie, "candidate"), ("authorization", &bearer, "control")];
    for (name, value, arm) in rows {
        house.gateway.get("/", &[(name, value)]).expect(200, arm);
    }
    let seen = house.candidate.requests();
    assert!(
        seen.iter().all(|seen| seen.head.get("x-token").is_none() && seen.head.get("cookie").is_none()),
        "{seen:?}"
    );
}

#[test]
fn a_route_that_looks_at_no_claim_verifies_none() {
    let other = "[contexts.session]\nkey = [{ cookie = \"sid\" }]\n[routes.plain]\npath = \"/plain\"\n\
                 control = \"control\"\ncandidate = \"candidate\"\nsplit_by = \"session\"\n";
    let house = House::start(&format!("{SHARED}{other}"), "");
    let bearer = [("authorization", "Bearer nonsense")];
    house.gateway.get("/plain", &bearer).expect(200, "control");
    assert_eq!(house.rejected("malformed"), 0.0);
    house.gateway.get("/", &bearer).expect(200, "control");
    assert_eq!(house.rejected("malformed"), 1.0);
}

#[test]
fn public_keys_come_from_files_and_change_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (ec, ed, rsa) = (Signer::es256(), Signer::eddsa(), Signer::rs256());
    for (name, pem) in [("ec.pem", ec.pem()), ("ed.pem", ed.pem()), ("rsa.pem", RSA_PUBLIC.to_owned())] {
        fs::write(path(name), pem).unwrap();
    }
    let jwt = format!(
        "[jwt]\nalgorithms = [\"RS256\", \"ES256\", \"EdDSA\"]\n\
         keys.rsa = {{ algorithm = \"RS256\", public_key = {{ file = {:?} }} }}\n\
         keys.ec = {{ algorithm = \"ES256\", public_key = {{ file = {:?} }} }}\n\
         keys.ed = {{ algorithm = \"EdDSA\", kid = \"2026\", public_key = {{ file = {:?} }} }}\n",
        path("rsa.pem"),
        path("ec.pem"),
        path("ed.pem")
    );
    let house = House::start(&jwt, "");
    for (signer, kid) in [(&rsa, "rsa"), (&ec, "ec"), (&ed, "2026")] {
        assert_eq!(house.ask(&logistics(signer, kid)), "candidate", "{kid}");
    }
    let thief = Signer::hs256(RSA_PUBLIC).token("rsa", &claims(&json!({"sub": "friend"})));
    assert_eq!(house.ask(&thief), "control");
    let successor = Signer::es256();
    fs::write(path("fresh"), successor.pem()).unwrap();
    fs::rename(path("fresh"), path("ec.pem")).unwrap();
    house.await_arm(&logistics(&successor, "ec"), "candidate");
    assert_eq!(house.ask(&logistics(&ec, "ec")), "control");
    assert_eq!(house.ask(&logistics(&rsa, "rsa")), "candidate");
}

/// What an issuer publishes.
type Keys = Arc<Mutex<Vec<Value>>>;

fn issuer(keys: &Keys) -> impl Fn(&mut Conversation) + Send + Sync + 'static {
    let keys = Arc::clone(keys);
    move |conversation| {
        while conversation.request().is_some() {
            let document = json!({ "keys": *keys.lock().unwrap() }).to_string();
            if !conversation.try_write(ok(&document)) {
                return;
            }
        }
    }
}

fn published(url: &str, refresh: &str) -> String {
    format!(
        "[jwt]\nalgorithms = [\"RS256\", \"ES256\", \"EdDSA\"]\n\
         jwks = {{ url = \"{url}/keys\", refresh = {refresh:?}, timeout = \"2s\" }}\n"
    )
}

#[test]
fn published_keys_rotate_without_a_restart() {
    let (old, new) = (Signer::es256(), Signer::rs256());
    let keys: Keys = Arc::new(Mutex::new(vec![old.jwk("old")]));
    let server = Upstream::scripted(issuer(&keys));
    // An hour: whatever is fetched after the start was asked for by a token of an unknown key.
    let house = House::start(&published(&server.url(), "1h"), "");
    eventually("the first key", || house.gateway.metric("pointsman_jwks_keys").filter(|keys| *keys == 1.0));
    assert_eq!(house.ask(&logistics(&old, "old")), "candidate");
    assert!(house.gateway.metric("pointsman_jwks_last_success_timestamp_seconds").unwrap() > 1.7e9);
    *keys.lock().unwrap() = vec![new.jwk("new"), Signer::eddsa().jwk("spare")];
    house.await_arm(&logistics(&new, "new"), "candidate");
    assert_eq!(house.ask(&logistics(&old, "old")), "control", "the old key went with the refresh");
    assert_eq!(house.gateway.metric("pointsman_jwks_keys"), Some(2.0));
    assert!(server.requests().iter().all(|seen| seen.head.start == "GET /keys HTTP/1.1"));
    for _ in 0..20 {
        house.ask(&logistics(&Signer::es256(), "unheard-of"));
    }
    assert!(server.heads() <= 3, "unknown keys ask at most every ten seconds: {}", server.heads());
}

#[test]
fn published_keys_are_refreshed_by_themselves() {
    let signer = Signer::eddsa();
    let keys: Keys = Arc::new(Mutex::new(vec![signer.jwk("k")]));
    let server = Upstream::scripted(issuer(&keys));
    let house = House::start(&published(&server.url(), "1s"), "");
    house.await_arm(&logistics(&signer, "k"), "candidate");
    keys.lock().unwrap().clear();
    // Nobody asks for an unknown key: what changes, changes by the clock.
    eventually("the key is gone", || house.gateway.metric("pointsman_jwks_keys").filter(|keys| *keys == 0.0));
    assert_eq!(house.ask(&logistics(&signer, "k")), "control");
}

#[test]
fn an_issuer_that_is_down_at_the_start_is_tried_again_and_its_keys_outlive_it() {
    let refusing = Refusing::new();
    let signer = Signer::es256();
    let jwt = published(&refusing.url(), "1h");
    let house = House::start(&jwt, "");
    let token = logistics(&signer, "k");
    eventually("the failure is counted", || {
        house.gateway.metric("pointsman_jwks_refreshes_total{result=\"failure\"}").filter(|count| *count >= 1.0)
    });
    assert_eq!(house.ask(&token), "control");
    let keys: Keys = Arc::new(Mutex::new(vec![signer.jwk("k")]));
    let server = refusing.open(issuer(&keys));
    house.await_arm(&token, "candidate");
    drop(server);
    // A reload keeps what was fetched, with the same settings and with others of the same URL.
    for (number, refresh) in ["1h", "1s"].into_iter().enumerate() {
        let changed = jwt.replace("1h", refresh);
        let with = format!("[routes.flag{number}]\ncontrol = \"control\"\ncandidate = \"candidate\"\n");
        house.gateway.rewrite(&setup(&house.control, &house.candidate, &changed).with(&with));
        eventually("the reload", || {
            house.gateway.metric(&format!("pointsman_route_enabled{{route=\"flag{number}\"}}"))
        });
        assert_eq!(house.ask(&token), "candidate", "{refresh}");
    }
    eventually("failures", || {
        house.gateway.metric("pointsman_jwks_refreshes_total{result=\"failure\"}").filter(|count| *count >= 2.0)
    });
    assert_eq!(house.ask(&token), "candidate", "failures take nothing away");
}

#[test]
fn answers_that_are_no_keys_take_nothing_away() {
    let signer = Signer::es256();
    let answer = Arc::new(Mutex::new(ok(&json!({"keys": [signer.jwk("k")]}).to_string())));
    let said = Arc::clone(&answer);
    let server = Upstream::answering(move |_| said.lock().unwrap().clone());
    let jwt = published(&server.url(), "1s").replace("timeout", "max_bytes = \"1KiB\", timeout");
    let house = House::start(&jwt, "");
    let token = logistics(&signer, "k");
    house.await_arm(&token, "candidate");
    let failures = || house.gateway.metric("pointsman_jwks_refreshes_total{result=\"failure\"}").unwrap();
    let long = json!({"keys": [], "padding": "x".repeat(2_000)}).to_string();
    let bad: [Vec<u8>; 4] = [
        ok("no JSON"),
        ok(&long),
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"keys\":[]}".to_vec(),
    ];
    for bytes in bad {
        let before = failures();
        *answer.lock().unwrap() = bytes.clone();
        eventually("the failure", || (failures() >= before + 1.0).then_some(()));
        assert_eq!(house.ask(&token), "candidate", "{}", String::from_utf8_lossy(&bytes));
    }
}
