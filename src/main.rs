//! The `pointsman` program.

use std::process::ExitCode;

use clap::Parser as _;
use pointsman::cli::{self, Cli};

/// Faster than the system's for many small blocks that live as long as a request. Without transparent huge pages, which would keep whole
/// buffers resident of which a stream uses a few hundred bytes (BENCHMARKS.md).
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::finish(cli::run(Cli::parse()))
}
