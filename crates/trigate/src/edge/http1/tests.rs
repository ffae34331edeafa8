use super::{
    head::{Head, Most, Reader, Rest},
    *,
};
use crate::{
    edge::{Bounds, Mode, Recorder},
    metrics::Metrics,
};
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use proptest::prelude::*;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};
use trigate_core::{
    audit::Record,
    port::{AuditSink, Mark, Slot},
};
use trigate_gates::system::SystemClock;

const MOST: Most = Most { bytes: 4096, fields: 8 };

fn read(text: &[u8]) -> Result<Option<Head>, (&'static str, u16)> {
    let refused = |bad: BadHead| (bad.code, bad.status.as_u16());
    Reader::default().take(&mut BytesMut::from(text), MOST).map_err(refused)
}

/// As it comes, `step` bytes at a time; with what is left behind the head.
fn trickle(text: &[u8], step: usize) -> (Result<Option<Head>, (&'static str, u16)>, BytesMut) {
    let (mut reader, mut came) = (Reader::default(), BytesMut::new());
    for piece in text.chunks(step) {
        came.extend_from_slice(piece);
        match reader.take(&mut came, MOST) {
            Ok(None) => {}
            other => return (other.map_err(|bad| (bad.code, bad.status.as_u16())), came),
        }
    }
    (Ok(None), came)
}

#[test]
fn rfc9112_6_3_a_requests_body_ends_in_one_place() {
    let chunked = || Rest::Chunked(crate::wire::Chunked::default());
    for (lines, wanted) in [
        ("", Some(Rest::Ended)),
        ("Content-Length: 0\r\n", Some(Rest::Ended)),
        ("Content-Length: 5\r\n", Some(Rest::Length(5))),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", Some(Rest::Length(5))),
        ("Transfer-Encoding: Chunked\r\n", Some(chunked())),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", None),
        ("Content-Length: 5, 5\r\n", None),
        ("Content-Length: +5\r\n", None),
        ("Content-Length:\r\n", None),
        ("Content-Length: 18446744073709551616\r\n", None),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", None),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", None),
        ("Transfer-Encoding: gzip, chunked\r\n", None),
        ("Transfer-Encoding: identity\r\n", None),
        ("Transfer-Encoding:\r\n", None),
    ] {
        let got = read(format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes());
        assert_eq!(got.ok().map(|head| head.unwrap().rest), wanted, "{lines:?}");
    }
    assert!(read(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
}

#[test]
fn heads_with_two_readings_and_heads_without_end_are_refused() {
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(5000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(9));
    let target = format!("GET /{}", "a".repeat(5000));
    for (text, wanted) in [
        ("GET / HTTP/1.1\nHost: a\n\n", ("http.parse", 400)),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", ("http.parse", 400)),
        ("\nGET / HTTP/1.1\r\n\r\n", ("http.parse", 400)),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", ("http.parse", 400)),
        ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", ("http.parse", 400)),
        ("GET / HTTP/1.1\r\nx: a\0b\r\n\r\n", ("http.parse", 400)),
        ("GET / HTTP/2.0\r\n\r\n", ("http.parse", 400)),
        ("GET /\r\n\r\n", ("http.parse", 400)),
        ("\x16\x03\x01\x02", ("http.parse", 400)),
        (long.as_str(), ("http.too_large", 431)),
        (many.as_str(), ("http.too_large", 431)),
        (target.as_str(), ("http.too_large", 414)),
    ] {
        assert_eq!(read(text.as_bytes()).err(), Some(wanted), "{:?}", &text[..text.len().min(60)]);
    }
    assert!(read(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n").unwrap().is_some(), "RFC 9112 \u{a7}2.2");
    assert!(read(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap().is_none());
}

#[test]
fn a_connection_persists_unless_somebody_says_otherwise() {
    for (version, line, wanted) in [
        ("1.1", "", true),
        ("1.1", "Connection: x, Close\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", false),
    ] {
        let head = read(format!("GET / HTTP/{version}\r\n{line}\r\n").as_bytes()).unwrap().unwrap();
        assert_eq!(head.persists, wanted, "{version} {line}");
    }
}

proptest! {
    /// However its bytes come, a head says the same.
    #[test]
    fn a_head_is_read_alike_in_any_pieces(
        lines in prop::collection::vec("(x|content-length|transfer-encoding|connection): (1|chunked|close|a b)", 0..6),
        end in "(\r\n|\n|\r\r\n)", more in "[a-z\r\n]{0,20}", step in 1usize..40,
    ) {
        let text = format!("GET /x HTTP/1.1\r\n{}\r\n{more}", lines.iter().map(|line| format!("{line}{end}")).collect::<String>());
        let (whole, whole_left) = trickle(text.as_bytes(), text.len());
        let (pieces, left) = trickle(text.as_bytes(), step);
        match (whole, pieces) {
            (Ok(Some(whole)), Ok(Some(pieces))) => {
                prop_assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
                // What had come by then is the beginning of what follows.
                prop_assert!(whole_left.starts_with(&left));
            }
            (whole, pieces) => prop_assert_eq!(whole.is_err(), pieces.is_err()),
        }
    }
}

struct Nowhere;

impl AuditSink for Nowhere {
    fn reserve(&self) -> Option<Slot<'_>> {
        Some(Slot::taken(self))
    }
    fn release(&self) {}
    fn append(&self, _: &Record) -> Option<Mark> {
        None
    }
    fn flush_to(&self, _: Mark) -> bool {
        true
    }
    fn sync_to(&self, _: Mark) -> bool {
        true
    }
    fn note(&self, _: &Record) {}
}

/// A body of known length that comes frame by frame, each in a turn of its own.
struct Frames {
    left: usize,
    frame: usize,
    rests: bool,
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        self.rests = !self.rests;
        if self.rests {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let now = self.left.min(self.frame);
        self.left -= now;
        Poll::Ready((now > 0).then(|| Ok(http_body::Frame::data(vec![b'x'; now].into()))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.left as u64)
    }
}

type Said = http_body_util::Either<Full<Bytes>, Frames>;

/// Answers with the target, and with the body where the target says `echo`; keeps the body of `/keep` beyond its time.
struct Echo(RefCell<Option<Incoming>>);

impl Handler for Echo {
    type Body = Said;

    async fn handle(self: Rc<Self>, request: Request<Incoming>, connection: Rc<Connection>) -> Response<Said> {
        if let Some(sizes) = request.uri().path().strip_prefix("/frames/") {
            let (left, frame) = sizes.split_once('/').unwrap();
            let (left, frame) = (left.parse().unwrap(), frame.parse().unwrap());
            return Response::new(http_body_util::Either::Right(Frames { left, frame, rests: false }));
        }
        self.text(request, connection).await.map(http_body_util::Either::Left)
    }
}

impl Echo {
    async fn text(self: Rc<Self>, request: Request<Incoming>, _: Rc<Connection>) -> Response<Full<Bytes>> {
        let (head, mut body) = request.into_parts();
        let kept = self.0.borrow_mut().take();
        if let Some(mut kept) = kept {
            let stolen = kept.frame().await.is_some_and(|frame| frame.is_ok());
            return Response::new(format!("stolen: {stolen}").into());
        }
        match head.uri.path() {
            "/keep" => *self.0.borrow_mut() = Some(body),
            "/echo" => {
                let mut all = Vec::new();
                while let Some(frame) = body.frame().await {
                    match frame {
                        Ok(frame) => all.extend_from_slice(&frame.into_data().unwrap()),
                        Err(error) => return Response::new(error.to_string().into()),
                    }
                }
                return Response::new(all.into());
            }
            _ => {}
        }
        Response::new(head.uri.path().to_owned().into())
    }
}

async fn core() -> (Rc<Core<Echo>>, TcpListener, SocketAddr) {
    let clock: Arc<dyn trigate_core::port::Clock> = Arc::new(SystemClock::new());
    let recorder = Rc::new(Recorder::new(Arc::new(Nowhere), clock, "n", "gate", Arc::new(Metrics::default())));
    let mut bounds = Bounds::clone(&Bounds::of(&crate::config::Limits::default(), 1));
    bounds.header_deadline = Duration::from_millis(300);
    let core = Core::new(Rc::new(Echo(RefCell::default())), Arc::new(bounds), recorder, Mode::Plain);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (Rc::new(core), listener, address)
}

/// What a client hears that says `text` and then waits.
async fn hears(text: &[u8]) -> String {
    let (core, listener, address) = core().await;
    LocalSet::new()
        .run_until(async {
            let (_stop, stopped) = watch::channel(false);
            let serving = tokio::task::spawn_local(async move {
                let (stream, peer) = listener.accept().await.unwrap();
                let connection = Rc::new(Connection { peer, tls: false, certificate: None, place: None });
                let wire = Wire::new(Stream::Plain(stream), &core.bounds);
                assert!(serve(&core, wire, &connection, stopped).await.is_none());
            });
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(text).await.unwrap();
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).await.unwrap();
            serving.await.unwrap();
            let heard = String::from_utf8(heard).unwrap();
            heard.lines().filter(|line| !line.starts_with("date")).collect::<Vec<_>>().join("|")
        })
        .await
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let two = b"GET /a HTTP/1.1\r\n\r\nPOST /echo HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
    let wanted = "HTTP/1.1 200 OK|content-length: 2||/aHTTP/1.1 200 OK|content-length: 2|connection: close||hi";
    assert_eq!(hears(two).await, wanted);
    let chunks =
        b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n";
    assert_eq!(hears(chunks).await, "HTTP/1.1 200 OK|content-length: 2|connection: close||hi");
    // An idle connection ends with its time.
    assert_eq!(hears(b"GET /a HTTP/1.1\r\n\r\n").await, "HTTP/1.1 200 OK|content-length: 2||/a");
}

#[tokio::test]
async fn rfc9110_10_1_1_a_client_that_waits_is_told_to_go_on() {
    let text = b"POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let (core, listener, address) = core().await;
    let local = LocalSet::new();
    local
        .run_until(async {
            let (_stop, stopped) = watch::channel(false);
            tokio::task::spawn_local(async move {
                let (stream, peer) = listener.accept().await.unwrap();
                let connection = Rc::new(Connection { peer, tls: false, certificate: None, place: None });
                serve(&core, Wire::new(Stream::Plain(stream), &core.bounds), &connection, stopped).await
            });
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(text).await.unwrap();
            let mut first = [0; 25];
            client.read_exact(&mut first).await.unwrap();
            assert_eq!(&first, b"HTTP/1.1 100 Continue\r\n\r\n");
            client.write_all(b"hi").await.unwrap();
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).await.unwrap();
            assert!(rest.starts_with(b"HTTP/1.1 200 OK") && rest.ends_with(b"hi"));
        })
        .await;
}

#[tokio::test]
async fn an_unread_body_is_no_request() {
    let smuggled = "GET /smuggled HTTP/1.1\r\n\r\n";
    // All of it is there: skipped.
    let whole =
        format!("POST /a HTTP/1.1\r\nContent-Length: {}\r\n\r\n{smuggled}GET /b HTTP/1.1\r\n\r\n", smuggled.len());
    let ok = |path: &str| format!("HTTP/1.1 200 OK|content-length: {}||{path}", path.len());
    assert_eq!(hears(whole.as_bytes()).await, ok("/a") + &ok("/b"));
    // Some of it is missing: the connection ends, and the answer says so.
    let part = format!("POST /a HTTP/1.1\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len() + 1);
    assert_eq!(hears(part.as_bytes()).await, "HTTP/1.1 200 OK|content-length: 2|connection: close||/a");
}

#[tokio::test]
async fn a_body_that_outlives_its_request_reads_no_others() {
    let text = b"POST /keep HTTP/1.1\r\nContent-Length: 1\r\n\r\nxPOST /b HTTP/1.1\r\nContent-Length: 6\r\n\r\nsecret";
    assert!(hears(text).await.ends_with("stolen: false"));
}

#[tokio::test]
async fn g18_half_a_head_ends_with_its_time() {
    assert_eq!(hears(b"GET /a HTTP/1.1\r\nHost").await, "");
    assert_eq!(hears(b"").await, "");
}

/// Frames of every size come whole, whether they are copied or leave from where they are.
#[tokio::test]
async fn long_answers_come_whole() {
    for (size, frame) in
        [(0, 1), (20_000, 20_000), (20_000, 16_340), (100_000, 9_000), (1_000_000, 16_340), (300_000, 1_000)]
    {
        let ask = format!("GET /frames/{size}/{frame} HTTP/1.1\r\nConnection: close\r\n\r\n");
        let heard = hears(ask.as_bytes()).await;
        assert!(heard.contains(&format!("content-length: {size}|")), "{size} in {frame}");
        assert_eq!(heard.rsplit('|').next().unwrap().len(), size, "{size} in {frame}");
    }
}

#[tokio::test]
async fn empty_lines_between_requests_say_nothing() {
    let text = b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi\r\nGET /b HTTP/1.1\r\n\r\n\r\n";
    let wanted = "HTTP/1.1 200 OK|content-length: 2||/aHTTP/1.1 200 OK|content-length: 2||/b";
    assert_eq!(hears(text).await, wanted);
}

/// A wire whose client has said `text`, and the client.
async fn wire(text: &[u8]) -> (Rc<RefCell<Wire>>, TcpStream) {
    let (core, listener, address) = core().await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(text).await.unwrap();
    let mut wire = Wire::new(Stream::Plain(listener.accept().await.unwrap().0), &core.bounds);
    while wire.take_head().unwrap().is_none() {
        poll_fn(|cx| wire.poll_read(cx)).await.unwrap();
    }
    (Rc::new(RefCell::new(wire)), client)
}

/// Another task may still read a body when its request is answered (an API that speaks HTTP/2 takes bodies so).
#[tokio::test]
async fn a_body_is_nobodys_once_its_request_was_answered() {
    let (wire, mut client) =
        wire(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npay=\r\n2\r\n10\r\n").await;
    let mut body = Incoming::Http1(RequestBody::of(&wire));
    for part in ["pay=", "10"] {
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), part);
    }
    let reading = async { body.frame().await };
    let answering = async {
        tokio::task::yield_now().await;
        wire.borrow_mut().over();
        // The rest of the amount comes, and is thrown away for the sake of the next request.
        client.write_all(b"6\r\n000000\r\n0\r\n\r\n").await.unwrap();
        while !poll_fn(|cx| Poll::Ready(wire.borrow_mut().skip_at_hand(cx))).await {
            tokio::task::yield_now().await;
        }
    };
    let (read, ()) = tokio::join!(reading, answering);
    assert!(read.unwrap().is_err(), "a payment of 10");
    assert!(!body.is_end_stream());
}

#[tokio::test]
async fn nobody_is_told_to_go_on_within_an_answer() {
    let text = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    for answering in [false, true] {
        let (wire, _client) = wire(text).await;
        let mut body = Incoming::Http1(RequestBody::of(&wire));
        if answering {
            wire.borrow_mut().begin_answer();
            wire.borrow_mut().out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        }
        let _ = poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx).is_ready())).await;
        let left = String::from_utf8(wire.borrow().out.to_vec()).unwrap();
        assert_eq!(left, if answering { "HTTP/1.1 200 OK\r\n" } else { "" }, "and what is said is not sent from here");
    }
}
