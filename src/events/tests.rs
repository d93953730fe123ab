//! What is taken, what is refused and how it is told, and where events belong; on stores in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::*;
use crate::config::load_text;
use crate::domain::Arm;
use crate::domain::assignment::Digest;
use crate::store::memory::Memory;
use crate::store::{
    Appended, Checkpoint, Entry, EventQuery, HistoryQuery, Page, Sample, SampleQuery, State, StateChange, StateVersion,
    Store, UserHash,
};

const FILE: &str = r#"
[log]
user_hash_secret = "a secret of some length"
[exposure]
keys = ["a long enough secret"]
[events]
public = true
burst = 5
[contexts.user]
key = [{ header = "x-user-id" }]
tier = { header = "x-tier" }
age = { header = "x-age", type = "number" }
[contexts.session]
key = [{ cookie = "sid" }]
[backends.a]
respond = { body = "a" }
[backends.b]
respond = { body = "b" }
"#;
const ROUTE: &str = r#"
[routes.answers]
path = "/"
control = "a"
candidate = "b"
rollout = { percent = 50 }
fallback = { replay = "connect" }
rules = [{ name = "premium", if = { user.tier = "premium" }, percent = 100 }]
"#;
const OTHER: &str = r#"
[routes.search]
path = "/search"
control = "a"
candidate = "b"
split_by = "session"
rollout = { percent = 50 }
fallback = { replay = "connect" }
"#;

fn now() -> Timestamp {
    "2026-11-20T08:00:00Z".parse().unwrap()
}

fn intake_of(text: &str, store: Arc<dyn Store>) -> Intake {
    let loaded = load_text(text, "gateway.toml", &BTreeMap::new()).unwrap_or_else(|report| panic!("{report}"));
    let live = Live::new(loaded, 1, tokio::runtime::Handle::current()).unwrap();
    let attached = Arc::new(Attached::default());
    attached.attach(store, 0);
    Intake::new(live, attached)
}

fn intake(routes: &str) -> Intake {
    intake_of(&format!("{FILE}{routes}"), Arc::new(Memory::default()))
}

fn prepare(intake: &Intake, body: &Value) -> Prepared {
    intake.prepare(&intake.live.snapshot(), body.to_string().as_bytes(), &Sender::Trusted, now())
}

fn one(intake: &Intake, event: &Value) -> Event {
    prepare(intake, event).unwrap_or_else(|outcome| panic!("{outcome:?}")).remove(0)
}

/// Index, field and the beginning of the reason of every mistake.
fn mistakes(prepared: Prepared) -> Vec<(usize, String, String)> {
    let Err(Outcome::Bad { mistakes, .. }) = prepared else { panic!("{prepared:?}") };
    mistakes.into_iter().map(|mistake| (mistake.index, mistake.field, mistake.reason)).collect()
}

fn token(intake: &Intake, route: usize, key: &str, at: Timestamp) -> String {
    let snapshot = intake.live.snapshot();
    let policy = &snapshot.config().routes[route].policy;
    let asks = crate::domain::context::Contexts::of_key(policy.split_by, key);
    let decision = crate::domain::decision::decide(policy, &asks, &crate::domain::decision::Health::WELL);
    snapshot.exposure_token(route, &decision, at).unwrap().to_string()
}

#[tokio::test]
async fn three_shapes_of_a_body_are_read() {
    let intake = intake(ROUTE);
    let event = json!({"name": "n"});
    for (body, expected) in [
        (event.clone(), 1),
        (json!([event, event]), 2),
        (json!({"events": [event, event, event]}), 3),
        (json!([]), 0),
        (json!({"events": []}), 0),
    ] {
        assert_eq!(prepare(&intake, &body).unwrap().len(), expected, "{body}");
    }
}

