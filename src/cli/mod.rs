//! The commands, one file each.
//!
//! A command parses nothing and decides nothing of its own: it calls what does, and shows the result
//! through [`output`], the only place that writes to the terminal.

pub mod alerts;
pub mod backup;
pub mod check;
pub mod client;
pub mod demo;
pub mod diff;
pub mod environment;
pub mod erase;
pub mod events;
pub mod explain;
pub mod export;
mod fresh;
pub mod healthcheck;
pub mod import_env;
pub mod moment;
pub mod output;
mod people;
pub mod rehearse;
pub mod report;
pub mod rollout;
pub mod run;
pub mod schema;
pub mod stats;
pub mod status;
pub mod test;
pub mod traffic;
pub mod try_route;

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
    /// Check a configuration and tell all its mistakes. Exit code 0: fine, 2: mistakes.
    Check(check::Args),
    /// Print the JSON Schema of gateway.toml.
    Schema,
    /// Tell which arm serves a user, and why. Exit code 2: mistakes in the file, or no such route.
    Explain(explain::Args),
    /// Test that users get the arms they should. Exit code 0: they do, 1: some do not, 2: mistakes in a file.
    Test(test::Args),
    /// Tell what a file would change in the running gateway. Exit code 0: nothing, 1: something, 2: mistakes, or no answer.
    Diff(diff::Args),
    /// Make a gateway.toml from the variables of a program that split users itself. Exit code 2: mistakes in them.
    ImportEnv(import_env::Args),
    /// Send one request to both arms of a route and show the answers side by side. Exit code 0: both answered 2xx, 1: one
    /// did not, 2: it cannot be tried so.
    Try(try_route::Args),
    /// Show how the routes of a running gateway fare.
    Status(status::Args),
    /// Show what fires in a running gateway, or send a message to a webhook. Exit code 1: it did not take it.
    Alerts(alerts::Args),
    /// Show a rollout, or move it: start, pause, resume, approve, promote, jump, step_back, rollback, restart, ...
    Rollout(rollout::Args),
    /// Tell what a file's plan and guards would do with made-up or recorded evidence. Exit code 1: a demand does not hold,
    /// 2: mistakes in the file, or nothing to rehearse.
    Rehearse(Box<rehearse::Args>),
    /// Show how the arms of a running gateway fared over a stretch of time.
    Stats(stats::Args),
    /// Send made-up users' queries to an address and show how each arm did. Exit code 1: a --fail-if holds, or nothing
    /// was answered well, 2: nobody is there, 130: interrupted.
    Traffic(Box<traffic::Args>),
    /// Tell whether the candidate of a route is better, and how sure that is. Exit code 0: told, 1: the comparison is not
    /// to be trusted.
    Report(report::Args),
    /// Show the events that a running gateway has stored.
    Events(events::Args),
    /// Write all events of a running gateway into a file, or who was in which arm.
    Export(export::Args),
    /// Copy the store, also while the gateway runs, or put a copy in its place. Exit code 2: mistakes in the file.
    Backup(backup::Args),
    /// Remove the events of a user from a running gateway.
    Erase(erase::EraseArgs),
    /// Remove old events and history from a running gateway.
    Prune(erase::PruneArgs),
    /// Ask a running gateway whether it lives. Exit code 0: it does, 1: it does not.
    Healthcheck(healthcheck::Args),
}

/// Runs a command.
///
/// # Errors
/// What kept the command from being carried out; mistakes in its input are told by the exit code.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Schema => schema::run(),
        Command::Explain(args) => explain::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::ImportEnv(args) => import_env::run(&args),
        Command::Try(args) => try_route::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Alerts(args) => alerts::run(&args),
        Command::Rollout(args) => rollout::run(&args),
        Command::Rehearse(args) => rehearse::run(&args),
        Command::Stats(args) => stats::run(&args),
        Command::Traffic(args) => traffic::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Events(args) => events::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Erase(args) => erase::erase(&args),
        Command::Prune(args) => erase::prune(&args),
        Command::Healthcheck(args) => healthcheck::run(&args),
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn mistakes_and_with_strict_warnings_too_are_told_by_the_exit_code() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.toml");
        let fine = "[backends.a]\nurl = \"http://a\"\n[routes.r]\ncontrol = \"a\"\ncandidate = \"a\"\n";
        let rows: [(&str, &[&str], ExitCode); 5] = [
            (fine, &[], ExitCode::SUCCESS),
            (fine, &["--strict"], ExitCode::from(MISTAKES)),
            (fine, &["--json"], ExitCode::SUCCESS),
            (fine, &["--profile", "none"], ExitCode::from(MISTAKES)),
            ("[", &[], ExitCode::from(MISTAKES)),
        ];
        for (text, arguments, expected) in rows {
            std::fs::write(&path, text).unwrap();
            let words =
                ["pointsman", "check", "-c", path.to_str().unwrap()].into_iter().chain(arguments.iter().copied());
            let code = run(Cli::parse_from(words)).unwrap();
            assert_eq!(format!("{code:?}"), format!("{expected:?}"), "{text} {arguments:?}");
        }
        let missing = ["pointsman", "check", "--env-file", "/not/there"];
        assert!(run(Cli::parse_from(missing)).is_err());
    }
}
