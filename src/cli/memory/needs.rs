//! How much memory a picture needs.
//!
//! The estimates are upper bounds of what was measured, and at most a third above it for pictures from 256² to
//! 1536×1024. They do not include the weights: the file is mapped, and the system can drop its pages.

use vae::model::Config;

use super::maps::{Half, PIXEL, network};

/// Width and height in pixels.
pub type Size = (usize, usize);

/// What will be computed.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    /// Reads, resizes and encodes a picture.
    Encode {
        /// Bytes of the picture file.
        file: usize,
        /// The size of the picture in the file.
        original: Size,
        /// What both sides are rounded down to a multiple of.
        multiple: usize,
    },
    /// Reads a picture, and pastes it onto a canvas.
    Read {
        /// Bytes of the picture file.
        file: usize,
        /// The size of the picture in the file.
        original: Size,
        /// The size of the canvas; empty if there is none.
        canvas: Size,
    },
    /// Decodes latents into a picture.
    Decode {
        /// The size of the decoded picture.
        size: Size,
        /// The size that it is resized to.
        resized: Option<Size>,
    },
}

/// Bytes per pixel to read a picture: up to 8 as decoded, 8 as rotated, 16 as RGBA in f32, and the result; and per pixel to
/// resize it: two copies before and two after.
const READ: u64 = 48;
/// Bytes per pixel that the allocator keeps of what was freed before.
const FREED: u64 = 12;
/// Bytes per pixel of a canvas.
const CANVAS: u64 = 3;
/// Bytes per pixel to write a picture, of the bytes and the file.
const WRITE: u64 = 12;

/// Bytes that do not depend on the picture.
const BASE: u64 = 2 << 20;

impl Work {
    /// The size of the picture that the model encodes or decodes; for messages.
    pub fn size(self) -> Size {
        match self {
            Self::Encode { original, .. } | Self::Read { original, .. } => original,
            Self::Decode { size, .. } => size,
        }
    }

    /// Bytes that the work needs. Without a config, the model's part is not included.
    pub fn needed(self, config: Option<&Config>, threads: usize) -> u64 {
        let network =
            |half: Half, pixels| config.map_or(0, |config| network(half, config, pixels, threads as u64));
        let counted = match self {
            Self::Encode { file, original, multiple } => {
                let pixels = area((original.0 - original.0 % multiple, original.1 - original.1 % multiple));
                let read = READ * area(original) + file as u64;
                read.max((2 * PIXEL + FREED) * pixels + network(Half::Encoder, pixels))
            }
            Self::Read { file, original, canvas } => {
                READ * area(original) + file as u64 + (CANVAS + WRITE) * area(canvas)
            }
            Self::Decode { size, resized } => {
                let resize = resized.map_or(0, |to| {
                    let between = area((to.0, size.1));
                    PIXEL * (area(size) + 2 * between + 2 * area(to))
                });
                (2 * PIXEL + WRITE) * area(size) + network(Half::Decoder, area(size)) + resize
            }
        };
        BASE + counted + counted / 64 // for what is not counted
    }

    /// Returns the largest picture of about the same shape for which the work fits into `free` bytes.
    pub fn largest(self, free: u64, config: Option<&Config>, threads: usize) -> Option<Size> {
        let step = match self {
            Self::Encode { multiple, .. } => multiple,
            Self::Read { .. } => 1,
            Self::Decode { .. } => config.map_or(1, Config::downscale),
        };
        let (width, height) = self.size();
        let size = |steps: usize| (steps * step, steps * step * height / width.max(1) / step * step);
        let fits = |steps: usize| {
            let work = match self {
                Self::Encode { file, multiple, .. } => Self::Encode { file, original: size(steps), multiple },
                Self::Read { file, canvas, .. } => Self::Read { file, original: size(steps), canvas },
                Self::Decode { .. } => Self::Decode { size: size(steps), resized: None },
            };
            work.needed(config, threads) <= free
        };
        let (mut fitting, mut too_large) = (0, width / step + 1);
        while too_large - fitting > 1 {
            let middle = fitting.midpoint(too_large);
            if fits(middle) { fitting = middle } else { too_large = middle }
        }
        Some(size(fitting)).filter(|&size| area(size) > 0)
    }
}

fn area((width, height): Size) -> u64 {
    width as u64 * height as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_configs_have_an_estimate() {
        let kl = ["[32]", "[512, 32]", "[32, 4096]", "[32, 32, 32, 32, 32, 32, 32, 32]"]
            .map(|channels| format!(r#""AutoencoderKL", "block_out_channels": {channels}"#));
        let wan = ["[1]", "[1, 2, 4, 4]", "[4, 2]", "[2, 42]"]
            .map(|multiples| format!(r#""AutoencoderKLWan", "dim_mult": {multiples}"#));
        let tiny = ["64", "16, 16, 16, 16, 16", "4096"].map(|channels| {
            let blocks = channels.split(',').map(|_| "1").collect::<Vec<_>>().join(", ");
            format!(
                r#""AutoencoderTiny", "encoder_block_out_channels": [{channels}], "num_encoder_blocks": [{blocks}],
                "decoder_block_out_channels": [{channels}], "num_decoder_blocks": [{blocks}]"#
            )
        });
        for text in kl.into_iter().chain(wan).chain(tiny) {
            let config = Config::from_json(&format!(r#"{{"_class_name": {text}}}"#)).expect("a valid config");
            for side in [1, 8, 4096] {
                for work in [
                    Work::Encode { file: 0, original: (side, side), multiple: 1 },
                    Work::Decode { size: (side, side), resized: None },
                ] {
                    let needed = work.needed(Some(&config), 2);
                    assert!(needed > work.needed(None, 2), "{text}");
                    assert_eq!(
                        work.largest(needed, Some(&config), 2).is_some(),
                        side >= config.downscale() || matches!(work, Work::Encode { .. }),
                        "{text} {side}"
                    );
                }
            }
        }
    }
}
