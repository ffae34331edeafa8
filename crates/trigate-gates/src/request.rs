//! What may the gates see of a request, and which credentials came with it? Borrows the head, never the body.
//!
//! Trusts the edge for the peer's address and for a certificate's chain. Never reads a credential from a query, a
//! path, a cookie or a form, and never picks one of two.

use crate::rules::{CredentialKind, Kinds};
use http::{HeaderMap, HeaderName, Method, header};
use ipnet::IpNet;
use std::net::IpAddr;
use trigate_core::{certificate::ClientCertificate, id::TenantId, reason::Reason};

/// The head of a request, as the edge received it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub tenant: &'a TenantId,
    pub method: &'a Method,
    /// Of the target or the `Host` header, as the edge has settled it.
    pub host: &'a str,
    /// As it was said beside the host; `None` for the scheme's own.
    pub port: Option<u16>,
    /// Did it come to us over TLS?
    pub secure: bool,
    /// As it came, without the query.
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
    /// The other end of the connection.
    pub peer: IpAddr,
    pub certificate: Option<&'a ClientCertificate>,
}

/// What one kind of credential came to. "None" and "bad" are never confused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential<T> {
    Absent,
    Accepted(T),
    Rejected(Reason),
}

impl<T> Credential<T> {
    pub const fn accepted(&self) -> Option<&T> {
        match self {
            Self::Accepted(value) => Some(value),
            _ => None,
        }
    }

    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl<T> From<Result<T, Reason>> for Credential<T> {
    fn from(result: Result<T, Reason>) -> Self {
        match result {
            Ok(value) => Self::Accepted(value),
            Err(reason) => Self::Rejected(reason),
        }
    }
}

/// A presented API key with the header it came in (`None`: the usual ones).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PresentedKey<'a> {
    pub text: &'a str,
    pub own_header: Option<&'a HeaderName>,
}

/// A presented access token with the scheme that it came under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PresentedToken<'a> {
    pub text: &'a str,
    pub scheme: Scheme,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Bearer,
    /// RFC 9449 §7.1
    Dpop,
}

/// The credentials as they stand in the head; nothing of them is believed.
pub(crate) struct Presented<'a> {
    pub key: Credential<PresentedKey<'a>>,
    pub token: Credential<PresentedToken<'a>>,
    pub certificate: Option<&'a ClientCertificate>,
}

impl<'a> Presented<'a> {
    /// Reads the head. `own_headers`: the names under which imported keys arrive.
    pub fn read(request: &Request<'a>, own_headers: &'a [HeaderName]) -> Self {
        let authorization = Authorization::read(request.headers);
        Self {
            key: read_key(request.headers, own_headers, &authorization),
            token: authorization.token(),
            certificate: request.certificate,
        }
    }

    /// Which kinds came, good or bad.
    pub fn kinds(&self) -> Kinds {
        Kinds::NONE
            .with_if(CredentialKind::Key, !self.key.is_absent())
            .with_if(CredentialKind::Token, !self.token.is_absent())
            .with_if(CredentialKind::Certificate, self.certificate.is_some())
    }
}

pub(crate) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

enum Authorization<'a> {
    None,
    /// More than one header: whichever a server behind us reads, it may be the other. // RFC 9110 §5.3
    Several,
    Key(&'a str),
    Bearer(&'a str),
    Dpop(&'a str),
    Unreadable,
    /// A scheme that is no credential here (`Basic`).
    Other,
}

impl<'a> Authorization<'a> {
    fn read(headers: &'a HeaderMap) -> Self {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Self::None };
        if values.next().is_some() {
            return Self::Several;
        }
        let Ok(text) = value.to_str() else { return Self::Unreadable };
        let end = text.bytes().position(|byte| byte == b' ').unwrap_or(text.len());
        let (scheme, rest) = text.split_at_checked(end).unwrap_or((text, ""));
        let rest = rest.strip_prefix(' ').unwrap_or_default();
        // RFC 9110 §11.1: the scheme's case does not matter; the credential's does.
        match scheme {
            _ if scheme.eq_ignore_ascii_case("bearer") => Self::Bearer(rest),
            _ if scheme.eq_ignore_ascii_case("apikey") => Self::Key(rest),
            _ if scheme.eq_ignore_ascii_case("dpop") => Self::Dpop(rest),
            _ => Self::Other,
        }
    }

    fn token(&self) -> Credential<PresentedToken<'a>> {
        match self {
            Self::None | Self::Key(_) | Self::Other => Credential::Absent,
            Self::Several => Credential::Rejected(Reason::TokenDuplicate),
            Self::Bearer(text) => Credential::Accepted(PresentedToken { text, scheme: Scheme::Bearer }),
            Self::Dpop(text) => Credential::Accepted(PresentedToken { text, scheme: Scheme::Dpop }),
            Self::Unreadable => Credential::Rejected(Reason::TokenMalformed),
        }
    }
}

/// K03: whatever number of keys comes, one is judged or none.
fn read_key<'a>(
    headers: &'a HeaderMap,
    own_headers: &'a [HeaderName],
    authorization: &Authorization<'a>,
) -> Credential<PresentedKey<'a>> {
    let usual = headers.get_all(API_KEY).iter().map(|value| (value, None));
    let own = own_headers.iter().flat_map(|name| headers.get_all(name).iter().map(move |value| (value, Some(name))));
    let mut values = usual.chain(own);
    let first = values.next();
    let more = values.next().is_some();
    let scheme = match authorization {
        Authorization::Key(text) => Some(*text),
        _ => None,
    };
    match (first, scheme) {
        (None, None) => Credential::Absent,
        (Some(_), Some(_)) => Credential::Rejected(Reason::KeyDuplicate),
        _ if more => Credential::Rejected(Reason::KeyDuplicate),
        (None, Some(text)) => Credential::Accepted(PresentedKey { text, own_header: None }),
        (Some((value, own_header)), None) => match value.to_str() {
            Ok(text) => Credential::Accepted(PresentedKey { text, own_header }),
            Err(_) => Credential::Rejected(Reason::KeyMalformed),
        },
    }
}

