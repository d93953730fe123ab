//! What is shipped around the program fits it: the steps of the image, and the manifests of the examples.
//!
//! No engine runs here: docs/containers.md tells how the image is tried. What is told is where the two would part.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use clap::Parser as _;
use pointsman::cli::Cli;
use pointsman::config::{Config, load_text};

use crate::source::{Line, read, root, sources};

/// Where the image expects the file, and where it keeps a place for the store.
const CONFIGURATION: &str = "/etc/pointsman";
const STATE: &str = "/var/lib/pointsman";

/// The manifests of containers with the configuration beside each, and the key that says how long stopping may take.
const EXAMPLES: &[(&str, &str, &str)] = &[
    ("examples/compose/compose.yaml", "examples/compose/conf/gateway.toml", "stop_grace_period"),
    ("examples/kubernetes/deployment.yaml", "examples/kubernetes/gateway.toml", "terminationGracePeriodSeconds"),
    ("examples/kubernetes/sidecar.yaml", "examples/kubernetes/gateway.toml", "terminationGracePeriodSeconds"),
];

/// What reads a file while the program is built.
const INCLUDES: &[&str] = &["include_str!(\"", "include_bytes!(\"", "include!(\""];

/// The instructions of the Dockerfile, each in one line, with their arguments.
fn instructions() -> Vec<(String, String)> {
    let text = read("Dockerfile");
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let told = joined.lines().filter_map(|line| line.split_once(' '));
    told.map(|(name, rest)| (name.to_owned(), rest.trim().to_owned())).collect()
}

/// The arguments of the only instruction of that name.
fn only(name: &str) -> String {
    let mut found: Vec<String> =
        instructions().into_iter().filter(|(found, _)| found == name).map(|(_, rest)| rest).collect();
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    found.remove(0)
}

/// What comes from the repository into the image or its build.
fn copied() -> BTreeSet<String> {
    let copies = instructions().into_iter().filter(|(name, rest)| name == "COPY" && !rest.starts_with("--from"));
    copies
        .flat_map(|(_, rest)| {
            let mut words: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
            words.pop();
            words
        })
        .collect()
}

/// The configuration of a text, without an environment.
fn configuration(text: &str) -> Config {
    load_text(text, "gateway.toml", &BTreeMap::new()).unwrap_or_else(|report| panic!("{report}")).config
}

/// The values of a key of a YAML file; a comment at the end of the line is none of them.
fn values<'a>(yaml: &'a str, key: &str) -> Vec<&'a str> {
    let lines = yaml.lines().map(|line| line.trim_start().trim_start_matches("- "));
    let values = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    values.map(|value| value.split(" #").next().unwrap().trim()).collect()
}

#[test]
fn what_the_image_copies_is_there_and_reaches_the_build() {
    let ignored = read(".dockerignore");
    let let_in: BTreeSet<String> =
        ignored.lines().filter_map(|line| line.strip_prefix('!')).map(str::to_owned).collect();
    assert!(ignored.lines().any(|line| line == "*"), "all else stays out");
    assert_eq!(let_in, copied(), ".dockerignore and COPY");
    let missing: Vec<String> = copied().into_iter().filter(|path| !root().join(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // What changes a build without being named by one.
    for file in ["build.rs", ".cargo", "rust-toolchain", "rust-toolchain.toml"] {
        assert!(!root().join(file).exists() || let_in.contains(file), "{file} is not in the image's build");
    }
}

/// A target whose file is missing stops Cargo, also where another one is built.
#[test]
fn the_image_has_a_file_for_each_target() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let steps = instructions();
    let (_, made) = steps.iter().find(|(name, rest)| name == "RUN" && rest.contains("touch")).unwrap();
    let words: BTreeSet<&str> = made.split_whitespace().map(|word| word.trim_start_matches('>')).collect();
    let mut targets = 0;
    for (kind, folder) in [("bench", "benches"), ("test", "tests"), ("bin", "src/bin"), ("example", "examples")] {
        for target in manifest.get(kind).and_then(toml::Value::as_array).into_iter().flatten() {
            let by_name = || format!("{folder}/{}.rs", target["name"].as_str().unwrap());
            let path = target.get("path").and_then(toml::Value::as_str).map_or_else(by_name, str::to_owned);
            assert!(words.contains(path.as_str()), "Dockerfile: `{path}` of Cargo.toml is not made");
            targets += 1;
        }
    }
    assert!(targets >= 5 && words.contains("src/lib.rs"), "{targets} targets");
}

#[test]
fn what_the_program_includes_is_copied() {
    let copied = copied();
    let mut found = 0;
    for file in sources() {
        for Line { number, code } in file.code() {
            for rest in INCLUDES.iter().flat_map(|name| code.split(name).skip(1)) {
                let path = beside(&file.path, rest.split('"').next().unwrap());
                let at = format!("{}:{number}: {}", file.path, path.display());
                assert!(root().join(&path).is_file(), "{at} is not there");
                assert!(copied.iter().any(|copied| path.starts_with(copied)), "{at} is not in the image's build");
                found += 1;
            }
        }
    }
    assert!(found >= 3, "{found}");
}

/// A path that a file names, from the root of the repository.
fn beside(file: &str, named: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in Path::new(file).parent().unwrap().join(named).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{file}: {named} is outside"),
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => panic!("{file}: {named}"),
        }
    }
    path
}

