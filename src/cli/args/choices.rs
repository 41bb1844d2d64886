//! Values to choose from.

use candle_core::DType;
use clap::ValueEnum;
use safetensors::Dtype;

use vae::checkpoint::convert::Layout;
use vae::device::Precision;
use vae::figure::Theme;

/// What to do with the colour profile of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum IccChoice {
    /// Keep the values; the profile is ignored
    Keep,
    /// Convert the colours to sRGB
    Convert,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum SaveDtype {
    F32,
    F16,
}

impl SaveDtype {
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LayoutChoice {
    /// Those of diffusers
    Diffusers,
    /// Those of LDM, the original code, which most single files have; of Wan's and TAESD's authors for their models
    Ldm,
}

impl LayoutChoice {
    pub fn layout(self) -> Layout {
        match self {
            Self::Diffusers => Layout::Diffusers,
            Self::Ldm => Layout::Ldm,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum WeightsDtype {
    F32,
    F16,
    Bf16,
}

impl WeightsDtype {
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ComputeDtype {
    Auto,
    F32,
    F16,
    Bf16,
}

impl ComputeDtype {
    pub fn precision(self) -> Option<Precision> {
        match self {
            Self::Auto => None,
            Self::F32 => Some(Precision::F32),
            Self::F16 => Some(Precision::F16),
            Self::Bf16 => Some(Precision::Bf16),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum ThemeChoice {
    #[default]
    Light,
    Dark,
}

impl ThemeChoice {
    pub fn theme(self) -> Theme {
        match self {
            Self::Light => Theme::Light,
            Self::Dark => Theme::Dark,
        }
    }
}
