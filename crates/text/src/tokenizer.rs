//! [`Tokenizer`]: converts text to token ids and back.
use crate::TextError;
use crate::build::{self, BuiltTokenizer};
use crate::codec::TokenByteCodec;
use checkpoint::{Checkpoint, Family, GgufMetadata};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Upper limit of token ids, so that a damaged file cannot cause huge allocations; the largest
/// vocabularies have about 260,000 tokens.
const IDS_MAX: u32 = 1 << 22;

/// A tokenizer. Clones share its data.
#[derive(Clone)]
pub struct Tokenizer(Arc<TokenizerInner>);

struct TokenizerInner {
    built: BuiltTokenizer,
    codec: TokenByteCodec,
    /// The token of each id; `None` for ids without a token.
    tokens: Vec<Option<TokenEntry>>,
    /// Number of rows of the model's embedding, if known; ids from this number on are invalid.
    rows: Option<usize>,
}

struct TokenEntry {
    bytes: Vec<u8>,
    is_special: bool,
}

impl Tokenizer {
    /// Reads the tokenizer of a checkpoint: `tokenizer.json`, `vocab.json` with `merges.txt`, or
    /// the metadata of a GGUF file. `None` if the checkpoint has no tokenizer.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] if it is malformed, [`TextError::File`] for a dangling link or a
    /// failed read.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Option<Tokenizer>, TextError> {
        let built = match &checkpoint.gguf {
            Some(metadata) => build::from_gguf(&checkpoint.root, metadata)?,
            None => build::from_folder(&checkpoint.root, checkpoint.config.family)?,
        };
        built.map(|built| Self::new(built, Some(checkpoint.config.vocab_size))).transpose()
    }

    /// Reads the tokenizer of a folder: `tokenizer.json`, or `vocab.json` with `merges.txt`, whose
    /// pre-tokenization depends on the model's family. `None` if the folder has no tokenizer.
    ///
    /// # Errors
    /// As [`from_checkpoint`](Tokenizer::from_checkpoint).
    pub fn from_folder(root: &Path, family: Family) -> Result<Option<Tokenizer>, TextError> {
        build::from_folder(root, family)?.map(|built| Self::new(built, None)).transpose()
    }

    /// Reads the tokenizer of a GGUF file's metadata: `gpt2` (byte-level) or `llama`
    /// (SentencePiece). `None` if the metadata has no tokenizer. `file` is for error messages.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] if it is malformed or of another kind.
    pub fn from_gguf(file: &Path, metadata: &GgufMetadata) -> Result<Option<Tokenizer>, TextError> {
        build::from_gguf(file, metadata)?.map(|built| Self::new(built, None)).transpose()
    }

    fn new(built: BuiltTokenizer, rows: Option<usize>) -> Result<Tokenizer, TextError> {
        let bad = |why: String| TextError::tokenizer(&built.file, why);
        let codec = TokenByteCodec::of(built.tokenizer.get_decoder()).map_err(bad)?;
        let added = built.tokenizer.get_added_tokens_decoder();
        let mut by_id: BTreeMap<u32, String> =
            built.tokenizer.get_vocab(true).into_iter().map(|(token, id)| (id, token)).collect();
        by_id.extend(added.iter().map(|(id, token)| (*id, token.content.clone())));
        let Some((last, _)) = by_id.last_key_value() else { return Err(bad("no tokens".into())) };
        if *last >= IDS_MAX {
            return Err(bad(format!("the id {last}, where at most {} was expected", IDS_MAX - 1)));
        }
        let mut tokens: Vec<Option<TokenEntry>> = (0..=*last).map(|_| None).collect();
        for (id, token) in by_id {
            // The library skips a token that any file calls special, even if another does not.
            let is_special = built.tokenizer.get_added_vocabulary().is_special_token(&token);
            tokens[id as usize] = Some(TokenEntry { bytes: codec.bytes(&token), is_special });
        }
        Ok(Tokenizer(Arc::new(TokenizerInner { built, codec, tokens, rows })))
    }

    /// Converts a text to ids. Special tokens in the text are recognized, as in transformers;
    /// `add_special` adds the special tokens that the model expects before and after a text.
    ///
    /// # Errors
    /// [`TextError::Input`] if the tokenizer rejects the text, [`TextError::Tokenizer`] if it
    /// produces an id beyond the model's embedding.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TextError> {
        let BuiltTokenizer { tokenizer, before, after, .. } = &self.0.built;
        let encoding = tokenizer.encode_fast(text, add_special);
        let encoding = encoding
            .map_err(|e| TextError::Input { doing: "tokenize the text", why: e.to_string() })?;
        let ids = match add_special {
            true => [before, encoding.get_ids(), after].concat(),
            false => encoding.get_ids().to_vec(),
        };
        match self
            .0
            .rows
            .and_then(|rows| Some((rows, ids.iter().find(|id| **id as usize >= rows)?)))
        {
            None => Ok(ids),
            Some((rows, id)) => {
                let token = self.id_to_token(*id).unwrap_or_default();
                let why =
                    format!("the token {token:?} with id {id}, where the model has {rows} rows");
                Err(TextError::tokenizer(self.file(), why))
            }
        }
    }

    /// Converts ids to text. Ids without a token are skipped, and special tokens if `skip_special`
    /// is set; invalid UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    /// At present this never fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TextError> {
        let tokens = ids
            .iter()
            .filter_map(|id| self.token(*id))
            .filter(|token| !(skip_special && token.is_special));
        let mut bytes: Vec<u8> = tokens.flat_map(|token| token.bytes.iter().copied()).collect();
        self.strip_space(&mut bytes);
        Ok(self.0.codec.text(&bytes))
    }

    /// The number of ids, including added tokens and ids without a token.
    pub fn vocab_size(&self) -> usize {
        self.0.tokens.len()
    }

    /// The bytes of a token; `None` for special tokens and ids without a token.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        self.token(id).filter(|token| !token.is_special).map(|token| token.bytes.clone())
    }

    /// Whether an id is that of a special token.
    pub fn is_special(&self, id: u32) -> bool {
        self.token(id).is_some_and(|token| token.is_special)
    }

    /// The id of a token, as written in the vocabulary.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.0.built.tokenizer.token_to_id(token)
    }

    /// The token of an id, as written in the vocabulary.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.0.built.tokenizer.id_to_token(id)
    }

    /// The file that the tokenizer was read from.
    pub fn file(&self) -> &PathBuf {
        &self.0.built.file
    }

    fn token(&self, id: u32) -> Option<&TokenEntry> {
        self.0.tokens.get(id as usize)?.as_ref()
    }

    pub(crate) fn codec(&self) -> TokenByteCodec {
        self.0.codec
    }

    /// Removes the space that SentencePiece adds before the first word.
    pub(crate) fn strip_space(&self, bytes: &mut Vec<u8>) {
        if self.0.codec.strips_space() && bytes.first() == Some(&b' ') {
            bytes.remove(0);
        }
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} ids)", self.vocab_size())
    }
}
