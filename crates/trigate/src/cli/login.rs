//! `trigate login`: a person logs in through the browser; the command line gets the token by the code flow with PKCE and
//! a loopback redirect (RFC 8252 §7.3). `--curl` prints the same as a shell block with a cookie jar.
//!
//! SECURITY: the code comes back to a port that only this process listens on; `state`, PKCE and `iss` tie it to this try.

use super::{
    Failure, Global,
    door::{parse_url, read_operator_file},
    http::{self, Content},
    init::LOGIN_CLIENT,
    print,
};
use crate::operator::folder::{DataFolder, write_private};
use ::http::Method;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use serde_json::Value;
use std::{path::PathBuf, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use trigate_core::{credential::Digest, port::Rng};
use url::Url;
use zeroize::Zeroizing;

#[derive(Args)]
#[command(after_help = "Examples:
  trigate login                                        log in as an operator and print the token
  TRIGATE_TOKEN=$(trigate login --print-token) trigate app list --desk http://localhost:8082
  trigate login --client mobile-app-ios --scope \"openid orders:read\" --out token.json
  trigate login --curl --client mobile-app-ios --scope \"openid orders:read\"")]
pub struct Command {
    /// The client that asks. Default: the command line's own.
    #[arg(long, default_value = LOGIN_CLIENT)]
    client: String,
    /// What it asks for, separated by blanks. Default: what operators need.
    #[arg(long)]
    scope: Option<String>,
    /// Which API the token is for. Default: the client's first; for operators the desk.
    #[arg(long, value_name = "URL")]
    resource: Option<String>,
    /// The issuer. Default: the data folder's.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// Print a shell block that does the same with curl and a cookie jar.
    #[arg(long)]
    curl: bool,
    /// The registered redirect URI's path, for clients of your own.
    #[arg(long, default_value = "/callback", value_name = "PATH")]
    redirect_path: String,
    /// Print the access token alone.
    #[arg(long)]
    print_token: bool,
    /// Write the token response to this file (0600) and print nothing.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only print the address; open no browser.
    #[arg(long)]
    no_browser: bool,
}

/// Long enough for a person with a second factor, short enough not to listen for ever.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is asked for, and of whom.
pub struct Asked {
    pub issuer: String,
    pub client: String,
    pub scope: String,
    pub resource: Option<String>,
    pub redirect_path: String,
}

impl Command {
    pub async fn run(self, global: &Global) -> Result<(), Failure> {
        let asked = self.asked(global)?;
        if self.curl {
            print::line(&curl_block(&asked));
            return Ok(());
        }
        let token = code_flow(&asked, self.no_browser).await?;
        if let Some(path) = &self.out {
            write_private(path, token.to_string().as_bytes())?;
            print::note(&format!("the token is in {}", path.display()));
        } else if self.print_token {
            print::line(token.get("access_token").and_then(Value::as_str).unwrap_or_default());
        } else if global.json {
            print::json(&token);
        } else {
            print::sheet(&[
                ("access token", print::text(&token, "access_token")),
                ("scopes", print::optional(&token, "scope")),
                ("seconds left", print::optional(&token, "expires_in")),
            ]);
        }
        Ok(())
    }

    fn asked(&self, global: &Global) -> Result<Asked, Failure> {
        let file = read_operator_file(&DataFolder::at(&global.data));
        let issuer = match (&self.issuer, &file) {
            (Some(issuer), _) => issuer.clone(),
            (None, Ok(file)) => file.issuer.clone(),
            (None, Err(_)) => {
                return Err(Failure::usage("which issuer?", "name it with --issuer, or a data folder with --data"));
            }
        };
        let operator = self.client == LOGIN_CLIENT;
        let resource = match (&self.resource, file) {
            (Some(resource), _) => Some(resource.clone()),
            (None, Ok(file)) if operator => Some(file.desk),
            _ => None,
        };
        let scope = self.scope.clone().unwrap_or_else(|| {
            if operator { format!("openid {}", crate::operator::SCOPE) } else { "openid".to_owned() }
        });
        Ok(Asked { issuer, client: self.client.clone(), scope, resource, redirect_path: self.redirect_path.clone() })
    }
}

