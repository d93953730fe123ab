//! The `pointsman` program.

use std::process::ExitCode;

use clap::Parser as _;
use pointsman::cli::{self, Cli};

/// Takes a tenth off the time of a request for 7 MiB of memory (BENCHMARKS.md).
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::finish(cli::run(Cli::parse()))
}
