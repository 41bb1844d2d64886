//! The program as a process with little memory: what does not fit is refused, and the other inputs are done.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use candle_core::{Device, Tensor};

use vae::latents::{Latents, Provenance};

use crate::support::model_folder::Folder;
use crate::support::process::{Run, command, run, write_png};

/// Runs `vae` with the built-in model on one thread, and at most `megabytes` of address space.
fn vae_within(folder: &Folder, megabytes: u64, line: &str) -> Run {
    run(command_within(folder, megabytes, &format!("{line} --model tiny --threads 1")))
}

/// Prepares `vae` with at most `megabytes` of address space.
fn command_within(folder: &Folder, megabytes: u64, line: &str) -> Command {
    let vae = command(folder);
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"ulimit -v "$0" && exec "$@""#, &(megabytes * 1000).to_string()]);
    shell.arg(vae.get_program()).args(line.split_whitespace());
    shell.current_dir(folder.path("")).env_clear().envs(vae.get_envs().filter_map(|(k, v)| Some((k, v?))));
    shell.env("MALLOC_ARENA_MAX", "1"); // else glibc reserves 64 MB of addresses for a second thread, or does not
    shell.env("RUST_BACKTRACE", "1");
    shell.stdin(Stdio::null());
    shell
}

/// Writes a safetensors file with this header, and as many zeros as it states, which take no space on the disk.
fn write_sparse(folder: &Folder, name: &str, header: &str, zeros: u64) {
    let mut file = File::create(folder.path(name)).expect("a file");
    file.write_all(&(header.len() as u64).to_le_bytes()).expect("writes");
    file.write_all(header.as_bytes()).expect("writes");
    file.set_len(8 + header.len() as u64 + zeros).expect("a sparse file");
}

/// Writes small latents before a tensor of `size` bytes.
fn write_latents_and_more(folder: &Folder, name: &str, size: u64) {
    let end = 64 + size;
    let header = format!(
        r#"{{"latents":{{"dtype":"F32","shape":[1,4,2,2],"data_offsets":[0,64]}},"more":{{"dtype":"U8","shape":[{size}],"data_offsets":[64,{end}]}}}}"#
    );
    write_sparse(folder, name, &header, end);
}

/// Returns the number of megabytes between two parts of the messages.
fn megabytes(run: &Run, before: &str, after: &str) -> u64 {
    let rest = run.stderr.split_once(before).expect(before).1;
    let number = rest.split_once(after).expect(after).0;
    number.trim_end_matches(" MB").parse().unwrap_or_else(|e| panic!("{number}: {e}"))
}

/// Writes the header of a QOI picture, without any pixels.
fn write_header(folder: &Folder, name: &str, width: u32, height: u32) {
    let mut file = b"qoif".to_vec();
    file.extend([width, height].map(u32::to_be_bytes).concat());
    file.extend([3, 0]);
    std::fs::write(folder.path(name), file).expect("a file");
}

#[test]
fn a_picture_that_does_not_fit_fails_alone() {
    let folder = Folder::new();
    for name in ["a.png", "b.png"] {
        write_png(&folder.path(name), 64, 32);
    }
    write_png(&folder.path("large.png"), 2048, 2048);
    let run = vae_within(&folder, 400, "encode large.png a.png b.png --out-dir out").code(1);
    let run = run.says(&[
        "2048×2048 pixels need about",
        "of the 410 MB allowed by `ulimit -v` are free",
        "would fit",
    ]);
    let run = run.says(&["1 of 3 inputs failed: large.png"]);
    assert!(folder.path("out/a.safetensors").exists() && folder.path("out/b.safetensors").exists());
    assert!(!run.stderr.contains("even a small picture"), "{}", run.stderr);
}

#[test]
fn a_picture_is_refused_by_its_header() {
    let folder = Folder::new();
    write_header(&folder, "bomb.qoi", 13376, 13376);
    for command in ["encode bomb.qoi -o l.safetensors", "roundtrip bomb.qoi -o out.png"] {
        let run = vae_within(&folder, 4000, command).code(1);
        let run = run.says(&["bomb.qoi: 13376×13376 pixels need about", "a picture of about", "would fit"]);
        let size =
            run.stderr.split_once("a picture of about ").and_then(|(_, rest)| rest.split_once(" would fit"));
        let (width, height) = size.and_then(|(size, _)| size.split_once('×')).expect("a size");
        assert_eq!(width, height);
        // There is memory for a picture that is a little smaller, but there are no pixels.
        let side: u32 = width.parse().expect("a number");
        write_header(&folder, "fits.qoi", side - 256, side - 256);
        let fits = vae_within(&folder, 4000, &command.replace("bomb", "fits")).code(1);
        assert!(!fits.stderr.contains("memory"), "{}", fits.stderr);
    }
}

