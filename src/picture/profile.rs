//! The colour profile of a picture file, and the conversion to sRGB.

use std::fmt;
use std::sync::Arc;

use image::{DynamicImage, ImageDecoder, ImageFormat};
use moxcms::{
    Chromaticity, CicpProfile, ColorPrimaries, ColorProfile, DataColorSpace, Layout, MatrixCoefficients,
    ProfileText, RenderingIntent, ToneReprCurve, TransferCharacteristics, TransformF32Executor,
    TransformOptions,
};
use rayon::prelude::*;

use super::PictureError;
use super::png::{self, Colors};
use super::read::decoder;
use super::tiff;

/// The colour profile of a picture file: an embedded ICC profile, or the chunks `cICP`, `gAMA` and `cHRM` of PNG.
#[derive(Debug, Clone)]
pub struct Profile {
    description: String,
    /// The profile, or why it cannot be used.
    content: Result<Box<ColorProfile>, String>,
}

/// The largest ICC profile that is read, in bytes.
const MAX_BYTES: usize = 8 << 20;

/// The most characters of a description.
const MAX_DESCRIPTION: usize = 64;

impl Profile {
    /// Reads the profile of a picture file; `None` if it has none. PNG's chunk `sRGB` is not a profile.
    ///
    /// # Errors
    /// Those of a header that cannot be read. A damaged profile is not an error until it is used.
    pub fn of(bytes: &[u8]) -> Result<Option<Self>, PictureError> {
        let (format, mut decoder) = decoder(bytes)?;
        Self::read(format, bytes, &mut decoder)
    }

    pub(super) fn read(
        format: ImageFormat,
        bytes: &[u8],
        decoder: &mut impl ImageDecoder,
    ) -> Result<Option<Self>, PictureError> {
        let colors = if format == ImageFormat::Png { png::colors(bytes) } else { Colors::Icc };
        Ok(match colors {
            Colors::Srgb => None,
            Colors::Cicp(points) => Some(Self::from_cicp(points)),
            Colors::Gamma(gamma, primaries) => Some(Self::from_gamma(gamma, primaries)),
            Colors::Icc if format == ImageFormat::Tiff => match tiff::icc_profile(bytes) {
                Ok(icc) => icc.map(|icc| Self::from_icc(&icc)),
                Err(error) => Some(Self::broken(error)),
            },
            Colors::Icc => match decoder.icc_profile() {
                Ok(Some(icc)) => Some(Self::from_icc(&icc)),
                Ok(None) if format == ImageFormat::Png => Some(Self::broken("it cannot be decompressed")),
                Ok(None) => None,
                Err(error) => Some(Self::broken(error)),
            },
        })
    }

    fn broken(why: impl fmt::Display) -> Self {
        Self { description: "damaged".into(), content: Err(why.to_string()) }
    }

    fn from_icc(icc: &[u8]) -> Self {
        if icc.len() > MAX_BYTES {
            return Self::broken(format_args!("it has more than {} MiB", MAX_BYTES >> 20));
        }
        let profile = match ColorProfile::new_from_slice(icc) {
            Ok(profile) => profile,
            Err(error) => return Self::broken(error),
        };
        let description = match &profile.description {
            Some(ProfileText::PlainString(text)) => text.as_str(),
            Some(ProfileText::Localizable(texts)) => texts.first().map_or("", |text| &text.value),
            Some(ProfileText::Description(text)) if text.ascii_string.is_empty() => &text.unicode_string,
            Some(ProfileText::Description(text)) => &text.ascii_string,
            None => "",
        };
        let description = match short(description) {
            text if text.is_empty() => "without a description".into(),
            text => text,
        };
        let content = match profile.color_space {
            DataColorSpace::Rgb | DataColorSpace::Gray => Ok(Box::new(profile)),
            other => Err(format!("it is for {other:?} colours")),
        };
        Self { description, content }
    }

    fn from_cicp([primaries, transfer, matrix, full_range]: [u8; 4]) -> Self {
        let content = || -> Result<_, String> {
            if let 16 | 18 = transfer {
                return Err("it is HDR (PQ or HLG)".into());
            }
            if (matrix, full_range) != (0, 1) {
                return Err("its values are not RGB in full range".into());
            }
            let unknown = |_| "its code points are not known".to_string();
            let cicp = CicpProfile {
                color_primaries: primaries.try_into().map_err(unknown)?,
                transfer_characteristics: TransferCharacteristics::try_from(transfer).map_err(unknown)?,
                matrix_coefficients: MatrixCoefficients::Identity,
                full_range: true,
            };
            let profile = ColorProfile::new_from_cicp(cicp);
            if profile.is_matrix_shaper() {
                Ok(Box::new(profile))
            } else {
                Err("its code points are not known".into())
            }
        };
        Self {
            description: format!("cICP {primaries}, {transfer}, {matrix}, {full_range}"),
            content: content(),
        }
    }

    fn from_gamma(gamma: Option<f64>, primaries: Option<[f64; 8]>) -> Self {
        let mut profile = ColorProfile::new_srgb();
        if let Some(xy) = primaries {
            let [white, red, green, blue] =
                [0, 2, 4, 6].map(|i| Chromaticity::new(xy[i] as f32, xy[i + 1] as f32));
            profile.update_rgb_colorimetry(white.to_xyyb(), ColorPrimaries { red, green, blue });
        }
        if let Some(gamma) = gamma.filter(|&gamma| gamma != SRGB_GAMMA) {
            let curve = Some(ToneReprCurve::Parametric(vec![(1.0 / gamma) as f32]));
            (profile.red_trc, profile.green_trc, profile.blue_trc) = (curve.clone(), curve.clone(), curve);
            profile.cicp = None; // which would count more than the curves
        }
        let description = match (gamma, primaries) {
            (Some(gamma), None) => format!("gAMA {gamma}"),
            (None, _) => "cHRM".into(),
            (Some(gamma), Some(_)) => format!("gAMA {gamma} and cHRM"),
        };
        Self { description, content: Ok(Box::new(profile)) }
    }

