//! Where may the browser be sent? To a registered address, compared character by character (RFC 9700 §2.1): whoever
//! normalizes first compares something else than the browser will follow (O01, O02).

use super::answer::{PageError, Stop};
use crate::web::Params;
use trigate_core::client::Client;
use url::Url;

pub(super) fn check(params: &Params, client: &Client) -> Result<String, Stop> {
    if params.is_repeated("redirect_uri") {
        return Err(Stop::Page(PageError::RedirectRepeated));
    }
    let wanted = match (params.get("redirect_uri"), client.redirect_uris.as_slice()) {
        (Some(wanted), _) => wanted,
        // RFC 6749 §3.1.2.3: may be left out where there is no choice; OpenID Connect Core §3.1.2.1 never lets it.
        (None, [only]) if !asks_openid(params) => only,
        (None, _) => return Err(Stop::Page(PageError::RedirectMissing)),
    };
    let registered = client.redirect_uris.iter().any(|registered| matches(registered, wanted));
    // What got registered past the door is still not followed: `javascript:` and its like (O04).
    if registered && check_registration(wanted).is_ok() {
        Ok(wanted.to_owned())
    } else {
        Err(Stop::Page(PageError::RedirectUnregistered))
    }
}

fn asks_openid(params: &Params) -> bool {
    params.get("scope").is_some_and(|scope| scope.split(' ').any(|scope| scope == "openid"))
}

fn matches(registered: &str, wanted: &str) -> bool {
    registered == wanted || loopback_parts(registered).is_some_and(|parts| loopback_parts(wanted) == Some(parts))
}

/// RFC 8252 §7.3: an app on the device gets its port from the system at each start. Host and path, without the port, of
/// a loopback IP address; `localhost` is a name and gets no such grace (RFC 8252 §8.3).
fn loopback_parts(uri: &str) -> Option<(&str, &str)> {
    let host = ["http://127.0.0.1", "http://[::1]"].into_iter().find(|host| uri.starts_with(host))?;
    let (host, rest) = uri.split_at_checked(host.len())?;
    let Some(after_colon) = rest.strip_prefix(':') else {
        return path_only(rest).map(|path| (host, path));
    };
    let digits = after_colon.bytes().take_while(u8::is_ascii_digit).count();
    let (port, path) = after_colon.split_at_checked(digits)?;
    let port_fits = !port.starts_with('0') && port.parse::<u16>().is_ok();
    path_only(path).filter(|_| port_fits).map(|path| (host, path))
}

/// What follows the authority must be a path or query: `http://127.0.0.1.evil.test` and `http://127.0.0.1:1@evil.test`
/// begin right and lead elsewhere.
fn path_only(rest: &str) -> Option<&str> {
    (rest.is_empty() || rest.starts_with(['/', '?'])).then_some(rest)
}

/// Why an address cannot be registered for redirects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRedirectUri {
    #[error("must be an absolute URI of visible ASCII characters, at most 2,000")]
    NotAbsolute,
    #[error("must not have a fragment")] // RFC 6749 §3.1.2
    Fragment,
    #[error("must not have user name or password")]
    Credentials,
    #[error("plain http is only for loopback: use https")]
    PlainHttp,
    #[error("the scheme must be https, http on loopback, or an app's own with a dot in it, like `com.example.app`")]
    // RFC 8252 §7.1
    Scheme,
}

/// May this address stand in a client's registration? // RFC 6749 §3.1.2, RFC 8252 §7, OAuth 2.1 §2.3
///
/// # Errors
/// What is wrong with it.
pub fn check_registration(uri: &str) -> Result<(), BadRedirectUri> {
    let visible = uri.len() <= 2000 && uri.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let url = Url::parse(uri).ok().filter(|_| visible).ok_or(BadRedirectUri::NotAbsolute)?;
    if uri.contains('#') {
        return Err(BadRedirectUri::Fragment);
    }
    if !url.username().is_empty() || url.password().is_some() || authority(uri).contains('@') {
        return Err(BadRedirectUri::Credentials);
    }
    match url.scheme() {
        "https" | "http" if !names_its_host(uri, &url) => Err(BadRedirectUri::NotAbsolute),
        "https" => Ok(()),
        "http" if matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) => Ok(()),
        "http" => Err(BadRedirectUri::PlainHttp),
        own if own.contains('.') => Ok(()),
        _ => Err(BadRedirectUri::Scheme),
    }
}

