//! The house as ARCHITECTURE.md tells it: who may import whom, sizes, lints, and pages that are true.
//!
//! In one crate the compiler checks none of this. A violation is reported with its file and line.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests say what broke")]

#[path = "architecture/lints.rs"]
mod lints;
#[path = "architecture/packaging.rs"]
mod packaging;
#[path = "architecture/pages.rs"]
mod pages;
#[path = "architecture/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use source::{File, Line, read, rust_files, sources};

/// What each module may import of ours, beside itself. An entry with a path allows that part alone.
/// The reasons stand in ARCHITECTURE.md, "Decisions"; a test holds the table there to this one.
const IMPORTS: &[(&str, &[&str])] = &[
    (
        "admin",
        &[
            "alerts",
            "clock",
            "config",
            "controller",
            "domain",
            "events",
            "live",
            "measure",
            "store",
            "telemetry",
            "upstream",
        ],
    ),
    ("alerts", &["clock", "config::model", "domain", "live", "measure", "store", "upstream"]),
    ("app", ANYTHING),
    ("cli", ANYTHING),
    // Milliseconds are the domain's: its breaker is what has to pack them.
    ("clock", &["domain::breaker::Millis"]),
    ("config", &["domain", "jwt"]),
    ("controller", &["clock", "config::model", "config::phase", "domain", "live", "measure", "store"]),
    ("domain", &[]),
    ("events", &["clock", "config::model", "domain", "live", "store"]),
    ("jwt", &[]),
    ("live", &["clock", "config", "domain", "jwt", "measure", "upstream"]),
    ("measure", &["domain", "jwt"]),
    (
        "proxy",
        &[
            "clock",
            "config::model",
            "domain",
            "events",
            "jwt",
            "live",
            "measure",
            "sampling",
            "telemetry::access",
            "upstream",
        ],
    ),
    ("sampling", &["clock", "config::model", "domain", "live", "store", "upstream"]),
    ("store", &["domain"]),
    (
        "telemetry",
        &[
            "alerts",
            "clock",
            "config::model",
            "controller::rollout",
            "domain",
            "events",
            "jwt",
            "live",
            "measure",
            "upstream",
        ],
    ),
    ("upstream", &["clock", "config::model"]),
];

/// For the composition root and the commands, which wire the others up.
const ANYTHING: &[&str] = &["*"];

/// What a file of `domain` may not name, since it would no longer be a function of its arguments.
const IMPURE: &[&str] = &[
    "async ",
    "Atomic",
    "fastrand",
    "Instant",
    "Mutex",
    "RwLock",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::thread",
    "SystemTime",
    "thread_local",
    "tokio",
    "tracing",
];

/// Words that read the time. clippy's `disallowed_methods` sees aliases, this sees what clippy is told to let pass.
const TIME: &[&str] = &["Instant::now", "SystemTime::now", "Timestamp::now", "Zoned::now", "Utc::now"];

/// Crates that others do better; libraries that we use may still need them.
const NO_DIRECT_DEPENDENCIES: &[&str] = &["chrono", "lazy_static", "once_cell", "serde_yaml"];

/// Lines of a file, tests among them.
const FILE_LINES: usize = 600;

/// Lines of nine functions in ten.
const FUNCTION_LINES_P90: usize = 30;

/// A function over this is long, and at most [`LONG_FUNCTIONS_PERCENT`] are.
const LONG_FUNCTION_LINES: usize = 50;
const LONG_FUNCTIONS_PERCENT: usize = 3;

/// Every mention of another part of the crate: where, and its path below the crate.
fn mentions(file: &File) -> Vec<(usize, String)> {
    let path = |text: &str| -> String {
        text.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':')).collect()
    };
    let mut found = Vec::new();
    for Line { number, code } in file.code() {
        for rest in code.split("crate::").skip(1) {
            found.push((number, path(rest).trim_end_matches(':').to_owned()));
        }
    }
    found
}

fn allows(entry: &str, path: &str) -> bool {
    entry == "*" || path == entry || path.strip_prefix(entry).is_some_and(|rest| rest.starts_with("::"))
}

/// Says what is left out, past the test runner, which keeps what passing tests print.
fn skip(why: &str) {
    std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).unwrap();
}

fn report(what: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{what}:\n{}", violations.join("\n"));
}

#[test]
fn modules_import_only_what_the_table_allows_and_all_of_it() {
    let table: BTreeMap<&str, &[&str]> = IMPORTS.iter().copied().collect();
    let mut used: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut violations = Vec::new();
    let files = sources();
    for file in files.iter().filter(|file| !file.module.is_empty()) {
        let Some((&name, &allowed)) = table.get_key_value(file.top()) else {
            violations.push(format!("{}: the module {} has no row in the table", file.path, file.top()));
            continue;
        };
        for (number, path) in mentions(file).into_iter().filter(|(_, path)| !allows(name, path)) {
            match allowed.iter().find(|entry| allows(entry, &path)) {
                Some(entry) => drop(used.insert((name, entry))),
                None => violations.push(format!("{}:{number}: {name} may not see {path}", file.path)),
            }
        }
    }
    let all = table.iter().flat_map(|(name, entries)| entries.iter().map(|entry| (*name, *entry)));
    let unused = all.filter(|entry| !used.contains(entry));
    violations.extend(unused.map(|(name, entry)| format!("table: {name} no longer needs {entry}")));
    report("imports", &violations);
}

