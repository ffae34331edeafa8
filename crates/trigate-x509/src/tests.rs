//! The machine lines of the attack catalogue (M01 to M09), each against a chain that differs from a good one in that
//! one thing.

mod constraints;
mod forge;
mod lists;

use self::forge::{Authority, NOW, at, bits, der, integer, leaf, oid, openssl, seq, uri_constraints};
use crate::{Certificate, ClientUse, Fault, Policy, Verified, accept_chain, accept_pem};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType};
use std::time::Instant;

fn judge(chain: &[Vec<u8>], root: &[u8]) -> Result<Verified, Fault> {
    judge_by(chain, root, &Policy::default())
}

fn judge_by(chain: &[Vec<u8>], root: &[u8], policy: &Policy) -> Result<Verified, Fault> {
    let roots: Vec<Certificate> = Certificate::read_root(root).into_iter().collect();
    accept_chain(chain, &roots, &[], at(NOW), policy)
}

/// A leaf below the root that was changed in one thing.
fn fault(change: impl FnOnce(&mut CertificateParams)) -> Option<Fault> {
    let root = Authority::root("root");
    let mut params = leaf("spiffe://acme.test/billing");
    change(&mut params);
    judge(&[root.sign(&params)], &root.der).err()
}

#[test]
fn a_good_chain_is_accepted_and_its_facts_are_told() {
    let root = Authority::root("root");
    let middle = root.authority("middle", |_| {});
    let der = middle.sign(&leaf("spiffe://acme.test/billing"));
    let verified = judge(&[der.clone(), middle.der.clone()], &root.der).unwrap();
    assert_eq!(verified.leaf.san_uris, ["spiffe://acme.test/billing"]);
    assert_eq!(verified.until, at(NOW + 3_600));
    let direct = judge(&[root.sign(&leaf("spiffe://acme.test/b"))], &root.der);
    assert!(direct.is_ok(), "{direct:?}");
    // In any order, and with things that do not belong to it.
    let other = Authority::root("other");
    assert!(judge(&[der.clone(), other.der, root.der.clone(), middle.der], &root.der).is_ok());
    assert_eq!(judge(&[der], &root.der), Err(Fault::UnknownIssuer));
    assert_eq!(judge(&[], &root.der), Err(Fault::Empty));
}

#[test]
fn m01_expired_foreign_and_false_authorities_are_refused() {
    assert_eq!(fault(|_| {}), None);
    let life = |from: i64, to: i64| {
        move |p: &mut CertificateParams| {
            p.not_before = forge::when(NOW + from);
            p.not_after = forge::when(NOW + to);
        }
    };
    assert_eq!(fault(life(-100, -1)), Some(Fault::Expired));
    assert_eq!(fault(life(1, 100)), Some(Fault::NotYetValid));
    assert_eq!(fault(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), Some(Fault::AuthorityAsClient));

    let root = Authority::root("root");
    let key = KeyPair::generate().unwrap();
    let own = leaf("spiffe://acme.test/billing").self_signed(&key).unwrap().der().to_vec();
    assert_eq!(judge(std::slice::from_ref(&own), &root.der).err(), Some(Fault::UnknownIssuer));
    // Not even as its own root: it is no authority.
    assert!(judge(std::slice::from_ref(&own), &own).is_err());
    // The right name with another key.
    let namesake = Authority::root("root");
    assert_eq!(judge(&[namesake.sign(&leaf("spiffe://acme.test/b"))], &root.der).err(), Some(Fault::UnknownIssuer));

    let through = |change: fn(&mut CertificateParams)| {
        let middle = root.authority("middle", change);
        judge(&[middle.sign(&leaf("spiffe://acme.test/b")), middle.der], &root.der).err()
    };
    assert_eq!(through(|_| {}), None);
    assert_eq!(through(|p| p.is_ca = IsCa::ExplicitNoCa), Some(Fault::NotAnAuthority));
    assert_eq!(through(|p| p.is_ca = IsCa::NoCa), Some(Fault::NotAnAuthority));
    assert_eq!(through(|p| p.key_usages = vec![KeyUsagePurpose::DigitalSignature]), Some(Fault::NotAnAuthority));
    assert_eq!(through(|p| p.not_after = forge::when(NOW - 1)), Some(Fault::Expired));
    // RFC 5280 §4.2.1.9: no authority below one of length 0.
    let short = root.authority("short", |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let below = short.authority("below", |_| {});
    let chain = [below.sign(&leaf("spiffe://acme.test/b")), below.der, short.der];
    assert_eq!(judge(&chain, &root.der).err(), Some(Fault::PathLength));
    // An expired root, and one that is none.
    let old = Authority::root_with("old", |p| p.not_after = forge::when(NOW - 1));
    assert_eq!(judge(&[old.sign(&leaf("spiffe://acme.test/b"))], &old.der).err(), Some(Fault::Expired));
    let none = Authority::root_with("none", |p| p.is_ca = IsCa::ExplicitNoCa);
    assert_eq!(judge(&[none.sign(&leaf("spiffe://acme.test/b"))], &none.der).err(), Some(Fault::UnknownIssuer));
}

#[test]
fn m02_the_certificate_must_be_for_clients() {
    let uses = |list: &[ExtendedKeyUsagePurpose], usage: ClientUse| {
        let root = Authority::root("root");
        let mut params = leaf("spiffe://acme.test/b");
        params.extended_key_usages = list.to_vec();
        judge_by(&[root.sign(&params)], &root.der, &Policy { usage, ..Policy::default() }).err()
    };
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
    for (list, said, any, not_denied) in [
        (&[ClientAuth][..], true, true, true),
        (&[ServerAuth, ClientAuth], true, true, true),
        (&[ServerAuth], false, false, false),
        (&[Any], false, true, true),
        (&[], false, false, true),
    ] {
        for (usage, good) in [(ClientUse::Said, said), (ClientUse::SaidOrAny, any), (ClientUse::NotDenied, not_denied)]
        {
            let expected = (!good).then_some(Fault::ExtendedKeyUsage);
            assert_eq!(uses(list, usage), expected, "{list:?} {usage:?}");
        }
    }
    assert_eq!(fault(|p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment]), Some(Fault::KeyUsage));
    assert_eq!(fault(|p| p.key_usages = vec![]), None);
    // An authority for servers makes no clients.
    let root = Authority::root("root");
    let servers = root.authority("servers", |p| p.extended_key_usages = vec![ServerAuth]);
    let chain = [servers.sign(&leaf("spiffe://acme.test/b")), servers.der];
    assert_eq!(judge(&chain, &root.der).err(), Some(Fault::ExtendedKeyUsage));
}

