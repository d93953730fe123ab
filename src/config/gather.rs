//! Reading all sources into one tree: file, `routes.d`, profile, environment, defaults, variables.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::interpolate;
use super::layers::Overlaid;
use super::ledger::Ledger;
use super::load::{LastGood, Sources};
use super::node::{Node, Origin, Source, SourceKind, Value, parse_document, position};
use super::report::did_you_mean;
use super::sink::Sink;
use super::spec::{Kind, Leaf, ROOT, join};
use super::{layers, parse, validate, visit};

/// The folder of files with routes, beside the file.
pub(super) const FRAGMENTS: &str = "routes.d";
/// The table of profiles.
pub(super) const PROFILES: &str = "profiles";

/// Which text of a file of `routes.d` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FragmentUse {
    /// What is there now.
    Current,
    /// What was there when it was last good.
    LastGood,
    /// None.
    Absent,
}

/// Everything that was read.
#[derive(Debug)]
pub(super) struct Gathered {
    /// All layers, with defaults and variables filled in.
    pub(super) tree: Node,
    /// The same before variables were filled in.
    pub(super) typed: Node,
    pub(super) ledger: Ledger,
    pub(super) sink: Sink,
    /// Whether the file itself could not be read as TOML; the tree then says nothing.
    pub(super) unreadable: bool,
    /// The texts of `routes.d` in use.
    pub(super) fragments: BTreeMap<PathBuf, String>,
}

/// Reads. `text` stands for the file where it is embedded.
pub(super) fn gather(
    sources: &Sources,
    previous: Option<&LastGood>,
    uses: &BTreeMap<PathBuf, FragmentUse>,
    text: Option<&str>,
) -> Gathered {
    let (mut ledger, sink) = (Ledger::default(), Sink::default());
    let name = sources.path.display().to_string();
    let text = match text {
        Some(text) => Some(text.to_owned()),
        None => file_text(&sources.path, &mut ledger, &sink),
    };
    let embedded = ledger.paths().is_empty();
    if embedded {
        ledger.variable("embedded", text.as_ref());
    }
    let document = text.and_then(|text| document(&name, SourceKind::File, text, &sink));
    let unreadable = document.is_none();
    let mut tree = document.unwrap_or_else(Node::empty);
    let profiles = take(&mut tree, PROFILES);
    let mut fragments = BTreeMap::new();
    if !embedded {
        let texts = fragment_texts(&sources.path, previous, uses, &mut ledger, &sink);
        for (path, text) in &texts {
            if let Some(fragment) = fragment(&path.display().to_string(), text, &sink) {
                layers::merge(&mut tree, fragment, "", &mut |overlaid| doubt(overlaid, false, &sink));
            }
        }
        fragments = texts;
    }
    profile(&mut tree, profiles, sources.profile.as_deref(), &sink);
    environment(&mut tree, &sources.environment, &mut ledger, &sink);
    visit::fill_contexts(&mut tree);
    visit::fill_defaults(&mut tree, ROOT);
    let typed = tree.clone();
    expand(&mut tree, &sources.environment, &mut ledger, &sink);
    read_files(&tree, &sources.path, &mut ledger);
    Gathered { tree, typed, ledger, sink, unreadable, fragments }
}

fn file_text(path: &Path, ledger: &mut Ledger, sink: &Sink) -> Option<String> {
    let (reason, help) = match ledger.file(path) {
        Ok(bytes) => match text_of(bytes.clone()) {
            Ok(text) => return Some(text),
            Err(reason) => (reason, NOT_TEXT),
        },
        Err(reason) => (format!("cannot be read: {reason}"), "name the file with -c"),
    };
    sink.error(&Origin::Default, "", format!("{} {reason}", path.display()), help);
    None
}

const NOT_TEXT: &str = "a configuration is UTF-8 text: save it in that encoding";

/// The text of a file, or where it ceases to be one. What stands there is not told: it may be part of a secret.
fn text_of(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let (line, column) = position(&String::from_utf8_lossy(&error.as_bytes()[..at]), at);
        format!("is not UTF-8 from line {line}, column {column} on (byte {at}, counted from 0)")
    })
}

