//! Small parts of an answer: fixed ones, scores, `retry-after`, what clients are told of the decision.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response, header};
use jiff::Timestamp;

use super::headers::{SERVER_TIMING, X_POINTSMAN_ARM, X_POINTSMAN_REASON};
use super::ledger::Ledger;
use super::reply::Reply;
use crate::config::model::{Backend, Endpoint, Expose, FixedAnswer, HostHeader};
use crate::domain::metric::Values;
use crate::live::ArmMeters;

/// The longest that a backend can ask to be left alone.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// The answer of a backend without an upstream.
pub(crate) fn fixed(answer: &FixedAnswer) -> Response<Reply> {
    let mut response = Response::new(Reply::full(answer.body.clone()));
    *response.status_mut() = answer.status;
    for (name, value) in &answer.headers {
        response.headers_mut().append(name.clone(), value.clone());
    }
    response
}

/// What `Host` the upstream sees.
pub(crate) fn upstream_host(backend: &Backend, endpoint: &Endpoint, client: &HeaderValue) -> HeaderValue {
    match &backend.host {
        HostHeader::Backend => endpoint.authority.clone(),
        HostHeader::Client if client.is_empty() => endpoint.authority.clone(),
        HostHeader::Client => client.clone(),
        HostHeader::Fixed(host) => host.clone(),
    }
}

/// What the head of an answer tells of the metrics.
pub(crate) fn measure(meters: &ArmMeters, headers: &HeaderMap) -> Values {
    let mut values = Values::default();
    for (metric, kind, name) in &meters.headers {
        if let Some(value) = headers.get(name).and_then(|value| kind.read(value.to_str().ok()?)) {
            values.put(*metric, value);
        }
    }
    values
}

/// Fields in which LLM providers say when their limits are filled up again, each in its own way: OpenAI
/// as a span (`6m0s`), Anthropic as a time (RFC 3339), others as seconds or seconds since 1970.
const RESET_FIELDS: [&str; 7] = [
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "anthropic-ratelimit-requests-reset",
    "anthropic-ratelimit-input-tokens-reset",
    "anthropic-ratelimit-output-tokens-reset",
    "x-ratelimit-reset",
    "ratelimit-reset",
];

/// Numbers above this are seconds since 1970 and not a wait.
const LONGEST_WAIT_SECONDS: f64 = 1e9;

/// How long the backend asks to be left alone, at most an hour: `retry-after` as seconds or as a date
/// (RFC 9110, 10.2.3), else, where `limited` (429), the latest of the providers' own fields.
pub(crate) fn retry_after(headers: &HeaderMap, limited: bool, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let wait = match text("retry-after") {
        Some(stated) => until(stated, now),
        None if limited => RESET_FIELDS.iter().filter_map(|name| until(text(name)?, now)).max(),
        None => None,
    };
    wait.filter(|wait| !wait.is_zero()).map(|wait| wait.min(MAX_RETRY_AFTER))
}

/// A wait as seconds, a span, a date or a time.
fn until(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(number) = text.parse::<f64>() {
        let seconds = if number > LONGEST_WAIT_SECONDS { number - now.as_second() as f64 } else { number };
        return Duration::try_from_secs_f64(seconds).ok();
    }
    if let Ok(span) = text.parse::<jiff::SignedDuration>() {
        return Duration::try_from(span).ok();
    }
    let at = text.parse::<Timestamp>().ok().or_else(|| Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp()))?;
    Duration::try_from(at.duration_since(now)).ok()
}

/// Tells which arm served and why, to those whom the route allows to know.
pub(crate) fn expose(headers: &mut HeaderMap, ledger: &Ledger, trusted: bool) {
    let told = match ledger.route().expose {
        Expose::Always => true,
        Expose::Trusted => trusted,
        Expose::Never => false,
    };
    if !told {
        return;
    }
    headers.insert(X_POINTSMAN_ARM, HeaderValue::from_static(ledger.served.as_str()));
    headers.insert(X_POINTSMAN_REASON, HeaderValue::from_static(ledger.reason.as_str()));
    headers.append(SERVER_TIMING, server_timing(ledger.upstream_time()));
}

/// Gives the client its exposure token, as the file says: in a field, and perhaps as a cookie.
pub(crate) fn tell_exposure(headers: &mut HeaderMap, ledger: &Ledger, token: HeaderValue, secure: bool) {
    let snapshot = ledger.snapshot();
    let Some(settings) = &snapshot.config().exposure else { return };
    if let Some(cookie) = snapshot.exposure_cookie(ledger.route_index(), &token, secure) {
        headers.append(header::SET_COOKIE, cookie);
    }
    headers.insert(settings.header.clone(), token);
}

/// `upstream;dur=MILLISECONDS`, to three decimals. Written by hand: it is made for every request, and
/// formatting machinery would be a tenth of all the gateway's own work.
fn server_timing(duration: Duration) -> HeaderValue {
    const PREFIX: &[u8] = b"upstream;dur=";
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let mut text = [0_u8; 40];
    let mut at = text.len();
    let mut rest = micros;
    for place in 0.. {
        if place > 3 && rest == 0 {
            break;
        }
        at -= 1;
        if place == 3 {
            text[at] = b'.';
            at -= 1;
        }
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    at -= PREFIX.len();
    text[at..at + PREFIX.len()].copy_from_slice(PREFIX);
    HeaderValue::from_bytes(&text[at..]).unwrap_or(HeaderValue::from_static("upstream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timings() {
        let rows = [
            (0, "upstream;dur=0.000"),
            (7, "upstream;dur=0.007"),
            (1_234, "upstream;dur=1.234"),
            (60_000_010, "upstream;dur=60000.010"),
            (u64::MAX, "upstream;dur=18446744073709551.615"),
        ];
        for (micros, expected) in rows {
            assert_eq!(server_timing(Duration::from_micros(micros)), expected);
        }
    }

    #[test]
    fn waiting_times() {
        let now: Timestamp = "2026-11-20T08:00:00Z".parse().unwrap();
        let rows = [
            ("retry-after", "30", Some(30)),
            ("retry-after", "0", None),
            ("retry-after", "999999", Some(3_600)),
            ("retry-after", "Fri, 20 Nov 2026 08:00:10 GMT", Some(10)),
            ("retry-after", "Fri, 20 Nov 2026 07:00:00 GMT", None),
            ("retry-after", "soon", None),
            ("retry-after", "-1", None),
            ("x-ratelimit-reset-requests", "6m0s", Some(360)),
            ("x-ratelimit-reset-tokens", "7s", Some(7)),
            ("anthropic-ratelimit-requests-reset", "2026-11-20T08:01:00Z", Some(60)),
            ("x-ratelimit-reset", "1795161630", Some(30)),
            ("ratelimit-reset", "NaN", None),
            ("x-other", "30", None),
        ];
        for (name, text, expected) in rows {
            let name = http::HeaderName::from_static(name);
            let headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_str(text).unwrap())]);
            assert_eq!(retry_after(&headers, true, now), expected.map(Duration::from_secs), "{name}: {text}");
            let stated = (name == http::header::RETRY_AFTER).then_some(expected).flatten();
            assert_eq!(retry_after(&headers, false, now), stated.map(Duration::from_secs), "{name}: {text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), true, now), None);
    }
}
