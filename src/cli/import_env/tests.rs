use std::process::{Command, Stdio};

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::admin::explain::{Explanation, from_file};
use crate::admin::question::Question;
use crate::config::{Loaded, Severity};
use crate::domain::Arm;

/// Users of the comparisons with the formula that came before.
const USERS: usize = 10_000;

fn variables(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
    rows.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Loads what was made in an environment, and looks at every line of it.
#[track_caller]
fn checked(made: &Imported, environment: &BTreeMap<String, String>) -> Loaded {
    let loaded = load_text(&made.toml, "gateway.toml", environment).unwrap_or_else(|report| panic!("{report}"));
    assert!(loaded.warnings.iter().all(|warning| warning.severity == Severity::Warning), "{:?}", loaded.warnings);
    for line in made.toml.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '['])) {
        assert!(line.contains("\" # ") || line.contains(" # "), "no comment: {line}");
    }
    loaded
}

fn imported(rows: &[(&str, &str)]) -> (Imported, Loaded) {
    let variables = variables(rows);
    let made = import(&variables).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let loaded = checked(&made, &variables);
    for name in variables.keys() {
        assert!(made.toml.contains(name.as_str()), "{name} was dropped:\n{}", made.toml);
    }
    (made, loaded)
}

fn explained(loaded: &Loaded, route: &str, user: &str) -> Explanation {
    let question = Question { route: route.to_owned(), key: Some(user.to_owned()), ..Question::default() };
    from_file(loaded, &question).unwrap()
}

const EVERYTHING: [(&str, &str); 23] = [
    ("LIGHTRAG_INTEGRATION_ENABLED", "true"),
    ("LIGHTRAG_ROLLOUT_PERCENTAGE", "12.5"),
    ("LIGHTRAG_ENABLE_AB_TESTING", "true"),
    ("LIGHTRAG_ENABLE_CIRCUIT_BREAKER", "true"),
    ("LIGHTRAG_CIRCUIT_BREAKER_FAILURE_THRESHOLD", "7"),
    ("LIGHTRAG_CIRCUIT_BREAKER_RECOVERY_TIMEOUT", "120.5"),
    ("LIGHTRAG_ENABLE_QUALITY_METRICS", "true"),
    ("LIGHTRAG_MIN_QUALITY_THRESHOLD", "0.8"),
    ("LIGHTRAG_USER_HASH_SALT", "pepper $and \"salt\""),
    ("LIGHTRAG_FORCE_USER_COHORT", "lightrag"),
    ("LIGHTRAG_ENABLE_CONDITIONAL_ROUTING", "true"),
    ("LIGHTRAG_LOG_LEVEL", "WARNING"),
    ("LIGHTRAG_ENABLE_DETAILED_LOGGING", "true"),
    ("XZE_KEYWORD_EXTRACTION_ROLLOUT_PERCENTAGE", "25"),
    ("XZE_KEYWORD_EXTRACTION_AB_TEST", "true"),
    ("XZE_KEYWORD_EXTRACTION_METRICS", "true"),
    ("ENABLE_VARIANT_GENERATION_V2", "true"),
    ("VARIANT_GENERATION_ROLLOUT_PERCENTAGE", "10"),
    ("RAG_API_URL", "http://rag.internal:8000"),
    ("RAG_TIMEOUT_MS", "10500"),
    ("RAG_RETRY_ATTEMPTS", "3"),
    ("RAG_SIMILARITY_THRESHOLD", "0.65"),
    ("GOOGLE_ANALYTICS_ID", "G-12345"),
];

#[test]
fn everything_that_is_known() {
    let (made, loaded) = imported(&[EVERYTHING.as_slice(), &[("LOG_VARIANT_SELECTIONS", "true")]].concat());
    insta::assert_snapshot!("everything", format!("{}\n--- told\n{}", made.toml, made.notices.join("\n")));
    assert_eq!(made.routes, ["lightrag", "keywords", "variants"]);
    assert_eq!(explained(&loaded, "lightrag", "u").assigned_by.as_str(), "forced");
    let route = loaded.config.routes.iter().find(|route| &*route.name == "lightrag").unwrap();
    assert_eq!(&*route.policy.salt, "pepper $and \"salt\"");
    let backend = &loaded.config.backends[route.backend(Arm::Candidate).unwrap()];
    assert_eq!((backend.breaker.consecutive_failures, backend.breaker.open_for.as_millis()), (7, 120_500));
    assert_eq!(backend.breaker.open_for_max, backend.breaker.open_for);
    assert_eq!(route.quality_gate.as_ref().map(|gate| gate.settings.min), Some(0.8));
    assert!(!made.toml.contains("G-12345"));
}

