//! Client certificates that were issued here or told of.

use super::{conflict, job};
use crate::{
    dialect::{json, values},
    store::Tenant,
    writer::Tx,
};
use async_trait::async_trait;
use trigate_core::{
    Act,
    key::CertificateRecord,
    port::{Certificates, StoreError, Stored},
};

const FIND: &str = "SELECT record FROM certificates WHERE tenant = $1 AND fingerprint = $2";

/// Notes the revocation where the certificate is known; a foreign one may be revoked as well.
pub async fn mark_revoked(tx: &mut Tx, fingerprint: &str) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE certificates SET record = $3 WHERE tenant = $1 AND fingerprint = $2";
    let Some(row) = tx.one(FIND, values![&tx.tenant, fingerprint]).await? else { return Ok(()) };
    let mut record: CertificateRecord = row.json(0)?;
    record.revoked_at.get_or_insert(tx.now);
    tx.execute(UPDATE, values![&tx.tenant, fingerprint, json(&record)?]).await.map(drop)
}

#[async_trait]
impl Certificates for Tenant {
    async fn record_certificate(&self, act: Act, new: CertificateRecord) -> Stored<CertificateRecord> {
        const INSERT: &str = "INSERT INTO certificates (tenant, fingerprint, created_at, record) \
                              VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        let work = job!(|tx| {
            let row = values![&tx.tenant, &new.fingerprint, new.created_at, json(&new)?];
            match tx.execute(INSERT, row).await? {
                0 => conflict("this certificate is there already"),
                _ => Ok(new),
            }
        });
        self.write(act, work).await
    }

    async fn find_certificate(&self, fingerprint: &str) -> Result<Option<CertificateRecord>, StoreError> {
        self.one(FIND, values![&self.tenant, fingerprint]).await?.map(|row| row.json(0)).transpose()
    }

    async fn list_certificates(&self) -> Result<Vec<CertificateRecord>, StoreError> {
        const LIST: &str = "SELECT record FROM certificates WHERE tenant = $1 ORDER BY created_at, fingerprint";
        self.rows(LIST, values![&self.tenant]).await?.iter().map(|row| row.json(0)).collect()
    }
}
