//! The easel with the half-finished picture, its plaque, a bird and the paints.

use tiny_skia::Pixmap;

use crate::canvas::{Canvas, Pt, Tint, linear, radial};
use crate::lettering::{Type, write};
use crate::palette::*;
use crate::shapes::{Dice, blade, blob, circle, curve, ellipse, leaf, polygon, rect, round_rect};

/// Size of the painted area in the easel's frame, and the side of one block.
const SHEET: Pt = (228.0, 156.0);
const BLOCK: f32 = 12.0;

/// Upper left corner of the painted area.
const CORNER: Pt = (512.0, 158.0);

/// The easel; `view` is the landscape that the fox paints.
pub fn paint(canvas: &mut Canvas, view: &Pixmap) {
    legs(canvas);
    canvas.placed(CORNER, 2.5, 1.0, |c| {
        sheet(c, view);
        ledge(c);
        bird(c);
    });
    plaque(canvas);
}

/// A straight wooden beam with grain and a lit left edge.
fn beam(canvas: &mut Canvas, from: Pt, to: Pt, width: f32) {
    let half = width * 0.5;
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length = dx.hypot(dy);
    let (nx, ny) = (-dy / length * half, dx / length * half);
    let board = polygon(&[
        (from.0 + nx, from.1 + ny),
        (to.0 + nx, to.1 + ny),
        (to.0 - nx, to.1 - ny),
        (from.0 - nx, from.1 - ny),
    ]);
    let across = [(0.0, WOOD_LIGHT), (0.35, WOOD), (1.0, WOOD_SHADE)];
    canvas.fill(&board, linear((from.0 + nx, from.1 + ny), (from.0 - nx, from.1 - ny), &across));
    let mut dice = Dice::new(from.0 as u64 + 7);
    canvas.inside(&board, |c| {
        for _ in 0..(length / 7.0) as usize {
            let (t, s) = (dice.unit(), dice.range(-0.9, 0.9));
            let root = (from.0 + dx * t + nx * s, from.1 + dy * t + ny * s);
            let reach = dice.range(10.0, 30.0) / length;
            let tip = (root.0 + dx * reach, root.1 + dy * reach);
            c.fill(&blade(root, tip, 0.9, 0.3), WOOD_SHADE.at(0.5));
        }
    });
}

fn legs(canvas: &mut Canvas) {
    canvas.soft(6.0, |c| {
        c.fill(&ellipse((640.0, 508.0), 140.0, 14.0), NIGHT.at(0.5));
    });
    beam(canvas, (632.0, 110.0), (640.0, 480.0), 9.0);
    beam(canvas, (604.0, 120.0), (540.0, 520.0), 11.0);
    beam(canvas, (656.0, 122.0), (738.0, 520.0), 11.0);
    beam(canvas, (560.0, 424.0), (718.0, 428.0), 8.0);
}

/// The picture on the easel: finished on the left, coarse blocks on the right.
fn sheet(canvas: &mut Canvas, view: &Pixmap) {
    let (width, height) = SHEET;
    canvas.soft(5.0, |c| c.fill(&rect(-2.0, 2.0, width + 14.0, height + 12.0), NIGHT.at(0.45)));
    canvas.fill(&rect(-7.0, -7.0, width + 14.0, height + 14.0), PAPER.mix(CREAM_SHADE, 0.25));
    canvas.fill(&rect(width + 3.0, -7.0, 4.0, height + 14.0), CREAM_SHADE.mix(COOL_SHADE, 0.35));
    canvas.inside(&rect(0.0, 0.0, width, height), |c| {
        c.picture(view, width + 8.0);
        let mut dice = Dice::new(19);
        for row in 0..(height / BLOCK) as usize {
            for column in 0..(width / BLOCK) as usize {
                let (x, y) = (column as f32 * BLOCK, row as f32 * BLOCK);
                let border = 84.0 + y * 0.42 + dice.range(-22.0, 22.0);
                if x > border {
                    let tint = mean(view, (x, y), width + 8.0);
                    c.fill(&rect(x, y, BLOCK, BLOCK), tint);
                    c.fill(&rect(x, y, BLOCK, 0.8), WHITE.at(0.16));
                    c.fill(&rect(x, y, 0.8, BLOCK), WHITE.at(0.10));
                    c.fill(&rect(x, y + BLOCK - 0.8, BLOCK, 0.8), NIGHT.at(0.10));
                }
            }
        }
    });
}

