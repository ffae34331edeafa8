//! Which configuration does the demonstration run with? One that shows each kind of route, and starts as it stands.

use super::ports::Ports;
use crate::{cli::init::OPERATOR_CLIENT, quickstart::demo::DemoApp};
use std::collections::BTreeMap;

/// Marks a file that the quickstart may write again when its ports change.
pub const MARK: &str = "# Written by `trigate quickstart`.";

pub fn toml(ports: &Ports, apps: &BTreeMap<String, DemoApp>) -> String {
    let app = |short: &str| apps.get(short).map(|app| app.id.to_string()).unwrap_or_default();
    format!(
        r#"{MARK} Edit it as you like; remove this line to keep your ports for ever.
# The operator's client is `{OPERATOR_CLIENT}`; its key lies in operator.json.

[server]
gate = "127.0.0.1:{gate}"
issuer = "127.0.0.1:{issuer}"
desk = "127.0.0.1:{desk}"
mtls = "127.0.0.1:{mtls}"
store = "sqlite:trigate.db"
audit = "audit"
master_key = "master.key"
node = "quickstart"

[issuer]
name = "Acme ID"
[issuer.scopes]
"orders:read" = "see your orders"
"reports:read" = "see your reports"
"transfer:write" = "transfer money in your name"

[plans]
free = "100/hour"
pro = "1000/hour"
operators = "1000/minute"

[upstreams]
sample = "http://127.0.0.1:{sample}"

# Gate 1 alone: a key identifies an application. It must be said, because a key stands for no user.
[[route]]
name = "weather"
path = "/api/weather"
methods = ["GET"]
demands = "key"
subject = "application"
upstream = "sample"

# A user's token.
[[route]]
name = "orders"
path = "/api/users/me/orders"
methods = ["GET"]
demands = "token"
subject = "user"
scopes = ["orders:read"]
upstream = "sample"

# Two together: key and token must be of one application.
[[route]]
name = "reports"
path = "/api/reports"
methods = ["GET"]
demands = "key and token"
subject = "user"
scopes = ["reports:read"]
upstream = "sample"

# Service to service.
[[route]]
name = "inventory"
path = "/api/inventory"
methods = ["GET"]
demands = "token"
subject = "service"
scopes = ["inventory:read"]
upstream = "sample"

# A machine's certificate, or a service's token.
[[route]]
name = "ship"
path = "/api/ship"
methods = ["POST"]
demands = "certificate or token"
subject = ["machine", "service"]
scopes = ["ship:write"]
upstream = "sample"

# Sensitive: a young token, and the record on disk before the answer.
[[route]]
name = "transfer"
path = "/api/transfer"
methods = ["POST"]
demands = "token"
subject = "user"
scopes = ["transfer:write"]
sensitive = true
max_age_s = 5
upstream = "sample"

# A role, judged at each request and not only when the token was minted.
[[route]]
name = "gold-offers"
path = "/api/gold-offers"
methods = ["GET"]
demands = "token"
subject = "user"
roles = ["gold"]
upstream = "sample"

[mtls]
ca = "ca/ca.pem"
certificate = "ca/server.pem"
key = "ca/server.key"

# Which certificate is which machine, for which application, and what it may do.
[[machine]]
san_uri = "spiffe://acme.test/*"
application = "{bolt}"
scopes = ["ship:write"]
"#,
        gate = ports.gate,
        issuer = ports.issuer,
        desk = ports.desk,
        mtls = ports.mtls,
        sample = ports.sample,
        bolt = app("bolt"),
    )
}
