//! Fur: hairs inside a shape and tufts along a line.

use tiny_skia::Path;

use crate::canvas::{Canvas, Pt, Tint};
use crate::shapes::{Dice, blade};

/// Hairs scattered over a box.
pub struct Fur<'a> {
    pub area: (Pt, Pt),
    pub tints: &'a [Tint],
    pub length: f32,
    pub count: usize,
    pub seed: u64,
}

impl Fur<'_> {
    /// Draws the hairs inside `shape`. Each follows the direction `flow` at its root.
    pub fn grow(&self, canvas: &mut Canvas, shape: &Path, flow: impl Fn(Pt) -> Pt) {
        let mut dice = Dice::new(self.seed);
        let ((left, top), (right, bottom)) = self.area;
        canvas.inside(shape, |c| {
            for _ in 0..self.count {
                let root = (dice.range(left, right), dice.range(top, bottom));
                let (dx, dy) = flow(root);
                let norm = dx.hypot(dy).max(0.01);
                let length = self.length * dice.range(0.55, 1.25);
                let sway = dice.range(-0.25, 0.25);
                let (ux, uy) = (dx / norm - dy / norm * sway, dy / norm + dx / norm * sway);
                let tip = (root.0 + ux * length, root.1 + uy * length);
                let tint = dice.pick(self.tints).at(dice.range(0.12, 0.36));
                c.fill(&blade(root, tip, dice.range(1.1, 2.4), dice.range(-1.2, 1.2)), tint);
            }
        });
    }
}

/// A fringe of tufts along a line of points. Each points in the direction `lean` at its root.
pub fn fluff(canvas: &mut Canvas, line: &[Pt], tint: Tint, lean: impl Fn(Pt) -> Pt) {
    let mut dice = Dice::new(66);
    for pair in line.windows(2) {
        let (dx, dy) = (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1);
        for _ in 0..(dx.hypot(dy) / 3.0) as usize {
            let t = dice.unit();
            let root = (pair[0].0 + dx * t, pair[0].1 + dy * t);
            let (lx, ly) = lean(root);
            let reach = dice.range(0.6, 1.3);
            let tip = (root.0 + lx * reach, root.1 + ly * reach);
            canvas.fill(&blade(root, tip, 7.0, dice.range(-1.5, 1.5)), tint);
        }
    }
}
