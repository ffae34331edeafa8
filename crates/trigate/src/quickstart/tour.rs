//! What should a newcomer see, step by step? Short shell blocks that work as printed. Each fetches its own credentials
//! and takes away only what it made, so the tour can be walked twice, in any order, and after a restart.
//!
//! A comment `# expect: TEXT` says what the lines before it print; the test of the tour reads the same comments.

use super::demo::{ALICE, State};
use crate::cli::{CURL_STEPS, quote};
use std::{fmt::Write as _, path::Path};

/// Sourced by every step: names of what the demo made, and three short helpers.
pub const ENVIRONMENT: &str = "tour.env";
/// All steps in one file.
pub const SCRIPT: &str = "tour.sh";

pub struct Step {
    pub title: &'static str,
    pub shows: &'static str,
    pub block: &'static str,
}

pub const STEPS: &[Step] = &[
    Step {
        title: "An API key identifies an application",
        shows: "Gate 1: the key names the caller's software, its plan and its rate limit. It says nothing about a user.",
        block: r#"curl -sS "$GATE/api/weather?city=paris" -H "X-API-Key: $ACME_KEY"; echo
# expect: "city":"paris"
curl -sS "$GATE/.trigate/whoami" -H "X-API-Key: $ACME_KEY"; echo
# expect: "client":"Acme Weather App"
# expect: "plan":"pro"
# expect: "rate_limit":"1000/hour"
# expect: "user":null"#,
    },
    Step {
        title: "An API key is no proof of a user",
        shows: "The same key on a route for users is refused with 401, and the answer says what is missing.",
        block: r#"curl -sS -w '\n%{http_code}\n' "$GATE/api/users/me/orders" -H "X-API-Key: $ACME_KEY"
# expect: API key identifies an application
# expect: 401"#,
    },
    Step {
        title: "A person logs in, and the token proves it",
        shows: "Gate 2: a code flow with PKCE, as a browser does it, gives a token for alice; the API learns her id from the gate.",
        block: r#"TOKEN=$(log_in "openid email orders:read" | field access_token)
curl -sS "$GATE/api/users/me/orders" -H "Authorization: Bearer $TOKEN"; echo
# expect: "user":"usr_
curl -sS "$GATE/.trigate/whoami" -H "Authorization: Bearer $TOKEN"; echo
# expect: "email":"alice@example.com"
# expect: "user_id":"usr_"#,
    },
    Step {
        title: "The token must allow this very thing",
        shows: "Gate 3: without the scope it is 403 and names the scopes needed; a service's token is no user's token.",
        block: r#"TOKEN=$(log_in "openid email" | field access_token)
curl -sS -i "$GATE/api/users/me/orders" -H "Authorization: Bearer $TOKEN" | grep -i -E '^(HTTP|www-authenticate)'
# expect: 403
# expect: insufficient_scope
# expect: orders:read
SERVICE=$(curl -sS "$ISSUER/oauth/token" -u "shipping-service:$SHIPPING_SECRET" -d grant_type=client_credentials | field access_token)
curl -sS -o /dev/null -w '%{http_code}\n' "$GATE/api/users/me/orders" -H "Authorization: Bearer $SERVICE"
# expect: 403"#,
    },
    Step {
        title: "Two services talk: a JWT proves itself",
        shows: "The shipping service asks the inventory service. The gate verifies the signature in memory, with no look-up; so can anyone, by the published keys.",
        block: r#"TOKEN=$(curl -sS "$ISSUER/oauth/token" -u "shipping-service:$SHIPPING_SECRET" -d grant_type=client_credentials -d scope=inventory:read | field access_token)
curl -sS "$GATE/api/inventory" -H "Authorization: Bearer $TOKEN"; echo
# expect: "asked_by_service":"shipping-service"
part() { printf %s "$TOKEN" | cut -d. -f"$1" | tr '_-' '/+' | sed 's/$/===/' | base64 -d 2>/dev/null; echo; }
part 1
# expect: at+jwt
# expect: key-20
part 2
# expect: "sub":"shipping-service"
curl -sS "$ISSUER/.well-known/jwks.json" | grep -o '"kid":"[^"]*"'
# expect: "kid":"key-20"#,
    },
    Step {
        title: "Ask the issuer about a token, and revoke it",
        shows: "Introspection by the resource server (RFC 7662); after revocation (RFC 7009) it is inactive, and the gate refuses its next request.",
        block: r#"TOKEN=$(log_in "openid orders:read" | field access_token)
ask() { curl -sS "$ISSUER/oauth/introspect" -d client_id=api-gateway -d "client_secret=$GATEWAY_SECRET" -d "token=$1"; echo; }
ask "$TOKEN"
# expect: "active":true
# expect: "client_id":"mobile-app-ios"
curl -sS "$ISSUER/oauth/revoke" -d client_id=mobile-app-ios -d "token=$TOKEN"
ask "$TOKEN"
# expect: {"active":false}
curl -sS -o /dev/null -w '%{http_code}\n' "$GATE/api/users/me/orders" -H "Authorization: Bearer $TOKEN"
# expect: 401"#,
    },
    Step {
        title: "Opaque tokens work the same way",
        shows: "By a client's setting its tokens say nothing by themselves; the gate looks them up, and revocation is as quick.",
        block: r#"TOKEN=$(log_in "openid orders:read" partner-portal | field access_token)
echo "$TOKEN" | cut -c1-4
# expect: tga_
curl -sS -o /dev/null -w '%{http_code}\n' "$GATE/api/users/me/orders" -H "Authorization: Bearer $TOKEN"
# expect: 200
curl -sS "$ISSUER/oauth/revoke" -d client_id=partner-portal -d "token=$TOKEN"
curl -sS -o /dev/null -w '%{http_code}\n' "$GATE/api/users/me/orders" -H "Authorization: Bearer $TOKEN"
# expect: 401"#,
    },
    Step {
        title: "A permission changes while the token lives",
        shows: "The token was minted with the role `gold`; the role is taken away; the very next request is judged without it.",
        block: r#"trigate role add alice@example.com gold > /dev/null
TOKEN=$(log_in "openid" | field access_token)
curl -sS -w ' %{http_code}\n' "$GATE/api/gold-offers" -H "Authorization: Bearer $TOKEN"
# expect: 200
trigate role remove alice@example.com gold > /dev/null
curl -sS -o /dev/null -w '%{http_code}\n' "$GATE/api/gold-offers" -H "Authorization: Bearer $TOKEN"
# expect: 403"#,
    },
    Step {
        title: "A sensitive route wants a young token",
        shows: "Moving money takes a token of at most five seconds here; the record is on disk before the answer leaves.",
        block: r#"TOKEN=$(log_in "openid transfer:write" | field access_token)
curl -sS -w ' %{http_code}\n' -X POST "$GATE/api/transfer" -H "Authorization: Bearer $TOKEN"
# expect: "transferred":true
# expect: 200
sleep 7
curl -sS -o /dev/null -w '%{http_code}\n' -X POST "$GATE/api/transfer" -H "Authorization: Bearer $TOKEN"
# expect: 401"#,
    },
    Step {
        title: "A machine proves itself by certificate",
        shows: "Mutual TLS: a certificate of the configured CA is a machine and no user. None, an expired and a revoked one are refused.",
        block: r#"WORK=$(mktemp -d)
trigate cert issue spiffe://acme.test/tour-bot --out "$WORK/bot" > /dev/null
with() { curl -sS --cacert "$CA" --cert "$WORK/$1.pem" --key "$WORK/$1.key" -w ' %{http_code}\n' "$MTLS/.trigate/whoami" 2>&1; }
with bot
# expect: "machine":"spiffe://acme.test/tour-bot"
# expect: 200
curl -sS --cacert "$CA" -o /dev/null -w '%{http_code}\n' "$MTLS/.trigate/whoami"
# expect: 401
trigate cert issue spiffe://acme.test/late-bot --days 0 --out "$WORK/late" > /dev/null
with late || echo "refused in the handshake"
# expect: refused
trigate revoke cert --file "$WORK/bot.pem"
# expect: everywhere
with bot | tail -c 4
# expect: 401
rm -r "$WORK""#,
    },
    Step {
        title: "Two together",
        shows: "One route takes certificate or token; one wants key and token, and both of one application.",
        block: r#"SERVICE=$(curl -sS "$ISSUER/oauth/token" -u "shipping-service:$SHIPPING_SECRET" -d grant_type=client_credentials -d scope=ship:write | field access_token)
curl -sS -X POST "$GATE/api/ship" -H "Authorization: Bearer $SERVICE"; echo
# expect: "service":"shipping-service"
curl -sS -X POST --cacert "$CA" --cert "$MACHINE_CERT" --key "$MACHINE_KEY" "$MTLS/api/ship"; echo
# expect: "machine":"spiffe://acme.test/ship-bot"
TOKEN=$(log_in "openid reports:read" | field access_token)
curl -sS -w ' %{http_code}\n' "$GATE/api/reports" -H "X-API-Key: $ACME_KEY" -H "Authorization: Bearer $TOKEN"
# expect: 200
curl -sS -o /dev/null -w '%{http_code}\n' "$GATE/api/reports" -H "X-API-Key: $BOLT_KEY" -H "Authorization: Bearer $TOKEN"
# expect: 403"#,
    },
    Step {
        title: "The plan limits the rate",
        shows: "An application on the plan `free` may ask 100 times an hour; exactly 100 of 110 requests pass, and 429 says when to come again.",
        block: r#"APP="Tour $(date +%s)-$$"
trigate app create "$APP" --plan free > /dev/null
KEY=$(trigate key create --app "$APP" --json | field key)
curl -sS -o /dev/null -w '%{http_code}\n' "$GATE/api/weather?n=[1-110]" -H "X-API-Key: $KEY" | sort | uniq -c
# expect: 100 200
# expect: 10 429
curl -sS -o /dev/null -D - "$GATE/api/weather" -H "X-API-Key: $KEY" | grep -i -E '^(retry-after|ratelimit)' | sort
# expect: atelimit
# expect: etry-after
trigate revoke app "$APP" > /dev/null"#,
    },
    Step {
        title: "Credentials travel in headers",
        shows: "A key in the URL is not read; because it was a real one, it is marked as exposed, and its owner should replace it.",
        block: r#"KEY=$(trigate key create --app "Acme Weather App" --label "tour: exposed" --json)
ID=$(echo "$KEY" | field id)
curl -sS -o /dev/null -w '%{http_code}\n' "$GATE/api/weather?city=paris&api_key=$(echo "$KEY" | field key)"
# expect: 401
sleep 2
trigate key list --app "Acme Weather App" | grep "$ID"
# expect: exposed
trigate revoke key "$ID"
# expect: everywhere"#,
    },
    Step {
        title: "Anything can be revoked, at once",
        shows: "When the command returns, no gate accepts the credential any more; and a login in the same second works.",
        block: r#"PERSON="tour-$(date +%s)-$$@example.com"
SECRET=$(trigate user create "$PERSON" --roles customer --json | field password)
TOKEN=$(log_in "openid orders:read" mobile-app-ios "$PERSON" "$SECRET" | field access_token)
orders() { curl -sS -o /dev/null -w '%{http_code}\n' "$GATE/api/users/me/orders" -H "Authorization: Bearer $1"; }
orders "$TOKEN"
# expect: 200
trigate revoke user "$PERSON" --why "stolen phone"
# expect: everywhere
orders "$TOKEN"
# expect: 401
TOKEN=$(log_in "openid orders:read" mobile-app-ios "$PERSON" "$SECRET" | field access_token)
orders "$TOKEN"
# expect: 200
echo "$TOKEN" | trigate revoke token
# expect: everywhere
orders "$TOKEN"
# expect: 401
trigate user disable "$PERSON" > /dev/null"#,
    },
    Step {
        title: "Every decision explains itself",
        shows: "`explain` asks the gates about a credential (never as an argument); `audit` lists what happened and why; `verify` proves that no record was changed.",
        block: r#"echo "$ACME_KEY" | trigate explain GET /api/users/me/orders
# expect: identification
# expect: passed
# expect: refused
# expect: token.missing
TOKEN=$(log_in "openid orders:read" | field access_token)
curl -sS -o /dev/null "$GATE/api/users/me/orders" -H "Authorization: Bearer $TOKEN"
trigate audit --user alice@example.com --since 1m
# expect: alice@example.com
# expect: node quickstart
trigate audit verify
# expect: whole"#,
    },
];

