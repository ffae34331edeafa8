//! API keys in every form of the gate: their spelling, their times and states, where they may come from, how often.

use crate::support::{
    TestTrigate,
    forms::{ASKED, Ask, Form, LOCAL, ask_everywhere, end},
};
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};
use trigate::operator::{
    By,
    app::NewApp,
    key::{KeyMade, KeyPolicy, NewKey},
};
use trigate_core::application::State;

const WEATHER: &str = "/api/weather";
const ROUTES: &str = "server.trusted_proxies = [\"127.0.0.9\"]\n\
     [[route]]\nname = \"write\"\npath = \"/api/weather/write\"\ndemands = \"key\"\nsubject = \"application\"\n\
     scopes = [\"orders:write\"]\nupstream = \"sample\"\n\
     [[route]]\nname = \"few\"\npath = \"/api/few\"\ndemands = \"key\"\nsubject = \"application\"\nlimit = \"5/hour\"\n\
     upstream = \"sample\"\n";

async fn start() -> (TestTrigate, Vec<Form>) {
    let t = TestTrigate::start_with(&format!("{ASKED}{ROUTES}")).await;
    let forms = Form::all(&t).await;
    (t, forms)
}

async fn make(t: &TestTrigate, app: &str, policy: KeyPolicy) -> KeyMade {
    t.running.operator.create_key(&By::system(), NewKey { app: app.to_owned(), policy }).await.unwrap()
}

async fn make_app(t: &TestTrigate, name: &str) -> String {
    let new = NewApp { name: name.into(), plan: "pro".into(), id: None };
    t.running.operator.create_app(&By::system(), new).await.unwrap().id.to_string()
}

