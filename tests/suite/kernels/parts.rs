//! Levels, vector functions and group norm.

use super::common::{Random, wide};
use vae::kernels::feature_map::{ChannelSums, FeatureMap, Shape};
use vae::kernels::group_norm::GroupNorm;
use vae::kernels::level::{Level, LevelError};
use vae::kernels::simd::{BLOCK, Kernel, Simd, math};

#[test]
fn levels_are_found_by_name_or_refused() {
    for level in Level::all() {
        assert_eq!(Level::by_name(level.name()).unwrap().name(), level.name());
    }
    assert_eq!(Level::detect().name(), Level::all()[0].name());
    assert!(matches!(Level::by_name("sse9"), Err(LevelError::Unknown { .. })));
    for name in ["avx512", "avx2", "portable"] {
        let here = Level::all().iter().any(|level| level.name() == name);
        assert_eq!(Level::by_name(name).is_ok(), here, "{name}");
    }
}

/// exp and SiLU of sixteen values.
struct Functions([f32; BLOCK]);

impl Kernel for Functions {
    type Output = [[f32; BLOCK]; 2];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let mut results = [[0.0; BLOCK]; 2];
        for lane in (0..BLOCK).step_by(S::LANES) {
            // SAFETY: a vector that starts at `lane` ends inside the sixteen.
            unsafe {
                let x = s.load(self.0.as_ptr().add(lane));
                s.store(results[0].as_mut_ptr().add(lane), math::exp(s, x));
                s.store(results[1].as_mut_ptr().add(lane), math::silu(s, x));
            }
        }
        results
    }
}

#[test]
fn exp_and_silu_are_exact() {
    let random = &mut Random(10);
    for level in Level::all() {
        // Without fused multiply-add, the error of exp grows with its argument.
        let fused = level.name() != "portable";
        for scale in [0.1, 1.0, 5.0, 20.0] {
            for _ in 0..2000 {
                let x: [f32; BLOCK] = std::array::from_fn(|_| random.value() * scale);
                let [exp, silu] = level.run(Functions(x));
                for (i, &x) in x.iter().enumerate() {
                    let wide = f64::from(x);
                    let bound = 2e-7 + f64::from(x.abs()) * if fused { 2e-8 } else { 1e-7 };
                    assert!((f64::from(exp[i]) / wide.exp() - 1.0).abs() < bound, "exp({x}) = {}", exp[i]);
                    let truth = wide / (1.0 + (-wide).exp());
                    assert!(
                        (f64::from(silu[i]) - truth).abs() <= bound * truth.abs() + 1e-30,
                        "silu({x}) = {}",
                        silu[i]
                    );
                }
            }
        }
    }
}

#[test]
fn exp_and_silu_survive_extremes() {
    let mut x = [0.0; BLOCK];
    x[..8].copy_from_slice(&[-1e30, -100.0, -88.0, -0.0, 88.0, 100.0, 1e30, f32::NAN]);
    for level in Level::all() {
        let [exp, silu] = level.run(Functions(x));
        assert!(exp[..7].iter().chain(&silu[..7]).all(|y| y.is_finite()), "{}", level.name());
        assert!(silu[0].abs() < 1e-6 && silu[1].abs() < 1e-30 && silu[5] == 100.0 && silu[6] == 1e30);
        assert!(silu[7].is_nan(), "{}", level.name());
    }
}

#[test]
fn group_norm_survives_a_mean_far_from_zero() {
    let shape = Shape::new(64, 19, 23);
    let random = &mut Random(11);
    let (weight, bias) = (random.values(64, 1.0), random.values(64, 1.0));
    let planes: Vec<f64> = wide(&random.values(64 * shape.pixels(), 1.0)).iter().map(|x| x + 300.0).collect();
    let mut sums = ChannelSums::default();
    for plane in planes.chunks(shape.pixels()) {
        sums.sum.push(plane.iter().sum());
        sums.squares.push(plane.iter().map(|x| x * x).sum());
    }
    let norm = GroupNorm { weight: &weight, bias: &bias, groups: 32, eps: 1e-6 }.of(&sums, shape, false);
    for (group, values) in planes.chunks(2 * shape.pixels()).enumerate() {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        for c in [2 * group, 2 * group + 1] {
            let scale = f64::from(weight[c]) / (variance + 1e-6).sqrt();
            assert!((f64::from(norm.scale[c]) / scale - 1.0).abs() < 1e-6);
            assert!((f64::from(norm.shift[c]) - (f64::from(bias[c]) - mean * scale)).abs() < 1e-4);
        }
    }
}

#[test]
fn planes_survive_the_blocked_layout() {
    let random = &mut Random(12);
    for channels in [1, 3, 4, 8, 16, 24, 40] {
        let shape = Shape::new(channels, 5, 7);
        let planes = random.values(channels * shape.pixels(), 1.0);
        let mut map = FeatureMap::new(Shape::new(64, 9, 9));
        map.data_mut().fill(f32::NAN);
        map.read_planes(&planes, shape);
        assert_eq!(map.to_planes(), planes);
        assert!(
            map.data().chunks(shape.plane()).all(|plane| plane[..35 * BLOCK].iter().all(|x| x.is_finite()))
        );
    }
}
