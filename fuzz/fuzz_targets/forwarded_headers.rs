//! Headers of any kind on a public route: what goes on to the API holds no credential, nothing hop-by-hop, nothing that
//! `Connection` names, no identity but the gate's own word, and nothing that did not come; the caller's address is the peer's
//! or that of the nearest hop which is no proxy of ours.
#![no_main]

use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use std::{net::IpAddr, sync::LazyLock};
use trigate_fuzz::{Gate, headers};

static GATE: LazyLock<Gate> = LazyLock::new(Gate::new);

/// One text for all that servers take for one name.
fn folded(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// Read from left to right, where the gate reads from the right. `None`: a line that is no text.
fn address(peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
    let lines: Option<Vec<&str>> = headers.get_all("x-forwarded-for").iter().map(|line| line.to_str().ok()).collect();
    let text = lines?.join(",");
    let trusted = |address: &IpAddr| GATE.rules.trusted_proxies.iter().any(|net| net.contains(address));
    let mut nearest = None;
    for hop in text.split(',') {
        nearest = match hop.trim().parse::<IpAddr>().ok().map(|hop| hop.to_canonical()) {
            Some(hop) if trusted(&hop) => nearest.or(Some(hop)),
            Some(hop) => Some(hop),
            None => None,
        };
    }
    Some(nearest.unwrap_or(peer))
}

fuzz_target!(|data: &[u8]| {
    let map = headers(data);
    let Ok(permit) = GATE.ask("/public/x", &map) else { return };
    if let Some(address) = address([192, 0, 2, 7].into(), &map) {
        assert_eq!(permit.client_address(), address, "{map:?}");
    }
    let sent = permit.forwarded_headers(&map, None);
    for name in ["connection", "te", "transfer-encoding", "upgrade", "keep-alive", "trailer", "proxy-connection"] {
        assert!(!sent.contains_key(name), "{name} went on");
    }
    let named: Vec<String> = map
        .get_all("connection")
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(',').map(|name| name.trim().to_ascii_lowercase()))
        .collect();
    for (name, value) in &sent {
        let folded = folded(name.as_str());
        for bad in ["authorization", "proxy-authorization", "x-api-key", "dpop", "client-cert", "x-original-url"] {
            assert_ne!(folded, bad, "{name} went on");
        }
        if folded.starts_with("x-trigate-") {
            assert_eq!(
                (name.as_str(), value.as_bytes()),
                ("x-trigate-request-id", permit.request_id().as_str().as_bytes())
            );
            continue;
        }
        let framing = ["host", "content-length", "content-type"].contains(&name.as_str());
        assert!(framing || !named.iter().any(|named| named == name.as_str()), "{name} went on");
        if name == "cookie" {
            let text = value.to_str().expect("text").to_ascii_lowercase();
            // One prefix: of two, the second is a part of somebody's name.
            let bare = |name: &str| {
                ["__host-", "__secure-"].iter().find_map(|prefix| name.strip_prefix(prefix).map(str::to_owned))
            };
            let ours = |pair: &str| bare(pair).unwrap_or_else(|| pair.to_owned()).starts_with("trigate");
            assert!(!text.split(';').any(|pair| ours(pair.trim())), "{text}");
        } else {
            let count = |map: &HeaderMap| map.get_all(name).iter().filter(|other| *other == value).count();
            assert_eq!(count(&sent), count(&map), "{name}");
        }
    }
});
