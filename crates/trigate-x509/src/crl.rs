//! What has an authority taken back? Revocation lists: read once into an index, verified by the key of the authority
//! that a chain brings, never ignored when they are that authority's.
//!
//! Trusts nothing of a list before its signature. A list in a form that is not understood refuses; it never passes for
//! an empty one.

use crate::{
    Fault,
    certificate::{CRL_SIGN, Certificate},
    der::{self, Reader, Value},
    key,
    name::Name,
};
use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};
use trigate_core::{Timestamp, credential::Digest};
use x509_parser::{
    extensions::ParsedExtension,
    prelude::{FromDer, X509Extension},
    time::ASN1Time,
};

/// A list of a million entries has about 40 MB; what is larger is not read (M04).
pub const MAX_CRL_BYTES: usize = 48 << 20;

const TOO_LARGE: Fault = Fault::CrlUnreadable("it is too large");
const TRUNCATED: Fault = Fault::CrlUnreadable("it is malformed or truncated");

/// A list that was read; its signature is verified when a chain shows the authority's key.
#[derive(Debug)]
pub struct Crl {
    der: Vec<u8>,
    tbs: Range<usize>,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
    issuer: Vec<u8>,
    authority_key: Option<Vec<u8>>,
    this_update: Timestamp,
    next_update: Timestamp,
    number: Vec<u8>,
    /// `Some`: only what changed since the list of that number.
    delta_of: Option<Vec<u8>>,
    scope: Scope,
    /// Why nothing can be concluded from it.
    unusable: Option<&'static str>,
    /// Where the revoked serials stand in `der`, in their order.
    revoked: Vec<(u32, u8)>,
    verdicts: Mutex<Vec<([u8; 32], bool)>>,
}

/// For which certificates of its issuer it speaks. // RFC 5280 §5.2.5
#[derive(Debug, Default)]
struct Scope {
    users_only: bool,
    authorities_only: bool,
    /// `Some`: those that name one of these distribution points.
    at: Option<Vec<String>>,
}

impl Crl {
    /// # Errors
    /// It is no list, or too large.
    pub fn read(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.len() > MAX_CRL_BYTES {
            return Err(TOO_LARGE);
        }
        Self::parse(bytes).map_err(|fault| match fault {
            Fault::Unreadable(_) => TRUNCATED,
            other => other,
        })
    }

    fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let (tbs, algorithm, signature) = der::signed(bytes)?;
        let mut reader = Reader::new(tbs.content);
        // RFC 5280 §5.1.2.1: version 2. One without extensions has no number and no key id.
        if reader.expect(der::INTEGER)?.content != [1] {
            return Err(Fault::CrlUnreadable("it is not version 2"));
        }
        if reader.expect(der::SEQUENCE)?.content != algorithm {
            return Err(Fault::CrlUnreadable("it names two signature algorithms"));
        }
        let issuer = reader.expect(der::SEQUENCE)?.whole.to_vec();
        let this_update = time(&reader.read()?)?;
        // RFC 5280 §5.1.2.5: without a next update nobody knows when it has become old.
        if !(reader.next_is(0x17) || reader.next_is(0x18)) {
            return Err(Fault::CrlUnreadable("it has no next update"));
        }
        let next_update = time(&reader.read()?)?;
        let mut list = Self {
            der: bytes.to_vec(),
            tbs: place(bytes, tbs.whole)?,
            algorithm: algorithm.to_vec(),
            signature: signature.to_vec(),
            issuer,
            authority_key: None,
            this_update,
            next_update,
            number: Vec::new(),
            delta_of: None,
            scope: Scope::default(),
            unusable: None,
            revoked: Vec::new(),
            verdicts: Mutex::default(),
        };
        if reader.next_is(der::SEQUENCE) {
            list.take_entries(bytes, reader.read()?.content)?;
        }
        if reader.next_is(0xa0) {
            list.take_extensions(der::only(reader.read()?.content, der::SEQUENCE)?)?;
        }
        reader.end()?;
        Ok(list)
    }

    fn take_entries(&mut self, all: &[u8], entries: &[u8]) -> Result<(), Fault> {
        let mut reader = Reader::new(entries);
        while !reader.is_empty() {
            let mut entry = Reader::new(reader.expect(der::SEQUENCE)?.content);
            let serial = entry.expect(der::INTEGER)?.content;
            entry.read()?;
            let mut lifted = false;
            if !entry.is_empty() {
                let mut extensions = Reader::new(entry.expect(der::SEQUENCE)?.content);
                while !extensions.is_empty() {
                    lifted |= self.take_entry_extension(&extensions.read()?)?;
                }
            }
            entry.end()?;
            if !lifted {
                let at = place(all, serial)?;
                let place = u32::try_from(at.start).ok().zip(u8::try_from(at.len()).ok());
                self.revoked.push(place.ok_or(TRUNCATED)?);
            }
        }
        let der = std::mem::take(&mut self.der);
        self.revoked.sort_unstable_by(|one, other| serial_at(&der, *one).cmp(serial_at(&der, *other)));
        self.der = der;
        Ok(())
    }

    /// Does the entry lift a revocation (in a delta)? A complete list keeps what it says: lifted is what it leaves out.
    fn take_entry_extension(&mut self, value: &Value<'_>) -> Result<bool, Fault> {
        let (oid, critical, content) = der::extension(value)?;
        match oid {
            // Reason code; 8 is `removeFromCRL`. // RFC 5280 §5.3.1
            [0x55, 0x1d, 0x15] => return Ok(content == [0x0a, 1, 8]),
            _ if critical => self.unusable = Some("an entry has a critical extension that is not understood"),
            _ => {}
        }
        Ok(false)
    }

    fn take_extensions(&mut self, extensions: &[u8]) -> Result<(), Fault> {
        let mut reader = Reader::new(extensions);
        let mut seen: Vec<&[u8]> = Vec::new();
        while !reader.is_empty() {
            let value = reader.read()?;
            let (oid, critical, content) = der::extension(&value)?;
            if seen.contains(&oid) {
                return Err(TRUNCATED);
            }
            seen.push(oid);
            match oid {
                [0x55, 0x1d, 0x14] => self.number = der::only(content, der::INTEGER)?.to_vec(),
                [0x55, 0x1d, 0x1b] => self.delta_of = Some(der::only(content, der::INTEGER)?.to_vec()),
                [0x55, 0x1d, 0x1c] => self.take_scope(content)?,
                [0x55, 0x1d, 0x23] => self.authority_key = authority_key(value.whole),
                _ if critical => self.unusable = Some("it has a critical extension that is not understood"),
                _ => {}
            }
        }
        Ok(())
    }

    fn take_scope(&mut self, content: &[u8]) -> Result<(), Fault> {
        let mut reader = Reader::new(der::only(content, der::SEQUENCE)?);
        while !reader.is_empty() {
            let part = reader.read()?;
            match (part.tag, part.content) {
                (0xa0, name) => self.take_point(name)?,
                (0x81, [yes]) => self.scope.users_only = *yes != 0,
                (0x82, [yes]) => self.scope.authorities_only = *yes != 0,
                (0x84 | 0x85, [0]) => {}
                _ => self.unusable = Some("it is indirect, or speaks of some reasons only"),
            }
        }
        Ok(())
    }

    fn take_point(&mut self, name: &[u8]) -> Result<(), Fault> {
        let mut reader = Reader::new(name);
        let full = reader.read()?;
        reader.end()?;
        if full.tag != 0xa0 {
            self.unusable = Some("its distribution point is named relative to its issuer");
            return Ok(());
        }
        let mut names = Reader::new(full.content);
        let mut at = Vec::new();
        while !names.is_empty() {
            if let Name::Uri(uri) = Name::read(&names.read()?).map_err(|_| TRUNCATED)? {
                at.push(uri);
            }
        }
        self.scope.at = Some(at);
        Ok(())
    }

    /// When it says that the next one comes.
    pub fn next_update(&self) -> Timestamp {
        self.next_update
    }

    pub fn this_update(&self) -> Timestamp {
        self.this_update
    }

    /// Revoked serials in it.
    pub fn len(&self) -> usize {
        self.revoked.len()
    }

    pub fn is_empty(&self) -> bool {
        self.revoked.is_empty()
    }

    pub(crate) fn is_delta(&self) -> bool {
        self.delta_of.is_some()
    }

    /// Is it the same authority's, and does it speak of this certificate?
    pub(crate) fn speaks_of(&self, certificate: &Certificate, issuer: &Certificate) -> bool {
        let same_key = match (&self.authority_key, &issuer.subject_key) {
            // An authority that was renewed under one name has two keys, and a list for each.
            (Some(list), Some(issuer)) => list == issuer,
            _ => true,
        };
        let kind = if certificate.authority { !self.scope.users_only } else { !self.scope.authorities_only };
        let point = self.scope.at.as_ref().is_none_or(|at| at.iter().any(|uri| certificate.lists_at.contains(uri)));
        self.issuer == certificate.issuer && same_key && kind && point
    }

    /// May anything be concluded from it? // RFC 5280 §6.3.3
    pub(crate) fn check(&self, issuer: &Certificate, now: Timestamp, grace_s: u32) -> Result<(), Fault> {
        // RFC 5280 §4.2.1.3: without cRLSign it is not the authority's word.
        if issuer.key_usage.is_some_and(|usage| usage & CRL_SIGN == 0) {
            return Err(Fault::CrlUnusable("its authority may not sign lists (cRLSign)"));
        }
        if !self.signed_by(&issuer.spki) {
            return Err(Fault::CrlUnusable("its signature is wrong"));
        }
        if let Some(why) = self.unusable {
            return Err(Fault::CrlUnusable(why));
        }
        if now < self.this_update {
            return Err(Fault::CrlUnusable("it is not valid yet"));
        }
        if now > self.next_update.plus_seconds(i64::from(grace_s)) {
            return Err(Fault::CrlStale);
        }
        Ok(())
    }

    /// Does the delta build on this list? // RFC 5280 §5.2.4
    pub(crate) fn builds_on(&self, base: &Self) -> bool {
        let Some(from) = &self.delta_of else { return false };
        let number = |bytes: &[u8]| {
            let digits: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
            (digits.len(), digits)
        };
        number(from) <= number(&base.number)
    }

    pub(crate) fn revokes(&self, serial: &[u8]) -> bool {
        self.revoked.binary_search_by(|place| serial_at(&self.der, *place).cmp(serial)).is_ok()
    }

    /// A long list is hashed once for each key that it is held against.
    fn signed_by(&self, spki: &[u8]) -> bool {
        let id = *Digest::of_bytes(spki).bytes();
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, good)) = verdicts.iter().find(|(known, _)| *known == id) {
            return *good;
        }
        let message = self.der.get(self.tbs.clone()).unwrap_or_default();
        let good = key::verifies(spki, &self.algorithm, message, &self.signature);
        if verdicts.len() < 16 {
            verdicts.push((id, good));
        }
        good
    }
}

fn serial_at(der: &[u8], (start, length): (u32, u8)) -> &[u8] {
    let start = start as usize;
    der.get(start..start + usize::from(length)).unwrap_or_default()
}

/// Where `part` stands in `all`; both are of one buffer.
fn place(all: &[u8], part: &[u8]) -> Result<Range<usize>, Fault> {
    let start = (part.as_ptr() as usize).checked_sub(all.as_ptr() as usize).ok_or(TRUNCATED)?;
    Ok(start..start + part.len())
}

fn time(value: &Value<'_>) -> Result<Timestamp, Fault> {
    let (_, time) = ASN1Time::from_der(value.whole).map_err(|_| TRUNCATED)?;
    Ok(Timestamp::from_seconds(time.timestamp()))
}

fn authority_key(extension: &[u8]) -> Option<Vec<u8>> {
    let (_, extension) = X509Extension::from_der(extension).ok()?;
    match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
        _ => None,
    }
}
