//! Which token is behind this opaque text? The keyed checksum refuses garbage, then one look-up tells the facts.
//!
//! Trusts the look-up for the facts as minted; they are judged like a JWT's.

use super::token::Verified;
use crate::passage::Passage;
use std::sync::Arc;
use trigate_core::{credential::OpaqueToken, reason::Reason};

pub(crate) async fn verify(passage: &Passage<'_>, text: &str) -> Result<Verified, Reason> {
    let rule = passage.rules.our_issuer().ok_or(Reason::TokenIssuer)?;
    let key = passage.known().checksum_key().ok_or(Reason::TokenMalformed)?;
    // Guesses end here: without the key nobody can make the store look.
    let token = OpaqueToken::parse(text, &key).ok_or(Reason::TokenMalformed)?;
    let found = passage.gates.lookup.find_opaque_token(token.digest()).await;
    let facts = found.map_err(|_| Reason::LookupUnavailable)?.ok_or(Reason::TokenInactive)?;
    if *facts.issuer != *rule.issuer {
        return Err(Reason::TokenIssuer);
    }
    Ok(Verified { facts: Arc::new(facts), header: None, by_text: None })
}
