//! What must a client's certificate say or be? Turns what operators write into one rule (RFC 8705 §2).
//!
//! Never keeps two rules for one client, and none that no certificate could meet by being read differently.

use super::{Answer, OperatorError, client::ClientPolicy};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use trigate_core::{
    certificate::{CertificateName, CertificateRule, Registered},
    client::{Client, ClientAuthentication},
    jose::VerifyingKey,
};
use trigate_x509::{Certificate, Facts};

/// Puts the policy's rule in place of the client's. `client.authentication` is the new one already.
pub(super) fn apply(client: &mut Client, policy: &ClientPolicy) -> Answer<()> {
    let names = names(policy)?;
    let by_name = client.authentication == ClientAuthentication::TlsClientAuth;
    let registers = client.authentication == ClientAuthentication::SelfSignedTlsClientAuth;
    if names.len() > 1 {
        // RFC 8705 §2.1.2: a client that used more than one would be any of several parties.
        return Err(OperatorError::invalid(
            "a client is known by one name of its certificate",
            "leave one of the --tls-… options",
        ));
    }
    if !names.is_empty() && !by_name {
        return Err(OperatorError::invalid(
            "a certificate's name proves a client of tls_client_auth alone",
            "add --authentication tls_client_auth",
        ));
    }
    if policy.certificate.is_some() && !registers {
        return Err(OperatorError::invalid(
            "a certificate is registered for self_signed_tls_client_auth alone",
            "add --authentication self_signed_tls_client_auth, or name its subject with --tls-subject",
        ));
    }
    let kept = client.certificate.take();
    client.certificate = match (names.into_iter().next(), client.authentication) {
        (Some(name), _) => Some(CertificateRule::Name(name)),
        (None, ClientAuthentication::TlsClientAuth) => kept.filter(|rule| matches!(rule, CertificateRule::Name(_))),
        (None, ClientAuthentication::SelfSignedTlsClientAuth) => {
            let kept = kept.filter(|rule| matches!(rule, CertificateRule::Registered(_)));
            registered(policy, client.jwks.as_ref().filter(|_| kept.is_none()))?
                .map(CertificateRule::Registered)
                .or(kept)
        }
        (None, _) => None,
    };
    Ok(())
}

/// Truths about a client that shows certificates. `reach_us`: any do.
pub(super) fn check(client: &Client, reach_us: bool) -> Answer<()> {
    match client.authentication {
        ClientAuthentication::TlsClientAuth if client.certificate.is_none() => Err(OperatorError::invalid(
            "tls_client_auth needs the name that the certificate must say",
            "add one of --tls-subject, --tls-dns, --tls-uri, --tls-ip, --tls-email",
        )),
        ClientAuthentication::SelfSignedTlsClientAuth if client.certificate.is_none() => Err(OperatorError::invalid(
            "self_signed_tls_client_auth needs the certificate that the client will show",
            "add --certificate FILE, or --jwks FILE with its public key",
        )),
        way if !reach_us && (way.is_by_certificate() || client.tls_client_certificate_bound_access_tokens) => {
            Err(OperatorError::invalid(
                "no client certificate reaches this issuer",
                "set `server.issuer_mtls` and `[issuer.mtls]` in trigate.toml, and restart",
            ))
        }
        _ => Ok(()),
    }
}

fn names(policy: &ClientPolicy) -> Answer<Vec<CertificateName>> {
    let said = [
        policy.tls_client_auth_subject_dn.as_ref().map(|text| subject(text)),
        policy.tls_client_auth_san_dns.as_ref().map(|text| dns(text)),
        policy.tls_client_auth_san_uri.as_ref().map(|text| uri(text)),
        policy.tls_client_auth_san_ip.as_ref().map(|text| ip(text)),
        policy.tls_client_auth_san_email.as_ref().map(|text| email(text)),
    ];
    said.into_iter().flatten().collect()
}

