//! Whose certificate does a proxy tell of, and what is told to upstreams? The headers of RFC 9440.
//!
//! Trusts the caller to have asked whether the peer may say so. Reads one form, exactly; two readings are none.

use super::trust::Presented;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};

pub const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
pub const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");

/// Certificates that a proxy may tell of.
const CHAIN: usize = 16;

/// The header came, and is none that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The certificate that the headers tell of; `None` where they tell of none.
///
/// # Errors
/// They came in a form that is not RFC 9440's.
pub fn read(headers: &HeaderMap) -> Result<Option<Presented>, Malformed> {
    let mut certificates = headers.get_all(CLIENT_CERT).iter();
    let Some(value) = certificates.next() else {
        // RFC 9440 §2.3: a chain without its certificate belongs to nobody.
        return if headers.contains_key(CLIENT_CERT_CHAIN) { Err(Malformed) } else { Ok(None) };
    };
    if certificates.next().is_some() {
        return Err(Malformed);
    }
    let mut chain = vec![byte_sequence(value.to_str().map_err(|_| Malformed)?)?];
    for line in headers.get_all(CLIENT_CERT_CHAIN) {
        for item in line.to_str().map_err(|_| Malformed)?.split(',') {
            chain.push(byte_sequence(item)?);
            if chain.len() > CHAIN {
                return Err(Malformed);
            }
        }
    }
    Ok(Presented::new(chain))
}

/// RFC 8941 §3.3.5, without parameters.
pub fn byte_sequence(text: &str) -> Result<Vec<u8>, Malformed> {
    let inner = text.trim_matches([' ', '\t']).strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
    let bytes = STANDARD.decode(inner.ok_or(Malformed)?).map_err(|_| Malformed)?;
    if bytes.is_empty() { Err(Malformed) } else { Ok(bytes) }
}

/// Tells an upstream whose certificate was accepted. // RFC 9440 §2.2, §2.3
pub fn put(headers: &mut HeaderMap, chain: &[Vec<u8>]) {
    let item = |der: &Vec<u8>| format!(":{}:", STANDARD.encode(der));
    let Some((leaf, others)) = chain.split_first() else { return };
    if let Ok(value) = HeaderValue::from_str(&item(leaf)) {
        headers.insert(CLIENT_CERT, value);
    }
    if let Ok(value) = HeaderValue::from_str(&others.iter().map(item).collect::<Vec<_>>().join(", "))
        && !others.is_empty()
    {
        headers.insert(CLIENT_CERT_CHAIN, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_chain(pairs: &[(&str, &str)]) -> Result<Option<Vec<Vec<u8>>>, Malformed> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        read(&headers).map(|presented| presented.map(|presented| presented.chain().to_vec()))
    }

    #[test]
    fn rfc9440_2_2_one_certificate_in_one_form() {
        let one = ("client-cert", ":AQI=:");
        assert_eq!(read_chain(&[]), Ok(None));
        assert_eq!(read_chain(&[one]), Ok(Some(vec![vec![1, 2]])));
        let chain = [one, ("client-cert-chain", ":Aw==:, :BA==:"), ("client-cert-chain", ":BQ==:")];
        assert_eq!(read_chain(&chain), Ok(Some(vec![vec![1, 2], vec![3], vec![4], vec![5]])));
        for bad in ["AQI=", ":AQI:", ":AQI=", "::", ":AQI=:;a=1", ":AQI=:, :AQI=:", "\"AQI=\"", ":A QI=:", ":AQJ=:x"] {
            assert_eq!(read_chain(&[("client-cert", bad)]), Err(Malformed), "{bad}");
        }
        assert_eq!(read_chain(&[one, one]), Err(Malformed));
        assert_eq!(read_chain(&[("client-cert-chain", ":AQI=:")]), Err(Malformed));
        let long = vec![":AQ==:"; CHAIN + 1].join(",");
        assert_eq!(read_chain(&[one, ("client-cert-chain", &long)]), Err(Malformed));
    }

    #[test]
    fn rfc9440_2_what_is_written_is_read() {
        let mut headers = HeaderMap::new();
        put(&mut headers, &[vec![1, 2], vec![3], vec![4]]);
        assert_eq!(headers.get(CLIENT_CERT).unwrap(), ":AQI=:");
        assert_eq!(read(&headers).unwrap().unwrap().chain(), [vec![1, 2], vec![3], vec![4]]);
    }
}
