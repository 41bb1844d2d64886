//! Conversion of floating-point numbers to the nearest value of another format; of two that are equally near, to the one
//! with an even last digit.

use half::{bf16, f16};
use safetensors::Dtype;

/// Appends the little-endian numbers `bytes` in another format. `from` is F16, BF16, F32 or F64; `to` is F16, BF16 or F32.
///
/// # Errors
/// The first finite number that is too large for the new format. For pairs of formats other than those above, every number is.
pub fn convert(bytes: &[u8], from: Dtype, to: Dtype, into: &mut Vec<u8>) -> Result<(), f64> {
    match from {
        Dtype::F16 => each(bytes, |b| f16::from_le_bytes(b).into(), to, into),
        Dtype::BF16 => each(bytes, |b| bf16::from_le_bytes(b).into(), to, into),
        Dtype::F32 => each(bytes, |b| f32::from_le_bytes(b).into(), to, into),
        _ => each(bytes, f64::from_le_bytes, to, into),
    }
}

fn each<const N: usize>(
    bytes: &[u8],
    read: impl Fn([u8; N]) -> f64,
    to: Dtype,
    into: &mut Vec<u8>,
) -> Result<(), f64> {
    let (numbers, _) = bytes.as_chunks();
    for x in numbers.iter().map(|&bytes| read(bytes)) {
        let is_finite = match to {
            Dtype::F16 => {
                let y = f16::from_f32(round_to_odd(x));
                into.extend(y.to_le_bytes());
                y.is_finite()
            }
            Dtype::BF16 => {
                let y = bf16::from_f32(round_to_odd(x));
                into.extend(y.to_le_bytes());
                y.is_finite()
            }
            Dtype::F32 => {
                let y = x as f32;
                into.extend(y.to_le_bytes());
                y.is_finite()
            }
            _ => false,
        };
        if !is_finite && x.is_finite() {
            return Err(x);
        }
    }
    Ok(())
}

/// x in f32: exact, or the neighbour whose last binary digit is 1. Rounding that to a shorter format gives the same as rounding
/// x itself, because no such value lies halfway between two shorter ones. (Boldo and Melquiond, Emulation of a FMA and
/// correctly rounded sums, 2008.)
fn round_to_odd(x: f64) -> f32 {
    let nearest = x as f32;
    if f64::from(nearest) == x || x.is_nan() {
        return nearest;
    }
    let bits = nearest.to_bits();
    let towards_zero = if f64::from(nearest).abs() > x.abs() { bits - 1 } else { bits };
    f32::from_bits(towards_zero | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted<const N: usize>(x: f64, to: Dtype) -> Result<[u8; N], f64> {
        let mut bytes = Vec::new();
        convert(&x.to_le_bytes(), Dtype::F64, to, &mut bytes)?;
        Ok(bytes.try_into().expect("one number"))
    }

    fn to_f16(x: f64) -> Result<f64, f64> {
        converted(x, Dtype::F16).map(|bytes| f16::from_le_bytes(bytes).into())
    }

    fn to_bf16(x: f64) -> Result<f64, f64> {
        converted(x, Dtype::BF16).map(|bytes| bf16::from_le_bytes(bytes).into())
    }

    /// Between each two neighbours: the middle goes to the even one, and what is beside the middle to the nearer one.
    #[test]
    fn every_number_is_rounded_to_the_nearest_one_with_an_even_digit_in_the_middle() {
        let check = |bits: u16, value: fn(u16) -> f64, round: fn(f64) -> Result<f64, f64>| {
            let (low, high) = (value(bits), value(bits + 1));
            let even = if bits.is_multiple_of(2) { low } else { high };
            let middle = (low + high) / 2.0;
            for sign in [1.0, -1.0] {
                assert_eq!(round(sign * low), Ok(sign * low));
                assert_eq!(round(sign * middle), Ok(sign * even));
                assert_eq!(round(sign * middle.next_up()), Ok(sign * high));
                assert_eq!(round(sign * middle.next_down()), Ok(sign * low));
            }
        };
        for bits in 0..0x7bff {
            check(bits, |bits| f16::from_bits(bits).into(), to_f16);
        }
        for bits in 0..0x7f7f {
            check(bits, |bits| bf16::from_bits(bits).into(), to_bf16);
        }
    }

    #[test]
    fn only_finite_numbers_beyond_the_range_are_too_large() {
        assert_eq!(to_f16(65519.99), Ok(65504.0));
        assert_eq!(to_f16(65520.0), Err(65520.0));
        assert_eq!(to_f16(-1e300), Err(-1e300));
        assert_eq!(to_f16(f64::INFINITY), Ok(f64::INFINITY));
        assert!(to_f16(f64::NAN).is_ok_and(f64::is_nan));
        assert_eq!(to_bf16(3.4e38), Err(3.4e38));
        assert_eq!(to_bf16(3.39e38), Ok(bf16::MAX.into()));
        assert_eq!(converted::<4>(1e39, Dtype::F32), Err(1e39));
        assert_eq!(converted::<4>(0.1, Dtype::F32), Ok(0.1f32.to_le_bytes()));
    }

    #[test]
    fn all_formats_are_read() {
        let converted = |bytes: &[u8], from| {
            let mut to = Vec::new();
            convert(bytes, from, Dtype::F32, &mut to).expect("numbers in range");
            to
        };
        let wanted = [1.5f32.to_le_bytes(), (-0.25f32).to_le_bytes()].concat();
        assert_eq!(converted(&[0x00, 0x3e, 0x00, 0xb4], Dtype::F16), wanted);
        assert_eq!(converted(&[0xc0, 0x3f, 0x80, 0xbe], Dtype::BF16), wanted);
        assert_eq!(converted(&wanted, Dtype::F32), wanted);
        assert_eq!(converted(&[1.5f64.to_le_bytes(), (-0.25f64).to_le_bytes()].concat(), Dtype::F64), wanted);
    }
}
