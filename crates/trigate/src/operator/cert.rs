//! Which machines got a certificate from the development CA? For trying mutual TLS; a company's own CA is for production.
//!
//! SECURITY: the CA's key never leaves its file (0600); a machine's key is shown once and not kept.

use super::{
    Answer, By, Operator, OperatorError,
    folder::{DataFolder, create_private_dir, unreadable, write_private, write_public},
    when,
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use trigate_core::{Timestamp, credential::Digest, key::CertificateRecord, port::Rng};
use zeroize::Zeroizing;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NewCertificate {
    /// `spiffe://acme.test/billing`, or a DNS name: who the machine is.
    pub name: String,
    /// Days that it is good for; 0 makes one that is over already (for trying refusals).
    #[serde(default = "default_days")]
    pub days: u32,
}

const fn default_days() -> u32 {
    30
}

#[derive(Clone, Debug, Serialize)]
pub struct CertificateView {
    pub fingerprint: String,
    pub serial: String,
    pub name: String,
    pub subject: String,
    pub issuer: String,
    pub not_before: String,
    pub not_after: String,
    pub revoked_at: Option<String>,
}

impl From<CertificateRecord> for CertificateView {
    fn from(cert: CertificateRecord) -> Self {
        Self {
            fingerprint: cert.fingerprint,
            serial: cert.serial,
            name: cert.name,
            subject: cert.subject,
            issuer: cert.issuer,
            not_before: when(cert.not_before),
            not_after: when(cert.not_after),
            revoked_at: cert.revoked_at.map(when),
        }
    }
}

#[derive(Serialize)]
pub struct CertificateMade {
    #[serde(flatten)]
    pub record: CertificateView,
    pub certificate: String,
    /// Shown this once.
    pub private_key: Zeroizing<String>,
    /// What a client checks the gate's own certificate against.
    pub ca: String,
}

impl Operator {
    pub async fn issue_certificate(&self, by: &By, new: NewCertificate) -> Answer<CertificateMade> {
        if new.days > 397 {
            return Err(OperatorError::invalid(
                "a development certificate is good for at most 397 days",
                "give --days 397 or fewer",
            ));
        }
        let now = self.now();
        ensure_ca(&self.parts.folder, self.rng(), now)?;
        let leaf = issue_leaf(&self.parts.folder, self.rng(), now, &new)?;
        let act = self.act(by, "cert.issue", &leaf.record.fingerprint).fact("name", &leaf.record.name);
        let stored = self.store().record_certificate(act, leaf.record).await?.gives_only();
        let ca = std::fs::read_to_string(self.parts.folder.ca_certificate())
            .map_err(|error| unreadable(&self.parts.folder.ca_certificate(), &error))?;
        Ok(CertificateMade { record: stored.into(), certificate: leaf.certificate, private_key: leaf.private_key, ca })
    }

    pub async fn list_certificates(&self) -> Answer<Vec<CertificateView>> {
        Ok(self.store().list_certificates().await?.into_iter().map(CertificateView::from).collect())
    }
}

/// SHA-256 of the first certificate in a PEM text.
pub fn fingerprint_of_pem(text: &str) -> Option<String> {
    let der = CertificateDer::from_pem_slice(text.as_bytes()).ok()?;
    Some(Digest::of_bytes(&der).hex())
}

/// Makes the development CA and the gate's own certificate for `localhost`, once.
pub fn ensure_ca(folder: &DataFolder, rng: &dyn Rng, now: Timestamp) -> Answer<()> {
    if folder.ca_certificate().is_file() && folder.ca_key().is_file() {
        return Ok(());
    }
    create_private_dir(&folder.ca())?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(crypto)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Trigate development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_life(&mut params, now, now.plus_seconds(10 * 365 * 86_400))?;
    params.serial_number = Some(serial(rng));
    let ca = params.self_signed(&key).map_err(crypto)?;
    // The key first: a certificate without its key would pass for a whole CA.
    write_private(&folder.ca_key(), key.serialize_pem().as_bytes())?;
    write_public(&folder.ca_certificate(), ca.pem().as_bytes())?;
    issue_server(folder, rng, now)
}

fn issue_server(folder: &DataFolder, rng: &dyn Rng, now: Timestamp) -> Answer<()> {
    let mut params =
        CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()]).map_err(crypto)?;
    params.distinguished_name = named("localhost");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    set_life(&mut params, now, now.plus_seconds(397 * 86_400))?;
    params.serial_number = Some(serial(rng));
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(crypto)?;
    let cert = params.signed_by(&key, &load_ca(folder)?).map_err(crypto)?;
    write_private(&folder.server_key(), key.serialize_pem().as_bytes())?;
    write_public(&folder.server_certificate(), cert.pem().as_bytes())
}

