//! The arguments of `traffic`, each checked as it is read.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri};
use jiff::SignedDuration;

use super::threshold::Threshold;
use crate::cli::client::TokenArgs;
use crate::cli::people::MAX_USERS;
use crate::config;
use crate::config::model::Endpoint;
use crate::domain::Arm;
use crate::domain::reading::Prices;

/// Most requests a second.
const MAX_RATE: f64 = 1_000_000.0;
/// The longest stretch of anything.
const MAX_LENGTH: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Most connections.
const MAX_CONCURRENCY: i64 = 10_000;
/// Most for a million tokens.
const MAX_PRICE: f64 = 1e6;

/// Arguments of `traffic`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to: http://host:port/path, or https. Nothing else is called but --events.
    pub url: Address,
    /// How much.
    #[command(flatten)]
    pub load: LoadArgs,
    /// What is asked.
    #[command(flatten)]
    pub asked: AskedArgs,
    /// What users do afterwards.
    #[command(flatten)]
    pub events: EventArgs,
    /// What is told.
    #[command(flatten)]
    pub told: ToldArgs,
}

/// How much, and how fast.
#[derive(Debug, clap::Args)]
pub struct LoadArgs {
    /// How many; 1000 where --duration does not say how long.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,
    /// How long, for example 30s, 5m or 1h; whichever of the two ends first.
    #[arg(long, value_name = "LENGTH", value_parser = some_length)]
    pub duration: Option<Duration>,
    /// Requests a second, sent whether answers come or not.
    #[arg(long, default_value = "100", value_parser = rate)]
    pub rate: f64,
    /// In place of a rate: each of --concurrency users waits about so long after an answer before asking again.
    #[arg(long, value_name = "LENGTH", conflicts_with = "rate", value_parser = length)]
    pub think: Option<Duration>,
    /// Connections, so most requests under way at the same time.
    #[arg(long, default_value = "64", value_parser = clap::value_parser!(u32).range(1..=MAX_CONCURRENCY))]
    pub concurrency: u32,
    /// How long the rate, or the number of users, takes to grow from nothing.
    #[arg(long, value_name = "LENGTH", default_value = "0s", value_parser = length)]
    pub ramp: Duration,
    /// How long a user waits for a whole answer.
    #[arg(long, value_name = "LENGTH", default_value = "30s", value_parser = some_length)]
    pub timeout: Duration,
}

/// How a query is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// As a parameter of the URL.
    Get,
    /// As a field of a JSON object.
    Post,
}

/// Who asks what, and how.
#[derive(Debug, clap::Args)]
pub struct AskedArgs {
    /// Queries travel as a parameter of the URL, or in a JSON object.
    #[arg(long, value_enum, default_value = "get")]
    pub method: Method,
    /// The name of that parameter or field; by default q for GET and query for POST.
    #[arg(long, value_name = "NAME")]
    pub query_name: Option<String>,
    /// A file with a query a line, in place of samples; for POST, a line may be the whole JSON object.
    #[arg(long, value_name = "FILE")]
    pub queries: Option<PathBuf>,
    /// Distinct users.
    #[arg(long, default_value = "10000", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_USERS)))]
    pub users: u32,
    /// A file with a user a line in place of made-up ones: a key, or
    /// {"key": "user123", "headers": {"x-user-tier": "premium"}}.
    #[arg(long, value_name = "FILE", conflicts_with = "users")]
    pub users_file: Option<PathBuf>,
    /// How uneven they ask, 0 to 3: at 0 all alike, at 1 the n-th asks 1/n as often as the first.
    #[arg(long, default_value = "0.8", value_parser = skew)]
    pub skew: f64,
    /// The same seed gives the same users and queries in the same order.
    #[arg(long, default_value = "1")]
    pub seed: u64,
    /// A header of every request, as often as wanted: "accept: text/event-stream".
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// A file (PEM) with the certificate authorities to trust in place of the system's.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub ca: Option<PathBuf>,
    /// Accept any certificate.
    #[arg(long)]
    pub insecure: bool,
}

/// Events that made-up users send.
#[derive(Debug, clap::Args)]
pub struct EventArgs {
    /// Where to tell of the users' satisfaction (1 to 5, made up from success, score and time), for example
    /// http://127.0.0.1:9901/v1/events.
    #[arg(long, value_name = "URL")]
    pub events: Option<Address>,
    /// How many of the answers are rated: 30%, or 0.3.
    #[arg(long, value_name = "SHARE", default_value = "30%", requires = "events", value_parser = share)]
    pub event_share: f64,
    /// The name of the events.
    #[arg(long, value_name = "NAME", default_value = "satisfaction", requires = "events")]
    pub event_name: String,
    /// The route they are for, where answers bring no exposure token.
    #[arg(long, value_name = "ROUTE", requires = "events")]
    pub event_route: Option<String>,
    /// The token for --events; without it events need the exposure token of an answer.
    #[command(flatten)]
    pub token: TokenArgs,
}

