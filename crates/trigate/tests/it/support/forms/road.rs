//! Requests over a socket: to a proxy's own listener, or as a proxy asks. One connection for what is usual; a caller from
//! another address, or with a certificate, opens one of its own.

use super::super::{
    http::{Reply, Wire, parse},
    upstream::{Seen, Upstream},
};
use super::{Ask, LOCAL, Shown};
use crate::mtls_trust::shake_hands;
use std::net::{IpAddr, SocketAddr};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// One connection, opened again when the server has closed it.
pub struct Session {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Session {
    pub fn to(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    pub async fn send(&mut self, method: &str, target: &str, host: &str, headers: &[(String, String)]) -> Reply {
        let (request, bodiless) = (head(method, target, host, headers), method == "HEAD");
        let kept = match self.stream.take() {
            Some(mut stream) => exchange(&mut stream, &request, bodiless).await.map(|reply| (reply, stream)),
            None => None,
        };
        let (reply, stream) = match kept {
            Some(answered) => answered,
            None => {
                let mut stream = TcpStream::connect(self.address).await.unwrap();
                (exchange(&mut stream, &request, bodiless).await.expect("no answer"), stream)
            }
        };
        if reply.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        reply
    }
}

impl Session {
    /// Of a head that is larger than is read: the answer, if there is one before the connection ends.
    pub async fn send_or_closed(
        &self,
        method: &str,
        target: &str,
        host: &str,
        headers: &[(String, String)],
    ) -> Option<Reply> {
        let request = head(method, target, host, headers);
        // The answer may come while the rest is still being sent, and a reset may overtake it.
        Wire(self.address).raw(&request).await.into_iter().next()
    }
}

/// A gate that carries requests itself, with the API behind it.
pub struct Road {
    session: Session,
    /// Its listener for client certificates.
    tls: SocketAddr,
    api: Upstream,
}

impl Road {
    pub fn to(plain: SocketAddr, tls: SocketAddr, api: Upstream) -> Self {
        Self { session: Session::to(plain), tls, api }
    }

    /// The answer, and what the API saw of it.
    pub async fn send(&mut self, ask: &Ask) -> (Reply, Option<Seen>) {
        self.api.forget();
        let reply = match &ask.certificate {
            Some(shown) => self.send_with(ask, shown).await,
            None if ask.peer == LOCAL => self.session.send(&ask.method, &ask.target, &ask.host, &ask.headers).await,
            None => {
                let request = head(&ask.method, &ask.target, &ask.host, &ask.headers);
                let mut stream = connect_from(ask.peer, self.session.address).await;
                exchange(&mut stream, &request, ask.method == "HEAD").await.expect("no answer")
            }
        };
        let mut seen = self.api.seen();
        assert!(seen.len() <= 1, "one request came in, and {} went on", seen.len());
        assert!(seen.is_empty() || reply.status == 200, "refused with {}, and the API saw it", reply.status);
        (reply, seen.pop())
    }

    pub async fn send_or_closed(&self, ask: &Ask) -> Option<Reply> {
        self.api.forget();
        let reply = self.session.send_or_closed(&ask.method, &ask.target, &ask.host, &ask.headers).await;
        assert!(self.api.seen().is_empty());
        reply
    }

    async fn send_with(&self, ask: &Ask, shown: &Shown) -> Reply {
        let stream = connect_from(ask.peer, self.tls).await;
        let mut stream = shake_hands(stream, Some((&shown.whole(), &shown.key)), "localhost", None).await.unwrap();
        let request = head(&ask.method, &ask.target, &ask.host, &ask.headers);
        exchange(&mut stream, &request, ask.method == "HEAD").await.expect("no answer")
    }

    /// Does a caller with this certificate get as far as a request? `None`: its connection ended before any answer.
    pub async fn shake_hands(&self, shown: &Shown, host: &str) -> Option<u16> {
        let stream = TcpStream::connect(self.tls).await.unwrap();
        let mut stream = shake_hands(stream, Some((&shown.whole(), &shown.key)), "localhost", None).await?;
        stream.write_all(&head("GET", "/api/machines", host, &[])).await.ok()?;
        let mut read = [0; 12];
        stream.read_exact(&mut read).await.ok()?;
        std::str::from_utf8(&read[9..]).ok()?.parse().ok()
    }
}

/// A connection of somebody at this address; all of `127.0.0.0/8` are this machine's.
async fn connect_from(peer: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((peer, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

fn head(method: &str, target: &str, host: &str, headers: &[(String, String)]) -> Vec<u8> {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if !matches!(method, "GET" | "HEAD" | "OPTIONS" | "DELETE") {
        request.push_str("Content-Length: 0\r\n");
    }
    request.push_str("\r\n");
    request.into_bytes()
}

/// `None` where the connection had ended before the request came.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &[u8], bodiless: bool) -> Option<Reply> {
    stream.write_all(request).await.ok()?;
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") {
            let mut reply = parse(&read[..end + 4]).remove(0);
            let length = reply.header("content-length").map_or(0, |n| n.parse::<usize>().unwrap());
            let length = if bodiless { 0 } else { length };
            if read.len() >= end + 4 + length {
                reply.body = read[end + 4..end + 4 + length].to_vec();
                return Some(reply);
            }
        }
        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            assert!(read.is_empty(), "closed after {:?}", String::from_utf8_lossy(&read));
            return None;
        }
    }
}
