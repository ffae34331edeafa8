//! In which order do the gates judge, and what is written down? One record per passage, whatever the outcome.
//!
//! INVARIANT: no request passes without a slot for its record, and none is let on whose record was not written.

use crate::{
    established::{Established, Stop},
    exposure,
    gate1_identification::{
        self,
        quota::Quotas,
        rate_limit::{LimitState, Limits, UserOf},
    },
    gate2_authentication::{self, issuers::Issuers, token, used_proofs::UsedProofs},
    gate3_authorization::{self, Authorized},
    known::Known,
    normal_path::NormalPath,
    outcome,
    permit::Permit,
    record,
    refusal::Refusal,
    request::{Presented, Request, client_address},
    route::Found,
    rules::{RouteRule, Rules},
    unwritten::{Judged, Unwritten},
};
use http::HeaderName;
use std::{net::IpAddr, sync::Arc};
use trigate_core::{
    Timestamp,
    application::Application,
    id::{KeyId, RequestId},
    identity::Identity,
    port::{AuditSink, Clock, Lookup, Monotonic, Rng, Slot},
    proof::Nonces,
    reason::Reason,
};

/// Told when a real API key came in a URL.
pub type OnExposed = Arc<dyn Fn(&KeyId, &RequestId) + Send + Sync>;

/// What the gates are built from.
pub struct GatesParts {
    pub known: Arc<Known>,
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
    pub audit: Arc<dyn AuditSink>,
    pub lookup: Arc<dyn Lookup>,
    pub issuers: Arc<Issuers>,
    /// This process's name in the records.
    pub node: Arc<str>,
    pub on_exposed: Option<OnExposed>,
}

/// The three gates. Cloning shares everything: limits are exact over all cores.
#[derive(Clone)]
pub struct Gates(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub known: Arc<Known>,
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
    pub audit: Arc<dyn AuditSink>,
    pub lookup: Arc<dyn Lookup>,
    pub issuers: Arc<Issuers>,
    pub node: Arc<str>,
    pub on_exposed: Option<OnExposed>,
    pub limits: Limits,
    pub quotas: Arc<Quotas>,
    pub verified: token::Cache,
    pub used_proofs: UsedProofs,
    /// Of this process alone.
    pub nonces: Nonces,
}

impl Gates {
    pub fn new(parts: GatesParts) -> Self {
        let GatesParts { known, clock, rng, audit, lookup, issuers, node, on_exposed } = parts;
        let nonces = Nonces::mint(rng.as_ref());
        Self(Arc::new(Inner {
            known,
            clock,
            rng,
            audit,
            lookup,
            issuers,
            node,
            on_exposed,
            limits: Limits::default(),
            quotas: Arc::default(),
            verified: token::new_cache(),
            used_proofs: UsedProofs::default(),
            nonces,
        }))
    }

    pub fn known(&self) -> &Arc<Known> {
        &self.0.known
    }

    /// Judges one request and writes its record. Dropped before its end it leaves no record, and gives its slot back.
    ///
    /// # Errors
    /// The [`Refusal`] to answer with.
    pub async fn admit(&self, rules: &Arc<Rules>, request: Request<'_>) -> Result<Permit, Refusal> {
        self.judge(rules, request).await.written()
    }

    /// As [`Self::admit`], for a caller who has several requests at hand: the record is chained, and written when the
    /// first of them wants to be answered.
    pub async fn judge(&self, rules: &Arc<Rules>, request: Request<'_>) -> Judged {
        let passage = Passage::open(&self.0, rules, request, true);
        let Some(slot) = self.0.audit.reserve() else { return passage.refuse_unrecorded() };
        let judged = passage.judge().await;
        passage.close(slot, judged)
    }
}

fn longest<'s>(states: impl IntoIterator<Item = &'s LimitState>) -> Option<u64> {
    states.into_iter().filter_map(|state| state.retry_after_s).max()
}

/// One request on its way through the gates.
pub(crate) struct Passage<'a> {
    pub gates: &'a Inner,
    pub rules: &'a Arc<Rules>,
    pub request: Request<'a>,
    pub id: RequestId,
    pub now: Timestamp,
    pub monotonic: Monotonic,
    /// The caller's address: the peer's, or the one that trusted proxies tell.
    pub client: IpAddr,
    pub own_headers: Arc<Vec<HeaderName>>,
    /// `false` in a rehearsal (`explain`): nothing is counted.
    pub counts: bool,
}

impl<'a> Passage<'a> {
    pub fn open(gates: &'a Inner, rules: &'a Arc<Rules>, request: Request<'a>, counts: bool) -> Self {
        Self {
            gates,
            rules,
            request,
            id: RequestId::mint(gates.rng.as_ref()),
            now: gates.clock.now(),
            monotonic: gates.clock.monotonic(),
            client: client_address(request.peer, request.headers, &rules.trusted_proxies),
            own_headers: gates.known.own_headers(),
            counts,
        }
    }

    pub fn known(&self) -> &Known {
        &self.gates.known
    }

    /// The road: each step takes what only the step before can make.
    pub async fn judge(&self) -> Result<Authorized, Stop> {
        self.check_address_limit()?;
        let (route, path) = self.find_route()?;
        let presented = Presented::read(&self.request, &self.own_headers);
        let established = Established::new(route, path, presented.kinds(), self.known().position());
        let identified = gate1_identification::identify(self, &presented, established)?;
        let authenticated = gate2_authentication::authenticate(self, identified).await?;
        // Nothing waits from here to the record.
        let current = gate2_authentication::still_true(self, authenticated)?;
        gate3_authorization::authorize(self, current)
    }

