//! Path builders and a small random number generator.

use tiny_skia::{Path, PathBuilder, Rect};

use crate::canvas::Pt;

/// A small deterministic generator (SplitMix64).
pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a random number in `0.0..1.0`.
    pub fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Returns a random number between `low` and `high`.
    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Returns a random entry of a list.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[((self.unit() * list.len() as f32) as usize).min(list.len() - 1)]
    }
}

fn finish(builder: PathBuilder) -> Path {
    builder.finish().unwrap_or_else(|| rect(-1.0, -1.0, 0.1, 0.1))
}

/// A rectangle with the given upper left corner and size.
pub fn rect(x: f32, y: f32, width: f32, height: f32) -> Path {
    let area = Rect::from_xywh(x, y, width, height).or(Rect::from_xywh(0.0, 0.0, 0.1, 0.1));
    PathBuilder::from_rect(area.expect("a rectangle with a size"))
}

/// A rectangle with rounded corners.
pub fn round_rect(x: f32, y: f32, width: f32, height: f32, radius: f32) -> Path {
    let (right, bottom) = (x + width, y + height);
    let mut b = PathBuilder::new();
    b.move_to(x + radius, y);
    b.line_to(right - radius, y);
    b.quad_to(right, y, right, y + radius);
    b.line_to(right, bottom - radius);
    b.quad_to(right, bottom, right - radius, bottom);
    b.line_to(x + radius, bottom);
    b.quad_to(x, bottom, x, bottom - radius);
    b.line_to(x, y + radius);
    b.quad_to(x, y, x + radius, y);
    b.close();
    finish(b)
}

/// An ellipse with the given centre and half axes.
pub fn ellipse(centre: Pt, rx: f32, ry: f32) -> Path {
    let area = Rect::from_xywh(centre.0 - rx, centre.1 - ry, rx * 2.0, ry * 2.0);
    area.and_then(PathBuilder::from_oval).unwrap_or_else(|| rect(0.0, 0.0, 0.1, 0.1))
}

pub fn circle(centre: Pt, radius: f32) -> Path {
    ellipse(centre, radius, radius)
}

/// A closed polygon.
pub fn polygon(points: &[Pt]) -> Path {
    let mut b = PathBuilder::new();
    for (i, &(x, y)) in points.iter().enumerate() {
        if i == 0 { b.move_to(x, y) } else { b.line_to(x, y) }
    }
    b.close();
    finish(b)
}

/// A smooth closed outline through the points.
pub fn blob(points: &[Pt]) -> Path {
    smooth(points, true)
}

/// A smooth open line through the points.
pub fn curve(points: &[Pt]) -> Path {
    smooth(points, false)
}

/// A smooth outline mirrored at the vertical axis: `half` runs down the right side.
pub fn mirrored(half: &[Pt]) -> Path {
    let left = half.iter().rev().filter(|p| p.0 > 0.01).map(|&(x, y)| (-x, y));
    blob(&half.iter().copied().chain(left).collect::<Vec<_>>())
}

/// A Catmull-Rom spline through the points, as cubic Bézier segments.
fn smooth(points: &[Pt], closed: bool) -> Path {
    let count = points.len() as isize;
    let at = |i: isize| -> Pt {
        points[if closed { i.rem_euclid(count) } else { i.clamp(0, count - 1) } as usize]
    };
    let mut b = PathBuilder::new();
    b.move_to(at(0).0, at(0).1);
    for i in 0..if closed { count } else { count - 1 } {
        let (p0, p1, p2, p3) = (at(i - 1), at(i), at(i + 1), at(i + 2));
        let c1 = (p1.0 + (p2.0 - p0.0) / 6.0, p1.1 + (p2.1 - p0.1) / 6.0);
        let c2 = (p2.0 - (p3.0 - p1.0) / 6.0, p2.1 - (p3.1 - p1.1) / 6.0);
        b.cubic_to(c1.0, c1.1, c2.0, c2.1, p2.0, p2.1);
    }
    if closed {
        b.close();
    }
    finish(b)
}

/// A hair or blade: `width` thick at its root, pointed at its tip, bent by `bend`.
pub fn blade(root: Pt, tip: Pt, width: f32, bend: f32) -> Path {
    let (dx, dy) = (tip.0 - root.0, tip.1 - root.1);
    let length = dx.hypot(dy).max(0.01);
    let (nx, ny) = (-dy / length, dx / length);
    let middle = (root.0 + dx * 0.5 + nx * bend, root.1 + dy * 0.5 + ny * bend);
    let half = width * 0.5;
    let mut b = PathBuilder::new();
    b.move_to(root.0 + nx * half, root.1 + ny * half);
    b.quad_to(middle.0 + nx * half * 0.8, middle.1 + ny * half * 0.8, tip.0, tip.1);
    b.quad_to(middle.0 - nx * half * 0.8, middle.1 - ny * half * 0.8, root.0 - nx * half, root.1 - ny * half);
    b.close();
    finish(b)
}

/// A pointed leaf from stem to tip.
pub fn leaf(stem: Pt, tip: Pt, width: f32) -> Path {
    let (dx, dy) = (tip.0 - stem.0, tip.1 - stem.1);
    let length = dx.hypot(dy).max(0.01);
    let (nx, ny) = (-dy / length * width, dx / length * width);
    let (mx, my) = (stem.0 + dx * 0.42, stem.1 + dy * 0.42);
    let mut b = PathBuilder::new();
    b.move_to(stem.0, stem.1);
    b.quad_to(mx + nx, my + ny, tip.0, tip.1);
    b.quad_to(mx - nx, my - ny, stem.0, stem.1);
    b.close();
    finish(b)
}
