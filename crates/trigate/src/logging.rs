//! What do people read when something is wrong? Structured lines on standard error. Whatever looks like one of our
//! secrets is masked on its way out, whoever logged it; control characters are escaped by the formatter.

use std::io::{self, Write};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// What a service says when `TRIGATE_LOG` says nothing.
pub const USUAL: &str = "warn,trigate=info";

/// Starts logging once per process; a second call does nothing. `TRIGATE_LOG` filters (`debug`, `trigate=debug`), or
/// `usual` where it is not set.
pub fn start(json: bool, usual: &str) {
    let filter = crate::config::environment("TRIGATE_LOG").unwrap_or_else(|| usual.to_owned());
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Masked).with_target(false);
    // An earlier start is kept.
    let _ = if json { builder.json().try_init() } else { builder.with_ansi(false).try_init() };
}

struct Masked;

/// One event's bytes, masked as a whole when it is complete.
struct MaskedLine(Vec<u8>);

impl MakeWriter<'_> for Masked {
    type Writer = MaskedLine;
    fn make_writer(&self) -> MaskedLine {
        MaskedLine(Vec::with_capacity(256))
    }
}

impl Write for MaskedLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let line = mask(&std::mem::take(&mut self.0));
        io::stderr().lock().write_all(line.as_bytes())
    }
}

impl Drop for MaskedLine {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            let _ = self.flush();
        }
    }
}

fn mask(bytes: &[u8]) -> String {
    trigate_core::credential::mask_secrets(&String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a11_a_secret_in_a_log_line_is_masked() {
        let line = super::mask(b"reason=\"tgx_0123456789012345678901234567890123456789012345\" tail");
        assert!(!line.contains("0123456789"), "{line}");
        assert!(line.contains("tail"), "{line}");
    }
}
