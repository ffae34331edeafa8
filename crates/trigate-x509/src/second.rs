//! Does a second reader agree? The path that was found, judged again by webpki: what one reader misreads, the other
//! does not.

use crate::{Certificate, Fault};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::time::Duration;
use trigate_core::Timestamp;
use webpki::{EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeIdIter};

/// Uses are judged by the first reader.
struct AnyUse;

impl ExtendedKeyUsageValidator for AnyUse {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        Ok(())
    }
}

pub(crate) fn check(path: &[&Certificate], now: Timestamp) -> Result<(), Fault> {
    let ([leaf, others @ ..], seconds) = (path, now.seconds()) else { return Err(Fault::SecondReader) };
    let Some((root, intermediates)) = others.split_last() else { return Err(Fault::SecondReader) };
    let root = CertificateDer::from(root.der.as_slice());
    let anchor = webpki::anchor_from_trusted_cert(&root).map_err(|_| Fault::SecondReader)?;
    let between: Vec<CertificateDer<'_>> =
        intermediates.iter().map(|c| CertificateDer::from(c.der.as_slice())).collect();
    let der = CertificateDer::from(leaf.der.as_slice());
    let leaf = EndEntityCert::try_from(&der).map_err(|_| Fault::SecondReader)?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds.unsigned_abs()));
    let anchors = [anchor];
    let outcome =
        leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &between, now, AnyUse, None, None).map(drop);
    match outcome {
        Ok(()) => Ok(()),
        // It reads no constraints on URIs, e-mail and directory names, and refuses where they stand. Everything else it
        // has judged before it comes to them.
        Err(Error::NameConstraintViolation) if beyond(path) => Ok(()),
        Err(_) => Err(Fault::SecondReader),
    }
}

fn beyond(path: &[&Certificate]) -> bool {
    path.iter().filter_map(|c| c.constraints.as_ref()).any(crate::constraints::Constraints::is_beyond_second_reader)
}
