//! Names of outputs, outputs that would replace inputs, several processes, and folders that take no files.

use std::collections::HashMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};

use crate::support::model_folder::Folder;
#[cfg(unix)]
use crate::support::process::{Waiting, claim, feed_pipe, strace};
use crate::support::process::{command, folder_with_pictures, run, vae, vae_with_model, write_png};

/// Writes latents of `count` pictures.
fn write_batch(folder: &Folder, name: &str, count: usize) {
    let latents = Tensor::zeros((count, 4, 2, 2), DType::F32, &Device::Cpu).expect("a tensor");
    let tensors = HashMap::from([("latents", latents)]);
    candle_core::safetensors::save(&tensors, folder.path(name)).expect("a file");
}

#[test]
fn inputs_with_the_same_output_are_listed_before_any_work() {
    let names =
        ["a", "b", "c", "d", "e", "f", "g"].map(|stem| [format!("{stem}.png"), format!("{stem}.jpg")]);
    let names: Vec<&str> = names.iter().flatten().map(String::as_str).collect();
    let folder = folder_with_pictures(&names);
    let run = vae_with_model(&folder, &format!("encode {} --out-dir d", names.join(" "))).code(2);
    let run = run.says(&[
        "a.png and a.jpg have the same output, d/a.safetensors",
        "2 more like these",
        "--out-dir",
    ]);
    assert!(run.stderr.contains("e.jpg") && !run.stderr.contains("f.jpg"), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 7, "a line for each conflict: {}", run.stderr);
    assert!(!folder.path("d").exists());
    let run = vae_with_model(&folder, "encode a.png b.png a.png --out-dir d").code(2);
    run.says(&["a.png is named twice\nname each input once"]);
}

