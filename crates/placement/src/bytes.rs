//! Sizes as users type them: GB is 10^9 bytes, GiB is 2^30 bytes. Messages show both.
use serde::{Serialize, Serializer};

/// The accepted forms of a size, for messages.
pub const SIZE_FORMS: &str = "a number with KB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (powers of 1024), such as 71GiB, \
                              1.5TB or 4096";

/// A unit of bytes and its factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unit {
    name: &'static str,
    bytes: u64,
}

/// Units in the order of comparison: binary before decimal ones, and plain bytes last, so that
/// `GiB` is not mistaken for `B`.
const UNITS: [Unit; 9] = [
    Unit { name: "KiB", bytes: 1 << 10 },
    Unit { name: "MiB", bytes: 1 << 20 },
    Unit { name: "GiB", bytes: 1 << 30 },
    Unit { name: "TiB", bytes: 1 << 40 },
    Unit { name: "KB", bytes: 1_000 },
    Unit { name: "MB", bytes: 1_000_000 },
    Unit { name: "GB", bytes: 1_000_000_000 },
    Unit { name: "TB", bytes: 1_000_000_000_000 },
    Unit { name: "B", bytes: 1 },
];

/// A size in bytes, and the text that the user typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByteSize {
    pub bytes: u64,
    /// The typed text without spaces: `71GB`.
    pub typed: String,
    /// If a decimal unit was typed, the same number in the corresponding binary unit, as text and
    /// bytes: `71GiB` for `71GB`.
    binary_twin: Option<(String, u64)>,
}

impl ByteSize {
    /// Parses a size such as `71GiB`, `71 GB`, `1.5TB` or `4096`.
    ///
    /// # Errors
    /// The reason why the text is not a size, for a message that already names the option.
    pub fn parse(text: &str) -> Result<ByteSize, String> {
        let typed: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let digits = typed
            .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
            .unwrap_or(typed.len());
        let (number, letters) = typed.split_at(digits);
        let unit = unit(letters)?;
        let bytes = scaled(number, unit.bytes)
            .ok_or_else(|| format!("expected {SIZE_FORMS}, found {text:?}"))?;
        let binary_twin = binary_twin(number, unit);
        Ok(ByteSize { bytes, typed, binary_twin })
    }

    /// A size given as a number of bytes.
    pub fn plain(bytes: u64) -> ByteSize {
        ByteSize { bytes, typed: bytes.to_string(), binary_twin: None }
    }

    /// If a decimal unit was typed, the same number in the binary unit: `("71GiB", 76235669504)`
    /// for `71GB`.
    pub fn binary_twin(&self) -> Option<(&str, u64)> {
        self.binary_twin.as_ref().map(|(typed, bytes)| (typed.as_str(), *bytes))
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(self.bytes)
    }
}

fn unit(letters: &str) -> Result<Unit, String> {
    let plain = Unit { name: "B", bytes: 1 };
    if letters.is_empty() {
        return Ok(plain);
    }
    let found = UNITS.iter().find(|unit| unit.name.eq_ignore_ascii_case(letters));
    match found {
        // accelerate reads a lower-case b as bits, which users never intend.
        Some(unit) if letters.len() == 2 && letters.ends_with('b') => Err(format!(
            "a small b would mean bits: write {} or {}iB instead of {letters}",
            unit.name,
            &unit.name[..1]
        )),
        Some(unit) => Ok(*unit),
        None => Err(format!("expected {SIZE_FORMS}, found the unit {letters:?}")),
    }
}

/// `number * factor`, exact and rounded down; `None` if `number` is not a decimal number or the
/// result is too large.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let number = number.replace('_', "");
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || fraction.len() > 18 {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let factor = u128::from(factor);
    let bytes = whole
        .checked_mul(factor)?
        .checked_add(part * factor / 10u128.pow(fraction.len() as u32))?;
    u64::try_from(bytes).ok()
}

fn binary_twin(number: &str, unit: Unit) -> Option<(String, u64)> {
    let name = match unit.name {
        "KB" => "KiB",
        "MB" => "MiB",
        "GB" => "GiB",
        "TB" => "TiB",
        _ => return None,
    };
    let twin = UNITS.iter().find(|unit| unit.name == name)?;
    Some((format!("{number}{name}"), scaled(number, twin.bytes)?))
}

/// Formats a size in bytes and both units: `76235669504 bytes (76.24 GB, 71.00 GiB)`.
pub fn bytes_text(bytes: u64) -> String {
    format!("{bytes} bytes ({})", both_units(bytes))
}

/// Formats a size in both units: `76.24 GB, 71.00 GiB`.
pub fn both_units(bytes: u64) -> String {
    let b = bytes as f64;
    match bytes {
        0..1_000_000 => format!("{:.2} kB, {:.2} KiB", b / 1e3, b / 1024.0),
        1_000_000..1_000_000_000 => format!("{:.2} MB, {:.2} MiB", b / 1e6, b / 1_048_576.0),
        _ => format!("{:.2} GB, {:.2} GiB", b / 1e9, b / 1_073_741_824.0),
    }
}

/// Formats a size in GiB, for text that has already stated the bytes: `71.00 GiB`.
pub fn short_text(bytes: u64) -> String {
    let b = bytes as f64;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", b / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", b / 1_048_576.0),
        _ => format!("{:.2} GiB", b / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimal_and_binary_units_differ() {
        let bytes = |text| ByteSize::parse(text).map(|size| size.bytes);
        assert_eq!(bytes("71GB"), Ok(71_000_000_000));
        assert_eq!(bytes("71GiB"), Ok(76_235_669_504));
        assert_eq!(bytes(" 1.5 TB "), Ok(1_500_000_000_000));
        assert_eq!(bytes("79.25gib"), Ok(85_094_039_552));
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("0.1KiB"), Ok(102));
    }

    #[test]
    fn what_is_no_size_says_what_would_be() {
        for (text, word) in [
            ("71", ""),
            ("", "such as"),
            ("GB", "such as"),
            ("71GX", "GX"),
            ("-1GB", "such as"),
            ("1.2.3GB", "such as"),
            ("71Gb", "71Gb"),
            ("99999999999TiB", "such as"),
            ("nan", "such as"),
        ] {
            let result = ByteSize::parse(text);
            match (text, result) {
                ("71", result) => assert!(result.is_ok()),
                ("71Gb", Err(why)) => assert!(why.contains("bits") && why.contains("GiB"), "{why}"),
                (_, Err(why)) => assert!(why.contains(word), "{text}: {why}"),
                (_, Ok(size)) => panic!("{text} was read as {}", size.bytes),
            }
        }
    }

    #[test]
    fn the_binary_twin_is_the_same_number() {
        let size = ByteSize::parse("67GB").unwrap();
        assert_eq!(size.binary_twin(), Some(("67GiB", 67 << 30)));
        assert_eq!(ByteSize::parse("67GiB").unwrap().binary_twin(), None);
    }

    #[test]
    fn both_units_are_echoed() {
        assert_eq!(bytes_text(71_000_000_000), "71000000000 bytes (71.00 GB, 66.12 GiB)");
    }

    proptest! {
        #[test]
        fn whole_bytes_survive(bytes in any::<u64>()) {
            prop_assert_eq!(ByteSize::parse(&bytes.to_string()).map(|s| s.bytes), Ok(bytes));
            prop_assert_eq!(ByteSize::parse(&format!("{bytes}B")).map(|s| s.bytes), Ok(bytes));
        }

        #[test]
        fn nothing_panics(text in ".{0,12}") {
            let _ = ByteSize::parse(&text);
        }
    }
}
