//! What do a gate process and its desk say to each other? The words of `/gate/v1`, and a snapshot as lines, so that
//! neither side ever holds it as one text.
//!
//! Trusts nothing: a snapshot counts only when its last line has come. Never carries a private key, a password hash, a
//! refresh token or a session's secret: there is no word for them here.

use crate::{
    application::{Application, KeyRecord},
    change::{Change, ClientFace, Position, PublicKey, Snapshot},
    credential::{ChecksumKey, Digest},
    id::{AppId, TenantId, UserId},
    identity::TokenFacts,
    quota::{Period, Usage},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Where the desk answers gates.
pub const PREFIX: &str = "/gate/v1";

/// The scope that a gate's key must name; a key that names it opens nothing else.
pub const SCOPE: &str = "trigate:gate";

/// A gate's first words.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The gate's name in its audit records.
    pub node: String,
    pub version: String,
    /// Public half of the key that signs the checkpoints of the gate's own audit segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_key: Option<Value>,
}

/// What a gate must know before anything else; kept at the head of its snapshot file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub tenant: TenantId,
    /// `iss` of the desk's own tokens.
    pub issuer: String,
    /// Audiences that the desk's own gate takes.
    pub audiences: Vec<String>,
    /// As the desk's file states them.
    pub plans: BTreeMap<String, PlanWords>,
}

/// A plan in words: what an application on it may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanWords {
    /// `1000/hour`, `10/second burst 20`.
    pub rate: String,
    /// Requests of a day of the calendar, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<u64>,
    /// Requests of a month of the calendar, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub month: Option<u64>,
    /// The rate of each user of the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// "What has been counted this day and month?" Page by page.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageAsked {
    /// The last one known.
    pub after: Option<(AppId, Period)>,
    pub limit: u32,
}

/// What all gates together have counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UsageTotals {
    pub usage: Vec<Usage>,
}

/// "I have applied this much: let me trust myself for another while."
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseAsked {
    /// One gate process, unlike any other, also of the same name.
    pub holder: String,
    pub applied: Position,
    pub life_ms: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LeaseGiven {
    /// The feed's head, read after the lease took hold.
    pub head: Position,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseReleased {
    pub holder: String,
}

/// The next part of the feed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Changes {
    pub changes: Vec<Change>,
    pub head: Position,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindToken {
    pub digest: Digest,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    pub facts: Option<TokenFacts>,
}

/// A line of a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Begin {
        position: Position,
        opaque_checksum: Option<ChecksumKey>,
    },
    Application(Application),
    Key(KeyRecord),
    Client(ClientFace),
    SigningKey(PublicKey),
    DisabledUser(UserId),
    Standing(Change),
    /// Nothing follows but changes.
    End {
        lines: u64,
    },
    /// In a file, after the end: what was applied since.
    Change(Change),
}

impl Line {
    /// As JSON with a newline behind it.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), SnapshotError> {
        serde_json::to_writer(&mut *out, self).map_err(|error| SnapshotError::Unwritable(error.to_string()))?;
        out.push(b'\n');
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("a record cannot be written: {0}")]
    Unwritable(String),
    #[error("line {0} of the snapshot cannot be read")]
    Unreadable(u64),
    #[error("line {0} of the snapshot is longer than any record")]
    TooLong(u64),
    #[error("line {0} of the snapshot does not belong there")]
    OutOfPlace(u64),
    #[error("the snapshot breaks off")]
    Cut,
}

/// The lines of a snapshot in order, but for the last: keys may follow, and then [`Line::End`] with the number of all
/// that came between it and the first.
pub fn lines(snapshot: Snapshot) -> impl Iterator<Item = Line> + Send {
    let Snapshot { position, applications, keys, clients, signing_keys, disabled_users, standing, opaque_checksum } =
        snapshot;
    std::iter::once(Line::Begin { position, opaque_checksum })
        .chain(applications.into_iter().map(Line::Application))
        .chain(keys.into_iter().map(Line::Key))
        .chain(clients.into_iter().map(Line::Client))
        .chain(signing_keys.into_iter().map(Line::SigningKey))
        .chain(disabled_users.into_iter().map(Line::DisabledUser))
        .chain(standing.into_iter().map(Line::Standing))
}

/// The longest record: a client's public keys, with room.
const MAX_LINE: usize = 1 << 20;

/// Takes a snapshot in as its bytes come. Keys, of which there can be millions, are handed on at once.
pub struct SnapshotReader<K> {
    on_key: K,
    rest: Vec<u8>,
    number: u64,
    begun: Option<Snapshot>,
    count: u64,
    ended: bool,
    since: Vec<Change>,
}

impl<K: FnMut(KeyRecord)> SnapshotReader<K> {
    pub const fn new(on_key: K) -> Self {
        Self { on_key, rest: Vec::new(), number: 0, begun: None, count: 0, ended: false, since: Vec::new() }
    }

