//! May this authority certify this name? Permitted and excluded subtrees, obeyed for every kind of name or refused.
//! // RFC 5280 §4.2.1.10

use crate::{
    Fault,
    der::{self, Reader},
    name::{Name, is_host, uri_host},
};

/// What one authority may certify.
#[derive(Clone, Debug, Default)]
pub(crate) struct Constraints {
    permitted: Vec<Name>,
    excluded: Vec<Name>,
    /// The kinds of names of which something is permitted.
    kinds: Vec<u8>,
}

/// How many comparisons one chain may cost.
pub(crate) const COMPARISONS: usize = 250_000;

impl Constraints {
    pub fn read(extension: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(der::only(extension, der::SEQUENCE)?);
        let mut constraints = Self::default();
        for (tag, list) in [(0xa0, &mut constraints.permitted), (0xa1, &mut constraints.excluded)] {
            if reader.next_is(tag) {
                subtrees(reader.read()?.content, list)?;
            }
        }
        reader.end()?;
        if constraints.permitted.is_empty() && constraints.excluded.is_empty() {
            return Err(Fault::Unreadable("its name constraints are empty"));
        }
        constraints.kinds = constraints.permitted.iter().map(Name::kind).collect();
        constraints.kinds.sort_unstable();
        constraints.kinds.dedup();
        Ok(constraints)
    }

    /// Does it constrain names of a kind that webpki refuses without reading?
    pub fn is_beyond_second_reader(&self) -> bool {
        self.permitted.iter().chain(&self.excluded).any(|name| !matches!(name, Name::Dns(_) | Name::Ip(_)))
    }

    pub fn check<'a>(&self, names: impl Iterator<Item = &'a Name>, budget: &mut usize) -> Result<(), Fault> {
        for name in names {
            let cost = self.permitted.len() + self.excluded.len();
            *budget = budget.checked_sub(cost).ok_or(Fault::TooMuchWork)?;
            self.check_name(name)?;
        }
        Ok(())
    }

    fn check_name(&self, name: &Name) -> Result<(), Fault> {
        let same = |base: &&Name| base.kind() == name.kind();
        for base in self.excluded.iter().filter(same) {
            // A kind that is not compared here counts as excluded.
            if may_lie_below(name, base).unwrap_or(true) {
                return Err(Fault::NameConstraint);
            }
        }
        if !self.kinds.contains(&name.kind()) {
            return Ok(());
        }
        let inside = self.permitted.iter().filter(same).any(|base| lies_below(name, base).unwrap_or(false));
        if inside { Ok(()) } else { Err(Fault::NameConstraint) }
    }
}

fn subtrees(content: &[u8], list: &mut Vec<Name>) -> Result<(), Fault> {
    let mut reader = Reader::new(content);
    while !reader.is_empty() {
        // `minimum` and `maximum` are not used in this profile: anything after the base is refused.
        let mut subtree = Reader::new(reader.expect(der::SEQUENCE)?.content);
        let base = Name::read(&subtree.read()?)?;
        subtree.end()?;
        check_base(&base)?;
        list.push(base);
    }
    if list.is_empty() { Err(Fault::Unreadable("its name constraints are empty")) } else { Ok(()) }
}

fn check_base(base: &Name) -> Result<(), Fault> {
    let host = |text: &str| is_host(text.strip_prefix('.').unwrap_or(text));
    let good = match base {
        Name::Dns(text) => text.is_empty() || host(text),
        Name::Uri(text) => host(text),
        Name::Email(text) => match text.rsplit_once('@') {
            Some((local, at)) => !local.is_empty() && is_host(at),
            None => host(text),
        },
        Name::Ip(bytes) => is_network(bytes),
        Name::Directory(_) | Name::Other(_) => true,
    };
    if good { Ok(()) } else { Err(Fault::Unreadable("a name constraint is malformed")) }
}

/// An address and a mask whose ones stand first.
fn is_network(bytes: &[u8]) -> bool {
    let Some((_, mask)) = bytes.split_at_checked(bytes.len() / 2).filter(|_| matches!(bytes.len(), 8 | 32)) else {
        return false;
    };
    let mut zeros = false;
    mask.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).all(|bit| {
        zeros |= bit == 0;
        bit == 0 || !zeros
    })
}

/// Is all that `name` can stand for within `base`? `None`: it cannot be said.
fn lies_below(name: &Name, base: &Name) -> Option<bool> {
    match (name, base) {
        // A wildcard stands for names one label below its parent: all of them must be within.
        (Name::Dns(name), Name::Dns(base)) => match name.strip_prefix("*.") {
            Some(parent) => {
                Some(base.strip_prefix('.').map_or_else(|| in_domain(parent, base), |base| in_domain(parent, base)))
            }
            None => Some(in_subtree(name, base)),
        },
        _ => may_lie_below(name, base),
    }
}

/// Could what `name` stands for be within `base`?
fn may_lie_below(name: &Name, base: &Name) -> Option<bool> {
    match (name, base) {
        (Name::Dns(name), Name::Dns(base)) => {
            let bare = base.strip_prefix('.').unwrap_or(base);
            Some(match name.strip_prefix("*.") {
                // CVE-2025-61727: `*.test.example` could be `secret.test.example`.
                Some(parent) => in_domain(parent, bare) || in_domain(bare, parent),
                // A leading dot has no agreed meaning when excluding: the domain itself is excluded with it.
                None => in_domain(name, bare),
            })
        }
        (Name::Email(email), Name::Email(base)) => email_within(email, base),
        (Name::Uri(uri), Name::Uri(base)) => {
            let host = uri_host(uri)?;
            Some(host_within(&host, base))
        }
        (Name::Ip(address), Name::Ip(base)) => Some(ip_within(address, base)),
        (Name::Directory(name), Name::Directory(base)) => Some(name.starts_with(base)),
        _ => None,
    }
}

fn in_domain(name: &str, domain: &str) -> bool {
    domain.is_empty() || name == domain || name.strip_suffix(domain).is_some_and(|left| left.ends_with('.'))
}

fn in_subtree(name: &str, base: &str) -> bool {
    match base.strip_prefix('.') {
        Some(domain) => name != domain && in_domain(name, domain),
        None => in_domain(name, base),
    }
}

/// For URIs and e-mail: a host stands for itself, with a leading dot for what is below it.
fn host_within(host: &str, base: &str) -> bool {
    let base = base.to_ascii_lowercase();
    match base.strip_prefix('.') {
        Some(domain) => host != domain && in_domain(host, domain),
        None => host == base,
    }
}

fn email_within(email: &str, base: &str) -> Option<bool> {
    let (local, host) = email.rsplit_once('@')?;
    let host = host.to_ascii_lowercase();
    Some(match base.rsplit_once('@') {
        Some((base_local, base_host)) => local == base_local && host == base_host.to_ascii_lowercase(),
        None => host_within(&host, base),
    })
}

fn ip_within(address: &[u8], base: &[u8]) -> bool {
    let Some((network, mask)) = base.split_at_checked(address.len()) else { return false };
    mask.len() == address.len() && address.iter().zip(network).zip(mask).all(|((a, n), m)| a & m == n & m)
}
