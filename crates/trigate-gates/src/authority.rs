//! For which host is this request? One answer, or none: what routing reads must be what TLS and the upstream read.

use http::{HeaderMap, Uri, header};
use std::fmt;

/// A host name (lower case, no trailing dot) with its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    pub host: String,
    pub port: Option<u16>,
}

/// Why the request names no single host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAuthority {
    #[error("the request names no host")]
    Absent,
    #[error("`Host` came more than once")]
    Twice,
    #[error("the target names another host than `Host`")]
    Differs,
    #[error("the host has a form that servers read differently")]
    Malformed,
}

impl Authority {
    /// The host of a request head, whichever way it was said. // RFC 9112 §3.2, RFC 9113 §8.3.1
    pub fn of(uri: &Uri, headers: &HeaderMap) -> Result<Self, BadAuthority> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let header = hosts.next();
        if hosts.next().is_some() {
            return Err(BadAuthority::Twice);
        }
        let header = match header {
            Some(value) => Some(Self::parse(value.to_str().map_err(|_| BadAuthority::Malformed)?)?),
            None => None,
        };
        let target = match uri.authority() {
            Some(authority) => Some(Self::parse(authority.as_str())?),
            None => None,
        };
        match (target, header) {
            // SECURITY: one proxy routes by the target, the next by the header: they must say the same (G09).
            (Some(target), Some(header)) if target.host != header.host || !target.same_port(&header) => {
                Err(BadAuthority::Differs)
            }
            (Some(target), _) => Ok(target),
            (None, Some(header)) => Ok(header),
            (None, None) => Err(BadAuthority::Absent),
        }
    }

    pub fn parse(text: &str) -> Result<Self, BadAuthority> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']').ok_or(BadAuthority::Malformed)?;
                let address: std::net::Ipv6Addr = address.parse().map_err(|_| BadAuthority::Malformed)?;
                (format!("[{address}]"), after.strip_prefix(':').or_else(|| after.is_empty().then_some("")))
            }
            None => {
                let end = text.bytes().position(|byte| byte == b':').unwrap_or(text.len());
                let (host, port) = text.split_at_checked(end).ok_or(BadAuthority::Malformed)?;
                (host.to_ascii_lowercase(), Some(port.strip_prefix(':').unwrap_or_default()))
            }
        };
        let port = port.ok_or(BadAuthority::Malformed)?;
        let port = match port {
            "" => None,
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().map_err(|_| BadAuthority::Malformed)?)
            }
            _ => return Err(BadAuthority::Malformed),
        };
        let mut host = host;
        if host.ends_with('.') {
            host.pop();
        }
        let bracketed = host.starts_with('[');
        // SECURITY: no userinfo, no blank, no escape, no empty label: each is read differently somewhere.
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        if host.is_empty()
            || host.len() > 253
            || (!bracketed
                && (!host.bytes().all(plain) || host.starts_with('.') || host.ends_with('.') || host.contains("..")))
        {
            return Err(BadAuthority::Malformed);
        }
        Ok(Self { host, port })
    }

    fn same_port(&self, other: &Self) -> bool {
        self.port == other.port || self.port.is_none() || other.port.is_none()
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(target: &str, hosts: &[&str]) -> Result<String, BadAuthority> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().unwrap());
        }
        Authority::of(&target.parse().unwrap(), &headers).map(|a| a.to_string())
    }

    #[test]
    fn g09_one_host_or_none() {
        assert_eq!(of("/", &["API.example.:8080"]), Ok("api.example:8080".into()));
        assert_eq!(of("http://api.example/x", &["api.example"]), Ok("api.example".into()));
        assert_eq!(of("http://api.example/x", &[]), Ok("api.example".into()));
        assert_eq!(of("/", &["[::1]:80"]), Ok("[::1]:80".into()));
        assert_eq!(of("/", &[]), Err(BadAuthority::Absent));
        assert_eq!(of("/", &["a", "a"]), Err(BadAuthority::Twice));
        assert_eq!(of("http://a/x", &["b"]), Err(BadAuthority::Differs));
        assert_eq!(of("http://a:1/x", &["a:2"]), Err(BadAuthority::Differs));
        for bad in
            ["", "u@a", "u:p@a", "a b", "a:b", "a:1:2", "a..b", ".", "a/b", "a%20", "[::1", "::1", "a:99999", "ä"]
        {
            let mut headers = HeaderMap::new();
            headers.append(header::HOST, http::HeaderValue::from_bytes(bad.as_bytes()).unwrap());
            assert_eq!(Authority::of(&"/".parse().unwrap(), &headers), Err(BadAuthority::Malformed), "{bad}");
        }
    }
}
