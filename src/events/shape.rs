//! What a batch of events looks like, as JSON Schema.
//!
//! It describes what `batch` reads, by the same bounds; it judges nothing. `null` is as good as nothing.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::batch::{MAX_ID, MAX_NAME};
use crate::domain::assignment::MAX_KEY_BYTES;
use crate::domain::exposure::TOKEN_LETTERS;
use crate::store::MAX_BATCH;

/// No spaces and no control characters.
const WORD: &str = r"^[^\s\x00-\x1f\x7f-\x9f]+$";

/// An event, a list of events, or `{"events": [...]}`.
pub fn shape(_: &mut SchemaGenerator) -> Schema {
    let event = event();
    let list = json!({ "type": "array", "maxItems": MAX_BATCH, "items": event });
    let named = json!({
        "type": "object", "properties": { "events": list }, "required": ["events"], "additionalProperties": false,
    });
    json_schema!({ "anyOf": [event, list, named] })
}

fn event() -> Value {
    let text = |words: &str| json!({ "type": ["string", "null"], "description": words });
    let word = |most: usize, words: &str| {
        let types = ["string", "null"];
        json!({ "type": types, "minLength": 1, "maxLength": most, "pattern": WORD, "description": words })
    };
    json!({
        "type": "object",
        "properties": {
            "id": word(MAX_ID, "By which a repetition is known; made where there is none."),
            "name": {
                "type": "string", "minLength": 1, "maxLength": MAX_NAME, "pattern": WORD, "description": "What happened.",
            },
            "user": {
                "type": ["string", "null"], "minLength": 1, "maxLength": MAX_KEY_BYTES,
                "description": "The key of the user.",
            },
            "exposure": word(TOKEN_LETTERS, "The exposure token of an answer."),
            "route": text("The route that it counts for."),
            "contexts": {
                "type": ["object", "null"], "description": "Attributes of the user, by kind and name, as OFREP takes them.",
            },
            "value": { "type": ["number", "null"], "description": "A finite number." },
            "data": { "description": "Whatever belongs to it; kept and not read." },
            "timestamp": {
                "type": ["string", "null"], "format": "date-time",
                "description": "When it happened (RFC 3339); now where there is none.",
            },
        },
        "required": ["name"],
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::batch::FIELDS;

    #[test]
    fn every_field_that_is_read_is_told() {
        let event = event();
        let told: Vec<&str> = event["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(told, FIELDS);
    }
}
