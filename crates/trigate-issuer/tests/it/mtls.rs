//! Client certificates at the issuer (RFC 8705): who they prove, and what is bound to them.

use crate::support::*;
use http::StatusCode;
use serde_json::json;
use std::sync::Arc;
use trigate_core::{
    certificate::{CertificateName, CertificateRule, ClientCertificate, Registered},
    client::{ClientAuthentication, GrantType, TokenForm},
    credential::Digest,
    reason::Reason,
};
use trigate_issuer::{IssuerConfig, MutualTls, PresentedCertificate};

/// Of an authority that is trusted, for one day from now.
fn certificate(stage: &Stage, seed: &str) -> ClientCertificate {
    use trigate_core::port::Clock as _;
    let (digest, now) = (Digest::of(seed), stage.clock.now());
    let x5t = trigate_core::proof::Confirmation::of_certificate(&digest).x5t;
    ClientCertificate {
        fingerprint: digest.hex(),
        thumbprint: x5t.unwrap(),
        key: Digest::of(&format!("key of {seed}")).hex(),
        serial: "1".into(),
        issuer: "CN=ca".into(),
        subject: "CN=c3,O=Acme".into(),
        san_uris: vec![],
        san_dns: vec!["c3.acme.test".into()],
        san_ips: vec![],
        san_emails: vec![],
        not_before: now.plus_seconds(-60),
        not_after: now.plus_seconds(86_400),
        fault: None,
    }
}

const SERVICE: [(&str, &str); 2] = [("grant_type", "client_credentials"), ("scope", "orders:read")];

async fn call(stage: &Stage, path: &str, params: &[(&str, &str)], shown: Option<&ClientCertificate>) -> Page {
    let mut browser = stage.browser();
    browser.certificate =
        shown.map(|shown| PresentedCertificate { certificate: Arc::new(shown.clone()), revoked: false });
    browser.post(path, params).await
}

async fn token(stage: &Stage, client: &str, shown: Option<&ClientCertificate>) -> Page {
    call(stage, "/oauth/token", &[&SERVICE[..], &[("client_id", client)]].concat(), shown).await
}

fn is_unproven(page: &Page, why: &str) {
    assert_eq!(
        (page.status, page.error().as_str()),
        (StatusCode::UNAUTHORIZED, "invalid_client"),
        "{why}: {}",
        page.body
    );
}

async fn add(stage: &Stage, id: &str, method: ClientAuthentication, rule: Option<CertificateRule>) {
    stage
        .add_client(id, method, |client| {
            client.certificate = rule;
            client.tls_client_certificate_bound_access_tokens = true;
        })
        .await;
}

fn by_subject() -> Option<CertificateRule> {
    Some(CertificateRule::Name(CertificateName::SubjectDn("CN=c3,O=Acme".into())))
}

#[tokio::test]
async fn o40_rfc8705_2_1_the_registered_name_of_a_trusted_certificate_and_nothing_like_it() {
    let stage = Stage::start().await;
    let good = certificate(&stage, "good");
    add(&stage, "c3", ClientAuthentication::TlsClientAuth, by_subject()).await;
    add(&stage, "unruled", ClientAuthentication::TlsClientAuth, None).await;
    let page = token(&stage, "c3", Some(&good)).await;
    assert_eq!((page.status, page.json()["token_type"].as_str()), (StatusCode::OK, Some("Bearer")), "{}", page.body);
    for (why, shown) in [
        (
            "self-signed, with the same name",
            ClientCertificate { fault: Some(Reason::CertificateInvalid), ..good.clone() },
        ),
        ("revoked by its authority", ClientCertificate { fault: Some(Reason::CertificateRevoked), ..good.clone() }),
        ("the same common name", ClientCertificate { subject: "CN=c3,O=Other".into(), ..good.clone() }),
        ("the name written into one part", ClientCertificate { subject: "CN=c3\\,O\\=Acme".into(), ..good.clone() }),
        ("over", ClientCertificate { not_after: good.not_before, ..good.clone() }),
    ] {
        is_unproven(&token(&stage, "c3", Some(&shown)).await, why);
    }
    is_unproven(&token(&stage, "c3", None).await, "none");
    is_unproven(&token(&stage, "unruled", Some(&good)).await, "no rule");
    // RFC 8705 §2: a secret in its place is another method.
    let secret = stage.secret("c3");
    let with_secret = [&SERVICE[..], &[("client_id", "c3"), ("client_secret", &secret)]].concat();
    is_unproven(&call(&stage, "/oauth/token", &with_secret, Some(&good)).await, "a secret");
    // A client of another method is not proven by any certificate.
    for other in ["service", "signer"] {
        is_unproven(&token(&stage, other, Some(&good)).await, other);
    }
    // At the other endpoints as well.
    let text = page.json()["access_token"].as_str().unwrap().to_owned();
    let ask = [("token", text.as_str()), ("client_id", "c3")];
    assert_eq!(call(&stage, "/oauth/introspect", &ask, Some(&good)).await.json()["active"], true);
    for path in ["/oauth/introspect", "/oauth/revoke"] {
        is_unproven(&call(&stage, path, &ask, None).await, path);
    }
    assert_eq!(call(&stage, "/oauth/revoke", &ask, Some(&good)).await.status, StatusCode::OK);
    assert!(!stage.is_active(&text).await);
}

