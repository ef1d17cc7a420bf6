//! The engine over a toy model that is exact: its logits are a function of what it reads from the
//! KV blocks that it is given, so a wrong block table gives wrong tokens.

mod block_accounting;
mod failures;
mod independence;
mod lifecycle;
mod structured_output;
mod tiny_llama;
mod toy_model;
