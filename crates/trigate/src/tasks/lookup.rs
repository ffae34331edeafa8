//! What does a gate ask the desk? Opaque tokens and the truth about a token: on the desk's runtime, so that the road's
//! threads never run the store's code.

use async_trait::async_trait;
use std::sync::Arc;
use tokio::runtime::Handle;
use trigate_core::{
    credential::Digest,
    identity::TokenFacts,
    port::{Clock, Fetch, FetchError, Fetched, Lookup, LookupError, TenantStore},
};

/// The store of the same process.
pub struct DeskLookup {
    pub desk: Handle,
    pub store: Arc<dyn TenantStore>,
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Lookup for DeskLookup {
    async fn find_opaque_token(&self, digest: Digest) -> Result<Option<TokenFacts>, LookupError> {
        let store = Arc::clone(&self.store);
        let asked = self.desk.spawn(async move { store.find_opaque_token(&digest).await });
        asked.await.map_err(|error| LookupError(error.to_string()))?.map_err(|error| LookupError(error.to_string()))
    }

    async fn introspect(&self, facts: TokenFacts) -> Result<Option<TokenFacts>, LookupError> {
        let (store, now) = (Arc::clone(&self.store), self.clock.now());
        let asked = self.desk.spawn(async move { store.judge_token(facts, now).await });
        asked.await.map_err(|error| LookupError(error.to_string()))?.map_err(|error| LookupError(error.to_string()))
    }
}

/// A desk elsewhere, asked on the ordinary runtime: its connections outlive the cores that ask.
pub struct FarLookup {
    pub desk: Handle,
    pub inner: Arc<dyn Lookup>,
}

#[async_trait]
impl Lookup for FarLookup {
    async fn find_opaque_token(&self, digest: Digest) -> Result<Option<TokenFacts>, LookupError> {
        let inner = Arc::clone(&self.inner);
        let asked = self.desk.spawn(async move { inner.find_opaque_token(digest).await });
        asked.await.map_err(|error| LookupError(error.to_string()))?
    }

    async fn introspect(&self, facts: TokenFacts) -> Result<Option<TokenFacts>, LookupError> {
        let inner = Arc::clone(&self.inner);
        let asked = self.desk.spawn(async move { inner.introspect(facts).await });
        asked.await.map_err(|error| LookupError(error.to_string()))?
    }
}

/// Outbound calls of the gates, on the desk's runtime.
pub struct DeskFetch {
    pub desk: Handle,
    pub inner: Arc<dyn Fetch>,
}

#[async_trait]
impl Fetch for DeskFetch {
    async fn get(&self, url: &str, max_bytes: usize) -> Result<Fetched, FetchError> {
        let (inner, address) = (Arc::clone(&self.inner), url.to_owned());
        let asked = self.desk.spawn(async move { inner.get(&address, max_bytes).await });
        asked.await.map_err(|error| FetchError::Failed(url.to_owned(), error.to_string()))?
    }

    async fn post_form(
        &self,
        url: &str,
        form: &[(&str, &str)],
        basic: Option<(&str, &str)>,
        max_bytes: usize,
    ) -> Result<Fetched, FetchError> {
        let (inner, address) = (Arc::clone(&self.inner), url.to_owned());
        let form: Vec<(String, String)> =
            form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let basic = basic.map(|(name, secret)| (name.to_owned(), zeroize::Zeroizing::new(secret.to_owned())));
        let asked = self.desk.spawn(async move {
            let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let basic = basic.as_ref().map(|(name, secret)| (name.as_str(), secret.as_str()));
            inner.post_form(&address, &form, basic, max_bytes).await
        });
        asked.await.map_err(|error| FetchError::Failed(url.to_owned(), error.to_string()))?
    }
}
