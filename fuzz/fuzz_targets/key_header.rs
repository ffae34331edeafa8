//! Headers of any kind on a route that wants a key: no panic, and only the one key opens it, alone and in a header that
//! keys come in; and alone it does. `$` in what came stands for the key, which nobody guesses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use trigate_fuzz::{Gate, headers};

static GATE: LazyLock<Gate> = LazyLock::new(Gate::new);

fuzz_target!(|data: &[u8]| {
    let key = GATE.key.reveal();
    let filled: Vec<u8> = data
        .iter()
        .flat_map(|byte| if *byte == b'$' { key.as_bytes() } else { std::slice::from_ref(byte) })
        .copied()
        .collect();
    let map = headers(&filled);
    let bare: Vec<&[u8]> = map.get_all("x-api-key").iter().map(|value| value.as_bytes()).collect();
    let schemes: Vec<&[u8]> = map.get_all("authorization").iter().map(|value| value.as_bytes()).collect();
    let opens = |value: &&[u8]| {
        value
            .split_at_checked(7)
            .is_some_and(|(scheme, rest)| scheme.eq_ignore_ascii_case(b"apikey ") && rest == key.as_bytes())
    };
    match (GATE.ask("/api/x", &map).is_ok(), &bare[..], &schemes[..]) {
        (true, [one], []) => assert_eq!(*one, key.as_bytes(), "{map:?}"),
        // Beside a key only what is no key.
        (true, [one], [other]) => assert!(*one == key.as_bytes() && !opens(other), "{map:?}"),
        (true, [], [one]) => assert!(opens(one), "{map:?}"),
        (true, ..) => panic!("not one key: {map:?}"),
        (false, [one], []) => assert_ne!(*one, key.as_bytes(), "an honest key is refused: {map:?}"),
        (false, [], [one]) => assert!(!opens(one), "an honest key is refused: {map:?}"),
        (false, ..) => {}
    }
});
