//! Does the command line do what its help says, on a stopped server and on a running one?

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

struct Shell {
    data: PathBuf,
}

struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Shell {
    fn run(&self, words: &[&str], input: &str) -> Done {
        let mut command = self.command(words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let ended = child.wait_with_output().unwrap();
        Done {
            code: ended.status.code().unwrap_or(-1),
            out: String::from_utf8(ended.stdout).unwrap(),
            err: String::from_utf8(ended.stderr).unwrap(),
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trigate"));
        command.args(words).env("TRIGATE_DATA", &self.data).env_remove("TRIGATE_TOKEN").env_remove("TRIGATE_DESK");
        command
    }

    fn ok(&self, words: &[&str]) -> String {
        let done = self.run(words, "");
        assert_eq!(done.code, 0, "{words:?}\n{}\n{}", done.out, done.err);
        done.out
    }

    fn json(&self, words: &[&str]) -> serde_json::Value {
        let all: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
        serde_json::from_str(&self.ok(&all)).unwrap()
    }
}

struct Serving(Child);

impl Serving {
    fn start(shell: &Shell) -> Self {
        let mut child = shell.command(&["serve"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (say, said) = std::sync::mpsc::channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(say.send(line))));
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match said.recv_timeout(Duration::from_secs(1)) {
                Ok(line) if line.starts_with("ready") => return Self(child),
                Ok(_) => {}
                Err(_) => {
                    assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "it does not serve")
                }
            }
        }
    }

    fn end(mut self) {
        Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Three ports in a row that were free a moment ago.
fn port_base() -> u16 {
    loop {
        let base = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let free = (0..3)
            .all(|offset| base.checked_add(offset).is_some_and(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()));
        if free {
            return base;
        }
    }
}

fn new_shell(dir: &Path) -> Shell {
    let shell = Shell { data: dir.join("data") };
    shell.ok(&["init", "--port-base", &port_base().to_string()]);
    shell
}

#[test]
fn the_same_verbs_work_on_a_stopped_and_on_a_running_server() {
    let dir = tempfile::tempdir().unwrap();
    let shell = new_shell(dir.path());
    assert_eq!(shell.run(&["init"], "").code, 1, "an init overwrites nothing");
    shell.ok(&["config", "check"]);

    let stopped = shell.json(&["app", "create", "Acme", "--plan", "free"]);
    let key = shell.json(&["key", "create", "--app", "Acme"]);
    let explained = shell.run(&["explain", "/api/weather"], key["key"].as_str().unwrap());
    assert!(explained.out.contains("let through"), "{}{}", explained.out, explained.err);
    assert_eq!(shell.json(&["keys", "rotate"]).as_array().unwrap().len(), 2);
    let serving = Serving::start(&shell);
    let running = shell.json(&["app", "create", "Bolt", "--plan", "pro", "--why", "second customer"]);
    let apps = shell.json(&["app", "list"]);
    let ids: Vec<&serde_json::Value> = apps.as_array().unwrap().iter().map(|app| &app["id"]).collect();
    assert!(ids.contains(&&stopped["id"]) && ids.contains(&&running["id"]));
    let acts = shell.json(&["audit", "acts", "--app", "Bolt"]);
    assert_eq!(acts["acts"][0]["reason"], "second customer");
    assert_eq!(acts["acts"][0]["actor"]["name"], "trigate-operator");
    shell.ok(&["audit", "verify"]);

    let key = shell.json(&["key", "create", "--app", "Bolt"]);
    let explained = shell.run(&["explain", "/api/weather"], key["key"].as_str().unwrap());
    assert!(
        explained.code == 0 && explained.out.contains("let through") && explained.out.contains("???"),
        "{}",
        explained.out
    );
    assert!(shell.ok(&["revoke", "key", key["id"].as_str().unwrap()]).contains("everywhere"));
    let explained = shell.run(&["explain", "/api/weather"], key["key"].as_str().unwrap());
    assert!(explained.out.contains("key.revoked"), "{}", explained.out);
    serving.end();
    assert!(shell.ok(&["key", "list", "--app", "Bolt"]).contains("revoked"), "and offline again");
}

#[test]
fn exit_codes_and_remedies() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = Shell { data: dir.path().join("nowhere") };
    let done = nowhere.run(&["app", "list"], "");
    assert!(done.code == 1 && done.err.contains("trigate init"), "{}", done.err);
    let shell = new_shell(dir.path());
    for (words, input, code, says) in [
        (&["app", "create", "Acme", "--plan", "gold"][..], "", 2, "use one of"),
        (&["app", "plan", "Nobody", "free"][..], "", 1, "trigate app list"),
        (&["audit", "--reason", "weather"][..], "", 2, "token.revoked"),
        (&["revoke", "user"][..], "", 2, "trigate revoke user ID"),
        (&["revoke", "token", "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.AAAA"][..], "", 2, "pipe it in"),
        (&["explain", "GET", "/"][..], "", 2, "--file"),
        (&["explain", "GET WITH BLANKS", "/"][..], "a.b.c", 2, "write GET"),
        (&["frobnicate"][..], "", 2, "Usage"),
    ] {
        let done = shell.run(words, input);
        assert_eq!(done.code, code, "{words:?}: {}", done.err);
        assert!(done.err.contains(says), "{words:?}: {}", done.err);
    }
}

/// The printed block logs people in; who is no operator is refused at the desk all the same.
#[test]
fn the_curl_block_logs_in_and_a_customer_does_not_operate() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIPPED: the block needs openssl");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let shell = new_shell(dir.path());
    let serving = Serving::start(&shell);
    for (email, role, code) in [("boss@example.com", "operator", 0), ("guest@example.com", "customer", 1)] {
        let made = shell.json(&["user", "create", email, "--roles", role]);
        let block = shell.ok(&["login", "--curl"]);
        let ran = Command::new("bash")
            .args(["-c", &block])
            .env("EMAIL", email)
            .env("PASSWORD", made["password"].as_str().unwrap())
            .output()
            .unwrap();
        let token: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
        let mut command = shell.command(&["app", "list"]);
        let listed = command.env("TRIGATE_TOKEN", token["access_token"].as_str().unwrap()).output().unwrap();
        assert_eq!(listed.status.code(), Some(code), "{email}: {listed:?}");
    }
    serving.end();
}

