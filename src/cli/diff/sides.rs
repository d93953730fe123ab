//! Both sides of a comparison: from files, or from the running gateway, whose salts stay where they are.

use std::collections::BTreeMap;

use anyhow::ensure;
use serde::Deserialize;
use serde_json::Value;

use super::compare::{RouteSide, Side};
use super::subjects::Subjects;
use crate::admin::assignments::{self, Asked, Assignments, MAX_SUBJECTS, assign};
use crate::cli::client::Client;
use crate::config::phase::{Parts, parts};
use crate::config::{Loaded, restart_keys};

/// Bytes of subjects in one request, as they are written: half of what is taken, for what surrounds them.
const BATCH_BYTES: usize = assignments::MAX_BODY / 2;

/// A file's side.
pub(super) fn of_file(loaded: &Loaded, subjects: &Subjects) -> Side {
    let routes = loaded.config.routes.iter().map(|route| {
        let Assignments { assignments, unknown_attributes, .. } =
            assign(loaded, &route.name, subjects.of(&route.name)).unwrap_or_default();
        (route.name.to_string(), RouteSide { phase: parts(&loaded.config, route), assignments, unknown_attributes })
    });
    Side {
        routes: routes.collect(),
        typed: loaded.redacted.clone(),
        restart_keys: restart_keys(&loaded.config).into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
    }
}

#[derive(Deserialize)]
struct ConfigPage {
    generation: u64,
    config: Value,
    restart_keys: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RoutesPage {
    generation: u64,
    routes: Vec<RoutePage>,
}

#[derive(Deserialize)]
struct RoutePage {
    name: String,
    phase: Parts,
}

/// The running gateway's side, and its generation. Only routes that `new` has are asked about users.
///
/// # Errors
/// If the gateway does not answer, or takes over another configuration meanwhile.
pub(super) fn of_gateway(client: &Client, subjects: &Subjects, new: &Side) -> anyhow::Result<(Side, u64)> {
    let ConfigPage { generation, config, restart_keys } = client.get("/api/v1/config")?;
    let page: RoutesPage = client.get("/api/v1/routes")?;
    let mut generations = vec![Some(page.generation)];
    let mut routes = BTreeMap::new();
    for RoutePage { name, phase } in page.routes {
        let mut side = RouteSide { phase, assignments: Vec::new(), unknown_attributes: Default::default() };
        if new.routes.contains_key(&name) {
            for batch in batches(subjects.of(&name))? {
                let asked = Asked { route: name.clone(), subjects: batch };
                let answer: Assignments = client.post("/api/v1/assignments", &asked)?;
                side.assignments.extend(answer.assignments);
                side.unknown_attributes.extend(answer.unknown_attributes);
                generations.push(answer.generation);
            }
            ensure!(side.assignments.len() == subjects.of(&name).len(), "the gateway left users of {name} out");
        }
        routes.insert(name, side);
    }
    let one = generations.iter().all(|other| *other == Some(generation));
    ensure!(one, "the gateway took over another configuration meanwhile; ask again");
    Ok((Side { routes, typed: config, restart_keys }, generation))
}

/// As many in a request as it takes.
fn batches(subjects: &[assignments::Subject]) -> anyhow::Result<Vec<Vec<assignments::Subject>>> {
    let mut batches: Vec<Vec<_>> = Vec::new();
    let mut bytes = 0;
    for subject in subjects {
        let size = serde_json::to_vec(subject)?.len();
        match batches.last_mut() {
            Some(batch) if batch.len() < MAX_SUBJECTS && bytes + size <= BATCH_BYTES => batch.push(subject.clone()),
            _ => {
                batches.push(vec![subject.clone()]);
                bytes = 0;
            }
        }
        bytes += size;
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_bounded_by_number_and_by_bytes() {
        let Subjects::Sampled(many) = Subjects::sampled(2 * MAX_SUBJECTS + 1) else { panic!("another kind") };
        let sizes: Vec<_> = batches(&many).unwrap().iter().map(Vec::len).collect();
        assert_eq!(sizes, [MAX_SUBJECTS, MAX_SUBJECTS, 1]);
        let long = assignments::Subject { key: Some("x".repeat(BATCH_BYTES / 3)), ..Default::default() };
        let sizes: Vec<_> = batches(&vec![long; 5]).unwrap().iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 2, 1]);
        assert!(batches(&[]).unwrap().is_empty());
    }
}
