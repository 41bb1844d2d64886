//! The command line. `args` is what can be said; each command is one file, a list of stages.
//!
//! | file | what |
//! | --- | --- |
//! | `args` | clap's structs, help texts |
//! | `encode`, `decode`, `roundtrip`, `grid`, `inspect`, `doctor` | the commands |
//! | `levels` | what `--noise` takes |
//! | `jobs` | inputs → outputs: names, what may be replaced, the loop over many |
//! | `memory` | whether a picture fits into memory |
//! | `trace` | what every stage makes, as it happens |
//! | `session` | the model and the device, opened when first needed |
//! | `output` | files that appear whole or not at all; stdout |
//! | `show` | pictures in the terminal |
//! | `record` | the result of one input: its text, its JSON, its timings |
//! | `ui` | messages and progress on stderr, results on stdout |
//! | `failure` | what ends a run, and its exit code |

pub mod args;
mod decode;
mod doctor;
mod encode;
mod failure;
mod grid;
mod inspect;
mod jobs;
mod levels;
mod memory;
mod output;
mod record;
mod roundtrip;
mod session;
mod show;
mod trace;
mod ui;

use clap::CommandFactory;

use args::{Cli, Command};
use failure::Failure;
use ui::Ui;

/// Runs one command.
pub fn run(cli: &Cli) -> Result<(), Failure> {
    let ui = Ui::new(&cli.verbosity);
    match &cli.command {
        Command::Encode(args) => encode::run(args, &ui),
        Command::Decode(args) => decode::run(args, &ui),
        Command::Roundtrip(args) => roundtrip::run(args, &ui),
        Command::Inspect(args) => inspect::run(args, &ui),
        Command::Doctor => doctor::run(&ui),
        Command::Grid(args) => grid::run(args, &ui),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "vae", &mut script);
            output::write_stdout(&script).map_err(Failure::Output)
        }
    }
}