#[test]
fn the_image_opens_the_default_ports() {
    let config = configuration(
        "[backends.a]\nrespond = { status = 200 }\n[routes.r]\npath = \"/\"\ncontrol = \"a\"\ncandidate = \"a\"\n",
    );
    let ports: BTreeSet<u16> =
        [config.listen.address, config.observe.address, config.admin.address].map(|address| address.port()).into();
    let exposed: BTreeSet<u16> = only("EXPOSE").split(' ').map(|port| port.parse().unwrap()).collect();
    assert_eq!(exposed, ports);
}

/// In the form of a list: the image needs no shell.
#[test]
fn the_image_runs_commands_that_there_are() {
    let words = |text: &str| -> Vec<String> { serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}")) };
    let health = only("HEALTHCHECK");
    let (_, health) = health.split_once("CMD ").unwrap();
    let (entry, command) = (words(&only("ENTRYPOINT")), words(&only("CMD")));
    assert_eq!(entry, ["pointsman"]);
    assert!(command.contains(&format!("{CONFIGURATION}/gateway.toml")), "{command:?}");
    for line in [[entry.clone(), command].concat(), words(health)] {
        Cli::try_parse_from(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    }
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let compiler = format!("rust:{}-", manifest["package"]["rust-version"].as_str().unwrap());
    assert!(instructions().iter().any(|(name, rest)| name == "FROM" && rest.starts_with(&compiler)), "{compiler}");
}

#[test]
fn the_image_keeps_a_place_for_the_store() {
    let user = only("USER");
    let (uid, gid) = user.split_once(':').unwrap();
    let owner = format!("install -d -o {uid} -g {gid} ");
    let made = instructions().iter().any(|(name, rest)| name == "RUN" && rest.contains(&owner) && rest.contains(STATE));
    assert!(made, "nobody makes {STATE} for {user}");
    assert!(uid.parse::<u32>().unwrap() > 0, "not root, told as a number so that Kubernetes can tell");
    assert!(
        only("ENV").split(' ').any(|set| set == format!("SQLITE_TMPDIR={STATE}")),
        "SQLite sorts where it may write"
    );
}

#[test]
fn the_examples_of_containers_fit_the_image() {
    let exposed = only("EXPOSE");
    let exposed: Vec<&str> = exposed.split(' ').collect();
    let user = only("USER");
    for (manifest, file, grace) in EXAMPLES {
        let (yaml, config) = (read(manifest), configuration(&read(file)));
        let stopping = config.shutdown.drain_delay + config.shutdown.drain_timeout;
        let [grace] = values(&yaml, grace)[..] else { panic!("{manifest}: {grace}") };
        let grace: u64 = grace.trim_end_matches('s').parse().unwrap();
        assert!(grace > stopping.as_secs(), "{manifest}: {grace} s are not more than {stopping:?}");

        assert!(read(file).contains(&format!("store = \"sqlite:{STATE}/")), "{file}");
        assert!(yaml.contains(CONFIGURATION) && yaml.contains(STATE), "{manifest} mounts both");
        assert!(!config.observe.address.ip().is_loopback(), "{file}: probes come from outside");
        assert_eq!(config.observe.address.port(), 9902, "{file}: `pointsman healthcheck` asks there");

        for port in values(&yaml, "containerPort") {
            assert!(exposed.contains(&port), "{manifest}: {port}");
        }
        for path in values(&yaml, "path") {
            assert!(["/livez", "/readyz"].contains(&path), "{manifest}: {path} is no probe");
        }
        for (key, id) in [("runAsUser", user.split(':').next()), ("runAsGroup", user.split(':').nth(1))] {
            for value in values(&yaml, key) {
                assert_eq!(Some(value), id, "{manifest}: {key}");
            }
        }
        let locked = ["read_only", "readOnlyRootFilesystem"].into_iter().flat_map(|key| values(&yaml, key));
        assert_eq!(locked.collect::<Vec<_>>(), ["true"], "{manifest}: the root is read-only");
        assert!(values(&yaml, "subPath").is_empty(), "{manifest}: a subPath never shows a change");
    }
}

/// The schema of Kubernetes itself, strictly: a key that it does not know is a mistake.
#[test]
fn the_manifests_are_what_kubernetes_takes() {
    let clients = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("clients");
    let validate = clients.join("python/bin/kubernetes-validate");
    if !validate.exists() {
        assert!(std::env::var_os("CI").is_none(), "{} is missing: tests/clients/install", validate.display());
        return crate::skip("kubernetes-validate: run tests/clients/install");
    }
    for (manifest, _, _) in EXAMPLES.iter().filter(|(path, _, _)| path.contains("kubernetes")) {
        let output = Command::new(&validate).arg("--strict").arg(manifest).current_dir(root()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.contains("passed for resource deployment/"), "{manifest}:\n{told}");
    }
}
