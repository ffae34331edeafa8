//! Patterns and a path, against a matcher that a child could read: the most specific pattern that fits decides, and among
//! its rules the method. Letters before a slash say methods: `GP/a` is for GET and POST; the first line is the request.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use trigate_gates::{Demands, Found, NormalPath, Pattern, RouteRule, Routes};

/// How close a pattern is, if it fits: for each segment of the path 2 for its very text, 1 for `{any}`, 0 for what `/**`
/// covers; at the end 1 for a pattern that ends there, too.
fn closeness(pattern: &str, path: &NormalPath) -> Option<Vec<u8>> {
    let (head, below) = pattern.strip_suffix("/**").map_or((pattern, false), |head| (head, true));
    let wanted: Vec<&str> = head.split('/').skip(1).filter(|part| !part.is_empty()).collect();
    let came: Vec<&str> = path.segments().collect();
    let fits = wanted.iter().zip(&came).all(|(wanted, came)| wanted.starts_with('{') || wanted == came);
    if !fits || wanted.len() > came.len() || (!below && wanted.len() < came.len()) {
        return None;
    }
    let mut close: Vec<u8> = wanted.iter().map(|part| if part.starts_with('{') { 1 } else { 2 }).collect();
    close.resize(came.len(), 0);
    close.push(u8::from(!below));
    Some(close)
}

/// Letters before the first slash, and the rest.
fn methods(line: &str) -> (Vec<Method>, &str) {
    let (letters, rest) = line.split_at(line.find('/').unwrap_or_default());
    let method = |letter| match letter {
        'G' => Some(Method::GET),
        'P' => Some(Method::POST),
        'H' => Some(Method::HEAD),
        _ => None,
    };
    (letters.chars().filter_map(method).collect(), rest)
}

fn expected<'a>(rules: &'a [RouteRule], path: &NormalPath, method: &Method) -> Result<&'a str, Vec<Method>> {
    let close = |rule: &RouteRule| closeness(&rule.pattern.to_string(), path);
    let Some(best) = rules.iter().filter_map(close).max() else { return Err(vec![]) };
    let best: Vec<&RouteRule> = rules.iter().filter(|rule| close(rule).as_ref() == Some(&best)).collect();
    let named = |method| best.iter().find(|rule| rule.methods.contains(method));
    let get = || if method == Method::HEAD { named(&Method::GET) } else { None };
    let rest = || best.iter().find(|rule| rule.methods.is_empty());
    let Some(rule) = named(method).or_else(get).or_else(rest) else {
        return Err(best.iter().flat_map(|rule| rule.methods.clone()).collect());
    };
    Ok(&rule.name)
}

fuzz_target!(|data: &str| {
    let mut lines = data.lines();
    let Some((asked, raw)) = lines.next().map(methods) else { return };
    let (Ok(path), method) = (NormalPath::parse(raw), asked.first().unwrap_or(&Method::GET)) else { return };
    let demands: Demands = "key".parse().expect("a demand");
    let rules: Vec<RouteRule> = lines
        .take(16)
        .enumerate()
        .filter_map(|(index, line)| {
            let (methods, pattern) = methods(line);
            let mut rule = RouteRule::new(&format!("r{index}"), Pattern::parse(pattern).ok()?, demands.clone());
            rule.methods = methods;
            Some(rule)
        })
        .collect();
    let Ok(routes) = Routes::new(rules.clone()) else { return };
    let found = match routes.find("api.test", &path, method) {
        Found::Route(rule) => Ok(&*rule.name),
        Found::NoPath => Err(vec![]),
        Found::NoMethod { allowed } => {
            assert!(!allowed.is_empty(), "405 with no method that would do");
            Err(allowed)
        }
    };
    assert_eq!(found, expected(&rules, &path, method), "{path:?}");
});
