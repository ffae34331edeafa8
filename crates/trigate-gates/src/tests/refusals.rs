//! What does a refused caller read? Words by status, challenges by what the route takes, and when to come again.

use super::rig::*;
use crate::*;
use serde_json::{Value, json};
use std::sync::{Arc, atomic::Ordering};
use trigate_core::{id::RequestId, reason::Reason};

const KEY: &str = "ApiKey realm=\"trigate\"";
const BEARER: &str = "Bearer realm=\"trigate\"";
const CERTIFICATE: &str = "Certificate realm=\"trigate\"";

fn rules(rig: &mut Rig) -> &mut Rules {
    Arc::get_mut(&mut rig.rules).unwrap()
}

fn challenges(refusal: &Refusal) -> Vec<&str> {
    refusal.headers().get_all("www-authenticate").iter().map(|line| line.to_str().unwrap()).collect()
}

fn said(refusal: &Refusal) -> [String; 3] {
    let body: Value = serde_json::from_slice(refusal.body()).unwrap();
    assert_eq!(body["status"], refusal.status().as_u16());
    ["type", "title", "detail"].map(|name| body[name].as_str().unwrap().replace("urn:trigate:problem:", ""))
}

#[tokio::test]
async fn each_status_has_words_of_its_own() {
    let mut rig = Rig::new();
    rules(&mut rig).address_limit = Some("1/hour".parse().unwrap());
    let token = rig.token(json!({}));
    assert_eq!(rig.ask("/public/x").peer("192.0.2.1").verdict().await, "pass");
    let refused = async |ask: Ask<'_>| said(&ask.refusal().await);
    let from = |peer: &str, path: &str| rig.ask(path).peer(peer);
    assert_eq!(
        refused(from("192.0.2.1", "/public/x")).await,
        ["rate-limited", "Too many requests", "More requests came than the limit allows; see `Retry-After`."]
    );
    assert_eq!(
        refused(from("192.0.2.2", "/nowhere")).await,
        ["no-route", "Not found", "No route is configured for this host and path."]
    );
    assert_eq!(
        refused(from("192.0.2.3", "/post")).await,
        ["no-method", "Method not allowed", "This path does not take this method; see `Allow`."]
    );
    assert_eq!(
        refused(from("192.0.2.4", "/public/../x")).await,
        ["bad-request", "Bad request", "The request has a spelling that servers read differently."]
    );
    assert_eq!(
        refused(from("192.0.2.5", "/weather")).await,
        ["unauthenticated", "Authentication needed", "This route needs an API key."]
    );
    assert_eq!(
        refused(from("192.0.2.6", "/admin").bearer(&token)).await,
        ["forbidden", "Not allowed", "This route needs one of the roles `admin`, `root`."]
    );
    rig.audit.full.store(true, Ordering::SeqCst);
    let unavailable = ["unavailable", "Service unavailable", "The request cannot be judged now; try again."];
    assert_eq!(refused(from("192.0.2.7", "/weather")).await, unavailable);
    let plain = |reason| Refusal::plain(reason, RequestId::mint(rig.rng.as_ref()));
    assert_eq!(said(&plain(Reason::Overloaded)), unavailable);
    let too_large = ["too-large", "Content too large", "The content is larger than this route takes."];
    assert_eq!(said(&plain(Reason::BodyTooLarge)), too_large);
    assert_eq!(format!("{:?}", plain(Reason::BodyTooLarge)), "Refusal(413 request.body_too_large)");
}

#[tokio::test]
async fn a_401_says_what_is_missing_and_a_403_what_is_demanded() {
    let rig = Rig::new();
    let token = rig.token(json!({}));
    let detail = async |ask: Ask<'_>| {
        let [_, _, detail] = said(&ask.refusal().await);
        detail
    };
    for (path, key, words) in [
        ("/service", false, "This route needs a service's access token."),
        ("/orders", false, "This route needs a user's access token."),
        ("/orders", true, "An API key identifies an application; this route needs a user's access token."),
        ("/both", true, "An API key identifies an application; this route needs an access token."),
        ("/both", false, "This route needs an API key and an access token."),
        ("/cert", true, "This route needs a client certificate."),
        ("/either", false, "This route needs a client certificate, or an access token."),
    ] {
        let ask = rig.ask(path);
        let ask = if key { ask.key(&rig.key_a) } else { ask };
        assert_eq!(detail(ask).await, words, "{path}");
    }
    let bad = rig.ask("/weather").header("x-api-key", "tgk_live_garbage");
    assert_eq!(detail(bad).await, "The credentials that came are not accepted here.");
    let differ = rig.ask("/both").key(&rig.key_b).bearer(&token);
    assert_eq!(detail(differ).await, "This route needs credentials of one application.");
    let scopes = rig.ask("/orders/write").bearer(&token);
    assert_eq!(detail(scopes).await, "This route needs the scopes `orders:read orders:write`.");
    let subject = rig.ask("/service").bearer(&token);
    assert_eq!(detail(subject).await, "This route needs a subject of the kind service.");
}