    fn check_address_limit(&self) -> Result<(), Stop> {
        let Some(limit) = self.rules.address_limit else { return Ok(()) };
        let state = self.gates.limits.address(self.client, limit, self.monotonic, self.counts);
        match state.retry_after_s {
            None => Ok(()),
            Some(seconds) => {
                Err(Stop { limits: vec![state], ..Stop::before(Reason::AddressLimited) }.retry_after(seconds))
            }
        }
    }

    fn find_route(&self) -> Result<(Arc<RouteRule>, NormalPath), Stop> {
        // K11: a host of another tenant is no host of these rules.
        if self.request.tenant != &self.rules.tenant || self.request.tenant != self.known().tenant() {
            return Err(Stop::before(Reason::RouteUnknown));
        }
        let path = NormalPath::parse(self.request.path).map_err(|_| Stop::before(Reason::PathAmbiguous))?;
        match self.rules.routes.find(self.request.host, &path, self.request.method) {
            Found::Route(route) => Ok((Arc::clone(route), path)),
            Found::NoPath => Err(Stop { path: Some(path), ..Stop::before(Reason::RouteUnknown) }),
            Found::NoMethod { allowed } => {
                Err(Stop { path: Some(path), allowed, ..Stop::before(Reason::MethodUnknown) })
            }
        }
    }

    /// Counts under the plan and under the route's own limit. `Some`: why not, and the seconds to wait.
    pub fn limit_application(
        &self,
        application: Option<&Application>,
        established: &mut Established,
    ) -> Option<(Reason, u64)> {
        let limits = &self.gates.limits;
        let plan = application.and_then(|application| Some((application, self.rules.plan(&application.plan)?)));
        let rate = plan.map(|(application, plan)| {
            limits.application(&application.id, &plan.name, plan.limit, self.monotonic, self.counts)
        });
        let route = established.route.limit.map(|limit| {
            let id = application.map(|application| &application.id);
            limits.route(&established.route, limit, id, self.client, self.monotonic, self.counts)
        });
        let rated = longest([rate.as_ref(), route.as_ref()].into_iter().flatten());
        // What a rate refuses uses up no quota.
        let counts = self.counts && rated.is_none();
        let quotas = plan.map(|(application, plan)| self.gates.quotas.take(&application.id, plan, self.now, counts));
        let quotas = quotas.unwrap_or_default();
        let used_up = longest(&quotas).map(|seconds| (Reason::QuotaExhausted, seconds));
        established.limits.extend(rate.into_iter().chain(route).chain(quotas));
        used_up.or_else(|| rated.map(|seconds| (Reason::ApplicationLimited, seconds)))
    }

    /// Counts for the proven user, under the application's plan and under the route's own limit. `Some`: seconds to wait.
    pub fn limit_user(&self, established: &mut Established) -> Option<u64> {
        let facts = Arc::clone(&established.acting_token()?.facts);
        let Identity::User { id, .. } = &facts.identity else { return None };
        let application = established.application();
        let plan = application.as_ref().and_then(|application| self.rules.plan(&application.plan));
        // Counted apart, whatever the two are called; on another plan, a user is still the same.
        let by_plan = plan.and_then(|plan| plan.user.map(|limit| (None, format!("{}-user", plan.name), limit)));
        let route = &established.route;
        let by_route = route.user_limit.map(|limit| (Some(route.name.as_ref()), format!("{}-user", route.name), limit));
        let (application, issuer) = (established.application_id(), facts.issuer.as_ref());
        let count = |(route, name, limit): (Option<&str>, String, _)| {
            let user = UserOf { route, application, issuer, user: id.as_str() };
            self.gates.limits.user(user, &name, limit, self.monotonic, self.counts)
        };
        let states: Vec<_> = by_plan.into_iter().chain(by_route).map(count).collect();
        let retry_after_s = longest(&states);
        established.limits.extend(states);
        retry_after_s
    }

    /// Chains the record, then lets go or refuses.
    fn close(self, slot: Slot<'_>, judged: Result<Authorized, Stop>) -> Judged {
        let exposed = exposure::find(&self);
        exposure::tell(&self, exposed.as_ref());
        let outcome = outcome::decide(self.rules, judged);
        let sync = outcome.established().is_some_and(|established| established.route.sensitive);
        let record = record::decision(&self, &outcome, exposed.as_ref());
        let Some(mark) = slot.append(&record) else { return self.refuse_unrecorded() };
        if sync && !self.gates.audit.sync_to(mark) {
            return self.refuse_unrecorded();
        }
        let mark = Some((Arc::clone(&self.gates.audit), mark));
        match outcome {
            outcome::Outcome::Pass { established, observed } => {
                Judged::Allowed(Unwritten::new(Permit::new(self, established, observed), mark))
            }
            outcome::Outcome::Refuse(stop) => Judged::Refused(Unwritten::new(Refusal::new(&self, &stop), mark)),
        }
    }

    fn refuse_unrecorded(&self) -> Judged {
        Judged::Refused(Unwritten::new(Refusal::new(self, &Stop::before(Reason::AuditUnavailable)), None))
    }
}
