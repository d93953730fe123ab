//! Any template is compiled or refused; what it makes of any body is JSON within its bound, or a failure.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pointsman::domain::Arm;
use pointsman::domain::rewrite::{Body, Given, Side, Template, document};
use serde_json::{Value, json};

/// Templates as files have them, for bodies of all kinds.
fn fixed() -> [Value; 3] {
    [
        json!(r#"{"query": {{ query }}, "history": [{% for m in messages %}{{ m.content }}{% if not loop.last %},{% endif %}{% endfor %}]}"#),
        json!({"query": "Answer: {{ query }}", "history": "{{ messages | default([]) }}", "all": "{{ body }}"}),
        json!({"answer": "{{ response }} of {{ arm }}"}),
    ]
}

fuzz_target!(|data: (String, bool, Vec<u8>, Vec<u8>, u16)| {
    let (source, table, body, merge, limit) = data;
    let own = if table { json!({ "a": source }) } else { Value::from(source) };
    let Ok(body) = document(&body) else { return };
    let merge = document(&merge).ok();
    let given = Given { body: &body, facts: &[], route: "r", arm: Arm::Candidate, answer: Some((Some(&body), 200)) };
    for template in fixed().iter().chain([&own]) {
        let Ok(template) = Template::compile(template, Side::Response) else { continue };
        let rewrite = Body { template: Some(template), merge: merge.clone() };
        if let Ok(bytes) = rewrite.rewrite(&given, usize::from(limit)) {
            assert!(bytes.len() <= usize::from(limit));
            assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
        }
    }
});
