//! What does Envoy ask over gRPC, and how is it answered? One unary call, `envoy.service.auth.v3.Authorization/Check`.
//!
//! Trusts the framing to hyper and nothing in the message; what cannot be read is a gRPC error, which Envoy refuses by.

mod messages;

use self::messages::{
    CheckRequest, CheckResponse, DeniedHttpResponse, HeaderValueOption, HttpRequest, HttpStatus, OkHttpResponse, Status,
};
use super::{
    RoadConfig,
    forward_auth::{ForwardAuth, Original, Pass, Told, Untold, Verdict, Wording, bare, from_envoy, hears_envoy},
};
use crate::edge::Incoming;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Limited};
use prost::Message;
use std::{net::IpAddr, sync::Arc, time::Duration};

pub const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Head and, where Envoy was told to send it, the beginning of a body.
const MAX_BYTES: usize = 1 << 20;
/// In which a message must have come.
const DEADLINE: Duration = Duration::from_secs(10);

/// A gRPC status with the detail of the connection record.
struct Failed(u8, &'static str);

const INVALID: u8 = 3;
const EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;

pub async fn check(
    forward_auth: &ForwardAuth,
    config: &Arc<RoadConfig>,
    head: &Parts,
    body: Incoming,
    proxy: IpAddr,
) -> Response<Told> {
    let kind = head.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    if head.method != Method::POST || !kind.starts_with(b"application/grpc") {
        return bare(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let request = match read(body).await {
        Ok(request) => request,
        Err(Failed(code, detail)) => {
            forward_auth.malformed(proxy, "ext_authz.message", detail);
            return failed(code);
        }
    };
    let verdict = forward_auth.ask(config, original(request, hears_envoy(config)), proxy).await;
    let answer = match verdict {
        Verdict::Pass(pass) => allowed(pass),
        Verdict::Refuse { status, headers, body } => denied(status, &headers, &body),
    };
    answered(&answer)
}

async fn read(body: Incoming) -> Result<CheckRequest, Failed> {
    let collecting = Limited::new(body, MAX_BYTES).collect();
    let whole = match tokio::time::timeout(DEADLINE, collecting).await {
        Ok(Ok(whole)) => whole.to_bytes(),
        Ok(Err(_)) => return Err(Failed(EXHAUSTED, "the message is too large or broke off")),
        Err(_) => return Err(Failed(EXHAUSTED, "the message came too slowly")),
    };
    decode(&whole)
}

/// One length-prefixed message, not compressed, and nothing behind it.
fn decode(whole: &[u8]) -> Result<CheckRequest, Failed> {
    let malformed = Failed(INVALID, "the message cannot be read");
    let Some((&[compressed, a, b, c, d], message)) = whole.split_first_chunk::<5>() else { return Err(malformed) };
    if compressed != 0 {
        return Err(Failed(UNIMPLEMENTED, "the message is compressed"));
    }
    if usize::try_from(u32::from_be_bytes([a, b, c, d])) != Ok(message.len()) {
        return Err(malformed);
    }
    CheckRequest::decode(message).map_err(|_| malformed)
}

/// `certified`: Envoy's word about the client's certificate counts.
fn original(request: CheckRequest, certified: bool) -> Result<Original, Untold> {
    let attributes = request.attributes.unwrap_or_default();
    let source = attributes.source.unwrap_or_default();
    let certificate = Wording::of_envoy(source.certificate).filter(|_| certified);
    let address = source.address.and_then(|address| address.socket_address);
    let http = attributes.request.and_then(|request| request.http).unwrap_or_default();
    let (method, path, host) = (http.method.clone(), http.path.clone(), http.host.clone());
    let peer = address.map(|address| address.address).unwrap_or_default();
    let headers = headers(http)?;
    Ok(Original { certificate, ..from_envoy(&method, &path, &host, headers, &peer)? })
}

/// The raw list where Envoy sends it (`encode_raw_headers`): in the map, lines of one name are one line.
fn headers(http: HttpRequest) -> Result<HeaderMap, Untold> {
    let raw = http.header_map.map(|map| map.headers).unwrap_or_default();
    let raw = raw.into_iter().map(|line| {
        let value = if line.raw_value.is_empty() { line.value.into_bytes() } else { line.raw_value };
        (line.key, value)
    });
    let map = http.headers.into_iter().map(|(name, value)| (name, value.into_bytes()));
    let mut headers = HeaderMap::new();
    for (name, value) in raw.chain(map).filter(|(name, _)| !name.starts_with(':')) {
        // SECURITY: what cannot be a header here may be a credential there.
        let pair = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        let (name, value) = pair.ok_or(Untold {
            status: StatusCode::BAD_REQUEST,
            code: "http.header",
            detail: "a header of the original request is none",
        })?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn allowed(pass: Pass) -> CheckResponse {
    CheckResponse {
        status: Some(Status { code: 0, message: String::new() }),
        denied_response: None,
        ok_response: Some(OkHttpResponse {
            headers: options(&pass.set),
            headers_to_remove: pass.remove.iter().map(ToString::to_string).collect(),
            response_headers_to_add: options(&pass.answer),
        }),
    }
}

fn denied(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> CheckResponse {
    const UNAUTHENTICATED: i32 = 16;
    const PERMISSION_DENIED: i32 = 7;
    let code = if status == StatusCode::UNAUTHORIZED { UNAUTHENTICATED } else { PERMISSION_DENIED };
    CheckResponse {
        status: Some(Status { code, message: String::new() }),
        denied_response: Some(DeniedHttpResponse {
            status: Some(HttpStatus { code: i32::from(status.as_u16()) }),
            headers: options(headers),
            body: String::from_utf8_lossy(body).into_owned(),
        }),
        ok_response: None,
    }
}

fn options(headers: &HeaderMap) -> Vec<HeaderValueOption> {
    let text = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    text.map(|(name, value)| HeaderValueOption::replacing(name, value)).collect()
}

fn answered(answer: &CheckResponse) -> Response<Told> {
    let mut framed = BytesMut::with_capacity(answer.encoded_len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(answer.encoded_len()).unwrap_or_default());
    framed.put_slice(&answer.encode_to_vec());
    grpc(Response::new(Told::with_trailers(framed.freeze(), grpc_status(0))))
}

fn failed(code: u8) -> Response<Told> {
    let mut response = Response::new(Told::with_trailers(Bytes::new(), HeaderMap::new()));
    response.headers_mut().extend(grpc_status(code));
    grpc(response)
}

fn grpc(mut response: Response<Told>) -> Response<Told> {
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn grpc_status(code: u8) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from(u16::from(code)))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_whole_plain_message_is_read() {
        let code = |bytes: &[u8]| decode(bytes).map(|_| 0).unwrap_or_else(|Failed(code, _)| code);
        assert_eq!(code(&[0, 0, 0, 0, 0]), 0);
        for bad in [&[][..], &[0, 0, 0, 0], &[0, 0, 0, 0, 1], &[0, 0, 0, 0, 0, 7], &[0, 0, 0, 0, 2, 10, 9]] {
            assert_eq!(code(bad), INVALID, "{bad:?}");
        }
        assert_eq!(code(&[1, 0, 0, 0, 0]), UNIMPLEMENTED);
    }
}
