//! What goes on to the API: the corners of the rules.

use super::rig::*;
use trigate_core::{application::KeyRecord, change::What, credential::Digest};

#[tokio::test]
async fn g02_a_cookie_that_connection_names_goes_no_further() {
    let rig = Rig::new();
    let sent = async |connection: &str| {
        let ask = rig.ask("/public/x").header("cookie", "a=1").header("connection", connection);
        ask.admit().await.unwrap().forwarded_headers(ask.headers(), None)
    };
    assert!(sent("close").await.contains_key("cookie"));
    assert!(!sent("close, Cookie").await.contains_key("cookie"));
}

#[tokio::test]
async fn g26_a_key_that_comes_in_an_everyday_header_goes_no_further() {
    let rig = Rig::new();
    let text = "legacy-0123456789abcdef";
    let header = Some("User-Agent".to_owned());
    let record = KeyRecord { header, digest: Digest::of(text), ..key_record(&rig.key_a, "app_a") };
    rig.change(What::Key { record });
    let ask = rig.ask("/weather").header("user-agent", text).header("accept", "a");
    let sent = ask.admit().await.unwrap().forwarded_headers(ask.headers(), None);
    assert!(!sent.contains_key("user-agent") && sent.contains_key("accept"));
}