/// The tree of a text; `None` with mistakes of syntax, after which nothing in it can be relied on.
fn document(name: &str, kind: SourceKind, text: String, sink: &Sink) -> Option<Node> {
    let source = Arc::new(Source { name: name.to_owned(), kind, text });
    let (node, errors) = parse_document(&source);
    let readable = errors.is_empty();
    for error in errors {
        let origin = Origin::Source { source: Arc::clone(&source), span: error.span };
        sink.error(&origin, "", format!("not TOML: {}", error.message), "");
    }
    hide_secrets(&node, sink);
    for (_, entry) in node.get(PROFILES).and_then(Node::as_table).into_iter().flatten() {
        hide_secrets(&entry.node, sink);
    }
    readable.then_some(node)
}

fn hide_secrets(node: &Node, sink: &Sink) {
    visit::visit(node, ROOT, &mut |_, kind, node| {
        let secret = matches!(kind, Kind::Leaf(Leaf::Secret)) && parse::file_reference(node).is_none();
        if secret || (matches!(kind, Kind::Leaf(Leaf::Url)) && parse::has_credentials(node)) {
            sink.hide(&node.origin);
        }
    });
}

/// The texts of `routes.d` that count, by path, in the order of their names.
fn fragment_texts(
    path: &Path,
    previous: Option<&LastGood>,
    uses: &BTreeMap<PathBuf, FragmentUse>,
    ledger: &mut Ledger,
    sink: &Sink,
) -> BTreeMap<PathBuf, String> {
    let folder = path.parent().unwrap_or(Path::new("")).join(FRAGMENTS);
    let mut texts = BTreeMap::new();
    for path in fragment_paths(&folder, ledger, sink) {
        let current = match ledger.file(&path).clone() {
            Ok(bytes) => text_of(bytes).map_err(|reason| (reason, NOT_TEXT)),
            Err(reason) => Err((format!("cannot be read: {reason}"), "")),
        };
        let last = previous.and_then(|previous| previous.fragments.get(&path)).cloned();
        let chosen = match (uses.get(&path).copied().unwrap_or(FragmentUse::Current), current) {
            (FragmentUse::Absent, _) => None,
            (FragmentUse::LastGood, _) => last,
            (FragmentUse::Current, Ok(text)) => Some(text),
            (FragmentUse::Current, Err((reason, help))) => {
                let name = path.display().to_string();
                let source = Source { name, kind: SourceKind::Fragment, text: String::new() };
                let origin = Origin::Source { source: Arc::new(source), span: 0..0 };
                sink.error(&origin, "", reason, help);
                None
            }
        };
        if let Some(text) = chosen {
            texts.insert(path, text);
        }
    }
    texts
}

fn fragment_paths(folder: &Path, ledger: &mut Ledger, sink: &Sink) -> Vec<PathBuf> {
    let listed: std::io::Result<Vec<PathBuf>> =
        std::fs::read_dir(folder).and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
    let mut paths = match listed {
        Ok(paths) => paths,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            // Routes must not vanish because a folder cannot be looked into for a moment.
            let found = format!("{} cannot be read: {error}", folder.display());
            sink.error(&Origin::Default, "", found, "make it readable, or remove it");
            Vec::new()
        }
    };
    paths.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.ends_with(".toml") && !name.starts_with('.')
    });
    paths.sort();
    // The folder is watched even while it does not exist; its files stand in the ledger themselves.
    ledger.note(folder, Ok(Vec::new()));
    paths
}

fn fragment(name: &str, text: &str, sink: &Sink) -> Option<Node> {
    let mut node = document(name, SourceKind::Fragment, text.to_owned(), sink)?;
    if let Value::Table(table) = &mut node.value {
        table.retain(|key, entry| {
            if key != "routes" {
                let help = "a file of routes.d holds `[routes.NAME]` tables and nothing else";
                sink.error(&entry.key, key, "not a route", help);
            }
            key == "routes"
        });
    }
    Some(node)
}

