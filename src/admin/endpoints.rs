//! The table of endpoints: what the administrative address serves, and what `/openapi.json` tells of it.
//!
//! Roles are not in it: [`super::guard`] decides by method and path, and the document asks it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{Schema, SchemaGenerator, json_schema};

use super::endpoint::{Answer, Endpoint, JSON, Shape, of};
use super::problem::Problem;
use super::{
    Console, acts, alerts, assignments, body, config, events, experiment, explain, features, guard, kept, ofrep,
    openapi,
};
use super::{probes, question, recent, rollout, routes, stats};
use crate::alerts::Seen;
use crate::config::Report;
use crate::config::model::EVENTS_PATH;
use crate::controller::rollout::View;
use crate::events::answer::{Outcome, Stored};
use crate::telemetry::access;
use crate::telemetry::metrics::CONTENT_TYPE as PROMETHEUS;
use kept::export::Format;

const ROLLOUT: &str = "/api/v1/routes/{route}/rollout";
const TEXT: &str = "text/plain; charset=utf-8";
const STREAM: &str = "text/event-stream";

/// A page that only reads.
fn page<T: IntoResponse + 'static>(method: MethodFilter, answer: fn(&Console) -> T) -> MethodRouter<Arc<Console>> {
    on(method, move |State(console): State<Arc<Console>>| async move { answer(&console).into_response() })
}

/// What everybody may ask, on either face.
pub(super) fn probes() -> Vec<Endpoint> {
    let stopping = || Answer { status: StatusCode::SERVICE_UNAVAILABLE, ..Answer::text("It is stopping.", TEXT) };
    let get = |path, name, words, serve| Endpoint::new(Method::GET, path, name, words, serve);
    vec![
        get("/livez", "live", "Whether the process lives.", |_, m| page(m, probes::live))
            .gives(Answer::text("It lives.", TEXT)),
        get("/readyz", "ready", "Whether the process wants traffic.", |_, m| page(m, probes::ready))
            .gives(Answer::text("It does.", TEXT))
            .gives(stopping()),
        get("/healthz", "health", "The parts, for people.", |_, m| page(m, probes::health))
            .gives(Answer::json::<probes::Health>("It wants traffic."))
            .gives(Answer {
                status: StatusCode::SERVICE_UNAVAILABLE,
                ..Answer::json::<probes::Health>("It is stopping.")
            }),
        get("/metrics", "metrics", "Every metric; docs/metrics.md tells of them.", |_, m| page(m, probes::metrics))
            .gives(Answer::text("Prometheus' text format.", PROMETHEUS)),
    ]
}

/// What the administrative face serves beside the probes.
pub(super) fn all() -> Vec<Endpoint> {
    [running(), deciding(), acting(), keeping(), flags()].into_iter().flatten().collect()
}

fn running() -> Vec<Endpoint> {
    let get = |path, name, words, serve| Endpoint::new(Method::GET, path, name, words, serve);
    vec![
        get(openapi::PATH, "openapi", "This document.", |_, m| page(m, openapi::page))
            .gives(Answer::new(StatusCode::OK, "OpenAPI 3.1.").with(JSON, any_object)),
        get("/api/v1/routes", "routes", "Every route as it runs.", |_, m| page(m, routes::all)).gives(Answer::json::<
            routes::Routes,
        >(
            "The routes."
        )),
        get("/api/v1/routes/{route}", "route", "One route as it runs.", |_, m| {
            on(m, async |console, name| routes::one(console, name))
        })
        .gives(Answer::json::<routes::RouteView>("The route."))
        .refuses(&[Problem::Invalid(String::new()), Problem::UnknownRoute(String::new())]),
        get("/api/v1/routes/{route}/experiment", "experiment", "Whether the candidate is better.", |_, m| {
            on(m, experiment::page)
        })
        .gives(Answer::json::<experiment::Report>("Estimates, verdicts, health and a plan."))
        .refuses(&[Problem::Invalid(String::new()), Problem::UnknownRoute(String::new())]),
        get("/api/v1/routes/{route}/assignments", "experimentAssignments", "Who was in which arm.", |_, m| {
            on(m, experiment::assignments)
        })
        .gives(Answer::json::<experiment::Assignments>("Users by phase and stratum."))
        .refuses(&[Problem::Invalid(String::new()), Problem::UnknownRoute(String::new())]),
        get(ROLLOUT, "rollout", "Where a route's rollout stands.", |_, m| on(m, rollout::page))
            .gives(Answer::json::<View>("State, share, what is waited for, and what each guard sees."))
            .refuses(&[
                Problem::Invalid(String::new()),
                Problem::UnknownRoute(String::new()),
                Problem::StoreUnavailable,
            ]),
        get("/api/v1/stats", "stats", "How the arms fared over a stretch of time.", |_, m| on(m, stats::page))
            .asks(&stats::OF_STATS)
            .gives(Answer::json::<stats::Stats>("By route and arm."))
            .refuses(&[Problem::UnknownRoute(String::new())]),
        get("/api/v1/config", "config", "The running configuration, without secrets.", |_, m| page(m, config::page))
            .gives(Answer::json::<config::Page>("What runs, and what came of reloads.")),
        get("/api/v1/features", "features", "What this build and this configuration can do.", |_, m| {
            on(m, features::page)
        })
        .gives(Answer::json::<features::Features>("What there is.")),
        get("/api/v1/alerts", "alerts", "What fires, what was told of late, how webhooks fare.", |_, m| {
            page(m, alerts::page)
        })
        .gives(Answer::json::<Seen>("What is known.")),
        get("/api/v1/requests/{id}", "request", "Why one of the last requests went where it did.", |_, m| {
            on(m, recent::line)
        })
        .gives(Answer::new(StatusCode::OK, "Its access line.").with(JSON, access::shape))
        .refuses(&[Problem::Invalid(String::new()), Problem::UnknownRequest { sample: 0.0 }]),
    ]
}

