//! Which keys sign, and which certificates were issued? Public facts and sealed private parts; no signing here.

use crate::{jose::Algorithm, time::Timestamp};
use serde::{Deserialize, Serialize};

/// A signing key as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKeyRecord {
    /// Named by month of birth: `key-2026-11`, then `key-2026-11-2`.
    pub kid: String,
    pub algorithm: Algorithm,
    pub public_jwk: serde_json::Value,
    /// PKCS#8, sealed under the master key.
    pub sealed_private: Vec<u8>,
    pub created_at: Timestamp,
    /// Published before it signs, so that every verifier has it in time.
    pub signs_from: Timestamp,
    /// From then on it signs no more; `None` while no successor is named.
    pub signs_until: Option<Timestamp>,
    /// From then on it is no longer published: the last token it signed has expired.
    pub published_until: Option<Timestamp>,
    pub revoked: bool,
}

/// A client certificate that this Trigate issued or was told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRecord {
    /// SHA-256 of the certificate (DER), lower-case hexadecimal: its name in Trigate.
    pub fingerprint: String,
    /// Lower-case hexadecimal without leading zeros.
    pub serial: String,
    pub issuer: String,
    pub subject: String,
    /// SAN URI or DNS name that maps to the machine identity.
    pub name: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    pub revoked_at: Option<Timestamp>,
    pub created_at: Timestamp,
}
