//! Where does a gate write what it decided, and who would notice if that were changed afterwards?
//!
//! Trusts the file system to keep what it acknowledged, and the holder of the checkpoint key. Never trusts the files:
//! whoever can edit them lacks the key, and [`verify`] names the first record that is not as it was written.
//!
//! ```text
//! dir/<node>/00000001.seg   magic, header frame, then one frame per record:
//!                           length u32 LE · CRC-32 of the payload u32 LE · link of the chain 32 bytes · payload (JSON)
//! dir/<node>/00000001.sig   signed checkpoints of that segment, one compact JWS a line, numbered through all segments
//! dir/<node>/pruned.jws     signed: where the chain starts since older segments were pruned
//! dir/<node>/lock           held by the one process that writes
//! ```
//!
//! What someone with the files and without the key can try:
//!
//! | attempt | found by |
//! |---|---|
//! | edit, delete, insert, reorder records | the link of the first such record |
//! | the same with all later links computed anew | the next checkpoint; the record named is the first after the last good one |
//! | remove or swap whole segments | the header's number and link; the seal that every closed segment ends with |
//! | put back yesterday's segment, or cut it | the checkpoints beside it, which sign more records than are left |
//! | edit or remove checkpoints | their signature; their numbers without gaps; the signed bound on unsigned records |
//! | pass a removal off as pruning | only the key makes `pruned.jws` |
//! | put back a whole consistent folder of yesterday | a head kept outside: `expected` of [`verify`], [`SegmentLog::signed_head`] |
//!
//! So without an outside head, what can be changed unseen is the tail after the last checkpoint of a log that was not
//! closed cleanly, or the same after a cut of both files to an earlier checkpoint.

mod chain;
mod checkpoint;
mod error;
mod folder;
mod frame;
mod log;
mod own_key;
mod prune;
mod read;
mod recover;
#[cfg(test)]
mod tests;
mod verify;
mod worker;

pub use checkpoint::{Checkpoint, CheckpointKind, read_checkpoint};
pub use error::{AuditError, Broken};
pub use log::{Health, SegmentLog, SegmentSettings};
pub use own_key::own_key;
pub use prune::prune;
pub use read::{Entry, Reader, next_batch, nodes, sealed_up_to, segments};
pub use recover::Recovery;
pub use verify::{Verified, verify};
