//! Levels, vector functions and norms.

use vae::device::{Level, LevelError};
use vae::internals::cpu::HostMap;
use vae::internals::cpu::conv2d::{Conv2d, PackedFilters};
use vae::internals::cpu::norm::Coefficients;
use vae::internals::cpu::simd::{BLOCK, Kernel, Simd, math};
use vae::internals::{Activation, ConvKind, NormParameters, Shape};

use super::common::{Random, wide};

#[test]
fn level_names_are_parsed_or_rejected() {
    for level in Level::all() {
        assert_eq!(Level::by_name(level.name()).unwrap().name(), level.name());
    }
    assert_eq!(Level::detect().name(), Level::all()[0].name());
    assert!(matches!(Level::by_name("sse9"), Err(LevelError::Unknown { .. })));
    for name in Level::NAMES {
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
            // SAFETY: a vector that starts at `lane` ends within the sixteen values.
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
fn exp_and_silu_handle_extreme_values() {
    let mut x = [0.0; BLOCK];
    x[..8].copy_from_slice(&[-1e30, -100.0, -88.0, -0.0, 88.0, 100.0, 1e30, f32::NAN]);
    for level in Level::all() {
        let [exp, silu] = level.run(Functions(x));
        assert!(exp[..7].iter().chain(&silu[..7]).all(|y| y.is_finite()), "{}", level.name());
        assert!(silu[0].abs() < 1e-6 && silu[1].abs() < 1e-30 && silu[5] == 100.0 && silu[6] == 1e30);
        assert!(silu[7].is_nan(), "{}", level.name());
    }
}

/// The sums are those that convolutions of every kind leave in their outputs, here with a mean of 300 and a spread of 1.
#[test]
fn group_norm_is_exact_with_a_mean_far_from_zero() {
    let random = &mut Random(11);
    for (kind, ci) in [
        (ConvKind::Same, 24),
        (ConvKind::Same, 3),
        (ConvKind::Up2, 24),
        (ConvKind::Down2, 24),
        (ConvKind::Down2Around, 24),
        (ConvKind::Point, 24),
    ] {
        let input = Shape::new(ci, 38, 46);
        let shape = kind.output(input, 64);
        let scale = 1.0 / ((ci * kind.taps()) as f32).sqrt();
        let planes = random.values(ci * input.pixels(), 1.0);
        let filter = random.values(64 * ci * kind.taps(), scale);
        let conv_bias = [300.0; 64];
        let (weight, bias) = (random.values(64, 1.0), random.values(64, 1.0));
        let parameters = NormParameters { weight, bias, groups: 32, eps: 1e-6 };
        for level in Level::all() {
            let mut filters = PackedFilters::default();
            filters.pack(level, kind, &filter, 64, ci).unwrap();
            let conv = Conv2d { bias: Some(&conv_bias), sums: true, ..Conv2d::new(&filters) };
            let mut output = HostMap::default();
            conv.run(level, &HostMap::from_planes(&planes, input).unwrap(), &mut output).unwrap();
            let sums = output.sums().unwrap();
            let norm = Coefficients::of_groups(&parameters, sums, shape, Activation::Identity);
            check_norm(&norm, &parameters, &wide(&output.to_planes().unwrap()), shape);
        }
    }
}

/// Compares a norm with its definition over the values that were written.
fn check_norm(norm: &Coefficients, parameters: &NormParameters, planes: &[f64], shape: Shape) {
    for (group, values) in planes.chunks(2 * shape.pixels()).enumerate() {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        assert!((mean - 300.0).abs() < 1.0 && (0.01..10.0).contains(&variance), "{mean} {variance}");
        for c in [2 * group, 2 * group + 1] {
            let scale = f64::from(parameters.weight[c]) / (variance + 1e-6).sqrt();
            assert!(
                (f64::from(norm.scale[c]) / scale - 1.0).abs() < 1e-6,
                "{} is not {scale}",
                norm.scale[c]
            );
            assert!((f64::from(norm.shift[c]) - (f64::from(parameters.bias[c]) - mean * scale)).abs() < 1e-3);
        }
    }
}

/// The factors of an RMS norm by its definition.
#[test]
fn rms_norm_is_exact_also_for_pixels_near_zero_and_far_from_it() {
    let random = &mut Random(13);
    for (channels, height, width) in
        [(1, 1, 1), (3, 5, 7), (16, 1, 65), (24, 9, 9), (40, 13, 21), (384, 8, 17)]
    {
        let shape = Shape::new(channels, height, width);
        let weight = random.values(channels, 1.0);
        let scales = [1.0, 1e-3, 1e3, 1e-20, 0.0, 1e15];
        let mut planes = random.values(channels * shape.pixels(), 1.0);
        let pixels = shape.pixels();
        planes.iter_mut().enumerate().for_each(|(i, x)| *x *= scales[i % pixels % scales.len()]);
        for level in Level::all() {
            let map = HostMap::from_planes(&planes, shape).unwrap();
            let norm = Coefficients::of_pixels(level, &weight, &map, Activation::Silu).unwrap();
            assert_eq!(norm.scale[..channels], weight);
            let factors = norm.factors.expect("a factor for each pixel");
            assert_eq!(factors.len(), pixels);
            for (pixel, &factor) in factors.iter().enumerate() {
                let square = |c: usize| f64::from(planes[c * pixels + pixel]).powi(2);
                let length = (0..channels).map(square).sum::<f64>().sqrt();
                let wanted = (channels as f64).sqrt() / length.max(1e-12);
                let what = format!("{factor} is not {wanted}, for {shape} at {}", level.name());
                assert!((f64::from(factor) / wanted - 1.0).abs() < 1e-6, "{what}");
            }
            assert!(Coefficients::of_pixels(level, &weight[1..], &map, Activation::Silu).is_err());
        }
    }
}

#[test]
fn planes_are_unchanged_by_the_blocked_layout() {
    let random = &mut Random(12);
    for channels in [1, 3, 4, 8, 16, 24, 40] {
        let shape = Shape::new(channels, 5, 7);
        let planes = random.values(channels * shape.pixels(), 1.0);
        let mut map = HostMap::new(Shape::new(64, 9, 9)).unwrap();
        map.data_mut().fill(f32::NAN);
        map.read_planes(&planes, shape).unwrap();
        assert_eq!(map.to_planes().unwrap(), planes);
        assert!(
            map.data().chunks(shape.plane()).all(|plane| plane[..35 * BLOCK].iter().all(|x| x.is_finite()))
        );
    }
}
