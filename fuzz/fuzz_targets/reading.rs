//! Any answer is read without a panic, and the same is found however its bytes are cut.
//!
//! The first byte says the format, the second how to cut; a byte 1 stands for half of the longest document.
#![no_main]

use std::alloc::System;

use cap::Cap;
use libfuzzer_sys::fuzz_target;
use pointsman::domain::metric::{Kind, MetricId, Usage};
use pointsman::domain::pointer::Pointer;
use pointsman::domain::reading::{Format, MAX_DOCUMENT_BYTES, Number, Prices, Read, Reading};

/// Documents, what is made of them, and libFuzzer's own.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, 256 << 20);

const FORMATS: [Format; 3] = [Format::Json, Format::EventStream, Format::JsonLines];
/// Most places where half a document is put in.
const MAX_HALVES: usize = 3;

fn numbers() -> Vec<Number> {
    let rows = [("/score", Kind::Value), ("/n", Kind::Count), ("/a/0/b", Kind::Occurrence)];
    (0..)
        .zip(rows)
        .filter_map(|(id, (pointer, kind))| {
            Some(Number { metric: MetricId(id), kind, pointer: Pointer::parse(pointer).ok()? })
        })
        .collect()
}

fn read<'a>(format: Format, pieces: impl Iterator<Item = &'a [u8]>, numbers: &[Number]) -> Read {
    let mut reading = Reading::new(format);
    pieces.for_each(|piece| reading.see(piece, 1, numbers));
    reading.finish(numbers)
}

fuzz_target!(|data: &[u8]| {
    let [format, cut, text @ ..] = data else { return };
    let format = FORMATS[usize::from(*format) % FORMATS.len()];
    let mut body = Vec::new();
    let mut halves = 0;
    for byte in text {
        if *byte == 1 && halves < MAX_HALVES {
            halves += 1;
            body.resize(body.len() + MAX_DOCUMENT_BYTES / 2, b'x');
        } else {
            body.push(*byte);
        }
    }
    let numbers = numbers();
    let whole = read(format, std::iter::once(&*body), &numbers);
    // Long bodies are cut into long pieces, so that one input stays quick.
    let length = usize::from(*cut).max(1) * if halves == 0 { 1 } else { 1_021 };
    let cut = read(format, body.chunks(length), &numbers);
    assert_eq!(whole, cut);
    let prices = Some(Prices { input: 1.0, output: 2.0 });
    for usage in [Usage::TotalTokens, Usage::Cost, Usage::FirstToken, Usage::PerOutputToken, Usage::TokensPerSecond] {
        assert!(whole.usage(usage, prices).is_none_or(f64::is_finite));
    }
});
