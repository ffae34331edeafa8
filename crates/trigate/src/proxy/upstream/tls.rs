//! How do we speak TLS to an API? Whom we believe, what we show, and which protocol we ask for.

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use std::{
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    sync::Arc,
};
use trigate_core::credential::Digest;

/// Settings of an upstream beyond the operating system's authorities.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    pub ca: Option<PathBuf>,
    /// Certificate chain and private key.
    pub identity: Option<(PathBuf, PathBuf)>,
    pub server_name: Option<String>,
    pub http2: bool,
}

/// A way to speak TLS. Equal when made from the same settings and the same contents of files: connections are shared by
/// equals alone, so a replaced certificate means new connections.
#[derive(Clone, Debug)]
pub struct TlsClient {
    pub config: Arc<ClientConfig>,
    pub server_name: Option<ServerName<'static>>,
    digest: Digest,
}

impl PartialEq for TlsClient {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for TlsClient {}

impl Hash for TlsClient {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.bytes().hash(state);
    }
}

impl TlsSettings {
    pub fn load(&self) -> Result<TlsClient, String> {
        let mut told = format!("{:?} {}\n", self.server_name, self.http2).into_bytes();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| error.to_string())?
            .with_root_certificates(self.roots(&mut told)?);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(&read(certificate, &mut told)?, certificate)?;
                let key_der = PrivateKeyDer::from_pem_slice(&read(key, &mut told)?)
                    .map_err(|error| format!("the key `{}`: {error}", key.display()))?;
                builder
                    .with_client_auth_cert(chain, key_der)
                    .map_err(|error| format!("certificate `{}` and its key: {error}", certificate.display()))?
            }
        };
        if self.http2 {
            config.alpn_protocols = vec![b"h2".to_vec()];
        }
        let server_name = self.server_name.clone().map(ServerName::try_from).transpose();
        Ok(TlsClient {
            config: Arc::new(config),
            server_name: server_name.map_err(|error| format!("`server_name`: {error}"))?,
            digest: Digest::of_bytes(&told),
        })
    }

    fn roots(&self, told: &mut Vec<u8>) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        let Some(ca) = &self.ca else {
            let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(roots);
        };
        for authority in certificates(&read(ca, told)?, ca)? {
            roots.add(authority).map_err(|error| format!("the authorities in `{}`: {error}", ca.display()))?;
        }
        if roots.is_empty() {
            return Err(format!("the authorities in `{}`: no certificate in it", ca.display()));
        }
        Ok(roots)
    }
}

fn read(path: &Path, told: &mut Vec<u8>) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    told.extend_from_slice(Digest::of_bytes(&bytes).bytes());
    Ok(bytes)
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>();
    certificates.map_err(|error| format!("the certificates in `{}`: {error}", path.display()))
}
