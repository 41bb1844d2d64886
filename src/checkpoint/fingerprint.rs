//! The fingerprint of an encoder: its first layer identifies the family where names and shapes do not.
//!
//! Decoders are fine-tuned often, encoders hardly ever, since the encoder defines the latent space. So the weights of
//! `encoder.conv_in` are compared with those of known models: exactly, as a digest of the values in f16, and by the
//! sum of each output channel, within the rounding of f16 and bf16.
//!
//! The table is `assets/fingerprints.txt`. Each line is a row of three columns: the name of a model or family, the digest, and
//! the sums, separated by commas. `vae inspect --model MODEL --fingerprint` prints a row.

use std::fmt;

use half::f16;
use sha2::{Digest, Sha256};

use super::weights::hex;

/// Weights of one output channel of the first layer: 3 channels of the picture, and a kernel of 3×3.
const CHANNEL: usize = 27;

/// The largest relative rounding error of a weight in bf16 (2⁻⁹), doubled, since the row may come from rounded weights, too.
const ROUNDING: f64 = 1.0 / 256.0;

/// The largest absolute rounding error of a weight that is too small for a normal number of f16 (2⁻²⁵), doubled.
const TINY: f64 = 1.0 / (1 << 24) as f64;

/// The first layer of an encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Fingerprint {
    /// SHA-256 of the weights in f16, little-endian, in hexadecimal.
    digest: String,
    /// The sum of the weights of each output channel.
    sums: Vec<f64>,
    /// The sum of their absolute values.
    absolute: Vec<f64>,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The name of a model or of a family.
    pub name: String,
    digest: String,
    sums: Vec<f32>,
}

/// Known encoders.
#[derive(Debug, Clone, PartialEq)]
pub struct Table(Vec<Row>);

impl Fingerprint {
    /// The fingerprint of the weights `[channels, 3, 3, 3]` of a first layer; `None` if they do not have this form, or are not
    /// finite.
    pub fn of(weights: &[f32]) -> Option<Self> {
        let channels = weights.chunks_exact(CHANNEL);
        if weights.is_empty() || !channels.remainder().is_empty() || !weights.iter().all(|w| w.is_finite()) {
            return None;
        }
        let halves = weights.iter().flat_map(|&w| f16::from_f32(w).to_le_bytes());
        let digest = hex(&Sha256::digest(halves.collect::<Vec<u8>>()));
        let sums = channels.clone().map(|channel| channel.iter().copied().map(f64::from).sum()).collect();
        let absolute = channels.map(|channel| channel.iter().map(|&w| f64::from(w.abs())).sum()).collect();
        Some(Self { digest, sums, absolute })
    }

    /// Whether the layer of a row has the same weights up to rounding.
    fn matches(&self, row: &Row) -> bool {
        let is_close = |((sum, absolute), other): ((&f64, &f64), &f32)| {
            (sum - f64::from(*other)).abs() <= absolute * ROUNDING + CHANNEL as f64 * TINY
        };
        self.digest == row.digest
            || self.sums.len() == row.sums.len()
                && self.sums.iter().zip(&self.absolute).zip(&row.sums).all(is_close)
    }

    /// The row of the table for a model or family of this name.
    pub fn row(&self, name: &str) -> Row {
        let sums = self.sums.iter().map(|&sum| sum as f32).collect();
        Row { name: name.into(), digest: self.digest.clone(), sums }
    }
}

impl Table {
    /// The known encoders.
    pub fn known() -> Self {
        Self::parse(include_str!("../../assets/fingerprints.txt")).expect("a valid table")
    }

    /// Reads a table. Empty lines and lines with `#` are ignored. `None` if a line is not a row.
    pub fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(Row::parse).collect::<Option<_>>().map(Self)
    }

    /// The first row with the same layer, up to rounding.
    pub fn find(&self, fingerprint: &Fingerprint) -> Option<&Row> {
        self.0.iter().find(|row| fingerprint.matches(row))
    }

    /// The names in the table.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|row| row.name.as_str())
    }
}

