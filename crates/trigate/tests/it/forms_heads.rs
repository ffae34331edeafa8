//! What a request says beside its credentials, in every form of the gate: names of identity, words of other proxies,
//! probes, preflights, strange bytes. What the API gets is looked at wherever the gate says it.

use crate::support::{
    TestTrigate,
    forms::{ASKED, Ask, Asked, Form, ask_everywhere, decisions, end, settled_everywhere},
};

const WEATHER: &str = "/api/weather";
const ORDERS: &str = "/api/users/me/orders";
const ROUTES: &str = "[[route]]\nname = \"kept\"\npath = \"/api/kept\"\ndemands = \"key\"\nsubject = \"application\"\n\
     pass_credentials = true\nupstream = \"sample\"\n\
     [[route]]\nname = \"admin\"\npath = \"/api/admin\"\ndemands = \"token\"\nroles = [\"admin\"]\nupstream = \"sample\"\n\
     [[route]]\nname = \"hosted\"\npath = \"/api/hosted\"\nhost = \"api.test\"\ndemands = \"token\"\nscopes = [\"orders:write\"]\nupstream = \"sample\"\n\
     [[route]]\nname = \"other hosts\"\npath = \"/api/hosted\"\nhost = \"other.test\"\ndemands = \"token\"\nupstream = \"sample\"\n";

async fn start() -> (TestTrigate, Vec<Form>) {
    let t = TestTrigate::start_with(&format!("{ASKED}{ROUTES}")).await;
    let forms = Form::all(&t).await;
    (t, forms)
}

/// Names under which a client pretends to be somebody, with what it says.
const PRETENDED: &[(&str, &str)] = &[
    ("X-Trigate-User", "usr_evil"),
    ("x-trigate-user", "usr_evil_2"),
    ("X_Trigate_User", "usr_evil_3"),
    ("X-TRIGATE_User", "usr_evil_4"),
    ("X-Trigate-Application", "app_evil"),
    ("x_trigate_application", "app_evil_2"),
    ("X-Trigate-Machine", "spiffe://evil.test/x"),
    ("X-Trigate-Roles", "admin,evil"),
    ("X-Trigate-Scopes", "orders:evil"),
    ("X-Trigate-Anything", "evil"),
    ("X-Trigate-Assertion", "evil.evil.evil"),
];

/// Words of other proxies, from a client that is none.
const OTHERS_WORDS: &[(&str, &str)] = &[
    ("X-Original-URL", "/open/evil"),
    ("X-Rewrite-URL", "/open/evil"),
    ("X-Forwarded-Uri", "/open/evil"),
    ("X-Forwarded-Method", "EVIL"),
    ("X-Forwarded-Prefix", "/evil"),
    ("X-Forwarded-Host", "evil.test"),
    ("X-Forwarded-Port", "666"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-HTTP-Method", "DELETE"),
    ("X-Method-Override", "DELETE"),
    ("X-Real-IP", "6.6.6.6"),
    ("Forwarded", "for=6.6.6.6"),
    ("Client-Cert", ":ZXZpbA==:"),
    ("X-SSL-Client-Cert", "evil"),
    ("X-Forwarded-Client-Cert", "By=spiffe://evil.test/x"),
];

/// Whatever each form's API gets satisfies this.
async fn see(forms: &mut [Form], ask: &Ask, satisfied: impl Fn(&[(String, String)]) -> Result<(), String>) {
    for form in forms.iter_mut() {
        let asked: Asked = form.ask(ask).await;
        assert_eq!(asked.status, 200, "{}: {ask:?}", form.name());
        let Some(api) = &asked.api else {
            assert!(matches!(form, Form::ForwardAuth(_)), "{} says nothing", form.name());
            continue;
        };
        satisfied(api).unwrap_or_else(|why| panic!("{}: {ask:?}: {why}: {api:?}", form.name()));
    }
}

fn says<'a>(api: &'a [(String, String)], name: &str) -> Option<&'a str> {
    api.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// None of these lies came through, nor under any name.
fn none_of(lies: &[(&str, &str)], api: &[(String, String)]) -> Result<(), String> {
    match lies.iter().find(|(_, lie)| api.iter().any(|(_, value)| value.contains(lie))) {
        Some((name, _)) => Err(format!("`{name}` came through")),
        None => Ok(()),
    }
}

