//! Any text is refused as a token, any claims and sets of keys are read or refused, without a panic.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use pointsman::jwt::{Algorithm, Key, Rules, key_set, verify};
use ring::hmac;

const SECRET: &[u8] = b"a secret that is at least 32 bytes long";

static KEYS: LazyLock<[Key; 2]> = LazyLock::new(|| {
    let pem = include_bytes!("../../tests/keys/rsa-public.pem");
    [Key::from_secret("s", SECRET), Key::from_pem("r", Algorithm::Rs256, pem).unwrap()]
});

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules {
    algorithms: Algorithm::ALL.to_vec(),
    issuer: None,
    audience: vec!["a".into()],
    leeway: Duration::from_secs(60),
    require_exp: true,
    max_bytes: 8 << 10,
});

fuzz_target!(|data: (&str, Option<u8>, &[u8], &[u8], i64)| {
    let (text, header, payload, signature, now) = data;
    let now = Timestamp::from_second(now).unwrap_or(Timestamp::UNIX_EPOCH);
    let check = |token: &str| verify(token, &[&*KEYS], &RULES, now);
    assert!(check(text).is_err());
    let header = match header {
        Some(byte) if byte % 2 == 0 => r#"{"alg":"HS256","kid":"s"}"#,
        Some(_) => r#"{"alg":"RS256"}"#,
        None => text,
    };
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    assert!(check(&format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))).is_err());
    // Signed, so that the claims are read, too.
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message.as_bytes());
    if let Ok(verified) = check(&format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))) {
        assert!(verified.claims.is_object() && verified.until.is_some_and(|until| now.as_millisecond() < until));
    }
    if let Ok(keys) = key_set(payload) {
        assert!(keys.iter().all(|key| !key.algorithm().is_symmetric()));
    }
});
