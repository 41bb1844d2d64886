//! The doors on a CUDA device against their definitions in f64, in each precision.

use super::common::{Random, rms_error, wide};
use crate::support::cuda::{PRECISIONS, engine};
use std::sync::Arc;
use vae::kernels::attention::naive as attention;
use vae::kernels::conv2d::{Kind, naive as convolution};
use vae::kernels::cuda::{Affine, CudaError, Element, Engine, Filters, Folded, compile};
use vae::kernels::{FeatureMap, Shape};

const KINDS: [Kind; 4] = [Kind::Same, Kind::Up2, Kind::Down2, Kind::Point];
const EPS: f64 = 1e-6;

/// Runs on the machine's device in each precision, with the error that it may make.
fn on_cuda(test: impl Fn(&Arc<Engine>, f64)) {
    for (element, bound) in PRECISIONS {
        let Some(engine) = engine(element) else { return };
        test(&Arc::new(engine), bound);
    }
}

fn map(engine: &Arc<Engine>, planes: &[f32], shape: Shape) -> FeatureMap {
    let mut map = engine.map();
    map.load(planes, shape).expect("room on the device");
    map
}

/// A group norm and SiLU as they are defined.
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

struct Case {
    kind: Kind,
    shape: Shape,
    co: usize,
    /// None, norm only, norm and SiLU; in groups of channels.
    norm: Option<(usize, bool)>,
    add: bool,
}

fn check(engine: &Arc<Engine>, bound: f64, random: &mut Random, case: &Case) {
    let Case { kind, shape, co, norm, add } = *case;
    let planes = random.values(shape.channels * shape.pixels(), 1.0);
    let scale = 1.0 / ((shape.channels * kind.taps()) as f32).sqrt();
    let weight = random.values(co * shape.channels * kind.taps(), scale);
    let bias = random.values(co, 1.0);
    let (gamma, beta) = (random.values(shape.channels, 1.0), random.values(shape.channels, 1.0));
    let out = kind.output(shape, co);
    let residual = random.values(co * out.pixels(), 1.0);

    let input = match norm {
        Some((groups, silu)) => normed(&planes, shape, groups, (&gamma, &beta), silu),
        None => wide(&planes),
    };
    let mut truth = convolution::conv2d(kind, &input, shape, &weight, &bias);
    if add {
        truth.iter_mut().zip(&residual).for_each(|(t, &r)| *t += f64::from(r));
    }

    let what = format!("{kind:?} {shape} to {co}, norm {norm:?}, add {add}, on {engine:?}");
    let x = map(engine, &planes, shape);
    let affine = Affine::upload(engine, &gamma, &beta).expect(&what);
    let norm = norm.map(|(groups, silu)| affine.of(&x, groups, EPS, silu).expect(&what));
    let norm = norm.as_ref().and_then(|norm| norm.device.as_ref());
    let filters = Filters::upload(engine, kind, &weight, &bias).expect(&what);
    let mut y = if add { map(engine, &residual, out) } else { engine.map() };
    filters.convolve(&x, norm, &mut y, add).expect(&what);
    assert_eq!(y.shape(), out, "{what}");
    let error = rms_error(&y.fetch().expect(&what), &truth);
    assert!(error < bound, "{what}: {error:e}");

    // A second convolution reads channels that only pad: they must be zero.
    let again = Filters::upload(engine, Kind::Point, &vec![1.0; co], &[0.0]).expect(&what);
    let mut sum = engine.map();
    again.convolve(&y, None, &mut sum, false).expect(&what);
    let sums = sum.fetch().expect(&what);
    assert!(sums.iter().all(|x| x.is_finite()) && sums.len() == out.pixels(), "{what}");
}

