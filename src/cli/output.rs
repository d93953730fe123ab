//! The only place that writes to standard output and standard error.

use std::io::{self, IsTerminal as _, Write as _};

use crate::config::report::Style;

/// Writes to standard output.
///
/// # Errors
/// If standard output cannot be written, for example because its reader is gone.
pub fn write(text: &str) -> io::Result<()> {
    write_bytes(text.as_bytes())
}

/// Writes bytes to standard output as they are.
///
/// # Errors
/// As [`write`].
pub fn write_bytes(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Writes JSON to standard output, indented, with a line end.
///
/// # Errors
/// As [`write`].
pub fn write_json(value: &serde_json::Value) -> io::Result<()> {
    write(&format!("{value:#}\n"))
}

/// Writes to standard error, where messages for people go that are not the result.
///
/// # Errors
/// If standard error cannot be written.
pub fn note(text: &str) -> io::Result<()> {
    io::stderr().lock().write_all(text.as_bytes())
}

/// Writes an error with its causes to standard error.
pub fn failure(error: &anyhow::Error) {
    let causes: String = error.chain().skip(1).map(|cause| format!("  because: {cause}\n")).collect();
    // There is no other place left to tell it; the exit code does.
    let _ = note(&format!("error: {error}\n{causes}"));
}

/// A table for people, with a line end; without lines, so that it can be searched and cut.
#[must_use]
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(header.iter().copied()).add_rows(rows);
    format!("{}\n", table.trim_fmt())
}

/// How messages on standard error look: coloured on a terminal unless `NO_COLOR` is set.
#[must_use]
pub fn note_style() -> Style {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stderr().is_terminal() && !plain { Style::Coloured } else { Style::Plain }
}
