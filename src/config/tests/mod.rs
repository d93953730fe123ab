//! Tests of everything between a text and a `Config`.

mod broken;
mod conditions;
mod keys;
mod layers;
mod pages;
mod plans;
mod relations;
mod robust;
mod secrets;
mod values;

use std::collections::BTreeMap;
use std::path::Path;

use super::*;

const EXAMPLE: &str = include_str!("../../../gateway.toml");
/// A file that sets every key to something else than its default.
const FULL: &str = include_str!("full.toml");
const BACKENDS: &str = "[backends.a]\nurl = \"http://a\"\n[backends.b]\nurl = \"http://b\"\n";
const ROUTE: &str = "[routes.r]\npath = \"/\"\ncontrol = \"a\"\ncandidate = \"b\"\nfallback.replay = \"connect\"\n";

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Loads a text that must be right.
fn good(text: &str, environment: &[(&str, &str)]) -> Loaded {
    load_text(text, "gateway.toml", &variables(environment)).unwrap_or_else(|report| panic!("{report}"))
}

/// The messages of a text that must be wrong.
fn bad(text: &str, environment: &[(&str, &str)]) -> String {
    match load_text(text, "gateway.toml", &variables(environment)) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(report) => report.to_string(),
    }
}

/// A folder with a file and what lies beside it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn sources(&self, environment: &[(&str, &str)]) -> Sources {
        let path = self.path().join("gateway.toml");
        Sources { path, profile: None, environment: variables(environment) }
    }

    fn load(&self, previous: Option<&LastGood>) -> Result<Loaded, Report> {
        load(&self.sources(&[]), previous)
    }
}

#[test]
fn the_example_is_right() {
    assert_eq!(good(EXAMPLE, &[]).warnings, []);
}
