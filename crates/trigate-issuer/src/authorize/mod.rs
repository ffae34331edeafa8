//! May this client send this person's browser back with a code? The authorization endpoint (OAuth 2.1 §4.1.1) as a list
//! of steps. The request travels in the URL through login and consent and is judged anew each time: there is no flow
//! state to steal, to skip or to run out.
//!
//! Never redirects before client and redirect URI are proven (RFC 9700 §4.11), and never elsewhere.

mod answer;
mod code;
mod fresh;
mod parameters;
mod pkce;
mod prompt;
pub(crate) mod redirect;
mod resource;
mod response_type;
mod scope;

pub(crate) use answer::{Answer, Stop};
pub(crate) use fresh::Since;
pub(crate) use resource::audiences;

use crate::{
    Issuer,
    account::session::{self, Login},
    web::{self, Incoming, Params, page},
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use prompt::Prompt;
use std::sync::Arc;
use trigate_core::{client::Client, oauth::ScopeSet, user::Consent};

/// A request that passed every check that needs no person.
pub(crate) struct Authorization {
    pub(crate) client: Client,
    pub(crate) answer: Answer,
    pub(crate) scopes: ScopeSet,
    resources: Vec<String>,
    challenge: Option<String>,
    nonce: Option<String>,
    dpop_jkt: Option<String>,
    prompt: Prompt,
    since: Option<Since>,
}

pub(crate) async fn by_get(State(issuer): State<Arc<Issuer>>, request: Request) -> Response {
    match Incoming::read(request).await {
        Ok(incoming) => authorize(&issuer, &incoming).await.unwrap_or_else(|stop| stop.into_response(&issuer)),
        Err(bad) => page::bad_body(&issuer, bad),
    }
}

/// OpenID Connect Core §3.1.2.1 wants POST too. It becomes a GET, since the login cookie (`SameSite=Lax`) does not come
/// along with a form of another site.
pub(crate) async fn by_post(State(issuer): State<Arc<Issuer>>, request: Request) -> Response {
    let incoming = match Incoming::read(request).await {
        Ok(incoming) => incoming,
        Err(bad) => return page::bad_body(&issuer, bad),
    };
    match incoming.form() {
        // RFC 6749 §3.1: in one place. Two places are two readings.
        Ok(_) if !incoming.query.is_empty() => Stop::Page(answer::PageError::TwoPlaces).into_response(&issuer),
        Ok(form) => web::as_get(&issuer, "/oauth/authorize", &form),
        Err(bad) => page::bad_body(&issuer, bad),
    }
}

/// The whole endpoint: what needs no person, then login, then consent, then the code.
async fn authorize(issuer: &Issuer, incoming: &Incoming) -> Result<Response, Stop> {
    let request = check(issuer, &incoming.query).await?;
    let login = match session::find(issuer, &incoming.headers).await? {
        Some(login) if request.accepts(issuer, &login) => login,
        // OpenID Connect Core §3.1.2.1: somebody else logged in than the client meant. Asking for ever helps nobody.
        Some(login) if request.is_since(&login) && !request.prompt.means(&login) => {
            return Err(Stop::Redirect(Box::new(request.answer), answer::ClientError::LoginRequired));
        }
        _ => return request.ask_for_login(issuer, &incoming.query),
    };
    let consent = issuer.store.find_consent(&login.session.user, &request.client.id).await?;
    if request.needs_consent(consent.as_ref()) {
        return request.ask_for_consent(issuer, &incoming.query);
    }
    session::touch(issuer, &login).await?;
    let code = code::issue(issuer, incoming, &request, &login).await?;
    Ok(request.answer.with_code(code.reveal()))
}

/// Every check that needs no person, in order. Also what the pages call before they show a client's name.
pub(crate) async fn check(issuer: &Issuer, query: &str) -> Result<Authorization, Stop> {
    let (query, since) = fresh::split(issuer, query);
    let params = Params::parse(&query).map_err(|_| Stop::Page(answer::PageError::Malformed))?;
    let client = parameters::load_client(issuer, &params).await?;
    let redirect = redirect::check(&params, &client)?;
    // From here on errors go to the client, by redirect.
    let answer = Answer::new(issuer, redirect, &params);
    match check_details(issuer, &params, &client) {
        Ok(details) => Ok(Authorization {
            scopes: details.scopes,
            resources: details.resources,
            challenge: details.challenge,
            dpop_jkt: details.dpop_jkt,
            nonce: params.get("nonce").map(str::to_owned),
            prompt: details.prompt,
            client,
            answer,
            since,
        }),
        Err(error) => Err(Stop::Redirect(Box::new(answer), error)),
    }
}

struct Details {
    challenge: Option<String>,
    dpop_jkt: Option<String>,
    scopes: ScopeSet,
    resources: Vec<String>,
    prompt: Prompt,
}

fn check_details(issuer: &Issuer, params: &Params, client: &Client) -> Result<Details, answer::ClientError> {
    parameters::reject_repeated(params)?;
    parameters::reject_request_objects(params)?;
    parameters::check_lengths(params)?;
    response_type::check_response_type(params, client)?;
    response_type::check_response_mode(params)?;
    Ok(Details {
        challenge: pkce::check_challenge(params, client)?,
        dpop_jkt: parameters::check_key(params)?,
        scopes: scope::check_scopes(params, client)?,
        resources: resource::check_resources(issuer, params, client)?,
        prompt: prompt::read(issuer, params)?,
    })
}

impl Authorization {
    /// Is this login fresh enough, and of the person that the client means?
    fn accepts(&self, issuer: &Issuer, login: &Login) -> bool {
        self.prompt.accepts(login, self.is_since(login), issuer.now())
    }

    /// Did this login happen after the request was first seen?
    fn is_since(&self, login: &Login) -> bool {
        self.since.as_ref().is_some_and(|since| login.session.authenticated_at >= since.at)
    }

    fn needs_consent(&self, consent: Option<&Consent>) -> bool {
        let asked_anew = self.since.as_ref().zip(consent).is_some_and(|(since, consent)| consent.given_at >= since.at);
        if self.prompt.wants_consent && !asked_anew {
            return true;
        }
        self.client.asks_consent && consent.is_none_or(|consent| !self.scopes.is_subset(&consent.scopes))
    }

    fn ask_for_login(self, issuer: &Issuer, query: &str) -> Result<Response, Stop> {
        if self.prompt.silent {
            return Err(Stop::Redirect(Box::new(self.answer), answer::ClientError::LoginRequired));
        }
        Ok(web::see_other(&web::with_query("/login", &fresh::mark(issuer, query))))
    }

    fn ask_for_consent(self, issuer: &Issuer, query: &str) -> Result<Response, Stop> {
        if self.prompt.silent {
            return Err(Stop::Redirect(Box::new(self.answer), answer::ClientError::ConsentRequired));
        }
        Ok(web::see_other(&web::with_query("/consent", &fresh::mark(issuer, query))))
    }
}
