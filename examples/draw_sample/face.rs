//! The fox's head: ears, fur and the pale cheeks.

use crate::canvas::{Canvas, Pt, linear, radial};
use crate::clothes;
use crate::features::{self, flip};
use crate::fur::Fur;
use crate::palette::*;
use crate::shapes::{Dice, blade, blob, circle, curve, ellipse, mirrored};

/// Centre of the head and its tilt in degrees.
const HEAD: Pt = (236.0, 226.0);
const TILT: f32 = 4.0;

/// The head in front of the scarf's shadow.
pub fn paint(canvas: &mut Canvas) {
    canvas.placed(HEAD, TILT, 1.0, |c| {
        ear(c, -1.0);
        ear(c, 1.0);
        ruff(c);
        skull(c);
        mask(c);
        features::eye(c, -1.0);
        features::eye(c, 1.0);
        features::muzzle(c);
        clothes::beret(c);
    });
}

fn ear(canvas: &mut Canvas, side: f32) {
    let outer = blob(&flip(
        &[
            (28.0, -62.0),
            (44.0, -104.0),
            (70.0, -146.0),
            (92.0, -166.0),
            (104.0, -142.0),
            (112.0, -96.0),
            (108.0, -30.0),
            (70.0, -20.0),
        ],
        side,
    ));
    let inner = blob(&flip(
        &[
            (50.0, -62.0),
            (60.0, -100.0),
            (76.0, -130.0),
            (88.0, -142.0),
            (95.0, -120.0),
            (98.0, -84.0),
            (92.0, -36.0),
            (66.0, -30.0),
        ],
        side,
    ));
    let light = if side > 0.0 { FOX_LIGHT } else { FOX };
    canvas.fill(
        &outer,
        linear((0.0, -166.0), (0.0, -30.0), &[(0.0, UMBER), (0.24, FOX_DEEP), (0.42, light), (1.0, FOX)]),
    );
    canvas.fill(
        &inner,
        linear(
            (0.0, -140.0),
            (0.0, -40.0),
            &[(0.0, FOX_DEEP), (0.5, BLUSH.mix(FOX_SHADE, 0.3)), (1.0, CREAM)],
        ),
    );
    let tuft = Fur {
        area: (
            (if side > 0.0 { 40.0 } else { -105.0 }, -110.0),
            (if side > 0.0 { 105.0 } else { -40.0 }, -30.0),
        ),
        tints: &[CREAM, WHITE, CREAM_SHADE],
        length: 34.0,
        count: 70,
        seed: 71,
    };
    tuft.grow(canvas, &inner, |(x, _)| ((x - side * 40.0) * 0.06, -6.0));
    if side > 0.0 {
        canvas.inside(&outer, |c| {
            let edge = curve(&[(92.0, -168.0), (106.0, -142.0), (114.0, -96.0), (110.0, -40.0)]);
            c.soft(1.6, |c| c.stroke(&edge, 5.0, RIM_LIGHT));
        });
    }
}

/// Right half of the head's outline, from crown to chin.
const OUTLINE: [Pt; 15] = [
    (0.0, -82.0),
    (44.0, -78.0),
    (84.0, -54.0),
    (106.0, -18.0),
    (122.0, 16.0),
    (150.0, 50.0),
    (126.0, 54.0),
    (140.0, 80.0),
    (112.0, 78.0),
    (116.0, 102.0),
    (86.0, 98.0),
    (56.0, 114.0),
    (28.0, 128.0),
    (10.0, 132.0),
    (0.0, 132.0),
];

/// Tufts that stand out behind the cheeks.
fn ruff(canvas: &mut Canvas) {
    let mut dice = Dice::new(76);
    for side in [-1.0, 1.0] {
        for pair in OUTLINE[5..13].windows(2) {
            for _ in 0..5 {
                let t = dice.unit();
                let x = pair[0].0 + (pair[1].0 - pair[0].0) * t - 5.0;
                let y = pair[0].1 + (pair[1].1 - pair[0].1) * t - 3.0;
                let tip = ((x + dice.range(8.0, 15.0)) * side, y + dice.range(3.0, 11.0));
                let tint = if side > 0.0 { CREAM } else { CREAM_SHADE.mix(COOL_SHADE, 0.12) };
                canvas.fill(&blade((x * side, y), tip, 4.6, side * -1.5), tint);
            }
        }
    }
}

