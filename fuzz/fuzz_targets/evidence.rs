//! Any bytes are read as evidence or refused; what was read is written the same, and stays so when it is added up.
#![no_main]

use std::alloc::System;

use cap::Cap;
use libfuzzer_sys::fuzz_target;
use pointsman::domain::Arm;
use pointsman::domain::evidence::{BUDGET, CellKey, Kept, Measured, RouteEvidence, Stratum, decode, encode};
use pointsman::domain::metric::BuiltIn;
use pointsman::domain::phase::Phase;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, 256 << 20);

const KEY: CellKey =
    CellKey { phase: Phase(1), stratum: Stratum::Rollout, arm: Arm::Control, metric: Measured::BuiltIn(BuiltIn::Latency) };

fn same_again(kept: &Kept) {
    let bytes = encode(kept);
    let again = decode(&bytes).expect("what was written is read");
    assert_eq!(encode(&again), bytes);
}

fuzz_target!(|data: &[u8]| {
    let (Ok(one), other) = (decode(data), decode(&data[data.len() / 2..])) else { return };
    assert_eq!(encode(&one), data, "one way of writing each");
    let mut evidence = RouteEvidence::default();
    for kept in [Some(&one), Some(&one), other.as_ref().ok()].into_iter().flatten() {
        match kept {
            Kept::Cell(cell) => evidence.merge_cell(KEY, cell),
            Kept::Draw(draw) => evidence.merge_draw(KEY.phase, KEY.stratum, draw),
        }
    }
    assert!(evidence.bytes() <= BUDGET);
    for (_, cell) in evidence.cells() {
        if let Some((ratio, variance)) = cell.moments().ratio() {
            assert!(ratio.is_finite() && variance >= 0.0);
        }
        same_again(&Kept::Cell(cell.clone()));
    }
    for (_, draw) in evidence.draws() {
        let users_found = draw.users.users();
        assert!(users_found.only[0] >= 0.0 && users_found.only[1] >= 0.0 && users_found.both >= 0.0);
        same_again(&Kept::Draw(draw.clone()));
    }
});
