//! Backends with several endpoints, and behind TLS.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::upstream::{ok, status};
use crate::support::{Setup, Upstream, eventually};

/// A backend behind TLS for this name, and the PEM of who vouches for it.
pub(crate) struct Tls {
    pub(crate) url: String,
    pub(crate) authority: tempfile::NamedTempFile,
}

pub(crate) fn tls(name: &str) -> Tls {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::from_params(&authority, &authority_key);
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), socket);
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut byte) {
                        Ok(1..) => head.push(byte[0]),
                        Ok(0) | Err(_) => return,
                    }
                }
                let sni = stream.conn.server_name().unwrap_or("nobody").to_owned();
                stream.write_all(&ok(&sni)).ok();
            });
        }
    });
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(authority_certificate.pem().as_bytes()).unwrap();
    Tls { url, authority: file }
}

fn control_with(url: &str, tls: &str) -> Setup {
    Setup::new(format!(
        "[backends.control]\nurl = {url:?}\ntls = {{ {tls} }}\n\
         [routes.all]\npath = \"/\"\ncontrol = \"control\"\ncandidate = \"control\"\n"
    ))
}

#[test]
fn a_backend_behind_tls_is_asked_for_by_name_and_verified() {
    let backend = tls("backend.example");
    let authority = backend.authority.path();
    let rows = [
        (format!("ca = {authority:?}, sni = \"backend.example\""), 200),
        // The certificate is for another name than the address in the URL.
        (format!("ca = {authority:?}"), 502),
        // Nobody that the system trusts vouches for it.
        ("sni = \"backend.example\"".into(), 502),
        ("insecure = true, sni = \"backend.example\"".into(), 200),
    ];
    for (keys, expected) in rows {
        let answer = control_with(&backend.url, &keys).start().ask();
        assert_eq!(answer.status, expected, "{keys}: {answer:?}");
        if expected == 200 {
            assert_eq!(answer.text(), "backend.example", "{keys}");
        } else {
            assert_eq!(answer.code(), "tls_failed", "{keys}");
        }
    }
}

#[test]
fn an_endpoint_that_fails_its_check_is_left_out_until_it_is_well() {
    let well = Arc::new(AtomicBool::new(false));
    let first = Upstream::answering({
        let well = Arc::clone(&well);
        move |seen| match well.load(Ordering::SeqCst) {
            false if seen.head.start.contains("/health") => status(503, "Ill", "ill"),
            _ => ok("first"),
        }
    });
    let second = Upstream::saying("second");
    let gateway = Setup::new(format!(
        "[backends.control]\nurls = [{:?}, {:?}]\n\
         health_check = {{ path = \"/health\", interval = \"1s\", timeout = \"1s\", healthy_after = 1, unhealthy_after = 1 }}\n\
         [routes.all]\npath = \"/\"\ncontrol = \"control\"\ncandidate = \"control\"\n",
        first.url(),
        second.url()
    ))
    .start();
    let seen = || -> Vec<String> { (0..8).map(|_| gateway.ask().text()).collect() };
    eventually("only the second is asked", || seen().iter().all(|body| body == "second").then_some(()));
    well.store(true, Ordering::SeqCst);
    eventually("both are asked", || {
        let seen = seen();
        (seen.iter().any(|body| body == "first") && seen.iter().any(|body| body == "second")).then_some(())
    });
}

#[test]
fn a_user_finds_the_same_endpoint_where_balance_is_consistent() {
    let endpoints = [Upstream::saying("a"), Upstream::saying("b"), Upstream::saying("c")];
    let urls: Vec<String> = endpoints.iter().map(Upstream::url).collect();
    let gateway = Setup::new(format!(
        "[backends.control]\nurls = {urls:?}\nbalance = \"consistent\"\n\
         [routes.all]\npath = \"/\"\ncontrol = \"control\"\ncandidate = \"control\"\n"
    ))
    .start();
    let endpoint_of = |user: usize| gateway.get("/", &[("x-user-id", &format!("user-{user}"))]).text();
    let first: Vec<String> = (0..30).map(endpoint_of).collect();
    let second: Vec<String> = (0..30).map(endpoint_of).collect();
    assert_eq!(first, second);
    for name in ["a", "b", "c"] {
        assert!(first.iter().any(|body| body == name), "nobody is sent to {name}: {first:?}");
    }
}