#[test]
fn m05_names_with_two_readings_are_refused() {
    let names = |list: &[(u8, &[u8])]| {
        let content: Vec<u8> = list.iter().flat_map(|(tag, text)| der(*tag, text)).collect();
        fault(|p| {
            p.subject_alt_names.clear();
            p.custom_extensions.push(oid(&[2, 5, 29, 17], seq(&[&content])));
        })
    };
    for good in [
        &[(0x86, &b"spiffe://acme.test/billing"[..])][..],
        &[(0x82, b"billing.acme.test")],
        &[(0x82, b"xn--bcher-kva.test")],
        &[(0x86, b"spiffe://acme.test/b"), (0x82, b"b.acme.test")],
        &[(0x86, b"https://a.test/1"), (0x86, b"https://a.test/2")],
        &[(0x87, &[127, 0, 0, 1])],
    ] {
        assert_eq!(names(good), None, "{good:?}");
    }
    for bad in [
        &[(0x82, &b"billing.acme.test\0.evil.test"[..])][..],
        &[(0x82, b"billing.acme.test.")],
        &[(0x82, "b\u{fc}cher.test".as_bytes())],
        &[(0x82, b"b.*.test")],
        &[(0x82, b"a..test")],
        &[(0x82, b"")],
        &[(0x82, b" a.test")],
        &[(0x86, b"spiffe://acme.test/a/../b")],
        &[(0x86, b"spiffe://acme.test/a/./b")],
        &[(0x86, b"spiffe://acme.test//b")],
        &[(0x86, b"spiffe://acme.test/b/")],
        &[(0x86, b"spiffe://acme.test/%2e%2e/b")],
        &[(0x86, b"spiffe://acme.test:443/b")],
        &[(0x86, b"spiffe://u@acme.test/b")],
        &[(0x86, b"spiffe://ACME.test/b")],
        &[(0x86, b"SPIFFE://acme.test/b")],
        &[(0x86, b"spiffe://acme.test/b?x")],
        &[(0x86, b"spiffe://acme.test/b\0")],
        &[(0x86, b"spiffe://acme.test/a"), (0x86, b"spiffe://acme.test/b")],
        &[(0x86, b"spiffe://acme.test/a"), (0x86, b"https://acme.test/b")],
        &[(0x87, &[127, 0, 0])],
        &[],
    ] {
        assert!(matches!(names(bad), Some(Fault::Name | Fault::Unreadable(_))), "{bad:?} {:?}", names(bad));
    }
}

