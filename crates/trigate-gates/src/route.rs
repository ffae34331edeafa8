//! Which rule is this request under? The most specific pattern of its path decides, whatever its method.
//!
//! Trusts [`NormalPath`]. Never falls back to a wider pattern because the method does not fit: a catch-all must not
//! open what a narrower rule closes.

use crate::{normal_path::NormalPath, rules::RouteRule};
use http::Method;
use std::{collections::HashMap, fmt, sync::Arc};

/// A path pattern: exact, with `{segment}`s, or ending in `/**` for itself and all below.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    segments: Vec<Segment>,
    below: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Segment {
    Exact(String),
    Any(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no path pattern: {why}")]
pub struct BadPattern {
    text: String,
    why: &'static str,
}

impl Pattern {
    /// Reads `/orders`, `/orders/{id}`, `/api/**`.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let bad = |why| BadPattern { text: text.to_owned(), why };
        let (path, below) = match text.strip_suffix("/**") {
            Some("") => ("/", true),
            Some(path) => (path, true),
            None => (text, false),
        };
        let inner = path.strip_prefix('/').ok_or_else(|| bad("it starts with no slash"))?;
        let segments = inner.split('/').filter(|_| !inner.is_empty());
        let segments = segments.map(|segment| read_segment(segment).map_err(bad)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { segments, below })
    }
}

fn read_segment(text: &str) -> Result<Segment, &'static str> {
    if let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        return if fits {
            Ok(Segment::Any(name.to_owned()))
        } else {
            Err("a segment's name is letters, digits and `_`")
        };
    }
    if text.contains(['{', '}', '*']) {
        return Err("`{name}` stands for a whole segment, `**` only at the end");
    }
    // Patterns are written in the same normal form that requests are brought to.
    let normal =
        NormalPath::parse(&format!("/{text}")).map_err(|_| "a segment is empty or has an ambiguous spelling")?;
    normal.segments().next().map(|text| Segment::Exact(text.to_owned())).ok_or("a segment is empty")
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Exact(text) => write!(f, "/{text}")?,
                Segment::Any(name) => write!(f, "/{{{name}}}")?,
            }
        }
        match (self.below, self.segments.is_empty()) {
            (true, _) => f.write_str("/**"),
            (false, true) => f.write_str("/"),
            (false, false) => Ok(()),
        }
    }
}

/// Two rules for one path and method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("routes `{first}` and `{second}` both match {what}")]
pub struct RouteConflict {
    pub first: String,
    pub second: String,
    pub what: String,
}

/// What a look for a route found.
#[derive(Clone, Debug)]
pub enum Found<'a> {
    Route(&'a Arc<RouteRule>),
    /// 404.
    NoPath,
    /// 405: some rule owns the path, for these methods alone.
    NoMethod {
        allowed: Vec<Method>,
    },
}

/// All routes, as one tree per host.
#[derive(Debug, Default)]
pub struct Routes {
    rules: Vec<Arc<RouteRule>>,
    hosts: HashMap<String, Node>,
    any_host: Node,
}

#[derive(Debug, Default)]
struct Node {
    exact: HashMap<String, Node>,
    any: Option<Box<Node>>,
    here: Vec<Arc<RouteRule>>,
    below: Vec<Arc<RouteRule>>,
}

impl Routes {
    /// # Errors
    /// [`RouteConflict`] when two rules claim one host, path and method, or one name.
    pub fn new(rules: Vec<RouteRule>) -> Result<Self, RouteConflict> {
        let mut routes = Self::default();
        for rule in rules {
            routes.add(Arc::new(rule))?;
        }
        Ok(routes)
    }

    fn add(&mut self, rule: Arc<RouteRule>) -> Result<(), RouteConflict> {
        if let Some(other) = self.rules.iter().find(|other| other.name == rule.name) {
            let what = "one name".to_owned();
            return Err(RouteConflict { first: other.name.to_string(), second: rule.name.to_string(), what });
        }
        if rule.hosts.is_empty() {
            self.any_host.add(&rule)?;
        }
        for host in &rule.hosts {
            self.hosts.entry(host_name(host)).or_default().add(&rule)?;
        }
        self.rules.push(rule);
        Ok(())
    }

    /// The rule for a request. A rule for its host goes before rules for any host.
    pub fn find(&self, host: &str, path: &NormalPath, method: &Method) -> Found<'_> {
        let segments: Vec<&str> = path.segments().collect();
        let own = self.hosts.get(&host_name(host)).and_then(|node| node.find(&segments));
        match own.or_else(|| self.any_host.find(&segments)) {
            Some(rules) => choose(rules, method),
            None => Found::NoPath,
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<RouteRule>> {
        self.rules.iter()
    }
}

/// A rule without methods takes what no other rule of the same pattern names. HEAD is GET without the body.
fn choose<'a>(rules: &'a [Arc<RouteRule>], method: &Method) -> Found<'a> {
    let takes = |rule: &&Arc<RouteRule>, method: &Method| rule.methods.contains(method);
    let named = rules.iter().find(|rule| takes(rule, method));
    let named = named.or_else(|| rules.iter().find(|rule| method == Method::HEAD && takes(rule, &Method::GET)));
    match named.or_else(|| rules.iter().find(|rule| rule.methods.is_empty())) {
        Some(rule) => Found::Route(rule),
        None => Found::NoMethod { allowed: rules.iter().flat_map(|rule| rule.methods.iter().cloned()).collect() },
    }
}