#[test]
fn the_size_in_the_metadata_of_latents_is_not_trusted() {
    let folder = Folder::new();
    let write = |side: usize, original: usize| {
        let tensor = Tensor::zeros((1, 4, side, side), candle_core::DType::F32, &Device::Cpu);
        let provenance = Provenance { original_size: Some((original, original)), ..Provenance::default() };
        let latents = Latents::new(tensor.expect("a tensor"), provenance).expect("finite");
        let file = latents.to_safetensors(candle_core::DType::F32).expect("a file");
        std::fs::write(folder.path("l.safetensors"), file).expect("a file");
    };
    write(2, 13376);
    vae_within(&folder, 2000, "decode l.safetensors -o out.png").code(0);
    let run = vae_within(&folder, 2000, "decode l.safetensors -o big.png --original-size").code(1);
    run.says(&["original_size is 13376x13376", "omit --original-size"]);
    write(125, 8000); // 8 times the sides of the decoded picture, which is allowed
    let run = vae_within(&folder, 1000, "decode l.safetensors -o big.png --original-size").code(1);
    run.says(&["pixels need about", "omit --original-size"]);
    assert!(!folder.path("big.png").exists());
}

#[test]
fn memory_of_earlier_pictures_counts_as_free() {
    let folder = Folder::new();
    for name in ["a.png", "b.png", "c.png"] {
        write_png(&folder.path(name), 768, 768);
    }
    vae_within(&folder, 4000, "encode a.png -o a.safetensors").code(0);
    let least = 100;
    let needs = ["encode a.png -o no.safetensors", "decode a.safetensors -o no.png"].map(|line| {
        let refused = vae_within(&folder, least, line).code(1);
        megabytes(&refused, "need about ", " of memory") - megabytes(&refused, "but only ", " of the")
    });
    // Each direction fits, with the picture that a roundtrip holds and what the allocator keeps. With the feature maps
    // that the other direction keeps, which are about 100 MB, it would not.
    let enough = least + needs[0].max(needs[1]) + 40;
    vae_within(&folder, enough, "encode a.png b.png c.png --out-dir latents").code(0);
    vae_within(&folder, enough, "roundtrip a.png b.png --out-dir pictures").code(0);
}

#[test]
fn a_batch_of_billions_of_pictures_is_refused_by_its_header() {
    let folder = Folder::new();
    let batch = r#"{"latents":{"dtype":"F16","shape":[4294967296,4,1,1],"data_offsets":[0,34359738368]}}"#;
    write_sparse(&folder, "a.safetensors", batch, 1 << 35);
    write_latents_and_more(&folder, "b.safetensors", 1);
    write_latents_and_more(&folder, "a-0.safetensors", 1); // so that the number of outputs of the batch matters
    let run = vae_within(&folder, 3000, "decode a.safetensors b.safetensors a-0.safetensors --out-dir d");
    run.code(1).says(&[
        "a.safetensors: no latents found",
        "more than 65536 pictures",
        "1 of 3 inputs failed",
    ]);
    assert!(folder.path("d/a-0.png").exists() && folder.path("d/b.png").exists());
    let run = run_inspect(&folder, "a.safetensors").code(0);
    run.prints(&["not latents", "more than 65536 pictures"]);
}

fn run_inspect(folder: &Folder, name: &str) -> Run {
    run(command_within(folder, 1000, &format!("inspect {name}")))
}

#[test]
fn of_a_file_with_latents_only_these_are_in_memory() {
    let folder = Folder::new();
    write_latents_and_more(&folder, "l.safetensors", 3 << 29);
    run_inspect(&folder, "l.safetensors").code(0).prints(&["l.safetensors: latents", "[1, 4, 2, 2]"]);
    vae_within(&folder, 1000, "encode l.safetensors -o no.safetensors").code(1).says(&["vae decode"]);
    vae_within(&folder, 1000, "decode l.safetensors -o l.png").code(0);
    // The latents themselves are too large.
    let shape = r#"{"latents":{"dtype":"F32","shape":[1024,4,256,256],"data_offsets":[0,1073741824]}}"#;
    write_sparse(&folder, "l.safetensors", shape, 1 << 30);
    run_inspect(&folder, "l.safetensors").code(1).says(&["reading the latents needs about", "are free"]);
    let run = vae_within(&folder, 1000, "decode l.safetensors --out-dir d").code(1);
    run.says(&["reading the latents needs about", "are free"]);
    let shape = r#"{"latents":{"dtype":"F32","shape":[1,4,16384,16384],"data_offsets":[0,4294967296]}}"#;
    write_sparse(&folder, "l.safetensors", shape, 1 << 32);
    vae_within(&folder, 1000, "decode l.safetensors -o no.png").code(1).says(&["more than 178956970 pixels"]);
}

