use super::*;
use trigate_core::{
    id::AppId,
    identity::Identity,
    oauth::{Scope, ScopeSet},
};

const ROUTES: [RouteFace<'static>; 2] = [RouteFace { name: "orders" }, RouteFace { name: "reports" }];

fn load(text: &str) -> Result<Policies, Faults> {
    Policies::load(&[Source { name: "a.cedar", text }], &ROUTES)
}

fn user(id: &str) -> Identity {
    Identity::User { id: id.parse().unwrap(), email: None }
}

struct Ask {
    identity: Option<Identity>,
    application: Option<AppId>,
    issuer: Option<&'static str>,
    scopes: ScopeSet,
    roles: Vec<String>,
    address: &'static str,
}

impl Ask {
    fn by(id: &str) -> Self {
        Self {
            identity: Some(user(id)),
            application: None,
            issuer: None,
            scopes: ScopeSet::default(),
            roles: vec![],
            address: "192.0.2.1",
        }
    }

    fn judge(&self, policies: &Policies, method: &str, route: &str) -> PolicyVerdict {
        policies.judge(&Question {
            route,
            method,
            path: "/orders/7",
            address: self.address.parse().unwrap(),
            application: self.application.as_ref(),
            identity: self.identity.as_ref(),
            issuer: self.issuer,
            client: None,
            acr: None,
            scopes: &self.scopes,
            roles: &self.roles,
        })
    }
}

fn allowed(by: &str) -> PolicyVerdict {
    PolicyVerdict::Allow { policies: vec![by.to_owned()] }
}

fn denied(by: &[&str]) -> PolicyVerdict {
    PolicyVerdict::Deny { reason: Reason::PolicyDenied, policies: by.iter().map(|name| (*name).to_owned()).collect() }
}

#[test]
fn silence_denies_and_forbid_wins() {
    let policies = load(
        r#"
        @id("alice-reads") permit(principal == User::"usr_alice", action in Action::"read", resource == Route::"orders");
        permit(principal == User::"usr_bob", action, resource);
        @id("office") forbid(principal, action in Action::"write", resource) unless { context.address.isInRange(ip("192.0.2.0/24")) };
        "#,
    )
    .unwrap();
    let (alice, bob) = (Ask::by("usr_alice"), Ask::by("usr_bob"));
    assert_eq!(alice.judge(&policies, "GET", "orders"), allowed("alice-reads"));
    assert_eq!(alice.judge(&policies, "POST", "orders"), denied(&[]));
    assert_eq!(alice.judge(&policies, "GET", "reports"), denied(&[]));
    assert_eq!(bob.judge(&policies, "POST", "reports"), allowed("a.cedar:2"));
    let outside = Ask { address: "198.51.100.1", ..Ask::by("usr_bob") };
    assert_eq!(outside.judge(&policies, "POST", "reports"), denied(&["office"]));
    assert_eq!(outside.judge(&policies, "GET", "reports"), allowed("a.cedar:2"));
    // A method that the schema does not know is a write; a lower-case one is no GET.
    assert_eq!(outside.judge(&policies, "PROPFIND", "reports"), denied(&["office"]));
    assert_eq!(alice.judge(&policies, "get", "orders"), denied(&[]));
    // A route that never asked.
    assert_eq!(bob.judge(&policies, "GET", "other"), denied(&[]));
}

#[test]
fn roles_scopes_and_applications_are_seen() {
    let policies = load(
        r#"
        @id("managers") permit(principal in Role::"manager", action, resource == Route::"orders");
        @id("scoped") permit(principal, action, resource == Route::"reports") when { context.scopes.contains("reports:read") };
        @id("acme") permit(principal == Application::"app_acme", action, resource);
        "#,
    )
    .unwrap();
    let manager = Ask { roles: vec!["manager".into()], ..Ask::by("usr_1") };
    assert_eq!(manager.judge(&policies, "GET", "orders"), allowed("managers"));
    assert_eq!(Ask::by("usr_1").judge(&policies, "GET", "orders"), denied(&[]));
    let scopes = [Scope::parse("reports:read").unwrap()].into_iter().collect();
    let scoped = Ask { scopes, ..Ask::by("usr_1") };
    assert_eq!(scoped.judge(&policies, "GET", "reports"), allowed("scoped"));
    let key = Ask { identity: None, application: Some("app_acme".parse().unwrap()), ..Ask::by("usr_1") };
    assert_eq!(key.judge(&policies, "GET", "orders"), allowed("acme"));
    let nobody = Ask { identity: None, ..Ask::by("usr_1") };
    assert_eq!(nobody.judge(&policies, "GET", "orders"), denied(&[]));
}

#[test]
fn another_issuers_user_of_the_same_name_is_somebody_else() {
    let policies = load(
        r#"@id("ours") permit(principal == User::"bob", action, resource);
           @id("theirs") permit(principal == User::"https://x.test|eve", action, resource);"#,
    )
    .unwrap();
    let foreign = |id| Ask { issuer: Some("https://x.test"), ..Ask::by(id) };
    assert_eq!(Ask::by("bob").judge(&policies, "GET", "orders"), allowed("ours"));
    assert_eq!(foreign("bob").judge(&policies, "GET", "orders"), denied(&[]));
    assert_eq!(foreign("eve").judge(&policies, "GET", "orders"), allowed("theirs"));
}

#[test]
fn an_error_in_a_policy_denies() {
    // 2^63 - 1 and one more: a `forbid` that fails must not be a `forbid` that is gone.
    let policies = load(
        r#"@id("all") permit(principal, action, resource);
           @id("sum") forbid(principal, action, resource == Route::"orders") when { 9223372036854775807 + 1 == 0 };"#,
    )
    .unwrap();
    assert_eq!(Ask::by("usr_1").judge(&policies, "GET", "orders"), denied(&["sum"]));
    assert_eq!(Ask::by("usr_1").judge(&policies, "GET", "reports"), allowed("all"));
}

#[test]
fn what_is_not_understood_does_not_start() {
    for (text, line, part) in [
        ("permit(principal, action, resource)", 1, "unexpected"),
        ("\n\npermit(principal == Person::\"x\", action, resource);", 3, "Person"),
        ("\npermit(principal, action == Action::\"Get\", resource);", 2, "Get"),
        ("permit(principal, action, resource) when { context.scope == \"a\" };", 1, "scope"),
        (
            "forbid(principal, action, resource == Route::\"order\");",
            1,
            "no route with `policy = true` is called `order`",
        ),
        ("permit(principal == ?principal, action, resource);", 1, "template"),
        (
            "@id(\"a\") permit(principal, action, resource);\n@id(\"a\") forbid(principal, action, resource);",
            2,
            "another policy",
        ),
    ] {
        let faults = load(text).err().unwrap_or_else(|| panic!("{text}"));
        let first = faults.0.first().unwrap();
        assert!(faults.to_string().contains(part), "{text}: {faults}");
        assert_eq!((first.file.as_str(), first.line), ("a.cedar", line), "{text}: {faults}");
    }
}

#[test]
fn a_slice_holds_what_can_match_and_no_more() {
    let text: String = (0..100)
        .map(|i| {
            let route = if i % 20 == 0 { "orders" } else { "reports" };
            format!(
                "permit(principal == User::\"usr_{i}\", action in Action::\"read\", resource == Route::\"{route}\");\n"
            )
        })
        .collect();
    let policies = load(&text).unwrap();
    let slice = |route: &str, method| {
        policies.routes.get(route).unwrap().of(method).map(|slice| slice.policies.num_of_policies())
    };
    assert_eq!(slice("orders", "GET"), Some(5));
    assert_eq!(slice("reports", "HEAD"), Some(95));
    assert_eq!(slice("orders", "POST"), None);
    assert_eq!(policies.len(), 100);
}
