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
    /// Starts `trigate serve` and waits until it answers. It tells everything.
    pub async fn start(folder: &Path, ports: [SocketAddr; 3]) -> Self {
        Self::start_telling(folder, ports, "trace", None).await
    }

    /// As [`Self::start`], for long runs.
    pub async fn start_quiet(folder: &Path, ports: [SocketAddr; 3]) -> Self {
        Self::start_telling(folder, ports, "warn", None).await
    }

    /// As [`Self::start`], with so many descriptors.
    pub async fn start_with_files(folder: &Path, ports: [SocketAddr; 3], open_files: u32) -> Self {
        Self::start_telling(folder, ports, "warn", Some(open_files)).await
    }

    async fn start_telling(
        folder: &Path,
        [gate, issuer, desk]: [SocketAddr; 3],
        level: &str,
        open_files: Option<u32>,
    ) -> Self {
        let log = folder.join("../").join(format!("{}.log", folder.file_name().unwrap().to_string_lossy()));
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let started = Instant::now();
        let mut program = match open_files {
            None => Command::new(env!("CARGO_BIN_EXE_trigate")),
            Some(open_files) => {
                let mut limited = Command::new("prlimit");
                limited.arg(format!("--nofile={open_files}")).arg(env!("CARGO_BIN_EXE_trigate"));
                limited
            }
        };
        let child = program
            .args(["serve", "--data"])
            .arg(folder)
            .env("TRIGATE_LOG", level)
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

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGSTOP: it is there, and does nothing.
    pub fn pause(&self) {
        signal(self.child.id(), "-STOP");
    }

    pub fn go_on(&self) {
        signal(self.child.id(), "-CONT");
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

/// A test that fails leaves nothing behind.
impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(process: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
}

/// Gives a gate's listeners ports that are free now.
pub fn fix_gate_ports(folder: &Path) {
    let held: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let path = folder.join("gate.toml");
    let mut text = fs::read_to_string(&path).unwrap();
    for (name, listener) in ["gate", "health", "mtls"].iter().zip(&held) {
        let address = listener.local_addr().unwrap();
        text = text.replacen(&format!("{name} = \"127.0.0.1:0\""), &format!("{name} = \"{address}\""), 1);
    }
    fs::write(path, text).unwrap();
}

/// `trigate gate` as a process of its own.
pub struct GateProcess {
    child: Child,
    pub gate: Wire,
    pub health: Wire,
    /// Its listener for client certificates.
    pub mtls: SocketAddr,
    log: PathBuf,
}

impl GateProcess {
    /// Starts it with the ports of its `gate.toml`, and waits until it listens.
    pub async fn start(folder: &Path, desk: &str) -> Self {
        let text = fs::read_to_string(folder.join("gate.toml")).unwrap();
        let address = |name: &str| {
            let from = text.find(&format!("\n{name} = \"")).unwrap() + name.len() + 5;
            text[from..].split('"').next().unwrap().parse::<SocketAddr>().unwrap()
        };
        let (gate, health, mtls) = (address("gate"), address("health"), address("mtls"));
        let log = folder.join("gate.log");
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_trigate"))
            .args(["gate", "--desk", desk, "--config"])
            .arg(folder.join("gate.toml"))
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut process = Self { child, gate: Wire(gate), health: Wire(health), mtls, log };
        let started = Instant::now();
        while std::net::TcpStream::connect(gate).is_err() || std::net::TcpStream::connect(health).is_err() {
            assert!(started.elapsed() < Duration::from_secs(30), "it does not come up: {}", process.said());
            assert!(process.child.try_wait().unwrap().is_none(), "it ended: {}", process.said());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The sockets are bound before the desk is asked.
        while process.health.send("GET", "/healthz", &[], b"").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        process
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn pause(&self) {
        signal(self.child.id(), "-STOP");
    }

    pub fn go_on(&self) {
        signal(self.child.id(), "-CONT");
    }

    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn end(mut self) {
        signal(self.child.id(), "-TERM");
        self.child.wait().unwrap();
    }
}

impl Drop for GateProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
