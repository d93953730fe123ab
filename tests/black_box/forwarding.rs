//! What becomes of heads on their way, in both directions.

use crate::support::upstream::{ok, with_fields};
use crate::support::{Conversation, Gateway, Setup, Upstream, eventually};

/// A gateway before one upstream, with these keys of backend and route.
fn before(upstream: &Upstream, backend: &str, route: &str) -> Gateway {
    Setup::new(format!(
        "[backends.a]\nurl = {:?}\n{backend}\n[routes.all]\npath = \"/\"\ncontrol = \"a\"\ncandidate = \"a\"\n{route}\n",
        upstream.url()
    ))
    .start()
}

#[test]
fn hop_by_hop_fields_of_a_request_stay_here() {
    let upstream = Upstream::saying("ok");
    let gateway = before(&upstream, "", "");
    let fields = [
        ("connection", "x-mine, Keep-Alive, x-other"),
        ("x-mine", "1"),
        ("x-other", "2"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic eDp5"),
        ("proxy-authenticate", "x"),
        ("te", "gzip"),
        ("upgrade", "foo"),
        ("http2-settings", "AAAA"),
        ("x-stays", "3"),
    ];
    gateway.get("/", &fields).expect(200, "ok");
    let head = upstream.only_request().head;
    for (name, _) in &fields[..fields.len() - 1] {
        assert_eq!(head.get(name), None, "{name}");
    }
    assert_eq!(head.get("x-stays"), Some("3"));
}

#[test]
fn connection_cannot_take_away_what_later_steps_rely_on() {
    let upstream = Upstream::saying("ok");
    let gateway = before(&upstream, "", "");
    let fields = [("connection", "host, content-length, x-forwarded-for, x-request-id, via"), ("x-request-id", "mine")];
    gateway.request("POST", "/", &fields, b"body").expect(200, "ok");
    let seen = upstream.only_request();
    assert_eq!(seen.body, b"body");
    assert_eq!(seen.head.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.head.get("x-request-id"), Some("mine"));
    assert_eq!(seen.head.all("host").len(), 1);
}

#[test]
fn hop_by_hop_fields_of_a_response_stay_here() {
    let fields = "connection: x-mine\r\nx-mine: 1\r\nkeep-alive: timeout=5\r\nproxy-connection: close\r\n\
                  proxy-authenticate: Basic\r\nupgrade: h2c\r\nx-stays: 2\r\n";
    let upstream = Upstream::answering(move |_| with_fields(200, "OK", fields, "ok"));
    let answer = before(&upstream, "", "").get("/", &[]);
    answer.expect(200, "ok");
    for name in ["x-mine", "keep-alive", "proxy-connection", "proxy-authenticate", "upgrade", "connection"] {
        assert_eq!(answer.get(name), None, "{name}");
    }
    assert_eq!(answer.get("x-stays"), Some("2"));
}

#[test]
fn forwarding_fields_are_appended_for_trusted_peers_and_replaced_for_others() {
    let upstream = Upstream::saying("ok");
    let fields = [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-host", "public.example"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=203.0.113.9"),
        ("x-real-ip", "203.0.113.9"),
    ];
    before(&upstream, "", "").get("/", &fields).expect(200, "ok");
    let head = upstream.last_request().head;
    assert_eq!(head.get("x-forwarded-for"), Some("203.0.113.9, 127.0.0.1"));
    assert_eq!(head.get("x-forwarded-host"), Some("public.example"));
    assert_eq!(head.get("x-forwarded-proto"), Some("https"));
    assert_eq!(head.get("x-real-ip"), Some("203.0.113.9"));

    let setup = Setup::route(&upstream.url(), &upstream.url(), "").top("listen.trusted_proxies = []");
    setup.start().get("/", &fields).expect(200, "ok");
    let head = upstream.last_request().head;
    assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.get("x-forwarded-host"), Some("gateway.example"));
    assert_eq!(head.get("x-forwarded-proto"), Some("http"));
    assert_eq!((head.get("forwarded"), head.get("x-real-ip")), (None, None));
}

#[test]
fn via_is_added_in_both_directions() {
    let upstream = Upstream::answering(|_| with_fields(200, "OK", "via: 1.1 inner\r\n", "ok"));
    let answer = before(&upstream, "", "").get("/", &[("via", "1.0 outer")]);
    assert_eq!(answer.head.all("via"), ["1.1 inner", "1.1 pointsman"]);
    assert_eq!(upstream.only_request().head.all("via"), ["1.0 outer", "1.1 pointsman"]);
}

