//! The maps and the scratch memory of each network on the CPU, in bytes.

use vae::model::{Config, Kl, Network, Stages, Wan};

/// Channels of a picture.
const RGB: usize = 3;
/// Bytes of a pixel's three values in f32.
pub const PIXEL: u64 = 12;

const FLOAT: u64 = 4;
/// Channels of a map are rounded up to a multiple of this.
const BLOCK: usize = 16;
/// Of a 3×3 filter.
const TAPS: u64 = 9;
/// Terms of a 3×3 filter or of the inputs of a tile, in the form that has the most.
const TERMS: u64 = 36;
/// Tiles in a work item, and the output channels of its products: `kernels/cpu/conv2d/tiles.rs`.
const TILES: u64 = 64;
const PANELS: u64 = 64;
/// Bytes of a thread besides: its stack and small allocations.
const THREAD: u64 = 1 << 18;

/// One half of a network.
#[derive(Debug, Clone, Copy)]
pub enum Half {
    Encoder,
    Decoder,
}

/// Bytes of the maps and the scratch memory of one half.
pub fn network(half: Half, config: &Config, pixels: u64, threads: u64) -> u64 {
    let z = config.latent_channels;
    match (&config.network, half) {
        (Network::Kl(kl), Half::Encoder) => {
            encoder(kl, z, pixels) + scratch(&kl.block_out_channels, TAPS, threads)
        }
        (Network::Kl(kl), Half::Decoder) => {
            decoder(kl, z, pixels) + scratch(kl.decoder_channels(), TAPS, threads)
        }
        // The filters are copied from those of three slices before they are converted; the result is clamped.
        (Network::Wan(wan), Half::Encoder) => {
            wan_encoder(wan, z, pixels) + scratch(&wan.encoder_channels(), 2 * TAPS, threads)
        }
        (Network::Wan(wan), Half::Decoder) => {
            wan_decoder(wan, z, pixels) + scratch(&wan.decoder_channels(), 2 * TAPS, threads) + PIXEL * pixels
        }
        // The range of the pixels is changed in two steps.
        (Network::Tiny(tiny), Half::Encoder) => {
            tiny_encoder(&tiny.encoder, z, pixels)
                + scratch(&[tiny.encoder.channels], TAPS, threads)
                + 2 * PIXEL * pixels
        }
        (Network::Tiny(tiny), Half::Decoder) => {
            tiny_decoder(&tiny.decoder, z, pixels)
                + scratch(&[tiny.decoder.channels], TAPS, threads)
                + 2 * PIXEL * pixels
        }
    }
}

