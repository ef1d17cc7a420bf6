//! A reply's text as it grows, and the stop strings in it.

use text::{StreamDecoder, TextError, Tokenizer};

/// Turns tokens into text; holds back what may become a stop string.
pub(super) struct Detokenizer {
    decoder: Option<StreamDecoder>,
    stops: Vec<String>,
    /// Text that may still become a stop string.
    held: String,
}

/// What a token added.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Added {
    /// Text that is certain.
    pub text: String,
    /// Whether a stop string is complete; the text is what comes before it.
    pub stopped: bool,
}

impl Detokenizer {
    pub fn new(tokenizer: Option<&Tokenizer>, stops: Vec<String>) -> Self {
        Detokenizer {
            decoder: tokenizer.cloned().map(StreamDecoder::new),
            stops,
            held: String::new(),
        }
    }

    pub fn push(&mut self, token: u32) -> Result<Added, TextError> {
        let Some(decoder) = &mut self.decoder else { return Ok(Added::default()) };
        let text = decoder.push(token)?;
        Ok(self.add(&text))
    }

    /// What is left at the end.
    pub fn finish(&mut self) -> Added {
        let rest = self.decoder.as_mut().map(StreamDecoder::finish).unwrap_or_default();
        let mut added = self.add(&rest);
        if !added.stopped {
            added.text.push_str(&std::mem::take(&mut self.held));
        }
        added
    }

    fn add(&mut self, text: &str) -> Added {
        self.held.push_str(text);
        // The earliest stop string ends the text, whichever it is.
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(at);
            return Added { text: std::mem::take(&mut self.held), stopped: true };
        }
        let rest = self.held.split_off(self.held.len() - self.beginning());
        Added { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// Bytes at the end that a stop string may begin with.
    fn beginning(&self) -> usize {
        let longest = |stop: &String| {
            let ends = stop.char_indices().map(|(at, _)| at).rev();
            ends.into_iter().find(|&at| self.held.ends_with(&stop[..at])).unwrap_or(0)
        };
        self.stops.iter().map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(stops: &[&str], texts: &[&str]) -> (Vec<String>, bool) {
        let mut out = Detokenizer::new(None, stops.iter().map(|&stop| stop.to_owned()).collect());
        let mut given = Vec::new();
        for text in texts {
            let added = out.add(text);
            given.push(added.text);
            if added.stopped {
                return (given, true);
            }
        }
        given.push(out.finish().text);
        (given, false)
    }

    #[test]
    fn text_flows_where_nothing_stops_it() {
        assert_eq!(parts(&[], &["a", "b"]), (vec!["a".into(), "b".into(), "".into()], false));
    }

    #[test]
    fn a_stop_string_ends_the_text_across_tokens() {
        assert_eq!(
            parts(&["END"], &["one E", "N", "D two"]),
            (vec!["one ".into(), "".into(), "".into()], true)
        );
        assert_eq!(parts(&["\n\n", "b"], &["a\n", "\nb"]), (vec!["a".into(), "".into()], true));
    }

    #[test]
    fn what_did_not_become_one_comes_late() {
        assert_eq!(
            parts(&["END"], &["xE", "Ny"]),
            (vec!["x".into(), "ENy".into(), "".into()], false)
        );
        assert_eq!(parts(&["END"], &["xEN"]), (vec!["x".into(), "EN".into()], false));
        assert_eq!(parts(&["aab"], &["aa", "ab!"]), (vec!["".into(), "a".into()], true));
        assert_eq!(parts(&["é!"], &["é", "?"]), (vec!["".into(), "é?".into(), "".into()], false));
    }
}
