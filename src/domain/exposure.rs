//! Exposure tokens: which arm of which route a user was assigned, signed, so that events say where they
//! belong without a look-up, on any replica.
//!
//! A token is 58 bytes, written as 78 letters of base64url without padding (RFC 4648, 5). Numbers are
//! big endian. `docs/events.md` publishes this layout and a vector; another layout gets another version.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | version, 1 |
//! | 1..5 | key: the first bytes of SHA-256 over `pointsman exposure key:` and the key |
//! | 5 | flags: 1 candidate, 2 a rule decided, 4 drawn by a hash; others are 0 |
//! | 6..14 | route: the first bytes of SHA-256 over its name |
//! | 14..18 | phase |
//! | 18..20 | index of the rule, or 0 |
//! | 20..28 | percentage by which it was drawn, as IEEE 754 double, or 0 |
//! | 28..30 | statistical bucket |
//! | 30..38 | user sample |
//! | 38..42 | time, in seconds since 1970 |
//! | 42..58 | the first 16 bytes of HMAC-SHA-256 over all before |
//!
//! Invariant: what [`Keys::read`] gives was signed with one of the keys, within the time allowed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use super::Arm;
use super::decision::Decision;
use super::percent::Percent;
use super::phase::Phase;

/// Letters of a token.
pub const TOKEN_LETTERS: usize = 78;
/// How far a token's time may lie ahead, in seconds: clocks of replicas differ.
pub const MAX_AHEAD_SECONDS: u32 = 300;

const VERSION: u8 = 1;
const SIGNED: usize = 42;
const TOKEN_BYTES: usize = SIGNED + MAC_BYTES;
const MAC_BYTES: usize = 16;
const CANDIDATE: u8 = 1;
const RULE: u8 = 2;
const DRAWN: u8 = 4;

/// Names a route within tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteHash(pub [u8; 8]);

impl RouteHash {
    /// The hash of a route's name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(first(&Sha256::digest(name.as_bytes())))
    }
}

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exposure {
    /// The route.
    pub route: RouteHash,
    /// The arm that the user was assigned.
    pub arm: Arm,
    /// The phase in which it was.
    pub phase: Phase,
    /// The rule that decided, if one did.
    pub rule: Option<u16>,
    /// The percentage by which the arm was drawn, if it was.
    pub randomised: Option<Percent>,
    /// The statistical bucket.
    pub bucket: u16,
    /// The user sample.
    pub sample: u64,
    /// When, in seconds since 1970.
    pub at: u32,
}

impl Exposure {
    /// What is to be told of a decision; `None` without a key, since nobody can be told again then.
    #[must_use]
    pub fn of(route: RouteHash, phase: Phase, decision: &Decision, at: u32) -> Option<Self> {
        let digest = decision.digest?;
        Some(Self {
            route,
            arm: decision.assigned,
            phase,
            rule: decision.rule.and_then(|rule| u16::try_from(rule).ok()),
            randomised: decision.randomised,
            bucket: digest.statistical_bucket(),
            sample: digest.user_sample(),
            at,
        })
    }
}

/// Why a token does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no token of a version that is known.
    #[error("the exposure token is malformed")]
    Malformed,
    /// It is of a key, or of a route, that is none of ours.
    #[error("the exposure token is of another gateway, or of a key or a route that is gone")]
    Foreign,
    /// It claims to be of one of our keys, and is not.
    #[error("the exposure token is forged")]
    Forged,
    /// Its time is over, or has not come.
    #[error("the exposure token is too old")]
    Old,
}

impl Refusal {
    /// Every reason, in the order of [`Refusal::index`].
    pub const ALL: [Self; 4] = [Self::Malformed, Self::Foreign, Self::Forged, Self::Old];

    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Foreign => "foreign",
            Self::Forged => "forged",
            Self::Old => "old",
        }
    }

    /// Position in tables with one cell a reason.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Malformed => 0,
            Self::Foreign => 1,
            Self::Forged => 2,
            Self::Old => 3,
        }
    }
}

/// A key with its state computed: signing costs two compressions.
#[derive(Clone)]
struct Key {
    id: [u8; 4],
    mac: Hmac<Sha256>,
}

