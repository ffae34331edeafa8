//! Name constraints (M06): every kind of name, permitted and excluded, and wildcards against them.

use super::{
    forge::{Authority, NOW, at, constraints, der, leaf, oid, seq},
    judge,
};
use crate::{Fault, Policy, accept_chain};
use rcgen::CustomExtension;

const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;

/// Is a leaf with this name accepted below an authority with these constraints? Asked at an intermediate and at the root.
fn passes(kind: u8, permitted: &[&[u8]], excluded: &[&[u8]], name: &[u8]) -> bool {
    let root = Authority::root("root");
    let extension = || constraints(kind, permitted, excluded);
    let middle = root.authority("middle", |p| p.custom_extensions.push(extension()));
    let named = |of: &Authority| {
        let mut params = leaf("spiffe://acme.test/b");
        params.subject_alt_names.clear();
        params.custom_extensions.push(oid(&[2, 5, 29, 17], seq(&[&der(kind, name)])));
        of.sign(&params)
    };
    let through = judge(&[named(&middle), middle.der.clone()], &root.der);
    let bound = Authority::root_with("bound", |p| p.custom_extensions.push(extension()));
    let direct = judge(&[named(&bound)], &bound.der);
    assert_eq!(through.is_ok(), direct.is_ok(), "{through:?} {direct:?}");
    assert!(matches!(through, Ok(_) | Err(Fault::NameConstraint | Fault::Name)), "{through:?}");
    through.is_ok()
}

#[test]
fn m06_dns_constraints_and_wildcards_are_obeyed() {
    for (base, name, inside) in [
        ("acme.test", "acme.test", true),
        ("acme.test", "a.acme.test", true),
        ("acme.test", "A.ACME.test", true),
        ("acme.test", "evilacme.test", false),
        ("acme.test", "acme.test.evil", false),
        (".acme.test", "a.acme.test", true),
        (".acme.test", "acme.test", false),
        ("acme.test", "*.acme.test", true),
        ("a.acme.test", "*.acme.test", false),
        ("acme.test", "*.test", false),
        ("", "anything.test", true),
    ] {
        assert_eq!(passes(DNS, &[base.as_bytes()], &[], name.as_bytes()), inside, "permitted {base}: {name}");
    }
    for (base, name, good) in [
        ("acme.test", "a.acme.test", false),
        ("acme.test", "acme.test", false),
        ("acme.test", "other.test", true),
        // CVE-2025-61727
        ("secret.acme.test", "*.acme.test", false),
        ("deep.secret.acme.test", "*.acme.test", false),
        ("acme.test", "*.acme.test", false),
        ("acme.test", "*.other.test", true),
        (".acme.test", "acme.test", false),
        ("", "a.test", false),
    ] {
        assert_eq!(passes(DNS, &[], &[base.as_bytes()], name.as_bytes()), good, "excluded {base}: {name}");
    }
    assert!(!passes(DNS, &[b"acme.test"], &[b"bad.acme.test"], b"x.bad.acme.test"));
}

#[test]
fn m06_uri_constraints_are_obeyed() {
    for (base, name, inside) in [
        ("acme.test", "spiffe://acme.test/b", true),
        ("acme.test", "https://acme.test:8443/b?x", true),
        ("acme.test", "spiffe://b.acme.test/b", false),
        (".acme.test", "spiffe://b.acme.test/b", true),
        (".acme.test", "spiffe://acme.test/b", false),
        ("acme.test", "spiffe://other.test/acme.test", false),
        ("acme.test", "https://acme.test@evil.test/", false),
        ("acme.test", "https://evil.test#acme.test", false),
        // RFC 5280 §4.2.1.10: without a host name it is refused.
        ("acme.test", "urn:acme.test:b", false),
        ("acme.test", "https://127.0.0.1/", false),
        ("acme.test", "https://[::1]/", false),
    ] {
        assert_eq!(passes(URI, &[base.as_bytes()], &[], name.as_bytes()), inside, "permitted {base}: {name}");
    }
    assert!(!passes(URI, &[], &[b"acme.test"], b"spiffe://acme.test/b"));
    assert!(!passes(URI, &[], &[b"acme.test"], b"https://ACME.test/b"));
    assert!(passes(URI, &[], &[b"acme.test"], b"spiffe://other.test/b"));
    assert!(!passes(URI, &[], &[b"acme.test"], b"urn:x:y"));
}

