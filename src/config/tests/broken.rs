//! Broken files and their messages, as rows; the messages are in `snapshots/`.

use super::*;

/// Rows of lines, each put into a file that is right otherwise.
fn messages(rows: &[(&str, &str)], file: impl Fn(&str) -> String) -> String {
    let row = |(name, lines): &(&str, &str)| format!("# {name}\n\n{}", bad(&file(lines), &[]));
    rows.iter().map(row).collect()
}

#[test]
fn syntax_and_tables() {
    let rows = [
        ("no value", "[listen]\nthreads =\n"),
        ("two mistakes of syntax", "[listen\nthreads = 1\n[log]\nlevel = info\n"),
        ("a key twice", "[listen]\nthreads = 1\nthreads = 2\n"),
        ("unknown table", "[listn]\nthreads = 1\n"),
        ("unknown key", "[listen]\nthread = 1\n"),
        ("a value instead of a table", "listen = 8080\n"),
        ("a value instead of named tables", "metrics = \"quality\"\n"),
        ("a table that comes later", "[judge]\nurl = \"http://judge\"\n"),
        ("a date", "[log]\nlevel = 2026-01-01\n"),
        ("an integer beyond 64 bits", "[listen]\nthreads = 99999999999999999999\n"),
        ("a dollar that begins nothing", "[log]\nlevel = \"$x\"\n"),
        ("a variable that is not set", "[log]\nlevel = \"${NOT_SET}\"\n"),
        ("a variable without a name", "[log]\nlevel = \"${}\"\n"),
        ("a mistake in a profile that is not chosen", "[profiles.dev.listen]\nport = 80\n"),
    ];
    insta::assert_snapshot!(messages(&rows, |lines| format!("{lines}{BACKENDS}{ROUTE}")));
}

#[test]
fn process() {
    let rows = [
        ("address without port", "[listen]\naddress = \"0.0.0.0\"\n"),
        ("threads as text", "[listen]\nthreads = \"4\"\n"),
        ("network", "[listen]\ntrusted_proxies = [\"10.0.0.0/33\", \"here\"]\n"),
        ("TLS comes later", "[listen]\ntls = { certificate = \"x.pem\" }\n"),
        ("role", "[admin.tokens.a]\nrole = \"operater\"\ntoken = \"0123456789abcdef\"\n"),
        ("short token", "[admin.tokens.a]\nrole = \"admin\"\ntoken = \"short\"\n"),
        ("token of a wrong type", "[admin.tokens.a]\nrole = \"admin\"\ntoken = 12345678901234567\n"),
        (
            "the same token twice",
            "[admin.tokens]\na = { role = \"admin\", token = \"0123456789abcdef\" }\nb = { role = \"viewer\", token = \"0123456789abcdef\" }\n",
        ),
        ("unlimited", "[limits]\nmax_body = \"unlimited\"\n"),
        ("size out of range", "[limits]\nmax_head = 12\n"),
        ("duration without unit", "[shutdown]\ndrain_delay = 5\ndrain_timeout = \"60\"\n"),
        ("duration out of range", "[limits]\nheader_timeout = \"2h\"\n"),
        ("share", "[log]\naccess_sample = 1.5\n"),
        ("level", "[log]\nlevel = \"loud\"\n"),
        ("store that comes later", "[state]\nstore = \"redis://cache\"\n"),
        ("kind without a source", "[contexts.user]\nkey = []\n"),
        ("source with two places", "[contexts.user]\nkey = [{ header = \"x-a\", cookie = \"b\" }]\n"),
        ("source in no list", "[contexts.user]\nkey = { header = \"x-a\" }\n"),
        (
            "attribute that comes later",
            "[contexts.user]\nkey = [{ header = \"x-a\" }]\ntier = { jwt = \"/tier\" }\nquery = { json = \"/query\" }\n",
        ),
        (
            "metric of a kind that comes later",
            "[metrics.m]\nkind = \"count\"\nbetter = \"higher\"\nfrom = { event = \"e\" }\n",
        ),
        ("metric without anything", "[metrics.m]\n"),
        (
            "name with capitals",
            "[metrics.Q]\nkind = \"value\"\nbetter = \"higher\"\nfrom = { response_header = \"q q\" }\n",
        ),
    ];
    insta::assert_snapshot!(messages(&rows, |lines| format!("{lines}{BACKENDS}{ROUTE}")));
}

