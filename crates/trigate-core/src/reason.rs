//! Why was it decided so? A closed list with stable codes: rich inside, poor outside (the refusal is mapped from it in
//! one place of the gates).

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// The one reason of a decision. `code()` never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])* #[serde(rename = $code)] $name,)*
        }

        impl Reason {
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// One sentence for the operator.
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            pub fn from_code(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    // Before the gates.
    RouteUnknown = "route.unknown", "no route matches this host and path";
    MethodUnknown = "route.method", "a route matches the path, but not this method";
    PathAmbiguous = "request.path_ambiguous", "the path has a spelling that servers read differently";
    RequestMalformed = "request.malformed", "the request breaks a rule of HTTP";
    BodyTooLarge = "request.body_too_large", "the body is larger than the route allows";
    AuditUnavailable = "audit.unavailable", "no slot for the decision record: nothing passes unrecorded";
    AddressLimited = "address.rate_limited", "this address asks more often than allowed";
    Overloaded = "gate.overloaded", "the gate sheds load";

    // Gate 1: identification.
    KeyMissing = "key.missing", "the route wants an API key and none came";
    KeyDuplicate = "key.duplicate", "more than one API key came";
    KeyMalformed = "key.malformed", "the text is no API key: form or checksum is wrong";
    KeyUnknown = "key.unknown", "no such key is known";
    KeyRevoked = "key.revoked", "the key was revoked";
    KeyExpired = "key.expired", "the key's life is over";
    KeyNotYetValid = "key.not_yet_valid", "the key is not valid yet";
    KeyDisabled = "key.disabled", "the key is disabled";
    KeyAddress = "key.address", "the key may not be used from this address";
    ApplicationDisabled = "application.disabled", "the application is disabled";
    ApplicationLimited = "application.rate_limited", "the application's plan allows no more requests now";
    QuotaExhausted = "application.quota_exhausted", "the application has used up the quota of its plan for this day or month";

    // Gate 2: authentication.
    TokenMissing = "token.missing", "the route wants an access token and none came";
    TokenDuplicate = "token.duplicate", "more than one token came";
    TokenMalformed = "token.malformed", "the text is neither a JWT nor an opaque token of this issuer";
    TokenAlgorithm = "token.algorithm", "the token's algorithm is not the key's";
    TokenType = "token.type", "the token's `typ` is not that of an access token";
    TokenIssuer = "token.issuer", "the token's issuer is not trusted here";
    TokenKeyUnknown = "token.key_unknown", "the issuer publishes no key of this `kid`";
    TokenSignature = "token.signature", "the signature is wrong";
    TokenClaims = "token.claims", "a claim is missing or has the wrong type";
    TokenAudience = "token.audience", "the token is for another audience";
    TokenExpired = "token.expired", "the token's life is over";
    TokenNotYetValid = "token.not_yet_valid", "the token is not valid yet";
    TokenLifetime = "token.lifetime", "the token lives longer than this issuer's tokens may";
    TokenTooOld = "token.too_old", "the sensitive route wants a younger token";
    TokenRevoked = "token.revoked", "the token was revoked";
    TokenInactive = "token.inactive", "the issuer says that the token is not active";
    TokenBound = "token.bound", "the token is bound to a key that was not shown";
    TokenUnbound = "token.unbound", "a token bound to a key is wanted, and this one is a bearer token";
    ProofMissing = "proof.missing", "a DPoP proof is needed, and none or more than one came";
    ProofMalformed = "proof.malformed", "the DPoP proof has not the form of one: `typ`, algorithm, key or a claim is wrong";
    ProofSignature = "proof.signature", "the DPoP proof is not signed by the key in it";
    ProofRequest = "proof.other_request", "the DPoP proof is for another method or address (`htm`, `htu`)";
    ProofTime = "proof.time", "the DPoP proof was made too long ago, or in the future (`iat`)";
    ProofToken = "proof.other_token", "the DPoP proof is for another token (`ath`)";
    ProofKey = "proof.other_key", "the DPoP proof is of another key than the token is bound to";
    ProofNonce = "proof.nonce", "the DPoP proof lacks a fresh nonce of this gate";
    ProofReplayed = "proof.replayed", "the DPoP proof was used before";
    ProofUncounted = "proof.uncounted", "no more used DPoP proofs can be remembered: none is taken unremembered";
    SessionRevoked = "session.revoked", "the session was ended";
    GrantRevoked = "grant.revoked", "what the person allowed was withdrawn";
    UserRevoked = "user.revoked", "all that was issued to this user before was revoked";
    UserDisabled = "user.disabled", "the user is disabled";
    ClientRevoked = "client.revoked", "all that was issued to this client before was revoked";
    ClientDisabled = "client.disabled", "the client is disabled";
    ApplicationRevoked = "application.revoked", "all that was issued to this application before was revoked";
    SigningKeyRevoked = "signing_key.revoked", "the key that signed the token was revoked";
    SubjectNotUser = "subject.not_user", "the route wants a user, the token speaks for a client";
    SubjectNotService = "subject.not_service", "the route wants a service, the token speaks for a user";
    CertificateMissing = "certificate.missing", "the route wants a client certificate and none came";
    CertificateInvalid = "certificate.invalid", "the certificate is expired, foreign or not for clients";
    CertificateRevoked = "certificate.revoked", "the certificate was revoked";
    CertificateStatus = "certificate.status_unknown", "no good revocation list of the certificate's authority is at hand";
    CertificateUnmapped = "certificate.unmapped", "no rule maps this certificate to a machine";
    UserLimited = "user.rate_limited", "this user of the application asks more often than allowed";
    AuthenticationOld = "authentication.insufficient", "the route wants a stronger or fresher login (RFC 9470)";
    LookupUnavailable = "lookup.unavailable", "the token could not be looked up";
    GateStale = "gate.stale", "the gate's lease ran out: it may not know the newest revocations";

    // Gate 3: authorization.
    ScopeMissing = "scope.missing", "the token lacks a scope that the route demands";
    KeyScopeMissing = "key.scope_missing", "the API key lacks a scope that the route demands";
    RoleMissing = "role.missing", "the subject has none of the roles that the route demands";
    ApplicationsDiffer = "applications.differ", "key, token and certificate are not of one application";
    PolicyDenied = "policy.denied", "a policy refuses it";
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}
