//! Signals: SIGINT (Ctrl-C), SIGTERM and SIGHUP end a run within moments and leave no temporary files.
//!
//! A thread waits for them. It abandons the input at hand, reports how many are done, and ends the process by the same
//! signal, so that a shell sees 130, 143 or 129. A second signal ends the process at once, whatever the thread waits for.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::failure::Tally;

/// How many inputs of the run are done.
static TALLY: Mutex<Tally> = Mutex::new(Tally::EMPTY);

/// Returns the tally of the run, which the loop over the inputs keeps up to date.
pub fn tally() -> MutexGuard<'static, Tally> {
    TALLY.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(unix)]
pub use unix::install;

/// Does nothing: this system ends the process, and the next run removes its temporary files.
#[cfg(not(unix))]
pub fn install() {}

#[cfg(unix)]
mod unix {
    use std::io::{IsTerminal, Write, stderr};
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;
    use std::time::Duration;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::{flag, low_level};

    use super::super::temporary;
    use super::super::ui::write_stderr;
    use super::tally;

    /// Handles the signals from now on, except those that the process was started to ignore, as `nohup` does. If that
    /// fails, they end the process as they end any other.
    pub fn install() {
        let signals: Vec<i32> =
            [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| !is_ignored(signal)).collect();
        let Ok(mut received) = Signals::new(&signals) else { return };
        let seen = Arc::new(AtomicBool::new(false));
        for &signal in &signals {
            let _ = flag::register_conditional_default(signal, Arc::clone(&seen));
            let _ = flag::register(signal, Arc::clone(&seen));
        }
        thread::spawn(move || received.forever().next().map(end));
    }

    /// How long the process lives at most after its temporary files are removed.
    const MOMENT: Duration = Duration::from_millis(500);

    /// Ends the process. A rename in progress is completed first. The message must not keep it alive: if stderr is a pipe
    /// that nobody reads, a write to it does not return.
    fn end(signal: i32) {
        temporary::remove_all();
        let _ = thread::Builder::new().spawn(move || {
            thread::sleep(MOMENT);
            end_now(signal);
        });
        let tally = tally();
        if stderr().is_terminal() {
            let _ = stderr().write_all(b"\r\x1b[K"); // the progress bar
        }
        match tally.of {
            0 | 1 => write_stderr("interrupted"),
            _ => write_stderr(&format!("interrupted: {}", *tally)),
        }
        end_now(signal);
    }

    fn end_now(signal: i32) {
        let _ = low_level::emulate_default_handler(signal);
        low_level::exit(128 + signal);
    }

    /// Whether the process ignores the signal. Only Linux reports this; on other systems, SIGHUP is left alone.
    fn is_ignored(signal: i32) -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        match mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()) {
            Some(mask) => mask >> (signal - 1) & 1 == 1,
            None => signal == SIGHUP,
        }
    }
}
