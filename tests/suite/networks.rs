//! The TAESD family, Wan 2.1 and Qwen-Image: every stage and every block at every SIMD level of this machine, compared with
//! diffusers (`tests/golden/networks.py`).

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use candle_core::{Device, Result, Tensor};
use serde_json::Value;

use vae::checkpoint::contents::Entry;
use vae::checkpoint::{Contents, Module};
use vae::device::{Backend, Cpu, Level};
use vae::model::{Config, FeatureMap, Observer, latent_decoder, picture_encoder};
use vae::picture::Picture;
use vae::statistics::Statistics;

use crate::support::formula;
use crate::support::golden::{Golden, differing, relative_error, values};

const TINY: [&str; 2] = ["networks/taesd.safetensors", "networks/taesd3.safetensors"];
const WAN: [&str; 2] = ["networks/qwen.safetensors", "networks/wan.safetensors"];

/// The largest permitted differences from diffusers.
#[derive(Clone, Copy)]
struct Tolerance {
    /// The relative error of a stage, compared with diffusers in f32 and in f64.
    stage: f64,
    /// The share of the picture's values that may differ.
    differing: f64,
    /// The difference of a value of the picture, in levels of 0 to 255.
    levels: u8,
}

const F32: Tolerance = Tolerance { stage: 1e-5, differing: 1e-3, levels: 1 };
#[cfg(feature = "cuda")]
const F16: Tolerance = Tolerance { stage: 5e-3, differing: 0.2, levels: 2 };
#[cfg(feature = "cuda")]
const BF16: Tolerance = Tolerance { stage: 4e-2, differing: 0.8, levels: 8 };

/// Shape, mean, standard deviation, minimum and maximum of each block, by its name.
#[derive(Default)]
struct Blocks(Vec<(String, [usize; 4], [f64; 4])>);

impl Observer for Blocks {
    fn block(&mut self, name: fmt::Arguments, map: &dyn FeatureMap) -> Result<()> {
        let s = map.shape();
        let found = Statistics::of_slices(|visit| map.visit(visit))?;
        let numbers = [found.mean, found.std, found.min.into(), found.max.into()];
        self.0.push((name.to_string(), [1, s.channels, s.height, s.width], numbers));
        Ok(())
    }
}

impl Blocks {
    /// Compares all blocks with those of the golden data, of which `skipped` have no counterpart.
    fn check(&self, golden: &Golden, tolerance: f64, skipped: &[&str]) {
        let wanted: Vec<Value> = serde_json::from_str(golden.text("blocks")).expect("JSON");
        let name = |block: &Value| block[0].as_str().expect("a name").to_string();
        let wanted: Vec<&Value> = wanted.iter().filter(|block| !skipped.contains(&&*name(block))).collect();
        let names: Vec<String> = self.0.iter().map(|(name, ..)| name.clone()).collect();
        assert_eq!(names, wanted.iter().map(|block| name(block)).collect::<Vec<_>>());
        for ((name, shape, found), wanted) in self.0.iter().zip(wanted) {
            assert_eq!(serde_json::json!(shape), wanted[1], "{name}");
            let wanted: Vec<f64> = (2..6).map(|i| wanted[i].as_f64().expect("a number")).collect();
            let bound = 2.0 * tolerance * wanted[0].hypot(wanted[1]);
            // The extremes are single values.
            for (i, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
                let bound = if i < 2 { bound } else { 10.0 * bound };
                assert!((found - wanted).abs() < bound, "{name}, number {i}: {found} is not {wanted}");
            }
        }
    }
}

fn agrees(what: &str, golden: &Golden, stage: &str, found: &Tensor, tolerance: f64) {
    let error = relative_error(found, golden.tensor(stage));
    println!("{what} {stage}: relative error {error:.2e}");
    assert!(error < tolerance, "{what} {stage}: relative error {error:.2e}");
}

fn agrees_as_a_picture(what: &str, golden: &Golden, dec: &Tensor, tolerance: Tolerance) -> Result<()> {
    let found = Picture::from_tensor(&dec.get(0)?).expect("numbers").to_rgb8();
    let (share, most) = differing(&found, &golden.bytes("picture_u8"), 0);
    println!("{what} picture: {:.4} % of values differ, by up to {most}", 100.0 * share);
    assert!(share <= tolerance.differing, "{what}: {share} of the values differ");
    assert!(most <= tolerance.levels, "{what}: values differ by up to {most} levels");
    Ok(())
}

fn config(golden: &Golden) -> Config {
    Config::from_json(golden.text("config")).expect("diffusers' config is valid")
}