    /// The profile's own description, or the values of PNG's chunks. Control characters are escaped, and a long text is
    /// cut off.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Whether the profile can be converted to sRGB.
    pub fn is_usable(&self) -> bool {
        self.content.is_ok()
    }

    /// Whether the profile means sRGB, whatever it is called: converting colours of its whole range changes no value by
    /// more than 2 of 255.
    pub fn is_srgb(&self) -> bool {
        let levels = || (0..=8u8).map(|i| f32::from(i) / 8.0);
        let is_grey = self.content.as_ref().is_ok_and(|profile| profile.color_space == DataColorSpace::Gray);
        let mut colors: Vec<[f32; 3]> = (0..=255u8).map(|v| [f32::from(v) / 255.0; 3]).collect();
        if !is_grey {
            colors
                .extend(levels().flat_map(|r| levels().flat_map(move |g| levels().map(move |b| [r, g, b]))));
        }
        let mut converted = colors.clone();
        let Ok(()) = self.convert_rows(converted.as_flattened_mut(), colors.len(), 3) else { return false };
        colors.as_flattened().iter().zip(converted.as_flattened()).all(|(a, b)| (a - b).abs() <= 2.0 / 255.0)
    }

    /// Converts the colours of a picture to sRGB.
    ///
    /// # Errors
    /// [`PictureError::Profile`] if the profile is damaged, of another kind of colours, or of grey for a coloured picture.
    pub(super) fn convert(&self, image: DynamicImage) -> Result<DynamicImage, PictureError> {
        let is_grey = self.content.as_ref().is_ok_and(|profile| profile.color_space == DataColorSpace::Gray);
        if is_grey && image.color().has_color() {
            return Err(PictureError::Profile("it is for grey pictures".into()));
        }
        let width = image.width() as usize;
        let is_8bit = image.color().bytes_per_pixel() == image.color().channel_count();
        Ok(match (is_8bit, image.color().has_alpha()) {
            (true, false) => {
                let mut image = image.into_rgb8();
                self.convert_bytes(&mut image, width, 3)?;
                image.into()
            }
            (true, true) => {
                let mut image = image.into_rgba8();
                self.convert_bytes(&mut image, width, 4)?;
                image.into()
            }
            (false, _) => {
                let mut image = image.into_rgba32f();
                self.convert_rows(&mut image, width, 4)?;
                image.into()
            }
        })
    }

    fn convert_bytes(&self, values: &mut [u8], width: usize, channels: usize) -> Result<(), PictureError> {
        let conversion = self.conversion(channels)?;
        values.par_chunks_exact_mut(width * channels).try_for_each(|row| {
            let mut values: Vec<f32> = row.iter().map(|&v| f32::from(v) / 255.0).collect();
            conversion.apply(&mut values)?;
            row.iter_mut().zip(values).for_each(|(byte, v)| *byte = (v * 255.0).round() as u8);
            Ok(())
        })
    }

    fn convert_rows(&self, values: &mut [f32], width: usize, channels: usize) -> Result<(), PictureError> {
        let conversion = self.conversion(channels)?;
        values.par_chunks_exact_mut(width * channels).try_for_each(|row| conversion.apply(row))
    }

    fn conversion(&self, channels: usize) -> Result<Conversion, PictureError> {
        let profile = self.content.as_ref().map_err(|why| PictureError::Profile(why.clone()))?;
        let is_grey = profile.color_space == DataColorSpace::Gray;
        let options = TransformOptions {
            rendering_intent: RenderingIntent::Perceptual,
            prefer_fixed_point: false,
            ..TransformOptions::default()
        };
        let from = if is_grey { Layout::Gray } else { Layout::Rgb };
        let transform = profile
            .create_transform_f32(from, &ColorProfile::new_srgb(), Layout::Rgb, options)
            .map_err(|e| PictureError::Profile(e.to_string()))?;
        Ok(Conversion { transform, is_grey, channels })
    }
}

/// The value of `gAMA` that is written for sRGB.
const SRGB_GAMMA: f64 = 0.45455;

/// The conversion of rows of pixels, whose values are in 0..1.
struct Conversion {
    transform: Arc<TransformF32Executor>,
    is_grey: bool,
    /// 3, or 4 with alpha, which is kept.
    channels: usize,
}

impl Conversion {
    fn apply(&self, row: &mut [f32]) -> Result<(), PictureError> {
        let pixels = row.chunks_exact(self.channels);
        let colors: Vec<f32> = match self.is_grey {
            true => pixels.map(|pixel| pixel[0]).collect(),
            false => pixels.flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
        };
        let mut converted = vec![0f32; row.len() / self.channels * 3];
        self.transform
            .transform(&colors, &mut converted)
            .map_err(|e| PictureError::Profile(e.to_string()))?;
        if converted.iter().any(|v| v.is_nan()) {
            return Err(PictureError::Profile("it converts colours to NaN".into()));
        }
        for (pixel, color) in row.chunks_exact_mut(self.channels).zip(converted.chunks_exact(3)) {
            pixel[..3].copy_from_slice(&[color[0], color[1], color[2]].map(|v| v.clamp(0.0, 1.0)));
        }
        Ok(())
    }
}

/// Escapes control characters, and cuts off a long text.
fn short(text: &str) -> String {
    let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    let mut short: String = text.chars().take(MAX_DESCRIPTION).map(escape).collect();
    if text.chars().count() > MAX_DESCRIPTION {
        short.push('…');
    }
    short
}
