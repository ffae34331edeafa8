//! Is this access token genuine, alive and meant for us? One road for JWTs and opaque tokens, and the cache of what was
//! verified.
//!
//! INVARIANT: the cache holds what was verified, never what was decided. Its key names the verifier (rules, our keys,
//! foreign keys) and the whole token. Expiry, audience, type, binding and changes are judged on every request.

use super::{introspection, jwt, opaque, sender};
use crate::{established::Established, known::Known, passage::Passage, request::PresentedToken, rules::IssuerRule};
use std::sync::Arc;
use trigate_core::{
    Timestamp,
    credential::{Digest, OpaqueToken},
    id::TokenId,
    identity::{SenderProof, TokenFacts},
    jose::Algorithm,
    reason::Reason,
};

/// What a token proved about itself.
#[derive(Debug)]
pub(crate) struct Verified {
    pub facts: Arc<TokenFacts>,
    /// For JWTs.
    pub header: Option<VerifiedHeader>,
    /// A foreign token's name by its text, beside the one by its `jti`: either can be revoked.
    pub by_text: Option<TokenId>,
}

#[derive(Debug)]
pub(crate) struct VerifiedHeader {
    /// Lower case, without `application/`.
    pub typ: String,
    pub algorithm: Algorithm,
}

/// An accepted token. `facts` are judged: what was taken away since minting is not in them.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub facts: Arc<TokenFacts>,
    pub ours: bool,
    /// Signed, hence bound to a key that must still be trusted.
    pub signed: bool,
    pub by_text: Option<TokenId>,
    /// Of the issuer's rule.
    pub leeway_s: u32,
    /// `None`: whoever has it may send it.
    pub sender: Option<SenderProof>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey {
    rules: u64,
    our_keys: u64,
    foreign_keys: u64,
    token: [u8; 32],
}

/// Weighs an entry by its bytes, roughly.
#[derive(Clone)]
pub(crate) struct Weigh;

impl quick_cache::Weighter<CacheKey, Arc<Verified>> for Weigh {
    fn weight(&self, _: &CacheKey, value: &Arc<Verified>) -> u64 {
        let facts = &value.facts;
        let lists = facts.scopes.len() + facts.roles.len() + facts.audiences.len();
        (768 + 128 * usize::from(facts.confirmation.is_some()) + facts.subject.len() + facts.issuer.len() + lists * 48)
            as u64
    }
}

pub(crate) type Cache = quick_cache::sync::Cache<CacheKey, Arc<Verified>, Weigh>;

/// 32 MiB of verified tokens, some 35,000.
pub(crate) fn new_cache() -> Cache {
    Cache::with_weighter(32_768, 32 * 1024 * 1024, Weigh)
}

/// Who issued it, and with which facts? The only step that may wait. `max_age_s`: of an issuer's answer about it.
pub(crate) async fn verify(passage: &Passage<'_>, text: &str, max_age_s: u32) -> Result<Arc<Verified>, Reason> {
    let digest = Digest::of(text);
    let key = CacheKey {
        rules: passage.rules.epoch,
        our_keys: passage.known().verifier_epoch(),
        foreign_keys: passage.gates.issuers.epoch(),
        token: *digest.bytes(),
    };
    if let Some(verified) = passage.gates.verified.get(&key) {
        return Ok(verified);
    }
    let verified = if text.starts_with(OpaqueToken::PREFIX) {
        opaque::verify(passage, text).await?
    } else if let Some(asked) = introspection::issuer_of(passage.rules, text) {
        // Kept by itself, as long as the route says.
        return introspection::verify(passage, asked, text, max_age_s).await;
    } else {
        jwt::verify(passage, text).await?
    };
    let verified = Arc::new(verified);
    passage.gates.verified.insert(key, Arc::clone(&verified));
    Ok(verified)
}

/// Is it alive now, for this audience, of this type, in these hands?
pub(crate) fn judge(
    passage: &Passage<'_>,
    presented: PresentedToken<'_>,
    verified: Arc<Verified>,
    established: &mut Established,
) -> Result<Token, Reason> {
    let facts = &verified.facts;
    let rule = passage.rules.issuer(&facts.issuer).ok_or(Reason::TokenIssuer)?;
    if let Some(header) = &verified.header {
        check_header(header, rule)?;
    }
    check_times(facts, rule, passage.now)?;
    check_audience(facts, rule)?;
    // INVARIANT: revocations hit our tokens by position; one without could not be revoked.
    if rule.ours && facts.position.is_none() {
        return Err(Reason::TokenClaims);
    }
    // Last: it uses a proof up.
    let sender = sender::check(passage, presented, facts, rule, established)?;
    Ok(Token {
        facts: Arc::clone(facts),
        ours: rule.ours,
        signed: verified.header.is_some(),
        by_text: verified.by_text,
        sender,
        leeway_s: rule.leeway_s.min(60),
    })
}

