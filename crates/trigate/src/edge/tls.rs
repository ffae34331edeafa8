//! Who holds which certificate? The handshakes of both listeners. The gate's own certificates are chosen by the name that
//! the client asks for. On the mTLS listener a client's certificate is optional, so that its absence is a 401 with a
//! record; one that came must be good, or the handshake ends.

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier,
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
use trigate_core::{Timestamp, credential::Digest};
use trigate_gates::ClientCertificate;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The configuration in force; a reload swaps it, and handshakes under way keep theirs.
pub type Current = Arc<ArcSwap<ServerConfig>>;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read `{0}`: {1}")]
    Unreadable(String, String),
    #[error("the client authorities in `{0}` cannot be used: {1}")]
    Authorities(String, String),
    #[error("certificate and key do not make a server: {0}")]
    Server(String),
}

/// Builds a whole new configuration from PEM files. An error leaves the one in force untouched (M13).
pub fn load(ca: &Path, certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = verifier(ca, Arc::clone(&provider))?;
    let chain = certificates(certificate)?;
    let key = private_key(key)?;
    let server = |error: rustls::Error| TlsError::Server(error.to_string());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(server)?
        .with_client_cert_verifier(verifier)
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

fn verifier(ca: &Path, provider: Arc<rustls::crypto::CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let unusable = |error: String| TlsError::Authorities(ca.display().to_string(), error);
    let mut roots = RootCertStore::empty();
    for authority in certificates(ca)? {
        roots.add(authority).map_err(|error| unusable(error.to_string()))?;
    }
    // SECURITY: an empty set would make every certificate foreign, silently.
    if roots.is_empty() {
        return Err(unusable("no certificate in it".into()));
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|error| unusable(error.to_string()))
}

/// The facts of a certificate that somebody only asks about: verified as in a handshake at `now`.
pub fn examine(pem: &[u8], ca: &Path, now: Timestamp) -> Result<ClientCertificate, String> {
    let der = CertificateDer::from_pem_slice(pem).map_err(|error| format!("the certificate is no PEM: {error}"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = verifier(ca, provider).map_err(|error| error.to_string())?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now.seconds().unsigned_abs()));
    verifier.verify_client_cert(&der, &[], now).map_err(|error| error.to_string())?;
    facts(&der).map_err(str::to_owned)
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

/// Shakes hands within `deadline`. What comes back was verified against the authorities in force.
pub async fn handshake(
    stream: TcpStream,
    current: &Current,
    deadline: Duration,
) -> Result<(TlsStream<TcpStream>, Option<ClientCertificate>), Refused> {
    let shake = async {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        start.into_stream(current.load_full()).await
    };
    let stream = match tokio::time::timeout(deadline, shake).await {
        Err(_) => return Err(Refused { code: "deadline.handshake", detail: "the handshake took too long".into() }),
        Ok(Err(error)) => return Err(refusal(&error)),
        Ok(Ok(stream)) => stream,
    };
    let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let certificate = match leaf.map(facts).transpose() {
        Ok(certificate) => certificate,
        Err(detail) => return Err(Refused { code: "tls.certificate", detail: detail.into() }),
    };
    Ok((stream, certificate))
}

fn refusal(error: &std::io::Error) -> Refused {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let code = match inner {
        Some(rustls::Error::InvalidCertificate(_)) => "tls.certificate",
        _ => "tls.handshake",
    };
    Refused { code, detail: error.to_string() }
}

/// What the gates may know of a certificate whose chain was verified.
pub fn facts(der: &CertificateDer<'_>) -> Result<ClientCertificate, &'static str> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| "the certificate cannot be read")?;
    if !rest.is_empty() {
        return Err("bytes follow the certificate");
    }
    // RFC 5280 §4.2.1.12: a certificate that does not say it is for clients is not taken as one.
    match certificate.extended_key_usage() {
        Ok(Some(usage)) if usage.value.client_auth => {}
        _ => return Err("the certificate is not for clients (extended key usage)"),
    }
    let mut san_uris = Vec::new();
    let mut san_dns = Vec::new();
    if let Some(names) = certificate.subject_alternative_name().map_err(|_| "its alternative names cannot be read")? {
        for name in &names.value.general_names {
            match name {
                GeneralName::URI(uri) => san_uris.push(plain(uri)?),
                GeneralName::DNSName(dns) => san_dns.push(plain(dns)?.to_ascii_lowercase()),
                _ => {}
            }
        }
    }
    let validity = certificate.validity();
    Ok(ClientCertificate {
        fingerprint: Digest::of_bytes(der).hex(),
        serial: serial(certificate.tbs_certificate.raw_serial()),
        issuer: certificate.issuer().to_string(),
        subject: certificate.subject().to_string(),
        san_uris,
        san_dns,
        not_before: Timestamp::from_seconds(validity.not_before.timestamp()),
        not_after: Timestamp::from_seconds(validity.not_after.timestamp()),
    })
}

/// SECURITY: a NUL or a blank in a name is read differently by the next reader (M05).
fn plain(name: &str) -> Result<String, &'static str> {
    if !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(name.to_owned())
    } else {
        Err("an alternative name has unusual characters")
    }
}

/// Lower-case hexadecimal without leading zeros.
fn serial(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = text.trim_start_matches('0');
    if text.is_empty() { "0".to_owned() } else { text.to_owned() }
}
