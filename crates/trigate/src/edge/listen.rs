//! Which sockets are ours? One listener per core on one port; a second server on the same port is refused, not shared.

use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::{SocketAddr, TcpListener},
};

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "`{name}` cannot listen on `{address}`: another program has this port\n  help: stop it, or choose another port in `[server]`"
    )]
    Taken { name: &'static str, address: SocketAddr },
    #[error("`{name}` cannot listen on `{address}`: {error}")]
    Failed { name: &'static str, address: SocketAddr, error: io::Error },
}

/// One bound port, with a socket for each thread that accepts from it.
pub struct Listening {
    pub address: SocketAddr,
    pub sockets: Vec<TcpListener>,
}

/// Binds `address` `cores` times. Port 0: the system picks one port for all.
pub fn listen(name: &'static str, address: SocketAddr, cores: usize) -> Result<Listening, ListenError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken { name, address },
        _ => ListenError::Failed { name, address, error },
    };
    // SO_REUSEPORT would let a second server take half of the requests: probe without it first.
    if address.port() != 0 {
        drop(open(address, false).map_err(failed)?);
    }
    let first = open(address, true).map_err(failed)?;
    let address = first.local_addr().map_err(failed)?;
    let mut sockets = vec![first];
    for _ in 1..cores.max(1) {
        sockets.push(open(address, true).map_err(failed)?);
    }
    Ok(Listening { address, sockets })
}

fn open(address: SocketAddr, share: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_on_one_port_is_refused() {
        let first = listen("gate", "127.0.0.1:0".parse().unwrap(), 2).unwrap();
        assert_eq!(first.sockets.len(), 2);
        assert_ne!(first.address.port(), 0);
        let second = listen("gate", first.address, 2);
        assert!(matches!(second, Err(ListenError::Taken { .. })));
    }
}
