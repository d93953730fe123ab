//! The pages tell what is: their TOML loads, their vectors hold, their links lead somewhere.

use std::collections::{BTreeMap, BTreeSet};

use pointsman::cli::Cli;
use pointsman::config::load_text;
use pointsman::domain::assignment::Digest;

use crate::IMPORTS;
use crate::source::{read, root, sources};

const PAGES: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "docs/errors.md",
    "docs/administration.md",
    "docs/rewriting.md",
    "docs/events.md",
    "docs/rehearse.md",
    "docs/traffic.md",
    "docs/rollouts.md",
    "docs/containers.md",
];

/// Variables that the README's examples take from the environment.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("EXPOSURE_KEY", "a-secret-of-at-least-16-bytes"),
    ("SHOP_TOKEN", "another-token-of-16-bytes"),
    ("DEPLOY_TOKEN", "a-token-of-at-least-16-bytes"),
    ("WEB_TOKEN", "another-token-of-16-bytes"),
    ("PIN_SECRET", "a-secret-of-at-least-16-bytes"),
    ("TESTER_KEY", "a-key-for-testers"),
    ("WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ("SLACK_URL", "https://hooks.slack.com/services/T0/B0/x"),
    ("JUDGE_TOKEN", "a-secret-of-at-least-16-bytes"),
    ("USER_HASH_SECRET", "a-secret-of-at-least-16-bytes"),
];

/// The fenced blocks of a page in a language, with the line where each begins.
fn blocks(page: &str, language: &str) -> Vec<(usize, String)> {
    let opening = format!("```{language}");
    let mut found = Vec::new();
    let mut lines = (1..).zip(page.lines());
    while let Some((number, line)) = lines.next() {
        if line == opening {
            let text: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            found.push((number + 1, text.join("\n") + "\n"));
        }
    }
    found
}

/// The first example is whole; each of the others stands behind it.
#[test]
fn every_example_of_the_readme_loads() {
    let readme = read("README.md");
    let examples = blocks(&readme, "toml");
    let (_, first) = examples.first().unwrap();
    assert!(first.lines().count() <= 16, "the first example is short");
    let environment: BTreeMap<String, String> =
        ENVIRONMENT.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    for (index, (line, example)) in examples.iter().enumerate() {
        let text = if index == 0 { first.clone() } else { format!("{first}\n{example}") };
        match load_text(&text, "gateway.toml", &environment) {
            Ok(loaded) => assert!(loaded.warnings.is_empty(), "README.md:{line}: {:?}", loaded.warnings),
            Err(report) => panic!("README.md:{line}:\n{report}"),
        }
    }
    assert!(examples.len() >= 8, "{} examples", examples.len());
}

#[test]
fn every_example_of_the_pages_loads() {
    let (_, route) = blocks(&read("README.md"), "toml").remove(0);
    let environment: BTreeMap<String, String> =
        ENVIRONMENT.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    for (page, least) in [
        ("docs/events.md", 2),
        ("docs/alerts.md", 1),
        ("docs/judge.md", 2),
        ("docs/shadow.md", 2),
        ("docs/rollouts.md", 2),
        ("docs/containers.md", 1),
    ] {
        let examples = blocks(&read(page), "toml");
        assert!(examples.len() >= least, "{page}");
        for (line, example) in examples {
            let loaded = load_text(&format!("{route}\n{example}"), "gateway.toml", &environment);
            loaded.unwrap_or_else(|report| panic!("{page}:{line}:\n{report}"));
        }
    }
}

/// Rows `| key | salt | bucket | percentage |` of the README.
#[test]
fn the_published_vectors_hold() {
    let readme = read("README.md");
    let begin = readme.find("| key | salt | bucket | percentage |").unwrap();
    let mut rows = 0;
    for row in readme[begin..].lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [_, key, salt, bucket, percentage, _] = cells[..] else { panic!("{row}") };
        let found = Digest::of(key.as_bytes(), salt.as_bytes()).bucket();
        assert_eq!((found.0.to_string().as_str(), format!("{:.6}", found.percentage()).as_str()), (bucket, percentage));
        rows += 1;
    }
    assert!(rows >= 4);
}

