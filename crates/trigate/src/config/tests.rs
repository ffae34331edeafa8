use super::*;

const GOOD: &str = r#"
[server]
gate = "127.0.0.1:8080"

[plans]
free = "100/hour"

[upstreams]
sample = "http://127.0.0.1:8084"

[[route]]
path = "/api/orders"
demands = "token"
upstream = "sample"
"#;

fn refusals(text: &str) -> Vec<Finding> {
    match parse(Path::new("trigate.toml"), text) {
        Ok(_) => vec![],
        Err(ConfigError::Refused(report)) => report.findings,
        Err(error) => panic!("{error}"),
    }
}

/// Writes the remedy into the text as it is printed.
fn apply(text: &str, remedy: &Remedy) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    if remedy.replaces {
        lines[remedy.below - 1] = &remedy.toml;
    } else {
        lines.insert(remedy.below, &remedy.toml);
    }
    lines.join("\n")
}

#[test]
fn a_safe_file_starts() {
    assert_eq!(refusals(GOOD), vec![]);
    assert_eq!(refusals(""), vec![]);
}

#[test]
fn applying_any_remedy_as_printed_starts_it() {
    let route = |lines: &str| format!("{GOOD}\n[[route]]\npath = \"/x\"\nupstream = \"sample\"\n{lines}\n");
    let cases = [
        route(""),
        route("demands = \"key\""),
        route("demands = \"key\"\nsubject = \"user\""),
        route("demands = \"keys\""),
        route("public = true\ndemands = \"token\""),
        route("demands = \"token\"\nsensitive = true\nwithout_lease = \"allow\""),
        GOOD.replace("127.0.0.1:8080", "0.0.0.0:8080"),
        GOOD.replace("100/hour", "lots"),
        GOOD.replace("upstream = \"sample\"", "upstream = \"simple\""),
        format!("{GOOD}\n[[trusted_issuer]]\nurl = \"https://idp.example\"\n"),
        format!("{GOOD}\n[[trusted_issuer]]\nurl = \"http://idp.example\"\naudiences = [\"a\"]\n"),
        format!("{GOOD}\n[[trusted_issuer]]\nurl = \"https://idp.example\"\naccept_any_audience = \"yes\"\n"),
        format!(
            "{GOOD}\n[[trusted_issuer]]\nurl = \"https://idp.example\"\naudiences = [\"a\"]\nmax_life_s = 2592001\n"
        ),
        issuer("typ = [\"JWT\"]\naudiences = [\"a\"]"),
        issuer("audiences = [\"a\"]\nlogout = { audience = \"c\" }"),
        format!(
            "{GOOD}\n[[trusted_issuer]]\nurl = \"https://login.microsoftonline.com/common/v2.0\"\npreset = \"entra\"\naudiences = [\"a\"]\n"
        ),
        issuer("audiences = [\"a\"]\n[[signals]]\nname = \"s\"\nissuer = \"https://idp.example\"\naudience = \"a\""),
        route("demands = \"token\"\nintrospection_cache_s = 301"),
        GOOD.replace("[server]\n", "[server]\nstore = \"postgres://db.example/trigate\"\n"),
        format!("{GOOD}\n[issuer]\nalgorithm = \"HS256\"\n"),
        format!("{GOOD}\n[issuer]\nurl = \"http://login.example\"\n"),
    ];
    for case in cases {
        let findings = refusals(&case);
        assert_eq!(findings.len(), 1, "{case}\n{findings:?}");
        assert!(!findings[0].remedies.is_empty(), "{findings:?}");
        for remedy in &findings[0].remedies {
            let remedied = apply(&case, remedy);
            assert_eq!(refusals(&remedied), vec![], "{remedied}");
        }
    }
}

fn issuer(lines: &str) -> String {
    format!("{GOOD}\n[[trusted_issuer]]\nurl = \"https://idp.example\"\n{lines}\n")
}