#[test]
fn events() {
    let rows = [
        ("a store without a file", "[state]\nstore = \"sqlite:\"\n"),
        ("a store that nobody knows", "[state]\nstore = \"postgres://db\"\n"),
        ("a file without its kind", "[state]\nstore = \"pointsman.db\"\n"),
        ("bounds of the store", "[state]\nkeep_events = \"1m\"\nmax_size = \"1KiB\"\n"),
        ("no keys at all", "[exposure]\n"),
        ("an empty list of keys", "[exposure]\nkeys = []\n"),
        ("a short key", "[exposure]\nkeys = [\"a long enough secret\", \"short\"]\n"),
        ("a key that is no text", "[exposure]\nkeys = [12345678901234567]\n"),
        (
            "header and cookie",
            "[exposure]\nkeys = [\"a long enough secret\"]\nheader = \"host\"\ncookie = \"a b\"\nmax_age = \"1s\"\n",
        ),
        ("public as text", "[events]\npublic = \"yes\"\n"),
        (
            "origins",
            "[events]\norigins = [\"*\", \"shop.example\", \"https://shop.example/\", \"ftp://shop.example\", \"https://u@shop.example\"]\n",
        ),
        ("rates", "[events]\nevents_per_second = 0\nburst = 0\n"),
    ];
    insta::assert_snapshot!(messages(&rows, |lines| format!("{lines}{BACKENDS}{ROUTE}")));
}

#[test]
fn routes_where_events_are_taken_are_told() {
    let rows = [("/v1/events", 1), ("/v1", 1), ("/v1/events/more", 0), ("/v1/event", 0), ("/v", 0), ("/", 0)];
    for (path, expected) in rows {
        let route = ROUTE.replace("path = \"/\"", &format!("path = {path:?}"));
        for (public, expected) in [(true, expected), (false, 0)] {
            let loaded = good(&format!("[events]\npublic = {public}\n{BACKENDS}{route}"), &[]);
            assert_eq!(loaded.warnings.len(), expected, "{path} {public}: {:?}", loaded.warnings);
        }
    }
}

#[test]
fn backends() {
    let rows = [
        ("no target", ""),
        ("two targets", "url = \"http://a\"\nurls = [\"http://b\"]\n"),
        ("scheme", "url = \"ftp://a\"\n"),
        ("no scheme", "url = \"a:80\"\n"),
        ("password", "url = \"http://user:pass@a\"\n"),
        ("query", "url = \"http://a/?x=1\"\n"),
        ("port", "url = \"http://a:99999\"\n"),
        ("path that climbs", "url = \"http://a/../b\"\n"),
        ("no endpoints", "urls = []\n"),
        ("an empty endpoint", "urls = [\"\", \"http://b\"]\n"),
        ("weight", "urls = [{ url = \"http://a\", weight = 0 }]\n"),
        ("an empty URL for control", "url = \"\"\n"),
        ("status of an answer", "respond = { status = 42 }\n"),
        ("balance", "url = \"http://a\"\nbalance = \"round-robin\"\n"),
        ("header name", "url = \"http://a\"\nheaders = { \"x y\" = \"1\" }\n"),
        ("header value", "url = \"http://a\"\nheaders = { x-key = \"a\\nb\" }\n"),
        ("header of ours", "url = \"http://a\"\nheaders = { Host = \"b\", transfer-encoding = \"chunked\" }\n"),
        ("header twice", "url = \"http://a\"\nheaders = { X-A = \"1\", x-a = \"2\" }\n"),
        ("secret file that is not there", "url = \"http://a\"\nheaders = { x-key = { file = \"/not/there\" } }\n"),
        ("authority that is not there", "url = \"https://a\"\ntls = { ca = \"/not/there.pem\" }\n"),
        ("what is passed", "url = \"http://a\"\npass = [\"cookies\"]\n"),
        ("no room at all", "url = \"http://a\"\nmax_in_flight = 0\n"),
        (
            "check longer than its interval",
            "url = \"http://a\"\nhealth_check = { interval = \"1s\", timeout = \"2s\" }\n",
        ),
        ("ratio", "url = \"http://a\"\nbreaker = { failure_ratio = 50 }\n"),
        ("window without ratio", "url = \"http://a\"\nbreaker = { window = \"1m\" }\n"),
        ("longest open time", "url = \"http://a\"\nbreaker = { open_for = \"1m\", open_for_max = \"30s\" }\n"),
        ("host", "url = \"http://a\"\nhost = \"a b\"\n"),
    ];
    let rest = "[backends.b]\nurl = \"http://b\"\n";
    insta::assert_snapshot!(messages(&rows, |lines| format!("[backends.a]\n{lines}{rest}{ROUTE}")));
}

