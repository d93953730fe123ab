use super::*;
use proptest::prelude::*;

const OPENAI: &str = r#"{"id":"c","choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}"#;
const OPENAI_STREAM: &str = concat!(
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\"usage\":null}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}],\"usage\":null}\r\n\r\n",
    ": keep-alive\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"lo\"}}],\"usage\":null}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":3}}\n\n",
    "data: [DONE]\n\n",
);
const ANTHROPIC_STREAM: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":20,\"cache_read_input_tokens\":5,\"output_tokens\":1}}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"Hi\"}}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":9}}\n\n",
);
const OLLAMA_STREAM: &str = concat!(
    "{\"message\":{\"content\":\"Hi\"},\"done\":false}\n",
    "{\"message\":{\"content\":\"\"},\"done\":true,\"prompt_eval_count\":4,\"eval_count\":2}\n",
);

fn number(metric: u16, pointer: &str) -> Number {
    Number { metric: MetricId(metric), kind: Kind::Value, pointer: Pointer::parse(pointer).unwrap() }
}

/// Reads a body in pieces of a length, one a millisecond.
fn read(format: Format, body: &str, length: usize, numbers: &[Number]) -> Read {
    let mut reading = Reading::new(format);
    for (at, piece) in (1..).zip(body.as_bytes().chunks(length)) {
        reading.see(piece, at * 1_000, numbers);
    }
    reading.finish(numbers)
}

fn tokens(input: u64, output: u64) -> Tokens {
    Tokens { input: Some(input), output: Some(output) }
}

