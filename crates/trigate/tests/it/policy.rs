//! Cedar policies on the road: what they permit passes, what they do not is refused and recorded with their names.

use crate::support::TestTrigate;

const POLICIES: &str = r#"
@id("alice-reads") permit(principal, action in Action::"read", resource == Route::"guarded")
when { context.scopes.contains("orders:read") };
@id("never-deleted") forbid(principal, action == Action::"DELETE", resource);
"#;

const ROUTE: &str = r#"
[policy]
folder = "policies"

[[route]]
name = "guarded"
path = "/guarded/**"
demands = "token"
subject = "user"
policy = true
upstream = "sample"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn policies_decide_last_and_are_named_in_the_record() {
    let trigate = TestTrigate::start_with_files(ROUTE, &[("policies/a.cedar", POLICIES)]).await;
    let bearer = format!("Bearer {}", trigate.alice_token("openid orders:read").await);
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(trigate.get("/guarded/1", &headers).await.status, 200);
    let refused = trigate.gate().send("DELETE", "/guarded/1", &headers, b"").await;
    assert_eq!(refused.status, 403);
    assert_eq!(trigate.gate().send("POST", "/guarded/1", &headers, b"").await.status, 403);
    let narrow = format!("Bearer {}", trigate.alice_token("openid").await);
    assert_eq!(trigate.get("/guarded/1", &[("authorization", narrow.as_str())]).await.status, 403);

    let decided: Vec<_> = trigate.decisions(4).await.into_iter().map(|decision| decision.facts.policies).collect();
    for named in [vec!["alice-reads".to_owned()], vec!["never-deleted".to_owned()], vec![]] {
        assert!(decided.contains(&named), "{decided:?}");
    }
}

/// G21: a broken policy file neither starts nor replaces the good one.
#[tokio::test(flavor = "multi_thread")]
async fn g21_a_broken_policy_file_keeps_the_old_policies() {
    let trigate = TestTrigate::start_with_files(ROUTE, &[("policies/a.cedar", POLICIES)]).await;
    let file = trigate.folder().join("policies/a.cedar");
    std::fs::write(
        &file,
        "permit(principal, action, resource);\npermit(principal == Person::\"x\", action, resource);",
    )
    .unwrap();
    let told = trigate.running.reload().unwrap_err();
    assert!(told.contains("a.cedar:2") && told.contains("Person"), "{told}");
    let bearer = format!("Bearer {}", trigate.alice_token("openid orders:read").await);
    let refused = trigate.gate().send("DELETE", "/guarded/1", &[("authorization", bearer.as_str())], b"").await;
    assert_eq!(refused.status, 403);
    std::fs::write(&file, "permit(principal, action, resource);").unwrap();
    trigate.running.reload().unwrap();
    assert_eq!(
        trigate.gate().send("DELETE", "/guarded/1", &[("authorization", bearer.as_str())], b"").await.status,
        200
    );
}