#[test]
fn the_numbered_pictures_of_a_batch_collide_with_other_outputs() {
    let folder = Folder::with_model();
    write_batch(&folder, "a.safetensors", 2);
    write_batch(&folder, "a-0.safetensors", 1);
    for options in ["", "--overwrite"] {
        vae_with_model(&folder, &format!("decode a.safetensors a-0.safetensors --out-dir d {options}"))
            .code(2)
            .says(&["a.safetensors and a-0.safetensors have the same output, d/a-0.png"]);
    }
    write_batch(&folder, "a.safetensors", 1);
    vae_with_model(&folder, "decode a.safetensors a-0.safetensors --out-dir d").code(0);
    assert!(folder.path("d/a.png").exists() && folder.path("d/a-0.png").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_text_or_differ_in_case_keep_their_outputs_apart() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::with_model();
    let names: [&[u8]; 4] = [b"\xfe.png", b"\xff.png", b"A.png", b"a.png"];
    let names = names.map(OsStr::from_bytes);
    names.iter().for_each(|name| write_png(&folder.path("").join(name), 64, 32));
    let mut encode = command(&folder);
    encode.arg("encode").args(names).args(["--out-dir", "d", "--model", "model", "--json"]);
    let encode = run(encode).code(0).says(&["\\xfe.png → d/\\xfe.safetensors"]);
    assert_eq!(encode.json()[1]["output"], "d/\\xff.safetensors");
    for stem in [b"\xfe", b"\xff", b"A", b"a"] {
        let name = OsStr::from_bytes(stem).to_os_string();
        assert!(folder.path("d").join(name).with_extension("safetensors").exists(), "{stem:?}");
    }
}

#[test]
fn an_input_is_never_replaced() {
    let folder = folder_with_pictures(&["a.png", "a-roundtrip.png"]);
    let original = fs::read(folder.path("a-roundtrip.png")).expect("a file");
    vae_with_model(&folder, "roundtrip --out-dir . --overwrite a.png a-roundtrip.png")
        .code(2)
        .says(&["the output ./a-roundtrip.png is an input"]);
    fs::hard_link(folder.path("a-roundtrip.png"), folder.path("link.png")).expect("a link");
    vae_with_model(&folder, "roundtrip --out-dir . --overwrite a.png link.png").code(2).says(&["link.png"]);
    vae_with_model(&folder, "roundtrip link.png -o a-roundtrip.png").code(2).says(&["is the input"]);
    vae(&folder, "grid a.png link.png -o a-roundtrip.png").code(2).says(&["is the input"]);
    assert_eq!(fs::read(folder.path("a-roundtrip.png")).expect("a file"), original);
    vae_with_model(&folder, "roundtrip --out-dir . --overwrite a.png").code(0);
    assert_ne!(fs::read(folder.path("a-roundtrip.png")).expect("a file"), original);
    vae_with_model(&folder, "roundtrip --out-dir . a.png a-roundtrip.png").code(2).says(&["is an input"]);
}

#[test]
fn processes_share_the_inputs_of_a_folder() {
    let names: Vec<String> = (0..12).map(|i| format!("{i}.png")).collect();
    let folder = folder_with_pictures(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let start = |seed: &str| {
        let mut command = command(&folder);
        command.arg("encode").args(&names).args(["--out-dir", "d", "--model", "model", "--json", "-q"]);
        command.args(["--seed", seed]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
    };
    // The outputs are new, and are made again.
    for seed in ["0", "1"] {
        let all: Vec<_> = (0..4).map(|_| start(seed)).collect();
        let mut written: Vec<String> = Vec::new();
        for process in all {
            let output = process.wait_with_output().expect("the program ends");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let records = String::from_utf8(output.stdout).expect("UTF-8");
            assert_eq!(records.lines().count(), names.len());
            let records = records.lines().map(|line| serde_json::from_str(line).expect("a JSON object"));
            let new = records.filter(|record: &serde_json::Value| record["skipped"] != true);
            written.extend(new.map(|record| record["input"].as_str().expect("a name").to_string()));
        }
        written.sort_by_key(|name| names.iter().position(|other| other == name));
        assert_eq!(written, names, "each picture is encoded once");
        assert_eq!(fs::read_dir(folder.path("d")).expect("a folder").count(), names.len());
    }
}

#[cfg(unix)]
#[test]
fn an_input_of_another_process_is_waited_for_at_the_end() {
    let folder = folder_with_pictures(&["b.png", "real.png"]);
    let first = Waiting::start(&folder, "encode fifo.png --out-dir d");
    let mut second = command(&folder);
    second.args("encode fifo.png b.png --out-dir d --model model --json".split(' '));
    second.stdout(Stdio::piped()).stderr(Stdio::piped());
    let second = second.spawn().expect("the program starts");
    Waiting::until(|| folder.path("d/b.safetensors").exists());
    // The second process finds a file instead of the pipe, which is empty by then.
    let replace = || fs::rename(folder.path("real.png"), folder.path("fifo.png")).expect("a new name");
    first.feed(&folder, "real.png", replace).code(0).says(&["fifo.safetensors"]);
    let second = second.wait_with_output().expect("the program ends");
    assert!(second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("waiting for other processes"));
    let records = String::from_utf8(second.stdout).expect("UTF-8");
    let records: Vec<&str> = records.lines().collect();
    assert!(records[0].contains("b.png") && !records[0].contains("skipped"), "{records:?}");
    assert!(records[1].contains("fifo.png") && records[1].contains("\"skipped\":true"), "{records:?}");
    assert_eq!(fs::read_dir(folder.path("d")).expect("a folder").count(), 2);
}

#[cfg(unix)]
#[test]
fn a_file_system_without_locks_and_exclusive_renames_works() {
    let folder = folder_with_pictures(&["a.png", "b.png"]);
    let faults =
        ["fsync:error=EINVAL", "flock:error=ENOSYS", "renameat2:error=EINVAL", "?link,linkat:error=EPERM"];
    let Some(mut command) = strace(&folder, &faults) else { return };
    command.args("encode a.png b.png --out-dir d --model model".split(' '));
    run(command).code(0);
    assert_eq!(fs::read_dir(folder.path("d")).expect("a folder").count(), 2);
}

#[cfg(unix)]
#[test]
fn a_run_is_not_waited_for_after_the_output_is_there() {
    let folder = folder_with_pictures(&["real.png", "second.png"]);
    vae_with_model(&folder, "encode second.png --out-dir d").code(0);
    fs::rename(folder.path("second.png"), folder.path("content.png")).expect("a new name");
    let made = Command::new("mkfifo").arg(folder.path("second.png")).status();
    assert!(made.expect("mkfifo starts").success());
    let first = Waiting::start(&folder, "encode fifo.png second.png --out-dir d");
    let mut second = command(&folder);
    second.args("encode fifo.png --out-dir d --model model".split(' '));
    let messages = fs::File::create(folder.path("messages")).expect("a file");
    let mut second = second.stderr(messages).spawn().expect("the program starts");
    Waiting::until(|| {
        fs::read_to_string(folder.path("messages")).expect("a file").contains("waiting for other processes")
    });
    feed_pipe(&folder, "fifo.png", "real.png", || {
        fs::rename(folder.path("real.png"), folder.path("fifo.png")).expect("a new name");
    });
    // The first process reads the second input, to compare it with that of its output.
    let start = Instant::now();
    while second.try_wait().expect("a process").is_none() {
        if start.elapsed() > Duration::from_secs(30) {
            second.kill().expect("a process");
            panic!("the second process waits for the whole run of the first");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    feed_pipe(&folder, "second.png", "content.png", || {});
    first.end().code(0).says(&["second.png → d/second.safetensors", "already made"]);
    assert!(second.wait().expect("a process").success());
    assert_eq!(fs::read_dir(folder.path("d")).expect("a folder").count(), 2);
}

#[cfg(unix)]
#[test]
fn a_claim_of_another_process_is_not_replaced_where_renames_cannot_be_exclusive() {
    use std::os::unix::fs::MetadataExt;
    let folder = folder_with_pictures(&["a.png", "real.png"]);
    let faults =
        ["renameat2:error=EINVAL", "?link,linkat:error=EPERM", "?rename,renameat:delay_enter=2000000"];
    let Some(slow) = strace(&folder, &faults) else { return };
    let made = Command::new("mkfifo").arg(folder.path("fifo.png")).status();
    assert!(made.expect("mkfifo starts").success());
    let start = |mut command: Command, line: &str, messages: &str| {
        let messages = fs::File::create(folder.path(messages)).expect("a file");
        command.args(line.split(' ')).args(["--out-dir", "d", "--model", "model"]).stderr(messages);
        command.spawn().expect("the program starts")
    };
    let slow = start(slow, "encode a.png fifo.png", "slow");
    Waiting::until(|| folder.path("d/a.safetensors").exists());
    // If the first process renames the file of its claim on a.safetensors, then this takes two seconds from now on.
    let other = start(command(&folder), "encode fifo.png", "other");
    let claim = claim(&folder, "fifo.safetensors");
    Waiting::until(|| claim.exists());
    let number = || fs::metadata(&claim).expect("a claim").ino();
    let before = number();
    Waiting::until(|| {
        assert_eq!(number(), before, "the claim was replaced");
        ["slow", "other"].iter().any(|messages| {
            fs::read_to_string(folder.path(messages)).expect("a file").contains("waiting for other processes")
        })
    });
    feed_pipe(&folder, "fifo.png", "real.png", || {
        fs::rename(folder.path("real.png"), folder.path("fifo.png")).expect("a new name");
    });
    for mut process in [slow, other] {
        assert!(process.wait().expect("a process").success());
    }
    assert_eq!(fs::read_dir(folder.path("d")).expect("a folder").count(), 2);
}

#[cfg(unix)]
#[test]
fn a_foreign_file_that_appears_meanwhile_is_an_error() {
    for (line, output) in [
        ("encode fifo.png a.png --out-dir d", "fifo.safetensors"),
        ("roundtrip fifo.png a.png --out-dir d --min-psnr 60", "fifo-roundtrip.png"),
        ("roundtrip fifo.png a.png --out-dir d --noise 0.1,0.5", "fifo-roundtrip.png"),
    ] {
        let folder = folder_with_pictures(&["a.png", "real.png"]);
        let process = Waiting::with_output(&folder, &format!("{line} --json"), output);
        let path = folder.path("d").join(output);
        let run = process.feed(&folder, "real.png", || fs::write(&path, "another's").expect("a file"));
        let run = run.code(1).says(&["does not look like a result of vae", "inputs failed"]);
        assert!(run.json()[0]["error"].is_string() && run.json()[0]["skipped"].is_null(), "{line}");
        assert_eq!(fs::read(&path).expect("a file"), b"another's");
    }
}

#[cfg(unix)]
#[test]
fn a_foreign_file_that_appears_during_a_decode_is_an_error() {
    let folder = Folder::with_model();
    write_batch(&folder, "a.safetensors", 1);
    let Some(mut decode) = strace(&folder, &["fsync:delay_enter=2000000"]) else { return };
    decode.args("decode a.safetensors --out-dir d --model model --json".split(' '));
    let decode = decode.stdout(Stdio::piped()).spawn().expect("the program starts");
    let is_temporary = |name: &str| name.ends_with(".tmp");
    Waiting::until(|| {
        let files = fs::read_dir(folder.path("d")).into_iter().flatten();
        files.flatten().any(|file| is_temporary(&file.file_name().to_string_lossy()))
    });
    fs::write(folder.path("d/a.png"), "another's").expect("a file");
    let output = decode.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("does not look like a result of vae"));
    assert_eq!(fs::read(folder.path("d/a.png")).expect("a file"), b"another's");
}

#[cfg(unix)]
#[test]
fn a_result_that_appears_meanwhile_is_kept_if_it_is_the_same() {
    for (command, output, reason) in [
        ("encode", "fifo.safetensors", "the seed was 1 and is 0"),
        ("roundtrip", "fifo-roundtrip.png", "the seed was 1 and is 0"),
    ] {
        for (seed, expected) in [("0", None), ("1", Some(reason))] {
            let folder = folder_with_pictures(&["real.png"]);
            fs::copy(folder.path("real.png"), folder.path("fifo.png")).expect("a copy");
            vae_with_model(&folder, &format!("{command} fifo.png --out-dir other --seed {seed}")).code(0);
            fs::remove_file(folder.path("fifo.png")).expect("a file");
            let process =
                Waiting::with_output(&folder, &format!("{command} fifo.png --out-dir d --json"), output);
            let other = folder.path("other").join(output);
            let path = folder.path("d").join(output);
            let copy = || fs::copy(&other, &path).map(drop).expect("a copy");
            let record = process.feed(&folder, "real.png", copy).code(0).json().remove(0);
            assert_eq!(record["remade"].as_str(), expected, "{command}");
            assert_eq!(record["skipped"] == true, expected.is_none(), "{command}");
            let is_same = fs::read(other).expect("a file") == fs::read(path).expect("a file");
            assert_eq!(is_same, expected.is_none(), "{command}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_result_that_appears_meanwhile_must_have_the_psnr_too() {
    let folder = folder_with_pictures(&["real.png"]);
    fs::copy(folder.path("real.png"), folder.path("fifo.png")).expect("a copy");
    vae_with_model(&folder, "roundtrip fifo.png --out-dir other").code(0);
    fs::remove_file(folder.path("fifo.png")).expect("a file");
    let line = "roundtrip fifo.png --out-dir d --min-psnr 90 --json";
    let process = Waiting::with_output(&folder, line, "fifo-roundtrip.png");
    let copy = || fs::rename(folder.path("other/fifo-roundtrip.png"), folder.path("d/fifo-roundtrip.png"));
    let run = process.feed(&folder, "real.png", || copy().expect("a file")).code(1);
    let record = run.json().remove(0);
    assert!(record["skipped"] == true && record["psnr"].is_number(), "{record}");
    assert!(record["error"].as_str().is_some_and(|error| error.contains("below --min-psnr")), "{record}");
}

#[test]
fn a_figure_does_not_replace_the_output() {
    let folder = folder_with_pictures(&["a.png"]);
    fs::create_dir(folder.path("sub")).expect("a folder");
    let full = folder.path("f.png").display().to_string();
    let mut names = vec!["f.png", "./f.png", "sub/../f.png", &full];
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink("f.png", folder.path("link.png")).expect("a link");
        symlink("../link.png", folder.path("sub/link.png")).expect("a link");
        symlink(".", folder.path("here")).expect("a link");
        names.extend(["link.png", "sub/link.png", "here/f.png"]);
    }
    for exists in [false, true] {
        for name in &names {
            for line in [format!("-o f.png --figure {name}"), format!("-o {name} --figure f.png")] {
                vae_with_model(&folder, &format!("roundtrip a.png {line}"))
                    .code(2)
                    .says(&["both name the output"]);
                assert_eq!(folder.path("f.png").exists(), exists, "{line}");
            }
        }
        write_png(&folder.path("f.png"), 8, 8);
    }
    // The names of one file can be replaced one by one.
    fs::hard_link(folder.path("f.png"), folder.path("other.png")).expect("a link");
    vae_with_model(&folder, "roundtrip a.png -o f.png --figure other.png").code(0);
    let size = |name: &str| image::image_dimensions(folder.path(name)).expect("a picture");
    assert_eq!(size("f.png"), (64, 32));
    assert_ne!(size("other.png"), (64, 32));
    vae_with_model(&folder, "roundtrip a.png -o f.png --figure sub/f.png").code(0);
    assert_eq!(size("sub/f.png"), size("other.png"));
}

#[cfg(unix)]
#[test]
fn a_folder_that_is_gone_ends_the_run() {
    let folder = folder_with_pictures(&["a.png", "c.png", "real.png"]);
    let process = Waiting::start(&folder, "encode a.png fifo.png c.png --out-dir d");
    let remove = || fs::remove_dir_all(folder.path("d")).expect("a folder");
    let run = process.feed(&folder, "real.png", remove).code(1);
    let run = run.says(&["fifo.png: cannot write d/fifo.safetensors: the folder d is gone"]);
    let run = run.says(&["1 of 3 inputs are done, 1 failed, 1 remain; the same command resumes"]);
    assert!(!run.stderr.contains("c.png"), "{}", run.stderr);
}

#[cfg(unix)]
#[test]
fn a_full_disk_ends_the_run() {
    let folder = folder_with_pictures(&["a.png", "b.png", "c.png"]);
    let Some(mut command) = strace(&folder, &["fsync:error=ENOSPC:when=2"]) else { return };
    command.args("encode a.png b.png c.png --out-dir d --model model --json".split(' '));
    let run =
        run(command).code(1).says(&["b.png: cannot write", "1 of 3 inputs are done, 1 failed, 1 remain"]);
    assert_eq!(run.json().len(), 2);
    assert_eq!(fs::read_dir(folder.path("d")).expect("a folder").count(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_file_system_ends_the_run() {
    let names: Vec<String> = (0..12).map(|i| format!("{i}.png")).collect();
    let folder = folder_with_pictures(&names.iter().map(String::as_str).collect::<Vec<_>>());
    fs::create_dir(folder.path("d")).expect("a folder");
    let mount = "mount -t tmpfs -o size=16k none d";
    let in_namespace = |script: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["-m", "sh", "-c", script]).current_dir(folder.path(""));
        unshare
    };
    if !in_namespace(mount).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        println!("skipped: mounting a file system is not permitted");
        return;
    }
    let vae = command(&folder);
    let mut full = in_namespace(&format!("{mount} && exec \"$0\" \"$@\""));
    full.arg(vae.get_program()).arg("encode").args(&names).args([
        "--out-dir",
        "d",
        "--model",
        "model",
        "--json",
    ]);
    let run = run(full).code(1).says(&["No space left", "1 failed"]);
    assert_eq!(run.stderr.matches("error:").count(), 2, "{}", run.stderr);
    assert!(run.json().len() < names.len());
}

#[test]
fn a_name_that_is_too_long_fails_alone() {
    let long = format!("{}.png", "x".repeat(250));
    let folder = folder_with_pictures(&[&long, "b.png"]);
    let run = vae_with_model(&folder, &format!("roundtrip {long} b.png --out-dir d")).code(1);
    run.says(&["1 of 2 inputs failed", "File name too long"]);
    assert!(folder.path("d/b-roundtrip.png").exists());
}

#[cfg(unix)]
#[test]
fn a_closed_stdout_ends_the_run_quietly() {
    let folder = folder_with_pictures(&["a.png", "b.png", "c.png"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = command(&folder);
    command.args("encode a.png b.png c.png --out-dir d --model model --json -q".split(' ')).stdout(writer);
    let run = run(command).code(141);
    assert_eq!(run.stderr, "");
    assert_eq!(fs::read_dir(folder.path("d")).expect("a folder").count(), 1);
}

#[cfg(unix)]
#[test]
fn endless_inputs_and_folders_are_refused() {
    let folder = folder_with_pictures(&[]);
    vae_with_model(&folder, "encode /dev/zero -o l.safetensors").code(1).says(&["/dev/zero: not a PNG"]);
    vae_with_model(&folder, "decode /dev/zero -o l.png").code(1).says(&["/dev/zero: "]);
    vae_with_model(&folder, "encode model -o l.safetensors").code(1).says(&["this is a folder"]);
    let mut stdin = command(&folder);
    stdin.args("encode - -o l.safetensors --model model".split(' '));
    stdin.stdin(fs::File::open("/dev/zero").expect("a device"));
    run(stdin).code(1).says(&["-: not a PNG"]);
    assert!(folder.files().is_empty());
}
