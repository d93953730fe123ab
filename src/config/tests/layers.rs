//! Which layer wins, and where values are said to come from.

use super::*;

type Environment<'a> = &'a [(&'a str, &'a str)];
/// The place of a warning, and the place that it names.
type Places<'a> = &'a [(&'a str, &'a str)];

fn percent(loaded: &Loaded) -> f64 {
    loaded.config.routes[0].policy.rollout.percent().get()
}

const FILE: &str = "[backends.a]\nurl = \"http://a\"\n[backends.b-2]\nurl = \"http://b\"\n\
    [routes.r]\npath = \"/\"\ncontrol = \"a\"\ncandidate = \"b-2\"\nfallback.replay = \"connect\"\nrollout.percent = 1\n\
    [profiles.dev.routes.r.rollout]\npercent = 2\n[profiles.off.routes.r]\nenabled = false\n";

#[test]
fn the_later_layer_wins() {
    let place = "POINTSMAN__ROUTES__R__ROLLOUT__PERCENT";
    let rows: [(Environment<'_>, f64, &str); 4] = [
        (&[], 1.0, "gateway.toml:10:19"),
        (&[("POINTSMAN_PROFILE", "dev")], 2.0, "gateway.toml:12:11"),
        (&[(place, "3")], 3.0, "environment POINTSMAN__ROUTES__R__ROLLOUT__PERCENT"),
        (&[(place, "3.5"), ("POINTSMAN_PROFILE", "dev")], 3.5, "environment POINTSMAN__ROUTES__R__ROLLOUT__PERCENT"),
    ];
    for (environment, expected, origin) in rows {
        let loaded = good(FILE, environment);
        assert!((percent(&loaded) - expected).abs() < f64::EPSILON, "{environment:?}: {}", percent(&loaded));
        assert_eq!(loaded.origins.of("routes.r.rollout.percent"), origin);
        assert_eq!(loaded.origins.of("routes.r.holdout"), "default");
    }
}

#[test]
fn false_wins_in_any_layer() {
    let switch = "POINTSMAN__ROUTES__R__ENABLED";
    let off = FILE.replace("[routes.r]\n", "[routes.r]\nenabled = false\n");
    let rows: [(&str, Environment<'_>, bool); 6] = [
        (FILE, &[], true),
        (FILE, &[(switch, "true")], true),
        (FILE, &[(switch, "false")], false),
        (&off, &[(switch, "true")], false),
        (FILE, &[("POINTSMAN_PROFILE", "off")], false),
        (FILE, &[("POINTSMAN_PROFILE", "off"), (switch, "true")], false),
    ];
    for (text, environment, expected) in rows {
        assert_eq!(good(text, environment).config.routes[0].policy.enabled, expected, "{environment:?}");
    }
}

#[test]
fn a_layer_that_cannot_turn_a_route_on_is_told_with_both_places() {
    let switch = "POINTSMAN__ROUTES__R__ENABLED";
    let off = FILE.replace("[routes.r]\n", "[routes.r]\nenabled = false\n");
    let on = off.clone() + "[profiles.on.routes.r]\nenabled = true\n";
    let rows: [(&str, Environment<'_>, Places<'_>); 7] = [
        (FILE, &[(switch, "true")], &[]),
        (&off, &[(switch, "false")], &[]),
        (&off, &[(switch, "true")], &[("environment POINTSMAN__ROUTES__R__ENABLED:1:1", "gateway.toml:6:11")]),
        (&off, &[(switch, "no")], &[("environment POINTSMAN__ROUTES__R__ENABLED:1:1", "gateway.toml:6:11")]),
        (
            FILE,
            &[("POINTSMAN_PROFILE", "off"), (switch, "true")],
            &[("environment POINTSMAN__ROUTES__R__ENABLED:1:1", "gateway.toml:14:11")],
        ),
        (&on, &[("POINTSMAN_PROFILE", "on")], &[("gateway.toml:17:11", "gateway.toml:6:11")]),
        (&on, &[], &[]),
    ];
    for (text, environment, expected) in rows {
        let loaded = good(text, environment);
        let told: Vec<(String, &str)> =
            loaded.warnings.iter().map(|warning| (warning.place_text(), warning.found.as_str())).collect();
        assert_eq!(told.len(), expected.len(), "{environment:?}: {told:?}");
        for ((place, found), (new, old)) in told.iter().zip(expected) {
            assert_eq!(place, new);
            assert!(found.starts_with("has no effect") && found.contains(&format!(" at {old} wins")), "{found}");
        }
    }
}

#[test]
fn the_environment_sets_values_of_every_type() {
    let loaded = good(
        FILE,
        &[
            ("POINTSMAN__LISTEN__THREADS", "2"),
            ("POINTSMAN__LISTEN__ADDRESS", "127.0.0.1:1"),
            ("POINTSMAN__BACKENDS__B_2__URL", "https://c"),
            ("POINTSMAN__BACKENDS__B_2__HEADERS__X_API_KEY", "plain words"),
            ("POINTSMAN__BACKENDS__A__TIMEOUTS__CONNECT", "3s"),
            ("POINTSMAN__ROUTES__R__METHODS", "[\"GET\"]"),
            ("POINTSMAN__ROUTES__R__SALT", "123"),
            ("POINTSMAN_CONFIG", "not a key"),
        ],
    );
    let config = &loaded.config;
    assert_eq!((config.listen.threads, config.listen.address.port()), (2, 1));
    assert_eq!(config.routes[0].matches().unwrap().methods, [http::Method::GET]);
    assert_eq!(&*config.routes[0].policy.salt, "123");
    assert_eq!(config.backends[0].timeouts.connect.as_secs(), 3);
    let (name, value) = &config.backends[1].headers[0];
    assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-api-key", "plain words"));
    // Only the URL was in the file, too.
    let warnings: Vec<&str> = loaded.warnings.iter().map(|warning| warning.path.as_str()).collect();
    assert_eq!(warnings, ["backends.b-2.url"]);
}

#[test]
fn mistakes_in_the_environment() {
    let environment = [
        ("POINTSMAN__LISTEN", "x"),
        ("POINTSMAN__LISTEN__ADRESS", "127.0.0.1:1"),
        ("POINTSMAN__LISTEN__THREADS", "many"),
        ("POINTSMAN__LISTEN__THREADS__X", "1"),
        ("POINTSMAN__LISTEN__TLS", "x"),
        ("POINTSMAN__LIMITS__MAX_HEADERS", "0"),
        ("POINTSMAN__ROUTES__R", "x"),
        ("POINTSMAN__ROUTES__RR__ENABLED", "false"),
        ("POINTSMAN__ROUTES__R__ENABLED", "no"),
        ("POINTSMAN__ROUTES__R__OVERRIDE__KEY", "short"),
        ("POINTSMAN_PROFILE", "dex"),
    ];
    insta::assert_snapshot!(bad(FILE, &environment));
}

#[test]
fn variables_stand_in_strings() {
    let rows: [(&str, Environment<'_>, &str); 7] = [
        ("${S}", &[("S", "x")], "x"),
        ("a${S}b${S}", &[("S", "x")], "axbx"),
        ("${S:-d}", &[], "d"),
        ("${S:-d}", &[("S", "")], "d"),
        ("${S:-}e", &[], "e"),
        ("$$", &[], "$"),
        ("$${S}", &[("S", "x")], "${S}"),
    ];
    for (salt, environment, expected) in rows {
        let text = format!("{BACKENDS}{ROUTE}salt = {salt:?}\n");
        assert_eq!(&*good(&text, environment).config.routes[0].policy.salt, expected, "{salt}");
    }
}

const GOOD: &str = "[routes.s]\npath = \"/s\"\ncontrol = \"a\"\ncandidate = \"b\"\nfallback.replay = \"connect\"\n";

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.config.routes.iter().map(|route| &*route.name).collect()
}

#[test]
fn a_broken_fragment_costs_only_its_own_changes() {
    let main = format!("{BACKENDS}{ROUTE}");
    let broken = [
        "[routes.s",
        "[routes.s]\npath = \"/s\"\ncontrol = \"nobody\"\ncandidate = \"b\"\n",
        "[routes.s]\npath = \"/\"\ncontrol = \"a\"\ncandidate = \"b\"\n",
        "[listen]\nthreads = 1\n",
    ];
    for text in broken {
        let folder = Folder::new(&[("gateway.toml", &main), ("routes.d/s.toml", GOOD)]);
        folder.write("routes.d/t.toml", &GOOD.replace("routes.s", "routes.t").replace("\"/s\"", "\"/t\""));
        folder.write("routes.d/.hidden.toml", "[");
        let first = folder.load(None).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!((names(&first), first.warnings.len()), (vec!["r", "s", "t"], 0));
        folder.write("routes.d/s.toml", text);

        let kept = folder.load(Some(&first.last_good)).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(names(&kept), ["r", "s", "t"], "{text}");
        assert!(kept.warnings.iter().any(|warning| warning.severity == Severity::Error), "{text}");
        assert_eq!(kept.last_good, first.last_good, "{text}");

        let without = folder.load(None).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(names(&without), ["r", "t"], "{text}");
        assert!(without.warnings.iter().any(|warning| warning.source().ends_with("s.toml")), "{text}");
    }
}

#[test]
fn a_last_good_fragment_that_no_longer_fits_is_left_out() {
    let folder = Folder::new(&[("gateway.toml", &format!("{BACKENDS}{ROUTE}")), ("routes.d/s.toml", GOOD)]);
    folder.write("routes.d/s.toml", &GOOD.replace("\"a\"", "\"c\""));
    folder.write("gateway.toml", &format!("{BACKENDS}[backends.c]\nurl = \"http://c\"\n{ROUTE}"));
    let first = folder.load(None).unwrap();
    assert_eq!(names(&first), ["r", "s"]);
    folder.write("gateway.toml", &format!("{BACKENDS}{ROUTE}"));
    folder.write("routes.d/s.toml", "[");
    assert_eq!(names(&folder.load(Some(&first.last_good)).unwrap()), ["r"]);
}

#[test]
fn a_mistake_in_the_file_itself_costs_the_load() {
    let folder = Folder::new(&[("gateway.toml", BACKENDS), ("routes.d/s.toml", "[")]);
    let report = folder.load(None).unwrap_err();
    assert!(report.to_string().contains("there is no route"), "{report}");
    assert!(report.to_string().contains("s.toml"), "{report}");
}

#[test]
fn the_hash_covers_everything_that_is_read() {
    let main = format!("{BACKENDS}{ROUTE}override = {{ key = {{ file = \"key\" }} }}\nsalt = \"${{S:-s}}\"\n");
    let folder = Folder::new(&[("gateway.toml", &main), ("key", "long enough")]);
    let mut seen = vec![folder.load(None).unwrap().config.hash];
    let mut changed = |change: &str, sources: &Sources| {
        let config = load(sources, None).unwrap().config;
        assert!(!seen.contains(&config.hash), "{change}");
        assert_eq!(fingerprint(sources).0, config.hash, "{change}");
        seen.push(config.hash);
    };
    folder.write("key", "long enougH");
    changed("secret", &folder.sources(&[]));
    folder.write("gateway.toml", &format!("{main}# comment\n"));
    changed("file", &folder.sources(&[]));
    folder.write("routes.d/s.toml", GOOD);
    changed("fragment", &folder.sources(&[]));
    changed("variable", &folder.sources(&[("S", "t")]));
    changed("setting", &folder.sources(&[("POINTSMAN__LISTEN__THREADS", "1")]));
    let config = folder.load(None).unwrap().config;
    let moved = Folder::new(&[("gateway.toml", &format!("{main}# comment\n")), ("key", "long enougH")]);
    moved.write("routes.d/s.toml", GOOD);
    assert_eq!(moved.load(None).unwrap().config.hash, config.hash, "the same files elsewhere");
    for name in ["gateway.toml", "key", "routes.d", "routes.d/s.toml"] {
        assert!(config.watched.contains(&folder.path().join(name)), "{name}");
    }
}

#[test]
fn the_fingerprint_changes_though_the_file_is_broken() {
    let folder = Folder::new(&[("gateway.toml", "[")]);
    let first = fingerprint(&folder.sources(&[]));
    folder.write("gateway.toml", "[[");
    assert_ne!(fingerprint(&folder.sources(&[])), first);
    std::fs::remove_file(folder.path().join("gateway.toml")).unwrap();
    assert_ne!(fingerprint(&folder.sources(&[])), first);
}

#[test]
fn a_folder_of_fragments_that_cannot_be_read_costs_the_load() {
    let folder = Folder::new(&[("gateway.toml", &format!("{BACKENDS}{ROUTE}"))]);
    folder.write("routes.d", "a file where a folder should be");
    let message = folder.load(None).unwrap_err().to_string();
    assert!(message.contains("routes.d cannot be read"), "{message}");
}
