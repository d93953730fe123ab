//! Pins: signed tokens with which a conversation keeps its arm.
//!
//! A token is 57 bytes in base64url without padding (RFC 4648, 5), 76 characters: version (1), time of
//! signing in seconds since 1970 (8, big endian), subject (16: the beginning of
//! `sha256("{session key}:pin:{route}")`), and HMAC-SHA-256 (32, RFC 2104) over all of these and one
//! byte for the arm. The arm itself is not in it: who holds a token must not learn which arm serves him.
//! Everything is a function of keys and time; a token that is not in order is never more than ignored.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::Arm;
use super::assignment::Digest;

/// Characters of a token.
pub const TOKEN_CHARACTERS: usize = 76;
/// Fewest bytes of a secret.
pub const MIN_SECRET_BYTES: usize = 16;
/// Most secrets of one route: one that signs, and those before it that still verify.
pub const MAX_SECRETS: usize = 4;

const VERSION: u8 = 1;
const SUBJECT_BYTES: usize = 16;
/// Version, time and subject.
const HEAD_BYTES: usize = 1 + 8 + SUBJECT_BYTES;
const TOKEN_BYTES: usize = HEAD_BYTES + 32;
/// How far the clock of the replica that signed may be ahead of ours.
const MAX_AHEAD_SECONDS: u64 = 60;

/// Signs and verifies the pins of one route.
#[derive(Clone)]
pub struct Pins {
    salt: Box<str>,
    idle: Duration,
    /// The first signs, all verify.
    keys: Box<[Hmac<Sha256>]>,
}

/// A pin that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pinned {
    /// The arm that the conversation keeps.
    pub arm: Arm,
    /// Whether a new token is due: half of `idle` has passed, or another secret signs now.
    pub renew: bool,
}

/// Why a pin does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// It has not the shape of a token.
    Malformed,
    /// No secret of the route signed it.
    Forged,
    /// It is for another route or conversation.
    Foreign,
    /// `idle` has passed since it was signed, or it is from the future.
    Expired,
}

impl Rejection {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Malformed, Self::Forged, Self::Foreign, Self::Expired];

    /// The word in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Forged => "forged",
            Self::Foreign => "foreign",
            Self::Expired => "expired",
        }
    }

    /// Position in [`Rejection::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl Pins {
    /// The pins of a route that end after `idle`. `None` without a secret.
    #[must_use]
    pub fn new<'a>(route: &str, idle: Duration, secrets: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let keys: Option<Box<[_]>> =
            secrets.into_iter().map(|secret| Hmac::<Sha256>::new_from_slice(secret).ok()).collect();
        let keys = keys.filter(|keys| !keys.is_empty())?;
        Some(Self { salt: format!("pin:{route}").into(), idle, keys })
    }

    /// After which time without a request a conversation is over.
    #[must_use]
    pub const fn idle(&self) -> Duration {
        self.idle
    }

    /// A token for a conversation; `now` in seconds since 1970.
    #[must_use]
    pub fn sign(&self, session: &str, arm: Arm, now: u64) -> String {
        let mut token = [0; TOKEN_BYTES];
        token[0] = VERSION;
        token[1..9].copy_from_slice(&now.to_be_bytes());
        token[9..HEAD_BYTES].copy_from_slice(&self.subject(session));
        if let Some(key) = self.keys.first() {
            let mac = over(key, &token[..HEAD_BYTES]);
            token[HEAD_BYTES..].copy_from_slice(&with(mac, arm).finalize().into_bytes());
        }
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The arm that a token keeps for this conversation; `now` in seconds since 1970.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn verify(&self, token: &str, session: &str, now: u64) -> Result<Pinned, Rejection> {
        let token = decode(token).ok_or(Rejection::Malformed)?;
        let (head, tag) = token.split_at(HEAD_BYTES);
        let (arm, key) = self.signed(head, tag).ok_or(Rejection::Forged)?;
        if head[9..] != self.subject(session) {
            return Err(Rejection::Foreign);
        }
        let mut signed_at = [0; 8];
        signed_at.copy_from_slice(&head[1..9]);
        let signed_at = u64::from_be_bytes(signed_at);
        let age = now.saturating_sub(signed_at);
        if signed_at > now.saturating_add(MAX_AHEAD_SECONDS) || age > self.idle.as_secs() {
            return Err(Rejection::Expired);
        }
        Ok(Pinned { arm, renew: key > 0 || age.saturating_mul(2) >= self.idle.as_secs() })
    }

    /// The arm that was signed, and by which secret. Comparisons take the same time whatever they find.
    fn signed(&self, head: &[u8], tag: &[u8]) -> Option<(Arm, usize)> {
        self.keys.iter().enumerate().find_map(|(index, key)| {
            let mac = over(key, head);
            let is = |arm: &Arm| with(mac.clone(), *arm).verify_slice(tag).is_ok();
            Arm::ALL.into_iter().find(is).map(|arm| (arm, index))
        })
    }

    fn subject(&self, session: &str) -> [u8; SUBJECT_BYTES] {
        Digest::of(session.as_bytes(), self.salt.as_bytes()).beginning()
    }
}

