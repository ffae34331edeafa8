//! Why would a request be let through, or not? Builds the request that nobody sends and asks the gates.

use crate::{
    edge::trust::{self, TrustSet},
    operator::{OperatorError, explain::Question},
};
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use serde_json::{Value, json};
use std::{net::IpAddr, sync::Arc};
use trigate_core::Timestamp;
use trigate_gates::{Gates, Rules};

pub async fn explain(
    gates: &Gates,
    rules: &Arc<Rules>,
    question: &Question,
    trusted: Option<&TrustSet>,
    now: Timestamp,
) -> Result<Value, OperatorError> {
    let invalid = |message: &str, remedy: &str| OperatorError::invalid(message, remedy);
    let method = question.method.as_deref().unwrap_or("GET").to_uppercase();
    let method =
        Method::from_bytes(method.as_bytes()).map_err(|_| invalid("this is no method", "write GET, POST, …"))?;
    let target = question.path.as_deref().unwrap_or("/.trigate/whoami");
    let uri: Uri = target.parse().map_err(|_| invalid("this is no path", "write /api/orders"))?;
    let headers = headers(question)?;
    let certificate = match &question.certificate {
        None => None,
        Some(pem) => {
            let trusted = trusted.ok_or_else(|| {
                invalid("no authority is configured for certificates", "add `[mtls]` to trigate.toml")
            })?;
            let host = question.host.as_deref().unwrap_or("localhost");
            let facts = trust::examine(pem.as_bytes(), trusted, host, now);
            Some(facts.map_err(|why| {
                invalid(
                    &format!("the handshake would refuse this certificate: {why}"),
                    "issue one with `trigate cert issue`",
                )
            })?)
        }
    };
    let request = trigate_gates::Request {
        tenant: &rules.tenant,
        method: &method,
        host: question.host.as_deref().unwrap_or("localhost"),
        port: None,
        secure: true,
        path: uri.path(),
        query: uri.query(),
        headers: &headers,
        peer: IpAddr::from([127, 0, 0, 1]),
        certificate: certificate.as_ref(),
    };
    let explanation = Box::pin(trigate_gates::explain(gates, rules, request)).await;
    serde_json::to_value(&explanation)
        .map(|mut value| {
            if let Some(fields) = value.as_object_mut() {
                fields.insert("method".into(), json!(method.as_str()));
                fields.insert("path".into(), json!(trigate_core::credential::mask_secrets(uri.path())));
            }
            value
        })
        .map_err(|error| OperatorError::broken(error.to_string(), "report this"))
}

fn headers(question: &Question) -> Result<HeaderMap, OperatorError> {
    let mut headers = HeaderMap::new();
    let value = |text: &str| {
        let mut value = HeaderValue::from_str(text.trim()).map_err(|_| {
            OperatorError::invalid("the credential has characters that no header carries", "read it from a file")
        })?;
        value.set_sensitive(true);
        Ok::<_, OperatorError>(value)
    };
    if let Some(key) = &question.key {
        headers.insert("x-api-key", value(key)?);
    }
    if let Some(token) = &question.token {
        headers.insert(header::AUTHORIZATION, value(&format!("Bearer {}", token.trim()))?);
    }
    Ok(headers)
}
