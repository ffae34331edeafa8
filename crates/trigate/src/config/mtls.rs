//! Which client certificates are trusted, at which host, and by which revocation lists? The words of `[mtls]`, and what
//! is wrong with them.

use super::file::{File, Words};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mtls {
    /// PEM file of the authorities whose client certificates are accepted. Read again when it changes.
    pub ca: String,
    /// PEM file of this server's certificate chain.
    pub certificate: String,
    /// PEM file of this server's private key.
    pub key: String,
    /// Revocation lists of those authorities: files and URLs.
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub crl: Words,
    /// `required` (default where `crl` is set): a certificate without a good list of its authority is refused.
    /// `if_present`: a list that is there counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl_use: Option<CrlUse>,
    /// Seconds that a list counts past its own next update.
    #[serde(skip_serializing_if = "is_zero")]
    pub crl_grace_s: u32,
    /// What a certificate must say of its use: `client` (default), `client_or_any`, or `not_denied`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// SPIFFE ids must be of this trust domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_domain: Option<String>,
    /// Seconds between looks at the lists that are named by URL. Default: 60.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_s: Option<u32>,
    /// Networks whose `Client-Cert` (RFC 9440) is believed. Empty: nobody's.
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub proxies: Words,
    /// Proxies that prove themselves by a certificate: its SAN URI or DNS name, exact. Their `Client-Cert` is believed.
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub proxy_names: Words,
    /// PEM file of intermediate authorities that clients and proxies leave out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intermediates: Option<String>,
    /// Hosts with authorities of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host: Vec<MtlsHost>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MtlsHost {
    /// Exact host names.
    pub name: Words,
    /// PEM file of the authorities that count at these hosts, and no others.
    pub ca: String,
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub crl: Words,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl_use: Option<CrlUse>,
    #[serde(skip_serializing_if = "is_zero")]
    pub crl_grace_s: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_domain: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CrlUse {
    Required,
    IfPresent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Usage {
    Client,
    ClientOrAny,
    NotDenied,
}

/// Whose certificates count, and by which rules: of all hosts, or of some.
#[derive(Clone, Copy)]
pub struct Authorities<'a> {
    pub ca: &'a str,
    pub crl: &'a Words,
    pub crl_use: Option<CrlUse>,
    pub crl_grace_s: u32,
    pub usage: Option<Usage>,
    pub trust_domain: Option<&'a str>,
}

/// A list that counts for longer is no list.
const MAX_GRACE_S: u32 = 30 * 86_400;

impl Mtls {
    pub fn authorities(&self) -> Authorities<'_> {
        Authorities {
            ca: &self.ca,
            crl: &self.crl,
            crl_use: self.crl_use,
            crl_grace_s: self.crl_grace_s,
            usage: self.usage,
            trust_domain: self.trust_domain.as_deref(),
        }
    }

    /// What is wrong, with the field that it is about.
    ///
    /// `shakes_hands`: at a listener of ours; behind proxies alone it needs no certificate of its own.
    pub fn faults(&self, shakes_hands: bool) -> Vec<(&'static str, String)> {
        let mut faults = self.authorities().faults();
        let missing = self.ca.is_empty() || (shakes_hands && (self.certificate.is_empty() || self.key.is_empty()));
        if missing {
            faults.push(("", "`[mtls]` needs `ca`, `certificate` and `key`".to_owned()));
        }
        for network in self.proxies.iter() {
            if network.parse::<ipnet::IpNet>().is_err() && network.parse::<std::net::IpAddr>().is_err() {
                faults.push(("proxies", format!("`{network}` is no network: write `10.0.0.0/8`")));
            }
        }
        if self.refresh_s == Some(0) {
            faults.push(("refresh_s", "`refresh_s` of 0 would never rest: write 60".to_owned()));
        }
        let mut seen = std::collections::HashSet::new();
        for host in &self.host {
            if host.name.is_empty() || host.ca.is_empty() {
                faults.push(("host", "`[[mtls.host]]` needs `name` and `ca`".to_owned()));
            }
            for name in host.name.iter() {
                let plain = trigate_gates::authority::Authority::parse(name);
                if !plain.is_ok_and(|authority| authority.port.is_none() && authority.host == name.to_ascii_lowercase())
                {
                    faults.push(("host", format!("`{name}` is no exact host name")));
                } else if !seen.insert(name.to_ascii_lowercase()) {
                    faults.push(("host", format!("host `{name}` stands in two `[[mtls.host]]`")));
                }
            }
            faults.extend(host.authorities().faults().into_iter().map(|(_, why)| ("host", why)));
        }
        faults
    }
}

