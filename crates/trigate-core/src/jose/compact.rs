//! Is this text one signed statement in compact form (RFC 7515 §7.1), and did this key sign it?
//!
//! Trusts nothing until [`Compact::verify`] has answered. Of the header it reads `alg`, `kid` and `typ` alone; `jku`,
//! `x5u`, `jwk` and `x5c` are never looked at, since whoever forges a token writes them too (a DPoP proof, which shows a
//! key and trusts none, is read in `embedded.rs`). Never tells why a signature failed.

use super::strict_json::{self, Limits};
use super::{Algorithm, Claims, JoseError, VerifyingKey, base64url_decode};
use serde_json::{Map, Value};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// The default for the longest token that is read, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// The longest encoded header that is read, in bytes.
pub const MAX_HEADER_BYTES: usize = 4 * 1024;

/// An encoded RSA-8192 signature has 1366 characters; longer ones are of no key that we accept.
const MAX_SIGNATURE_CHARS: usize = 1366;
const MAX_TYP_BYTES: usize = 64;

/// A token whose form is right and of which nothing is believed.
pub struct Compact<'a> {
    algorithm: Algorithm,
    /// The algorithm's name as the header has it.
    spelled: &'static str,
    kid: Option<String>,
    typ: Option<String>,
    signing_input: &'a str,
    payload_text: &'a str,
    signature: Vec<u8>,
    /// Decoded at most once, whether for [`Self::peek_issuer`] or after verification.
    payload: OnceLock<Result<Arc<Decoded>, JoseError>>,
}

impl<'a> Compact<'a> {
    /// Takes the text apart. `max_bytes` bounds the whole text before any decoding ([`MAX_TOKEN_BYTES`] is the
    /// default); the payload's JSON has its own bound of 16 KiB beside it.
    ///
    /// # Errors
    /// What is wrong with the form or the header.
    pub fn parse(token: &'a str, max_bytes: usize) -> Result<Self, JoseError> {
        Self::parse_with_header(token, max_bytes).map(|(compact, _)| compact)
    }

    /// As [`Self::parse`], with the whole header beside it: for `embedded` alone.
    pub(super) fn parse_with_header(token: &'a str, max_bytes: usize) -> Result<(Self, Map<String, Value>), JoseError> {
        if token.len() > max_bytes {
            return Err(JoseError::TokenTooLong);
        }
        let (signing_input, header_text, payload_text, signature_text) = split(token)?;
        if header_text.len() > MAX_HEADER_BYTES {
            return Err(JoseError::HeaderTooLong);
        }
        if signature_text.len() > MAX_SIGNATURE_CHARS {
            return Err(JoseError::SignatureInvalid);
        }
        let header = base64url_decode(header_text.as_bytes())?;
        let header = strict_json::parse_object(&header, Limits::TOKEN)?;
        reject_extensions(&header)?;
        let (algorithm, spelled) = read_algorithm(&header)?;
        let compact = Self {
            algorithm,
            spelled,
            kid: read_kid(&header)?,
            typ: read_typ(&header)?,
            signing_input,
            payload_text,
            signature: base64url_decode(signature_text.as_bytes())?,
            payload: OnceLock::new(),
        };
        Ok((compact, header))
    }

    /// What the header says; only the key decides.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The name of a key, to be looked up among trusted keys in memory and used for nothing else.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The header's `typ` as it stands.
    #[must_use]
    pub fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    /// Is `typ` this media type? Case and the prefix `application/` do not matter (`at+jwt`,
    /// `application/at+jwt`); absent is no. // RFC 7515 §4.1.9, RFC 9068 §4, RFC 8725 §3.11
    #[must_use]
    pub fn typ_is(&self, wanted: &str) -> bool {
        self.typ.as_deref().is_some_and(|typ| {
            let (prefix, rest) = typ.split_at_checked("application/".len()).unwrap_or(("", typ));
            let bare = if prefix.eq_ignore_ascii_case("application/") { rest } else { typ };
            bare.eq_ignore_ascii_case(wanted)
        })
    }

    /// Who *claims* to have issued this? Unverified: good for choosing among configured issuers, for nothing else.
    #[must_use]
    pub fn peek_issuer(&self) -> Option<String> {
        let decoded = self.decoded().ok()?;
        Some(decoded.object.get("iss")?.as_str()?.to_owned())
    }

    /// Did `key` sign this, under the key's own algorithm? The only way to a [`Payload`].
    ///
    /// # Errors
    /// `AlgorithmMismatch`, `SignatureInvalid`, or what is wrong with the payload's form.
    pub fn verify(&self, key: &VerifyingKey) -> Result<Payload, JoseError> {
        self.check_signature(key)?;
        self.decoded().map(Payload)
    }

