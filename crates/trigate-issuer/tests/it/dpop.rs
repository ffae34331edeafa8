//! Tokens bound to a key (RFC 9449), as clients get them and as thieves would.

use crate::support::*;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{StatusCode, header::HeaderName};
use serde_json::{Value, json};
use std::cell::Cell;
use trigate_core::{
    client::{ClientAuthentication, TokenForm},
    jose::{Algorithm, SigningKey},
};

const DPOP: HeaderName = HeaderName::from_static("dpop");

struct Holder {
    key: SigningKey,
    count: Cell<u32>,
}

impl Holder {
    fn new() -> Self {
        Self { key: SigningKey::generate(Algorithm::ES256, "k").unwrap(), count: Cell::default() }
    }

    fn jkt(&self) -> String {
        self.key.verifying_key().thumbprint().to_owned()
    }

    /// A good proof for the token endpoint, with these members changed.
    fn proof(&self, stage: &Stage, header: Value, claims: Value) -> String {
        use trigate_core::port::Clock as _;
        self.count.set(self.count.get() + 1);
        let mut head = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.key.public_jwk() });
        let (jti, iat) = (format!("{}-{}", self.jkt(), self.count.get()), stage.clock.now().seconds());
        let mut body = json!({ "jti": jti, "htm": "POST", "htu": format!("{ISSUER}/oauth/token"), "iat": iat });
        for (value, changes) in [(&mut head, header), (&mut body, claims)] {
            for (name, to) in changes.as_object().unwrap() {
                match to {
                    Value::Null => drop(value.as_object_mut().unwrap().remove(name)),
                    to => value[name] = to.clone(),
                }
            }
        }
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", encode(&head), encode(&body));
        let key = jsonwebtoken::EncodingKey::from_ec_der(&self.key.to_pkcs8().unwrap());
        let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &key, jsonwebtoken::Algorithm::ES256).unwrap();
        format!("{input}.{signature}")
    }

    fn good(&self, stage: &Stage) -> String {
        self.proof(stage, json!({}), json!({}))
    }
}

const SERVICE: [(&str, &str); 2] = [("grant_type", "client_credentials"), ("scope", "orders:read")];

async fn with_proofs(stage: &Stage, client: &str, params: &[(&str, &str)], proofs: &[&str]) -> Page {
    let headers = proofs.iter().map(|proof| (DPOP, (*proof).to_owned())).collect();
    stage.call_with("/oauth/token", client, params, headers).await
}

