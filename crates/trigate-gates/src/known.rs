//! What does this gate know? Applications, keys, clients, revocations and narrowings, whole and in memory, with the
//! feed position up to which it is true and the lease while which it may be trusted.
//!
//! Trusts the feed's order. Never forgets a revocation that could still hit a living credential, and never lets one
//! rule mask another: rules combine by the strictest.

mod foreign;
mod kept;
mod keys;
mod rules;
mod sieve;
#[cfg(test)]
mod tests;
mod tokens;

use self::{
    foreign::ForeignRules,
    keys::Keys,
    rules::{Narrowings, Rule, RuleSet},
    tokens::RevokedTokens,
};
use crate::sharded::Sharded;
use arc_swap::ArcSwap;
use http::HeaderName;
pub use kept::{KeptError, KeptHeader, KeptTokens, fingerprint};
pub(crate) use keys::HeldKey;
pub use keys::LoadedKeys;
use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use trigate_core::{
    Position, Timestamp,
    application::{Application, State},
    certificate::ClientCertificate,
    change::{Change, ClientFace, PublicKey, RevokedToken, Snapshot, Target, What},
    credential::{ChecksumKey, Digest},
    id::{AppId, ClientId, GrantId, KeyId, SessionId, TenantId, TokenId, UserId},
    identity::{Identity, TokenFacts},
    jose::VerifyingKey,
    oauth::Scope,
    port::{Clock, Monotonic},
    reason::Reason,
};

/// One per process, shared by all cores: an applied change is seen by every request that starts afterwards.
pub struct Known {
    tenant: TenantId,
    clock: Arc<dyn Clock>,
    /// One writer at a time.
    writing: Mutex<()>,
    position: AtomicU64,
    lease_until: AtomicU64,
    /// Applied less than this, no lease makes the memory trusted.
    demanded: AtomicU64,
    applications: Sharded<AppId, Arc<Application>>,
    keys: Keys,
    clients: Sharded<ClientId, Arc<ClientFace>>,
    signing_keys: Sharded<String, Arc<SigningKey>>,
    /// Rises when a signing key comes, goes or changes: part of the key of the cache of verified tokens.
    verifier_epoch: AtomicU64,
    disabled_users: Sharded<UserId, ()>,
    checksum_key: ArcSwap<Option<ChecksumKey>>,
    revoked: Revoked,
    narrowed: Narrowed,
}

/// A signing key of ours, ready to verify.
pub(crate) struct SigningKey {
    /// `None` when the JWK could not be read: its tokens are refused.
    pub key: Option<VerifyingKey>,
    pub published_until: Option<Timestamp>,
    pub revoked: bool,
}

#[derive(Default)]
struct Revoked {
    tokens: RevokedTokens,
    sessions: RuleSet<SessionId>,
    grants: RuleSet<GrantId>,
    users: RuleSet<UserId>,
    clients: RuleSet<ClientId>,
    applications: RuleSet<AppId>,
    keys: RuleSet<KeyId>,
    certificates: RuleSet<String>,
    certificate_serials: RuleSet<(String, String)>,
    certificate_keys: RuleSet<String>,
    spiffe_ids: RuleSet<String>,
    signing_keys: RuleSet<String>,
    foreign_users: ForeignRules,
    foreign_clients: ForeignRules,
    foreign_sessions: ForeignRules,
}

#[derive(Default)]
struct Narrowed {
    user_roles: Narrowings<UserId, String>,
    client_roles: Narrowings<ClientId, String>,
    client_scopes: Narrowings<ClientId, Scope>,
    grant_scopes: Narrowings<GrantId, Scope>,
}

impl Known {
    /// Knows nothing yet, and holds no lease.
    pub fn new(tenant: TenantId, clock: Arc<dyn Clock>) -> Self {
        Self {
            tenant,
            clock,
            writing: Mutex::default(),
            position: AtomicU64::new(0),
            lease_until: AtomicU64::new(0),
            demanded: AtomicU64::new(0),
            applications: Sharded::default(),
            keys: Keys::default(),
            clients: Sharded::default(),
            signing_keys: Sharded::default(),
            verifier_epoch: AtomicU64::new(0),
            disabled_users: Sharded::default(),
            checksum_key: ArcSwap::default(),
            revoked: Revoked::default(),
            narrowed: Narrowed::default(),
        }
    }

    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// All changes up to here are applied, and seen by all cores.
    pub fn position(&self) -> Position {
        Position(self.position.load(Ordering::Acquire))
    }

