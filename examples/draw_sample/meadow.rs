//! The meadow, its flowers and the grass in the foreground.

use crate::canvas::{Canvas, Pt, Tint, linear, radial};
use crate::palette::*;
use crate::shapes::{Dice, blade, circle, ellipse, polygon};
use crate::sky::SUN_AT;

/// The meadow's upper edge.
fn edge(x: f32) -> f32 {
    384.0 + (x * 0.011).sin() * 7.0 + (x * 0.031 + 2.0).sin() * 2.5
}

/// The ground with short grass.
pub fn ground(canvas: &mut Canvas) {
    let mut outline: Vec<Pt> = (0..=64).map(|i| (i as f32 * 12.0, edge(i as f32 * 12.0))).collect();
    outline.extend([(768.0, 512.0), (0.0, 512.0)]);
    let stops = [(0.0, GRASS_LIT), (0.18, GRASS), (0.6, GRASS_SHADE), (1.0, GRASS_DEEP)];
    canvas.fill(&polygon(&outline), linear((0.0, 376.0), (0.0, 512.0), &stops));
    let mut dice = Dice::new(3);
    for row in 0..26 {
        let depth = row as f32 / 26.0;
        for _ in 0..110 {
            let x = dice.range(-8.0, 776.0);
            let y = edge(x) + 1.0 + depth * 128.0;
            let height = 4.0 + depth * 15.0;
            let tip = (x + dice.range(-4.0, 5.0) * (0.5 + depth), y - height * dice.range(0.6, 1.1));
            let sunny = (1.0 - (x - SUN_AT.0).abs() / 420.0).max(0.1) * (1.0 - depth * 0.8);
            let base = GRASS_SHADE.mix(GRASS_DEEP, depth).mix(GRASS, dice.unit() * 0.8);
            let tint = base.mix(GRASS_LIT, sunny * dice.unit());
            canvas.fill(&blade((x, y), tip, 1.4 + depth * 1.6, dice.range(-2.0, 2.0)), tint);
        }
    }
    for _ in 0..90 {
        let (x, depth) = (dice.range(0.0, 768.0), dice.unit());
        let y = edge(x) + 2.0 + depth * 60.0;
        let tint = dice.pick(&[PETAL_CORAL, PETAL_YELLOW, PETAL_WHITE, PETAL_VIOLET]);
        canvas.fill(&circle((x, y), 1.0 + depth * 1.2), tint.at(0.9));
    }
}

/// Tall grass, flowers and fireflies along the lower edge.
pub fn foreground(canvas: &mut Canvas) {
    let mut dice = Dice::new(41);
    for i in 0..250 {
        let x = dice.range(-10.0, 778.0);
        let side = ((x - 384.0).abs() / 384.0).powi(2);
        let height = dice.range(14.0, 34.0) + side * 30.0;
        let lean = dice.range(-9.0, 9.0);
        let tint = GRASS_DEEP.mix(GRASS_SHADE, dice.unit()).mix(GRASS, dice.unit() * 0.55);
        let tint = if i % 9 == 0 { tint.mix(GRASS_LIT, 0.6) } else { tint };
        let width = dice.range(2.4, 4.6);
        canvas.fill(&blade((x, 518.0), (x + lean, 512.0 - height), width, lean * 0.4), tint);
    }
    let flowers = [
        (26.0, 452.0, 10.0, PETAL_CORAL),
        (58.0, 480.0, 8.0, PETAL_WHITE),
        (8.0, 488.0, 8.0, PETAL_YELLOW),
        (96.0, 494.0, 7.0, PETAL_VIOLET),
        (462.0, 478.0, 8.0, PETAL_WHITE),
        (492.0, 492.0, 8.0, PETAL_CORAL),
        (436.0, 496.0, 6.5, PETAL_YELLOW),
        (532.0, 484.0, 7.0, PETAL_VIOLET),
        (744.0, 462.0, 9.0, PETAL_CORAL),
        (758.0, 490.0, 8.0, PETAL_YELLOW),
        (722.0, 496.0, 7.0, PETAL_WHITE),
    ];
    for (x, y, size, tint) in flowers {
        flower(canvas, &mut dice, (x, y), size, tint);
    }
    for (x, y, r) in [
        (478.0, 352.0, 6.0),
        (480.0, 436.0, 8.0),
        (752.0, 408.0, 8.0),
        (560.0, 428.0, 6.0),
        (512.0, 398.0, 6.0),
    ] {
        firefly(canvas, (x, y), r);
    }
}

fn flower(canvas: &mut Canvas, dice: &mut Dice, at: Pt, size: f32, tint: Tint) {
    let foot = (at.0 + dice.range(-6.0, 6.0), 520.0);
    canvas.fill(&blade(foot, at, 3.4, dice.range(-4.0, 4.0)), GRASS);
    let turn = dice.range(0.0, 60.0);
    canvas.placed(at, 0.0, size / 10.0, |c| {
        for petal in 0..6 {
            c.placed((0.0, 0.0), turn + petal as f32 * 60.0, 1.0, |c| {
                let ink = linear((0.0, 0.0), (0.0, -12.0), &[(0.0, tint.mix(BERET_SHADE, 0.3)), (1.0, tint)]);
                c.fill(&ellipse((0.0, -6.4), 4.0, 6.0), ink);
            });
        }
        c.fill(&circle((0.0, 0.0), 3.8), PETAL_YELLOW.mix(FOX_SHADE, 0.3));
        c.fill(&circle((-0.8, -1.0), 2.0), PETAL_YELLOW);
    });
}

fn firefly(canvas: &mut Canvas, at: Pt, radius: f32) {
    let glow = [(0.0, SUN_GLOW.at(0.9)), (0.35, SUN_GLOW.at(0.35)), (1.0, SUN_GLOW.at(0.0))];
    canvas.fill(&circle(at, radius), radial(at, radius, &glow));
    canvas.fill(&circle(at, radius * 0.17), SUN);
}
