//! What must happen now and then? Expired rows go, keys are rotated in time, foreign keys are fetched before they are
//! needed.

use super::{Stop, pause};
use std::{collections::HashMap, sync::Arc, time::Duration};
use trigate_core::port::{Clock, SystemStore};
use trigate_gates::{Issuers, Known};
use trigate_issuer::Issuer;

/// Removes what has expired, from the store and from memory.
pub async fn sweep(system: Arc<dyn SystemStore>, known: Arc<Known>, clock: Arc<dyn Clock>, mut stop: Stop) {
    while pause(&mut stop, Duration::from_secs(60)).await {
        known.sweep();
        loop {
            match system.sweep(clock.now(), 1_000).await {
                // More than one batch: go on at once, but let others in between.
                Ok(gone) if gone >= 1_000 => tokio::task::yield_now().await,
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "expired rows were not removed");
                    break;
                }
            }
        }
    }
}

/// Makes the next signing key before the old one is due.
pub async fn rotate_keys(issuer: Arc<Issuer>, mut stop: Stop) {
    while pause(&mut stop, Duration::from_secs(60)).await {
        if let Err(error) = issuer.keys_due().await {
            tracing::error!(%error, "signing keys were not rotated");
        }
    }
}

/// Fetches the keys of foreign issuers that are due, and says once which of them verify nothing.
pub async fn refresh_issuers(issuers: Arc<Issuers>, mut stop: Stop) {
    let mut said = HashMap::new();
    issuers.refresh_due().await;
    say_left_out(&issuers, &mut said);
    while pause(&mut stop, Duration::from_secs(5)).await {
        issuers.refresh_due().await;
        say_left_out(&issuers, &mut said);
    }
}

/// T29: one warning, not one per fetch.
fn say_left_out(issuers: &Issuers, said: &mut HashMap<String, Vec<String>>) {
    for status in issuers.status() {
        let before = said.insert(status.issuer.clone(), status.left_out.clone()).unwrap_or_default();
        if status.left_out != before && !status.left_out.is_empty() {
            let keys = status.left_out.join("; ");
            tracing::warn!(issuer = status.issuer, keys, "the issuer publishes keys that verify nothing here");
        }
    }
}
