//! Rules that a request has to keep before anything is done with it (RFC 9112, RFC 9110).
//!
//! hyper has parsed it by now; these are the rules that hyper leaves to its users, each of which has
//! been somebody's request-smuggling bug.

use http::request::Parts;
use http::{HeaderValue, Method, Version, header};

use super::headers::{Survey, is_chunked_or_absent};
use super::problem::Problem;

/// The `Host` of a request that has none (HTTP/1.0).
const NO_HOST: HeaderValue = HeaderValue::from_static("");

/// Checks a request; gives its `Host`.
pub(crate) fn check(parts: &Parts, survey: Survey) -> Result<HeaderValue, Problem> {
    if parts.method == Method::CONNECT {
        return Err(Problem::MethodNotSupported);
    }
    if !is_chunked_or_absent(&parts.headers, survey) {
        return Err(Problem::BadRequest("Transfer-Encoding is something other than exactly one chunked"));
    }
    if parts.version == Version::HTTP_10 && survey.transfer_encodings > 0 {
        return Err(Problem::BadRequest("HTTP/1.0 knows no Transfer-Encoding"));
    }
    let host = check_host(parts, survey)?;
    check_target(parts, &host)?;
    Ok(host)
}

fn check_host(parts: &Parts, survey: Survey) -> Result<HeaderValue, Problem> {
    match parts.headers.get(header::HOST) {
        Some(_) if survey.hosts > 1 => Err(Problem::BadRequest("Host stands more than once")),
        Some(host) if is_valid_host(host.as_bytes()) => Ok(host.clone()),
        Some(_) => Err(Problem::BadRequest("Host is not a host with an optional port")),
        None if parts.version == Version::HTTP_10 => Ok(NO_HOST),
        None => Err(Problem::BadRequest("Host is missing")),
    }
}

/// A name, an IPv4 address or a bracketed IPv6 address, with an optional port.
fn is_valid_host(host: &[u8]) -> bool {
    let (name, port) = split_port(host);
    let named = match name {
        [b'[', inside @ .., b']'] => {
            !inside.is_empty() && inside.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        }
        name => !name.is_empty() && name.iter().all(|&byte| IN_NAME[usize::from(byte)]),
    };
    named && port.is_none_or(|port| port.len() <= 5 && port.iter().all(u8::is_ascii_digit))
}

/// Which bytes a name or an IPv4 address is made of; a table, since every request is checked.
const IN_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'.' | b'_' | b'~');
        byte += 1;
    }
    table
};

fn split_port(host: &[u8]) -> (&[u8], Option<&[u8]>) {
    let name_end = match host.first() {
        Some(b'[') => host.iter().rposition(|&byte| byte == b']').map_or(0, |bracket| bracket + 1),
        Some(_) | None => 0,
    };
    match host[name_end..].iter().position(|&byte| byte == b':') {
        Some(colon) => (&host[..name_end + colon], Some(&host[name_end + colon + 1..])),
        None => (host, None),
    }
}

/// The host without its port.
pub(crate) fn without_port(host: &HeaderValue) -> &str {
    std::str::from_utf8(split_port(host.as_bytes()).0).unwrap_or_default()
}

fn check_target(parts: &Parts, host: &HeaderValue) -> Result<(), Problem> {
    match (parts.uri.scheme_str(), parts.uri.authority()) {
        (None, None) if parts.uri.path().starts_with('/') => Ok(()),
        (None, None) if parts.uri.path() == "*" && parts.method == Method::OPTIONS => Ok(()),
        (Some("http" | "https"), Some(authority)) => {
            if authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()) {
                Ok(())
            } else {
                Err(Problem::BadRequest("Host differs from the authority of the request target"))
            }
        }
        _ => Err(Problem::BadRequest("the request target is neither a path nor an absolute http URL")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn hosts() {
        for good in ["a", "a:80", "a.b-c_d.example:8080", "127.0.0.1:1", "[::1]", "[::1]:443", "[::ffff:1.2.3.4]"] {
            assert!(is_valid_host(good.as_bytes()), "{good}");
        }
        for bad in ["", ":80", "a b", "a:b", "a:80:80", "a/b", "u@a", "[]", "[::1", "::1", "a:123456", "a,b", "[::1]x"]
        {
            assert!(!is_valid_host(bad.as_bytes()), "{bad}");
        }
        assert_eq!(without_port(&HeaderValue::from_static("[::1]:80")), "[::1]");
        assert_eq!(without_port(&HeaderValue::from_static("a.b:80")), "a.b");
    }

    #[test]
    fn requests() {
        let check = |method: &str, target: &str, version, fields: &[(&str, &str)]| {
            let mut request = Request::builder().method(method).uri(target).version(version);
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let parts = request.body(()).unwrap().into_parts().0;
            check(&parts, crate::proxy::headers::survey(&parts.headers, &crate::live::PrivateFields::default())).is_ok()
        };
        const HOST: &[(&str, &str)] = &[("host", "a")];
        let host = HOST;
        type Row = (&'static str, &'static str, Version, &'static [(&'static str, &'static str)], bool);
        let rows: [Row; 14] = [
            ("GET", "/", Version::HTTP_11, host, true),
            ("GET", "http://a/", Version::HTTP_11, host, true),
            ("GET", "http://A:80/", Version::HTTP_11, &[("host", "a:80")], true),
            ("GET", "http://b/", Version::HTTP_11, host, false),
            ("GET", "ftp://a/", Version::HTTP_11, host, false),
            ("OPTIONS", "*", Version::HTTP_11, host, true),
            ("GET", "*", Version::HTTP_11, host, false),
            ("CONNECT", "a:80", Version::HTTP_11, host, false),
            ("GET", "/", Version::HTTP_11, &[], false),
            ("GET", "/", Version::HTTP_10, &[], true),
            ("GET", "/", Version::HTTP_11, &[("host", "a"), ("host", "a")], false),
            ("POST", "/", Version::HTTP_11, &[("host", "a"), ("transfer-encoding", "gzip, chunked")], false),
            ("POST", "/", Version::HTTP_11, &[("host", "a"), ("transfer-encoding", "chunked")], true),
            ("POST", "/", Version::HTTP_10, &[("host", "a"), ("transfer-encoding", "chunked")], false),
        ];
        for (method, target, version, fields, expected) in rows {
            assert_eq!(check(method, target, version, fields), expected, "{method} {target} {version:?} {fields:?}");
        }
    }
}
