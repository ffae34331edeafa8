//! Which ports? Five in a row from a base, or whatever the system has free.

use crate::cli::Failure;
use std::net::{Ipv4Addr, TcpListener};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    pub gate: u16,
    pub issuer: u16,
    pub desk: u16,
    pub mtls: u16,
    pub sample: u16,
}

impl Ports {
    pub fn from_base(base: u16) -> Result<Self, Failure> {
        let port = |offset| {
            base.checked_add(offset).ok_or_else(|| {
                Failure::usage(format!("--port-base {base} leaves no room for five ports"), "choose one below 65532")
            })
        };
        Ok(Self { gate: port(0)?, issuer: port(1)?, desk: port(2)?, mtls: port(3)?, sample: port(4)? })
    }

    /// Asks the system for five. Another program could take one before we listen; then the start says so.
    pub fn free() -> Result<Self, Failure> {
        let held: Vec<TcpListener> =
            (0..5).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
        let ports: Vec<u16> = held
            .iter()
            .map(|listener| listener.local_addr().map(|address| address.port()))
            .collect::<Result<_, _>>()?;
        match ports.as_slice() {
            [gate, issuer, desk, mtls, sample] => {
                Ok(Self { gate: *gate, issuer: *issuer, desk: *desk, mtls: *mtls, sample: *sample })
            }
            _ => Err(Failure::plain("the system gives no five ports")),
        }
    }

    const fn all(self) -> [u16; 5] {
        [self.gate, self.issuer, self.desk, self.mtls, self.sample]
    }

    /// Says which port is taken, before anything is half started.
    pub fn check_free(self) -> Result<(), Failure> {
        for port in self.all() {
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
                return Err(Failure::new(
                    format!("port {port} is taken by another program"),
                    format!(
                        "choose others: trigate quickstart --port-base {}, or 0 to let the system pick",
                        if port < 20_000 { 28_080 } else { 8_080 }
                    ),
                ));
            }
        }
        Ok(())
    }
}