fn with_all(mut ask: Ask, pairs: &[(&str, &str)]) -> Ask {
    ask.headers.extend(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    ask
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn g01_g02_g10_g11_m10_pretended_words_in_every_form() {
    let (t, mut forms) = start().await;
    let token = t.alice_token("openid orders:read").await;
    let key = [("X-API-Key", t.acme.key.as_str())];
    // Nobody, a key, a token; each plainly, with every lie alone, and with all of them.
    let honest = [
        (Ask::get("/open/x", &[]), 200),
        (Ask::get(WEATHER, &key), 200),
        (Ask::bearer(ORDERS, &token), 200),
        (Ask::get(WEATHER, &[]), 401),
        (Ask { method: "DELETE".into(), ..Ask::bearer(ORDERS, &token) }, 405),
    ];
    let connections = ["X-Trigate-User", "x-trigate-application, x-trigate-request-id", "Authorization, X-API-Key"];
    let mut lines = Vec::new();
    for (ask, status) in &honest {
        lines.push((ask.clone(), *status));
        lines.extend(PRETENDED.iter().chain(OTHERS_WORDS).map(|lie| (with_all(ask.clone(), &[*lie]), *status)));
        lines.push((with_all(with_all(ask.clone(), PRETENDED), OTHERS_WORDS), *status));
        lines.extend(connections.map(|named| (ask.clone().with("Connection", named), *status)));
    }
    ask_everywhere(&t, &mut forms, &lines).await;
    for (ask, _) in honest.iter().filter(|(_, status)| *status == 200) {
        let lies = with_all(with_all(ask.clone(), PRETENDED), OTHERS_WORDS);
        see(&mut forms, &lies, |api| none_of(PRETENDED, api).and(none_of(OTHERS_WORDS, api))).await;
    }
    // G02: what the gate says arrives whatever the client calls hop-by-hop.
    for named in connections {
        see(&mut forms, &Ask::get(WEATHER, &key).with("Connection", named), |api| {
            let known = says(api, "x-trigate-application") == Some(t.acme.id.as_str());
            if known { Ok(()) } else { Err("the application is not told".to_owned()) }
        })
        .await;
        see(&mut forms, &Ask::bearer(ORDERS, &token).with("Connection", named), |api| {
            let known = says(api, "x-trigate-user") == Some(t.alice.id.as_str());
            if known { Ok(()) } else { Err("the user is not told".to_owned()) }
        })
        .await;
    }
    end(forms).await;
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn g22_g25_g26_one_token_on_each_route_and_what_is_passed_on_in_every_form() {
    let (t, mut forms) = start().await;
    let token = t.alice_token("openid orders:read").await;
    let at = |host: &str| Ask { host: host.into(), ..Ask::bearer("/api/hosted", &token) };
    let method = |method: &str| Ask { method: method.into(), ..Ask::bearer(ORDERS, &token) };
    let once = [
        (Ask::bearer(ORDERS, &token), 200),
        (Ask::bearer("/api/admin", &token), 403),
        (at("api.test"), 403),
        (at("other.test"), 200),
        (at("third.test"), 404),
        (method("POST"), 405),
        (Ask::bearer("/api/both", &token), 401),
        (Ask::get("/api/both", &[("X-API-Key", &t.globex.key), ("Authorization", &format!("Bearer {token}"))]), 403),
    ];
    let lines: Vec<(Ask, u16)> = once.iter().chain(&once).cloned().collect();
    ask_everywhere(&t, &mut forms, &lines).await;
    // G26
    let key = t.acme.key.as_str();
    for ask in [
        Ask::get(WEATHER, &[("X-API-Key", key)]),
        Ask::get(WEATHER, &[("Authorization", &format!("ApiKey {key}"))]),
        Ask::bearer(ORDERS, &token),
    ] {
        see(&mut forms, &ask, |api| none_of(&[("the key", key), ("the token", &token)], api)).await;
    }
    see(&mut forms, &Ask::get("/api/kept", &[("X-API-Key", key)]), |api| {
        if says(api, "x-api-key") == Some(key) { Ok(()) } else { Err("the route passes it on".to_owned()) }
    })
    .await;
    // G25: the API's answer goes through the gate where the gate carries requests.
    for form in forms.iter_mut().filter(|form| matches!(form, Form::Proxy(_) | Form::GateProcess(..))) {
        let loud = form.ask(&Ask::get("/open/loud", &[])).await;
        for gone in ["x-hop", "x-trigate-user", "keep-alive"] {
            assert!(loud.status == 200 && loud.header(gone).is_none(), "{}: {gone}: {loud:?}", form.name());
        }
    }
    end(forms).await;
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn g12_g13_probes_and_preflights_in_every_form() {
    let (t, mut forms) = start().await;
    let mut lines = Vec::new();
    for agent in ["kube-probe/1.30", "ELB-HealthChecker/2.0", "GoogleHC/1.0", "Envoy/HC"] {
        lines.extend([WEATHER, ORDERS, "/api/both"].map(|path| (Ask::get(path, &[("User-Agent", agent)]), 401)));
    }
    for path in ["/healthz", "/readyz", "/metrics", "/ping", "/status", "/.well-known/health", "/forward-auth/nginx"] {
        lines.push((Ask::get(path, &[]), 404));
    }
    ask_everywhere(&t, &mut forms, &lines).await;
    // G13: whoever carries the request answers a preflight, by the route's policy; where another carries it, it is a
    // request without credentials, and gets nothing of the policy.
    let preflight = |path: &str, origin: &str| Ask {
        method: "OPTIONS".into(),
        ..Ask::get(path, &[("Origin", origin), ("Access-Control-Request-Method", "GET")])
    };
    for form in &mut forms {
        let carries = matches!(form, Form::Proxy(_) | Form::GateProcess(..));
        let known = form.ask(&preflight(ORDERS, "https://app.example")).await;
        let allowed = |asked: &Asked| asked.header("access-control-allow-origin").map(str::to_owned);
        assert_eq!(allowed(&known).is_some(), carries, "{}: {known:?}", form.name());
        assert_eq!(known.status, if carries { 204 } else { 405 }, "{}", form.name());
        for origin in ["null", "https://evil-app.example", "https://app.example.evil.test", "http://app.example"] {
            let asked = form.ask(&preflight(ORDERS, origin)).await;
            assert_eq!((allowed(&asked), asked.identity.unwrap_or_default()), (None, vec![]), "{}", form.name());
        }
        let closed = form.ask(&preflight("/api/both", "https://app.example")).await;
        assert_eq!((closed.status, allowed(&closed)), (401, None), "{}", form.name());
    }
    end(forms).await;
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn g24_strange_bytes_make_one_escaped_record_in_every_form() {
    let (t, mut forms) = start().await;
    let long = format!("/open/{}", "a".repeat(7_000));
    let lines = [
        (Ask::get("/open/%1b%5b31mred", &[]), 400),
        (Ask::get("/open/%0d%0aSet-Cookie:x", &[]), 400),
        (Ask::get("/open/%e2%80%ae", &[]), 200),
        (Ask::get("/open/x?%0d%0a%1b%5b31m", &[]), 200),
        (Ask::get(&long, &[]), 200),
        (Ask::get("/open/x", &[("User-Agent", "caf\u{e9} \u{202e}evil"), ("Referer", &"b".repeat(8_000))]), 200),
        (Ask::get(&format!("/nowhere/{}", "c".repeat(7_000)), &[]), 404),
        (Ask { method: "A".repeat(100), ..Ask::get(WEATHER, &[]) }, 401),
    ];
    ask_everywhere(&t, &mut forms, &lines).await;
    // More than some forms read, and none keeps.
    for form in &mut forms {
        let huge = Ask::get(&format!("/open/{}", "d".repeat(100_000)), &[("User-Agent", &"e".repeat(100_000))]);
        let asked = form.ask_or_closed(&huge).await;
        assert!(asked.as_ref().is_none_or(|asked| asked.status < 500), "{}: {asked:?}", form.name());
    }
    let records = decisions(&t, &forms);
    assert!(records.len() >= lines.len() * forms.len());
    for record in settled_everywhere(&t, &forms) {
        let line = serde_json::to_string(&record).unwrap();
        assert!(!line.chars().any(char::is_control) && line.len() < 20_000, "{} bytes: {line:.300}", line.len());
    }
    end(forms).await;
    t.stop().await;
}
