//! One GET of a document that is not a user's, or one POST of a message, bounded in time and size.
//!
//! It follows no redirect and keeps no connection: what it is for is seldom asked. Invariant: nothing
//! beyond the bound is kept, whatever the other side says of its length.

use std::convert::Infallible;
use std::future;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::address::ConnectError;
use super::origin::Origin;
use super::tls::BuildError;
use crate::config::model::{Endpoint, Tls};

const FETCH_USER_AGENT: HeaderValue = HeaderValue::from_static("pointsman");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A document's URL, and whom to expect there.
pub struct Document {
    origin: Origin,
}

/// Why there is no document. Says nothing of what came.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The time was over.
    #[error("no answer in time")]
    Timeout,
    /// The name has no address.
    #[error("the name cannot be resolved: {0}")]
    Resolve(#[source] io::Error),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The path cannot stand in a request.
    #[error("the path cannot be asked for: {0}")]
    Request(#[from] http::Error),
    /// No HTTP, or it broke off.
    #[error("no valid HTTP answer: {0}")]
    Http(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another status than 200, or for a webhook than one of the 2xx.
    #[error("answered {0}")]
    Status(StatusCode),
    /// More than so many bytes.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

impl Document {
    /// Prepares fetching. The only I/O is reading the system's roots, for `https`.
    ///
    /// # Errors
    /// When there is nothing to trust, or no name to verify.
    pub fn new(endpoint: &Endpoint, tls: &Tls) -> Result<Self, BuildError> {
        Ok(Self { origin: Origin::new(endpoint, tls)? })
    }

    /// Fetches it.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(&self, max_bytes: usize, timeout: Duration) -> Result<Bytes, FetchError> {
        let request = self.request(Method::GET, &[], Bytes::new())?;
        let answer = tokio::time::timeout(timeout, self.unbounded(request, max_bytes)).await;
        let (status, body) = answer.unwrap_or(Err(FetchError::Timeout))?;
        if status == StatusCode::OK { Ok(body) } else { Err(FetchError::Status(status)) }
    }

    /// Posts JSON, with these fields, and gives the answer's body.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn post(
        &self,
        fields: &[(HeaderName, HeaderValue)],
        json: Bytes,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<Bytes, FetchError> {
        let request = self.request(Method::POST, fields, json)?;
        let answer = tokio::time::timeout(timeout, self.unbounded(request, max_bytes)).await;
        let (status, body) = answer.unwrap_or(Err(FetchError::Timeout))?;
        if status.is_success() { Ok(body) } else { Err(FetchError::Status(status)) }
    }

    fn request(
        &self,
        method: Method,
        fields: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, FetchError> {
        let endpoint = self.origin.endpoint();
        let path = if endpoint.base_path.is_empty() { "/" } else { &endpoint.base_path };
        let mut request = Request::builder()
            .method(&method)
            .uri(path)
            .header(HOST, &endpoint.authority)
            .header(USER_AGENT, FETCH_USER_AGENT)
            .header(ACCEPT, JSON)
            .header(CONNECTION, "close")
            .body(Full::new(body))?;
        if method == Method::POST {
            request.headers_mut().insert(CONTENT_TYPE, JSON);
        }
        for (name, value) in fields {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(request)
    }

    /// Sends it and gathers the answer, if its status is one of the 2xx.
    async fn unbounded(&self, request: Request<Full<Bytes>>, max_bytes: usize) -> Result<Answer, FetchError> {
        let address = self.origin.address().await.map_err(FetchError::Resolve)?;
        let connection = address.connect().await?;
        let handshake = http1::handshake(TokioIo::new(connection)).await;
        let (sender, connection) = handshake.map_err(|error| FetchError::Http(Box::new(error)))?;
        let driven = async {
            // Its failure reaches the answer, and an end right after the answer must not hide it.
            drop(connection.await);
            future::pending::<Infallible>().await
        };
        tokio::select! {
            answer = answer(sender, request, max_bytes) => answer,
            never = driven => match never {},
        }
    }
}

/// Status and body; no body of another status than a 2xx.
type Answer = (StatusCode, Bytes);

async fn answer(
    mut sender: SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
    max_bytes: usize,
) -> Result<Answer, FetchError> {
    let response = sender.send_request(request).await.map_err(|error| FetchError::Http(Box::new(error)))?;
    let status = response.status();
    if !status.is_success() {
        return Ok((status, Bytes::new()));
    }
    match Limited::new(response.into_body(), max_bytes).collect().await {
        Ok(body) => Ok((status, body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLong(max_bytes)),
        Err(error) => Err(FetchError::Http(error)),
    }
}
