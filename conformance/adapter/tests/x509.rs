//! Chains made by the `openssl` program, through the adapter: what the gate would let in, and what not.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may panic"
)]

use serde_json::{Value, json};
use std::{fs, process::Command};

const NEW_KEY: &str = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
// RFC 5280 §5.2.3: a list has a number; without, openssl writes one of version 1, which the gate does not read.
const CONFIGURATION: &str = "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=30\n\
    unique_subject=no\ncrlnumber=number\ncrl_extensions=x\n[x]\nauthorityKeyIdentifier=keyid\n";

/// A fresh authority with two clients, one of them revoked, and a server.
struct Authority(tempfile::TempDir);

impl Authority {
    fn make() -> Self {
        let authority = Self(tempfile::tempdir().unwrap());
        authority.write("index.txt", "");
        authority.write("ca.cnf", CONFIGURATION);
        authority.write("number", "01\n");
        authority.openssl(&format!(
            "{NEW_KEY} -x509 -keyout ca.key -out ca.pem -days 365 -subj /CN=Authority -addext keyUsage=critical,keyCertSign,cRLSign"
        ));
        for (name, usage) in [("good", "clientAuth"), ("gone", "clientAuth"), ("server", "serverAuth")] {
            authority.openssl(&format!("{NEW_KEY} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
            authority.write(
                "ext",
                &format!(
                    "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage={usage}\n\
                     subjectAltName=URI:spiffe://x.test/{name}\nauthorityKeyIdentifier=keyid\n"
                ),
            );
            authority.openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 100 -extfile ext -out {name}.pem"
            ));
        }
        authority.openssl("ca -config ca.cnf -revoke gone.pem -keyfile ca.key -cert ca.pem");
        authority.openssl("ca -config ca.cnf -gencrl -out crl.pem -keyfile ca.key -cert ca.pem");
        authority
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    fn openssl(&self, words: &str) {
        let done = Command::new("openssl").args(words.split(' ')).current_dir(self.0.path()).output().unwrap();
        assert!(done.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn ask(&self, client: &str, roots: &Self, lists: &[&str], days: i64) -> Value {
        let lists: Vec<String> = lists.iter().map(|name| self.read(name)).collect();
        let question = json!({ "id": client, "op": "x509", "chain": [self.read(&format!("{client}.pem"))],
            "roots": [roots.read("ca.pem")], "crls": lists, "time": in_days(days) });
        trigate_adapter::answer(question.to_string().as_bytes())
    }
}

fn in_days(days: i64) -> String {
    let at = format!("{days} days");
    let said = Command::new("date").args(["-u", "-d", &at, "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

#[test]
fn chains_are_judged_by_the_gates_code() {
    let (authority, stranger) = (Authority::make(), Authority::make());
    for (client, roots, lists, days, accepted) in [
        ("good", &authority, &[][..], 1, true),
        ("good", &authority, &["crl.pem"], 1, true),
        ("gone", &authority, &[], 1, true),
        ("gone", &authority, &["crl.pem"], 1, false),
        ("server", &authority, &[], 1, false),
        ("good", &authority, &[], 101, false),
        ("good", &authority, &[], -1, false),
        ("good", &stranger, &[], 1, false),
    ] {
        let answer = authority.ask(client, roots, lists, days);
        assert_eq!(answer["ok"], accepted, "{client} {lists:?} {days}: {answer}");
    }
}