fn with_key(path: &str, key: &str) -> Ask {
    Ask::get(path, &[("X-API-Key", key)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn k02_k04_k13_k15_spellings_and_scopes_of_keys_in_every_form() {
    let (t, mut forms) = start().await;
    let (a, b) = (t.acme.key.as_str(), t.globex.key.as_str());
    let mut lines = vec![(with_key(WEATHER, a), 200), (with_key(WEATHER, b), 200)];
    // K04: the prefix of one with the secret of the other, both ways; the checksum is right.
    for (one, other) in [(a, b), (b, a)] {
        let body = format!("tgk_live_{}{}", &one[9..31], &other[31..75]);
        let mixed = format!("{body}{}", crc(&body));
        assert!(trigate_core::credential::ApiKey::parse(&mixed).is_some(), "well-formed");
        lines.push((with_key(WEATHER, &mixed), 401));
        lines.push((with_key(WEATHER, &one[..31]), 401));
    }
    // K02, K15
    for text in [
        a.to_lowercase(),
        format!("\u{a0}{a}"),
        format!("{a}\u{a0}"),
        format!("\"{a}\""),
        format!("'{a}'"),
        format!("{a},{a}"),
        format!("{a} {a}"),
        a.replace("tgk_live", "tgk_test"),
        "ключ".to_owned(),
        "\u{1f511}".repeat(50),
        "k".repeat(20_000),
        "tgk_live_".repeat(2_000),
    ] {
        lines.push((with_key(WEATHER, &text), 401));
        lines.push((Ask::get(WEATHER, &[("Authorization", &format!("ApiKey {text}"))]), 401));
    }
    // K13
    let scoped = async |scopes: &[&str]| {
        let scopes = Some(scopes.iter().map(|scope| (*scope).to_owned()).collect());
        make(&t, &t.acme.id, KeyPolicy { scopes, ..KeyPolicy::default() }).await.key.to_string()
    };
    let (reader, writer) = (scoped(&["orders:read"]).await, scoped(&["orders:read", "orders:write"]).await);
    lines.push((with_key("/api/weather/write", &writer), 200));
    lines.push((with_key("/api/weather/write", &reader), 403));
    lines.push((with_key("/api/weather/write?scope=orders:write&scopes=orders:write", &reader), 403));
    for name in ["Scope", "X-Scope", "X-OAuth-Scopes", "X-Trigate-Scopes", "x_trigate_scopes"] {
        lines.push((with_key("/api/weather/write", &reader).with(name, "orders:write"), 403));
    }
    ask_everywhere(&t, &mut forms, &lines).await;
    // K15: more than some forms read.
    for form in &mut forms {
        let asked = form.ask_or_closed(&with_key(WEATHER, &"k".repeat(1 << 20))).await;
        assert!(asked.as_ref().is_none_or(|asked| matches!(asked.status, 401 | 431)), "{}: {asked:?}", form.name());
    }
    end(forms).await;
    t.stop().await;
}

/// CRC-32 in base 62, as a scanner would compute it offline.
fn crc(body: &str) -> String {
    let crc = !body.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    });
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    (0..6).rev().map(|place| char::from(digits[(crc / 62u32.pow(place) % 62) as usize])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn k08_k09_times_and_states_of_keys_in_every_form() {
    let (t, mut forms) = start().await;
    let operator = &t.running.operator;
    let by = By::system();
    let policy = |not_before: Option<&str>, expires_at: Option<&str>| KeyPolicy {
        not_before: not_before.map(str::to_owned),
        expires_at: expires_at.map(str::to_owned),
        ..KeyPolicy::default()
    };
    let early = make(&t, &t.acme.id, policy(Some("1h"), None)).await;
    let (disabled, of_app) = (make_app(&t, "Off").await, make(&t, &t.acme.id, KeyPolicy::default()).await);
    let key_of_disabled = make(&t, &disabled, KeyPolicy::default()).await;
    let rotated = make(&t, &t.acme.id, KeyPolicy::default()).await;
    let weather = |key: &KeyMade, status: u16| (with_key(WEATHER, &key.key), status);
    ask_everywhere(&t, &mut forms, &[weather(&key_of_disabled, 200), weather(&of_app, 200), weather(&rotated, 200)])
        .await;
    operator.set_app_state(&by, &disabled, State::Disabled).await.unwrap();
    operator.set_key_state(&by, of_app.record.id.as_str(), State::Disabled).await.unwrap();
    // From here on the clock runs.
    let begun = Instant::now();
    let expiring = make(&t, &t.acme.id, policy(None, Some("6s"))).await;
    let successor = operator.rotate_key(&by, rotated.record.id.as_str(), Some("6s"), None).await.unwrap();
    let lines = [
        weather(&expiring, 200),
        weather(&rotated, 200),
        weather(&successor, 200),
        weather(&early, 401),
        weather(&key_of_disabled, 401),
        weather(&of_app, 401),
    ];
    ask_everywhere(&t, &mut forms, &lines).await;
    operator.set_app_state(&by, &disabled, State::Enabled).await.unwrap();
    operator.set_key_state(&by, of_app.record.id.as_str(), State::Enabled).await.unwrap();
    tokio::time::sleep(Duration::from_millis(6_300).saturating_sub(begun.elapsed())).await;
    let lines = [
        weather(&key_of_disabled, 200),
        weather(&of_app, 200),
        weather(&expiring, 401),
        weather(&rotated, 401),
        weather(&successor, 200),
    ];
    ask_everywhere(&t, &mut forms, &lines).await;
    end(forms).await;
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn k10_an_allow_list_is_judged_by_the_real_peer_in_every_form() {
    let (t, mut forms) = start().await;
    let allowed = ["127.0.0.5", "203.0.113.0/24"].map(str::to_owned).to_vec();
    let key = make(&t, &t.acme.id, KeyPolicy { allowed_addresses: allowed, ..KeyPolicy::default() }).await.key;
    let peer = |peer: &str| Ask { peer: peer.parse().unwrap(), ..with_key(WEATHER, &key) };
    let behind = |proxy: &str, said: &str| peer(proxy).with("X-Forwarded-For", said);
    let lines = [
        (peer("127.0.0.5"), 200),
        (peer("::ffff:127.0.0.5"), 200),
        (peer("127.0.0.6"), 401),
        (peer("::ffff:127.0.0.6"), 401),
        // Anybody's header.
        (behind("127.0.0.6", "127.0.0.5"), 401),
        (behind("127.0.0.6", "::ffff:127.0.0.5"), 401),
        (behind("127.0.0.6", "203.0.113.5"), 401),
        (peer("127.0.0.6").with("X-Real-IP", "127.0.0.5"), 401),
        (peer("127.0.0.6").with("Forwarded", "for=127.0.0.5"), 401),
        (peer("127.0.0.6").with("True-Client-IP", "127.0.0.5"), 401),
        // The configured hop's, and only what that hop itself added.
        (behind("127.0.0.9", "127.0.0.5"), 200),
        (behind("127.0.0.9", "203.0.113.5"), 200),
        (behind("127.0.0.9", "127.0.0.6, 203.0.113.5"), 200),
        (behind("127.0.0.9", "203.0.113.5, 127.0.0.6"), 401),
        (behind("127.0.0.9", "127.0.0.5, 127.0.0.9"), 200),
        (behind("127.0.0.9", "nonsense"), 401),
        (peer("127.0.0.9"), 401),
    ];
    ask_everywhere(&t, &mut forms, &lines).await;
    end(forms).await;
    t.stop().await;
}

/// In each form an application of its own: forms of one process count together, as they should.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn k12_a_limit_holds_in_every_form() {
    let (t, mut forms) = start().await;
    for form in &mut forms {
        let key = make(&t, &make_app(&t, form.name()).await, KeyPolicy::default()).await.key;
        for count in 0..12 {
            let asked = form.ask(&with_key("/api/few", &key)).await;
            assert_eq!(asked.status, if count < 5 { 200 } else { 429 }, "{}: {count}", form.name());
            let retry = asked.header("retry-after").map(|s| s.parse::<u32>().unwrap());
            assert!(if count < 5 { retry.is_none() } else { retry.is_some_and(|s| s <= 720) }, "{}", form.name());
        }
    }
    // One application in all forms: once for each process.
    let key = make(&t, &make_app(&t, "All").await, KeyPolicy::default()).await.key;
    let (mut passed, mut peer) = (0, LOCAL);
    for count in 0..12_u8 {
        for form in &mut forms {
            passed += usize::from(form.ask(&Ask { peer, ..with_key("/api/few", &key) }).await.status == 200);
        }
        // From another address, which gives nothing back.
        peer = IpAddr::from([127, 0, 1, count + 1]);
    }
    assert_eq!(passed, 5 * Form::PROCESSES);
    end(forms).await;
    t.stop().await;
}
