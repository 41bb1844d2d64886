//! Which vector instructions the kernels use, detected at run time.
//!
//! `VAE_CPU=avx512|avx2|portable` selects a lower level than the machine's best. Selecting a higher one is an error.

use std::fmt;

use super::simd::{Kernel, portable::Portable};
#[cfg(target_arch = "x86_64")]
use super::simd::{avx2::Avx2, avx512::Avx512};

/// The environment variable that names a level.
pub const VARIABLE: &str = "VAE_CPU";

/// An instruction set, with the token that proves that the machine has it.
#[derive(Clone, Copy, Debug)]
pub enum Level {
    /// Only what the compilation target has.
    Portable(Portable),
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX-512.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

/// Why a level cannot be selected by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LevelError {
    /// Unknown name.
    Unknown {
        /// The name.
        asked: String,
    },
    /// This machine does not support it.
    Missing {
        /// The level.
        asked: String,
        /// The machine's best level.
        best: &'static str,
    },
}

impl fmt::Display for LevelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { asked } => {
                write!(f, "{VARIABLE}={asked}: unknown level; the levels are {}", Level::NAMES.join(", "))
            }
            Self::Missing { asked, best } => {
                write!(f, "{VARIABLE}={asked}: this machine does not have it; its best level is {best}")
            }
        }
    }
}

impl std::error::Error for LevelError {}

impl Level {
    /// The names of all levels, on any machine.
    pub const NAMES: [&'static str; 3] = ["avx512", "avx2", "portable"];

    /// All levels of this machine, the best first.
    pub fn all() -> Vec<Self> {
        let mut levels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            levels.extend(Avx512::detect().map(Self::Avx512));
            levels.extend(Avx2::detect().map(Self::Avx2));
        }
        levels.push(Self::Portable(Portable));
        levels
    }

    /// The best level of this machine.
    pub fn detect() -> Self {
        Self::all()[0]
    }

    /// The level that [`VARIABLE`] names, or the best if it is not set.
    pub fn from_env() -> Result<Self, LevelError> {
        match std::env::var(VARIABLE) {
            Ok(name) => Self::by_name(&name),
            Err(_) => Ok(Self::detect()),
        }
    }

    /// Returns the level of this name, if the machine supports it.
    pub fn by_name(name: &str) -> Result<Self, LevelError> {
        let asked = || name.to_owned();
        if !Self::NAMES.contains(&name) {
            return Err(LevelError::Unknown { asked: asked() });
        }
        let found = Self::all().into_iter().find(|level| level.name() == name);
        found.ok_or_else(|| LevelError::Missing { asked: asked(), best: Self::detect().name() })
    }

    /// Its name for [`VARIABLE`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable(_) => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
        }
    }

    /// Runs a kernel with this level's instructions.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Self::Portable(token) => token.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(token) => token.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(token) => token.run(kernel),
        }
    }
}
