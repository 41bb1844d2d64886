//! Door: one head of attention over all positions (Vaswani et al. 2017, formula 1).

use candle_core::{D, Result, Tensor};

/// Scores held at a time. The score matrix of a 2048² picture has 4.3 thousand million entries (17 GB);
/// a block of query rows of it has at most this many, or one row where a row is longer.
const SCORES_AT_A_TIME: usize = 1 << 24;

/// `q, k, v [n, tokens, c]` → `softmax(q · kᵀ / √c) · v`, `[n, tokens, c]`.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    let (n, tokens, channels) = q.dims3()?;
    if k.dims() != q.dims() || v.dims() != q.dims() {
        candle_core::bail!("attention: q {:?}, k {:?}, v {:?}", q.dims(), k.dims(), v.dims());
    }
    attend_in_blocks(&(q / (channels as f64).sqrt())?, k, v, (SCORES_AT_A_TIME / (n * tokens)).max(1))
}

/// Attention for `rows` queries at a time; q is already divided by √c.
fn attend_in_blocks(q: &Tensor, k: &Tensor, v: &Tensor, rows: usize) -> Result<Tensor> {
    let tokens = q.dim(1)?;
    let k = k.transpose(1, 2)?.contiguous()?; // [n, c, tokens]
    let mut blocks = Vec::with_capacity(tokens.div_ceil(rows));
    for start in (0..tokens).step_by(rows) {
        let q = q.narrow(1, start, rows.min(tokens - start))?.contiguous()?; // [n, rows, c]
        let scores = q.matmul(&k)?; // [n, rows, tokens]
        blocks.push(softmax(&scores)?.matmul(v)?); // [n, rows, c]
    }
    Tensor::cat(&blocks, 1)
}

/// Softmax over the last dimension, with the maximum taken out first.
fn softmax(scores: &Tensor) -> Result<Tensor> {
    let exp = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn blocks_of_queries_of_any_size_give_the_same_result() -> Result<()> {
        let tensor = || Tensor::randn(0f32, 1., (2, 35, 6), &Device::Cpu);
        let (q, k, v) = (tensor()?, tensor()?, tensor()?);
        let whole = attend_in_blocks(&q, &k, &v, 35)?;
        for rows in [1, 4, 34] {
            let difference = (attend_in_blocks(&q, &k, &v, rows)? - &whole)?.abs()?.max_all()?;
            assert!(difference.to_scalar::<f32>()? < 1e-6, "{rows} rows");
        }
        Ok(())
    }
}
