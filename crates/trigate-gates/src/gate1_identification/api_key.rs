//! Is this an API key of ours, and may it be used now and from here?
//!
//! Trusts [`Known`]. Never looks at a part of a key: the digest of the whole text finds the exact key or none.

use crate::{
    known::{HeldKey, Known},
    request::PresentedKey,
};
use std::{net::IpAddr, sync::Arc};
use trigate_core::{
    Timestamp,
    application::{Application, State},
    credential::{ApiKey, Digest},
    reason::Reason,
};

/// The longest key that is read, in bytes; imported ones included.
const MAX_KEY_BYTES: usize = 512;

/// A good key with its application.
#[derive(Clone, Debug)]
pub(crate) struct KeyHolder {
    pub record: Arc<HeldKey>,
    pub application: Arc<Application>,
}

/// The key that was presented, whatever its state.
pub(crate) fn find_key(known: &Known, presented: PresentedKey<'_>) -> Result<Arc<HeldKey>, Reason> {
    let digest = read_key(presented)?;
    let record = known.key(&digest).ok_or(Reason::KeyUnknown)?;
    // An imported key is taken from the header that it was imported with, and from no other.
    if record.header() != presented.own_header {
        return Err(Reason::KeyUnknown);
    }
    Ok(record)
}

/// Form and checksum first: garbage costs no look-up.
fn read_key(presented: PresentedKey<'_>) -> Result<Digest, Reason> {
    let text = presented.text;
    if text.is_empty() || text.len() > MAX_KEY_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Reason::KeyMalformed);
    }
    match ApiKey::parse(text) {
        Some(key) => Ok(key.digest()),
        None if text.starts_with("tgk_") => Err(Reason::KeyMalformed),
        None => Ok(Digest::of(text)),
    }
}

/// Judges the key's state, the application's, the times and the place.
pub(crate) fn judge_key(
    known: &Known,
    record: Arc<HeldKey>,
    client: IpAddr,
    now: Timestamp,
) -> Result<KeyHolder, Reason> {
    known.check_key(&record)?;
    if record.revoked {
        return Err(Reason::KeyRevoked);
    }
    if record.state == State::Disabled {
        return Err(Reason::KeyDisabled);
    }
    if record.not_before().is_some_and(|from| now < from) {
        return Err(Reason::KeyNotYetValid);
    }
    if record.expires_at().is_some_and(|until| now >= until) {
        return Err(Reason::KeyExpired);
    }
    let application = known.application(&record.application).ok_or(Reason::KeyUnknown)?;
    if application.state == State::Disabled {
        return Err(Reason::ApplicationDisabled);
    }
    if !record.may_come_from(client) {
        return Err(Reason::KeyAddress);
    }
    Ok(KeyHolder { record, application })
}
