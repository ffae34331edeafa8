//! Which client certificate does a proxy tell of, in its own words? nginx and Envoy write PEM with percent signs, Caddy the
//! form of RFC 9440.
//!
//! Trusts the proxy to write the header anew for each request (our examples do). Reads one form from each, exactly: what
//! cannot be read counts as a certificate that is bad, never as none.

use crate::{
    config::CertificateTeller,
    edge::{
        client_cert::{self, Malformed},
        trust::Presented,
    },
};
use http::{HeaderMap, HeaderName};

/// What was written, and by whose rules it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wording {
    form: Form,
    /// Empty: more than one line, which nobody's rules allow.
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One certificate as PEM, percent-encoded.
    EscapedPem,
    /// RFC 9440 §2.2.
    ByteSequence,
    /// Envoy's `x-forwarded-client-cert`.
    Elements,
}

/// Takes the teller's own header out of those of the request.
pub fn take(headers: &mut HeaderMap, teller: CertificateTeller) -> Option<Wording> {
    let (name, form) = match teller {
        CertificateTeller::Nginx => (HeaderName::from_static("x-ssl-client-cert"), Form::EscapedPem),
        CertificateTeller::Caddy => (client_cert::CLIENT_CERT, Form::ByteSequence),
        CertificateTeller::Envoy => (HeaderName::from_static("x-forwarded-client-cert"), Form::Elements),
    };
    let mut lines = headers.get_all(&name).iter();
    let (first, second) = (lines.next()?, lines.next());
    let text = first.to_str().ok().filter(|_| second.is_none()).unwrap_or_default().to_owned();
    // Caddy's placeholder stands for itself where there is no certificate.
    const NONE: [&str; 2] = ["::", ":{http.request.tls.client.certificate_der_base64}:"];
    let none = form == Form::ByteSequence && NONE.contains(&text.as_str());
    headers.remove(&name);
    (!none).then_some(Wording { form, text })
}

impl Wording {
    /// `source.certificate` of Envoy's gRPC service.
    pub fn of_envoy(certificate: String) -> Option<Self> {
        (!certificate.is_empty()).then_some(Self { form: Form::EscapedPem, text: certificate })
    }

    /// What the reading is kept by.
    pub fn key(&self) -> Vec<u8> {
        [&[self.form as u8], self.text.as_bytes()].concat()
    }

    pub fn read(&self) -> Result<Presented, Malformed> {
        let chain = match self.form {
            Form::EscapedPem => vec![only(escaped_pem(&self.text)?)?],
            Form::ByteSequence => vec![client_cert::byte_sequence(&self.text)?],
            Form::Elements => element(&self.text)?,
        };
        Presented::new(chain).ok_or(Malformed)
    }
}

fn only(mut chain: Vec<Vec<u8>>) -> Result<Vec<u8>, Malformed> {
    match (chain.pop(), chain.is_empty()) {
        (Some(leaf), true) => Ok(leaf),
        _ => Err(Malformed),
    }
}

/// At most as many as a handshake would carry.
const CHAIN: usize = 16;

fn escaped_pem(text: &str) -> Result<Vec<Vec<u8>>, Malformed> {
    let chain = trigate_x509::read_pem(&unescaped(text)?).map_err(|_| Malformed)?;
    if (1..=CHAIN).contains(&chain.len()) { Ok(chain) } else { Err(Malformed) }
}

fn unescaped(text: &str) -> Result<Vec<u8>, Malformed> {
    let mut rest = text.as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or(Malformed)?;
        let digits = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        bytes.push(u8::from_str_radix(digits.ok_or(Malformed)?, 16).map_err(|_| Malformed)?);
        rest = after;
    }
    Ok(bytes)
}

