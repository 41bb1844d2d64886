//! The definition of attention, in f64.

use rayon::prelude::*;

/// q, k, v `[c, tokens]` → `[c, tokens]`.
pub fn attention([q, k, v]: [&[f64]; 3], channels: usize) -> Vec<f64> {
    let tokens = q.len() / channels;
    let scale = 1.0 / (channels as f64).sqrt();
    let row = |query: usize| {
        let score = |key: usize| {
            (0..channels).map(|c| q[c * tokens + query] * k[c * tokens + key]).sum::<f64>() * scale
        };
        let scores: Vec<f64> = (0..tokens).map(score).collect();
        let highest = scores.iter().copied().fold(f64::MIN, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
        let total: f64 = weights.iter().sum();
        let value = |c: usize| weights.iter().zip(&v[c * tokens..]).map(|(w, v)| w * v).sum::<f64>() / total;
        (0..channels).map(value).collect::<Vec<f64>>()
    };
    let rows: Vec<Vec<f64>> = (0..tokens).into_par_iter().map(row).collect();
    (0..channels).flat_map(|c| rows.iter().map(move |row| row[c])).collect()
}
