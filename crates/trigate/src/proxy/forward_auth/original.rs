//! Which request does the proxy ask about? Rebuilt from the headers that each proxy documents, one value each.
//!
//! Trusts the proxy to have written them itself (our examples do). Never guesses what is missing, and never reads one
//! proxy's headers for another: a client can send those that its proxy does not overwrite.

use super::certificate::Wording;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use std::net::IpAddr;
use trigate_gates::authority::Authority;

/// The request as the client sent it to the proxy.
#[derive(Debug)]
pub struct Original {
    pub method: Method,
    pub host: String,
    pub port: Option<u16>,
    /// Did it come to the proxy over TLS? By the proxy's `X-Forwarded-Proto`.
    pub secure: bool,
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
    /// The other end of the proxy's connection.
    pub peer: IpAddr,
    /// The client's certificate, as the proxy tells of it.
    pub certificate: Option<Wording>,
}

/// Why there is no request to judge; the code is the connection record's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untold {
    pub status: StatusCode,
    pub code: &'static str,
    pub detail: &'static str,
}

const fn incomplete(detail: &'static str) -> Untold {
    Untold { status: StatusCode::INTERNAL_SERVER_ERROR, code: "forward_auth.incomplete", detail }
}

const METHOD: HeaderName = HeaderName::from_static("x-original-method");
const URI: HeaderName = HeaderName::from_static("x-original-uri");
const HOST: HeaderName = HeaderName::from_static("x-original-host");
const ADDRESS: HeaderName = HeaderName::from_static("x-original-address");
const FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// nginx `auth_request`: what `examples/forward-auth/nginx.conf` sends.
pub fn from_nginx(head: Parts) -> Result<Original, Untold> {
    let mut headers = head.headers;
    let method = take(&mut headers, &METHOD, "`X-Original-Method` must come once")?;
    let uri = take(&mut headers, &URI, "`X-Original-URI` must come once")?;
    let host = take(&mut headers, &HOST, "`X-Original-Host` must come once")?;
    let peer = take_peer(&mut headers)?;
    build(&method, &uri, &host, headers, peer)
}

/// Caddy `forward_auth` and Traefik `ForwardAuth`.
pub fn from_forwarded(head: Parts) -> Result<Original, Untold> {
    let mut headers = head.headers;
    let method = take(&mut headers, &FORWARDED_METHOD, "`X-Forwarded-Method` must come once")?;
    let uri = take(&mut headers, &FORWARDED_URI, "`X-Forwarded-Uri` must come once")?;
    let host = take(&mut headers, &FORWARDED_HOST, "`X-Forwarded-Host` must come once")?;
    let peer = take_peer(&mut headers)?;
    build(&method, &uri, &host, headers, peer)
}

/// Envoy's HTTP service: method, host and headers are the original's, the path comes behind a prefix.
pub fn from_envoy_http(uri: &str, head: Parts) -> Result<Original, Untold> {
    let mut headers = head.headers;
    let authority = head.uri.authority().map(|authority| authority.to_string());
    let host = match authority {
        Some(authority) => authority,
        None => take(&mut headers, &header::HOST, "`Host` must come once")?,
    };
    let peer = take(&mut headers, &ADDRESS, "`X-Original-Address` must come once")?;
    let peer = peer.parse().map_err(|_| incomplete("`X-Original-Address` is no address"))?;
    build(head.method.as_str(), uri, &host, headers, peer)
}

/// Envoy's gRPC service.
pub fn from_envoy(method: &str, uri: &str, host: &str, headers: HeaderMap, peer: &str) -> Result<Original, Untold> {
    let peer = peer.parse().map_err(|_| incomplete("`source.address` is no IP address"))?;
    build(method, uri, host, headers, peer)
}

/// SECURITY: exactly one: of two, the proxy may have written the other.
fn take(headers: &mut HeaderMap, name: &HeaderName, missing: &'static str) -> Result<String, Untold> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(incomplete(missing)) };
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| bad("http.target", "the target is not UTF-8"))?;
    let text = text.to_owned();
    headers.remove(name);
    Ok(text)
}

