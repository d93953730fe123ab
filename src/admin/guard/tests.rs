use axum::http::HeaderValue;

use super::*;

const VIEWER: &str = "viewer-token-0123";
const OPERATOR: &str = "operator-token-0123";
const ADMIN: &str = "admin-token-0123";
const FLAGS: &str = "flags-token-0123";

fn admin(with_tokens: bool) -> Admin {
    let token = |name: &str, role, token: &str| Token { name: name.into(), role, token: token.into() };
    let tokens = [
        ("f", Role::Flags, FLAGS),
        ("v", Role::Viewer, VIEWER),
        ("o", Role::Operator, OPERATOR),
        ("a", Role::Admin, ADMIN),
    ];
    Admin {
        address: "127.0.0.1:9901".parse().unwrap(),
        hosts: vec!["ops.example.com".into()],
        tokens: tokens.into_iter().filter(|_| with_tokens).map(|(name, role, text)| token(name, role, text)).collect(),
    }
}

fn parts(method: &str, target: &str, headers: &[(&'static str, &str)]) -> Parts {
    let mut request = axum::http::Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_str(value).unwrap());
    }
    request.body(()).unwrap().into_parts().0
}

fn judged(admin: &Admin, address: &str, parts: &Parts) -> Result<Option<String>, &'static str> {
    let file = "[ofrep]\ncors = [\"https://app.example.com\"]\n[routes.flag]\n";
    let loaded = crate::config::load_text(file, "gateway.toml", &std::collections::BTreeMap::new()).unwrap();
    let config = Config { admin: admin.clone(), ..loaded.config };
    let actor = judge(&config, address.parse().unwrap(), parts).map_err(|problem| problem.code())?;
    Ok(actor.map(|actor| actor.0.to_string()))
}

#[test]
fn hosts() {
    let rows: [(&[&str], &str); 15] = [
        (&["127.0.0.1:9901"], "ok"),
        (&["127.0.0.1"], "ok"),
        (&["localhost:1234"], "ok"),
        (&["LocalHost"], "ok"),
        (&["[::1]:9901"], "ok"),
        (&["10.1.2.3:9901"], "ok"),
        (&["ops.example.com"], "ok"),
        (&["OPS.example.com:443"], "ok"),
        (&["evil.example.com"], "unknown_host"),
        (&["10.1.2.4"], "unknown_host"),
        (&["localhost.evil.example.com"], "unknown_host"),
        (&["a@127.0.0.1"], "bad_host"),
        (&[""], "bad_host"),
        (&[], "bad_host"),
        (&["localhost", "localhost"], "bad_host"),
    ];
    for (hosts, expected) in rows {
        let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        let found = judged(&admin(true), "10.1.2.3:9901", &parts("GET", "/livez", &headers));
        assert_eq!(found.map_or_else(|code| code, |_| "ok"), expected, "{hosts:?}");
    }
    let absolute = parts("GET", "http://evil.example.com/livez", &[("host", "localhost")]);
    assert_eq!(judged(&admin(true), "10.1.2.3:9901", &absolute), Err("bad_host"));
}

#[test]
fn the_address_that_was_reached_is_ours_where_all_are_listened_on() {
    let mut parts = parts("GET", "/livez", &[("host", "192.0.2.7:9901")]);
    assert_eq!(judged(&admin(true), "0.0.0.0:9901", &parts), Err("unknown_host"));
    parts.extensions.insert(Reached("192.0.2.7:9901".parse().unwrap()));
    assert_eq!(judged(&admin(true), "0.0.0.0:9901", &parts), Ok(None));
}

