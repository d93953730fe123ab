//! `[routes.NAME]`.

use std::time::Duration;

use super::{
    BOOL, CONDITION, DAY, FILE, GIB, HEADER_NAME, HEADER_VALUE, HOST, HOUR, JSON, Key, Kind, METHOD, PATH, PERCENT,
    SECOND, SECRET, TEXT, WAIT, YEAR, ZERO, duration, float, integer, reference, sampling, size, word,
};

pub(super) const ROUTE: &[Key] = &[
    Key::new("host", HOST, "Only requests to this host. Needs `path`."),
    Key::new("path", PATH, "Path prefix by whole segments; the longest wins. Without it: a flag, nothing is proxied."),
    Key::new("methods", Kind::List(&METHOD), "Only these methods; any without. Needs `path`.").or("[]"),
    Key::new("control", reference("backends"), "The trusted backend. A route with `path` needs it, a flag does not."),
    Key::new(
        "candidate",
        reference("backends"),
        "The new backend. A route with `path` needs it; to a flag it lends its health.",
    ),
    Key::new("split_by", reference("contexts"), "The kind whose key splits.").or("user"),
    Key::new("salt", TEXT, "Hashed behind the key; the route's name without it."),
    Key::new("enabled", BOOL, "The kill switch: `false` in any layer wins, and control serves.").or("true"),
    Key::new("forced", word(&["control", "candidate"]), "Everybody to this arm."),
    Key::new("targets", Kind::Table(TARGETS), "Keys that always get one arm."),
    Key::new("holdout", PERCENT, "Percent of users that always get control, drawn with their own salt.").or("0.0"),
    Key::new(
        "exclusive",
        Kind::Table(EXCLUSIVE),
        "Slots of a group: no user gets the candidates of two of its routes.",
    )
    .optional(),
    Key::new(
        "prerequisite",
        Kind::Either(&Kind::List(&Kind::Table(PREREQUISITE)), &Kind::Table(PREREQUISITE)),
        "The arm that a user must be assigned on another route, or on each of several; control serves the others.",
    ),
    Key::new("eligible", CONDITION, "Who may get the candidate at all; control serves the others."),
    Key::new(
        "rules",
        Kind::List(&Kind::Table(RULE)),
        "Conditions with an arm or a percentage of their own. The first that holds decides.",
    ),
    Key::new("pin", Kind::Table(PIN), "A running conversation keeps its arm when percentages change.").optional(),
    Key::new("missing_key", word(&["control", "cookie"]), "Without a key: control, or a sticky anonymous id.")
        .or("control"),
    Key::new("override", Kind::Table(OVERRIDE), "Lets testers choose their arm: `candidate KEY`.").optional(),
    Key::new("deadline", WAIT, "From arrival to the last byte, both tries together. Never for tunnels."),
    Key::new("rewrite", Kind::Table(REWRITE), "Changes to the path, and what each arm is sent and answers."),
    Key::new("request_headers", Kind::Table(HEADER_CHANGES), "Changes to the request's fields."),
    Key::new("response_headers", Kind::Table(HEADER_CHANGES), "Changes to the response's fields."),
    Key::new("rollout", Kind::Table(ROLLOUT), "How many get the candidate."),
    Key::new("guards", Kind::Named(GUARD), "Conditions that alert, hold or roll back."),
    Key::new("quality_gate", Kind::Table(QUALITY_GATE), "Control serves while the candidate's answers are too bad.")
        .optional(),
    Key::new("fallback", Kind::Table(FALLBACK), "What control answers when the candidate fails."),
    Key::new(
        "expose",
        word(&["trusted", "always", "never"]),
        "Who is told which arm served: trusted peers, everybody, nobody.",
    )
    .or("trusted"),
    Key::new(
        "values",
        Kind::Table(VALUES),
        "What OFREP hands out; `false` for control and `true` for candidate without it.",
    )
    .optional(),
    Key::new("experiment", Kind::Table(EXPERIMENT), "Whether the candidate is better: what decides, and when.")
        .optional(),
    Key::new("judge", Kind::Table(sampling::JUDGING), "Which exchanges are scored, by whom, and what is sent of them.")
        .optional(),
    Key::new("samples", Kind::Table(sampling::SAMPLES), "Exchanges that are kept in the store, for people.").optional(),
    Key::new(
        "shadow",
        Kind::Table(sampling::SHADOW),
        "Copies of requests to the candidate; users get control's answer.",
    ),
];

const VALUES: &[Key] = &[
    Key::new("control", JSON, "To who gets control.").required(),
    Key::new("candidate", JSON, "To who gets the candidate. Clients ask by type, so both should have the same.")
        .required(),
];

const TARGETS: &[Key] = &[
    Key::new("control", Kind::List(&TEXT), "Keys that get control, or `sha256:` and the hex digits of their SHA-256.")
        .or("[]"),
    Key::new("control_file", FILE, "A file with such keys, one a line; `#` begins a line that is a comment."),
    Key::new("candidate", Kind::List(&TEXT), "Keys that get the candidate.").or("[]"),
    Key::new("candidate_file", FILE, "A file with such keys."),
];

