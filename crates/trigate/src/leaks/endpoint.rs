//! A scanner reports what it found: signature first, then each finding. (GitHub secret scanning partner programme)

use super::{Reports, Scanner, notice::Notice, settings::Keys};
use crate::operator::{
    By, OperatorError,
    leak::{Finding, Leaked, short},
};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use trigate_core::{Actor, credential::Digest};
use trigate_issuer::Peer;
use zeroize::Zeroizing;

/// Findings of one report.
const MAX_FINDINGS: usize = 5_000;

#[derive(Deserialize)]
struct Found {
    token: Zeroizing<String>,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    source: Option<String>,
}

/// What the scanner learns of one finding: a hash instead of the text, so that no answer holds a key.
#[derive(Serialize)]
struct Label {
    token_hash: String,
    token_type: String,
    label: &'static str,
}

/// Why a report was not taken.
enum Refused {
    Limited(u64),
    /// One answer for every fault of the signature: a stranger learns nothing from which it was.
    Unsigned,
    Unreadable(&'static str),
    /// Keys or store cannot be had: it shall be sent again.
    Later,
}

pub(super) async fn endpoint(
    State(reports): State<Arc<Reports>>,
    Extension(Peer(peer)): Extension<Peer>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(scanner) = reports.settings.load().0.get(&name).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let by = By { actor: Actor::System, address: Some(peer), request: None, reason: None };
    let answer = match reports.check(&scanner, &headers, &body, peer).await {
        Ok(()) => reports.take(&scanner, &by, &body).await,
        Err(refused) => Err(refused),
    };
    let mut response = match answer {
        Ok(labels) => Json(labels).into_response(),
        Err(refused) => refused.answer(),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Reports {
    /// SECURITY: over the bytes as they came, before anything in them is read.
    async fn check(
        &self,
        scanner: &Scanner,
        headers: &HeaderMap,
        body: &[u8],
        peer: std::net::IpAddr,
    ) -> Result<(), Refused> {
        self.strangers.admit(peer, self.clock.monotonic()).map_err(Refused::Limited)?;
        let identifier = one(headers, &scanner.identifier).ok_or(Refused::Unsigned)?;
        let signature = one(headers, &scanner.signature).and_then(|text| BASE64_STANDARD.decode(text).ok());
        let signature = signature.ok_or(Refused::Unsigned)?;
        let keys = match &scanner.keys {
            Keys::Read(keys) => Arc::clone(keys),
            Keys::Url(url) => self.fetched.of(url, identifier).await.ok_or(Refused::Later)?,
        };
        let key = keys.find(identifier).ok_or(Refused::Unsigned)?;
        key.verify_p256_der(body, &signature).map_err(|_| Refused::Unsigned)?;
        self.strangers.forget(peer);
        Ok(())
    }

    async fn take(&self, scanner: &Arc<Scanner>, by: &By, body: &[u8]) -> Result<Vec<Label>, Refused> {
        let found: Vec<Found> =
            serde_json::from_slice(body).map_err(|_| Refused::Unreadable("the report is no array of findings"))?;
        if found.len() > MAX_FINDINGS {
            return Err(Refused::Unreadable("too many findings in one report"));
        }
        // Of two alike the second finds what the first did.
        let _turn = self.turn.lock().await;
        let mut labels = Vec::with_capacity(found.len());
        for finding in found {
            labels.push(self.take_one(scanner, by, finding).await.map_err(|error| {
                tracing::error!(%error, scanner = scanner.name, "a leaked key could not be dealt with");
                Refused::Later
            })?);
        }
        Ok(labels)
    }

    async fn take_one(&self, scanner: &Arc<Scanner>, by: &By, found: Found) -> Result<Label, OperatorError> {
        let digest = Digest::of(&found.token);
        let (url, source) = (found.url.unwrap_or_default(), found.source.unwrap_or_default());
        let finding = Finding { scanner: &scanner.name, digest, url: &url, source: &source };
        // SECURITY: never waits: whoever is told late must not keep the next key alive.
        let done = |leaked: &Leaked| {
            tracing::warn!(key = %leaked.key.id, scanner = scanner.name, done = scanner.on_leak.done(), "a key has leaked");
            self.notices.send(scanner, |webhook| Notice::of(webhook, scanner, leaked, &short(&url), &short(&source)));
        };
        let is_ours = self.operator.take_leak(by, finding, scanner.on_leak, done).await?;
        let label = if is_ours { "true_positive" } else { "false_positive" };
        Ok(Label { token_hash: digest.hex(), token_type: short(&found.kind), label })
    }
}

/// Exactly one: of two, a proxy before us may have judged the other.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

impl Refused {
    fn answer(self) -> Response {
        let (status, detail) = match self {
            Self::Limited(_) => (StatusCode::TOO_MANY_REQUESTS, "too many reports without a good signature"),
            Self::Unsigned => (StatusCode::UNAUTHORIZED, "no key of this scanner has signed the report"),
            Self::Unreadable(why) => (StatusCode::BAD_REQUEST, why),
            Self::Later => (StatusCode::SERVICE_UNAVAILABLE, "the report cannot be taken now; send it again"),
        };
        let mut response =
            (status, Json(serde_json::json!({ "status": status.as_u16(), "detail": detail }))).into_response();
        match self {
            Self::Limited(seconds) => drop(response.headers_mut().insert(header::RETRY_AFTER, seconds.into())),
            // RFC 9110 §11.6.1: the scheme has no registered name; it says at least what is wanted.
            Self::Unsigned => {
                let challenge = HeaderValue::from_static("Signature alg=\"ecdsa-p256-sha256\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            Self::Later => drop(response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"))),
            Self::Unreadable(_) => {}
        }
        response
    }
}