/// The tour for a terminal.
pub fn render(state: &State) -> String {
    let mut text = format!(
        "A guided tour in {} steps. Paste each block into another terminal (bash, curl, openssl).\n",
        STEPS.len()
    );
    for (at, step) in STEPS.iter().enumerate() {
        let _ = write!(text, "\n── {}. {} ──\n{}\n\n{}\n", at + 1, step.title, step.shows, block(state, step));
    }
    let _ = write!(
        text,
        "\nLog in through a real browser: trigate login --data {0} (as {1}); all steps at once: bash {0}/{SCRIPT}\n",
        quote(&state.data.display().to_string()),
        state.operator.email,
    );
    text
}

/// One step as printed.
pub fn block(state: &State, step: &Step) -> String {
    format!("{}\n{}", source(state), step.block)
}

fn source(state: &State) -> String {
    format!(". {}", quote(&state.data.join(ENVIRONMENT).display().to_string()))
}

/// `tour.sh`.
pub fn script(state: &State) -> String {
    let mut text = "#!/usr/bin/env bash\n# The whole tour, as `trigate quickstart` prints it.\n".to_owned();
    for (at, step) in STEPS.iter().enumerate() {
        let _ = write!(
            text,
            "\necho; echo {}\n(\n{}\n)\n",
            quote(&format!("== {}. {}", at + 1, step.title)),
            block(state, step)
        );
    }
    text
}

