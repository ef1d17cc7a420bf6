//! Tests of the engine. Most use a toy model whose logits are an exact function of the contents of
//! the sequence's KV blocks, so that a wrong block table gives wrong tokens.

mod block_accounting;
mod failures;
mod independence;
mod lifecycle;
mod structured_output;
mod thinking;
mod tiny_llama;
mod toy_model;