/// The mean colour of the view under one block.
fn mean(view: &Pixmap, corner: Pt, width: f32) -> Tint {
    let ratio = view.width() as f32 / width;
    let mut sum = [0u32; 3];
    let side = (BLOCK * ratio) as u32;
    for i in 0..side * side {
        let x = (corner.0 * ratio) as u32 + i % side;
        let y = (corner.1 * ratio) as u32 + i / side;
        let at = (y.min(view.height() - 1) * view.width() + x.min(view.width() - 1)) as usize;
        let pixel = view.pixels()[at];
        sum = [
            sum[0] + u32::from(pixel.red()),
            sum[1] + u32::from(pixel.green()),
            sum[2] + u32::from(pixel.blue()),
        ];
    }
    let [r, g, b] = sum.map(|v| v / (side * side));
    Tint::hex(r << 16 | g << 8 | b)
}

fn ledge(canvas: &mut Canvas) {
    let (width, height) = SHEET;
    let board = round_rect(-18.0, height + 5.0, width + 36.0, 12.0, 3.0);
    let ink = linear(
        (0.0, height + 5.0),
        (0.0, height + 17.0),
        &[(0.0, WOOD_LIGHT), (0.3, WOOD), (1.0, WOOD_SHADE)],
    );
    canvas.fill(&board, ink);
    let clamp = round_rect(width * 0.5 - 13.0, -17.0, 26.0, 13.0, 3.0);
    canvas.fill(&clamp, linear((0.0, -17.0), (0.0, -4.0), &[(0.0, WOOD_LIGHT), (1.0, WOOD_SHADE)]));
    canvas.fill(&circle((width * 0.5, -10.5), 2.4), UMBER);
    canvas.fill(&circle((width * 0.5 - 0.6, -11.2), 0.9), RIM_LIGHT);
}

/// A little round bird on the upper edge, looking at the painter.
fn bird(canvas: &mut Canvas) {
    canvas.placed((46.0, -22.0), -2.5, 0.86, |c| {
        c.fill(&leaf((12.0, 2.0), (37.0, 10.0), 7.0), BLUEBIRD_SHADE);
        let body = blob(&[
            (-16.0, -8.0),
            (-10.0, -19.0),
            (2.0, -20.0),
            (12.0, -9.0),
            (18.0, 3.0),
            (10.0, 14.0),
            (-4.0, 16.0),
            (-15.0, 7.0),
        ]);
        c.fill(
            &body,
            linear((0.0, -20.0), (6.0, 16.0), &[(0.0, BLUEBIRD.mix(WHITE, 0.15)), (1.0, BLUEBIRD_SHADE)]),
        );
        c.inside(&body, |c| {
            c.fill(&ellipse((-11.0, 9.0), 14.0, 13.0), FOX_LIGHT);
            c.fill(&ellipse((-4.0, 19.0), 12.0, 8.0), CREAM);
        });
        c.fill(&leaf((-2.0, -1.0), (25.0, 9.0), 15.0), BLUEBIRD_SHADE.mix(NIGHT, 0.2));
        for feather in 0..4 {
            let y = 1.0 + feather as f32 * 1.8;
            c.stroke(&curve(&[(3.0, y), (12.0, y + 2.6), (19.0, y + 3.4)]), 0.7, BLUEBIRD.mix(WHITE, 0.3));
        }
        c.fill(&polygon(&[(-14.5, -9.0), (-22.0, -5.0), (-14.5, -3.5)]), PETAL_YELLOW);
        c.fill(&circle((-8.6, -9.0), 3.1), NIGHT);
        c.fill(&circle((-9.6, -10.2), 1.1), WHITE);
        c.stroke(&curve(&[(-3.0, 15.0), (-3.5, 19.0)]), 1.3, UMBER);
        c.stroke(&curve(&[(4.0, 15.0), (4.0, 19.0)]), 1.3, UMBER);
    });
}

