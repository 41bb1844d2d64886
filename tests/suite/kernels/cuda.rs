//! The operations on a CUDA device against their definitions in f64, in each precision.

use std::sync::Arc;

use vae::device::{Backend, Cuda, Error, Fault, Precision};
use vae::internals::cuda::{
    CudaError, DeviceFilters, DeviceMap, DeviceNorm, Engine, FoldedProjections, compile,
};
use vae::internals::reference::{attention, conv2d as convolution};
use vae::internals::{Activation, ConvKind, NormParameters, Shape, Workspace};
use vae::model::FeatureMap;

use crate::support::cuda::{PRECISIONS, cuda};

use super::common::{Random, rms_error, wide};

const KINDS: [ConvKind; 5] =
    [ConvKind::Same, ConvKind::Up2, ConvKind::Down2, ConvKind::Down2Around, ConvKind::Point];
const EPS: f64 = 1e-6;

/// RMS norm and SiLU by their definitions.
fn rms_normed(planes: &[f32], shape: Shape, weight: &[f32], silu: bool) -> Vec<f64> {
    let pixels = shape.pixels();
    let length =
        |pixel: usize| planes.iter().skip(pixel).step_by(pixels).map(|&x| f64::from(x).powi(2)).sum();
    let lengths: Vec<f64> = (0..pixels).map(length).map(f64::sqrt).collect();
    let one = |(at, &x): (usize, &f32)| {
        let y = f64::from(x) / lengths[at % pixels].max(1e-12) * (shape.channels as f64).sqrt();
        let y = y * f64::from(weight[at / pixels]);
        if silu { y / (1.0 + (-y).exp()) } else { y }
    };
    planes.iter().enumerate().map(one).collect()
}

/// Runs a test on the device in each precision, with the allowed error; skips it without a device.
fn on_cuda(test: impl Fn(&Arc<Engine>, f64)) {
    for (precision, bound) in PRECISIONS {
        let Some(cuda) = cuda(precision) else { return };
        test(cuda.engine(), bound);
    }
}

fn empty(engine: &Arc<Engine>) -> DeviceMap {
    DeviceMap::new(engine)
}

fn map(engine: &Arc<Engine>, planes: &[f32], shape: Shape) -> DeviceMap {
    let mut map = empty(engine);
    map.load(planes, shape).expect("enough device memory");
    map
}

/// Group norm and SiLU by their definitions.
fn normed(
    planes: &[f32],
    shape: Shape,
    groups: usize,
    (weight, bias): (&[f32], &[f32]),
    silu: bool,
) -> Vec<f64> {
    let per_group = shape.channels / groups;
    let mut out = Vec::new();
    for (group, values) in planes.chunks(per_group * shape.pixels()).enumerate() {
        let values = wide(values);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64;
        for (c, plane) in values.chunks(shape.pixels()).enumerate() {
            let c = group * per_group + c;
            let scale = f64::from(weight[c]) / (variance + EPS).sqrt();
            let y = plane.iter().map(|x| (x - mean) * scale + f64::from(bias[c]));
            out.extend(y.map(|y| if silu { y / (1.0 + (-y).exp()) } else { y }));
        }
    }
    out
}

fn device_norm(engine: &Arc<Engine>, (weight, bias): (&[f32], &[f32]), groups: usize) -> DeviceNorm {
    let parameters = NormParameters { weight: weight.into(), bias: bias.into(), groups, eps: EPS };
    DeviceNorm::upload(engine, &parameters).expect("room")
}

fn precision(engine: &Arc<Engine>) -> Precision {
    empty(engine).precision()
}

struct Case {
    kind: ConvKind,
    shape: Shape,
    co: usize,
    /// None, norm only, norm and SiLU; in groups of channels, or (0) the RMS norm.
    norm: Option<(usize, bool)>,
    add: bool,
    relu: bool,
}