#[tokio::test]
async fn a_whole_event_is_kept_as_it_was_sent() {
    let intake = intake(ROUTE);
    let sent = json!({
        "id": "e-1", "name": "chatbot.message.sent", "user": "user123", "value": -1e300, "route": "answers",
        "data": {"sql": "'; DROP TABLE events; --", "nul": "\u{0}", "n": [1, 2.5, null]},
        "timestamp": "2026-11-20T07:59:00.5+00:00",
    });
    let event = one(&intake, &sent);
    assert_eq!((&*event.id, &*event.name, event.value), ("e-1", "chatbot.message.sent", Some(-1e300)));
    assert_eq!(event.at.to_string(), "2026-11-20T07:59:00.5Z");
    assert_eq!(event.received_at, now());
    assert_eq!(serde_json::from_str::<Value>(&event.data).unwrap(), sent["data"]);
    let digest = Digest::of(b"user123", b"answers");
    let to = event.attribution.unwrap();
    assert_eq!((&*to.route, to.arm, to.randomised, to.rule), ("answers", Arm::Candidate, Some(50.0), None));
    assert_eq!((to.bucket, to.sample), (digest.statistical_bucket(), digest.user_sample()));
    assert_eq!(to.phase, intake.live.snapshot().phases[0].0);
    assert_eq!(event.user, Some(UserHash(crate::domain::user::hash(b"a secret of some length", "user123"))));
    let bare = one(&intake, &json!({"name": "n", "user": null, "value": null, "data": null, "id": null}));
    assert_eq!((bare.user, bare.value, &*bare.data, bare.attribution), (None, None, "", None));
    assert_eq!((bare.at, bare.id.len()), (now(), 36), "now, and a UUID");
}