    /// The memory may be trusted until then. The caller counts from *before* it asked for the lease.
    pub fn hold_lease(&self, until: Monotonic) {
        self.lease_until.fetch_max(until.0, Ordering::AcqRel);
    }

    /// The answer to a change at `position` goes out without waiting for this gate, because it holds no lease.
    /// SECURITY: a renewal may be under way that read the feed's head before that change; its lease counts only from
    /// where the change is applied.
    pub fn demand(&self, position: Position) {
        self.demanded.fetch_max(position.0, Ordering::AcqRel);
    }

    /// Trusts itself no longer (a clean stop, or a feed that cannot be read on).
    pub fn drop_lease(&self) {
        self.lease_until.store(0, Ordering::Release);
    }

    /// Is the lease alive at `now`?
    pub fn trusted(&self, now: Monotonic) -> bool {
        now.0 < self.lease_until.load(Ordering::Acquire) && self.demanded.load(Ordering::Acquire) <= self.position().0
    }

    /// How long the memory may still be trusted.
    pub fn lease_remaining_ms(&self, now: Monotonic) -> u64 {
        self.lease_until.load(Ordering::Acquire).saturating_sub(now.0) / 1_000
    }

    /// Takes in a snapshot. One that is older than what is known is ignored. Safe while requests are judged: what
    /// takes away comes first, and revocations known before are kept.
    pub fn load(&self, mut snapshot: Snapshot) {
        let keys = std::mem::take(&mut snapshot.keys).into_iter().collect();
        self.load_with(snapshot, keys);
    }