impl fmt::Debug for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { salt, idle, keys } = self;
        f.debug_struct("Pins").field("salt", salt).field("idle", idle).field("keys", &keys.len()).finish()
    }
}

fn over(key: &Hmac<Sha256>, head: &[u8]) -> Hmac<Sha256> {
    let mut mac = key.clone();
    mac.update(head);
    mac
}

fn with(mut mac: Hmac<Sha256>, arm: Arm) -> Hmac<Sha256> {
    // An index below 2 fits a byte.
    mac.update(&[arm.index() as u8]);
    mac
}

fn decode(text: &str) -> Option<[u8; TOKEN_BYTES]> {
    if text.len() != TOKEN_CHARACTERS {
        return None;
    }
    let mut token = [0; TOKEN_BYTES];
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut token).ok()?;
    (length == TOKEN_BYTES && token[0] == VERSION).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IDLE: Duration = Duration::from_secs(1_800);
    const NOW: u64 = 1_795_161_600;
    const OLD: &[u8] = b"an old secret of 16 bytes or more";
    const NEW: &[u8] = b"a new secret of 16 bytes or more";

    fn pins(route: &str, secrets: &[&[u8]]) -> Pins {
        Pins::new(route, IDLE, secrets.iter().copied()).expect("a secret")
    }

    #[test]
    fn a_token_keeps_its_arm_until_it_is_idle() {
        let pins = pins("answers", &[NEW]);
        for arm in Arm::ALL {
            let token = pins.sign("session-7", arm, NOW);
            assert_eq!(token.len(), TOKEN_CHARACTERS);
            let rows = [
                (0, Ok(false)),
                (899, Ok(false)),
                (900, Ok(true)),
                (1_800, Ok(true)),
                (1_801, Err(Rejection::Expired)),
                (u64::MAX / 2, Err(Rejection::Expired)),
            ];
            for (later, expected) in rows {
                let found = pins.verify(&token, "session-7", NOW + later);
                assert_eq!(found, expected.map(|renew| Pinned { arm, renew }), "{later}");
            }
            assert!(pins.verify(&token, "session-7", NOW - MAX_AHEAD_SECONDS).is_ok(), "clocks differ a little");
            assert_eq!(pins.verify(&token, "session-7", NOW - 61), Err(Rejection::Expired));
        }
    }

    /// Made with Python's hmac, hashlib and base64.
    #[test]
    fn the_token_is_the_published_one() {
        let token = pins("answers", &[b"0123456789abcdef"]).sign("session-7", Arm::Candidate, 1_795_161_600);
        assert_eq!(token, VECTOR);
    }

    const VECTOR: &str = "AQAAAABq__4Addvw7NjE1BcJZYT5iKzPzr6_MbhOatdWszL2Fvy0tVwuGQas_yrDTaOaVj3DaJmO";

    #[test]
    fn a_token_is_for_one_route_and_one_conversation() {
        let token = pins("answers", &[NEW]).sign("session-7", Arm::Candidate, NOW);
        assert_eq!(pins("answers", &[NEW]).verify(&token, "session-8", NOW), Err(Rejection::Foreign));
        assert_eq!(pins("other", &[NEW]).verify(&token, "session-7", NOW), Err(Rejection::Foreign));
        assert_eq!(pins("answers", &[OLD]).verify(&token, "session-7", NOW), Err(Rejection::Forged));
    }

    #[test]
    fn secrets_rotate() {
        let token = pins("answers", &[OLD]).sign("session-7", Arm::Candidate, NOW);
        let rotated = pins("answers", &[NEW, OLD]);
        let pinned = rotated.verify(&token, "session-7", NOW);
        assert_eq!(pinned, Ok(Pinned { arm: Arm::Candidate, renew: true }), "so that the old secret can go");
        let renewed = rotated.sign("session-7", Arm::Candidate, NOW);
        let pinned = pins("answers", &[NEW]).verify(&renewed, "session-7", NOW);
        assert_eq!(pinned, Ok(Pinned { arm: Arm::Candidate, renew: false }));
    }

    #[test]
    fn every_bit_counts() {
        let pins = pins("answers", &[NEW]);
        let token = URL_SAFE_NO_PAD.decode(pins.sign("session-7", Arm::Control, NOW)).expect("a token");
        for bit in 0..token.len() * 8 {
            let mut changed = token.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let found = pins.verify(&URL_SAFE_NO_PAD.encode(changed), "session-7", NOW);
            assert!(matches!(found, Err(Rejection::Malformed | Rejection::Forged)), "{bit}: {found:?}");
        }
    }

    #[test]
    fn nothing_shows_a_secret() {
        assert_eq!(format!("{:?}", pins("answers", &[NEW])), r#"Pins { salt: "pin:answers", idle: 1800s, keys: 1 }"#);
        assert!(Pins::new("answers", IDLE, []).is_none());
    }

    proptest! {
        #[test]
        fn no_other_text_is_a_token(text in "[A-Za-z0-9_-]{70,80}|.{0,90}") {
            prop_assert!(pins("answers", &[NEW]).verify(&text, "session-7", NOW).is_err());
        }
    }
}
