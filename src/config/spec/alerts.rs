//! `[alerts]`: who is told of what.

use super::{FILE, Key, Kind, MILLISECOND, MINUTE, SECRET, TEXT, WEEK, duration, word};

pub(super) const ALERTS: &[Key] = &[
    Key::new("source", TEXT, "What this gateway is called in messages: a part of a URI without spaces.")
        .or("pointsman"),
    Key::new("repeat_every", duration(MINUTE, WEEK), "An alert that goes on is told again so often.").or("4h"),
    Key::new(
        "give_up_after",
        duration(MINUTE, WEEK),
        "A message that a webhook has not taken by then is given up; until then it is tried again, ever less often.",
    )
    .or("24h"),
    Key::new("digest", Kind::Table(DIGEST), "A message a day about every route; without this table there is none.")
        .optional(),
    Key::new("webhooks", Kind::Named(WEBHOOK), "Where messages go."),
];

const DIGEST: &[Key] = &[Key::new("at", TEXT, "When, as HH:MM in UTC.").or("08:00")];

const WEBHOOK: &[Key] = &[
    Key::new("url", SECRET, "Where: `http://` or `https://`. It is never shown, since those of chats are secrets.")
        .required(),
    Key::new(
        "format",
        word(&["cloudevents", "slack"]),
        "CloudEvents 1.0 as JSON, or what Slack's incoming webhooks take.",
    )
    .or("cloudevents"),
    Key::new(
        "secrets",
        Kind::List(&SECRET),
        "Secrets that sign messages (Standard Webhooks, `whsec_...`), each with a signature of its own: while one is \
         replaced, the old and the new one.",
    )
    .or("[]"),
    Key::new(
        "routes",
        Kind::List(&TEXT),
        "Routes that it hears of; without any, of all. What belongs to no route it hears in any case.",
    )
    .or("[]"),
    Key::new("severities", Kind::List(&SEVERITY), "Of which severity.").or(r#"["info", "warning", "critical"]"#),
    Key::new("timeout", duration(MILLISECOND, MINUTE), "For one try.").or("5s"),
    Key::new("ca", FILE, "PEM of the certificate authorities to trust instead of the system's."),
];

const SEVERITY: Kind = word(&["info", "warning", "critical"]);
