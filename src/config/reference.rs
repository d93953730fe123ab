//! The page `docs/configuration.md`, made from the keys.

use std::fmt::Write as _;

use super::parse::{show_duration, show_size};
use super::spec::{Key, Kind, Leaf, ROOT, join};

const INTRODUCTION: &str = "\
# Configuration

This page is made from the keys that the program knows; a test compares the two. `pointsman schema` prints the same
as JSON Schema, `pointsman check` tells every mistake in a file with its place.

Later layers win: `gateway.toml`, the files of `routes.d/` beside it (sorted by name, `[routes.NAME]` tables only; a
broken one costs only its own changes), `[profiles.NAME]` chosen by `POINTSMAN_PROFILE`, and variables of the
environment: `POINTSMAN__ROUTES__ANSWERS__ROLLOUT__PERCENT=10`. Their values are read as TOML, bare text is a string
where a string belongs, unknown names are mistakes, and a dash in a name is an underscore there. `enabled = false` in
any layer wins; a `true` above it has no effect, and a warning names both places.

Strings take `${NAME}` and `${NAME:-default}` from the environment; `$$` is a dollar. A **secret** may also be
`{ file = \"/run/secrets/name\" }`. It is read when the configuration is loaded and again when it changes, and it is
never shown. Relative paths of files start from the folder of the configuration.

Lengths of time have a unit (`\"250ms\"`, `\"30s\"`, `\"1h30m\"`, `\"7d\"`); sizes are bytes or have one (`\"64KiB\"`, `\"10MB\"`).
Names have 1 to 64 of the characters `a-z`, `0-9`, `_` and `-`.
";

const CONDITIONS: &str = r#"
## Conditions

A condition is a table of clauses, all of which must hold: `{ user.tier = "premium", session.region = ["us", "eu"] }`.
`"user.tier"` in quotes is the same as `user.tier`. A value means equal, a list means one of, a table names operators:
`{ user.age = { gte = 18, lt = 65 } }`. `any = [{ ... }, ...]` and `all = [{ ... }, ...]` take conditions,
`not = { ... }` one, `segment = "name"` refers to `[segments]`. Types are checked when the file is loaded.

| operator | attribute of type | holds if the value |
|---|---|---|
| `eq`, `ne`, `in`, `not_in` | any | is equal, or not; is one of several, or none. Of a list: one of its items is, or none |
| `gt`, `gte`, `lt`, `lte` | number, timestamp, semver | is greater, at least, less, at most |
| `prefix`, `suffix` | string | begins or ends so |
| `contains` | string, list | has this within; of a list: has this item |
| `regex` | string | matches somewhere; `^` and `$` (written `$$`, as a dollar is everywhere) hold the expression to the ends |
| `min_length`, `max_length` | string, list | has so many characters; of a list: items |
| `before`, `after` | timestamp | is earlier, later |
| `semver_lt`, `semver_gt` | semver | has less or greater precedence |
| `cidr` | string | is an address in the range, or in one of several |
| `exists` | any | is there (`true`) or missing (`false`) |

A missing attribute makes a comparison unknown, `not` unknown is unknown (Kleene's logic), and unknown at the top counts
as false. Only `exists` sees absence. A condition has at most 32 levels and 10,000 clauses, those of segments counted
wherever they are referred to; a regular expression has at most 256 KiB when compiled.
"#;

/// The whole page.
#[must_use]
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    for key in ROOT.iter().filter(|key| !key.later) {
        section("", key, &mut page);
    }
    page.push_str(CONDITIONS);
    let later: Vec<String> = ROOT.iter().filter(|key| key.later).map(|key| format!("`{}`", key.name)).collect();
    // Writing to a string cannot fail.
    let _ = writeln!(page, "\n## Not yet available\n\n{}.", later.join(", "));
    page
}

fn section(path: &str, key: &'static Key, page: &mut String) {
    let path = join(path, key.name);
    match &key.kind {
        Kind::Table(keys) => table(&path, key, keys, page),
        Kind::Named(keys) => table(&join(&path, "NAME"), key, keys, page),
        Kind::Leaf(_) | Kind::List(_) | Kind::Either(..) | Kind::Headers(_) => {}
    }
}

