//! Revocation lists (M03, M04): honoured when they are the authority's, refused when they are bad, never ignored.

use super::forge::{Authority, ECDSA, NOW, at, der, integer, leaf, seq, when};
use crate::{Certificate, Crl, CrlRule, Fault, MAX_CRL_BYTES, Policy, accept_chain, read_crls};
use rcgen::KeyUsagePurpose;

struct List<'a> {
    from: i64,
    to: i64,
    revoked: &'a [&'a [u8]],
    extensions: Vec<Vec<u8>>,
    /// In each entry.
    entry: Vec<u8>,
}

impl Default for List<'_> {
    fn default() -> Self {
        Self { from: -60, to: 600, revoked: &[], extensions: vec![number(5)], entry: Vec::new() }
    }
}

fn number(n: u8) -> Vec<u8> {
    extension(&[0x55, 0x1d, 0x14], false, &integer(&[n]))
}

fn delta(n: u8) -> Vec<u8> {
    extension(&[0x55, 0x1d, 0x1b], true, &integer(&[n]))
}

fn extension(oid: &[u8], critical: bool, content: &[u8]) -> Vec<u8> {
    let critical = if critical { vec![1, 1, 0xff] } else { vec![] };
    seq(&[&der(6, oid), &critical, &der(4, content)])
}

fn time(seconds: i64) -> Vec<u8> {
    let at = when(seconds);
    let text = format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    );
    der(0x17, &text.as_bytes()[2..])
}

fn make(by: &Authority, list: &List<'_>) -> Vec<u8> {
    make_as(by, &by.subject(), list)
}

fn make_as(by: &Authority, issuer: &[u8], list: &List<'_>) -> Vec<u8> {
    let entries: Vec<u8> =
        list.revoked.iter().flat_map(|serial| seq(&[&integer(serial), &time(NOW - 100), &list.entry])).collect();
    let entries = if entries.is_empty() { entries } else { der(0x30, &entries) };
    let extensions: Vec<u8> = list.extensions.concat();
    let extensions = if extensions.is_empty() { extensions } else { der(0xa0, &der(0x30, &extensions)) };
    by.signed(&seq(&[
        &integer(&[1]),
        &ECDSA,
        issuer,
        &time(NOW + list.from),
        &time(NOW + list.to),
        &entries,
        &extensions,
    ]))
}

const SERIAL: [u8; 3] = [0x2a, 1, 2];

struct Case {
    root: Authority,
    middle: Authority,
    chain: Vec<Vec<u8>>,
}

impl Case {
    fn new() -> Self {
        Self::below(Authority::root("root"))
    }

    fn below(root: Authority) -> Self {
        let middle = root.authority("middle", |_| {});
        let leaf = middle.with_serial(&middle.sign(&leaf("spiffe://acme.test/b")), &SERIAL);
        let chain = vec![leaf, middle.der.clone()];
        Self { root, middle, chain }
    }

    fn judge(&self, lists: &[Vec<u8>], rule: CrlRule) -> Option<Fault> {
        let lists: Vec<Crl> = lists.iter().map(|list| Crl::read(list).unwrap()).collect();
        let lists: Vec<&Crl> = lists.iter().collect();
        let roots = [Certificate::read_root(&self.root.der).unwrap()];
        accept_chain(&self.chain, &roots, &lists, at(NOW), &Policy { crl: rule, ..Policy::default() }).err()
    }
}

const IF_THERE: CrlRule = CrlRule { required: false, grace_s: 0 };
const REQUIRED: CrlRule = CrlRule { required: true, grace_s: 0 };

