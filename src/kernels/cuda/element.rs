//! The precision of maps and weights on a device. Sums are always in f32.

use std::fmt;

/// What a feature map on a device is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    /// Half precision: 11 bits of precision, up to 65504.
    F16,
    /// 8 bits of precision, the range of f32.
    Bf16,
    /// Single precision.
    F32,
}

impl Element {
    /// Bytes of one.
    pub fn bytes(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }

    /// The name that `--dtype` has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
        }
    }

    /// What to try where this one gave no numbers: a wider range, then more precision as well.
    pub fn safer(self) -> Option<Self> {
        match self {
            Self::F16 => Some(Self::Bf16),
            Self::Bf16 => Some(Self::F32),
            Self::F32 => None,
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
