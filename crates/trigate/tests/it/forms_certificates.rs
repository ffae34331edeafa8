//! Client certificates in every form of the gate: by the handshake where the gate ends TLS, by the word of the proxy where
//! that does, by the program's own listener in the library.

use crate::{
    mtls_trust::{Authority, issue_bent, issue_by},
    support::{
        TestTrigate,
        forge::{self, Signer, changed, claims},
        forms::{ASKED_WITH_CERTIFICATES, Ask, Form, Shown, ask_everywhere, end},
    },
};
use serde_json::json;
use std::sync::Arc;
use trigate::operator::{
    By,
    cert::NewCertificate,
    revoke::{Kind, Revoke},
};
use trigate_core::jose::Algorithm;

const X: &str = "https://x.test";
const MACHINES: &str = "/api/machines";
const BILLING: &str = "spiffe://acme.test/billing";
const ROUTES: &str = "[[route]]\nname = \"certificates\"\npath = \"/api/certificates\"\ndemands = \"certificate\"\nupstream = \"sample\"\n\
     [[route]]\nname = \"bound\"\npath = \"/api/bound\"\ndemands = \"token\"\nbound = true\nupstream = \"sample\"\n";

async fn issue(t: &TestTrigate, name: &str, days: u32) -> Arc<Shown> {
    let new = NewCertificate { name: name.into(), days };
    let made = t.running.operator.issue_certificate(&By::system(), new).await.unwrap();
    shown((made.certificate.clone(), made.private_key.to_string()), days > 0)
}

fn shown((pem, key): (String, String), good: bool) -> Arc<Shown> {
    Arc::new(Shown { pem, key, good, ..Shown::default() })
}

fn with(mut ask: Ask, certificate: &Arc<Shown>) -> Ask {
    ask.certificate = Some(Arc::clone(certificate));
    ask
}

/// Signed with the key of a good certificate, which is no authority's (`CA:FALSE`).
fn issued_by(holder: &Shown) -> Arc<Shown> {
    let key = rcgen::KeyPair::from_pem(&holder.key).unwrap();
    let (pem, key) = issue_by(&rcgen::Issuer::from_ca_cert_pem(&holder.pem, key).unwrap(), BILLING, 7);
    Arc::new(Shown { pem, key, chain: holder.pem.clone(), good: false })
}