fn take(tree: &mut Node, name: &str) -> Option<Node> {
    tree.as_table_mut()?.remove(name).map(|entry| entry.node)
}

fn profile(tree: &mut Node, profiles: Option<Node>, chosen: Option<&str>, sink: &Sink) {
    let mut names = Vec::new();
    let mut layer = None;
    if let Some(node) = profiles {
        let Value::Table(table) = node.value else {
            sink.error(&node.origin, PROFILES, format!("found {}", node.describe()), "expected [profiles.NAME] tables");
            return;
        };
        for (name, entry) in table {
            let path = join(PROFILES, &name);
            validate::check_name(&path, &name, &entry.key, sink);
            if chosen == Some(name.as_str()) && entry.node.as_table().is_some() {
                layer = Some(entry.node);
            } else {
                validate::table(&path, &entry.node, ROOT, validate::Extent::Layer, sink);
            }
            names.push(name);
        }
    }
    match (chosen, layer) {
        (Some(_), Some(layer)) => layers::merge(tree, layer, "", &mut |overlaid| doubt(overlaid, false, sink)),
        (Some(chosen), None) if !names.iter().any(|name| name == chosen) => {
            let guess = did_you_mean(chosen, names.iter().map(String::as_str)).unwrap_or_default();
            let help = format!("{guess}there must be a table [profiles.{chosen}]");
            sink.error(&Origin::Default, PROFILES, format!("there is no profile {chosen:?}"), help);
        }
        (Some(_) | None, _) => {}
    }
}

fn environment(tree: &mut Node, variables: &BTreeMap<String, String>, ledger: &mut Ledger, sink: &Sink) {
    for (name, value) in variables.iter().filter(|(name, _)| name.starts_with(layers::PREFIX)) {
        ledger.variable(name, Some(value));
    }
    for setting in layers::environment(variables, tree) {
        match setting {
            Err(unusable) => {
                sink.hide(&unusable.origin);
                sink.error(&unusable.origin, "", unusable.found, unusable.help);
            }
            Ok(setting) => {
                if setting.secret {
                    sink.hide(&setting.node.origin);
                }
                layers::merge(tree, layers::tree_of(setting), "", &mut |overlaid| doubt(overlaid, true, sink));
            }
        }
    }
}

/// Warns of a value that changes nothing and, where nobody would look for it, of one that replaces another.
fn doubt(Overlaid { path, old, new, counts }: Overlaid<'_>, is_hidden: bool, sink: &Sink) {
    let place = old.origin.describe();
    if !counts {
        let found = format!("has no effect: `enabled = false` at {place} wins, in whichever layer it stands");
        sink.warning(&new.origin, path, found, "to turn the route on, take `false` away there");
    } else if is_hidden {
        let help = "remove one of the two if that is not meant";
        sink.warning(&new.origin, path, format!("replaces the value at {place}"), help);
    }
}

fn expand(tree: &mut Node, variables: &BTreeMap<String, String>, ledger: &mut Ledger, sink: &Sink) {
    let mut used = |name: &str| ledger.variable(name, variables.get(name));
    let mut failed = |path: &str, node: &Node, failure: interpolate::Failure| {
        sink.error(&node.origin, path, failure.found, failure.help);
    };
    interpolate::expand_tree(tree, "", variables, &mut used, &mut failed);
}

/// Reads the files that keys name, relative to the folder of the file.
fn read_files(tree: &Node, path: &Path, ledger: &mut Ledger) {
    let folder = path.parent().unwrap_or(Path::new(""));
    visit::visit(tree, ROOT, &mut |_, kind, node| {
        let file = match kind {
            Kind::Leaf(Leaf::Secret) => parse::file_reference(node),
            Kind::Leaf(Leaf::File) => parse::file(node).ok(),
            Kind::Leaf(_) | Kind::List(_) | Kind::Either(..) | Kind::Table(_) | Kind::Named(_) | Kind::Headers(_) => {
                None
            }
        };
        if let Some(file) = file.filter(|file| !file.is_empty()) {
            ledger.ordinary_file(&folder.join(file));
        }
    });
}
