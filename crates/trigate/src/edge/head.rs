//! May this head go further? What the next server could read differently ends here, on every listener.

use http::{Method, Version, header, request::Parts};
use trigate_gates::authority::Authority;

/// Why a head goes no further: the connection ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHead {
    /// Of the connection record.
    pub code: &'static str,
    pub status: http::StatusCode,
    pub detail: &'static str,
}

/// The one host that the request is for. For listeners that upgrade nothing.
pub fn check(head: &Parts) -> Result<Authority, BadHead> {
    // CVE-2026-2833: what follows an Upgrade is no request until a 101 was sent, and none is ever sent here.
    if head.headers.contains_key(header::UPGRADE) {
        return Err(NO_UPGRADE);
    }
    check_all_but_upgrade(head)
}

/// As `check`; `true`: a well-formed wish to become a WebSocket, which a route may grant.
pub fn check_upgradable(head: &Parts) -> Result<(Authority, bool), BadHead> {
    if !head.headers.contains_key(header::UPGRADE) {
        return check_all_but_upgrade(head).map(|authority| (authority, false));
    }
    if !wants_websocket(head) {
        return Err(NO_UPGRADE);
    }
    check_all_but_upgrade(head).map(|authority| (authority, true))
}

/// Nothing here becomes what the client wishes.
pub const NO_UPGRADE: BadHead = BadHead {
    code: "http.upgrade",
    status: http::StatusCode::NOT_IMPLEMENTED,
    detail: "nothing here is upgraded to that",
};

/// RFC 6455 §4.1: GET, HTTP/1.1, each header once, and no body that could be taken for the first frame.
fn wants_websocket(head: &Parts) -> bool {
    let once = |name: &str| {
        let mut values = head.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
    };
    let connection = head.headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let mut options = connection.flat_map(|value| value.split(','));
    head.version == Version::HTTP_11
        && head.method == Method::GET
        && once("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
        && once("sec-websocket-version") == Some("13")
        && once("sec-websocket-key").is_some_and(|key| key.len() == 24)
        && options.any(|option| option.trim().eq_ignore_ascii_case("upgrade"))
        && !head.headers.contains_key(header::TRANSFER_ENCODING)
        && !head.headers.contains_key(header::CONTENT_LENGTH)
}

fn check_all_but_upgrade(head: &Parts) -> Result<Authority, BadHead> {
    let refuse = |code, status, detail| Err(BadHead { code, status, detail });
    let (bad, not_here) = (http::StatusCode::BAD_REQUEST, http::StatusCode::NOT_IMPLEMENTED);
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return refuse("http.method", not_here, "this method is not carried");
    }
    if !has_plain_framing(head) {
        return refuse("http.framing", bad, "the body's end can be read in more than one way");
    }
    if head.uri.scheme().is_some_and(|scheme| !matches!(scheme.as_str(), "http" | "https")) {
        return refuse("http.target", bad, "the target has an unknown scheme");
    }
    Authority::of(&head.uri, &head.headers).or_else(|_| refuse("http.host", bad, "the request must name one host"))
}

/// RFC 9112 §6.1: chunked at most once, and nothing else is undone here. (The library refuses other codings at the end,
/// HTTP/1.0 with chunked, and lengths that differ; it lets a repeated `chunked` pass.)
fn has_plain_framing(head: &Parts) -> bool {
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(_), _) if head.version >= Version::HTTP_2 => false,
        (Some(one), None) => one.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(build: http::request::Builder) -> Option<&'static str> {
        check(&build.body(()).unwrap().into_parts().0).err().map(|bad| bad.code)
    }

    #[test]
    fn g03_g05_heads_with_two_readings_end_here() {
        let get = || http::Request::get("/").header("host", "a");
        assert_eq!(code(get()), None);
        assert_eq!(code(get().header("transfer-encoding", "Chunked")), None);
        assert_eq!(
            code(get().header("transfer-encoding", "chunked").header("transfer-encoding", "chunked")),
            Some("http.framing")
        );
        assert_eq!(code(get().header("transfer-encoding", "chunked, chunked")), Some("http.framing"));
        assert_eq!(code(get().header("transfer-encoding", "gzip, chunked")), Some("http.framing"));
        assert_eq!(code(get().version(Version::HTTP_2).header("transfer-encoding", "chunked")), Some("http.framing"));
        assert_eq!(code(get().header("upgrade", "h2c")), Some("http.upgrade"));
        assert_eq!(code(http::Request::builder().method("TRACE").uri("/").header("host", "a")), Some("http.method"));
        assert_eq!(code(http::Request::get("/")), Some("http.host"));
    }
}
