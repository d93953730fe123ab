//! `[jwt]`: tokens whose claims are attributes and keys.

use super::{
    BOOL, DAY, FILE, HEADER_NAME, HOUR, KIB, Key, Kind, MIB, MINUTE, SECOND, SECRET, TEXT, URL, ZERO, duration, size,
    word,
};

/// How a token may be signed.
const ALGORITHM: Kind = word(&["HS256", "RS256", "ES256", "EdDSA"]);

pub(super) const JWT: &[Key] = &[
    Key::new(
        "header",
        HEADER_NAME,
        "The request header that holds the token, behind `Bearer`; in others than `authorization` it may stand alone.",
    )
    .or("authorization"),
    Key::new(
        "cookie",
        TEXT,
        "The cookie that holds the token, instead of a header; with `header`, where that has none.",
    ),
    Key::new("algorithms", Kind::List(&ALGORITHM), "How tokens may be signed. All others are refused, `none` always.")
        .required(),
    Key::new("issuer", TEXT, "What `iss` has to be. Without it, anything."),
    Key::new("audience", Kind::List(&TEXT), "What `aud` has to name one of. Empty, anything.").or("[]"),
    Key::new("leeway", duration(ZERO, HOUR), "How far the issuer's clock and ours may be apart.").or("60s"),
    Key::new("require_exp", BOOL, "Refuse tokens that never expire.").or("true"),
    Key::new("max_bytes", size(256, MIB), "Bytes of a token; longer ones do not count.").or("8KiB"),
    Key::new("keys", Kind::Named(KEY), "Keys that are known. Tokens name one by its `kid`."),
    Key::new("jwks", Kind::Table(JWKS), "Public keys that the issuer publishes (JWK Set).").optional(),
];

const KEY: &[Key] = &[
    Key::new("algorithm", ALGORITHM, "The one algorithm that it is for.").required(),
    Key::new("kid", TEXT, "Its name in tokens; the table's without."),
    Key::new("secret", SECRET, "For HS256: the shared secret, at least 32 bytes."),
    Key::new(
        "public_key",
        SECRET,
        "For the others: PEM (`-----BEGIN PUBLIC KEY-----`) or a file with it, read again when it changes.",
    ),
];

const JWKS: &[Key] = &[
    Key::new("url", URL, "Where it is; fetched in the background.").required(),
    Key::new(
        "refresh",
        duration(SECOND, DAY),
        "How often. A token of an unknown key asks once more, at most every 10 s; failures are retried sooner.",
    )
    .or("10m"),
    Key::new("timeout", duration(super::MILLISECOND, MINUTE), "For one fetch.").or("5s"),
    Key::new("max_bytes", size(KIB, 16 * MIB), "Bytes of the answer; longer ones are a failure.").or("256KiB"),
    Key::new("ca", FILE, "PEM of the certificate authorities to trust instead of the system's."),
];