fn table(path: &str, key: &Key, keys: &'static [Key], page: &mut String) {
    let level = if path.matches('.').count() > usize::from(path.contains("NAME")) { "###" } else { "##" };
    let _ = writeln!(page, "\n{level} [{path}]\n\n{}", key.doc);
    if key.optional {
        let _ = writeln!(page, "Only if the table is there.");
    }
    let rows: Vec<&Key> = keys.iter().filter(|key| !key.later && !is_section(key)).collect();
    if !rows.is_empty() {
        let _ = writeln!(page, "\n| key | takes | default | |\n|---|---|---|---|");
    }
    rows.into_iter().for_each(|key| row(key, page));
    let later: Vec<String> = keys.iter().filter(|key| key.later).map(|key| format!("`{}`", key.name)).collect();
    if !later.is_empty() {
        let _ = writeln!(page, "\nNot yet available: {}.", later.join(", "));
    }
    for key in keys.iter().filter(|key| !key.later) {
        section(path, key, page);
    }
}

fn is_section(key: &Key) -> bool {
    matches!(key.kind, Kind::Table(_) | Kind::Named(_))
}

fn row(key: &Key, page: &mut String) {
    let default = match key.default {
        _ if key.required => "required".to_owned(),
        Some("") => "empty".to_owned(),
        Some(text) => format!("`{text}`"),
        None => String::new(),
    };
    let restart = if key.restart { " Needs a restart." } else { "" };
    let _ = writeln!(page, "| `{}` | {} | {default} | {}{restart} |", key.name, takes(&key.kind), key.doc);
}

fn takes(kind: &Kind) -> String {
    match kind {
        Kind::Leaf(leaf) => takes_leaf(leaf),
        Kind::List(item) => format!("list of: {}", takes(item)),
        Kind::Either(one, other) => format!("{}, or {}", takes(one), takes(other)),
        Kind::Table(keys) | Kind::Named(keys) => {
            let fields: Vec<String> = keys.iter().filter(|key| !key.later).map(field).collect();
            format!("`{{ {} }}`", fields.join(", "))
        }
        Kind::Headers(value) => format!("table from header to {}", takes(value)),
    }
}

fn field(key: &Key) -> String {
    format!("{} = ...", key.name)
}

fn takes_leaf(leaf: &Leaf) -> String {
    match leaf {
        Leaf::Text => "string".to_owned(),
        Leaf::Word { now, .. } => now.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", "),
        Leaf::Integer(min, max) => format!("integer, {min} to {max}"),
        Leaf::Float(min, max) if max.abs() > 1e100 && *min == 0.0 => "number, not negative".to_owned(),
        Leaf::Float(_, max) if max.abs() > 1e100 => "number".to_owned(),
        Leaf::Float(min, max) => format!("number, {min} to {max}"),
        Leaf::Bool => "`true`, `false`".to_owned(),
        Leaf::Duration(min, max) => format!("time, {} to {}", show_duration(*min), show_duration(*max)),
        Leaf::Size(min, max) => format!("size, {} to {}", show_size(*min), show_size(*max)),
        Leaf::Address => "`ip:port`".to_owned(),
        Leaf::Network => "address range".to_owned(),
        Leaf::Host => "host name".to_owned(),
        Leaf::Url => "URL".to_owned(),
        Leaf::Path => "path".to_owned(),
        Leaf::HeaderName => "header name".to_owned(),
        Leaf::HeaderValue => "header value".to_owned(),
        Leaf::Method => "method".to_owned(),
        Leaf::Status => "status".to_owned(),
        Leaf::Secret => "secret".to_owned(),
        Leaf::File => "file".to_owned(),
        Leaf::Condition => "[condition](#conditions)".to_owned(),
        Leaf::Constant => "string, number, boolean, list of strings".to_owned(),
        Leaf::Json => "any value".to_owned(),
        Leaf::Reference(table) => format!("name in `[{table}]`"),
    }
}