    /// As [`Self::load`], of a snapshot whose keys came page by page.
    pub fn load_with(&self, snapshot: Snapshot, keys: LoadedKeys) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if snapshot.position < self.position() {
            return;
        }
        let tokens = snapshot.standing.iter().filter(|change| change.revokes_token()).count();
        self.revoked.tokens.reserve(tokens);
        for change in &snapshot.standing {
            self.take_in(change);
        }
        for user in &snapshot.disabled_users {
            self.disabled_users.insert(user.clone(), ());
        }
        let disabled: HashSet<&UserId> = snapshot.disabled_users.iter().collect();
        self.disabled_users.retain(|user, ()| disabled.contains(user));
        self.load_records(&snapshot);
        self.keys.replace(keys.0);
        self.checksum_key.store(Arc::new(snapshot.opaque_checksum.clone()));
        self.position.store(snapshot.position.0, Ordering::Release);
    }

    fn load_records(&self, snapshot: &Snapshot) {
        for application in &snapshot.applications {
            self.put_application(application.clone());
        }
        for client in &snapshot.clients {
            self.clients.insert(client.id.clone(), Arc::new(client.clone()));
        }
        let kids: HashSet<&String> = snapshot.signing_keys.iter().map(|key| &key.kid).collect();
        self.signing_keys.retain(|kid, _| kids.contains(kid));
        for key in &snapshot.signing_keys {
            self.put_signing_key(key);
        }
        self.verifier_epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes in the next change. One at or below the position, or of another tenant, changes nothing.
    pub fn apply(&self, change: &Change) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if change.position <= self.position() {
            return;
        }
        self.take_in(change);
        // After the change itself: who reads the position finds all that it promises.
        self.position.store(change.position.0, Ordering::Release);
    }

    /// Changes of other tenants were skipped up to here (the feed is one for all).
    pub fn advance(&self, position: Position) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.position.fetch_max(position.0, Ordering::AcqRel);
    }

    /// Forgets rules whose time is over. Called now and then by a task.
    pub fn sweep(&self) {
        let now = self.clock.now();
        self.revoked.tokens.sweep(now);
        self.revoked.sessions.sweep(now);
        self.revoked.grants.sweep(now);
        self.revoked.users.sweep(now);
        self.revoked.clients.sweep(now);
        self.revoked.foreign_users.sweep(now);
        self.revoked.foreign_clients.sweep(now);
        self.revoked.foreign_sessions.sweep(now);
        self.narrowed.user_roles.sweep(now);
        self.narrowed.client_roles.sweep(now);
        self.narrowed.client_scopes.sweep(now);
        self.narrowed.grant_scopes.sweep(now);
        // Applications, keys, certificates and signing keys have no life of their own that ends the danger: kept.
    }

    /// Needed for opaque tokens; also part of the snapshot.
    pub fn set_checksum_key(&self, key: ChecksumKey) {
        self.checksum_key.store(Arc::new(Some(key)));
    }

    /// Numbers for metrics: applications, keys, clients, revoked tokens.
    pub fn sizes(&self) -> [usize; 4] {
        [self.applications.len(), self.keys.len(), self.clients.len(), self.revoked.tokens.len()]
    }

    /// Takes in revoked tokens ahead of the changes around them: to revoke early is safe.
    pub fn revoke_tokens(&self, tokens: &[RevokedToken]) {
        let entries: Vec<_> = tokens.iter().map(|token| (token.id.bits(), tokens::end_of(token.keep_until))).collect();
        self.put_revoked_tokens(&entries);
    }

    fn put_revoked_tokens(&self, entries: &[(u128, u32)]) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.revoked.tokens.put_all(entries);
    }

    /// Was this very token revoked?
    pub fn is_token_revoked(&self, id: TokenId) -> bool {
        self.revoked.tokens.contains(id)
    }

    /// Bytes that the revoked tokens take.
    pub fn revoked_token_bytes(&self) -> usize {
        self.revoked.tokens.bytes()
    }

    fn take_in(&self, change: &Change) {
        if change.tenant != self.tenant {
            return;
        }
        let rule = |keep_until: &Timestamp| Rule { position: change.position, at: change.at, keep_until: *keep_until };
        match &change.what {
            What::Application { record } => self.put_application(record.clone()),
            What::Key { record } => self.keys.put(record.clone()),
            What::Client { record } => {
                self.clients.insert(record.id.clone(), Arc::new(record.clone()));
            }
            What::SigningKey { record } => {
                self.put_signing_key(record);
                self.verifier_epoch.fetch_add(1, Ordering::AcqRel);
            }
            What::UserState { user, state: State::Disabled } => {
                self.disabled_users.insert(user.clone(), ());
            }
            What::UserState { user, state: State::Enabled } => {
                self.disabled_users.remove(user);
            }
            What::RolesNarrowed { user, roles, keep_until } => {
                self.narrowed.user_roles.add(user.clone(), roles.iter().cloned(), rule(keep_until));
            }
            What::ClientRolesNarrowed { client, roles, keep_until } => {
                self.narrowed.client_roles.add(client.clone(), roles.iter().cloned(), rule(keep_until));
            }
            What::ClientScopesNarrowed { client, scopes, keep_until } => {
                self.narrowed.client_scopes.add(client.clone(), scopes.iter().cloned(), rule(keep_until));
            }
            What::GrantNarrowed { grant, scopes, keep_until } => {
                self.narrowed.grant_scopes.add(grant.clone(), scopes.iter().cloned(), rule(keep_until));
            }
            What::Revoked { target, keep_until } => self.revoke(target, rule(keep_until)),
        }
    }

    fn revoke(&self, target: &Target, rule: Rule) {
        let revoked = &self.revoked;
        match target.clone() {
            Target::Token { id } => revoked.tokens.add(id, rule.keep_until),
            Target::Session { id, issuer: None } => revoked.sessions.add(id, rule),
            Target::Session { id, issuer: Some(issuer) } => revoked.foreign_sessions.add(issuer, id.into(), rule),
            Target::Grant { id } => revoked.grants.add(id, rule),
            Target::User { id, issuer: None } => revoked.users.add(id, rule),
            Target::User { id, issuer: Some(issuer) } => revoked.foreign_users.add(issuer, id.into(), rule),
            Target::Client { id, issuer: None } => revoked.clients.add(id, rule),
            Target::Client { id, issuer: Some(issuer) } => revoked.foreign_clients.add(issuer, id.into(), rule),
            Target::Application { id } => revoked.applications.add(id, rule),
            Target::Key { id } => revoked.keys.add(id, rule),
            Target::Certificate { fingerprint } => revoked.certificates.add(fingerprint, rule),
            Target::CertificateSerial { issuer, serial } => revoked.certificate_serials.add((issuer, serial), rule),
            Target::CertificateKey { spki } => revoked.certificate_keys.add(spki, rule),
            Target::SpiffeId { id } => revoked.spiffe_ids.add(id, rule),
            Target::SigningKey { kid } => {
                revoked.signing_keys.add(kid, rule);
                self.verifier_epoch.fetch_add(1, Ordering::AcqRel);
            }
        }
    }

    fn put_application(&self, record: Application) {
        self.applications.insert(record.id.clone(), Arc::new(record));
    }

    fn put_signing_key(&self, record: &PublicKey) {
        let key = VerifyingKey::from_jwk(&record.jwk).ok().filter(|key| key.kid() == Some(record.kid.as_str()));
        let known = SigningKey { key, published_until: record.published_until, revoked: record.revoked };
        self.signing_keys.insert(record.kid.clone(), Arc::new(known));
    }

    // What the gates ask. Each answer is true at the moment of asking.

    pub(crate) fn application(&self, id: &AppId) -> Option<Arc<Application>> {
        self.applications.get(id)
    }

    pub(crate) fn client(&self, id: &ClientId) -> Option<Arc<ClientFace>> {
        self.clients.get(id)
    }

    /// The key whose digest this is: the exact key or none (K04).
    pub(crate) fn key(&self, digest: &Digest) -> Option<Arc<HeldKey>> {
        self.keys.find(digest)
    }

    /// The headers that imported keys arrive in.
    pub fn own_headers(&self) -> Arc<Vec<HeaderName>> {
        self.keys.own_headers()
    }

    pub(crate) fn signing_key(&self, kid: &str) -> Option<Arc<SigningKey>> {
        self.signing_keys.get(kid)
    }

    pub(crate) fn checksum_key(&self) -> Option<ChecksumKey> {
        self.checksum_key.load().as_ref().clone()
    }

    pub(crate) fn verifier_epoch(&self) -> u64 {
        self.verifier_epoch.load(Ordering::Acquire)
    }

    /// Was the key, or all of its application before it was born, revoked?
    pub(crate) fn check_key(&self, key: &HeldKey) -> Result<(), Reason> {
        if self.revoked.keys.any(&key.id) {
            return Err(Reason::KeyRevoked);
        }
        if self.revoked.applications.hits_position(&key.application, key.born) {
            return Err(Reason::ApplicationRevoked);
        }
        Ok(())
    }

    /// A certificate has no position: one that was made before the end of its application ends with it.
    pub(crate) fn check_machine(&self, application: &AppId, made: Timestamp) -> Result<(), Reason> {
        if self.revoked.applications.hits_issued_at(application, Some(made), 0) {
            return Err(Reason::ApplicationRevoked);
        }
        Ok(())
    }

    /// By itself, its number, its key, or its SPIFFE id. (An id lives on: certificates that are made afterwards are good.)
    ///
    /// # Errors
    /// It was revoked.
    pub fn check_certificate(&self, certificate: &ClientCertificate) -> Result<(), Reason> {
        let revoked = &self.revoked;
        let serial = (certificate.issuer.clone(), certificate.serial.clone());
        let made = Some(certificate.not_before);
        let hit = revoked.certificates.any(&certificate.fingerprint)
            || revoked.certificate_serials.any(&serial)
            || revoked.certificate_keys.any(&certificate.key)
            || certificate.san_uris.iter().any(|id| revoked.spiffe_ids.hits_issued_at(id, made, 0));
        if hit { Err(Reason::CertificateRevoked) } else { Ok(()) }
    }

    /// Is what our own token says still true? Judged on every request, after the cache of verified tokens, by position,
    /// whatever the clocks say.
    pub(crate) fn check_token(&self, facts: &TokenFacts) -> Result<(), Reason> {
        let revoked = &self.revoked;
        // INVARIANT: a token of ours without a position was refused at verification; here it would be the oldest.
        let minted = facts.position.unwrap_or_default();
        // The signing key first: whoever stole it writes any position that pleases them.
        if facts.kid.as_deref().is_some_and(|kid| revoked.signing_keys.any(kid)) {
            return Err(Reason::SigningKeyRevoked);
        }
        if self.is_token_revoked(facts.token) {
            return Err(Reason::TokenRevoked);
        }
        if facts.application.as_ref().is_some_and(|id| revoked.applications.hits_position(id, minted)) {
            return Err(Reason::ApplicationRevoked);
        }
        if facts.client.as_ref().is_some_and(|id| revoked.clients.hits_position(id, minted)) {
            return Err(Reason::ClientRevoked);
        }
        if let Identity::User { id, .. } = &facts.identity
            && revoked.users.hits_position(id, minted)
        {
            return Err(Reason::UserRevoked);
        }
        if facts.grant.as_ref().is_some_and(|grant| revoked.grants.hits_position(grant, minted)) {
            return Err(Reason::GrantRevoked);
        }
        if facts.session.as_ref().is_some_and(|session| revoked.sessions.hits_position(session, minted)) {
            return Err(Reason::SessionRevoked);
        }
        self.check_states(facts)
    }

    /// States are known of our own users and clients alone.
    fn check_states(&self, facts: &TokenFacts) -> Result<(), Reason> {
        if let Identity::User { id, .. } = &facts.identity
            && self.disabled_users.contains(id)
        {
            return Err(Reason::UserDisabled);
        }
        let disabled = |client: &Arc<ClientFace>| client.state == State::Disabled;
        if facts.client.as_ref().is_some_and(|client| self.clients.with(client, disabled) == Some(true)) {
            return Err(Reason::ClientDisabled);
        }
        Ok(())
    }

    /// As [`Self::check_token`] for another issuer's token: by `iat`, which is all there is. `by_text` is the token's
    /// name for whoever holds its text and knows no `jti`.
    pub(crate) fn check_foreign_token(
        &self,
        facts: &TokenFacts,
        by_text: Option<TokenId>,
        leeway_s: u32,
    ) -> Result<(), Reason> {
        let (revoked, issuer, issued_at) = (&self.revoked, facts.issuer.as_ref(), facts.issued_at);
        if [Some(facts.token), by_text].into_iter().flatten().any(|id| revoked.tokens.contains(id)) {
            return Err(Reason::TokenRevoked);
        }
        let gone = |id: &AppId| revoked.applications.hits_issued_at(id, issued_at, leeway_s);
        if facts.application.as_ref().is_some_and(gone) {
            return Err(Reason::ApplicationRevoked);
        }
        let hits = |rules: &ForeignRules, name: &str| rules.hits(issuer, name, issued_at, leeway_s);
        if facts.client.as_ref().is_some_and(|id| hits(&revoked.foreign_clients, id.as_str())) {
            return Err(Reason::ClientRevoked);
        }
        // Signals name `sub`, whatever claim the file takes for the user.
        if hits(&revoked.foreign_users, &facts.subject) {
            return Err(Reason::UserRevoked);
        }
        if let Identity::User { id, .. } = &facts.identity
            && id.as_str() != facts.subject
            && hits(&revoked.foreign_users, id.as_str())
        {
            return Err(Reason::UserRevoked);
        }
        if facts.session.as_ref().is_some_and(|id| hits(&revoked.foreign_sessions, id.as_str())) {
            return Err(Reason::SessionRevoked);
        }
        Ok(())
    }

    /// Takes from a token of ours the roles and scopes that were taken away since it was minted (T35).
    pub(crate) fn narrow(&self, facts: &mut TokenFacts) {
        let minted = facts.position.unwrap_or_default();
        let narrowed = &self.narrowed;
        if let Identity::User { id, .. } = &facts.identity
            && let Some(gone) = narrowed.user_roles.gone(id, minted)
        {
            facts.roles.retain(|role| !gone.contains(role));
        }
        if let Some(client) = &facts.client {
            if let Identity::Service { .. } = &facts.identity
                && let Some(gone) = narrowed.client_roles.gone(client, minted)
            {
                facts.roles.retain(|role| !gone.contains(role));
            }
            if let Some(gone) = narrowed.client_scopes.gone(client, minted) {
                facts.scopes = facts.scopes.minus(&gone.into_iter().collect());
            }
        }
        if let Some(grant) = &facts.grant
            && let Some(gone) = narrowed.grant_scopes.gone(grant, minted)
        {
            facts.scopes = facts.scopes.minus(&gone.into_iter().collect());
        }
    }

    /// Would [`Self::narrow`] look at anything? Spares the copy of the facts.
    pub(crate) fn may_narrow(&self, facts: &TokenFacts) -> bool {
        let narrowed = &self.narrowed;
        let user = matches!(&facts.identity, Identity::User { id, .. } if narrowed.user_roles.has(id));
        let client =
            facts.client.as_ref().is_some_and(|id| narrowed.client_roles.has(id) || narrowed.client_scopes.has(id));
        user || client || facts.grant.as_ref().is_some_and(|id| narrowed.grant_scopes.has(id))
    }
}

/// `Authorization`, and names that are no header names, carry keys in their usual form only.
pub(crate) fn own_header(name: &str) -> Option<HeaderName> {
    let name = HeaderName::try_from(name).ok()?;
    (name != http::header::AUTHORIZATION && name != http::header::COOKIE && name != crate::request::API_KEY)
        .then_some(name)
}
