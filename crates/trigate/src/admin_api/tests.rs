use super::*;
use crate::operator::{OperatorParts, barrier::LeaseBarrier, folder::DataFolder};
use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use trigate_core::{
    id::{ClientId, RequestId, TenantId},
    port::{Hasher, HasherError, testing::SeededRng},
};
use zeroize::Zeroizing;

struct NoHasher;

#[async_trait::async_trait]
impl Hasher for NoHasher {
    async fn hash(&self, _: Zeroizing<String>) -> Result<String, HasherError> {
        Err(HasherError::Busy)
    }

    async fn verify(&self, _: Zeroizing<String>, _: Option<String>) -> Result<bool, HasherError> {
        Err(HasherError::Busy)
    }
}

struct Desk {
    router: Router,
    _dir: tempfile::TempDir,
}

async fn desk() -> Desk {
    let dir = tempfile::tempdir().unwrap();
    let folder = DataFolder::at(dir.path());
    let clock: Arc<dyn trigate_core::port::Clock> = Arc::new(crate::system::SystemClock::new());
    let store = trigate_store::open(trigate_store::Location::Sqlite(folder.database()), clock.clone()).await.unwrap();
    let tenant = TenantId::default_tenant();
    let operator = Operator::new(OperatorParts {
        store: store.tenant(&tenant),
        system: store.system(),
        propagation: LeaseBarrier::new(store.system(), false),
        clock,
        rng: Arc::new(SeededRng::new(1)),
        hasher: Arc::new(NoHasher),
        folder,
        issuer_url: "http://localhost:8081".into(),
        default_audience: "http://localhost:8080".into(),
        plans: Arc::new(|| vec!["free".into()]),
        trusted_issuers: Arc::new(Vec::new),
        takes_certificates: true,
        checkpoint_keys: Vec::new(),
        rotation: None,
        explainer: None,
        tenant,
    });
    Desk { router: router(operator), _dir: dir }
}

fn caller() -> Caller {
    let client = ClientId::parse("trigate-operator").unwrap();
    Caller {
        identity: Identity::Service { client: client.clone() },
        application: None,
        client: Some(client),
        session: None,
        grant: None,
        scopes: Default::default(),
        roles: vec!["operator".into()],
        request: RequestId::mint(&SeededRng::new(2)),
        address: [192, 0, 2, 1].into(),
    }
}

impl Desk {
    async fn ask(
        &self,
        method: Method,
        target: &str,
        caller: Option<Caller>,
        body: Option<Value>,
    ) -> (StatusCode, Value, http::HeaderMap) {
        let mut request = Request::builder().method(method).uri(target);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let mut request = request.body(body.map_or(Body::empty(), |body| Body::from(body.to_string()))).unwrap();
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        (head.status, serde_json::from_slice(&bytes).unwrap_or_default(), head.headers)
    }
}

/// SECURITY: every path of the desk, one by one: a router that was mounted without its gates answers nothing.
#[tokio::test]
async fn without_a_caller_no_verb_answers() {
    let desk = desk().await;
    let source = include_str!("routes.rs");
    let paths: Vec<&str> =
        source.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")?.split('"').next()).collect();
    assert!(paths.len() > 25, "{paths:?}");
    for path in paths {
        let target = format!("{PREFIX}{}", path.replace(['{', '}'], ""));
        for method in [Method::GET, Method::POST, Method::PATCH] {
            // A forged header is no caller.
            let request = Request::builder()
                .method(method.clone())
                .uri(&target)
                .header("x-trigate-user", "usr_operator")
                .body(Body::empty())
                .unwrap();
            let status = desk.router.clone().oneshot(request).await.unwrap().status();
            assert!(matches!(status.as_u16(), 405 | 500), "{method} {target}: {status}");
        }
    }
}

#[tokio::test]
async fn answers_and_problems_have_the_right_status_and_name_the_remedy() {
    let desk = desk().await;
    let new = json!({ "name": "Acme", "plan": "free" });
    let (status, app, headers) = desk.ask(Method::POST, "/api/v1/apps", Some(caller()), Some(new.clone())).await;
    assert_eq!((status, headers["cache-control"].as_bytes()), (StatusCode::CREATED, &b"no-store"[..]));
    assert!(app["id"].as_str().unwrap().starts_with("app_"));
    for (method, target, body, wanted) in [
        (Method::POST, "/api/v1/apps", Some(new), 409),
        (Method::POST, "/api/v1/apps", Some(json!({ "name": "B", "plan": "gold" })), 400),
        (Method::POST, "/api/v1/apps", Some(json!({ "name": "B", "plan": "free", "owner": "me" })), 422),
        (Method::GET, "/api/v1/apps/nobody", None, 404),
        (Method::POST, "/api/v1/users", Some(json!({ "email": "a@example.com" })), 503),
        (Method::POST, "/api/v1/explain", Some(json!({})), 400),
        (Method::GET, "/api/v1/nothing", None, 404),
        (Method::PUT, "/api/v1/apps", None, 405),
        (Method::GET, "/api/v1/audit/decisions?reason=weather", None, 400),
        (Method::GET, "/api/v1/audit/decisions?limit=many", None, 400),
    ] {
        let (status, problem, headers) = desk.ask(method, target, Some(caller()), body).await;
        assert_eq!(status.as_u16(), wanted, "{target}: {problem}");
        assert_eq!(headers["content-type"], "application/problem+json", "{target}");
        assert!(
            !problem["remedy"].as_str().unwrap().is_empty() && !problem["detail"].as_str().unwrap().is_empty(),
            "{target}"
        );
    }
}

#[tokio::test]
async fn an_act_knows_who_where_and_why() {
    let desk = desk().await;
    let new = json!({ "name": "Acme", "plan": "free" });
    desk.ask(Method::POST, "/api/v1/apps?why=first%20customer%0Atgk_live_abcdefghijkl", Some(caller()), Some(new))
        .await;
    let (_, answer, _) = desk.ask(Method::GET, "/api/v1/audit/acts", Some(caller()), None).await;
    let act = answer["acts"].as_array().unwrap().iter().find(|act| act["verb"] == "app.create").unwrap();
    assert_eq!(act["actor"], json!({ "kind": "operator", "name": "trigate-operator" }));
    assert_eq!(act["address"], "192.0.2.1");
    assert!(act["request"].as_str().unwrap().starts_with("req_"));
    assert_eq!(act["reason"], "first customertgk_[masked]", "a pasted secret stays out of the trail");
}

#[tokio::test]
async fn a_secret_in_a_bad_body_is_not_repeated() {
    let desk = desk().await;
    let key = "tgk_live_0123456789abcdefghij";
    let (_, problem, _) =
        desk.ask(Method::POST, "/api/v1/revocations", Some(caller()), Some(json!({ "kind": key, "what": key }))).await;
    assert!(!problem.to_string().contains(key), "{problem}");
    let (status, problem, _) = desk
        .ask(Method::POST, "/api/v1/revocations", Some(caller()), Some(json!({ "kind": "key", "what": key })))
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(!problem.to_string().contains(key), "{problem}");
}
