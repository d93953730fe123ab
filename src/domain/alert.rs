//! Alerts: what is told when, and how often. Functions of their arguments.
//!
//! An alert has a key and fires until it is resolved; while it fires it is told once, again when it becomes
//! more severe, and again after a while. A notice is told once. Nothing here sends or keeps anything.
//! Invariant: what is told of a key alternates between firing and resolved, whoever raises how often.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Alerts that fire at the same time; what comes beyond is not told.
pub const MAX_FIRING: usize = 1_000;
/// Letters of a title.
const MAX_TITLE: usize = 200;
/// Letters of a detail.
const MAX_DETAIL: usize = 4_000;
/// Bytes of data, as JSON.
const MAX_DATA: usize = 4 << 10;
/// Before the second try to send a message; doubles with every further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait between two tries.
const LAST_WAIT: Duration = Duration::from_secs(15 * 60);
/// Part of a wait that is left to chance, so that messages do not all come back at once.
const JITTER: f64 = 0.5;

/// How much somebody should care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "AlertSeverity")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Somebody should look at it today.
    Warning,
    /// Somebody should look at it now.
    Critical,
}

impl Severity {
    /// Every severity.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The word in file, messages and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == text)
    }
}

/// Something that goes on and should not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Alert {
    /// By which repetitions are known: the route and what watches it.
    pub key: Arc<str>,
    /// `null` for the gateway as a whole.
    pub route: Option<Arc<str>>,
    /// How much somebody should care.
    pub severity: Severity,
    /// What it is, in a line.
    pub title: String,
    /// Words and figures.
    pub detail: String,
    /// The figures, for programs.
    pub data: Value,
    /// When it was seen.
    pub at: Timestamp,
}

/// Something that happened: a stage that changed, a rollback, an operator's act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// `null` for the gateway as a whole.
    pub route: Option<Arc<str>>,
    /// How much somebody should care.
    pub severity: Severity,
    /// What it is, in a line.
    pub title: String,
    /// Words and figures.
    pub detail: String,
    /// The figures, for programs.
    pub data: Value,
    /// When it happened.
    pub at: Timestamp,
}

/// What a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "AlertMessageKind")]
pub enum Kind {
    /// An alert fires, or still does.
    Firing,
    /// It is over.
    Resolved,
    /// Something happened once.
    Transition,
    /// The message of the day.
    Digest,
    /// Somebody tries whether messages arrive.
    Test,
}

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "AlertMessage")]
pub struct Message {
    /// What it says.
    pub kind: Kind,
    /// Of an alert, its key.
    pub key: Option<Arc<str>>,
    /// `null` for the gateway as a whole.
    pub route: Option<Arc<str>>,
    /// How much somebody should care.
    pub severity: Severity,
    /// What it is, in a line.
    pub title: String,
    /// Words and figures.
    pub detail: String,
    /// The figures, for programs.
    pub data: Value,
    /// When it happened.
    pub at: Timestamp,
    /// Of an alert, since when it fires.
    pub since: Option<Timestamp>,
    /// Of an alert, how often it was raised so far.
    pub count: u64,
}

/// An alert that fires.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "FiringAlert")]
pub struct Firing {
    /// As it was last raised, with its highest severity.
    #[serde(flatten)]
    pub alert: Alert,
    /// When it was first raised.
    pub since: Timestamp,
    /// How often it was raised.
    pub count: u64,
    /// When it was last told.
    pub told_at: Timestamp,
}

/// What fires, by key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Board(BTreeMap<Arc<str>, Firing>);

impl Notice {
    /// As it is told.
    #[must_use]
    pub fn message(self, kind: Kind) -> Message {
        let Self { route, severity, title, detail, data, at } = self;
        Message { kind, key: None, route, severity, title, detail, data, at, since: None, count: 1 }.bounded()
    }
}

impl Message {
    fn bounded(mut self) -> Self {
        self.title = cut(self.title, MAX_TITLE);
        self.detail = cut(self.detail, MAX_DETAIL);
        self.data = small(self.data);
        self
    }
}

impl Firing {
    fn message(&self, kind: Kind, at: Timestamp) -> Message {
        let Alert { key, route, severity, title, detail, data, .. } = self.alert.clone();
        let (since, count) = (Some(self.since), self.count);
        Message { kind, key: Some(key), route, severity, title, detail, data, at, since, count }
    }
}

