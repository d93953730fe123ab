//! The `pointsman` program.

use std::process::ExitCode;

use clap::Parser as _;
use pointsman::cli::{self, Cli};

fn main() -> ExitCode {
    cli::finish(cli::run(Cli::parse()))
}