#[tokio::test]
async fn every_mistake_is_told_with_its_index() {
    let intake = intake(ROUTE);
    let deep = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    let letters = |count: usize| "é".repeat(count);
    let rows = [
        (json!({}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": letters(129)}), "name"),
        (json!({"name": "a b"}), "name"),
        (json!({"name": "a\u{7}"}), "name"),
        (json!({"name": 7}), "name"),
        (json!({"name": "n", "id": letters(65)}), "id"),
        (json!({"name": "n", "id": 7}), "id"),
        (json!({"name": "n", "user": ""}), "user"),
        (json!({"name": "n", "user": "u".repeat(257)}), "user"),
        (json!({"name": "n", "user": ["u"]}), "user"),
        (json!({"name": "n", "value": "12"}), "value"),
        (json!({"name": "n", "value": true}), "value"),
        (json!({"name": "n", "data": "x".repeat(16 << 10)}), "data"),
        (json!({"name": "n", "data": deep(33)}), "data"),
        (json!({"name": "n", "timestamp": 1_795_161_600}), "timestamp"),
        (json!({"name": "n", "timestamp": "yesterday"}), "timestamp"),
        (json!({"name": "n", "timestamp": "2026-11-20"}), "timestamp"),
        (json!({"name": "n", "timestamp": "2026-11-20T08:05:01Z"}), "timestamp"),
        (json!({"name": "n", "timestamp": "2026-08-22T07:59:59Z"}), "timestamp"),
        (json!({"name": "n", "route": "nowhere"}), "route"),
        (json!({"name": "n", "contexts": "premium"}), "contexts"),
        (json!({"name": "n", "exposure": "nonsense"}), "exposure"),
        (json!({"name": "n", "vaule": 1}), "\"vaule\""),
        (json!("n"), ""),
        (json!(null), ""),
        (json!([]), ""),
    ];
    let batch: Vec<Value> = rows.iter().map(|(event, _)| event.clone()).collect();
    let found = mistakes(prepare(&intake, &Value::Array(batch)));
    let expected: Vec<(usize, &str)> = rows.iter().enumerate().map(|(index, (_, field))| (index, *field)).collect();
    assert_eq!(
        found.iter().map(|(index, field, _)| (*index, field.as_str())).collect::<Vec<_>>(),
        expected,
        "{found:#?}"
    );
    assert!(found.iter().all(|(_, _, reason)| !reason.is_empty() && reason.len() < 200), "{found:#?}");
    let counted: Vec<_> = intake.results().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [("refused", rows.len() as u64)]);
    let good = [
        json!({"name": letters(128), "id": letters(64), "user": "u".repeat(256)}),
        json!({"name": "n", "data": deep(32)}),
        json!({"name": "n", "data": "x".repeat((16 << 10) - 2)}),
        json!({"name": "n", "value": -7}),
        json!({"name": "n", "timestamp": "2026-11-20T09:05:00+01:00"}),
        json!({"name": "n", "timestamp": "2026-08-22T08:00:00Z"}),
    ];
    for event in good {
        one(&intake, &event);
    }
}

#[tokio::test]
async fn what_is_no_batch_is_refused_as_a_whole() {
    let intake = intake(ROUTE);
    let many = json!(vec![json!({"name": "n"}); MAX_BATCH + 1]).to_string();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bodies = [
        "",
        "7",
        "null",
        "\"n\"",
        "{",
        "[{\"name\": \"n\"},]",
        "{\"events\": 7}",
        "{\"events\": {}}",
        "{\"name\": \"n\", \"value\": NaN}",
        "{\"name\": \"n\", \"value\": 1e400}",
        "{\"name\": \"\\ud800\"}",
        &many,
        &deep,
        "\u{feff}[]",
    ];
    for body in bodies {
        let refused = intake.prepare(&intake.live.snapshot(), body.as_bytes(), &Sender::Trusted, now());
        assert!(matches!(refused, Err(Outcome::Invalid(_))), "{} {refused:?}", &body[..body.len().min(40)]);
    }
    let refused = intake.prepare(&intake.live.snapshot(), &[0xff, 0xfe], &Sender::Trusted, now());
    assert!(matches!(refused, Err(Outcome::Invalid(_))), "{refused:?}");
}

#[tokio::test]
async fn tokens_say_where_an_event_belongs() {
    let intake = intake(&format!("{ROUTE}{OTHER}"));
    let fresh = token(&intake, 0, "user123", now());
    let event = one(&intake, &json!({"name": "n", "exposure": fresh, "user": "somebody"}));
    let to = event.attribution.unwrap();
    assert_eq!((&*to.route, to.arm, to.randomised), ("answers", Arm::Candidate, Some(50.0)));
    assert_eq!(to.bucket, Digest::of(b"user123", b"answers").statistical_bucket());
    assert!(event.user.is_some());
    one(&intake, &json!({"name": "n", "exposure": fresh, "route": "answers"}));
    let found = mistakes(prepare(&intake, &json!({"name": "n", "exposure": fresh, "route": "search"})));
    assert_eq!(found[0].1, "route");
    let old = token(&intake, 0, "user123", "2026-11-13T07:59:59Z".parse().unwrap());
    let mut forged = fresh.clone();
    forged.replace_range(20..21, if &forged[20..21] == "A" { "B" } else { "A" });
    let elsewhere =
        intake_of(&format!("{}{ROUTE}", FILE.replace("a long enough", "quite another")), Arc::new(Memory::default()));
    let renamed = intake_of(&format!("{FILE}{}", ROUTE.replace("answers", "replies")), Arc::new(Memory::default()));
    let rows = [
        (old, "old"),
        (forged, "forged"),
        (token(&elsewhere, 0, "user123", now()), "foreign"),
        (token(&renamed, 0, "user123", now()), "foreign"),
        ("x".repeat(78), "malformed"),
    ];
    for (token, reason) in rows {
        let before: BTreeMap<_, _> = intake.rejected().collect();
        let found = mistakes(prepare(&intake, &json!([{"name": "good"}, {"name": "n", "exposure": token}])));
        assert_eq!((found[0].0, found[0].1.as_str()), (1, "exposure"), "{reason}");
        let after: BTreeMap<_, _> = intake.rejected().collect();
        assert_eq!(after[reason], before[reason] + 1, "{reason} {found:?}");
    }
}

#[tokio::test]
async fn without_a_token_the_route_that_is_meant_decides() {
    let several = intake(&format!("{ROUTE}{OTHER}"));
    let route = |event: &Value| one(&several, event).attribution.map(|to| to.route.to_string());
    let rows = [
        (json!({"name": "n", "user": "u"}), None),
        (json!({"name": "n", "user": "u", "route": "answers"}), Some("answers")),
        (json!({"name": "n", "user": "u", "route": "search"}), Some("search")),
        (json!({"name": "n", "route": "search"}), None),
        (json!({"name": "n", "route": "search", "contexts": {"session": {"key": "s"}}}), Some("search")),
        (json!({"name": "n", "route": "search", "contexts": {"session.key": "s"}}), Some("search")),
        (json!({"name": "n", "route": "search", "contexts": {"session": {"key": ""}}}), None),
    ];
    for (event, expected) in rows {
        assert_eq!(route(&event).as_deref(), expected, "{event}");
    }
    let only = intake(ROUTE);
    let told = |contexts: Value| {
        let event = one(&only, &json!({"name": "n", "user": "u", "contexts": contexts}));
        event.attribution.map(|to| (to.rule, to.randomised, to.arm)).unwrap()
    };
    for contexts in [json!({"user": {"tier": "premium"}}), json!({"user.tier": "premium", "unknown": {"x": 1}})] {
        assert_eq!(told(contexts.clone()), (Some(0), Some(100.0), Arm::Candidate), "{contexts}");
    }
    assert_eq!(told(json!({"user": {"tier": 7, "age": "old"}})).0, None);
}

#[tokio::test]
async fn browsers_show_who_they_are_and_do_not_say_it() {
    let intake = intake(&format!("{ROUTE}{OTHER}"));
    let send = |event: Value, key: Option<&str>| {
        let key = |_: RouteIndex| key.map(Box::from);
        let sender = Sender::Public { key: &key };
        intake.prepare(&intake.live.snapshot(), event.to_string().as_bytes(), &sender, now())
    };
    let exposure = token(&intake, 0, "user123", now());
    let by_token = send(json!({"name": "n", "exposure": exposure}), None).unwrap().remove(0);
    assert_eq!((by_token.attribution.unwrap().arm, by_token.user), (Arm::Candidate, None));
    assert!(send(json!({"name": "n", "exposure": exposure}), Some("u")).unwrap()[0].user.is_some());
    let by_cookie = send(json!({"name": "n", "route": "search"}), Some("s")).unwrap().remove(0);
    assert!(by_cookie.attribution.is_some() && by_cookie.user.is_some());
    let with_conditions = send(json!({"name": "n", "route": "answers"}), Some("u")).unwrap().remove(0);
    assert!(with_conditions.attribution.is_none() && with_conditions.user.is_some());
    let rows = [
        (json!({"name": "n", "user": "u", "exposure": exposure}), Some("u"), "user"),
        (json!({"name": "n", "contexts": {}, "exposure": exposure}), Some("u"), "contexts"),
        (json!({"name": "n", "route": "search"}), None, "exposure"),
        (json!({"name": "n"}), Some("u"), "exposure"),
    ];
    for (event, key, field) in rows {
        assert_eq!(mistakes(send(event.clone(), key))[0].1, field, "{event}");
    }
}

#[tokio::test]
async fn what_is_kept_is_counted_and_told() {
    let intake = intake(ROUTE);
    let events = prepare(&intake, &json!([{"name": "n", "id": "a"}, {"name": "n", "id": "a"}])).unwrap();
    let outcome = intake.keep(events).await;
    let answer = outcome.answer();
    assert_eq!((answer.status.as_u16(), answer.document), (202, json!({"stored": 1, "duplicates": 1})));
    let counted: Vec<_> = intake.results().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [("stored", 1), ("duplicate", 1)]);
    assert_eq!(*intake.store().stored().borrow(), 1);
}

