//! Summary statistics: mean, standard deviation, range, histogram, and the number of NaN and infinite values.

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
    /// Goes through the values twice: once for the mean, once for what is around it.
    pub fn of(values: impl Iterator<Item = f32> + Clone) -> Self {
        let none = Self { min: f32::INFINITY, max: f32::NEG_INFINITY, ..Self::default() };
        let (mut all, sum) = values.clone().fold((none, 0.0), |(mut all, sum), x| {
            all.count += 1;
            all.nan += usize::from(x.is_nan());
            all.inf += usize::from(x.is_infinite());
            if !x.is_finite() {
                return (all, sum);
            }
            (Self { min: all.min.min(x), max: all.max.max(x), ..all }, sum + f64::from(x))
        });
        let finite = all.count - all.nan - all.inf;
        if finite == 0 {
            return Self { min: 0.0, max: 0.0, ..all };
        }
        all.mean = sum / finite as f64;
        let around = |sum: f64, x: f32| sum + (f64::from(x) - all.mean).powi(2);
        all.std = (values.filter(|x| x.is_finite()).fold(0.0, around) / finite as f64).sqrt();
        all
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
        let all = Statistics::of(values.iter().copied());
        assert_eq!((all.count, all.nan, all.inf), (7, 1, 2));
        assert_eq!((all.mean, all.min, all.max), (0.5, -4.0, 3.0));
        assert!((all.std - 7.25f64.sqrt()).abs() < 1e-12 && (all.rms() - 7.5f64.sqrt()).abs() < 1e-12);
        assert_eq!(all.histogram(values.iter().copied(), 7), [1, 0, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn without_finite_values_all_statistics_are_zero() {
        let none = Statistics::of([f32::NAN; 2].into_iter());
        assert_eq!((none.count, none.nan, none.mean, none.min, none.max), (2, 2, 0.0, 0.0, 0.0));
        assert_eq!(Statistics::of(std::iter::empty()), Statistics::default());
        let flat = Statistics::of([7.0; 3].into_iter());
        assert_eq!(flat.histogram([7.0; 3].into_iter(), 4), [3, 0, 0, 0]);
    }
}
