//! Is the trail whole? Each entry's hash covers its number, its bytes and the hash before it.

use aws_lc_rs::digest::{Context, SHA256, digest};
use serde::{Deserialize, Serialize};

/// A hash in a chain.
pub type Link = [u8; 32];

/// Where a chain stands: how many entries it has, and the hash of the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHead {
    /// Entries so far.
    pub length: u64,
    pub hash: Link,
}

/// The first place where a chain does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {index}: {what}")]
pub struct Broken {
    /// Number of the first bad entry, from 0.
    pub index: u64,
    pub what: &'static str,
}

impl ChainHead {
    /// The head of an empty chain. `name` (a node, a tenant) keeps one chain from being passed off as another.
    pub fn start(name: &str) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(b"trigate audit chain 1\0");
        context.update(name.as_bytes());
        Self { length: 0, hash: finish(context) }
    }

    /// The head after one more entry.
    #[must_use]
    pub fn append(&self, entry: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&self.hash);
        context.update(&self.length.to_be_bytes());
        context.update(&(entry.len() as u64).to_be_bytes());
        context.update(entry);
        Self { length: self.length + 1, hash: finish(context) }
    }

    /// As [`Self::append`], for the road: the entry stands behind [`ROOM`] bytes that may be overwritten, and all of it is
    /// hashed in one go.
    #[must_use]
    pub fn append_behind(&self, room_and_entry: &mut [u8]) -> Self {
        let length = room_and_entry.len().saturating_sub(ROOM) as u64;
        if let Some(room) = room_and_entry.first_chunk_mut::<ROOM>() {
            room[..32].copy_from_slice(&self.hash);
            room[32..40].copy_from_slice(&self.length.to_be_bytes());
            room[40..].copy_from_slice(&length.to_be_bytes());
        }
        let digest = digest(&SHA256, room_and_entry);
        Self { length: self.length + 1, hash: link(digest.as_ref()) }
    }

    /// Appends `entry` only if it hashes to `hash`.
    pub fn follow(&self, entry: &[u8], hash: &Link) -> Result<Self, Broken> {
        let next = self.append(entry);
        if next.hash == *hash {
            Ok(next)
        } else {
            Err(Broken { index: self.length, what: "the entry is not the one that was chained here" })
        }
    }
}

/// What is hashed before an entry: the hash before it, its number, its length.
pub const ROOM: usize = 48;

fn finish(context: Context) -> Link {
    link(context.finish().as_ref())
}

fn link(digest: &[u8]) -> Link {
    digest.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chain(entries: &[Vec<u8>]) -> (ChainHead, Vec<Link>) {
        let mut head = ChainHead::start("n1");
        let links = entries
            .iter()
            .map(|entry| {
                head = head.append(entry);
                head.hash
            })
            .collect();
        (head, links)
    }

    fn check(entries: &[Vec<u8>], links: &[Link]) -> Result<ChainHead, Broken> {
        entries.iter().zip(links).try_fold(ChainHead::start("n1"), |head, (entry, link)| head.follow(entry, link))
    }

    proptest! {
        #[test]
        fn hashed_in_one_go_or_in_pieces_it_is_one_chain(entry in prop::collection::vec(any::<u8>(), 0..300), length in any::<u32>()) {
            let head = ChainHead { length: length.into(), ..ChainHead::start("n1") };
            let mut behind = [vec![7; ROOM], entry.clone()].concat();
            prop_assert_eq!(head.append_behind(&mut behind), head.append(&entry));
        }

        #[test]
        fn a08_an_edit_a_deletion_and_a_swap_are_found(
            entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 2..12),
            at in any::<prop::sample::Index>(),
        ) {
            let (head, links) = chain(&entries);
            prop_assert_eq!(check(&entries, &links), Ok(head));
            let at = at.index(entries.len());

            let mut edited = entries.clone();
            edited[at].push(1);
            prop_assert_eq!(check(&edited, &links).unwrap_err().index, at as u64);

            let (mut fewer, mut fewer_links) = (entries.clone(), links.clone());
            fewer.remove(at);
            fewer_links.remove(at);
            // A cut tail needs a head kept elsewhere; every other deletion breaks the chain.
            match check(&fewer, &fewer_links) {
                Ok(cut) => prop_assert!(at == entries.len() - 1 && cut != head),
                Err(broken) => prop_assert_eq!(broken.index, at as u64),
            }
        }
    }
}
