//! Exposure tokens of the running configuration: keys and names of routes, ready to sign and to read.
//!
//! Made once for a snapshot, and only where the file has `[exposure]`: without it a request pays one
//! branch.

use http::HeaderValue;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;

use super::{RouteIndex, Snapshot};
use crate::config::Config;
use crate::domain::decision::Decision;
use crate::domain::exposure::{Exposure, Keys, Refusal, RouteHash, Token};

/// See the module.
#[derive(Debug)]
pub struct Exposing {
    keys: Keys,
    /// In the order of `Config::routes`.
    routes: Vec<RouteHash>,
    max_age: u32,
}

impl Exposing {
    pub(super) fn new(config: &Config) -> Option<Self> {
        let settings = config.exposure.as_ref()?;
        let keys = Keys::new(settings.keys.iter().map(|key| key.expose_secret().as_bytes()));
        let routes = config.routes.iter().map(|route| RouteHash::of(&route.name)).collect();
        Some(Self { keys, routes, max_age: u32::try_from(settings.max_age.as_secs()).unwrap_or(u32::MAX) })
    }
}

impl Snapshot {
    /// The token that tells of a decision; `None` without `[exposure]`, and for a request without a key.
    #[must_use]
    pub fn exposure_token(&self, route: RouteIndex, decision: &Decision, now: Timestamp) -> Option<Token> {
        let exposing = self.exposing.as_ref()?;
        let exposure = Exposure::of(exposing.routes[route], self.phases[route], decision, seconds(now))?;
        exposing.keys.sign(&exposure)
    }

    /// Reads a token, and finds its route.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn read_exposure(&self, text: &str, now: Timestamp) -> Result<(RouteIndex, Exposure), Refusal> {
        let exposing = self.exposing.as_ref().ok_or(Refusal::Foreign)?;
        let exposure = exposing.keys.read(text, seconds(now), exposing.max_age)?;
        let route = exposing.routes.iter().position(|route| *route == exposure.route).ok_or(Refusal::Foreign)?;
        Ok((route, exposure))
    }

    /// The cookie that holds a token, for page scripts to read and to send with events; so it is not
    /// `HttpOnly`, and tells nothing that a page may not know: it is signed, not secret.
    #[must_use]
    pub fn exposure_cookie(&self, route: RouteIndex, token: &HeaderValue, secure: bool) -> Option<HeaderValue> {
        let settings = self.config().exposure.as_ref()?;
        let (name, route) = (settings.cookie.as_ref()?, &self.config().routes[route].name);
        let (age, secure) = (settings.max_age.as_secs(), if secure { "; Secure" } else { "" });
        let token = token.to_str().ok()?;
        HeaderValue::try_from(format!("{name}.{route}={token}; Path=/; Max-Age={age}; SameSite=Lax{secure}")).ok()
    }
}

/// Seconds since 1970, as tokens tell time.
fn seconds(at: Timestamp) -> u32 {
    u32::try_from(at.as_second()).unwrap_or(if at.as_second() < 0 { 0 } else { u32::MAX })
}
