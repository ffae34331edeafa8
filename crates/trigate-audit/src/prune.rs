//! How do old records leave without breaking the chain? A signed statement stands for what was removed.

use crate::{AuditError, CheckpointKind, folder::Folder, verify::Walk};
use std::{fs, path::Path};
use trigate_core::{
    Timestamp,
    jose::{SigningKey, VerifyingKey},
};

/// Removes all segments before `before_segment`, which must not be beyond the last one; how many were removed. The
/// statement is durable before the first file goes, so a crash leaves files too many, never too few.
///
/// `former_keys`: keys that signed earlier checkpoints.
///
/// # Errors
/// `NotPrunable`, `Broken` when the seal before `before_segment` does not hold, `Signing`, `Io`.
pub fn prune(
    dir: &Path,
    node: &str,
    before_segment: u64,
    signer: &SigningKey,
    former_keys: &[VerifyingKey],
    now: Timestamp,
) -> Result<u64, AuditError> {
    let folder = Folder::of(dir, node)?;
    if !folder.has(before_segment) {
        return Err(AuditError::NotPrunable(before_segment, "there is no such segment"));
    }
    let mut keys = vec![signer.verifying_key().clone()];
    keys.extend(former_keys.iter().cloned());
    let mut walk = Walk::start(&folder, &keys, None)?;
    if before_segment < walk.segment {
        return Err(AuditError::NotPrunable(before_segment, "it was pruned already"));
    }
    if before_segment > walk.segment {
        walk.segment = before_segment - 1;
        let seal =
            walk.seal()?.ok_or(AuditError::NotPrunable(before_segment, "the segment before it is not sealed"))?;
        let statement = crate::Checkpoint { kind: CheckpointKind::Pruned, segment: before_segment, at: now, ..seal };
        folder.place(&folder.pruned(), statement.sign(signer)?.as_bytes())?;
    }
    let mut removed = 0;
    for number in folder.numbers(".seg")?.into_iter().filter(|number| *number < before_segment) {
        fs::remove_file(folder.segment(number)).map_err(AuditError::io(folder.path()))?;
        removed += 1;
    }
    for number in folder.numbers(".sig")?.into_iter().filter(|number| *number < before_segment) {
        fs::remove_file(folder.checkpoints(number)).map_err(AuditError::io(folder.path()))?;
    }
    Ok(removed)
}