fn tiny_agrees<B: Backend>(backend: &B, tolerance: Tolerance, file: &str) -> Result<()> {
    let (golden, what) = (Golden::open(file), format!("{file}, {backend:?},"));
    let config = config(&golden);
    let encoder = picture_encoder(backend, &config, formula::var_builder())?;
    let decoder = latent_decoder(backend, &config, formula::var_builder())?;
    let mut blocks = Blocks::default();
    let h = encoder.h(golden.tensor("x"), &mut blocks)?;
    for stage in ["h", "h_f64"] {
        agrees(&what, &golden, stage, &h, tolerance.stage);
    }
    let posterior = encoder.posterior(&encoder.moments(&h)?)?;
    assert_eq!(values(posterior.mean()), values(&h));
    assert!(values(&posterior.std()?).iter().all(|&std| std == 0.0), "there is no distribution");
    assert_eq!(values(&posterior.sample(&h.ones_like()?)?), values(&h));

    let z = decoder.z(golden.tensor("latents"))?;
    agrees(&what, &golden, "z", &z, 1e-6);
    let dec = decoder.dec(&z, &mut blocks)?;
    for stage in ["dec", "dec_f64"] {
        agrees(&what, &golden, stage, &dec, tolerance.stage);
    }
    // ReLU and the first upsampling belong to a convolution here.
    blocks.check(
        &golden,
        tolerance.stage,
        &["decoder.layers.0", "decoder.layers.5", "decoder.layers.10", "decoder.layers.15"],
    );
    agrees_as_a_picture(&what, &golden, &dec, tolerance)
}

fn wan_agrees<B: Backend>(backend: &B, tolerance: Tolerance, file: &str) -> Result<()> {
    let (golden, what) = (Golden::open(file), format!("{file}, {backend:?},"));
    let config = config(&golden);
    let encoder = picture_encoder(backend, &config, formula::var_builder())?;
    let decoder = latent_decoder(backend, &config, formula::var_builder())?;
    let mut blocks = Blocks::default();
    let h = encoder.h(golden.tensor("x"), &mut blocks)?;
    agrees(&what, &golden, "h", &h, tolerance.stage);
    let moments = encoder.moments(&h)?;
    for stage in ["moments", "moments_f64"] {
        agrees(&what, &golden, stage, &moments, tolerance.stage);
    }
    let posterior = encoder.posterior(&moments)?;
    agrees(&what, &golden, "mean", posterior.mean(), tolerance.stage);
    agrees(&what, &golden, "latents", &config.scale(posterior.mean())?, tolerance.stage);

    let z = decoder.z(&config.unscale(golden.tensor("latents"))?)?;
    agrees(&what, &golden, "z", &z, tolerance.stage);
    let dec = decoder.dec(&z, &mut blocks)?;
    for stage in ["dec", "dec_f64"] {
        agrees(&what, &golden, stage, &dec, tolerance.stage);
    }
    assert!(values(&dec).iter().any(|x| x.abs() == 1.0), "no value is clamped");
    blocks.check(&golden, tolerance.stage, &[]);
    agrees_as_a_picture(&what, &golden, &dec, tolerance)
}

#[test]
fn the_taesd_family_with_4_and_16_channels() -> Result<()> {
    Level::all()
        .into_iter()
        .try_for_each(|level| TINY.into_iter().try_for_each(|file| tiny_agrees(&Cpu::at(level), F32, file)))
}

#[test]
fn qwen_image_and_wan_on_one_picture() -> Result<()> {
    Level::all()
        .into_iter()
        .try_for_each(|level| WAN.into_iter().try_for_each(|file| wan_agrees(&Cpu::at(level), F32, file)))
}

/// The mean of the latents of pixels, and the picture that they decode to.
fn roundtrip(level: Level, config: &Config, x: &Tensor) -> [Tensor; 2] {
    let cpu = Cpu::at(level);
    let encoder = picture_encoder(&cpu, config, formula::var_builder()).expect("an encoder");
    let decoder = latent_decoder(&cpu, config, formula::var_builder()).expect("a decoder");
    let posterior = encoder.encode(x).expect("a posterior");
    let decoded = decoder.decode(posterior.mean()).expect("a picture");
    [posterior.mean().clone(), decoded]
}

#[test]
fn their_bytes_do_not_depend_on_the_number_of_threads() {
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    let tiny = config(&Golden::open(TINY[0]));
    let wan = config(&Golden::open(WAN[1]));
    for level in Level::all() {
        for (config, height, width) in [(&tiny, 8, 8), (&tiny, 72, 104), (&wan, 36, 52), (&wan, 20, 200)] {
            let mut noise = vae::noise::Generator::new(1);
            let x = noise.randn_tensor(&[1, 3, height, width], &Device::Cpu).expect("noise");
            let results = [1, 2, 3, 16]
                .map(|threads| pool(threads).install(|| roundtrip(level, config, &x).map(|t| values(&t))));
            for result in &results[1..] {
                assert!(*result == results[0], "{height}×{width} at {}", level.name());
            }
        }
    }
}

