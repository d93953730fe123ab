use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use super::answer::Pricing;
use super::*;
use crate::domain::reading::Format;

fn answer(arm: Arm, status: u16, millis: u64, body: impl Into<Bytes>) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        served: Some(arm.to_string()),
        reason: Some("override".to_owned()),
        request_id: Some("id".to_owned()),
        first_byte: Duration::from_millis(millis),
        total: Duration::from_millis(2 * millis),
        body: body.into(),
        format: None,
        cut: false,
    }
}

fn both(control: Answer, candidate: Answer) -> [Tried; 2] {
    let tried = |arm, answer| Tried { arm, answer: Ok(answer), pricing: None };
    [tried(Arm::Control, control), tried(Arm::Candidate, candidate)]
}

#[test]
fn what_people_see() {
    let one = json!({ "b": 2, "a": "same", "answer": "forty-two", "usage": { "prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46 } });
    let other = json!({ "a": "same", "answer": "42 \u{1b}[31m", "b": 2 });
    let tried = both(answer(Arm::Control, 200, 12, one.to_string()), answer(Arm::Candidate, 200, 3, other.to_string()));
    insta::assert_snapshot!("two_json_answers", told::told("answers", &tried));
    let euros = || Some(Pricing { input: 3.0, output: 15.0, currency: "EUR".to_owned() });
    let tried = tried.map(|tried| Tried { pricing: euros(), ..tried });
    let cost = told::as_json("answers", &tried)["arms"].clone();
    assert_eq!(
        (&cost[0]["cost"], &cost[0]["currency"], &cost[0]["output_tokens"]),
        (&json!(0.000546), &json!("EUR"), &json!(34))
    );
    assert_eq!((&cost[1]["cost"], &cost[1]["input_tokens"]), (&json!(null), &json!(null)));
    let (table, _) =
        told::told("answers", &tried).split_once("\n\n").map(|(table, rest)| (table.to_owned(), rest.len())).unwrap();
    insta::assert_snapshot!("costs", table);
    assert!(told::told("answers", &tried).contains("candidate: the answer tells no tokens, so its cost is not known"));
    let long: String = (0..40).map(|n| format!("line {n}\n")).collect();
    let mut covered = answer(Arm::Control, 200, 3, long.replace("line 30", "another"));
    covered.reason = Some("fallback".to_owned());
    let tried = both(answer(Arm::Control, 200, 12, long), covered);
    insta::assert_snapshot!("covered_by_control", told::told("answers", &tried));
    let failed = Tried { arm: Arm::Candidate, answer: Err("no whole answer within 1s".to_owned()), pricing: None };
    let [control, _] = both(answer(Arm::Control, 503, 1, "\u{fffd}"), answer(Arm::Control, 200, 1, ""));
    insta::assert_snapshot!("no_answer", told::told("answers", &[control, failed]));
}

#[test]
fn only_own_and_good_answers_count() {
    let good = || answer(Arm::Candidate, 204, 1, "");
    let rows = [
        (good(), true),
        (Answer { status: StatusCode::FOUND, ..good() }, false),
        (Answer { served: Some("control".to_owned()), ..good() }, false),
        (Answer { served: None, ..good() }, true),
        (Answer { cut: true, ..good() }, false),
    ];
    for (answer, expected) in rows {
        let told = format!("{answer:?}");
        assert_eq!(Tried { arm: Arm::Candidate, answer: Ok(answer), pricing: None }.is_well(), expected, "{told}");
    }
}

#[test]
fn tokens_are_read_from_objects_and_from_streams() {
    let rows = [
        (
            None,
            r#"{"usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}"#,
            Some((Some(1), Some(2))),
        ),
        (
            Some(Format::EventStream),
            "data: {\"usage\": null}\n\ndata: {\"usage\": {\"output_tokens\": 7}}\n\ndata: [DONE]\n\n",
            Some((None, Some(7))),
        ),
        (Some(Format::JsonLines), "{\"prompt_eval_count\": 4, \"eval_count\": 2}\n", Some((Some(4), Some(2)))),
        (None, r#"{"usage": {"prompt_tokens": "1"}}"#, None),
        (Some(Format::Json), r#"{"usage": 3}"#, None),
        (None, "usage", None),
    ];
    for (format, body, expected) in rows {
        let answer = Answer { format, ..answer(Arm::Control, 200, 1, body) };
        assert_eq!(answer.tokens().map(|tokens| (tokens.input, tokens.output)), expected, "{body}");
    }
}

#[test]
fn headers_of_the_command_line() {
    let (name, value) = header("Accept:  text/plain ").unwrap();
    assert_eq!((name.as_str(), value.to_str().unwrap()), ("accept", "text/plain"));
    for bad in ["accept", "a b: c", ": c", "a: b\nc"] {
        assert!(header(bad).is_err(), "{bad}");
    }
}

#[test]
fn json_for_programs() {
    let tried = both(answer(Arm::Control, 200, 12, "a\nb\n"), answer(Arm::Candidate, 500, 3, "a\nc\n"));
    let found = told::as_json("answers", &tried);
    assert_eq!((&found["ok"], &found["arms"][1]["status"]), (&json!(false), &json!(500)));
    assert_eq!(found["diff"], json!(["--- control", "+++ candidate", "@@ -1,2 +1,2 @@", " a", "-b", "+c"]));
    let escape = both(answer(Arm::Control, 200, 1, "\u{1b}[2Jgone"), answer(Arm::Candidate, 200, 1, "\u{9b}2J"));
    assert!(!told::told("answers", &escape).contains(['\u{1b}', '\u{9b}']), "a terminal would obey");
    let binary = both(answer(Arm::Control, 200, 1, vec![0xff]), answer(Arm::Candidate, 200, 1, "a"));
    assert_eq!(told::as_json("answers", &binary)["diff"], json!(null));
}