    /// Takes the next bytes, wherever they were cut.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let mut bytes = bytes;
        while let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at_checked(at).ok_or(SnapshotError::Cut)?;
            self.rest.extend_from_slice(line);
            let line = std::mem::take(&mut self.rest);
            self.take_line(&line)?;
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.rest.extend_from_slice(bytes);
        if self.rest.len() > MAX_LINE { Err(SnapshotError::TooLong(self.number)) } else { Ok(()) }
    }

    /// Has the last line of the snapshot itself come?
    pub const fn ended(&self) -> bool {
        self.ended
    }

    /// The snapshot without its keys, and the changes that a file had behind it. A change that was cut short by a crash is left out.
    pub fn finish(self) -> Result<(Snapshot, Vec<Change>), SnapshotError> {
        match self.begun {
            Some(snapshot) if self.ended => Ok((snapshot, self.since)),
            _ => Err(SnapshotError::Cut),
        }
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), SnapshotError> {
        self.number += 1;
        if line.len() > MAX_LINE {
            return Err(SnapshotError::TooLong(self.number));
        }
        let line = serde_json::from_slice(line).map_err(|_| SnapshotError::Unreadable(self.number))?;
        let out_of_place = SnapshotError::OutOfPlace(self.number);
        let Some(snapshot) = &mut self.begun else {
            let Line::Begin { position, opaque_checksum } = line else { return Err(out_of_place) };
            self.begun = Some(empty(position, opaque_checksum));
            return Ok(());
        };
        match line {
            Line::Change(change) if self.ended => {
                self.since.push(change);
                return Ok(());
            }
            _ if self.ended => return Err(out_of_place),
            Line::Begin { .. } | Line::Change(_) => return Err(out_of_place),
            Line::Application(record) => snapshot.applications.push(record),
            Line::Key(record) => (self.on_key)(record),
            Line::Client(face) => snapshot.clients.push(face),
            Line::SigningKey(key) => snapshot.signing_keys.push(key),
            Line::DisabledUser(user) => snapshot.disabled_users.push(user),
            Line::Standing(change) => snapshot.standing.push(change),
            Line::End { lines } if lines == self.count => {
                self.ended = true;
                return Ok(());
            }
            Line::End { .. } => return Err(SnapshotError::Cut),
        }
        self.count += 1;
        Ok(())
    }
}

fn empty(position: Position, opaque_checksum: Option<ChecksumKey>) -> Snapshot {
    Snapshot {
        position,
        applications: Vec::new(),
        keys: Vec::new(),
        clients: Vec::new(),
        signing_keys: Vec::new(),
        disabled_users: Vec::new(),
        standing: Vec::new(),
        opaque_checksum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Timestamp,
        change::{Target, What},
        id::KeyId,
    };

    fn change(position: u64) -> Change {
        Change {
            position: Position(position),
            tenant: TenantId::default_tenant(),
            at: Timestamp::from_seconds(1),
            what: What::Revoked {
                target: Target::Key { id: KeyId::mint(&crate::port::testing::SeededRng::new(position)) },
                keep_until: Timestamp::from_seconds(9),
            },
        }
    }

    fn snapshot() -> Snapshot {
        let mut snapshot = empty(Position(7), Some(ChecksumKey::from_bytes(&[7; 32])));
        snapshot.standing = vec![change(3), change(5)];
        snapshot.disabled_users = vec!["usr_1".parse().unwrap()];
        snapshot
    }

    fn text() -> Vec<u8> {
        let mut text = Vec::new();
        let mut count = 0;
        for line in lines(snapshot()) {
            line.write(&mut text).unwrap();
            count += 1;
        }
        Line::End { lines: count - 1 }.write(&mut text).unwrap();
        text
    }

    fn read(text: &[u8], step: usize) -> Result<(Snapshot, Vec<Change>), SnapshotError> {
        let mut reader = SnapshotReader::new(|_| {});
        for part in text.chunks(step) {
            reader.push(part)?;
        }
        reader.finish()
    }

    #[test]
    fn a_snapshot_comes_back_wherever_it_is_cut_into_parts() {
        let text = text();
        for step in [1, 7, 64, text.len()] {
            let (back, since) = read(&text, step).unwrap();
            assert_eq!((back.position, back.standing, back.disabled_users, since.len()), {
                let made = snapshot();
                (made.position, made.standing, made.disabled_users, 0)
            });
            assert_eq!(back.opaque_checksum.unwrap().bytes(), [7; 32]);
        }
    }

    #[test]
    fn what_breaks_off_or_lacks_a_line_is_none() {
        let text = text();
        for end in 0..text.len() {
            assert!(read(&text[..end], 50).is_err(), "cut at {end}");
        }
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        for left_out in 0..lines.len() {
            let rest: Vec<u8> = lines
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != left_out)
                .flat_map(|(_, line)| line.to_vec())
                .collect();
            assert!(read(&rest, 50).is_err(), "without line {left_out}");
        }
        assert_eq!(read(&vec![b'x'; MAX_LINE + 2], 4096).unwrap_err(), SnapshotError::TooLong(0));
    }

    #[test]
    fn changes_behind_the_end_come_along_and_a_torn_one_does_not() {
        let mut text = text();
        Line::Change(change(8)).write(&mut text).unwrap();
        let whole = text.len();
        Line::Change(change(9)).write(&mut text).unwrap();
        assert_eq!(read(&text, 100).unwrap().1.len(), 2);
        assert_eq!(read(&text[..text.len() - 3], 100).unwrap().1, read(&text[..whole], 100).unwrap().1);
    }
}
