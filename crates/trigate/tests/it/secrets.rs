//! Where do secrets end up? Everything that was used is searched for in the database, the segments and all logs.

use crate::support::{
    FORM, Jar, PASSWORD, TestTrigate, between, code_flow, form,
    process::{Process, fix_ports},
};
use std::{fs, path::Path};
use trigate::operator::{
    By,
    key::{KeyPolicy, NewKey},
};

/// Every file below `folder`, and the log.
fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a11_k05_no_secret_is_in_the_database_the_segments_or_any_log() {
    let t = TestTrigate::start().await;
    let mut secrets = vec![
        t.acme.key.clone(),
        t.globex.key.clone(),
        t.acme.service_secret.clone(),
        t.globex.service_secret.clone(),
        t.operator_secret.clone(),
        PASSWORD.to_owned(),
    ];
    // K05: a thousand keys, none of them kept.
    for _ in 0..1_000 {
        let new = NewKey { app: t.acme.id.clone(), policy: KeyPolicy::default() };
        secrets.push(t.running.operator.create_key(&By::system(), new).await.unwrap().key.to_string());
    }
    let (gate_url, alice) = (t.running.urls.gate.clone(), t.alice.email);
    let (client, service) =
        (t.acme.public_client.clone(), (t.acme.service_client.clone(), t.acme.service_secret.clone()));
    let key = t.acme.key.clone();
    let folder = t.stop().await;
    let ports = fix_ports(folder.path());
    let path = folder.path().join("trigate.toml");
    let text =
        fs::read_to_string(&path).unwrap().replacen("workers = 2", &format!("workers = 2\nurl = \"{gate_url}\""), 1);
    fs::write(&path, text).unwrap();
    let process = Process::start(folder.path(), ports).await;

    // A person: code flow, refresh, a wrong password, the session's cookie.
    let answer =
        code_flow(&process.issuer, &client, alice, "openid email orders:read offline_access", &gate_url).await.json();
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    let (access, refresh, id_token) = (text("access_token"), text("refresh_token"), text("id_token"));
    let again = form(&[("grant_type", "refresh_token"), ("client_id", &client), ("refresh_token", &refresh)]);
    let rotated = process.issuer.send("POST", "/oauth/token", &[FORM], again.as_bytes()).await.json();
    secrets.extend([
        rotated["access_token"].as_str().unwrap().to_owned(),
        rotated["refresh_token"].as_str().unwrap().to_owned(),
    ]);
    let mut jar = Jar::default();
    let page = jar.get(&process.issuer, "/login").await;
    let csrf = between(page.text(), "name=\"csrf\" value=\"", "\"");
    let wrong = "a wrong but precious password";
    jar.post(&process.issuer, "/login", &form(&[("csrf", &csrf), ("email", alice), ("password", wrong)])).await;
    secrets.extend([access.clone(), refresh.clone(), id_token, csrf, wrong.to_owned()]);
    secrets.extend(jar.values());

    // A service; and every credential where it must not be.
    let mint = form(&[
        ("grant_type", "client_credentials"),
        ("client_id", &service.0),
        ("client_secret", &service.1),
        ("resource", &gate_url),
    ]);
    let minted = process.issuer.send("POST", "/oauth/token", &[FORM], mint.as_bytes()).await.json();
    secrets.push(minted["access_token"].as_str().unwrap().to_owned());
    let bearer = format!("Bearer {access}");
    assert_eq!(process.gate.send("GET", "/api/users/me/orders", &[("authorization", &bearer)], b"").await.status, 200);
    assert_eq!(process.gate.send("GET", "/api/weather", &[("x-api-key", &key)], b"").await.status, 200);
    for path in [
        format!("/api/weather?api_key={key}"),
        format!("/api/weather?access_token={access}&x=1"),
        format!("/open/{key}/x"),
        format!("/open/x?token={refresh}"),
        format!("/oauth/x/{key}"),
    ] {
        process.gate.send("GET", &path, &[("referer", &format!("http://x/{key}")), ("user-agent", &key)], b"").await;
        process.issuer.send("GET", &path, &[("cookie", &format!("a={key}"))], b"").await;
        process.desk.send("GET", &path, &[("authorization", &bearer)], b"").await;
    }
    process
        .gate
        .send(
            "GET",
            "/api/weather",
            &[("x-api-key", &format!("{key}x")), ("authorization", &format!("Basic {key}"))],
            b"",
        )
        .await;
    process
        .issuer
        .send("POST", "/oauth/token", &[FORM], form(&[("grant_type", &key), ("client_id", &access)]).as_bytes())
        .await;
    process
        .issuer
        .send("POST", "/oauth/revoke", &[FORM], form(&[("client_id", &client), ("token", &refresh)]).as_bytes())
        .await;
    process.gate.raw(format!("GET /{key} HTTP/1.1\r\nbroken {key}\r\n\r\n").as_bytes()).await;

    let log = process.log.clone();
    process.end();
    assert!(fs::metadata(&log).unwrap().len() > 0, "there is a log to search");
    let mut searched = vec![log.clone()];
    files(folder.path(), &mut searched);
    // The parts that are compared: a secret is also lost when only its body is kept.
    let needles: Vec<&str> = secrets.iter().map(|secret| secret.strip_prefix("tgk_live_").unwrap_or(secret)).collect();
    for file in &searched {
        let bytes = fs::read(file).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for (secret, needle) in secrets.iter().zip(&needles) {
            assert!(!text.contains(needle), "{} holds {}…", file.display(), &secret[..12.min(secret.len())]);
        }
    }
    eprintln!("{} secrets searched for in {} files: 0 hits", secrets.len(), searched.len());
    let _ = fs::remove_file(log);
}
