//! Converts tokens to bytes, and bytes to text, as the decoders of the tokenizers library do.
use serde_json::{Value, json};
use tokenizers::DecoderWrapper;

/// The character that SentencePiece writes for a space.
pub(crate) const SPACE: char = '\u{2581}';

/// The encoding of bytes in a tokenizer's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenByteCodec {
    /// Each byte is one printable character (GPT-2's `bytes_to_unicode`).
    ByteLevel,
    /// SentencePiece: a space is written as U+2581.
    Pieces {
        /// Whether bytes without a piece are written in hexadecimal, such as `<0x0A>`.
        byte_fallback: bool,
        /// Whether a space at the beginning of the first token is not part of the text.
        strip_space: bool,
    },
}

impl TokenByteCodec {
    /// The codec of a decoder. Only decoders that decode each token independently are supported,
    /// since the engine needs the bytes of each token. The decoders of WordPiece and CTC are not of
    /// this kind.
    ///
    /// # Errors
    /// A description of an unsupported decoder.
    pub fn of(decoder: Option<&DecoderWrapper>) -> Result<TokenByteCodec, String> {
        let value = serde_json::to_value(decoder).map_err(|e| e.to_string())?;
        let steps = match value.get("decoders") {
            Some(Value::Array(steps)) => steps.clone(),
            _ => vec![value.clone()],
        };
        let kind =
            |step: &Value| step.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let [only] = steps.as_slice()
            && kind(only) == "ByteLevel"
        {
            return Ok(TokenByteCodec::ByteLevel);
        }
        let (mut replaces, mut byte_fallback, mut strip_space) = (false, false, false);
        let replace = json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "});
        let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
        for step in &steps {
            match kind(step).as_str() {
                "ByteFallback" => byte_fallback = true,
                "Fuse" => {}
                _ if *step == replace => replaces = true,
                _ if *step == strip => strip_space = true,
                _ => {
                    return Err(format!(
                        "a decoder that is neither byte-level nor SentencePiece's: {step}"
                    ));
                }
            }
        }
        match replaces {
            true => Ok(TokenByteCodec::Pieces { byte_fallback, strip_space }),
            false => {
                Err(format!("a decoder that is neither byte-level nor SentencePiece's: {value}"))
            }
        }
    }

    /// The bytes of a token.
    pub fn bytes(self, token: &str) -> Vec<u8> {
        match self {
            TokenByteCodec::ByteLevel => {
                let bytes: Option<Vec<u8>> = token.chars().map(byte_of).collect();
                bytes.unwrap_or_else(|| token.as_bytes().to_vec())
            }
            TokenByteCodec::Pieces { byte_fallback, .. } => {
                match fallback_byte(token).filter(|_| byte_fallback) {
                    Some(byte) => vec![byte],
                    None => token.replace(SPACE, " ").into_bytes(),
                }
            }
        }
    }

    /// Converts bytes to text. Invalid UTF-8 becomes U+FFFD: one for each byte under SentencePiece,
    /// one for each broken character otherwise.
    pub fn text(self, bytes: &[u8]) -> String {
        if self == TokenByteCodec::ByteLevel {
            return String::from_utf8_lossy(bytes).into_owned();
        }
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
        }
        text
    }

    /// Whether a space at the beginning of the first token is not part of the text.
    pub fn strips_space(self) -> bool {
        matches!(self, TokenByteCodec::Pieces { strip_space: true, .. })
    }
}

/// The length in bytes without an incomplete UTF-8 character at the end.
pub(crate) fn complete_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match std::str::from_utf8(&bytes[at..]) {
            Ok(_) => return bytes.len(),
            Err(error) => match error.error_len() {
                None => return at + error.valid_up_to(),
                Some(broken) => at += error.valid_up_to() + broken,
            },
        }
    }
}

fn fallback_byte(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let two_digits = hex.len() == 2 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    u8::from_str_radix(hex, 16).ok().filter(|_| two_digits)
}

fn byte_of(c: char) -> Option<u8> {
    let n = c as u32;
    match n {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => Some(n as u8),
        // The other 68 bytes are written, in order, as the characters from U+0100 on.
        0x100..=0x120 => Some((n - 0x100) as u8),
        0x121..=0x142 => Some((n - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{byte_of, complete_len};

    #[test]
    fn every_byte_has_one_character() {
        let mut bytes: Vec<u8> =
            (0x21..=0x143).filter_map(char::from_u32).filter_map(byte_of).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn only_an_incomplete_last_character_waits() {
        let cases: [(&[u8], usize); 6] = [
            (b"", 0),
            (b"a", 1),
            (b"a\xE4\xBD", 1),
            (b"\xFF\xE4", 1),
            (b"\xE4\xFF", 2),
            (b"\xF0\x9F\x98\x80\xF0", 4),
        ];
        for (bytes, expected) in cases {
            assert_eq!(complete_len(bytes), expected, "{bytes:?}");
        }
    }
}
