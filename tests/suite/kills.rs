//! Signals, and runs that are killed: what they leave, and what the next run does with it.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sha2::Digest;

use crate::support::hub_server::{COMMIT, HubServer, Mood, Repository, digest};
use crate::support::process::{Waiting, command, folder_with_pictures, run, vae_with_model};

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

#[test]
fn a_signal_during_a_download_keeps_what_has_arrived() {
    let folder = folder_with_pictures(&["a.png"]);
    let read = |name: &str| fs::read(folder.path("model").join(name)).expect("a file");
    let weights = read("diffusion_pytorch_model.safetensors");
    let names = ["config.json", "diffusion_pytorch_model.safetensors"];
    let files = names.map(|name| (name.to_string(), read(name))).into();
    let repository = Repository { mood: Mood::Stalling(1), files, token: None, commit: COMMIT.into() };
    let hub = HubServer::start([("me/vae", repository)]);
    let encode = || {
        let mut command = command(&folder);
        command.env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", &hub.endpoint);
        command.args("encode a.png -o l.safetensors -q --model me/vae".split(' '));
        command
    };
    let partial = folder.path("hf-home/hub/models--me--vae/blobs");
    let partial = partial.join(format!("{}.incomplete", digest(&weights)));
    let size = || fs::metadata(&partial).map_or(0, |metadata| metadata.len());
    let child = encode().stderr(Stdio::piped()).spawn().expect("the program starts");
    Waiting::until(|| size() > 0);
    let killed = Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status();
    assert!(killed.expect("kill starts").success());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.signal(), Some(15));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "interrupted\n");
    let kept = size();
    assert!(kept > 0);
    run(encode()).code(0);
    let start = hub.gets(names[1]).last().and_then(|request| request.start);
    assert_eq!(start, Some(kept as usize));
}

#[test]
fn a_signal_ends_a_run_whose_messages_nobody_reads() {
    let folder = folder_with_pictures(&[]);
    let mut command = command(&folder);
    command.args(["encode", "--out-dir", "d", "--model", "model"]);
    command.args((0..4000).map(|i| format!("a-file-that-does-not-exist-{i:0>40}.png"))); // 128 bytes a message
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the program starts");
    let place = format!("/proc/{}/wchan", child.id());
    let writes = || fs::read_to_string(&place).map_or(true, |place| place.contains("pipe_write"));
    let start = Instant::now();
    while !writes() && start.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(Duration::from_millis(500)); // for systems that do not tell what a process waits for
    let sent = Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status();
    assert!(sent.expect("kill starts").success());
    let status = end_of(&mut child);
    assert_eq!(status.and_then(|status| status.signal()), Some(15));
}

#[test]
fn a_pipe_in_place_of_a_claim_is_not_waited_for() {
    let folder = folder_with_pictures(&["a.png"]);
    fs::create_dir(folder.path("d")).expect("a folder");
    let hash = sha2::Sha256::digest("a.safetensors");
    let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let claim = folder.path(&format!("d/.vae-{hash}.lock"));
    let make = |program: &str, arguments: &[&str]| {
        let made = Command::new(program).args(arguments).arg(&claim).status();
        assert!(made.expect("the program starts").success());
    };
    for (program, arguments) in [("mkfifo", &[][..]), ("mkdir", &[]), ("ln", &["-s", "elsewhere"])] {
        make(program, arguments);
        let mut command = command(&folder);
        command.args(["encode", "a.png", "--out-dir", "d", "--model", "model", "-q"]);
        let mut child = command.spawn().expect("the program starts");
        assert_eq!(end_of(&mut child).and_then(|status| status.code()), Some(0), "{program}");
        fs::remove_file(folder.path("d/a.safetensors")).expect("the output");
        assert!(fs::symlink_metadata(&claim).is_ok(), "it is not a leftover of this program");
        let _ = fs::remove_file(&claim).or_else(|_| fs::remove_dir(&claim));
    }
}

/// Returns how a process ended, or kills it after 20 seconds.
fn end_of(child: &mut Child) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        if let Some(status) = child.try_wait().expect("a process") {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().and_then(|()| child.wait()).expect("it can be killed");
    None
}
