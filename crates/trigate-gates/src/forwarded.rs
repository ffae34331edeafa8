//! What goes upstream? Hop-by-hop headers, credentials and whatever pretends to come from a gate are stripped; proven
//! identity is attached by the permit afterwards.
//!
//! Trusts nothing that the client wrote under a name that servers take for ours, in any spelling (G01, G02, G10, M10).

use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::borrow::Cow;
use trigate_core::plain::is_printable;

/// Where the lines of a head go: a map, or the bytes of a message.
pub trait Lines {
    /// A line as the client sent it.
    fn pass(&mut self, name: &HeaderName, value: &HeaderValue);
    /// A line of ours. `value` holds visible ASCII and blanks alone.
    fn say(&mut self, name: &'static str, value: &str);
}

impl Lines for HeaderMap {
    fn pass(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.append(name.clone(), value.clone());
    }

    fn say(&mut self, name: &'static str, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.insert(HeaderName::from_static(name), value);
        }
    }
}

/// What to strip for one request.
pub(crate) struct Strip<'a> {
    pub own_headers: &'a [HeaderName],
    pub from_trusted_proxy: bool,
    pub pass_credentials: bool,
}

impl Strip<'_> {
    /// Hands on what may go on.
    pub fn apply(&self, headers: &HeaderMap, kept: &mut impl Lines) {
        let connection = connection_options(headers);
        for (name, value) in headers {
            if *name != header::COOKIE && !connection.contains(name) && self.passes(name) {
                kept.pass(name, value);
            }
        }
        if headers.contains_key(header::COOKIE) && !connection.contains(&header::COOKIE) {
            keep_foreign_cookies(headers, kept);
        }
    }

    fn passes(&self, name: &HeaderName) -> bool {
        (is_everyday(name) && !self.own_headers.contains(name)) || (!is_hop_by_hop(name) && !self.strips(name))
    }

    fn strips(&self, name: &HeaderName) -> bool {
        let folded = fold(name.as_str());
        let folded = folded.as_ref();
        pretends(folded) || self.is_credential(folded) || (!self.from_trusted_proxy && is_forwarding(folded))
    }

    fn is_credential(&self, folded: &str) -> bool {
        let usual = ["authorization", "proxy-authorization", "dpop", "x-api-key"];
        let own = || self.own_headers.iter().any(|own| fold(own.as_str()) == folded);
        !self.pass_credentials && (usual.contains(&folded) || own())
    }
}

/// Names that are on none of the lists below, and in most requests.
fn is_everyday(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::ACCEPT
            | header::ACCEPT_ENCODING
            | header::ACCEPT_LANGUAGE
            | header::CONTENT_LENGTH
            | header::CONTENT_TYPE
            | header::HOST
            | header::USER_AGENT
    )
}

/// Some servers read `_` and other marks as `-`: all spellings of a name are one (CVE-2026-30851).
fn fold(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Cow::Borrowed(name);
    }
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// Names by which a client could speak as the gate, turn the method, or choose another path behind our back.
fn pretends(folded: &str) -> bool {
    const NAMES: [&str; 17] = [
        "x-original-url",
        "x-original-uri",
        "x-original-method",
        "x-rewrite-url",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        // RFC 9440 §4, and what proxies wrote before it.
        "client-cert",
        "client-cert-chain",
        "x-ssl-client-cert",
        "x-forwarded-client-cert",
        "x-client-cert",
        "x-arr-clientcert",
        "x-original-host",
        "x-http-host-override",
        "remote-user",
        "x-remote-user",
    ];
    folded.starts_with("x-trigate-")
        || folded.starts_with("x-ssl-client-")
        || folded.starts_with("ssl-client-")
        || NAMES.contains(&folded)
}

fn is_forwarding(folded: &str) -> bool {
    const NAMES: [&str; 9] = [
        "forwarded",
        "x-forwarded",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-original-forwarded-for",
        "true-client-ip",
        "cf-connecting-ip",
        "fastly-client-ip",
    ];
    folded.starts_with("x-forwarded-") || NAMES.contains(&folded)
}

// RFC 9110 §7.6.1
fn is_hop_by_hop(name: &HeaderName) -> bool {
    const NAMES: [&str; 9] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    ];
    NAMES.contains(&name.as_str())
}

/// The headers that `Connection` names go no further, except those that say how long the body is and whom it is for:
/// a client must not cut them off (G02).
fn connection_options(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(header::CONNECTION).iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).filter_map(|name| HeaderName::try_from(name.trim()).ok());
    names.filter(|name| !matches!(*name, header::HOST | header::CONTENT_LENGTH | header::CONTENT_TYPE)).collect()
}

/// Cookies reach every port of a host: those of Trigate's own pages never reach an upstream.
fn keep_foreign_cookies(headers: &HeaderMap, kept: &mut impl Lines) {
    for line in headers.get_all(header::COOKIE) {
        let Ok(text) = line.to_str() else { continue };
        let foreign = text.split(';').map(str::trim).filter(|pair| !pair.is_empty() && !is_own_cookie(pair));
        let line = foreign.collect::<Vec<_>>().join("; ");
        if let Some(value) = HeaderValue::from_str(&line).ok().filter(|value| !value.is_empty()) {
            kept.pass(&header::COOKIE, &value);
        }
    }
}

fn is_own_cookie(pair: &str) -> bool {
    let name = pair.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
    let name = name.strip_prefix("__host-").or_else(|| name.strip_prefix("__secure-")).unwrap_or(&name);
    name.starts_with("trigate")
}

/// Lines that say who was proven.
pub(crate) struct Identity<'a, L> {
    to: &'a mut L,
    line: String,
}

