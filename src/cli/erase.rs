//! `pointsman erase` and `pointsman prune`: events that a running gateway is to forget.

use std::process::ExitCode;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::client::AdminArgs;
use super::moment::moment;
use super::output;

/// Arguments of `erase`.
#[derive(Debug, clap::Args)]
pub struct EraseArgs {
    /// The key of the user, as requests carry it.
    pub user: String,
    /// USER is the hash that stands for the user in events and access lines.
    #[arg(long)]
    pub hash: bool,
    /// The gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Arguments of `prune`.
#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// What happened before goes: 2026-11-20T08:00:00Z, or how long ago: 90d.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub before: Timestamp,
    /// The gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

#[derive(Debug, Deserialize)]
struct Removed {
    removed: u64,
}

/// Removes the events of a user.
///
/// # Errors
/// If the gateway cannot be asked, or refuses.
pub fn erase(args: &EraseArgs) -> anyhow::Result<ExitCode> {
    let field = if args.hash { "user_hash" } else { "user" };
    let Removed { removed } = args.admin.client()?.post("/api/v1/erase", &json!({ field: args.user }))?;
    output::write(&format!("{removed} events and kept exchanges removed\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Removes events and history by age.
///
/// # Errors
/// If the gateway cannot be asked, or refuses.
pub fn prune(args: &PruneArgs) -> anyhow::Result<ExitCode> {
    let Removed { removed } = args.admin.client()?.delete(&format!("/api/v1/events?before={}", args.before))?;
    output::write(&format!("{removed} events, kept exchanges and entries of the history removed\n"))?;
    Ok(ExitCode::SUCCESS)
}