#[test]
fn defaults_are_those_of_the_programs() {
    let (made, loaded) = imported(&[("LIGHTRAG_ROLLOUT_PERCENTAGE", "10")]);
    insta::assert_snapshot!("lightrag_by_default", made.toml);
    assert_eq!((made.routes, made.notices), (vec!["lightrag"], vec![]));
    let route = &loaded.config.routes[0];
    assert_eq!((&*route.policy.salt, route.policy.enabled, route.policy.forced), ("default_salt", false, None));
    let (made, loaded) = imported(&[("XZE_KEYWORD_EXTRACTION_METRICS", "false")]);
    assert_eq!((made.routes, loaded.config.routes[0].policy.rollout.percent().get()), (vec!["keywords"], 0.0));
    let (made, loaded) = imported(&[("ENABLE_VARIANT_GENERATION_V2", "false")]);
    assert_eq!((made.routes, loaded.config.routes[0].policy.enabled), (vec!["variants"], false));
}

/// What control and candidate are, kill switch and all.
#[test]
fn cohorts_of_that_router() {
    let rows = [
        ("LIGHTRAG_FORCE_USER_COHORT", "LightRAG", "true", Arm::Candidate, "forced"),
        ("LIGHTRAG_FORCE_USER_COHORT", "perplexity", "true", Arm::Control, "forced"),
        ("LIGHTRAG_FORCE_USER_COHORT", "", "true", Arm::Candidate, "rollout"),
        ("LIGHTRAG_FORCE_USER_COHORT", "lightrag", "false", Arm::Control, "disabled"),
        ("LIGHTRAG_ENABLE_CIRCUIT_BREAKER", "false", "true", Arm::Candidate, "rollout"),
    ];
    for (name, value, enabled, arm, reason) in rows {
        let rows = [("LIGHTRAG_ROLLOUT_PERCENTAGE", "100"), ("LIGHTRAG_INTEGRATION_ENABLED", enabled), (name, value)];
        let found = explained(&imported(&rows).1, "lightrag", "u");
        assert_eq!((found.served, found.reason.as_str()), (arm, reason), "{name}={value} {enabled}");
    }
    let (made, loaded) = imported(&[("LIGHTRAG_ENABLE_CIRCUIT_BREAKER", "off")]);
    let backend = loaded.config.backends.iter().find(|backend| &*backend.name == "lightrag").unwrap();
    assert_eq!(backend.breaker.consecutive_failures, 16_383);
    assert!(made.notices[0].starts_with("LIGHTRAG_ENABLE_CIRCUIT_BREAKER: a candidate always has a breaker"));
}

