//! Every fuzz target on its seeds, and on several hundred variants of them that are the same in every run.

use std::fs;
use std::path::Path;

use rand_mt::Mt;

#[path = "../../fuzz/src/targets/mod.rs"]
pub mod targets;

use super::support::model_folder::Folder;
use super::support::process::{command, run};

#[test]
fn the_target_latents_accepts_its_seeds_and_their_variants() {
    check("latents", 40, targets::latents::run);
}

#[test]
fn the_target_checkpoint_accepts_its_seeds_and_their_variants() {
    check("checkpoint", 12, targets::checkpoint::run);
}

#[test]
fn the_target_pickle_accepts_its_seeds_and_their_variants() {
    check("pickle", 150, targets::pickle::run);
}

#[test]
fn the_target_picture_accepts_its_seeds_and_their_variants() {
    check("picture", 12, targets::picture::run);
}

#[test]
fn the_target_hub_accepts_its_seeds_and_their_variants() {
    check("hub", 12, targets::hub::run);
}

#[test]
fn inspect_ends_without_a_panic_on_the_seeds_of_the_fuzzer_and_their_variants() {
    check("inspect", 1, |data| {
        let folder = Folder::new();
        let Some(arguments) = targets::inspect::arguments(data, &folder.path("")) else { return };
        let is_json = arguments.iter().any(|argument| argument == "--json");
        let mut vae = command(&folder);
        vae.args(arguments);
        let run = run(vae); // fails the test if it panics
        assert!(matches!(run.code, 0 | 1 | 3), "exit code {}: {}", run.code, run.stderr);
        if is_json {
            assert_eq!(run.json().len(), usize::from(run.code != 3));
        } else {
            let text = String::from_utf8(run.stdout).expect("UTF-8") + &run.stderr;
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        }
    });
}

/// Calls `target` with every seed and with `variants` variants of each.
fn check(name: &str, variants: usize, target: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let entries = fs::read_dir(folder).expect("the seeds are part of the repository");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("a seed")).collect();
    assert!(seeds.len() >= 10, "{} seeds", seeds.len());
    let mut random = Random(Mt::new(1));
    for (path, seed) in paths.iter().zip(&seeds) {
        println!("{}", path.display()); // shown if the target panics
        target(seed);
        for i in 0..variants {
            println!("variant {i}");
            target(&random.variant(seed, &seeds));
        }
    }
}

/// Changes bytes at random.
struct Random(Mt);

impl Random {
    /// A number below `end`; 0 if `end` is 0.
    fn below(&mut self, end: usize) -> usize {
        (self.0.next_u32() as usize).checked_rem(end).unwrap_or(0)
    }

    /// Returns `seed` with one to four changes. `others` are spliced in.
    fn variant(&mut self, seed: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
        let mut data = seed.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(data.len());
            let end = (at + 1 + self.below(8)).min(data.len());
            match self.below(7) {
                0 => data.truncate(at),
                1 => _ = data.drain(at..end),
                2 => data.splice(at..at, data[at..end].to_vec()).for_each(drop),
                3 => {
                    let other = &others[self.below(others.len())];
                    let from = self.below(other.len());
                    data.truncate(at);
                    data.extend(&other[from..]);
                }
                4 => {
                    let extreme = [0x00, 0x7f, 0x80, 0xff][self.below(4)];
                    data[at..end].fill(extreme);
                }
                // One bit, or a digit that stays a digit.
                5 if data.get(at).is_some_and(u8::is_ascii_digit) => data[at] = b'0' + self.below(10) as u8,
                _ => data.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << self.below(8)),
            }
        }
        data
    }
}

/// The target `inspect` compiles the command line, so the fuzzer needs its dependencies. It has a lock file of its own, and is not
/// built by the other tests.
#[test]
fn the_fuzzer_has_the_dependencies_of_the_command_line() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| fs::read_to_string(path).expect("a text file");
    let (program, fuzzer) = (read(&root.join("Cargo.toml")), read(&root.join("fuzz/Cargo.toml")));
    let mut folders = vec![root.join("src/cli")];
    let mut code = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { code += &read(&path) }
        }
    }
    let names = |toml: &str| -> Vec<String> {
        let sections = toml.split("\n[").filter(|section| {
            section.starts_with("dependencies]") || section.starts_with("target.'cfg(unix)'.dependencies]")
        });
        let lines = sections.flat_map(str::lines).filter_map(|line| line.split_once(" = "));
        lines.map(|(name, _)| name.to_string()).collect()
    };
    let (all, has) = (names(&program), names(&fuzzer));
    let used: Vec<_> =
        all.iter().filter(|name| code.contains(&format!("{}::", name.replace('-', "_")))).collect();
    assert!(used.len() > 10, "{used:?}");
    let missing: Vec<_> = used.into_iter().filter(|name| !has.contains(name)).collect();
    assert!(missing.is_empty(), "fuzz/Cargo.toml lacks {missing:?}");
}
