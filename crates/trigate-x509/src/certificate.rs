//! What does one certificate say? Read once and strictly; whatever can be judged without its neighbours is judged here.

use crate::{
    Fault,
    constraints::Constraints,
    der::{self, Reader},
    dn, key,
    name::{self, Directory, Name},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::net::IpAddr;
use trigate_core::{Timestamp, credential::Digest};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{DistributionPointName, ParsedExtension},
    prelude::{FromDer, GeneralName},
};

/// A certificate that was read; nothing is said of who signed it.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub(crate) der: Vec<u8>,
    pub(crate) subject: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) serial: Vec<u8>,
    pub(crate) spki: Vec<u8>,
    pub(crate) tbs: Vec<u8>,
    pub(crate) algorithm: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) authority: bool,
    pub(crate) path_length: Option<u32>,
    /// Bits of RFC 5280 §4.2.1.3; `None`: not said.
    pub(crate) key_usage: Option<u16>,
    pub(crate) extended: Option<Extended>,
    pub(crate) subject_key: Option<Vec<u8>>,
    pub(crate) authority_key: Option<Vec<u8>>,
    /// Names of the extension and of the subject.
    pub(crate) names: Vec<Name>,
    pub(crate) constraints: Option<Constraints>,
    /// Where its authority says that its revocation lists are, as encoded names.
    pub(crate) lists_at: Vec<String>,
    facts: Facts,
}

/// What its key may be used for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extended {
    pub client: bool,
    pub any: bool,
}

/// What is told of a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// SHA-256 of the certificate, lower-case hexadecimal.
    pub fingerprint: String,
    /// The same in base64url: `x5t#S256` of bound tokens. // RFC 8705 §3.1
    pub thumbprint: String,
    /// SHA-256 of the public key (its whole SPKI), lower-case hexadecimal.
    pub key: String,
    /// Hexadecimal, without leading zeros.
    pub serial: String,
    /// In its one RFC 4514 form, as the next.
    pub issuer: String,
    pub subject: String,
    pub san_uris: Vec<String>,
    pub san_dns: Vec<String>,
    pub san_ips: Vec<IpAddr>,
    pub san_emails: Vec<String>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// More than this, neither TLS nor the second reader carries.
const MAX_BYTES: usize = 0xffff;
/// RFC 5280 §4.1.2.2: at most 20 octets.
const MAX_SERIAL: usize = 20;

pub(crate) const DIGITAL_SIGNATURE: u16 = 1;
pub(crate) const CERT_SIGN: u16 = 1 << 5;
pub(crate) const CRL_SIGN: u16 = 1 << 6;

impl Certificate {
    /// Of a chain: every rule counts.
    ///
    /// # Errors
    /// What is wrong with it in itself.
    pub fn read(der: &[u8]) -> Result<Self, Fault> {
        let certificate = Self::parse(der)?;
        let serial = certificate.serial.as_slice();
        // RFC 5280 §4.1.2.2: a positive number. Negative ones are read as two by two readers (M07).
        let positive = serial.first().is_some_and(|byte| byte & 0x80 == 0) && serial.iter().any(|byte| *byte != 0);
        if positive && serial.len() <= MAX_SERIAL { Ok(certificate) } else { Err(Fault::Serial) }
    }

    /// Of a trust bundle. Old roots have serials of every kind; nobody looks a root up by its serial.
    ///
    /// # Errors
    /// What is wrong with it, and that it is no authority.
    pub fn read_root(der: &[u8]) -> Result<Self, Fault> {
        let certificate = Self::parse(der)?;
        certificate.check_authority()?;
        Ok(certificate)
    }

