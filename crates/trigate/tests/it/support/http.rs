//! A client that sends exactly the bytes it is told to, and reads answers without mercy.

use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Where to send.
#[derive(Clone, Copy, Debug)]
pub struct Wire(pub SocketAddr);

/// One answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub head: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.head.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }
}

impl Wire {
    /// One well-formed request on a connection of its own.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost:{}\r\nconnection: close\r\n", self.0.port());
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        let mut stream = TcpStream::connect(self.0).await.unwrap();
        // The server may answer and close before it has read everything. It closes by itself: slow answers are waited for.
        let _ = stream.write_all(&bytes).await;
        let replies = parse(&read_all(&mut stream, Duration::from_secs(30)).await.0);
        assert_eq!(replies.len(), 1, "one request, one answer");
        replies.into_iter().next().unwrap()
    }

    /// Sends these bytes and reads every answer until the server closes, or is silent for a while.
    pub async fn raw(&self, bytes: &[u8]) -> Vec<Reply> {
        self.raw_closed(bytes).await.0
    }

    /// As `raw`, with whether the server closed the connection.
    pub async fn raw_closed(&self, bytes: &[u8]) -> (Vec<Reply>, bool) {
        let mut stream = TcpStream::connect(self.0).await.unwrap();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(bytes).await;
        let (read, closed) = read_all(&mut stream, Duration::from_millis(900)).await;
        (parse(&read), closed)
    }
}

/// Everything until the end, or until nothing comes for `silence`.
pub async fn read_all<S: AsyncRead + Unpin>(stream: &mut S, silence: Duration) -> (Vec<u8>, bool) {
    let mut read = Vec::new();
    let mut buffer = [0; 16_384];
    loop {
        match tokio::time::timeout(silence, stream.read(&mut buffer)).await {
            Err(_) => return (read, false),
            Ok(Ok(0) | Err(_)) => return (read, true),
            Ok(Ok(n)) => read.extend_from_slice(&buffer[..n]),
        }
    }
}

/// All answers in these bytes; panics on what is no answer.
pub fn parse(mut bytes: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while !bytes.is_empty() {
        let end = bytes
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(bytes)));
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        bytes = &bytes[end + 4..];
        let mut lines = head.split("\r\n");
        let status: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, ..Reply::default() };
        for line in lines {
            let (name, value) = line.split_once(':').unwrap();
            reply.head.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if let Some(length) = reply.header("content-length").map(|n| n.parse::<usize>().unwrap()) {
            let length = length.min(bytes.len());
            reply.body = bytes[..length].to_vec();
            bytes = &bytes[length..];
        } else if reply.header("transfer-encoding").is_some() {
            bytes = chunks(bytes, &mut reply.body);
        }
        if status != 100 {
            replies.push(reply);
        }
    }
    replies
}

fn chunks<'a>(mut bytes: &'a [u8], body: &mut Vec<u8>) -> &'a [u8] {
    while let Some(end) = bytes.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        bytes = &bytes[end + 2..];
        let taken = size.min(bytes.len());
        body.extend_from_slice(&bytes[..taken]);
        bytes = bytes.get(taken + 2..).unwrap_or_default();
        if size == 0 {
            break;
        }
    }
    bytes
}
