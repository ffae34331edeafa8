//! Is the trail whole? Every chain is walked from its start; what was kept elsewhere earlier must lie on it.
//!
//! Trusts the checkpoint keys and the heads that are handed in, never the files or rows that it judges.

use super::{Answer, By, Operator, OperatorError, audit::list_nodes, blocking};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};
use trigate_core::{
    audit::ChainHead,
    credential::Digest,
    jose::VerifyingKey,
    port::{StoreError, StoredAct},
};

/// What `trigate audit verify` found.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    pub whole: bool,
    pub chains: Vec<ChainReport>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ChainReport {
    /// `acts`, or `decisions of NODE`.
    pub chain: String,
    pub whole: bool,
    pub entries: u64,
    /// Where it does not hold, when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken_at: Option<u64>,
    pub finding: String,
    /// `LENGTH:HASH`. Keep it elsewhere: whoever cuts the chain's end, or puts yesterday's files back, cannot reach it
    /// there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
}

/// What an earlier verification printed and somebody kept: the heads by chain.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Against {
    pub heads: BTreeMap<String, String>,
}

const ACTS: &str = "acts";

impl Operator {
    pub async fn verify_audit(&self, by: &By, against: &Against) -> Answer<Verification> {
        let mut kept = read_heads(against)?;
        let act = self.act(by, "audit.verify", "all");
        self.store().record_act(act).await?.gives_only();
        let mut chains = vec![self.verify_acts(kept.remove(ACTS)).await?];
        let dir = self.parts.folder.audit();
        for node in list_nodes(&dir).await? {
            let (keys, dir) = (self.parts.checkpoint_keys.clone(), dir.clone());
            let expected = kept.remove(&chain_of(&node));
            let indexed = self.store().indexed_up_to(&node).await?;
            chains.push(blocking(move || Ok(verify_node(&dir, &node, &keys, expected, indexed))).await?);
        }
        chains.extend(kept.into_keys().map(missing));
        Ok(Verification { whole: chains.iter().all(|chain| chain.whole), chains })
    }

    async fn verify_acts(&self, expected: Option<ChainHead>) -> Answer<ChainReport> {
        let recorded = self.store().act_chain_head().await?;
        let mut head = ChainHead::start(self.parts.tenant.as_str());
        let mut broken = None;
        while head.length < recorded.length && broken.is_none() {
            let acts = match self.acts_after(head).await? {
                Ok(acts) => acts,
                Err(unreadable) => {
                    broken = Some((head.length, unreadable));
                    break;
                }
            };
            if acts.is_empty() {
                broken = Some((head.length, "acts are missing that the chain's head counts".to_owned()));
            }
            for stored in acts.iter().filter(|stored| stored.index < recorded.length) {
                match follow(&head, stored).and_then(|next| passes(next, expected)) {
                    Ok(next) => head = next,
                    Err(found) => {
                        broken = Some(found);
                        break;
                    }
                }
            }
        }
        if broken.is_none() && head != recorded {
            broken = Some((head.length, "the chain ends elsewhere than its head says".to_owned()));
        }
        if broken.is_none() && expected.is_some_and(|kept| kept.length > head.length) {
            broken = Some((head.length, "the chain ends before the head that was kept elsewhere".to_owned()));
        }
        Ok(report(ACTS.to_owned(), head, broken))
    }
}

/// Acts in a batch; one by one where the batch cannot be read, so that the first bad one is named.
const BATCH: u32 = 1_000;

impl Operator {
    async fn acts_after(&self, head: ChainHead) -> Answer<Result<Vec<StoredAct>, String>> {
        for batch in [BATCH, 1] {
            match self.store().acts_from(head.length, batch).await {
                Err(StoreError::Corrupt(_)) => {}
                read => return Ok(Ok(read?)),
            }
        }
        Ok(Err("the act cannot be read any more".to_owned()))
    }
}

fn chain_of(node: &str) -> String {
    format!("decisions of {node}")
}

