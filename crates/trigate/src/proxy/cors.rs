//! May a page of another origin read this? Preflights are answered by the route's policy alone: they carry no
//! credentials, so they pass no gate and learn nothing but the policy. // Fetch §3.2

use super::body::Answer;
use http::{HeaderMap, HeaderName, Method, Response, StatusCode, header, request::Parts};
use trigate_gates::{Found, NormalPath, RouteRule, Rules};

/// The answer to a preflight; `None` when the request is none, or its route has no policy (it then goes on to the
/// gates like any other request).
pub fn preflight(rules: &Rules, host: &str, head: &Parts) -> Option<Response<Answer>> {
    if head.method != Method::OPTIONS {
        return None;
    }
    let origin = head.headers.get(header::ORIGIN)?.to_str().ok()?;
    let wanted = head.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    let wanted = Method::from_bytes(wanted.as_bytes()).ok()?;
    let path = NormalPath::parse(head.uri.path()).ok()?;
    let Found::Route(route) = rules.routes.find(host, &path, &wanted) else { return None };
    let cors = route.cors.as_ref()?;
    let methods = if route.methods.is_empty() { vec![wanted] } else { route.methods.clone() };
    let mut response = Response::new(Answer::Own(None));
    *response.status_mut() = StatusCode::NO_CONTENT;
    if let Some(headers) = cors.answer(origin, &methods, true) {
        response.headers_mut().extend(headers);
    }
    Some(response)
}

const NAMES: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];

/// Puts the route's policy on an answer; a route with a policy has no other.
pub fn apply(route: &RouteRule, request: &HeaderMap, answer: &mut HeaderMap) {
    let Some(cors) = &route.cors else { return };
    for name in &NAMES {
        answer.remove(name);
    }
    let origin = request.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    if let Some(headers) = origin.and_then(|origin| cors.answer(origin, &[], false)) {
        for (name, value) in &headers {
            if name == header::VARY {
                answer.append(name, value.clone());
            } else {
                answer.insert(name, value.clone());
            }
        }
    }
}
