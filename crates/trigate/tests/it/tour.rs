//! Does the tour work exactly as printed? The blocks are read from the quickstart's own output and run by bash: twice in a
//! row, and again after a restart.

use std::{
    io::{BufRead, BufReader},
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
                Err(_) => {
                    assert!(child.try_wait().unwrap().is_none() && Instant::now() < deadline, "not ready:\n{log}")
                }
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
            let block: Vec<&str> =
                lines.by_ref().skip(2).take_while(|line| !line.is_empty()).map(String::as_str).collect();
            steps.push((title.trim_end_matches(" ──").to_owned(), block.join("\n")));
        }
    }
    steps
}

fn run_step(round: &str, title: &str, block: &str) {
    // As in a terminal: both channels in the order in which they were written.
    let ran = Command::new("bash").args(["-c", &format!("exec 2>&1\n{block}")]).output().unwrap();
    let everything = String::from_utf8_lossy(&ran.stdout);
    // What each command prints comes in the commands' order; within one, in any.
    let mut rest = everything.as_ref();
    for group in expectations(block) {
        let mut end = 0;
        for expected in group {
            match rest.find(expected) {
                Some(at) => end = end.max(at + expected.len()),
                None => panic!("{round}, step {title}: expected `{expected}`\n{everything}"),
            }
        }
        rest = &rest[end..];
    }
}

/// The `# expect:` lines of a block, those below one command together.
fn expectations(block: &str) -> Vec<Vec<&str>> {
    let mut groups: Vec<Vec<&str>> = vec![vec![]];
    for line in block.lines() {
        match (line.strip_prefix("# expect: "), groups.last_mut()) {
            (Some(expected), Some(group)) => group.push(expected),
            _ => groups.push(vec![]),
        }
    }
    groups
}

#[test]
fn the_tour_works_as_printed_twice_and_after_a_restart() {
    if Command::new("curl").arg("--version").output().is_err()
        || Command::new("openssl").arg("version").output().is_err()
    {
        assert!(std::env::var_os("TRIGATE_TEST_REQUIRE").is_none(), "the tour needs curl and openssl");
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED: the tour needs curl and openssl\n");
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
