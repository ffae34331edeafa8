//! How does a request's body get from the core that reads it to the thread that answers?
//!
//! Never takes a body that stops for one that ends: the end is said like everything else, in its turn. A reader that was
//! let go, a client that left and a body that was cut are errors for whoever reads. (`http_body_util::channel` tells the end
//! by another way than the data: across threads the end may be seen first, and the body is lost.)

use crate::edge::{Incoming, IncomingError};
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::sync::mpsc;

/// Frames between the two threads.
const AHEAD: usize = 4;

type Said = Result<Frame<Bytes>, IncomingError>;

/// `None` says that the body is whole.
pub type Giver = mpsc::Sender<Option<Said>>;

pub struct Handed {
    said: mpsc::Receiver<Option<Said>>,
    whole: bool,
}

pub fn handed() -> (Giver, Handed) {
    let (giver, said) = mpsc::channel(AHEAD);
    (giver, Handed { said, whole: false })
}

/// Reads the body to its end, whether or not somebody still wants it.
pub async fn give(mut body: Incoming, giver: Giver) {
    while let Some(said) = body.frame().await {
        let broken = said.is_err();
        let _ = giver.send(Some(said)).await;
        if broken {
            return;
        }
    }
    let _ = giver.send(None).await;
}

impl Body for Handed {
    type Data = Bytes;
    type Error = IncomingError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Said>> {
        if self.whole {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.said.poll_recv(cx)) {
            Some(None) => {
                self.whole = true;
                None
            }
            Some(said) => said,
            None => Some(Err("the body was not read to its end".into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(text: &'static str) -> Option<Said> {
        Some(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))
    }

    async fn collected(body: Handed) -> Option<Bytes> {
        body.collect().await.ok().map(http_body_util::Collected::to_bytes)
    }

    /// However the two threads meet, nothing of it is lost.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_said_before_the_end_is_heard() {
        for round in 0..5_000 {
            let (giver, body) = handed();
            let reader = tokio::spawn(collected(body));
            if round % 2 == 0 {
                tokio::task::yield_now().await;
            }
            giver.send(data("a=b")).await.unwrap();
            giver.send(None).await.unwrap();
            drop(giver);
            assert_eq!(reader.await.unwrap().as_deref(), Some(&b"a=b"[..]), "round {round}");
        }
    }

    /// A form that was cut would be another form.
    #[tokio::test]
    async fn a_body_that_stops_is_no_body_that_ends() {
        let (giver, body) = handed();
        giver.send(data("token=half")).await.unwrap();
        drop(giver);
        assert_eq!(collected(body).await, None);
        let (giver, body) = handed();
        giver.send(Some(Err("gone".into()))).await.unwrap();
        drop(giver);
        assert_eq!(collected(body).await, None);
        let (giver, body) = handed();
        giver.send(None).await.unwrap();
        assert_eq!(collected(body).await.as_deref(), Some(&b""[..]));
    }
}