#[test]
fn routes() {
    let rows = [
        ("unknown backends", "path = \"/\"\ncontrol = \"aa\"\ncandidate = \"zebra\"\n"),
        ("no arms", "path = \"/\"\n"),
        ("a path with one backend", "path = \"/\"\ncandidate = \"b\"\n"),
        ("a flag of a backend that is not there", "candidate = \"bb\"\n"),
        ("relative path", "path = \"query\"\ncontrol = \"a\"\ncandidate = \"b\"\n"),
        ("path with query", "path = \"/a?b\"\ncontrol = \"a\"\ncandidate = \"b\"\n"),
        ("host with port", "path = \"/\"\nhost = \"a:80\"\ncontrol = \"a\"\ncandidate = \"b\"\n"),
        ("methods", "path = \"/\"\nmethods = [\"get\", \"CONNECT\"]\ncontrol = \"a\"\ncandidate = \"b\"\n"),
        ("match without path", "host = \"a\"\nmethods = [\"GET\"]\ncontrol = \"a\"\ncandidate = \"b\"\n"),
        ("percent", "control = \"a\"\ncandidate = \"b\"\nrollout = { percent = 101 }\n"),
        ("not a number", "control = \"a\"\ncandidate = \"b\"\nrollout = { percent = nan }\n"),
        ("stages come later", "control = \"a\"\ncandidate = \"b\"\nrollout = { percent = 1, stages = [] }\n"),
        (
            "guards come later, a rule has a name and a condition",
            "control = \"a\"\ncandidate = \"b\"\nguards = {}\n[[routes.r.rules]]\nserve = \"control\"\n",
        ),
        (
            "a key for both arms",
            "control = \"a\"\ncandidate = \"b\"\ntargets = { control = [\"x\"], candidate = [\"x\", \"\"] }\n",
        ),
        ("unknown kind", "control = \"a\"\ncandidate = \"b\"\nsplit_by = \"users\"\n"),
        (
            "unknown metric",
            "control = \"a\"\ncandidate = \"b\"\nquality_gate = { metric = \"q\", min = 1, margin = -1 }\n",
        ),
        ("empty salt", "control = \"a\"\ncandidate = \"b\"\nsalt = \"\"\n"),
        ("forced", "control = \"a\"\ncandidate = \"b\"\nforced = \"new\"\n"),
        ("override", "control = \"a\"\ncandidate = \"b\"\noverride = { key = \"short\" }\n"),
        (
            "causes",
            "control = \"a\"\ncandidate = \"b\"\nfallback = { on = [\"5xx\", \"timeouts\"], replay = \"never\" }\n",
        ),
        ("enabled as text", "control = \"a\"\ncandidate = \"b\"\nenabled = \"no\"\n"),
        ("rewrite of a flag", "control = \"a\"\ncandidate = \"b\"\nrewrite = { prefix = \"/x\" }\n"),
        (
            "the same requests twice",
            "path = \"/x\"\nmethods = [\"GET\"]\ncontrol = \"a\"\ncandidate = \"b\"\n[routes.s]\npath = \"/x/\"\ncontrol = \"a\"\ncandidate = \"b\"\n",
        ),
    ];
    insta::assert_snapshot!(messages(&rows, |lines| format!("[routes.r]\n{lines}{BACKENDS}")));
}

#[test]
fn many_mistakes_in_one_file() {
    let text = r#"[listen]
adress = "0.0.0.0:8080"
threads = "many"
[admin.tokens.deploy]
role = "operater"
token = "secret"
[metrics.quality]
kind = "value"
better = "more"
from = { response_header = "x-quality-score" }
[backends.lightrag]
url = "lightrag:9621"
timeouts = { connect = 1, first_bite = "30s" }
breaker = { failures = 5 }
[backends.perplexity]
url = "https://api.perplexity.ai"
headers = { authorization = "Bearer ${PPLX_KEY}" }
[routes.answers]
path = "/query"
methods = ["POST"]
control = "perplexty"
candidate = "lightrag"
guards = { errors = { when = "error_rate > 5%" } }
rollout = { percent = 250 }
quality_gate = { metric = "qualty", min = 0.7 }
"#;
    insta::assert_snapshot!(bad(text, &[]));
}

#[test]
fn empty_files() {
    insta::assert_snapshot!(["", "# nothing\n", "[listen]\n"].map(|text| bad(text, &[])).join("----\n"));
}

#[test]
fn a_file_that_is_not_there_and_one_that_is_no_text() {
    let folder = Folder::new(&[]);
    assert!(folder.load(None).unwrap_err().to_string().contains("cannot be read"));
    std::fs::write(folder.path().join("gateway.toml"), [0xff, 0xfe]).unwrap();
    assert!(folder.load(None).unwrap_err().to_string().contains("is not UTF-8 (byte 0)"));
}

#[test]
fn warnings() {
    let text = "[backends.a]\nurl = \"\"\ntls = { insecure = true }\n[backends.b]\nurl = \"http://b\"\n[backends.c]\nurl = \"http://c\"\n\
                [routes.r]\npath = \"/\"\ncontrol = \"b\"\ncandidate = \"a\"\n[routes.s]\ncontrol = \"b\"\ncandidate = \"b\"\n\
                [routes.t]\ndeadline = \"1s\"\nfallback = { replay = \"always\" }\n";
    let loaded = good(text, &[]);
    assert!(!loaded.config.routes[0].policy.enabled);
    insta::assert_snapshot!(report::render(&loaded.warnings, report::Style::Plain));
}

#[test]
fn mistakes_as_json() {
    let report = load_text("[listen]\nthread = 1\n", "gateway.toml", &BTreeMap::new()).unwrap_err();
    let list: Vec<_> = report.diagnostics.iter().map(Diagnostic::to_json).collect();
    insta::assert_json_snapshot!(list);
}
