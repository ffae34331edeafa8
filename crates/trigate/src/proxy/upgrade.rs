//! When does a connection stop being HTTP? On a route that allows it, after the API itself said 101, and not before (G05).
//! Then bytes go both ways, counted, until an end closes, nothing moves, or the credential no longer stands.
//!
//! Never sends a byte of the client's to the API before the API's 101, and never answers 101 in its own words.

use super::{
    body::{Answer, CarriedIn, CarriedOut, Ending, Flow, Watching},
    road::answer_headers,
    upstream::{ApiBody, UpstreamBounds, UpstreamError, UpstreamUrl, dial},
    watch::Watched,
};
use crate::edge::{Connection, Upgraded, Upgrading};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::{body::Incoming, client::conn::http1, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional},
    task::spawn_local,
    time::timeout,
};

/// Asks the API on a connection of its own: what has been upgraded never goes back to a pool.
pub async fn ask(
    upstream: &UpstreamUrl,
    bounds: UpstreamBounds,
    tls: &Arc<rustls::ClientConfig>,
    request: Request<CarriedIn>,
) -> Result<Response<Incoming>, UpstreamError> {
    let connect = timeout(bounds.connect, dial(upstream, tls)).await;
    let stream = connect.map_err(|_| UpstreamError::Slow("connection"))?.map_err(UpstreamError::Connect)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| UpstreamError::Connect(error.to_string()))?;
    spawn_local(async move {
        // Its end shows in the answer.
        let _ = connection.with_upgrades().await;
    });
    let (mut head, _) = request.into_parts();
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    head.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let request = Request::from_parts(head, Empty::<Bytes>::new());
    let asked = timeout(bounds.response, sender.send_request(request)).await;
    asked.map_err(|_| UpstreamError::Slow("response"))?.map_err(|error| UpstreamError::Broken(error.into()))
}

/// Did the API agree to exactly what was asked?
pub fn agreed(answer: &Response<Incoming>) -> bool {
    let named = |name, wanted: &str| {
        let values = answer.headers().get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(wanted))
    };
    // RFC 6455 §4.2.2
    answer.status() == StatusCode::SWITCHING_PROTOCOLS
        && named(header::UPGRADE, "websocket")
        && named(header::CONNECTION, "upgrade")
}

/// The API's refusal, as any answer; the client's connection ends with it.
pub fn refused(answer: Response<Incoming>, ending: Ending, watching: Watching) -> Response<Answer> {
    let (parts, body) = answer.into_parts();
    let mut response =
        Response::new(Answer::Carried(CarriedOut::new(ApiBody::Single(body), None, ending, watching, false)));
    *response.status_mut() = parts.status;
    *response.headers_mut() = answer_headers(parts.headers);
    response
}

/// What a tunnel needs to live, and to be told of when it ends.
pub struct Tunnel {
    pub client: Upgrading,
    pub watched: Watched,
    pub ending: Ending,
    /// Keeps its place among the open connections.
    pub connection: Rc<Connection>,
}

impl Tunnel {
    /// The 101 for the client; the tunnel opens behind it.
    pub fn open(self, mut answer: Response<Incoming>) -> Response<Answer> {
        let api = hyper::upgrade::on(&mut answer);
        let mut headers: HeaderMap = answer_headers(std::mem::take(answer.headers_mut()));
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        spawn_local(self.carry(api));
        let mut response = Response::new(Answer::Own(None));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = headers;
        response
    }

    async fn carry(self, api: OnUpgrade) {
        let Self { client, watched, mut ending, connection } = self;
        let both = timeout(OPENING, async { tokio::join!(client.upgraded(), api) }).await;
        let Ok((Some(client), Ok(api))) = both else { return };
        let flow = Rc::clone(&ending.flow);
        let sent = Rc::new(Cell::new(0));
        {
            let mut client = Counted { inner: client, flow, sent: Rc::clone(&sent), watched: &watched };
            let mut api = TokioIo::new(api);
            tokio::select! {
                biased;
                end = watched.ended() => ending.ended = Some(end),
                copied = copy_bidirectional(&mut client, &mut api) => ending.whole = copied.is_ok(),
            }
        }
        ending.bytes_out = sent.get();
        drop((ending, connection));
    }
}

/// Between the API's 101 and the tunnel.
const OPENING: Duration = Duration::from_secs(10);

/// The client's end: what it sends and gets is counted, and shows that the tunnel lives.
struct Counted<'a> {
    inner: Upgraded,
    flow: Rc<Flow>,
    sent: Rc<Cell<u64>>,
    watched: &'a Watched,
}

impl AsyncRead for Counted<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(cx, buf);
        let got = buf.filled().len().saturating_sub(before) as u64;
        if got > 0 {
            self.flow.bytes_in.set(self.flow.bytes_in.get().saturating_add(got));
            self.watched.moved();
        }
        outcome
    }
}

impl AsyncWrite for Counted<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = &outcome {
            self.sent.set(self.sent.get().saturating_add(*written as u64));
            self.watched.moved();
        }
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