#[test]
fn m05_a_spiffe_id_is_of_the_bundles_trust_domain() {
    let root = Authority::root("root");
    let policy = Policy { trust_domain: Some("acme.test".into()), ..Policy::default() };
    let of = |name: &str| judge_by(&[root.sign(&leaf(name))], &root.der, &policy).err();
    assert_eq!(of("spiffe://acme.test/billing"), None);
    assert_eq!(of("spiffe://other.test/billing"), Some(Fault::TrustDomain));
    assert_eq!(of("spiffe://acme.test.evil/billing"), Some(Fault::TrustDomain));
}

#[test]
fn m07_certificates_that_break_the_form_are_refused() {
    let root = Authority::root("root");
    let good = root.sign(&leaf("spiffe://acme.test/billing"));
    assert!(judge(&[root.resign(&good, |tbs| tbs.to_vec())], &root.der).is_ok());

    let critical = |yes: bool| {
        fault(|p| {
            let mut extension = rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
            extension.set_criticality(yes);
            p.custom_extensions.push(extension);
        })
    };
    assert_eq!((critical(false), critical(true)), (None, Some(Fault::CriticalExtension)));
    // Policy constraints would have to be processed. // RFC 5280 §4.2.1.11
    let policy = fault(|p| {
        let mut extension = oid(&[2, 5, 29, 36], seq(&[&der(0x80, &[0])]));
        extension.set_criticality(true);
        p.custom_extensions.push(extension);
    });
    assert_eq!(policy, Some(Fault::CriticalExtension));
    let twice = fault(|p| p.custom_extensions.push(oid(&[2, 5, 29, 37], seq(&[&[6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2]]))));
    assert_eq!(twice, Some(Fault::DuplicateExtension));

    let serial = |bytes: &[u8]| judge(&[root.with_serial(&good, bytes)], &root.der).err();
    assert_eq!(serial(&[0x7f]), None);
    for bad in [&[0x80][..], &[0xff, 1], &[0], &[1; 21]] {
        assert!(matches!(serial(bad), Some(Fault::Serial | Fault::Unreadable(_))), "{bad:?} {:?}", serial(bad));
    }
    // Version 1: no extensions, no version field.
    let v1 = root.version_one(&good);
    assert_eq!(judge(&[v1], &root.der).err(), Some(Fault::Version));

    let mut long = good.clone();
    long.push(0);
    assert!(matches!(judge(&[long], &root.der), Err(Fault::Unreadable(_))));
    for end in [0, 1, 20, good.len() / 2, good.len() - 1] {
        assert!(judge(&[good[..end].to_vec()], &root.der).is_err());
    }
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(judge(&[flipped], &root.der).is_err());
}

#[test]
fn m08_weak_keys_and_signatures_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let chain = |ca: &[&str], leaf: &[&str], hash: &str| openssl(folder.path(), ca, leaf, hash);
    let p256 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
    let accepted = |(leaf, root): (String, String)| accept_pem(&[leaf], &[root], &[], at(NOW)).err();
    assert_eq!(accepted(chain(&p256, &p256, "-sha256")), None);
    assert_eq!(accepted(chain(&["-newkey", "rsa:2048"], &["-newkey", "rsa:2048"], "-sha256")), None);
    assert_eq!(accepted(chain(&["-newkey", "rsa:2048"], &["-newkey", "ed25519"], "-sha384")), None);
    assert_eq!(accepted(chain(&p256, &["-newkey", "rsa:1024"], "-sha256")), Some(Fault::WeakKey));
    let p192 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime192v1"];
    assert_eq!(accepted(chain(&p256, &p192, "-sha256")), Some(Fault::WeakKey));
    assert_eq!(accepted(chain(&["-newkey", "rsa:2048"], &p256, "-sha1")), Some(Fault::WeakSignature));
    assert_eq!(accepted(chain(&["-newkey", "rsa:1024"], &p256, "-sha256")), Some(Fault::UnknownIssuer));
    assert_eq!(accepted(chain(&p192, &p256, "-sha256")), Some(Fault::UnknownIssuer));
    let small = ["-newkey", "rsa:2048", "-pkeyopt", "rsa_keygen_pubexp:3"];
    assert_eq!(accepted(chain(&p256, &small, "-sha256")), None);

    let key = |modulus: &[u8], exponent: &[u8]| {
        let key = seq(&[&integer(modulus), &integer(exponent)]);
        let spki = seq(&[&seq(&[&[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1], &[5, 0]]), &bits(&key)]);
        crate::key::check_key(&spki)
    };
    let modulus = [&[0][..], &[0xff; 256]].concat();
    assert_eq!(key(&modulus, &[1, 0, 1]), Ok(()));
    for (modulus, exponent) in [
        (&modulus[..], &[1][..]),
        (&modulus, &[2]),
        (&modulus, &[0]),
        (&modulus, &[1; 9]),
        (&modulus[..200], &[1, 0, 1]),
        (&[0x7f; 255], &[1, 0, 1]),
        (&[0x7f; 1_100], &[1, 0, 1]),
        (&[], &[1, 0, 1]),
    ] {
        assert_eq!(key(modulus, exponent), Err(Fault::WeakKey), "{} {exponent:?}", modulus.len());
    }
}

