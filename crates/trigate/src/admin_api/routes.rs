//! Which path is which verb? Each handler reads its input, calls one function of `operator/`, and writes the answer.

use super::Problem;
use crate::operator::{
    By, Operator, OperatorError,
    app::{AppView, NewApp},
    audit::{ActsAnswer, ActsQuery, DecisionsAnswer, DecisionsQuery},
    backup::{Manifest, NewBackup},
    cert::{CertificateMade, CertificateView, NewCertificate},
    client::{ClientMade, ClientPolicy, ClientView, NewClient},
    explain::Question,
    gate::NewGateKey,
    key::{ImportKeys, Imported, KeyMade, KeyView, NewKey},
    keys::SigningKeyView,
    revoke::{Revoke, Revoked},
    user::{AccountMade, NewAccount, UserDetail, UserView},
    verify::{Against, Verification},
};
use axum::{
    Router,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderValue, StatusCode, header, request::Parts};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::sync::Arc;
use trigate_core::application::State as OnOff;
use zeroize::Zeroizing;

type Desk = State<Arc<Operator>>;
type Out<T> = Result<Done<T>, Problem>;

pub fn all() -> Router<Arc<Operator>> {
    Router::new()
        .route("/apps", get(list_apps).post(create_app))
        .route("/apps/{app}", get(show_app))
        .route("/apps/{app}/plan", post(change_plan))
        .route("/apps/{app}/enable", post(enable_app))
        .route("/apps/{app}/disable", post(disable_app))
        .route("/keys", get(list_keys).post(create_key))
        .route("/keys/import", post(import_keys))
        .route("/gate-keys", post(create_gate_key))
        .route("/keys/{key}/rotate", post(rotate_key))
        .route("/keys/{key}/enable", post(enable_key))
        .route("/keys/{key}/disable", post(disable_key))
        .route("/clients", get(list_clients).post(create_client))
        .route("/clients/{client}", get(show_client).patch(change_client))
        .route("/clients/{client}/rotate-secret", post(rotate_secret))
        .route("/clients/{client}/retire-secret", post(retire_secret))
        .route("/clients/{client}/enable", post(enable_client))
        .route("/clients/{client}/disable", post(disable_client))
        .route("/users", get(list_users).post(create_user))
        .route("/users/find", post(find_user))
        .route("/users/{user}", get(show_user))
        .route("/users/{user}/password", post(set_password))
        .route("/users/{user}/enable", post(enable_user))
        .route("/users/{user}/disable", post(disable_user))
        .route("/users/{user}/roles/add", post(add_role))
        .route("/users/{user}/roles/remove", post(remove_role))
        .route("/revocations", post(revoke))
        .route("/audit/decisions", get(find_decisions))
        .route("/audit/acts", get(find_acts))
        .route("/audit/verify", post(verify_audit))
        .route("/signing-keys", get(list_signing_keys))
        .route("/signing-keys/rotate", post(rotate_signing_keys))
        .route("/certificates", get(list_certificates).post(issue_certificate))
        .route("/explain", post(explain))
        .route("/backups", post(backup))
}

/// An answer that may hold a secret: it is never cached.
struct Done<T>(StatusCode, T);

impl<T: Serialize> IntoResponse for Done<T> {
    fn into_response(self) -> Response {
        let mut response = (self.0, axum::Json(self.1)).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn ok<T>(value: T) -> Out<T> {
    Ok(Done(StatusCode::OK, value))
}

fn created<T>(value: T) -> Out<T> {
    Ok(Done(StatusCode::CREATED, value))
}

/// A JSON body. An absent one is an empty object, so that verbs without details need none.
struct Body<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let absent = !request.headers().contains_key(header::CONTENT_TYPE);
        let bytes = axum::body::Bytes::from_request(request, state).await.map_err(|_| too_large())?;
        let text: &[u8] = if bytes.is_empty() && absent { b"{}" } else { &bytes };
        Ok(Self(axum::Json::<T>::from_bytes(text)?.0))
    }
}