fn skull(canvas: &mut Canvas) {
    let shape = mirrored(&OUTLINE);
    let across = [(0.0, FOX_SHADE), (0.3, FOX), (0.7, FOX), (1.0, FOX_LIGHT)];
    canvas.fill(&shape, linear((-130.0, 20.0), (130.0, -10.0), &across));
    let coat = Fur {
        area: ((-150.0, -84.0), (150.0, 130.0)),
        tints: &[FOX_LIGHT, FOX_SHADE, FOX_LIGHT, FOX_DEEP],
        length: 15.0,
        count: 1500,
        seed: 72,
    };
    coat.grow(canvas, &shape, |(x, y)| (x * 1.2, y - 40.0));
}

/// The cream cheeks, chin and brow spots.
fn mask(canvas: &mut Canvas) {
    let shape = mirrored(&OUTLINE);
    let cheeks = mirrored(&[
        (0.0, 50.0),
        (20.0, 38.0),
        (34.0, 32.0),
        (62.0, 36.0),
        (92.0, 30.0),
        (118.0, 34.0),
        (160.0, 46.0),
        (150.0, 140.0),
        (0.0, 140.0),
    ]);
    let cream = linear((-120.0, 40.0), (120.0, 60.0), &[(0.0, CREAM_SHADE), (0.35, CREAM), (1.0, WHITE)]);
    canvas.inside(&shape, |c| c.fill(&cheeks, cream));
    fringe(canvas);
    let down = Fur {
        area: ((-150.0, 26.0), (150.0, 132.0)),
        tints: &[CREAM_SHADE, WHITE, CREAM, CREAM_SHADE],
        length: 15.0,
        count: 620,
        seed: 73,
    };
    down.grow(canvas, &shape, |(x, y)| (x, (y - 10.0) * 0.5));
    canvas.inside(&shape, |c| {
        for side in [-1.0, 1.0] {
            let brow = (side * 46.0, -44.0);
            c.soft(3.0, |c| c.fill(&ellipse(brow, 12.0, 6.0), CREAM.at(0.9)));
            let blush = (side * 84.0, 54.0);
            c.fill(&circle(blush, 26.0), radial(blush, 26.0, &[(0.0, BLUSH.at(0.55)), (1.0, BLUSH.at(0.0))]));
        }
        c.soft(9.0, |c| c.fill(&ellipse((0.0, 136.0), 96.0, 18.0), COOL_SHADE.at(0.5)));
        let shade = [(0.0, COOL_SHADE.at(0.4)), (1.0, COOL_SHADE.at(0.0))];
        c.fill(&ellipse((0.0, 0.0), 160.0, 150.0), linear((-150.0, 60.0), (-40.0, 30.0), &shade));
        c.soft(9.0, |c| {
            c.stroke(&curve(&[(0.0, -64.0), (2.0, -10.0), (0.0, 44.0)]), 20.0, FOX_LIGHT.at(0.75))
        });
        let rim = curve(&[
            (80.0, -60.0),
            (106.0, -18.0),
            (122.0, 16.0),
            (150.0, 50.0),
            (128.0, 54.0),
            (141.0, 80.0),
            (114.0, 78.0),
            (117.0, 102.0),
        ]);
        c.soft(2.0, |c| c.stroke(&rim, 5.0, RIM_LIGHT));
    });
}

/// Cream hairs along the cheeks' upper edge.
fn fringe(canvas: &mut Canvas) {
    let mut dice = Dice::new(75);
    for side in [-1.0, 1.0] {
        for i in 0..46 {
            let t = i as f32 / 45.0;
            let x = 24.0 + t * 104.0;
            let y = 38.0 - (t * 3.1).sin() * 5.0 + dice.range(-2.0, 4.0);
            let tip = (x + dice.range(2.0, 9.0) + t * 4.0, y - dice.range(4.0, 11.0) * (1.0 - t * 0.6));
            let root = (x * side, y);
            canvas.fill(&blade(root, (tip.0 * side, tip.1), 3.4, side * 1.2), CREAM.at(0.9));
        }
    }
}
