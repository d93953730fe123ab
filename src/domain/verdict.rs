//! What a judge says of an exchange: scores by name; or of a pair: which answer is better, or scores of both.
//!
//! Invariant: what is let through can be stored and counted: few, short names and numbers of a size
//! that sums can hold.

use serde_json::{Map, Value};

use super::metric::MAX_NUMBER;
use super::pairs::Preference;

/// Scores of one verdict.
pub const MAX_SCORES: usize = 32;
/// Bytes of a score's name.
pub const MAX_NAME_BYTES: usize = 64;

/// Reads `{"scores": {"quality": 0.8, "refused": false}}`; other members say nothing. `None` if it is no
/// verdict.
#[must_use]
pub fn scores(answer: &[u8]) -> Option<Map<String, Value>> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    valid(answer.get("scores")?).cloned()
}

/// What a judge says of two answers to the same request.
#[derive(Debug, Clone, PartialEq)]
pub struct PairVerdict {
    /// Which is better, if it says so.
    pub preference: Option<Preference>,
    /// Scores of control's and of the candidate's answer, if it says any.
    pub scores: Option<[Map<String, Value>; 2]>,
}

/// Reads `{"preference": "candidate"}` (or `control`, `tie`), `{"scores": {"control": {...}, "candidate": {...}}}`,
/// or both. `None` if it is no verdict.
#[must_use]
pub fn pair(answer: &[u8]) -> Option<PairVerdict> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let preference = match answer.get("preference") {
        None => None,
        Some(word) => Some(word.as_str().and_then(Preference::parse)?),
    };
    let scores = match answer.get("scores") {
        None => None,
        Some(scores) => Some([valid(scores.get("control")?)?.clone(), valid(scores.get("candidate")?)?.clone()]),
    };
    (preference.is_some() || scores.is_some()).then_some(PairVerdict { preference, scores })
}

fn valid(scores: &Value) -> Option<&Map<String, Value>> {
    let scores = scores.as_object()?;
    let fits = |(name, value): (&String, &Value)| {
        let number = value.as_f64().or_else(|| value.as_bool().map(|yes| f64::from(u8::from(yes))));
        (1..=MAX_NAME_BYTES).contains(&name.len()) && number.is_some_and(|number| number.abs() <= MAX_NUMBER)
    };
    ((1..=MAX_SCORES).contains(&scores.len()) && scores.iter().all(fits)).then_some(scores)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn verdicts_and_what_is_none() {
        let many: Map<String, Value> = (0..=MAX_SCORES).map(|n| (n.to_string(), json!(1))).collect();
        let long = "n".repeat(MAX_NAME_BYTES + 1);
        let rows = [
            (json!({"scores": {"quality": 0.8, "refused": false}, "why": "it is good"}), true),
            (json!({"scores": {"quality": -3}}), true),
            (json!({"scores": {}}), false),
            (json!({"scores": {"quality": "0.8"}}), false),
            (json!({"scores": {"quality": null}}), false),
            (json!({"scores": {"quality": 1e76}}), false),
            (json!({"scores": {"": 1}}), false),
            (json!({"scores": {long: 1}}), false),
            (json!({"scores": [0.8]}), false),
            (json!({"scores": many}), false),
            (json!({"quality": 0.8}), false),
            (json!("scores"), false),
        ];
        for (answer, expected) in rows {
            assert_eq!(scores(answer.to_string().as_bytes()).is_some(), expected, "{answer}");
        }
        for garbage in [&b""[..], b"\xff", b"{\"scores\": {\"a\": NaN}}", b"<html>"] {
            assert_eq!(scores(garbage), None);
        }
    }

    #[test]
    fn pairs_and_what_is_none() {
        let (one, other) = (json!({"quality": 1}), json!({"quality": 2}));
        let rows = [
            (json!({"preference": "candidate"}), true),
            (json!({"preference": "tie", "why": "alike"}), true),
            (json!({"scores": {"control": one, "candidate": other}}), true),
            (json!({"preference": "control", "scores": {"control": one, "candidate": other}}), true),
            (json!({"preference": "left"}), false),
            (json!({"preference": 1}), false),
            (json!({"preference": "tie", "scores": {"control": one}}), false),
            (json!({"scores": one}), false),
            (json!({}), false),
        ];
        for (answer, expected) in rows {
            assert_eq!(pair(answer.to_string().as_bytes()).is_some(), expected, "{answer}");
        }
    }
}