    fn parse(der: &[u8]) -> Result<Self, Fault> {
        if der.len() > MAX_BYTES {
            return Err(Fault::Unreadable("it is too large"));
        }
        let (tbs, algorithm, signature) = der::signed(der)?;
        let (rest, read) = X509Certificate::from_der(der).map_err(|_| Fault::Unreadable("its ASN.1 is malformed"))?;
        if !rest.is_empty() {
            return Err(Fault::Unreadable("bytes follow its end"));
        }
        // RFC 5280 §4.1.2.1
        if read.version().0 != 2 {
            return Err(Fault::Version);
        }
        if inner_algorithm(tbs.content)? != algorithm {
            return Err(Fault::Unreadable("it names two signature algorithms"));
        }
        key::check_algorithm(algorithm)?;
        let spki = read.public_key().raw;
        key::check_key(spki)?;
        let validity = read.validity();
        let mut certificate = Self {
            der: der.to_vec(),
            subject: read.subject().as_raw().to_vec(),
            issuer: read.issuer().as_raw().to_vec(),
            serial: read.tbs_certificate.raw_serial().to_vec(),
            spki: spki.to_vec(),
            tbs: tbs.whole.to_vec(),
            algorithm: algorithm.to_vec(),
            signature: signature.to_vec(),
            not_before: Timestamp::from_seconds(validity.not_before.timestamp()),
            not_after: Timestamp::from_seconds(validity.not_after.timestamp()),
            authority: false,
            path_length: None,
            key_usage: None,
            extended: None,
            subject_key: None,
            authority_key: None,
            names: Vec::new(),
            constraints: None,
            lists_at: Vec::new(),
            facts: facts(der, &read),
        };
        if certificate.not_before > certificate.not_after {
            return Err(Fault::Unreadable("it ends before it begins"));
        }
        certificate.take_extensions(&read)?;
        certificate.take_subject(&read);
        certificate.check_holder()?;
        Ok(certificate)
    }

    fn take_extensions(&mut self, read: &X509Certificate<'_>) -> Result<(), Fault> {
        let extensions = read.extensions();
        let mut seen: Vec<&[u8]> = extensions.iter().map(|extension| extension.oid.as_bytes()).collect();
        seen.sort_unstable();
        // RFC 5280 §4.2: not more than one of a kind; two readers would take each another.
        if seen.windows(2).any(|pair| matches!(pair, [one, other] if one == other)) {
            return Err(Fault::DuplicateExtension);
        }
        for extension in extensions {
            self.take_extension(extension.parsed_extension(), extension.critical, extension.value)?;
        }
        Ok(())
    }

    fn take_extension(&mut self, parsed: &ParsedExtension<'_>, critical: bool, value: &[u8]) -> Result<(), Fault> {
        match parsed {
            ParsedExtension::ParseError { .. } => return Err(Fault::Unreadable("an extension is malformed")),
            ParsedExtension::BasicConstraints(basic) => {
                self.authority = basic.ca;
                self.path_length = basic.path_len_constraint;
            }
            ParsedExtension::KeyUsage(usage) => self.key_usage = Some(usage.flags),
            ParsedExtension::ExtendedKeyUsage(usage) => {
                self.extended = Some(Extended { client: usage.client_auth, any: usage.any });
            }
            ParsedExtension::SubjectAlternativeName(_) => self.names = name::alternative_names(value)?,
            ParsedExtension::NameConstraints(_) => self.constraints = Some(Constraints::read(value)?),
            ParsedExtension::SubjectKeyIdentifier(id) => self.subject_key = Some(id.0.to_vec()),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                self.authority_key = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            ParsedExtension::CRLDistributionPoints(points) => {
                for point in points.points.iter() {
                    if let Some(DistributionPointName::FullName(names)) = &point.distribution_point {
                        self.lists_at.extend(names.iter().filter_map(uri));
                    }
                }
            }
            // No policy is demanded here, so a list of policies takes nothing away.
            ParsedExtension::CertificatePolicies(_) => {}
            // RFC 5280 §4.2: what is critical and not processed ends it; policy constraints and mappings are not.
            _ if critical => return Err(Fault::CriticalExtension),
            _ => {}
        }
        Ok(())
    }

