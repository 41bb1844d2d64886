//! The noise levels of `--noise`: one level, a list, or a range that is divided as by numpy's `linspace`.

use std::str::FromStr;

/// The largest number of levels.
const MAX: usize = 100;

/// The largest level. Nothing of the picture is left at this one, and f32 cannot hold the latents at far larger ones.
const MAX_LEVEL: f64 = 1e6;

/// Noise levels, in the order in which they are shown.
#[derive(Debug, Clone, PartialEq)]
pub enum Levels {
    /// `0.5`: one picture.
    One(f64),
    /// `0.1..1.0/6` or `0.1,0.5,1`: a sweep.
    Sweep(Vec<f64>),
}

impl FromStr for Levels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((start, rest)) = text.split_once("..") {
            let (stop, count) =
                rest.split_once('/').ok_or("a range needs a number of levels, such as 0.1..1.0/6")?;
            return match count.parse() {
                Ok(count @ 1..=MAX) => Ok(Self::Sweep(linspace(level(start)?, level(stop)?, count))),
                _ => Err(format!("a range has 1 to {MAX} levels; 0.1..1.0/6 has 6")),
            };
        }
        match text.split(',').map(level).collect::<Result<Vec<_>, _>>()?.as_slice() {
            [level] => Ok(Self::One(*level)),
            levels if levels.len() > MAX => Err(format!("a sweep has at most {MAX} levels")),
            levels => Ok(Self::Sweep(levels.to_vec())),
        }
    }
}

fn level(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(level) if (0.0..=MAX_LEVEL).contains(&level) => Ok(level),
        _ => Err(format!(
            "a noise level is a number from 0 to {MAX_LEVEL}; 0.5 is half the latents' mean magnitude"
        )),
    }
}

/// Computes `numpy.linspace(start, stop, count)` with numpy's rounding.
fn linspace(start: f64, stop: f64, count: usize) -> Vec<f64> {
    let step = (stop - start) / (count.max(2) - 1) as f64;
    let mut levels: Vec<f64> = (0..count).map(|i| i as f64 * step + start).collect();
    if let [_, .., last] = levels.as_mut_slice() {
        *last = stop;
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values are from numpy 2.4.
    #[test]
    fn ranges_match_numpy() {
        for (text, wanted) in [
            ("0.1..1.0/6", &[0.1, 0.28, 0.45999999999999996, 0.64, 0.82, 1.0][..]),
            ("0.1..1.0/7", &[0.1, 0.25, 0.4, 0.5499999999999999, 0.7, 0.85, 1.0][..]),
            ("0..1/4", &[0.0, 0.3333333333333333, 0.6666666666666666, 1.0][..]),
            ("1..0.1/5", &[1.0, 0.775, 0.55, 0.32499999999999996, 0.1][..]),
            ("0.3..0.7/1", &[0.3][..]),
            ("0.5..0.5/3", &[0.5, 0.5, 0.5][..]),
            (
                "0.07..1.93/9",
                &[0.07, 0.3025, 0.5349999999999999, 0.7675000000000001, 1.0, 1.2325, 1.465, 1.6975, 1.93][..],
            ),
        ] {
            assert_eq!(text.parse(), Ok(Levels::Sweep(wanted.to_vec())), "{text}");
        }
    }

    #[test]
    fn lists_are_parsed_and_wrong_levels_are_refused() {
        assert_eq!("0.5".parse(), Ok(Levels::One(0.5)));
        assert_eq!("0.1,0.5,1".parse(), Ok(Levels::Sweep(vec![0.1, 0.5, 1.0])));
        for wrong in ["", ",", "0.1,", "much", "-1", "0.1..1.0", "0.1..1/0", "0.1..1/101", "..1/3", "1../3"] {
            assert!(wrong.parse::<Levels>().is_err(), "{wrong:?}");
        }
        assert_eq!("1e6".parse(), Ok(Levels::One(1e6)));
        for wrong in ["1000001", "1e16", "1e30", "1e34", "0..1e7/3", "0.1,1e300"] {
            assert!(wrong.parse::<Levels>().is_err(), "{wrong:?}");
        }
        for wrong in ["nan", "inf", "0.1..inf/3", "0..1/-3", "0..1/2.5", "1,2..3/4"] {
            assert!(wrong.parse::<Levels>().is_err(), "{wrong:?}");
        }
        assert!(vec!["1"; 101].join(",").parse::<Levels>().is_err());
    }
}
