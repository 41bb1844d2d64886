//! The drawing surface: paths, fills and blurred layers on top of `tiny-skia`.

use tiny_skia::{
    Color, FillRule, FilterQuality, GradientStop, LineCap, LineJoin, LinearGradient, Mask, Paint, Path,
    Pixmap, PixmapPaint, Point, RadialGradient, Shader, SpreadMode, Stroke, Transform,
};

/// The fill of a shape: one colour or a gradient.
pub type Ink = Shader<'static>;

/// A point in picture units.
pub type Pt = (f32, f32);

/// A colour with opacity.
#[derive(Clone, Copy)]
pub struct Tint {
    rgb: [f32; 3],
    alpha: f32,
}

impl Tint {
    /// An opaque colour written as `0xRRGGBB`.
    pub const fn hex(code: u32) -> Self {
        let r = ((code >> 16) & 255) as f32 / 255.0;
        let g = ((code >> 8) & 255) as f32 / 255.0;
        let b = (code & 255) as f32 / 255.0;
        Self { rgb: [r, g, b], alpha: 1.0 }
    }

    /// The same colour at another opacity.
    pub const fn at(self, alpha: f32) -> Self {
        Self { rgb: self.rgb, alpha }
    }

    /// Interpolates between this colour (`t` = 0) and `other` (`t` = 1).
    pub fn mix(self, other: Tint, t: f32) -> Self {
        let lerp = |a: f32, b: f32| a + (b - a) * t;
        let rgb = [0, 1, 2].map(|i| lerp(self.rgb[i], other.rgb[i]));
        Self { rgb, alpha: lerp(self.alpha, other.alpha) }
    }

    fn color(self) -> Color {
        let [r, g, b] = self.rgb.map(|v| v.clamp(0.0, 1.0));
        Color::from_rgba(r, g, b, self.alpha.clamp(0.0, 1.0)).unwrap_or(Color::BLACK)
    }
}

impl From<Tint> for Ink {
    fn from(tint: Tint) -> Ink {
        Shader::SolidColor(tint.color())
    }
}

fn stops(list: &[(f32, Tint)]) -> Vec<GradientStop> {
    list.iter().map(|&(at, tint)| GradientStop::new(at, tint.color())).collect()
}

fn last_tint(list: &[(f32, Tint)]) -> Ink {
    list.last().map_or(Shader::SolidColor(Color::BLACK), |&(_, tint)| tint.into())
}

/// A gradient along the line from `from` to `to`.
pub fn linear(from: Pt, to: Pt, list: &[(f32, Tint)]) -> Ink {
    LinearGradient::new(from.into(), to.into(), stops(list), SpreadMode::Pad, Transform::identity())
        .unwrap_or_else(|| last_tint(list))
}

/// A gradient from a centre outwards.
pub fn radial(centre: Pt, radius: f32, list: &[(f32, Tint)]) -> Ink {
    let centre: Point = centre.into();
    let spread = SpreadMode::Pad;
    RadialGradient::new(centre, 0.0, centre, radius, stops(list), spread, Transform::identity())
        .unwrap_or_else(|| last_tint(list))
}

/// The surface, with `scale` pixels per picture unit.
pub struct Canvas {
    pixmap: Pixmap,
    mask: Option<Mask>,
    view: Transform,
    scale: f32,
}

impl Canvas {
    pub fn new(width: u32, height: u32, scale: u32) -> Option<Self> {
        let pixmap = Pixmap::new(width * scale, height * scale)?;
        let scale = scale as f32;
        Some(Self { pixmap, mask: None, view: Transform::from_scale(scale, scale), scale })
    }

    pub fn pixmap(&self) -> &Pixmap {
        &self.pixmap
    }

    /// Fills a shape.
    pub fn fill(&mut self, path: &Path, ink: impl Into<Ink>) {
        let paint = Paint { shader: ink.into(), anti_alias: true, ..Paint::default() };
        let rule = FillRule::Winding;
        self.pixmap.fill_path(path, &paint, rule, self.view, self.mask.as_ref());
    }

