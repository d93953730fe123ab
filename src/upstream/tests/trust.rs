//! TLS: who is believed, and what is asked for.

use std::net::SocketAddr;

use bytes::Bytes;
use rcgen::{CertifiedKey, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tls::BuildError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::upstream::{ConnectError, Connection};

fn certificate(name: &str) -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed([name.to_owned()]).unwrap()
}

fn bundle(certificate: &CertifiedKey<KeyPair>) -> Option<Bytes> {
    Some(Bytes::from(certificate.cert.pem()))
}

/// Offers HTTP/2 first, and answers each connection with the name that was asked for.
async fn server(certificate: &CertifiedKey<KeyPair>) -> SocketAddr {
    let key = PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let name = stream.get_ref().1.server_name().unwrap_or("no name").to_owned();
            stream.write_all(name.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    at
}

fn upstream(at: SocketAddr, tls: Tls) -> Result<Arc<Upstream>, BuildError> {
    let endpoint = Endpoint { tls: true, ..endpoint("127.0.0.1", at.port(), 1) };
    Upstream::new(&Backend { tls, ..backend(vec![endpoint]) })
}

async fn connect(at: SocketAddr, tls: Tls) -> Result<Connection, ConnectError> {
    let upstream = upstream(at, tls).unwrap();
    let address = upstream.pick(None).unwrap();
    tokio::time::timeout(DEADLINE, address.connect()).await.unwrap()
}

#[tokio::test]
async fn only_the_right_certificate_is_believed_unless_told_otherwise() {
    let (by_name, by_address, other) =
        (certificate("answers.test"), certificate("127.0.0.1"), certificate("127.0.0.1"));
    let (at_name, at_address) = (server(&by_name).await, server(&by_address).await);
    let sni = |name: &str| Some(name.to_owned());
    let rows = [
        ("own CA", at_address, Tls { ca: bundle(&by_address), ..Tls::default() }, Some("no name")),
        ("wrong CA", at_address, Tls { ca: bundle(&other), ..Tls::default() }, None),
        ("wrong name", at_name, Tls { ca: bundle(&by_name), ..Tls::default() }, None),
        (
            "wrong name, right sni",
            at_name,
            Tls { ca: bundle(&by_name), sni: sni("answers.test"), insecure: false },
            Some("answers.test"),
        ),
        ("wrong sni", at_name, Tls { ca: bundle(&by_name), sni: sni("else.test"), insecure: false }, None),
        ("insecure", at_name, Tls { insecure: true, ..Tls::default() }, Some("no name")),
        ("insecure with sni", at_name, Tls { insecure: true, sni: sni("else.test"), ca: None }, Some("else.test")),
    ];
    for (what, at, tls, expected) in rows {
        match (connect(at, tls).await, expected) {
            (Ok(mut connection), Some(expected)) => {
                let Connection::Tls(stream) = &connection else { panic!("{what}: not encrypted") };
                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]), "{what}");
                assert!(connection.tcp().nodelay().unwrap());
                let mut asked_for = String::new();
                connection.read_to_string(&mut asked_for).await.unwrap();
                assert_eq!(asked_for, expected, "{what}");
            }
            (Err(ConnectError::Tls(_)), None) => {}
            (outcome, expected) => panic!("{what}: {outcome:?}, expected {expected:?}"),
        }
    }
}

#[tokio::test]
async fn a_refused_connection_is_told_from_a_failed_handshake() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let insecure = || Tls { insecure: true, ..Tls::default() };
    assert!(matches!(connect(closed, insecure()).await, Err(ConnectError::Tcp(_))));

    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = plain.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    assert!(matches!(connect(at, insecure()).await, Err(ConnectError::Tls(_))));
}

#[test]
fn what_cannot_be_built_says_why() {
    let at: SocketAddr = "127.0.0.1:443".parse().unwrap();
    let with_ca =
        |ca: &'static str| upstream(at, Tls { ca: Some(Bytes::from_static(ca.as_bytes())), ..Tls::default() });
    let with_sni = |sni: &str| upstream(at, Tls { insecure: true, sni: Some(sni.to_owned()), ca: None });
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let rows = [
        (with_ca("nothing"), "`tls.ca` holds no certificate"),
        (with_ca("-----BEGIN CERTIFICATE-----\n"), "`tls.ca` is not valid PEM"),
        (with_ca(garbage), "`tls.ca` holds a certificate that cannot be read"),
        (with_sni("not a name"), "`not a name` is not a name that TLS can verify"),
        (Upstream::new(&Backend { target: Target::Off, ..backend(Vec::new()) }), "the backend has no endpoints"),
        (
            Upstream::new(&backend(vec![endpoint("10.0.0.1", 80, 10_001)])),
            "the weights of the endpoints add up to 10001",
        ),
    ];
    for (outcome, expected) in rows {
        let message = outcome.unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message:?} does not begin with {expected:?}");
    }
}
