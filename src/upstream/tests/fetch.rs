//! Documents: fetched whole, or refused for a reason.

use std::net::SocketAddr;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::upstream::{Document, FetchError};

/// Answers each connection with the same bytes, and closes it.
async fn server(answer: &'static str, tls: Option<TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            match &tls {
                None => converse(stream, answer).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        converse(stream, answer).await;
                    }
                }
            }
        }
    });
    at
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("GET /keys HTTP/1.1\r\n") && head.contains("host: "), "{head}");
    if answer.is_empty() {
        std::future::pending::<()>().await;
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    // The other side may have gone before all of it came.
    drop(stream.shutdown().await);
}

async fn fetch(endpoint: Endpoint, tls: Tls, timeout: Duration) -> Result<String, FetchError> {
    let endpoint = Endpoint { base_path: "/keys".to_owned(), ..endpoint };
    let document = Document::new(&endpoint, &tls).unwrap().fetch(8, timeout).await?;
    Ok(String::from_utf8(document.to_vec()).unwrap())
}

#[tokio::test]
async fn a_document_is_whole_or_refused() {
    let rows = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n12345678", "12345678"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc"),
        ("HTTP/1.1 200 OK\r\n\r\nuntil", "until"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123456789", "longer than 8 bytes"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n", "longer than 8 bytes"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n1234", "no valid HTTP answer"),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "answered 404"),
        ("HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n", "answered 302"),
        ("hello\r\n\r\n", "no valid HTTP answer"),
    ];
    for (answer, expected) in rows {
        let at = server(answer, None).await;
        let found = fetch(endpoint("127.0.0.1", at.port(), 1), Tls::default(), DEADLINE).await;
        let found = found.unwrap_or_else(|error| error.to_string());
        assert!(found.contains(expected), "{answer:?}: {found}");
    }
}

#[tokio::test]
async fn a_server_that_is_silent_or_not_there_is_given_up() {
    let silent = server("", None).await;
    let soon = Duration::from_millis(50);
    let found = fetch(endpoint("127.0.0.1", silent.port(), 1), Tls::default(), soon).await;
    assert!(matches!(found, Err(FetchError::Timeout)), "{found:?}");
    let found = fetch(endpoint("name.invalid", 80, 1), Tls::default(), DEADLINE).await;
    assert!(matches!(found, Err(FetchError::Resolve(_))), "{found:?}");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let found = fetch(endpoint("127.0.0.1", closed.port(), 1), Tls::default(), DEADLINE).await;
    assert!(matches!(found, Err(FetchError::Connect(_))), "{found:?}");
}

#[tokio::test]
async fn https_is_trusted_by_its_authority_alone() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let at = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Some(acceptor)).await;
    let url = Endpoint { tls: true, ..endpoint("localhost", at.port(), 1) };
    let trusting = Tls { ca: Some(made.cert.pem().into()), ..Tls::default() };
    assert_eq!(fetch(url.clone(), trusting, DEADLINE).await.unwrap(), "ok");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let found = fetch(url, Tls { ca: Some(other.cert.pem().into()), ..Tls::default() }, DEADLINE).await;
    assert!(matches!(found, Err(FetchError::Connect(_))), "{found:?}");
}
