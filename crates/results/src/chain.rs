//! A value over a row and all rows before it: the shortest proof that a log is what was written.

const MARK: &str = ",\"chain\":\"";
/// Hexadecimal digits of the value: 64 bits, against accidents and edits. Whoever wants to forge a log can seal it again, under
/// any hash without a key: replaying finds that.
const DIGITS: usize = 16;
/// Odd, with bits all over: the fractional parts of the golden ratio and of the root of 2.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
const SALT: u64 = 0x6A09_E667_F3BC_C909;

/// The chain's state after some rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chain(u64);

impl Chain {
    /// Seals one JSON object (text ending in `}`): appends the value as its last member, and moves on.
    pub(crate) fn seal(&mut self, line: &mut Vec<u8>) {
        debug_assert!(line.ends_with(b"}"));
        line.pop();
        self.advance(line);
        line.extend_from_slice(MARK.as_bytes());
        line.extend_from_slice(self.to_string().as_bytes());
        line.extend_from_slice(b"\"}");
    }

    /// Checks one sealed line and moves on; the object without its chain value. `None` if the line does not follow.
    pub(crate) fn open(&mut self, line: &str) -> Option<String> {
        let end = line.strip_suffix("\"}")?;
        let at = end.len().checked_sub(DIGITS)?;
        let (head, digits) = (end.get(..at)?, end.get(at..)?);
        let body = head.strip_suffix(MARK)?;
        let mut next = *self;
        next.advance(body.as_bytes());
        (next.to_string() == digits).then(|| {
            *self = next;
            format!("{body}}}")
        })
    }

    fn advance(&mut self, body: &[u8]) {
        let (words, rest) = body.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        let mut state = fold(self.0 ^ SALT);
        for word in words {
            state = fold(state ^ u64::from_le_bytes(*word)).wrapping_add(SALT);
        }
        self.0 = fold(fold(state ^ u64::from_le_bytes(last)) ^ body.len() as u64);
    }
}

/// Both halves of the product, mixed: every bit of the input changes about half of the output's (as in wyhash).
fn fold(x: u64) -> u64 {
    let product = u128::from(x ^ SALT.rotate_left(32)) * u128::from(FACTOR);
    (product as u64) ^ (product >> 64) as u64
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
    fn every_byte_its_place_and_the_length_count() {
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
                let edited = format!("{}{swapped}{}{}", &row[..at], &row[at..at + 1], &row[at + 2..]);
                assert!(edited == row || seen.insert(value(&edited).0), "{edited}");
            }
        }
        assert_ne!(value("a\0"), value("a"), "what is filled up is not what was there");
    }

    #[test]
    fn lines_of_any_kind_do_not_panic() {
        for line in ["", "}", "\"}", "é\"}", ",\"chain\":\"é23456789012345\"}", "{\"chain\":\"0123456789abcdef\"}"] {
            assert_eq!(Chain::default().open(line), None);
        }
    }
}
