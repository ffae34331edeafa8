//! Is the server the one that the URL names? rustls with one provider, chosen here and not by whoever came first.

use crate::{OutboundError, Roots, target::Target};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use trigate_core::port::FetchError;
use url::Host;

#[derive(Clone)]
pub struct Connector {
    connector: TlsConnector,
    /// Nobody is trusted: each call says so, rather than that a certificate is bad.
    rootless: bool,
}

impl Connector {
    pub fn new(roots: &Roots) -> Result<Self, OutboundError> {
        let store = match roots {
            Roots::Native => native(),
            Roots::Pem(pem) => given(pem)?,
        };
        let rootless = store.is_empty();
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), rootless })
    }

    pub async fn connect(&self, target: &Target, stream: TcpStream) -> Result<TlsStream<TcpStream>, FetchError> {
        if self.rootless {
            return Err(target.failed("no trusted root certificates are on this machine".to_owned()));
        }
        let name = match target.host() {
            Host::Ipv4(address) => ServerName::from(std::net::IpAddr::from(*address)),
            Host::Ipv6(address) => ServerName::from(std::net::IpAddr::from(*address)),
            // RFC 6066 §3: without the trailing dot.
            Host::Domain(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
                .map_err(|_| target.failed("the host is no name for TLS".to_owned()))?,
        };
        self.connector.connect(name, stream).await.map_err(|error| target.failed(format!("TLS: {error}")))
    }
}

fn native() -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    store
}

fn given(pem: &[u8]) -> Result<RootCertStore, OutboundError> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| OutboundError::Roots(error.to_string()))?;
        store.add(certificate).map_err(|error| OutboundError::Roots(error.to_string()))?;
    }
    if store.is_empty() {
        return Err(OutboundError::Roots("there is none".to_owned()));
    }
    Ok(store)
}
