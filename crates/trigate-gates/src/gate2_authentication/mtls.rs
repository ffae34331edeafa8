//! Which machine holds this certificate? One rule must match, by an exact name or below a URI prefix.
//!
//! Trusts the edge for the chain. Never guesses: what is ambiguous is no identity (M05).

use crate::rules::{MachineMatch, MachineRule};
use trigate_core::{
    Timestamp, certificate::ClientCertificate, id::AppId, identity::Identity, oauth::ScopeSet, reason::Reason,
};

/// A machine that has proven possession of its certificate's key.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub identity: Identity,
    pub application: AppId,
    pub scopes: ScopeSet,
    pub roles: Vec<String>,
}

impl Machine {
    pub fn name(&self) -> String {
        match &self.identity {
            Identity::Machine { name } => name.clone(),
            _ => String::new(),
        }
    }
}

pub(crate) fn judge(certificate: &ClientCertificate, rules: &[MachineRule], now: Timestamp) -> Result<Machine, Reason> {
    if let Some(reason) = certificate.fault {
        return Err(reason);
    }
    // Judged on each request: the connection may be older than the certificate's end. // RFC 5280 §4.1.2.5
    if !certificate.is_valid_at(now) {
        return Err(Reason::CertificateInvalid);
    }
    let mut matching =
        rules.iter().filter_map(|rule| matched_name(certificate, &rule.matches).map(|name| (rule, name)));
    let (rule, name) = matching.next().ok_or(Reason::CertificateUnmapped)?;
    // Two rules, two machines: which one it is cannot be known.
    if matching.next().is_some() {
        return Err(Reason::CertificateUnmapped);
    }
    let name = rule.name.as_deref().unwrap_or(name);
    if !is_plain(name) {
        return Err(Reason::CertificateInvalid);
    }
    Ok(Machine {
        identity: Identity::Machine { name: name.to_owned() },
        application: rule.application.clone(),
        scopes: rule.scopes.clone(),
        roles: rule.roles.clone(),
    })
}

fn matched_name<'a>(certificate: &'a ClientCertificate, matches: &MachineMatch) -> Option<&'a str> {
    match matches {
        MachineMatch::SanUri(pattern) => match certificate.san_uris.as_slice() {
            // A SPIFFE id stands alone; of two URIs each reader takes another.
            [uri] if pattern.matches(uri) => Some(uri),
            _ => None,
        },
        // Exact: no wildcard, no trailing dot, no case folding beyond what DNS names are (lower case in the rule).
        MachineMatch::SanDns(name) => {
            let found = certificate.san_dns.iter().find(|dns| dns.eq_ignore_ascii_case(name));
            found.map(String::as_str).filter(|dns| !dns.contains('*'))
        }
        MachineMatch::Subject(subject) => {
            (certificate.subject == *subject).then_some(certificate.subject.as_str()).filter(|text| !text.is_empty())
        }
    }
}

/// It will stand in records and headers.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.len() <= 512 && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::UriPattern;

    fn rule(matches: MachineMatch, app: &str) -> MachineRule {
        MachineRule {
            matches,
            name: None,
            application: AppId::parse(app).unwrap(),
            scopes: ScopeSet::default(),
            roles: vec![],
        }
    }

    fn certificate(uris: &[&str], dns: &[&str]) -> ClientCertificate {
        ClientCertificate {
            fingerprint: "00".repeat(32),
            thumbprint: String::new(),
            key: String::new(),
            serial: "1".into(),
            issuer: "CN=ca".into(),
            subject: "CN=warehouse".into(),
            san_uris: uris.iter().map(|s| (*s).to_owned()).collect(),
            san_dns: dns.iter().map(|s| (*s).to_owned()).collect(),
            san_ips: vec![],
            san_emails: vec![],
            not_before: Timestamp::from_seconds(100),
            not_after: Timestamp::from_seconds(200),
            fault: None,
        }
    }

    #[test]
    fn m05_ambiguous_names_are_no_identity() {
        let uri = |text: &str| MachineMatch::SanUri(UriPattern::parse(text).unwrap());
        let rules = [
            rule(uri("spiffe://acme.test/*"), "app_1"),
            rule(uri("spiffe://acme.test/shop"), "app_2"),
            rule(MachineMatch::SanDns("db.acme.test".into()), "app_3"),
        ];
        let now = Timestamp::from_seconds(150);
        let judged = |uris: &[&str], dns: &[&str]| {
            judge(&certificate(uris, dns), &rules, now).map(|machine| machine.application)
        };
        assert_eq!(judged(&["spiffe://acme.test/warehouse"], &[]).unwrap().as_str(), "app_1");
        assert_eq!(judged(&[], &["db.acme.test"]).unwrap().as_str(), "app_3");
        for (uris, dns) in [
            (&["spiffe://acme.test/shop"][..], &[][..]),
            (&["spiffe://acme.test/a", "spiffe://acme.test/b"], &[]),
            (&["spiffe://acme.test/a"], &["db.acme.test"]),
            (&["spiffe://acme.test/a/../b"], &[]),
            (&["spiffe://acme.test/a\0b"], &[]),
            (&[], &["db.acme.test."]),
            (&[], &["*.acme.test"]),
            (&[], &["db.acme.test\0.evil.test"]),
            (&[], &[]),
        ] {
            assert_eq!(judged(uris, dns), Err(Reason::CertificateUnmapped), "{uris:?} {dns:?}");
        }
    }

    #[test]
    fn m01_validity_is_judged_on_each_request() {
        let rules = [rule(MachineMatch::Subject("CN=warehouse".into()), "app_1")];
        for (at, good) in [(99, false), (100, true), (200, true), (201, false)] {
            let judged = judge(&certificate(&[], &[]), &rules, Timestamp::from_seconds(at));
            assert_eq!(judged.is_ok(), good, "{at}");
        }
    }
}
