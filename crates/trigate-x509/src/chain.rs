//! Which path leads from the leaf to a root, and does every rule hold on it? // RFC 5280 §6.1
//!
//! What is presented is a heap of certificates in any order. Work is counted: signatures, steps, comparisons (M09).

use crate::{
    Certificate, Crl, Fault,
    certificate::{DIGITAL_SIGNATURE, Facts},
    constraints::COMPARISONS,
    name::spiffe,
    second,
};
use trigate_core::Timestamp;

/// What a leaf must say about its use. // RFC 5280 §4.2.1.12
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientUse {
    /// It is for clients, in so many words.
    #[default]
    Said,
    /// It is for clients, or for anything.
    SaidOrAny,
    /// As before, or it says nothing of its use.
    NotDenied,
}

/// What revocation lists are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrlRule {
    /// Every certificate of the path needs a good list of its authority. Else: a list that is there counts.
    pub required: bool,
    /// How long a list is good past its next update.
    pub grace_s: u32,
}

/// By which rules a chain is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub usage: ClientUse,
    pub crl: CrlRule,
    /// SPIFFE ids must be of this trust domain.
    pub trust_domain: Option<String>,
}

/// A chain that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub leaf: Facts,
    /// The verdict holds until then: the first end of a certificate or list that it rests on.
    pub until: Timestamp,
}

/// How many certificates are looked at.
const PRESENTED: usize = 64;
/// How many may stand between leaf and root.
const INTERMEDIATES: usize = 6;
const SIGNATURES: usize = 24;
const STEPS: usize = 1_000;

/// Is the holder of the first certificate's key a client for whom one of `roots` vouches, at `now`?
///
/// # Errors
/// What keeps it from being accepted.
pub fn accept_chain<D: AsRef<[u8]>>(
    chain: &[D],
    roots: &[Certificate],
    crls: &[&Crl],
    now: Timestamp,
    policy: &Policy,
) -> Result<Verified, Fault> {
    let (leaf, others) = chain.split_first().ok_or(Fault::Empty)?;
    if others.len() > PRESENTED {
        return Err(Fault::TooMany);
    }
    let leaf = Certificate::read(leaf.as_ref())?;
    leaf.check_time(now)?;
    check_client(&leaf, policy)?;
    let mut search = Search { roots, crls, now, policy, budget: Budget::default(), fault: None, others: Vec::new() };
    for der in others {
        search.consider(der.as_ref());
    }
    let candidates = std::mem::take(&mut search.others);
    let mut path = vec![&leaf];
    match search.extend(&mut path, &candidates) {
        Some(until) => Ok(Verified { leaf: leaf.facts().clone(), until }),
        None => Err(search.fault.unwrap_or(Fault::UnknownIssuer)),
    }
}

/// What the leaf must be, whoever signed it.
fn check_client(leaf: &Certificate, policy: &Policy) -> Result<(), Fault> {
    if leaf.authority || leaf.constraints.is_some() {
        return Err(Fault::AuthorityAsClient);
    }
    // RFC 5280 §4.2.1.3: what it signs in the handshake is data.
    if leaf.key_usage.is_some_and(|usage| usage & DIGITAL_SIGNATURE == 0) {
        return Err(Fault::KeyUsage);
    }
    let fits = match (leaf.extended, policy.usage) {
        (Some(usage), ClientUse::Said) => usage.client,
        (Some(usage), _) => usage.client || usage.any,
        (None, usage) => usage == ClientUse::NotDenied,
    };
    if !fits {
        return Err(Fault::ExtendedKeyUsage);
    }
    let foreign = |domain: &String| leaf.facts().san_uris.iter().filter_map(|uri| spiffe(uri)).any(|of| of != domain);
    if policy.trust_domain.as_ref().is_some_and(foreign) { Err(Fault::TrustDomain) } else { Ok(()) }
}

struct Budget {
    signatures: usize,
    steps: usize,
    comparisons: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { signatures: SIGNATURES, steps: STEPS, comparisons: COMPARISONS }
    }
}

impl Budget {
    fn step(&mut self) -> Result<(), Fault> {
        self.steps = self.steps.checked_sub(1).ok_or(Fault::TooMuchWork)?;
        Ok(())
    }

    fn is_signed(&mut self, certificate: &Certificate, issuer: &Certificate) -> Result<bool, Fault> {
        self.signatures = self.signatures.checked_sub(1).ok_or(Fault::TooMuchWork)?;
        Ok(certificate.signed_by(&issuer.spki))
    }
}

struct Search<'a> {
    roots: &'a [Certificate],
    crls: &'a [&'a Crl],
    now: Timestamp,
    policy: &'a Policy,
    budget: Budget,
    /// The most telling fault so far.
    fault: Option<Fault>,
    others: Vec<Certificate>,
}

impl<'a> Search<'a> {
    /// Keeps a certificate that could be an authority of the path.
    fn consider(&mut self, der: &[u8]) {
        match Certificate::read(der) {
            Ok(other) => match other.check_authority().and_then(|()| other.check_time(self.now)) {
                Ok(()) if self.others.iter().any(|known| known.der == other.der) => {}
                Ok(()) => self.others.push(other),
                Err(fault) => self.note(fault),
            },
            Err(fault) => self.note(fault),
        }
    }

