//! The keys of what is kept, of exposure tokens, and of events.

use super::{BOOL, COUNT, GIB, HEADER_NAME, HOUR, Key, Kind, MIB, SECRET, TEXT, duration, float, size};
use std::time::Duration;

/// The longest that anything is kept: ten years.
const TEN_YEARS: Duration = Duration::from_secs(3_653 * 24 * 3600);

pub(super) const STATE: &[Key] = &[
    Key::new("store", TEXT, "`sqlite:FILE`, relative to the folder of this file, or `memory`, which forgets at exit.")
        .or("memory")
        .restart(),
    Key::new(
        "keep_events",
        duration(HOUR, TEN_YEARS),
        "Events, kept exchanges and history that are older are forgotten.",
    )
    .or("90d"),
    Key::new(
        "max_size",
        size(MIB, 1024 * GIB),
        "Bytes of the store; beyond it the oldest events and kept exchanges go, a tenth at a time.",
    )
    .or("1GiB"),
];

pub(super) const EXPOSURE: &[Key] = &[
    Key::new(
        "keys",
        Kind::List(&SECRET),
        "Secrets that sign exposure tokens, at least 16 bytes each: the first signs, all verify.",
    )
    .required(),
    Key::new("header", HEADER_NAME, "The field that holds the token, in responses and in requests to backends.")
        .or("x-pointsman-exposure"),
    Key::new("cookie", TEXT, "Also set it as a cookie that page scripts can read: `NAME.ROUTE`."),
    Key::new("max_age", duration(HOUR, TEN_YEARS), "Events with an older token are refused.").or("7d"),
];

pub(super) const EVENTS: &[Key] = &[
    Key::new("public", BOOL, "Whether `POST /v1/events` is answered on the data listener, too, for browsers.")
        .or("false"),
    Key::new(
        "origins",
        Kind::List(&TEXT),
        "Origins whose pages may send events, beside the listener's own: `https://www.example.com`.",
    )
    .or("[]"),
    Key::new(
        "events_per_second",
        float(0.001, 1_000_000.0),
        "Events of one client address on the data listener, in the long run; more are answered 429.",
    )
    .or("10"),
    Key::new("burst", COUNT, "How many of them may come at once.").or("100"),
];
