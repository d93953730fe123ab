//! Keys from a JWK Set (RFC 7517, 5). Entries that are not understood are passed over, as it asks for.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::key::{Algorithm, COORDINATE_BYTES, Key};

/// Most entries of a set.
pub const MAX_KEYS: usize = 100;

/// Why a document is no set of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// It is not JSON, or has no list `keys`.
    #[error("not a JWK Set")]
    Shape,
    /// It has too many entries.
    #[error("more than {MAX_KEYS} keys")]
    TooMany,
}

/// A key as it is published. Other members are ignored.
#[derive(Debug, Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<Box<str>>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// The public keys of a set that sign with an algorithm that we know. Secrets among them do not count:
/// what is published is none.
///
/// # Errors
/// When the document is no set. A set without keys for us is one all the same.
pub fn key_set(document: &[u8]) -> Result<Vec<Key>, SetError> {
    let set: Set = serde_json::from_slice(document).map_err(|_| SetError::Shape)?;
    if set.keys.len() > MAX_KEYS {
        return Err(SetError::TooMany);
    }
    Ok(set.keys.iter().filter_map(|entry| Jwk::deserialize(entry).ok()?.key()).collect())
}

impl Jwk {
    fn key(self) -> Option<Key> {
        let signs = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|word| word == "verify"));
        let is_for = |algorithm: Algorithm| signs && self.alg.as_deref().is_none_or(|name| name == algorithm.as_str());
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", None) if is_for(Algorithm::Rs256) => {
                Key::from_rsa(self.kid, &bytes(&self.n?)?, &bytes(&self.e?)?).ok()
            }
            ("EC", Some("P-256")) if is_for(Algorithm::Es256) => {
                Some(Key::from_p256(self.kid, &coordinate(&self.x?)?, &coordinate(&self.y?)?))
            }
            ("OKP", Some("Ed25519")) if is_for(Algorithm::EdDsa) => {
                Some(Key::from_ed25519(self.kid, &coordinate(&self.x?)?))
            }
            _ => None,
        }
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn coordinate(text: &str) -> Option<[u8; COORDINATE_BYTES]> {
    bytes(text)?.try_into().ok()
}