/// The hop that the proxy added last is who connected to it; what stands before was told to the proxy, and is left for
/// the gates to judge by `trusted_proxies`, as at a listener of their own.
fn take_peer(headers: &mut HeaderMap) -> Result<IpAddr, Untold> {
    const MISSING: &str = "`X-Forwarded-For` must end in the client's address";
    let lines: Vec<&str> = headers.get_all(&FORWARDED_FOR).iter().map(|line| line.to_str().unwrap_or("?")).collect();
    let all = lines.join(",");
    let (before, last) = all.rsplit_once(',').unwrap_or(("", all.as_str()));
    let peer = last.trim().parse().map_err(|_| incomplete(MISSING))?;
    match HeaderValue::from_str(before.trim()) {
        Ok(before) if !before.is_empty() => headers.insert(FORWARDED_FOR, before),
        _ => headers.remove(FORWARDED_FOR),
    };
    Ok(peer)
}

fn build(method: &str, uri: &str, host: &str, headers: HeaderMap, peer: IpAddr) -> Result<Original, Untold> {
    let method =
        Method::from_bytes(method.as_bytes()).map_err(|_| bad("http.method", "the original method is none"))?;
    // As on the gate's own listeners.
    if matches!(method, Method::CONNECT | Method::TRACE) {
        let status = StatusCode::NOT_IMPLEMENTED;
        return Err(Untold { status, code: "http.method", detail: "this method is not carried" });
    }
    let Authority { host, port } =
        Authority::parse(host).map_err(|_| bad("http.host", "the request must name one host"))?;
    let secure = headers.get(FORWARDED_PROTO).is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"));
    let (path, query) = target(uri);
    let (path, query) = (path.to_owned(), query.map(str::to_owned));
    Ok(Original { method, host, port, secure, path, query, headers, peer, certificate: None })
}

const fn bad(code: &'static str, detail: &'static str) -> Untold {
    Untold { status: StatusCode::BAD_REQUEST, code, detail }
}

/// Path and query. Nothing else is read out of it: a `#`, a scheme or a missing slash is left in the path, which the
/// gates then refuse (G08, G15).
fn target(uri: &str) -> (&str, Option<&str>) {
    match uri.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (uri, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(pairs: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::get("/forward-auth/x");
        for (name, value) in pairs {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    const TOLD: [(&str, &str); 4] = [
        ("x-original-method", "POST"),
        ("x-original-uri", "/a//b?c=/d"),
        ("x-original-host", "API.test:8443"),
        ("x-forwarded-for", "6.6.6.6, 10.0.0.9"),
    ];

    #[test]
    fn nginx_tells_the_request_and_the_last_hop_is_the_peer() {
        let original = from_nginx(parts(&TOLD)).unwrap();
        assert_eq!((original.method, original.host.as_str()), (Method::POST, "api.test"));
        assert_eq!((original.path.as_str(), original.query.as_deref()), ("/a//b", Some("c=/d")));
        assert_eq!(original.peer.to_string(), "10.0.0.9");
        assert_eq!(original.headers.get("x-forwarded-for").unwrap(), "6.6.6.6");
        assert_eq!(original.headers.len(), 1, "what the proxy told is no header of the request");
    }

    #[test]
    fn g10_what_is_missing_or_came_twice_is_not_guessed() {
        for (name, _) in TOLD {
            let left: Vec<_> = TOLD.into_iter().filter(|(known, _)| *known != name).collect();
            assert_eq!(from_nginx(parts(&left)).unwrap_err().code, "forward_auth.incomplete", "{name}");
            if name != "x-forwarded-for" {
                let twice: Vec<_> = TOLD.into_iter().chain([(name, "/")]).collect();
                assert_eq!(from_nginx(parts(&twice)).unwrap_err().code, "forward_auth.incomplete", "{name}");
            }
        }
        // Another proxy's words are none here.
        assert!(from_forwarded(parts(&TOLD)).is_err());
    }

    #[test]
    fn g08_g09_g15_targets_and_hosts_with_two_readings() {
        let with = |name: &str, value: &str| {
            let told: Vec<_> =
                TOLD.into_iter().map(|(known, old)| (known, if known == name { value } else { old })).collect();
            from_nginx(parts(&told))
        };
        assert_eq!(with("x-original-uri", "/a#b").unwrap().path, "/a#b", "left for the gates to refuse");
        assert_eq!(with("x-original-uri", "svc/Method").unwrap().path, "svc/Method");
        for host in ["a@b", "a b", "", "a..b"] {
            assert_eq!(with("x-original-host", host).unwrap_err().code, "http.host", "{host}");
        }
        assert_eq!(with("x-original-method", "TRACE").unwrap_err().status, StatusCode::NOT_IMPLEMENTED);
        assert_eq!(with("x-original-method", "G ET").unwrap_err().status, StatusCode::BAD_REQUEST);
    }
}
