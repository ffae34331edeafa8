//! Journeys through a whole Trigate: real sockets, a real store, a real API behind the gate.

mod gate_framing;
mod gate_http;
mod gate_keys;
mod gate_mtls;
mod server;
mod support;
mod try_mode;