#[tokio::test]
async fn o40_rfc8705_2_2_a_registered_certificate_or_its_key_whoever_signed_it() {
    let stage = Stage::start().await;
    let own = ClientCertificate { fault: Some(Reason::CertificateInvalid), ..certificate(&stage, "own") };
    let by = |certificates: Vec<String>, keys: Vec<String>| {
        Some(CertificateRule::Registered(Registered { certificates, keys }))
    };
    add(&stage, "whole", ClientAuthentication::SelfSignedTlsClientAuth, by(vec![own.fingerprint.clone()], vec![]))
        .await;
    add(&stage, "key", ClientAuthentication::SelfSignedTlsClientAuth, by(vec![], vec![own.key.clone()])).await;
    let renewed = ClientCertificate { fingerprint: Digest::of("renewed").hex(), ..own.clone() };
    let alike = ClientCertificate { fault: None, ..certificate(&stage, "alike") };
    for (client, shown, good) in [
        ("whole", &own, true),
        ("whole", &renewed, false),
        ("whole", &alike, false),
        ("key", &own, true),
        ("key", &renewed, true),
        ("key", &alike, false),
    ] {
        let page = token(&stage, client, Some(shown)).await;
        if good {
            assert_eq!(page.status, StatusCode::OK, "{client} {}", page.body);
        } else {
            is_unproven(&page, client);
        }
    }
    // Taken back by operators: for whom nothing else of the certificate counts, too.
    let mut browser = stage.browser();
    browser.certificate = Some(PresentedCertificate { certificate: Arc::new(own), revoked: true });
    let params = [&SERVICE[..], &[("client_id", "whole")]].concat();
    is_unproven(&browser.post("/oauth/token", &params).await, "revoked");
}

