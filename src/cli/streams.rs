//! The standard streams: text on stderr, results on stdout.

use std::io::{self, ErrorKind, IsTerminal, Write};

use anyhow::{Result, bail};

/// Prints a message to stderr. Errors are ignored, so that a closed stderr does not stop the run.
pub fn write_stderr(message: &str) {
    let _ = io::stderr().write_all(escaped(message).as_bytes());
}

/// Returns `text` with a newline at its end. Control characters, which may come from file names or metadata, are
/// escaped.
pub fn escaped(text: &str) -> String {
    let escape =
        |c: char| if c.is_control() && c != '\n' { c.escape_default().to_string() } else { c.to_string() };
    text.trim_end().chars().map(escape).collect::<String>() + "\n"
}

/// Writes to stdout. Refuses to write binary data to a terminal.
pub fn write_stdout(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    if stdout.is_terminal() && std::str::from_utf8(bytes).is_err() {
        bail!("stdout is a terminal and the result is binary: redirect it, or name a file with -o");
    }
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()), // the reader needs no more
        result => Ok(result?),
    }
}