#[test]
fn m03_what_its_authority_has_revoked_is_refused() {
    let case = Case::new();
    let revokes = |serial: &[u8]| make(&case.middle, &List { revoked: &[&[9], serial, &[0x2b]], ..List::default() });
    let clean = make(&case.middle, &List::default());
    let of_root = make(&case.root, &List::default());
    assert_eq!(case.judge(&[], IF_THERE), None);
    assert_eq!(case.judge(std::slice::from_ref(&clean), IF_THERE), None);
    assert_eq!(case.judge(&[revokes(&[0x2a, 1, 3])], IF_THERE), None);
    assert_eq!(case.judge(&[revokes(&SERIAL)], IF_THERE), Some(Fault::Revoked));
    assert_eq!(case.judge(&[clean.clone(), revokes(&SERIAL)], IF_THERE), Some(Fault::Revoked));
    assert_eq!(case.judge(&[clean.clone(), of_root.clone()], REQUIRED), None);
    // The intermediate itself.
    let serial = Certificate::read(&case.middle.der).unwrap().serial;
    let middle_gone = make(&case.root, &List { revoked: &[&serial], ..List::default() });
    assert_eq!(case.judge(&[middle_gone], IF_THERE), Some(Fault::Revoked));

    // Another authority's list says nothing here: it is no list for `required`, either.
    let foreign = make(&Authority::root("other"), &List { revoked: &[&SERIAL], ..List::default() });
    assert_eq!(case.judge(std::slice::from_ref(&foreign), IF_THERE), None);
    assert_eq!(case.judge(&[foreign, of_root.clone()], REQUIRED), Some(Fault::CrlMissing));
    // Under the authority's name, but not by its key.
    let forged = make_as(&Authority::root("x"), &case.middle.subject(), &List::default());
    assert!(matches!(case.judge(&[forged], IF_THERE), Some(Fault::CrlUnusable(_))));
    // A renewed authority of the same name has its own list: told apart by the key id.
    let renewed = Authority::root("middle");
    let id = extension(&[0x55, 0x1d, 0x23], false, &seq(&[&der(0x80, &renewed.key_id())]));
    let of_renewed = make(&renewed, &List { extensions: vec![id, number(1)], ..List::default() });
    assert_eq!(case.judge(&[of_renewed], IF_THERE), None);
}