fn check_header(header: &VerifiedHeader, rule: &IssuerRule) -> Result<(), Reason> {
    // RFC 9068 §4, RFC 8725 §3.11: an ID token is no access token.
    if !rule.typ.iter().any(|typ| typ.eq_ignore_ascii_case(&header.typ)) {
        return Err(Reason::TokenType);
    }
    if !rule.algorithms.is_empty() && !rule.algorithms.contains(&header.algorithm) {
        return Err(Reason::TokenAlgorithm);
    }
    Ok(())
}

pub(crate) fn check_times(facts: &TokenFacts, rule: &IssuerRule, now: Timestamp) -> Result<(), Reason> {
    let leeway_s = i64::from(rule.leeway_s.min(60));
    let latest = now.plus_seconds(leeway_s);
    // RFC 7519 §4.1.4
    if now >= facts.expires_at.plus_seconds(leeway_s) {
        return Err(Reason::TokenExpired);
    }
    // RFC 7519 §4.1.5
    if facts.not_before.is_some_and(|from| from > latest) {
        return Err(Reason::TokenNotYetValid);
    }
    // RFC 7519 §4.1.6: a date in the future would stretch the life that is measured from it.
    if facts.issued_at.is_some_and(|at| at > latest) {
        return Err(Reason::TokenNotYetValid);
    }
    let born = facts.issued_at.unwrap_or(now);
    if facts.expires_at.seconds_since(born) > i64::from(rule.max_life_s) {
        return Err(Reason::TokenLifetime);
    }
    Ok(())
}

/// Byte by byte: no prefix, no wildcard, no case. // RFC 9068 §4
fn check_audience(facts: &TokenFacts, rule: &IssuerRule) -> Result<(), Reason> {
    let ours = |audience: &String| rule.audiences.contains(audience);
    if rule.danger_any_audience || facts.audiences.iter().any(ours) { Ok(()) } else { Err(Reason::TokenAudience) }
}

/// Is it still true, by what this gate knows now? Takes away what was narrowed.
pub(crate) fn check_current(passage: &Passage<'_>, token: &mut Token) -> Result<(), Reason> {
    let known = passage.known();
    check_known(known, token)?;
    if token.signed {
        check_signing_key(passage, token)?;
    }
    if token.ours && known.may_narrow(&token.facts) {
        known.narrow(Arc::make_mut(&mut token.facts));
    }
    Ok(())
}

/// Was it, or what it stands on, revoked?
pub(crate) fn check_known(known: &Known, token: &Token) -> Result<(), Reason> {
    if token.ours {
        known.check_token(&token.facts)
    } else {
        known.check_foreign_token(&token.facts, token.by_text, token.leeway_s)
    }
}

/// A key that was retired or removed signs nothing any more, also for tokens that were verified before.
fn check_signing_key(passage: &Passage<'_>, token: &Token) -> Result<(), Reason> {
    let kid = token.facts.kid.as_deref();
    if token.ours {
        return jwt::our_key(passage, kid).map(|_| ());
    }
    passage.gates.issuers.check_key(&token.facts.issuer, kid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quick_cache::Weighter as _;
    use trigate_core::{identity::Identity, jose::Claims, oauth::ScopeSet, proof::Confirmation};

    /// The memory is bounded by bytes, so an entry must weigh at least what a sender can make of it.
    #[test]
    fn a_verified_token_weighs_what_it_holds() {
        assert_eq!(new_cache().capacity(), 32 * 1024 * 1024);
        let mut facts = TokenFacts {
            issuer: "i.org".into(),
            subject: "bob".into(),
            client: None,
            application: None,
            identity: Identity::User { id: "bob".parse().unwrap(), email: None },
            token: TokenId::from_bits(1),
            session: None,
            grant: None,
            audiences: vec!["a".into()],
            scopes: ScopeSet::parse("a").unwrap(),
            roles: vec!["a".into()],
            issued_at: None,
            not_before: None,
            expires_at: Timestamp::from_seconds(1),
            authenticated_at: None,
            acr: None,
            position: None,
            actor: None,
            kid: None,
            confirmation: None,
        };
        let key = CacheKey { rules: 1, our_keys: 1, foreign_keys: 1, token: [0; 32] };
        let weight = |facts: &TokenFacts| {
            let verified = Verified { facts: Arc::new(facts.clone()), header: None, by_text: None };
            Weigh.weight(&key, &Arc::new(verified))
        };
        let base = weight(&facts);
        assert_eq!(base, 768 + 3 + 5 + 3 * 48);
        facts.roles = (0..10).map(|n| n.to_string()).collect();
        assert_eq!(weight(&facts), base + 9 * 48);
        let bound = serde_json::json!({ "cnf": { "jkt": "x" } });
        facts.confirmation = Confirmation::read(Claims::new(bound.as_object().unwrap())).unwrap();
        assert_eq!(weight(&facts), base + 9 * 48 + 128);
    }
}
