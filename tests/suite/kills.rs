//! Signals, and runs that are killed: what they leave, and what the next run does with it.

use std::fs;
use std::os::unix::process::ExitStatusExt;

use crate::support::process::{Waiting, folder_with_pictures, vae_with_model};

#[test]
fn a_signal_ends_the_run_without_leftovers() {
    for (name, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
        let folder = folder_with_pictures(&["a.png", "c.png"]);
        let process = Waiting::start(&folder, "encode a.png fifo.png c.png --out-dir d -q");
        if process.ignores(number) {
            println!("skipped: SIG{name} is ignored here");
            continue;
        }
        let (status, stderr) = process.kill(name);
        assert_eq!(status.signal(), Some(number), "{stderr}");
        assert_eq!(stderr, "interrupted: 1 of 3 inputs are done, 2 remain; the same command resumes\n");
        let files: Vec<_> = fs::read_dir(folder.path("d")).expect("a folder").collect();
        assert_eq!(files.len(), 1, "{files:?}");
    }
}

#[test]
fn the_next_run_removes_what_a_killed_run_has_left() {
    let folder = folder_with_pictures(&["a.png"]);
    let files = || fs::read_dir(folder.path("d")).expect("a folder").count();
    let alive = Waiting::start(&folder, "encode fifo.png --out-dir d");
    vae_with_model(&folder, "encode a.png --out-dir d").code(0);
    assert_eq!(files(), 2, "the claim of a live process stays");
    alive.kill("KILL");
    assert_eq!(files(), 2);
    vae_with_model(&folder, "encode a.png --out-dir d").code(0);
    assert_eq!(files(), 1);
}
