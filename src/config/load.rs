//! From sources to a [`Config`]: read, merge, interpolate, validate, build.
//!
//! Everything is read once, into a ledger, and the result is a function of what the ledger holds.
//! A mistake in a file of `routes.d` costs only that file's changes; any other costs the load.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::check;
use super::gather::{FragmentUse, Gathered, gather};
use super::model::Config;
use super::node::{Origin, SourceKind};
use super::origins::Origins;
use super::report::{Diagnostic, Report, Severity, sort};
use super::spec::ROOT;
use super::view::Context;
use super::{redact, validate};

/// Where a configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file.
    pub path: PathBuf,
    /// The profile, as `POINTSMAN_PROFILE` chooses it.
    pub profile: Option<String>,
    /// The environment, read once at start.
    pub environment: BTreeMap<String, String>,
}

/// The variable that chooses the profile.
pub const PROFILE_VARIABLE: &str = "POINTSMAN_PROFILE";

impl Sources {
    /// A file, with the environment of the process. Variables that are not Unicode are left out.
    #[must_use]
    pub fn from_env(path: impl Into<PathBuf>) -> Self {
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let profile = environment.get(PROFILE_VARIABLE).filter(|name| !name.is_empty()).cloned();
        Self { path: path.into(), profile, environment }
    }

    /// What relative paths in the file start from.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

/// A configuration and what is known about how it came to be.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What to run with.
    pub config: Config,
    /// Where each value was typed.
    pub origins: Origins,
    /// What is doubtful. An entry of [`Severity::Error`] among them belongs to a file of `routes.d`
    /// whose changes were left out: `check` refuses it, a reload tells of it.
    pub warnings: Vec<Diagnostic>,
    /// The merged values before interpolation, secrets left out: safe to show.
    pub redacted: serde_json::Value,
    /// What to fall back on when a file of `routes.d` breaks.
    pub last_good: LastGood,
}

/// The texts of the files of `routes.d` that a configuration was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastGood {
    pub(super) fragments: BTreeMap<PathBuf, String>,
}

/// A hash over everything that a load would read, whether or not it is valid.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub String);

/// Loads a configuration.
///
/// # Errors
/// All mistakes, in the order of their places.
pub fn load(sources: &Sources, previous: Option<&LastGood>) -> Result<Loaded, Report> {
    let mut uses: BTreeMap<PathBuf, FragmentUse> = BTreeMap::new();
    let mut left_out = Vec::new();
    loop {
        let gathered = gather(sources, previous, &uses, None);
        let (attempt, mut diagnostics) = finish(gathered, sources.folder());
        let (fragment_errors, others) = split(diagnostics);
        diagnostics = others;
        if let Some(mut loaded) = attempt.filter(|_| fragment_errors.is_empty()) {
            diagnostics.extend(left_out);
            sort(&mut diagnostics);
            loaded.warnings = diagnostics;
            return Ok(loaded);
        }
        if fragment_errors.is_empty() {
            diagnostics.extend(left_out);
            sort(&mut diagnostics);
            return Err(Report { diagnostics });
        }
        demote(&fragment_errors, previous, &mut uses);
        left_out.extend(fragment_errors.into_iter().map(|mut error| {
            let dot = if error.help.is_empty() { "" } else { "; " };
            error.help.push_str(dot);
            error.help.push_str("until then this file's changes are left out");
            error
        }));
    }
}

/// Loads a configuration from a text, without `routes.d`. Relative paths in it start from the working
/// directory.
///
/// # Errors
/// All mistakes, in the order of their places.
pub fn load_text(text: &str, name: &str, environment: &BTreeMap<String, String>) -> Result<Loaded, Report> {
    let profile = environment.get(PROFILE_VARIABLE).cloned();
    let sources = Sources { path: PathBuf::from(name), profile, environment: environment.clone() };
    let gathered = gather(&sources, None, &BTreeMap::new(), Some(text));
    let (attempt, diagnostics) = finish(gathered, Path::new(""));
    match attempt {
        Some(loaded) => Ok(Loaded { warnings: diagnostics, ..loaded }),
        None => Err(Report { diagnostics }),
    }
}

/// The hash of everything that a load would read now. Compare it with other fingerprints only.
#[must_use]
pub fn fingerprint(sources: &Sources) -> Fingerprint {
    Fingerprint(gather(sources, None, &BTreeMap::new(), None).ledger.hash(sources.folder()))
}

/// Validates and builds. A configuration comes back only if there is no error.
pub(super) fn finish(gathered: Gathered, folder: &Path) -> (Option<Loaded>, Vec<Diagnostic>) {
    finish_reading(gathered, folder).0
}

/// As [`finish`], with the keys that were read on the way.
pub(super) fn finish_reading(
    gathered: Gathered,
    folder: &Path,
) -> ((Option<Loaded>, Vec<Diagnostic>), BTreeSet<String>) {
    let Gathered { tree, typed, ledger, sink, unreadable, fragments } = gathered;
    if unreadable {
        return ((None, sink.finish()), BTreeSet::new());
    }
    validate::table("", &tree, ROOT, validate::Extent::Whole, &sink);
    let context = Context { sink: &sink, ledger: &ledger, folder, read: RefCell::default() };
    let parts = check::build(&context, &tree);
    let read = context.read.into_inner();
    let diagnostics = sink.finish();
    let failed = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    let loaded = parts.filter(|_| !failed).map(|parts| Loaded {
        config: parts.with_provenance(ledger.hash(folder), ledger.paths()),
        origins: Origins::of_tree(&typed),
        warnings: Vec::new(),
        redacted: redact::tree(&typed),
        last_good: LastGood { fragments },
    });
    ((loaded, diagnostics), read)
}

/// Errors that stand in files of `routes.d`, and everything else.
fn split(diagnostics: Vec<Diagnostic>) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
    diagnostics.into_iter().partition(|diagnostic| {
        diagnostic.severity == Severity::Error && diagnostic.origin.kind() == Some(SourceKind::Fragment)
    })
}

/// Takes every file with an error one step back: to its last good text, then out.
fn demote(errors: &[Diagnostic], previous: Option<&LastGood>, uses: &mut BTreeMap<PathBuf, FragmentUse>) {
    let culprits: BTreeSet<PathBuf> = errors
        .iter()
        .filter_map(|error| match &error.origin {
            Origin::Source { source, .. } => Some(PathBuf::from(&source.name)),
            Origin::Default => None,
        })
        .collect();
    for path in culprits {
        let known = previous.is_some_and(|previous| previous.fragments.contains_key(&path));
        let next = match uses.get(&path) {
            None | Some(FragmentUse::Current) if known => FragmentUse::LastGood,
            None | Some(FragmentUse::Current | FragmentUse::LastGood | FragmentUse::Absent) => FragmentUse::Absent,
        };
        uses.insert(path, next);
    }
}
