//! Who holds which certificate? The handshakes of both listeners. The gate's own certificates are chosen by the name that
//! the client asks for. On the mTLS listener a client's certificate is optional, so that its absence is a 401 with a
//! record; one that came must be good, or the handshake ends.

use super::trust::{Presented, Trust};
use arc_swap::ArcSwap;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use trigate_core::Timestamp;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The configuration in force; a reload swaps it, and handshakes under way keep theirs.
pub type Current = Arc<ArcSwap<ServerConfig>>;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read `{0}`: {1}")]
    Unreadable(String, String),
    #[error("certificate and key do not make a server: {0}")]
    Server(String),
}

/// Whose certificates a handshake lets in.
#[derive(Clone, Debug)]
pub enum LetIn {
    /// Whom some host could trust; which host it is, is known with the request, and judged there.
    Trusted(Arc<Trust>),
    /// Everybody who holds the key: what the certificate is worth, the request's own rules say. // RFC 8705 §2.2
    Anybody,
}

/// Builds a whole new configuration from PEM files. An error leaves the one in force untouched (M13).
pub fn load(let_in: LetIn, certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = certificates(certificate)?;
    let key = private_key(key)?;
    let server = |error: rustls::Error| TlsError::Server(error.to_string());
    let verifier = Verifier { let_in, algorithms: provider.signature_verification_algorithms };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(server)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(chain, key)
        .map_err(server)?;
    // SECURITY: a resumed session skips the verifier and restores the old chain.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// A certificate of the gate, with the host names that it is for; none: those that it names itself.
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub names: Vec<String>,
}

/// The configuration of a listener that asks nobody for a certificate. An error leaves the one in force untouched.
pub fn load_open(identities: &[Identity]) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let resolver = ByName::load(identities, &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| TlsError::Server(error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Certificates by the names they are for.
#[derive(Debug)]
pub struct ByName {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows the first label.
    below: HashMap<String, Arc<CertifiedKey>>,
    first: Arc<CertifiedKey>,
}

impl ByName {
    pub fn load(identities: &[Identity], provider: &rustls::crypto::CryptoProvider) -> Result<Self, TlsError> {
        let mut first = None;
        let (mut exact, mut below) = (HashMap::new(), HashMap::new());
        for identity in identities {
            let chain = certificates(&identity.certificate)?;
            let names = if identity.names.is_empty() { names_of(chain.first()) } else { identity.names.clone() };
            let key = CertifiedKey::from_der(chain, private_key(&identity.key)?, provider)
                .map_err(|error| TlsError::Server(format!("`{}`: {error}", identity.certificate.display())))?;
            let key = Arc::new(key);
            for name in names.iter().map(|name| name.to_ascii_lowercase()) {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut below, rest.to_owned()),
                    None => (&mut exact, name),
                };
                names.entry(name).or_insert_with(|| Arc::clone(&key));
            }
            first.get_or_insert(key);
        }
        let first = first.ok_or_else(|| TlsError::Server("no certificate is configured".to_owned()))?;
        Ok(Self { exact, below, first })
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        self.exact.get(&name).or_else(|| self.below.get(name.split_once('.')?.1))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = hello.server_name().and_then(|name| self.find(name));
        Some(Arc::clone(found.unwrap_or(&self.first)))
    }
}

fn names_of(certificate: Option<&CertificateDer<'_>>) -> Vec<String> {
    let Some(Ok((_, certificate))) = certificate.map(|der| X509Certificate::from_der(der)) else { return vec![] };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return vec![] };
    let dns = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(dns) => Some((*dns).to_owned()),
        _ => None,
    });
    dns.collect()
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| TlsError::Unreadable(path.display().to_string(), error.to_string()))
}

#[derive(Debug)]
struct Verifier {
    let_in: LetIn,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Verifier {
    /// None: the authorities may change while connections are open, and their names are not everybody's business.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let LetIn::Trusted(trust) = &self.let_in else { return Ok(ClientCertVerified::assertion()) };
        let now = Timestamp::from_seconds(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        let chain: Vec<&[u8]> = std::iter::once(leaf).chain(others).map(AsRef::as_ref).collect();
        match trust.now().accepts_anywhere(&chain, now) {
            Ok(()) => Ok(ClientCertVerified::assertion()),
            Err(fault) => Err(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(fault))))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable =
        |error: rustls::pki_types::pem::Error| TlsError::Unreadable(path.display().to_string(), error.to_string());
    CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect::<Result<_, _>>().map_err(unreadable)
}

/// Why no connection came of it; `code` is the connection record's.
pub struct Refused {
    pub code: &'static str,
    pub detail: String,
}

/// Shakes hands within `deadline`. Some host trusts the chain that comes back.
pub async fn handshake(
    stream: TcpStream,
    current: &Current,
    deadline: Duration,
) -> Result<(TlsStream<TcpStream>, Option<Presented>), Refused> {
    let shake = async {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        start.into_stream(current.load_full()).await
    };
    let stream = match tokio::time::timeout(deadline, shake).await {
        Err(_) => return Err(Refused { code: "deadline.handshake", detail: "the handshake took too long".into() }),
        Ok(Err(error)) => return Err(refusal(&error)),
        Ok(Ok(stream)) => stream,
    };
    let chain = stream.get_ref().1.peer_certificates().map(|chain| chain.iter().map(|der| der.to_vec()).collect());
    Ok((stream, chain.and_then(Presented::new)))
}

fn refusal(error: &std::io::Error) -> Refused {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let code = match inner {
        Some(rustls::Error::InvalidCertificate(_)) => "tls.certificate",
        _ => "tls.handshake",
    };
    Refused { code, detail: error.to_string() }
}
