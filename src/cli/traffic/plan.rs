//! From arguments to what is sent: checked as a whole before anything is called.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use http_body_util::Full;

use super::args::{Args, AskedArgs};
use super::crowd::Crowd;
use super::feedback::Told;
use super::questions::Questions;
use super::schedule::Schedule;
use crate::cli::people::{self, Person, Population};
use crate::config::model::Tls;
use crate::domain::Arm;
use crate::domain::reading::Prices;
use crate::upstream::Origin;

/// Requests where nobody says how many or how long.
const DEFAULT_REQUESTS: u64 = 1_000;

/// What decides when a query begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pace {
    /// The time alone: users do not wait for each other.
    Open(Schedule),
    /// The answer before: so many users, each of whom thinks about so long in between.
    Closed { think: Duration, ramp: Duration },
}

/// See the module.
pub(super) struct Plan {
    pub(super) origin: Origin,
    pub(super) pace: Pace,
    /// Most queries.
    pub(super) requests: Option<u64>,
    /// After this, no more begin.
    pub(super) length: Option<Duration>,
    pub(super) concurrency: u32,
    pub(super) timeout: Duration,
    pub(super) crowd: Crowd,
    /// By `Arm::index`.
    pub(super) prices: [Option<Prices>; 2],
    pub(super) score_header: HeaderName,
    pub(super) told: Option<Rc<Told>>,
    population: Population,
    seed: u64,
    questions: Questions,
    /// Of every request.
    headers: HeaderMap,
}

impl Plan {
    /// Makes the plan. Reads files, and calls nobody.
    ///
    /// # Errors
    /// What is wrong with a file, or cannot be trusted.
    pub(super) fn new(args: &Args) -> anyhow::Result<Self> {
        let Args { url, load, asked, events, told } = args;
        let pace = match load.think {
            Some(think) => Pace::Closed { think, ramp: load.ramp },
            None => Pace::Open(Schedule { rate: load.rate, ramp: load.ramp }),
        };
        let requests = match (pace, load.requests, load.duration) {
            (_, None, None) => Some(DEFAULT_REQUESTS),
            (Pace::Open(schedule), requests, Some(length)) => {
                Some(requests.unwrap_or(u64::MAX).min(schedule.within(length)))
            }
            (Pace::Open(_) | Pace::Closed { .. }, requests, _) => requests,
        };
        let crowd = match &asked.users_file {
            Some(path) => Crowd::load(path)?,
            None => Crowd::MadeUp(asked.users),
        };
        let mut prices = [None; 2];
        for (arm, price) in &told.prices {
            prices[arm.index()] = Some(*price);
        }
        let concurrency = requests.map_or(load.concurrency, |most| {
            u32::try_from(most).map_or(load.concurrency, |most| load.concurrency.min(most.max(1)))
        });
        Ok(Self {
            origin: Origin::new(&url.endpoint, &tls(asked)?)
                .with_context(|| format!("{} cannot be called", url.text))?,
            pace,
            requests,
            length: load.duration,
            concurrency,
            timeout: load.timeout,
            prices,
            score_header: told.score_header.clone(),
            told: Told::new(events, asked)?.map(Rc::new),
            population: Population { users: crowd.users(), skew: asked.skew },
            crowd,
            seed: asked.seed,
            questions: Questions::load(asked, &url.target)?,
            headers: headers(args),
        })
    }

    /// The chances of the query with this number, who asks it, and the request.
    pub(super) fn query(&self, number: u64) -> (fastrand::Rng, Person, Request<Full<Bytes>>) {
        let mut rng = people::rng(self.seed, number);
        let person = self.population.pick(&mut rng);
        let mut request = self.questions.request(&mut rng);
        let headers = request.headers_mut();
        self.crowd.introduce(person, headers);
        // What was typed goes over what is made up.
        headers.extend(self.headers.clone());
        (rng, person, request)
    }

    /// What its answer cost, if its arm has prices.
    pub(super) fn prices(&self, arm: Option<Arm>) -> Option<Prices> {
        arm.and_then(|arm| self.prices[arm.index()])
    }
}

fn headers(args: &Args) -> HeaderMap {
    let agent = HeaderValue::from_static(concat!("pointsman-traffic/", env!("CARGO_PKG_VERSION")));
    let mut headers: HeaderMap = args.asked.headers.iter().cloned().collect();
    headers.entry(header::USER_AGENT).or_insert(agent);
    headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    headers.insert(header::HOST, args.url.endpoint.authority.clone());
    headers
}

/// Whom to trust.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn tls(asked: &AskedArgs) -> anyhow::Result<Tls> {
    let read =
        |path: &std::path::PathBuf| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let ca = asked.ca.as_ref().map(read).transpose()?.map(Bytes::from);
    Ok(Tls { ca, sni: None, insecure: asked.insecure })
}
