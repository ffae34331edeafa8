//! What is read out of a token or a certificate, and into the record.

use super::rig::*;
use crate::*;
use serde_json::json;
use std::sync::Arc;
use trigate_core::{change::What, jose::Algorithm, oauth::ScopeSet, port::Clock as _};

fn rule<'r>(rig: &'r mut Rig, issuer: &str) -> &'r mut IssuerRule {
    let rules = Arc::get_mut(&mut rig.rules).unwrap();
    rules.issuers.iter_mut().find(|rule| rule.issuer == issuer).unwrap()
}

#[tokio::test]
async fn rfc9068_5_clients_speak_for_themselves_where_the_issuer_says_so() {
    let mut rig = Rig::new();
    let y = rule(&mut rig, "https://y.test");
    y.services = vec![
        ServiceMark::Is("gty".into(), "client-credentials".into()),
        ServiceMark::Absent("uid".into()),
        ServiceMark::NamesClient("azp".into()),
    ];
    for (claims, service) in [
        (json!({ "uid": "u" }), false),
        (json!({}), true),
        (json!({ "uid": "u", "gty": "client-credentials" }), true),
        (json!({ "uid": "u", "gty": "password" }), false),
        (json!({ "uid": "u", "gty": ["client-credentials"] }), false),
        (json!({ "uid": "u", "azp": "web" }), true),
        (json!({ "uid": "u", "azp": "other" }), false),
        (json!({ "uid": "u", "sub": "web" }), true),
    ] {
        let token = rig.foreign("https://y.test", &rig.y, claims.clone());
        let verdict = rig.ask("/service").bearer(&token).verdict().await;
        assert_eq!(verdict, if service { "pass" } else { "403 subject.not_service" }, "{claims}");
    }
}

#[tokio::test]
async fn a_user_is_named_by_the_claim_that_the_file_names() {
    let mut rig = Rig::new();
    rule(&mut rig, "https://y.test").claims.user = "uid".into();
    let token = rig.foreign("https://y.test", &rig.y, json!({ "sub": "s-1", "uid": "usr_bob" }));
    assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "pass");
    assert_eq!(rig.last().facts.user, Some(id("usr_bob")));
    for claims in [json!({ "sub": "s-1" }), json!({ "sub": "s-1", "uid": 5 })] {
        let token = rig.foreign("https://y.test", &rig.y, claims);
        assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "401 token.claims");
    }
}

#[tokio::test]
async fn rfc8693_4_1_who_acts_for_whom_is_on_record() {
    let rig = Rig::new();
    for (act, actor) in [(json!(null), None), (json!({ "sub": "svc_1" }), Some("svc_1")), (json!({}), None)] {
        let token = rig.token(json!({ "act": act }));
        assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "pass");
        assert_eq!(rig.last().facts.actor.as_deref(), actor);
    }
    for act in [json!("svc_1"), json!({ "sub": 5 }), json!({ "sub": "" })] {
        let token = rig.token(json!({ "act": act }));
        assert_eq!(rig.ask("/any").bearer(&token).verdict().await, "401 token.claims");
    }
}

#[tokio::test]
async fn t03_an_issuers_algorithms_are_those_of_its_rule() {
    for (algorithms, verdict) in [
        (vec![], "pass"),
        (vec![Algorithm::ES256], "pass"),
        (vec![Algorithm::EdDSA, Algorithm::RS256], "401 token.algorithm"),
    ] {
        let mut rig = Rig::new();
        rule(&mut rig, "https://y.test").algorithms = algorithms;
        let token = rig.foreign("https://y.test", &rig.y, json!({}));
        assert_eq!(rig.ask("/any").bearer(&token).verdict().await, verdict);
    }
}

#[tokio::test]
async fn a_machines_name_stands_in_the_record_and_is_plain_text() {
    let mut rig = Rig::new();
    let shown = certificate(&rig, "spiffe://acme.test/warehouse");
    assert_eq!(rig.ask("/cert").certificate(shown.clone()).verdict().await, "pass");
    assert_eq!(rig.last().facts.machine.as_deref(), Some("spiffe://acme.test/warehouse"));
    for (name, verdict) in [
        ("Warehouse 7".to_owned(), "pass"),
        ("n".repeat(512), "pass"),
        ("n".repeat(513), "401 certificate.invalid"),
        (String::new(), "401 certificate.invalid"),
        ("a\r\nb".to_owned(), "401 certificate.invalid"),
    ] {
        Arc::get_mut(&mut rig.rules).unwrap().machines[0].name = Some(name.clone());
        assert_eq!(rig.ask("/cert").certificate(shown.clone()).verdict().await, verdict, "{name}");
        if verdict == "pass" {
            assert_eq!(rig.last().facts.machine, Some(name));
        }
    }
}

#[tokio::test]
async fn t35_what_is_taken_from_a_client_of_ours_is_not_taken_from_anothers_of_that_name() {
    let rig = Rig::new();
    let token = rig.foreign("https://y.test", &rig.y, json!({ "client_id": "cli_a" }));
    let scopes = ScopeSet::parse("orders:read").unwrap();
    let keep_until = rig.clock.now().plus_seconds(3_600);
    rig.change(What::ClientScopesNarrowed { client: id("cli_a"), scopes, keep_until });
    assert_eq!(rig.ask("/orders").bearer(&token).verdict().await, "pass");
}
