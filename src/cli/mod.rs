//! The command line. Each command is one file or folder.
//!
//! | file | what |
//! | --- | --- |
//! | `args` | options and help texts |
//! | `encode`, `decode`, `roundtrip`, `grid`, `inspect`, `models`, `doctor` | the commands |
//! | `encode`, `decode`, `roundtrip`, `grid`, `inspect`, `doctor` | the commands |
//! | `convert_model` | writes the VAE of a model as a new file |
//! | `levels` | the noise levels of `--noise` |
//! | `hub` | the hub, from the environment and the options |
//! | `jobs` | inputs, their destinations, and the loop over them |
//! | `message` | what an error says |
//! | `collisions` | outputs of a run that are the same file, or an input |
//! | `read` | reads an input, within limits |
//! | `paths` | how messages show paths, and which are the same file |
//! | `input` | the bytes of an input, which are compared with those of an earlier run |
//! | `input_digests` | the digests of inputs, remembered from run to run |
//! | `recipe` | what a result depends on, as it states it |
//! | `resume` | whether an existing result is kept |
//! | `pictures` | reads pictures as the options say |
//! | `memory` | whether a picture fits into memory |
//! | `trace` | shape, statistics and time of every stage |
//! | `scaling` | whether latents to decode are scaled |
//! | `preview` | the small decoder for latents |
//! | `session` | the device, and the model, which is opened when first needed |
//! | `attempts` | the devices and precisions in which a picture is tried |
//! | `output` | destinations of results; files are written completely or not at all |
//! | `temporary` | temporary files and claims beside the outputs, and the leftovers of killed runs |
//! | `interrupt` | signals end a run without leftovers |
//! | `show` | displays pictures in the terminal |
//! | `record` | the result of one input: its text, its JSON, its timings |
//! | `progress` | the progress bar of a download |
//! | `ui` | messages and progress on stderr, results on stdout |
//! | `unused` | notes about options that have no effect |
//! | `failure` | the errors that end a run, and their exit codes |

pub mod args;
mod attempts;
mod collisions;
mod convert_model;
mod decode;
mod doctor;
mod encode;
mod failure;
mod grid;
mod hub;
mod input;
mod input_digests;
mod inspect;
pub mod interrupt;
mod jobs;
mod levels;
mod memory;
mod message;
mod models;
mod output;
mod paths;
mod pictures;
mod preview;
mod progress;
mod read;
mod recipe;
mod record;
mod resume;
mod roundtrip;
mod scaling;
mod session;
mod show;
mod temporary;
mod trace;
mod ui;
mod unused;

use std::{env, process};

use clap::{CommandFactory, Parser};

use vae::escape::one_line;

use args::{Cli, Command};
use failure::Failure;
use ui::Ui;

/// Parses the command line. Ends the program if it is invalid or asks for help.
pub fn parse() -> Cli {
    let error = match Cli::try_parse() {
        Ok(cli) => return cli,
        Err(error) => error,
    };
    // The message can repeat an argument, so they are escaped and parsed again.
    let escaped = env::args_os().map(|argument| one_line(&argument.to_string_lossy()));
    if let Err(same) = Cli::try_parse_from(escaped) {
        same.exit();
    }
    ui::write_stderr(&error.render().to_string());
    process::exit(error.exit_code());
}

/// Runs one command.
pub fn run(cli: &Cli) -> Result<(), Failure> {
    let ui = Ui::new(&cli.verbosity);
    let result = match &cli.command {
        Command::Encode(args) => encode::run(args, &ui),
        Command::Decode(args) => decode::run(args, &ui),
        Command::Roundtrip(args) => roundtrip::run(args, &ui),
        Command::Inspect(args) => inspect::run(args, &ui),
        Command::Models => models::run(&ui),
        Command::ConvertModel(args) => convert_model::run(args, &ui),
        Command::Doctor => doctor::run(&ui),
        Command::Grid(args) => grid::run(args, &ui),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "vae", &mut script);
            ui::write_stdout(&script).map_err(Failure::Output)
        }
    };
    temporary::finish();
    result
}
