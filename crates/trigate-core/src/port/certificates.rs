//! Client certificates that were issued here. Revocation goes through `Revocations`.

use super::{StoreError, Stored};
use crate::{act::Act, key::CertificateRecord};
use async_trait::async_trait;

#[async_trait]
pub trait Certificates: Send + Sync {
    async fn record_certificate(&self, act: Act, new: CertificateRecord) -> Stored<CertificateRecord>;
    async fn find_certificate(&self, fingerprint: &str) -> Result<Option<CertificateRecord>, StoreError>;
    async fn list_certificates(&self) -> Result<Vec<CertificateRecord>, StoreError>;
}
