//! What has been proven so far? Grows from gate to gate; holds nothing that was only claimed.

use crate::{
    gate1_identification::{api_key::KeyHolder, rate_limit::LimitState},
    gate2_authentication::{Machine, Token},
    known::HeldKey,
    normal_path::NormalPath,
    rules::{CredentialKind, Kinds, RouteRule, SubjectKind},
};
use http::Method;
use std::sync::Arc;
use trigate_core::{
    Position,
    application::Application,
    audit::{Facts, GateName},
    id::AppId,
    identity::{Identity, TokenFacts},
    oauth::ScopeSet,
    reason::Reason,
};

#[derive(Clone, Debug)]
pub(crate) struct Established {
    pub route: Arc<RouteRule>,
    pub path: NormalPath,
    /// Kinds of credential that came, good or bad: all that a refusal's body may depend on.
    pub came: Kinds,
    /// The alternative of the route's demands that was met.
    pub chosen: Kinds,
    pub key: Option<KeyHolder>,
    pub token: Option<Token>,
    pub machine: Option<Machine>,
    /// The application of a proven token or certificate, when it is known.
    pub token_application: Option<Arc<Application>>,
    /// Shown or proven although refused: for the record alone.
    pub key_seen: Option<Arc<HeldKey>>,
    pub token_seen: Option<Arc<TokenFacts>>,
    pub certificate_seen: Option<String>,
    /// The token came under the scheme `DPoP`.
    pub by_dpop: bool,
    /// For the answer's `DPoP-Nonce`.
    pub next_nonce: Option<String>,
    pub limits: Vec<LimitState>,
    pub limits_judged: bool,
    pub authenticated: bool,
    /// Feed position by which the credentials were judged.
    pub position: Position,
    /// Judged without a lease, because the route allows it.
    pub stale: bool,
    pub policies: Vec<String>,
}

impl Established {
    pub fn new(route: Arc<RouteRule>, path: NormalPath, came: Kinds, position: Position) -> Box<Self> {
        Box::new(Self {
            route,
            path,
            came,
            chosen: Kinds::NONE,
            key: None,
            token: None,
            machine: None,
            token_application: None,
            key_seen: None,
            token_seen: None,
            certificate_seen: None,
            by_dpop: false,
            next_nonce: None,
            limits: Vec::new(),
            limits_judged: false,
            authenticated: false,
            position,
            stale: false,
            policies: Vec::new(),
        })
    }

    pub fn accepted(&self) -> Kinds {
        Kinds::NONE
            .with_if(CredentialKind::Key, self.key.is_some())
            .with_if(CredentialKind::Token, self.token.is_some())
            .with_if(CredentialKind::Certificate, self.machine.is_some())
    }

    /// The application for which the request counts: the key's, else the token's or the certificate's.
    pub fn application(&self) -> Option<Arc<Application>> {
        let of_key = self.key.as_ref().map(|holder| Arc::clone(&holder.application));
        of_key.or_else(|| self.token_application.clone())
    }

    pub fn application_id(&self) -> Option<&AppId> {
        let of_key = self.key.as_ref().map(|holder| &holder.application.id);
        let of_token = || self.token.as_ref().and_then(|token| token.facts.application.as_ref());
        let of_machine = || self.machine.as_ref().map(|machine| &machine.application);
        of_key.or_else(of_token).or_else(of_machine)
    }

    fn speaks(&self, kind: CredentialKind) -> bool {
        // In observe mode no alternative may have been met: then all that is good counts.
        self.chosen.is_empty() || self.chosen.has(kind)
    }

    /// The token by which the request is judged.
    pub fn acting_token(&self) -> Option<&Token> {
        self.token.as_ref().filter(|_| self.speaks(CredentialKind::Token))
    }

    pub fn acting_machine(&self) -> Option<&Machine> {
        self.machine.as_ref().filter(|_| self.speaks(CredentialKind::Certificate))
    }

    pub fn identity(&self) -> Option<&Identity> {
        let of_token = self.acting_token().map(|token| &token.facts.identity);
        of_token.or_else(|| self.acting_machine().map(|machine| &machine.identity))
    }

