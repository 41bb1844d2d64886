//! Sky, sun, clouds, the branch overhead and the evening light.

use crate::canvas::{Canvas, Pt, linear, radial};
use crate::palette::*;
use crate::shapes::{Dice, blade, blob, circle, curve, ellipse, leaf, rect};

/// Centre of the sun.
pub const SUN_AT: Pt = (440.0, 226.0);

/// Everything above the horizon.
pub fn paint(canvas: &mut Canvas) {
    let stops = [
        (0.0, SKY_ZENITH),
        (0.26, SKY_HIGH),
        (0.52, SKY_MIDDLE),
        (0.74, SKY_ROSE),
        (0.9, SKY_APRICOT),
        (1.0, SKY_HORIZON),
    ];
    canvas.fill(&rect(0.0, 0.0, 768.0, 512.0), linear((0.0, 0.0), (20.0, 300.0), &stops));
    stars(canvas);
    sun(canvas);
    clouds(canvas);
    far_birds(canvas);
}

fn stars(canvas: &mut Canvas) {
    let mut dice = Dice::new(11);
    for _ in 0..46 {
        let (x, y) = (dice.range(0.0, 768.0), dice.range(0.0, 1.0).powf(1.6) * 130.0);
        let glow = (1.0 - y / 140.0) * dice.range(0.35, 0.95);
        canvas.fill(&circle((x, y), dice.range(0.5, 1.15)), WHITE.at(glow));
    }
}

fn sun(canvas: &mut Canvas) {
    let (x, y) = SUN_AT;
    let wide = [(0.0, SUN_GLOW.at(0.85)), (0.3, SUN_GLOW.at(0.38)), (1.0, SUN_GLOW.at(0.0))];
    canvas.fill(&circle(SUN_AT, 230.0), radial(SUN_AT, 230.0, &wide));
    let near = [(0.0, SUN.at(1.0)), (0.45, SUN.at(0.55)), (1.0, SUN.at(0.0))];
    canvas.fill(&circle(SUN_AT, 78.0), radial(SUN_AT, 78.0, &near));
    canvas.fill(&circle((x, y), 27.0), SUN);
}

/// Long banks of clouds, lit from below; each is x and y of its centre, half width and thickness.
fn clouds(canvas: &mut Canvas) {
    let banks = [
        (70.0, 66.0, 160.0, 26.0),
        (360.0, 34.0, 120.0, 11.0),
        (545.0, 96.0, 170.0, 28.0),
        (20.0, 150.0, 130.0, 22.0),
        (420.0, 150.0, 92.0, 10.0),
        (700.0, 168.0, 130.0, 13.0),
        (70.0, 212.0, 130.0, 14.0),
        (300.0, 196.0, 90.0, 8.0),
    ];
    let mut dice = Dice::new(5);
    for (x, y, half, thick) in banks {
        cloud(canvas, &mut dice, (x, y), (half, thick));
    }
}

fn cloud(canvas: &mut Canvas, dice: &mut Dice, middle: Pt, size: Pt) {
    let ((x, y), (half, thick)) = (middle, size);
    let warm = (y / 200.0).clamp(0.0, 1.0);
    let top = CLOUD_SHADE.mix(CLOUD_ROSE, 0.25 + warm * 0.65);
    let foot = CLOUD_ROSE.mix(CLOUD_LIGHT, 0.2 + warm * 0.7);
    let fade = [(0.0, top.at(0.86)), (0.55, top.mix(foot, 0.55).at(0.88)), (1.0, foot.at(0.9))];
    let ink = linear((0.0, y - thick * 1.3), (0.0, y + thick * 0.3), &fade);
    let base = blob(&[
        (x - half, y + 1.0),
        (x - half * 0.4, y - thick * 0.3),
        (x + half * 0.3, y - thick * 0.36),
        (x + half, y - 1.0),
        (x + half * 0.35, y + thick * 0.26),
        (x - half * 0.4, y + thick * 0.22),
    ]);
    let mut puffs = Vec::new();
    for i in 0..22 {
        let t = (i as f32 + dice.unit()) / 11.0 - 1.0;
        let swell = (1.0 - t * t) * (0.55 + 0.45 * (t * 5.0 + x).sin()).max(0.15);
        let radius = thick * (0.16 + 0.42 * swell * dice.range(0.7, 1.1));
        let centre = (x + t * half * 0.8, y - thick * 0.9 * swell * dice.range(0.5, 0.9));
        puffs.push((centre, radius));
    }
    canvas.soft(1.1, |c| {
        c.fill(&base, ink.clone());
        for &(centre, radius) in &puffs {
            c.fill(&ellipse(centre, radius * 1.7, radius), ink.clone());
        }
    });
    canvas.soft(2.2, |c| {
        for &((px, py), radius) in &puffs {
            let lit = ellipse((px + radius * 0.3, py + radius * 0.5), radius * 1.3, radius * 0.42);
            c.fill(&lit, foot.mix(CLOUD_LIGHT, 0.5).at(0.5));
        }
    });
}