#[tokio::test]
async fn rfc9110_11_6_1_one_challenge_for_each_scheme_that_the_route_takes() {
    let rig = Rig::new();
    let scoped = "Bearer realm=\"trigate\", scope=\"orders:read\"";
    for (path, lines) in [
        ("/weather", &[KEY][..]),
        ("/orders", &[scoped]),
        ("/both", &[BEARER, KEY]),
        ("/either", &[BEARER, CERTIFICATE]),
        ("/cert", &[CERTIFICATE]),
    ] {
        assert_eq!(challenges(&rig.ask(path).refusal().await), lines, "{path}");
    }
    // A good token beside a missing key is no invalid token.
    let refusal = rig.ask("/both").bearer(&rig.token(json!({}))).refusal().await;
    assert_eq!((refusal.reason(), challenges(&refusal)), (Reason::KeyMissing, vec![BEARER, KEY]));
    // A bad one is named, also where none is asked for.
    let refusal = rig.ask("/weather").key(&rig.key_a).bearer("a.b.c").refusal().await;
    assert_eq!(challenges(&refusal), [&format!("{BEARER}, error=\"invalid_token\""), KEY]);
}

#[tokio::test]
async fn rfc9110_5_6_4_a_realm_cannot_end_its_own_quotes() {
    let mut rig = Rig::new();
    rules(&mut rig).realm = "a\"b\\c\r\n\u{e9}d e".into();
    assert_eq!(challenges(&rig.ask("/weather").refusal().await), ["ApiKey realm=\"abcd e\""]);
}

#[tokio::test]
async fn what_is_unavailable_says_when_to_come_again_and_what_is_forbidden_does_not() {
    let rig = Rig::new();
    for path in ["/weather", "/nowhere", "/post", "/public/../x"] {
        assert!(!rig.ask(path).refusal().await.headers().contains_key("retry-after"), "{path}");
    }
    rig.audit.full.store(true, Ordering::SeqCst);
    assert_eq!(rig.ask("/weather").refusal().await.headers()["retry-after"], "1");
    let plain = |reason| Refusal::plain(reason, RequestId::mint(rig.rng.as_ref()));
    assert_eq!(plain(Reason::Overloaded).headers()["retry-after"], "1");
    assert!(!plain(Reason::BodyTooLarge).headers().contains_key("retry-after"));
}

/// What was asked for is on record, also where no route was found for it; and the limit that refused is told.
#[tokio::test]
async fn refusals_before_the_gates_say_what_is_known() {
    let mut rig = Rig::new();
    for (asked, path) in [("/nowhere/%7euser", "/nowhere/~user"), ("/%70ost", "/post")] {
        let refusal = rig.ask(asked).refusal().await;
        assert_eq!((rig.last().path.as_str(), refusal.route().is_none()), (path, true));
    }
    assert_eq!(rig.ask("/weather").refusal().await.route().unwrap().name.as_ref(), "weather");
    rules(&mut rig).address_limit = Some("1/hour".parse().unwrap());
    assert_eq!(rig.ask("/public/x").verdict().await, "pass");
    let refusal = rig.ask("/public/x").refusal().await;
    assert_eq!(refusal.headers()["ratelimit"], "\"address\";r=0;t=3600");
    assert_eq!(refusal.headers()["retry-after"], "3600");
}

#[tokio::test]
async fn k11_rules_and_memory_of_different_tenants_judge_nothing() {
    let mut rig = Rig::new();
    let other: trigate_core::id::TenantId = id("ten_b");
    // The request is of the memory's tenant, not of the rules'.
    rules(&mut rig).tenant = other.clone();
    assert_eq!(rig.ask("/public/x").verdict().await, "404 route.unknown");
    // The request is of the rules' tenant, not of the memory's.
    rig.tenant = other;
    assert_eq!(rig.ask("/public/x").verdict().await, "404 route.unknown");
}
