//! What does the rest of the road get? Proof that the gates were passed, and who it is for.

use crate::{
    established::Established,
    forwarded::{self, Lines},
    gate1_identification::rate_limit::{LimitState, put_limit_headers},
    normal_path::NormalPath,
    passage::Passage,
    request::is_trusted_proxy,
    rules::{Plan, RouteRule, Rules, SubjectKind},
    standing::Standing,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::{fmt, net::IpAddr, sync::Arc};
use trigate_core::{
    Timestamp,
    application::Application,
    audit::{Facts, GateName},
    certificate::ClientCertificate,
    id::RequestId,
    identity::{Caller, Identity},
    reason::Reason,
};

/// Leave for one request to go on. Made by [`crate::Gates::admit`] alone, after its record was written.
pub struct Permit(Arc<Granted>);

pub(crate) struct Granted {
    request: RequestId,
    pub(crate) rules: Arc<Rules>,
    pub(crate) established: Box<Established>,
    application: Option<Arc<Application>>,
    pub(crate) observed: Option<Reason>,
    pub(crate) client: IpAddr,
    from_trusted_proxy: bool,
    own_headers: Arc<Vec<HeaderName>>,
    client_name: Option<String>,
    /// When it was given.
    at: Timestamp,
    /// The certificate that came with the request: an open stream is asked about it, too.
    pub(crate) certificate: Option<Box<ClientCertificate>>,
}

impl Permit {
    pub(crate) fn new(
        passage: Passage<'_>,
        established: Box<Established>,
        observed: Option<(Option<GateName>, Reason)>,
    ) -> Self {
        let client = established.acting_token().and_then(|token| token.facts.client.as_ref());
        let client_name = client.map(|id| passage.known().client(id).map_or(id.to_string(), |face| face.name.clone()));
        Self(Arc::new(Granted {
            rules: Arc::clone(passage.rules),
            application: established.application(),
            observed: observed.map(|(_, reason)| reason),
            client: passage.client,
            from_trusted_proxy: is_trusted_proxy(passage.request.peer, &passage.rules.trusted_proxies),
            client_name,
            at: passage.now,
            certificate: passage.request.certificate.map(|certificate| Box::new(certificate.clone())),
            own_headers: passage.own_headers,
            request: passage.id,
            established,
        }))
    }

    pub fn request_id(&self) -> &RequestId {
        &self.0.request
    }

    pub fn route(&self) -> &Arc<RouteRule> {
        &self.0.established.route
    }

    /// The normal form: what is sent upstream.
    pub fn path(&self) -> &NormalPath {
        &self.0.established.path
    }

    pub fn application(&self) -> Option<&Application> {
        self.0.application.as_deref()
    }

    pub fn plan(&self) -> Option<&Plan> {
        self.0.rules.plan(&self.0.application.as_ref()?.plan)
    }

    /// `None` for a key alone and on public routes: nobody was proven.
    pub fn identity(&self) -> Option<&Identity> {
        self.0.established.identity()
    }

    pub fn subject_kind(&self) -> SubjectKind {
        self.0.established.subject()
    }

    /// As recorded; in observe mode without what was refused.
    pub fn facts(&self) -> Facts {
        self.0.established.proven_facts()
    }

    /// SHA-256 of the certificate by which a machine was proven.
    pub fn proven_certificate(&self) -> Option<&str> {
        let established = &self.0.established;
        established.machine.as_ref().and(established.certificate_seen.as_deref())
    }

    /// Who asks, for code behind the gates; `None` where nobody was proven.
    pub fn caller(&self) -> Option<Caller> {
        let established = &self.0.established;
        let token = established.acting_token().map(|token| &token.facts);
        Some(Caller {
            identity: established.identity()?.clone(),
            application: established.application_id().cloned(),
            client: token.and_then(|facts| facts.client.clone()),
            session: token.and_then(|facts| facts.session.clone()),
            grant: token.and_then(|facts| facts.grant.clone()),
            scopes: established.scopes(),
            roles: established.roles().to_vec(),
            request: self.0.request.clone(),
            address: self.0.client,
        })
    }

    /// Observe mode: why it would have been refused.
    pub fn observed(&self) -> Option<Reason> {
        self.0.observed
    }

    /// The caller's address: the peer's, or the one that trusted proxies tell.
    pub fn client_address(&self) -> IpAddr {
        self.0.client
    }

    /// When the token by which it was judged ends, if it was by one: an open stream ends then, too.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.0.established.acting_token().map(|token| token.facts.expires_at)
    }

    /// What an open stream is asked by, as long as it flows.
    pub fn standing(&self) -> Standing {
        Standing(Arc::clone(&self.0))
    }

    /// When it was given.
    pub fn at(&self) -> Timestamp {
        self.0.at
    }

    pub fn limits(&self) -> &[LimitState] {
        &self.0.established.limits
    }

    /// `RateLimit-Policy` and `RateLimit`, for the response.
    pub fn limit_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        self.put_limit_headers(&mut headers);
        headers
    }

    /// As [`Self::limit_headers`], among those that an answer has.
    pub fn put_limit_headers(&self, headers: &mut HeaderMap) {
        put_limit_headers(self.limits(), headers);
    }

    /// `DPoP-Nonce` where the one that came ages. // RFC 9449 §8.2
    pub fn next_nonce(&self) -> Option<HeaderValue> {
        self.0.established.next_nonce.as_ref()?.parse().ok()
    }

    /// The request's headers as the upstream gets them: credentials and pretended identity stripped, proven identity
    /// attached. `assertion`: a signed one, when the route wants it.
    pub fn forwarded_headers(&self, headers: &HeaderMap, assertion: Option<&str>) -> HeaderMap {
        let mut forwarded = HeaderMap::with_capacity(headers.keys_len() + 12);
        self.forward(headers, assertion, &mut forwarded);
        forwarded
    }

    /// As [`Self::forwarded_headers`], line by line.
    pub fn forward(&self, headers: &HeaderMap, assertion: Option<&str>, to: &mut impl Lines) {
        let strip = forwarded::Strip {
            own_headers: &self.0.own_headers,
            from_trusted_proxy: self.0.from_trusted_proxy,
            pass_credentials: self.route().pass_credentials,
        };
        strip.apply(headers, to);
        let mut identity = forwarded::Identity::new(to);
        self.put_identity(&mut identity);
        identity.put("x-trigate-assertion", assertion);
    }

    fn put_identity(&self, headers: &mut forwarded::Identity<'_, impl Lines>) {
        let established = &self.0.established;
        let token = established.acting_token().map(|token| &token.facts);
        headers.put("x-trigate-request-id", Some(self.0.request.as_str()));
        if established.route.public {
            return;
        }
        let (user, email, machine) = match established.identity() {
            Some(Identity::User { id, email }) => (Some(id.as_str()), email.as_deref(), None),
            Some(Identity::Machine { name }) => (None, None, Some(name.as_str())),
            Some(Identity::Service { .. }) | None => (None, None, None),
        };
        // In observe mode nobody may have been proven: then no kind is told either.
        let proven = established.identity().is_some() || established.application_id().is_some();
        headers.put("x-trigate-subject-kind", proven.then(|| self.subject_kind().as_str()));
        headers.put("x-trigate-application", established.application_id().map(|id| id.as_str()));
        headers.put("x-trigate-plan", self.application().map(|application| application.plan.as_str()));
        headers.put("x-trigate-key", established.key.as_ref().map(|holder| holder.record.id.as_str()));
        headers.put("x-trigate-client", token.and_then(|facts| facts.client.as_ref()).map(|id| id.as_str()));
        headers.put("x-trigate-user", user);
        headers.put("x-trigate-email", email);
        headers.put("x-trigate-machine", machine);
        headers.put("x-trigate-session", token.and_then(|facts| facts.session.as_ref()).map(|id| id.as_str()));
        let scopes = established.scopes();
        headers.put_list("x-trigate-scopes", scopes.iter().map(|scope| scope.as_str()));
        headers.put_list("x-trigate-roles", established.roles().iter().map(String::as_str));
    }

    /// What the server knows of the caller from this request.
    pub fn whoami(&self) -> Value {
        let established = &self.0.established;
        let application = self.application();
        let token = established.acting_token().map(|token| &token.facts);
        let mut answer = json!({
            "kind": self.subject_kind().as_str(),
            "client": application.map(|application| application.name.clone()).or(self.0.client_name.clone()),
            "application": established.application_id(),
            "plan": application.map(|application| &application.plan),
            "rate_limit": self.plan().map(|plan| plan.limit.to_string()),
            "user": null,
            "request_id": self.0.request,
        });
        let Some(fields) = answer.as_object_mut() else { return answer };
        let quotas = self.plan().into_iter().flat_map(|plan| [("day_quota", &plan.day), ("month_quota", &plan.month)]);
        for (name, quota) in quotas.filter_map(|(name, quota)| Some((name, quota.as_ref()?))) {
            fields.insert(name.into(), json!(quota.most));
        }
        if let Some(holder) = &established.key {
            fields.insert("key_id".into(), json!(holder.record.id));
        }
        match established.identity() {
            Some(Identity::User { id, email }) => {
                fields.insert("user".into(), json!(id));
                fields.insert("user_id".into(), json!(id));
                fields.insert("email".into(), json!(email));
            }
            Some(Identity::Service { client }) => {
                fields.insert("service".into(), json!(client));
            }
            Some(Identity::Machine { name }) => {
                fields.insert("machine".into(), json!(name));
                fields.insert("certificate".into(), json!(established.certificate_seen));
            }
            None => {}
        }
        if let Some(facts) = token {
            fields.insert("client_id".into(), json!(facts.client));
            fields.insert("session".into(), json!(facts.session));
            fields.insert("sender".into(), json!(established.facts().sender));
            fields.insert("issuer".into(), json!(facts.issuer));
            fields.insert("issued_at".into(), json!(facts.issued_at.map(Timestamp::rfc3339)));
            fields.insert("expires_at".into(), json!(facts.expires_at.rfc3339()));
        }
        if established.identity().is_some() {
            fields.insert("scopes".into(), json!(established.scopes()));
            fields.insert("roles".into(), json!(established.roles()));
        }
        answer
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({} on `{}`)", self.0.request, self.route().name)
    }
}
