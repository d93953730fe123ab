//! Any text is loaded or refused with messages, without a panic.
#![no_main]

use std::alloc::System;
use std::collections::BTreeMap;

use cap::Cap;
use libfuzzer_sys::fuzz_target;
use pointsman::config::load_text;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, 256 << 20);

fuzz_target!(|text: &str| {
    if let Err(report) = load_text(text, "gateway.toml", &BTreeMap::new()) {
        assert!(!report.to_string().is_empty());
    }
});
