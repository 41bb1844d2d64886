//! How much memory a picture needs.
//!
//! The estimates are upper bounds of what was measured, and at most a third above it for pictures from 256² to
//! 1536×1024. They do not include the weights: the file is mapped, and the system can drop its pages.

use vae::model::{Config, Kl, Network};

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

/// Channels of a picture.
const RGB: usize = 3;
/// Bytes of a pixel's three values in f32.
const PIXEL: u64 = 12;
/// Bytes per pixel to read a picture: up to 8 as decoded, 8 as rotated, 16 as RGBA in f32, and the result; and per pixel to
/// resize it: two copies before and two after.
const READ: u64 = 48;
/// Bytes per pixel that the allocator keeps of what was freed before.
const FREED: u64 = 12;
/// Bytes per pixel to write a picture, of the bytes and the file.
const WRITE: u64 = 12;

const FLOAT: u64 = 4;
/// Channels of a map are rounded up to a multiple of this.
const BLOCK: usize = 16;
/// Of a 3×3 filter or of the inputs of a tile, in the form that has the most.
const TERMS: u64 = 36;
/// Tiles in a work item, and the output channels of its products: `kernels/cpu/conv2d/tiles.rs`.
const TILES: u64 = 64;
const PANELS: u64 = 64;
/// Bytes of a thread besides: its stack and small allocations.
const THREAD: u64 = 1 << 18;
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
                READ * area(original) + file as u64 + (RGB as u64 + WRITE) * area(canvas)
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

#[derive(Clone, Copy)]
enum Half {
    Encoder,
    Decoder,
}

/// Bytes of the maps and the scratch memory of one half.
fn network(half: Half, config: &Config, pixels: u64, threads: u64) -> u64 {
    match (&config.network, half) {
        (Network::Kl(kl), Half::Encoder) => {
            encoder(kl, config.latent_channels, pixels) + scratch(&kl.block_out_channels, threads)
        }
        (Network::Kl(kl), Half::Decoder) => {
            decoder(kl, config.latent_channels, pixels) + scratch(kl.decoder_channels(), threads)
        }
    }
}

/// Bytes of packed filters, of a layer's weights in f32, and of each thread's scratch memory.
fn scratch(channels: &[usize], threads: u64) -> u64 {
    let most = channels.iter().map(|c| c.next_multiple_of(BLOCK) as u64).max().unwrap_or(0);
    let filters = (TERMS + 9) * most * most * FLOAT;
    filters + threads * (THREAD + TERMS * TILES * (most + PANELS) * FLOAT)
}

/// Bytes of the encoder's maps, as `model/encoder.rs` takes and gives them.
fn encoder(config: &Kl, latent_channels: usize, pixels: u64) -> u64 {
    let mut maps = Maps::default();
    let channels = &config.block_out_channels;
    let map = |level: usize, channels: usize| bytes(channels, pixels >> (2 * level));
    let mut x = maps.take(map(0, RGB));
    x = maps.convolve(x, map(0, channels[0]));
    let mut c_in = channels[0];
    for (level, &c) in channels.iter().enumerate() {
        for _ in 0..config.layers_per_block {
            x = maps.resnet(x, map(level, c), c > c_in);
            if config.has_attention(level) {
                maps.attention(map(level, c));
            }
            c_in = c;
        }
        if level + 1 < channels.len() {
            x = maps.convolve(x, map(level + 1, c));
        }
    }
    let last = channels.len() - 1;
    x = maps.mid_block(x, map(last, c_in), config);
    maps.convolve(x, map(last, 2 * config.inner_channels(latent_channels)));
    maps.total()
}

/// Bytes of the decoder's maps, as `model/decoder.rs` takes and gives them.
fn decoder(config: &Kl, latent_channels: usize, pixels: u64) -> u64 {
    let mut maps = Maps::default();
    let channels = config.decoder_channels();
    let map = |level: usize, channels: usize| bytes(channels, pixels >> (2 * level));
    let last = channels.len() - 1;
    let mut c_in = channels[last];
    let mut x = maps.take(map(last, latent_channels.max(config.inner_channels(latent_channels))));
    x = maps.convolve(x, map(last, c_in));
    x = maps.mid_block(x, map(last, c_in), config);
    for (level, &c) in channels.iter().enumerate().rev() {
        for _ in 0..=config.layers_per_block {
            x = maps.resnet(x, map(level, c), c > c_in);
            if config.has_attention(level) {
                maps.attention(map(level, c));
            }
            c_in = c;
        }
        if level > 0 {
            x = maps.convolve(x, map(level - 1, c));
        }
    }
    maps.convolve(x, map(0, RGB));
    maps.total()
}