/// `int(hashlib.sha256(f"{user}:{salt}".encode()).hexdigest()[-8:], 16) / (16**8 - 1) * 100 <= percent`,
/// by its letters and not by ours.
fn old_formula(user: &str, salt: &str, percent: f64) -> bool {
    let digest: String =
        Sha256::digest(format!("{user}:{salt}").as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let number = u64::from_str_radix(&digest[digest.len() - 8..], 16).unwrap();
    number as f64 / (16_f64.powi(8) - 1.0) * 100.0 <= percent
}

const SPLITS: [(&str, &str); 4] =
    [("default_salt", "10"), ("default_salt", "33.333333333333336"), ("pepper $x{y} \\ é", "0.5"), (" a:b ", "99.9")];

fn split(salt: &str, percent: &str) -> Loaded {
    let rows = [
        ("LIGHTRAG_INTEGRATION_ENABLED", "true"),
        ("LIGHTRAG_ROLLOUT_PERCENTAGE", percent),
        ("LIGHTRAG_USER_HASH_SALT", salt),
    ];
    imported(&rows).1
}

#[test]
fn users_keep_the_cohort_that_the_old_formula_gave_them() {
    for (salt, percent) in SPLITS {
        let loaded = split(salt, percent);
        let mut candidates = 0;
        for user in (0..USERS).map(|user| format!("user_{user}")) {
            let found = explained(&loaded, "lightrag", &user).served == Arm::Candidate;
            assert_eq!(found, old_formula(&user, salt, percent.parse().unwrap()), "{user} {salt:?} {percent}");
            candidates += usize::from(found);
        }
        assert!((1..USERS).contains(&candidates), "{candidates}");
    }
}

/// The same with the language that the old router is written in.
#[test]
fn users_keep_the_cohort_that_python_gives_them() {
    const PROGRAM: &str = "import hashlib, sys\n\
        salt, percent, users = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])\n\
        for i in range(users):\n  \
        h = hashlib.sha256(f'user_{i}:{salt}'.encode()).hexdigest()\n  \
        print(int(int(h[-8:], 16) / (16**8 - 1) * 100 <= percent), end='')\n";
    for (salt, percent) in SPLITS {
        let python = Command::new("python3")
            .args(["-c", PROGRAM, salt, percent, &USERS.to_string()])
            .stderr(Stdio::inherit())
            .output();
        let output = match python {
            Ok(output) => output,
            Err(error) if std::env::var("CI").is_err() => return println!("SKIPPED python3: {error}"),
            Err(error) => panic!("python3: {error}"),
        };
        let loaded = split(salt, percent);
        let served = |user: usize| explained(&loaded, "lightrag", &format!("user_{user}")).served;
        let ours: String = (0..USERS).map(|user| if served(user) == Arm::Candidate { '1' } else { '0' }).collect();
        assert!(ours == String::from_utf8(output.stdout).unwrap(), "{salt:?} {percent}");
    }
}

#[test]
fn every_mistake_is_told_at_once_and_nothing_is_made() {
    let rows = [
        ("LIGHTRAG_INTEGRATION_ENABLED", "perhaps"),
        ("LIGHTRAG_ROLLOUT_PERCENTAGE", "10%"),
        ("LIGHTRAG_CIRCUIT_BREAKER_FAILURE_THRESHOLD", "0"),
        ("LIGHTRAG_CIRCUIT_BREAKER_RECOVERY_TIMEOUT", "-1"),
        ("LIGHTRAG_MIN_QUALITY_THRESHOLD", "nan"),
        ("LIGHTRAG_USER_HASH_SALT", ""),
        ("LIGHTRAG_FORCE_USER_COHORT", "gemini"),
        ("LIGHTRAG_LOG_LEVEL", "LOUD"),
        ("XZE_KEYWORD_EXTRACTION_ROLLOUT_PERCENTAGE", "100.1"),
        ("VARIANT_GENERATION_ROLLOUT_PERCENTAGE", "inf"),
        ("RAG_API_URL", "ftp://user:hidden@rag/x?key=hidden"),
        ("RAG_TIMEOUT_MS", "1.5"),
        ("RAG_RETRY_ATTEMPTS", "often"),
        ("RAG_SIMILARITY_THRESHOLD", "65"),
    ];
    let mistakes = import(&variables(&rows)).unwrap_err();
    insta::assert_snapshot!("mistakes", mistakes.join("\n"));
    for (name, _) in rows {
        assert_eq!(mistakes.iter().filter(|mistake| mistake.starts_with(name)).count(), 1, "{name}: {mistakes:#?}");
    }
    assert!(!mistakes.join("").contains("hidden"));
    for nothing in [&[][..], &[("GOOGLE_ANALYTICS_ID", "G-1")], &[("LIGHTRAG_UNKNOWN", "1")], &[("PATH", "/bin")]] {
        let mistakes = import(&variables(nothing)).unwrap_err();
        assert!(mistakes[0].starts_with("there is no variable to make a route of"), "{mistakes:?}");
    }
}

#[test]
fn what_is_unknown_is_named_without_its_value() {
    let rows = [
        ("LIGHTRAG_ROLLOUT_PERCENT", "hidden"),
        ("RAG_API_KEY", "hidden"),
        ("LIGHTRAG_URL", "http://10.0.0.1"),
        ("XZE_KEYWORD_EXTRACTION_METRICS", "true"),
    ];
    let (made, _) = imported(&[&rows[..2], &rows[3..]].concat());
    assert!(made.notices.iter().any(|notice| notice.ends_with("did you mean LIGHTRAG_ROLLOUT_PERCENTAGE?")));
    assert!(made.notices.iter().any(|notice| notice.starts_with("RAG_API_KEY: not known here")), "{:?}", made.notices);
    assert!(!made.toml.contains("hidden"));
    let made = import(&variables(&rows)).unwrap();
    assert!(!made.notices.iter().any(|notice| notice.starts_with("LIGHTRAG_URL")), "a placeholder of the file itself");
}

#[test]
fn credentials_of_a_url_do_not_land_in_the_file() {
    for (url, kept) in [
        ("http://user:hidden@rag:8000/v1", "http://rag:8000/v1"),
        ("https://hidden@rag", "https://rag"),
        ("http://a:hid@hidden@rag", "http://rag"),
    ] {
        let (made, loaded) = imported(&[("RAG_API_URL", url)]);
        assert!(!made.toml.contains("hid"), "{}", made.toml);
        assert!(!made.notices.join("").contains("hid"));
        assert!(made.toml.contains(&format!("url = \"{kept}\"")) && made.toml.contains("${RAG_BASIC_CREDENTIALS:-}"));
        assert_eq!(loaded.config.backends.len(), 2);
    }
    let mistakes = import(&variables(&[("RAG_API_URL", "http://rag/hidden@x")])).unwrap_err();
    assert_eq!(
        mistakes,
        ["RAG_API_URL: found what is no URL of a backend (it is not shown); no user name or password in a URL"]
    );
    let (made, _) = imported(&[("RAG_API_URL", "")]);
    assert!(made.notices[0].contains("the candidate is off"));
}

/// A value that a variable may hold, beside none.
fn value(name: &str) -> BoxedStrategy<String> {
    let words = |words: &'static [&'static str]| proptest::sample::select(words).prop_map(str::to_owned).boxed();
    match name {
        "LIGHTRAG_FORCE_USER_COHORT" => words(&["lightrag", "perplexity", "PERPLEXITY", ""]),
        "LIGHTRAG_LOG_LEVEL" => words(&["DEBUG", "info", "Warning", "CRITICAL", "error"]),
        "LIGHTRAG_USER_HASH_SALT" => ".{1,40}".boxed(),
        "LIGHTRAG_MIN_QUALITY_THRESHOLD" | "RAG_SIMILARITY_THRESHOLD" => {
            (0.0..=1.0).prop_map(|n: f64| n.to_string()).boxed()
        }
        "LIGHTRAG_CIRCUIT_BREAKER_RECOVERY_TIMEOUT" => (0.001..=86_400.0).prop_map(|n: f64| n.to_string()).boxed(),
        "LIGHTRAG_CIRCUIT_BREAKER_FAILURE_THRESHOLD" => (1..=16_383_u32).prop_map(|n| n.to_string()).boxed(),
        "RAG_TIMEOUT_MS" => (1..=86_400_000_u32).prop_map(|n| n.to_string()).boxed(),
        "RAG_RETRY_ATTEMPTS" => (0..=100_u32).prop_map(|n| n.to_string()).boxed(),
        "RAG_API_URL" => words(&["http://rag", "https://rag:1/a", "http://u:p@rag", "", "http://[::1]:80"]),
        "GOOGLE_ANALYTICS_ID" => ".{0,12}".boxed(),
        name if name.ends_with("PERCENTAGE") => (0.0..=100.0).prop_map(|n: f64| n.to_string()).boxed(),
        _ => words(&["true", "false", "1", "0", "Yes", "off", ""]),
    }
}

