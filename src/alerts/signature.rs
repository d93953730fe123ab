//! Signatures of messages as Standard Webhooks has them:
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::ExposeSecret as _;
use sha2::Sha256;

use crate::config::model::SigningKey;

/// `webhook-signature`: one `v1,` for each key, in their order, with spaces between; `None` without keys.
pub(super) fn of(keys: &[SigningKey], id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let signatures = keys.iter().filter_map(|SigningKey(key)| {
        let key = BASE64_STANDARD.decode(key.expose_secret()).ok()?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        Some(format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes())))
    });
    let signatures: Vec<String> = signatures.collect();
    (!signatures.is_empty()).then(|| signatures.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that the libraries of Standard Webhooks are tested with.
    #[test]
    fn the_published_example() {
        let key = || SigningKey("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into());
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(of(&[key()], id, 1_614_265_330, body).as_deref(), Some(expected));
        assert_eq!(of(&[key(), key()], id, 1_614_265_330, body), Some(format!("{expected} {expected}")));
        assert_ne!(of(&[key()], id, 1_614_265_331, body).as_deref(), Some(expected));
        assert_eq!(of(&[], id, 1_614_265_330, body), None);
    }
}
