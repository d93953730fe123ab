//! Copies of requests to the candidate: who gets them, what is made of the answers, and that users notice nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::keeping::pointsman;
use crate::reading::{ask, get};
use crate::support::message::Ending;
use crate::support::upstream::{Refusing, ok, status, with_fields};
use crate::support::{Conversation, Gateway, Setup, Upstream, eventually, pattern};

const TOKENS: &str = "[admin.tokens.board]\nrole = \"viewer\"\ntoken = \"board-token-0123456789\"\n\
                      [admin.tokens.root]\nrole = \"admin\"\ntoken = \"root-token-0123456789\"\n";

/// Everything is copied; `shadow` are keys of `[routes.all.shadow]`, `more` is behind them.
fn setup(control: &str, candidate: &str, shadow: &str, more: &str) -> Setup {
    Setup::new(format!(
        "state.store = \"sqlite:pointsman.db\"\n{TOKENS}[backends.old]\nurl = {control:?}\n[backends.new]\nurl = {candidate:?}\n\
         headers = {{ x-key = \"of-the-candidate\" }}\nbreaker = {{ consecutive_failures = 2, open_for = \"60s\" }}\n\
         [routes.all]\npath = \"/\"\ncontrol = \"old\"\ncandidate = \"new\"\ntargets.candidate = [\"v\"]\n\
         fallback = {{ replay = \"connect\", replay_body = \"1KiB\" }}\n[routes.all.shadow]\npercent = 100\n{shadow}\n{more}\n"
    ))
}

fn drawn(gateway: &Gateway, result: &str) -> f64 {
    gateway
        .metric(&format!("pointsman_sampled_total{{route=\"all\",purpose=\"shadow\",result=\"{result}\"}}"))
        .unwrap_or(0.0)
}

fn await_drawn(gateway: &Gateway, result: &str, wanted: f64) {
    eventually(&format!("{wanted} {result}"), || (drawn(gateway, result) >= wanted).then_some(()));
    assert_eq!(drawn(gateway, result), wanted, "{result}");
}

fn outcome(gateway: &Gateway, outcome: &str) -> f64 {
    gateway.count(&format!("pointsman_shadow_attempts_total{{route=\"all\",outcome=\"{outcome}\"}}"))
}

fn hanging() -> Upstream {
    Upstream::scripted(|conversation| {
        conversation.request();
        conversation.await_departure();
    })
}

#[test]
fn the_candidate_gets_a_copy_and_the_user_controls_answer() {
    let (control, candidate) =
        (Upstream::saying("old"), Upstream::answering(|_| with_fields(202, "Accepted", "", "a longer answer")));
    let metric = "[metrics.longer]\nkind = \"value\"\nbetter = \"lower\"\n\
                  from = { event = \"shadow.all\", value = \"/data/difference/bytes\" }\n";
    let gateway = setup(&control.url(), &candidate.url(), "", metric).start();
    for count in 1..=2 {
        let answer = gateway.get("/deep/path?q=1", &[("x-user-id", "u"), ("cookie", "secret=1"), ("x-own", "mine")]);
        answer.expect(200, "old");
        assert_eq!(answer.get("x-pointsman-arm"), Some("control"));
        await_drawn(&gateway, "done", f64::from(count));
    }
    let copy = candidate.last_request();
    assert_eq!(copy.head.start, "GET /deep/path?q=1 HTTP/1.1");
    let fields =
        ["x-pointsman-shadow", "x-key", "x-own", "host", "cookie"].map(|name| copy.head.get(name).map(str::to_owned));
    let expected = [Some("1"), Some("of-the-candidate"), Some("mine"), Some(&candidate.address.to_string()), None];
    assert_eq!(fields, expected.map(|value| value.map(str::to_owned)));
    assert_eq!(control.last_request().head.get("x-pointsman-shadow"), None);
    assert_eq!(
        (control.heads(), candidate.heads(), candidate.connections()),
        (2, 2, 1),
        "one connection for both copies"
    );
    assert_eq!(outcome(&gateway, "success"), 2.0);
    let samples = [
        ("pointsman_attempts_total{route=\"all\",arm=\"candidate\",outcome=\"success\"}", 0.0),
        ("pointsman_shadow_statuses_total{route=\"all\",control=\"2xx\",candidate=\"2xx\"}", 2.0),
        ("pointsman_shadow_duration_seconds_count{route=\"all\",arm=\"control\"}", 2.0),
        ("pointsman_shadow_duration_seconds_count{route=\"all\",arm=\"candidate\"}", 2.0),
        ("pointsman_shadow_response_bytes_total{route=\"all\",arm=\"control\"}", 6.0),
        ("pointsman_shadow_response_bytes_total{route=\"all\",arm=\"candidate\"}", 30.0),
        ("pointsman_shadow_percent{route=\"all\"}", 100.0),
    ];
    for (sample, expected) in samples {
        assert_eq!(gateway.count(sample), expected, "{sample}");
    }
    let event = get(&gateway, "/api/v1/events?type=shadow.all")["events"][0].clone();
    let data = &event["data"];
    assert_eq!((&data["control"]["status"], &data["candidate"]["status"]), (&json!(200), &json!(202)));
    assert_eq!((&data["candidate"]["outcome"], &data["difference"]["bytes"]), (&json!("success"), &json!(12.0)));
    assert_eq!((&event["arm"], event["user"].is_string()), (&json!("control"), true));
    let longer =
        || get(&gateway, "/api/v1/stats?window=1h&route=all")["routes"]["all"]["control"]["metrics"]["longer"].clone();
    let counted = eventually("both pairs", || Some(longer()).filter(|longer| longer["count"] == json!(2.0)));
    assert_eq!(counted["mean"], json!(12.0), "what the file makes of pairs");
    ask(&gateway, "root", "POST", "/api/v1/erase", "{\"user\": \"u\"}").expect(200, "{\"removed\":2}");
    let shown = get(&gateway, "/api/v1/routes/all")["shadow"].clone();
    assert_eq!((&shown["percent"], &shown["copies"], &shown["failures"]), (&json!(100.0), &json!(2), &json!(0)));
    assert!(shown["candidate"]["mean_ms"].is_f64() && shown["pairs"]["win_rate"].is_null(), "{shown}");
}