fn subject(text: &str) -> Answer<CertificateName> {
    let name = trigate_x509::distinguished_name(text).map(CertificateName::SubjectDn);
    name.ok_or_else(|| no(text, "distinguished name", "openssl x509 -in client.pem -noout -subject -nameopt RFC2253"))
}

fn dns(text: &str) -> Answer<CertificateName> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let good = text.len() <= 253 && text.split('.').all(|label| !label.is_empty() && label.bytes().all(plain));
    // No wildcard: it would be everybody below.
    if good {
        Ok(CertificateName::SanDns(text.to_ascii_lowercase()))
    } else {
        Err(no(text, "DNS name", "write billing.acme.example"))
    }
}

fn uri(text: &str) -> Answer<CertificateName> {
    let good = url::Url::parse(text).is_ok() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'*');
    if good {
        Ok(CertificateName::SanUri(text.to_owned()))
    } else {
        Err(no(text, "URI", "write spiffe://acme.example/billing"))
    }
}

fn ip(text: &str) -> Answer<CertificateName> {
    text.parse().map(CertificateName::SanIp).map_err(|_| no(text, "address", "write 192.0.2.7 or 2001:db8::7"))
}

fn email(text: &str) -> Answer<CertificateName> {
    let good =
        text.bytes().all(|b| b.is_ascii_graphic()) && text.split('@').filter(|part| !part.is_empty()).count() == 2;
    if good {
        Ok(CertificateName::SanEmail(text.to_owned()))
    } else {
        Err(no(text, "e-mail address", "write billing@acme.example"))
    }
}

fn no(text: &str, what: &str, help: &str) -> OperatorError {
    OperatorError::invalid(format!("`{}` is no {what}", text.escape_default()), help)
}

/// From a certificate's own text, or from a JWK set; `None`: neither came.
fn registered(policy: &ClientPolicy, stored: Option<&Value>) -> Answer<Option<Registered>> {
    if policy.certificate.is_none() && policy.jwks.is_none() && stored.is_none() {
        return Ok(None);
    }
    let mut all = Registered::default();
    if let Some(pem) = &policy.certificate {
        let chain = trigate_x509::read_pem(pem.as_bytes()).unwrap_or_default();
        let leaf = chain.first().ok_or_else(|| unusable("the file", "no certificate in PEM is in it"))?;
        all.certificates.push(facts(leaf)?.fingerprint);
    }
    let jwks = policy.jwks.as_ref().or(stored.filter(|_| policy.certificate.is_none()));
    for jwk in jwks.and_then(|jwks| jwks["keys"].as_array()).into_iter().flatten() {
        let key = VerifyingKey::from_jwk(jwk).map_err(|error| unusable("a key of the JWK set", error))?;
        match jwk["x5c"].get(0) {
            None => all.keys.push(key.spki_digest().hex()),
            Some(text) => all.certificates.push(of_x5c(text, &key)?),
        }
    }
    Ok((all != Registered::default()).then_some(all))
}

/// RFC 7517 §4.7: the first certificate carries the key that stands beside it.
fn of_x5c(text: &Value, key: &VerifyingKey) -> Answer<String> {
    let der = text.as_str().and_then(|text| STANDARD.decode(text).ok());
    let facts = facts(&der.ok_or_else(|| unusable("`x5c`", "it is no base64"))?)?;
    if facts.key == key.spki_digest().hex() {
        Ok(facts.fingerprint)
    } else {
        Err(unusable("`x5c`", "its key is not the JWK's"))
    }
}

fn facts(der: &[u8]) -> Answer<Facts> {
    Certificate::read(der).map(|read| read.facts().clone()).map_err(|fault| unusable("the certificate", fault))
}

fn unusable(what: &str, why: impl std::fmt::Display) -> OperatorError {
    OperatorError::invalid(
        format!("{what} cannot be used: {why}"),
        "RSA of 2048 bits and more, P-256, P-384, P-521 or Ed25519, with a subject",
    )
}
