//! How an `https` endpoint is trusted: one client configuration for a backend, one name for each
//! endpoint.
//!
//! It does not reload certificates: another CA is another configuration. Invariant: the cryptography
//! is `ring`, named here, never the process-wide default, which another library could set.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::model::{Endpoint, Tls};

/// Why an upstream cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The backend is a fixed answer, or off.
    #[error("the backend has no endpoints")]
    NoEndpoints,
    /// The weights are too large together.
    #[error("the weights of the endpoints add up to {0}; at most {max} is possible", max = super::MAX_TOTAL_WEIGHT)]
    Weights(usize),
    /// The bundle is not PEM.
    #[error("`tls.ca` is not valid PEM: {0}")]
    CaSyntax(pem::Error),
    /// The bundle is PEM, but has no certificate in it.
    #[error("`tls.ca` holds no certificate")]
    CaEmpty,
    /// A certificate of the bundle is not one.
    #[error("`tls.ca` holds a certificate that cannot be read: {0}")]
    CaCertificate(#[source] rustls::Error),
    /// Nothing to trust.
    #[error("no certificate authorities found on this system ({0}); install them or set `tls.ca`")]
    NoSystemRoots(String),
    /// Neither a DNS name nor an IP address.
    #[error("`{0}` is not a name that TLS can verify; set `tls.sni`")]
    ServerName(String),
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Library(#[source] rustls::Error),
}

/// Whom to expect behind an endpoint.
#[derive(Clone)]
pub(super) struct Peer {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Peer {
    /// One for each endpoint, in their order; `None` where it is not `https`.
    pub(super) fn of_all(endpoints: &[Endpoint], tls: &Tls) -> Result<Vec<Option<Self>>, BuildError> {
        if !endpoints.iter().any(|endpoint| endpoint.tls) {
            return Ok(vec![None; endpoints.len()]);
        }
        let connector = TlsConnector::from(Arc::new(client_config(tls)?));
        let peer = |endpoint: &Endpoint| -> Result<Option<Self>, BuildError> {
            if !endpoint.tls {
                return Ok(None);
            }
            let name = tls.sni.as_ref().unwrap_or(&endpoint.host);
            let name = ServerName::try_from(name.clone()).map_err(|_| BuildError::ServerName(name.clone()))?;
            Ok(Some(Self { connector: connector.clone(), name }))
        };
        endpoints.iter().map(peer).collect()
    }

    pub(super) async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.name.clone(), stream).await
    }
}

fn client_config(tls: &Tls) -> Result<ClientConfig, BuildError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(BuildError::Library)?;
    let mut config = if tls.insecure {
        let verifier = Arc::new(AcceptAnyone { provider });
        builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
    } else {
        builder.with_root_certificates(roots(tls)?).with_no_client_auth()
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(tls: &Tls) -> Result<RootCertStore, BuildError> {
    tls.ca.as_ref().map_or_else(system_roots, |bundle| bundle_roots(bundle))
}

fn bundle_roots(bundle: &[u8]) -> Result<RootCertStore, BuildError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        let certificate = certificate.map_err(BuildError::CaSyntax)?;
        roots.add(certificate).map_err(BuildError::CaCertificate)?;
    }
    if roots.is_empty() { Err(BuildError::CaEmpty) } else { Ok(roots) }
}

/// Single certificates that do not parse are passed over: systems carry such, and what matters is
/// that some are left.
fn system_roots() -> Result<RootCertStore, BuildError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (_added, ignored) = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let mut reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        reasons.push(format!("{ignored} unreadable"));
        return Err(BuildError::NoSystemRoots(reasons.join("; ")));
    }
    Ok(roots)
}

/// `insecure = true`: **believes anyone.** The connection is encrypted, but whoever can redirect it
/// can read and change everything on it, credentials among it. For tests and for closed networks only.
#[derive(Debug)]
struct AcceptAnyone {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AcceptAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