fn check(engine: &Arc<Engine>, bound: f64, random: &mut Random, case: &Case) {
    let Case { kind, shape, co, norm, add, relu } = *case;
    let planes = random.values(shape.channels * shape.pixels(), 1.0);
    let scale = 1.0 / ((shape.channels * kind.taps()) as f32).sqrt();
    let weight = random.values(co * shape.channels * kind.taps(), scale);
    let bias = random.values(co, 1.0);
    let (gamma, beta) = (random.values(shape.channels, 1.0), random.values(shape.channels, 1.0));
    let out = kind.output(shape, co);
    let residual = random.values(co * out.pixels(), 1.0);

    let input = match norm {
        Some((0, silu)) => rms_normed(&planes, shape, &gamma, silu),
        Some((groups, silu)) => normed(&planes, shape, groups, (&gamma, &beta), silu),
        None => wide(&planes),
    };
    let mut truth = convolution::conv2d(kind, &input, shape, &weight, &bias);
    if add {
        truth.iter_mut().zip(&residual).for_each(|(t, &r)| *t += f64::from(r));
    }
    // The error is relative to the values before ReLU.
    let size = truth.iter().map(|t| t * t).sum::<f64>();
    if relu {
        truth.iter_mut().for_each(|t| *t = t.max(0.0));
    }
    let kept = (truth.iter().map(|t| t * t).sum::<f64>() / size).sqrt();

    let what = format!("{kind:?} {shape} to {co}, norm {norm:?}, add {add}, relu {relu}, on {engine:?}");
    let x = map(engine, &planes, shape);
    let norm = norm.map(|(groups, silu)| {
        let norm = match groups {
            0 => DeviceNorm::upload_rms(engine, &gamma).expect("room"),
            groups => device_norm(engine, (&gamma, &beta), groups),
        };
        norm.of(&x, if silu { Activation::Silu } else { Activation::Identity }).expect(&what)
    });
    let filters = DeviceFilters::upload(engine, kind, &weight, &bias).expect(&what);
    let filters = if relu { filters.with_relu() } else { filters };
    let mut y = if add { map(engine, &residual, out) } else { empty(engine) };
    match add {
        true => filters.convolve_add(&x, norm.as_ref(), &mut y),
        false => filters.convolve(&x, norm.as_ref(), &mut y),
    }
    .expect(&what);
    assert_eq!(y.shape(), out, "{what}");
    let error = rms_error(&y.fetch().expect(&what), &truth);
    let bound = if truth.len() < 16 { 3.0 * bound } else { bound }; // few terms may cancel
    assert!(error * kept < bound, "{what}: {error:e}");

    // A second convolution also reads the padding channels, which must be zero.
    let again = DeviceFilters::upload(engine, ConvKind::Point, &vec![1.0; co], &[0.0]).expect(&what);
    let mut sum = empty(engine);
    again.convolve(&y, None, &mut sum).expect(&what);
    let sums = sum.fetch().expect(&what);
    assert!(sums.iter().all(|x| x.is_finite()) && sums.len() == out.pixels(), "{what}");
}

#[test]
fn cuda_convolutions_are_accurate_on_edge_case_shapes() {
    on_cuda(|engine, bound| {
        let random = &mut Random(21);
        for kind in KINDS {
            for (height, width) in [(1, 1), (1, 7), (2, 2), (3, 5), (9, 17)] {
                if kind == ConvKind::Down2 && height.min(width) < 2 {
                    continue;
                }
                for (ci, co, groups) in [(1, 1, 1), (3, 40, 1), (4, 8, 2), (24, 3, 8), (16, 16, 16)] {
                    let shape = Shape::new(ci, height, width);
                    let plain = Case { kind, shape, co, norm: None, add: false, relu: false };
                    check(engine, bound, random, &plain);
                    let norm = (height * width * ci > groups).then_some((groups, true));
                    let add = kind != ConvKind::Up2;
                    check(engine, bound, random, &Case { norm, add, ..plain });
                    check(engine, bound, random, &Case { add, relu: true, ..plain });
                    check(engine, bound, random, &Case { norm: Some((0, true)), ..plain });
                }
            }
        }
    });
}

