//! What is taken back, and what is taken away, in every form of the gate: the first request after the answer, over
//! connections that were open before it.

use crate::{
    revocation::{Desk, claims, login, text, token_of},
    support::{
        TestTrigate,
        forge::{self, Signer, changed},
        forms::{ASKED, Ask, Form, ask_everywhere, end},
    },
};
use serde_json::json;
use trigate_core::{
    Act, Actor,
    id::{ClientId, TenantId, UserId},
    jose::Algorithm,
    port::{Clock, Rng},
};

const X: &str = "https://x.test";
const WEATHER: &str = "/api/weather";
const ORDERS: &str = "/api/users/me/orders";
const ADMIN: &str = "/api/admin";
const ANY: &str = "/api/any";
const ROUTES: &str = "[[route]]\nname = \"admin\"\npath = \"/api/admin\"\ndemands = \"token\"\nroles = [\"admin\"]\nupstream = \"sample\"\n\
     [[route]]\nname = \"any\"\npath = \"/api/any\"\ndemands = \"token\"\nupstream = \"sample\"\n";

struct Opened {
    t: TestTrigate,
    forms: Vec<Form>,
    x: Signer,
    _keys: tempfile::TempDir,
}

impl Opened {
    async fn start() -> Self {
        let keys = tempfile::tempdir().unwrap();
        let x = Signer::new(Algorithm::ES256, "k1");
        let more = format!("{ASKED}{ROUTES}{}", forge::trusted(keys.path(), X, &[x.public()]));
        let t = TestTrigate::start_with(&more).await;
        let forms = Form::all(&t).await;
        Self { t, forms, x, _keys: keys }
    }

    async fn all(&mut self, lines: &[(Ask, u16)]) {
        ask_everywhere(&self.t, &mut self.forms, lines).await;
    }

    /// Alice's token, from a login of its own, and the login's session.
    async fn token(&self) -> (String, String) {
        let (mut jar, session) = login(&self.t, &self.t.alice.id).await;
        let answer = token_of(&self.t, &mut jar, &self.t.acme.public_client).await;
        (text(&answer, "access_token").to_owned(), session)
    }

    async fn end(self) {
        end(self.forms).await;
        self.t.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn t34_k07_what_was_revoked_is_refused_in_every_form() {
    let mut o = Opened::start().await;
    let operator = Desk::open(&o.t).await.token;
    for kind in ["token", "session", "grant", "user", "client"] {
        let (token, session) = o.token().await;
        o.all(&[(Ask::bearer(ORDERS, &token), 200)]).await;
        let what = match kind {
            "token" => token.clone(),
            "session" => session,
            "grant" => text(&claims(&token), "gid").to_owned(),
            "user" => o.t.alice.email.to_owned(),
            _ => o.t.acme.public_client.clone(),
        };
        Desk { t: &o.t, token: operator.clone() }.revoke(kind, &what).await;
        // Whoever logs in after it is not hit.
        let (fresh, _) = o.token().await;
        o.all(&[(Ask::bearer(ORDERS, &token), 401), (Ask::bearer(ORDERS, &fresh), 200)]).await;
    }
    for kind in ["key", "app"] {
        let desk = Desk { t: &o.t, token: operator.clone() };
        let app = desk.post("/apps", json!({ "name": format!("Round {kind}"), "plan": "pro" })).await;
        let made = desk.post("/keys", json!({ "app": text(&app, "id") })).await;
        let ask = Ask::get(WEATHER, &[("X-API-Key", text(&made, "key"))]);
        o.all(&[(ask.clone(), 200)]).await;
        let what = if kind == "key" { text(&made, "id") } else { text(&app, "id") };
        Desk { t: &o.t, token: operator.clone() }.revoke(kind, what).await;
        o.all(&[(ask, 401)]).await;
    }
    // Another issuer's, which can be ended here as well.
    let of = |changes| o.x.token(&changed(forge::claims(X), &changes));
    let tokens = [
        ("token", of(json!({ "jti": "j-1" })), "j-1"),
        ("session", of(json!({ "jti": "j-2", "sid": "s-2" })), "s-2"),
        ("user", of(json!({ "jti": "j-3", "sub": "carol" })), "carol"),
        ("client", of(json!({ "jti": "j-4", "client_id": "phone" })), "phone"),
    ];
    let other = of(json!({ "jti": "j-5" }));
    for (kind, token, what) in tokens {
        o.all(&[(Ask::bearer(ANY, &token), 200)]).await;
        let body = json!({ "kind": kind, "what": what, "issuer": X });
        Desk { t: &o.t, token: operator.clone() }.post("/revocations", body).await;
        o.all(&[(Ask::bearer(ANY, &token), 401), (Ask::bearer(ANY, &other), 200)]).await;
    }
    o.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn t35_what_was_taken_away_is_gone_from_older_tokens_in_every_form() {
    let mut o = Opened::start().await;
    let operator = Desk::open(&o.t).await.token;
    let (user, client) = (format!("/users/{}", o.t.alice.id), o.t.acme.public_client.clone());
    let post = async |t: &TestTrigate, path: String, body| Desk { t, token: operator.clone() }.post(&path, body).await;
    // A role.
    post(&o.t, format!("{user}/roles/add"), json!({ "role": "admin" })).await;
    let (token, _) = o.token().await;
    o.all(&[(Ask::bearer(ADMIN, &token), 200), (Ask::bearer(ORDERS, &token), 200)]).await;
    post(&o.t, format!("{user}/roles/remove"), json!({ "role": "admin" })).await;
    o.all(&[(Ask::bearer(ADMIN, &token), 403), (Ask::bearer(ORDERS, &token), 200)]).await;
    // A person, a client and an application that are off, and on again.
    for what in [user.clone(), format!("/clients/{client}"), format!("/apps/{}", o.t.acme.id)] {
        post(&o.t, format!("{what}/disable"), json!({})).await;
        o.all(&[(Ask::bearer(ORDERS, &token), 401)]).await;
        post(&o.t, format!("{what}/enable"), json!({})).await;
        o.all(&[(Ask::bearer(ORDERS, &token), 200)]).await;
    }
    // A consent: no page withdraws one yet, the store does.
    let (clock, rng) = (trigate::system::SystemClock::new(), trigate::system::SystemRng::default());
    let (clock, rng): (&dyn Clock, &dyn Rng) = (&clock, &rng);
    let act = Act::new(clock, rng, Actor::System, "consent.withdraw", &client);
    let store = o.t.running.store.tenant(&TenantId::default_tenant());
    let id = |user: &str| UserId::parse(user).unwrap();
    store.withdraw_consent(act, &id(&o.t.alice.id), &ClientId::parse(&client).unwrap()).await.unwrap().gives_only();
    // The answer to the next act says that every gate has come so far.
    post(&o.t, "/apps".to_owned(), json!({ "name": "After", "plan": "pro" })).await;
    let (fresh, _) = o.token().await;
    o.all(&[(Ask::bearer(ORDERS, &token), 401), (Ask::bearer(ORDERS, &fresh), 200)]).await;
    // A scope, from the client.
    let headers = [("authorization", operator.as_str()), ("content-type", "application/json")];
    let body = json!({ "scopes": ["openid"] }).to_string();
    let path = format!("/api/v1/clients/{client}");
    let changed = o.t.desk().send("PATCH", &path, &headers, body.as_bytes()).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    o.all(&[(Ask::bearer(ORDERS, &fresh), 403), (Ask::bearer(ANY, &fresh), 200)]).await;
    o.end().await;
}
