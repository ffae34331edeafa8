//! How does a gate start quickly with millions of revoked tokens? They are kept in a file, in their own form, and the
//! feed's tail makes it whole.
//!
//! Never trusts a file that is damaged. SECURITY: the file stands for all token revocations up to its position, so it
//! counts only where the feed goes on from there without a gap: whoever loads it compares [`fingerprint`] first.
//!
//! ```text
//! magic, length u32 LE, header (JSON), then for each group of ids, ascending:
//!   number u32 LE · for each: id u128 LE, hour at which it is over u32 LE · link of the chain 32 bytes
//! and at the end u32::MAX with the last link once more
//! ```

use super::Known;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use trigate_core::{
    Position,
    audit::{ChainHead, Link},
    change::Change,
    id::TenantId,
};

const MAGIC: &[u8; 8] = b"TRIGREV1";
const END: u32 = u32::MAX;
const ENTRY_BYTES: usize = 20;
const MAX_HEADER_BYTES: usize = 4 << 10;
/// A larger group is damage.
const MAX_GROUP: usize = 1 << 20;

/// Whose tokens, and up to where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptHeader {
    pub tenant: TenantId,
    /// All tokens that were revoked up to here are in it, if their time is not over.
    pub position: Position,
    /// Of the change at that position: another store, or one put back from a backup, has another there.
    pub fingerprint: String,
}

/// Why kept tokens are not taken.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

/// What tells one change from every other.
#[must_use]
pub fn fingerprint(change: &Change) -> String {
    let bytes = serde_json::to_vec(change).unwrap_or_default();
    ChainHead::start("change").append(&bytes).hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Known {
    /// Writes all revoked tokens. `header.position` is one that was applied before.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_revoked_tokens(&self, header: &KeptHeader, out: &mut impl Write) -> io::Result<()> {
        let header = serde_json::to_vec(header)?;
        out.write_all(MAGIC)?;
        out.write_all(&(header.len() as u32).to_le_bytes())?;
        out.write_all(&header)?;
        let mut chain = ChainHead::start("revoked tokens").append(&header);
        let mut bytes = Vec::new();
        self.revoked.tokens.each(|entries| {
            for group in entries.chunks(MAX_GROUP) {
                bytes.clear();
                for (id, end) in group {
                    bytes.extend_from_slice(&id.to_le_bytes());
                    bytes.extend_from_slice(&end.to_le_bytes());
                }
                chain = chain.append(&bytes);
                out.write_all(&(group.len() as u32).to_le_bytes())?;
                out.write_all(&bytes)?;
                out.write_all(&chain.hash)?;
            }
            Ok(())
        })?;
        out.write_all(&END.to_le_bytes())?;
        out.write_all(&chain.hash)
    }
}

/// Kept tokens, their header read.
pub struct KeptTokens<R> {
    header: KeptHeader,
    chain: ChainHead,
    input: R,
}

impl<R: Read> KeptTokens<R> {
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn open(mut input: R) -> Result<Self, KeptError> {
        let mut magic = [0; 8];
        input.read_exact(&mut magic)?;
        let length = read_number(&mut input)? as usize;
        if magic != *MAGIC || length > MAX_HEADER_BYTES {
            return Err(KeptError::Damaged("it does not begin as such a file does"));
        }
        let mut bytes = vec![0; length];
        input.read_exact(&mut bytes)?;
        let header = serde_json::from_slice(&bytes).map_err(|_| KeptError::Damaged("its header is not readable"))?;
        Ok(Self { header, chain: ChainHead::start("revoked tokens").append(&bytes), input })
    }

    pub const fn header(&self) -> &KeptHeader {
        &self.header
    }

    /// Revokes them all; how many. Each group is compared before it is taken, so what an error leaves behind was revoked.
    ///
    /// # Errors
    /// `Damaged`, `Io`: then not all were taken.
    pub fn load_into(mut self, known: &Known) -> Result<u64, KeptError> {
        let (mut bytes, mut entries, mut taken) = (Vec::new(), Vec::new(), 0);
        loop {
            let number = read_number(&mut self.input)?;
            if number == END {
                return match self.read_link()? == self.chain.hash {
                    true => Ok(taken),
                    false => Err(KeptError::Damaged("its end is not the one that was written")),
                };
            }
            if number as usize > MAX_GROUP {
                return Err(KeptError::Damaged("a group is too large"));
            }
            bytes.resize(number as usize * ENTRY_BYTES, 0);
            self.input.read_exact(&mut bytes)?;
            self.chain = self.chain.append(&bytes);
            if self.read_link()? != self.chain.hash {
                return Err(KeptError::Damaged("its bytes are not those that were written"));
            }
            entries.clear();
            entries.extend(bytes.as_chunks::<ENTRY_BYTES>().0.iter().map(take_apart));
            known.put_revoked_tokens(&entries);
            taken += u64::from(number);
        }
    }