#[test]
fn m06_mail_and_address_constraints_are_obeyed() {
    for (base, name, inside) in [
        ("a@acme.test", "a@acme.test", true),
        ("a@acme.test", "A@acme.test", false),
        ("a@acme.test", "a@ACME.test", true),
        ("acme.test", "b@acme.test", true),
        ("acme.test", "b@x.acme.test", false),
        (".acme.test", "b@x.acme.test", true),
        (".acme.test", "b@acme.test", false),
        ("acme.test", "acme.test@evil.test", false),
    ] {
        assert_eq!(passes(EMAIL, &[base.as_bytes()], &[], name.as_bytes()), inside, "permitted {base}: {name}");
        if !inside && base != "a@acme.test" {
            assert!(passes(EMAIL, &[], &[base.as_bytes()], name.as_bytes()), "excluded {base}: {name}");
        } else if inside {
            assert!(!passes(EMAIL, &[], &[base.as_bytes()], name.as_bytes()), "excluded {base}: {name}");
        }
    }
    let ten: &[u8] = &[10, 0, 0, 0, 255, 0, 0, 0];
    assert!(passes(IP, &[ten], &[], &[10, 1, 2, 3]));
    assert!(!passes(IP, &[ten], &[], &[11, 1, 2, 3]));
    assert!(!passes(IP, &[], &[ten], &[10, 1, 2, 3]));
    assert!(passes(IP, &[], &[ten], &[11, 1, 2, 3]));
    let v6 = [&[0xfd][..], &[0; 15], &[0xff], &[0; 15]].concat();
    let name = |first: u8| [&[first][..], &[0; 14], &[1]].concat();
    assert!(passes(IP, &[&v6], &[], &name(0xfd)));
    assert!(!passes(IP, &[&v6], &[], &name(0xfe)));
    assert!(!passes(IP, &[&v6], &[], &[10, 1, 2, 3]), "of another family than what is permitted");
}

#[test]
fn m06_directory_names_and_the_subject_count() {
    let root = Authority::root("root");
    let name = |text: &str| {
        let attribute = seq(&[&[6, 3, 0x55, 4, 3], &der(0x0c, text.as_bytes())]);
        seq(&[&der(0x31, &attribute)])
    };
    let below = |extension: CustomExtension| {
        let middle = root.authority("middle", |p| p.custom_extensions.push(extension));
        judge(&[middle.sign(&leaf("spiffe://acme.test/b")), middle.der], &root.der).err()
    };
    // The leaf's subject is `CN=billing`.
    assert_eq!(below(constraints(0xa4, &[&name("billing")], &[])), None);
    assert_eq!(below(constraints(0xa4, &[&name("shop")], &[])), Some(Fault::NameConstraint));
    assert_eq!(below(constraints(0xa4, &[], &[&name("billing")])), Some(Fault::NameConstraint));
    assert_eq!(below(constraints(0xa4, &[], &[&name("BILLING")])), Some(Fault::NameConstraint));
    assert_eq!(below(constraints(0xa4, &[], &[&name("shop")])), None);
    // A kind that the leaf has not leaves it alone; one that is not compared here refuses where it has it.
    assert_eq!(below(constraints(EMAIL, &[b"acme.test"], &[])), None);
}

#[test]
fn m06_malformed_constraints_refuse_and_leaves_have_none() {
    let root = Authority::root("root");
    let below = |content: Vec<u8>| {
        let mut extension = oid(&[2, 5, 29, 30], content);
        extension.set_criticality(true);
        let middle = root.authority("middle", |p| p.custom_extensions.push(extension));
        judge(&[middle.sign(&leaf("spiffe://acme.test/b")), middle.der], &root.der).is_err()
    };
    let tree = |parts: &[&[u8]]| seq(&[&der(0xa0, &seq(parts))]);
    assert!(!below(tree(&[&der(URI, b"acme.test")])));
    assert!(below(tree(&[&der(URI, b"acme.test"), &der(0x80, &[1])])), "minimum");
    assert!(below(tree(&[&der(URI, b"acme.test"), &der(0x81, &[1])])), "maximum");
    assert!(below(seq(&[])));
    assert!(below(seq(&[&der(0xa0, &[])])));
    assert!(below(tree(&[&der(IP, &[10, 0, 0, 0, 255, 0, 255, 0])])), "a mask with a hole");
    assert!(below(tree(&[&der(DNS, b"*.acme.test")])));
    let mut params = leaf("spiffe://acme.test/b");
    params.custom_extensions.push(constraints(URI, &[b"acme.test"], &[]));
    let outcome = accept_chain(
        &[root.sign(&params)],
        &[crate::Certificate::read_root(&root.der).unwrap()],
        &[],
        at(NOW),
        &Policy::default(),
    );
    assert_eq!(outcome.err(), Some(Fault::AuthorityAsClient));
}