/// The Python of the README, run on the vectors that stand in it.
#[test]
fn the_python_of_the_readme_computes_the_same() {
    let readme = read("README.md");
    let (_, python) = blocks(&readme, "python").remove(0);
    let found = std::process::Command::new("python3").arg("-c").arg(&python).output();
    let output = match found {
        Ok(output) => output,
        Err(error) if std::env::var("CI").is_err() => return crate::skip(&format!("python3: {error}")),
        Err(error) => panic!("python3: {error}"),
    };
    let expected = format!("{}\n", Digest::of(b"user123", b"default_salt").bucket().percentage());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{}", String::from_utf8_lossy(&output.stderr));
}

/// The Python of the page of events makes the token that stands below it.
#[test]
fn the_python_of_the_page_of_events_makes_its_token() {
    let page = read("docs/events.md");
    let (_, python) = blocks(&page, "python").remove(0);
    let output = match std::process::Command::new("python3").arg("-c").arg(&python).output() {
        Ok(output) => output,
        Err(error) if std::env::var("CI").is_err() => return crate::skip(&format!("python3: {error}")),
        Err(error) => panic!("python3: {error}"),
    };
    let token = String::from_utf8(output.stdout).unwrap();
    assert_eq!(token.trim().len(), 78, "{}", String::from_utf8_lossy(&output.stderr));
    assert!(page.contains(&format!("prints `{}`", token.trim())), "{token}");
}

#[test]
fn links_and_paths_lead_somewhere() {
    let mut missing = Vec::new();
    for page in PAGES {
        let text = read(page);
        let folder = root().join(page);
        let folder = folder.parent().unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        let links = links.filter(|target| !target.contains("://") && !target.starts_with('#'));
        let dead = links.map(|target| target.split('#').next().unwrap()).filter(|target| !folder.join(target).exists());
        missing.extend(dead.map(|target| format!("{page}: {target}")));
        let named = text.split('`').skip(1).step_by(2).filter(|word| {
            ["src/", "tests/", "docs/", "benches/", "fuzz/"].iter().any(|folder| word.starts_with(folder))
        });
        missing.extend(named.filter(|path| !root().join(path).exists()).map(|path| format!("{page}: {path}")));
    }
    crate::report("pages that name what is not there", &missing);
}

/// Sections that the README links to within itself.
#[test]
fn the_readme_finds_its_own_sections() {
    let readme = read("README.md");
    let sections: BTreeSet<String> = readme
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept: String = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).collect();
            kept.replace(' ', "-")
        })
        .collect();
    for anchor in readme.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(sections.contains(anchor), "#{anchor} is none of {sections:?}");
    }
}

#[test]
fn the_house_is_told_as_it_stands() {
    let page = read("ARCHITECTURE.md");
    let tops: BTreeSet<String> =
        sources().iter().map(|file| file.top().to_owned()).filter(|top| !top.is_empty()).collect();
    let rows: BTreeSet<String> = IMPORTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(tops, rows, "each module has its row in the table of imports");
    for (name, entries) in IMPORTS {
        let entries: Vec<String> = entries.iter().map(|entry| format!("`{entry}`")).collect();
        let sees = match entries.join(", ") {
            none if none.is_empty() => "nothing".to_owned(),
            anything if anything == "`*`" => "everything".to_owned(),
            some => some,
        };
        let row = format!("| `{name}` | {sees} |");
        assert!(page.contains(&row), "ARCHITECTURE.md lacks\n{row}");
    }
}

/// The codes of problems, as their two sources list them in `fn code`.
#[test]
fn every_error_code_is_on_a_page() {
    for (source, page) in [
        ("src/proxy/problem.rs", "docs/errors.md"),
        ("src/admin/problem.rs", "docs/administration.md"),
        ("src/events/answer.rs", "docs/events.md"),
    ] {
        let (text, page_text) = (read(source), read(page));
        let (_, body) = text.split_once(" fn code(").unwrap();
        let (body, _) = body.split_once("\n    }\n").unwrap();
        let codes: Vec<&str> = body.split('"').skip(1).step_by(2).collect();
        assert!(codes.len() > 10, "{source}: {codes:?}");
        for code in codes.into_iter().filter(|code| *code != "stored") {
            assert!(page_text.contains(&format!("`{code}`")), "{page} lacks `{code}`");
        }
    }
}

#[test]
fn every_command_is_in_the_readme() {
    use clap::CommandFactory as _;

    let readme = read("README.md");
    for command in Cli::command().get_subcommands() {
        let name = format!("pointsman {}", command.get_name());
        assert!(readme.contains(&name) || readme.contains(&format!("-- {}", command.get_name())), "{name}");
    }
}