/// Lower case, without port and trailing dot.
fn host_name(host: &str) -> String {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

impl Node {
    fn add(&mut self, rule: &Arc<RouteRule>) -> Result<(), RouteConflict> {
        let mut node = self;
        for segment in &rule.pattern.segments {
            node = match segment {
                Segment::Exact(text) => node.exact.entry(text.clone()).or_default(),
                Segment::Any(_) => node.any.get_or_insert_default(),
            };
        }
        let rules = if rule.pattern.below { &mut node.below } else { &mut node.here };
        if let Some(other) = rules.iter().find(|other| overlap(other, rule)) {
            let what = format!("`{}`", rule.pattern);
            return Err(RouteConflict { first: other.name.to_string(), second: rule.name.to_string(), what });
        }
        rules.push(Arc::clone(rule));
        Ok(())
    }

    /// The rules of the most specific pattern: exact text before `{segment}` before `/**`, segment by segment. Each
    /// node is visited at most once.
    fn find(&self, segments: &[&str]) -> Option<&[Arc<RouteRule>]> {
        let found = match segments.split_first() {
            None => Some(self.here.as_slice()).filter(|rules| !rules.is_empty()),
            Some((first, rest)) => {
                let exact = self.exact.get(*first).and_then(|node| node.find(rest));
                exact.or_else(|| self.any.as_ref().and_then(|node| node.find(rest)))
            }
        };
        found.or_else(|| Some(self.below.as_slice()).filter(|rules| !rules.is_empty()))
    }
}

fn overlap(one: &RouteRule, other: &RouteRule) -> bool {
    match (one.methods.is_empty(), other.methods.is_empty()) {
        (true, true) => true,
        (false, false) => one.methods.iter().any(|method| other.methods.contains(method)),
        // One rule for some methods, one for the rest: no conflict.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Demands;

    fn rule(name: &str, pattern: &str, methods: &[Method]) -> RouteRule {
        let mut rule = RouteRule::new(name, Pattern::parse(pattern).unwrap(), Demands::none());
        rule.methods = methods.to_vec();
        rule
    }

    fn name(routes: &Routes, host: &str, path: &str, method: &Method) -> String {
        match routes.find(host, &NormalPath::parse(path).unwrap(), method) {
            Found::Route(rule) => rule.name.to_string(),
            Found::NoPath => "404".into(),
            Found::NoMethod { .. } => "405".into(),
        }
    }

    #[test]
    fn the_most_specific_pattern_decides() {
        let mut own_host = rule("own", "/**", &[]);
        own_host.hosts = vec!["Admin.test".into()];
        let routes = Routes::new(vec![
            rule("root", "/**", &[]),
            rule("admin", "/admin", &[Method::GET]),
            rule("orders", "/users/{id}/orders", &[]),
            rule("me", "/users/me/**", &[]),
            rule("write", "/users/me/notes", &[Method::POST]),
            rule("read", "/users/me/notes", &[Method::GET]),
            own_host,
        ])
        .unwrap();
        let get = Method::GET;
        assert_eq!(name(&routes, "x", "/", &get), "root");
        assert_eq!(name(&routes, "x", "/admin", &get), "admin");
        assert_eq!(name(&routes, "x", "/admin/", &get), "admin");
        assert_eq!(name(&routes, "x", "/admin", &Method::HEAD), "admin");
        // The catch-all does not open what the narrower rule closes.
        assert_eq!(name(&routes, "x", "/admin", &Method::POST), "405");
        assert_eq!(name(&routes, "x", "/Admin", &get), "root");
        assert_eq!(name(&routes, "x", "/users/7/orders", &get), "orders");
        assert_eq!(name(&routes, "x", "/users/me/orders", &get), "me");
        assert_eq!(name(&routes, "x", "/users/me", &get), "me");
        assert_eq!(name(&routes, "x", "/users/me/notes", &Method::POST), "write");
        assert_eq!(name(&routes, "x", "/users/me/notes", &Method::DELETE), "405");
        assert_eq!(name(&routes, "admin.TEST:8080", "/admin", &Method::POST), "own");
        assert_eq!(name(&routes, "admin.test.", "/x", &get), "own");
    }

    #[test]
    fn conflicts_are_named() {
        let two = |one, other| Routes::new(vec![one, other]).map(|_| ());
        assert!(two(rule("a", "/x/{id}", &[]), rule("b", "/x/{other}", &[])).is_err());
        assert!(two(rule("a", "/x", &[Method::GET]), rule("b", "/x", &[Method::GET, Method::POST])).is_err());
        assert!(two(rule("a", "/x", &[]), rule("a", "/y", &[])).is_err());
        assert!(two(rule("a", "/x", &[Method::GET]), rule("b", "/x", &[])).is_ok());
    }

    #[test]
    fn bad_patterns_are_refused() {
        for text in ["", "x", "/a//b", "/a/*", "/a**", "/{}", "/{a-b}", "/x{id}", "/../a", "/a;b", "/**/a"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        for text in ["/", "/**", "/a/{b}/c/**", "/a/**"] {
            assert_eq!(Pattern::parse(text).unwrap().to_string(), text);
        }
    }
}
