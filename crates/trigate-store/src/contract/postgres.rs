//! A PostgreSQL of one's own, in a temporary folder, for as long as the value lives.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};
use tempfile::TempDir;

pub struct Cluster {
    server: Child,
    folder: TempDir,
    bin: PathBuf,
    databases: AtomicU32,
}

const PORT: &str = "5432";

/// Where Debian keeps the servers, newest first, then the path.
fn find_bin() -> Option<PathBuf> {
    let mut homes: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    homes.sort();
    homes.reverse();
    homes.into_iter().find(|bin| bin.join("initdb").exists())
}

impl Cluster {
    /// `None`, and said loudly, when PostgreSQL is not installed. The server ends with the thread that calls this.
    ///
    /// # Panics
    /// When it cannot be started, or is not installed although `TRIGATE_TEST_REQUIRE=1`.
    pub fn start() -> Option<Self> {
        let Some(bin) = find_bin() else {
            let required = std::env::var("TRIGATE_TEST_REQUIRE").is_ok_and(|value| value == "1");
            assert!(!required, "PostgreSQL is not installed, but TRIGATE_TEST_REQUIRE=1");
            // Past the test runner, which keeps what passing tests print.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED: PostgreSQL is not installed\n");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("trigate-pg").tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        give_to_postgres(folder.path());
        let done = as_postgres(&bin.join("initdb"))
            .args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--username=postgres", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(done.status.success(), "initdb: {}", String::from_utf8_lossy(&done.stderr));
        let server = start_server(&bin, folder.path());
        let cluster = Self { server, folder, bin, databases: AtomicU32::new(0) };
        cluster.wait_until_ready();
        Some(cluster)
    }

    /// The URL of a database that nobody else uses.
    pub fn fresh_database(&self) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let done = self.client("createdb").arg(&name).output().unwrap();
        assert!(done.status.success(), "createdb: {}", String::from_utf8_lossy(&done.stderr));
        format!("postgres://postgres@/{name}?host={}&port={PORT}", self.folder.path().display())
    }

    /// Kills the server without a chance to say good-bye, and starts it again.
    pub fn crash_and_restart(&mut self) {
        self.stop("immediate");
        self.server = start_server(&self.bin, self.folder.path());
        self.wait_until_ready();
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.arg("-h").arg(self.folder.path()).args(["-p", PORT, "-U", "postgres"]);
        command
    }

    fn wait_until_ready(&self) {
        for _ in 0..300 {
            let ready = self.client("pg_isready").stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            if ready.success() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("PostgreSQL did not start");
    }

    fn stop(&mut self, mode: &str) {
        let data = self.folder.path().join("data");
        let mut command = as_postgres(&self.bin.join("pg_ctl"));
        let _ = command.args(["stop", "-m", mode, "-w", "-D"]).arg(data).stdout(Stdio::null()).status();
        let _ = self.server.wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop("immediate");
    }
}

fn start_server(bin: &Path, folder: &Path) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    as_postgres(&bin.join("postgres"))
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-c", "listen_addresses=", "-p", PORT, "-k"])
        .arg(folder)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

/// The server refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig=KILL", "--"]).arg(program);
    command.current_dir("/");
    command
}

fn give_to_postgres(folder: &Path) {
    if is_root() {
        let done = Command::new("chown").arg("-R").arg("postgres:postgres").arg(folder).status().unwrap();
        assert!(done.success());
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    String::from_utf8_lossy(&id.stdout).trim() == "0"
}
