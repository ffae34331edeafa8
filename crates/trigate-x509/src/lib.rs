//! May this certificate chain speak for a client? A pure judge: certificates, roots, revocation lists and a time go in,
//! a verdict comes out.
//!
//! Two readers must agree: this crate's own path validation, and webpki's over the path that was found. Trusts the
//! roots it is given. Never fetches, never reads a clock, and does a bounded amount of work on whatever is presented.

mod certificate;
mod chain;
mod constraints;
mod crl;
mod der;
mod dn;
mod fault;
mod key;
mod name;
mod second;
#[cfg(test)]
mod tests;

pub use certificate::{Certificate, Facts};
pub use chain::{ClientUse, CrlRule, Policy, Verified, accept_chain};
pub use crl::{Crl, MAX_CRL_BYTES};
pub use fault::Fault;

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject};
use trigate_core::Timestamp;

/// The trust domain of a SPIFFE id in its only spelling; `None`: it is no such id.
pub fn spiffe_domain(id: &str) -> Option<&str> {
    name::spiffe(id)
}

/// A distinguished name in its one RFC 4514 form, as [`Facts`] has it; `None`: the text is no name.
pub fn distinguished_name(text: &str) -> Option<String> {
    dn::read(text)
}

/// The certificates of a PEM text, in its order.
///
/// # Errors
/// The text is no PEM.
pub fn read_pem(text: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    CertificateDer::pem_slice_iter(text)
        .map(|der| der.map(|der| der.to_vec()).map_err(|_| Fault::Unreadable("it is no PEM")))
        .collect()
}

/// The revocation lists of a file: PEM, or one list in DER.
///
/// # Errors
/// A list that cannot be read, or is larger than [`MAX_CRL_BYTES`].
pub fn read_crls(bytes: &[u8]) -> Result<Vec<Crl>, Fault> {
    if bytes.first() == Some(&0x30) {
        return Ok(vec![Crl::read(bytes)?]);
    }
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(bytes)
        .map(|der| der.map_err(|_| Fault::CrlUnreadable("it is no PEM")).and_then(|der| Crl::read(&der)))
        .collect::<Result<_, _>>()?;
    // SECURITY: a file without a list would look like "nothing is revoked".
    if lists.is_empty() { Err(Fault::CrlUnreadable("no revocation list is in it")) } else { Ok(lists) }
}

/// Is the chain accepted under the gate's defaults, with these lists honoured? For callers with PEM texts.
pub fn accept_pem(chain: &[String], roots: &[String], crls: &[String], now: Timestamp) -> Result<Verified, Fault> {
    let ders = |texts: &[String]| -> Result<Vec<Vec<u8>>, Fault> {
        let lists = texts.iter().map(|text| read_pem(text.as_bytes())).collect::<Result<Vec<_>, _>>()?;
        Ok(lists.into_iter().flatten().collect())
    };
    let roots: Vec<Certificate> = ders(roots)?.iter().filter_map(|der| Certificate::read_root(der).ok()).collect();
    let lists = crls.iter().map(|text| read_crls(text.as_bytes())).collect::<Result<Vec<_>, _>>()?;
    let lists: Vec<Crl> = lists.into_iter().flatten().collect();
    let lists: Vec<&Crl> = lists.iter().collect();
    accept_chain(&ders(chain)?, &roots, &lists, now, &Policy::default())
}