impl Row {
    fn parse(line: &str) -> Option<Self> {
        let [name, digest, sums] = line.split_whitespace().collect::<Vec<_>>().try_into().ok()?;
        let sums = sums.split(',').map(str::parse).collect::<Result<Vec<f32>, _>>().ok()?;
        let is_digest = digest.len() == 64 && digest.chars().all(|c| c.is_ascii_hexdigit());
        (is_digest && sums.iter().all(|sum| sum.is_finite())).then(|| Self {
            name: name.into(),
            digest: digest.into(),
            sums,
        })
    }
}

impl fmt::Display for Row {
    /// One line, as in the table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.name, self.digest)?;
        for (i, sum) in self.sums.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { "," }, sum)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    /// Weights of a first layer with 128 channels, different for each seed.
    fn weights(seed: f32) -> Vec<f32> {
        (0..128 * CHANNEL).map(|i| ((i as f32 * 0.37 + seed) * 1.3).sin() * 0.08).collect()
    }

    fn fingerprint(weights: &[f32]) -> Fingerprint {
        Fingerprint::of(weights).expect("finite weights")
    }

    #[test]
    fn weights_are_recognized_in_every_number_format() {
        let rows =
            [0.0, 1.0, 2.0].map(|seed| fingerprint(&weights(seed)).row(&format!("seed{seed}")).to_string());
        let table = Table::parse(&format!("# a comment\n\n{}\n", rows.join("\n"))).expect("a table");
        let found = |weights: &[f32]| table.find(&fingerprint(weights)).map(|row| row.name.clone());
        let exact = weights(1.0);
        let halves: Vec<f32> = exact.iter().map(|&w| f16::from_f32(w).to_f32()).collect();
        let brain: Vec<f32> = exact.iter().map(|&w| bf16::from_f32(w).to_f32()).collect();
        assert!(halves != exact && brain != exact);
        assert_eq!(fingerprint(&halves).digest, fingerprint(&exact).digest);
        assert_ne!(fingerprint(&brain).digest, fingerprint(&exact).digest);
        for weights in [&exact, &halves, &brain] {
            assert_eq!(found(weights).as_deref(), Some("seed1"));
        }
        // Rows that were made from rounded weights are as good.
        let from_halves = Table(vec![fingerprint(&halves).row("halves")]);
        assert!(
            from_halves.find(&fingerprint(&exact)).is_some()
                && from_halves.find(&fingerprint(&brain)).is_some()
        );
    }

    #[test]
    fn other_weights_are_not_recognized() {
        let table = Table(vec![fingerprint(&weights(1.0)).row("one")]);
        let mut changed = weights(1.0);
        changed[27 * 70..27 * 71].iter_mut().for_each(|w| *w += 0.001);
        for other in [weights(1.1), weights(3.0), changed, weights(1.0)[27..].to_vec(), vec![0.0; 128 * 27]] {
            assert_eq!(table.find(&fingerprint(&other)), None);
        }
        for unusable in [vec![], vec![0.5; 26], vec![0.5; 28], vec![f32::NAN; 27], vec![f32::INFINITY; 27]] {
            assert_eq!(Fingerprint::of(&unusable), None);
        }
    }

    #[test]
    fn a_row_is_read_as_it_was_printed() {
        let row = fingerprint(&weights(0.5)).row("sdxl");
        assert_eq!(Row::parse(&row.to_string()), Some(row.clone()));
        let text = row.to_string();
        for broken in
            ["sdxl", &text[..60], &text.replace(',', " "), &format!("{text},x"), &text.replace(' ', "")]
        {
            assert_eq!(Table::parse(broken), None, "{broken}");
        }
    }

    /// Whoever adds a row may rely on this: its name is known, and no other row is too similar.
    #[test]
    fn every_row_of_the_table_has_a_known_name_and_is_found_first() {
        use crate::checkpoint::{Family, NamedModel};
        let table = Table::known();
        assert!(table.0.iter().any(|row| row.name == "tiny"));
        for row in &table.0 {
            assert!(
                NamedModel::named(&row.name).is_some() || Family::named(&row.name).is_some(),
                "{}",
                row.name
            );
            let same = Fingerprint {
                digest: row.digest.clone(),
                sums: row.sums.iter().map(|&sum| f64::from(sum)).collect(),
                absolute: vec![0.0; row.sums.len()],
            };
            assert_eq!(table.find(&same), Some(row), "{} is that of another row", row.name);
        }
    }
}