    /// Draws a line of the given width with round ends.
    pub fn stroke(&mut self, path: &Path, width: f32, ink: impl Into<Ink>) {
        let paint = Paint { shader: ink.into(), anti_alias: true, ..Paint::default() };
        let line_cap = LineCap::Round;
        let stroke = Stroke { width, line_cap, line_join: LineJoin::Round, ..Stroke::default() };
        self.pixmap.stroke_path(path, &paint, &stroke, self.view, self.mask.as_ref());
    }

    /// Draws inside the intersection of `path` and the current clip.
    pub fn inside(&mut self, path: &Path, draw: impl FnOnce(&mut Self)) {
        let before = self.mask.clone();
        match &mut self.mask {
            Some(mask) => mask.intersect_path(path, FillRule::Winding, true, self.view),
            None => {
                self.mask = Mask::new(self.pixmap.width(), self.pixmap.height()).map(|mut mask| {
                    mask.fill_path(path, FillRule::Winding, true, self.view);
                    mask
                });
            }
        }
        draw(self);
        self.mask = before;
    }

    /// Draws in a local frame: moved to `at`, rotated by `turn` degrees and scaled by `size`.
    pub fn placed(&mut self, at: Pt, turn: f32, size: f32, draw: impl FnOnce(&mut Self)) {
        let before = self.view;
        let frame = Transform::from_scale(size, size)
            .post_rotate(turn)
            .post_translate(at.0, at.1)
            .post_concat(before);
        self.view = frame;
        draw(self);
        self.view = before;
    }

    /// Draws on a separate layer, blurs it by `radius` and composites it.
    pub fn soft(&mut self, radius: f32, draw: impl FnOnce(&mut Self)) {
        let (width, height) = (self.pixmap.width(), self.pixmap.height());
        let Some(layer) = Pixmap::new(width, height) else {
            return;
        };
        let below = std::mem::replace(&mut self.pixmap, layer);
        let mask = self.mask.take();
        draw(self);
        self.mask = mask;
        let mut layer = std::mem::replace(&mut self.pixmap, below);
        blur(&mut layer, (radius * self.scale * 0.6).round().max(1.0) as usize);
        let (paint, still) = (PixmapPaint::default(), Transform::identity());
        self.pixmap.draw_pixmap(0, 0, layer.as_ref(), &paint, still, self.mask.as_ref());
    }

    /// Draws another picture, `size` units wide, with its upper left corner at the origin.
    pub fn picture(&mut self, other: &Pixmap, size: f32) {
        let ratio = size / other.width() as f32;
        let view = Transform::from_scale(ratio, ratio).post_concat(self.view);
        let paint = PixmapPaint { quality: FilterQuality::Bilinear, ..PixmapPaint::default() };
        self.pixmap.draw_pixmap(0, 0, other.as_ref(), &paint, view, self.mask.as_ref());
    }
}

/// Approximates a Gaussian blur by three box blurs along each axis.
fn blur(pixmap: &mut Pixmap, radius: usize) {
    let (width, height) = (pixmap.width() as usize, pixmap.height() as usize);
    let data = pixmap.data_mut();
    let mut line = Vec::with_capacity(width.max(height));
    for _ in 0..3 {
        for channel in 0..4 {
            for y in 0..height {
                blur_line(data, &mut line, y * width * 4 + channel, (4, width, radius));
            }
            for x in 0..width {
                blur_line(data, &mut line, x * 4 + channel, (width * 4, height, radius));
            }
        }
    }
}

/// Box-blurs one line of `count` bytes with the stride `step`.
fn blur_line(data: &mut [u8], line: &mut Vec<u8>, start: usize, run: (usize, usize, usize)) {
    let (step, count, radius) = run;
    line.clear();
    line.extend((0..count).map(|i| data[start + i * step]));
    let window = (2 * radius + 1) as u32;
    let pick = |i: isize| u32::from(line[i.clamp(0, count as isize - 1) as usize]);
    let reach = radius as isize;
    let mut sum: u32 = (-reach..=reach).map(pick).sum();
    for i in 0..count {
        data[start + i * step] = ((sum + window / 2) / window) as u8;
        sum = sum + pick(i as isize + reach + 1) - pick(i as isize - reach);
    }
}
