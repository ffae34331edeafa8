//! Are the revocation lists still the newest? Fetches those that are named by URL. What cannot be fetched or read changes
//! nothing: the last good list stays, loudly, until it is too old to count. (Files are watched with the certificates.)

use super::{Stop, pause};
use crate::{edge::trust::Trust, metrics::Metrics};
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use trigate_core::{credential::Digest, port::Fetch};
use trigate_x509::MAX_CRL_BYTES;

/// Makes the set anew from what is there now, and takes it into force.
pub type Renew = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

pub struct ListFetcher {
    pub trust: Arc<Trust>,
    pub renew: Renew,
    pub fetch: Arc<dyn Fetch>,
    pub metrics: Arc<Metrics>,
}

/// After a failure it is asked again soon.
const AGAIN: Duration = Duration::from_secs(10);

pub async fn fetch_lists(fetcher: ListFetcher, mut stop: Stop) {
    let mut known = HashMap::new();
    loop {
        let good = fetcher.round(&mut known).await;
        let every = Duration::from_secs(u64::from(fetcher.trust.now().refresh_s()));
        if !pause(&mut stop, if good { every } else { every.min(AGAIN) }).await {
            return;
        }
    }
}

impl ListFetcher {
    /// Is everything that is named in force?
    async fn round(&self, known: &mut HashMap<String, Digest>) -> bool {
        let (mut good, mut new) = (true, Vec::new());
        for url in self.trust.now().urls() {
            match self.fetch_list(url, known.get(url)).await {
                Ok(Some(digest)) => new.push((url.clone(), digest)),
                Ok(None) => {}
                Err(error) => good = self.complain(&error),
            }
        }
        if new.is_empty() {
            return good;
        }
        let renew = Arc::clone(&self.renew);
        match tokio::task::spawn_blocking(move || renew()).await {
            Ok(Ok(())) => {
                tracing::info!(lists = new.len(), "new revocation lists are in force");
                known.extend(new);
                good
            }
            Ok(Err(error)) => self.complain(&error),
            Err(error) => self.complain(&error.to_string()),
        }
    }

    /// The hash of a list that has changed.
    async fn fetch_list(&self, url: &str, known: Option<&Digest>) -> Result<Option<Digest>, String> {
        let answer = self.fetch.get(url, MAX_CRL_BYTES).await.map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("`{url}` answered {}", answer.status));
        }
        let digest = Digest::of_bytes(&answer.body);
        if known == Some(&digest) {
            return Ok(None);
        }
        let (trust, url) = (Arc::clone(&self.trust), url.to_owned());
        let kept = tokio::task::spawn_blocking(move || trust.keep_fetched(&url, &answer.body)).await;
        kept.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        Ok(Some(digest))
    }

    fn complain(&self, error: &str) -> bool {
        self.metrics.trust_failures.fetch_add(1, Ordering::Relaxed);
        tracing::error!("REVOCATION LISTS NOT RENEWED, the last good ones stay: {error}");
        false
    }
}
