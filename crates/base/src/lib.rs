//! Helpers that are shared by crates that must not depend on each other.

mod closest_word;
mod lock;
mod shell_word;
mod splitmix64;
mod threads;
mod user_path;

pub use closest_word::closest_word;
pub use lock::unpoisoned;
pub use shell_word::shell_word;
pub use splitmix64::{GOLDEN_GAMMA, SplitMix64, mix64};
pub use threads::{in_parallel, on_threads, usable_cores};
pub use user_path::{home_folder, path_variable};
