//! Why was a chain not accepted? One closed list, in plain words for the operator.

/// The first thing that keeps the chain from being accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    #[error("the certificate cannot be read: {0}")]
    Unreadable(&'static str),
    #[error("no certificate came")]
    Empty,
    #[error("too many certificates came")]
    TooMany,
    #[error("a certificate of the chain is not version 3")]
    Version,
    #[error("a serial number is not positive, or too long")]
    Serial,
    #[error("an extension stands there twice")]
    DuplicateExtension,
    #[error("a critical extension is not understood here")]
    CriticalExtension,
    #[error("an alternative name is malformed or ambiguous")]
    Name,
    #[error("a key is too weak, or of a kind that is not used here")]
    WeakKey,
    #[error("a signature algorithm is too weak, or not used here")]
    WeakSignature,
    #[error("a certificate of the chain is not valid yet")]
    NotYetValid,
    #[error("a certificate of the chain is over")]
    Expired,
    #[error("the certificate is one of an authority, not of a client")]
    AuthorityAsClient,
    #[error("an issuer in the chain is no authority")]
    NotAnAuthority,
    #[error("the chain is longer than an authority in it allows")]
    PathLength,
    #[error("the certificate is not for clients (extended key usage)")]
    ExtendedKeyUsage,
    #[error("the certificate's key is not for signatures (key usage)")]
    KeyUsage,
    #[error("a name lies outside what an authority of the chain may certify")]
    NameConstraint,
    #[error("no trusted authority stands behind it")]
    UnknownIssuer,
    #[error("the chain needs more work than is done for a stranger")]
    TooMuchWork,
    #[error("a certificate of the chain was revoked by its authority")]
    Revoked,
    #[error("a revocation list cannot be read: {0}")]
    CrlUnreadable(&'static str),
    #[error("a revocation list of this authority cannot be used: {0}")]
    CrlUnusable(&'static str),
    #[error("a revocation list is past its next update")]
    CrlStale,
    #[error("no revocation list of this authority is at hand, and one is required")]
    CrlMissing,
    #[error("the SPIFFE id is not of this trust domain")]
    TrustDomain,
    #[error("the second reader refuses the chain")]
    SecondReader,
}