impl Board {
    /// It fires. What is to be told, if anything is.
    pub fn raise(&mut self, alert: Alert) -> Option<Message> {
        let Alert { key, route, severity, title, detail, data, at } = alert;
        let (title, detail, data) = (cut(title, MAX_TITLE), cut(detail, MAX_DETAIL), small(data));
        let alert = Alert { key: Arc::clone(&key), route, severity, title, detail, data, at };
        if let Some(firing) = self.0.get_mut(&key) {
            let before = firing.alert.severity;
            let is_worse = severity > before;
            // Whoever heard the worst of it has to hear that it is over.
            firing.alert = Alert { severity: severity.max(before), ..alert };
            firing.count += 1;
            if !is_worse {
                return None;
            }
            firing.told_at = at;
            return Some(firing.message(Kind::Firing, at));
        }
        if self.0.len() >= MAX_FIRING {
            return None;
        }
        let firing = Firing { since: at, told_at: at, count: 1, alert };
        let message = firing.message(Kind::Firing, at);
        self.0.insert(key, firing);
        Some(message)
    }

    /// It is over. What is to be told, if it fired.
    pub fn resolve(&mut self, key: &str, at: Timestamp) -> Option<Message> {
        self.0.remove(key).map(|firing| firing.message(Kind::Resolved, at))
    }

    /// What still fires and was last told so long ago.
    pub fn remind(&mut self, every: Duration, now: Timestamp) -> Vec<Message> {
        let mut messages = Vec::new();
        for firing in self.0.values_mut().filter(|firing| has_passed(firing.told_at, every, now)) {
            firing.told_at = now;
            messages.push(firing.message(Kind::Firing, now));
        }
        messages
    }

    /// Takes over what fired before, where nothing newer is known.
    pub fn adopt(&mut self, before: Self) {
        for (key, firing) in before.0 {
            if self.0.len() < MAX_FIRING {
                self.0.entry(key).or_insert(firing);
            }
        }
    }

    /// What fires, by key.
    pub fn firing(&self) -> impl Iterator<Item = &Firing> {
        self.0.values()
    }

    /// How many of a severity fire.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.firing().filter(|firing| firing.alert.severity == severity).count()
    }
}

/// Whether so much time has passed since.
#[must_use]
pub fn has_passed(since: Timestamp, length: Duration, now: Timestamp) -> bool {
    now.duration_since(since) >= SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX)
}

/// How long to wait after so many tries. `chance` is from 0 to 1.
#[must_use]
pub fn wait_after(tries: u32, chance: f64) -> Duration {
    let doublings = 2_u32.saturating_pow(tries.saturating_sub(1));
    FIRST_WAIT.saturating_mul(doublings).min(LAST_WAIT).mul_f64(1.0 - JITTER * chance)
}

/// The last time of day `at` (UTC) that is not after `now`, if it lies after `last`.
#[must_use]
pub fn digest_due(at: Time, last: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let on = |day: jiff::civil::Date| day.to_datetime(at).to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    let today = now.to_zoned(TimeZone::UTC).date();
    let due = [Some(today), today.yesterday().ok()].into_iter().flatten().filter_map(on).find(|due| *due <= now)?;
    (due > last).then_some(due)
}

fn cut(text: String, most: usize) -> String {
    if text.chars().count() <= most { text } else { text.chars().take(most - 1).chain(['…']).collect() }
}

