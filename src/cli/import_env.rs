//! `pointsman import-env`: a gateway.toml from the variables of a program that split users itself.
//!
//! It says where every value came from and what it could not take over; it changes nothing but the
//! file that it is told to make. Invariant: what it makes can be loaded.

mod page;
mod routers;
mod variables;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};

use super::environment::read_env_file;
use super::{MISTAKES, output};
use crate::config::{Sources, load_text};
use page::Page;
use routers::{Found, PREFIXES};
use variables::Reader;

/// Arguments of `import-env`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Lines NAME=VALUE to lay over the environment.
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// The file to make; standard output without it.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the file if it is there.
    #[arg(long, requires = "output")]
    pub force: bool,
}

/// What was made.
#[derive(Debug, PartialEq, Eq)]
struct Imported {
    toml: String,
    routes: Vec<&'static str>,
    /// What was not taken over.
    notices: Vec<String>,
}

/// Imports. Exit code 2: variables have mistakes, or there are none to import.
///
/// # Errors
/// If the env file cannot be read, or the result cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut variables = Sources::from_env("").environment;
    if let Some(path) = &args.env_file {
        variables.extend(read_env_file(path)?);
    }
    let imported = match readable(&variables).and_then(|()| import(&variables)) {
        Ok(imported) => imported,
        Err(mistakes) => {
            let told: String = mistakes.iter().map(|mistake| format!("error: {mistake}\n")).collect();
            output::note(&told)?;
            return Ok(ExitCode::from(MISTAKES));
        }
    };
    match &args.output {
        None => output::write(&imported.toml)?,
        Some(path) => write_file(path, &imported.toml, args.force)?,
    }
    let notices: String = imported.notices.iter().map(|notice| format!("note: {notice}\n")).collect();
    output::note(&notices)?;
    if let Some(path) = &args.output {
        let (name, routes) = (path.display(), imported.routes.join(", "));
        output::note(&format!(
            "{name} is made, with the route(s) {routes}; read its comments, then `pointsman check`\n"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Variables of ours whose values are no text would be left out unseen.
fn readable(variables: &BTreeMap<String, String>) -> Result<(), Vec<String>> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let ours = names.filter(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    let unread = ours.filter(|name| !variables.contains_key(name));
    let mistakes: Vec<_> = unread.map(|name| format!("{name}: its value is no text; expected UTF-8")).collect();
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}

fn write_file(path: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    if force {
        options.write(true).create(true).truncate(true);
    } else {
        options.write(true).create_new(true);
    }
    let mut file = options.open(path).map_err(|error| {
        let there = error.kind() == ErrorKind::AlreadyExists;
        let hint = if there { "; --force replaces it" } else { "" };
        anyhow::Error::new(error).context(format!("cannot make {}{hint}", path.display()))
    })?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// From variables to a file, or all mistakes.
fn import(variables: &BTreeMap<String, String>) -> Result<Imported, Vec<String>> {
    let mut reader = Reader::new(variables);
    let found = Found::read(&mut reader);
    let Reader { mut mistakes, notices, .. } = reader;
    if found.is_empty() {
        let prefixes = PREFIXES.join("*, ");
        mistakes.push(format!("there is no variable to make a route of; known are {prefixes}*"));
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let mut page = Page::default();
    page.remark("Made by `pointsman import-env` from the variables of a program that split users itself. Each value");
    page.remark("names the variable that it comes from. docs/configuration.md describes every key, `pointsman check`");
    page.remark("tells mistakes, and `pointsman explain ROUTE --key KEY` tells who gets what.");
    if !notices.is_empty() {
        page.remark("");
        page.remark("Not taken over as it was:");
        notices.iter().for_each(|notice| page.item(notice));
    }
    found.write(&mut page);
    let imported = Imported { toml: page.into_text(), routes: found.routes(), notices };
    loads(&imported.toml).map_err(|error| vec![error.to_string()])?;
    Ok(imported)
}

/// What was made is checked as every file is, with none of its variables set.
fn loads(toml: &str) -> anyhow::Result<()> {
    let report = load_text(toml, "gateway.toml", &BTreeMap::new()).err();
    ensure!(
        report.is_none(),
        "a mistake of import-env: {}",
        report.map(|report| report.to_string()).unwrap_or_default()
    );
    Ok(())
}

#[cfg(test)]
mod tests;
