//! Where does a URL lead, and may we go there?

use crate::address;
use ipnet::IpNet;
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use trigate_core::port::FetchError;
use url::{Host, Url};

const MAX_URL_BYTES: usize = 2048;

/// A URL that could be called, if its addresses may.
pub struct Target {
    url: Url,
    host: Host<String>,
    port: u16,
}

impl Target {
    pub fn parse(text: &str) -> Result<Self, FetchError> {
        let forbidden = |why: &str| FetchError::Forbidden(shown(text), why.to_owned());
        if text.len() > MAX_URL_BYTES {
            return Err(forbidden("the URL is too long"));
        }
        // URL parsers mend these, each in its own way: one reads another host than the next.
        if text.bytes().any(|byte| byte <= b' ' || byte == b'\\' || byte == 0x7f) {
            return Err(forbidden("the URL has blanks, control characters or backslashes"));
        }
        let url = Url::parse(text).map_err(|error| forbidden(&error.to_string()))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(forbidden("only https is fetched"));
        }
        // RFC 9110 §4.2.4: also an empty one, which a parser drops.
        let authority = text.split_once("//").map_or("", |(_, rest)| rest).split(['/', '?', '#']).next();
        if authority.is_none_or(|authority| authority.contains('@')) || !url.username().is_empty() {
            return Err(forbidden("the URL has a user or password"));
        }
        let host = url.host().ok_or_else(|| forbidden("the URL has no host"))?.to_owned();
        let port = url.port_or_known_default().filter(|port| *port > 0).ok_or_else(|| forbidden("port 0"))?;
        Ok(Self { url, host, port })
    }

    pub fn is_plain(&self) -> bool {
        self.url.scheme() == "http"
    }

    pub const fn host(&self) -> &Host<String> {
        &self.host
    }

    /// `Host` header: the port only when it is not the scheme's.
    pub fn authority(&self) -> String {
        match self.url.port() {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.to_string(),
        }
    }

    /// Origin form.
    pub fn path_and_query(&self) -> String {
        match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        }
    }

    /// The addresses of the host, all of them fit to be called. Asked once: what is connected to is what was judged.
    pub async fn resolve(&self, allowed: &[IpNet]) -> Result<Vec<SocketAddr>, FetchError> {
        let found = match &self.host {
            Host::Ipv4(address) => vec![SocketAddr::new((*address).into(), self.port)],
            Host::Ipv6(address) => vec![SocketAddr::new((*address).into(), self.port)],
            Host::Domain(name) => {
                let failed = |error| self.failed(format!("the name was not resolved: {error}"));
                lookup_host((name.as_str(), self.port)).await.map_err(failed)?.collect()
            }
        };
        let addresses: Vec<IpAddr> = found.iter().map(SocketAddr::ip).collect();
        self.judge(&addresses, allowed)?;
        Ok(found)
    }

    /// One bad address spoils the name: who mixes good and bad ones hopes that we try them in turn.
    fn judge(&self, addresses: &[IpAddr], allowed: &[IpNet]) -> Result<(), FetchError> {
        if addresses.is_empty() {
            return Err(self.failed("the name has no address".to_owned()));
        }
        for found in addresses {
            address::check(*found, allowed).map_err(|kind| {
                self.forbidden(format!("it leads to {found}: {kind}; allow the network if it is meant"))
            })?;
            if self.is_plain() && !found.to_canonical().is_loopback() {
                return Err(self.forbidden("http is for loopback only: use https".to_owned()));
            }
        }
        Ok(())
    }

    /// The first address that answers. All but the last get half of the time at most.
    pub async fn connect(&self, addresses: &[SocketAddr], total: Duration) -> Result<TcpStream, FetchError> {
        let mut last = "it has no address".to_owned();
        for (number, found) in addresses.iter().enumerate() {
            let patience = if number + 1 < addresses.len() { total / 2 } else { total };
            match timeout(patience, TcpStream::connect(found)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = format!("no connection: {error}"),
                Err(_) => last = "no connection in time".to_owned(),
            }
        }
        Err(self.failed(last))
    }

    pub fn failed(&self, why: String) -> FetchError {
        FetchError::Failed(shown(self.url.as_str()), why)
    }

    fn forbidden(&self, why: String) -> FetchError {
        FetchError::Forbidden(shown(self.url.as_str()), why)
    }
}

/// For messages: no query, no user or password, nothing that breaks a line.
fn shown(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    let plain: String = plain.chars().take(200).collect();
    match plain.rsplit_once('@') {
        Some((_, rest)) => format!("…@{}", rest.escape_debug()),
        None => plain.escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a12_one_inward_address_spoils_the_name() {
        let target = Target::parse("https://keys.example/jwks").unwrap();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(target.judge(&[address("1.1.1.1"), address("2606:4700::1")], &[]).is_ok());
        assert!(target.judge(&[address("1.1.1.1"), address("127.0.0.1")], &[]).is_err());
        assert!(target.judge(&[address("1.1.1.1"), address("::ffff:10.0.0.1")], &[]).is_err());
        assert!(target.judge(&[], &[]).is_err());
    }

    #[test]
    fn plain_http_is_for_loopback_that_is_allowed() {
        let target = Target::parse("http://keys.example/jwks").unwrap();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let all = ["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
        assert!(target.judge(&[address("127.0.0.1")], &all).is_ok());
        assert!(target.judge(&[address("127.0.0.1")], &[]).is_err());
        assert!(target.judge(&[address("10.0.0.1")], &all).is_err());
        assert!(target.judge(&[address("1.1.1.1")], &[]).is_err());
    }

    #[test]
    fn messages_show_no_secret() {
        for url in ["https://user:hunter2@h.example/p", "https://h.example/p?token=hunter2", "ftp://a:hunter2@h\n"] {
            let message = match Target::parse(url) {
                Ok(target) => target.failed(String::new()).to_string(),
                Err(error) => error.to_string(),
            };
            assert!(!message.contains("hunter2") && !message.contains('\n'), "{message}");
        }
    }
}