    pub fn subject(&self) -> SubjectKind {
        match self.identity() {
            Some(Identity::User { .. }) => SubjectKind::User,
            Some(Identity::Service { .. }) => SubjectKind::Service,
            Some(Identity::Machine { .. }) => SubjectKind::Machine,
            None => SubjectKind::Application,
        }
    }

    /// Scopes as judged: the subject's, within the key's when it has any.
    pub fn scopes(&self) -> ScopeSet {
        let own = match (self.acting_token(), self.acting_machine()) {
            (Some(token), _) => Some(&token.facts.scopes),
            (None, Some(machine)) => Some(&machine.scopes),
            (None, None) => None,
        };
        let of_key = self.key.as_ref().and_then(|holder| holder.record.scopes());
        match (own, of_key) {
            (Some(own), Some(of_key)) => own.intersection(of_key),
            (Some(own), None) => own.clone(),
            (None, of_key) => of_key.cloned().unwrap_or_default(),
        }
    }

    pub fn roles(&self) -> &[String] {
        match (self.acting_token(), self.acting_machine()) {
            (Some(token), _) => &token.facts.roles,
            (None, Some(machine)) => &machine.roles,
            (None, None) => &[],
        }
    }

    /// SECURITY: for what speaks to an upstream. What was seen and refused is for the record alone: in observe mode it
    /// would stand in a signed assertion.
    pub fn proven_facts(&self) -> Facts {
        let mut facts = self.facts();
        if self.token.is_none() {
            (facts.client, facts.user, facts.issuer, facts.actor) = (None, None, None, None);
            (facts.session, facts.grant, facts.token) = (None, None, None);
        }
        if self.key.is_none() {
            facts.key = None;
        }
        if self.machine.is_none() {
            facts.certificate = None;
        }
        facts.application = self.application_id().cloned();
        facts
    }

    /// For the record: ids of what was shown or proven, also when it was refused.
    pub fn facts(&self) -> Facts {
        let token = self.token.as_ref().map(|token| &token.facts).or(self.token_seen.as_ref());
        let token = token.map(Arc::as_ref);
        let key = self.key_seen.as_deref();
        let machine = self.machine.as_ref();
        let user = token.and_then(|facts| match &facts.identity {
            Identity::User { id, .. } => Some(id.clone()),
            _ => None,
        });
        Facts {
            application: self
                .application_id()
                .or(key.map(|key| key.application.as_ref()))
                .or(token.and_then(|facts| facts.application.as_ref()))
                .cloned(),
            key: key.map(|key| key.id.clone()),
            client: token.and_then(|facts| facts.client.clone()),
            user,
            issuer: token.map(|facts| Arc::clone(&facts.issuer)),
            actor: token.and_then(|facts| facts.actor.clone()),
            session: token.and_then(|facts| facts.session.clone()),
            grant: token.and_then(|facts| facts.grant.clone()),
            token: token.map(|facts| facts.token),
            sender: self.token.as_ref().and_then(|token| token.sender),
            certificate: self.certificate_seen.clone(),
            machine: machine.map(Machine::name),
            scopes: self.scopes(),
            roles: self.roles().to_vec(),
            policies: self.policies.clone(),
        }
    }
}

/// Why a passage ended, where, and what had been proven by then.
#[derive(Debug)]
pub(crate) struct Stop {
    /// `None`: before the gates.
    pub gate: Option<GateName>,
    pub reason: Reason,
    pub retry_after_s: Option<u64>,
    /// For 405.
    pub allowed: Vec<Method>,
    pub limits: Vec<LimitState>,
    pub path: Option<NormalPath>,
    pub established: Option<Box<Established>>,
}

impl Stop {
    pub fn before(reason: Reason) -> Self {
        Self {
            gate: None,
            reason,
            retry_after_s: None,
            allowed: Vec::new(),
            limits: Vec::new(),
            path: None,
            established: None,
        }
    }

    pub fn at(gate: GateName, reason: Reason, established: Box<Established>) -> Self {
        Self { gate: Some(gate), established: Some(established), ..Self::before(reason) }
    }

    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }
}