#[test]
fn cuda_convolutions_are_accurate_on_random_shapes() {
    on_cuda(|engine, bound| {
        let random = &mut Random(22);
        for _ in 0..20 {
            let kind = KINDS[random.pick(0, KINDS.len() - 1)];
            let groups = random.pick(1, 12);
            let shape = Shape::new(groups * random.pick(1, 8), random.pick(2, 24), random.pick(2, 24));
            let norms =
                [None, Some((groups, false)), Some((groups, true)), Some((0, false)), Some((0, true))];
            let norm = norms[random.pick(0, norms.len() - 1)];
            let (co, add) = (random.pick(1, 90), kind != ConvKind::Up2 && random.pick(0, 1) == 1);
            let relu = random.pick(0, 1) == 1;
            check(engine, bound, random, &Case { kind, shape, co, norm, add, relu });
        }
    });
}

#[test]
fn cuda_group_norm_is_accurate_with_a_mean_far_from_zero() {
    on_cuda(|engine, bound| {
        let random = &mut Random(23);
        for (shape, groups) in
            [(Shape::new(64, 19, 23), 32), (Shape::new(512, 6, 7), 32), (Shape::new(40, 61, 37), 5)]
        {
            let (gamma, beta) = (random.values(shape.channels, 1.0), random.values(shape.channels, 1.0));
            // Near 32, multiples of 1/64 are exact in f16, and multiples of 1/2 in bf16.
            let step = if precision(engine) == Precision::Bf16 { 2.0 } else { 64.0 };
            let planes = random.values(shape.channels * shape.pixels(), 1.0);
            let planes: Vec<f32> = planes.iter().map(|x| ((x + 32.0) * step).round() / step).collect();
            let truth = normed(&planes, shape, groups, (&gamma, &beta), false);
            let x = map(engine, &planes, shape);
            let norm = device_norm(engine, (&gamma, &beta), groups);
            let norm = norm.of(&x, Activation::Identity).expect("it fits");
            let mut y = empty(engine);
            norm.apply(&x, &mut y).expect("it fits");
            let error = rms_error(&y.fetch().expect("numbers"), &truth);
            assert!(error < 10.0 * bound, "{shape} on {engine:?}: {error:e}");
        }
    });
}

/// `x += softmax(q·kᵀ/√c)·v·W_outᵀ + b_out`, where v = h·W_vᵀ + b_v.
fn check_attention(engine: &Arc<Engine>, bound: f64, random: &mut Random, shape: Shape) {
    let (c, count) = (shape.channels, shape.channels * shape.pixels());
    let [q, k, h, x]: [Vec<f32>; 4] = std::array::from_fn(|_| random.values(count, 1.0));
    let scale = 1.0 / (c as f32).sqrt();
    let [v_weight, out_weight]: [Vec<f32>; 2] = std::array::from_fn(|_| random.values(c * c, scale));
    let [v_bias, out_bias]: [Vec<f32>; 2] = std::array::from_fn(|_| random.values(c, 1.0));

    let v = convolution::conv2d(ConvKind::Point, &wide(&h), shape, &v_weight, &v_bias);
    let gathered = attention::attention([&wide(&q), &wide(&k), &v], c);
    let mut truth = convolution::conv2d(ConvKind::Point, &gathered, shape, &out_weight, &out_bias);
    truth.iter_mut().zip(&x).for_each(|(t, &x)| *t += f64::from(x));

    let folded =
        FoldedProjections::upload(engine, (&v_weight, &v_bias), (&out_weight, &out_bias)).expect("room");
    let maps = [&q, &k, &h].map(|planes| map(engine, planes, shape));
    let mut y = map(engine, &x, shape);
    folded.attend(maps.each_ref(), &mut y).expect("it fits");
    let error = rms_error(&y.fetch().expect("numbers"), &truth);
    let bound = if truth.len() < 16 { 10.0 * bound } else { bound }; // x and the added term may cancel
    assert!(error < bound, "attention over {shape} on {engine:?}: {error:e}");
}