#[test]
fn who_is_not_copied() {
    let (control, candidate) = (Upstream::saying("old"), Upstream::saying("new"));
    let more = "[contexts.user]\nkey = [{ header = \"x-user-id\" }]\ntier = { header = \"x-tier\" }\n";
    let gateway = setup(&control.url(), &candidate.url(), "", more)
        .replacing(
            "targets.candidate",
            "eligible = { user.tier = \"gold\" }\noverride.key = \"0123456789\"\ntargets.candidate",
        )
        .start();
    let mut client = gateway.client();
    type Row = (&'static str, &'static [(&'static str, &'static str)], &'static str);
    let rows: [Row; 6] = [
        ("POST", &[("x-user-id", "u"), ("x-tier", "gold")], "not a safe method"),
        ("GET", &[("x-user-id", "u"), ("x-tier", "free")], "not eligible"),
        ("GET", &[("x-user-id", "u"), ("x-tier", "gold"), ("x-pointsman-shadow", "1")], "a copy itself"),
        ("GET", &[("x-user-id", "u"), ("x-tier", "gold"), ("x-pointsman-override", "control 0123456789")], "a tester"),
        ("GET", &[("x-user-id", "v")], "the candidate answers"),
        ("HEAD", &[("x-user-id", "u"), ("x-tier", "gold")], "no body"),
    ];
    for (method, fields, why) in rows {
        let answer = client.request(method, "/", fields, b"");
        assert_eq!(answer.status, 200, "{why}");
    }
    assert_eq!(client.get("/", &[("x-user-id", "u"), ("x-tier", "gold")]).text(), "old");
    await_drawn(&gateway, "done", 1.0);
    let copies =
        |seen: &Upstream| seen.requests().iter().filter(|seen| seen.head.get("x-pointsman-shadow").is_some()).count();
    assert_eq!((copies(&candidate), candidate.heads()), (1, 2), "the last alone");
    gateway.rewrite(
        &setup(&control.url(), &candidate.url(), "", more).replacing("path = \"/\"", "path = \"/\"\nenabled = false"),
    );
    eventually("the kill switch", || (gateway.count("pointsman_route_enabled{route=\"all\"}") == 0.0).then_some(()));
    assert_eq!(gateway.get("/", &[("x-user-id", "u")]).text(), "old");
    gateway.rewrite(&setup(&control.url(), &candidate.url(), "", more).replacing("percent = 100", "percent = 0"));
    eventually("another percentage", || {
        (gateway.count("pointsman_shadow_percent{route=\"all\"}") == 0.0).then_some(())
    });
    assert_eq!(gateway.get("/", &[("x-user-id", "u")]).text(), "old");
    assert_eq!((drawn(&gateway, "done"), candidate.heads()), (1.0, 2));
}

#[test]
fn bodies_are_copied_where_the_file_names_the_method_up_to_what_can_be_kept() {
    let (control, candidate) = (Upstream::echo(), Upstream::echo());
    let gateway = setup(&control.url(), &candidate.url(), "methods = [\"POST\"]", "").start();
    let small = pattern(1_000);
    let fields = [("x-user-id", "u"), ("content-type", "application/octet-stream"), ("content-encoding", "gzip")];
    assert_eq!(gateway.request("POST", "/", &fields, &small).body, small);
    await_drawn(&gateway, "done", 1.0);
    let copy = candidate.only_request();
    assert_eq!((copy.body, copy.ending, copy.head.get("content-length")), (small, Ending::Whole, Some("1000")));
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
    assert_eq!(client.answer().text(), "abcdefg");
    await_drawn(&gateway, "done", 2.0);
    assert_eq!(candidate.last_request().body, b"abcdefg");
    let large = pattern(200_000);
    assert_eq!(gateway.request("POST", "/", &fields, &large).body, large);
    await_drawn(&gateway, "too_large", 1.0);
    assert_eq!(candidate.heads(), 2);
}

#[test]
fn a_candidate_that_hangs_costs_users_nothing_but_the_line_that_it_has() {
    let (control, candidate) = (Upstream::saying("old"), hanging());
    let gateway = setup(&control.url(), &candidate.url(), "max_in_flight = 2\nqueue = 3", "").start();
    let mut client = gateway.client();
    // Not one of these would be answered if it waited: the candidate never answers.
    for _ in 0..2 {
        client.get("/", &[("x-user-id", "u")]).expect(200, "old");
    }
    candidate.await_heads(2);
    for _ in 0..200 {
        client.get("/", &[("x-user-id", "u")]).expect(200, "old");
    }
    await_drawn(&gateway, "queue_full", 197.0);
    assert_eq!((candidate.heads(), control.heads()), (2, 202));
    let in_flight = gateway.count("pointsman_backend_in_flight{backend=\"new\"}");
    assert_eq!(in_flight, 0.0, "copies take no room of the candidate's users");
}

#[test]
fn a_copy_that_fails_is_counted_and_costs_no_user_anything() {
    let closing = |bytes: &'static [u8]| {
        Upstream::scripted(move |conversation: &mut Conversation| {
            if conversation.request().is_some() {
                conversation.write(bytes);
            }
            conversation.close();
        })
    };
    let (refusing, reset, cut) =
        (Refusing::new(), closing(b""), closing(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab"));
    let (failing, limited) = (
        Upstream::answering(|_| status(500, "Oops", "")),
        Upstream::answering(|_| with_fields(429, "Too Many Requests", "retry-after: 60\r\n", "")),
    );
    let rows = [
        (refusing.url(), "connect"),
        (reset.url(), "reset"),
        (cut.url(), "truncated"),
        (failing.url(), "status"),
        (limited.url(), "429"),
    ];
    for (url, expected) in rows {
        let control = Upstream::saying("old");
        let gateway = setup(&control.url(), &url, "", "").start();
        for count in 1..=5 {
            gateway.get("/", &[("x-user-id", "u")]).expect(200, "old");
            await_drawn(&gateway, "done", f64::from(count));
        }
        assert_eq!(outcome(&gateway, expected), 5.0, "{expected}");
        assert_eq!(
            gateway.count("pointsman_breaker_state{backend=\"new\"}"),
            0.0,
            "{expected}: copies move no breaker"
        );
        assert_eq!(gateway.count("pointsman_backend_rate_limited{backend=\"new\"}"), 0.0, "{expected}");
        assert_eq!(gateway.count("pointsman_fallbacks_total{route=\"all\",cause=\"connect\"}"), 0.0, "{expected}");
    }
}

#[test]
fn an_open_breaker_a_budget_and_a_timeout_end_copies() {
    let broken = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&broken);
    let candidate =
        Upstream::answering(move |_| if told.load(Ordering::SeqCst) { status(500, "Oops", "") } else { ok("new") });
    let control = Upstream::saying("old");
    let gateway = setup(&control.url(), &candidate.url(), "", "").start();
    for _ in 0..2 {
        gateway.get("/", &[("x-user-id", "v")]).expect(200, "old");
    }
    assert_eq!(gateway.count("pointsman_breaker_state{backend=\"new\"}"), 2.0, "users' requests have opened it");
    gateway.get("/", &[("x-user-id", "u")]).expect(200, "old");
    await_drawn(&gateway, "unhealthy", 1.0);
    assert_eq!(candidate.heads(), 2);
    broken.store(false, Ordering::SeqCst);
    let gateway = setup(&control.url(), &candidate.url(), "budget = { per_minute = 1000, per_day = 3 }", "").start();
    for _ in 0..10 {
        gateway.get("/", &[("x-user-id", "u")]).expect(200, "old");
    }
    await_drawn(&gateway, "budget", 7.0);
    await_drawn(&gateway, "done", 3.0);
    assert_eq!(candidate.heads(), 5);
    let slow = hanging();
    let gateway = setup(&control.url(), &slow.url(), "", "")
        .replacing("[backends.new]", "[backends.new]\ntimeouts.first_byte = \"50ms\"")
        .start();
    gateway.get("/", &[("x-user-id", "u")]).expect(200, "old");
    await_drawn(&gateway, "done", 1.0);
    assert_eq!(outcome(&gateway, "timeout"), 1.0);
    slow.await_departures(1);
}

#[test]
fn a_copy_is_rewritten_as_the_candidates_requests_are() {
    let (control, candidate) = (Upstream::saying("old"), Upstream::saying("new"));
    let rewrite = "[routes.all.rewrite.candidate.request]\npath = \"/v2\"\nheaders = { set = { x-mode = \"new\" } }\n\
                   template = { question = \"{{ query }}\" }\n";
    let gateway = setup(&control.url(), &candidate.url(), "methods = [\"POST\"]", rewrite).start();
    let fields = [("x-user-id", "u"), ("content-type", "application/json")];
    assert_eq!(gateway.request("POST", "/v1?a=b", &fields, b"{\"query\": \"why?\"}").text(), "old");
    await_drawn(&gateway, "done", 1.0);
    let copy = candidate.only_request();
    assert_eq!((copy.head.start.as_str(), copy.head.get("x-mode")), ("POST /v2?a=b HTTP/1.1", Some("new")));
    assert_eq!(serde_json::from_slice::<Value>(&copy.body).unwrap(), json!({"question": "why?"}));
    assert_eq!(control.only_request().body, b"{\"query\": \"why?\"}");
    assert_eq!(gateway.request("POST", "/v1", &fields, b"no JSON").text(), "old");
    await_drawn(&gateway, "rewrite", 1.0);
}

fn answering(text: &'static str) -> Upstream {
    Upstream::answering(move |_| {
        with_fields(200, "OK", "content-type: application/json\r\n", &json!({"text": text}).to_string())
    })
}

const JUDGED: &str = "[metrics.quality]\nkind = \"value\"\nbetter = \"higher\"\nfrom = { judge = \"llm\" }\n\
                      [routes.all.judge]\nby = \"llm\"\npercent = 100\nsend = { answer = { response_json = \"/text\" } }\n";

#[test]
fn a_judge_compares_pairs_in_an_order_that_is_drawn() {
    let (control, candidate) = (answering("from old"), answering("from new"));
    // A judge that likes what it is shown first seven times in ten, and one that gives scores otherwise.
    let judge = Upstream::answering(|seen| {
        let asked: Value = serde_json::from_slice(&seen.body).unwrap();
        assert_eq!(asked["pair"], json!({"control": {"answer": "from old"}, "candidate": {"answer": "from new"}}));
        let shown: Vec<&String> = asked["pair"].as_object().unwrap().keys().collect();
        assert_eq!(asked["first"], json!(shown[0]), "the label says what the order is");
        let verdict = if asked["first"] == "candidate" {
            json!({"preference": "candidate"})
        } else {
            json!({"scores": {"control": {"quality": 0.9}, "candidate": {"quality": 0.2}}})
        };
        ok(&verdict.to_string())
    });
    let more = format!("[judges.llm]\nurl = {:?}\nqueue = 1000\nbudget.per_minute = 10000\n{JUDGED}", judge.url());
    let mut gateway = setup(&control.url(), &candidate.url(), "queue = 1000", &more).start();
    let mut first = 0;
    for n in 0..40 {
        let id = format!("id-{n}");
        // The lowest bit that docs/shadow.md publishes.
        first += u64::from(pointsman::domain::assignment::Digest::of(id.as_bytes(), b"order").bucket().0 & 1);
        let answer = gateway.get("/", &[("x-user-id", "u"), ("x-request-id", &id)]);
        assert_eq!(answer.status, 200);
    }
    let expected = json!({"wins": first, "losses": 40 - first, "ties": 0});
    let pairs = |gateway: &Gateway| get(gateway, "/api/v1/routes/all")["shadow"]["pairs"].clone();
    let counted = eventually("all verdicts", || {
        Some(pairs(&gateway))
            .filter(|pairs| pairs["wins"].as_u64().zip(pairs["losses"].as_u64()).is_some_and(|(w, l)| w + l == 40))
    });
    for name in ["wins", "losses", "ties"] {
        assert_eq!(counted[name], expected[name], "{counted}");
    }
    let rate = &counted["win_rate"];
    assert_eq!(rate["rate"], json!(first as f64 / 40.0));
    assert!(rate["low"].as_f64() < rate["rate"].as_f64() && rate["rate"].as_f64() < rate["high"].as_f64(), "{rate}");
    let shown = pointsman(&gateway, "board", &["status"]);
    let shown = String::from_utf8_lossy(&shown.stdout).replace(['\n', '\u{2502}'], " ");
    assert!(shown.contains("wins"), "{shown}");
    let metric =
        get(&gateway, "/api/v1/stats?window=1h&route=all")["routes"]["all"]["control"]["metrics"]["quality"].clone();
    assert!(metric.is_null(), "scores of pairs are no scores of users' answers: {metric}");
    gateway.signal("TERM");
    assert!(gateway.await_exit().success());
    gateway.start_again();
    eventually("the same after a restart", || {
        let answer = ask(&gateway, "board", "GET", "/api/v1/routes/all", "");
        let pairs = serde_json::from_slice::<Value>(&answer.body).ok()?["shadow"]["pairs"].clone();
        (pairs["wins"] == expected["wins"]).then_some(())
    });
}

#[test]
fn only_trusted_peers_may_say_that_a_request_is_a_copy() {
    for (trusted, expected) in [("127.0.0.0/8", Some("1")), ("10.0.0.0/8", None)] {
        let (control, candidate) = (Upstream::saying("old"), Upstream::saying("new"));
        let gateway = setup(&control.url(), &candidate.url(), "", "")
            .top(&format!("listen.trusted_proxies = [{trusted:?}]"))
            .start();
        gateway.get("/", &[("x-pointsman-shadow", "1"), ("te", "trailers"), ("connection", "te")]).expect(200, "old");
        assert_eq!(control.only_request().head.get("x-pointsman-shadow"), expected, "{trusted}");
        if expected.is_none() {
            await_drawn(&gateway, "done", 1.0);
            let copy = candidate.only_request();
            assert_eq!(["te", "connection"].map(|name| copy.head.get(name)), [None, None]);
        }
    }
}

#[test]
fn without_a_copy_that_can_be_compared_control_is_judged_alone() {
    let (control, refusing) = (answering("from old"), Refusing::new());
    let judge = Upstream::answering(|seen| {
        let asked: Value = serde_json::from_slice(&seen.body).unwrap();
        assert_eq!(asked["exchange"], json!({"answer": "from old"}));
        ok("{\"scores\": {\"quality\": 0.5}}")
    });
    let more = format!("[judges.llm]\nurl = {:?}\n{JUDGED}", judge.url());
    let text = Upstream::saying("no JSON");
    for url in [refusing.url(), text.url()] {
        let before = judge.heads();
        let gateway = setup(&control.url(), &url, "", &more).start();
        assert_eq!(gateway.get("/", &[("x-user-id", "u")]).status, 200);
        let judged = "pointsman_sampled_total{route=\"all\",purpose=\"judge\",result=\"done\"}";
        eventually("a verdict", || (gateway.metric(judged) == Some(1.0)).then_some(()));
        assert_eq!(judge.heads(), before + 1, "{url}");
    }
}
