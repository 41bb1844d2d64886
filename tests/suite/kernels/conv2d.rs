//! Every kind of convolution, at every level of this machine, against its definition in f64.

use vae::device::Level;
use vae::internals::cpu::HostMap;
use vae::internals::cpu::conv2d::{Conv2d, PackedFilters};
use vae::internals::cpu::norm::Coefficients;
use vae::internals::reference::conv2d as reference;
use vae::internals::{Activation, ConvKind, Shape};
use vae::model::FeatureMap;

use super::common::{Random, rms_error, wide};

const KINDS: [ConvKind; 5] =
    [ConvKind::Same, ConvKind::Up2, ConvKind::Down2, ConvKind::Down2Around, ConvKind::Point];

struct Case {
    kind: ConvKind,
    shape: Shape,
    co: usize,
    /// No norm, or a norm and what follows it.
    norm: Option<Activation>,
    /// Whether the norm has a factor for each pixel.
    factors: bool,
    add: bool,
    relu: bool,
}

fn norm(random: &mut Random, shape: Shape, activation: Activation, factors: bool) -> Coefficients {
    let mut norm = Coefficients { activation, ..Coefficients::default() };
    norm.factors = factors.then(|| random.values(shape.pixels(), 1.0));
    norm.scale = random.values(shape.channels, 1.0);
    norm.shift = random.values(shape.channels, 1.0);
    norm.scale.resize(shape.blocks() * 16, 0.0);
    norm.shift.resize(shape.blocks() * 16, 0.0);
    norm
}

fn normed(planes: &[f32], shape: Shape, norm: &Coefficients) -> Vec<f64> {
    let one = |(at, &x): (usize, &f32)| {
        let c = at / shape.pixels();
        let factor = norm.factors.as_ref().map_or(1.0, |factors| f64::from(factors[at % shape.pixels()]));
        let y = f64::from(x) * factor * f64::from(norm.scale[c]) + f64::from(norm.shift[c]);
        if norm.activation == Activation::Silu { y / (1.0 + (-y).exp()) } else { y }
    };
    planes.iter().enumerate().map(one).collect()
}

fn check(random: &mut Random, case: &Case) {
    let Case { kind, shape, co, .. } = *case;
    let planes = random.values(shape.channels * shape.pixels(), 1.0);
    let weight = random.values(co * shape.channels * kind.taps(), 0.3);
    let bias = random.values(co, 1.0);
    let norm = case.norm.map(|activation| norm(random, shape, activation, case.factors));
    let out = kind.output(shape, co);
    let residual = random.values(co * out.pixels(), 1.0);

    let input = norm.as_ref().map_or_else(|| wide(&planes), |norm| normed(&planes, shape, norm));
    let mut truth = reference::conv2d(kind, &input, shape, &weight, &bias);
    if case.add {
        truth.iter_mut().zip(&residual).for_each(|(t, &r)| *t += f64::from(r));
    }
    // The error is relative to the values before ReLU.
    let size = truth.iter().map(|t| t * t).sum::<f64>();
    if case.relu {
        truth.iter_mut().for_each(|t| *t = t.max(0.0));
    }
    let kept = (truth.iter().map(|t| t * t).sum::<f64>() / size).sqrt();

    for level in Level::all() {
        let mut filters = PackedFilters::default();
        filters.pack(level, kind, &weight, co, shape.channels).unwrap();
        let conv = Conv2d {
            bias: Some(&bias),
            norm: norm.as_ref(),
            add: case.add,
            relu: case.relu,
            sums: true,
            ..Conv2d::new(&filters)
        };
        let mut output = HostMap::from_planes(&residual, out).unwrap();
        conv.run(level, &HostMap::from_planes(&planes, shape).unwrap(), &mut output).unwrap();
        let (factors, add, relu) = (case.factors, case.add, case.relu);
        let norm = format!("norm {:?}, factors {factors}", case.norm);
        let what = format!("{} {kind:?} {shape} to {co}, {norm}, add {add}, relu {relu}", level.name());
        assert_eq!(output.shape(), out, "{what}");
        let error = rms_error(&output.to_planes().unwrap(), &truth);
        assert!(error * kept < 2e-6, "{what}: {error:e}");
        check_sums(&output, &truth, &what);
        check_padding(&output, &what);
    }
}

fn check_sums(output: &HostMap, truth: &[f64], what: &str) {
    let sums = output.sums().unwrap();
    for (channel, plane) in truth.chunks(output.shape().pixels()).enumerate() {
        let size: f64 = plane.iter().map(|x| x.abs()).sum();
        let squares: f64 = plane.iter().map(|x| x * x).sum();
        assert!((sums.sum[channel] - plane.iter().sum::<f64>()).abs() <= 2e-5 * size + 1e-4, "{what}");
        assert!((sums.squares[channel] - squares).abs() <= 2e-5 * squares + 1e-4, "{what}");
    }
}

fn check_padding(output: &HostMap, what: &str) {
    let shape = output.shape();
    let last = &output.data()[(shape.blocks() - 1) * shape.plane()..][..shape.pixels() * 16];
    let used = (shape.channels - 1) % 16 + 1;
    assert!(last.chunks(16).all(|pixel| pixel[used..].iter().all(|&x| x == 0.0)), "{what}");
}

