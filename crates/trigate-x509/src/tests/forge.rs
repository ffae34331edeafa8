//! Certificates of every kind, also of those that no honest tool makes.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, SigningKey,
};
use std::{path::Path, process::Command};
use trigate_core::Timestamp;

/// 2030-01-01T00:00:00Z.
pub const NOW: i64 = 1_893_456_000;

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

pub fn when(seconds: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

pub struct Authority {
    pub der: Vec<u8>,
    pub params: CertificateParams,
    key: KeyPair,
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = when(NOW - 3_600);
    params.not_after = when(NOW + 7_200);
    params.use_authority_key_identifier_extension = true;
    params
}

pub fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

/// A good leaf of this name.
pub fn leaf(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("billing");
    params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = when(NOW - 60);
    params.not_after = when(NOW + 3_600);
    params.use_authority_key_identifier_extension = true;
    params
}

impl Authority {
    pub fn root(name: &str) -> Self {
        Self::root_with(name, |_| {})
    }

    pub fn root_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (authority_params(name), KeyPair::generate().unwrap());
        params.use_authority_key_identifier_extension = false;
        change(&mut params);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { der, params, key }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    /// An authority below this one.
    pub fn authority(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (authority_params(name), KeyPair::generate().unwrap());
        change(&mut params);
        let der = params.signed_by(&key, &self.issuer()).unwrap().der().to_vec();
        Self { der, params, key }
    }

    /// This authority's key under its name, certified by `other`.
    pub fn cross(&self, other: &Self) -> Vec<u8> {
        self.params.signed_by(&self.key, &other.issuer()).unwrap().der().to_vec()
    }

    pub fn cross_by(&self, other: &Self, name: &str) -> Vec<u8> {
        authority_params(name).signed_by(&self.key, &other.issuer()).unwrap().der().to_vec()
    }

    pub fn sign(&self, params: &CertificateParams) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &self.issuer()).unwrap().der().to_vec()
    }

    /// A signed structure of this content, with ECDSA P-256 and SHA-256.
    pub fn signed(&self, tbs: &[u8]) -> Vec<u8> {
        let signature = SigningKey::sign(&self.key, tbs).unwrap();
        seq(&[tbs, &ECDSA, &bits(&signature)])
    }

    /// The certificate with its signed part changed, signed again.
    pub fn resign(&self, certificate: &[u8], change: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let (tbs, _, _) = crate::der::signed(certificate).unwrap();
        self.signed(&seq(&[&change(tbs.content)]))
    }

    pub fn with_serial(&self, certificate: &[u8], serial: &[u8]) -> Vec<u8> {
        self.resign(certificate, |tbs| {
            let (version, rest) = tbs.split_at(5);
            let length = 2 + usize::from(rest[1]);
            [version, &integer(serial), &rest[length..]].concat()
        })
    }

    pub fn version_one(&self, certificate: &[u8]) -> Vec<u8> {
        self.resign(certificate, |tbs| {
            let mut reader = crate::der::Reader::new(&tbs[5..]);
            (0..6).flat_map(|_| reader.read().unwrap().whole.to_vec()).collect()
        })
    }

    pub fn subject(&self) -> Vec<u8> {
        crate::Certificate::read_root(&self.der).unwrap().subject
    }

    pub fn key_id(&self) -> Vec<u8> {
        crate::Certificate::read_root(&self.der).unwrap().subject_key.unwrap()
    }
}

pub const ECDSA: [u8; 12] = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

pub fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = content.len();
    match length {
        0..0x80 => bytes.push(length as u8),
        0x80..0x100 => bytes.extend([0x81, length as u8]),
        0x100..0x1_0000 => bytes.extend([0x82, (length >> 8) as u8, length as u8]),
        _ => bytes.extend([0x83, (length >> 16) as u8, (length >> 8) as u8, length as u8]),
    }
    bytes.extend(content);
    bytes
}

pub fn seq(parts: &[&[u8]]) -> Vec<u8> {
    der(0x30, &parts.concat())
}

pub fn integer(bytes: &[u8]) -> Vec<u8> {
    der(2, bytes)
}

pub fn bits(bytes: &[u8]) -> Vec<u8> {
    der(3, &[&[0], bytes].concat())
}

pub fn oid(oid: &[u64], content: Vec<u8>) -> CustomExtension {
    CustomExtension::from_oid_content(oid, content)
}

/// Name constraints of this kind of name.
pub fn constraints(kind: u8, permitted: &[&[u8]], excluded: &[&[u8]]) -> CustomExtension {
    let list = |tag: u8, bases: &[&[u8]]| {
        let trees: Vec<u8> = bases.iter().flat_map(|base| seq(&[&der(kind, base)])).collect();
        if trees.is_empty() { trees } else { der(tag, &trees) }
    };
    let mut extension = oid(&[2, 5, 29, 30], seq(&[&list(0xa0, permitted), &list(0xa1, excluded)]));
    extension.set_criticality(true);
    extension
}

pub fn uri_constraints(permitted: &[String], excluded: &[String]) -> CustomExtension {
    let bytes = |list: &[String]| list.iter().map(|text| text.clone().into_bytes()).collect::<Vec<_>>();
    let (permitted, excluded) = (bytes(permitted), bytes(excluded));
    let views = |list: &'_ [Vec<u8>]| list.iter().map(Vec::clone).collect::<Vec<_>>();
    let (permitted, excluded) = (views(&permitted), views(&excluded));
    let permitted: Vec<&[u8]> = permitted.iter().map(Vec::as_slice).collect();
    let excluded: Vec<&[u8]> = excluded.iter().map(Vec::as_slice).collect();
    constraints(0x86, &permitted, &excluded)
}

/// A leaf and its root by the `openssl` command, for keys and hashes that no library makes any more.
pub fn openssl(folder: &Path, ca: &[&str], leaf: &[&str], hash: &str) -> (String, String) {
    let run = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let extensions =
        "subjectAltName=URI:spiffe://acme.test/b\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n";
    std::fs::write(folder.join("leaf.ext"), extensions).unwrap();
    run(&[
        &["req", "-x509", "-nodes", "-subj", "/CN=root", "-keyout", "ca.key", "-out", "ca.pem"][..],
        &["-days", "7300", "-addext", "keyUsage=critical,keyCertSign", "-sha256"],
        ca,
    ]
    .concat());
    run(&[&["req", "-new", "-nodes", "-subj", "/CN=b", "-keyout", "leaf.key", "-out", "leaf.csr"][..], leaf].concat());
    run(&[
        "x509",
        "-req",
        "-in",
        "leaf.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-extfile",
        "leaf.ext",
        "-out",
        "leaf.pem",
        "-set_serial",
        "7",
        "-days",
        "7300",
        hash,
    ]);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    (read("leaf.pem"), read("ca.pem"))
}
