//! Summary statistics: mean, standard deviation, range, histogram, and the number of NaN and infinite values.

use std::convert::Infallible;

use serde::Serialize;

/// Summary statistics of a sequence of values. `mean`, `std`, `min` and `max` are 0 if no value is finite.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Statistics {
    /// The number of all values.
    pub count: usize,
    /// The mean of the finite values.
    pub mean: f64,
    /// The standard deviation of the finite values, `√mean((x − mean)²)`.
    pub std: f64,
    /// The smallest finite value.
    pub min: f32,
    /// The largest finite value.
    pub max: f32,
    /// The number of NaN values.
    pub nan: usize,
    /// The number of infinite values.
    pub inf: usize,
}

impl Statistics {
    /// Summarizes values.
    pub fn of(values: &[f32]) -> Self {
        let all = |visit: &mut dyn FnMut(&[f32])| {
            visit(values);
            Ok::<(), Infallible>(())
        };
        match Self::of_slices(all) {
            Ok(statistics) => statistics,
            Err(never) => match never {},
        }
    }

    /// Summarizes values that come in slices: `slices` calls its argument with each of them. It is called twice, once for
    /// the mean and once for the distances from it, and must give the same values both times.
    ///
    /// # Errors
    /// Those of `slices`.
    pub fn of_slices<E>(slices: impl Fn(&mut dyn FnMut(&[f32])) -> Result<(), E>) -> Result<Self, E> {
        let mut all = Self { min: f32::INFINITY, max: f32::NEG_INFINITY, ..Self::default() };
        let mut sum = 0.0;
        slices(&mut |values| {
            all.count += values.len();
            for &x in values {
                all.nan += usize::from(x.is_nan());
                all.inf += usize::from(x.is_infinite());
                if x.is_finite() {
                    (all.min, all.max) = (all.min.min(x), all.max.max(x));
                    sum += f64::from(x);
                }
            }
        })?;
        let finite = all.count - all.nan - all.inf;
        if finite == 0 {
            return Ok(Self { min: 0.0, max: 0.0, ..all });
        }
        all.mean = sum / finite as f64;
        let mut squares = 0.0;
        slices(&mut |values| {
            for x in values.iter().filter(|x| x.is_finite()) {
                squares += (f64::from(*x) - all.mean).powi(2);
            }
        })?;
        all.std = (squares / finite as f64).sqrt();
        Ok(all)
    }

    /// Returns the root mean square of the finite values, `√mean(x²)`.
    pub fn rms(&self) -> f64 {
        self.mean.hypot(self.std)
    }

    /// Counts the finite values in each of `bins` equal parts of `min..=max`.
    pub fn histogram(&self, values: impl Iterator<Item = f32>, bins: usize) -> Vec<usize> {
        let mut counts = vec![0; bins];
        let (start, width) = (f64::from(self.min), f64::from(self.max) - f64::from(self.min));
        for x in values.filter(|x| x.is_finite()) {
            let bin = ((f64::from(x) - start) / width * bins as f64) as usize; // 0 if the width is 0
            counts[bin.min(bins - 1)] += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_and_infinite_values_are_counted_and_excluded() {
        let values = [1.0, f32::NAN, 3.0, f32::INFINITY, -4.0, f32::NEG_INFINITY, 2.0];
        let all = Statistics::of(&values);
        assert_eq!((all.count, all.nan, all.inf), (7, 1, 2));
        assert_eq!((all.mean, all.min, all.max), (0.5, -4.0, 3.0));
        assert!((all.std - 7.25f64.sqrt()).abs() < 1e-12 && (all.rms() - 7.5f64.sqrt()).abs() < 1e-12);
        assert_eq!(all.histogram(values.iter().copied(), 7), [1, 0, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn without_finite_values_all_statistics_are_zero() {
        let none = Statistics::of(&[f32::NAN; 2]);
        assert_eq!((none.count, none.nan, none.mean, none.min, none.max), (2, 2, 0.0, 0.0, 0.0));
        assert_eq!(Statistics::of(&[]), Statistics::default());
        let flat = Statistics::of(&[7.0; 3]);
        assert_eq!(flat.histogram([7.0; 3].into_iter(), 4), [3, 0, 0, 0]);
    }
}