const EXCLUSIVE: &[Key] = &[
    Key::new("group", TEXT, "The group.").required(),
    Key::new("slots", Kind::List(&PERCENT), "Where this route's slots begin and end, from 0 to 100: `[0, 50]`.")
        .required(),
];

const PREREQUISITE: &[Key] = &[
    Key::new("route", reference("routes"), "The other route.").required(),
    Key::new("arm", word(&["control", "candidate"]), "The arm that it must assign.").required(),
];

const PIN: &[Key] = &[
    Key::new("by", reference("contexts"), "The kind whose key is the conversation's.").required(),
    Key::new("idle", duration(SECOND, DAY), "How long after its last request a conversation keeps its arm.").or("30m"),
    Key::new(
        "secrets",
        Kind::List(&SECRET),
        "What tokens are signed with, at least 16 bytes each: the first signs, all verify.",
    )
    .required(),
];

const RULE: &[Key] = &[
    Key::new("name", TEXT, "The name, for explanations.").required(),
    Key::new("if", CONDITION, "Whom it is for.").required(),
    Key::new("serve", word(&["control", "candidate"]), "The arm that they get."),
    Key::new("percent", PERCENT, "Instead of `serve`: percent of them that get the candidate."),
];

const OVERRIDE: &[Key] = &[
    Key::new("header", HEADER_NAME, "The header. It reaches no backend, whichever route takes the request.")
        .or("x-pointsman-override"),
    Key::new("key", SECRET, "What the tester must know, at least 8 bytes.").required(),
];

const REWRITE: &[Key] = &[
    Key::new("prefix", PATH, "Replaces the matched prefix of the path."),
    Key::new("control", Kind::Table(ARM_REWRITE), "What control alone is sent and answers."),
    Key::new("candidate", Kind::Table(ARM_REWRITE), "What the candidate alone is sent and answers."),
];

const ARM_REWRITE: &[Key] = &[
    Key::new("request", Kind::Table(REQUEST_REWRITE), "What the arm is sent."),
    Key::new("response", Kind::Table(RESPONSE_REWRITE), "What the client gets of its answer."),
];

const REQUEST_REWRITE: &[Key] = &[
    Key::new("path", PATH, "Replaces the whole path; the query stays, the backend's own path goes before."),
    Key::new("headers", Kind::Table(HEADER_CHANGES), "Changes to the request's fields, after all others."),
    Key::new(
        "json_merge",
        JSON,
        "Laid over the JSON body (RFC 7396), after `template`. A string is JSON text, with `null`.",
    ),
    Key::new("template", JSON, "Makes the JSON body: a JSON document with `{{ value }}`, or a table of texts."),
];

const RESPONSE_REWRITE: &[Key] =
    &[Key::new("template", JSON, "Makes the JSON body of a 2xx answer, in the same two forms.")];

const HEADER_CHANGES: &[Key] = &[
    Key::new("remove", Kind::List(&HEADER_NAME), "Taken away, first.").or("[]"),
    Key::new("set", Kind::Headers(&HEADER_VALUE), "Put in place of what is there."),
    Key::new("add", Kind::Headers(&HEADER_VALUE), "Put beside what is there."),
];

const ROLLOUT: &[Key] = &[
    Key::new("percent", PERCENT, "Percent of users that get the candidate. It belongs to the file; `stages` do not.")
        .or("0.0"),
    Key::new("stages", Kind::List(&Kind::Table(STAGE)), "A plan; the gateway walks through it. Instead of `percent`."),
    Key::new("watch", duration(Duration::ZERO, LONGEST), "How long guards still act after the last stage.").or("24h"),
    Key::new("run", TEXT, "Another value begins the plan anew, even after a rollback; without it, `start` begins it."),
    Key::new(
        "abort_on_failures",
        BOOL,
        "Rolls back at once when the first five attempts at the candidate failed, or all of the last ten, and \
         control is fine. Of routes with `stages` or `guards`.",
    )
    .or("true"),
    Key::new(
        "error_budget",
        float(0.001, 50.0),
        "Percent of rollouts of an equal candidate that sequential guards may roll back by mistake, all together.",
    )
    .or("1.0"),
];

/// The longest time that a stage can ask for.
const LONGEST: Duration = Duration::from_secs(90 * 24 * 3600);

const STAGE: &[Key] = &[
    Key::new("name", TEXT, "The name; `stage 1` and so on without it."),
    Key::new("percent", PERCENT, "Percent of users that get the candidate; not less than in the stage before.")
        .required(),
    Key::new("shadow", PERCENT, "Percent of control's requests of which the candidate gets a copy.").or("0.0"),
    Key::new("hold", duration(Duration::ZERO, LONGEST), "Active time before it may end.").or("0s"),
    Key::new("min_requests", integer(0, 1_000_000_000), "Requests drawn to the candidate before it may end.").or("0"),
    Key::new("min_users", integer(0, 1_000_000_000), "Users drawn to the candidate before it may end.").or("0"),
    Key::new("settle", duration(Duration::ZERO, DAY), "What happens in its first time does not count for gates.")
        .or("0s"),
    Key::new(
        "pass",
        Kind::List(&TEXT),
        "What must hold before it may end: `error_rate < 1%`, `quality > control at 95%`.",
    )
    .or("[]"),
    Key::new("approve", BOOL, "Whether somebody has to approve its end.").or("false"),
    Key::new("deadline", duration(SECOND, LONGEST), "Active time after which it waits no longer."),
    Key::new("on_deadline", word(&["hold", "rollback", "promote"]), "What becomes of it then.").or("hold"),
];

