//! Journeys through a whole Trigate: real sockets, a real store, a real API behind the gate.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "tests: a failure is a panic with its place"
)]

mod any_issuer;
mod catalogue;
mod command_line;
mod crash;
mod fixture;
mod foreign;
mod forms;
mod forms_certificates;
mod forms_dpop;
mod forms_heads;
mod forms_issuers;
mod forms_keys;
mod forms_revocation;
mod forms_tokens;
mod forward_auth;
mod gate_crowds;
mod gate_framing;
mod gate_http;
mod gate_http2;
mod gate_keys;
mod gate_mtls;
mod issuer_mtls;
mod leaks;
mod mtls_proxies;
mod mtls_trust;
mod policy;
mod postgres;
mod proxy_crosstalk;
mod proxy_streams;
mod proxy_tls;
mod proxy_upstreams;
mod quotas;
mod remote;
mod revocation;
mod revocation_gates;
mod secrets;
mod server;
mod signals;
mod support;
mod tamper;
mod told_certificates;
mod tour;
mod try_mode;
