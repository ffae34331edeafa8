use super::*;
use tokio::io::AsyncWriteExt as _;

struct Plain(Method);

impl Head for Plain {
    fn method(&self) -> &Method {
        &self.0
    }

    fn write_target(&self, out: &mut BytesMut) {
        out.extend_from_slice(b"/x?y=1");
    }

    fn write_lines(&self, out: &mut BytesMut) {
        write_line(out, "host", b"api");
    }
}

/// An exchange with an API that says `answer` whatever it is asked, and then closes or does not.
async fn exchange(method: Method, answer: &[u8], close: bool) -> Result<(Response<()>, Vec<u8>, bool), WireError> {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    far.write_all(answer).await.unwrap();
    if close {
        far.shutdown().await.unwrap();
    }
    let body = CarriedIn::none(std::rc::Rc::default());
    let response = Connection::new(near)
        .send(&Plain(method), body, Duration::from_secs(5))
        .await
        .map_err(|failed| failed.error)?;
    let (parts, mut body) = response.into_parts();
    let mut read = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        read.extend_from_slice(&frame?.into_data().unwrap());
    }
    let reusable = body.take_connection().is_some();
    Ok((Response::from_parts(parts, ()), read, reusable))
}

async fn outcome(method: Method, answer: &str, close: bool) -> String {
    match exchange(method, answer.as_bytes(), close).await {
        Ok((response, body, reusable)) => format!(
            "{} {:?}{}",
            response.status().as_u16(),
            String::from_utf8(body).unwrap(),
            if reusable { " kept" } else { "" }
        ),
        Err(error) => format!("error: {error}"),
    }
}

#[tokio::test]
async fn rfc9112_6_3_an_answer_ends_in_one_place() {
    for (method, answer, close, wanted) in [
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false, "200 \"ok\" kept"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", false, "200 \"ok\" kept"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, "200 \"\" kept"),
        ("GET", "HTTP/1.1 200 OK\r\n\r\nto the end", true, "200 \"to the end\""),
        ("GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false, "200 \"ok\""),
        ("GET", "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok", false, "200 \"ok\""),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", false, "200 \"\" kept"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", false, "304 \"\" kept"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", false, "204 \"\" kept"),
        (
            "GET",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            false,
            "204 \"\" kept",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;x=y\r\nok\r\nA \r\n0123456789\r\n0\r\nT: 1\r\n\r\n",
            false,
            "200 \"ok0123456789\" kept",
        ),
    ] {
        assert_eq!(outcome(method.parse().unwrap(), answer, close).await, wanted, "{answer}");
    }
}

#[tokio::test]
async fn g24_what_is_left_over_ends_the_connection() {
    for (method, answer) in [
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\nx"),
        ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nx"),
    ] {
        let outcome = outcome(method.parse().unwrap(), answer, false).await;
        assert!(!outcome.contains("kept") && !outcome.contains("error"), "{answer}: {outcome}");
    }
}

#[tokio::test]
async fn g24_answers_with_two_readings_are_errors() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n 2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok!\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "garbage",
        "",
    ] {
        let outcome = outcome(Method::GET, answer, true).await;
        assert!(outcome.starts_with("error"), "{answer:?}: {outcome}");
    }
}

#[tokio::test]
async fn interim_answers_and_heads_are_bounded() {
    let many = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(MAX_INTERIM + 1) + "HTTP/1.1 204 No Content\r\n\r\n";
    assert!(outcome(Method::GET, &many, false).await.starts_with("error"));
    let long = format!("HTTP/1.1 204 No Content\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD_BYTES));
    assert!(outcome(Method::GET, &long, false).await.starts_with("error"));
    let lines = format!("HTTP/1.1 204 No Content\r\n{}\r\n", "X: y\r\n".repeat(MAX_FIELDS + 1));
    assert!(outcome(Method::GET, &lines, false).await.starts_with("error"));
    let line = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(5000));
    assert!(outcome(Method::GET, &line, false).await.starts_with("error"));
}

#[tokio::test]
async fn an_idle_connection_is_one_on_which_nothing_came() {
    let (near, mut far) = tokio::io::duplex(1024);
    let mut connection = Connection::new(near);
    assert!(connection.is_idle());
    far.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    assert!(!connection.is_idle());
    let (near, far) = tokio::io::duplex(1024);
    let mut connection = Connection::new(near);
    drop(far);
    assert!(!connection.is_idle());
}

#[test]
fn a_body_is_never_longer_than_its_head_says() {
    let mut out = BytesMut::new();
    let mut framing = Framing::Length(3);
    assert!(framing.put(b"ab", &mut out).is_ok());
    assert!(framing.put(b"cd", &mut out).is_err());
    assert!(Framing::Length(1).end(&mut out).is_err());
    assert_eq!(&out[..], b"ab");
}

/// A task that has used its turn up is told that nothing came, whatever did.
#[tokio::test]
async fn what_an_api_left_is_seen_at_the_end_of_a_tasks_budget_too() {
    let (near, mut far) = tokio::io::duplex(64);
    let mut connection = Connection::new(near);
    far.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
    let idle = poll_fn(|cx| {
        while tokio::task::coop::has_budget_remaining() {
            let _ = pin!(tokio::task::consume_budget()).poll(cx);
        }
        Poll::Ready(connection.is_idle())
    });
    assert!(!idle.await);
}