/// A head that was kept must lie on the chain: otherwise another history was put in its place.
fn passes(head: ChainHead, kept: Option<ChainHead>) -> Result<ChainHead, (u64, String)> {
    match kept {
        Some(kept) if kept.length == head.length && kept != head => Err((
            head.length.saturating_sub(1),
            "another history leads here than to the head that was kept elsewhere".to_owned(),
        )),
        _ => Ok(head),
    }
}

fn missing(chain: String) -> ChainReport {
    let finding = "a head of this chain was kept elsewhere, and the chain is gone".to_owned();
    ChainReport { chain, whole: false, entries: 0, broken_at: Some(0), finding, head: None }
}

/// `indexed`: what the store has seen of this node, in another place than the files.
fn verify_node(
    dir: &Path,
    node: &str,
    keys: &[VerifyingKey],
    expected: Option<ChainHead>,
    indexed: u64,
) -> ChainReport {
    let chain = chain_of(node);
    match trigate_audit::verify(dir, node, keys, expected) {
        Ok(good) if good.head.length < indexed => ChainReport {
            chain,
            whole: false,
            entries: good.records,
            broken_at: Some(good.head.length),
            finding: format!(
                "the store has indexed {indexed} records, the files end before: older files were put back"
            ),
            head: None,
        },
        Ok(good) => {
            let mut finding = format!("{} segments, {} signed checkpoints", good.segments, good.checkpoints);
            if good.first > 0 {
                finding.push_str(&format!(", records before {} were pruned", good.first));
            }
            if good.unsigned > 0 {
                finding.push_str(&format!(", the last {} records wait for their checkpoint", good.unsigned));
            }
            let head = Some(head_text(&good.head));
            ChainReport { chain, whole: true, entries: good.records, broken_at: None, finding, head }
        }
        Err(broken) => ChainReport {
            chain,
            whole: false,
            entries: broken.index,
            broken_at: Some(broken.index),
            finding: format!("segment {}: {}", broken.segment, broken.what),
            head: None,
        },
    }
}

fn follow(head: &ChainHead, stored: &StoredAct) -> Result<ChainHead, (u64, String)> {
    if stored.index != head.length {
        return Err((head.length, format!("act {} is missing", head.length)));
    }
    let next = head.follow(&stored.bytes, &stored.hash).map_err(|broken| (broken.index, broken.what.to_owned()))?;
    // The columns that queries read must say what was chained.
    match serde_json::from_slice::<trigate_core::Act>(&stored.bytes) {
        Ok(chained) if chained == stored.act => Ok(next),
        _ => Err((stored.index, "the act that is shown is not the one that was chained".to_owned())),
    }
}

fn report(chain: String, head: ChainHead, broken: Option<(u64, String)>) -> ChainReport {
    match broken {
        None => ChainReport {
            chain,
            whole: true,
            entries: head.length,
            broken_at: None,
            finding: "every link holds".to_owned(),
            head: Some(head_text(&head)),
        },
        Some((at, finding)) => {
            ChainReport { chain, whole: false, entries: head.length, broken_at: Some(at), finding, head: None }
        }
    }
}

fn head_text(head: &ChainHead) -> String {
    format!("{}:{}", head.length, Digest::from_bytes(head.hash).hex())
}

fn read_heads(against: &Against) -> Answer<BTreeMap<String, ChainHead>> {
    let read = |text: &str| {
        let (length, hash) = text.split_once(':')?;
        Some(ChainHead { length: length.parse().ok()?, hash: *Digest::parse_hex(hash)?.bytes() })
    };
    let entries = against.heads.iter().map(|(chain, text)| {
        let head = read(text).ok_or_else(|| {
            OperatorError::invalid(
                format!("the head kept for `{}` is not of the form LENGTH:HASH", chain.escape_default()),
                "pass what an earlier `trigate audit verify --json` printed, unchanged",
            )
        })?;
        Ok((chain.clone(), head))
    });
    entries.collect()
}
