//! Headers of any kind on a public route: what goes on to the API holds no credential, nothing hop-by-hop, and no identity
//! but the gate's own word; the caller's address is always one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use trigate_fuzz::{Gate, headers};

static GATE: LazyLock<Gate> = LazyLock::new(Gate::new);

fuzz_target!(|data: &[u8]| {
    let map = headers(data);
    let Ok(permit) = GATE.ask("/public/x", &map) else { return };
    let _ = permit.client_address();
    let sent = permit.forwarded_headers(&map, None);
    for name in
        ["authorization", "x-api-key", "dpop", "connection", "te", "transfer-encoding", "upgrade", "client-cert"]
    {
        assert!(!sent.contains_key(name), "{name} went on");
    }
    for (name, value) in &sent {
        if name.as_str().replace('_', "-").starts_with("x-trigate-") {
            assert_eq!(
                (name.as_str(), value.as_bytes()),
                ("x-trigate-request-id", permit.request_id().as_str().as_bytes())
            );
        }
    }
});
