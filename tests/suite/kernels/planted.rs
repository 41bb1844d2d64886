//! The control of `tests/torture/asan.sh`: an access that the address sanitizer must find.

use std::hint::black_box;

use vae::device::Level;
use vae::internals::Shape;
use vae::internals::cpu::HostMap;
use vae::internals::cpu::simd::{Kernel, Simd};

/// Loads a vector.
struct Load(*const f32);

impl Kernel for Load {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: none. The vector begins inside a map and ends beyond it.
        black_box(unsafe { s.load(self.0) });
    }
}

/// Run with `--ignored`, at the level that `VAE_CPU` names. It passes if nothing finds the access.
#[test]
#[ignore = "reads beyond a feature map"]
fn planted_overflow() {
    let level = Level::from_env().unwrap_or_else(|e| panic!("{e}"));
    let map = HostMap::new(Shape::new(16, 5, 7)).unwrap();
    level.run(Load(black_box(map.data()).last().unwrap()));
}
