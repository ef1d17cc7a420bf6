//! SentencePiece's BPE in the tokenizers library: one merge for each way to split a piece into two
//! pieces, in the order of the scores of the split pieces.
use super::BuiltTokenizer;
use super::bpe::add;
use super::gguf::{GgufTokenizerFields, TokenType};
use crate::TextError;
use crate::codec::SPACE;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{Prepend, Replace, Sequence as Normalizers};
use tokenizers::{DecoderWrapper, Error, NormalizerWrapper, Tokenizer};

pub(super) fn build(fields: &GgufTokenizerFields) -> Result<BuiltTokenizer, TextError> {
    let bad = |e: Error| TextError::tokenizer(fields.file, e);
    let with_prefix = fields.flag("add_space_prefix", true)?;
    let unknown = fields.id("unknown_token_id")?.or(fields.first_unknown());
    let merges = merges(fields, fields.scores()?);
    let mut model =
        BPE::builder().vocab_and_merges(fields.vocab().into_iter().collect::<Vocab>(), merges);
    model = model.byte_fallback(fields.types.contains(&TokenType::Byte)).fuse_unk(true);
    if let Some(unknown) = unknown {
        model = model.unk_token(fields.tokens[unknown as usize].clone());
    }
    let mut tokenizer = Tokenizer::new(model.build().map_err(bad)?);
    tokenizer.with_normalizer(Some(normalizer(with_prefix).map_err(bad)?));
    tokenizer.with_decoder(Some(decoder(with_prefix).map_err(bad)?));
    add(&mut tokenizer, &fields.added());
    let (before, after) = (fields.wrap("bos", true)?, fields.wrap("eos", false)?);
    Ok(BuiltTokenizer { tokenizer, file: fields.file.to_owned(), before, after })
}

impl GgufTokenizerFields<'_> {
    fn first_unknown(&self) -> Option<u32> {
        self.types.iter().position(|t| *t == TokenType::Unknown).map(|id| id as u32)
    }
}

/// Merges in descending order of the merged piece's score, ties in ascending order of its id; among
/// the merges of one piece, those with the longest left part first.
fn merges(fields: &GgufTokenizerFields, scores: &[f32]) -> Merges {
    let is_piece =
        |id: usize| matches!(fields.types[id], TokenType::Normal | TokenType::UserDefined);
    let pieces = fields.tokens.iter().enumerate().filter(|(id, _)| is_piece(*id));
    let ids: BTreeMap<&str, usize> = pieces.map(|(id, piece)| (piece.as_str(), id)).collect();
    let mut order: Vec<usize> =
        (0..fields.tokens.len()).filter(|id| fields.types[*id] == TokenType::Normal).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    let mut merges = Vec::new();
    for id in order {
        let piece = fields.tokens[id].as_str();
        let cuts = piece.char_indices().skip(1).map(|(at, _)| piece.split_at(at));
        let mut splits: Vec<_> =
            cuts.filter(|(a, b)| ids.contains_key(a) && ids.contains_key(b)).collect();
        splits.sort_by_key(|(a, _)| Reverse(a.len()));
        merges.extend(splits.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
    merges
}

fn normalizer(with_prefix: bool) -> Result<NormalizerWrapper, Error> {
    let mut steps = Vec::new();
    if with_prefix {
        steps.push(NormalizerWrapper::Prepend(Prepend::new(SPACE.to_string())));
    }
    steps.push(NormalizerWrapper::Replace(Replace::new(" ".to_owned(), SPACE.to_string())?));
    Ok(NormalizerWrapper::Sequence(Normalizers::new(steps)))
}

fn decoder(with_prefix: bool) -> Result<DecoderWrapper, Error> {
    let mut steps = vec![
        DecoderWrapper::Replace(Replace::new(SPACE.to_string(), " ".to_owned())?),
        DecoderWrapper::ByteFallback(ByteFallback::new()),
        DecoderWrapper::Fuse(Fuse::new()),
    ];
    if with_prefix {
        steps.push(DecoderWrapper::Strip(Strip::new(' ', 1, 0)));
    }
    Ok(DecoderWrapper::Sequence(Decoders::new(steps)))
}
