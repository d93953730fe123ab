//! Broken files and their messages, as rows; the messages are in `snapshots/`.

use super::*;

/// Rows of lines, each put into a file that is right otherwise.
pub(super) fn messages(rows: &[(&str, &str)], file: impl Fn(&str) -> String) -> String {
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
        ("a table that comes later", "[telemetry]\nurl = \"http://collector\"\n"),
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
        ("origins", "[ofrep]\ncors = [\"app.example.com\", \"https://app.example.com/\", \"*\", 1]\n"),
        ("share", "[log]\naccess_sample = 1.5\n"),
        ("level", "[log]\nlevel = \"loud\"\n"),
        ("store that comes later", "[state]\nstore = \"redis://cache\"\n"),
        ("kind without a source", "[contexts.user]\nkey = []\n"),
        ("source with two places", "[contexts.user]\nkey = [{ header = \"x-a\", cookie = \"b\" }]\n"),
        ("source that is no pointer", "[contexts.user]\nkey = [{ json = \"user/id\" }]\n"),
        ("source in header and body", "[contexts.user]\nkey = [{ header = \"x-a\", json = \"/user/id\" }]\n"),
        ("bodies too large to be read", "[limits]\nbody_attributes = \"2MiB\"\n"),
        ("source in no list", "[contexts.user]\nkey = { header = \"x-a\" }\n"),
        ("attribute that comes later", "[contexts.user]\nkey = [{ header = \"x-a\" }]\ntier = { jwt = \"/tier\" }\n"),
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
fn alerts() {
    let webhook = |keys: &str| format!("[alerts.webhooks.ops]\nurl = \"http://ops\"\n{keys}\n");
    let rows = [
        ("a webhook without a URL", "[alerts.webhooks.ops]\n".to_owned()),
        ("a URL that is none", "[alerts.webhooks.ops]\nurl = \"hooks.example.com/hidden\"\n".to_owned()),
        ("a URL with a password", "[alerts.webhooks.ops]\nurl = \"https://me:hidden@hooks.example.com\"\n".to_owned()),
        (
            "a URL with a space",
            "[alerts.webhooks.ops]\nurl = \"https://hooks.example.com/a?b=hidden hidden\"\n".to_owned(),
        ),
        ("a format that nobody knows", webhook("format = \"teams\"")),
        ("secrets of another form", webhook("secrets = [\"hidden\", \"whsec_aGlkZGVu\", \"whsec_%\"]")),
        (
            "a secret that is looked at by nobody",
            webhook("format = \"slack\"\nsecrets = [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]\nnonsense = 1"),
        ),
        ("routes that there are not", webhook("routes = [\"answer\"]")),
        ("nothing to hear of", webhook("severities = []")),
        ("severities that there are not", webhook("severities = [\"fatal\"]")),
        ("times", "[alerts]\nsource = \"a b\"\nrepeat_every = \"1s\"\ngive_up_after = \"1y\"\n".to_owned()),
        ("a time of day", format!("[alerts.digest]\nat = \"8:00\"\n{}", webhook(""))),
        ("no time of day", format!("[alerts.digest]\nat = \"24:00\"\n{}", webhook(""))),
        ("a digest for nobody", "[alerts.digest]\nat = \"08:00\"\n[alerts]\nnonsense = 1\n".to_owned()),
    ];
    let rows: Vec<(&str, &str)> = rows.iter().map(|(name, lines)| (*name, lines.as_str())).collect();
    let told = messages(&rows, |lines| format!("{lines}{BACKENDS}{ROUTE}"));
    assert!(!told.contains("hidden"), "{told}");
    insta::assert_snapshot!(told);
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
fn experiments() {
    let rows = [
        ("no primary metric", "effect = 0.1\n"),
        ("a metric that there is not", "primary = \"laetncy\"\n"),
        ("a metric of attempts", "primary = \"attempt_errors\"\n"),
        ("a guard without a margin", "primary = \"latency\"\nguards.errors = {}\n"),
        ("a guard that there is not", "primary = \"latency\"\nguards.error = { margin = 0.1 }\n"),
        ("the primary as a guard", "primary = \"latency\"\nguards.latency = { margin = 0.1 }\n"),
        ("numbers", "primary = \"latency\"\nalpha = 0.9\npower = 1\neffect = 0\nmin_users = 1\nmin_duration = 7\n"),
        ("times", "primary = \"latency\"\nstart = \"tomorrow\"\nstop = 2026\n"),
        (
            "its end before its start",
            "primary = \"latency\"\nstart = \"2026-11-20T08:00:00Z\"\nstop = \"2026-11-20T07:00:00Z\"\n",
        ),
        (
            "conditions for shipping",
            "primary = \"latency\"\nship = [\"error_rate < one\", \"latency.p95 < 1s at 95%\"]\n",
        ),
    ];
    insta::assert_snapshot!(messages(&rows, |lines| format!("{BACKENDS}{ROUTE}[routes.r.experiment]\n{lines}")));
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
        ("half of the prices", "url = \"http://a\"\nprices = { input = 3.0 }\n"),
        ("a price below nothing", "url = \"http://a\"\nprices = { input = -1, output = \"15\" }\n"),
        ("a budget without prices", "url = \"http://a\"\nbudget = { cost_per_day = 50 }\n"),
        (
            "an endless budget",
            "url = \"http://a\"\nprices = { input = 3, output = 15 }\nbudget = { cost_per_day = 1e9 }\n",
        ),
        ("a budget of nothing", "url = \"http://a\"\nprices = { input = 3, output = 15 }\nbudget = {}\n"),
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
        ("percent and an empty plan", "control = \"a\"\ncandidate = \"b\"\nrollout = { percent = 1, stages = [] }\n"),
        (
            "a rule has a name and a condition",
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
        ("one value of two", "control = \"a\"\ncandidate = \"b\"\nvalues = { candidate = 1 }\n"),
        ("a value that JSON cannot hold", "values = { candidate = nan, control = [0, { a = inf }] }\n"),
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
fn tokens() {
    let ec = crate::jwt::fixture::Signer::es256().pem();
    let short = include_str!("../../../tests/keys/rsa-1024-public.pem");
    let pem =
        |text: &str| format!("algorithms = [\"RS256\"]\nkeys.a = {{ algorithm = \"RS256\", public_key = {text:?} }}\n");
    let (garbled, other_kind, few_bits) = (pem("MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A"), pem(&ec), pem(short));
    let rows = [
        ("no algorithms", "keys.a = { algorithm = \"HS256\", secret = \"a secret of at least 32 bytes, indeed\" }\n"),
        ("algorithms that are not known", "algorithms = [\"none\", \"HS512\"]\njwks.url = \"http://a\"\n"),
        ("an empty list", "algorithms = []\njwks.url = \"http://a\"\n"),
        ("no keys", "algorithms = [\"RS256\"]\n"),
        (
            "an algorithm that is not allowed",
            "algorithms = [\"RS256\"]\nkeys.a = { algorithm = \"HS256\", secret = \"a secret of at least 32 bytes, indeed\" }\n",
        ),
        (
            "a short secret",
            "algorithms = [\"HS256\"]\nkeys.a = { algorithm = \"HS256\", secret = \"31 bytes are one byte too few .\" }\n",
        ),
        (
            "a key without anything",
            "algorithms = [\"HS256\", \"ES256\"]\nkeys = { a = { algorithm = \"HS256\" }, b = { algorithm = \"ES256\" } }\n",
        ),
        (
            "a secret for a public key",
            "algorithms = [\"ES256\"]\nkeys.a = { algorithm = \"ES256\", secret = \"a secret of at least 32 bytes, indeed\" }\n",
        ),
        ("no PEM", &garbled),
        ("a key of another kind", &other_kind),
        ("a key with few bits", &few_bits),
        (
            "the same name twice",
            "algorithms = [\"HS256\"]\n[jwt.keys]\na = { algorithm = \"HS256\", secret = \"a secret of at least 32 bytes, indeed\" }\n\
             b = { algorithm = \"HS256\", kid = \"a\", secret = \"a secret of at least 32 bytes, indeed\" }\n",
        ),
        ("published secrets", "algorithms = [\"HS256\"]\njwks.url = \"http://a\"\n"),
        ("no URL", "algorithms = [\"RS256\"]\njwks.url = \"\"\n"),
        ("a URL of another kind", "algorithms = [\"RS256\"]\njwks.url = \"file:///keys\"\n"),
        ("the name of a cookie", "cookie = \"a b\"\nalgorithms = [\"RS256\"]\njwks.url = \"http://a\"\n"),
    ];
    insta::assert_snapshot!(messages(&rows, |lines| format!("[jwt]\n{lines}{BACKENDS}{ROUTE}")));
}

#[test]
fn claims() {
    const JWT: &str = "[jwt]\nalgorithms = [\"RS256\"]\njwks.url = \"http://a\"\n";
    let rows = [
        ("without tokens", "", "key = [{ jwt = \"/sub\" }]\ntier = { jwt = \"/tier\" }\n"),
        ("no pointers", JWT, "key = [{ jwt = \"sub\" }]\ntier = { jwt = \"/a~2\" }\n"),
        ("the whole token", JWT, "key = [{ jwt = \"\" }]\ntier = { jwt = \"\" }\n"),
        ("two places", JWT, "key = [{ jwt = \"/sub\", cookie = \"b\" }]\ntier = { jwt = \"/tier\", cookie = \"b\" }\n"),
        ("no string", JWT, "key = [{ jwt = 7 }]\ntier = { jwt = true }\n"),
    ];
    let file = |(name, jwt, lines): &(&str, &str, &str)| {
        format!("# {name}\n\n{}", bad(&format!("{jwt}[contexts.user]\n{lines}{BACKENDS}{ROUTE}"), &[]))
    };
    insta::assert_snapshot!(rows.iter().map(file).collect::<String>());
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
    let routes = Folder::new(&[("gateway.toml", &format!("{BACKENDS}{ROUTE}")), ("routes.d/s.toml", "")]);
    for (bytes, place) in [
        (&[0xff, 0xfe][..], "is not UTF-8 from line 1, column 1 on (byte 0, counted from 0)"),
        (b"# gr\xc3\xbcn\n# gr\xfcn\n", "is not UTF-8 from line 2, column 5 on (byte 12, counted from 0)"),
    ] {
        std::fs::write(folder.path().join("gateway.toml"), bytes).unwrap();
        std::fs::write(routes.path().join("routes.d/s.toml"), bytes).unwrap();
        let whole = folder.load(None).unwrap_err().to_string();
        let part = routes.load(None).unwrap_or_else(|report| panic!("{report}")).warnings;
        for message in [whole, report::render(&part, report::Style::Plain)] {
            assert!(message.contains(place), "{message}");
            assert!(message.contains("save it in that encoding") && !message.contains("-c"), "{message}");
        }
    }
}

#[test]
fn an_unknown_key_of_a_route_is_told_with_all_that_are_known() {
    let message = bad(&format!("{BACKENDS}{ROUTE}sampels = 1\n"), &[]);
    let known = message.split_once("known here: ").unwrap().1.split_once('\n').unwrap().0;
    let known: Vec<&str> = known.split(", ").collect();
    let mut keys = Vec::new();
    spec::walk(spec::ROOT, &mut |path, key| {
        if !key.later && path.strip_prefix("routes.NAME.").is_some_and(|name| !name.contains('.')) {
            keys.push(key.name);
        }
    });
    assert_eq!(known, keys);
    assert!(keys.contains(&"shadow"), "{keys:?}");
}

#[test]
fn warnings() {
    let text = "[backends.a]\nurl = \"\"\ntls = { insecure = true }\n[backends.b]\nurl = \"http://b\"\n[backends.c]\nurl = \"http://c\"\n\
                [routes.r]\npath = \"/\"\ncontrol = \"b\"\ncandidate = \"a\"\n[routes.s]\ncontrol = \"b\"\ncandidate = \"b\"\n\
                [routes.types]\nvalues = { control = \"a\", candidate = [1] }\n\
                [routes.t]\ndeadline = \"1s\"\nfallback = { replay = \"always\" }\n\
                [metrics.m]\nkind = \"value\"\nbetter = \"lower\"\nfrom = { response_header = \"x\", candidate = { usage = \"cost\" } }\n";
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

#[test]
fn metrics() {
    let metric =
        |kind: &str, from: &str| format!("[metrics.m]\nkind = {kind:?}\nbetter = \"higher\"\nfrom = {{ {from} }}\n");
    let many: String = (0..13)
        .map(|n| metric("value", "response_json = \"/a\"").replace("metrics.m", &format!("metrics.m{n}")))
        .collect();
    let texts = [
        ("no place", metric("value", "")),
        ("two places", metric("value", "usage = \"cost\", response_header = \"x-a\"")),
        ("a kind that there is not", metric("histogram", "usage = \"cost\"")),
        ("no pointer", metric("value", "response_json = \"score\"")),
        ("a value from an event without its place", metric("value", "event = \"paid\"")),
        ("the name of an event", metric("count", "event = \"two words\"")),
        ("a filter that is no table", metric("count", "event = \"paid\", where = true")),
        ("a filter without an event", metric("value", "usage = \"cost\", where = { a = 1 }")),
        ("an unknown use", metric("value", "usage = \"tokens\"")),
        ("a ratio of one", metric("ratio", "ratio = [\"errors\"]")),
        ("a ratio of what there is not", metric("ratio", "ratio = [\"erors\", \"requests\"]")),
        ("a ratio of itself", metric("ratio", "ratio = [\"m\", \"requests\"]")),
        ("a ratio of another kind", metric("value", "ratio = [\"errors\", \"requests\"]")),
        ("a ratio from a header", metric("ratio", "response_header = \"x-a\"")),
        ("an arm with two places", metric("value", "control = { usage = \"cost\", response_header = \"x-a\" }")),
        ("an arm without a place", metric("value", "control = { usage = \"cost\" }")),
        ("a name of the gateway's own", metric("value", "usage = \"cost\"").replace("metrics.m", "metrics.latency")),
        ("more than a request can carry", many),
    ];
    let rows: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
    insta::assert_snapshot!(messages(&rows, |lines| format!("{lines}{BACKENDS}{ROUTE}")));
}

#[test]
fn rewriting() {
    let request = |keys: &str| format!("rewrite.candidate.request.{keys}\n");
    let rows = [
        ("unknown key", request("jsonmerge = { a = 1 }")),
        ("path with a query", request("path = \"/query?mode=hybrid\"")),
        ("framing in headers", request("headers = { set = { content-length = \"5\" } }")),
        ("template that does not end", request("template = '{\"q\": {{ query'")),
        ("template in several lines", request("template = \"\"\"\n{\n  \\\"q\\\": {{ query | shout }}\n}\"\"\"")),
        ("template in several lines, as typed", request("template = \'\'\'\n{\n  \"q\": {{ query | shout }}\n}\'\'\'")),
        ("value within quotes", request("template = '{\"q\": \"Answer: {{ query }}\"}'")),
        ("mistake in a table", request("template = { a = [\"{{ x }}\", \"{{ x is loud }}\"] }")),
        ("template that is no JSON", request("template = \"Answer concisely\"")),
        ("template of a wrong type", request("template = 5")),
        ("kind that there is not", request("template = { a = \"{{ contexts.usr.key }}\" }")),
        ("attribute that there is not", request("template = { a = \"{{ contexts.user.tier }}\" }")),
        ("status in a request", request("template = { a = \"{{ status }}\" }")),
        ("merge that is no table", request("json_merge = [1]")),
        ("merge that is no JSON", request("json_merge = '{\"a\": nul}'")),
        ("answer", "rewrite.control.response.template = { a = \"{{ b \" }\n".to_owned()),
        ("limit", "[limits]\nrewrite_body = \"1GiB\"\n".to_owned()),
    ];
    let rows: Vec<(&str, &str)> = rows.iter().map(|(name, lines)| (*name, lines.as_str())).collect();
    insta::assert_snapshot!(messages(&rows, |lines| format!("{BACKENDS}{ROUTE}{lines}")));
    let flag = "[routes.r]\ncontrol = \"a\"\ncandidate = \"b\"\nrewrite.control.request.path = \"/x\"\n";
    assert!(bad(&format!("{BACKENDS}{flag}"), &[]).contains("`rewrite` without `path`"));
}

#[test]
fn sampling() {
    let judge = "[judges.llm]\nurl = \"http://judge\"\n";
    let send = "send = { answer = { response_json = \"/answer\" } }";
    let with = |keys: &str| format!("{BACKENDS}{judge}{ROUTE}[routes.r.judge]\n{keys}\n");
    let files = [
        ("a judge without a place", format!("{BACKENDS}[judges.llm]\n{ROUTE}")),
        (
            "a judge that is off",
            format!("{BACKENDS}[judges.llm]\nurl = \"\"\nretries = 11\nbudget.per_day = 0\n{ROUTE}"),
        ),
        ("a judge that nobody knows", with(&format!("by = \"lmm\"\npercent = 5\n{send}"))),
        ("nothing is sent", with("by = \"llm\"\npercent = 5\nsend = {}")),
        ("no share and no parts", with("by = \"llm\"")),
        (
            "a part with two places",
            with("by = \"llm\"\npercent = 5\nsend.a = { request_json = \"/a\", response_json = \"/a\" }"),
        ),
        ("a part without a place", with("by = \"llm\"\npercent = 101\nsend.a = {}")),
        (
            "no pointer",
            with(
                "by = \"llm\"\npercent = 5\nsend.a = { response_json = \"a\", candidate = { response_header = \"x y\" } }",
            ),
        ),
        ("a body without end", with(&format!("by = \"llm\"\npercent = 5\nmax_body = \"1GiB\"\n{send}"))),
        (
            "redaction",
            format!("{BACKENDS}{ROUTE}[routes.r.samples]\npercent = 1\nredact = [\"user\", 1]\nkeep = \"1m\"\n"),
        ),
        (
            "a metric of no judge",
            format!(
                "{BACKENDS}[metrics.m]\nkind = \"value\"\nbetter = \"higher\"\nfrom = {{ judge = \"llm\" }}\n{ROUTE}"
            ),
        ),
        (
            "a score without a judge",
            format!(
                "{BACKENDS}[metrics.m]\nkind = \"value\"\nbetter = \"higher\"\nfrom = {{ response_json = \"/a\", score = \"b\" }}\n{ROUTE}"
            ),
        ),
    ];
    let told: String = files.iter().map(|(name, file)| format!("# {name}\n\n{}", bad(file, &[]))).collect();
    insta::assert_snapshot!(told);
    let warnings = good(&format!("{BACKENDS}{judge}{ROUTE}"), &[]).warnings;
    assert!(format!("{warnings:?}").contains("no route is judged by"), "{warnings:?}");
}
