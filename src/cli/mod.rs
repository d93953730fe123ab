//! The commands, one file each.
//!
//! A command parses nothing and decides nothing of its own: it calls what does, and shows the result
//! through [`output`], the only place that writes to the terminal.

pub mod demo;
pub mod output;
pub mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit code of a command whose input has mistakes.
pub const MISTAKES: u8 = 2;

/// Pointsman puts a new backend in front of real users without hurting them.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway until it is told to stop. Exit code 2: the configuration has mistakes.
    Run(run::Args),
    /// Show it all within a minute: sample backends, traffic, a table, a tour. Exit code 1: clients saw errors.
    Demo(demo::Args),
}

/// Runs a command.
///
/// # Errors
/// What kept the command from being carried out; mistakes in its input are told by the exit code.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::run(&args),
    }
}

/// The exit code of a command's result; a failure is told with its causes.
#[must_use]
pub fn finish(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            output::failure(&error);
            ExitCode::FAILURE
        }
    }
}