/// Bytes of a map.
fn bytes(channels: usize, pixels: u64) -> u64 {
    channels.next_multiple_of(BLOCK) as u64 * pixels * FLOAT
}

/// The maps of one pass, by their bytes. Follows `kernels/workspace.rs`.
#[derive(Default)]
struct Maps {
    spare: Vec<u64>,
    /// Of all maps, spare or not.
    now: u64,
    most: u64,
    largest: u64,
}

impl Maps {
    fn take(&mut self, bytes: u64) -> u64 {
        let largest = (0..self.spare.len()).max_by_key(|&i| self.spare[i]);
        if let Some(i) = largest.filter(|&i| self.spare[i] >= bytes) {
            return self.spare.swap_remove(i);
        }
        self.now -= self.spare.drain(..).sum::<u64>();
        self.now += bytes;
        self.most = self.most.max(self.now);
        self.largest = self.largest.max(bytes);
        bytes
    }

    fn give(&mut self, map: u64) {
        self.spare.push(map);
    }

    /// Returns the map of the result.
    fn convolve(&mut self, x: u64, result: u64) -> u64 {
        let y = self.take(result);
        self.give(x);
        y
    }

    /// `widens` if there are more channels after than before: the shortcut is not in place then.
    fn resnet(&mut self, x: u64, result: u64, widens: bool) -> u64 {
        let h = self.take(result);
        let y = if widens { self.convolve(x, result) } else { x };
        self.give(h);
        y
    }

    fn mid_block(&mut self, x: u64, size: u64, config: &Kl) -> u64 {
        let x = self.resnet(x, size, false);
        if config.mid_block_add_attention {
            self.attention(size);
        }
        self.resnet(x, size, false)
    }

    fn attention(&mut self, size: u64) {
        let maps = [(); 4].map(|()| self.take(size)); // q, k, v, and the result
        self.most = self.most.max(self.now + size); // the packed keys
        maps.into_iter().for_each(|map| self.give(map));
    }

    /// With the sums for a group norm, which are smaller than this part of the map that they belong to.
    fn total(&self) -> u64 {
        self.most + self.largest / 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Config {
        Config::from_json(&format!(r#"{{"_class_name": "AutoencoderKL", {json}}}"#)).expect("a valid config")
    }

    #[test]
    fn two_large_maps_are_most_of_the_memory() {
        let sd2 = config(r#""block_out_channels": [128, 256, 512, 512], "layers_per_block": 2"#);
        let sd2 = sd2.kl().expect("an AutoencoderKL");
        let pixels = 1 << 20;
        let floats = |bytes: u64| bytes as f64 / (pixels * FLOAT) as f64;
        // Two maps of 128 channels, one of 256 at half the size, two of 512 and the keys at an eighth.
        let wanted = 128.0 * 2.0 + 256.0 / 4.0 + 3.0 * 512.0 / 64.0 + 128.0 / 16.0;
        assert_eq!(floats(encoder(sd2, 4, pixels)), wanted);
        assert_eq!(floats(decoder(sd2, 4, pixels)), 256.0 + 128.0 + 256.0 / 16.0);
    }

    #[test]
    fn odd_configs_have_an_estimate() {
        for channels in ["[32]", "[512, 32]", "[32, 4096]", "[32, 32, 32, 32, 32, 32, 32, 32]"] {
            let config = config(&format!(r#""block_out_channels": {channels}"#));
            for side in [1, 8, 4096] {
                for work in [
                    Work::Encode { file: 0, original: (side, side), multiple: 1 },
                    Work::Decode { size: (side, side), resized: None },
                ] {
                    let needed = work.needed(Some(&config), 2);
                    assert!(needed > work.needed(None, 2), "{channels}");
                    assert_eq!(
                        work.largest(needed, Some(&config), 2).is_some(),
                        side >= config.downscale() || matches!(work, Work::Encode { .. }),
                        "{channels} {side}"
                    );
                }
            }
        }
    }
}
