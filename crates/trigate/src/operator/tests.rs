use super::{
    app::NewApp,
    audit::{ActsQuery, DecisionsQuery},
    backup::{NewBackup, check_backup, restore_files, restore_store},
    barrier::LeaseBarrier,
    cert::NewCertificate,
    client::{ClientPolicy, NewClient},
    folder::DataFolder,
    key::{ImportKeys, ImportedKey, KeyPolicy, NewKey},
    revoke::{Kind, Revoke},
    user::NewAccount,
    *,
};
use async_trait::async_trait;
use tempfile::TempDir;
use trigate_core::{
    application::State,
    client::ClientAuthentication,
    credential::{ApiKey, Digest},
    jose::{Algorithm, SigningKey},
    port::{HasherError, Store, testing::SeededRng},
};
use zeroize::Zeroizing;

/// Passwords are not what these tests are about.
struct QuickHasher;

#[async_trait]
impl Hasher for QuickHasher {
    async fn hash(&self, password: Zeroizing<String>) -> Result<String, HasherError> {
        Ok(format!("$quick${}", Digest::of(&password).hex()))
    }

    async fn verify(&self, password: Zeroizing<String>, phc: Option<String>) -> Result<bool, HasherError> {
        Ok(phc == Some(format!("$quick${}", Digest::of(&password).hex())))
    }
}

struct Desk {
    operator: Arc<Operator>,
    store: Arc<dyn Store>,
    folder: DataFolder,
    _dir: TempDir,
}

const GATE: &str = "http://localhost:8080";

/// A desk over a real store in a folder of its own.
async fn desk(seed: u64) -> Desk {
    let dir = tempfile::tempdir().unwrap();
    let folder = DataFolder::at(dir.path().join("data"));
    folder.create().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(crate::system::SystemClock::new());
    let store = trigate_store::open(trigate_store::Location::Sqlite(folder.database()), clock.clone()).await.unwrap();
    let tenant = TenantId::default_tenant();
    let operator = Operator::new(OperatorParts {
        store: store.tenant(&tenant),
        system: store.system(),
        propagation: LeaseBarrier::new(store.system(), false),
        clock,
        rng: Arc::new(SeededRng::new(seed)),
        hasher: Arc::new(QuickHasher),
        folder: folder.clone(),
        issuer_url: "http://localhost:8081".into(),
        default_audience: GATE.into(),
        plans: Arc::new(|| vec!["free".into(), "pro".into()]),
        trusted_issuers: Arc::new(|| vec!["https://idp.example".into()]),
        takes_certificates: true,
        checkpoint_keys: Vec::new(),
        rotation: None,
        explainer: None,
        tenant,
    });
    operator.create_app(&By::local(), NewApp { name: "Acme".into(), plan: "pro".into(), id: None }).await.unwrap();
    Desk { operator, store, folder, _dir: dir }
}

fn key_of(app: &str) -> NewKey {
    NewKey { app: app.into(), policy: KeyPolicy::default() }
}

#[tokio::test]
async fn an_application_is_named_once_and_its_plan_exists() {
    let desk = desk(1).await;
    let again =
        desk.operator.create_app(&By::local(), NewApp { name: "Acme".into(), plan: "pro".into(), id: None }).await;
    assert_eq!(again.unwrap_err().status(), 409);
    let unknown = desk.operator.change_plan(&By::local(), "Acme", "gold").await.unwrap_err();
    assert_eq!(unknown.status(), 400);
    assert!(unknown.remedy().contains("free, pro"), "{}", unknown.remedy());
    assert_eq!(desk.operator.change_plan(&By::local(), "Acme", "free").await.unwrap().plan, "free");
    assert_eq!(desk.operator.show_app("Nobody").await.unwrap_err().status(), 404);
}

#[tokio::test]
async fn a_key_is_shown_once_and_kept_as_digest() {
    let desk = desk(2).await;
    let made = desk.operator.create_key(&By::local(), key_of("Acme")).await.unwrap();
    let key = ApiKey::parse(&made.key).unwrap();
    assert_eq!(key.id(), &made.record.id);
    let listed = serde_json::to_string(&desk.operator.list_keys(Some("Acme")).await.unwrap()).unwrap();
    assert!(!listed.contains(made.key.as_str()) && !listed.contains(&key.digest().hex()), "{listed}");
    let bytes = std::fs::read(desk.folder.database()).unwrap();
    assert!(!bytes.windows(made.key.len()).any(|window| window == made.key.as_bytes()));
}

