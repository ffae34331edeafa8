//! The real binary as a process of its own, to be killed.

use super::http::Wire;
use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

pub struct Process {
    child: Child,
    pub gate: Wire,
    pub issuer: Wire,
    pub desk: Wire,
    /// From the start of the process to its first answer.
    pub ready_after: Duration,
    pub log: PathBuf,
}

/// Gives the listeners of this data folder fixed ports that are free now.
pub fn fix_ports(folder: &Path) -> [SocketAddr; 3] {
    let held: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<SocketAddr> = held.iter().map(|listener| listener.local_addr().unwrap()).collect();
    let path = folder.join("trigate.toml");
    let mut text = fs::read_to_string(&path).unwrap();
    for (name, address) in ["gate", "issuer", "desk"].iter().zip(&addresses) {
        text = text.replacen(&format!("{name} = \"127.0.0.1:0\""), &format!("{name} = \"{address}\""), 1);
    }
    fs::write(path, text).unwrap();
    [addresses[0], addresses[1], addresses[2]]
}

impl Process {
    /// Starts `trigate serve` and waits until it answers.
    pub async fn start(folder: &Path, [gate, issuer, desk]: [SocketAddr; 3]) -> Self {
        let log = folder.join("../").join(format!("{}.log", folder.file_name().unwrap().to_string_lossy()));
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let started = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_trigate"))
            .args(["serve", "--data"])
            .arg(folder)
            .env("TRIGATE_LOG", "trace")
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut process =
            Self { child, gate: Wire(gate), issuer: Wire(issuer), desk: Wire(desk), ready_after: Duration::ZERO, log };
        let closed = |address: SocketAddr| std::net::TcpStream::connect(address).is_err();
        while closed(gate)
            || closed(issuer)
            || closed(desk)
            || process.desk.send("GET", "/readyz", &[], b"").await.status != 200
        {
            assert!(started.elapsed() < Duration::from_secs(30), "it does not come up: {}", process.said());
            assert!(process.child.try_wait().unwrap().is_none(), "it ended: {}", process.said());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        process.ready_after = started.elapsed();
        process
    }

    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGKILL: nothing is flushed, nothing is said.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits for the end.
    pub fn end(mut self) {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        self.child.wait().unwrap();
    }
}
