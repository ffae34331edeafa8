//! The hall: everything that touches a socket, a file or the environment, and the one place where the rooms meet.
//!
//! `edge` opens sockets, `proxy` carries requests past the gates, `wiring` names all the others. The binary is a thin
//! `main` over this library, so that tests and the quickstart start the same server.

pub mod admin_api;
pub mod cli;
pub mod config;
pub mod edge;
pub mod gate_api;
pub mod leaks;
mod logging;
pub mod metrics;
pub mod operator;
pub mod proxy;
pub mod quickstart;
mod signals;
pub use trigate_gates::system;
pub mod tasks;
pub mod wire;
pub mod wiring;
