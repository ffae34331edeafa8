//! `Client-Cert` and its chain as a proxy may send them (RFC 9440): none, one reading or a refusal; and what was read is
//! written again as it came, so that no second spelling of a certificate exists.
#![no_main]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use trigate::edge::client_cert::{CLIENT_CERT, CLIENT_CERT_CHAIN, put, read};
use trigate_fuzz::headers;

/// Every item of both fields, without what may stand around it.
fn items(headers: &HeaderMap) -> Vec<String> {
    let chain =
        headers.get_all(CLIENT_CERT_CHAIN).iter().flat_map(|value| value.to_str().unwrap_or_default().split(','));
    let leaf = headers.get_all(CLIENT_CERT).iter().map(|value| value.to_str().unwrap_or_default());
    leaf.chain(chain).map(|item| item.trim_matches([' ', '\t']).to_owned()).collect()
}

fuzz_target!(|data: &[u8]| {
    let came = headers(data);
    let Ok(Some(presented)) = read(&came) else { return };
    let chain = presented.chain();
    assert!(!chain.is_empty() && chain.len() <= 16 && chain.iter().all(|der| !der.is_empty()));
    let spelled: Vec<String> = chain.iter().map(|der| format!(":{}:", STANDARD.encode(der))).collect();
    assert_eq!(items(&came), spelled, "another spelling was read");
    let mut again = HeaderMap::new();
    put(&mut again, chain);
    assert_eq!(read(&again).expect("what we write we read").expect("a certificate").chain(), chain);
});