#[test]
fn a_batch_is_computed_like_its_pictures() -> Result<()> {
    let mut noise = vae::noise::Generator::new(2);
    let x = noise.randn_tensor(&[2, 3, 16, 24], &Device::Cpu).expect("noise");
    for file in [TINY[0], WAN[1]] {
        let config = config(&Golden::open(file));
        let batch = roundtrip(Level::detect(), &config, &x);
        for i in 0..2 {
            let alone = roundtrip(Level::detect(), &config, &x.narrow(0, i, 1)?);
            for (batch, alone) in batch.iter().zip(&alone) {
                assert_eq!(values(&batch.get(i)?), values(alone), "picture {i} of {file}");
            }
        }
    }
    Ok(())
}

#[test]
fn wrong_input_and_wrong_weights_are_errors() -> Result<()> {
    let cpu = Cpu::at(Level::detect());
    for file in [TINY[0], TINY[1], WAN[0], WAN[1]] {
        let config = config(&Golden::open(file));
        let encoder = picture_encoder(&cpu, &config, formula::var_builder())?;
        let decoder = latent_decoder(&cpu, &config, formula::var_builder())?;
        let zeros = |shape: [usize; 4]| Tensor::zeros(&shape, candle_core::DType::F32, &Device::Cpu);
        for shape in [[1, 4, 16, 16], [1, 1, 16, 16], [1, 3, config.downscale() - 1, 16], [1, 3, 16, 0]] {
            let error = encoder.h(&zeros(shape)?, &mut ()).expect_err("not a picture").to_string();
            assert!(error.contains("[n, 3, h, w]"), "{error}");
        }
        for shape in [[1, 5, 4, 4], [1, config.latent_channels, 0, 4], [1, 2 * config.latent_channels, 4, 4]]
        {
            let error = decoder.decode(&zeros(shape)?).expect_err("not latents").to_string();
            assert!(error.contains("latents [n,"), "{error}");
        }
        let empty =
            candle_nn::VarBuilder::from_tensors(HashMap::new(), candle_core::DType::F32, &Device::Cpu);
        assert!(picture_encoder(&cpu, &config, empty.clone()).is_err());
        assert!(latent_decoder(&cpu, &config, empty).is_err());
    }
    Ok(())
}

#[cfg(feature = "cuda")]
mod cuda {
    use vae::device::Precision;

    use super::*;
    use crate::support::cuda::cuda;

    #[test]
    fn the_taesd_family_qwen_image_and_wan_in_every_precision() -> Result<()> {
        for (precision, tolerance) in [(Precision::F32, F32), (Precision::F16, F16), (Precision::Bf16, BF16)]
        {
            let Some(cuda) = cuda(precision) else { return Ok(()) };
            TINY.into_iter().try_for_each(|file| tiny_agrees(&cuda, tolerance, file))?;
            WAN.into_iter().try_for_each(|file| wan_agrees(&cuda, tolerance, file))?;
        }
        Ok(())
    }
}

#[test]
fn their_modules_are_those_that_python_shows() {
    for file in [TINY[0], WAN[0], WAN[1]] {
        let golden = Golden::open(file);
        let shapes: HashMap<String, Vec<usize>> =
            serde_json::from_str(golden.text("shapes")).expect("shapes");
        let entry = |(name, shape)| Entry { name, dtype: "F32".into(), shape };
        let tensors = shapes.into_iter().map(entry).collect();
        let contents = Contents { tensors, metadata: BTreeMap::new() };
        let module = Module::of(&contents, &config(&golden).network);
        let rows = module.rows();
        let wanted: Vec<(String, String, usize)> =
            serde_json::from_str(golden.text("modules")).expect("modules");
        let names: Vec<&str> = rows.iter().map(|row| &*row.name).collect();
        assert_eq!(names, wanted.iter().map(|(name, ..)| &**name).collect::<Vec<_>>(), "{file}");
        for (row, (name, class, parameters)) in rows.iter().zip(&wanted) {
            let class = class.replace("QwenImage", "Wan");
            assert!(class.starts_with(row.kind.trim_end_matches(')')), "{name}: {} is not {class}", row.kind);
            assert_eq!(row.parameters, *parameters, "{name}");
        }
    }
}
