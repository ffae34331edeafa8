//! A client's chain and a revocation list: no panic, and only the leaf that the authority has signed is let in. Bytes are put
//! into the place of others in leaf, intermediate or list.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use trigate_core::Timestamp;
use trigate_x509::{Certificate, Crl, CrlRule, Fault, Policy, accept_chain, read_crls};

const LEAF: &[u8] = include_bytes!("../data/leaf.der");
const MIDDLE: &[u8] = include_bytes!("../data/mid.der");
const LIST: &[u8] = include_bytes!("../data/list.der");

static ROOT: LazyLock<[Certificate; 1]> =
    LazyLock::new(|| [Certificate::read_root(include_bytes!("../data/root.der")).expect("a root")]);
static GOOD_LIST: LazyLock<Crl> = LazyLock::new(|| Crl::read(LIST).expect("a list"));

/// `with` in the place of `cut` bytes at `at`.
fn bent(good: &[u8], at: usize, cut: usize, with: &[u8]) -> Vec<u8> {
    let at = at % (good.len() + 1);
    [&good[..at], with, &good[(at + cut).min(good.len())..]].concat()
}

fuzz_target!(|data: &[u8]| {
    let [which, high, low, cut, with @ ..] = data else { return };
    let (at, cut) = (usize::from(*high) << 8 | usize::from(*low), usize::from(*cut));
    let now = Timestamp::from_seconds(1_800_000_000);
    let judge = |chain: &[&[u8]], lists: &[&Crl], required| {
        let policy = Policy { crl: CrlRule { required, grace_s: 0 }, ..Policy::default() };
        accept_chain(chain, &*ROOT, lists, now, &policy)
    };
    match which % 5 {
        0 => {
            let leaf = bent(LEAF, at, cut, with);
            let accepted = judge(&[&leaf, MIDDLE], &[], false).is_ok();
            assert_eq!(accepted, leaf == LEAF, "only the signed leaf is let in");
        }
        1 => {
            let middle = bent(MIDDLE, at, cut, with);
            assert_eq!(judge(&[LEAF, &middle], &[], false).is_ok(), middle == MIDDLE);
        }
        2 => {
            let list = bent(LIST, at, cut, with);
            let Ok(read) = Crl::read(&list) else { return };
            // SECURITY: a list that nobody signed must not stand in for one where one is required.
            let verdict = judge(&[LEAF, MIDDLE], &[&read], true);
            assert!(verdict.is_err(), "the root's list is missing");
            assert!(list == LIST || judge(&[LEAF, MIDDLE], &[&read], false) != Err(Fault::Revoked));
        }
        3 => {
            let _ = read_crls(with);
            let _ = judge(&[with], &[&GOOD_LIST], false);
        }
        _ => {
            let chain: Vec<&[u8]> = std::iter::once(LEAF).chain(with.chunks(cut.max(1))).collect();
            assert!(judge(&chain, &[], false).is_err(), "nothing leads to the root");
        }
    }
});