    /// The question of JWS alone: did `key` sign these bytes, whatever they are? Claims are read from [`Self::verify`].
    ///
    /// # Errors
    /// `AlgorithmMismatch`, `SignatureInvalid`, `Base64`.
    // RFC 7515 §5.2
    pub fn verify_bytes(&self, key: &VerifyingKey) -> Result<Vec<u8>, JoseError> {
        self.check_signature(key)?;
        base64url_decode(self.payload_text.as_bytes())
    }

    fn check_signature(&self, key: &VerifyingKey) -> Result<(), JoseError> {
        // RFC 8725 §3.1: the header must agree with the key, and cannot change what the key is used for.
        if !key.is_for(self.algorithm, self.spelled) {
            return Err(JoseError::AlgorithmMismatch);
        }
        key.verify(self.signing_input.as_bytes(), &self.signature)
    }

    fn decoded(&self) -> Result<Arc<Decoded>, JoseError> {
        self.payload.get_or_init(|| Decoded::read(self.payload_text).map(Arc::new)).clone()
    }
}

impl fmt::Debug for Compact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compact")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .field("typ", &self.typ)
            .finish_non_exhaustive()
    }
}

struct Decoded {
    bytes: Vec<u8>,
    object: Map<String, Value>,
}

impl Decoded {
    fn read(text: &str) -> Result<Self, JoseError> {
        let bytes = base64url_decode(text.as_bytes())?;
        let object = strict_json::parse_object(&bytes, Limits::TOKEN)?;
        Ok(Self { bytes, object })
    }
}

/// What a key has signed. Cheap to clone.
///
/// INVARIANT: made by [`Compact::verify`] alone.
#[derive(Clone)]
pub struct Payload(Arc<Decoded>);

impl Payload {
    /// The signed bytes, decoded.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    #[must_use]
    pub fn object(&self) -> &Map<String, Value> {
        &self.0.object
    }

    /// Typed, strict access.
    #[must_use]
    pub fn claims(&self) -> Claims<'_> {
        Claims::new(&self.0.object)
    }
}

impl fmt::Debug for Payload {
    /// Claims are personal data: they stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Payload(redacted)")
    }
}

/// Exactly three parts; a JWE has five, an unsecured JWT an empty third. At most three dots are looked at, however many
/// there are. (A JWS may sign nothing, RFC 7515 §5.2; no claims set is empty.) // RFC 7515 §5.2 step 1, RFC 7519 §6
fn split(token: &str) -> Result<(&str, &str, &str, &str), JoseError> {
    let (header, rest) = token.split_once('.').ok_or(JoseError::NotThreeParts)?;
    let (payload, signature) = rest.split_once('.').ok_or(JoseError::NotThreeParts)?;
    if header.is_empty() || signature.is_empty() || signature.contains('.') {
        return Err(JoseError::NotThreeParts);
    }
    let signing_input = token.get(..header.len() + 1 + payload.len()).ok_or(JoseError::NotThreeParts)?;
    Ok((signing_input, header, payload, signature))
}

/// We know no extension, so whatever is critical is unknown; and a payload that is not base64url has two readings.
fn reject_extensions(header: &Map<String, Value>) -> Result<(), JoseError> {
    // RFC 7515 §4.1.11: in any form, even an empty or misspelt list.
    if header.contains_key("crit") {
        return Err(JoseError::CriticalHeader);
    }
    // RFC 7797 §7
    if header.contains_key("b64") {
        return Err(JoseError::UnencodedPayload);
    }
    Ok(())
}

fn read_algorithm(header: &Map<String, Value>) -> Result<(Algorithm, &'static str), JoseError> {
    let name = header.get("alg").and_then(Value::as_str).ok_or(JoseError::AlgorithmInvalid)?;
    let algorithm: Algorithm = name.parse()?;
    Ok((algorithm, algorithm.spelled(name)))
}

fn read_kid(header: &Map<String, Value>) -> Result<Option<String>, JoseError> {
    match header.get("kid") {
        None => Ok(None),
        Some(Value::String(kid)) => super::jwk::check_kid(kid).map(|()| Some(kid.clone())),
        Some(_) => Err(JoseError::KidInvalid),
    }
}

fn read_typ(header: &Map<String, Value>) -> Result<Option<String>, JoseError> {
    match header.get("typ") {
        None => Ok(None),
        Some(Value::String(typ)) if typ.len() <= MAX_TYP_BYTES && !typ.chars().any(char::is_control) => {
            Ok(Some(typ.clone()))
        }
        Some(_) => Err(JoseError::TypInvalid),
    }
}