/// `https:app.test` is read as an absolute address here and as a relative one by a browser on our own pages (L17); a host
/// with `;` or `*` in it would speak in our content security policy.
fn names_its_host(uri: &str, url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let plain = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'[' | b']' | b':'));
    plain && !host.is_empty() && !authority(uri).is_empty()
}

fn authority(uri: &str) -> &str {
    let after = uri.split_once("://").map_or("", |(_, rest)| rest);
    after.split(['/', '?', '#']).next().unwrap_or_default()
}

/// The source expression by which a content security policy lets a form's redirect through.
pub(crate) fn policy_source(redirect_uri: &str) -> Option<String> {
    let url = Url::parse(redirect_uri).ok()?;
    match (url.scheme(), url.host()?) {
        // A policy's grammar has no IPv6 hosts (CSP §2.3.1).
        ("http" | "https", url::Host::Ipv6(_)) => Some(format!("{}:", url.scheme())),
        ("http" | "https", _) => Some(url.origin().ascii_serialization()),
        (own, _) => Some(format!("{own}:")),
    }
}

/// Where the browser goes afterwards, in a person's words.
pub(crate) fn place(redirect_uri: &str) -> String {
    let Ok(url) = Url::parse(redirect_uri) else { return redirect_uri.to_owned() };
    match (url.scheme(), url.host_str()) {
        (_, Some("localhost" | "127.0.0.1" | "[::1]")) => "an app on this device".to_owned(),
        ("http" | "https", Some(host)) => host.to_owned(),
        (own, _) => format!("the app {own} on this device"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8252_7_3_only_the_port_of_a_loopback_address_may_vary() {
        assert!(matches("http://127.0.0.1/cb", "http://127.0.0.1:5123/cb"));
        assert!(matches("http://127.0.0.1:1/cb", "http://127.0.0.1:5123/cb"));
        assert!(matches("http://[::1]/cb", "http://[::1]:5123/cb"));
        for wanted in [
            "http://127.0.0.1:5123/cb/x",
            "http://127.0.0.1:5123/cb?x=1",
            "http://127.0.0.1:05123/cb",
            "http://127.0.0.1:99999/cb",
            "http://127.0.0.1:/cb",
            "http://127.0.0.1:80@evil.test/cb",
            "http://127.0.0.1.evil.test/cb",
            "http://127.0.0.2:1/cb",
            "https://127.0.0.1:1/cb",
            "http://localhost:1/cb",
            "http://[::1]:1/cb",
            "HTTP://127.0.0.1:1/cb",
            "http://127.0.0.1:1/CB",
        ] {
            assert!(!matches("http://127.0.0.1/cb", wanted), "{wanted}");
        }
        assert!(!matches("http://localhost:1/cb", "http://localhost:2/cb"));
    }

    #[test]
    fn o04_addresses_that_lead_elsewhere_cannot_be_registered() {
        for good in ["https://app.test/cb?x=1", "http://localhost:1/cb", "http://127.0.0.1/cb", "com.example.app:/cb"] {
            assert_eq!(check_registration(good), Ok(()), "{good}");
        }
        for bad in [
            "https://app.test/cb#f",
            "https://app.test/cb#",
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "data:text/html,x",
            "http://app.test/cb",
            "https://user@app.test/",
            "https://@app.test/",
            "/cb",
            "https://app.test\\@evil.test/",
            "https://app.test/\r\nx",
            "vbscript:x",
            "file:///etc/passwd",
            "https:evil.test",
            "https:/evil.test",
            "https:///evil.test",
            "https://",
            "https://app.test;sandbox/cb",
            "https://*/cb",
            "https://app.test,x/cb",
        ] {
            assert!(check_registration(bad).is_err(), "{bad}");
        }
    }
}