#[test]
fn m03_an_authority_without_crlsign_signs_no_lists() {
    let root = Authority::root("root");
    let middle = root.authority("middle", |p| p.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    let leaf = middle.with_serial(&middle.sign(&leaf("spiffe://acme.test/b")), &SERIAL);
    let case = Case { chain: vec![leaf, middle.der.clone()], root, middle };
    assert_eq!(case.judge(&[], IF_THERE), None);
    let list = make(&case.middle, &List::default());
    assert!(matches!(case.judge(&[list], IF_THERE), Some(Fault::CrlUnusable(_))));
}

#[test]
fn m03_deltas_are_honoured_on_their_base_and_refused_without_it() {
    let case = Case::new();
    let base = make(&case.middle, &List::default());
    let of_root = make(&case.root, &List::default());
    let change = |on: u8, revoked: &[&[u8]], entry: Vec<u8>| {
        make(&case.middle, &List { revoked, entry, extensions: vec![number(7), delta(on)], ..List::default() })
    };
    assert_eq!(case.judge(&[base.clone(), change(5, &[&SERIAL], vec![])], IF_THERE), Some(Fault::Revoked));
    assert_eq!(case.judge(&[base.clone(), change(5, &[&[1]], vec![]), of_root.clone()], REQUIRED), None);
    assert!(matches!(case.judge(&[change(5, &[], vec![])], IF_THERE), Some(Fault::CrlUnusable(_))));
    // Built on a later list than the one at hand: what stood between is not known.
    assert!(matches!(case.judge(&[base.clone(), change(6, &[], vec![])], IF_THERE), Some(Fault::CrlUnusable(_))));
    // `removeFromCRL` does not bring back what the complete list says.
    let lifted = seq(&[&extension(&[0x55, 0x1d, 0x15], false, &[0x0a, 1, 8])]);
    assert_eq!(case.judge(&[base, change(5, &[&SERIAL], lifted.clone())], IF_THERE), None);
    let says = make(&case.middle, &List { revoked: &[&SERIAL], ..List::default() });
    assert_eq!(case.judge(&[says, change(5, &[&SERIAL], lifted)], IF_THERE), Some(Fault::Revoked));
}

#[test]
fn m03_lists_in_forms_that_are_not_understood_refuse() {
    let case = Case::new();
    let with = |extra: Vec<u8>| make(&case.middle, &List { extensions: vec![number(5), extra], ..List::default() });
    let unknown = |critical| extension(&[0x2b, 1, 1], critical, &[5, 0]);
    assert_eq!(case.judge(&[with(unknown(false))], IF_THERE), None);
    assert!(matches!(case.judge(&[with(unknown(true))], IF_THERE), Some(Fault::CrlUnusable(_))));
    let point = |content: &[u8]| with(extension(&[0x55, 0x1d, 0x1c], true, &seq(&[content])));
    let indirect = point(&[0x84, 1, 0xff]);
    assert!(matches!(case.judge(&[indirect], IF_THERE), Some(Fault::CrlUnusable(_))));
    let some_reasons = point(&[0x83, 2, 1, 0x40]);
    assert!(matches!(case.judge(&[some_reasons], IF_THERE), Some(Fault::CrlUnusable(_))));
    // One for authorities alone does not speak of the leaf; one for users does.
    let of_root = make(&case.root, &List::default());
    assert_eq!(case.judge(&[point(&[0x82, 1, 0xff]), of_root.clone()], REQUIRED), Some(Fault::CrlMissing));
    assert_eq!(case.judge(&[point(&[0x81, 1, 0xff]), of_root.clone()], REQUIRED), None);
    // A part of a divided list that the leaf does not point to.
    let elsewhere = der(0xa0, &der(0xa0, &der(0x86, b"http://ca.test/2.crl")));
    assert_eq!(case.judge(&[point(&elsewhere), of_root], REQUIRED), Some(Fault::CrlMissing));
    let entry = seq(&[&extension(&[0x55, 0x1d, 0x1d], true, &seq(&[]))]);
    let entries = make(&case.middle, &List { revoked: &[&[1]], entry, ..List::default() });
    assert!(matches!(case.judge(&[entries], IF_THERE), Some(Fault::CrlUnusable(_))));
}

#[test]
fn m04_old_absent_truncated_and_huge_lists_fail_closed() {
    let case = Case::new();
    let of_root = make(&case.root, &List { to: 10_000, ..List::default() });
    let old = make(&case.middle, &List { from: -1_000, to: -100, ..List::default() });
    assert_eq!(case.judge(std::slice::from_ref(&old), IF_THERE), Some(Fault::CrlStale));
    assert_eq!(case.judge(&[old.clone(), of_root.clone()], REQUIRED), Some(Fault::CrlStale));
    // The last good list counts within the grace, and not after it.
    assert_eq!(case.judge(&[old.clone(), of_root.clone()], CrlRule { required: true, grace_s: 100 }), None);
    assert_eq!(case.judge(&[old, of_root.clone()], CrlRule { required: true, grace_s: 99 }), Some(Fault::CrlStale));
    let early = make(&case.middle, &List { from: 10, ..List::default() });
    assert!(matches!(case.judge(&[early], IF_THERE), Some(Fault::CrlUnusable(_))));
    assert_eq!(case.judge(&[], REQUIRED), Some(Fault::CrlMissing));
    assert_eq!(case.judge(&[of_root], REQUIRED), Some(Fault::CrlMissing));

    let good = make(&case.middle, &List { revoked: &[&SERIAL], ..List::default() });
    for end in 0..good.len() {
        assert!(read_crls(&good[..end]).is_err(), "{end}");
    }
    assert!(read_crls(b"").is_err() && read_crls(b"-----BEGIN X509 CRL-----\nAAAA\n").is_err());
    assert!(read_crls(&[&good[..], &[0]].concat()).is_err());
    assert_eq!(Crl::read(&vec![0x30; MAX_CRL_BYTES + 1]).err(), Some(Fault::CrlUnreadable("it is too large")));
}

#[test]
fn m04_a_list_of_a_hundred_thousand_is_searched_not_walked() {
    let case = Case::new();
    let serials: Vec<[u8; 5]> = (0..100_000_u32)
        .map(|n| {
            let [a, b, c, d] = n.to_be_bytes();
            [0x11, a, b, c, d]
        })
        .collect();
    let serials: Vec<&[u8]> = serials.iter().map(<[u8; 5]>::as_slice).collect();
    let list = Crl::read(&make(&case.middle, &List { revoked: &serials, ..List::default() })).unwrap();
    assert_eq!(list.len(), 100_000);
    assert!(serials.iter().step_by(997).all(|serial| list.revokes(serial)));
    assert!(!list.revokes(&SERIAL) && !list.revokes(&[]));
}
