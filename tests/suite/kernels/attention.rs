//! Attention, at every level of this machine, against its definition in f64.

use vae::device::Level;
use vae::internals::Shape;
use vae::internals::cpu::HostMap;
use vae::internals::cpu::attention::attention;
use vae::internals::reference::attention as reference;

use super::common::{Random, rms_error, wide};

fn check(random: &mut Random, shape: Shape, spread: f32) {
    let planes: [Vec<f32>; 3] = std::array::from_fn(|i| {
        let scale = if i < 2 { spread } else { 1.0 };
        random.values(shape.channels * shape.pixels(), scale)
    });
    let [q, k, v] = planes.each_ref().map(|planes| wide(planes));
    let truth = reference::attention([&q, &k, &v], shape.channels);
    let maps = planes.each_ref().map(|planes| HostMap::from_planes(planes, shape).unwrap());
    for level in Level::all() {
        let mut out = HostMap::default();
        attention(level, maps.each_ref(), &mut out).unwrap();
        let error = rms_error(&out.to_planes().unwrap(), &truth);
        assert!(
            error < 3e-6 * spread.max(1.0) as f64,
            "{} {shape}, spread {spread}: {error:e}",
            level.name()
        );
    }
}

#[test]
fn attention_is_exact_on_edge_case_shapes() {
    let random = &mut Random(5);
    for (height, width) in [(1, 1), (1, 7), (4, 4), (3, 11), (16, 16), (17, 16), (15, 17), (25, 31)] {
        for channels in [1, 16, 24, 40, 64] {
            check(random, Shape::new(channels, height, width), 1.0);
        }
    }
}

#[test]
fn attention_is_exact_on_random_shapes() {
    let random = &mut Random(6);
    for _ in 0..20 {
        let shape = Shape::new(random.pick(1, 130), random.pick(1, 30), random.pick(1, 30));
        check(random, shape, 1.0);
    }
}

#[test]
fn peaked_scores_stay_exact() {
    check(&mut Random(7), Shape::new(512, 20, 24), 4.0);
}

#[test]
fn different_shapes_are_an_error() {
    let (a, b) = (HostMap::new(Shape::new(8, 4, 4)).unwrap(), HostMap::new(Shape::new(8, 4, 5)).unwrap());
    assert!(attention(Level::detect(), [&a, &b, &a], &mut HostMap::default()).is_err());
}

#[test]
fn nan_and_infinity_in_the_input_reach_the_output() {
    let shape = Shape::new(24, 5, 9);
    let random = &mut Random(8);
    let plain = random.values(shape.channels * shape.pixels(), 1.0);
    for level in Level::all() {
        for wrong in [f32::NAN, f32::INFINITY] {
            for which in 0..3 {
                let mut planes = [plain.clone(), plain.clone(), plain.clone()];
                planes[which][7 * 45 + 40] = wrong; // channel 7 of the last row
                let maps = planes.map(|planes| HostMap::from_planes(&planes, shape).unwrap());
                let mut out = HostMap::default();
                attention(level, maps.each_ref(), &mut out).unwrap();
                let seen = out.to_planes().unwrap().iter().any(|x| !x.is_finite());
                assert!(seen, "{wrong} in input {which} at {}", level.name());
            }
        }
    }
}