/// The bound is 50 ms where it is built for use; unoptimized code is given more.
const BOUND_MS: u128 = if cfg!(debug_assertions) { 500 } else { 50 };

#[allow(clippy::disallowed_methods, reason = "a bound of real time is measured")]
fn within_bound(name: &str, chain: &[Vec<u8>], root: &[u8]) -> Result<Verified, Fault> {
    let roots = [Certificate::read_root(root).unwrap()];
    let began = Instant::now();
    let outcome = accept_chain(chain, &roots, &[], at(NOW), &Policy::default());
    let took = began.elapsed();
    println!("{name}: {:.1} ms, {outcome:?}", took.as_secs_f64() * 1_000.0);
    assert!(took.as_millis() <= BOUND_MS, "{name}: {took:?}");
    outcome
}

#[test]
fn m09_long_meshed_and_constrained_chains_are_bounded() {
    let root = Authority::root("root");
    let mut line = vec![root.authority("1", |_| {})];
    for n in 2..=50 {
        let next = line.last().unwrap().authority(&n.to_string(), |_| {});
        line.push(next);
    }
    let mut chain = vec![line.last().unwrap().sign(&leaf("spiffe://acme.test/b"))];
    chain.extend(line.iter().rev().map(|authority| authority.der.clone()));
    assert_eq!(within_bound("50 intermediates", &chain, &root.der).err(), Some(Fault::PathLength));
    assert_eq!(chain.len(), 51);

    // Eight authorities that have all signed each other, and none leads to the root.
    let stranger = Authority::root("stranger");
    let mesh: Vec<Authority> = (0..8).map(|n| stranger.authority(&format!("m{n}"), |_| {})).collect();
    let mut chain = vec![mesh[0].sign(&leaf("spiffe://acme.test/b"))];
    chain.extend(mesh.iter().flat_map(|one| mesh.iter().map(|other| other.cross(one))).take(64));
    assert_eq!(within_bound("a mesh", &chain, &root.der).err(), Some(Fault::TooMuchWork));

    let constrained = |count: usize| {
        root.authority("constrained", |p| {
            let names: Vec<String> = (0..count).map(|n| format!(".n{n}.test")).collect();
            p.custom_extensions.push(uri_constraints(&names, &[]));
        })
    };
    let wide = constrained(10_000);
    let chain = [wide.sign(&leaf("spiffe://x.n9999.test/b")), wide.der];
    assert!(matches!(within_bound("10,000 constraints", &chain, &root.der), Err(Fault::Unreadable(_))));
    // The most that one certificate carries.
    let wide = constrained(3_000);
    let chain = [wide.sign(&leaf("spiffe://x.n2999.test/b")), wide.der.clone()];
    assert!(within_bound("3,000 constraints", &chain, &root.der).is_ok());
    let mut many = leaf("spiffe://x.n1.test/b");
    many.subject_alt_names =
        (0..100).map(|n| SanType::URI(format!("https://x.n{n}.test/").try_into().unwrap())).collect();
    let chain = [wide.sign(&many), wide.der];
    assert_eq!(within_bound("100 names under them", &chain, &root.der).err(), Some(Fault::TooMuchWork));
    let crowd: Vec<Vec<u8>> = vec![root.sign(&leaf("spiffe://acme.test/b")); 66];
    assert_eq!(judge(&crowd, &root.der).err(), Some(Fault::TooMany));
}

#[test]
fn another_path_is_found_where_the_first_one_fails() {
    let (old, new) = (Authority::root("old"), Authority::root("new"));
    let middle = old.authority("middle", |_| {});
    let cross = middle.cross_by(&new, "middle");
    let chain = [middle.sign(&leaf("spiffe://acme.test/b")), middle.der.clone(), cross];
    assert!(judge(&chain, &new.der).is_ok());
    assert!(judge(&chain, &old.der).is_ok());
}