/// A query's pairs. `why` belongs to the act, and any question may carry it.
struct Asked<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let asked = Query::<T>::from_request_parts(parts, state).await;
        let unread = |error: axum::extract::rejection::QueryRejection| {
            let text = trigate_core::credential::mask_secrets(&error.body_text());
            OperatorError::invalid(text, "check the names and values of the question")
        };
        Ok(Self(asked.map_err(unread)?.0))
    }
}

fn too_large() -> Problem {
    OperatorError::invalid("the body is too large or was cut", "send less at once").into()
}

async fn list_apps(State(desk): Desk, _: By) -> Out<Vec<AppView>> {
    ok(desk.list_apps().await?)
}

async fn create_app(State(desk): Desk, by: By, Body(new): Body<NewApp>) -> Out<AppView> {
    created(desk.create_app(&by, new).await?)
}

async fn show_app(State(desk): Desk, _: By, Path(app): Path<String>) -> Out<AppView> {
    ok(desk.show_app(&app).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    plan: String,
}

async fn change_plan(State(desk): Desk, by: By, Path(app): Path<String>, Body(new): Body<Plan>) -> Out<AppView> {
    ok(desk.change_plan(&by, &app, &new.plan).await?)
}

async fn enable_app(State(desk): Desk, by: By, Path(app): Path<String>) -> Out<AppView> {
    ok(desk.set_app_state(&by, &app, OnOff::Enabled).await?)
}

async fn disable_app(State(desk): Desk, by: By, Path(app): Path<String>) -> Out<AppView> {
    ok(desk.set_app_state(&by, &app, OnOff::Disabled).await?)
}

#[derive(Deserialize)]
struct OfApp {
    app: Option<String>,
}

async fn list_keys(State(desk): Desk, _: By, Asked(of): Asked<OfApp>) -> Out<Vec<KeyView>> {
    ok(desk.list_keys(of.app.as_deref()).await?)
}

async fn create_key(State(desk): Desk, by: By, Body(new): Body<NewKey>) -> Out<KeyMade> {
    created(desk.create_key(&by, new).await?)
}

async fn create_gate_key(State(desk): Desk, by: By, Body(new): Body<NewGateKey>) -> Out<KeyMade> {
    created(desk.create_gate_key(&by, new).await?)
}

async fn import_keys(State(desk): Desk, by: By, Body(import): Body<ImportKeys>) -> Out<Imported> {
    created(desk.import_keys(&by, import).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    overlap: Option<String>,
    expires_at: Option<String>,
}

async fn rotate_key(State(desk): Desk, by: By, Path(key): Path<String>, Body(how): Body<Rotation>) -> Out<KeyMade> {
    created(desk.rotate_key(&by, &key, how.overlap.as_deref(), how.expires_at.as_deref()).await?)
}

async fn enable_key(State(desk): Desk, by: By, Path(key): Path<String>) -> Out<KeyView> {
    ok(desk.set_key_state(&by, &key, OnOff::Enabled).await?)
}

async fn disable_key(State(desk): Desk, by: By, Path(key): Path<String>) -> Out<KeyView> {
    ok(desk.set_key_state(&by, &key, OnOff::Disabled).await?)
}

async fn list_clients(State(desk): Desk, _: By) -> Out<Vec<ClientView>> {
    ok(desk.list_clients().await?)
}

async fn create_client(State(desk): Desk, by: By, Body(new): Body<NewClient>) -> Out<ClientMade> {
    created(desk.create_client(&by, new).await?)
}

async fn show_client(State(desk): Desk, _: By, Path(client): Path<String>) -> Out<ClientView> {
    ok(desk.show_client(&client).await?)
}

async fn change_client(
    State(desk): Desk,
    by: By,
    Path(client): Path<String>,
    Body(new): Body<ClientPolicy>,
) -> Out<ClientView> {
    ok(desk.change_client(&by, &client, new).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretRotation {
    #[serde(default)]
    drop_old: bool,
}

async fn rotate_secret(
    State(desk): Desk,
    by: By,
    Path(client): Path<String>,
    Body(how): Body<SecretRotation>,
) -> Out<ClientMade> {
    created(desk.rotate_secret(&by, &client, how.drop_old).await?)
}

async fn retire_secret(State(desk): Desk, by: By, Path(client): Path<String>) -> Out<ClientView> {
    ok(desk.retire_secret(&by, &client).await?)
}

async fn enable_client(State(desk): Desk, by: By, Path(client): Path<String>) -> Out<ClientView> {
    ok(desk.set_client_state(&by, &client, OnOff::Enabled).await?)
}

async fn disable_client(State(desk): Desk, by: By, Path(client): Path<String>) -> Out<ClientView> {
    ok(desk.set_client_state(&by, &client, OnOff::Disabled).await?)
}

async fn list_users(State(desk): Desk, _: By) -> Out<Vec<UserView>> {
    ok(desk.list_users().await?)
}

async fn create_user(State(desk): Desk, by: By, Body(new): Body<NewAccount>) -> Out<AccountMade> {
    created(desk.create_user(&by, new).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    user: String,
}

/// SECURITY: paths are recorded; an e-mail address comes in the body, and goes on as an id.
async fn find_user(State(desk): Desk, _: By, Body(named): Body<Named>) -> Out<UserView> {
    ok(desk.find_user(&named.user).await?)
}

async fn show_user(State(desk): Desk, _: By, Path(user): Path<String>) -> Out<UserDetail> {
    ok(desk.show_user(&user).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    #[serde(default)]
    password: Option<Zeroizing<String>>,
}

async fn set_password(
    State(desk): Desk,
    by: By,
    Path(user): Path<String>,
    Body(new): Body<NewPassword>,
) -> Out<AccountMade> {
    ok(desk.set_password(&by, &user, new.password).await?)
}

async fn enable_user(State(desk): Desk, by: By, Path(user): Path<String>) -> Out<UserView> {
    ok(desk.set_user_state(&by, &user, OnOff::Enabled).await?)
}

async fn disable_user(State(desk): Desk, by: By, Path(user): Path<String>) -> Out<UserView> {
    ok(desk.set_user_state(&by, &user, OnOff::Disabled).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Role {
    role: String,
}

async fn add_role(State(desk): Desk, by: By, Path(user): Path<String>, Body(new): Body<Role>) -> Out<UserView> {
    ok(desk.add_role(&by, &user, &new.role).await?)
}

async fn remove_role(State(desk): Desk, by: By, Path(user): Path<String>, Body(old): Body<Role>) -> Out<UserView> {
    ok(desk.remove_role(&by, &user, &old.role).await?)
}

async fn revoke(State(desk): Desk, by: By, Body(what): Body<Revoke>) -> Out<Revoked> {
    ok(desk.revoke(&by, what).await?)
}

async fn find_decisions(State(desk): Desk, by: By, Asked(query): Asked<DecisionsQuery>) -> Out<DecisionsAnswer> {
    ok(desk.find_decisions(&by, query).await?)
}

async fn find_acts(State(desk): Desk, by: By, Asked(query): Asked<ActsQuery>) -> Out<ActsAnswer> {
    ok(desk.find_acts(&by, query).await?)
}

async fn verify_audit(State(desk): Desk, by: By, Body(against): Body<Against>) -> Out<Verification> {
    ok(desk.verify_audit(&by, &against).await?)
}

async fn list_signing_keys(State(desk): Desk, _: By) -> Out<Vec<SigningKeyView>> {
    ok(desk.list_signing_keys().await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysRotation {
    #[serde(default)]
    now: bool,
}

async fn rotate_signing_keys(State(desk): Desk, by: By, Body(how): Body<KeysRotation>) -> Out<Vec<SigningKeyView>> {
    created(desk.rotate_signing_keys(&by, how.now).await?)
}

async fn list_certificates(State(desk): Desk, _: By) -> Out<Vec<CertificateView>> {
    ok(desk.list_certificates().await?)
}

async fn issue_certificate(State(desk): Desk, by: By, Body(new): Body<NewCertificate>) -> Out<CertificateMade> {
    created(desk.issue_certificate(&by, new).await?)
}

async fn explain(State(desk): Desk, by: By, Body(question): Body<Question>) -> Out<serde_json::Value> {
    ok(desk.explain(&by, question).await?)
}

async fn backup(State(desk): Desk, by: By, Body(new): Body<NewBackup>) -> Out<Manifest> {
    created(desk.backup(&by, new).await?)
}
