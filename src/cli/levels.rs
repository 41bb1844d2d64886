//! What `--noise` takes: one level, a list of them, or a range as numpy's `linspace` divides it.

use std::str::FromStr;

/// More levels than anybody looks at are refused.
const MOST: usize = 100;

/// Levels of noise in the order in which they are shown.
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
                rest.split_once('/').ok_or("a range needs the number of its levels: 0.1..1.0/6")?;
            return match count.parse() {
                Ok(count @ 1..=MOST) => Ok(Self::Sweep(linspace(level(start)?, level(stop)?, count))),
                _ => Err(format!("a range has 1 to {MOST} levels, as 0.1..1.0/6 has 6")),
            };
        }
        match text.split(',').map(level).collect::<Result<Vec<_>, _>>()?.as_slice() {
            [level] => Ok(Self::One(*level)),
            levels if levels.len() > MOST => Err(format!("a sweep has at most {MOST} levels")),
            levels => Ok(Self::Sweep(levels.to_vec())),
        }
    }
}

fn level(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(level) if level.is_finite() && level >= 0.0 => Ok(level),
        _ => Err("a noise level is a number from 0 on; 0.5 is half the latents' mean magnitude".into()),
    }
}

/// `numpy.linspace(start, stop, count)`, rounded as numpy rounds.
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

    /// The numbers are those that numpy 2.4 prints.
    #[test]
    fn ranges_are_numpys() {
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
    fn lists_are_taken_as_they_are() {
        assert_eq!("0.5".parse(), Ok(Levels::One(0.5)));
        assert_eq!("0.1,0.5,1".parse(), Ok(Levels::Sweep(vec![0.1, 0.5, 1.0])));
        for wrong in ["", ",", "0.1,", "much", "-1", "0.1..1.0", "0.1..1/0", "0.1..1/101", "..1/3", "1../3"] {
            assert!(wrong.parse::<Levels>().is_err(), "{wrong:?}");
        }
        for wrong in ["nan", "inf", "0.1..inf/3", "0..1/-3", "0..1/2.5", "1,2..3/4"] {
            assert!(wrong.parse::<Levels>().is_err(), "{wrong:?}");
        }
        assert!(vec!["1"; 101].join(",").parse::<Levels>().is_err());
    }
}