#[tokio::test]
async fn no_event_is_taken_before_the_hash_of_its_user_is_settled() {
    let file = format!("{FILE}{ROUTE}").replace("user_hash_secret = \"a secret of some length\"", "");
    let intake = intake_of(&file, Arc::new(Memory::default()));
    let event = json!({"name": "n", "user": "u"});
    assert_eq!(prepare(&intake, &event), Err(Outcome::Unavailable));
    intake.live.users.keep("kept".to_owned());
    assert_eq!(one(&intake, &event).user, Some(UserHash(crate::domain::user::hash(b"kept", "u"))));
}

#[tokio::test]
async fn the_rate_of_an_address_is_bounded() {
    let (intake, begin) = (intake(ROUTE), crate::clock::now());
    let (snapshot, from) = (intake.live.snapshot(), IpAddr::from([192, 0, 2, 1]));
    assert_eq!(intake.admit(&snapshot, from, 5, begin), Ok(()));
    let refused = intake.admit(&snapshot, from, 5, begin).unwrap_err().answer();
    assert_eq!((refused.status.as_u16(), refused.retry_after), (429, Some(1)));
    assert!(intake.may_send(&snapshot, from, begin).is_err());
    let nobody = |_: RouteIndex| None;
    let body = json!(vec![json!({"name": "n"}); 6]).to_string();
    let refused = intake.prepare(&snapshot, body.as_bytes(), &Sender::Public { key: &nobody }, now());
    assert!(matches!(refused, Err(Outcome::Invalid(_))), "six would never fit: {refused:?}");
    assert_eq!(intake.may_send(&snapshot, from, begin + Duration::from_millis(100)), Ok(()));
    assert_eq!(intake.admit(&snapshot, from, 5, begin + Duration::from_millis(500)), Ok(()));
}