/// The title under the picture.
fn plaque(canvas: &mut Canvas) {
    let (x, y, width, height) = (549.0, 352.0, 174.0, 52.0);
    for hook in [x + 24.0, x + width - 24.0] {
        canvas.stroke(&curve(&[(hook, y - 18.0), (hook, y + 4.0)]), 1.3, UMBER);
    }
    canvas.soft(4.0, |c| c.fill(&rect(x + 2.0, y + 5.0, width, height), NIGHT.at(0.5)));
    let board = round_rect(x, y, width, height, 6.0);
    let light = [(0.0, PAPER), (1.0, CREAM_SHADE.mix(PAPER, 0.35))];
    canvas.fill(&board, linear((x, y), (x + width, y + height), &light));
    canvas.stroke(&round_rect(x + 3.5, y + 3.5, width - 7.0, height - 7.0, 3.5), 0.9, BERET.at(0.8));
    let middle = x + width * 0.5;
    let title = Type { height: 14.0, pen: 2.5, gap: 4.0, tint: INK };
    write(canvas, "LATENT LAKE", (middle, y + 11.5), title);
    let line = Type { height: 6.6, pen: 1.15, gap: 2.0, tint: BERET_SHADE };
    write(canvas, "SMALL NUMBERS, BIG PICTURE", (middle, y + 34.0), line);
}

/// A crate with four jars of paint.
pub fn crate_of_paints(canvas: &mut Canvas) {
    let jars = [(590.0, BERET), (624.0, PETAL_YELLOW), (658.0, SCARF), (692.0, BLUEBIRD)];
    for (x, tint) in jars {
        jar(canvas, (x, 452.0), tint);
    }
    let (x, y, width) = (566.0, 454.0, 150.0);
    for plank in 0..3 {
        let top = y + plank as f32 * 21.0;
        beam(canvas, (x + width, top + 9.5), (x, top + 9.5), 19.0);
    }
    canvas.fill(&rect(x, y, width, 19.0), UMBER.at(0.35));
    beam(canvas, (x + 6.0, y - 3.0), (x + 6.0, 520.0), 12.0);
    beam(canvas, (x + width - 6.0, y - 3.0), (x + width - 6.0, 520.0), 12.0);
    let style = Type { height: 9.6, pen: 1.9, gap: 2.4, tint: PAPER };
    write(canvas, "FOUR CHANNELS", (x + width * 0.5, y + 5.0), style);
}

fn jar(canvas: &mut Canvas, foot: Pt, tint: Tint) {
    canvas.placed(foot, 0.0, 1.0, |c| {
        c.fill(&round_rect(-13.0, -30.0, 26.0, 40.0, 5.0), WHITE.at(0.35));
        let ink = [(0.0, tint.mix(WHITE, 0.3)), (0.4, tint), (1.0, tint.mix(NIGHT, 0.4))];
        c.fill(&round_rect(-11.5, -24.0, 23.0, 34.0, 4.0), linear((-11.0, 0.0), (12.0, 0.0), &ink));
        c.fill(&ellipse((0.0, -24.0), 11.5, 2.8), tint.mix(WHITE, 0.35));
        c.stroke(&ellipse((0.0, -30.0), 12.4, 2.8), 1.2, WHITE.at(0.75));
        c.stroke(&curve(&[(-8.6, -20.0), (-8.6, -4.0)]), 1.8, WHITE.at(0.7));
        let glow = [(0.0, WHITE.at(0.6)), (1.0, WHITE.at(0.0))];
        c.fill(&circle((6.0, -16.0), 4.0), radial((6.0, -16.0), 4.0, &glow));
    });
}