#[tokio::test]
async fn rfc8705_3_tokens_carry_the_certificate_in_both_forms_where_the_client_wants_it() {
    let stage = Stage::start().await;
    let (shown, secret) = (certificate(&stage, "shown"), ClientAuthentication::ClientSecretPost);
    stage
        .add_client("opaque", secret, |client| {
            client.token_form = TokenForm::Opaque;
            client.tls_client_certificate_bound_access_tokens = true;
        })
        .await;
    stage.add_client("jwt", secret, |client| client.tls_client_certificate_bound_access_tokens = true).await;
    let get = async |client: &str, shown: Option<&ClientCertificate>| {
        let secret = stage.secret(client);
        call(
            &stage,
            "/oauth/token",
            &[&SERVICE[..], &[("client_id", client), ("client_secret", &secret)]].concat(),
            shown,
        )
        .await
    };
    let cnf = json!({ "x5t#S256": shown.thumbprint });
    for client in ["jwt", "opaque"] {
        let page = get(client, Some(&shown)).await;
        assert_eq!(page.json()["token_type"], "Bearer", "{}", page.body);
        let told = stage.introspect("api-gateway", page.json()["access_token"].as_str().unwrap()).await;
        assert_eq!((&told["cnf"], &told["token_type"]), (&cnf, &json!("Bearer")), "RFC 8705 §3.2: {told}");
        // §3.4: never a bearer token in its place.
        let page = get(client, None).await;
        assert_eq!((page.status, page.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_request"), "{}", page.body);
        let over = ClientCertificate { not_after: shown.not_before, ..shown.clone() };
        assert_eq!(get(client, Some(&over)).await.status, StatusCode::BAD_REQUEST);
    }
    let page = get("jwt", Some(&shown)).await;
    assert_eq!(stage.claims(page.json()["access_token"].as_str().unwrap())["cnf"], cnf, "RFC 8705 §3.1");
    // Another client's is as it was.
    let page = get("service", Some(&shown)).await;
    assert_eq!(stage.claims(page.json()["access_token"].as_str().unwrap()).get("cnf"), None);
}

#[tokio::test]
async fn rfc8705_4_refresh_tokens_of_public_clients_are_bound_to_the_certificate() {
    let stage = Stage::start().await;
    let (shown, other) = (certificate(&stage, "shown"), certificate(&stage, "other"));
    add(&stage, "phone", ClientAuthentication::None, None).await;
    stage
        .add_client("firm", ClientAuthentication::TlsClientAuth, |client| {
            client.certificate = by_subject();
            client.grants = vec![GrantType::AuthorizationCode, GrantType::RefreshToken];
            client.tls_client_certificate_bound_access_tokens = true;
        })
        .await;
    let redeem = async |client: &str, shown: Option<&ClientCertificate>| {
        let code = stage.code(&mut stage.browser(), client, &[]).await;
        let params = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", CALLBACK)];
        call(
            &stage,
            "/oauth/token",
            &[&params[..], &[("code_verifier", VERIFIER), ("client_id", client)]].concat(),
            shown,
        )
        .await
    };
    assert_eq!(redeem("phone", None).await.error(), "invalid_request");
    let refresh = async |client: &str, text: &str, shown: Option<&ClientCertificate>| {
        let params = [("grant_type", "refresh_token"), ("refresh_token", text), ("client_id", client)];
        call(&stage, "/oauth/token", &params, shown).await
    };
    let text = redeem("phone", Some(&shown)).await.json()["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(refresh("phone", &text, None).await.error(), "invalid_request");
    assert_eq!(refresh("phone", &text, Some(&other)).await.error(), "invalid_grant", "a thief's own certificate");
    let page = refresh("phone", &text, Some(&shown)).await;
    assert_eq!(page.status, StatusCode::OK, "nothing of it used the token up: {}", page.body);
    let next = page.json()["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(refresh("phone", &next, Some(&other)).await.error(), "invalid_grant", "the next too");
    // §7.1: a confidential client's are bound to the client, which may renew its certificate.
    let page = redeem("firm", Some(&shown)).await;
    let text = page.json()["refresh_token"].as_str().unwrap_or_else(|| panic!("{}", page.body)).to_owned();
    let page = refresh("firm", &text, Some(&other)).await;
    let cnf = &stage.claims(page.json()["access_token"].as_str().unwrap())["cnf"];
    assert_eq!(*cnf, json!({ "x5t#S256": other.thumbprint }));
}

#[tokio::test]
async fn rfc8705_5_the_metadata_names_methods_and_the_other_place() {
    let clock = trigate_core::port::testing::StoppedClock::at(trigate_core::Timestamp::from_seconds(1_795_000_000));
    let alias = Some("https://mtls.id.test".to_owned());
    let config = IssuerConfig { mtls: Some(MutualTls { alias }), ..config() };
    let stage = Stage::start_with(config, Arc::new(clock)).await;
    let metadata = stage.browser().get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata["tls_client_certificate_bound_access_tokens"], true);
    for name in ["token_endpoint_auth_methods_supported", "revocation_endpoint_auth_methods_supported"] {
        let methods = metadata[name].as_array().unwrap();
        for method in ["tls_client_auth", "self_signed_tls_client_auth"] {
            assert!(methods.contains(&json!(method)), "{name}: {methods:?}");
        }
    }
    let aliases = metadata["mtls_endpoint_aliases"].as_object().unwrap();
    for name in ["token_endpoint", "introspection_endpoint", "revocation_endpoint", "userinfo_endpoint"] {
        let path = metadata[name].as_str().unwrap().strip_prefix(ISSUER).unwrap();
        assert_eq!(aliases[name], format!("https://mtls.id.test{path}"));
    }
    assert_eq!(aliases.len(), 4, "no page of a person is there: {aliases:?}");
    let plain = Stage::start().await.browser().get("/.well-known/openid-configuration").await.json();
    assert_eq!(plain["tls_client_certificate_bound_access_tokens"], false);
    assert!(plain.get("mtls_endpoint_aliases").is_none() && !plain.to_string().contains("tls_client_auth\""));
}