/// A store that answers everything with one failure.
#[derive(Debug)]
struct Failing(Failure);

#[async_trait]
impl Store for Failing {
    async fn append_events(&self, _: Vec<Event>) -> Result<Appended, Failure> {
        Err(self.0.clone())
    }
    async fn events(&self, _: EventQuery) -> Result<Page<Event>, Failure> {
        Err(self.0.clone())
    }
    async fn append_samples(&self, _: Vec<Sample>) -> Result<Appended, Failure> {
        Err(self.0.clone())
    }
    async fn samples(&self, _: SampleQuery) -> Result<Page<Sample>, Failure> {
        Err(self.0.clone())
    }
    async fn forget_samples(&self, _: &str, _: Timestamp) -> Result<u64, Failure> {
        Err(self.0.clone())
    }
    async fn prune(&self, _: Timestamp) -> Result<u64, Failure> {
        Err(self.0.clone())
    }
    async fn drop_oldest(&self) -> Result<u64, Failure> {
        Err(self.0.clone())
    }
    async fn erase_user(&self, _: UserHash) -> Result<u64, Failure> {
        Err(self.0.clone())
    }
    async fn save_checkpoint(&self, _: Checkpoint) -> Result<(), Failure> {
        Err(self.0.clone())
    }
    async fn checkpoint(&self) -> Result<Checkpoint, Failure> {
        Err(self.0.clone())
    }
    async fn state(&self, _: &str) -> Result<Option<State>, Failure> {
        Err(self.0.clone())
    }
    async fn states(&self) -> Result<Vec<(Box<str>, State)>, Failure> {
        Err(self.0.clone())
    }
    async fn save_state(&self, _: StateChange) -> Result<StateVersion, Failure> {
        Err(self.0.clone())
    }
    async fn append_history(&self, _: Vec<Entry>) -> Result<(), Failure> {
        Err(self.0.clone())
    }
    async fn history(&self, _: HistoryQuery) -> Result<Page<Entry>, Failure> {
        Err(self.0.clone())
    }
    async fn keep(&self, _: &'static str, _: String) -> Result<String, Failure> {
        Err(self.0.clone())
    }
    async fn back_up(&self, _: &Path) -> Result<(), Failure> {
        Err(self.0.clone())
    }
    async fn size(&self) -> Result<u64, Failure> {
        Err(self.0.clone())
    }
}

#[tokio::test]
async fn a_store_that_cannot_is_told_without_its_secrets() {
    let rows = [
        (Failure::Busy(Duration::from_millis(1_500)), 429, "store_busy", Some(2), "busy"),
        (Failure::Unavailable("/var/secret is full".into()), 503, "store_unavailable", Some(5), "failed"),
        (Failure::Corrupt("row".into()), 503, "store_unavailable", Some(5), "failed"),
    ];
    for (failure, status, code, retry_after, result) in rows {
        let intake = intake_of(&format!("{FILE}{ROUTE}"), Arc::new(Failing(failure.clone())));
        let events = prepare(&intake, &json!([{"name": "n"}, {"name": "n"}])).unwrap();
        let answer = intake.keep(events).await.answer();
        assert_eq!((answer.status.as_u16(), answer.retry_after), (status, retry_after), "{failure}");
        assert_eq!(answer.document["code"], code);
        assert!(!answer.document.to_string().contains("secret"));
        let counted: Vec<_> = intake.results().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(result, 2)]);
        assert_eq!(intake.store().is_up(), matches!(failure, Failure::Busy(_)));
    }
}