    fn note(&mut self, fault: Fault) {
        if self.fault.is_none() || fault == Fault::TooMuchWork {
            self.fault = Some(fault);
        }
    }

    /// Goes on from the end of `path`; until when the verdict of the first good path holds.
    fn extend<'c>(&mut self, path: &mut Vec<&'c Certificate>, others: &'c [Certificate]) -> Option<Timestamp>
    where
        'a: 'c,
    {
        let head = *path.last()?;
        for root in self.named(self.roots, head) {
            match self.try_root(path, head, root) {
                Ok(until) => return Some(until),
                Err(fault) => self.note(fault),
            }
        }
        if path.len() > INTERMEDIATES {
            self.note(Fault::PathLength);
            return None;
        }
        for issuer in self.named(others, head) {
            // One key under one name once: no loops. // RFC 4158 §5.2
            if path.iter().any(|known| known.subject == issuer.subject && known.spki == issuer.spki) {
                continue;
            }
            match self.budget.step().and_then(|()| self.budget.is_signed(head, issuer)) {
                Err(fault) => {
                    self.note(fault);
                    return None;
                }
                Ok(false) => continue,
                Ok(true) => {}
            }
            path.push(issuer);
            let found = self.extend(path, others);
            path.pop();
            if found.is_some() || self.fault == Some(Fault::TooMuchWork) {
                return found;
            }
        }
        None
    }

    /// Those who could have signed `head`, the likeliest first.
    fn named<'c>(&self, among: &'c [Certificate], head: &Certificate) -> Vec<&'c Certificate> {
        let mut found: Vec<&Certificate> = among.iter().filter(|issuer| issuer.subject == head.issuer).collect();
        let unlike = |issuer: &&Certificate| match (&issuer.subject_key, &head.authority_key) {
            (Some(issuer), Some(head)) => issuer != head,
            _ => true,
        };
        found.sort_by_key(unlike);
        found
    }

    fn try_root<'c>(
        &mut self,
        path: &[&'c Certificate],
        head: &'c Certificate,
        root: &'c Certificate,
    ) -> Result<Timestamp, Fault> {
        self.budget.step()?;
        root.check_time(self.now)?;
        if !self.budget.is_signed(head, root)? {
            return Err(Fault::UnknownIssuer);
        }
        let whole: Vec<&Certificate> = path.iter().copied().chain([root]).collect();
        check_lengths(&whole)?;
        check_use(&whole)?;
        self.check_constraints(&whole)?;
        let listed = self.check_revocation(&whole)?;
        second::check(&whole, self.now)?;
        let ends = whole.iter().map(|certificate| certificate.not_after);
        Ok(ends.min().unwrap_or_default().min(listed))
    }

    fn check_constraints(&mut self, path: &[&Certificate]) -> Result<(), Fault> {
        for (index, authority) in path.iter().enumerate() {
            let Some(constraints) = &authority.constraints else { continue };
            for below in path.iter().take(index) {
                constraints.check(below.names.iter(), &mut self.budget.comparisons)?;
            }
        }
        Ok(())
    }

    /// Until when the lists hold.
    fn check_revocation(&self, path: &[&Certificate]) -> Result<Timestamp, Fault> {
        let mut until = Timestamp::from_micros(i64::MAX);
        for (certificate, issuer) in path.iter().zip(path.iter().skip(1)) {
            until = until.min(self.check_lists(certificate, issuer)?);
        }
        Ok(until)
    }

    // RFC 5280 §6.3.3
    fn check_lists(&self, certificate: &Certificate, issuer: &Certificate) -> Result<Timestamp, Fault> {
        let rule = self.policy.crl;
        let lists: Vec<&Crl> = self.crls.iter().copied().filter(|list| list.speaks_of(certificate, issuer)).collect();
        let mut until = Timestamp::from_micros(i64::MAX);
        for list in &lists {
            list.check(issuer, self.now, rule.grace_s)?;
            // A delta adds; what it lifts is lifted by the next complete list.
            if list.revokes(&certificate.serial) {
                return Err(Fault::Revoked);
            }
            until = until.min(list.next_update().plus_seconds(i64::from(rule.grace_s)));
        }
        let complete = || lists.iter().filter(|list| !list.is_delta());
        for delta in lists.iter().filter(|list| list.is_delta()) {
            if !complete().any(|base| delta.builds_on(base)) {
                return Err(Fault::CrlUnusable("it is a delta, and the list that it builds on is not at hand"));
            }
        }
        if rule.required && complete().next().is_none() {
            return Err(Fault::CrlMissing);
        }
        Ok(until)
    }
}

/// `pathLenConstraint` of every authority, the root's too. // RFC 5280 §4.2.1.9
fn check_lengths(path: &[&Certificate]) -> Result<(), Fault> {
    let mut below = 0_u32;
    for authority in path.iter().skip(1) {
        if authority.path_length.is_some_and(|most| below > most) {
            return Err(Fault::PathLength);
        }
        below += u32::from(!authority.is_self_issued());
    }
    Ok(())
}

/// An authority that says what its certificates are for says it for all below it.
fn check_use(path: &[&Certificate]) -> Result<(), Fault> {
    let mut intermediates = path.iter().skip(1).take(path.len().saturating_sub(2));
    let denied = intermediates.any(|authority| authority.extended.is_some_and(|usage| !usage.client && !usage.any));
    if denied { Err(Fault::ExtendedKeyUsage) } else { Ok(()) }
}
