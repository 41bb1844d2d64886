//! Signals, and runs that are killed: what they leave, and what the next run does with it.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

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
