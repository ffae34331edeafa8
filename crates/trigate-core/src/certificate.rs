//! Which certificate did a caller show, and is it the one that a client must show? (RFC 8705 §2)
//!
//! Trusts the edge for who holds its key and for what its chain is worth. Never takes a name that is only alike.

use crate::{reason::Reason, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A client certificate whose chain the edge has judged for this request. Validity and revocation are judged again where
/// it is used: connections live long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// SHA-256 of the DER form, lower-case hexadecimal.
    pub fingerprint: String,
    /// The same in base64url: `x5t#S256` of tokens that are bound to it. // RFC 8705 §3.1
    pub thumbprint: String,
    /// SHA-256 of the public key (its whole SPKI), lower-case hexadecimal.
    pub key: String,
    pub serial: String,
    /// Names of authority and holder in their one RFC 4514 form.
    pub issuer: String,
    pub subject: String,
    pub san_uris: Vec<String>,
    pub san_dns: Vec<String>,
    pub san_ips: Vec<IpAddr>,
    pub san_emails: Vec<String>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// Why its chain does not hold by what is trusted now; `None`: it does.
    pub fault: Option<Reason>,
}

impl ClientCertificate {
    /// Its own dates; both ends belong to it. // RFC 5280 §4.1.2.5
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// What a client's certificate must say or be. One rule for one client: of two names each could be another's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateRule {
    /// `tls_client_auth`: the chain must hold, and the certificate say this name. // RFC 8705 §2.1.2
    Name(CertificateName),
    /// `self_signed_tls_client_auth`: one of these, whoever signed it. // RFC 8705 §2.2
    Registered(Registered),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateName {
    /// In its one RFC 4514 form.
    SubjectDn(String),
    /// Lower case.
    SanDns(String),
    SanUri(String),
    SanIp(IpAddr),
    SanEmail(String),
}

/// SHA-256 in lower-case hexadecimal: of whole certificates, and of public keys (SPKI).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    pub certificates: Vec<String>,
    pub keys: Vec<String>,
}

impl CertificateRule {
    /// Is it this client's? Says nothing of revocation.
    pub fn accepts(&self, shown: &ClientCertificate, now: Timestamp) -> bool {
        let meets = match self {
            Self::Name(name) => shown.fault.is_none() && name.is_said_by(shown),
            Self::Registered(registered) => {
                registered.certificates.contains(&shown.fingerprint) || registered.keys.contains(&shown.key)
            }
        };
        meets && shown.is_valid_at(now)
    }
}

impl CertificateName {
    /// RFC 8705 §2.1.2. A wildcard in a certificate names no client.
    fn is_said_by(&self, shown: &ClientCertificate) -> bool {
        match self {
            Self::SubjectDn(name) => shown.subject == *name,
            Self::SanDns(name) => shown.san_dns.iter().any(|dns| dns.eq_ignore_ascii_case(name)),
            Self::SanUri(uri) => shown.san_uris.contains(uri),
            Self::SanIp(address) => shown.san_ips.contains(address),
            Self::SanEmail(address) => shown.san_emails.iter().any(|email| is_same_mailbox(email, address)),
        }
    }
}

/// The host's case does not matter, the mailbox's does. // RFC 5280 §7.5
fn is_same_mailbox(one: &str, other: &str) -> bool {
    match (one.rsplit_once('@'), other.rsplit_once('@')) {
        (Some((one, host)), Some((other, other_host))) => one == other && host.eq_ignore_ascii_case(other_host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown() -> ClientCertificate {
        ClientCertificate {
            fingerprint: "aa".repeat(32),
            thumbprint: String::new(),
            key: "bb".repeat(32),
            serial: "1".into(),
            issuer: "CN=ca".into(),
            subject: "CN=billing,O=Acme".into(),
            san_uris: vec!["spiffe://acme.test/billing".into()],
            san_dns: vec!["billing.acme.test".into()],
            san_ips: vec!["192.0.2.7".parse().unwrap()],
            san_emails: vec!["Billing@acme.test".into()],
            not_before: Timestamp::from_seconds(100),
            not_after: Timestamp::from_seconds(200),
            fault: None,
        }
    }

    #[test]
    fn rfc8705_2_1_2_one_name_exactly() {
        use CertificateName::{SanDns, SanEmail, SanIp, SanUri, SubjectDn};
        let now = Timestamp::from_seconds(150);
        let ip = |text: &str| SanIp(text.parse().unwrap());
        for (name, good) in [
            (SubjectDn("CN=billing,O=Acme".into()), true),
            (SubjectDn("CN=billing".into()), false),
            (SubjectDn("O=Acme,CN=billing".into()), false),
            (SanDns("Billing.acme.test".into()), true),
            (SanDns("acme.test".into()), false),
            (SanUri("spiffe://acme.test/billing".into()), true),
            (SanUri("spiffe://acme.test/Billing".into()), false),
            (ip("192.0.2.7"), true),
            (ip("192.0.2.8"), false),
            (SanEmail("Billing@ACME.test".into()), true),
            (SanEmail("billing@acme.test".into()), false),
        ] {
            let rule = CertificateRule::Name(name);
            assert_eq!(rule.accepts(&shown(), now), good, "{rule:?}");
            let untrusted = ClientCertificate { fault: Some(Reason::CertificateInvalid), ..shown() };
            assert!(!rule.accepts(&untrusted, now), "{rule:?}");
        }
        let rule = CertificateRule::Name(ip("192.0.2.7"));
        for (at, good) in [(99, false), (100, true), (200, true), (201, false)] {
            assert_eq!(rule.accepts(&shown(), Timestamp::from_seconds(at)), good, "{at}");
        }
    }

    #[test]
    fn rfc8705_2_2_a_registered_certificate_or_key_whatever_its_chain() {
        let now = Timestamp::from_seconds(150);
        let by = |certificates: &[&str], keys: &[&str]| {
            let own = |list: &[&str]| list.iter().map(|text| text.repeat(32)).collect();
            CertificateRule::Registered(Registered { certificates: own(certificates), keys: own(keys) })
        };
        let untrusted = ClientCertificate { fault: Some(Reason::CertificateInvalid), ..shown() };
        assert!(by(&["aa"], &[]).accepts(&untrusted, now));
        assert!(by(&["cc"], &["bb"]).accepts(&untrusted, now));
        assert!(!by(&["bb"], &["aa"]).accepts(&shown(), now));
        assert!(!by(&["aa"], &["bb"]).accepts(&shown(), Timestamp::from_seconds(201)));
    }
}
