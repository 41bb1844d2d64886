//! Mountains, the lake and its far shore.

use tiny_skia::Path;

use crate::canvas::{Canvas, Pt, Tint, linear, radial};
use crate::palette::*;
use crate::shapes::{Dice, blade, ellipse, polygon, rect};
use crate::sky::SUN_AT;

/// The y coordinate where the far shore meets the water.
const WATERLINE: f32 = 296.0;

/// A ridge: base height, amplitude, wavelength and random seed.
struct Ridge {
    base: f32,
    swing: f32,
    wave: f32,
    seed: u64,
}

impl Ridge {
    /// The crest from left to right.
    fn crest(&self) -> Vec<Pt> {
        let mut dice = Dice::new(self.seed);
        let (a, b) = (dice.range(0.0, 6.3), dice.range(0.0, 6.3));
        (0..=128)
            .map(|i| {
                let x = i as f32 * 6.0;
                let t = x / self.wave;
                let peaks = 1.0 - (t + a).sin().abs() * 1.3 + (t * 2.3 + b).sin() * 0.4;
                let rough = dice.range(-0.06, 0.06) + (t * 7.1 + a).sin() * 0.1;
                let valley = 1.0 - 0.85 * (-((x - SUN_AT.0) / 74.0).powi(2)).exp();
                (x, self.base - self.swing * (peaks + rough) * valley)
            })
            .collect()
    }
}

/// Three mountain ranges, paler with distance.
pub fn mountains(canvas: &mut Canvas) {
    let ranges = [
        (Ridge { base: 256.0, swing: 44.0, wave: 92.0, seed: 8 }, PEAK_FAR),
        (Ridge { base: 272.0, swing: 32.0, wave: 74.0, seed: 21 }, PEAK_MIDDLE),
        (Ridge { base: 287.0, swing: 16.0, wave: 60.0, seed: 4 }, PEAK_NEAR),
    ];
    for (ridge, tint) in ranges {
        range(canvas, &ridge, tint);
    }
}

fn range(canvas: &mut Canvas, ridge: &Ridge, tint: Tint) {
    let crest = ridge.crest();
    let mut outline = crest.clone();
    outline.extend([(768.0, WATERLINE + 4.0), (0.0, WATERLINE + 4.0)]);
    let shape = polygon(&outline);
    let haze = tint.mix(SKY_APRICOT, 0.45);
    let ink = linear((0.0, ridge.base - ridge.swing), (0.0, WATERLINE), &[(0.0, tint), (1.0, haze)]);
    canvas.fill(&shape, ink);
    let mut dice = Dice::new(ridge.seed + 100);
    canvas.inside(&shape, |c| {
        let glow = [(0.0, SKY_APRICOT.mix(SKY_ROSE, 0.3).at(0.62)), (1.0, SKY_ROSE.at(0.0))];
        c.fill(&rect(0.0, 150.0, 768.0, 200.0), radial(SUN_AT, 150.0, &glow));
        for i in (6..crest.len() - 6).filter(|&i| is_peak(&crest, i)) {
            c.fill(&flank(&crest, i, &mut dice), COOL_SHADE.at(0.28));
        }
        for _ in 0..150 {
            let (x, y) = crest[(dice.unit() * 128.0) as usize];
            let low = y + dice.range(2.0, 30.0);
            let away = (x - SUN_AT.0).signum() * dice.range(2.0, 8.0);
            let tint = dice.pick(&[CLOUD_LIGHT, COOL_SHADE]).at(0.2);
            c.fill(&blade((x, low), (x + away, low + dice.range(6.0, 15.0)), 2.4, 0.8), tint);
        }
    });
}

/// Whether the crest has a summit at `i`.
fn is_peak(crest: &[Pt], i: usize) -> bool {
    let around = &crest[i - 6..=i + 6];
    around.iter().all(|p| p.1 >= crest[i].1)
}

/// The shaded side of a summit.
fn flank(crest: &[Pt], summit: usize, dice: &mut Dice) -> Path {
    let (x, y) = crest[summit];
    let away: isize = if x < SUN_AT.0 { -1 } else { 1 };
    let mut points = vec![(x, y)];
    let mut i = summit as isize;
    let inside = |i: isize| (0..crest.len() as isize).contains(&i);
    while inside(i + away) && (i - summit as isize).abs() < 16 {
        i += away;
        points.push(crest[i as usize]);
    }
    let end = points[points.len() - 1];
    let foot = end.1.max(y + 26.0) + 6.0;
    points.push((end.0, foot));
    for step in 0..6 {
        let t = 1.0 - step as f32 / 6.0;
        let zigzag = if step % 2 == 0 { -5.0 } else { 6.0 } * dice.range(0.6, 1.2);
        points.push((x + (end.0 - x) * t * 0.35 + zigzag * t, y + (foot - y) * t));
    }
    polygon(&points)
}

