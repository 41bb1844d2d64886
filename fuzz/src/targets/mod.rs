//! What is fuzzed. Each target takes any bytes, and panics if the program does something wrong with them:
//!
//! | file | what |
//! | --- | --- |
//! | `latents` | latents files: reading, summaries, plates; writing and reading again |
//! | `checkpoint` | `config.json`, `model_index.json` and weights: header, modules, model, both halves |
//! | `pickle` | PyTorch's checkpoints: both containers, the pickle, its tensors |
//! | `picture` | picture files: header, decoding, preprocessing, writing |
//! | `inspect` | `vae inspect` |
//! | `hub` | the answers of a hub |
//!
//! The fuzzer and the test `fuzz_seeds` of the program's own suite include this folder.

pub mod checkpoint;
pub mod hub;
pub mod inspect;
pub mod latents;
pub mod pickle;
pub mod picture;

/// The upper half of the FNV-1a hash. Decides what is done with an input, such that equal inputs are treated equally.
fn fnv1a(data: &[u8]) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325u64;
    data.iter().fold(start, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)) >> 32
}