const GUARD: &[Key] = &[
    Key::new("when", TEXT, "The condition: `error_rate > 5%`, `latency.p95 > control * 1.5`, `breaker_open`.")
        .required(),
    Key::new("then", word(&["alert", "hold", "halve", "step_back", "rollback"]), "What it does.").required(),
    Key::new("window", duration(Duration::from_secs(10), Duration::from_secs(7 * 24 * 3600)), "What it looks at.")
        .or("5m"),
    Key::new("for", duration(Duration::ZERO, DAY), "For how long the condition has to hold.").or("0s"),
    Key::new("min_samples", integer(1, 1_000_000_000), "Fewer values of either arm are too little to tell.").or("20"),
    Key::new(
        "test",
        word(&["threshold", "sequential"]),
        "Compares figures as they are, or by a test of users that may be looked at at any time.",
    )
    .or("threshold"),
    Key::new("margin", TEXT, "Of a sequential test: the difference that would be of no concern, such as `1%`."),
    Key::new("on_no_data", duration(SECOND, LONGEST), "Alerts when there is too little to tell for this long.")
        .or("1h"),
    Key::new(
        "baseline",
        word(&["live", "frozen"]),
        "Compares with control of the same time, or with the last phase in which control had users.",
    )
    .or("live"),
];

const QUALITY_GATE: &[Key] = &[
    Key::new("metric", reference("metrics"), "The metric that it judges.").required(),
    Key::new("min", float(-1e300, 1e300), "It shuts when the mean is under this.").required(),
    Key::new("margin", float(0.0, 1e300), "It opens again only above `min` plus this.").or("0.02"),
    Key::new("window", duration(SECOND, HOUR), "What the mean is taken over.").or("5m"),
    Key::new("min_samples", integer(1, 1_000_000_000), "Not judged under this many scores.").or("20"),
    Key::new("retry_after", WAIT, "How long it stays shut before probes begin.").or("60s"),
    Key::new("probe_percent", float(0.001, 100.0), "Percent of the candidate's users that probe.").or("5.0"),
];

const EXPERIMENT: &[Key] = &[
    Key::new("name", TEXT, "What it is called; the route's name without it."),
    Key::new(
        "primary",
        TEXT,
        "The metric that decides: one of the file, or `errors`, `fallbacks`, `latency`, `first_byte`.",
    )
    .required(),
    Key::new(
        "effect",
        float(0.000_1, 100.0),
        "The smallest difference that matters, as a share of control: intervals are narrowest for it.",
    )
    .or("0.05"),
    Key::new("alpha", float(0.000_001, 0.5), "The chance of a false alarm, over the whole run.").or("0.05"),
    Key::new("power", float(0.5, 0.9999), "The chance to see a difference of `effect`, for planning.").or("0.8"),
    Key::new("min_users", integer(2, 1_000_000_000), "Users that each arm needs before anything is decided.").or("100"),
    Key::new("min_duration", duration(ZERO, YEAR), "How long it runs before anything is decided.").or("1d"),
    Key::new("start", TEXT, "Phases that ended before this do not count: `2026-11-20T08:00:00Z`."),
    Key::new("stop", TEXT, "Phases that began after this do not count; then the report stays as it is."),
    Key::new("guards", Kind::Named(EXPERIMENT_GUARD), "By metric: what must not become worse."),
    Key::new(
        "ship",
        Kind::List(&TEXT),
        "What else must hold to ship: `quality > control * 1.15 at 95%`, `error_rate < 1%`; as in `pass`.",
    )
    .or("[]"),
];

const EXPERIMENT_GUARD: &[Key] = &[
    Key::new("margin", float(0.0, 100.0), "How much worse is no worse, as a share of control.").or("0.0"),
    Key::new("absolute", float(0.0, 1e75), "The same in the metric's unit; both are added.").or("0.0"),
];

const FALLBACK: &[Key] = &[
    Key::new(
        "on",
        Kind::List(&word(&["connect", "timeout", "reset", "status", "429", "busy", "rewrite"])),
        "The causes that control answers for. `connect` always counts.",
    )
    .or(r#"["connect", "timeout", "reset", "status", "429", "busy", "rewrite"]"#),
    Key::new(
        "replay",
        word(&["connect", "always"]),
        "When a request that is not idempotent (POST) is sent twice: if nothing can have been done, or always.",
    )
    .or("connect"),
    Key::new("replay_body", size(0, GIB), "Bytes of a body kept for the second try.").or("1MiB"),
];
