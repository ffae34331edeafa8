//! Which names does a certificate carry? Each is read once, into a form that has one meaning, or the certificate is
//! refused (M05).

use crate::{
    Fault,
    der::{self, Reader, Value},
};
use x509_parser::{prelude::FromDer, x509::X509Name};

/// A name of a certificate, or the base of a constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// Lower case.
    Dns(String),
    Email(String),
    Uri(String),
    /// An address; in a constraint followed by its mask.
    Ip(Vec<u8>),
    Directory(Directory),
    /// A kind that is not compared here, by its tag.
    Other(u8),
}

/// A distinguished name, folded so that two spellings of one name are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directory(Vec<Vec<u8>>);

impl Directory {
    pub fn starts_with(&self, base: &Self) -> bool {
        self.0.starts_with(&base.0)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    // RFC 5280 §7.1: case and repeated blanks do not matter, nor does the kind of string.
    pub fn of(name: &X509Name<'_>) -> Self {
        let rdns = name.iter_rdn().map(|rdn| {
            let mut parts: Vec<Vec<u8>> = rdn
                .iter()
                .map(|attribute| {
                    let mut part = attribute.attr_type().as_bytes().to_vec();
                    part.push(0);
                    match attribute.as_str() {
                        Ok(text) => {
                            let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
                            part.extend(words.join(" ").into_bytes());
                        }
                        Err(_) => part.extend(attribute.as_slice()),
                    }
                    part
                })
                .collect();
            parts.sort();
            let mut whole = Vec::new();
            for part in parts {
                whole.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
                whole.extend(part);
            }
            whole
        });
        Self(rdns.collect())
    }
}

impl Name {
    /// A `GeneralName`. // RFC 5280 §4.2.1.6
    pub fn read(value: &Value<'_>) -> Result<Self, Fault> {
        let text = || {
            let text = std::str::from_utf8(value.content).map_err(|_| Fault::Name)?;
            // SECURITY: a NUL, a blank or a letter beyond ASCII is read differently by the next reader.
            if text.bytes().all(|b| b.is_ascii_graphic()) { Ok(text) } else { Err(Fault::Name) }
        };
        Ok(match value.tag {
            0x81 => Self::Email(text()?.to_owned()),
            0x82 => Self::Dns(text()?.to_ascii_lowercase()),
            0x86 => Self::Uri(text()?.to_owned()),
            0x87 => Self::Ip(value.content.to_vec()),
            0xa4 => {
                let (rest, name) = X509Name::from_der(value.content).map_err(|_| Fault::Name)?;
                if !rest.is_empty() {
                    return Err(Fault::Name);
                }
                Self::Directory(Directory::of(&name))
            }
            tag @ (0xa0 | 0xa3 | 0xa5 | 0x88) => Self::Other(tag & 0x1f),
            _ => return Err(Fault::Name),
        })
    }

    /// Which names are compared with which.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Email(_) => 1,
            Self::Dns(_) => 2,
            Self::Directory(_) => 4,
            Self::Uri(_) => 6,
            Self::Ip(_) => 7,
            Self::Other(tag) => *tag,
        }
    }
}

/// The names of an alternative-name extension; none at all is malformed.
pub(crate) fn alternative_names(extension: &[u8]) -> Result<Vec<Name>, Fault> {
    let mut reader = Reader::new(der::only(extension, der::SEQUENCE)?);
    let mut names = Vec::new();
    while !reader.is_empty() {
        let name = Name::read(&reader.read()?)?;
        check_presented(&name)?;
        names.push(name);
    }
    if names.is_empty() { Err(Fault::Name) } else { Ok(names) }
}

/// What a certificate may call its holder.
fn check_presented(name: &Name) -> Result<(), Fault> {
    let good = match name {
        Name::Dns(name) => is_host(name.strip_prefix("*.").unwrap_or(name)),
        Name::Uri(uri) => is_uri(uri),
        Name::Ip(address) => matches!(address.len(), 4 | 16),
        Name::Email(email) => email
            .rsplit_once('@')
            .is_some_and(|(local, host)| !local.is_empty() && !local.contains('@') && is_host(host)),
        Name::Directory(_) | Name::Other(_) => true,
    };
    if good { Ok(()) } else { Err(Fault::Name) }
}

/// Labels of letters, digits, `-` and `_`: no trailing dot, no empty label, nothing beyond ASCII. // RFC 5280 §4.2.1.6
pub(crate) fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn is_uri(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once(':') else { return false };
    let starts = scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    let scheme_good = starts && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if scheme.eq_ignore_ascii_case("spiffe") { spiffe(uri).is_some() } else { scheme_good && !rest.is_empty() }
}

/// The trust domain of a SPIFFE id in its only spelling. // SPIFFE-ID §2
pub(crate) fn spiffe(uri: &str) -> Option<&str> {
    let rest = uri.strip_prefix("spiffe://")?;
    if uri.len() > 2_048 {
        return None;
    }
    let (domain, path) = rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
    let domain_good = !domain.is_empty()
        && domain.len() <= 255
        && domain.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_'));
    let segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    (domain_good && path.is_none_or(|path| path.split('/').all(segment))).then_some(domain)
}

/// The host of a URI that a constraint is compared with: a name, and nothing that could be read as another.
pub(crate) fn uri_host(uri: &str) -> Option<String> {
    let (_, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    if authority.contains(['@', '[', ']', '%', '\\']) {
        return None;
    }
    let host = authority.split_once(':').map_or(authority, |(host, _)| host).to_ascii_lowercase();
    // An address is no name: constraints on names say nothing of it. // RFC 5280 §4.2.1.10
    let address = host.parse::<std::net::Ipv4Addr>().is_ok();
    (is_host(&host) && !address).then_some(host)
}
