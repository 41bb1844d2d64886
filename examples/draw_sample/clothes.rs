//! The fox's clothes: a knitted scarf and a beret.

use crate::canvas::{Canvas, Pt, Tint, linear, radial};
use crate::fur::Fur;
use crate::palette::*;
use crate::shapes::{blade, blob, curve, ellipse};

/// The knitted scarf with its fringed end.
pub fn scarf(canvas: &mut Canvas) {
    scarf_end(canvas);
    let wrap = blob(&[
        (130.0, 352.0),
        (170.0, 346.0),
        (236.0, 356.0),
        (304.0, 346.0),
        (346.0, 350.0),
        (352.0, 376.0),
        (320.0, 402.0),
        (238.0, 416.0),
        (158.0, 402.0),
        (124.0, 378.0),
    ]);
    canvas.soft(6.0, |c| c.fill(&ellipse((238.0, 396.0), 112.0, 30.0), NIGHT.at(0.4)));
    let ink = [(0.0, SCARF_SHADE), (0.4, SCARF), (0.85, SCARF), (1.0, SCARF_LIGHT)];
    canvas.fill(&wrap, linear((124.0, 384.0), (354.0, 370.0), &ink));
    canvas.inside(&wrap, |c| {
        for row in 0..8 {
            for column in 0..40 {
                let t = column as f32 / 39.0 * 2.0 - 1.0;
                let x = 240.0 + t * 122.0;
                let y = 346.0 + row as f32 * 9.5 + (1.0 - t * t) * 14.0 - 6.0;
                let tint = if row == 3 || row == 5 { CREAM } else { SCARF_LIGHT };
                stitch(c, (x, y), tint.at(if row == 3 || row == 5 { 0.9 } else { 0.42 }));
            }
        }
        c.soft(7.0, |c| c.fill(&ellipse((236.0, 344.0), 100.0, 20.0), NIGHT.at(0.6)));
        c.soft(4.0, |c| {
            c.stroke(
                &curve(&[(124.0, 384.0), (160.0, 406.0), (238.0, 420.0), (320.0, 406.0)]),
                10.0,
                SCARF_SHADE.at(0.8),
            )
        });
        c.soft(2.0, |c| {
            c.stroke(&curve(&[(338.0, 346.0), (354.0, 364.0), (340.0, 390.0)]), 4.0, RIM_LIGHT.at(0.9))
        });
    });
    knot(canvas);
}

/// The knot that holds the hanging end.
fn knot(canvas: &mut Canvas) {
    canvas.placed((170.0, 394.0), 8.0, 1.0, |c| {
        let shape = blob(&[
            (-30.0, -14.0),
            (0.0, -22.0),
            (30.0, -16.0),
            (33.0, 2.0),
            (20.0, 14.0),
            (-18.0, 15.0),
            (-33.0, 4.0),
        ]);
        c.soft(4.0, |c| c.fill(&ellipse((2.0, 6.0), 36.0, 20.0), NIGHT.at(0.5)));
        c.fill(&shape, radial((8.0, -10.0), 44.0, &[(0.0, SCARF_LIGHT), (0.4, SCARF), (1.0, SCARF_SHADE)]));
        c.inside(&shape, |c| {
            for i in 0..50 {
                let (row, column) = (i / 10, i % 10);
                stitch(c, (-30.0 + column as f32 * 6.6, -15.0 + row as f32 * 7.6), SCARF_LIGHT.at(0.45));
            }
        });
    });
}

/// One V-shaped stitch.
fn stitch(canvas: &mut Canvas, at: Pt, tint: Tint) {
    let (x, y) = at;
    canvas.fill(&blade((x, y + 5.0), (x - 2.8, y - 3.0), 3.4, 0.4), tint);
    canvas.fill(&blade((x, y + 5.0), (x + 2.8, y - 3.0), 3.4, -0.4), tint);
}

