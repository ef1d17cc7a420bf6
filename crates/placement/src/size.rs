/// Units of bytes, longest first so that `GiB` is not read as `B`.
const UNITS: [(&str, f64); 9] = [
    ("KiB", 1024.0),
    ("MiB", 1048576.0),
    ("GiB", 1073741824.0),
    ("TiB", 1099511627776.0),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("B", 1.0),
];

/// Reads `71GiB`, `71GB`, `1.5TB`, `4096`: GB is 10^9, GiB is 2^30. `None` if it is no size.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| {
            let cut = text.len().checked_sub(unit.len())?;
            let tail = text.get(cut..)?;
            tail.eq_ignore_ascii_case(unit).then(|| (&text[..cut], *factor))
        })
        .unwrap_or((text, 1.0));
    let number: f64 = number.trim().parse().ok()?;
    let bytes = number * factor;
    (bytes.is_finite() && bytes >= 0.0 && bytes < u64::MAX as f64).then_some(bytes.round() as u64)
}

/// `76235669504 bytes (71.00 GiB, 76.24 GB)`.
pub fn bytes_text(bytes: u64) -> String {
    let b = bytes as f64;
    match bytes {
        0..1_048_576 => format!("{bytes} bytes"),
        1_048_576..1_073_741_824 => format!("{bytes} bytes ({:.2} MiB, {:.2} MB)", b / 1048576.0, b / 1e6),
        _ => format!("{bytes} bytes ({:.2} GiB, {:.2} GB)", b / 1073741824.0, b / 1e9),
    }
}
