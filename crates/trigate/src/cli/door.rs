//! How does a verb reach the desk? Over HTTP when a server runs; in this process, under the lock of the data folder, when
//! none does. Both ways go through the same router, so that a verb means the same.

use super::{
    Global,
    failure::Failure,
    http::{self, Content},
    offline::{self, Need},
};
use crate::{
    admin_api::{self, LocalOperator},
    config,
    operator::{
        By, SCOPE,
        folder::{DataFolder, FolderLock},
    },
};
use ::http::{Method, Request};
use axum::{Router, body::Body};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tower::ServiceExt as _;
use trigate_core::{
    id::TokenId,
    jose::{Algorithm, SigningKey},
    port::{Clock, Rng},
};
use url::Url;
use zeroize::Zeroizing;

/// `operator.json`: what `init` leaves for the command line. Mode 0600.
#[derive(Deserialize, Serialize)]
pub struct OperatorFile {
    pub desk: String,
    pub issuer: String,
    pub client_id: String,
    pub kid: String,
    /// Ed25519, PKCS#8 in base64url.
    pub private_key: Zeroizing<String>,
}

pub struct Door {
    way: Way,
    why: Option<String>,
}

enum Way {
    Online { desk: Url, token: Zeroizing<String> },
    Offline { router: Router, _lock: FolderLock },
}

impl Door {
    /// Finds the server that the options, the environment or the data folder name.
    pub async fn open(global: &Global) -> Result<Self, Failure> {
        Self::open_for(global, Need::Store).await
    }

    /// As `open`; `need` says what a stopped server's folder must give beside its store.
    pub async fn open_for(global: &Global, need: Need) -> Result<Self, Failure> {
        let why = global.why.clone();
        if let Some(token) = config::token_from_environment() {
            let of_folder =
                || read_operator_file(&DataFolder::at(&global.data)).ok().and_then(|file| parse_url(&file.desk).ok());
            let desk = desk_of(global).or_else(|error| of_folder().ok_or(error))?;
            return Ok(Self { way: Way::Online { desk, token }, why });
        }
        let folder = DataFolder::at(&global.data);
        if !folder.operator().is_file() && !folder.exists() {
            return Err(Failure::new(
                format!("there is no Trigate in `{}`", global.data.display()),
                "name its data folder with --data, make one with `trigate init`, or set TRIGATE_TOKEN and --desk",
            ));
        }
        // A folder without a configuration is an operator's copy of the key: the server is elsewhere.
        if global.desk.is_none()
            && folder.exists()
            && let Some(lock) = folder.try_lock()?
        {
            let operator = offline::operator(&folder, need).await?;
            let router = admin_api::router(operator);
            return Ok(Self { way: Way::Offline { router, _lock: lock }, why });
        }
        let file = read_operator_file(&folder)?;
        let desk = desk_of(global).or_else(|_| parse_url(&file.desk))?;
        let token = fetch_token(&file).await?;
        Ok(Self { way: Way::Online { desk, token }, why })
    }

    pub const fn is_offline(&self) -> bool {
        matches!(self.way, Way::Offline { .. })
    }

    pub async fn get(&self, parts: &[&str], query: &[(&str, String)]) -> Result<Value, Failure> {
        self.call(Method::GET, parts, query, None).await
    }

    pub async fn post(&self, parts: &[&str], body: &impl Serialize) -> Result<Value, Failure> {
        let body = serde_json::to_value(body).map_err(Failure::plain)?;
        self.call(Method::POST, parts, &[], Some(&body)).await
    }

    pub async fn patch(&self, parts: &[&str], body: &impl Serialize) -> Result<Value, Failure> {
        let body = serde_json::to_value(body).map_err(Failure::plain)?;
        self.call(Method::PATCH, parts, &[], Some(&body)).await
    }

    async fn call(
        &self,
        method: Method,
        parts: &[&str],
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let base = match &self.way {
            Way::Online { desk, .. } => desk.clone(),
            Way::Offline { .. } => parse_url("http://localhost/")?,
        };
        let url = self.address(base, parts, query)?;
        let reply = match &self.way {
            Way::Online { token, .. } => {
                http::send(method, &url, Some(token), body.map_or(Content::None, Content::Json)).await?
            }
            Way::Offline { router, .. } => call_in_process(router, method, &url, body).await?,
        };
        read_answer(&reply, &url)
    }

    fn address(&self, mut url: Url, parts: &[&str], query: &[(&str, String)]) -> Result<Url, Failure> {
        {
            let mut path = url.path_segments_mut().map_err(|()| Failure::plain("the desk's URL has no path"))?;
            path.clear().extend(["api", "v1"]).extend(parts);
        }
        let why = self.why.iter().map(|why| ("why", why.clone()));
        let pairs: Vec<(&str, String)> = query.iter().cloned().chain(why).collect();
        if !pairs.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        Ok(url)
    }
}