/// The water with the reflections of the sky and the sun.
pub fn lake(canvas: &mut Canvas) {
    let stops =
        [(0.0, SKY_HORIZON.mix(SKY_APRICOT, 0.4)), (0.25, SKY_ROSE), (0.6, SKY_MIDDLE), (1.0, WATER_DEEP)];
    let water = rect(0.0, WATERLINE, 768.0, 130.0);
    canvas.fill(&water, linear((0.0, WATERLINE), (0.0, 400.0), &stops));
    let glow = [(0.0, SUN_GLOW.at(0.75)), (1.0, SUN_GLOW.at(0.0))];
    canvas.inside(&water, |c| {
        c.placed((SUN_AT.0, WATERLINE), 0.0, 1.0, |c| {
            c.fill(&ellipse((0.0, 0.0), 130.0, 100.0), radial((0.0, 0.0), 110.0, &glow));
        });
        ripples(c);
    });
}

fn ripples(canvas: &mut Canvas) {
    let mut dice = Dice::new(31);
    for _ in 0..520 {
        let depth = dice.unit().powf(1.3);
        let y = WATERLINE + 2.0 + depth * 90.0;
        let x = dice.range(-10.0, 778.0);
        let half = dice.range(5.0, 16.0) * (0.5 + depth);
        let tint = dice.pick(&[SKY_MIDDLE, WATER_DEEP, CLOUD_ROSE, CLOUD_LIGHT, PEAK_NEAR]);
        canvas.fill(&ellipse((x, y), half, 0.45 + depth * 0.8), tint.at(0.3));
    }
    for _ in 0..170 {
        let depth = dice.unit();
        let spread = 12.0 + depth * 34.0;
        let x = SUN_AT.0 + (dice.unit() + dice.unit() - 1.0) * spread;
        let half = dice.range(3.0, 9.0) * (0.6 + depth);
        let y = WATERLINE + 1.0 + depth * 86.0;
        canvas.fill(&ellipse((x, y), half, 0.5 + depth * 0.7), SUN.at(dice.range(0.4, 0.95)));
    }
}

/// The strip of pines on the far shore with their reflection.
pub fn shore(canvas: &mut Canvas) {
    let mut dice = Dice::new(77);
    let mut x = -6.0;
    while x < 776.0 {
        let near_sun = (1.0 - (x - SUN_AT.0).abs() / 150.0).clamp(0.0, 1.0);
        let wave = 0.65 + 0.35 * (x * 0.021 + 1.0).sin();
        let height = dice.range(9.0, 25.0) * wave * (1.0 - near_sun * 0.45);
        let tint = PINE.mix(PEAK_NEAR, dice.range(0.0, 0.5)).mix(SKY_APRICOT, near_sun * 0.45);
        let water = [(0.0, tint.at(0.55)), (1.0, tint.at(0.0))];
        let fade = linear((0.0, WATERLINE), (0.0, WATERLINE + height * 1.3), &water);
        canvas.fill(&blade((x, WATERLINE), (x, WATERLINE + height * 1.3), 9.0, 0.0), fade);
        pine(canvas, (x, WATERLINE + 1.0), height, tint);
        x += dice.range(2.5, 6.5);
    }
    sailboat(canvas, (473.0, WATERLINE + 6.0));
    canvas.fill(&rect(0.0, WATERLINE - 0.6, 768.0, 1.2), SKY_HORIZON.at(0.5));
}

fn pine(canvas: &mut Canvas, foot: Pt, height: f32, tint: Tint) {
    let (x, y) = foot;
    for tier in 0..4 {
        let t = tier as f32 / 4.0;
        let half = height * 0.24 * (1.0 - t * 0.72);
        let low = y - height * t * 0.8;
        let tip = low - height * 0.42;
        canvas.fill(&polygon(&[(x - half, low), (x, tip), (x + half, low)]), tint);
    }
}

fn sailboat(canvas: &mut Canvas, at: Pt) {
    canvas.placed(at, 0.0, 1.0, |c| {
        c.fill(&polygon(&[(-9.0, -3.0), (10.0, -3.0), (6.0, 1.0), (-6.0, 1.0)]), UMBER);
        c.fill(&polygon(&[(0.0, -27.0), (0.0, -4.6), (-9.0, -4.6)]), PAPER);
        c.fill(&polygon(&[(1.4, -24.0), (1.4, -4.6), (9.0, -4.6)]), PETAL_CORAL);
        c.fill(&blade((0.0, 2.0), (-2.0, 20.0), 12.0, 0.0), PAPER.at(0.35));
    });
}
