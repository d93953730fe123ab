//! One GET of a document that is not a user's, or one POST of a message, bounded in time and size.
//!
//! It follows no redirect and keeps no connection: what it is for is seldom fetched. Invariant: nothing
//! beyond the bound is kept, whatever the other side says of its length.

use std::convert::Infallible;
use std::future;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::address::ConnectError;
use super::origin::Origin;
use super::tls::BuildError;
use crate::config::model::{Endpoint, Tls};

const FETCH_USER_AGENT: HeaderValue = HeaderValue::from_static("pointsman");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Bytes of the answer to a message that are taken in.
const MAX_POST_ANSWER: usize = 16 << 10;

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
    /// Another status than what was hoped for.
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
        let request = self.request(Method::GET).header(ACCEPT, JSON).body(Full::default())?;
        let fetched = tokio::time::timeout(timeout, self.exchange(request, max_bytes)).await;
        match fetched.unwrap_or(Err(FetchError::Timeout))? {
            (StatusCode::OK, body) => body,
            (status, _) => Err(FetchError::Status(status)),
        }
    }

    /// Sends a message there; what is answered beside the status is not kept. A redirect is an answer like any
    /// other: it is not followed.
    ///
    /// # Errors
    /// See [`FetchError`]; [`FetchError::Status`] for every status but 2xx.
    pub async fn post(&self, fields: HeaderMap, body: Bytes, timeout: Duration) -> Result<(), FetchError> {
        let mut request = self.request(Method::POST).body(Full::new(body))?;
        request.headers_mut().extend(fields);
        let sent = tokio::time::timeout(timeout, self.exchange(request, MAX_POST_ANSWER)).await;
        // A receiver that says much has taken it all the same.
        let (status, _) = sent.unwrap_or(Err(FetchError::Timeout))?;
        if status.is_success() { Ok(()) } else { Err(FetchError::Status(status)) }
    }

    fn request(&self, method: Method) -> http::request::Builder {
        let endpoint = self.origin.endpoint();
        let path = if endpoint.base_path.is_empty() { "/" } else { &endpoint.base_path };
        let request = Request::builder().method(method).uri(path).header(HOST, &endpoint.authority);
        request.header(USER_AGENT, FETCH_USER_AGENT).header(CONNECTION, "close")
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, max_bytes: usize) -> Result<Answered, FetchError> {
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

/// The status, and the body or what became of it.
type Answered = (StatusCode, Result<Bytes, FetchError>);

async fn answer(
    mut sender: SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
    max_bytes: usize,
) -> Result<Answered, FetchError> {
    let response = sender.send_request(request).await.map_err(|error| FetchError::Http(Box::new(error)))?;
    let status = response.status();
    let body = match Limited::new(response.into_body(), max_bytes).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLong(max_bytes)),
        Err(error) => Err(FetchError::Http(error)),
    };
    Ok((status, body))
}