async fn call_in_process(
    router: &Router,
    method: Method,
    url: &Url,
    body: Option<&Value>,
) -> Result<http::Reply, Failure> {
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let mut request = Request::builder().method(method).uri(target).extension(LocalOperator(By::local()));
    let body = match body {
        Some(value) => {
            request = request.header(::http::header::CONTENT_TYPE, "application/json");
            Body::from(value.to_string())
        }
        None => Body::empty(),
    };
    let request = request.body(body).map_err(Failure::plain)?;
    let response = router.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.map_err(Failure::plain)?;
    Ok(http::Reply { status, body })
}

/// A problem body becomes the command's error, with its remedy.
fn read_answer(reply: &http::Reply, url: &Url) -> Result<Value, Failure> {
    let json = reply.json();
    if (200..300).contains(&reply.status) {
        return json
            .ok_or_else(|| Failure::plain(format!("`{}` answered with something that is not JSON", url.path())));
    }
    let text = |name: &str| json.as_ref().and_then(|body| body.get(name)).and_then(Value::as_str).map(str::to_owned);
    let message =
        text("detail").or_else(|| text("title")).unwrap_or_else(|| format!("the desk answered {}", reply.status));
    let remedy = text("remedy").or_else(|| match reply.status {
        401 => Some("the desk does not accept this token: log in again, or use the operator key of the server's data folder (--data)".into()),
        403 => Some(format!("operators need the scope `{SCOPE}` and the role `operator`: trigate role add USER operator")),
        _ => None,
    });
    if matches!(reply.status, 400 | 422) {
        Err(Failure::Usage { message, remedy })
    } else {
        Err(Failure::Failed { message, remedy })
    }
}

fn desk_of(global: &Global) -> Result<Url, Failure> {
    match &global.desk {
        Some(desk) => parse_url(desk),
        None => Err(Failure::usage(
            "TRIGATE_TOKEN is set, but no desk is named",
            "add --desk https://desk.example, or set TRIGATE_DESK",
        )),
    }
}

pub fn parse_url(text: &str) -> Result<Url, Failure> {
    Url::parse(text)
        .map_err(|error| Failure::usage(format!("`{text}` is no URL: {error}"), "write it as https://desk.example"))
}

pub fn read_operator_file(folder: &DataFolder) -> Result<OperatorFile, Failure> {
    let path = folder.operator();
    let text = Zeroizing::new(std::fs::read_to_string(&path).map_err(|error| {
        Failure::new(
            format!("`{}` cannot be read: {error}", path.display()),
            "run the command as the user that made the data folder",
        )
    })?);
    serde_json::from_str(&text).map_err(|error| {
        Failure::new(
            format!("`{}` is damaged: {error}", path.display()),
            "make a new operator key: stop the server and run `trigate init --operator`",
        )
    })
}

/// Client credentials with a signed assertion: the key itself never leaves this machine (RFC 7523 §2.2).
async fn fetch_token(file: &OperatorFile) -> Result<Zeroizing<String>, Failure> {
    let endpoint = parse_url(&format!("{}/oauth/token", file.issuer))?;
    let assertion = sign_assertion(file)?;
    let reply = http::send(
        Method::POST,
        &endpoint,
        None,
        Content::Form(&[
            ("grant_type", "client_credentials"),
            ("client_id", &file.client_id),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &assertion),
            ("scope", SCOPE),
            ("resource", &file.desk),
        ]),
    )
    .await?;
    let json = reply.json().unwrap_or_default();
    match json.get("access_token").and_then(Value::as_str) {
        Some(token) if reply.status == 200 => Ok(Zeroizing::new(token.to_owned())),
        // The key is good: a new one would help nobody.
        _ if reply.status >= 500 => Err(Failure::new(
            format!("the issuer gives no token just now ({})", reply.status),
            "look at the server's log and its /readyz: the store may be away",
        )),
        _ => {
            let error = json.get("error").and_then(Value::as_str).unwrap_or("no token");
            let more = json.get("error_description").and_then(Value::as_str).unwrap_or_default();
            Err(Failure::new(
                format!("the issuer refuses the operator's key: {error} {more}"),
                "make a new one: stop the server and run `trigate init --operator`",
            ))
        }
    }
}

fn sign_assertion(file: &OperatorFile) -> Result<String, Failure> {
    use base64::Engine as _;
    let damaged =
        || Failure::new("the operator's key cannot be read", "stop the server and run `trigate init --operator`");
    let der =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(file.private_key.as_bytes()).map_err(|_| damaged())?;
    let key = SigningKey::from_pkcs8(Algorithm::EdDSA, &file.kid, &Zeroizing::new(der)).map_err(|_| damaged())?;
    let now = crate::system::SystemClock::new().now().seconds();
    let rng = crate::system::SystemRng::default();
    let rng: &dyn Rng = &rng;
    // RFC 7523 §3: short-lived, used once.
    let claims = serde_json::json!({
        "iss": file.client_id,
        "sub": file.client_id,
        "aud": file.issuer,
        "jti": TokenId::mint(rng).to_string(),
        "iat": now,
        "exp": now + 60,
    });
    key.sign_jws("JWT", &claims).map_err(Failure::plain)
}
