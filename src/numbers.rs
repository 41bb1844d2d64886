//! Numbers as text.

/// Formats a noise level with at most three significant digits: `0.28`, not `0.28000000000000003`.
pub fn short(level: f64) -> String {
    let rounded = format!("{level:.2e}").parse().unwrap_or(level);
    format!("{rounded:?}").trim_end_matches(".0").to_string()
}

/// Formats a value with the minus sign U+2212, which is as wide as a plus sign: with two decimals, or with fewer digits
/// if it is large. The text has at most seven characters.
pub fn signed(value: f32) -> String {
    let text = match value.abs() {
        size if size < 999.0 => format!("{value:.2}"),
        size if size < 99_999.0 => format!("{value:.0}"),
        _ => format!("{value:.1e}"),
    };
    match text.strip_prefix('-') {
        Some("0.00") => "0.00".into(),
        Some(digits) => format!("−{digits}"),
        None => text,
    }
}

/// Formats a value for a table column that is ten characters wide, with room for a space before it.
pub fn column(x: f64) -> String {
    match x.abs() {
        size if size < 999.0 => format!("{x:.4}"),
        size if size < 1e7 => format!("{x:.0}"),
        _ => format!("{x:.1e}"),
    }
}

/// Formats a count with its digits in groups of three: `34,163,592`.
pub fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let first = (digits.len() - 1) % 3 + 1;
    let rest = digits.as_bytes()[first..].chunks(3).map(String::from_utf8_lossy);
    rest.fold(digits[..first].to_string(), |text, three| text + "," + &three)
}

/// Formats a number of bytes in GB, or in MB if it is below one GB: `1.5 GB`, `300 MB`.
pub fn bytes(n: u64) -> String {
    let megabytes = n as f64 / 1e6;
    if megabytes < 999.5 { format!("{megabytes:.0} MB") } else { format!("{:.1} GB", megabytes / 1e3) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_rounds_and_signed_has_a_wide_minus() {
        let levels = [0.0, 0.1, 0.28, 0.45999999999999996, 0.5, 1.0, 10.0, 1.0 / 3.0, 123.0, 1e-5];
        let wanted = ["0", "0.1", "0.28", "0.46", "0.5", "1", "10", "0.333", "123", "1e-5"];
        assert_eq!(levels.map(short), wanted);
        assert_eq!([-2.914, 3.0, -0.001, 0.0].map(signed), ["−2.91", "3.00", "0.00", "0.00"]);
        assert_eq!([-998.99, 9999.5, -1.26e16].map(signed), ["−998.99", "10000", "−1.3e16"]);
        for value in [f32::MIN, f32::MAX, -999.0, -99_998.0, 99_999.0, f32::NAN, f32::NEG_INFINITY] {
            assert!(signed(value).chars().count() <= 7, "{}", signed(value));
        }
    }

    #[test]
    fn values_of_every_size_fit_into_a_column() {
        let texts = ["-0.5000", "998.0000", "9999", "-9999999", "1.0e30"];
        assert_eq!([-0.5, 998.0, 9999.0, -9_999_999.4, 1e30].map(column), texts);
        for x in [f32::MIN, -9999.99994, -1e7, 1e-20] {
            assert!(column(x.into()).len() < 10, "{x}");
        }
    }

    #[test]
    fn counts_are_grouped_by_thousands() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (83_653_863, "83,653,863")] {
            assert_eq!(grouped(n), text);
        }
    }

    #[test]
    fn bytes_have_a_unit() {
        for (n, text) in
            [(0, "0 MB"), (300_000_000, "300 MB"), (999_600_000, "1.0 GB"), (25_312_000_000, "25.3 GB")]
        {
            assert_eq!(bytes(n), text);
        }
    }
}
