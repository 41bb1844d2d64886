//! Threads: results do not depend on their number, and several of them can use one model at once.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use vae::device::{Cpu, Level};
use vae::model::{AutoencoderKl, Config, DecodeLatents};
use vae::noise::Generator;

use crate::support::formula;
use crate::support::golden::values;

/// Has all kinds of convolutions, wide enough for several panels, and attention.
const CONFIG: &str = r#"{
  "_class_name": "AutoencoderKL",
  "block_out_channels": [32, 96, 160],
  "layers_per_block": 1,
  "norm_num_groups": 8
}"#;

fn model(level: Level) -> AutoencoderKl<Cpu> {
    let config = Config::from_json(CONFIG).expect("a valid config");
    AutoencoderKl::new(&Cpu::at(level), &config, formula::var_builder()).expect("a model")
}

fn noise(seed: u64, shape: [usize; 4]) -> Tensor {
    Generator::new(seed).randn_tensor(&shape, &Device::Cpu).expect("noise")
}

/// Encodes pixels, and decodes the mean: all values of both results.
fn roundtrip(vae: &AutoencoderKl<Cpu>, x: &Tensor) -> Vec<f32> {
    let posterior = vae.encode(x).expect("a posterior");
    let decoded = vae.decoder.decode(posterior.mean()).expect("a picture");
    [posterior.mean(), posterior.logvar(), &decoded].map(values).concat()
}

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads")
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_threads() {
    for level in Level::all() {
        let vae = model(level);
        for (height, width) in [(8, 8), (24, 200), (64, 64), (36, 52), (160, 8), (128, 192)] {
            let x = noise(1, [1, 3, height, width]);
            let results = [1, 2, 3, 16, 64].map(|threads| pool(threads).install(|| roundtrip(&vae, &x)));
            for (result, threads) in results[1..].iter().zip([2, 3, 16, 64]) {
                assert!(*result == results[0], "{} {height}×{width} on {threads} threads", level.name());
            }
        }
    }
}

#[test]
fn eight_threads_use_one_model_at_once() {
    let vae = model(Level::detect());
    let pictures: Vec<Tensor> = (0..24).map(|seed| noise(seed, [1, 3, 32, 40])).collect();
    let wanted: Vec<Vec<f32>> = pictures.iter().map(|x| roundtrip(&vae, x)).collect();
    let got: Vec<Vec<f32>> =
        pool(8).install(|| pictures.par_iter().with_max_len(1).map(|x| roundtrip(&vae, x)).collect());
    assert!(got == wanted, "in a rayon pool");
    std::thread::scope(|scope| {
        for (x, wanted) in pictures.iter().zip(&wanted).take(8) {
            scope.spawn(|| assert!(roundtrip(&vae, x) == *wanted, "in threads of the system"));
        }
    });
}
