//! Reads a picture as `vae encode` does, and writes it as PNG:  cargo run --example read_picture -- [--srgb] IN OUT.png
//!
//! With `-`, it reads pairs of paths from stdin instead, one pair per line with a tab between, and prints an error per
//! line, or nothing.

use std::error::Error;
use std::path::Path;

use vae::picture::{Background, Format, Picture};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let to_srgb = arguments.first().is_some_and(|argument| argument == "--srgb");
    if to_srgb {
        arguments.remove(0);
    }
    match &arguments[..] {
        [input, output] => convert(input, output, to_srgb),
        [dash] if dash == "-" => {
            for line in std::io::stdin().lines() {
                let line = line?;
                let (input, output) = line.split_once('\t').ok_or("expected two paths")?;
                println!(
                    "{}",
                    convert(input, output, to_srgb).map_or_else(|e| e.to_string(), |()| String::new())
                );
            }
            Ok(())
        }
        _ => Err("usage: read_picture [--srgb] IN OUT.png".into()),
    }
}

fn convert(input: &str, output: &str, to_srgb: bool) -> Result<(), Box<dyn Error>> {
    let bytes = std::fs::read(Path::new(input))?;
    let read = if to_srgb { Picture::from_bytes_in_srgb } else { Picture::from_bytes };
    std::fs::write(output, read(&bytes, Background::WHITE)?.to_file_bytes(Format::Png)?)?;
    Ok(())
}