/// Figures that nobody could have meant to send are left out, and said to be.
fn small(data: Value) -> Value {
    if data.to_string().len() <= MAX_DATA { data } else { serde_json::json!({ "left_out": "too large" }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + seconds).unwrap()
    }

    fn alert(key: &str, severity: Severity, seconds: i64) -> Alert {
        let (title, detail) = ("t".to_owned(), "d".to_owned());
        Alert { key: key.into(), route: None, severity, title, detail, data: Value::Null, at: at(seconds) }
    }

    #[test]
    fn an_alert_is_told_once_again_when_it_gets_worse_and_after_a_while() {
        let mut board = Board::default();
        let told = board.raise(alert("a", Severity::Warning, 0)).unwrap();
        assert_eq!((told.kind, told.since, told.count), (Kind::Firing, Some(at(0)), 1));
        for seconds in 1..10_000 {
            assert_eq!(board.raise(alert("a", Severity::Warning, seconds)), None, "{seconds}");
        }
        assert!(board.raise(alert("a", Severity::Info, 10_000)).is_none(), "less is no news");
        let worse = board.raise(alert("a", Severity::Critical, 10_001)).unwrap();
        assert_eq!((worse.severity, worse.since, worse.count), (Severity::Critical, Some(at(0)), 10_002));
        let every = Duration::from_secs(4 * 3600);
        assert_eq!(board.remind(every, at(10_001 + 4 * 3600 - 1)), []);
        assert_eq!(board.remind(every, at(10_001 + 4 * 3600)).len(), 1);
        assert_eq!(board.remind(every, at(10_001 + 4 * 3600 + 1)), []);
        assert_eq!(board.raise(alert("a", Severity::Info, 29_000)), None);
        let over = board.resolve("a", at(30_000)).unwrap();
        assert_eq!(over.severity, Severity::Critical, "who heard the worst hears that it is over");
        assert_eq!((over.kind, over.since, over.at), (Kind::Resolved, Some(at(0)), at(30_000)));
        assert_eq!((board.resolve("a", at(30_001)), board.firing().count()), (None, 0));
    }

    #[test]
    fn what_fires_and_what_it_says_is_bounded() {
        let mut board = Board::default();
        let raised = (0..MAX_FIRING + 10).filter(|n| board.raise(alert(&n.to_string(), Severity::Info, 0)).is_some());
        assert_eq!((raised.count(), board.count(Severity::Info)), (MAX_FIRING, MAX_FIRING));
        let mut board = Board::default();
        let mut long = alert("a", Severity::Info, 0);
        (long.title, long.detail) = ("ä".repeat(10_000), "ä".repeat(10_000));
        long.data = Value::from("x".repeat(MAX_DATA));
        let told = board.raise(long).unwrap();
        assert_eq!((told.title.chars().count(), told.detail.chars().count()), (MAX_TITLE, MAX_DETAIL));
        assert!(told.data.to_string().len() < MAX_DATA);
    }

    #[test]
    fn what_fired_before_a_restart_is_not_told_again() {
        let mut before = Board::default();
        before.raise(alert("a", Severity::Warning, 0));
        let text = serde_json::to_string(&before).unwrap();
        let mut board = Board::default();
        board.adopt(serde_json::from_str(&text).unwrap());
        assert_eq!(board, before);
        assert_eq!(board.raise(alert("a", Severity::Warning, 9)), None);
    }

    #[test]
    fn waits_double_up_to_a_bound_with_a_share_left_to_chance() {
        let rows = [(1, 0.0, 1_000), (2, 0.0, 2_000), (2, 1.0, 1_000), (4, 0.5, 6_000), (40, 0.0, 900_000)];
        for (tries, chance, millis) in rows {
            assert_eq!(wait_after(tries, chance), Duration::from_millis(millis), "{tries} tries, {chance}");
        }
    }

    #[test]
    fn a_digest_is_due_once_a_day_and_a_late_one_is_made_up_for() {
        let eight: Time = "08:00:00".parse().unwrap();
        let rows = [
            ("2026-11-21T07:00:00Z", "2026-11-21T07:59:59Z", None),
            ("2026-11-21T07:00:00Z", "2026-11-21T08:00:00Z", Some("2026-11-21T08:00:00Z")),
            ("2026-11-21T08:00:00Z", "2026-11-21T08:00:00Z", None),
            ("2026-11-21T08:00:00Z", "2026-11-22T07:59:00Z", None),
            ("2026-11-21T08:00:00Z", "2026-11-22T07:59:00Z", None),
            // The process was down at eight.
            ("2026-11-21T08:00:00Z", "2026-11-22T09:30:00Z", Some("2026-11-22T08:00:00Z")),
            // And for days: once.
            ("2026-11-11T08:00:00Z", "2026-11-22T07:30:00Z", Some("2026-11-21T08:00:00Z")),
            // A clock that was set back tells nothing twice.
            ("2026-11-22T08:00:00Z", "2026-11-21T09:00:00Z", None),
        ];
        for (last, now, expected) in rows {
            let time = |text: &str| text.parse::<Timestamp>().unwrap();
            assert_eq!(digest_due(eight, time(last), time(now)), expected.map(time), "{last} {now}");
        }
    }

    proptest! {
        #[test]
        fn firing_and_resolved_alternate_for_every_key(acts in proptest::collection::vec((0_u8..3, any::<bool>()), 0..200)) {
            let mut board = Board::default();
            let mut fires = [false; 3];
            for (seconds, (key, raise)) in (0..).zip(acts) {
                let name = key.to_string();
                let told = if raise {
                    board.raise(alert(&name, Severity::Info, seconds))
                } else {
                    board.resolve(&name, at(seconds))
                };
                let before = std::mem::replace(&mut fires[usize::from(key)], raise);
                prop_assert_eq!(told.is_some(), before != raise);
            }
        }
    }
}
