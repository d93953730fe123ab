//! `[judges.NAME]`, and what routes say of sampled exchanges: `judge` and `samples`.

use super::{
    DAY, FILE, HEADER_NAME, HOUR, Key, Kind, METHOD, MIB, PERCENT, SECRET, TEXT, URL, WAIT, duration, integer,
    reference, size,
};

/// Bytes of a body that are looked at.
const BODY: Kind = size(1, MIB);
/// From an hour, since what is too old is removed once an hour, to a year.
const KEEP: Kind = duration(HOUR, DAY.saturating_mul(365));

pub(super) const JUDGE: &[Key] = &[
    Key::new("url", URL, "Where exchanges are posted to.").required(),
    Key::new("headers", Kind::Headers(&SECRET), "Set on every request to it. Values are never shown."),
    Key::new("ca", FILE, "PEM file of the authorities to trust instead of the system's. Watched."),
    Key::new("timeout", WAIT, "Of one request.").or("10s"),
    Key::new("retries", integer(0, 10), "How often a request that failed is sent again, later and later.").or("2"),
    Key::new("max_in_flight", integer(1, 1000), "Requests at the same time.").or("4"),
    Key::new("queue", integer(1, 10_000), "Exchanges that wait; what comes beyond is dropped and counted.").or("100"),
    Key::new("budget", Kind::Table(BUDGET), "Requests that each process may send, the repeated among them."),
];

const BUDGET: &[Key] = &[
    Key::new("per_minute", integer(1, 1_000_000), "In a minute of the clock.").or("60"),
    Key::new("per_day", integer(1, 1_000_000_000), "On a day (UTC).").or("10000"),
];

pub(super) const JUDGING: &[Key] = &[
    Key::new("by", reference("judges"), "The judge.").required(),
    Key::new("percent", PERCENT, "Percent of the requests, drawn by a hash of their ids.").required(),
    Key::new(
        "candidate_percent",
        PERCENT,
        "Instead, for requests that the candidate is to serve, which are often few.",
    ),
    Key::new("max_body", BODY, "Exchanges with a larger body are not judged.").or("64KiB"),
    Key::new("send", Kind::Named(EXCERPT), "What the judge is sent, by name; nothing else leaves.").required(),
];

const EXCERPT: &[Key] = &[
    Key::new("request_json", TEXT, "A JSON pointer into the request's body."),
    Key::new("request_header", HEADER_NAME, "A field of the request."),
    Key::new(
        "response_json",
        TEXT,
        "A JSON pointer into the answer; of a stream, the texts of all its events together.",
    ),
    Key::new("response_header", HEADER_NAME, "A field of the answer."),
    Key::new("control", Kind::Table(ARM_EXCERPT), "For answers of this arm, instead.").optional(),
    Key::new("candidate", Kind::Table(ARM_EXCERPT), "For answers of this arm, instead.").optional(),
];

const ARM_EXCERPT: &[Key] = &[
    Key::new(
        "response_json",
        TEXT,
        "A JSON pointer into the answer; of a stream, the texts of all its events together.",
    ),
    Key::new("response_header", HEADER_NAME, "A field of the answer."),
];

pub(super) const SAMPLES: &[Key] = &[
    Key::new("percent", PERCENT, "Percent of the requests, drawn by a hash of their ids.").required(),
    Key::new(
        "candidate_percent",
        PERCENT,
        "Instead, for requests that the candidate is to serve, which are often few.",
    ),
    Key::new("max_body", BODY, "Exchanges with a larger body are not kept.").or("64KiB"),
    Key::new("keep", KEEP, "Older ones are forgotten.").or("7d"),
    Key::new("redact", Kind::List(&TEXT), "JSON pointers; what they point to in either body is not kept.").or("[]"),
    Key::new("redact_fields", Kind::List(&TEXT), "Names of members whose values are not kept, wherever they are.")
        .or("[]"),
];

pub(super) const SHADOW: &[Key] = &[
    Key::new("percent", PERCENT, "Percent of the requests that control serves, drawn by a hash of their ids.")
        .or("0.0"),
    Key::new(
        "methods",
        Kind::List(&METHOD),
        "Requests with these methods are copied; name others than safe ones with care.",
    )
    .or(r#"["GET"]"#),
    Key::new("max_in_flight", integer(1, 10_000), "Copies at the same time, beside the candidate's own requests.")
        .or("4"),
    Key::new("queue", integer(1, 10_000), "Copies that wait; what comes beyond is dropped and counted.").or("100"),
    Key::new("budget", Kind::Table(SHADOW_BUDGET), "Copies that each process may send."),
];

const SHADOW_BUDGET: &[Key] = &[
    Key::new("per_minute", integer(1, 1_000_000_000), "In a minute of the clock.").or("6000"),
    Key::new("per_day", integer(1, 1_000_000_000), "On a day (UTC).").or("1000000"),
];
