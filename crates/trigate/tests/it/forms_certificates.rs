//! Client certificates in every form of the gate: by the handshake where the gate ends TLS, by the word of the proxy where
//! that does, by the program's own listener in the library.

use crate::{
    mtls_trust::{Authority, issue_by},
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
    // Where the gate ends TLS, a bad one ends in the handshake, or is refused.
    for form in &forms {
        let (Form::Proxy(road) | Form::GateProcess(road, _)) = form else { continue };
        assert_eq!(road.shake_hands(&own).await, Some(200), "{}", form.name());
        for (why, certificate) in &bad {
            let answered = road.shake_hands(certificate).await;
            assert!(answered.is_none_or(|status| status == 401), "{}: {why}: {answered:?}", form.name());
        }
    }
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
