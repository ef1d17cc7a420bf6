//! The scheduler over a toy model that is exact: its logits are a function of what it reads from
//! the blocks that it is given, so a wrong block table gives wrong tokens.

mod books;
mod constrained;
mod real;
mod replies;
mod toy;
mod trouble;
