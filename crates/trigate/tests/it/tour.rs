//! Does the tour work exactly as printed? The blocks are read from the quickstart's own output and run by bash: twice in a
//! row, and again after a restart.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// A quickstart as a newcomer starts it.
struct Quickstart {
    child: Child,
    /// Titles and blocks, as they were printed.
    steps: Vec<(String, String)>,
}

impl Quickstart {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_trigate"))
            .args(["quickstart", "--port-base", "0", "--data"])
            .arg(data)
            .env_remove("TRIGATE_DATA")
            .env_remove("TRIGATE_TOKEN")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the quickstart starts");
        let (say, said) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
        let (tell, told) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let mut log = String::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match said.recv_timeout(Duration::from_secs(1)) {
                Ok(line) if line.starts_with("ready") => break,
                Ok(line) => log.push_str(&format!("{line}\n")),
                Err(_) => assert!(child.try_wait().unwrap().is_none() && Instant::now() < deadline, "not ready:\n{log}"),
            }
        }
        // Nobody reads on; the pipe must not fill.
        std::thread::spawn(move || said.into_iter().for_each(drop));
        let printed: Vec<String> = std::iter::from_fn(|| told.recv_timeout(Duration::from_millis(500)).ok()).collect();
        Self { child, steps: read_steps(&printed) }
    }

    fn walk(&self, round: &str) {
        assert!(self.steps.len() >= 12, "about a dozen steps were printed, found {}", self.steps.len());
        for (title, block) in &self.steps {
            run_step(round, title, block);
        }
    }

    /// Ctrl-C ends it cleanly.
    fn end(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "Ctrl-C ended with {status}");
                return;
            }
            assert!(Instant::now() < deadline, "Ctrl-C did not end it");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `── 3. Title ──`, a line of prose, a blank line, and the block up to the next blank line.
fn read_steps(printed: &[String]) -> Vec<(String, String)> {
    let mut steps = Vec::new();
    let mut lines = printed.iter();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("── ") {
            let block: Vec<&str> = lines.by_ref().skip(2).take_while(|line| !line.is_empty()).map(String::as_str).collect();
            steps.push((title.trim_end_matches(" ──").to_owned(), block.join("\n")));
        }
    }
    steps
}

fn run_step(round: &str, title: &str, block: &str) {
    let mut shell = Command::new("bash").args(["-c", block]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = shell.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let mut output = String::new();
    shell.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    shell.wait().unwrap();
    let errors = errors.join().unwrap();
    // What was expected must come in this order.
    let everything = format!("{output}\n{errors}");
    let mut rest = everything.as_str();
    for expected in block.lines().filter_map(|line| line.strip_prefix("# expect: ")) {
        // Progress and errors of commands come on the other channel: they have no order beside the output.
        match rest.find(expected) {
            Some(at) => rest = &rest[at + expected.len()..],
            None => panic!("{round}, step {title}: expected `{expected}`\n--- output\n{output}\n--- errors\n{errors}"),
        }
    }
}

#[test]
fn the_tour_works_as_printed_twice_and_after_a_restart() {
    if Command::new("curl").arg("--version").output().is_err() || Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIPPED: the tour needs curl and openssl");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("demo");
    let first = Quickstart::start(&data);
    first.walk("first time");
    first.walk("second time");
    let steps = first.steps.clone();
    first.end();

    let again = Quickstart::start(&data);
    assert_eq!(again.steps, steps, "a restart prints the same tour");
    again.walk("after a restart");
    again.end();
}