/// Bytes of packed filters, of `stored` copies of a layer's weights in f32, and of each thread's scratch memory.
fn scratch(channels: &[usize], stored: u64, threads: u64) -> u64 {
    let most = channels.iter().map(|c| c.next_multiple_of(BLOCK) as u64).max().unwrap_or(0);
    let filters = (TERMS + stored) * most * most * FLOAT;
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
    x = maps.mid_block(x, map(last, c_in), config.mid_block_add_attention);
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
    x = maps.mid_block(x, map(last, c_in), config.mid_block_add_attention);
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

/// Bytes of the maps of Wan's encoder, as `model/wan/encoder.rs` takes and gives them.
fn wan_encoder(config: &Wan, latent_channels: usize, pixels: u64) -> u64 {
    let mut maps = Maps::default();
    let channels = config.encoder_channels();
    let map = |level: usize, channels: usize| bytes(channels, pixels >> (2 * level));
    let mut c_in = config.base_dim;
    let mut x = maps.take(map(0, RGB));
    x = maps.convolve(x, map(0, c_in));
    for (level, &c) in channels.iter().enumerate() {
        for _ in 0..config.num_res_blocks {
            x = maps.resnet(x, map(level, c), c > c_in);
            c_in = c;
        }
        if level + 1 < channels.len() {
            x = maps.convolve(x, map(level + 1, c));
        }
    }
    let last = channels.len() - 1;
    x = maps.mid_block(x, map(last, c_in), true);
    maps.convolve(x, map(last, 2 * latent_channels));
    maps.total()
}

/// Bytes of the maps of Wan's decoder, as `model/wan/decoder.rs` takes and gives them.
fn wan_decoder(config: &Wan, latent_channels: usize, pixels: u64) -> u64 {
    let mut maps = Maps::default();
    let channels = config.decoder_channels();
    let map = |level: usize, channels: usize| bytes(channels, pixels >> (2 * level));
    let last = channels.len() - 1;
    let mut c_in = channels[last];
    let mut x = maps.take(map(last, latent_channels));
    x = maps.convolve(x, map(last, c_in));
    x = maps.mid_block(x, map(last, c_in), true);
    for (level, &c) in channels.iter().enumerate().rev() {
        for _ in 0..=config.num_res_blocks {
            x = maps.resnet(x, map(level, c), c > c_in);
            c_in = c;
        }
        if level > 0 {
            x = maps.convolve(x, map(level - 1, c / 2));
            c_in /= 2;
        }
    }
    maps.convolve(x, map(0, RGB));
    maps.total()
}

/// Bytes of the maps of TAESD's encoder, as `model/tiny.rs` takes and gives them.
fn tiny_encoder(stages: &Stages, latent_channels: usize, pixels: u64) -> u64 {
    let mut maps = Maps::default();
    let map = |level: usize, channels: usize| bytes(channels, pixels >> (2 * level));
    let mut x = maps.take(map(0, RGB));
    for level in 0..stages.blocks.len() {
        x = maps.convolve(x, map(level, stages.channels));
        maps.tiny_blocks(map(level, stages.channels), stages.blocks[level]);
    }
    maps.convolve(x, map(stages.blocks.len() - 1, latent_channels));
    maps.total()
}

/// Bytes of the maps of TAESD's decoder, as `model/tiny.rs` takes and gives them.
fn tiny_decoder(stages: &Stages, latent_channels: usize, pixels: u64) -> u64 {
    let mut maps = Maps::default();
    let map = |level: usize, channels: usize| bytes(channels, pixels >> (2 * level));
    let mut x = maps.take(map(stages.blocks.len() - 1, latent_channels));
    for (level, &blocks) in (0..stages.blocks.len()).rev().zip(&stages.blocks) {
        x = maps.convolve(x, map(level, stages.channels));
        maps.tiny_blocks(map(level, stages.channels), blocks);
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

    fn mid_block(&mut self, x: u64, size: u64, attention: bool) -> u64 {
        let x = self.resnet(x, size, false);
        if attention {
            self.attention(size);
        }
        self.resnet(x, size, false)
    }

    fn attention(&mut self, size: u64) {
        let maps = [(); 4].map(|()| self.take(size)); // q, k, v, and the result
        self.most = self.most.max(self.now + size); // the packed keys
        maps.into_iter().for_each(|map| self.give(map));
    }

    /// Blocks of TAESD: the first two convolutions have maps of their own.
    fn tiny_blocks(&mut self, size: u64, count: usize) {
        for _ in 0..count {
            let maps = [(); 2].map(|()| self.take(size));
            maps.into_iter().for_each(|map| self.give(map));
        }
    }

    /// With the sums for a group norm or the factors of an RMS norm, which are smaller than this part of the map that they belong to.
    fn total(&self) -> u64 {
        self.most + self.largest / 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(class: &str, rest: &str) -> Config {
        Config::from_json(&format!(r#"{{"_class_name": "{class}"{rest}}}"#)).expect("a valid config")
    }

    #[test]
    fn two_large_maps_are_most_of_the_memory() {
        let sd2 =
            config("AutoencoderKL", r#", "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2"#);
        let sd2 = sd2.kl().expect("an AutoencoderKL");
        let pixels = 1 << 20;
        let floats = |bytes: u64| bytes as f64 / (pixels * FLOAT) as f64;
        // Two maps of 128 channels, one of 256 at half the size, two of 512 and the keys at an eighth.
        let wanted = 128.0 * 2.0 + 256.0 / 4.0 + 3.0 * 512.0 / 64.0 + 128.0 / 16.0;
        assert_eq!(floats(encoder(sd2, 4, pixels)), wanted);
        assert_eq!(floats(decoder(sd2, 4, pixels)), 256.0 + 128.0 + 256.0 / 16.0);
    }

    #[test]
    fn the_other_networks_have_two_or_three_large_maps() {
        let pixels = 1 << 20;
        let floats = |bytes: u64| bytes as f64 / (pixels * FLOAT) as f64;
        let Network::Wan(wan) = config("AutoencoderKLWan", "").network else { panic!("another network") };
        // Two maps of 96 channels. In the encoder, one of 192 at a quarter of the pixels, and two of 384 and the keys at 1/64.
        assert_eq!(floats(wan_decoder(&wan, 16, pixels)), 96.0 * 2.0 + 96.0 / 16.0);
        let wanted = 96.0 * 2.0 + 192.0 / 4.0 + 3.0 * 384.0 / 64.0 + 96.0 / 16.0;
        assert_eq!(floats(wan_encoder(&wan, 16, pixels)), wanted);
        let Network::Tiny(tiny) = config("AutoencoderTiny", "").network else { panic!("another network") };
        for bytes in [tiny_encoder(&tiny.encoder, 4, pixels), tiny_decoder(&tiny.decoder, 4, pixels)] {
            assert!((192.0..230.0).contains(&floats(bytes)), "three maps of 64 channels: {}", floats(bytes));
        }
    }
}
