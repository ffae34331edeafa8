//! Asks over gRPC as Envoy does.

use super::{Ask, escaped};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// `conformance/clients/ext_authz.py`: gRPC and Envoy's messages as others have written them.
pub struct Bridge {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Bridge {
    pub fn start(address: SocketAddr) -> Option<Self> {
        let python = crate::foreign::part("TRIGATE_TEST_PYTHON")?;
        let mut child = Command::new(python)
            .arg(crate::foreign::scripts().join("ext_authz.py"))
            .arg(address.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Some(Self { child, to, from })
    }

    pub fn ask(&mut self, ask: &Ask, raw: bool) -> Value {
        let certificate = ask.certificate.as_ref().map(|shown| escaped(&shown.pem)).unwrap_or_default();
        let line = json!({
            "method": ask.method, "path": ask.target, "host": ask.host, "headers": ask.headers, "peer": ask.peer,
            "raw": raw, "certificate": certificate,
        });
        let mut answer = String::new();
        tokio::task::block_in_place(|| {
            writeln!(self.to.as_mut().unwrap(), "{line}").unwrap();
            self.from.read_line(&mut answer).unwrap();
        });
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: `{answer}`"))
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        drop(self.to.take());
        let _ = self.child.wait();
    }
}
