use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use super::answer::Usage;
use super::*;

fn answer(arm: Arm, status: u16, millis: u64, body: impl Into<Bytes>) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        served: Some(arm.to_string()),
        reason: Some("override".to_owned()),
        request_id: Some("id".to_owned()),
        first_byte: Duration::from_millis(millis),
        total: Duration::from_millis(2 * millis),
        body: body.into(),
        cut: false,
    }
}

fn both(control: Answer, candidate: Answer) -> [Tried; 2] {
    [Tried { arm: Arm::Control, answer: Ok(control) }, Tried { arm: Arm::Candidate, answer: Ok(candidate) }]
}

#[test]
fn what_people_see() {
    let one = json!({ "b": 2, "a": "same", "answer": "forty-two", "usage": { "prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46 } });
    let other = json!({ "a": "same", "answer": "42 \u{1b}[31m", "b": 2 });
    let tried = both(answer(Arm::Control, 200, 12, one.to_string()), answer(Arm::Candidate, 200, 3, other.to_string()));
    insta::assert_snapshot!("two_json_answers", told::told("answers", &tried));
    let long: String = (0..40).map(|n| format!("line {n}\n")).collect();
    let mut covered = answer(Arm::Control, 200, 3, long.replace("line 30", "another"));
    covered.reason = Some("fallback".to_owned());
    let tried = both(answer(Arm::Control, 200, 12, long), covered);
    insta::assert_snapshot!("covered_by_control", told::told("answers", &tried));
    let failed = Tried { arm: Arm::Candidate, answer: Err("no whole answer within 1s".to_owned()) };
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
        assert_eq!(Tried { arm: Arm::Candidate, answer: Ok(answer) }.is_well(), expected, "{told}");
    }
}

#[test]
fn usage_is_read_from_objects_and_from_event_streams() {
    let usage = |prompt, completion, total| {
        Some(Usage { prompt_tokens: prompt, completion_tokens: completion, total_tokens: total })
    };
    let rows = [
        (
            r#"{"usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}"#,
            usage(Some(1), Some(2), Some(3)),
        ),
        (
            "data: {\"usage\": null}\n\ndata: {\"usage\": {\"total_tokens\": 7}}\n\ndata: [DONE]\n\n",
            usage(None, None, Some(7)),
        ),
        (r#"{"usage": {"prompt_tokens": "1"}}"#, None),
        (r#"{"usage": 3}"#, None),
        ("usage", None),
    ];
    for (body, expected) in rows {
        assert_eq!(answer(Arm::Control, 200, 1, body).usage(), expected, "{body}");
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
