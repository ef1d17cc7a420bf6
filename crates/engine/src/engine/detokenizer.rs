//! Incremental detokenization with stop strings, as vLLM's `IncrementalDetokenizer`.

use text::{StreamDecoder, TextError, Tokenizer};

/// Turns output tokens into text; holds back text that may be the beginning of a stop string.
pub(super) struct Detokenizer {
    decoder: Option<StreamDecoder>,
    stop_strings: Vec<String>,
    /// The end of the text, held back because it may be the beginning of a stop string.
    held: String,
}

/// The text that became final with a token.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct DetokenizedText {
    /// Final text.
    pub text: String,
    /// Whether a stop string was found; `text` is then the text before it.
    pub stopped: bool,
}

impl Detokenizer {
    pub fn new(tokenizer: Option<&Tokenizer>, stop_strings: Vec<String>) -> Self {
        let decoder = tokenizer.cloned().map(StreamDecoder::new);
        Detokenizer { decoder, stop_strings, held: String::new() }
    }

    pub fn push(&mut self, token: u32) -> Result<DetokenizedText, TextError> {
        let Some(decoder) = &mut self.decoder else { return Ok(DetokenizedText::default()) };
        let text = decoder.push(token)?;
        Ok(self.add(&text))
    }

    /// Ends the text; returns the text that was held back.
    pub fn finish(&mut self) -> DetokenizedText {
        let rest = self.decoder.as_mut().map(StreamDecoder::finish).unwrap_or_default();
        let mut added = self.add(&rest);
        if !added.stopped {
            added.text.push_str(&std::mem::take(&mut self.held));
        }
        added
    }

    fn add(&mut self, text: &str) -> DetokenizedText {
        self.held.push_str(text);
        // Among several stop strings, the one that begins first ends the text.
        let starts = self.stop_strings.iter().filter_map(|stop| self.held.find(stop.as_str()));
        if let Some(start) = starts.min() {
            self.held.truncate(start);
            return DetokenizedText { text: std::mem::take(&mut self.held), stopped: true };
        }
        let rest = self.held.split_off(self.held.len() - self.stop_prefix_bytes());
        DetokenizedText { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// Length in bytes of the longest suffix of `held` that is a proper prefix of a stop string.
    fn stop_prefix_bytes(&self) -> usize {
        let longest = |stop: &String| {
            let ends = stop.char_indices().map(|(index, _)| index).rev();
            ends.into_iter().find(|&end| self.held.ends_with(&stop[..end])).unwrap_or(0)
        };
        self.stop_strings.iter().map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detokenize(stops: &[&str], texts: &[&str]) -> (Vec<String>, bool) {
        let mut out = Detokenizer::new(None, stops.iter().map(|&stop| stop.to_owned()).collect());
        let mut added_texts = Vec::new();
        for text in texts {
            let added = out.add(text);
            added_texts.push(added.text);
            if added.stopped {
                return (added_texts, true);
            }
        }
        added_texts.push(out.finish().text);
        (added_texts, false)
    }

    #[test]
    fn text_without_stop_strings_is_not_held_back() {
        assert_eq!(detokenize(&[], &["a", "b"]), (vec!["a".into(), "b".into(), "".into()], false));
    }

    #[test]
    fn a_stop_string_ends_the_text_across_tokens() {
        assert_eq!(
            detokenize(&["END"], &["one E", "N", "D two"]),
            (vec!["one ".into(), "".into(), "".into()], true)
        );
        assert_eq!(
            detokenize(&["\n\n", "b"], &["a\n", "\nb"]),
            (vec!["a".into(), "".into()], true)
        );
    }

    #[test]
    fn text_that_did_not_become_a_stop_string_follows_later() {
        assert_eq!(
            detokenize(&["END"], &["xE", "Ny"]),
            (vec!["x".into(), "ENy".into(), "".into()], false)
        );
        assert_eq!(detokenize(&["END"], &["xEN"]), (vec!["x".into(), "EN".into()], false));
        assert_eq!(detokenize(&["aab"], &["aa", "ab!"]), (vec!["".into(), "a".into()], true));
        assert_eq!(
            detokenize(&["é!"], &["é", "?"]),
            (vec!["".into(), "é?".into(), "".into()], false)
        );
    }
}
