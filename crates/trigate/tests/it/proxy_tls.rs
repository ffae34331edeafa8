//! The gate's own TLS: certificates by name, protocols, replacement while it serves. Against curl and openssl.

use crate::{proxy_upstreams::Authority, support::TestTrigate};
use std::{path::Path, time::Duration};
use tokio::process::Command;

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, pair: &(String, String)) {
        std::fs::write(self.0.path().join(format!("{name}.key")), &pair.1).unwrap();
        std::fs::write(self.0.path().join(format!("{name}.pem")), &pair.0).unwrap();
    }

    fn table(&self, name: &str) -> String {
        let at = self.0.path().display();
        format!("[[tls]]\ncertificate = \"{at}/{name}.pem\"\nkey = \"{at}/{name}.key\"\n")
    }
}

/// The subject that the gate shows to a client that asks for `name`, by openssl; none when there is no handshake.
async fn subject(t: &TestTrigate, ca: &Path, name: &str, more: &[&str]) -> Option<String> {
    let port = t.running.gate_addr.port();
    let done = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-servername", name, "-CAfile"])
        .arg(ca)
        .args(["-verify_return_error", "-brief"])
        .args(more)
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    said.lines().find_map(|line| line.strip_prefix("Peer certificate: CN = ")).map(str::to_owned)
}

async fn curl(t: &TestTrigate, ca: &Path, host: &str, more: &[&str]) -> String {
    let port = t.running.gate_addr.port();
    let done = Command::new("curl")
        .args(["-sS", "--max-time", "10", "--cacert"])
        .arg(ca)
        .args(["--resolve", &format!("{host}:{port}:127.0.0.1"), "-w", " %{http_version} %{response_code}"])
        .args(more)
        .arg(format!("https://{host}:{port}/open/x"))
        .output()
        .await
        .unwrap();
    format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_chosen_by_name_and_replaced_while_serving() {
    let authority = Authority::new("test");
    let files = Files::new();
    files.put("api", &authority.issue("api.test"));
    files.put("shop", &authority.issue("*.shop.test"));
    let ca = files.0.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let t = TestTrigate::start_with(&format!("{}{}", files.table("api"), files.table("shop"))).await;
    assert!(t.running.urls.gate.starts_with("https://"));

    let ask = |name| subject(&t, &ca, name, &[]);
    assert_eq!(ask("api.test").await.as_deref(), Some("api.test"));
    assert_eq!(ask("A.Shop.Test").await.as_deref(), Some("*.shop.test"));
    assert_eq!(
        ask("a.b.shop.test").await.as_deref(),
        Some("api.test"),
        "a wildcard is one label; the first for others"
    );
    assert_eq!(subject(&t, &ca, "api.test", &["-tls1_2"]).await.as_deref(), Some("api.test"));
    assert_eq!(subject(&t, &ca, "api.test", &["-tls1_1"]).await, None);

    for (arguments, version) in [(&["--http1.1"][..], "1.1"), (&["--http2"], "2")] {
        let said = curl(&t, &ca, "api.test", arguments).await;
        assert_eq!(said, format!("{{\"ok\":true}} {version} 200"));
        assert_eq!(t.upstream.last().header("x-forwarded-proto"), Some("https"));
    }
    // No TLS, no answer.
    assert!(curl(&t, &ca, "127.0.0.1", &[]).await.contains("curl: ("));

    // M13's sibling: what cannot be used leaves the last good one in force.
    std::fs::write(files.0.path().join("api.pem"), "no certificate").unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(ask("api.test").await.as_deref(), Some("api.test"));
    assert!(t.running.reload().unwrap_err().contains("api.pem") || t.running.reload().is_err());

    files.put("api", &authority.issue("new.test"));
    for _ in 0..40 {
        if ask("new.test").await.as_deref() == Some("new.test")
            && ask("other.test").await.as_deref() == Some("new.test")
        {
            t.stop().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the new certificate never came");
}
