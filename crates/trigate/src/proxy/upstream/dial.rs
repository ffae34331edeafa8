//! How is a connection to an API opened? TCP, then TLS where its address says so.

use super::{TlsClient, UpstreamUrl};
use rustls::pki_types::ServerName;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A connection to an API.
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// `default`: for `https` addresses without settings of their own.
pub async fn dial(upstream: &UpstreamUrl, default: &Arc<rustls::ClientConfig>) -> Result<Stream, String> {
    let host = upstream.host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, upstream.port)).await.map_err(|error| error.to_string())?;
    let _ = stream.set_nodelay(true);
    if !upstream.tls {
        return Ok(Stream::Plain(stream));
    }
    let client = upstream.client.as_deref();
    let name = match client.and_then(|client| client.server_name.clone()) {
        Some(name) => name,
        None => ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?,
    };
    let config = client.map_or(default, |client: &TlsClient| &client.config);
    let stream =
        TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(|error| error.to_string())?;
    if upstream.http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err("the API does not speak HTTP/2 (no `h2` in its handshake)".to_owned());
    }
    Ok(Stream::Tls(Box::new(stream)))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
