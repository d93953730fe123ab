//! Small parts of an answer: fixed ones, scores, `retry-after`, what clients are told of the decision.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response, header};
use jiff::Timestamp;

use super::headers::{SERVER_TIMING, X_POINTSMAN_ARM, X_POINTSMAN_REASON};
use super::ledger::Ledger;
use super::reply::Reply;
use crate::config::model::{Backend, Endpoint, Expose, FixedAnswer, HostHeader, Route};
use crate::live::Snapshot;

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

/// The value of the route's gate metric in a response, where there is one and it is a finite number.
pub(crate) fn score(snapshot: &Snapshot, route: &Route, headers: &HeaderMap) -> Option<f64> {
    let gate = route.quality_gate.as_ref()?;
    let metric = &snapshot.config().metrics[gate.metric];
    let value: f64 = headers.get(&metric.response_header)?.to_str().ok()?.trim().parse().ok()?;
    value.is_finite().then_some(value)
}

/// How long the backend asks to be left alone: `retry-after` as seconds or as a date (RFC 9110, 10.2.3),
/// at most an hour.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            Duration::try_from(at.duration_since(now)).ok()?
        }
    };
    (!wait.is_zero()).then_some(wait.min(MAX_RETRY_AFTER))
}

/// Tells which arm served and why, to those whom the route allows to know.
pub(crate) fn expose(headers: &mut HeaderMap, ledger: &Ledger, trusted: bool) {
    let told = match ledger.route().expose {
        Expose::Always => true,
        Expose::Trusted => trusted,
        Expose::Never => false,
    };
    if !told {
        // What an upstream of the same kind said of its own decision is not for this client either.
        headers.remove(X_POINTSMAN_ARM);
        headers.remove(X_POINTSMAN_REASON);
        return;
    }
    headers.insert(X_POINTSMAN_ARM, HeaderValue::from_static(ledger.served.as_str()));
    headers.insert(X_POINTSMAN_REASON, HeaderValue::from_static(ledger.reason.as_str()));
    headers.append(SERVER_TIMING, server_timing(ledger.upstream_time()));
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
            ("30", Some(30)),
            ("0", None),
            ("999999", Some(3_600)),
            ("Fri, 20 Nov 2026 08:00:10 GMT", Some(10)),
            ("Fri, 20 Nov 2026 07:00:00 GMT", None),
            ("soon", None),
            ("-1", None),
        ];
        for (text, expected) in rows {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
