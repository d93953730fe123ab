//! No text is a pin but one that was signed: not any text, and not a token with something changed.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pointsman::domain::Arm;
use pointsman::domain::pin::Pins;

const NOW: u64 = 1_795_161_600;

fuzz_target!(|data: (&str, &str, u64, usize, u8)| {
    let (text, session, now, at, byte) = data;
    let secrets: [&[u8]; 2] = [b"a new secret of 16 bytes or more", b"an old secret of 16 bytes or more"];
    let Some(pins) = Pins::new("answers", Duration::from_secs(1_800), secrets) else { return };
    assert!(pins.verify(text, session, now).is_err());
    let token = pins.sign(session, Arm::Candidate, NOW);
    assert!(pins.verify(&token, session, NOW).is_ok_and(|pinned| pinned.arm == Arm::Candidate));
    let mut changed = token.clone().into_bytes();
    let length = changed.len();
    changed[at % length] = byte;
    if let Ok(changed) = String::from_utf8(changed)
        && changed != token
    {
        assert!(pins.verify(&changed, session, NOW).is_err());
    }
});