pub(crate) struct Leaf {
    pub record: CertificateRecord,
    pub certificate: String,
    pub private_key: Zeroizing<String>,
}

pub(crate) fn issue_leaf(folder: &DataFolder, rng: &dyn Rng, now: Timestamp, new: &NewCertificate) -> Answer<Leaf> {
    let name = new.name.trim();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![alternative_name(name)?];
    let common = name.rsplit('/').next().unwrap_or(name);
    params.distinguished_name = named(common);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    // A little into the past: the other side's clock may be behind. With 0 days it has ended a minute ago.
    let not_before = now.plus_seconds(-300);
    let not_after = if new.days == 0 { now.plus_seconds(-60) } else { now.plus_seconds(i64::from(new.days) * 86_400) };
    set_life(&mut params, not_before, not_after)?;
    let serial = serial(rng);
    let serial_text = hex(serial.as_ref());
    params.serial_number = Some(serial);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(crypto)?;
    let cert = params.signed_by(&key, &load_ca(folder)?).map_err(crypto)?;
    let record = CertificateRecord {
        fingerprint: Digest::of_bytes(cert.der()).hex(),
        serial: serial_text,
        issuer: "CN=Trigate development CA".to_owned(),
        subject: format!("CN={common}"),
        name: name.to_owned(),
        not_before,
        not_after,
        revoked_at: None,
        created_at: now,
    };
    Ok(Leaf { record, certificate: cert.pem(), private_key: Zeroizing::new(key.serialize_pem()) })
}

fn load_ca(folder: &DataFolder) -> Answer<Issuer<'static, KeyPair>> {
    let read = |path: std::path::PathBuf| std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error));
    let key = KeyPair::from_pem(&Zeroizing::new(read(folder.ca_key())?)).map_err(crypto)?;
    Issuer::from_ca_cert_pem(&read(folder.ca_certificate())?, key).map_err(crypto)
}

fn alternative_name(name: &str) -> Answer<SanType> {
    let bad = || {
        OperatorError::invalid(
            format!("`{}` names no machine", name.escape_default()),
            "give a SPIFFE id (spiffe://acme.test/billing) or a DNS name (billing.acme.test)",
        )
    };
    if name.contains("://") {
        url::Url::parse(name).map_err(|_| bad())?;
        return Ok(SanType::URI(name.to_owned().try_into().map_err(|_| bad())?));
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    if name.is_empty() || name.len() > 253 || !name.bytes().all(fits) {
        return Err(bad());
    }
    Ok(SanType::DnsName(name.to_owned().try_into().map_err(|_| bad())?))
}

fn named(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn set_life(params: &mut CertificateParams, from: Timestamp, to: Timestamp) -> Answer<()> {
    let at = |t: Timestamp| {
        time::OffsetDateTime::from_unix_timestamp(t.seconds())
            .map_err(|error| OperatorError::broken(format!("the clock is off: {error}"), "set the machine's clock"))
    };
    params.not_before = at(from)?;
    params.not_after = at(to)?;
    Ok(())
}

/// 126 random bits, positive, without leading zeros (RFC 5280 §4.1.2.2).
fn serial(rng: &dyn Rng) -> SerialNumber {
    let bits = (rng.bits128() >> 1) | (1 << 126);
    SerialNumber::from_slice(&bits.to_be_bytes())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let text = bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    text.trim_start_matches('0').to_owned()
}

fn crypto(error: rcgen::Error) -> OperatorError {
    OperatorError::broken(
        format!("the certificate cannot be made: {error}"),
        "check the files ca/ca.pem and ca/ca.key in the data folder; remove both to begin a new CA",
    )
}
