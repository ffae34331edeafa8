//! What may be said about an API behind the gate? One address, or a table with several and how they are called.

use super::file::{Words, is_false};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An API behind the gate: `"http://127.0.0.1:3000"`, or a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(with = "OneOrTable")]
pub struct Upstream(pub Table);

/// How `Upstream` is written.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "only its shape is used, for the JSON Schema")]
enum OneOrTable {
    Address(String),
    Table(Box<Table>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Table {
    /// `http://`, `https://` or `h2c://` (HTTP/2 without TLS). Several: the one with the fewest requests is taken.
    pub addresses: Words,
    /// HTTP/2 to `https` addresses, agreed upon in the handshake (ALPN).
    #[serde(skip_serializing_if = "is_false")]
    pub http2: bool,
    /// HTTP/2: requests at once on the one connection of a core to an address; more are answered 503.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams: Option<usize>,
    /// Seconds to open a connection. Default: `limits.connect_s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_s: Option<u64>,
    /// Seconds until the response's head. Default: `limits.response_s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_s: Option<u64>,
    /// Seconds that a response's body or a WebSocket may be silent. Default: `limits.idle_s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_s: Option<u64>,
    /// Ask each address whether it is well. Without it, only failures of requests count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// When an address that fails is left out, where there are others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eject: Option<Eject>,
    /// PEM file of the authorities that may sign the API's certificate. Default: those of the operating system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// PEM file of the certificate that is shown to the API (mutual TLS); needs `key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// PEM file of that certificate's private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The name that the API's certificate must carry. Default: the host of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// Asked with GET; an answer of 200 to 399 is well.
    pub path: String,
    pub interval_s: u64,
    pub timeout_s: u64,
    /// Good answers in a row that bring an address back.
    pub healthy: u32,
    /// Bad ones in a row that take it out.
    pub unhealthy: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self { path: String::new(), interval_s: 5, timeout_s: 2, healthy: 2, unhealthy: 3 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Eject {
    /// Failures in a row: no connection, no answer in time, a broken connection.
    pub failures: u32,
    /// Seconds that the address is left out.
    pub for_s: u64,
}

impl Default for Eject {
    fn default() -> Self {
        Self { failures: 5, for_s: 10 }
    }
}

impl Upstream {
    pub fn at(address: &str) -> Self {
        Self(Table { addresses: Words(vec![address.to_owned()]), ..Table::default() })
    }

    pub fn speaks_http2(&self) -> bool {
        self.0.http2 || self.0.addresses.iter().any(|address| address.starts_with("h2c:"))
    }

    /// What is wrong with it, and in which field.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let table = &self.0;
        if table.addresses.is_empty() {
            return Err(("addresses", "it names no address: `addresses = [\"http://127.0.0.1:3000\"]`".into()));
        }
        if table.addresses.0.len() > 64 {
            return Err(("addresses", "more than 64 addresses".into()));
        }
        for address in table.addresses.iter() {
            let url = crate::proxy::UpstreamUrl::parse(address)
                .map_err(|why| ("addresses", format!("`{address}`: {why}")))?;
            if table.needs_tls() && !url.tls {
                let why = "`http2`, `ca`, `certificate`, `key` and `server_name` are for `https` addresses";
                return Err(("addresses", format!("`{address}` is not https: {why} (HTTP/2 without TLS: `h2c://`)")));
            }
        }
        if table.certificate.is_some() != table.key.is_some() {
            return Err(("certificate", "`certificate` and `key` go together".into()));
        }
        if let Some(health) = &table.health {
            let path = trigate_gates::NormalPath::parse(&health.path).is_ok_and(|path| path.as_str() == health.path);
            if !path {
                return Err(("health", format!("`{}` is no path: write `path = \"/healthz\"`", health.path)));
            }
            if [health.interval_s, health.timeout_s].contains(&0) || [health.healthy, health.unhealthy].contains(&0) {
                return Err(("health", "its times and counts are at least 1".into()));
            }
        }
        if table.eject.as_ref().is_some_and(|eject| eject.failures == 0) {
            return Err(("eject", "`failures` is at least 1".into()));
        }
        Ok(())
    }
}

impl Table {
    fn needs_tls(&self) -> bool {
        self.http2
            || self.ca.is_some()
            || self.certificate.is_some()
            || self.key.is_some()
            || self.server_name.is_some()
    }
}

impl<'de> Deserialize<'de> for Upstream {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Upstream;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an address or a table with `addresses`")
            }
            fn visit_str<E: serde::de::Error>(self, address: &str) -> Result<Upstream, E> {
                Ok(Upstream::at(address))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Upstream, A::Error> {
                Table::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Upstream)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