fn deciding() -> Vec<Endpoint> {
    let (get, post) = (Method::GET, Method::POST);
    let explained = || Answer::json::<explain::Explanation>("The decision, and each step of it.");
    let no_route = || Problem::UnknownRoute(String::new());
    vec![
        Endpoint::new(get, guard::EXPLAIN, "explain", "Why an arm would serve a user now.", |_, m| {
            on(m, async |console, query| explain::by_query(console, query))
        })
        .asks(&explain::OF_EXPLAIN)
        .gives(explained())
        .refuses(&[no_route()]),
        Endpoint::new(
            post.clone(),
            guard::EXPLAIN,
            "explainByBody",
            "The same, for keys no log should see.",
            |_, m| on(m, explain::by_body),
        )
        .takes(of::<question::Question>, body::MAX_BODY)
        .gives(explained())
        .refuses(&[no_route()]),
        Endpoint::new(post, guard::ASSIGNMENTS, "assignments", "Which arms many users are assigned.", |_, m| {
            on(m, assignments::by_body)
        })
        .takes(of::<assignments::Asked>, assignments::MAX_BODY)
        .gives(Answer::json::<assignments::Assignments>("In the order of the subjects."))
        .refuses(&[no_route()]),
    ]
}

fn acting() -> Vec<Endpoint> {
    let filter = || Answer::json::<acts::Filter>("The filter.");
    let failed = Report { diagnostics: Vec::new() };
    vec![
        Endpoint::new(Method::GET, "/api/v1/log", "logFilter", "The filter of the log.", |_, m| {
            page(m, acts::log_filter)
        })
        .gives(filter())
        .refuses(&[Problem::NoLog]),
        Endpoint::new(Method::PUT, "/api/v1/log", "setLogFilter", "Changes it until the process ends.", |_, m| {
            on(m, acts::set_log_filter)
        })
        .takes(of::<acts::Filter>, body::MAX_BODY)
        .gives(filter())
        .refuses(&[Problem::NoLog]),
        Endpoint::new(
            Method::POST,
            "/api/v1/alerts/test/{webhook}",
            "testAlerts",
            "Sends a message by hand.",
            |_, m| on(m, alerts::test),
        )
        .gives(Answer::json::<alerts::Tested>("What the webhook said."))
        .refuses(&[Problem::Invalid(String::new()), Problem::UnknownWebhook(String::new())]),
        Endpoint::new(Method::POST, ROLLOUT, "moveRollout", "Moves a rollout.", |_, m| on(m, rollout::command))
            .takes(of::<rollout::Wanted>, body::MAX_BODY)
            .gives(Answer::json::<rollout::Told>("What came of it."))
            .refuses(&[
                Problem::Invalid(String::new()),
                Problem::UnknownRoute(String::new()),
                Problem::RolloutRefused(String::new(), Box::default()),
                Problem::RolloutConflict(Box::default()),
                Problem::RolloutUnstored(String::new()),
            ]),
        Endpoint::new(Method::POST, "/-/reload", "reload", "Reads the configuration again.", |_, m| {
            on(m, acts::reload)
        })
        .gives(Answer::json::<acts::Reloaded>("What came of it."))
        .refuses(&[Problem::NoSources, Problem::ReloadFailed(failed)]),
    ]
}

