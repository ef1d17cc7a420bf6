//! A hash chain over the rows of a log: each row carries a hash of itself and all earlier rows.

use twox_hash::XxHash3_64;

const MARK: &str = ",\"chain\":\"";
/// Hexadecimal digits of a chain value. 64 bits detect damage and careless edits. No hash without a
/// key detects forgery, but a replay does.
const DIGITS: usize = 16;

/// State of the chain after the rows so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chain(u64);

impl Chain {
    /// Seals one JSON object (text ending in `}`): advances the chain and appends its value as the
    /// object's last field.
    pub(crate) fn seal(&mut self, line: &mut Vec<u8>) {
        debug_assert!(line.ends_with(b"}"));
        line.pop();
        self.advance(line);
        line.extend_from_slice(MARK.as_bytes());
        line.extend_from_slice(self.to_string().as_bytes());
        line.extend_from_slice(b"\"}");
    }

    /// Checks the chain value of one sealed line and advances the chain. Returns the object without
    /// its chain value, or `None` if the value does not continue the chain.
    pub(crate) fn open(&mut self, line: &str) -> Option<String> {
        let end = line.strip_suffix("\"}")?;
        let split = end.len().checked_sub(DIGITS)?;
        let (head, digits) = (end.get(..split)?, end.get(split..)?);
        let body = head.strip_suffix(MARK)?;
        let mut next = *self;
        next.advance(body.as_bytes());
        (next.to_string() == digits).then(|| {
            *self = next;
            format!("{body}}}")
        })
    }

    fn advance(&mut self, body: &[u8]) {
        self.0 = XxHash3_64::oneshot_with_seed(self.0, body);
    }
}

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Chain;

    #[test]
    fn a_sealed_line_opens_once_and_in_order() {
        let mut writing = Chain::default();
        let (mut one, mut two) = (b"{\"a\":1}".to_vec(), b"{\"a\":2}".to_vec());
        writing.seal(&mut one);
        writing.seal(&mut two);
        let (one, two) = (String::from_utf8(one).unwrap(), String::from_utf8(two).unwrap());
        let mut reading = Chain::default();
        assert_eq!(reading.open(&two), None, "the second line does not follow nothing");
        assert_eq!(reading.open(&one).as_deref(), Some("{\"a\":1}"));
        assert_eq!(reading.open(&one), None, "a line does not follow itself");
        assert_eq!(reading.open(&two.replace(":2", ":3")), None);
        assert_eq!(reading.open(&two).as_deref(), Some("{\"a\":2}"));
        assert_eq!(reading, writing);
    }

    #[test]
    fn any_change_of_a_byte_its_position_or_the_length_changes_the_value() {
        let value = |body: &str| {
            let mut chain = Chain::default();
            chain.advance(body.as_bytes());
            chain
        };
        let row = "{\"step\":17,\"reply\":\"a reply of some length\",\"ok\":true".to_string();
        let mut seen = std::collections::BTreeSet::from([value(&row).0]);
        for at in 0..row.len() {
            for other in ["0", "z", ""] {
                let edited = format!("{}{other}{}", &row[..at], &row[at + 1..]);
                assert!(edited == row || seen.insert(value(&edited).0), "{edited}");
            }
            if let (Some(swapped), true) = (row.get(at + 1..at + 2), at + 1 < row.len()) {
                let edited =
                    format!("{}{swapped}{}{}", &row[..at], &row[at..at + 1], &row[at + 2..]);
                assert!(edited == row || seen.insert(value(&edited).0), "{edited}");
            }
        }
        assert_ne!(value("a\0"), value("a"), "padding changes the value");
    }

    #[test]
    fn malformed_lines_are_rejected_without_a_panic() {
        for line in [
            "",
            "}",
            "\"}",
            "é\"}",
            ",\"chain\":\"é23456789012345\"}",
            "{\"chain\":\"0123456789abcdef\"}",
        ] {
            assert_eq!(Chain::default().open(line), None);
        }
    }
}
