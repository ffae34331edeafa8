//! One request, one answer, one connection: HTTP/1.1 over a stream that leads where it should.

use crate::target::Target;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use std::pin::pin;
use tokio::io::{AsyncRead, AsyncWrite};
use trigate_core::port::{FetchError, Fetched};
use url::form_urlencoded;

/// Bytes of an answer's head at most.
const MAX_HEAD_BYTES: usize = 64 * 1024;

pub enum Call {
    Get,
    Post { body: String, kind: &'static str, authorization: Option<String> },
}

impl Call {
    pub fn form(form: &[(&str, &str)], basic: Option<(&str, &str)>) -> Self {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let authorization = basic.map(|(id, secret)| basic_authorization(id, secret));
        Self::Post { body, kind: "application/x-www-form-urlencoded", authorization }
    }

    pub fn json(body: String, bearer: &str) -> Self {
        Self::Post { body, kind: "application/json", authorization: Some(format!("Bearer {bearer}")) }
    }
}

/// Both parts are form-encoded first, or a colon in the id would move the border. // RFC 6749 §2.3.1
fn basic_authorization(id: &str, secret: &str) -> String {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(id), encode(secret))))
}

pub async fn run(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    target: &Target,
    call: Call,
    max_bytes: usize,
) -> Result<Fetched, FetchError> {
    let request = request(target, call)?;
    let failed = |error: hyper::Error| target.failed(format!("HTTP: {error}"));
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(failed)?;
        read(response, target, max_bytes).await
    };
    // Driven here and dropped with this future: no task outlives the call.
    match select(pin!(exchange), pin!(connection)).await {
        Either::Left((fetched, _)) => fetched,
        // The connection may end before its last bytes were read from it.
        Either::Right((_, exchange)) => exchange.await,
    }
}

fn request(target: &Target, call: Call) -> Result<Request<Full<Bytes>>, FetchError> {
    let mut request = Request::builder()
        .uri(target.path_and_query())
        .header(header::HOST, target.authority())
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "trigate")
        .header(header::CONNECTION, "close");
    let mut body = String::new();
    if let Call::Post { body: content, kind, authorization } = call {
        body = content;
        request = request.method(Method::POST).header(header::CONTENT_TYPE, kind);
        if let Some(mut secret) = authorization.and_then(|text| HeaderValue::from_str(&text).ok()) {
            secret.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, secret);
        }
    }
    request.body(Full::from(body)).map_err(|error| target.failed(error.to_string()))
}

async fn read(response: Response<Incoming>, target: &Target, max_bytes: usize) -> Result<Fetched, FetchError> {
    let status = response.status();
    // A redirect would lead where nobody has looked.
    if status.is_redirection() {
        return Err(target.failed(format!("it answered {}: redirects are not followed", status.as_u16())));
    }
    let mut incoming = response.into_body();
    let too_long = || target.failed(format!("the answer is longer than {max_bytes} bytes"));
    if incoming.size_hint().lower() > max_bytes as u64 {
        return Err(too_long());
    }
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| target.failed(format!("HTTP: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if body.len() + data.len() > max_bytes {
            return Err(too_long());
        }
        body.extend_from_slice(&data);
    }
    Ok(Fetched { status: status.as_u16(), body })
}