    fn read_link(&mut self) -> io::Result<Link> {
        let mut link = Link::default();
        self.input.read_exact(&mut link)?;
        Ok(link)
    }
}

fn read_number(input: &mut impl Read) -> io::Result<u32> {
    let mut number = [0; 4];
    input.read_exact(&mut number)?;
    Ok(u32::from_le_bytes(number))
}

fn take_apart(entry: &[u8; ENTRY_BYTES]) -> (u128, u32) {
    let (mut id, mut end) = ([0; 16], [0; 4]);
    id.copy_from_slice(&entry[..16]);
    end.copy_from_slice(&entry[16..]);
    (u128::from_le_bytes(id), u32::from_le_bytes(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use trigate_core::{
        Timestamp,
        change::{RevokedToken, Target, What},
        id::TokenId,
        port::testing::StoppedClock,
    };

    fn known(tokens: u128) -> Known {
        let clock = Arc::new(StoppedClock::at(Timestamp::from_seconds(1_800_000_000)));
        let known = Known::new(TenantId::default_tenant(), clock);
        let token = |n: u128| RevokedToken {
            position: Position(1),
            id: TokenId::from_bits(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
            keep_until: Timestamp::from_seconds(1_800_003_600),
        };
        known.revoke_tokens(&(0..tokens).map(token).collect::<Vec<_>>());
        known
    }

    fn kept(known: &Known) -> Vec<u8> {
        let header = KeptHeader { tenant: known.tenant().clone(), position: Position(9), fingerprint: "f".to_owned() };
        let mut bytes = Vec::new();
        known.write_revoked_tokens(&header, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn kept_tokens_come_back_the_same() {
        let (one, two) = (known(5_000), known(0));
        let bytes = kept(&one);
        let file = KeptTokens::open(bytes.as_slice()).unwrap();
        assert_eq!(file.header().position, Position(9));
        assert_eq!(file.load_into(&two).unwrap(), 5_000);
        assert_eq!((two.sizes()[3], kept(&two) == bytes), (5_000, true));
    }

    #[test]
    fn each_change_has_a_fingerprint_of_its_own() {
        let change = |position: u64| Change {
            position: Position(position),
            tenant: TenantId::default_tenant(),
            at: Timestamp::from_seconds(1),
            what: What::Revoked {
                target: Target::Key { id: "key_1".parse().unwrap() },
                keep_until: Timestamp::from_seconds(2),
            },
        };
        let (one, other) = (fingerprint(&change(1)), fingerprint(&change(2)));
        assert!(one != other && one == fingerprint(&change(1)));
        assert!(one.len() == 64 && one.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn what_a_file_says_of_its_lengths_is_bounded() {
        let file = |header: &[u8], length: u32, rest: &[u8]| [MAGIC, &length.to_le_bytes()[..], header, rest].concat();
        let open = |bytes: Vec<u8>| KeptTokens::open(io::Cursor::new(bytes));
        let header =
            KeptHeader { tenant: TenantId::default_tenant(), position: Position(9), fingerprint: "f".to_owned() };
        // White space behind JSON is nothing.
        let mut longest = serde_json::to_vec(&header).unwrap();
        longest.resize(4_096, b' ');
        assert!(open(file(&longest, 4_096, &[])).is_ok());
        for length in [4_097, u32::MAX] {
            let Err(KeptError::Damaged(why)) = open(file(&longest, length, &[b' '; 100])) else { panic!("{length}") };
            assert_eq!(why, "it does not begin as such a file does");
        }
        for number in [(1 << 20) + 1, u32::MAX - 1] {
            let opened = open(file(&longest, 4_096, &u32::to_le_bytes(number))).unwrap();
            let Err(KeptError::Damaged(why)) = opened.load_into(&known(0)) else { panic!("{number}") };
            assert_eq!(why, "a group is too large");
        }
    }

    #[test]
    fn a_damaged_or_cut_file_is_not_taken_for_whole() {
        let bytes = kept(&known(40));
        for at in (0..bytes.len()).step_by(7) {
            let mut bad = bytes.clone();
            bad[at] ^= 16;
            let whole = |bytes: &[u8]| KeptTokens::open(bytes).and_then(|file| file.load_into(&known(0)));
            assert!(whole(&bad).is_err(), "byte {at}");
            assert!(whole(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
