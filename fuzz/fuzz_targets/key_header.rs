//! Headers of any kind on a route that wants a key: no panic, and only the one key opens it, alone and in a header that
//! keys come in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use trigate_fuzz::{Gate, headers};

static GATE: LazyLock<Gate> = LazyLock::new(Gate::new);

fuzz_target!(|data: &[u8]| {
    let map = headers(data);
    if GATE.ask("/api/x", &map).is_ok() {
        let key = GATE.key.reveal();
        let bare = map.get_all("x-api-key").iter().filter(|value| value.as_bytes() == key.as_bytes()).count();
        let scheme =
            map.get_all("authorization").iter().filter(|value| value.as_bytes().ends_with(key.as_bytes())).count();
        assert_eq!(bare + scheme, 1, "{map:?}");
    }
});
