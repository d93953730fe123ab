//! The top of the tree, and the keys that concern the process rather than a route.

use super::{
    ADDRESS, BOOL, CONDITION, CONSTANT, COUNT, GIB, HEADER_NAME, HOST, HOUR, KIB, Key, Kind, MIB, NETWORK, SECOND,
    SECRET, TEXT, WAIT_OR_NONE, alerts, backends, duration, events, float, integer, jwt, metrics, routes, sampling,
    size, word,
};

/// The whole file.
pub static ROOT: &[Key] = &[
    Key::new("listen", Kind::Table(LISTEN), "Where clients connect."),
    Key::new("observe", Kind::Table(OBSERVE), "Probes and metrics: read-only, without tokens."),
    Key::new("admin", Kind::Table(ADMIN), "The administrative API."),
    Key::new("ofrep", Kind::Table(OFREP), "Flags for OpenFeature clients, on the administrative address."),
    Key::new("limits", Kind::Table(LIMITS), "Bounds on everything that a client can send."),
    Key::new("shutdown", Kind::Table(SHUTDOWN), "How the process stops."),
    Key::new("log", Kind::Table(LOG), "Log and access log, as JSON lines."),
    Key::new("state", Kind::Table(events::STATE), "What outlives the process: events and history."),
    Key::new(
        "exposure",
        Kind::Table(events::EXPOSURE),
        "Signed tokens that say which arm of which route a user was assigned; without this table there are none.",
    )
    .optional(),
    Key::new("events", Kind::Table(events::EVENTS), "Events from browsers: `POST /v1/events` on the data listener."),
    Key::new("alerts", Kind::Table(alerts::ALERTS), "Webhooks that hear of alerts and of what rollouts do."),
    Key::new("contexts", Kind::Named(CONTEXT), "Who asks, by kind. Without any, `user` is read from `x-user-id`."),
    Key::new("jwt", Kind::Table(jwt::JWT), "Tokens that are verified; their claims are attributes and keys.")
        .optional(),
    Key::new("segments", Kind::Table(SEGMENTS), "Conditions with a name, which routes and each other refer to."),
    Key::new("metrics", Kind::Named(metrics::METRIC), "What is measured of the answers."),
    Key::new("judges", Kind::Named(sampling::JUDGE), "Webhooks that score sampled exchanges."),
    Key::new("backends", Kind::Named(backends::BACKEND), "The upstreams."),
    Key::new("routes", Kind::Named(routes::ROUTE), "Which requests are split, between which backends, and how."),
    Key::later("prices", "Prices of tokens, by model."),
    Key::later("telemetry", "Export of traces and metrics."),
];

const LISTEN: &[Key] = &[
    Key::new("address", ADDRESS, "Address and port of the data listener.").or("0.0.0.0:8080").restart(),
    Key::new("threads", integer(0, 1024), "Worker threads; 0 is one a core.").or("0").restart(),
    Key::new(
        "trusted_proxies",
        Kind::List(&NETWORK),
        "Peers whose identity and forwarding headers count; those of others are ignored.",
    )
    .or(concat!(
        r#"["127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "#,
        r#""169.254.0.0/16", "fc00::/7", "fe80::/10"]"#
    )),
    Key::later("tls", "HTTPS and HTTP/2 towards clients."),
];

const OBSERVE: &[Key] =
    &[Key::new("address", ADDRESS, "Address and port of probes and metrics.").or("127.0.0.1:9902").restart()];

const ADMIN: &[Key] = &[
    Key::new("address", ADDRESS, "Address and port of the administrative API.").or("127.0.0.1:9901").restart(),
    Key::new("hosts", Kind::List(&HOST), "Names that the `Host` header may hold, beside the address and localhost.")
        .or("[]"),
    Key::new("tokens", Kind::Named(TOKEN), "Who may do what; the name stands in the history. Every write needs one."),
];

const TOKEN: &[Key] = &[
    Key::new(
        "role",
        word(&["events", "flags", "viewer", "operator", "admin"]),
        "What it may do: `flags` evaluates flags alone, each role after it includes the ones before; `events` sends events \
         alone, which an operator may, too.",
    )
    .required(),
    Key::new("token", SECRET, "The bearer token, at least 16 bytes.").required(),
];

const OFREP: &[Key] = &[
    Key::new(
        "requests_per_second",
        integer(1, 1_000_000),
        "For each token, with bursts of one second; those without a token share one. More is answered 429.",
    )
    .or("1000"),
    Key::new("max_body", size(KIB, MIB), "Bytes of a request body; more is answered 413.").or("64KiB"),
    Key::new("cors", Kind::List(&TEXT), "Origins whose pages may ask: `https://app.example.com`. No others may.")
        .or("[]"),
];

