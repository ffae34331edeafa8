//! The one way out: a guarded HTTP client (no redirects, size and time limits, no private addresses unless configured).

use async_trait::async_trait;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error("`{0}` may not be fetched: {1}")]
    Forbidden(String, String),
    #[error("`{0}` could not be fetched: {1}")]
    Failed(String, String),
}

#[derive(Clone, Debug)]
pub struct Fetched {
    pub status: u16,
    pub body: Vec<u8>,
}

#[async_trait]
pub trait Fetch: Send + Sync {
    /// GET with `Accept: application/json`; refuses more than `max_bytes`.
    async fn get(&self, url: &str, max_bytes: usize) -> Result<Fetched, FetchError>;
    /// POST of a form, for introspection at another issuer.
    async fn post_form(
        &self,
        url: &str,
        form: &[(&str, &str)],
        basic: Option<(&str, &str)>,
        max_bytes: usize,
    ) -> Result<Fetched, FetchError>;
}