#[test]
fn convolutions_are_exact_on_edge_case_shapes() {
    let random = &mut Random(1);
    for kind in KINDS {
        for (height, width) in [(1, 1), (1, 7), (2, 2), (3, 5), (4, 4), (5, 4), (9, 17), (33, 31)] {
            if kind == ConvKind::Down2 && height.min(width) < 2 {
                continue;
            }
            for (ci, co) in [(1, 1), (3, 40), (4, 8), (24, 3), (40, 24), (16, 16)] {
                let shape = Shape::new(ci, height, width);
                let plain = Case { kind, shape, co, norm: None, factors: false, add: false, relu: false };
                check(random, &plain);
                let silu = Some(Activation::Silu);
                check(random, &Case { norm: silu, add: true, ..plain });
                check(random, &Case { norm: silu, factors: true, add: true, ..plain });
                check(random, &Case { relu: true, ..plain });
                check(random, &Case { add: true, relu: true, ..plain });
            }
        }
    }
}

#[test]
fn convolutions_are_exact_on_random_shapes() {
    let random = &mut Random(2);
    for _ in 0..60 {
        let kind = KINDS[random.pick(0, KINDS.len() - 1)];
        let shape = Shape::new(random.pick(1, 90), random.pick(2, 40), random.pick(2, 40));
        let norm = [None, Some(Activation::Identity), Some(Activation::Silu)][random.pick(0, 2)];
        let co = random.pick(1, 150);
        let [factors, add, relu] = [(); 3].map(|()| random.pick(0, 1) == 1);
        check(random, &Case { kind, shape, co, norm, factors, add, relu });
    }
}

#[test]
fn deep_convolutions_stay_exact() {
    let random = &mut Random(3);
    for kind in KINDS {
        let (shape, norm) = (Shape::new(512, 12, 10), Some(Activation::Silu));
        for factors in [false, true] {
            check(random, &Case { kind, shape, co: 512, norm, factors, add: false, relu: false });
        }
    }
}

#[test]
fn a_1x1_convolution_works_in_place() {
    let random = &mut Random(4);
    for (ci, co, norm_kind, factors) in [
        (64, 32, None, false),
        (40, 40, Some(Activation::Silu), false),
        (33, 7, Some(Activation::Identity), false),
        (24, 24, Some(Activation::Silu), true),
        (8, 8, None, false),
    ] {
        let shape = Shape::new(ci, 13, 19);
        let planes = random.values(ci * shape.pixels(), 1.0);
        let (weight, bias) = (random.values(co * ci, 0.3), random.values(co, 1.0));
        let norm = norm_kind.map(|activation| norm(random, shape, activation, factors));
        let input = norm.as_ref().map_or_else(|| wide(&planes), |norm| normed(&planes, shape, norm));
        let truth = reference::conv2d(ConvKind::Point, &input, shape, &weight, &bias);
        for level in Level::all() {
            let mut filters = PackedFilters::default();
            filters.pack(level, ConvKind::Point, &weight, co, ci).unwrap();
            let conv = Conv2d { bias: Some(&bias), norm: norm.as_ref(), sums: true, ..Conv2d::new(&filters) };
            let mut map = HostMap::from_planes(&planes, shape).unwrap();
            conv.run_in_place(level, &mut map).unwrap();
            assert!(rms_error(&map.to_planes().unwrap(), &truth) < 1e-6);
            let mut visited = 0;
            map.visit(&mut |values| visited += values.len()).unwrap();
            assert_eq!(visited, co * shape.pixels());
            check_sums(&map, &truth, "in place");
        }
    }
}

#[test]
fn mismatched_shapes_are_errors() {
    let level = Level::detect();
    let mut filters = PackedFilters::default();
    assert!(filters.pack(level, ConvKind::Same, &[0.0; 8], 1, 1).is_err());
    filters.pack(level, ConvKind::Down2, &[0.0; 9], 1, 1).unwrap();
    let conv = Conv2d::new(&filters);
    let mut output = HostMap::default();
    assert!(conv.run(level, &HostMap::new(Shape::new(2, 4, 4)).unwrap(), &mut output).is_err());
    assert!(conv.run(level, &HostMap::new(Shape::new(1, 1, 4)).unwrap(), &mut output).is_err());
    assert!(conv.run_in_place(level, &mut HostMap::new(Shape::new(1, 4, 4)).unwrap()).is_err());
    let bias = [0.0; 2];
    let conv = Conv2d { bias: Some(&bias), ..conv };
    assert!(conv.run(level, &HostMap::new(Shape::new(1, 4, 4)).unwrap(), &mut output).is_err());

    let norm = Coefficients { scale: vec![1.0; 16], shift: vec![0.0; 16], ..Coefficients::default() };
    let conv = Conv2d { bias: None, norm: Some(&norm), ..conv };
    let input = HostMap::new(Shape::new(1, 4, 4)).unwrap();
    assert!(conv.run(level, &input, &mut output).is_ok());
    let norm = Coefficients { factors: Some(vec![1.0; 15]), ..norm.clone() };
    let conv = Conv2d { norm: Some(&norm), ..conv };
    assert!(conv.run(level, &input, &mut output).is_err(), "15 factors for 16 pixels");
}

#[test]
fn relu_keeps_nan() {
    let shape = Shape::new(24, 5, 6);
    let mut planes = vec![1.0; 24 * 30];
    planes[3 * 30 + 7] = f32::NAN;
    for level in Level::all() {
        for kind in KINDS {
            let mut filters = PackedFilters::default();
            filters.pack(level, kind, &vec![-1.0; 24 * 24 * kind.taps()], 24, 24).unwrap();
            let conv = Conv2d { relu: true, ..Conv2d::new(&filters) };
            let mut output = HostMap::default();
            conv.run(level, &HostMap::from_planes(&planes, shape).unwrap(), &mut output).unwrap();
            let values = output.to_planes().unwrap();
            assert!(values.iter().any(|x| x.is_nan()), "{kind:?} at {}", level.name());
            assert!(values.iter().all(|&x| x.is_nan() || x == 0.0), "{kind:?} at {}", level.name());
        }
    }
}