fn combination() -> impl Strategy<Value = BTreeMap<String, String>> {
    let names = EVERYTHING.iter().map(|(name, _)| *name).chain(["LOG_VARIANT_SELECTIONS"]);
    let rows: Vec<_> = names
        .map(|name| {
            proptest::option::of(value(name)).prop_map(move |value| value.map(|value| (name.to_owned(), value)))
        })
        .collect();
    rows.prop_map(|rows| rows.into_iter().flatten().collect())
}

proptest! {
    #[test]
    fn whatever_is_set_the_result_passes_check(variables in combination()) {
        match import(&variables) {
            Ok(made) => {
                let loaded = checked(&made, &variables);
                prop_assert_eq!(loaded.config.routes.len(), made.routes.len());
                for name in variables.keys() {
                    prop_assert!(made.toml.contains(name.as_str()), "{} was dropped:\n{}", name, made.toml);
                }
                if let Some(percent) = variables.get("LIGHTRAG_ROLLOUT_PERCENTAGE") {
                    let route = loaded.config.routes.iter().find(|route| &*route.name == "lightrag").unwrap();
                    prop_assert_eq!(route.policy.rollout.percent().get(), percent.parse::<f64>().unwrap());
                }
            }
            Err(mistakes) => prop_assert!(mistakes.iter().all(|m| m.starts_with("there is no variable")), "{:?}", mistakes),
        }
    }

    #[test]
    fn any_value_is_taken_over_or_named(name in proptest::sample::select(&EVERYTHING), value in ".{0,30}") {
        let variables = variables(&[(name.0, &value)]);
        match import(&variables) {
            Ok(made) => { checked(&made, &variables); }
            Err(mistakes) => prop_assert!(mistakes[0].starts_with(name.0) || name.0.starts_with("GOOGLE"), "{:?}", mistakes),
        }
    }
}

#[test]
fn a_file_that_is_there_is_replaced_only_if_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    write_file(&path, "first", false).unwrap();
    let error = write_file(&path, "second", false).unwrap_err();
    assert!(error.to_string().ends_with("; --force replaces it"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
    write_file(&path, "2", true).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "2");
}
