//! What a judge says of an exchange: scores by name.
//!
//! Invariant: what is let through can be stored and counted: few, short names and numbers of a size
//! that sums can hold.

use serde_json::{Map, Value};

use super::metric::MAX_NUMBER;

/// Scores of one verdict.
pub const MAX_SCORES: usize = 32;
/// Bytes of a score's name.
pub const MAX_NAME_BYTES: usize = 64;

/// Reads `{"scores": {"quality": 0.8, "refused": false}}`; other members say nothing. `None` if it is no
/// verdict.
#[must_use]
pub fn scores(answer: &[u8]) -> Option<Map<String, Value>> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let scores = answer.get("scores")?.as_object()?;
    let fits = |(name, value): (&String, &Value)| {
        let number = value.as_f64().or_else(|| value.as_bool().map(|yes| f64::from(u8::from(yes))));
        (1..=MAX_NAME_BYTES).contains(&name.len()) && number.is_some_and(|number| number.abs() <= MAX_NUMBER)
    };
    ((1..=MAX_SCORES).contains(&scores.len()) && scores.iter().all(fits)).then(|| scores.clone())
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
}