/// Where the gate ends TLS, a bad one ends in the handshake, or is refused.
async fn assert_handshakes(forms: &[Form], host: &str, good: &Shown, bad: &[(&str, Arc<Shown>)]) {
    for form in forms {
        let (Form::Proxy(road) | Form::GateProcess(road, _)) = form else { continue };
        assert_eq!(road.shake_hands(good, host).await, Some(200), "{}", form.name());
        for (why, certificate) in bad {
            let answered = road.shake_hands(certificate, host).await;
            assert!(answered.is_none_or(|status| status == 401), "{}: {why}: {answered:?}", form.name());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn m01_m10_m11_g22_k14_certificates_in_every_form() {
    let keys = tempfile::tempdir().unwrap();
    let signer = Signer::new(Algorithm::ES256, "k1");
    let trusted = forge::trusted(keys.path(), X, &[signer.public()]);
    let t = TestTrigate::start_with(&format!("{ASKED_WITH_CERTIFICATES}{ROUTES}{trusted}")).await;
    let mut forms = Form::all(&t).await;
    let (own, other) = (issue(&t, BILLING, 1).await, issue(&t, "spiffe://acme.test/other", 1).await);
    let stranger = issue(&t, "spiffe://other.test/billing", 1).await;
    let bad = [
        ("expired", issue(&t, "spiffe://acme.test/expired", 0).await),
        ("unknown authority", shown(Authority::new("foreign").issue(BILLING, 7), false)),
        ("no authority", issued_by(&own)),
        ("self-signed", shown(crate::issuer_mtls::self_signed(BILLING, "billing"), false)),
    ];
    let thumbprint = trigate_x509::Certificate::read(&trigate_x509::read_pem(own.pem.as_bytes()).unwrap()[0]).unwrap();
    let cnf = json!({ "cnf": { "x5t#S256": thumbprint.facts().thumbprint } });
    let (bound, plain) = (signer.token(&changed(claims(X), &cnf)), signer.token(&claims(X)));
    let of_acme = t.service_token("orders:read").await;
    let mut lines = Vec::new();
    for path in [MACHINES, "/api/certificates"] {
        lines.extend([
            (with(Ask::get(path, &[]), &own), 200),
            (with(Ask::get(path, &[]), &other), 200),
            // Of our authority, but nobody whom a rule names.
            (with(Ask::get(path, &[]), &stranger), 401),
            (Ask::get(path, &[]), 401),
        ]);
        lines.extend(bad.iter().map(|(_, certificate)| (with(Ask::get(path, &[]), certificate), 401)));
    }
    // A good token makes no bad certificate good, nor a certificate a token that is missing.
    lines.extend(bad.iter().map(|(_, certificate)| (with(Ask::bearer(MACHINES, &plain), certificate), 401)));
    lines.extend([
        (with(Ask::get("/api/bound", &[]), &own), 401),
        (Ask::bearer("/api/certificates", &plain), 401),
        (with(Ask::bearer("/api/certificates", &plain), &own), 200),
        // M11, T28: that certificate, and no other; the same token again, after it was verified (G22).
        (with(Ask::bearer("/api/bound", &bound), &own), 200),
        (with(Ask::bearer("/api/bound", &bound), &other), 401),
        (Ask::bearer("/api/bound", &bound), 401),
        (Ask::bearer(MACHINES, &bound), 401),
        (with(Ask::bearer(MACHINES, &bound), &other), 401),
        (with(Ask::bearer("/api/bound", &plain), &own), 401),
        // K14: of two applications.
        (with(Ask::bearer(MACHINES, &of_acme), &own), 403),
    ]);
    ask_everywhere(&t, &mut forms, &lines).await;
    assert_handshakes(&forms, "localhost", &own, &bad).await;
    // Taken back: with the next request.
    let fingerprint = trigate::operator::cert::fingerprint_of_pem(&own.pem).unwrap();
    let revoke = Revoke { kind: Kind::Cert, what: fingerprint.into(), issuer: None, whole: false };
    t.running.operator.revoke(&By::system(), revoke).await.unwrap();
    let lines = [
        (with(Ask::get(MACHINES, &[]), &own), 401),
        (with(Ask::bearer("/api/bound", &bound), &own), 401),
        (with(Ask::get(MACHINES, &[]), &other), 200),
    ];
    ask_everywhere(&t, &mut forms, &lines).await;
    end(forms).await;
    t.stop().await;
}

/// An authority whose key is the test's own, at hosts of its own: with a list, with one that is too old, and without.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn m02_m03_m04_m05_m07_m12_what_an_authority_signed_in_every_form() {
    use rcgen::{CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType};
    let (partners, folder) = (Authority::new("partners"), tempfile::tempdir().unwrap());
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let ca = write("partners.pem", &partners.pem);
    let host = |name: &str, list: Option<String>| {
        let list = list.map(|path| format!("crl = \"{path}\"\n")).unwrap_or_default();
        format!("[[mtls.host]]\nname = \"{name}\"\nca = \"{ca}\"\n{list}")
    };
    let hosts = [
        host("partners.test", Some(write("partners.crl", &partners.list(&[9], 600)))),
        host("late.test", Some(write("late.crl", &partners.list(&[], -60)))),
        host("lax.test", None),
    ];
    let t = TestTrigate::start_with(&format!("{ASKED_WITH_CERTIFICATES}{}", hosts.concat())).await;
    let mut forms = Form::all(&t).await;
    let (own, theirs) = (issue(&t, BILLING, 1).await, shown(partners.issue(BILLING, 7), true));
    let revoked = shown(partners.issue("spiffe://acme.test/revoked", 9), true);
    let bent = |bend: fn(&mut CertificateParams)| shown(issue_bent(&partners.issuer(), BILLING, 11, bend), false);
    let uri = |uri: &'static str| SanType::URI(uri.try_into().unwrap());
    let bad = [
        ("M02: for servers", bent(|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])),
        ("M02: for anything", bent(|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any])),
        ("M02: for nothing", bent(|it| it.extended_key_usages = vec![])),
        ("M02: signs nothing", bent(|it| it.key_usages = vec![KeyUsagePurpose::KeyEncipherment])),
        ("M05: a walk", {
            let names = vec![uri("spiffe://acme.test/a/../billing")];
            shown(issue_bent(&partners.issuer(), BILLING, 12, |it| it.subject_alt_names = names), false)
        }),
        ("M05: two", {
            let names = vec![uri(BILLING), uri("spiffe://acme.test/other")];
            shown(issue_bent(&partners.issuer(), BILLING, 13, |it| it.subject_alt_names = names), false)
        }),
        ("M07: critical, and unknown", {
            bent(|it| {
                let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 1, 1], vec![5, 0]);
                unknown.set_criticality(true);
                it.custom_extensions.push(unknown);
            })
        }),
    ];
    let at =
        |host: &str, certificate: &Arc<Shown>| Ask { host: host.into(), ..with(Ask::get(MACHINES, &[]), certificate) };
    let mut lines = vec![
        (at("partners.test", &theirs), 200),
        (at("lax.test", &theirs), 200),
        // M12: whose certificates count is the host's to say.
        (at("localhost", &theirs), 401),
        (at("localhost", &own), 200),
        (at("partners.test", &own), 401),
        (at("lax.test", &own), 401),
        // M03, M04
        (at("partners.test", &revoked), 401),
        (at("lax.test", &revoked), 200),
        (at("late.test", &theirs), 401),
        (at("late.test", &revoked), 401),
    ];
    lines.extend(bad.iter().map(|(_, certificate)| (at("lax.test", certificate), 401)));
    ask_everywhere(&t, &mut forms, &lines).await;
    // The last one no TLS library of ours would even show.
    assert_handshakes(&forms, "lax.test", &theirs, &bad[..bad.len() - 1]).await;
    end(forms).await;
    t.stop().await;
}

/// A client's own words about a certificate, where no proxy's word counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn m10_a_clients_own_words_are_no_certificate_in_any_form() {
    use crate::support::forms::{ASKED, escaped};
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let t = TestTrigate::start_with(ASKED).await;
    let mut forms = Form::all(&t).await;
    let own = issue(&t, BILLING, 1).await;
    let der = STANDARD.encode(trigate_x509::read_pem(own.pem.as_bytes()).unwrap().remove(0));
    let lines: Vec<(Ask, u16)> = [
        ("Client-Cert", format!(":{der}:")),
        ("X-SSL-Client-Cert", escaped(&own.pem)),
        ("X-Forwarded-Client-Cert", format!("Hash=ab;Cert=\"{}\"", escaped(&own.pem))),
        ("X-Client-Cert", der),
        ("X-SSL-Client-Verify", "SUCCESS".to_owned()),
        ("X-Trigate-Machine", BILLING.to_owned()),
    ]
    .into_iter()
    .map(|(name, word)| (Ask::get(MACHINES, &[]).with(name, &word), 401))
    .collect();
    ask_everywhere(&t, &mut forms, &lines).await;
    end(forms).await;
    t.stop().await;
}
