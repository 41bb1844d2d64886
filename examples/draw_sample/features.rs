//! The fox's eyes, nose and smile, in the head's frame.

use crate::canvas::{Canvas, Pt, linear, radial};
use crate::palette::*;
use crate::shapes::{blade, blob, circle, curve, ellipse};

/// Draws a part on the right (`1.0`), or mirrored on the left (`-1.0`).
pub fn flip(points: &[Pt], side: f32) -> Vec<Pt> {
    points.iter().map(|&(x, y)| (x * side, y)).collect()
}

/// The eye on one side.
pub fn eye(canvas: &mut Canvas, side: f32) {
    canvas.placed((side * 50.0, 4.0), 0.0, 1.0, |c| {
        let lid = flip(
            &[
                (-27.0, 9.0),
                (-21.0, -11.0),
                (-2.0, -23.0),
                (18.0, -19.0),
                (30.0, -5.0),
                (22.0, 17.0),
                (2.0, 25.0),
                (-18.0, 21.0),
            ],
            side,
        );
        let ball = blob(&lid);
        c.soft(2.5, |c| c.fill(&ball, FOX_DEEP.at(0.9)));
        c.fill(
            &ball,
            linear((0.0, -26.0), (0.0, 26.0), &[(0.0, CREAM_SHADE.mix(COOL_SHADE, 0.35)), (0.5, WHITE)]),
        );
        c.inside(&ball, |c| {
            let at = (1.0, 0.0);
            let iris = [(0.0, IRIS_DEEP), (0.45, IRIS.mix(IRIS_DEEP, 0.35)), (0.8, IRIS), (1.0, IRIS_DEEP)];
            c.fill(&circle(at, 25.0), IRIS_DEEP.mix(NIGHT, 0.6));
            c.fill(&circle(at, 23.4), radial(at, 23.4, &iris));
            let lower = (at.0, at.1 + 15.0);
            c.fill(
                &ellipse(lower, 14.0, 8.0),
                radial(lower, 13.0, &[(0.0, PETAL_YELLOW.at(0.95)), (1.0, IRIS.at(0.0))]),
            );
            c.fill(&ellipse(at, 14.0, 15.5), NIGHT);
            c.soft(2.0, |c| c.fill(&ellipse((0.0, -24.0), 30.0, 10.0), NIGHT.at(0.6)));
            c.fill(&ellipse((9.0, -8.0), 7.0, 7.4), WHITE);
            c.fill(&circle((-8.0, 9.5), 3.4), WHITE.at(0.85));
        });
        let upper =
            curve(&flip(&[(-26.0, 3.0), (-20.0, -12.5), (-2.0, -23.5), (18.0, -20.0), (31.0, -6.0)], side));
        c.stroke(&upper, 4.6, NIGHT);
        let under = curve(&flip(&[(-18.0, 21.5), (2.0, 25.5), (22.0, 17.5), (30.0, -4.0)], side));
        c.stroke(&under, 1.8, UMBER);
        for (from, to) in [((28.0, -8.0), (43.0, -19.0)), ((23.0, -15.0), (34.0, -27.0))] {
            let (from, to): (Pt, Pt) = (from, to);
            c.fill(&blade((from.0 * side, from.1), (to.0 * side, to.1), 4.4, side * 1.6), NIGHT);
        }
    });
}

/// Nose, mouth and whiskers.
pub fn muzzle(canvas: &mut Canvas) {
    canvas.soft(4.0, |c| c.fill(&ellipse((0.0, 84.0), 20.0, 8.0), CREAM_SHADE.mix(COOL_SHADE, 0.3).at(0.6)));
    let nose = blob(&[
        (0.0, 54.0),
        (14.0, 55.0),
        (20.0, 63.0),
        (12.0, 74.0),
        (0.0, 80.0),
        (-12.0, 74.0),
        (-20.0, 63.0),
        (-14.0, 55.0),
    ]);
    canvas
        .fill(&nose, linear((0.0, 54.0), (0.0, 80.0), &[(0.0, UMBER.mix(PEAK_MIDDLE, 0.25)), (0.5, NIGHT)]));
    canvas.fill(&ellipse((5.0, 60.0), 7.0, 2.7), WHITE.at(0.75));
    canvas.stroke(&curve(&[(0.0, 79.0), (0.0, 90.0)]), 2.4, UMBER);
    canvas.stroke(
        &curve(&[
            (-36.0, 86.0),
            (-26.0, 97.0),
            (-12.0, 99.0),
            (0.0, 90.0),
            (12.0, 99.0),
            (28.0, 97.0),
            (39.0, 84.0),
        ]),
        2.8,
        UMBER,
    );
    let tongue = blob(&[(-8.0, 98.0), (0.0, 94.0), (8.0, 98.0), (6.0, 107.0), (0.0, 110.0), (-6.0, 107.0)]);
    canvas.fill(&tongue, linear((0.0, 94.0), (0.0, 110.0), &[(0.0, BERET_SHADE), (0.6, BLUSH)]));
    for side in [-1.0, 1.0] {
        for (i, (x, y)) in [(30.0, 72.0), (38.0, 80.0), (28.0, 82.0)].into_iter().enumerate() {
            canvas.fill(&circle((x * side, y), 1.4), UMBER.at(0.8));
            let tip = ((x + 78.0) * side, y - 10.0 + i as f32 * 13.0);
            canvas.fill(&blade((x * side, y), tip, 1.5, side * -5.0), WHITE.at(0.9));
        }
    }
}