#[test]
fn a_backup_of_a_running_server_is_restored_and_served() {
    let dir = tempfile::tempdir().unwrap();
    let shell = new_shell(dir.path());
    let serving = Serving::start(&shell);
    shell.ok(&["app", "create", "Acme", "--plan", "free"]);
    let backup = dir.path().join("backup");
    let backup = backup.to_str().unwrap();
    assert!(shell.run(&["backup", "--to", backup], "").err.contains("master.key"));
    serving.end();
    let restored = Shell { data: dir.path().join("restored") };
    let master = shell.data.join("master.key");
    restored.ok(&["restore", "--from", backup, "--master-key", master.to_str().unwrap()]);
    assert!(restored.ok(&["app", "list"]).contains("Acme"));
    restored.ok(&["audit", "verify"]);
    restored.ok(&["init", "--operator"]);
    let serving = Serving::start(&restored);
    assert!(restored.ok(&["app", "list"]).contains("Acme"), "online, with the new operator key");
    assert_eq!(restored.run(&["restore", "--from", backup], "").code, 1, "nothing is overwritten");
    serving.end();
}

/// Erasing a person must leave the chain whole: the trail knows ids, also of what operators do.
#[test]
fn no_e_mail_address_enters_the_audit_segments() {
    let dir = tempfile::tempdir().unwrap();
    let shell = new_shell(dir.path());
    let serving = Serving::start(&shell);
    let email = "mallory.unusual@example.com";
    shell.ok(&["user", "create", email]);
    shell.ok(&["role", "add", email, "seller"]);
    shell.ok(&["role", "remove", email, "seller"]);
    shell.ok(&["user", "show", email]);
    shell.ok(&["audit", "--user", email]);
    shell.ok(&["revoke", "user", email]);
    serving.end();
    let mut folders = vec![shell.data.join("audit")];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            read += bytes.len();
            assert!(!bytes.windows(15).any(|window| window == b"mallory.unusual"), "{}", path.display());
        }
    }
    assert!(read > 1_000);
}
