//! A value over a row and all rows before it: the shortest proof that a log is what was written.

use sha2::{Digest, Sha256};

const MARK: &str = ",\"chain\":\"";
/// Hexadecimal digits of the value: 64 bits, against accidents and edits, not against an adversary.
const DIGITS: usize = 16;

/// The chain's state after some rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chain(u64);

impl Chain {
    /// Seals one JSON object (text ending in `}`): appends the value as its last member, and moves on.
    pub(crate) fn seal(&mut self, line: &mut String) {
        debug_assert!(line.ends_with('}'));
        line.pop();
        self.advance(line);
        line.push_str(MARK);
        line.push_str(&self.to_string());
        line.push_str("\"}");
    }

    /// Checks one sealed line and moves on; the object without its chain value. `None` if the line does not follow.
    pub(crate) fn open(&mut self, line: &str) -> Option<String> {
        let end = line.strip_suffix("\"}")?;
        let at = end.len().checked_sub(DIGITS)?;
        let (head, digits) = (end.get(..at)?, end.get(at..)?);
        let body = head.strip_suffix(MARK)?;
        let mut next = *self;
        next.advance(body);
        (next.to_string() == digits).then(|| {
            *self = next;
            format!("{body}}}")
        })
    }

    fn advance(&mut self, body: &str) {
        let mut hash = Sha256::new();
        hash.update(self.0.to_be_bytes());
        hash.update(body.as_bytes());
        let digest = hash.finalize();
        self.0 = digest[..8].iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
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
        let (mut one, mut two) = ("{\"a\":1}".to_string(), "{\"a\":2}".to_string());
        writing.seal(&mut one);
        writing.seal(&mut two);
        let mut reading = Chain::default();
        assert_eq!(reading.open(&two), None, "the second line does not follow nothing");
        assert_eq!(reading.open(&one).as_deref(), Some("{\"a\":1}"));
        assert_eq!(reading.open(&one), None, "a line does not follow itself");
        assert_eq!(reading.open(&two.replace(":2", ":3")), None);
        assert_eq!(reading.open(&two).as_deref(), Some("{\"a\":2}"));
        assert_eq!(reading, writing);
    }

    #[test]
    fn lines_of_any_kind_do_not_panic() {
        for line in ["", "}", "\"}", "é\"}", ",\"chain\":\"é23456789012345\"}", "{\"chain\":\"0123456789abcdef\"}"] {
            assert_eq!(Chain::default().open(line), None);
        }
    }
}