#[test]
fn a_request_id_is_kept_or_made() {
    let upstream = Upstream::answering(|_| with_fields(200, "OK", "x-request-id: of-the-upstream\r\n", "ok"));
    let gateway = before(&upstream, "", "");
    let long = "x".repeat(129);
    for (sent, kept) in [("abc-123", true), ("a b", false), ("", false), (long.as_str(), false)] {
        let answer = gateway.get("/", &[("x-request-id", sent)]);
        let id = answer.get("x-request-id").unwrap();
        assert_eq!(id == sent, kept, "{sent:?} became {id:?}");
        assert!(kept || id.len() == 36, "{id:?}");
        assert_eq!(upstream.last_request().head.get("x-request-id"), Some(id));
    }
    let answer = gateway.get("/", &[]);
    assert_eq!(upstream.last_request().head.get("x-request-id"), answer.get("x-request-id"));
}

#[test]
fn of_several_request_ids_one_goes_on() {
    let upstream = Upstream::saying("ok");
    let gateway = before(&upstream, "", "");
    for (sent, kept) in [(["one", "two"], true), (["same", "same"], true), (["not one", "two"], false)] {
        let answer = gateway.get("/", &sent.map(|id| ("x-request-id", id)));
        let id = answer.get("x-request-id").unwrap();
        assert_eq!(id == sent[0], kept, "{sent:?} became {id:?}");
        assert_eq!(upstream.last_request().head.all("x-request-id"), [id], "{sent:?}");
        assert_eq!(gateway.line_with_id(id)["status"], 200, "{sent:?}");
    }
}

#[test]
fn trace_context_passes() {
    let upstream = Upstream::saying("ok");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    before(&upstream, "", "").get("/", &[("traceparent", trace), ("tracestate", "a=b")]).expect(200, "ok");
    let head = upstream.only_request().head;
    assert_eq!((head.get("traceparent"), head.get("tracestate")), (Some(trace), Some("a=b")));
}

#[test]
fn the_host_is_the_backends_the_clients_or_a_fixed_one() {
    let upstream = Upstream::saying("ok");
    let own = upstream.address.to_string();
    let rows =
        [("", own.as_str()), ("host = \"client\"", "shop.example:81"), ("host = \"fixed.example\"", "fixed.example")];
    for (key, expected) in rows {
        before(&upstream, key, "").get("/", &[("host", "shop.example:81")]).expect(200, "ok");
        assert_eq!(upstream.last_request().head.get("host"), Some(expected), "{key}");
    }
}

#[test]
fn credentials_are_passed_only_as_the_file_says() {
    let upstream = Upstream::saying("ok");
    let fields = [("authorization", "Bearer mine"), ("cookie", "a=b"), ("x-user-id", "u")];
    let names = ["authorization", "cookie", "identity"];
    let rows = ["", "authorization", "cookie", "identity"];
    for passed in rows {
        let pass = if passed.is_empty() { String::new() } else { format!("pass = [{passed:?}]") };
        before(&upstream, &pass, "").get("/", &fields).expect(200, "ok");
        let head = upstream.last_request().head;
        for (name, (field, value)) in names.iter().zip(fields) {
            assert_eq!(head.get(field), (*name == passed).then_some(value), "{field} with {pass:?}");
        }
    }
}

/// Two routes before one upstream: what one of them looks at does not reach the other's backend either.
fn with_private_fields(upstream: &Upstream, backend: &str, routes: &str) -> Gateway {
    Setup::new(format!(
        "[contexts.user]\nkey = [{{ header = \"x-user-id\" }}, {{ cookie = \"uid\" }}]\n\
         tier = {{ header = \"x-user-tier\" }}\n\
         [contexts.session]\nkey = [{{ header = \"x-session-id\" }}]\n\
         [backends.a]\nurl = {:?}\n{backend}\n\
         [routes.all]\npath = \"/\"\ncontrol = \"a\"\ncandidate = \"a\"\n{routes}\n\
         [routes.tested]\npath = \"/tested\"\ncontrol = \"a\"\ncandidate = \"a\"\n\
         override = {{ key = \"open-sesame\" }}\n\
         [routes.renamed]\npath = \"/renamed\"\ncontrol = \"a\"\ncandidate = \"a\"\n\
         override = {{ header = \"x-test-arm\", key = \"open-sesame\" }}\n",
        upstream.url()
    ))
    .start()
}

const PRIVATE: [(&str, &str); 5] = [
    ("x-user-id", "u"),
    ("x-session-id", "s1"),
    ("x-pointsman-override", "candidate open-sesame"),
    ("x-test-arm", "candidate open-sesame"),
    ("x-user-tier", "gold"),
];