fn keeping() -> Vec<Endpoint> {
    let get = |path, name, words, serve| Endpoint::new(Method::GET, path, name, words, serve);
    let busy = [Problem::StoreBusy(std::time::Duration::ZERO), Problem::StoreUnavailable];
    let export = Answer::new(StatusCode::OK, "All of them; a connection that breaks off means that this is not all.");
    let formats: [(Format, Shape); 3] =
        [(Format::Json, of::<Vec<kept::Row<'_>>>), (Format::Csv, of::<String>), (Format::Ndjson, of::<String>)];
    let export = formats.into_iter().fold(export, |answer, (format, shape)| answer.with(format.content_type(), shape));
    vec![
        Endpoint::new(
            Method::POST,
            EVENTS_PATH,
            "sendEvents",
            "Takes a batch of events, whole or not at all.",
            |_, m| on(m, events::take),
        )
        .takes(crate::events::shape, crate::events::MAX_BODY)
        .gives(Answer::new(StatusCode::ACCEPTED, "They are stored.").with(JSON, of::<Stored>))
        .tells(&Outcome::to_trusted()),
        get(guard::EVENTS, "events", "A page of events, oldest first.", |_, m| on(m, kept::events))
            .asks(&kept::OF_EVENTS)
            .gives(Answer::json::<kept::EventPage<'_>>("The page."))
            .refuses(&busy),
        Endpoint::new(Method::DELETE, guard::EVENTS, "pruneEvents", "Forgets what happened before a time.", |_, m| {
            on(m, kept::removal::prune)
        })
        .asks(&kept::removal::OF_PRUNING)
        .gives(Answer::json::<kept::removal::Removed>("How much went."))
        .refuses(&busy),
        Endpoint::new(Method::POST, guard::ERASE, "eraseUser", "Forgets the events of a user.", |_, m| {
            on(m, kept::removal::erase)
        })
        .takes(kept::removal::shape, body::MAX_BODY)
        .gives(Answer::json::<kept::removal::Removed>("How much went."))
        .refuses(&busy),
        get("/api/v1/history", "history", "A page of what was done, newest first.", |_, m| on(m, kept::history))
            .asks(&kept::OF_HISTORY)
            .gives(Answer::json::<kept::HistoryPage<'_>>("The page."))
            .refuses(&busy),
        get("/api/v1/export", "export", "Events of any number as one file.", |shared, m| {
            let places = Arc::clone(&shared.exports);
            on(m, async move |console, version, query| kept::export::begin(places, console, version, query).await)
        })
        .asks(&kept::export::OF_EXPORT)
        .gives(export.field(header::CONTENT_DISPOSITION))
        .refuses(&busy)
        .refuses(&[Problem::TooManyExports]),
    ]
}

fn flags() -> Vec<Endpoint> {
    const MANY: StatusCode = StatusCode::TOO_MANY_REQUESTS;
    const BAD: [StatusCode; 4] =
        [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, MANY, StatusCode::INTERNAL_SERVER_ERROR];
    let preflight = |path, name| {
        Endpoint::new(Method::OPTIONS, path, name, "What a browser asks first.", |_, m| on(m, ofrep::cors::preflight))
            .gives(Answer::new(StatusCode::NO_CONTENT, "What a page of `ofrep.cors` may do."))
    };
    let unchanged = Answer::new(StatusCode::NOT_MODIFIED, "What the client has is still so.").field(header::ETAG);
    vec![
        Endpoint::new(Method::POST, ofrep::FLAG, "evaluateFlag", "OFREP: one flag for one context.", |shared, m| {
            on(m, ofrep::one).with_state(Arc::clone(&shared.ofrep))
        })
        .takes(of::<ofrep::asked::Sent>, ofrep::MAX_BODY)
        .gives(Answer::json::<ofrep::answer::Success<'_>>("Value, variant and reason."))
        .fails::<ofrep::failure::Told>(&BAD)
        .fails::<ofrep::failure::Told>(&[StatusCode::NOT_FOUND]),
        preflight(ofrep::FLAG, "preflightFlag"),
        Endpoint::new(
            Method::POST,
            ofrep::FLAGS,
            "evaluateFlags",
            "OFREP: every flag for one context.",
            |shared, m| on(m, ofrep::all).with_state(Arc::clone(&shared.ofrep)),
        )
        .takes(of::<ofrep::asked::Sent>, ofrep::MAX_BODY)
        .gives(Answer::json::<ofrep::All<'_>>("Every flag, by name.").field(header::ETAG))
        .gives(unchanged)
        .fails::<ofrep::failure::Told>(&BAD),
        preflight(ofrep::FLAGS, "preflightFlags"),
        Endpoint::new(Method::GET, ofrep::STREAM, "changes", "OFREP: says when to evaluate again.", |shared, m| {
            on(m, ofrep::stream).with_state(Arc::clone(&shared.ofrep))
        })
        .asks(&ofrep::OF_STREAM)
        .gives(Answer::text("Events `refetchEvaluation`, for an hour at most.", STREAM))
        .fails::<ofrep::failure::Told>(&[MANY, StatusCode::SERVICE_UNAVAILABLE]),
        preflight(ofrep::STREAM, "preflightChanges"),
    ]
}

fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object" })
}
