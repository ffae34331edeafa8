//! Patterns and a path, against a matcher that a child could read: what is found matches, and nothing is missed.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use trigate_gates::{Demands, Found, NormalPath, Pattern, RouteRule, Routes};

fn matches(pattern: &str, path: &NormalPath) -> bool {
    let (head, below) = pattern.strip_suffix("/**").map_or((pattern, false), |head| (head, true));
    let wanted: Vec<&str> = head.split('/').skip(1).filter(|part| !part.is_empty()).collect();
    let came: Vec<&str> = path.segments().collect();
    let fits = wanted.iter().zip(&came).all(|(wanted, came)| wanted.starts_with('{') || wanted == came);
    fits && (wanted.len() == came.len() || (below && wanted.len() < came.len()))
}

fuzz_target!(|data: &str| {
    let mut lines = data.lines();
    let Some(Ok(path)) = lines.next().map(NormalPath::parse) else { return };
    let demands: Demands = "key".parse().expect("a demand");
    let rules: Vec<RouteRule> = lines
        .take(16)
        .filter_map(|line| Pattern::parse(line).ok())
        .map(|pattern| RouteRule::new(&pattern.to_string(), pattern, demands.clone()))
        .collect();
    let names: Vec<String> = rules.iter().map(|rule| rule.pattern.to_string()).collect();
    let Ok(routes) = Routes::new(rules) else { return };
    match routes.find("api.test", &path, &Method::GET) {
        Found::Route(rule) => assert!(matches(&rule.pattern.to_string(), &path), "{} on {path:?}", rule.name),
        Found::NoPath => assert!(!names.iter().any(|name| matches(name, &path)), "{names:?} on {path:?}"),
        Found::NoMethod { .. } => panic!("no route names a method"),
    }
});