#[test]
fn tokens_are_read_from_every_shape_however_it_is_cut() {
    let rows = [
        (Format::Json, OPENAI, tokens(11, 7)),
        (Format::EventStream, OPENAI_STREAM, tokens(11, 3)),
        (Format::EventStream, ANTHROPIC_STREAM, tokens(25, 9)),
        (Format::JsonLines, OLLAMA_STREAM, tokens(4, 2)),
        (Format::JsonLines, OLLAMA_STREAM.trim_end(), tokens(4, 2)),
        (Format::Json, r#"{"usage":{"input_tokens":3,"output_tokens":1}}"#, tokens(3, 1)),
        (
            Format::EventStream,
            "data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n",
            tokens(3, 1),
        ),
        (Format::Json, r#"{"usage":{"prompt_tokens":-3,"completion_tokens":"7"}}"#, Tokens::default()),
        (Format::Json, r#"{"usage":"none"}"#, Tokens::default()),
        (Format::Json, "not JSON", Tokens::default()),
        (Format::Json, "", Tokens::default()),
        (Format::EventStream, "data: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}", Tokens::default()),
    ];
    for (format, body, expected) in rows {
        for length in [1, 2, 7, 64, 4096] {
            assert_eq!(read(format, body, length, &[]).tokens, expected, "{length}: {body}");
        }
    }
}

#[test]
fn a_stream_tells_its_times_and_a_whole_answer_none() {
    let mut reading = Reading::new(Format::EventStream);
    for (at, event) in (1..).zip(OPENAI_STREAM.split_inclusive("\n\n")) {
        reading.see(event.as_bytes(), at * 10_000, &[]);
    }
    let read = reading.finish(&[]);
    assert_eq!((read.first_token, read.last_token), (Some(20_000), Some(30_000)));
    assert_eq!(read.usage(Usage::FirstToken, None), Some(20.0));
    // Three tokens in all: two after the first, in ten milliseconds.
    assert_eq!(read.usage(Usage::PerOutputToken, None), Some(5.0));
    assert_eq!(read.usage(Usage::TokensPerSecond, None), Some(200.0));
    let whole = super::tests::read(Format::Json, OPENAI, 4096, &[]);
    assert_eq!((whole.usage(Usage::FirstToken, None), whole.usage(Usage::PerOutputToken, None)), (None, None));
}

#[test]
fn cost_needs_prices_and_both_counts() {
    let prices = Some(Prices { input: 3.0, output: 15.0 });
    let whole = read(Format::Json, OPENAI, 4096, &[]);
    let cost = whole.usage(Usage::Cost, prices).unwrap();
    assert!((cost - (11.0 * 3.0 + 7.0 * 15.0) / 1e6).abs() < 1e-15, "{cost}");
    assert_eq!((whole.usage(Usage::TotalTokens, None), whole.usage(Usage::Cost, None)), (Some(18.0), None));
    let half = read(Format::Json, r#"{"usage":{"prompt_tokens":11}}"#, 4096, &[]);
    assert_eq!((half.usage(Usage::Cost, prices), half.usage(Usage::TotalTokens, None)), (None, None));
    assert_eq!(half.usage(Usage::InputTokens, None), Some(11.0));
}

#[test]
fn numbers_are_found_in_answers_and_in_the_last_event_that_has_them() {
    let numbers = [number(0, "/score"), number(1, "/rag/similarity"), number(2, "/none")];
    let body = r#"{"score":"0.5","rag":{"similarity":0.25}}"#;
    let values = read(Format::Json, body, 5, &numbers).values;
    assert_eq!([0, 1, 2].map(|id| values.get(MetricId(id))), [Some(0.5), Some(0.25), None]);
    let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"score\":1}\n\ndata: {\"score\":2}\n\ndata: {\"other\":3}\n\n";
    assert_eq!(read(Format::EventStream, stream, 9, &numbers).values.get(MetricId(0)), Some(2.0));
}

#[test]
fn what_is_too_long_is_unknown_and_what_follows_is_read() {
    let long = format!(
        "{{\"pad\":\"{}\",\"usage\":{{\"prompt_tokens\":1,\"completion_tokens\":1}}}}",
        "x".repeat(MAX_DOCUMENT_BYTES)
    );
    assert_eq!(read(Format::Json, &long, 1 << 16, &[]).tokens, Tokens::default());
    let lines = format!("{long}\n{OLLAMA_STREAM}");
    for length in [1 << 12, 1 << 16, 4 << 20] {
        assert_eq!(read(Format::JsonLines, &lines, length, &[]).tokens, tokens(4, 2), "{length}");
    }
    let events = format!("data: {long}\n\n{OPENAI_STREAM}");
    assert_eq!(read(Format::EventStream, &events, 1 << 16, &[]).tokens, tokens(11, 3));
}

#[test]
fn it_is_told_why_nothing_was_read() {
    let long = format!("{{\"pad\":\"{}\"}}", "x".repeat(MAX_DOCUMENT_BYTES));
    let long_event = format!("data: {long}\n\n");
    let many_lines = format!("{}\n", format!("data: {}\n", "x".repeat(1 << 16)).repeat(17));
    let rows = [
        (Format::Json, OPENAI, None),
        (Format::Json, "{}", None),
        (Format::Json, "", None),
        (Format::Json, "<html>", Some(Unread::NotJson)),
        (Format::Json, &OPENAI[..40], Some(Unread::NotJson)),
        (Format::Json, &long, Some(Unread::TooLong)),
        (Format::EventStream, "data: [DONE]\n\n", None),
        (Format::EventStream, "data: hello\n\n", Some(Unread::NotJson)),
        (Format::EventStream, &long_event, Some(Unread::TooLong)),
        (Format::EventStream, &many_lines, Some(Unread::TooLong)),
        (Format::JsonLines, "{}\nhello\n", Some(Unread::NotJson)),
    ];
    for (format, body, expected) in rows {
        assert_eq!(read(format, body, 1 << 12, &[]).unread, expected, "{format:?}: {}", &body[..body.len().min(60)]);
    }
    // What was found counts, whatever else there was.
    let stray = format!("data: hello\n\n{long_event}{OPENAI_STREAM}");
    let stray = read(Format::EventStream, &stray, 1 << 12, &[]);
    assert_eq!((stray.unread, stray.tokens), (None, tokens(11, 3)));
    assert!(Unread::ALL.iter().enumerate().all(|(index, why)| why.index() == index));
}

#[test]
fn no_more_is_held_than_a_document() {
    let mut reading = Reading::new(Format::Json);
    let mut most = 0;
    for at in 0..3_000 {
        reading.see(&[b'x'; 1_000], at, &[]);
        most = most.max(reading.held());
    }
    assert!((500_000..=MAX_DOCUMENT_BYTES).contains(&most), "{most}");
    let mut reading = Reading::new(Format::EventStream);
    OPENAI_STREAM.split_inclusive("\n\n").for_each(|event| reading.see(event.as_bytes(), 1, &[]));
    assert_eq!(reading.held(), 0);
}

#[test]
fn how_an_answer_is_cut_does_not_matter_where_documents_are_too_long() {
    let (half, told) = ("x".repeat(MAX_DOCUMENT_BYTES / 2), r#"{"usage":{"prompt_tokens":1,"completion_tokens":1}}"#);
    let rows = [
        // A line alone, and one that would be a document without what is too long.
        (Format::JsonLines, format!("{told}{}\n", " ".repeat(MAX_DOCUMENT_BYTES)), Tokens::default()),
        (Format::JsonLines, format!("{told}{}", " ".repeat(MAX_DOCUMENT_BYTES - told.len())), tokens(1, 1)),
        (Format::EventStream, format!("data: {told}\ndata: {half}{half}{half}\n\n"), Tokens::default()),
        (Format::EventStream, format!("data: {half}{half}{half}\ndata: {told}\n\n"), Tokens::default()),
        (Format::EventStream, format!("data: {told}\ndata: {half}\ndata: {half}\n\n"), Tokens::default()),
        (Format::EventStream, format!("data: {half}\ndata: {half}\ndata: {told}\n\n"), Tokens::default()),
        (Format::EventStream, format!("data: {half}{half}{half}\n\ndata: {told}\n\n"), tokens(1, 1)),
    ];
    for (row, (format, body, expected)) in rows.iter().enumerate() {
        for length in [4_096, 65_537, 8 << 20] {
            assert_eq!(read(*format, body, length, &[]).tokens, *expected, "row {row}, {length}");
        }
    }
}

#[test]
fn counts_without_bounds_are_added_without_a_panic() {
    let body = format!(
        r#"{{"usage":{{"input_tokens":{0},"cache_read_input_tokens":{0},"output_tokens":{0},
        "cache_creation_input_tokens":{0}}}}}"#,
        u64::MAX
    );
    let read = read(Format::Json, &body, 4096, &[]);
    assert_eq!(read.tokens, tokens(u64::MAX, u64::MAX));
    assert_eq!(read.usage(Usage::TotalTokens, None), Some(u64::MAX as f64));
}

#[test]
fn formats_are_told_by_their_content_type() {
    let rows = [
        ("application/json", Some(Format::Json)),
        ("Application/JSON; charset=utf-8", Some(Format::Json)),
        ("application/problem+json", Some(Format::Json)),
        ("text/event-stream; charset=utf-8", Some(Format::EventStream)),
        ("application/x-ndjson", Some(Format::JsonLines)),
        ("text/html", None),
        ("", None),
    ];
    for (content_type, expected) in rows {
        assert_eq!(Format::of(content_type), expected, "{content_type}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_read_without_a_panic(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20), kind in 0_usize..3) {
        let format = [Format::Json, Format::EventStream, Format::JsonLines][kind];
        let mut reading = Reading::new(format);
        let numbers = [number(0, "/a")];
        pieces.iter().for_each(|piece| reading.see(piece, 1, &numbers));
        let _read = reading.finish(&numbers);
    }

    #[test]
    fn where_a_stream_is_cut_changes_nothing(cuts in proptest::collection::vec(0_usize..OPENAI_STREAM.len(), 0..8)) {
        let mut cuts = cuts;
        cuts.extend([0, OPENAI_STREAM.len()]);
        cuts.sort_unstable();
        let mut reading = Reading::new(Format::EventStream);
        cuts.windows(2).for_each(|cut| reading.see(&OPENAI_STREAM.as_bytes()[cut[0]..cut[1]], 1, &[]));
        prop_assert_eq!(reading.finish(&[]).tokens, tokens(11, 3));
    }
}
