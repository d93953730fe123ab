//! `pointsman export --assignments`: who was in which arm, from what the evidence keeps.
//!
//! It gives users by their *sample*, 64 bits of the salted digest that also draws the arm: whoever has keys and salt can
//! join them, nobody can go back. Up to 65,536 users of each phase and stratum are kept, of more a random share.

use anyhow::{Context as _, bail};
use serde_json::json;

use super::super::client::Client;
use super::{Args, Format};
use crate::admin::experiment::{Assigned, Assignments};

const COLUMNS: [&str; 7] = ["route", "phase", "stratum", "percent", "user_sample", "arm", "answered"];

/// The file, and what to know of it.
pub(super) fn written(args: &Args, client: &Client) -> anyhow::Result<(Vec<u8>, String)> {
    let route = args.which.route.as_deref().context("--assignments needs --route")?;
    if args.which.name.is_some() || args.which.since.is_some() || args.which.until.is_some() {
        bail!("--assignments is kept by phase, not by time or type: give --route alone");
    }
    let name: String = form_urlencoded::byte_serialize(route.as_bytes()).collect();
    let found: Assignments = client.get(&format!("/api/v1/routes/{name}/assignments"))?;
    let whole = if found.complete {
        "every randomised user of every phase".to_owned()
    } else {
        let least = found.strata.iter().map(|stratum| stratum.share).fold(1.0, f64::min);
        format!("a random share of the users, of the largest phase {:.1} %", least * 100.0)
    };
    let note = format!(
        "{whole}; user_sample is bytes 16 to 23 of sha256(\"KEY:SALT\"), in hex: join it with the keys that you have. Users that \
         no hash drew are not in it.\n"
    );
    Ok((rows(&found, args.format)?, note))
}

fn rows(found: &Assignments, format: Format) -> anyhow::Result<Vec<u8>> {
    let all = || found.strata.iter().flat_map(|stratum| stratum.users.iter().map(move |user| (stratum, user)));
    let object = |(stratum, (sample, arm, answered)): (&Assigned, &(String, String, bool))| {
        json!({
            "route": found.route,
            "phase": stratum.phase,
            "stratum": stratum.stratum,
            "percent": stratum.percent,
            "user_sample": sample,
            "arm": arm,
            "answered": answered,
        })
    };
    match format {
        Format::Json => Ok(format!("{:#}\n", serde_json::Value::from_iter(all().map(object))).into_bytes()),
        Format::Ndjson => Ok(all().map(|row| format!("{}\n", object(row))).collect::<String>().into_bytes()),
        Format::Csv => {
            let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
            writer.write_record(COLUMNS)?;
            for (stratum, (sample, arm, answered)) in all() {
                let percent = stratum.percent.map(|percent| percent.to_string()).unwrap_or_default();
                let cells =
                    [&*found.route, &*stratum.phase, &*stratum.stratum, &*percent, sample, arm, &answered.to_string()];
                writer.write_record(cells)?;
            }
            writer.into_inner().map_err(|error| anyhow::anyhow!("{error}"))
        }
    }
}