#[test]
fn convolutions_on_cuda_have_awkward_shapes() {
    on_cuda(|engine, bound| {
        let random = &mut Random(21);
        for kind in KINDS {
            for (height, width) in [(1, 1), (1, 7), (2, 2), (3, 5), (9, 17)] {
                if kind == Kind::Down2 && height.min(width) < 2 {
                    continue;
                }
                for (ci, co, groups) in [(1, 1, 1), (3, 40, 1), (4, 8, 2), (24, 3, 8), (16, 16, 16)] {
                    let shape = Shape::new(ci, height, width);
                    check(engine, bound, random, &Case { kind, shape, co, norm: None, add: false });
                    let norm = (height * width * ci > groups).then_some((groups, true));
                    let add = kind != Kind::Up2;
                    check(engine, bound, random, &Case { kind, shape, co, norm, add });
                }
            }
        }
    });
}

#[test]
fn convolutions_on_cuda_have_random_shapes() {
    on_cuda(|engine, bound| {
        let random = &mut Random(22);
        for _ in 0..20 {
            let kind = KINDS[random.pick(0, 3)];
            let groups = random.pick(1, 12);
            let shape = Shape::new(groups * random.pick(1, 8), random.pick(2, 24), random.pick(2, 24));
            let norm = [None, Some((groups, false)), Some((groups, true))][random.pick(0, 2)];
            let (co, add) = (random.pick(1, 90), kind != Kind::Up2 && random.pick(0, 1) == 1);
            check(engine, bound, random, &Case { kind, shape, co, norm, add });
        }
    });
}