fn scarf_end(canvas: &mut Canvas) {
    canvas.placed((168.0, 392.0), 8.0, 1.0, |c| {
        let end = blob(&[
            (-22.0, 0.0),
            (20.0, -4.0),
            (25.0, 30.0),
            (24.0, 76.0),
            (0.0, 79.0),
            (-25.0, 76.0),
            (-26.0, 34.0),
        ]);
        c.soft(5.0, |c| c.fill(&ellipse((6.0, 46.0), 30.0, 44.0), NIGHT.at(0.45)));
        for i in 0..11 {
            let x = -23.0 + i as f32 * 4.7;
            let sway = (i as f32 * 1.7).sin() * 2.0;
            c.fill(
                &blade((x, 72.0), (x + sway, 95.0), 4.2, sway),
                if i % 2 == 0 { SCARF } else { SCARF_SHADE },
            );
        }
        c.fill(
            &end,
            linear((-26.0, 0.0), (26.0, 0.0), &[(0.0, SCARF_SHADE), (0.55, SCARF), (1.0, SCARF_LIGHT)]),
        );
        c.inside(&end, |c| {
            for row in 0..10 {
                for column in 0..9 {
                    let striped = row == 5 || row == 7;
                    let tint = if striped { CREAM.at(0.92) } else { SCARF_LIGHT.at(0.4) };
                    stitch(c, (-25.0 + column as f32 * 6.3, row as f32 * 8.6), tint);
                }
            }
        });
    });
}

/// The beret and the lock of hair under it, in the head's frame.
pub fn beret(canvas: &mut Canvas) {
    canvas.placed((-16.0, -82.0), -9.0, 1.0, |c| {
        let cap = blob(&[
            (-70.0, 14.0),
            (-96.0, -4.0),
            (-88.0, -34.0),
            (-46.0, -52.0),
            (10.0, -50.0),
            (56.0, -34.0),
            (74.0, -8.0),
            (66.0, 12.0),
            (30.0, 12.0),
            (-10.0, 10.0),
            (-40.0, 14.0),
        ]);
        c.soft(5.0, |c| c.fill(&ellipse((0.0, 14.0), 70.0, 14.0), NIGHT.at(0.55)));
        for (x, reach) in [(22.0, 24.0), (30.0, 30.0), (38.0, 22.0), (14.0, 17.0)] {
            let lock = blade((x - 8.0, 6.0), (x + 8.0, 6.0 + reach), 11.0, -5.0);
            c.fill(&lock, linear((x, 6.0), (x, 6.0 + reach), &[(0.0, FOX_SHADE), (1.0, FOX_LIGHT)]));
        }
        c.fill(&cap, radial((24.0, -34.0), 120.0, &[(0.0, BERET_LIGHT), (0.4, BERET), (1.0, BERET_SHADE)]));
        let felt = Fur {
            area: ((-98.0, -54.0), (76.0, 16.0)),
            tints: &[BERET_LIGHT, BERET_SHADE, BERET],
            length: 7.0,
            count: 340,
            seed: 74,
        };
        felt.grow(c, &cap, |(x, y)| (x, y + 50.0));
        c.inside(&cap, |c| {
            for fold in [(-60.0, 8.0), (-20.0, 2.0), (36.0, 4.0)] {
                let line = curve(&[(-4.0, -50.0), (fold.0 * 0.6, -24.0), fold]);
                c.soft(2.5, |c| c.stroke(&line, 3.0, BERET_SHADE.at(0.45)));
            }
            c.soft(1.5, |c| {
                c.stroke(&curve(&[(12.0, -51.0), (57.0, -35.0), (75.0, -8.0)]), 4.0, RIM_LIGHT.at(0.9))
            });
        });
        let band = curve(&[(-68.0, 15.0), (-40.0, 11.0), (0.0, 9.0), (36.0, 11.0), (66.0, 13.0)]);
        c.stroke(&band, 8.0, BERET_SHADE);
        c.stroke(&band, 2.0, BERET.at(0.7));
        c.stroke(&curve(&[(-6.0, -50.0), (-4.0, -60.0), (2.0, -66.0)]), 5.0, BERET);
    });
}
