//! `[metrics.NAME]`.

use super::{HEADER_NAME, JSON, Key, Kind, TEXT, reference, word};

pub(super) const METRIC: &[Key] = &[
    Key::new(
        "kind",
        word(&["occurrence", "count", "value", "ratio"]),
        "What it is: yes or no, how often, a number, or the sum of one metric over the sum of another.",
    )
    .required(),
    Key::new("better", word(&["higher", "lower"]), "Which direction is good.").required(),
    Key::new("unit", TEXT, "For people: `ms`, `USD`.").or(""),
    Key::new("description", TEXT, "In words.").or(""),
    Key::new("tags", Kind::List(&TEXT), "For people, to find it by.").or("[]"),
    Key::new("from", Kind::Table(FROM), "Where it is read: one place for both arms, or one for each.").required(),
];

const FROM: &[Key] = &[
    Key::new("response_header", HEADER_NAME, "The response header that carries it."),
    Key::new("response_json", TEXT, "A JSON pointer into the answer; of a stream, into its last event that has it."),
    Key::new("event", TEXT, "The name of an event. Without `value`, an occurrence or a count of 1 each."),
    Key::new("value", TEXT, "With `event`: a JSON pointer into the event, for example `/value` or `/data/cost`."),
    Key::new("where", JSON, "With `event`: fields of the event's data that must be so: `{ success = true }`."),
    Key::new("usage", word(USAGE), "What a language model's answer tells of its own use."),
    Key::new("judge", reference("judges"), "The judge that gives it as a score."),
    Key::new("score", TEXT, "With `judge`: the name of the score; the metric's own name without it."),
    Key::new(
        "ratio",
        Kind::List(&TEXT),
        "Two metrics, own or built in: the sum of the first over the sum of the second.",
    ),
    Key::new("control", Kind::Table(ARM_FROM), "For this arm, instead.").optional(),
    Key::new("candidate", Kind::Table(ARM_FROM), "For this arm, instead.").optional(),
];

const ARM_FROM: &[Key] = &[
    Key::new("response_header", HEADER_NAME, "The response header that carries it."),
    Key::new("response_json", TEXT, "A JSON pointer into the answer; of a stream, into its last event that has it."),
    Key::new("usage", word(USAGE), "What a language model's answer tells of its own use."),
];

const USAGE: &[&str] =
    &["input_tokens", "output_tokens", "total_tokens", "cost", "first_token", "per_output_token", "tokens_per_second"];
