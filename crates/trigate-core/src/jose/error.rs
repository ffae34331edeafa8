//! Why was a token or a key refused? A closed list with stable codes.
//! Never holds text from the token or the key: it goes to logs and records.

/// Why a token, a key or a key set was refused, or could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum JoseError {
    #[error("the token is longer than allowed")]
    TokenTooLong,
    #[error("the token's header is longer than allowed")]
    HeaderTooLong,
    #[error("the token is not three parts, the first and the last not empty")]
    NotThreeParts,
    #[error("a part is not canonical unpadded base64url")]
    Base64,
    #[error("the JSON text is longer than allowed")]
    JsonTooLong,
    #[error("the JSON text is malformed")]
    JsonMalformed,
    #[error("the JSON text is not an object")]
    JsonNotObject,
    #[error("a JSON object names one member twice")]
    JsonDuplicateMember,
    #[error("the JSON text is nested too deeply")]
    JsonTooDeep,
    #[error("the JSON text has too many values")]
    JsonTooManyValues,
    #[error("a JSON number is too long or out of range")]
    JsonNumber,
    #[error("the header has no usable `alg`")]
    AlgorithmInvalid,
    #[error("the header's `alg` is not one that is accepted here")]
    AlgorithmNotAllowed,
    #[error("the header's `alg` is not the key's")]
    AlgorithmMismatch,
    #[error("the header has `crit`")]
    CriticalHeader,
    #[error("the header has `b64`")]
    UnencodedPayload,
    #[error("the header's `typ` is not a short string")]
    TypInvalid,
    #[error("the `kid` is not a short string without control characters")]
    KidInvalid,
    #[error("the signature is not valid")]
    SignatureInvalid,
    #[error("the key's type or curve is not supported")]
    KeyTypeUnsupported,
    #[error("the key is not an object with the members of its type")]
    KeyMalformed,
    #[error("the key carries private or secret members")]
    KeyPrivate,
    #[error("the key is not meant for verifying signatures")]
    KeyNotForVerifying,
    #[error("the key's `alg` does not fit the key or the algorithm demanded")]
    KeyAlgorithmMismatch,
    #[error("the key is too weak or too large")]
    KeyWeak,
    #[error("the key's public point is not on its curve or of small order")]
    KeyPointInvalid,
    #[error("another key has the same `kid`")]
    KeyDuplicateKid,
    #[error("the key set is not an object with an array `keys`")]
    JwksMalformed,
    #[error("the key set has too many keys")]
    JwksTooManyKeys,
    #[error("the private key is malformed or not of the algorithm's type")]
    PrivateKeyInvalid,
    #[error("the key could not be generated or exported")]
    KeyGeneration,
    #[error("the claims could not be written as a strict JSON object")]
    ClaimsInvalid,
    #[error("the signature could not be made")]
    Signing,
}

impl JoseError {
    /// A stable code for records, metrics and tests.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TokenTooLong => "token_too_long",
            Self::HeaderTooLong => "header_too_long",
            Self::NotThreeParts => "not_three_parts",
            Self::Base64 => "not_base64url",
            Self::JsonTooLong => "json_too_long",
            Self::JsonMalformed => "json_malformed",
            Self::JsonNotObject => "json_not_object",
            Self::JsonDuplicateMember => "json_duplicate_member",
            Self::JsonTooDeep => "json_too_deep",
            Self::JsonTooManyValues => "json_too_many_values",
            Self::JsonNumber => "json_number",
            Self::AlgorithmInvalid => "algorithm_invalid",
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::AlgorithmMismatch => "algorithm_mismatch",
            Self::CriticalHeader => "critical_header",
            Self::UnencodedPayload => "unencoded_payload",
            Self::TypInvalid => "typ_invalid",
            Self::KidInvalid => "kid_invalid",
            Self::SignatureInvalid => "signature_invalid",
            Self::KeyTypeUnsupported => "key_type_unsupported",
            Self::KeyMalformed => "key_malformed",
            Self::KeyPrivate => "key_private",
            Self::KeyNotForVerifying => "key_not_for_verifying",
            Self::KeyAlgorithmMismatch => "key_algorithm_mismatch",
            Self::KeyWeak => "key_weak",
            Self::KeyPointInvalid => "key_point_invalid",
            Self::KeyDuplicateKid => "key_duplicate_kid",
            Self::JwksMalformed => "jwks_malformed",
            Self::JwksTooManyKeys => "jwks_too_many_keys",
            Self::PrivateKeyInvalid => "private_key_invalid",
            Self::KeyGeneration => "key_generation",
            Self::ClaimsInvalid => "claims_invalid",
            Self::Signing => "signing",
        }
    }
}
