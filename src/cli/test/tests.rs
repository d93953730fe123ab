use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{self, Cli};

const FILE: &str = r#"
[backends.a]
url = "http://127.0.0.1:1"
[routes.answers]
control = "a"
candidate = "a"
salt = "default_salt"
targets = { candidate = ["demo"] }
rollout = { percent = 25.0 }
"#;

fn code(file: &str, cases: &str, more: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (config, users) = (folder.path().join("gateway.toml"), folder.path().join("users.toml"));
    std::fs::write(&config, file).unwrap();
    std::fs::write(&users, cases).unwrap();
    let words = ["pointsman", "test", users.to_str().unwrap(), "-c", config.to_str().unwrap()];
    let code = cli::run(Cli::parse_from(words.iter().chain(more))).unwrap();
    format!("{code:?}")
}

#[test]
fn exit_codes() {
    // demo@example.com stands at 11.17 % under this salt, user123 at 58.37 %.
    let case = |lines: &str| format!("[[case]]\nroute = \"answers\"\n{lines}\n");
    let right = [
        case("key = \"demo\"\nexpect = \"candidate\"\nreason = \"target\""),
        case("key = \"demo@example.com\"\nexpect = \"candidate\"\nreason = \"rollout\""),
        case("key = \"user123\"\nexpect = \"control\""),
        case("expect = \"control\"\nreason = \"no_key\""),
        case("key = \"user123\"\noverride = \"candidate\"\nexpect = \"candidate\"\nreason = \"override\""),
    ]
    .join("");
    let wrong_arm = right.clone() + &case("key = \"user123\"\nexpect = \"candidate\"");
    let wrong_reason = case("key = \"demo\"\nexpect = \"candidate\"\nreason = \"rollout\"");
    let no_route = "[[case]]\nroute = \"anwsers\"\nexpect = \"control\"\n";
    let rows = [
        (FILE, right.as_str(), ExitCode::SUCCESS),
        (FILE, wrong_arm.as_str(), ExitCode::FAILURE),
        (FILE, wrong_reason.as_str(), ExitCode::FAILURE),
        (FILE, no_route, ExitCode::from(cli::MISTAKES)),
        (FILE, "[[case", ExitCode::from(cli::MISTAKES)),
        ("[routes", right.as_str(), ExitCode::from(cli::MISTAKES)),
    ];
    for (file, cases, expected) in rows {
        for more in [&[][..], &["--json"]] {
            assert_eq!(code(file, cases, more), format!("{expected:?}"), "{cases}");
        }
    }
}

#[test]
fn a_file_of_cases_that_is_not_there_is_a_mistake() {
    let code = cli::run(Cli::parse_from(["pointsman", "test", "/not/there"])).unwrap();
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(cli::MISTAKES)));
}

/// Every example stands beside its cases.
#[test]
fn the_examples_do_what_they_say() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut tested = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let path = path.to_str().unwrap();
        let Some(name) = path.strip_suffix(".cases.toml") else { continue };
        let config = format!("{name}.toml");
        let code = cli::run(Cli::parse_from(["pointsman", "test", path, "-c", &config])).unwrap();
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS), "{path}");
        let checked = cli::run(Cli::parse_from(["pointsman", "check", "--strict", "-c", &config])).unwrap();
        assert_eq!(format!("{checked:?}"), format!("{:?}", ExitCode::SUCCESS), "{config}");
        tested += 1;
    }
    let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.ends_with(".toml")).count(), tested * 2, "an example without cases");
    assert!(tested >= 10, "{tested}");
}

/// Folders of examples hold a file that an operator mounts.
#[test]
fn the_mounted_examples_are_fine() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for path in ["compose/conf/gateway.toml", "kubernetes/gateway.toml"] {
        let path = folder.join(path);
        let checked =
            cli::run(Cli::parse_from(["pointsman", "check", "--strict", "-c", path.to_str().unwrap()])).unwrap();
        assert_eq!(format!("{checked:?}"), format!("{:?}", ExitCode::SUCCESS), "{}", path.display());
    }
}

#[test]
fn attributes_that_there_are_not_are_a_mistake() {
    let cases = "[[case]]\nroute = \"answers\"\nexpect = \"control\"\nattributes = ";
    for attributes in ["{ user.tier = \"a\" }", "1", "{ user.key = { a = 1 } }"] {
        assert_eq!(code(FILE, &format!("{cases}{attributes}\n"), &[]), format!("{:?}", ExitCode::from(cli::MISTAKES)));
    }
}
