//! What comes through the gate, and in which form? (Catalogue G, without framing.)

use crate::support::{TestTrigate, http::Wire};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_names_an_application_and_a_token_a_user() {
    let t = TestTrigate::start().await;
    let key = [("x-api-key", t.acme.key.as_str())];
    assert_eq!(t.get("/api/weather?city=paris", &key).await.status, 200);
    let seen = t.upstream.last();
    assert_eq!(seen.path(), "/api/weather?city=paris");
    assert_eq!(seen.header("x-trigate-application"), Some(t.acme.id.as_str()));
    assert_eq!(seen.header("x-api-key"), None);

    let whoami = t.get("/.trigate/whoami", &key).await;
    let who = whoami.json();
    assert_eq!(
        (who["client"].as_str(), who["plan"].as_str(), who["user"].is_null()),
        (Some("Acme Weather App"), Some("pro"), true)
    );

    let refused = t.get("/api/users/me/orders", &key).await;
    assert_eq!(refused.status, 401);
    assert!(refused.text().contains("identifies an application"), "{}", refused.text());

    let token = format!("Bearer {}", t.alice_token("openid email orders:read").await);
    let orders = t.get("/api/users/me/orders", &[("authorization", &token)]).await;
    assert_eq!(orders.status, 200, "{}", orders.text());
    let seen = t.upstream.last();
    assert_eq!((seen.header("x-trigate-user"), seen.header("authorization")), (Some(t.alice.id.as_str()), None));
    assert_eq!(orders.header("x-request-id"), seen.header("x-trigate-request-id"));

    let narrow = format!("Bearer {}", t.alice_token("openid").await);
    let refused = t.get("/api/users/me/orders", &[("authorization", &narrow)]).await;
    assert_eq!(refused.status, 403);
    assert!(refused.header("www-authenticate").unwrap().contains("insufficient_scope"));
    // T36: a client that speaks for itself is no user.
    let service = format!("Bearer {}", t.service_token("orders:read").await);
    assert!(matches!(t.get("/api/users/me/orders", &[("authorization", &service)]).await.status, 401 | 403));
    assert!(t.decisions(6).await.len() >= 6);
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g01_identity_headers_of_a_client_never_arrive() {
    let t = TestTrigate::start().await;
    let lies = [
        ("X-Trigate-User", "usr_1"),
        ("x_trigate_user", "usr_2"),
        ("X-Trigate-Application", "app_1"),
        ("X-TRIGATE-ROLES", "admin"),
        ("x-trigate-user", "usr_3"),
        ("X-Trigate-Request-Id", "req_1"),
        ("X-Trigate-Assertion", "e30.e30.x"),
    ];
    let mut keyed = lies.to_vec();
    keyed.push(("x-api-key", &t.acme.key));
    for (path, headers) in [("/open/x", &lies[..]), ("/api/weather", &keyed[..])] {
        assert_eq!(t.get(path, headers).await.status, 200);
        let seen = t.upstream.last();
        for (name, value) in &seen.headers {
            assert!(!lies.iter().any(|(_, lie)| lie == value), "{name}: {value}");
        }
        assert_eq!(seen.headers.iter().filter(|(name, _)| name == "x-trigate-request-id").count(), 1);
        let _ = seen;
    }
    // A blank before the colon is no header but a broken request.
    assert_eq!(t.gate().raw(b"GET /open/x HTTP/1.1\r\nHost: a\r\nX-Trigate-User : usr_1\r\n\r\n").await[0].status, 400);
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g02_connection_cannot_take_the_gates_headers_away() {
    let t = TestTrigate::start().await;
    for named in [
        "X-Trigate-Application",
        "x-trigate-application, x-trigate-request-id",
        "X-Api-Key",
        "X-Forwarded-For",
        "Authorization, host",
    ] {
        let request = format!(
            "GET /api/weather HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {}\r\nConnection: close, {named}\r\n\r\n",
            t.acme.key
        );
        assert_eq!(t.gate().raw(request.as_bytes()).await[0].status, 200, "{named}");
        let seen = t.upstream.last();
        assert_eq!(seen.header("x-trigate-application"), Some(t.acme.id.as_str()), "{named}");
        assert!(
            seen.header("x-trigate-request-id").is_some() && seen.header("x-forwarded-for") == Some("127.0.0.1"),
            "{named}"
        );
    }
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g06_g07_g08_one_path_is_judged_and_forwarded() {
    let t = TestTrigate::start().await;
    for path in [
        "/open//x",
        "/open/./x",
        "/open/../api/weather",
        "/open/%2e%2e/api/weather",
        "/open/x%2fy",
        "/open/x%5cy",
        "/open/x\\y",
        "/open/x;y",
        "/open/..;/api",
        "/open/%00",
        "/open/%252e%252e/x",
        "/open/%c0%ae",
        "/open/%ff",
        "/open/%",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(t.gate().raw(request.as_bytes()).await[0].status, 400, "{path}");
    }
    assert!(t.upstream.seen().is_empty());
    // Case counts; a query or an encoded mark never ends a path early.
    for (path, status) in [
        ("/OPEN/x", 404),
        ("/api/weather?/open/x", 401),
        ("/api/weather%3f/open", 404),
        ("/api/weather%23/open", 404),
        ("/api/weather/", 401),
    ] {
        assert_eq!(t.get(path, &[]).await.status, status, "{path}");
    }
    assert_eq!(t.get("/open/%61%7e?a=%2e%2e", &[]).await.status, 200);
    assert_eq!(t.upstream.last().path(), "/open/a~?a=%2e%2e");
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_g11_m10_words_of_other_proxies_are_removed() {
    let t = TestTrigate::start().await;
    let lies = [
        ("x-original-url", "/api/weather"),
        ("x-rewrite-url", "/api/weather"),
        ("x-forwarded-uri", "/admin"),
        ("x-forwarded-method", "DELETE"),
        ("x-forwarded-prefix", "/admin"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-http-method-override", "DELETE"),
        ("client-cert", ":evil:"),
        ("x-ssl-client-cert", "evil"),
        ("x-forwarded-client-cert", "evil"),
        ("forwarded", "for=6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
    ];
    assert_eq!(t.get("/open/x", &lies).await.status, 200);
    let seen = t.upstream.last();
    for (name, lie) in lies {
        assert!(seen.headers.iter().all(|(_, value)| value != lie), "{name}");
    }
    assert_eq!(seen.line, "GET /open/x HTTP/1.1");
    assert_eq!(
        (seen.header("x-forwarded-for"), seen.header("x-forwarded-proto"), seen.header("x-forwarded-host")),
        (Some("127.0.0.1"), Some("http"), Some("localhost"))
    );
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g12_probes_pass_no_gate_unseen() {
    let t = TestTrigate::start().await;
    for agent in ["kube-probe/1.27", "ELB-HealthChecker/2.0", "GoogleHC/1.0"] {
        for path in ["/api/weather", "/api/users/me/orders", "/.trigate/whoami"] {
            assert_eq!(t.get(path, &[("user-agent", agent)]).await.status, 401, "{agent} {path}");
        }
    }
    for path in ["/healthz", "/readyz", "/metrics", "/ping", "/.trigate/health", "/.trigate/", "/.trigate/x/y"] {
        assert_eq!(t.get(path, &[]).await.status, 404, "{path}");
    }
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g13_preflights_are_answered_by_policy() {
    let t = TestTrigate::start().await;
    let ask = |origin: &'static str| {
        let gate = t.gate();
        async move {
            gate.send(
                "OPTIONS",
                "/api/users/me/orders",
                &[("origin", origin), ("access-control-request-method", "GET")],
                b"",
            )
            .await
        }
    };
    let known = ask("https://app.example").await;
    assert_eq!((known.status, known.header("access-control-allow-origin")), (204, Some("https://app.example")));
    assert_eq!(known.header("access-control-allow-credentials"), Some("true"));
    assert!(known.body.is_empty());
    for origin in [
        "null",
        "https://evil-app.example",
        "https://app.example.evil.test",
        "http://app.example",
        "https://APP.example",
    ] {
        let unknown = ask(origin).await;
        assert!(unknown.header("access-control-allow-origin").is_none() && unknown.body.is_empty(), "{origin}");
    }
    // A route without a policy answers no preflight.
    let none = t
        .gate()
        .send(
            "OPTIONS",
            "/api/both",
            &[("origin", "https://app.example"), ("access-control-request-method", "GET")],
            b"",
        )
        .await;
    assert!(none.status == 401 && none.header("access-control-allow-origin").is_none());
    assert!(t.upstream.seen().is_empty());
    // A refusal is readable for the known origin alone, so that its page can say what happened.
    let refused = t.get("/api/users/me/orders", &[("origin", "https://app.example")]).await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some("https://app.example")));
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g24_strange_bytes_make_one_escaped_record() {
    let t = TestTrigate::start().await;
    let long = format!("/open/{}", "a".repeat(7_000));
    assert_eq!(t.get(&long, &[("user-agent", "caf\u{e9}")]).await.status, 200);
    assert_eq!(
        t.gate().raw(b"GET /open/x HTTP/1.1\r\nHost: a\r\nUser-Agent: \x1b[31mred\r\n\r\n").await[0].status,
        400
    );
    assert_eq!(
        t.gate().raw(b"GET /open/%0d%0aSet-Cookie:x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await[0].status,
        400
    );
    assert_eq!(t.gate().raw(b"GET /open/\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n").await[0].status, 400);
    for record in t.records() {
        let line = serde_json::to_string(&record).unwrap();
        assert!(!line.chars().any(char::is_control), "{line}");
    }
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g25_the_apis_answer_is_cleaned() {
    let t = TestTrigate::start().await;
    let loud = t.get("/open/loud", &[]).await;
    assert_eq!((loud.status, loud.text()), (200, "ok"));
    for gone in ["x-hop", "x-trigate-user", "keep-alive"] {
        assert!(loud.header(gone).is_none(), "{gone}");
    }
    let chunks = t.get("/open/chunks", &[]).await;
    assert_eq!(chunks.text(), "abcde");
    assert_eq!(t.get("/open/teapot", &[]).await.status, 418);
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_fails_is_502_with_a_record() {
    let t = TestTrigate::start().await;
    assert_eq!(t.get("/closed", &[]).await.status, 502);
    assert_eq!(t.get("/open/broken", &[]).await.status, 502);
    let problem = t.get("/open/broken", &[]).await;
    assert_eq!(problem.header("content-type"), Some("application/problem+json"));
    let completions = || {
        t.records().into_iter().filter_map(|record| match record {
            trigate_core::audit::Record::Completion(done) => Some((done.status, done.cut)),
            _ => None,
        })
    };
    // Completions ride along with the next write: soon, not at once.
    let begun = std::time::Instant::now();
    while completions().count() < 3 && begun.elapsed() < std::time::Duration::from_secs(5) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(completions().collect::<Vec<_>>(), [(502, false); 3]);
    // A body that ends before its end is marked.
    let cut = t.gate().raw(b"GET /open/cut HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(cut[0].body, b"abc");
    while completions().count() < 4 && begun.elapsed() < std::time::Duration::from_secs(5) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(completions().last(), Some((200, true)));
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooled_connection_that_the_api_closed_is_no_error() {
    let t = TestTrigate::start_with("").await;
    for round in 0..20 {
        assert_eq!(t.get("/open/x", &[]).await.status, 200, "{round}");
        assert_eq!(t.get("/open/fickle", &[]).await.status, 200, "{round}");
    }
    let connections: std::collections::HashSet<usize> = t.upstream.seen().iter().map(|seen| seen.connection).collect();
    assert!(connections.len() < 40, "nothing was pooled");
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_capped_while_they_stream() {
    let t = TestTrigate::start().await;
    let small = vec![b'x'; 1_000];
    assert_eq!(t.gate().send("POST", "/open/x", &[], &small).await.status, 200);
    assert_eq!(t.upstream.last().body, small);
    let large = vec![b'x'; 1_001];
    assert_eq!(t.gate().send("POST", "/open/x", &[], &large).await.status, 413);
    // Without a length it shows on the way.
    let mut chunked = b"POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..3 {
        chunked.extend_from_slice(format!("1f4\r\n{}\r\n", "y".repeat(500)).as_bytes());
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let (replies, closed) = t.gate().raw_closed(&chunked).await;
    assert_eq!((replies[0].status, replies.len(), closed), (413, 1, true));
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assertion_tells_the_api_who_was_let_in() {
    let t = TestTrigate::start().await;
    assert_eq!(t.get("/api/asserted", &[("x-api-key", &t.acme.key)]).await.status, 200);
    let assertion = t.upstream.last().header("x-trigate-assertion").unwrap().to_owned();
    let keys = t.get("/.trigate/jwks.json", &[]).await;
    let (keys, _) = trigate_core::jose::Jwks::parse(&keys.body).unwrap();
    let compact = trigate_core::jose::Compact::parse(&assertion, trigate_core::jose::MAX_TOKEN_BYTES).unwrap();
    assert_eq!(compact.typ(), Some("trigate-assertion+jwt"));
    let payload = compact.verify(keys.find(compact.kid()).unwrap()).unwrap();
    assert_eq!(payload.claims().text("application").unwrap(), Some(t.acme.id.as_str()));
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoking_a_key_holds_from_the_answer_on() {
    let t = TestTrigate::start().await;
    let key = [("x-api-key", t.acme.key.as_str())];
    assert_eq!(t.get("/api/weather", &key).await.status, 200);
    let token = format!("Bearer {}", t.operator_token().await);
    let body = serde_json::json!({ "kind": "key", "what": t.acme.key_id }).to_string();
    let revoked = t
        .desk()
        .send(
            "POST",
            "/api/v1/revocations",
            &[("authorization", &token), ("content-type", "application/json")],
            body.as_bytes(),
        )
        .await;
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    assert_eq!(t.get("/api/weather", &key).await.status, 401);
    assert_eq!(t.get("/api/weather", &[("x-api-key", &t.globex.key)]).await.status, 200);
    let _ = Wire(t.running.gate_addr);
    t.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_comes_in_and_http1_goes_out() {
    let t = TestTrigate::start().await;
    let stream = tokio::net::TcpStream::connect(t.running.gate_addr).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let ask = |path: &str, host: Option<&str>| {
        let mut request = http::Request::get(format!("http://localhost{path}")).header("x-api-key", &t.acme.key);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap()
    };
    let requests = (0..20).map(|_| sender.clone().send_request(ask("/api/weather?city=paris", None)));
    for reply in futures_util::future::join_all(requests).await {
        assert_eq!(reply.unwrap().status(), 200);
    }
    let seen = t.upstream.last();
    assert_eq!(
        (seen.line.as_str(), seen.header("x-trigate-application")),
        ("GET /api/weather?city=paris HTTP/1.1", Some(t.acme.id.as_str()))
    );
    // G16: the authority and a Host that differs.
    assert_eq!(sender.send_request(ask("/api/weather", Some("other"))).await.unwrap().status(), 400);
    assert_eq!(sender.send_request(ask("/api/both", None)).await.unwrap().status(), 401);
    t.stop().await;
}