#[test]
fn group_norm_on_cuda_survives_a_mean_far_from_zero() {
    on_cuda(|engine, bound| {
        let random = &mut Random(23);
        for (shape, groups) in
            [(Shape::new(64, 19, 23), 32), (Shape::new(512, 6, 7), 32), (Shape::new(40, 61, 37), 5)]
        {
            let (gamma, beta) = (random.values(shape.channels, 1.0), random.values(shape.channels, 1.0));
            // 64ths near 32 are exact in f16, and halves in bf16.
            let step = if engine.element() == Element::Bf16 { 2.0 } else { 64.0 };
            let planes = random.values(shape.channels * shape.pixels(), 1.0);
            let planes: Vec<f32> = planes.iter().map(|x| ((x + 32.0) * step).round() / step).collect();
            let truth = normed(&planes, shape, groups, (&gamma, &beta), false);
            let x = map(engine, &planes, shape);
            let affine = Affine::upload(engine, &gamma, &beta).expect("room");
            let norm = affine.of(&x, groups, EPS, false).expect("it fits").device.expect("on the device");
            let mut y = engine.map();
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

    let v = convolution::conv2d(Kind::Point, &wide(&h), shape, &v_weight, &v_bias);
    let gathered = attention::attention([&wide(&q), &wide(&k), &v], c);
    let mut truth = convolution::conv2d(Kind::Point, &gathered, shape, &out_weight, &out_bias);
    truth.iter_mut().zip(&x).for_each(|(t, &x)| *t += f64::from(x));

    let folded = Folded::upload(engine, (&v_weight, &v_bias), (&out_weight, &out_bias)).expect("room");
    let maps = [&q, &k, &h].map(|planes| map(engine, planes, shape));
    let mut y = map(engine, &x, shape);
    folded.attend(maps.each_ref(), &mut y).expect("it fits");
    let error = rms_error(&y.fetch().expect("numbers"), &truth);
    let bound = if truth.len() < 16 { 10.0 * bound } else { bound }; // x and what is added may cancel
    assert!(error < bound, "attention over {shape} on {engine:?}: {error:e}");
}

#[test]
fn attention_on_cuda() {
    on_cuda(|engine, bound| {
        let random = &mut Random(24);
        for (height, width) in [(1, 1), (1, 7), (4, 4), (3, 11), (15, 17)] {
            for channels in [1, 16, 24, 40, 136] {
                check_attention(engine, bound, random, Shape::new(channels, height, width));
            }
        }
        for channels in [24, 136] {
            check_attention(engine, bound, random, Shape::new(channels, 25, 31)); // more than the queries of one launch
        }
    });
}

#[test]
fn planes_come_back_from_cuda_as_they_went() {
    on_cuda(|engine, _| {
        let mut space = vae::kernels::Workspace::new(vae::kernels::Level::detect());
        space.engine = Some(engine.clone());
        for channels in [1, 3, 4, 8, 12] {
            let shape = Shape::new(channels, 5, 7);
            let planes: Vec<f32> = (0..channels * 35).map(|x| (x % 250) as f32 - 100.0).collect();
            let mut map = space.take(shape);
            map.load(&planes, shape).expect("room");
            assert_eq!(map.fetch().expect("numbers"), planes);
            let mut values: Vec<f32> = map.values().collect();
            let mut sorted = planes.clone();
            values.sort_by(f32::total_cmp);
            sorted.sort_by(f32::total_cmp);
            assert_eq!(values, sorted);
            space.give(map);
        }
        assert!(engine.peak_bytes().is_none_or(|bytes| bytes >= 16 * 35 * 2));
    });
}

#[test]
fn what_is_no_number_on_cuda_is_an_error() {
    on_cuda(|engine, _| {
        let shape = Shape::new(3, 4, 5);
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut planes = vec![1.0; 60];
            planes[47] = wrong;
            let error = map(engine, &planes, shape).fetch().expect_err("not finite");
            assert_eq!(error, CudaError::NotFinite { element: engine.element() });
        }
        let large = map(engine, &[1e5; 60], shape).fetch();
        assert_eq!(large.is_err(), engine.element() == Element::F16, "{large:?}");
    });
}

#[test]
fn what_does_not_fit_on_cuda_is_an_error() {
    on_cuda(|engine, _| {
        let filters = Filters::upload(engine, Kind::Same, &[0.0; 4 * 3 * 9], &[0.0; 4]).expect("room");
        let x = map(engine, &[0.0; 3 * 20], Shape::new(3, 4, 5));
        let fits = |x: &FeatureMap, y: &mut FeatureMap, add| filters.convolve(x, None, y, add).is_ok();
        assert!(fits(&x, &mut engine.map(), false));
        assert!(!fits(&x, &mut engine.map(), true), "nothing to add to");
        assert!(!fits(&x, &mut FeatureMap::default(), false), "an output in host memory");
        assert!(!fits(&FeatureMap::new(Shape::new(3, 4, 5)), &mut engine.map(), false), "an input there");
        assert!(!fits(&map(engine, &[0.0; 20], Shape::new(1, 4, 5)), &mut engine.map(), false));
        assert!(engine.map().fetch().is_err(), "never written");
        assert!(Filters::upload(engine, Kind::Same, &[0.0; 10], &[0.0]).is_err());
        assert!(Affine::upload(engine, &[1.0; 3], &[0.0; 3]).expect("room").of(&x, 2, EPS, true).is_err());
        let large = Shape::new(256, 4096, 2048);
        let error = engine.map().load(&[], large).expect_err("2³¹ elements");
        assert!(matches!(error, CudaError::TooLarge { .. }), "{error}");
    });
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    let Err(error) = Engine::new(99, Element::F16) else { panic!("there are not that many") };
    let text = error.to_string();
    assert!(text.contains("--device cpu") || text.contains("install") || text.contains("cuda:99"), "{text}");
}

/// Needs NVRTC, and no device.
#[test]
fn the_kernels_for_cuda_compile() {
    for capability in [(8, 0), (9, 0), (10, 0), (12, 0)] {
        for (element, _) in PRECISIONS {
            match compile(element, capability) {
                Ok(cubin) => assert!(!cubin.is_empty(), "{element} for {capability:?}"),
                Err(e @ (CudaError::NotBuilt | CudaError::LibraryMissing(_))) => {
                    return println!("skipped: no NVRTC ({e})");
                }
                Err(e) => panic!("{e}"),
            }
        }
    }
}