#[test]
fn origins() {
    let rows = [
        (None, "127.0.0.1:9901", "ok"),
        (Some("http://127.0.0.1:9901"), "127.0.0.1:9901", "ok"),
        (Some("https://ops.example.com"), "ops.example.com", "ok"),
        (Some("https://ops.example.com"), "ops.example.com:443", "ok"),
        (Some("http://ops.example.com:80"), "ops.example.com", "ok"),
        (Some("http://127.0.0.1:8080"), "127.0.0.1:9901", "foreign_origin"),
        (Some("http://localhost:9901"), "127.0.0.1:9901", "foreign_origin"),
        (Some("https://evil.example.com"), "ops.example.com", "foreign_origin"),
        (Some("null"), "127.0.0.1:9901", "foreign_origin"),
        (Some("file://127.0.0.1:9901"), "127.0.0.1:9901", "foreign_origin"),
        (Some(""), "127.0.0.1:9901", "foreign_origin"),
    ];
    for (origin, host, expected) in rows {
        let mut headers = vec![("host", host)];
        headers.extend(origin.map(|origin| ("origin", origin)));
        let found = judged(&admin(true), "127.0.0.1:9901", &parts("GET", "/livez", &headers));
        assert_eq!(found.map_or_else(|code| code, |_| "ok"), expected, "{origin:?} at {host}");
    }
}

/// Who may do what: each token against each kind of request.
#[test]
fn roles() {
    const NONE: &str = "";
    const WRONG: &str = "viewer-token-0124";
    let given = [NONE, WRONG, FLAGS, VIEWER, OPERATOR, ADMIN];
    let open = ["ok", "ok", "ok", "ok", "ok", "ok"];
    let flags = ["token_required", "invalid_token", "f", "v", "o", "a"];
    let read = ["token_required", "invalid_token", "role_too_low", "v", "o", "a"];
    let write = ["token_required", "invalid_token", "role_too_low", "role_too_low", "o", "a"];
    let admin_only = ["token_required", "invalid_token", "role_too_low", "role_too_low", "role_too_low", "a"];
    let rows = [
        ("GET", "/livez", open),
        ("HEAD", "/metrics", open),
        ("GET", "/api/v1/routes", read),
        ("GET", "/api/v1/config", read),
        ("GET", "/nothing", read),
        ("GET", "/api/v1/events", read),
        ("HEAD", "/api/v1/export", read),
        ("DELETE", "/api/v1/events", admin_only),
        ("POST", "/api/v1/events", admin_only),
        ("POST", "/api/v1/erase", admin_only),
        ("POST", "/api/v1/explain", read),
        ("POST", "/api/v1/assignments", read),
        ("PUT", "/api/v1/assignments", read),
        ("POST", "/ofrep/v1/evaluate/flags", flags),
        ("POST", "/ofrep/v1/evaluate/flags/answers", flags),
        ("GET", "/ofrep/v1/stream", flags),
        ("POST", "/ofrep", write),
        ("PUT", "/api/v1/log", write),
        ("GET", "/api/v1/routes/answers/rollout", read),
        ("POST", "/api/v1/routes/answers/rollout", write),
        ("POST", "/-/reload", write),
        // A page that cannot be written says so to whoever asks.
        ("DELETE", "/livez", open),
        ("POST", "/nothing", write),
    ];
    for (method, path, expected) in rows {
        for (token, expected) in given.into_iter().zip(expected) {
            let bearer = format!("Bearer {token}");
            let mut headers = vec![("host", "localhost")];
            headers.extend((token != NONE).then_some(("authorization", bearer.as_str())));
            let found = judged(&admin(true), "127.0.0.1:9901", &parts(method, path, &headers));
            let found = found.map_or_else(str::to_owned, |actor| actor.unwrap_or_else(|| "ok".into()));
            assert_eq!(found, expected, "{method} {path} with {token:?}");
        }
    }
}

