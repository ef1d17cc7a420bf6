//! The tokens that end a reply of a GGUF model. The file's keys are often incomplete: those of
//! early Llama 3, Phi-3 and ChatML files name the end of a text and not the end of a turn. So
//! well-known tokens count by their text too, as in `llama-vocab.cpp` of llama.cpp
//! (`special_eog_ids`).
use crate::gguf_metadata::GgufMetadata;

/// Texts of tokens that end a reply, whatever the type of the token.
const END_TEXTS: [&str; 22] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Tokens between the parts of a prompt to fill in, which no reply contains: the name in the key,
/// and the texts by which the token is found without the key.
const FILL_IN_TEXTS: [(&str, &[&str]); 3] = [
    ("fim_pad", &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"]),
    ("fim_rep", &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"]),
    ("fim_sep", &["<|file_sep|>"]),
];

impl GgufMetadata {
    /// The ids of the tokens that end a reply: those of the keys, then those with a well-known
    /// text.
    pub fn end_tokens(&self) -> Vec<u32> {
        let keys = ["eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep"];
        let ids = keys.into_iter().filter_map(|name| self.id(name));
        let mut end: Vec<u32> = Vec::new();
        for id in ids.filter(|id| !self.is_inner(*id)).chain(self.well_known_end_tokens()) {
            if !end.contains(&id) {
                end.push(id);
            }
        }
        end
    }

    /// The ids of the tokens that end a reply according to their text. llama.cpp takes them for
    /// control tokens, whatever their type in the file.
    pub fn well_known_end_tokens(&self) -> Vec<u32> {
        let with_text = |texts: &'static [&str]| {
            let found = self.tokens().iter().enumerate();
            found.filter(|(_, t)| texts.contains(&t.as_str())).map(|(id, _)| id as u32)
        };
        let fill_in = FILL_IN_TEXTS.iter().filter_map(|(name, texts)| match self.id(name) {
            Some(_) => None,
            None => with_text(texts).next(),
        });
        with_text(&END_TEXTS).filter(|id| !self.is_inner(*id)).chain(fill_in).collect()
    }

    /// Whether a token that ends a reply in other vocabularies is a part of replies in this one.
    fn is_inner(&self, id: u32) -> bool {
        let tokens = self.tokens();
        let has = |text: &str| tokens.iter().any(|token| token == text);
        match tokens.get(id as usize).map(String::as_str) {
            // gpt-oss and Solar end each part of a reply with it.
            Some("<|end|>") => {
                let calls = has("<|call|>") || has("<|calls|>");
                calls && (has("<|return|>") || has("<|flush|>"))
            }
            // An ordinary word of Gemma 4.
            Some("</s>") => has("<|tool_response>"),
            _ => false,
        }
    }

    fn tokens(&self) -> &[String] {
        self.get_str_array("tokenizer.ggml.tokens").unwrap_or_default()
    }

    /// The id under a key. An id outside of the vocabulary does not count, as in llama.cpp.
    fn id(&self, name: &str) -> Option<u32> {
        let count = self.tokens().len();
        let id = self.get_u32(&format!("tokenizer.ggml.{name}_token_id"));
        id.filter(|id| count == 0 || (*id as usize) < count)
    }
}