impl<'a, L: Lines> Identity<'a, L> {
    pub fn new(to: &'a mut L) -> Self {
        Self { to, line: String::with_capacity(128) }
    }

    pub fn put(&mut self, name: &'static str, text: Option<&str>) {
        self.put_list(name, text);
    }

    /// SECURITY: each item is encoded by itself, so that no foreign role or e-mail can bring a blank and with it another
    /// role.
    pub fn put_list<'b>(&mut self, name: &'static str, items: impl IntoIterator<Item = &'b str>) {
        self.line.clear();
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.line.push(' ');
            }
            encode(item, &mut self.line);
        }
        if !self.line.is_empty() {
            self.to.say(name, &self.line);
        }
    }
}

/// Visible ASCII stands as it is; blanks, commas, quotes, `%`, controls and all else are percent-encoded UTF-8.
fn encode(text: &str, out: &mut String) {
    use std::fmt::Write;
    const MARKS: [u8; 6] = *b" ,;\"\\%";
    if is_printable(text.as_bytes(), MARKS) {
        out.push_str(text);
        return;
    }
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !MARKS.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRIP: Strip<'static> = Strip { own_headers: &[], from_trusted_proxy: false, pass_credentials: false };

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn kept(strip: &Strip<'_>, pairs: &[(&str, &str)]) -> HeaderMap {
        let mut kept = HeaderMap::new();
        strip.apply(&headers(pairs), &mut kept);
        kept
    }

    fn left(strip: &Strip<'_>, pairs: &[(&str, &str)]) -> Vec<String> {
        let mut names: Vec<String> = kept(strip, pairs).keys().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn g01_identity_headers_in_any_spelling_are_stripped() {
        let pairs = [
            ("X-Trigate-User", "usr_1"),
            ("x-trigate-user", "usr_2"),
            ("X_Trigate_User", "usr_3"),
            ("x-trigate_user", "u"),
            ("X-TRIGATE-ROLES", "admin"),
            ("x.trigate.user", "u"),
            ("x-trigate-", "u"),
            ("x-trigate-new", "u"),
            ("accept", "a"),
        ];
        assert_eq!(left(&STRIP, &pairs), ["accept"]);
    }

    #[test]
    fn g02_connection_strips_what_it_names_and_nothing_of_ours() {
        let pairs = [
            ("connection", "x-one, X-Trigate-User, authorization, close"),
            ("connection", "x-two, content-length"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("content-length", "5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("keep-alive", "x"),
            ("transfer-encoding", "chunked"),
            ("proxy-connection", "x"),
            ("trailer", "x"),
        ];
        assert_eq!(left(&STRIP, &pairs), ["content-length", "x-three"]);
    }

    #[test]
    fn g10_g11_m10_words_of_proxies_are_not_taken_from_clients() {
        let pairs = [
            ("x-original-url", "/"),
            ("x-rewrite-url", "/"),
            ("x-forwarded-for", "1"),
            ("x-forwarded-uri", "/"),
            ("x-forwarded-method", "GET"),
            ("x-forwarded-prefix", "/"),
            ("x-forwarded-host", "h"),
            ("x-forwarded-proto", "p"),
            ("x_forwarded_for", "1"),
            ("forwarded", "for=1"),
            ("x-real-ip", "1"),
            ("x-forwarded", "1"),
            ("cf-connecting-ip", "1"),
            ("x-original-forwarded-for", "1"),
            ("x-original-host", "h"),
            ("remote-user", "u"),
            ("ssl-client-verify", "SUCCESS"),
            ("x-http-method-override", "DELETE"),
            ("client-cert", ":x:"),
            ("x-ssl-client-cert", "x"),
            ("x-ssl-client-verify", "SUCCESS"),
            ("x-forwarded-client-cert", "x"),
        ];
        assert!(left(&STRIP, &pairs).is_empty());
        let trusted = Strip { from_trusted_proxy: true, ..STRIP };
        let kept = left(&trusted, &pairs);
        assert!(kept.contains(&"x-forwarded-for".to_owned()));
        for never in ["x-original-url", "x-http-method-override", "client-cert", "x-ssl-client-cert"] {
            assert!(!kept.contains(&never.to_owned()), "{never}");
        }
    }

    #[test]
    fn g26_credentials_are_passed_on_only_where_the_route_says_so() {
        let own = [HeaderName::from_static("x-legacy-key")];
        let pairs = [
            ("authorization", "Bearer t"),
            ("x-api-key", "k"),
            ("x_api_key", "k"),
            ("x-legacy-key", "k"),
            ("dpop", "p"),
            ("cookie", "a=1; trigate_session=2; __Host-trigate-sid=3; __host-TRIGATE=4; b=5"),
            ("accept", "a"),
        ];
        let strip = Strip { own_headers: &own, ..STRIP };
        assert_eq!(left(&strip, &pairs), ["accept", "cookie"]);
        assert_eq!(kept(&strip, &pairs).get("cookie").unwrap(), "a=1; b=5");
        let pass = Strip { own_headers: &own, pass_credentials: true, from_trusted_proxy: false };
        assert_eq!(left(&pass, &pairs).len(), 7);
        assert_eq!(kept(&pass, &pairs).get("cookie").unwrap(), "a=1; b=5");
        assert_eq!(left(&strip, &[("cookie", "trigate_session=2")]), Vec::<String>::new());
    }

    #[test]
    fn items_cannot_bring_separators() {
        let mut lines = HeaderMap::new();
        Identity::new(&mut lines).put_list("x-trigate-roles", ["a admin", "b,admin", "c\r\nx: y", "é"]);
        assert_eq!(lines.get("x-trigate-roles").unwrap(), "a%20admin b%2Cadmin c%0D%0Ax:%20y %C3%A9");
    }
}
