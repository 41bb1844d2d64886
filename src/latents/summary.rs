//! Summary statistics of latents per channel, and whether the latents look scaled.

use serde::Serialize;

use crate::model::{ChannelStatistics, Scaling};
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

/// The scaling of Stable Diffusion 1 and 2.
const SD: Scaling = Scaling::new(0.18215, 0.0);

/// Below this ratio of the usual rms of unscaled latents to that of scaled ones, the rms does not tell which they are.
const LEAST_RATIO: f64 = 4.0;

/// Returns the usual root mean square of unscaled latents. A model's scaling is chosen such that scaled latents have an
/// rms of about 1, so that of unscaled ones is about the reciprocal of the factor: 5.49 for Stable Diffusion's 0.18215.
pub fn usual_rms(scaling: &Scaling) -> f64 {
    let square = |mean: f64, std: f64| (mean + scaling.shift).powi(2) + (std / scaling.factor).powi(2);
    match &scaling.statistics {
        None => square(0.0, 1.0).sqrt(),
        Some(ChannelStatistics { mean, std }) => {
            let squares: f64 = mean.iter().zip(std).map(|(&mean, &std)| square(mean, std)).sum();
            (squares / mean.len() as f64).sqrt()
        }
    }
}

/// Returns whether latents with this root mean square look scaled, or `None` if they could be either.
///
/// The limit between the two is the geometric mean of both usual values, 2.34 for Stable Diffusion: latents that are up to
/// 2.34 times weaker or stronger than usual are still classified correctly. An rms that is not more than `margin` times
/// as large or as small as the limit (at least 1) is not clear enough.
pub fn looks_scaled(rms: f64, scaling: &Scaling, margin: f64) -> Option<bool> {
    let unscaled = usual_rms(scaling);
    let from_limit = rms / unscaled.sqrt();
    let is_clear = unscaled.max(1.0 / unscaled) >= LEAST_RATIO && from_limit.max(1.0 / from_limit) > margin;
    (rms > 0.0 && is_clear).then_some((from_limit < 1.0) == (unscaled > 1.0))
}

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
        let (scaled, evidence) = match latents.provenance.scaled {
            Some(scaled) => (Some(scaled), Evidence::Metadata),
            // Models with another number of channels have other factors.
            None => match looks_scaled(rms, &SD, 1.0).filter(|_| c == 4) {
                Some(scaled) => (Some(scaled), Evidence::Rms),
                None => (None, Evidence::None),
            },
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

    use crate::latents::Provenance;
    use crate::noise::Generator;

    use super::*;

    fn summary(channels: usize, spread: f64, scaled: Option<bool>) -> Summary {
        let noise = Generator::new(7).randn_tensor(&[2, channels, 5, 9], &Device::Cpu);
        let tensor = noise.and_then(|noise| noise * spread).expect("noise");
        Summary::of(&Latents { tensor, provenance: Provenance { scaled, ..Provenance::default() } })
            .expect("f32")
    }

    #[test]
    fn the_metadata_takes_precedence_over_the_rms() {
        let found = |s: Summary| (s.scaled, s.evidence);
        assert_eq!(found(summary(4, 1.0, Some(false))), (Some(false), Evidence::Metadata));
        assert_eq!(found(summary(4, 1.0, None)), (Some(true), Evidence::Rms));
        assert_eq!(found(summary(4, 1.0 / 0.18215, None)), (Some(false), Evidence::Rms));
        assert_eq!(found(summary(16, 1.0, None)), (None, Evidence::None));
        assert_eq!(found(summary(4, 0.0, None)), (None, Evidence::None));
    }

    #[test]
    fn only_a_clear_rms_tells_whether_latents_are_scaled() {
        let sd = |rms: f64, margin: f64| looks_scaled(rms, &SD, margin);
        assert_eq!([1.0, 2.3, 2.4, 5.5].map(|rms| sd(rms, 1.0)), [true, true, false, false].map(Some));
        assert_eq!([1.1, 1.2, 2.3, 4.6].map(|rms| sd(rms, 2.0)), [Some(true), None, None, None]);
        assert_eq!([0.0, f64::NAN].map(|rms| sd(rms, 1.0)), [None; 2]);
        // Flux, Stable Diffusion 3 and the built-in model: both usual values are close to each other.
        for factor in [0.3611, 1.5305, 1.21153] {
            assert_eq!(
                [0.01, 1.0, 100.0].map(|rms| looks_scaled(rms, &Scaling::new(factor, 0.0), 1.0)),
                [None; 3],
                "{factor}"
            );
        }
        assert_eq!(
            [1.0, 0.1].map(|rms| looks_scaled(rms, &Scaling::new(10.0, 0.0), 1.2)),
            [Some(true), Some(false)]
        );
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
