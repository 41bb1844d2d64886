//! The fox's tail, body and the paw with the brush.

use crate::canvas::{Canvas, linear, radial};
use crate::fur::{Fur, fluff};
use crate::palette::*;
use crate::shapes::{blob, circle, curve, ellipse, polygon};

/// The bushy tail that curls up on the left.
pub fn tail(canvas: &mut Canvas) {
    let shape = blob(&[
        (150.0, 530.0),
        (84.0, 508.0),
        (34.0, 456.0),
        (14.0, 392.0),
        (26.0, 334.0),
        (62.0, 290.0),
        (92.0, 262.0),
        (98.0, 306.0),
        (110.0, 352.0),
        (104.0, 402.0),
        (128.0, 450.0),
        (190.0, 500.0),
    ]);
    let fur = linear((14.0, 330.0), (150.0, 420.0), &[(0.0, FOX_LIGHT), (0.4, FOX), (1.0, FOX_SHADE)]);
    let (back, tip) =
        ([(34.0, 450.0), (17.0, 392.0), (28.0, 338.0)], [(30.0, 334.0), (62.0, 294.0), (88.0, 270.0)]);
    fluff(canvas, &back, FOX_LIGHT.mix(FOX, 0.4), |(_, y)| (-5.0 + (392.0 - y) * 0.05, -13.0));
    fluff(canvas, &tip, CREAM, |_| (4.0, -14.0));
    canvas.fill(&shape, fur);
    canvas.inside(&shape, |c| {
        let tip = blob(&[
            (20.0, 352.0),
            (40.0, 338.0),
            (52.0, 352.0),
            (70.0, 336.0),
            (84.0, 352.0),
            (120.0, 330.0),
            (120.0, 240.0),
            (60.0, 240.0),
            (10.0, 300.0),
        ]);
        c.fill(&tip, linear((40.0, 280.0), (100.0, 350.0), &[(0.0, CREAM), (1.0, CREAM_SHADE)]));
    });
    let low = Fur {
        area: ((0.0, 345.0), (190.0, 520.0)),
        tints: &[FOX_LIGHT, FOX_SHADE, FOX_DEEP, FOX],
        length: 22.0,
        count: 700,
        seed: 61,
    };
    low.grow(canvas, &shape, |(x, y)| ((x - 80.0) * 0.25 - 4.0, -(y - 200.0) * 0.1));
    let high = Fur {
        area: ((10.0, 250.0), (120.0, 345.0)),
        tints: &[CREAM_SHADE, WHITE, CREAM_SHADE, FOX_LIGHT],
        length: 18.0,
        count: 260,
        seed: 62,
    };
    high.grow(canvas, &shape, |(x, y)| (92.0 - x, 250.0 - y));
    canvas.inside(&shape, |c| {
        c.soft(9.0, |c| c.fill(&ellipse((116.0, 306.0), 42.0, 44.0), COOL_SHADE.at(0.6)));
        c.soft(4.0, |c| {
            c.stroke(
                &curve(&[(90.0, 258.0), (60.0, 288.0), (24.0, 334.0), (12.0, 392.0)]),
                5.0,
                RIM_LIGHT.at(0.5),
            )
        });
    });
}

/// Chest and shoulders.
pub fn body(canvas: &mut Canvas) {
    let shape = blob(&[
        (236.0, 320.0),
        (316.0, 346.0),
        (362.0, 392.0),
        (388.0, 450.0),
        (400.0, 540.0),
        (236.0, 560.0),
        (84.0, 540.0),
        (98.0, 450.0),
        (118.0, 392.0),
        (160.0, 346.0),
    ]);
    canvas.soft(8.0, |c| c.fill(&ellipse((240.0, 506.0), 190.0, 26.0), NIGHT.at(0.55)));
    let fur = [(0.0, FOX_SHADE), (0.45, FOX), (1.0, FOX_LIGHT)];
    canvas.fill(&shape, linear((84.0, 450.0), (400.0, 430.0), &fur));
    let coat = Fur {
        area: ((80.0, 320.0), (404.0, 520.0)),
        tints: &[FOX_LIGHT, FOX_SHADE, FOX_DEEP, FOX],
        length: 18.0,
        count: 1300,
        seed: 63,
    };
    coat.grow(canvas, &shape, |(x, _)| ((x - 236.0) * 0.02, 6.0));
    let edge = [
        (292.0, 366.0),
        (306.0, 410.0),
        (296.0, 448.0),
        (274.0, 484.0),
        (240.0, 530.0),
        (206.0, 484.0),
        (180.0, 448.0),
        (168.0, 410.0),
        (182.0, 366.0),
    ];
    let chest = blob(&edge);
    fluff(canvas, &edge, CREAM, |(x, _)| ((x - 238.0) * 0.1, 12.0));
    canvas.fill(
        &chest,
        linear((180.0, 400.0), (300.0, 470.0), &[(0.0, CREAM_SHADE), (0.6, CREAM), (1.0, WHITE)]),
    );
    let bib = Fur {
        area: ((165.0, 350.0), (310.0, 515.0)),
        tints: &[CREAM_SHADE, WHITE, FOX_LIGHT, CREAM_SHADE],
        length: 18.0,
        count: 520,
        seed: 64,
    };
    bib.grow(canvas, &shape, |(x, _)| ((x - 236.0) * 0.03, 5.0));
    canvas.inside(&shape, |c| {
        c.soft(10.0, |c| c.fill(&ellipse((228.0, 392.0), 104.0, 34.0), FOX_DEEP.at(0.55)));
        c.soft(6.0, |c| {
            c.stroke(
                &curve(&[(330.0, 350.0), (372.0, 396.0), (396.0, 460.0), (404.0, 530.0)]),
                9.0,
                RIM_LIGHT.at(0.85),
            )
        });
    });
}

