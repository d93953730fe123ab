//! `[backends.NAME]`.

use super::{
    BOOL, COUNT, FILE, HEADER_VALUE, HOST, HOUR, Key, Kind, PATH, SECOND, SECRET, STATUS, TEXT, URL, WAIT,
    WAIT_OR_NONE, duration, float, integer, word,
};
use crate::domain::budget::MAX_COST_PER_DAY;

pub(super) const BACKEND: &[Key] = &[
    Key::new("url", URL, "Where it is. Empty (an unset variable): there is none now, and control serves."),
    Key::new("urls", Kind::List(&Kind::Either(&URL, &Kind::Table(ENDPOINT))), "Several endpoints."),
    Key::new("respond", Kind::Table(RESPOND), "No upstream: a fixed answer.").optional(),
    Key::new("version", TEXT, "Another image behind the same URL is another candidate."),
    Key::new("balance", word(&["round_robin", "consistent"]), "How an endpoint is chosen; `consistent` is by user.")
        .or("round_robin"),
    Key::new("resolve_every", duration(SECOND, HOUR), "How often names are resolved again.").or("30s"),
    Key::new("health_check", Kind::Table(HEALTH_CHECK), "Active checks of the endpoints.").optional(),
    Key::new("tls", Kind::Table(TLS), "TLS towards `https` endpoints."),
    Key::new("host", TEXT, "The `Host` that it sees: `backend` (its own), `client` (the client's), or a name.")
        .or("backend"),
    Key::new(
        "headers",
        Kind::Headers(&SECRET),
        "Set on every request to it, in place of the client's. Values are never shown.",
    ),
    Key::new(
        "pass",
        Kind::List(&word(&["authorization", "cookie", "identity"])),
        "What of the client's credentials is passed on; `identity` is the headers that keys of any kind come from.",
    )
    .or("[]"),
    Key::new("max_in_flight", COUNT, "Requests at the same time; beyond it, a candidate is `busy`. No limit without."),
    Key::new("timeouts", Kind::Table(TIMEOUTS), "Deadlines of one try."),
    Key::new("keepalive", Kind::Table(KEEPALIVE), "Idle upstream connections."),
    Key::new(
        "breaker",
        Kind::Table(BREAKER),
        "The circuit breaker. Candidates always have one; a control only if the file has this table.",
    ),
    Key::new("failure_status", Kind::List(&STATUS), "Statuses that count as failures.").or("[500, 502, 503, 504]"),
    Key::new("prices", Kind::Table(PRICES), "What its tokens cost; tokens and cost of its answers are then counted.")
        .optional(),
    Key::new(
        "budget",
        Kind::Table(BUDGET),
        "Once it is spent, a candidate gets no requests until the next day (UTC). Needs `prices`. Each process counts \
         for itself, from its start.",
    )
    .optional(),
];

const PRICES: &[Key] = &[
    Key::new("input", float(0.0, 1e6), "For a million tokens of the prompt.").required(),
    Key::new("output", float(0.0, 1e6), "For a million tokens of the answer.").required(),
    Key::new("currency", TEXT, "For people.").or("USD"),
];

const BUDGET: &[Key] =
    &[Key::new("cost_per_day", float(1e-6, MAX_COST_PER_DAY), "In the currency of `prices`.").required()];

const ENDPOINT: &[Key] = &[
    Key::new("url", URL, "Where it is.").required(),
    Key::new("weight", integer(1, 10_000), "Its share among the endpoints.").or("1"),
];

const RESPOND: &[Key] = &[
    Key::new("status", STATUS, "The status.").or("200"),
    Key::new("body", TEXT, "The body.").or(""),
    Key::new(
        "headers",
        Kind::Headers(&HEADER_VALUE),
        "The fields; `content-type` is `text/plain; charset=utf-8` unless it is here.",
    ),
];

const HEALTH_CHECK: &[Key] = &[
    Key::new("path", PATH, "The path to GET (2xx and 3xx are healthy). Without it, a TCP connection is enough."),
    Key::new("interval", duration(SECOND, HOUR), "Between two checks.").or("10s"),
    Key::new("timeout", WAIT, "Of one check.").or("2s"),
    Key::new("healthy_after", integer(1, 1000), "Successes in a row that make an endpoint healthy.").or("2"),
    Key::new("unhealthy_after", integer(1, 1000), "Failures in a row that make it unhealthy.").or("3"),
];

pub(super) const TLS: &[Key] = &[
    Key::new("ca", FILE, "PEM file of the authorities to trust instead of the system's. Watched."),
    Key::new("sni", HOST, "The name to ask for and to verify, where it is not the URL's host."),
    Key::new("insecure", BOOL, "Accept any certificate.").or("false"),
];

const TIMEOUTS: &[Key] = &[
    Key::new("connect", WAIT, "For a connection, TLS among it.").or("1s"),
    Key::new("first_byte", WAIT, "From the request being sent to the head of the response.").or("30s"),
    Key::new("idle", WAIT, "Between two pieces of a body, in either direction.").or("60s"),
];

const KEEPALIVE: &[Key] = &[
    Key::new("idle", WAIT_OR_NONE, "Closed after this long without use.").or("60s"),
    Key::new("max_idle", integer(0, 100_000), "Kept for each worker and endpoint.").or("256"),
];

const BREAKER: &[Key] = &[
    Key::new("consecutive_failures", integer(1, 16_383), "Failures in a row that open it.").or("5"),
    Key::new("failure_ratio", float(0.001, 1.0), "Share of failures in `window` that opens it, too."),
    Key::new("min_requests", integer(1, 1_000_000_000), "The share is judged from this many on.").or("20"),
    Key::new("window", duration(SECOND, HOUR), "What the share is taken over.").or("30s"),
    Key::new("open_for", WAIT, "How long it stays open; doubled each time it opens again.").or("30s"),
    Key::new("open_for_max", WAIT, "The longest it stays open.").or("300s"),
    Key::new("probes", integer(1, 127), "Probes at the same time while it is half open.").or("1"),
    Key::new("successes", integer(1, 127), "Probes that must succeed before it closes.").or("3"),
    Key::new("probe_timeout", WAIT, "A probe that has not settled after this long is given up.").or("60s"),
    Key::new("recover_over", WAIT_OR_NONE, "After closing, admission grows to everybody over this time.").or("10s"),
];
