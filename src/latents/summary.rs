//! Summary statistics of latents per channel, and whether the latents look scaled.

use serde::Serialize;

use crate::statistics::Statistics;

use super::{Latents, LatentsError};

/// The number of bins of a channel's histogram.
pub const BINS: usize = 16;

/// Summary statistics of latents `[n, c, h, w]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Whether they have been multiplied by the scaling factor; `None` if that is unknown.
    pub scaled: Option<bool>,
    /// How `scaled` was found.
    pub evidence: Evidence,
    /// The root mean square of all finite values.
    pub rms: f64,
    /// One entry per channel, over the whole batch.
    pub channels: Vec<Channel>,
}

/// How it was found whether latents are scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// From the file's metadata.
    Metadata,
    /// From the root mean square of the values.
    Rms,
    /// Not at all.
    None,
}

/// Summary statistics of one channel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Channel {
    /// The statistics of its values.
    #[serde(flatten)]
    pub values: Statistics,
    /// The number of finite values in each of [`BINS`] equal parts of its range.
    pub histogram: Vec<usize>,
}

/// Latents with a smaller root mean square count as scaled, others as unscaled. SD's factor, 0.18215, was chosen such
/// that scaled latents have an rms of 1; that of unscaled ones is 1/0.18215 = 5.49. The threshold is the geometric mean
/// of both, so latents that are up to 2.3 times weaker or stronger than usual are still classified correctly.
const THRESHOLD: f64 = 2.343;

impl Summary {
    /// Summarizes all values.
    pub fn of(latents: &Latents) -> Result<Self, LatentsError> {
        let (_, c, _, _) = latents.tensor.dims4()?;
        let channel = |j: usize| -> Result<Channel, LatentsError> {
            let values = latents.tensor.narrow(1, j, 1)?.flatten_all()?.to_vec1::<f32>()?;
            let statistics = Statistics::of(&values);
            let histogram = statistics.histogram(values.iter().copied(), BINS);
            Ok(Channel { values: statistics, histogram })
        };
        let channels = (0..c).map(channel).collect::<Result<Vec<_>, _>>()?;
        let rms = rms(&channels);
        let (scaled, evidence) = match latents.provenance.scaling {
            Some(scaling) => (Some(scaling.scaled), Evidence::Metadata),
            None if c == 4 && rms > 0.0 => (Some(rms < THRESHOLD), Evidence::Rms),
            None => (None, Evidence::None), // models other than SD have other factors
        };
        Ok(Self { scaled, evidence, rms, channels })
    }
}

/// The root mean square of the finite values of all channels.
fn rms(channels: &[Channel]) -> f64 {
    let finite = |s: &Statistics| (s.count - s.nan - s.inf) as f64;
    let squares: f64 = channels.iter().map(|c| c.values.rms().powi(2) * finite(&c.values)).sum();
    let count: f64 = channels.iter().map(|c| finite(&c.values)).sum();
    if count > 0.0 { (squares / count).sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use crate::latents::{Provenance, Scaling};
    use crate::noise::Generator;

    use super::*;

    fn summary(channels: usize, spread: f64, scaling: Option<Scaling>) -> Summary {
        let noise = Generator::new(7).randn_tensor(&[2, channels, 5, 9], &Device::Cpu);
        let tensor = noise.and_then(|noise| noise * spread).expect("noise");
        Summary::of(&Latents { tensor, provenance: Provenance { scaling, ..Provenance::default() } })
            .expect("f32")
    }

    #[test]
    fn the_metadata_takes_precedence_over_the_rms() {
        let scaling = Scaling { factor: 0.18215, shift: 0.0, scaled: false };
        let found = |s: Summary| (s.scaled, s.evidence);
        assert_eq!(found(summary(4, 1.0, Some(scaling))), (Some(false), Evidence::Metadata));
        assert_eq!(found(summary(4, 1.0, None)), (Some(true), Evidence::Rms));
        assert_eq!(found(summary(4, 1.0 / 0.18215, None)), (Some(false), Evidence::Rms));
        assert_eq!(found(summary(16, 1.0, None)), (None, Evidence::None));
        assert_eq!(found(summary(4, 0.0, None)), (None, Evidence::None));
    }

    #[test]
    fn each_channel_has_its_own_statistics() {
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
