//! What does a decision by policies cost? `cargo run --release -p trigate-policy --example slice`: 100 policies, of which
//! six can match the route that is asked for.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout, reason = "a bench measures real time")]

use std::{hint::black_box, time::Instant};
use trigate_core::{
    identity::Identity,
    oauth::ScopeSet,
    port::{Policy as _, PolicyVerdict, Question},
};
use trigate_policy::{Policies, RouteFace, Source};

const TIMES: u32 = 50_000;

fn main() {
    let mut text = String::new();
    for i in 0..80 {
        let route = i % 20;
        text += &format!(
            "permit(principal in Role::\"r{i}\", action in Action::\"read\", resource == Route::\"r{route}\");\n"
        );
    }
    for i in 0..20 {
        text += &format!(
            "permit(principal, action, resource == Route::\"r{i}\") when {{ context.scopes.contains(\"scope{i}\") && \
             context.address.isInRange(ip(\"10.{i}.0.0/16\")) }};\n"
        );
    }
    let names: Vec<String> = (0..20).map(|i| format!("r{i}")).collect();
    let faces: Vec<RouteFace<'_>> = names.iter().map(|name| RouteFace { name }).collect();
    let policies = Policies::load(&[Source { name: "bench.cedar", text: &text }], &faces).unwrap();
    let identity = Identity::User { id: "usr_1".parse().unwrap(), email: None };
    let (scopes, roles) = (ScopeSet::parse("scope3 read write").unwrap(), ["r3".to_owned()]);
    for (what, method, address) in [("by role and context", "GET", "10.3.4.5"), ("by context", "POST", "10.3.4.5")] {
        let question = Question {
            route: "r3",
            method,
            path: "/orders/7",
            address: address.parse().unwrap(),
            application: None,
            identity: Some(&identity),
            issuer: None,
            client: None,
            acr: None,
            scopes: &scopes,
            roles: &roles,
        };
        assert!(matches!(policies.judge(&question), PolicyVerdict::Allow { .. }));
        let begun = Instant::now();
        for _ in 0..TIMES {
            black_box(policies.judge(black_box(&question)));
        }
        println!("{what}: {:.2} us", begun.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES));
    }
}
