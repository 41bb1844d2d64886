//! Every kernel on the shapes of SD2 at 512×512, at every level of this machine, beside the machine's peak.
//!
//! `cargo bench --bench kernels -- [LEVEL] [--threads N]`
//!
//! GFLOP/s count the operations that are done; what a form saves (see `src/kernels/cpu/conv2d/form.rs`) does not count.
//! The peak is measured first: sums of products in registers, on all threads. The best of several runs counts.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use vae::device::Level;
use vae::internals::cpu::HostMap;
use vae::internals::cpu::attention::attention as attend;
use vae::internals::cpu::conv2d::{Conv2d, PackedFilters};
use vae::internals::cpu::norm::Coefficients;
use vae::internals::cpu::simd::{Kernel, Simd};
use vae::internals::{Activation, ConvKind, Shape};

/// Kind, input, output channels: those that take most of the time.
const CONVOLUTIONS: [(ConvKind, [usize; 3], usize); 19] = [
    (ConvKind::Same, [3, 512, 512], 128),
    (ConvKind::Same, [128, 512, 512], 128),
    (ConvKind::Same, [256, 512, 512], 128),
    (ConvKind::Same, [128, 512, 512], 3),
    (ConvKind::Same, [256, 256, 256], 256),
    (ConvKind::Same, [512, 128, 128], 512),
    (ConvKind::Same, [512, 64, 64], 512),
    (ConvKind::Up2, [512, 64, 64], 512),
    (ConvKind::Up2, [512, 128, 128], 512),
    (ConvKind::Up2, [256, 256, 256], 256),
    (ConvKind::Down2, [128, 512, 512], 128),
    (ConvKind::Down2, [256, 256, 256], 256),
    (ConvKind::Down2, [512, 128, 128], 512),
    (ConvKind::Point, [256, 512, 512], 128),
    (ConvKind::Point, [512, 64, 64], 512),
    // Of the TAESD family:
    (ConvKind::Same, [64, 512, 512], 64),
    (ConvKind::Same, [64, 512, 512], 3),
    (ConvKind::Up2, [64, 256, 256], 64),
    (ConvKind::Down2Around, [64, 512, 512], 64),
];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let mut levels = Level::all();
    while let Some(argument) = arguments.next() {
        if argument == "--threads" {
            let threads = arguments.next().and_then(|n| n.parse().ok()).expect("--threads N");
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build_global()
                .expect("the pool is built once");
        } else {
            levels.retain(|level| level.name() == argument);
        }
    }
    for level in levels {
        let peak = peak(level);
        println!("{} on {} threads: peak {peak:.0} GFLOP/s", level.name(), rayon::current_num_threads());
        println!("{:<34}{:>9}{:>9}{:>10}{:>7}", "", "pack ms", "ms", "GFLOP/s", "peak");
        for (kind, input, channels) in CONVOLUTIONS {
            convolution(level, peak, kind, input, channels);
        }
        attention(level, peak, Shape::new(512, 64, 64));
    }
}

fn convolution(level: Level, peak: f64, kind: ConvKind, [c, h, w]: [usize; 3], channels: usize) {
    let input = Shape::new(c, h, w);
    let output = kind.output(input, channels);
    let x = HostMap::from_planes(&wave(c * h * w), input).unwrap();
    let weight = wave(channels * c * kind.taps());
    let norm = Coefficients {
        scale: vec![0.9; input.blocks() * 16],
        shift: vec![0.1; input.blocks() * 16],
        factors: None,
        activation: Activation::Silu,
    };
    let norm = (kind == ConvKind::Same && c > 64).then_some(&norm); // as in the network
    let mut filters = PackedFilters::default();
    let pack =
        best(|| filters.pack(level, kind, &weight, channels, c).expect("weights with the right shape"));
    let tiny = c == 64; // ReLU, and no norms
    let conv = Conv2d { norm, relu: tiny, sums: !tiny, ..Conv2d::new(&filters) };
    let mut y = HostMap::default();
    let run = best(|| conv.run(level, &x, &mut y).expect("matching shapes"));
    // Products per output pixel and pair of channels.
    let products = match kind {
        ConvKind::Same if c <= 3 => 9.0,
        ConvKind::Same => 36.0 / 16.0,
        ConvKind::Up2 => 25.0 / 16.0,
        ConvKind::Down2 | ConvKind::Down2Around => 25.0 / 4.0,
        ConvKind::Point => 1.0,
    };
    let name = format!("{kind:?} {c}×{h}×{w} → {channels}{}", if norm.is_some() { ", normed" } else { "" });
    report(&name, Some(pack), run, 2.0 * products * (c * channels * output.pixels()) as f64, peak);
}

fn attention(level: Level, peak: f64, shape: Shape) {
    let map = HostMap::from_planes(&wave(shape.channels * shape.pixels()), shape).unwrap();
    let mut out = HostMap::default();
    let run = best(|| attend(level, [&map, &map, &map], &mut out).expect("equal shapes"));
    let flops = 4.0 * (shape.pixels() * shape.pixels() * shape.channels) as f64;
    report(&format!("attention {}×{}×{}", shape.channels, shape.height, shape.width), None, run, flops, peak);
}

fn report(name: &str, pack: Option<Duration>, run: Duration, flops: f64, peak: f64) {
    let pack = pack.map_or(String::new(), |pack| format!("{:.1}", pack.as_secs_f64() * 1e3));
    let speed = flops / run.as_secs_f64() / 1e9;
    let ms = run.as_secs_f64() * 1e3;
    println!("{name:<34}{pack:>9}{ms:>9.1}{speed:>10.0}{:>6.0} %", 100.0 * speed / peak);
}

/// The shortest of at least three runs, for at least 0.3 s.
fn best(mut work: impl FnMut()) -> Duration {
    let (start, mut best, mut runs) = (Instant::now(), Duration::MAX, 0);
    while runs < 3 || start.elapsed() < Duration::from_millis(300) {
        let begun = Instant::now();
        work();
        best = best.min(begun.elapsed());
        runs += 1;
    }
    best
}

fn wave(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * 0.7).sin()).collect()
}

/// GFLOP/s of sums of products in registers.
fn peak(level: Level) -> f64 {
    const STEPS: usize = 40_000_000; // long enough for the system to move every thread to a core of its own
    let threads = rayon::current_num_threads();
    let run = best(|| {
        (0..threads).into_par_iter().with_max_len(1).for_each(|_| {
            black_box(level.run(Products(STEPS)));
        });
    });
    let lanes = level.run(Lanes);
    2.0 * (CHAINS * lanes * STEPS * threads) as f64 / run.as_secs_f64() / 1e9
}

/// Independent sums, enough to hide the latency of an FMA.
const CHAINS: usize = 10;

struct Products(usize);

impl Kernel for Products {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (a, b) = (s.splat(black_box(0.999)), s.splat(black_box(1e-3)));
        let mut sums = [s.zero(); CHAINS];
        for _ in 0..self.0 {
            for sum in &mut sums {
                *sum = s.fma(*sum, a, b);
            }
        }
        let mut lanes = [0.0; 16];
        let total = sums.into_iter().fold(s.zero(), |total, sum| s.add(total, sum));
        // SAFETY: no vector has more than sixteen lanes.
        unsafe { s.store(lanes.as_mut_ptr(), total) };
        lanes[0]
    }
}

struct Lanes;

impl Kernel for Lanes {
    type Output = usize;

    fn run<S: Simd>(self, _: S) -> usize {
        S::LANES
    }
}