#[tokio::test]
async fn a_rotated_key_overlaps_and_keeps_its_policy() {
    let desk = desk(3).await;
    let policy = KeyPolicy {
        scopes: Some(vec!["weather:read".into()]),
        allowed_addresses: vec!["10.1.2.3/8".into()],
        ..Default::default()
    };
    let old = desk.operator.create_key(&By::local(), NewKey { app: "Acme".into(), policy }).await.unwrap();
    assert_eq!(old.record.allowed_addresses, ["10.0.0.0/8"], "a network is written by its first address");
    let new = desk.operator.rotate_key(&By::local(), old.record.id.as_str(), Some("2h"), None).await.unwrap();
    assert_eq!(new.record.scopes, Some(vec!["weather:read".to_owned()]));
    assert_eq!(new.record.expires_at, None);
    let keys = desk.operator.list_keys(None).await.unwrap();
    let old = keys.iter().find(|key| key.id == old.record.id).unwrap();
    assert!(old.expires_at.is_some(), "the old key ends when the overlap is over");
}

#[tokio::test]
async fn imported_keys_keep_their_header_and_are_imported_once() {
    let desk = desk(4).await;
    let import = |keys| ImportKeys {
        app: "Acme".into(),
        policy: KeyPolicy { header: Some("X-Acme-Key".into()), expires_at: Some("90d".into()), ..Default::default() },
        keys,
    };
    let plain = |text: &str| ImportedKey { sha256: None, plain: Some(Zeroizing::new(text.into())), label: None };
    let hashed = ImportedKey {
        sha256: Some(Digest::of("another-legacy-key-0002").hex().to_uppercase()),
        plain: None,
        label: Some("old".into()),
    };
    let done = desk
        .operator
        .import_keys(&By::local(), import(vec![plain("a-legacy-key-of-acme-01"), hashed.clone()]))
        .await
        .unwrap();
    assert_eq!((done.imported.len(), done.known_before), (2, 0));
    assert_eq!(done.imported[0].header, "X-Acme-Key");
    let again =
        desk.operator.import_keys(&By::local(), import(vec![plain("a-legacy-key-of-acme-01"), hashed])).await.unwrap();
    assert_eq!((again.imported.len(), again.known_before), (0, 2));
    // Found again by its own text, though it has no form of ours.
    assert_eq!(desk.operator.load_key("a-legacy-key-of-acme-01").await.unwrap().id, done.imported[0].id);
    let short = desk.operator.import_keys(&By::local(), import(vec![plain("secret")])).await.unwrap_err();
    assert_eq!(short.status(), 400);
    let cookie =
        NewKey { app: "Acme".into(), policy: KeyPolicy { header: Some("Cookie".into()), ..Default::default() } };
    assert_eq!(desk.operator.create_key(&By::local(), cookie).await.err().unwrap().status(), 400);
}