/// The first key signs, all verify, so that keys can be replaced one after another.
#[derive(Clone)]
pub struct Keys(Vec<Key>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

/// A token as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token([u8; TOKEN_LETTERS]);

impl Token {
    /// Its letters, all of them visible ASCII.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

impl Keys {
    /// Keys from secrets.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let key = |secret: &[u8]| {
            let id = Sha256::new().chain_update(b"pointsman exposure key:").chain_update(secret).finalize();
            // HMAC takes secrets of any length.
            let mac = Hmac::new_from_slice(secret).ok()?;
            Some(Key { id: first(&id), mac })
        };
        Self(secrets.into_iter().filter_map(key).collect())
    }

    /// Signs with the first key; `None` without keys.
    #[must_use]
    pub fn sign(&self, exposure: &Exposure) -> Option<Token> {
        let key = self.0.first()?;
        let mut token = [0; TOKEN_BYTES];
        token[..SIGNED].copy_from_slice(&written(exposure, key.id));
        let tag = key.mac.clone().chain_update(&token[..SIGNED]).finalize().into_bytes();
        token[SIGNED..].copy_from_slice(&tag[..MAC_BYTES]);
        let mut letters = [0; TOKEN_LETTERS];
        URL_SAFE_NO_PAD.encode_slice(token, &mut letters).ok()?;
        Some(Token(letters))
    }

    /// Reads a token at `now`, in seconds since 1970, if it is at most `max_age` seconds old.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn read(&self, text: &str, now: u32, max_age: u32) -> Result<Exposure, Refusal> {
        // A little more than what comes out, which is what the decoder asks for.
        let mut token = [0; TOKEN_BYTES + 2];
        let length = match text.len() {
            TOKEN_LETTERS => URL_SAFE_NO_PAD.decode_slice(text, &mut token).map_err(|_| Refusal::Malformed)?,
            _ => 0,
        };
        if length != TOKEN_BYTES || token[0] != VERSION {
            return Err(Refusal::Malformed);
        }
        let (signed, tag) = token[..TOKEN_BYTES].split_at(SIGNED);
        let id: [u8; 4] = first(&signed[1..]);
        let mut keys = self.0.iter().filter(|key| key.id == id).peekable();
        if keys.peek().is_none() {
            return Err(Refusal::Foreign);
        }
        // Constant in time, as `verify_truncated_left` promises.
        if !keys.any(|key| key.mac.clone().chain_update(signed).verify_truncated_left(tag).is_ok()) {
            return Err(Refusal::Forged);
        }
        let exposure = understood(signed).ok_or(Refusal::Malformed)?;
        if exposure.at > now.saturating_add(MAX_AHEAD_SECONDS) || now.saturating_sub(exposure.at) > max_age {
            return Err(Refusal::Old);
        }
        Ok(exposure)
    }
}

fn written(exposure: &Exposure, key: [u8; 4]) -> [u8; SIGNED] {
    let mut bytes = [0; SIGNED];
    let mut flags = if exposure.arm == Arm::Candidate { CANDIDATE } else { 0 };
    if exposure.rule.is_some() {
        flags |= RULE;
    }
    if exposure.randomised.is_some() {
        flags |= DRAWN;
    }
    bytes[0] = VERSION;
    bytes[1..5].copy_from_slice(&key);
    bytes[5] = flags;
    bytes[6..14].copy_from_slice(&exposure.route.0);
    bytes[14..18].copy_from_slice(&exposure.phase.0.to_be_bytes());
    bytes[18..20].copy_from_slice(&exposure.rule.unwrap_or(0).to_be_bytes());
    bytes[20..28].copy_from_slice(&exposure.randomised.map_or(0.0, Percent::get).to_be_bytes());
    bytes[28..30].copy_from_slice(&exposure.bucket.to_be_bytes());
    bytes[30..38].copy_from_slice(&exposure.sample.to_be_bytes());
    bytes[38..42].copy_from_slice(&exposure.at.to_be_bytes());
    bytes
}

/// Reads what [`written`] writes; a signature does not make nonsense sensible.
fn understood(bytes: &[u8]) -> Option<Exposure> {
    let flags = bytes[5];
    if flags & !(CANDIDATE | RULE | DRAWN) != 0 {
        return None;
    }
    let randomised =
        if flags & DRAWN == 0 { None } else { Some(Percent::new(f64::from_be_bytes(first(&bytes[20..])))?) };
    Some(Exposure {
        route: RouteHash(first(&bytes[6..])),
        arm: if flags & CANDIDATE == 0 { Arm::Control } else { Arm::Candidate },
        phase: Phase(u32::from_be_bytes(first(&bytes[14..]))),
        rule: (flags & RULE != 0).then(|| u16::from_be_bytes(first(&bytes[18..]))),
        randomised,
        bucket: u16::from_be_bytes(first(&bytes[28..])),
        sample: u64::from_be_bytes(first(&bytes[30..])),
        at: u32::from_be_bytes(first(&bytes[38..])),
    })
}