impl MtlsHost {
    pub fn authorities(&self) -> Authorities<'_> {
        Authorities {
            ca: &self.ca,
            crl: &self.crl,
            crl_use: self.crl_use,
            crl_grace_s: self.crl_grace_s,
            usage: self.usage,
            trust_domain: self.trust_domain.as_deref(),
        }
    }
}

impl Authorities<'_> {
    /// Fail closed where lists are named, unless the file says otherwise.
    pub fn crl_required(&self) -> bool {
        self.crl_use.map_or(!self.crl.is_empty(), |usage| usage == CrlUse::Required)
    }

    fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if self.crl.is_empty() && self.crl_use == Some(CrlUse::Required) {
            faults.push(("crl_use", "revocation lists are required, and `crl` names none".to_owned()));
        }
        if self.crl_grace_s > MAX_GRACE_S {
            faults.push((
                "crl_grace_s",
                format!("`crl_grace_s` is over {MAX_GRACE_S} s: an old list would pass for a new one"),
            ));
        }
        for url in self.crl.iter().filter(|text| is_url(text)) {
            if url::Url::parse(url).is_err() {
                faults.push(("crl", format!("`{url}` is no URL")));
            }
        }
        let domain = |domain: &str| trigate_x509::spiffe_domain(&format!("spiffe://{domain}/x")) == Some(domain);
        if let Some(name) = self.trust_domain.filter(|name| !domain(name)) {
            faults.push(("trust_domain", format!("`{name}` is no trust domain: write `acme.example`")));
        }
        faults
    }
}

/// Do proxies tell of certificates?
pub fn are_told(file: &File) -> bool {
    let to_us = file.mtls.as_ref().is_some_and(|mtls| !mtls.proxies.is_empty());
    to_us || file.forward_auth.as_ref().is_some_and(|asked| !asked.client_certificates.is_empty())
}

/// Is there a way by which a client's certificate comes before the gates?
pub fn reach_the_gate(file: &File) -> bool {
    file.mtls.is_some() && (file.server.mtls.is_some() || are_told(file))
}

/// What is wrong with client certificates at the issuer, with the place in the file.
pub fn issuer_faults(file: &File) -> Vec<([&'static str; 3], String)> {
    let (issuer, listens) = (&file.issuer, file.server.issuer_mtls.is_some());
    let mut faults = Vec::new();
    match &issuer.mtls {
        None if listens || issuer.mtls_url.is_some() => {
            let why = "client certificates at the issuer need `[issuer.mtls]` with `ca`, `certificate` and `key`";
            faults.push((["server", "issuer_mtls", ""], why.to_owned()));
        }
        None => {}
        Some(mtls) => {
            let own = mtls.faults(listens || mtls.proxies.is_empty()).into_iter();
            faults.extend(own.map(|(field, why)| (["issuer", "mtls", field], why.replace("[mtls]", "[issuer.mtls]"))));
            if !mtls.host.is_empty() {
                let why = "the issuer is one host: `[[issuer.mtls.host]]` has no meaning";
                faults.push((["issuer", "mtls", "host"], why.to_owned()));
            }
            if !listens && mtls.proxies.is_empty() {
                let why = "no client certificate reaches the issuer: set `server.issuer_mtls`, or `proxies` in `[issuer.mtls]`";
                faults.push((["issuer", "mtls", ""], why.to_owned()));
            }
        }
    }
    let is_origin = |url: &&String| {
        url::Url::parse(url)
            .is_ok_and(|parsed| parsed.scheme() == "https" && parsed.origin().ascii_serialization() == **url)
    };
    if let Some(url) = issuer.mtls_url.as_ref().filter(|url| !is_origin(url)) {
        let why = format!("`{url}` is no place for client certificates: write `https://mtls.id.example`, without path");
        faults.push((["issuer", "mtls_url", ""], why));
    }
    faults
}

/// A list by URL is signed: plain HTTP is how authorities publish them.
pub fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}