#[tokio::test]
async fn clients_that_cannot_be_safe_are_not_made() {
    let desk = desk(5).await;
    let by = By::local();
    let make = |policy| desk.operator.create_client(&by, NewClient { app: "Acme".into(), id: None, policy });
    let strings = |list: &[&str]| Some(list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    for (what, policy) in [
        ("no redirect", ClientPolicy::default()),
        ("fragment", ClientPolicy { redirect_uris: strings(&["https://app.example/#x"]), ..Default::default() }),
        ("plain http", ClientPolicy { redirect_uris: strings(&["http://app.example/cb"]), ..Default::default() }),
        ("script", ClientPolicy { redirect_uris: strings(&["javascript:alert(1)"]), ..Default::default() }),
        ("wildcard", ClientPolicy { redirect_uris: strings(&["https://*.example/cb"]), ..Default::default() }),
        (
            "public introspection",
            ClientPolicy {
                redirect_uris: strings(&["https://app.example/cb"]),
                introspects: strings(&[GATE]),
                ..Default::default()
            },
        ),
        ("no keys", ClientPolicy { authentication: Some(ClientAuthentication::PrivateKeyJwt), ..Default::default() }),
        (
            "long life",
            ClientPolicy {
                redirect_uris: strings(&["https://app.example/cb"]),
                access_token_life_s: Some(90_000),
                ..Default::default()
            },
        ),
    ] {
        assert_eq!(make(policy).await.err().map(|error| error.status()), Some(400), "{what}");
    }
    let tls = |authentication, set: fn(&mut ClientPolicy)| {
        let mut policy = ClientPolicy { authentication: Some(authentication), ..Default::default() };
        set(&mut policy);
        policy
    };
    use ClientAuthentication::{ClientSecretPost, SelfSignedTlsClientAuth, TlsClientAuth};
    // RFC 8705 §2.1.2
    for (what, policy) in [
        ("no name", tls(TlsClientAuth, |_| {})),
        (
            "two names",
            tls(TlsClientAuth, |policy| {
                policy.tls_client_auth_san_dns = Some("a.test".into());
                policy.tls_client_auth_san_uri = Some("spiffe://a.test/a".into());
            }),
        ),
        ("a wildcard", tls(TlsClientAuth, |policy| policy.tls_client_auth_san_dns = Some("*.a.test".into()))),
        ("no DN", tls(TlsClientAuth, |policy| policy.tls_client_auth_subject_dn = Some("billing".into()))),
        ("no address", tls(TlsClientAuth, |policy| policy.tls_client_auth_san_ip = Some("a".into()))),
        ("no e-mail", tls(TlsClientAuth, |policy| policy.tls_client_auth_san_email = Some("a".into()))),
        ("a name for a secret", tls(ClientSecretPost, |policy| policy.tls_client_auth_san_dns = Some("a.test".into()))),
        ("nothing registered", tls(SelfSignedTlsClientAuth, |_| {})),
        (
            "a name for what is registered",
            tls(SelfSignedTlsClientAuth, |policy| {
                policy.tls_client_auth_san_dns = Some("a.test".into());
            }),
        ),
        ("no certificate", tls(SelfSignedTlsClientAuth, |policy| policy.certificate = Some("x".into()))),
        ("a certificate for a name", tls(TlsClientAuth, |policy| policy.certificate = Some("x".into()))),
    ] {
        assert_eq!(make(policy).await.err().map(|error| error.status()), Some(400), "{what}");
    }
    let named = |policy: &mut ClientPolicy| policy.tls_client_auth_subject_dn = Some("cn=a, o=b".into());
    let made = make(tls(TlsClientAuth, named)).await.unwrap();
    assert!(made.client.tls_client_certificate_bound_access_tokens && made.client_secret.is_none());
    let kept = serde_json::to_value(&made.client).unwrap();
    assert_eq!(kept["certificate"], serde_json::json!({ "name": { "subject_dn": "CN=a,O=b" } }));
    // RFC 7517 §5: a private key must not be registered.
    let private = serde_json::json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A" }] });
    let policy = ClientPolicy {
        authentication: Some(ClientAuthentication::PrivateKeyJwt),
        jwks: Some(private),
        ..Default::default()
    };
    assert_eq!(make(policy).await.err().map(|error| error.status()), Some(400));
}

#[tokio::test]
async fn a_client_secret_rotates_with_overlap() {
    let desk = desk(6).await;
    let policy = ClientPolicy {
        authentication: Some(ClientAuthentication::ClientSecretPost),
        scopes: Some(vec!["a b".into()]),
        ..Default::default()
    };
    let made =
        desk.operator.create_client(&By::local(), NewClient { app: "Acme".into(), id: None, policy }).await.unwrap();
    let id = made.client.id.as_str().to_owned();
    assert!(made.client_secret.is_some());
    assert_eq!(made.client.scopes, ["a", "b"]);
    assert_eq!(desk.operator.rotate_secret(&By::local(), &id, false).await.unwrap().client.secrets, 2);
    assert_eq!(desk.operator.retire_secret(&By::local(), &id).await.unwrap().secrets, 1);
    assert_eq!(desk.operator.retire_secret(&By::local(), &id).await.unwrap_err().status(), 409);
    let narrowed = desk
        .operator
        .change_client(&By::local(), &id, ClientPolicy { scopes: Some(vec!["a".into()]), ..Default::default() })
        .await
        .unwrap();
    assert_eq!((narrowed.scopes, narrowed.secrets), (vec!["a".to_owned()], 1), "what was not said stays");
}

#[tokio::test]
async fn accounts_roles_and_their_acts() {
    let desk = desk(7).await;
    let new = |email: &str| NewAccount {
        email: email.into(),
        name: None,
        roles: vec!["customer".into()],
        password: None,
        email_verified: true,
        id: None,
    };
    let alice = desk.operator.create_user(&By::local(), new("Alice@example.com")).await.unwrap();
    assert!(alice.password.is_some(), "a made password is shown once");
    assert_eq!(desk.operator.create_user(&By::local(), new("alice@EXAMPLE.com")).await.err().unwrap().status(), 409);
    let by = By { reason: Some("moved to sales".into()), ..By::local() };
    assert_eq!(desk.operator.add_role(&by, "alice@example.com", "seller").await.unwrap().roles, ["customer", "seller"]);
    assert_eq!(desk.operator.remove_role(&by, alice.user.id.as_str(), "seller").await.unwrap().roles, ["customer"]);
    assert_eq!(desk.operator.remove_role(&by, alice.user.id.as_str(), "seller").await.unwrap_err().status(), 409);
    assert_eq!(
        desk.operator.set_user_state(&by, "alice@example.com", State::Disabled).await.unwrap().state,
        State::Disabled
    );
    let acts = desk
        .operator
        .find_acts(&By::local(), ActsQuery { user: Some("alice@example.com".into()), ..Default::default() })
        .await
        .unwrap();
    let verbs: Vec<&str> = acts.acts.iter().map(|act| act.act.verb.as_str()).collect();
    assert_eq!(verbs, ["user.disable", "user.role_remove", "user.role_add", "user.create"], "newest first");
    assert_eq!(acts.acts[1].act.reason.as_deref(), Some("moved to sales"));
    // Ids only: erasing a person leaves the chain whole.
    assert!(!serde_json::to_string(&acts.acts).unwrap().contains("example.com"));
    assert!(desk.operator.verify_audit(&By::local(), &Default::default()).await.unwrap().whole);
}

#[tokio::test]
async fn revocation_names_what_it_ended() {
    let desk = desk(8).await;
    let key = desk.operator.create_key(&By::local(), key_of("Acme")).await.unwrap();
    let revoke = |kind, what: &str| Revoke { kind, what: Zeroizing::new(what.to_owned()), issuer: None, whole: false };
    let done = desk.operator.revoke(&By::local(), revoke(Kind::Key, &key.key)).await.unwrap();
    assert_eq!((done.kind, done.id.as_str(), done.everywhere), ("key", key.record.id.as_str(), true));
    assert!(desk.operator.list_keys(None).await.unwrap()[0].revoked_at.is_some());
    let again = desk.operator.revoke(&By::local(), revoke(Kind::Key, key.record.id.as_str())).await.unwrap();
    assert!(again.everywhere, "revoking what is revoked succeeds again");
    for (kind, what) in [
        (Kind::User, "nobody@example.com"),
        (Kind::Client, "nobody"),
        (Kind::Session, "ses_nothing"),
        (Kind::Cert, "nothing"),
    ] {
        assert_eq!(desk.operator.revoke(&By::local(), revoke(kind, what)).await.unwrap_err().status(), 404, "{kind:?}");
    }
    for text in ["eyJhbGciOiJub25lIn0.e30.", "a.b.c", "tga_unknown", "short"] {
        let error = desk.operator.revoke(&By::local(), revoke(Kind::Token, text)).await.unwrap_err();
        assert!(matches!(error.status(), 400 | 404) && !error.to_string().contains("eyJ"), "{text}: {error}");
    }
}

#[tokio::test]
async fn a_token_of_a_foreign_key_is_not_ours_whatever_it_says() {
    let desk = desk(9).await;
    let key = SigningKey::generate(Algorithm::EdDSA, "k1").unwrap();
    let claims = serde_json::json!({ "iss": "http://localhost:8081", "jti": "0000000000000000000001" });
    let forged = key.sign_jws("at+jwt", &claims).unwrap();
    let asked = Revoke { kind: Kind::Token, what: Zeroizing::new(forged), issuer: None, whole: false };
    assert_eq!(desk.operator.revoke(&By::local(), asked).await.unwrap_err().status(), 400);
    // Another issuer's token is named by what it says.
    let claims = serde_json::json!({ "iss": "https://idp.example", "jti": "abc" });
    let asked = Revoke {
        kind: Kind::Token,
        what: Zeroizing::new(key.sign_jws("at+jwt", &claims).unwrap()),
        issuer: None,
        whole: false,
    };
    let done = desk.operator.revoke(&By::local(), asked).await.unwrap();
    assert_eq!(done.id, trigate_core::id::TokenId::foreign("https://idp.example", "abc").to_string());
}

#[tokio::test]
async fn certificates_are_issued_listed_and_revoked_by_any_name() {
    let desk = desk(10).await;
    let name = "spiffe://acme.test/billing";
    let made =
        desk.operator.issue_certificate(&By::local(), NewCertificate { name: name.into(), days: 1 }).await.unwrap();
    assert_eq!(cert::fingerprint_of_pem(&made.certificate).as_deref(), Some(made.record.fingerprint.as_str()));
    let (_, parsed) = x509_parser::pem::parse_x509_pem(made.certificate.as_bytes()).unwrap();
    assert_eq!(
        parsed.parse_x509().unwrap().raw_serial_as_string().replace(':', "").trim_start_matches('0'),
        made.record.serial
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(desk.folder.ca_key()).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let pem = Revoke { kind: Kind::Cert, what: Zeroizing::new(made.certificate.clone()), issuer: None, whole: false };
    desk.operator.revoke(&By::local(), pem).await.unwrap();
    let by_name = Revoke { kind: Kind::Cert, what: Zeroizing::new(name.into()), issuer: None, whole: false };
    desk.operator.revoke(&By::local(), by_name).await.unwrap();
    assert!(desk.operator.list_certificates().await.unwrap()[0].revoked_at.is_some());
    for bad in ["", "two words", "spiffe://", "a/b"] {
        let asked = NewCertificate { name: bad.into(), days: 1 };
        let outcome = desk.operator.issue_certificate(&By::local(), asked).await;
        assert!(bad == "spiffe://" || outcome.is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_backup_comes_back_and_overwrites_nothing() {
    let one = desk(11).await;
    let key = one.operator.create_key(&By::local(), key_of("Acme")).await.unwrap();
    let out = tempfile::tempdir().unwrap();
    let to = out.path().join("backup");
    let by = By::local();
    let backup = || one.operator.backup(&by, NewBackup { to: to.clone(), with_keys: false });
    let manifest = backup().await.unwrap();
    assert!(manifest.rows > 0);
    assert_eq!(backup().await.unwrap_err().status(), 409);
    let text = std::fs::read_to_string(to.join("store.jsonl")).unwrap();
    assert!(!text.contains(key.key.as_str()));

    let clock: Arc<dyn Clock> = Arc::new(crate::system::SystemClock::new());
    let folder = DataFolder::at(out.path().join("restored"));
    folder.create().unwrap();
    let checked = check_backup(&to).unwrap();
    restore_files(&to, &checked, &folder).unwrap();
    let store = trigate_store::open(trigate_store::Location::Sqlite(folder.database()), clock).await.unwrap();
    assert_eq!(restore_store(&to, store.system().as_ref()).await.unwrap(), manifest.rows);
    let tenant = TenantId::default_tenant();
    assert!(store.tenant(&tenant).find_key(&key.record.id).await.unwrap().is_some());
    assert_eq!(
        store.tenant(&tenant).act_chain_head().await.unwrap(),
        one.store.tenant(&tenant).act_chain_head().await.unwrap()
    );
    assert_eq!(
        restore_store(&to, store.system().as_ref()).await.unwrap_err().status(),
        409,
        "not into a store that has something"
    );

    std::fs::write(to.join("store.jsonl"), text.replace("Acme", "Evil")).unwrap();
    assert_eq!(check_backup(&to).unwrap_err().status(), 500, "a damaged backup is found before it changes anything");
}

#[test]
fn times_are_read_as_people_write_them() {
    let now = Timestamp::from_seconds(1_800_000_000);
    for (text, sign, wanted) in [("90s", 1, 90), ("15m", -1, -900), ("12h", 1, 43_200), ("2d", -1, -172_800)] {
        assert_eq!(parse_time(text, now, sign).unwrap().seconds_since(now), wanted, "{text}");
    }
    assert_eq!(parse_time("2027-01-31", now, 1).unwrap().rfc3339(), "2027-01-31T00:00:00Z");
    assert_eq!(parse_time("2027-01-31T12:00:00+02:00", now, 1).unwrap().rfc3339(), "2027-01-31T10:00:00Z");
    for text in ["", "soon", "d", "-3d", "3w", "99999999999999d"] {
        assert!(parse_time(text, now, 1).is_err(), "{text}");
    }
}

#[tokio::test]
async fn questions_about_decisions_must_make_sense() {
    let desk = desk(12).await;
    let ask = |query| async { desk.operator.find_decisions(&By::local(), query).await };
    assert!(ask(DecisionsQuery::default()).await.unwrap().decisions.is_empty());
    assert!(ask(DecisionsQuery { reason: Some("token".into()), ..Default::default() }).await.is_ok());
    assert_eq!(
        ask(DecisionsQuery { reason: Some("weather".into()), ..Default::default() }).await.unwrap_err().status(),
        400
    );
    assert_eq!(
        ask(DecisionsQuery { user: Some("nobody@example.com".into()), ..Default::default() })
            .await
            .unwrap_err()
            .status(),
        404
    );
}
