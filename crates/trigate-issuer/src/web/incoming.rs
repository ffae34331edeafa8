//! One request, read whole within a bound. Trusts the listener's word on the peer and nothing else.

use super::params::{Malformed, Params};
use crate::{Peer, PresentedCertificate};
use axum::{body, extract::Request};
use bytes::Bytes;
use http::{HeaderMap, header};
use std::net::{IpAddr, Ipv4Addr};

/// Bytes of a form that any endpoint reads.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;
/// Bytes of a query that any endpoint reads.
pub(crate) const MAX_QUERY_BYTES: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) peer: IpAddr,
    pub(crate) certificate: Option<PresentedCertificate>,
    body: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadBody {
    TooLarge,
    /// Not `application/x-www-form-urlencoded`.
    NotForm,
    Malformed,
}

impl From<Malformed> for BadBody {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl Incoming {
    pub(crate) async fn read(request: Request) -> Result<Self, BadBody> {
        let (head, body) = request.into_parts();
        let announced = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let query = head.uri.query().unwrap_or_default();
        if announced.is_some_and(|length: u64| length > MAX_BODY_BYTES as u64) || query.len() > MAX_QUERY_BYTES {
            return Err(BadBody::TooLarge);
        }
        let peer =
            head.extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.to_canonical());
        Ok(Self {
            query: query.to_owned(),
            peer,
            certificate: head.extensions.get().cloned(),
            body: body::to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| BadBody::TooLarge)?,
            headers: head.headers,
        })
    }

    /// The body's parameters.
    pub(crate) fn form(&self) -> Result<Params, BadBody> {
        let media_type =
            self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(BadBody::NotForm);
        }
        Ok(Params::parse(std::str::from_utf8(&self.body).map_err(|_| BadBody::Malformed)?)?)
    }

    /// What a counter of sources is kept by: an IPv6 host owns its whole /64.
    pub(crate) fn source(&self) -> String {
        trigate_core::address::party(self.peer).to_string()
    }

    /// A header that is text; of several the first.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