#[test]
fn no_route_passes_on_the_keys_of_any_kind_or_the_overrides_of_any_route() {
    let upstream = Upstream::saying("ok");
    for (pass, passed) in [("", &["x-user-tier"][..]), ("identity", &["x-user-id", "x-session-id", "x-user-tier"])] {
        let pass = if pass.is_empty() { String::new() } else { format!("pass = [{pass:?}]") };
        let gateway = with_private_fields(&upstream, &pass, "");
        for path in ["/", "/tested", "/renamed"] {
            gateway.get(path, &PRIVATE).expect(200, "ok");
            let head = upstream.last_request().head;
            for (field, value) in PRIVATE {
                assert_eq!(
                    head.get(field),
                    passed.contains(&field).then_some(value),
                    "{field} on {path} with {pass:?}"
                );
            }
        }
    }
}

#[test]
fn private_fields_do_not_come_as_trailers_either() {
    let upstream = Upstream::saying("ok");
    let gateway = with_private_fields(&upstream, "", "");
    let mut client = gateway.client();
    client.send(
        "POST / HTTP/1.1\r\nhost: a\r\ntrailer: x-session-id, x-test-arm, x-mine\r\ntransfer-encoding: chunked\r\n\r\n\
         4\r\nbody\r\n0\r\nx-session-id: s1\r\nx-test-arm: candidate open-sesame\r\nx-mine: 1\r\n\r\n",
    );
    client.answer().expect(200, "ok");
    let seen = upstream.only_request();
    assert_eq!((seen.trailers.fields.len(), seen.trailers.get("x-mine")), (1, Some("1")), "{:?}", seen.trailers);
}

#[test]
fn what_the_file_puts_in_place_of_credentials_stays() {
    let upstream = Upstream::saying("ok");
    let changes = "request_headers = { set = { x-session-id = \"ours\", authorization = \"Bearer ours\" }, \
                   add = { x-user-id = \"ours\" } }";
    let gateway = with_private_fields(&upstream, "", changes);
    let fields = [("x-session-id", "s1"), ("authorization", "Bearer mine"), ("x-user-id", "u")];
    for sent in [&fields[..], &[]] {
        gateway.get("/", sent).expect(200, "ok");
        let head = upstream.last_request().head;
        for (field, value) in [("x-session-id", "ours"), ("authorization", "Bearer ours"), ("x-user-id", "ours")] {
            assert_eq!(head.all(field), [value], "{field} of {sent:?}");
        }
    }
}

#[test]
fn a_backends_own_fields_replace_the_clients() {
    let upstream = Upstream::saying("ok");
    let gateway = Setup::new(format!(
        "[backends.a]\nurl = {:?}\nheaders = {{ authorization = \"Bearer ${{KEY}}\", x-extra = \"1\" }}\n\
         [routes.all]\npath = \"/\"\ncontrol = \"a\"\ncandidate = \"a\"\n",
        upstream.url()
    ))
    .environment("KEY", "secret")
    .start();
    gateway.get("/", &[("authorization", "Bearer mine"), ("x-extra", "2"), ("x-extra", "3")]).expect(200, "ok");
    let head = upstream.only_request().head;
    assert_eq!((head.get("authorization"), head.get("x-extra")), (Some("Bearer secret"), Some("1")));
}

#[test]
fn routes_change_fields_in_both_directions() {
    let upstream = Upstream::answering(|_| with_fields(200, "OK", "server: secret/1\r\nx-a: 1\r\nx-b: 1\r\n", "ok"));
    let changes = "{ remove = [\"x-gone\", \"server\"], set = { x-a = \"2\" }, add = { x-b = \"2\" } }";
    let gateway = before(&upstream, "", &format!("request_headers = {changes}\nresponse_headers = {changes}"));
    let answer = gateway.get("/", &[("x-gone", "1"), ("x-a", "1"), ("x-b", "1")]);
    assert_eq!((answer.get("server"), answer.get("x-a")), (None, Some("2")));
    assert_eq!(answer.head.all("x-b"), ["1", "2"]);
    let head = upstream.only_request().head;
    assert_eq!((head.get("x-gone"), head.get("x-a")), (None, Some("2")));
    assert_eq!(head.all("x-b"), ["1", "2"]);
}

