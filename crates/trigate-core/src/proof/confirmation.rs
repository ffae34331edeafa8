//! To which key is a token bound? The claim `cnf` (RFC 7800 §3.1).

use crate::{
    credential::Digest,
    jose::{ClaimError, Claims},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// What must be shown beside the token. With both members both must be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Confirmation {
    /// Thumbprint of a DPoP key. // RFC 9449 §6.1
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jkt: Option<String>,
    /// Hash of a client certificate. // RFC 8705 §3.1
    #[serde(rename = "x5t#S256", skip_serializing_if = "Option::is_none")]
    pub x5t: Option<String>,
    /// Bound in a way that is not known here: nothing can be shown that would satisfy it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
}

impl Confirmation {
    pub fn of_key(jkt: &str) -> Self {
        Self { jkt: Some(jkt.to_owned()), ..Self::default() }
    }

    pub fn of_certificate(fingerprint: &Digest) -> Self {
        Self { x5t: Some(x5t(fingerprint)), ..Self::default() }
    }

    /// `Ok(None)`: a bearer token. A binding that is not understood is kept as such, never dropped.
    ///
    /// # Errors
    /// `WrongType`.
    pub fn read(claims: Claims<'_>) -> Result<Option<Box<Self>>, ClaimError> {
        let Some(cnf) = claims.object("cnf")? else { return Ok(None) };
        let (jkt, x5t) = (cnf.text("jkt")?.map(str::to_owned), cnf.text("x5t#S256")?.map(str::to_owned));
        let unknown = jkt.is_none() && x5t.is_none();
        Ok(Some(Box::new(Self { jkt, x5t, unknown })))
    }

    /// Was all of it shown? `shown` names what came with a request, each proven by itself.
    pub fn is_met_by(&self, shown: &Self) -> bool {
        let met = |wanted: &Option<String>, shown: &Option<String>| wanted.is_none() || wanted == shown;
        !self.unknown && met(&self.jkt, &shown.jkt) && met(&self.x5t, &shown.x5t)
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Is this the certificate? `fingerprint`: SHA-256 of its DER form. // RFC 8705 §3
    pub fn names_certificate(&self, fingerprint: &Digest) -> bool {
        self.x5t.as_ref().is_some_and(|named| *named == x5t(fingerprint))
    }
}

fn x5t(fingerprint: &Digest) -> String {
    URL_SAFE_NO_PAD.encode(fingerprint.bytes())
}
