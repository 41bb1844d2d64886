//! The number formats to compute in.

use std::fmt;

/// The number format of maps and weights. Sums are always in f32 or wider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Half precision: 11 bits of precision, up to 65504.
    F16,
    /// 8 bits of precision, the range of f32.
    Bf16,
    /// Single precision.
    F32,
}

impl Precision {
    /// Bytes per number.
    pub fn bytes(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }

    /// Its name for `--dtype`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
        }
    }

    /// What to try after this one gave NaN or infinite values: a wider range, then more precision as well.
    pub fn safer(self) -> Option<Self> {
        match self {
            Self::F16 => Some(Self::Bf16),
            Self::Bf16 => Some(Self::F32),
            Self::F32 => None,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