#[test]
fn cuda_attention_is_accurate() {
    on_cuda(|engine, bound| {
        let random = &mut Random(24);
        for (height, width) in [(1, 1), (1, 7), (4, 4), (3, 11), (15, 17)] {
            for channels in [1, 16, 24, 40, 136] {
                check_attention(engine, bound, random, Shape::new(channels, height, width));
            }
        }
        for channels in [24, 136] {
            check_attention(engine, bound, random, Shape::new(channels, 25, 31)); // more queries than one launch handles
        }
    });
}

#[test]
fn planes_return_from_cuda_unchanged() {
    for (precision, _) in PRECISIONS {
        let Some(cuda) = cuda(precision) else { return };
        let mut space = Workspace::checkout(&cuda);
        for channels in [1, 3, 4, 8, 12] {
            let shape = Shape::new(channels, 5, 7);
            let planes: Vec<f32> = (0..channels * 35).map(|x| (x % 250) as f32 - 100.0).collect();
            let mut map = space.take(shape);
            cuda.load(&planes, shape, &mut map).expect("room");
            assert_eq!(cuda.fetch(&map).expect("numbers"), planes);
            let mut values = Vec::new();
            map.visit(&mut |slice| values.extend_from_slice(slice)).expect("numbers");
            let mut sorted = planes.clone();
            values.sort_by(f32::total_cmp);
            sorted.sort_by(f32::total_cmp);
            assert_eq!(values, sorted);
            space.give(map);
        }
        assert!(cuda.peak_bytes().is_none_or(|bytes| bytes >= 16 * 35 * 2));
    }
}

#[test]
fn maps_and_weights_of_two_devices_are_not_mixed() {
    let (Some(one), Some(other)) = (cuda(Precision::F32), cuda(Precision::F16)) else { return };
    let shape = Shape::new(8, 4, 5);
    let filters = DeviceFilters::upload(one.engine(), ConvKind::Point, &[0.0; 64], &[0.0; 8]).expect("room");
    let norm = device_norm(one.engine(), (&[1.0; 8], &[0.0; 8]), 2);
    let [here, there] = [&one, &other].map(|cuda| map(cuda.engine(), &[0.0; 160], shape));
    let convolve = |x: &DeviceMap, cuda: &Cuda| filters.convolve(x, None, &mut empty(cuda.engine()));
    assert!(convolve(&here, &one).is_ok());
    assert!(convolve(&there, &one).is_err() && convolve(&here, &other).is_err());
    assert!(norm.of(&here, Activation::Silu).is_ok() && norm.of(&there, Activation::Silu).is_err());
}

#[test]
fn nan_and_infinity_on_cuda_are_errors() {
    on_cuda(|engine, _| {
        let shape = Shape::new(3, 4, 5);
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut planes = vec![1.0; 60];
            planes[47] = wrong;
            let error = map(engine, &planes, shape).fetch().expect_err("not finite");
            assert_eq!(error, CudaError::NotFinite { precision: precision(engine) });
        }
        let large = map(engine, &[1e5; 60], shape).fetch();
        assert_eq!(large.is_err(), precision(engine) == Precision::F16, "{large:?}");
    });
}

#[test]
fn relu_on_cuda_keeps_nan() {
    on_cuda(|engine, _| {
        let shape = Shape::new(8, 3, 3);
        let mut planes = vec![1.0; 72];
        planes[13] = f32::NAN;
        let filters = DeviceFilters::upload(engine, ConvKind::Same, &[-1.0; 8 * 8 * 9], &[0.0; 8]);
        let mut y = empty(engine);
        let relu = filters.expect("room").with_relu();
        relu.convolve(&map(engine, &planes, shape), None, &mut y).expect("it fits");
        assert_eq!(y.fetch().expect_err("NaN"), CudaError::NotFinite { precision: precision(engine) });
        relu.convolve(&map(engine, &[1.0; 72], shape), None, &mut y).expect("it fits");
        assert_eq!(y.fetch().expect("numbers"), [0.0; 72]);
    });
}