async fn code_flow(asked: &Asked, no_browser: bool) -> Result<Value, Failure> {
    let metadata = discover(&asked.issuer).await?;
    let endpoint = |name: &str| -> Result<Url, Failure> {
        let text = metadata
            .get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| Failure::plain(format!("the issuer's metadata names no `{name}`")))?;
        parse_url(text)
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let redirect = format!("http://127.0.0.1:{}{}", listener.local_addr()?.port(), asked.redirect_path);
    let rng = crate::system::SystemRng::default();
    let (verifier, state) = (random(&rng), random(&rng));
    // RFC 7636 §4.2
    let challenge = URL_SAFE_NO_PAD.encode(Digest::of(&verifier).bytes());
    let mut url = endpoint("authorization_endpoint")?;
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", &asked.client)
        .append_pair("redirect_uri", &redirect)
        .append_pair("scope", &asked.scope)
        .append_pair("state", &state)
        .append_pair("code_challenge", &challenge)
        .append_pair("code_challenge_method", "S256")
        .extend_pairs(asked.resource.iter().map(|resource| ("resource", resource)));
    if no_browser || !open_browser(url.as_str()) {
        print::note("open this address in a browser on this machine:");
    } else {
        print::note("a browser opens; if it does not, open this address:");
    }
    print::note(&format!("\n  {url}\n"));
    let answer = tokio::time::timeout(PATIENCE, wait_for_answer(&listener, &asked.redirect_path))
        .await
        .map_err(|_| Failure::new("nobody logged in within five minutes", "run the command again"))??;
    let code = check_answer(&answer, &state, &asked.issuer)?;
    exchange(&endpoint("token_endpoint")?, asked, &code, &redirect, &verifier).await
}

async fn discover(issuer: &str) -> Result<Value, Failure> {
    let url = parse_url(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')))?;
    let reply = http::send(Method::GET, &url, None, Content::None).await?;
    let metadata = reply.json().filter(|_| reply.status == 200);
    let metadata =
        metadata.ok_or_else(|| Failure::plain(format!("`{url}` answered {} and no metadata", reply.status)))?;
    // RFC 8414 §3.3: metadata of another issuer is an attack.
    if metadata.get("issuer").and_then(Value::as_str) != Some(issuer.trim_end_matches('/'))
        && metadata.get("issuer").and_then(Value::as_str) != Some(issuer)
    {
        return Err(Failure::plain(format!("the metadata at `{url}` is of another issuer")));
    }
    Ok(metadata)
}

fn random(rng: &dyn Rng) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; 32]);
    rng.fill(&mut *bytes);
    Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes))
}

fn open_browser(url: &str) -> bool {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let quiet = std::process::Stdio::null;
    std::process::Command::new(program).arg(url).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn().is_ok()
}

/// Browsers ask for icons and open spare connections: only the redirect's own path counts.
async fn wait_for_answer(listener: &TcpListener, path: &str) -> Result<Url, Failure> {
    loop {
        let (stream, _) = listener.accept().await?;
        let read = tokio::time::timeout(Duration::from_secs(5), read_target(stream, path)).await;
        if let Ok(Some(url)) = read {
            return Ok(url);
        }
    }
}

async fn read_target(mut stream: TcpStream, path: &str) -> Option<Url> {
    let mut head = Vec::new();
    let mut chunk = [0; 2048];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < 16 * 1024 {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(count) => head.extend_from_slice(chunk.get(..count)?),
        }
    }
    let text = String::from_utf8_lossy(&head);
    let target = text.lines().next().and_then(|line| line.strip_prefix("GET ")).and_then(|rest| rest.split(' ').next());
    let url = target
        .and_then(|target| Url::parse("http://127.0.0.1").ok()?.join(target).ok())
        .filter(|url| url.path() == path);
    let (status, page) = match &url {
        Some(_) => (
            "200 OK",
            "<!doctype html><meta charset=utf-8><title>Trigate</title><p>Done. You can close this page and go back to the terminal.",
        ),
        None => ("404 Not Found", "<!doctype html><meta charset=utf-8><title>Trigate</title><p>Nothing here."),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{page}",
        page.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    url
}

/// RFC 6749 §4.1.2, RFC 9207 §2.4
fn check_answer(url: &Url, state: &str, issuer: &str) -> Result<Zeroizing<String>, Failure> {
    let find = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    if find("state").as_deref() != Some(state) {
        return Err(Failure::plain("the answer is not to this login: its `state` differs"));
    }
    if let Some(error) = find("error") {
        let more = find("error_description").unwrap_or_default();
        return Err(Failure::plain(format!(
            "the login ended without a token: {} {}",
            print::printable(&error),
            print::printable(&more)
        )));
    }
    if find("iss").is_some_and(|iss| iss != issuer) {
        return Err(Failure::plain("the answer is from another issuer"));
    }
    find("code").map(Zeroizing::new).ok_or_else(|| Failure::plain("the answer has no code"))
}

async fn exchange(endpoint: &Url, asked: &Asked, code: &str, redirect: &str, verifier: &str) -> Result<Value, Failure> {
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", &asked.client),
        ("code", code),
        ("redirect_uri", redirect),
        ("code_verifier", verifier),
    ];
    let reply = http::send(Method::POST, endpoint, None, Content::Form(&form)).await?;
    let answer = reply.json().unwrap_or_default();
    if reply.status == 200 {
        return Ok(answer);
    }
    Err(Failure::plain(format!(
        "the issuer gives no token: {} {}",
        print::text(&answer, "error"),
        print::optional(&answer, "error_description")
    )))
}

