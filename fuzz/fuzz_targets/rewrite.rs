//! Any template is compiled or refused; what it makes of any body is JSON within its bound, or a failure.
//!
//! The first byte says form and bound; template, body and merge patch follow, with a byte 0 between them.
#![no_main]

use std::alloc::System;

use cap::Cap;
use libfuzzer_sys::fuzz_target;
use pointsman::domain::Arm;
use pointsman::domain::rewrite::{Body, Given, Side, Template, document};
use serde_json::{Value, json};

/// Far more than bodies of fuzzers and what templates may write.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, 192 << 20);

/// Templates as files have them, for bodies of all kinds.
fn fixed() -> [Value; 3] {
    [
        json!(r#"{"query": {{ query }}, "history": [{% for m in messages %}{{ m.content }}{% if not loop.last %},{% endif %}{% endfor %}]}"#),
        json!({"query": "Answer: {{ query }}", "history": "{{ messages | default([]) }}", "all": "{{ body }}"}),
        json!({"answer": "{{ response }} of {{ arm }}"}),
    ]
}

fuzz_target!(|data: &[u8]| {
    let [form, rest @ ..] = data else { return };
    let mut parts = rest.splitn(3, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (source, body, merge) = (String::from_utf8_lossy(part()), part(), part());
    let limit = 1_usize << (form >> 1 & 0xf);
    let own = if form & 1 == 1 { json!({ "a": source }) } else { Value::from(&*source) };
    let Ok(body) = document(body) else { return };
    let merge = document(merge).ok();
    let given = Given { body: &body, facts: &[], route: "r", arm: Arm::Candidate, answer: Some((Some(&body), 200)) };
    for template in fixed().iter().chain([&own]) {
        let Ok(template) = Template::compile(template, Side::Response) else { continue };
        let rewrite = Body { template: Some(template), merge: merge.clone() };
        if let Ok(bytes) = rewrite.rewrite(&given, limit) {
            assert!(bytes.len() <= limit);
            assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
        }
    }
});
