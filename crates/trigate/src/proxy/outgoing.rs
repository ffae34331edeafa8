//! What does the API read of a request? The normal path, the gates' lines, our word on where it came from.
//!
//! Never sends a line of the client's under a name that we write ourselves, and never a byte that could begin another line.

use super::{
    body::CarriedIn,
    road::Passage,
    upstream::{Head, UpstreamUrl},
};
use crate::{edge::client_cert, wire::write_line};
use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use trigate_core::plain::is_printable;
use trigate_gates::Lines;

/// The head for one address of the API.
pub struct Outgoing<'a> {
    pub passage: &'a Passage,
    pub upstream: &'a UpstreamUrl,
    /// Signed, where the route wants it.
    pub assertion: Option<&'a str>,
}

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";
const FORWARDED_HOST: &str = "x-forwarded-host";

/// Written here, whatever came under these names. The framing towards the API is made from the body that is really sent.
fn is_written_here(name: &HeaderName) -> bool {
    matches!(*name, header::HOST | header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::EXPECT)
        || matches!(name.as_str(), FORWARDED_FOR | FORWARDED_PROTO | FORWARDED_HOST)
}

/// Lines that are handed on, without those that are written here.
struct Kept<'a, L>(&'a mut L);

impl<L: Lines> Lines for Kept<'_, L> {
    fn pass(&mut self, name: &HeaderName, value: &HeaderValue) {
        if !is_written_here(name) {
            self.0.pass(name, value);
        }
    }

    fn say(&mut self, name: &'static str, value: &str) {
        self.0.say(name, value);
    }
}

/// The bytes of an HTTP/1.1 head.
struct Wire<'a>(&'a mut BytesMut);

impl Lines for Wire<'_> {
    fn pass(&mut self, name: &HeaderName, value: &HeaderValue) {
        write_line(self.0, name.as_str(), value.as_bytes());
    }

    fn say(&mut self, name: &'static str, value: &str) {
        // SECURITY: a line break would begin a line of somebody else's.
        if is_printable(value.as_bytes(), []) {
            write_line(self.0, name, value.as_bytes());
        }
    }
}

impl Outgoing<'_> {
    /// All lines but those that name the API and frame the body.
    fn put_lines(&self, to: &mut impl Lines) {
        let permit = self.passage.permit.permit();
        permit.forward(&self.passage.head.headers, self.assertion, &mut Kept(to));
        to.say(FORWARDED_PROTO, if self.passage.connection.tls { "https" } else { "http" });
        to.say(FORWARDED_HOST, &self.passage.host);
        let mut address = Vec::with_capacity(40);
        trigate_core::address::push(permit.client_address(), &mut address);
        to.say(FORWARDED_FOR, str::from_utf8(&address).unwrap_or_default());
        self.put_client_cert(to);
    }

    /// What the client proved by a certificate, for an API that asks for it. Whatever came under these names is gone.
    fn put_client_cert(&self, to: &mut impl Lines) {
        let permit = self.passage.permit.permit();
        let Some(shown) = self.passage.shown.as_ref().filter(|_| permit.route().client_cert) else { return };
        if permit.proven_certificate() == Some(shown.certificate.fingerprint.as_str()) {
            let mut lines = HeaderMap::new();
            client_cert::put(&mut lines, shown.chain(&self.passage.connection));
            lines.iter().for_each(|(name, value)| to.pass(name, value));
        }
    }

    /// The whole request, for a client that takes one.
    pub fn request(&self, body: CarriedIn) -> Option<Request<CarriedIn>> {
        let mut target = if self.upstream.http2 { self.upstream.origin() } else { String::with_capacity(128) };
        target.push_str(&self.upstream.prefix);
        target.push_str(self.passage.permit.permit().path().as_str());
        if let Some(query) = self.passage.head.uri.query() {
            target.push('?');
            target.push_str(query);
        }
        let came = &self.passage.head.headers;
        let mut headers = HeaderMap::with_capacity(came.keys_len() + 16);
        self.put_lines(&mut headers);
        if !self.upstream.http2 {
            headers.insert(header::HOST, HeaderValue::try_from(self.upstream.authority.as_str()).ok()?);
        } else if wants_trailers(came) {
            // RFC 9113 §8.3.1: the target names the host.
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        let mut request = Request::new(body);
        *request.method_mut() = self.passage.head.method.clone();
        *request.uri_mut() = Uri::try_from(target).ok()?;
        *request.version_mut() = if self.upstream.http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        *request.headers_mut() = headers;
        Some(request)
    }
}

impl Head for Outgoing<'_> {
    fn method(&self) -> &Method {
        &self.passage.head.method
    }

    /// INVARIANT: prefix and path are in normal form, the query is part of a `Uri`: no blank, no control character.
    fn write_target(&self, out: &mut BytesMut) {
        out.extend_from_slice(self.upstream.prefix.as_bytes());
        out.extend_from_slice(self.passage.permit.permit().path().as_str().as_bytes());
        if let Some(query) = self.passage.head.uri.query() {
            out.extend_from_slice(b"?");
            out.extend_from_slice(query.as_bytes());
        }
    }

    fn write_lines(&self, out: &mut BytesMut) {
        write_line(out, "host", self.upstream.authority.as_bytes());
        self.put_lines(&mut Wire(out));
    }
}

/// RFC 9110 §10.1.4
fn wants_trailers(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|value| value.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}
