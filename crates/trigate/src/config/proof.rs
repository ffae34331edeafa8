//! What does `trigate.toml` say about proof of possession, and is it safe? Section `[dpop]`, and `bound` and `dpop_nonce` of
//! routes.

use super::file::{File, Words, is_false};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trigate_core::{
    jose::Algorithm,
    proof::{self, Target},
};
use trigate_gates::{CredentialKind, Demands, ProofRules};

/// DPoP (RFC 9449), at the gate and at the issuer.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dpop {
    /// Proofs must carry a nonce of this process, on every route that does not say otherwise: needed where several gate
    /// processes answer for one address, since each remembers used proofs by itself.
    #[serde(skip_serializing_if = "is_false")]
    pub nonce: bool,
    /// Signature algorithms of proofs. Default: `ES256`, `EdDSA`, `PS256`.
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub algorithms: Words,
    /// Further addresses under which callers reach the gate: `https://api.example.com`. `server.url` and the hosts of routes
    /// need not be here.
    #[serde(skip_serializing_if = "Words::is_empty")]
    pub origins: Words,
}

/// Where a complaint stands.
pub(super) enum Place {
    Section(&'static str),
    Route(usize, &'static str),
}

pub(super) fn complaints(file: &File) -> Vec<(Place, String)> {
    let algorithms = file.dpop.algorithms.iter().filter(|name| !name.parse().is_ok_and(proof::is_algorithm));
    let algorithms = algorithms.map(|name| {
        let why =
            format!("`{name}` is no algorithm for proofs: `ES256`, `ES384`, `EdDSA`, `PS256`, `PS384`, `PS512` are");
        (Place::Section("algorithms"), why)
    });
    let origins = file.dpop.origins.iter().filter(|origin| !is_origin(origin)).map(|origin| {
        (Place::Section("origins"), format!("`{origin}` is no origin: write `https://api.example.com`, without path"))
    });
    let routes = file.route.iter().enumerate().filter_map(|(index, route)| {
        let demands = route.demands.as_deref().unwrap_or_default().parse::<Demands>().unwrap_or_default();
        let field = if route.bound {
            "bound"
        } else if route.dpop_nonce == Some(true) {
            "dpop_nonce"
        } else {
            return None;
        };
        let why = format!("route `{}` takes no token: `{field}` would protect nothing", route.path);
        (!demands.ever(CredentialKind::Token)).then_some((Place::Route(index, field), why))
    });
    algorithms.chain(origins).chain(routes).collect()
}

fn is_origin(text: &str) -> bool {
    let root = || Some(text.split_once("://")?.1);
    root().is_some_and(|rest| !rest.contains(['/', '?', '#'])) && Target::parse(text).is_some()
}

/// How proofs are judged at a listener with these addresses of its own.
pub(super) fn rules(dpop: &Dpop, own: [Option<&String>; 2]) -> ProofRules {
    let mut origins: Vec<String> = own.into_iter().flatten().flat_map(|url| spellings(url)).collect();
    origins.extend(dpop.origins.iter().map(str::to_owned));
    ProofRules { origins, algorithms: proof_algorithms(dpop) }
}

/// At the gate and at the issuer alike.
pub fn proof_algorithms(dpop: &Dpop) -> Vec<Algorithm> {
    let named: Vec<Algorithm> = dpop.algorithms.iter().filter_map(|name| name.parse().ok()).collect();
    if named.is_empty() { proof::DEFAULT_ALGORITHMS.to_vec() } else { named }
}

/// On this machine alone, one address has three names.
fn spellings(url: &str) -> Vec<String> {
    let Ok(parsed) = url::Url::parse(url) else { return vec![] };
    let origin = parsed.origin().ascii_serialization();
    if parsed.host_str() != Some("localhost") {
        return vec![origin];
    }
    ["localhost", "127.0.0.1", "[::1]"].map(|name| origin.replacen("localhost", name, 1)).to_vec()
}

/// The address of a TLS listener on the same host as `url`.
pub fn beside(url: &str, port: u16) -> Option<String> {
    let parsed = url::Url::parse(url).ok()?;
    Some(format!("https://{}:{port}", parsed.host_str()?))
}
