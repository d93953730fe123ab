//! `pointsman schema`: the JSON Schema of gateway.toml, for editors and CI.

use std::process::ExitCode;

use super::output;

/// Prints the schema.
///
/// # Errors
/// If it cannot be written.
pub fn run() -> anyhow::Result<ExitCode> {
    output::write_json(&crate::config::schema())?;
    Ok(ExitCode::SUCCESS)
}