#[test]
fn mismatched_shapes_and_memory_on_cuda_are_errors() {
    on_cuda(|engine, _| {
        let filters =
            DeviceFilters::upload(engine, ConvKind::Same, &[0.0; 4 * 3 * 9], &[0.0; 4]).expect("room");
        let x = map(engine, &[0.0; 3 * 20], Shape::new(3, 4, 5));
        let fits = |x: &DeviceMap, y: &mut DeviceMap, add| match add {
            true => filters.convolve_add(x, None, y).is_ok(),
            false => filters.convolve(x, None, y).is_ok(),
        };
        assert!(fits(&x, &mut empty(engine), false));
        assert!(!fits(&x, &mut empty(engine), true), "nothing to add to");
        assert!(!fits(&map(engine, &[0.0; 20], Shape::new(1, 4, 5)), &mut empty(engine), false));
        assert!(empty(engine).fetch().is_err(), "never written");
        assert!(DeviceFilters::upload(engine, ConvKind::Same, &[0.0; 10], &[0.0]).is_err());
        assert!(device_norm(engine, (&[1.0; 3], &[0.0; 3]), 2).of(&x, Activation::Silu).is_err());
        let rms = DeviceNorm::upload_rms(engine, &[1.0; 4]).expect("room");
        assert!(rms.of(&x, Activation::Silu).is_err());
        let large = Shape::new(256, 4096, 2048);
        let error = empty(engine).load(&[], large).expect_err("2³¹ elements");
        assert!(matches!(error, CudaError::TooLarge { .. }), "{error}");
    });
}

#[test]
fn faults_are_found_in_errors_of_cuda() {
    let too_large = || CudaError::TooLarge { shape: "a map".into() };
    let out_of_memory = || CudaError::OutOfMemory { device: 0, asked: 2, free: 1, total: 3 };
    for (error, fault) in [
        (CudaError::NotFinite { precision: Precision::Bf16 }, Some(Fault::NotFinite(Precision::Bf16))),
        (out_of_memory(), Some(Fault::OutOfMemory)),
        (CudaError::NoMemoryFor { library: "cuDNN", action: "convolve" }, Some(Fault::OutOfMemory)),
        (too_large(), Some(Fault::TooLarge)),
        (CudaError::Driver { action: "finish", reason: "illegal address".into() }, Some(Fault::Failed)),
        (CudaError::Shape("a wrong shape".into()), None),
    ] {
        let carried = candle_core::Error::from(Error::from(error)).context("decoder");
        assert_eq!(Fault::of(&carried), fault, "{carried}");
    }
    assert_eq!(Fault::of(&candle_core::Error::msg("a missing tensor")), None);
}

#[test]
fn a_missing_device_is_an_error() {
    let Err(error) = Cuda::new(99, Precision::F16) else { panic!("cuda:99 exists") };
    let text = error.to_string();
    assert!(text.contains("--device cpu") || text.contains("install") || text.contains("cuda:99"), "{text}");
}

/// Needs NVRTC, but no device.
#[test]
fn cuda_kernels_compile() {
    for capability in [(8, 0), (9, 0), (10, 0), (12, 0)] {
        for (precision, _) in PRECISIONS {
            match compile(precision, capability) {
                Ok(cubin) => assert!(!cubin.is_empty(), "{precision} for {capability:?}"),
                Err(e @ CudaError::LibraryMissing(_)) => {
                    return println!("skipped: no NVRTC ({e})");
                }
                Err(e) => panic!("{e}"),
            }
        }
    }
}