/// What is told, where, and when it is bad.
#[derive(Debug, clap::Args)]
pub struct ToldArgs {
    /// Prices for a million tokens, from which costs are computed: candidate=3,15 for input and output.
    #[arg(long = "price", value_name = "ARM=IN,OUT", value_parser = price)]
    pub prices: Vec<(Arm, Prices)>,
    /// The header of an answer that tells how good it is.
    #[arg(long, value_name = "NAME", default_value = "x-quality-score")]
    pub score_header: HeaderName,
    /// Exit with 1 if this holds, as often as wanted: "error_rate > 1%", "candidate.p95 > 500ms".
    #[arg(long, value_name = "CONDITION")]
    pub fail_if: Vec<Threshold>,
    /// A file for the result as JSON.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the file, should it be there.
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Print JSON in place of the table.
    #[arg(long)]
    pub json: bool,
}

/// A URL: where it leads, and what is asked for there.
#[derive(Debug, Clone)]
pub struct Address {
    /// As it was typed.
    pub text: String,
    /// Whom to connect to.
    pub endpoint: Endpoint,
    /// Path and query.
    pub target: PathAndQuery,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('#') {
            return Err("no fragment (`#`) in a URL".to_owned());
        }
        let plain = text.split_once('?').map_or(text, |(before, _)| before);
        let endpoint = config::endpoint(plain)?;
        let uri: Uri = text.parse().map_err(|_| r#"expected "http://host[:port][/path][?query]""#.to_owned())?;
        let target = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self { text: text.to_owned(), endpoint, target })
    }
}

/// A length of time with its unit.
pub(super) fn length(text: &str) -> Result<Duration, String> {
    let expected =
        || r#"expected a length of time up to 168h with its unit, for example "250ms", "30s" or "5m""#.to_owned();
    let length: SignedDuration = text.parse().map_err(|_| expected())?;
    Duration::try_from(length).ok().filter(|length| *length <= MAX_LENGTH).ok_or_else(expected)
}

fn some_length(text: &str) -> Result<Duration, String> {
    let length = length(text)?;
    if length.is_zero() { Err("expected more than nothing".to_owned()) } else { Ok(length) }
}

/// A share, from 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number.trim_end(), 100.0));
    let share = number.parse::<f64>().ok().map(|number| number / scale).filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a share, from 0% to 100%, or from 0 to 1".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| *rate > 0.0 && *rate <= MAX_RATE);
    rate.ok_or_else(|| format!("expected requests a second, above 0 and up to {MAX_RATE}"))
}

fn skew(text: &str) -> Result<f64, String> {
    let skew = text.parse::<f64>().ok().filter(|skew| (0.0..=3.0).contains(skew));
    skew.ok_or_else(|| "expected a number from 0 to 3".to_owned())
}

fn price(text: &str) -> Result<(Arm, Prices), String> {
    let read = || {
        let (arm, prices) = text.split_once('=')?;
        let (input, output) = prices.split_once(',')?;
        let price = |text: &str| text.trim().parse::<f64>().ok().filter(|price| (0.0..=MAX_PRICE).contains(price));
        Some((Arm::parse(arm.trim())?, Prices { input: price(input)?, output: price(output)? }))
    };
    read().ok_or_else(|| "expected ARM=INPUT,OUTPUT, for example candidate=3,15".to_owned())
}

/// Reads `NAME: VALUE`.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    /// What HTTP/1.1 needs for itself.
    const OURS: [HeaderName; 4] =
        [http::header::HOST, http::header::CONTENT_LENGTH, http::header::TRANSFER_ENCODING, http::header::CONNECTION];
    let (name, value) = crate::cli::try_route::header(text)?;
    if OURS.contains(&name) {
        return Err(format!("{name} is made of the request itself, and cannot be chosen"));
    }
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_with_what_would_be_right() {
        let rows: [(Result<(), String>, &str); 14] = [
            ("example.com".parse::<Address>().map(drop), "expected \"http://host"),
            ("ftp://h/".parse::<Address>().map(drop), "must be \"http\" or \"https\""),
            ("http://a@h/".parse::<Address>().map(drop), "no user name"),
            ("http://h/#x".parse::<Address>().map(drop), "no fragment"),
            ("http://h:0/".parse::<Address>().map(drop), "from 1 to 65535"),
            (length("30").map(drop), "with its unit"),
            (length("-1s").map(drop), "with its unit"),
            (length("169h").map(drop), "up to 168h"),
            (some_length("0s").map(drop), "more than nothing"),
            (rate("0").map(drop), "above 0"),
            (rate("NaN").map(drop), "above 0"),
            (share("101%").map(drop), "from 0% to 100%"),
            (price("candidate=3").map(drop), "candidate=3,15"),
            (header("host: a").map(drop), "cannot be chosen"),
        ];
        for (found, expected) in rows {
            assert!(found.clone().is_err_and(|mistake| mistake.contains(expected)), "{found:?}, not {expected}");
        }
        assert!(skew("4").is_err() && price("both=1,2").is_err() && price("control=-1,2").is_err());
    }

    #[test]
    fn what_is_right_is_read() {
        let address: Address = "https://h.example/search/?lang=de".parse().unwrap();
        assert_eq!((address.endpoint.port, address.target.as_str()), (443, "/search/?lang=de"));
        assert_eq!("http://h".parse::<Address>().unwrap().target, "/");
        assert_eq!(length("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!((share("1.5%"), share("0.5")), (Ok(0.015), Ok(0.5)));
        assert_eq!(price("candidate = 3, 15"), Ok((Arm::Candidate, Prices { input: 3.0, output: 15.0 })));
    }
}