#[test]
fn imports_have_no_cycle() {
    let mut left: BTreeMap<&str, BTreeSet<&str>> = IMPORTS
        .iter()
        .filter(|(_, entries)| *entries != ANYTHING)
        .map(|(name, entries)| (*name, entries.iter().filter_map(|entry| entry.split("::").next()).collect()))
        .collect();
    while let Some(name) = left.iter().find(|(_, sees)| sees.is_empty()).map(|(name, _)| *name) {
        left.remove(name);
        for sees in left.values_mut() {
            sees.remove(name);
        }
    }
    assert!(left.is_empty(), "these see each other: {left:?}");
}

#[test]
fn nobody_leaves_a_module_by_super() {
    let mut violations = Vec::new();
    for file in sources() {
        for Line { number, code } in file.code() {
            let up = code.match_indices("super::").filter(|(at, _)| !code[..*at].ends_with("::")).map(|(at, _)| {
                let mut rest = &code[at..];
                let mut steps = 0;
                while let Some(next) = rest.strip_prefix("super::") {
                    (rest, steps) = (next, steps + 1);
                }
                steps
            });
            if up.max().is_some_and(|steps| steps >= file.module.len()) {
                violations.push(format!("{}:{number}: {}", file.path, code.trim()));
            }
        }
    }
    report("paths that leave their module unseen by the table of imports", &violations);
}

#[test]
fn the_domain_is_pure() {
    let mut violations = Vec::new();
    for file in sources().iter().filter(|file| file.top() == "domain") {
        for Line { number, code } in file.code() {
            let words = IMPURE.iter().filter(|word| code.contains(**word));
            violations.extend(words.map(|word| format!("{}:{number}: {word}", file.path)));
        }
    }
    report("not a function of its arguments", &violations);
}

#[test]
fn only_the_clock_asks_the_time() {
    let mut violations = Vec::new();
    let mut asked = 0;
    for file in sources() {
        for Line { number, code } in file.code() {
            for word in TIME.iter().filter(|word| code.contains(**word)) {
                if file.path == "src/clock.rs" {
                    asked += 1;
                } else {
                    violations.push(format!("{}:{number}: {word}", file.path));
                }
            }
        }
    }
    assert!(asked > 0, "the clock is not where this test looks for it");
    report("outside of src/clock.rs", &violations);
}

#[test]
fn files_are_not_too_long() {
    let mut violations = Vec::new();
    for path in ["src", "tests", "benches"].into_iter().flat_map(rust_files) {
        let lines = read(&path).lines().count();
        if lines > FILE_LINES {
            violations.push(format!("{path}:{FILE_LINES}: {lines} lines"));
        }
    }
    report("files with too many lines", &violations);
}

/// No function is over 70 lines: that is clippy's.
#[test]
fn most_functions_are_short() {
    let mut found: Vec<(usize, String)> = Vec::new();
    for file in sources() {
        let functions = file.functions();
        found.extend(functions.into_iter().map(|(begin, lines)| (lines, format!("{}:{begin}: {lines}", file.path))));
    }
    found.sort();
    let p90 = found[found.len() * 9 / 10].0;
    let long: Vec<_> = found.iter().filter(|(lines, _)| *lines > LONG_FUNCTION_LINES).collect();
    assert!(found.len() > 500, "functions were not found: {}", found.len());
    assert!(p90 <= FUNCTION_LINES_P90, "p90 is {p90} lines");
    assert!(long.len() * 100 <= found.len() * LONG_FUNCTIONS_PERCENT, "{} of {}: {long:#?}", long.len(), found.len());
}

#[test]
fn there_is_less_than_one_way_to_panic_in_1000_lines() {
    const WAYS: &[&str] = &[".unwrap()", ".expect(", "panic!(", "unreachable!(", "todo!(", "unimplemented!("];
    let (mut lines, mut places) = (0, Vec::new());
    for file in sources() {
        let code = file.code();
        lines += code.len();
        let found = code.iter().filter(|line| WAYS.iter().any(|way| line.code.contains(way)));
        places.extend(found.map(|line| format!("{}:{}: {}", file.path, line.number, line.code.trim())));
    }
    assert!(places.len() * 1_000 < lines, "{} in {lines} lines:\n{}", places.len(), places.join("\n"));
}

#[test]
fn no_dependency_is_one_that_others_replace() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    for group in ["dependencies", "dev-dependencies"] {
        let names = manifest[group].as_table().unwrap();
        for name in NO_DIRECT_DEPENDENCIES {
            assert!(!names.contains_key(*name), "{name} in [{group}]");
        }
    }
}

#[test]
fn every_module_says_what_it_is() {
    let silent = sources().into_iter().filter(|file| !file.test && !file.text.starts_with("//! "));
    report("files that do not open with `//!`", &silent.map(|file| format!("{}:1", file.path)).collect::<Vec<_>>());
}
