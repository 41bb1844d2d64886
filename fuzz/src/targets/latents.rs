//! Latents files.

use candle_core::DType;

use vae::latents::plates::{plates, sheet};
use vae::latents::{Latents, LatentsError, Summary};

/// Larger latents are not drawn.
const MOST_VALUES: usize = 4096;

/// Reads `data` as a latents file, and checks that writing and reading again changes nothing.
pub fn run(data: &[u8]) {
    let peeked = Latents::peek(data);
    let read = Latents::from_safetensors(data);
    let Ok((_, latents)) = peeked else {
        assert!(read.is_err(), "read, but not for inspection");
        return;
    };
    summarize(&latents);
    match read {
        Ok(read) => {
            let file = read.to_safetensors(DType::F32).expect("what was read can be written");
            let again = Latents::from_safetensors(&file).expect("what was written can be read");
            assert_eq!(again.provenance, read.provenance);
            assert_eq!(again.tensor.dims(), read.tensor.dims());
            assert_eq!(bits(&again), bits(&read));
            assert_eq!(again.to_safetensors(DType::F32).expect("it was written before"), file);
            match read.to_safetensors(DType::F16).map(|file| Latents::from_safetensors(&file)) {
                Ok(Ok(_) | Err(LatentsError::NotFinite { .. })) | Err(_) => {}
                Ok(Err(other)) => panic!("written as f16, but not readable: {other}"),
            }
        }
        Err(LatentsError::NotFinite { bad, all }) => assert!(bad > 0 && bad <= all),
        Err(other) => panic!("read for inspection only: {other}"),
    }
}

fn summarize(latents: &Latents) {
    let (n, c, h, w) = latents.tensor.dims4().expect("four dimensions");
    let summary = Summary::of(latents).expect("a summary");
    assert_eq!(summary.channels.len(), c);
    for channel in &summary.channels {
        let v = channel.values;
        assert_eq!(v.count, n * h * w);
        assert_eq!(channel.histogram.iter().sum::<usize>(), v.count - v.nan - v.inf);
        assert!(v.min <= v.max && v.mean.is_finite() && v.std >= 0.0, "{v:?}");
    }
    if n * c * h * w <= MOST_VALUES {
        assert_eq!(plates(&latents.tensor).expect("plates").len(), n * c);
        let sheet = sheet(&latents.tensor).expect("a sheet of few values");
        assert!(sheet.width() >= c * w && sheet.height() >= n * h);
    }
}

fn bits(latents: &Latents) -> Vec<u32> {
    let values = latents.tensor.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("f32");
    values.into_iter().map(f32::to_bits).collect()
}