/// SECURITY: one element. Of several, the others are the words of proxies before this one, or of the client.
fn element(text: &str) -> Result<Vec<Vec<u8>>, Malformed> {
    let (mut leaf, mut chain) = (None, None);
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or(Malformed)?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or(Malformed)?,
            None => after.split_at(after.find([';', ',']).unwrap_or(after.len())),
        };
        let slot = match name {
            _ if name.eq_ignore_ascii_case("cert") => Some(&mut leaf),
            _ if name.eq_ignore_ascii_case("chain") => Some(&mut chain),
            _ => None,
        };
        if slot.is_some_and(|slot| slot.replace(value).is_some()) {
            return Err(Malformed);
        }
        rest = match after.strip_prefix(';') {
            Some(next) => next,
            None if after.is_empty() => after,
            None => return Err(Malformed),
        };
    }
    match (leaf, chain) {
        // Envoy's chain begins with the certificate itself.
        (_, Some(chain)) => escaped_pem(chain),
        (Some(leaf), None) => Ok(vec![only(escaped_pem(leaf)?)?]),
        (None, None) => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN%20CERTIFICATE-----%0AAQID%0A-----END%20CERTIFICATE-----%0A";

    fn read(teller: CertificateTeller, lines: &[&str]) -> Option<Result<Vec<Vec<u8>>, Malformed>> {
        let name = match teller {
            CertificateTeller::Nginx => "x-ssl-client-cert",
            CertificateTeller::Caddy => "client-cert",
            CertificateTeller::Envoy => "x-forwarded-client-cert",
        };
        let mut headers: HeaderMap = lines
            .iter()
            .map(|line| (name.parse::<HeaderName>().unwrap(), line.parse::<http::HeaderValue>().unwrap()))
            .collect();
        let wording = take(&mut headers, teller);
        assert!(headers.is_empty(), "what the proxy told is no header of the request");
        wording.map(|wording| wording.read().map(|presented| presented.chain().to_vec()))
    }

    #[test]
    fn m10_each_proxys_words_in_their_one_form() {
        use CertificateTeller::{Caddy, Envoy, Nginx};
        let good = Some(Ok(vec![vec![1, 2, 3]]));
        assert_eq!(read(Nginx, &[PEM]), good);
        assert_eq!(read(Caddy, &[":AQID:"]), good);
        assert_eq!(read(Envoy, &[&format!("Hash=ab;Cert=\"{PEM}\";Subject=\"CN=a,O=b;c\"")]), good);
        let two = PEM.replace("AQID", "BAUG");
        let chain = format!("By=spiffe://a/b;Cert=\"{PEM}\";Chain=\"{PEM}{two}\"");
        assert_eq!(read(Envoy, &[&chain]), Some(Ok(vec![vec![1, 2, 3], vec![4, 5, 6]])));
        for (teller, none) in [
            (Nginx, &[][..]),
            (Caddy, &[]),
            (Caddy, &["::"]),
            (Caddy, &[":{http.request.tls.client.certificate_der_base64}:"]),
            (Envoy, &[]),
        ] {
            assert_eq!(read(teller, none), None, "{teller:?} {none:?}");
        }
        let several = format!("Cert=\"{PEM}\",Cert=\"{two}\"");
        for (teller, bad) in [
            (Nginx, &[":AQID:"][..]),
            (Nginx, &[PEM, PEM]),
            (Nginx, &[&format!("{PEM}{two}")]),
            (Nginx, &["%"]),
            (Nginx, &["%+1"]),
            (Nginx, &["x"]),
            (Caddy, &[PEM]),
            (Caddy, &[":AQID:, :AQID:"]),
            (Caddy, &[":AQID:", ":AQID:"]),
            (Envoy, &[&several]),
            (Envoy, &[&format!("Cert=\"{PEM}\";Cert=\"{two}\"")]),
            (Envoy, &["Hash=ab"]),
            (Envoy, &[&format!("Cert=\"{PEM}")]),
            (Envoy, &[""]),
        ] {
            assert_eq!(read(teller, bad), Some(Err(Malformed)), "{teller:?} {bad:?}");
        }
    }
}
