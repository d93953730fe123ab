//! From a validated tree to a [`Config`]: what keys mean together, and what they refer to.
//!
//! Every part is built as far as it goes, so that one mistake does not hide another. `None` stands
//! for a part with a mistake that is already in the report.

mod alerts;
mod attribute;
mod backend;
mod condition;
mod events;
mod experiment;
mod guard;
mod jwt;
mod matches;
mod metric;
mod policy;
mod relations;
mod rewrite;
mod rollout;
mod route;
mod sampling;
mod server;
mod targeting;
mod targets;

use std::path::PathBuf;

use super::model::{Backend, Config, Route, Source};
use super::node::Node;
use super::report::did_you_mean;
use super::view::{Context, View};

/// Everything but where it came from: hash and paths are still empty.
#[derive(Debug)]
pub(super) struct Parts(Config);

impl Parts {
    /// The whole, with the hash of and the paths to everything that was read.
    pub(super) fn with_provenance(self, hash: String, watched: Vec<PathBuf>) -> Config {
        let mut config = Config { hash, watched, ..self.0 };
        let in_body = |source: &Source| matches!(source, Source::Body(_));
        let read: Vec<bool> = config.routes.iter().map(|route| config.reads(route, in_body)).collect();
        config.routes.iter_mut().zip(read).for_each(|(route, read)| route.reads_body = read);
        config
    }
}

/// The names that routes refer to, in the order of their tables.
#[derive(Debug)]
struct Names<'a> {
    backends: Vec<&'a str>,
    contexts: Vec<&'a str>,
    judges: Vec<&'a str>,
    metrics: Vec<&'a str>,
    routes: Vec<&'a str>,
}

impl<'a> Names<'a> {
    fn of([backends, contexts, judges, metrics, routes]: [&Vec<(&'a str, View<'_>)>; 5]) -> Self {
        Self {
            backends: names(backends),
            contexts: names(contexts),
            judges: names(judges),
            metrics: names(metrics),
            routes: names(routes),
        }
    }
}

/// Builds everything and reports every mistake.
pub(super) fn build(context: &Context<'_>, tree: &Node) -> Option<Parts> {
    let root = View::root(context, tree);
    let listen = server::listen(&root.table("listen"));
    let observe = server::observe(&root.table("observe"));
    let admin = server::admin(&root.table("admin"));
    let ofrep = server::ofrep(&root.table("ofrep"));
    let limits = server::limits(&root.table("limits"));
    let shutdown = server::shutdown(&root.table("shutdown"));
    let log = server::log(&root.table("log"));
    let state = events::state(&root.table("state"));
    let exposure = root.optional_table("exposure").map(|view| events::exposure(&view));
    let events = events::events(&root.table("events"));
    let (contexts, metrics) = (root.named("contexts"), root.named("metrics"));
    let (backends, routes) = (root.named("backends"), root.named("routes"));
    let judges = root.named("judges");
    let names = Names::of([&backends, &contexts, &judges, &metrics, &routes]);
    let alerts = alerts::alerts(&root.table("alerts"), &names.routes);
    let jwt = root.optional_table("jwt");
    let has_jwt = jwt.is_some();
    let jwt = jwt.map(|view| jwt::jwt(&view));
    let known = attribute::all(&contexts, has_jwt);
    let mut conditions = condition::Conditions::new(&known, &names.contexts, root.table("segments"));
    conditions.compile_segments();
    let contexts = all(contexts.iter().map(|(name, view)| server::context(name, view, has_jwt)));
    let metric_views = metrics;
    let metrics = metric::all(&root, &metric_views, &names.judges);
    let built_judges = all(judges.iter().map(|(name, view)| sampling::judge(name, view)));
    let built: Vec<Option<Backend>> = backends.iter().map(|(name, view)| backend::backend(name, view)).collect();
    let measured = metrics.as_deref().unwrap_or_default();
    let mut built_routes: Vec<Option<Route>> =
        routes.iter().map(|(name, view)| route::route(name, view, &names, &built, measured, &mut conditions)).collect();
    relations::prerequisites(&names, &routes, &mut built_routes);
    relations::exclusive(&names, &routes, &built_routes);
    if routes.is_empty() {
        // An empty file is what a reader sees while an editor writes: never a reason to drop all routes.
        root.error(
            "routes",
            "there is no route",
            "add a table [routes.NAME] with `path`, `control` and `candidate`, or a flag with `rollout` alone",
        );
    }
    matches::conflicts(&routes);
    matches::shadows(&routes, events.as_ref());
    route::unused_backends(&backends, &routes);
    sampling::unused(&judges, &routes);
    metric::costs_without_prices(&metric_views, &backends);
    Some(Parts(Config {
        listen: listen?,
        observe: observe?,
        admin: admin?,
        ofrep: ofrep?,
        limits: limits?,
        shutdown: shutdown?,
        log: log?,
        state: state?,
        // Absent, or built without a mistake.
        exposure: exposure.map_or(Some(None), |built| built.map(Some))?,
        events: events?,
        alerts: alerts?,
        contexts: contexts?,
        attributes: all(known.into_iter().map(|known| known.attribute))?,
        jwt: match jwt {
            Some(jwt) => Some(jwt?),
            None => None,
        },
        metrics: metrics?,
        judges: built_judges?,
        backends: all(built)?,
        routes: all(built_routes)?,
        hash: String::new(),
        watched: Vec::new(),
    }))
}

fn names<'a>(views: &[(&'a str, View<'_>)]) -> Vec<&'a str> {
    views.iter().map(|(name, _)| *name).collect()
}

/// Everything, or nothing if anything is missing; the iterator is run to its end in any case.
fn all<T>(parts: impl IntoIterator<Item = Option<T>>) -> Option<Vec<T>> {
    let parts: Vec<Option<T>> = parts.into_iter().collect();
    parts.into_iter().collect()
}

/// The index of the entry that a key names; a name that there is not is reported.
fn reference(view: &View<'_>, key: &str, what: &str, names: &[&str]) -> Option<usize> {
    let name = view.text(key)?;
    let index = names.iter().position(|other| *other == name);
    if index.is_none() {
        let guess = did_you_mean(name, names.iter().copied()).unwrap_or_default();
        let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        view.error(key, format!("there is no {what} {name:?}"), format!("{guess}there are: {known}"));
    }
    index
}