fn redemption(code: &str) -> [(&str, &str); 4] {
    [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", CALLBACK), ("code_verifier", VERIFIER)]
}

fn is_refused(page: &Page, error: &str, why: &str) {
    assert_eq!((page.status, page.error().as_str()), (StatusCode::BAD_REQUEST, error), "{why}: {}", page.body);
}

#[tokio::test]
async fn o28_rfc9449_5_a_bent_proof_gets_no_token() {
    let (stage, holder) = (Stage::start().await, Holder::new());
    let mut private = holder.key.public_jwk();
    private["d"] = json!("AAAA");
    for (header, claims) in [
        (json!({}), json!({ "jti": null })),
        (json!({}), json!({ "htm": null })),
        (json!({}), json!({ "htm": "GET" })),
        (json!({}), json!({ "htu": null })),
        (json!({}), json!({ "htu": format!("{ISSUER}/oauth/introspect") })),
        (json!({}), json!({ "htu": "https://evil.test/oauth/token" })),
        (json!({}), json!({ "iat": null })),
        (json!({}), json!({ "iat": 1 })),
        (json!({ "typ": "JWT" }), json!({})),
        (json!({ "typ": null }), json!({})),
        (json!({ "alg": "none" }), json!({})),
        (json!({ "alg": "HS256" }), json!({})),
        (json!({ "alg": "RS256" }), json!({})),
        (json!({ "jwk": private }), json!({})),
        (json!({ "jwk": Holder::new().key.public_jwk() }), json!({})),
    ] {
        let proof = holder.proof(&stage, header.clone(), claims.clone());
        let page = with_proofs(&stage, "service", &SERVICE, &[&proof]).await;
        is_refused(&page, "invalid_dpop_proof", &format!("{header} {claims}"));
    }
    let (one, other) = (holder.good(&stage), holder.good(&stage));
    is_refused(&with_proofs(&stage, "service", &SERVICE, &[&one, &other]).await, "invalid_dpop_proof", "two");
    is_refused(&with_proofs(&stage, "service", &SERVICE, &["x"]).await, "invalid_dpop_proof", "no JWT");
    let page = with_proofs(&stage, "service", &SERVICE, &[&one]).await;
    assert_eq!((page.status, page.json()["token_type"].as_str()), (StatusCode::OK, Some("DPoP")), "{}", page.body);
    assert_eq!(stage.claims(page.json()["access_token"].as_str().unwrap())["cnf"], json!({ "jkt": holder.jkt() }));
    is_refused(&with_proofs(&stage, "service", &SERVICE, &[&one]).await, "invalid_dpop_proof", "replayed");
}

#[tokio::test]
async fn rfc9449_5_2_a_client_may_be_held_to_dpop() {
    let (stage, holder) = (Stage::start().await, Holder::new());
    stage
        .add_client("bound", ClientAuthentication::ClientSecretPost, |client| {
            client.dpop_bound_access_tokens = true;
            client.token_form = TokenForm::Opaque;
        })
        .await;
    is_refused(&with_proofs(&stage, "bound", &SERVICE, &[]).await, "invalid_dpop_proof", "none");
    let page = with_proofs(&stage, "bound", &SERVICE, &[&holder.good(&stage)]).await;
    let told = stage.introspect("api-gateway", page.json()["access_token"].as_str().unwrap()).await;
    assert_eq!((&told["cnf"], &told["token_type"]), (&json!({ "jkt": holder.jkt() }), &json!("DPoP")), "{told}");
    let plain = with_proofs(&stage, "service", &SERVICE, &[]).await.json();
    assert_eq!(plain["token_type"], "Bearer");
    assert_eq!(stage.introspect("api-gateway", plain["access_token"].as_str().unwrap()).await.get("cnf"), None);
    let metadata = stage.browser().get("/.well-known/openid-configuration").await.json();
    assert_eq!(metadata["dpop_signing_alg_values_supported"], json!(["ES256", "EdDSA", "PS256"]));
}

#[tokio::test]
async fn o29_rfc9449_10_a_code_is_for_the_key_that_asked_for_it() {
    let (stage, holder, thief) = (Stage::start().await, Holder::new(), Holder::new());
    let code = stage.code(&mut stage.browser(), "mobile", &[("dpop_jkt", &holder.jkt())]).await;
    is_refused(&with_proofs(&stage, "mobile", &redemption(&code), &[]).await, "invalid_grant", "no proof");
    let page = with_proofs(&stage, "mobile", &redemption(&code), &[&thief.good(&stage)]).await;
    is_refused(&page, "invalid_grant", "another key");
    let page = with_proofs(&stage, "mobile", &redemption(&code), &[&holder.good(&stage)]).await;
    assert_eq!((page.status, page.json()["token_type"].as_str()), (StatusCode::OK, Some("DPoP")), "{}", page.body);
    let page = stage.browser().get(&stage.authorize_path("mobile", &[("dpop_jkt", "short")])).await;
    assert_eq!(page.callback()["error"], "invalid_request");
}

#[tokio::test]
async fn rfc9449_5_refresh_tokens_of_public_clients_are_bound_to_the_key() {
    let (stage, holder, thief) = (Stage::start().await, Holder::new(), Holder::new());
    let code = stage.code(&mut stage.browser(), "mobile", &[]).await;
    let tokens = with_proofs(&stage, "mobile", &redemption(&code), &[&holder.good(&stage)]).await.json();
    let text = tokens["refresh_token"].as_str().unwrap().to_owned();
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", text.as_str())];
    is_refused(&with_proofs(&stage, "mobile", &refresh, &[]).await, "invalid_grant", "no proof");
    is_refused(&with_proofs(&stage, "mobile", &refresh, &[&thief.good(&stage)]).await, "invalid_grant", "another key");
    let page = with_proofs(&stage, "mobile", &refresh, &[&holder.good(&stage)]).await;
    assert_eq!(page.status, StatusCode::OK, "nothing of it used the token up: {}", page.body);
    let next = page.json()["refresh_token"].as_str().unwrap().to_owned();
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", next.as_str())];
    is_refused(&with_proofs(&stage, "mobile", &refresh, &[&thief.good(&stage)]).await, "invalid_grant", "the next too");
    // A confidential client's are bound to the client: it may take a new key.
    let code = stage.code(&mut stage.browser(), "poster", &[]).await;
    let tokens = with_proofs(&stage, "poster", &redemption(&code), &[&holder.good(&stage)]).await.json();
    let text = tokens["refresh_token"].as_str().unwrap().to_owned();
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", text.as_str())];
    let page = with_proofs(&stage, "poster", &refresh, &[&thief.good(&stage)]).await;
    assert_eq!(stage.claims(page.json()["access_token"].as_str().unwrap())["cnf"], json!({ "jkt": thief.jkt() }));
}

#[tokio::test]
async fn rfc9449_8_a_nonce_is_demanded_where_it_is_configured() {
    let config = trigate_issuer::IssuerConfig { dpop_nonce: true, ..config() };
    let clock = trigate_core::port::testing::StoppedClock::at(trigate_core::Timestamp::from_seconds(1_795_000_000));
    let (stage, holder) = (Stage::start_with(config, std::sync::Arc::new(clock)).await, Holder::new());
    let page = with_proofs(&stage, "service", &SERVICE, &[&holder.good(&stage)]).await;
    is_refused(&page, "use_dpop_nonce", "without one");
    let nonce = page.header("dpop-nonce").to_owned();
    let with = |nonce: &str| holder.proof(&stage, json!({}), json!({ "nonce": nonce }));
    let page = with_proofs(&stage, "service", &SERVICE, &[&with(&nonce)]).await;
    assert_eq!((page.status, page.header("dpop-nonce")), (StatusCode::OK, ""), "{}", page.body);
    stage.clock.advance_s(60);
    let page = with_proofs(&stage, "service", &SERVICE, &[&with(&nonce)]).await;
    assert!(page.status == StatusCode::OK && !page.header("dpop-nonce").is_empty(), "§8.2");
    stage.clock.advance_s(60);
    is_refused(&with_proofs(&stage, "service", &SERVICE, &[&with(&nonce)]).await, "use_dpop_nonce", "an old one");
    is_refused(&with_proofs(&stage, "service", &SERVICE, &[&with("x")]).await, "use_dpop_nonce", "no nonce of ours");
}