#[test]
fn what_other_issuers_may_not_be_told_to_do() {
    let asks = |lines: &str| issuer(&format!("audiences = [\"a\"]\n[trusted_issuer.introspection]\n{lines}"));
    let stream = |lines: &str| issuer(&format!("audiences = [\"a\"]\n[[signals]]\nname = \"s\"\n{lines}"));
    let whole = "url = \"https://idp.example/i\"\nclient_id = \"gate\"\nsecret_env = \"S\"\n";
    let good = "issuer = \"https://idp.example\"\naudience = \"a\"\npush_secret_env = \"S\"\n";
    assert_eq!(refusals(&asks(whole)), vec![]);
    assert_eq!(refusals(&stream(good)), vec![]);
    for (text, hint) in [
        (asks(&whole.replace("client_id = \"gate\"\n", "")), "without `client_id`"),
        (asks(&whole.replace("secret_env = \"S\"\n", "")), "`secret_file` or `secret_env`"),
        (asks(&format!("{whole}secret_file = \"f\"\n")), "`secret_file` or `secret_env`"),
        (asks(&format!("{whole}secret = \"in the clear\"\n")), "unknown field"),
        (asks(&format!("{whole}method = \"none\"\n")), "`client_secret_basic` or `client_secret_post`"),
        (asks(&whole.replace("https://idp.example/i", "http://idp.example/i")), "is not https"),
        (issuer("audiences = [\"a\"]\nname = \"a/b\"\nlogout = { audience = \"c\" }"), "needs a `name`"),
        (issuer("audiences = [\"a\"]\nname = \"a\"\nlogout = { }"), "names our client ids"),
        (stream(&good.replace("audience = \"a\"\n", "")), "signals for anybody"),
        (stream(&good.replace("https://idp", "http://idp")), "is not https"),
        (stream(&format!("about = \"https://other.example\"\n{good}")), "is no trusted issuer"),
        (stream(&format!("{good}poll_url = \"https://idp.example/poll\"\n")), "polling needs"),
        (stream(&format!("{good}push_secret_file = \"f\"\n")), "one file or one variable"),
    ] {
        let findings = refusals(&text);
        assert!(findings.iter().any(|finding| finding.message.contains(hint)), "{text}\n{findings:?}");
    }
    let two = format!(
        "{}\n[[trusted_issuer]]\nurl = \"https://two.example\"\naudiences = [\"a\"]\n[trusted_issuer.introspection]\n{whole}",
        asks(whole)
    );
    assert!(refusals(&two)[0].message.contains("must not be shown to two"), "{:?}", refusals(&two));
}

#[test]
fn a14_unknown_fields_wrong_types_and_double_routes_name_their_line() {
    let cases = [
        (GOOD.replace("demands", "demand"), 13, "did you mean `demands`?"),
        (GOOD.replace("\"127.0.0.1:8080\"", "8080"), 3, "invalid type"),
        (
            GOOD.replace("path = \"/api/orders\"", "path = \"/api/orders\"\nsensitive = \"yes\""),
            13,
            "expected a boolean",
        ),
        (
            format!("{GOOD}\n[[route]]\npath = \"/api/orders\"\ndemands = \"token\"\nupstream = \"sample\"\n"),
            17,
            "line 12",
        ),
        (GOOD.replace("[plans]", "[plans"), 5, ""),
        (GOOD.replace("[plans]\nfree", "[plans]\nfree = \"1/s\"\nfree"), 7, "duplicate"),
        (
            format!("{GOOD}\n[[route]]\npath = \"/.trigate/x\"\npublic = true\nupstream = \"sample\"\n"),
            17,
            "belongs to the gate",
        ),
        (
            format!("{GOOD}\n[[route]]\npath = \"a\"\npublic = true\nupstream = \"sample\"\n"),
            17,
            "starts with no slash",
        ),
    ];
    for (text, line, hint) in cases {
        let findings = refusals(&text);
        assert_eq!(findings.len(), 1, "{text}\n{findings:?}");
        assert_eq!(findings[0].line, line, "{text}\n{findings:?}");
        assert!(findings[0].message.contains(hint), "{findings:?}");
    }
}

#[test]
fn the_report_prints_file_line_and_remedy() {
    let text = format!("{GOOD}\n[[route]]\npath = \"/x\"\nupstream = \"sample\"\ndemands = \"key\"\n");
    let Err(ConfigError::Refused(report)) = parse(Path::new("etc/trigate.toml"), &text) else { panic!("accepted") };
    let printed = report.to_string();
    assert!(printed.contains("etc/trigate.toml:19:"), "{printed}");
    assert!(printed.contains("      subject = \"application\"\n"), "{printed}");
}

#[test]
fn the_schema_names_every_section_and_refuses_others() {
    let schema = schema();
    assert_eq!(schema["additionalProperties"], false);
    for name in [
        "server",
        "issuer",
        "desk",
        "trusted_issuer",
        "plans",
        "upstreams",
        "route",
        "machine",
        "mtls",
        "tls",
        "limits",
    ] {
        assert!(schema["properties"].get(name).is_some(), "{name}");
    }
}
