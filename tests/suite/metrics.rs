//! Metrics, compared with scikit-image's.

use vae::metrics::{difference, psnr, ssim};
use vae::picture::Picture;

use crate::support::golden::Golden;

#[test]
fn metrics_agree_with_scikit_image() {
    let golden = Golden::open("metrics.safetensors");
    let pairs: Vec<&str> = golden.names().filter_map(|name| name.strip_suffix(".a")).collect();
    assert!(pairs.len() >= 7, "{pairs:?}");
    for pair in pairs {
        let picture = |which: &str| {
            let name = format!("{pair}.{which}");
            let (height, width, _) = golden.tensor(&name).dims3().expect("[h, w, 3]");
            Picture::from_rgb8(width, height, &golden.bytes(&name))
        };
        let (a, b) = (picture("a"), picture("b"));
        let agrees = |metric: &str, got: f64, tolerance: f64| {
            let wanted = golden.tensor(&format!("{pair}.{metric}")).to_scalar::<f64>().expect("a number");
            assert!((got - wanted).abs() < tolerance, "{metric} of {pair}: {got} is not {wanted}");
        };
        agrees("psnr", psnr(&a, &b), 1e-9);
        agrees("ssim", ssim(&a, &b).expect("large enough"), 1e-9);
        agrees("max", difference(&a, &b).max.into(), 1e-9);
        agrees("mean", difference(&a, &b).mean, 1e-9);
        assert_eq!((psnr(&a, &a), difference(&b, &b).max), (f64::INFINITY, 0));
        assert!((ssim(&b, &b).expect("large enough") - 1.0).abs() < 1e-12);
    }
}

#[test]
fn a_picture_smaller_than_the_window_has_no_ssim() {
    let picture =
        |width: usize, height: usize| Picture::from_rgb8(width, height, &vec![7; width * height * 3]);
    for (width, height) in [(10, 40), (40, 10), (1, 1)] {
        assert_eq!(ssim(&picture(width, height), &picture(width, height)), None, "{width}×{height}");
    }
}
