//! Does the gate's own code accept this vector? Reads JSON lines, answers each with one line; see `lib.rs`.

use std::{
    io::{BufRead as _, Write as _, stdin, stdout},
    process::ExitCode,
};

fn main() -> ExitCode {
    let mut out = stdout().lock();
    for line in stdin().lock().split(b'\n') {
        let Ok(line) = line else { return ExitCode::FAILURE };
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let answer = trigate_adapter::answer(&line);
        // Each answer at once: whoever asks may wait for it before the next question.
        if writeln!(out, "{answer}").and_then(|()| out.flush()).is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