const LIMITS: &[Key] = &[
    Key::new("max_head", size(8 * KIB, MIB), "Bytes of request line and fields; more is answered 431.").or("64KiB"),
    Key::new("max_headers", integer(1, 10_000), "Number of header fields; more is answered 431.").or("100"),
    Key::new(
        "header_timeout",
        duration(SECOND, HOUR),
        "For a whole request head, from the connection or the end of the last request.",
    )
    .or("30s"),
    Key::new(
        "max_body",
        size(1, 1024 * GIB),
        "Bytes of a request body; more is answered 413. There is always a limit.",
    )
    .or("100MiB"),
    Key::new("max_connections", COUNT, "Client connections at the same time.").or("20000"),
    Key::new(
        "replay_memory",
        size(0, 1024 * GIB),
        "Bytes of request bodies kept for a second try, in all requests together.",
    )
    .or("256MiB"),
    Key::new(
        "body_attributes",
        size(KIB, MIB),
        "Bytes of a request body that are read before the decision, where a key or an attribute comes from it; in a \
        larger body these are missing.",
    )
    .or("64KiB"),
    Key::new(
        "rewrite_body",
        size(KIB, 16 * MIB),
        "Bytes of a body that is rewritten, before and after, in either direction.",
    )
    .or("1MiB"),
];

const SHUTDOWN: &[Key] = &[
    Key::new("drain_delay", WAIT_OR_NONE, "After SIGTERM: not ready, but still accepting, for this long.").or("5s"),
    Key::new("drain_timeout", WAIT_OR_NONE, "Then requests under way may end, for at most this long.").or("60s"),
];

const LOG: &[Key] = &[
    Key::new("level", TEXT, "Filter directives: `info`, or `info,pointsman::proxy=debug`.").or("info"),
    Key::new("access", BOOL, "Whether there is an access log.").or("true"),
    Key::new(
        "access_sample",
        float(0.0, 1.0),
        "Share of ordinary requests that get a line. Always get one: failures, fallbacks, answers of 500 and above, and \
         all that the gateway makes itself because something is wrong.",
    )
    .or("0.01"),
    Key::new(
        "user_hash_secret",
        SECRET,
        "Key of the hash that stands for a user in lines and events, at least 16 bytes; without it the store keeps one.",
    ),
    Key::new("plain_user_keys", BOOL, "Write user keys as they are.").or("false"),
];

const CONTEXT: &[Key] = &[
    Key::new(
        "key",
        Kind::List(&Kind::Table(SOURCE)),
        "Where the key comes from: the first that is present. A kind that splits needs one; conditions name it, too.",
    ),
    Key::new("*", Kind::Table(ATTRIBUTE), "An attribute for conditions: one source and a type.").optional(),
];

const ATTRIBUTE: &[Key] = &[
    Key::new("header", HEADER_NAME, "A request header; counts only from trusted peers."),
    Key::new("cookie", TEXT, "A cookie."),
    Key::new("query", TEXT, "A query parameter."),
    Key::new("path_segment", integer(1, 64), "A part of the path between slashes, counted from 1."),
    Key::new("client_ip", BOOL, "The address of the client, through `listen.trusted_proxies`."),
    Key::new("method", BOOL, "The request's method."),
    Key::new("const", CONSTANT, "Always this."),
    Key::new(
        "type",
        word(&["string", "number", "boolean", "list", "timestamp", "semver"]),
        "What it is read as. What cannot be read so is missing. A list has commas, a timestamp is RFC 3339.",
    )
    .or("string"),
    Key::new("json", TEXT, BODY),
    Key::new(
        "jwt",
        TEXT,
        "A claim of the token of `[jwt]`, by JSON pointer; counts from everybody, since it was signed.",
    ),
];

const BODY: &str = "A JSON pointer (RFC 6901) into the request body: `/user/id`.";

const SEGMENTS: &[Key] = &[Key::new("*", CONDITION, "The condition.")];

const SOURCE: &[Key] = &[
    Key::new("header", HEADER_NAME, "A request header; counts only from trusted peers."),
    Key::new("cookie", TEXT, "A cookie."),
    Key::new("query", TEXT, "A query parameter."),
    Key::new("json", TEXT, BODY),
    Key::new(
        "jwt",
        TEXT,
        "A claim of the token of `[jwt]`, by JSON pointer; counts from everybody, since it was signed.",
    ),
];