    /// The subject is a name too, and an e-mail in it counts where the extension has none. // RFC 5280 §4.2.1.10
    fn take_subject(&mut self, read: &X509Certificate<'_>) {
        let subject = Directory::of(read.subject());
        if !self.names.iter().any(|name| matches!(name, Name::Email(_))) {
            let emails = read.subject().iter_email().map(|email| email.as_str().unwrap_or("?").to_owned());
            self.names.extend(emails.map(Name::Email));
        }
        if !subject.is_empty() {
            self.names.push(Name::Directory(subject));
        }
    }

    fn check_holder(&self) -> Result<(), Fault> {
        if self.names.is_empty() {
            return Err(Fault::Name);
        }
        // SPIFFE X.509-SVID §2: one id and no other URI, or nobody knows which one it is (M05).
        let uris = &self.facts.san_uris;
        if uris.len() > 1 && uris.iter().any(|uri| uri.starts_with("spiffe:")) {
            return Err(Fault::Name);
        }
        Ok(())
    }

    /// May it sign certificates? // RFC 5280 §4.2.1.9, §4.2.1.3
    pub(crate) fn check_authority(&self) -> Result<(), Fault> {
        let signs = self.key_usage.is_none_or(|usage| usage & CERT_SIGN != 0);
        if self.authority && signs { Ok(()) } else { Err(Fault::NotAnAuthority) }
    }

    pub(crate) fn check_time(&self, now: Timestamp) -> Result<(), Fault> {
        if now < self.not_before {
            return Err(Fault::NotYetValid);
        }
        if now > self.not_after { Err(Fault::Expired) } else { Ok(()) }
    }

    pub(crate) fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    pub(crate) fn signed_by(&self, spki: &[u8]) -> bool {
        key::verifies(spki, &self.algorithm, &self.tbs, &self.signature)
    }

    /// What is told of it.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

fn uri(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    }
}

/// The algorithm that stands in the signed part. // RFC 5280 §4.1.1.2
fn inner_algorithm(tbs: &[u8]) -> Result<&[u8], Fault> {
    let mut reader = Reader::new(tbs);
    if reader.next_is(0xa0) {
        reader.read()?;
    }
    reader.expect(der::INTEGER)?;
    Ok(reader.expect(der::SEQUENCE)?.content)
}

fn facts(der: &[u8], read: &X509Certificate<'_>) -> Facts {
    let names = read.subject_alternative_name().ok().flatten();
    let names = || names.iter().flat_map(|names| &names.value.general_names);
    let validity = read.validity();
    let digest = Digest::of_bytes(der);
    Facts {
        fingerprint: digest.hex(),
        thumbprint: URL_SAFE_NO_PAD.encode(digest.bytes()),
        key: Digest::of_bytes(read.public_key().raw).hex(),
        serial: serial(read.tbs_certificate.raw_serial()),
        issuer: dn::write(read.issuer()),
        subject: dn::write(read.subject()),
        san_uris: names().filter_map(uri).collect(),
        san_dns: names()
            .filter_map(|name| match name {
                GeneralName::DNSName(dns) => Some(dns.to_ascii_lowercase()),
                _ => None,
            })
            .collect(),
        san_ips: names().filter_map(address).collect(),
        san_emails: names()
            .filter_map(|name| match name {
                GeneralName::RFC822Name(email) => Some((*email).to_owned()),
                _ => None,
            })
            .collect(),
        not_before: Timestamp::from_seconds(validity.not_before.timestamp()),
        not_after: Timestamp::from_seconds(validity.not_after.timestamp()),
    }
}

fn address(name: &GeneralName<'_>) -> Option<IpAddr> {
    let GeneralName::IPAddress(bytes) = name else { return None };
    let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok()
}

/// Lower-case hexadecimal without leading zeros.
fn serial(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = text.trim_start_matches('0');
    if text.is_empty() { "0".to_owned() } else { text.to_owned() }
}
