//! Asks a running gateway over its admin address.
//!
//! HTTP only: the admin address is local or behind something that speaks TLS.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Longest wait for an answer: the gateway itself takes at most 10 seconds.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Longest wait for the next piece of an answer that has no bound.
const IDLE: Duration = Duration::from_secs(90);
/// Largest answer in bytes.
const MAX_ANSWER: usize = 64 << 20;
/// Where the gateway listens unless the file says otherwise.
pub const DEFAULT_ADMIN: &str = "http://127.0.0.1:9901";

/// The file with the token.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TokenArgs {
    /// A file that holds the bearer token alone.
    #[arg(long, value_name = "FILE", env = "POINTSMAN_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}

impl TokenArgs {
    /// The token, if a file was named.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn read(&self) -> anyhow::Result<Option<String>> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// Which gateway.
#[derive(Debug, Clone, clap::Args)]
pub struct AdminArgs {
    /// The gateway's admin address.
    #[arg(long, value_name = "URL", default_value = DEFAULT_ADMIN)]
    pub admin: String,
    /// The token for it.
    #[command(flatten)]
    pub token: TokenArgs,
}

impl AdminArgs {
    /// The gateway.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn client(&self) -> anyhow::Result<Client> {
        Client::new(&self.admin, &self.token)
    }
}

/// A gateway to ask.
#[derive(Debug)]
pub struct Client {
    base: String,
    token: Option<String>,
}

/// Why the gateway did not answer as asked.
#[derive(Debug, thiserror::Error)]
#[error("{detail} ({status}, {code})")]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// The stable code of the problem; empty if the answer was none of ours.
    pub code: String,
    /// In words.
    pub detail: String,
}

impl Client {
    /// A gateway at `url`, `http://host:port`.
    ///
    /// # Errors
    /// If it is no such URL, or the token cannot be read.
    pub fn new(url: &str, token: &TokenArgs) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
        ensure!(uri.scheme_str() == Some("http"), "{url:?} does not begin with http://");
        let base = url.trim_end_matches('/').to_owned();
        Ok(Self { base, token: token.read()? })
    }

    /// Reads a page.
    ///
    /// # Errors
    /// A [`Refusal`], or what kept the gateway from being asked.
    pub fn get<T: DeserializeOwned>(&self, path_and_query: &str) -> anyhow::Result<T> {
        self.answer(Method::GET, path_and_query, Bytes::new())
    }

    /// Asks a page by JSON.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        self.answer(Method::POST, path, serde_json::to_vec(body)?.into())
    }

    /// Removes what a page names.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn delete<T: DeserializeOwned>(&self, path_and_query: &str) -> anyhow::Result<T> {
        self.answer(Method::DELETE, path_and_query, Bytes::new())
    }

    /// Reads an answer of any length, piece by piece.
    ///
    /// # Errors
    /// As [`Client::get`]; also when the answer breaks off, or a piece is not taken.
    pub fn download(&self, path: &str, mut take: impl FnMut(&[u8]) -> std::io::Result<()>) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let asked = tokio::time::timeout(TIMEOUT, self.send(Method::GET, path, Bytes::new())).await;
            let response = asked
                .with_context(|| format!("{} did not answer in time", self.base))?
                .with_context(|| format!("cannot ask {}; is the gateway running?", self.base))?;
            let (status, mut body) = (response.status(), response.into_body());
            if !status.is_success() {
                let body = Limited::new(body, MAX_ANSWER).collect().await;
                bail!(refusal(status, &body.map(|body| body.to_bytes()).unwrap_or_default()));
            }
            while let Some(frame) = tokio::time::timeout(IDLE, body.frame()).await.context("nothing more comes")? {
                if let Ok(piece) = frame.context("the answer broke off: this is not all")?.into_data() {
                    take(&piece)?;
                }
            }
            Ok(())
        })
    }

    fn answer<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asked = async { tokio::time::timeout(TIMEOUT, self.ask(method, path, body)).await };
        let (status, body) = runtime
            .block_on(asked)
            .with_context(|| format!("{} did not answer in time", self.base))?
            .with_context(|| format!("cannot ask {}; is the gateway running?", self.base))?;
        if !status.is_success() {
            bail!(refusal(status, &body));
        }
        serde_json::from_slice(&body).with_context(|| format!("{} answered what is not understood", self.base))
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let client = HttpClient::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        Ok(client.request(request.body(Full::new(body))?).await?)
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error).context("the answer broke off"))?;
        Ok((status, body.to_bytes()))
    }
}

fn refusal(status: StatusCode, body: &[u8]) -> Refusal {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| problem.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Refusal { status, code: text("code"), detail: text("detail") }
}
