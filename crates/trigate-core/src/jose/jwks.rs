//! Which of an issuer's keys does a token name? A key set (RFC 7517 §5), read once.
//!
//! Trusts the document's origin, which the caller has checked. A bad key is left out and reported, the others go on.
//! Never tries keys in turn: a `kid` names one key or none.

use super::strict_json::{self, Limits};
use super::{JoseError, VerifyingKey};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};

/// The longest key set that is read, in bytes.
pub const MAX_JWKS_BYTES: usize = Limits::DOCUMENT.bytes;

/// More keys than any issuer rotates through.
const MAX_KEYS: usize = 512;

/// Keys with distinct names.
#[derive(Debug, Clone, Default)]
pub struct Jwks {
    keys: Vec<VerifyingKey>,
    by_kid: HashMap<String, usize>,
}

/// A key of the document that will verify nothing, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its place in `keys`, from 0.
    pub index: usize,
    /// Its name, if that could be read.
    pub kid: Option<String>,
    pub reason: JoseError,
}

impl Jwks {
    /// Reads a key set of at most [`MAX_JWKS_BYTES`].
    ///
    /// One `kid` over two different keys leaves *both* out: which one a token means cannot be known, and the
    /// document's order must not decide. The same key twice is one key. Unusable keys are left out before names are compared,
    /// so an encryption key may share its name with a signing key.
    ///
    /// # Errors
    /// The document as a whole is unusable: no strict JSON (a member named twice inside a key included), no array
    /// `keys`, too long, too many.
    pub fn parse(document: &[u8]) -> Result<(Self, Vec<LeftOut>), JoseError> {
        let mut document = strict_json::parse_object(document, Limits::DOCUMENT)?;
        let Some(Value::Array(jwks)) = document.remove("keys") else {
            return Err(JoseError::JwksMalformed);
        };
        if jwks.len() > MAX_KEYS {
            return Err(JoseError::JwksTooManyKeys);
        }
        let (read, mut left_out) = read_each(&jwks);
        let kept = drop_ambiguous(read, &mut left_out);
        left_out.sort_by_key(|left| left.index);
        Ok((Self::index(kept), left_out))
    }

    /// A set to publish.
    ///
    /// # Errors
    /// `KeyDuplicateKid` when two keys have one name, or one has none.
    pub fn from_keys(keys: impl IntoIterator<Item = VerifyingKey>) -> Result<Self, JoseError> {
        let keys: Vec<_> = keys.into_iter().collect();
        let set = Self::index(keys);
        if set.by_kid.len() != set.keys.len() {
            return Err(JoseError::KeyDuplicateKid);
        }
        Ok(set)
    }

    /// The key that a token's header names. Without a `kid` in the header there is an answer only where there is
    /// no choice: a set of exactly one key.
    #[must_use]
    pub fn find(&self, kid: Option<&str>) -> Option<&VerifyingKey> {
        match kid {
            Some(kid) => self.keys.get(*self.by_kid.get(kid)?),
            None => match self.keys.as_slice() {
                [only] => Some(only),
                _ => None,
            },
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &VerifyingKey> {
        self.keys.iter()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The document to publish: public members only, by construction.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let keys: Vec<Value> = self.keys.iter().map(VerifyingKey::to_jwk).collect();
        json!({ "keys": keys })
    }

    fn index(keys: Vec<VerifyingKey>) -> Self {
        let names = keys.iter().enumerate();
        let by_kid = names.filter_map(|(index, key)| Some((key.kid()?.to_owned(), index))).collect();
        Self { keys, by_kid }
    }
}

fn read_each(jwks: &[Value]) -> (Vec<(usize, VerifyingKey)>, Vec<LeftOut>) {
    let mut read = Vec::with_capacity(jwks.len());
    let mut left_out = Vec::new();
    for (index, jwk) in jwks.iter().enumerate() {
        match VerifyingKey::from_jwk(jwk) {
            Ok(key) => read.push((index, key)),
            Err(reason) => left_out.push(LeftOut { index, kid: readable_kid(jwk.as_object()), reason }),
        }
    }
    (read, left_out)
}

fn readable_kid(jwk: Option<&Map<String, Value>>) -> Option<String> {
    let kid = jwk?.get("kid")?.as_str()?;
    super::jwk::check_kid(kid).ok()?;
    Some(kid.to_owned())
}

fn drop_ambiguous(read: Vec<(usize, VerifyingKey)>, left_out: &mut Vec<LeftOut>) -> Vec<VerifyingKey> {
    let mut first_with: HashMap<Option<String>, usize> = HashMap::new();
    let mut ambiguous: HashSet<String> = HashSet::new();
    let mut kept: Vec<(usize, VerifyingKey)> = Vec::with_capacity(read.len());
    for (index, key) in read {
        let Some(kid) = key.kid().map(str::to_owned) else {
            kept.push((index, key));
            continue;
        };
        match first_with.get(&Some(kid.clone())).and_then(|at| kept.get(*at)) {
            None => {
                first_with.insert(Some(kid), kept.len());
                kept.push((index, key));
            }
            Some((_, first)) if first.is_same_key(&key) => {}
            Some(_) => {
                ambiguous.insert(kid.clone());
                left_out.push(LeftOut { index, kid: Some(kid), reason: JoseError::KeyDuplicateKid });
            }
        }
    }
    kept.retain(|(index, key)| match key.kid() {
        Some(kid) if ambiguous.contains(kid) => {
            left_out.push(LeftOut { index: *index, kid: Some(kid.to_owned()), reason: JoseError::KeyDuplicateKid });
            false
        }
        _ => true,
    });
    kept.into_iter().map(|(_, key)| key).collect()
}
