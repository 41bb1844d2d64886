//! The fuzzer: gives libFuzzer's bytes to the target that the environment variable `TARGET` names.

#![no_main]

#[allow(dead_code)] // the commands that are not fuzzed
#[path = "../../src/cli/mod.rs"]
mod cli;
mod targets;

use std::sync::OnceLock;

use clap::Parser;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fuzz_target!(|data: &[u8]| TARGET.get_or_init(target)(data));

fn target() -> fn(&[u8]) {
    match std::env::var("TARGET").unwrap_or_default().as_str() {
        "latents" => targets::latents::run,
        "checkpoint" => targets::checkpoint::run,
        "pickle" => targets::pickle::run,
        "picture" => targets::picture::run,
        "inspect" => inspect,
        "hub" => targets::hub::run,
        other => panic!("TARGET is `{other}`; use latents, checkpoint, pickle, picture, inspect or hub"),
    }
}

/// Runs the command itself. Run with `-close_fd_mask=3`, as it prints.
fn inspect(data: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(arguments) = targets::inspect::arguments(data, folder.path()) else { return };
    let cli = cli::args::Cli::try_parse_from([vec!["vae".into()], arguments].concat());
    let _ = cli::run(&cli.expect("valid arguments"));
}
