//! Metrics against scikit-image's.

use vae::metrics::psnr;
use vae::picture::Picture;

use crate::support::golden::Golden;

#[test]
fn psnr_is_scikit_images() {
    let golden = Golden::open("metrics.safetensors");
    let picture = |name: &str| {
        let (height, width, _) = golden.tensor(name).dims3().expect("[h, w, 3]");
        Picture::from_rgb8(width, height, &golden.bytes(name))
    };
    let wanted = golden.tensor("psnr").to_scalar::<f64>().expect("a number");
    let got = psnr(&picture("a"), &picture("b"));
    assert!((got - wanted).abs() < 1e-6, "{got} is not {wanted}");
    assert_eq!(psnr(&picture("a"), &picture("a")), f64::INFINITY);
}
