//! What does npm `jose` say? One long-lived Node process that answers line by line.

use crate::verdict::Verdict;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

pub struct Jose {
    child: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Jose {
    /// `modules` is the folder `node_modules` that `jose` stands in.
    ///
    /// # Errors
    /// Node does not start.
    pub fn start(modules: &Path) -> Result<Self> {
        let mut child = Command::new("node")
            .args(["--input-type=module", "--eval", include_str!("jose.mjs"), "--"])
            .arg(modules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("node")?;
        let questions = child.stdin.take().context("a pipe")?;
        let answers = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        Ok(Self { child, questions, answers })
    }

    /// A few questions at once, one line each; fewer than the pipes hold.
    ///
    /// # Errors
    /// Node has gone, or answers something else.
    pub fn ask(&mut self, questions: &[(u64, String)]) -> Result<Vec<Verdict>> {
        for (_, question) in questions {
            self.questions.write_all(question.as_bytes())?;
            self.questions.write_all(b"\n")?;
        }
        self.questions.flush()?;
        questions.iter().map(|(id, _)| self.read(*id)).collect()
    }

    fn read(&mut self, id: u64) -> Result<Verdict> {
        let answer: Value = serde_json::from_str(&self.answers.next().context("node has gone")??)?;
        ensure!(answer["id"] == id, "node answered another question");
        Ok(if answer["ok"] == true { Ok(()) } else { Err(answer["error"].as_str().unwrap_or_default().to_owned()) })
    }
}

impl Drop for Jose {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