/// The raised paw and the brush at work on the canvas.
pub fn paw(canvas: &mut Canvas) {
    let arm = blob(&[
        (350.0, 540.0),
        (352.0, 480.0),
        (372.0, 436.0),
        (398.0, 404.0),
        (424.0, 392.0),
        (446.0, 404.0),
        (448.0, 428.0),
        (436.0, 460.0),
        (428.0, 500.0),
        (430.0, 540.0),
    ]);
    canvas.soft(6.0, |c| c.fill(&ellipse((380.0, 470.0), 40.0, 56.0), NIGHT.at(0.35)));
    canvas.fill(
        &arm,
        linear((350.0, 460.0), (440.0, 470.0), &[(0.0, FOX_SHADE), (0.5, FOX), (1.0, FOX_LIGHT)]),
    );
    let sleeve = Fur {
        area: ((340.0, 420.0), (450.0, 520.0)),
        tints: &[FOX_LIGHT, FOX_SHADE, FOX_DEEP],
        length: 16.0,
        count: 330,
        seed: 65,
    };
    sleeve.grow(canvas, &arm, |(x, _)| ((420.0 - x) * 0.03 - 1.0, -4.0));
    canvas.inside(&arm, |c| {
        let glove = blob(&[
            (340.0, 380.0),
            (364.0, 446.0),
            (380.0, 436.0),
            (390.0, 454.0),
            (404.0, 440.0),
            (414.0, 458.0),
            (428.0, 446.0),
            (442.0, 462.0),
            (470.0, 420.0),
            (440.0, 370.0),
        ]);
        c.fill(
            &glove,
            linear((370.0, 440.0), (448.0, 420.0), &[(0.0, NIGHT), (0.6, UMBER), (1.0, UMBER.mix(FOX, 0.3))]),
        );
    });
    brush(canvas);
    for (x, y, turn) in [(404.0, 404.0, -32.0), (419.0, 402.0, -14.0), (434.0, 407.0, 8.0)] {
        canvas.placed((x, y), turn, 1.0, |c| {
            let ink = radial((2.0, -5.0), 18.0, &[(0.0, UMBER.mix(FOX, 0.42)), (1.0, UMBER)]);
            c.fill(&ellipse((0.0, 0.0), 9.0, 13.0), ink);
            c.stroke(
                &curve(&[(-3.0, -11.6), (4.0, -11.0), (7.6, -5.0), (8.2, 2.0)]),
                1.3,
                FOX_LIGHT.at(0.75),
            );
        });
    }
}

fn brush(canvas: &mut Canvas) {
    canvas.placed((414.0, 414.0), 40.0, 1.0, |c| {
        let handle =
            polygon(&[(-1.6, 46.0), (1.6, 46.0), (4.4, -56.0), (3.0, -106.0), (-3.0, -106.0), (-4.4, -56.0)]);
        c.fill(
            &handle,
            linear((-4.0, 0.0), (4.0, 0.0), &[(0.0, BERET_SHADE), (0.4, BERET_LIGHT), (1.0, BERET)]),
        );
        let steel = [(0.0, PEAK_MIDDLE), (0.4, WHITE), (1.0, PEAK_NEAR)];
        c.fill(
            &polygon(&[(-3.2, -106.0), (3.2, -106.0), (5.0, -127.0), (-5.0, -127.0)]),
            linear((-4.0, 0.0), (4.0, 0.0), &steel),
        );
        let hair = blob(&[
            (-5.0, -126.0),
            (5.0, -126.0),
            (6.6, -136.0),
            (3.4, -146.0),
            (0.0, -156.0),
            (-4.0, -146.0),
            (-6.6, -136.0),
        ]);
        c.fill(&hair, UMBER);
        c.inside(&hair, |c| c.fill(&circle((0.0, -152.0), 17.0), BERET_LIGHT));
    });
}
