//! `--config`, `--profile` and `--env-file`: where a command's configuration comes from.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::config::Sources;

/// The arguments of every command that reads a configuration.
#[derive(Debug, Clone, clap::Args)]
pub struct SourceArgs {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = "gateway.toml", env = "POINTSMAN_CONFIG")]
    pub config: PathBuf,
    /// The table [profiles.NAME] to lay over it; POINTSMAN_PROFILE by default.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Lines NAME=VALUE to lay over the environment.
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
}

impl SourceArgs {
    /// The sources that these arguments and the environment of the process name.
    ///
    /// # Errors
    /// If the env file cannot be read or has a line that is none.
    pub fn sources(&self) -> anyhow::Result<Sources> {
        let mut sources = Sources::from_env(&self.config);
        if let Some(path) = &self.env_file {
            let variables = read_env_file(path)?;
            sources.environment.extend(variables);
            let named = sources.environment.get(crate::config::PROFILE_VARIABLE);
            sources.profile = named.filter(|name| !name.is_empty()).cloned();
        }
        if self.profile.is_some() {
            sources.profile.clone_from(&self.profile);
        }
        Ok(sources)
    }
}

/// Reads an env file.
///
/// # Errors
/// If it cannot be read or has a line that is none.
pub(super) fn read_env_file(path: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse_env_file(&text).with_context(|| format!("in {}", path.display()))
}

/// Lines `NAME=VALUE` as Docker and systemd read them: empty lines and lines that begin with `#` are
/// left out, one pair of quotes around a value is taken off, nothing is replaced within.
fn parse_env_file(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        // The line may hold a secret, so it is not shown.
        let Some((name, value)) = line.split_once('=') else { bail!("line {number}: expected NAME=VALUE") };
        let name = name.trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            bail!("line {number}: {name:?} is not the name of a variable");
        }
        variables.push((name.to_owned(), unquote(value.trim()).to_owned()));
    }
    Ok(variables)
}

fn unquote(value: &str) -> &str {
    let within = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    within('"').or_else(|| within('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let rows: [(&str, Option<(&str, &str)>); 9] = [
            ("A=b", Some(("A", "b"))),
            ("export A=b", Some(("A", "b"))),
            ("A=", Some(("A", ""))),
            ("A=b=c", Some(("A", "b=c"))),
            ("A=\"b c\"", Some(("A", "b c"))),
            ("A='b'", Some(("A", "b"))),
            ("A='", Some(("A", "'"))),
            ("# comment\n\n", None),
            ("  A = b  ", Some(("A", "b"))),
        ];
        for (text, expected) in rows {
            let variables = parse_env_file(text).unwrap();
            let found = variables.first().map(|(name, value)| (name.as_str(), value.as_str()));
            assert_eq!(found, expected, "{text}");
        }
        for bad in ["A", "=b", "A B=c"] {
            assert!(parse_env_file(bad).is_err(), "{bad}");
        }
    }
}