#[test]
fn what_a_pipe_announces_must_fit_into_memory() {
    let folder = Folder::new();
    write_latents_and_more(&folder, "l.safetensors", 64 << 30);
    let mut picture = File::create(folder.path("p.png")).expect("a file");
    picture.write_all(b"\x89PNG\r\n\x1a\n").and_then(|()| picture.set_len(5 << 30)).expect("a file");
    let needs = |what: &str, name: &str, line: &str| {
        let mut command = command_within(&folder, 1000, line);
        command.stdin(File::open(folder.path(name)).expect("a file"));
        run(command).code(1).says(&[&format!("{what} needs about"), "are free"]);
    };
    let from = |name: &str, line: &str| needs("the file", name, line);
    // 270 MB, and four times as much as f32 in memory.
    let shape = r#"{"latents":{"dtype":"F16","shape":[512,4,256,256],"data_offsets":[0,268435456]}}"#;
    write_sparse(&folder, "f16.safetensors", shape, 1 << 28);
    needs("reading the latents", "f16.safetensors", "decode - --out-dir d --model tiny --threads 1");
    needs("reading the latents", "f16.safetensors", "inspect -");
    from("l.safetensors", "decode - -o no.png --model tiny --threads 1");
    from("l.safetensors", "inspect -");
    from("p.png", "encode - -o no.safetensors --model tiny --threads 1");
    from("p.png", "encode p.png -o no.safetensors --model tiny --threads 1");
    from("p.png", "grid p.png -o no.png");
}

#[test]
fn a_header_takes_little_memory_whatever_is_in_it() {
    let folder = Folder::new();
    for (size, refused) in [(20_000_000, "header"), (4_000_000, "not a valid safetensors file")] {
        let header = format!(r#"{{"a":[{}{{}}]}}"#, r#"{"":0},"#.repeat(size / 7));
        write_sparse(&folder, "l.safetensors", &header, 0);
        vae_within(&folder, 120, "encode l.safetensors -o no.safetensors").code(1).says(&["vae decode"]);
        vae_within(&folder, 120, "decode l.safetensors -o no.png").code(1).says(&[refused]);
        run(command_within(&folder, 120, "inspect l.safetensors")).code(1).says(&[refused]);
    }
}

#[test]
fn the_small_files_of_a_model_are_small() {
    let folder = Folder::with_model();
    write_png(&folder.path("p.png"), 64, 32);
    let grow = |name: &str| {
        let file = File::options().create(true).truncate(false).write(true).open(folder.path(name));
        file.and_then(|file| file.set_len(10 << 30)).expect("a sparse file");
    };
    grow("model_index.json");
    run(command_within(&folder, 1000, "inspect --model model")).code(0).prints(&["AutoencoderKL"]);
    grow("model/config.json");
    let encode = "encode p.png -o no.safetensors --model model --threads 1";
    run(command_within(&folder, 1000, encode)).code(3).says(&["config.json", "larger than 1048576 bytes"]);
}

#[test]
fn a_picture_of_a_grid_must_fit_into_memory() {
    let folder = Folder::new();
    let large = image::ImageBuffer::<image::Rgba<u16>, Vec<u16>>::new(4000, 4000);
    large.save(folder.path("large.png")).expect("a PNG");
    let grid = |line: &str| run(command_within(&folder, 400, line));
    for line in ["grid large.png -o no.png", "inspect large.png"] {
        grid(line).code(1).says(&["large.png: 4000×4000 pixels need about", "a picture of about"]);
    }
    // The canvas alone does not fit.
    write_png(&folder.path("wide.png"), 6000, 1);
    write_png(&folder.path("high.png"), 1, 6000);
    grid("grid wide.png high.png --rows 1 -o no.png").code(1).says(&["pixels need about"]);
    assert!(!folder.path("no.png").exists());
    // Data after the end of a picture are ignored. The files are not in memory at the same time.
    let names: Vec<String> = (0..8).map(|i| format!("{i}.png")).collect();
    for name in &names {
        write_png(&folder.path(name), 64, 32);
        let file = File::options().write(true).open(folder.path(name));
        file.and_then(|file| file.set_len(100_000_000)).expect("a sparse file");
    }
    grid(&format!("grid {} -o g.png", names.join(" "))).code(0);
}