/// The first bytes of a longer slice; zeros should it be shorter.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &[u8] = b"0123456789abcdef";
    const OTHER: &[u8] = b"fedcba9876543210";

    fn exposure() -> Exposure {
        Exposure {
            route: RouteHash::of("answers"),
            arm: Arm::Candidate,
            phase: Phase(0x0102_0304),
            rule: None,
            randomised: Percent::new(25.0),
            bucket: 383,
            sample: 12_431_912_568_522_083_875,
            at: 1_795_161_600,
        }
    }

    fn keys(secrets: &[&'static [u8]]) -> Keys {
        Keys::new(secrets.iter().copied())
    }

    /// Published in `docs/events.md`, made with the Python that stands there.
    #[test]
    fn the_published_vector_holds() {
        let token = keys(&[KEY]).sign(&exposure()).unwrap().to_string();
        assert_eq!(token, "AbEanBMFZ3_iG2X0ps8BAgMEAABAOQAAAAAAAAF_rIcGnS15DiNq__4ADZ-8CgZRXN8gQgTqklh4fw");
        assert!(include_str!("../../docs/events.md").contains(&token));
    }

    #[test]
    fn keys_rotate() {
        let token = keys(&[KEY]).sign(&exposure()).unwrap().to_string();
        let read = |secrets: &[&'static [u8]]| keys(secrets).read(&token, exposure().at, 60);
        assert_eq!(read(&[KEY]), Ok(exposure()));
        assert_eq!(read(&[OTHER, KEY]), Ok(exposure()));
        assert_eq!(read(&[OTHER]), Err(Refusal::Foreign));
        assert_eq!(read(&[]), Err(Refusal::Foreign));
        assert_eq!(keys(&[]).sign(&exposure()), None);
    }

    #[test]
    fn time_ends_a_token() {
        let token = keys(&[KEY]).sign(&exposure()).unwrap().to_string();
        let at = exposure().at;
        let rows = [(at, true), (at + 60, true), (at + 61, false), (at - 300, true), (at - 301, false), (0, false)];
        for (now, good) in rows {
            let expected = if good { Ok(exposure()) } else { Err(Refusal::Old) };
            assert_eq!(keys(&[KEY]).read(&token, now, 60), expected, "{now}");
        }
    }

    #[test]
    fn what_is_no_token_is_malformed() {
        let token = keys(&[KEY]).sign(&exposure()).unwrap().to_string();
        let other_version = format!("B{}", &token[1..]);
        for text in ["", "x", &token[1..], &format!("{token}A"), &other_version, &"=".repeat(TOKEN_LETTERS)] {
            assert_eq!(keys(&[KEY]).read(text, exposure().at, 60), Err(Refusal::Malformed), "{text}");
        }
    }

    #[test]
    fn a_signature_does_not_make_nonsense_sensible() {
        let (keys, mut nonsense) = (keys(&[KEY]), exposure());
        nonsense.randomised = None;
        let key = &keys.0[0];
        for (place, value) in [(5, 8), (5, DRAWN)] {
            let mut bytes = written(&nonsense, key.id).to_vec();
            bytes[place] = value;
            bytes[20] = 0xff;
            let tag = key.mac.clone().chain_update(&bytes).finalize().into_bytes();
            bytes.extend_from_slice(&tag[..MAC_BYTES]);
            let text = URL_SAFE_NO_PAD.encode(&bytes);
            assert_eq!(keys.read(&text, nonsense.at, 60), Err(Refusal::Malformed), "{value}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        assert_eq!(format!("{:?}", keys(&[KEY, OTHER])), "Keys(2)");
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            candidate: bool, phase: u32, rule: Option<u16>, percent in proptest::option::of(0.0_f64..=100.0),
            bucket in 0_u16..1024, sample: u64, at in 1_000_u32..u32::MAX,
        ) {
            let arm = if candidate { Arm::Candidate } else { Arm::Control };
            let randomised = percent.and_then(Percent::new);
            let route = RouteHash::of("r");
            let exposure = Exposure { route, arm, phase: Phase(phase), rule, randomised, bucket, sample, at };
            let token = keys(&[KEY]).sign(&exposure).unwrap().to_string();
            prop_assert!(token.len() < 100);
            prop_assert_eq!(keys(&[KEY]).read(&token, at, 0), Ok(exposure));
        }

        #[test]
        fn a_changed_letter_is_never_believed(place in 0_usize..TOKEN_LETTERS, letter in "[A-Za-z0-9_-]") {
            let token = keys(&[KEY]).sign(&exposure()).unwrap().to_string();
            let mut changed = token.clone();
            changed.replace_range(place..=place, &letter);
            let read = keys(&[KEY]).read(&changed, exposure().at, 60);
            prop_assert_eq!(read.is_ok(), changed == token);
        }

        #[test]
        fn whatever_comes_is_read_or_refused(text in ".{0,120}") {
            prop_assert!(keys(&[KEY]).read(&text, 0, 60).is_err());
        }
    }
}
