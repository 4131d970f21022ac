//! Sizes and shares, as Docker's tables write them.

/// A size in steps of 1024, with four digits: `1.465MiB` (docker/go-units `BytesSize`).
pub fn binary(bytes: u64) -> String {
    scaled(bytes, 1024.0, 4, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

/// A size in steps of 1000, with three digits: `4.26MB` (docker/go-units `HumanSizeWithPrecision`).
pub fn decimal(bytes: u64) -> String {
    scaled(bytes, 1000.0, 3, &["B", "kB", "MB", "GB", "TB", "PB"])
}

/// `12.34%`.
pub fn percent(share: f64) -> String {
    format!("{share:.2}%")
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn scaled(bytes: u64, step: f64, digits: usize, units: &[&str]) -> String {
    let (mut size, mut unit) = (bytes as f64, 0);
    while size >= step && unit + 1 < units.len() {
        size /= step;
        unit += 1;
    }
    format!("{}{}", significant(size, digits), units[unit])
}

/// So many digits that count, without zeros at the end of a fraction: C's `%.4g` for what is below 10,000.
fn significant(value: f64, digits: usize) -> String {
    let mut before = 1;
    while value >= 10_f64.powi(before) && before < 15 {
        before += 1;
    }
    let after = digits.saturating_sub(usize::try_from(before).unwrap_or(digits));
    let text = format!("{value:.after$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_docker_writes_them() {
        for (bytes, in_1024, in_1000) in [
            (0, "0B", "0B"),
            (999, "999B", "999B"),
            (1024, "1KiB", "1.02kB"),
            (1_536_000, "1.465MiB", "1.54MB"),
            (33_554_432, "32MiB", "33.6MB"),
            (16_750_372_454, "15.6GiB", "16.8GB"),
        ] {
            assert_eq!((binary(bytes).as_str(), decimal(bytes).as_str()), (in_1024, in_1000));
        }
        assert_eq!(percent(1.005_1), "1.01%");
    }
}
