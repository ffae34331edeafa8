//! Which proxies may ask for a verdict, and where? The words of `[forward_auth]` and what makes them unsafe.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};

/// A listener for proxies that carry requests themselves and ask whether one may pass: nginx `auth_request`, Caddy
/// `forward_auth`, Traefik `ForwardAuth`, Envoy `ext_authz`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardAuth {
    /// Where proxies ask. Port 0 lets the system pick.
    pub listen: SocketAddr,
    /// Addresses and networks of the proxies whose word about the original request is taken. Nobody else is answered.
    pub proxies: Vec<String>,
    /// Proxies that tell the client's certificate: `nginx`, `caddy`, `envoy`. Each must write its header anew for every
    /// request, as the examples do: what it lets through, a client could have written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub client_certificates: Vec<CertificateTeller>,
}

/// By whose rules a certificate is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificateTeller {
    Nginx,
    Caddy,
    Envoy,
}

impl Default for ForwardAuth {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8084)),
            proxies: Vec::new(),
            client_certificates: Vec::new(),
        }
    }
}

impl ForwardAuth {
    /// What is wrong with it: the field, the complaint, and a line that remedies it.
    pub fn complaints(&self) -> Vec<(&'static str, String, Option<&'static str>)> {
        const LOCAL: Option<&str> = Some("proxies = [\"127.0.0.1\"]");
        if self.proxies.is_empty() {
            return vec![("listen", "`[forward_auth]` names no `proxies`: nobody could ask".to_owned(), LOCAL)];
        }
        let bad = |text: &String| match super::rules::network(text) {
            None => Some(("proxies", format!("`{text}` is no network: write `10.0.0.0/8`"), LOCAL)),
            // SECURITY: whoever may ask may also say that a request came from anywhere.
            Some(net) if net.prefix_len() == 0 => {
                Some(("proxies", format!("`{text}` is everybody: anybody could claim any request"), LOCAL))
            }
            Some(_) => None,
        };
        self.proxies.iter().filter_map(bad).collect()
    }

    pub fn networks(&self) -> Vec<ipnet::IpNet> {
        self.proxies.iter().filter_map(|text| super::rules::network(text)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_named_and_never_everybody() {
        let with = |proxies: &[&str]| {
            let proxies = proxies.iter().map(|text| (*text).to_owned()).collect();
            ForwardAuth { proxies, ..ForwardAuth::default() }.complaints().len()
        };
        assert_eq!(with(&["127.0.0.1", "10.0.0.0/8", "::1"]), 0);
        for bad in [&[][..], &["x"], &["0.0.0.0/0"], &["::/0"]] {
            assert_eq!(with(bad), 1, "{bad:?}");
        }
    }
}