#[test]
fn the_longest_prefix_wins_and_is_rewritten() {
    let upstream = Upstream::answering(|seen| ok(&seen.head.start));
    let gateway = Setup::new(format!(
        "[backends.a]\nurl = {:?}\n[backends.based]\nurl = \"{}/base\"\n\
         [routes.plain]\npath = \"/\"\ncontrol = \"a\"\ncandidate = \"a\"\n\
         [routes.api]\npath = \"/api\"\nrewrite = {{ prefix = \"/v2\" }}\ncontrol = \"a\"\ncandidate = \"a\"\n\
         [routes.based]\npath = \"/api/based\"\nrewrite = {{ prefix = \"/\" }}\ncontrol = \"based\"\ncandidate = \"based\"\n",
        upstream.url(),
        upstream.url()
    ))
    .start();
    let rows = [
        ("/", "/"),
        ("/other?x=%20y&z", "/other?x=%20y&z"),
        ("/api", "/v2"),
        ("/api/a//b/%2e%2e/?q=1", "/v2/a//b/%2e%2e/?q=1"),
        ("/apix", "/apix"),
        ("/api/based/x", "/base/x"),
        ("/api/based", "/base"),
        ("http://gateway.example/api/x?y", "/v2/x?y"),
        ("http://gateway.example", "/"),
    ];
    for (target, expected) in rows {
        gateway.get(target, &[]).expect(200, &format!("GET {expected} HTTP/1.1"));
    }
}

#[test]
fn a_request_that_no_route_takes_is_404() {
    let upstream = Upstream::saying("ok");
    let gateway = Setup::new(format!(
        "[backends.a]\nurl = {:?}\n[routes.r]\nhost = \"api.example\"\npath = \"/q\"\nmethods = [\"POST\"]\n\
         control = \"a\"\ncandidate = \"a\"\n",
        upstream.url()
    ))
    .start();
    let rows = [
        ("POST", "/q", "api.example", 200),
        ("POST", "/q/deep", "API.Example:8080", 200),
        ("GET", "/q", "api.example", 404),
        ("POST", "/q", "other.example", 404),
        ("POST", "/qq", "api.example", 404),
    ];
    for (method, target, host, status) in rows {
        let answer = gateway.request(method, target, &[("host", host)], b"x");
        assert_eq!(answer.status, status, "{method} {target} {host}");
        if status == 404 {
            assert_eq!(answer.code(), "no_route");
        }
    }
    assert_eq!(upstream.heads(), 2);
}

#[test]
fn answers_without_a_body_stay_without_one() {
    let upstream = Upstream::answering(|seen| match seen.head.start.as_str() {
        "HEAD /length HTTP/1.1" => b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec(),
        "HEAD /chunked HTTP/1.1" => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
        "HEAD /plain HTTP/1.1" => b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n".to_vec(),
        "GET /204 HTTP/1.1" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        "GET /304 HTTP/1.1" => b"HTTP/1.1 304 Not Modified\r\ncontent-length: 1000\r\netag: \"e\"\r\n\r\n".to_vec(),
        other => ok(other),
    });
    let gateway = before(&upstream, "", "");
    let mut client = gateway.client();
    let rows = [
        ("HEAD", "/length", 200, Some("1000")),
        ("HEAD", "/chunked", 200, None),
        ("HEAD", "/plain", 200, None),
        ("GET", "/204", 204, None),
        // A 304 may leave the length out (RFC 9110, 15.4.5), and hyper does.
        ("GET", "/304", 304, None),
    ];
    for (method, target, status, length) in rows {
        let answer = client.request(method, target, &[], b"");
        assert_eq!(answer.status, status, "{method} {target}");
        assert_eq!(answer.get("content-length"), length, "{method} {target}");
        // Were there a body, the next answer on this connection would not parse.
        client.get("/after", &[]).expect(200, "GET /after HTTP/1.1");
    }
    assert_eq!(upstream.connections(), 1, "bodiless answers should leave the upstream connection usable");
}

#[test]
fn upstream_connections_are_used_again() {
    let upstream = Upstream::echo();
    let gateway = before(&upstream, "", "");
    let mut client = gateway.client();
    for round in 0..20 {
        let body = vec![b'x'; round * 100];
        assert_eq!(client.request("POST", "/", &[], &body).body, body);
        assert_eq!(gateway.get("/", &[]).status, 200);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_backend_that_says_close_is_left() {
    let upstream = Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation.write(with_fields(200, "OK", "connection: close\r\n", "ok"));
        }
    });
    let gateway = before(&upstream, "", "");
    let mut client = gateway.client();
    for _ in 0..5 {
        client.get("/", &[]).expect(200, "ok");
    }
    assert_eq!(upstream.connections(), 5);
}

