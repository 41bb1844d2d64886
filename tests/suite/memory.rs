//! The program as a process with little memory: what does not fit is refused, and the other inputs are done.

#![cfg(target_os = "linux")]

use std::process::Command;

use candle_core::{Device, Tensor};

use vae::latents::{Latents, Provenance};

use crate::support::model_folder::Folder;
use crate::support::process::{Run, command, run, write_png};

/// Runs `vae` with the built-in model on one thread, and at most `megabytes` of address space.
fn vae_within(folder: &Folder, megabytes: u64, line: &str) -> Run {
    let vae = command(folder);
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"ulimit -v "$0" && exec "$@""#, &(megabytes * 1000).to_string()]);
    shell.arg(vae.get_program()).args(line.split_whitespace()).args(["--model", "tiny", "--threads", "1"]);
    shell.current_dir(folder.path("")).env_clear().envs(vae.get_envs().filter_map(|(k, v)| Some((k, v?))));
    shell.env("MALLOC_ARENA_MAX", "1"); // else glibc reserves 64 MB of addresses for a second thread, or does not
    shell.env("RUST_BACKTRACE", "1");
    run(shell)
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