/// `tour.env`: mode 0600, since it holds the demo's secrets.
pub fn environment(state: &State, program: &Path) -> String {
    let key = |short: &str| state.api_keys.get(short).map_or("", |key| key.as_str());
    let secret = |id: &str| {
        state.clients.get(id).and_then(|client| client.client_secret.as_ref()).map_or("", |secret| secret.as_str())
    };
    let alice = state.users.get("alice").map_or("", |user| user.password.as_str());
    let path = |path: &Path| quote(&path.display().to_string());
    format!(
        r#"# Written by `trigate quickstart` at each start; sourced by the steps of its tour. Holds the demo's secrets.
GATE={gate}
ISSUER={issuer}
DESK={desk}
MTLS={mtls}
ACME_KEY={acme}
BOLT_KEY={bolt}
GATEWAY_SECRET={gateway}
SHIPPING_SECRET={shipping}
CA={ca}
MACHINE_CERT={cert}
MACHINE_KEY={machine_key}

# The command line, at this demo.
trigate() {{ {program} --data {data} "$@"; }}

# field NAME: the member's value, from JSON on standard input.
field() {{ sed -n 's/.*"'"$1"'" *: *"\([^"]*\)".*/\1/p' | head -n 1; }}

# log_in SCOPES [CLIENT [EMAIL [PASSWORD]]]: what `trigate login --curl` prints, for alice by default.
log_in() {{ (
CLIENT=${{2:-mobile-app-ios}} REDIRECT=http://127.0.0.1/callback SCOPE=$1 RESOURCE=
EMAIL=${{3:-{ALICE}}} PASSWORD=${{4:-{alice}}}
{CURL_STEPS}
) }}
"#,
        gate = quote(&state.urls.gate),
        issuer = quote(&state.urls.issuer),
        desk = quote(&state.urls.desk),
        mtls = quote(&state.urls.mtls),
        acme = quote(key("acme")),
        bolt = quote(key("bolt")),
        gateway = quote(secret("api-gateway")),
        shipping = quote(secret("shipping-service")),
        ca = path(&state.certificates.ca),
        cert = path(&state.certificates.certificate),
        machine_key = path(&state.certificates.private_key),
        program = path(program),
        data = path(&state.data),
    )
}