/// An IPv4-mapped IPv6 address is the IPv4 address: one caller has one address (K10).
#[must_use]
pub fn fold_address(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Who asks: the peer, or behind configured proxies the nearest hop that is none of them.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> IpAddr {
    let trusted = |address: &IpAddr| trusted_proxies.iter().any(|net| net.contains(address));
    let mut address = fold_address(peer);
    if !trusted(&address) {
        return address;
    }
    // From the right: what stands further left was written by whoever asked.
    let lines: Vec<&str> = headers.get_all("x-forwarded-for").iter().map(|line| line.to_str().unwrap_or("?")).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Ok(hop) = hop.trim().parse::<IpAddr>() else { break };
        address = fold_address(hop);
        if !trusted(&address) {
            break;
        }
    }
    address
}

/// Is the peer a proxy whose word on forwarding is taken?
pub(crate) fn is_trusted_proxy(peer: IpAddr, trusted_proxies: &[IpNet]) -> bool {
    let peer = fold_address(peer);
    trusted_proxies.iter().any(|net| net.contains(&peer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn read(pairs: &[(&str, &str)]) -> (String, String) {
        let own = [HeaderName::from_static("x-legacy-key")];
        let headers = headers(pairs);
        let authorization = Authorization::read(&headers);
        let key = match read_key(&headers, &own, &authorization) {
            Credential::Absent => "absent".to_owned(),
            Credential::Accepted(key) => key.text.to_owned(),
            Credential::Rejected(reason) => reason.code().to_owned(),
        };
        let token = match authorization.token() {
            Credential::Absent => "absent".to_owned(),
            Credential::Accepted(token) => token.text.to_owned(),
            Credential::Rejected(reason) => reason.code().to_owned(),
        };
        (key, token)
    }

    #[test]
    fn k03_two_credentials_of_a_kind_are_none() {
        for (pairs, key, token) in [
            (&[][..], "absent", "absent"),
            (&[("x-api-key", "a")], "a", "absent"),
            (&[("authorization", "ApiKey a")], "a", "absent"),
            (&[("authorization", "bearer t")], "absent", "t"),
            (&[("x-legacy-key", "a")], "a", "absent"),
            (&[("x-api-key", "a"), ("authorization", "Bearer t")], "a", "t"),
            (&[("x-api-key", "a"), ("x-api-key", "a")], "key.duplicate", "absent"),
            (&[("x-api-key", "a"), ("x-api-key", "b")], "key.duplicate", "absent"),
            (&[("x-api-key", "a"), ("x-legacy-key", "a")], "key.duplicate", "absent"),
            (&[("x-api-key", "a"), ("authorization", "ApiKey a")], "key.duplicate", "absent"),
            (&[("authorization", "Bearer t"), ("authorization", "Bearer t")], "absent", "token.duplicate"),
            (&[("authorization", "Bearer t"), ("authorization", "ApiKey a")], "absent", "token.duplicate"),
            (&[("authorization", "DPoP t")], "absent", "t"),
            (&[("authorization", "DPoP t"), ("authorization", "Bearer t")], "absent", "token.duplicate"),
            (&[("authorization", "Basic dTpw")], "absent", "absent"),
            (&[("authorization", "Bearer")], "absent", ""),
            (&[("x-api-key", "\u{1f511}")], "key.malformed", "absent"),
            (&[("authorization", "Bearer \u{1f511}")], "absent", "token.malformed"),
            (&[("cookie", "access_token=t; x-api-key=a")], "absent", "absent"),
        ] {
            assert_eq!(read(pairs), (key.to_owned(), token.to_owned()), "{pairs:?}");
        }
    }

    #[test]
    fn k10_the_peer_or_the_nearest_untrusted_hop() {
        let proxies: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let at = |peer: &str, forwarded: &[(&str, &str)]| {
            client_address(peer.parse().unwrap(), &headers(forwarded), &proxies).to_string()
        };
        assert_eq!(at("192.0.2.1", &[("x-forwarded-for", "203.0.113.9")]), "192.0.2.1");
        assert_eq!(at("::ffff:192.0.2.1", &[]), "192.0.2.1");
        assert_eq!(at("10.0.0.1", &[("x-forwarded-for", "203.0.113.9")]), "203.0.113.9");
        assert_eq!(at("::ffff:10.0.0.1", &[("x-forwarded-for", "6.6.6.6, 203.0.113.9, 10.0.0.2")]), "203.0.113.9");
        assert_eq!(
            at("10.0.0.1", &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "203.0.113.9")]),
            "203.0.113.9"
        );
        assert_eq!(at("10.0.0.1", &[("x-forwarded-for", "6.6.6.6, x, 10.0.0.2")]), "10.0.0.2");
        assert_eq!(at("10.0.0.1", &[]), "10.0.0.1");
    }
}