#[test]
fn without_tokens_only_reading_on_loopback_is_open() {
    let rows = [
        ("127.0.0.1:9901", "GET", "/api/v1/routes", "ok"),
        ("[::1]:9901", "GET", "/api/v1/routes", "ok"),
        ("127.0.0.1:9901", "POST", "/api/v1/explain", "ok"),
        ("127.0.0.1:9901", "POST", "/ofrep/v1/evaluate/flags", "ok"),
        ("0.0.0.0:9901", "POST", "/ofrep/v1/evaluate/flags", "token_required"),
        ("127.0.0.1:9901", "POST", "/-/reload", "token_required"),
        ("127.0.0.1:9901", "PUT", "/api/v1/log", "token_required"),
        ("0.0.0.0:9901", "GET", "/api/v1/routes", "token_required"),
        ("10.1.2.3:9901", "POST", "/api/v1/explain", "token_required"),
        ("0.0.0.0:9901", "GET", "/metrics", "ok"),
    ];
    for (address, method, path, expected) in rows {
        let found = judged(&admin(false), address, &parts(method, path, &[("host", "localhost")]));
        assert_eq!(found.map_or_else(|code| code, |_| "ok"), expected, "{method} {path} at {address}");
    }
}

#[test]
fn other_schemes_are_tokens_that_nobody_has() {
    for value in ["Basic dXNlcjpwYXNz", VIEWER, "Bearer", ""] {
        let headers = [("host", "localhost"), ("authorization", value)];
        let found = judged(&admin(true), "127.0.0.1:9901", &parts("GET", "/api/v1/routes", &headers));
        assert_eq!(found, Err("invalid_token"), "{value:?}");
    }
}

#[test]
fn flags_may_be_asked_for_with_an_api_key_and_by_the_pages_that_the_file_names() {
    const FLAG: &str = "/ofrep/v1/evaluate/flags/a";
    const OURS: &str = "https://app.example.com";
    type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str);
    let rows: [Row<'_>; 9] = [
        ("POST", FLAG, &[("x-api-key", FLAGS)], "f"),
        ("POST", FLAG, &[("x-api-key", "wrong")], "invalid_token"),
        ("GET", "/api/v1/routes", &[("x-api-key", VIEWER)], "token_required"),
        ("POST", FLAG, &[("x-api-key", FLAGS), ("origin", OURS)], "f"),
        ("POST", FLAG, &[("x-api-key", FLAGS), ("origin", "https://evil.example.com")], "foreign_origin"),
        ("POST", FLAG, &[("origin", OURS)], "token_required"),
        ("OPTIONS", FLAG, &[("origin", OURS)], "ok"),
        ("OPTIONS", FLAG, &[("origin", "https://evil.example.com")], "foreign_origin"),
        ("GET", "/api/v1/routes", &[("authorization", "Bearer viewer-token-0123"), ("origin", OURS)], "foreign_origin"),
    ];
    for (method, path, fields, expected) in rows {
        let headers: Vec<_> =
            fields.iter().map(|(name, value)| (*name, *value)).chain([("host", "localhost")]).collect();
        let mut request = axum::http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let found = judged(&admin(true), "127.0.0.1:9901", &parts);
        let found = found.map_or_else(str::to_owned, |actor| actor.unwrap_or_else(|| "ok".into()));
        assert_eq!(found, expected, "{method} {path} {fields:?}");
    }
}

#[test]
fn a_ticket_opens_the_stream_for_as_long_as_its_token_is_there() {
    let admin = admin(true);
    let ticket = ofrep::ticket(&admin.tokens[0]).unwrap();
    assert!(!ticket.contains(FLAGS));
    let asked = |admin: &Admin, path: &str, ticket: &str| {
        judged(admin, "127.0.0.1:9901", &parts("GET", &format!("{path}?ticket={ticket}"), &[("host", "localhost")]))
    };
    assert_eq!(asked(&admin, "/ofrep/v1/stream", &ticket), Ok(Some("f".to_owned())));
    assert_eq!(asked(&admin, "/ofrep/v1/stream", &ticket[1..]), Err("invalid_token"));
    assert_eq!(asked(&admin, "/ofrep/v1/stream", FLAGS), Err("invalid_token"));
    assert_eq!(asked(&admin, "/ofrep/v1/evaluate/flags", &ticket), Err("token_required"));
    assert_eq!(asked(&admin, "/api/v1/routes", &ticket), Err("token_required"));
    let fewer = Admin { tokens: admin.tokens[1..].to_vec(), ..admin };
    assert_eq!(asked(&fewer, "/ofrep/v1/stream", &ticket), Err("invalid_token"));
}
