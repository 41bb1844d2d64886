//! `vae`: parse, run, say what went wrong, exit.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = cli::args::parse();
    match cli::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            failure.exit_code()
        }
    }
}