#[test]
fn idle_upstream_connections_are_closed() {
    let upstream = Upstream::saying("ok");
    let gateway = before(&upstream, "keepalive = { idle = \"50ms\" }", "");
    gateway.get("/", &[]).expect(200, "ok");
    upstream.await_departures(1);
    gateway.get("/", &[]).expect(200, "ok");
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::answering(|seen| ok(&seen.head.start));
    let gateway = before(&upstream, "", "");
    let mut client = gateway.client();
    let request = |index: usize| format!("GET /{index} HTTP/1.1\r\nhost: a\r\n\r\n");
    client.send((0..10).map(request).collect::<String>());
    for index in 0..10 {
        client.answer().expect(200, &format!("GET /{index} HTTP/1.1"));
    }
}

#[test]
fn http_1_0_clients_are_served() {
    let upstream = Upstream::scripted(|conversation| {
        while conversation.request().is_some() {
            conversation.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
        }
    });
    let gateway = before(&upstream, "", "");
    let mut client = gateway.client();
    client.send("GET /x HTTP/1.0\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.get("transfer-encoding"), None, "HTTP/1.0 knows no chunks");
    client.expect_closed();
    let head = upstream.only_request().head;
    assert_eq!(head.start, "GET /x HTTP/1.1");
    assert_eq!(
        (head.get("host"), head.get("via")),
        (Some(upstream.address.to_string().as_str()), Some("1.0 pointsman"))
    );
}

#[test]
fn http_1_0_backends_are_understood_and_answers_carry_our_version() {
    let upstream = Upstream::scripted(|conversation| {
        if conversation.request().is_some() {
            conversation.write("HTTP/1.0 200 OK\r\n\r\nold");
            conversation.close();
        }
    });
    let gateway = before(&upstream, "", "");
    let mut client = gateway.client();
    for _ in 0..2 {
        // The second request proves that the client's connection does not suffer from the backend's age.
        let answer = client.get("/", &[]);
        assert_eq!(answer.head.start, "HTTP/1.1 200 OK");
        answer.expect(200, "old");
        assert_eq!(answer.get("via"), Some("1.0 pointsman"));
    }
}

#[test]
fn many_fields_and_repeated_ones_arrive_in_order() {
    let many: String = (0..45).map(|index| format!("x-{index}: {index}\r\nset-cookie: c{index}=1\r\n")).collect();
    let upstream = {
        let many = many.clone();
        Upstream::answering(move |_| with_fields(200, "OK", &many, "ok"))
    };
    let gateway = before(&upstream, "", "");
    let fields: Vec<(String, String)> = (0..80).map(|index| (format!("x-{}", index / 2), index.to_string())).collect();
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = gateway.get("/", &fields);
    answer.expect(200, "ok");
    let cookies: Vec<String> = (0..45).map(|index| format!("c{index}=1")).collect();
    assert_eq!(answer.head.all("set-cookie"), cookies);
    assert_eq!(upstream.only_request().head.all("x-7"), ["14", "15"]);
}

#[test]
fn a_fixed_answer_needs_no_upstream() {
    let gateway = Setup::new(
        "[backends.off]\nrespond = { status = 404, body = \"no such feature\", headers = { x-a = \"1\" } }\n\
         [routes.all]\npath = \"/\"\ncontrol = \"off\"\ncandidate = \"off\"\n",
    )
    .start();
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.request("POST", "/", &[], b"a body that nobody reads");
        answer.expect(404, "no such feature");
        assert_eq!((answer.get("x-a"), answer.get("content-type")), (Some("1"), Some("text/plain; charset=utf-8")));
    }
}

#[test]
fn interim_answers_of_a_backend_do_not_end_the_request() {
    let script = |conversation: &mut Conversation| {
        while conversation.request().is_some() {
            conversation.write("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
            conversation.write(ok("final"));
        }
    };
    let upstream = Upstream::scripted(script);
    let gateway = before(&upstream, "", "");
    let mut client = gateway.client();
    client.get("/", &[]).expect(200, "final");
    client.get("/", &[]).expect(200, "final");
}

#[test]
fn a_loop_through_the_gateway_itself_is_seen_in_via() {
    let upstream = Upstream::saying("ok");
    let gateway = before(&upstream, "", "");
    gateway.get("/", &[("via", "1.1 pointsman")]).expect(200, "ok");
    eventually("the request", || (upstream.requests().len() == 1).then_some(()));
    assert_eq!(upstream.only_request().head.all("via"), ["1.1 pointsman", "1.1 pointsman"]);
}