/// The same flow as commands that can be read and pasted. The password is asked for unless PASSWORD is set.
pub fn curl_block(asked: &Asked) -> String {
    format!(
        r#"# A code flow with PKCE (RFC 7636), as a browser does it. Asks for e-mail and password unless EMAIL and PASSWORD are set.
ISSUER={issuer} CLIENT={client} REDIRECT={redirect}
SCOPE={scope} RESOURCE={resource}
[ -n "${{EMAIL:-}}" ] || {{ printf 'e-mail: ' >&2; read -r EMAIL; }}
[ -n "${{PASSWORD:-}}" ] || {{ printf 'password: ' >&2; stty -echo; read -r PASSWORD; stty echo; echo >&2; }}
{CURL_STEPS}"#,
        issuer = quote(&asked.issuer),
        client = quote(&asked.client),
        redirect = quote(&format!("http://127.0.0.1{}", asked.redirect_path)),
        scope = quote(&asked.scope),
        resource = quote(asked.resource.as_deref().unwrap_or_default()),
    )
}

/// The steps themselves, by ISSUER, CLIENT, REDIRECT, SCOPE, RESOURCE, EMAIL and PASSWORD.
pub const CURL_STEPS: &str = r#"JAR=$(mktemp); PAGE=$(mktemp); HEAD=$(mktemp)
b64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
VERIFIER=$(openssl rand 32 | b64url)
CHALLENGE=$(printf %s "$VERIFIER" | openssl dgst -sha256 -binary | b64url)
STATE=$(openssl rand 16 | b64url)
form() { sed -n 's/.*name="csrf" value="\([^"]*\)".*/\1/p' "$PAGE"; }
action() { sed -n 's/.*<form method="post" action="\([^"]*\)".*/\1/p' "$PAGE" | sed 's/&#38;/\&/g; s/&amp;/\&/g'; }
location() { sed -n 's/^[Ll]ocation: *\(.*\)/\1/p' "$HEAD" | tr -d '\r' | tail -n 1; }
absolute() { case $1 in /*) printf '%s%s' "$ISSUER" "$1";; *) printf '%s' "$1";; esac; }
# 1. Ask for a code; the issuer leads to its login page.
curl -sS -L -c "$JAR" -b "$JAR" -D "$HEAD" -o "$PAGE" -G "$ISSUER/oauth/authorize" \
  -d response_type=code --data-urlencode "client_id=$CLIENT" --data-urlencode "redirect_uri=$REDIRECT" \
  --data-urlencode "scope=$SCOPE" -d "state=$STATE" -d "code_challenge=$CHALLENGE" -d code_challenge_method=S256 ${RESOURCE:+--data-urlencode "resource=$RESOURCE"}
# 2. Log in. The password goes through standard input, not through the arguments.
printf %s "$PASSWORD" | curl -sS -c "$JAR" -b "$JAR" -D "$HEAD" -o "$PAGE" "$(absolute "$(action)")" \
  --data-urlencode "csrf=$(form)" --data-urlencode "email=$EMAIL" --data-urlencode password@-
# 3. Follow to the consent page, and allow.
NEXT=$(location); CODE=
for STEP in 1 2 3 4 5 6; do
  case $NEXT in "$REDIRECT"*) CODE=$(printf %s "$NEXT" | sed -n 's/.*[?&]code=\([^&]*\).*/\1/p'); break;; esac
  if [ -n "$NEXT" ]; then curl -sS -c "$JAR" -b "$JAR" -D "$HEAD" -o "$PAGE" "$(absolute "$NEXT")"
  elif grep -q 'name="decision"' "$PAGE"; then
    curl -sS -c "$JAR" -b "$JAR" -D "$HEAD" -o "$PAGE" "$(absolute "$(action)")" --data-urlencode "csrf=$(form)" -d decision=allow
  else break; fi
  NEXT=$(location)
done
[ -n "$CODE" ] || echo "no code: wrong e-mail or password, or not allowed" >&2
# 4. Exchange the code for tokens.
printf %s "$CODE" | curl -sS "$ISSUER/oauth/token" -d grant_type=authorization_code --data-urlencode "client_id=$CLIENT" \
  --data-urlencode "redirect_uri=$REDIRECT" --data-urlencode code@- -d "code_verifier=$VERIFIER"
rm -f "$JAR" "$PAGE" "$HEAD"; echo"#;

/// For a POSIX shell.
pub fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
