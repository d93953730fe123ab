//! Signed tokens (JWT, RFC 7519, in the compact form of RFC 7515): who signed what, until when.
//!
//! | file | what |
//! |---|---|
//! | `key` | keys, each for exactly one algorithm, from secrets and PEM |
//! | `set` | keys from a JWK Set (RFC 7517) |
//! | `token` | a token's text, keys, rules and the time become claims or the reason for refusing it |
//!
//! It fetches nothing, reads no clock and keeps nothing: keys and `now` are given. Cryptography is
//! `ring`'s, called here, never through a process-wide default. Invariants: a key is used with its own
//! algorithm only, whatever a token says; nothing of a claim is read before its signature held.

mod key;
mod set;
mod token;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

pub use key::{Algorithm, Key, KeyError, MIN_SECRET_BYTES};
pub use set::{MAX_KEYS, SetError, key_set};
pub use token::{MAX_TRIED_KEYS, Rejection, Rules, Verified, verify};