fn far_birds(canvas: &mut Canvas) {
    for (x, y, s) in [(452.0, 118.0, 1.0), (472.0, 127.0, 0.8), (434.0, 131.0, 0.7)] {
        let wings = [(-8.0, -3.0), (-4.0, -4.5), (0.0, 0.0), (4.5, -4.8), (9.0, -2.5)];
        let line: Vec<Pt> = wings.iter().map(|&(dx, dy)| (x + dx * s, y + dy * s)).collect();
        canvas.stroke(&curve(&line), 1.3 * s, COOL_SHADE.at(0.85));
    }
}

/// A leafy branch that reaches in from the upper right corner.
pub fn branch(canvas: &mut Canvas) {
    let mut dice = Dice::new(23);
    let limbs: [&[Pt]; 5] = [
        &[(784.0, -4.0), (744.0, 8.0), (706.0, 2.0), (676.0, -8.0)],
        &[(780.0, 26.0), (720.0, 34.0), (660.0, 30.0), (600.0, 44.0), (548.0, 40.0)],
        &[(720.0, 34.0), (690.0, 58.0), (664.0, 84.0), (650.0, 96.0)],
        &[(775.0, 60.0), (752.0, 92.0), (744.0, 124.0), (728.0, 146.0)],
        &[(660.0, 30.0), (630.0, 14.0), (590.0, 10.0), (566.0, 2.0)],
    ];
    for (i, limb) in limbs.iter().enumerate() {
        canvas.stroke(&curve(limb), if i == 1 { 4.2 } else { 2.4 }, LEAF_SHADE.mix(UMBER, 0.5));
    }
    for limb in limbs {
        for pair in limb.windows(2) {
            for step in 0..6 {
                let t = (step as f32 + dice.unit()) / 6.0;
                let x = pair[0].0 + (pair[1].0 - pair[0].0) * t;
                let y = pair[0].1 + (pair[1].1 - pair[0].1) * t;
                hanging_leaf(canvas, &mut dice, (x, y));
            }
        }
    }
}

fn hanging_leaf(canvas: &mut Canvas, dice: &mut Dice, stem: Pt) {
    let angle = dice.range(0.2, 3.6);
    let length = dice.range(15.0, 29.0);
    let tip = (stem.0 + angle.cos() * length, stem.1 + angle.sin() * length);
    let lit = ((tip.1 - 20.0) / 120.0).clamp(0.0, 0.7) + dice.range(0.05, 0.5);
    let tint = if lit > 0.5 { LEAF.mix(LEAF_LIT, lit * 2.0 - 1.0) } else { LEAF_SHADE.mix(LEAF, lit * 2.0) };
    canvas.fill(&leaf(stem, tip, length * dice.range(0.42, 0.6)), tint);
    canvas.fill(&blade(stem, tip, 1.2, 0.0), LEAF_LIT.at(0.45));
}

/// The sun's haze over the scene, and a slight darkening of the corners.
pub fn evening_light(canvas: &mut Canvas) {
    let haze = [(0.0, SUN_GLOW.at(0.3)), (0.5, SUN_GLOW.at(0.09)), (1.0, SUN_GLOW.at(0.0))];
    canvas.fill(&circle(SUN_AT, 190.0), radial(SUN_AT, 190.0, &haze));
    let corner = [(0.0, NIGHT.at(0.0)), (0.66, NIGHT.at(0.0)), (1.0, NIGHT.at(0.3))];
    canvas.fill(&rect(0.0, 0.0, 768.0, 512.0), radial((390.0, 250.0), 480.0, &corner));
}
