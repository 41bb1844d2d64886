//! What latents are like: each channel's numbers, and whether they look scaled.

use serde::Serialize;

use super::{Latents, LatentsError};
use crate::statistics::Statistics;

/// Parts of a channel's histogram.
pub const BINS: usize = 16;

/// What latents `[n, c, h, w]` are like.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Whether they have been multiplied by the scaling factor; `None` where nothing tells.
    pub scaled: Option<bool>,
    /// What tells.
    pub evidence: Evidence,
    /// Of all values, as far as they are finite.
    pub rms: f64,
    /// Each channel, over the whole batch.
    pub channels: Vec<Channel>,
}

/// What tells whether latents are scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// The file's metadata say so.
    Metadata,
    /// The size of the values.
    Rms,
    /// Nothing.
    None,
}

/// One channel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Channel {
    /// Its numbers.
    #[serde(flatten)]
    pub values: Statistics,
    /// How many finite values are in each of [`BINS`] equal parts of its range.
    pub histogram: Vec<usize>,
}

/// Between the root mean squares of scaled and of unscaled latents. The factor, 0.18215, was chosen to make the spread
/// of SD's latents 1; as the VAE samples them it is therefore 1/0.18215 = 5.49. The threshold is the geometric mean of
/// both: latents that are weaker or stronger than usual by a factor of 2.3 are still told right.
const BETWEEN: f64 = 2.343;

impl Summary {
    /// Looks at all values.
    pub fn of(latents: &Latents) -> Result<Self, LatentsError> {
        let (_, c, _, _) = latents.tensor.dims4()?;
        let channel = |j: usize| -> Result<Channel, LatentsError> {
            let values = latents.tensor.narrow(1, j, 1)?.flatten_all()?.to_vec1::<f32>()?;
            let statistics = Statistics::of(values.iter().copied());
            let histogram = statistics.histogram(values.iter().copied(), BINS);
            Ok(Channel { values: statistics, histogram })
        };
        let channels = (0..c).map(channel).collect::<Result<Vec<_>, _>>()?;
        let rms = rms(&channels);
        let (scaled, evidence) = match latents.provenance.scaling {
            Some(scaling) => (Some(scaling.scaled), Evidence::Metadata),
            None if c == 4 && rms > 0.0 => (Some(rms < BETWEEN), Evidence::Rms),
            None => (None, Evidence::None), // other models than SD have other factors
        };
        Ok(Self { scaled, evidence, rms, channels })
    }
}

/// The root mean square of all channels' finite values.
fn rms(channels: &[Channel]) -> f64 {
    let finite = |s: &Statistics| (s.count - s.nan - s.inf) as f64;
    let squares: f64 = channels.iter().map(|c| c.values.rms().powi(2) * finite(&c.values)).sum();
    let count: f64 = channels.iter().map(|c| finite(&c.values)).sum();
    if count > 0.0 { (squares / count).sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latents::{Provenance, Scaling};
    use crate::noise::Generator;
    use candle_core::{Device, Tensor};

    fn summary(channels: usize, spread: f64, scaling: Option<Scaling>) -> Summary {
        let noise = Generator::new(7).randn_tensor(&[2, channels, 5, 9], &Device::Cpu);
        let tensor = noise.and_then(|noise| noise * spread).expect("noise");
        Summary::of(&Latents { tensor, provenance: Provenance { scaling, ..Provenance::default() } })
            .expect("f32")
    }

    #[test]
    fn metadata_go_before_the_size_of_the_values() {
        let scaling = Scaling { factor: 0.18215, shift: 0.0, scaled: false };
        let told = |s: Summary| (s.scaled, s.evidence);
        assert_eq!(told(summary(4, 1.0, Some(scaling))), (Some(false), Evidence::Metadata));
        assert_eq!(told(summary(4, 1.0, None)), (Some(true), Evidence::Rms));
        assert_eq!(told(summary(4, 1.0 / 0.18215, None)), (Some(false), Evidence::Rms));
        assert_eq!(told(summary(16, 1.0, None)), (None, Evidence::None));
        assert_eq!(told(summary(4, 0.0, None)), (None, Evidence::None));
    }

    #[test]
    fn channels_are_told_apart() {
        let values: Vec<f32> = (0..2 * 4 * 6).map(|i| ((i / 6) % 4) as f32).collect();
        let tensor = Tensor::from_vec(values, (2, 4, 2, 3), &Device::Cpu).expect("48 values");
        let summary = Summary::of(&Latents { tensor, provenance: Provenance::default() }).expect("f32");
        for (j, channel) in summary.channels.iter().enumerate() {
            assert_eq!((channel.values.mean, channel.values.std, channel.values.count), (j as f64, 0.0, 12));
            assert_eq!(channel.histogram[0], 12);
        }
        assert!((summary.rms - 3.5f64.sqrt()).abs() < 1e-12);
    }
}
