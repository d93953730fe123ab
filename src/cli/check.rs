//! `pointsman check`: all mistakes of a configuration in one run.

use std::process::ExitCode;

use serde_json::json;

use super::environment::SourceArgs;
use super::{MISTAKES, output};
use crate::config::report::{Diagnostic, Severity, render};
use crate::config::{Loaded, load};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub sources: SourceArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Take warnings for mistakes.
    #[arg(long)]
    pub strict: bool,
}

/// Checks, prints, and tells by the exit code.
///
/// # Errors
/// If the env file cannot be read, or the result cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let sources = args.sources.sources()?;
    let (loaded, diagnostics) = match load(&sources, None) {
        Ok(loaded) => (Some(loaded.clone()), loaded.warnings),
        Err(report) => (None, report.diagnostics),
    };
    let errors = count(&diagnostics, Severity::Error);
    let warnings = count(&diagnostics, Severity::Warning);
    let fine = loaded.is_some() && errors == 0 && !(args.strict && warnings > 0);
    if args.json {
        let hash = loaded.as_ref().map(|loaded| loaded.config.hash.as_str());
        let list: Vec<_> = diagnostics.iter().map(Diagnostic::to_json).collect();
        let result = json!({ "ok": fine, "errors": errors, "warnings": warnings, "hash": hash, "diagnostics": list });
        output::write_json(&result)?;
    } else {
        output::note(&render(&diagnostics, output::note_style()))?;
        let name = sources.path.display();
        let verdict = if fine { "is fine" } else { "cannot be used" };
        let summary = loaded.as_ref().filter(|_| fine).map_or_else(String::new, summary);
        output::write(&format!("{name} {verdict}: {errors} error(s), {warnings} warning(s){summary}\n"))?;
    }
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::from(MISTAKES) })
}

fn count(diagnostics: &[Diagnostic], severity: Severity) -> usize {
    diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count()
}

fn summary(loaded: &Loaded) -> String {
    format!("; {} route(s), {} backend(s)", loaded.config.routes.len(), loaded.config.backends.len())
}
