//! What transformers computed on tiny checkpoints of every family and rope, committed under
//! `tests/golden`.

mod common;

use std::path::{Path, PathBuf};

use common::Wish;
use common::expected::{Distance, Expected};
use placement::DtypeChoice;

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let entries =
        std::fs::read_dir(&root).expect("tests/golden").flatten().map(|entry| entry.path());
    let mut folders: Vec<PathBuf> =
        entries.filter(|path| path.join("expected.json").is_file()).collect();
    folders.sort();
    folders
}

fn distance(folder: &Path, expected: &Expected, dtype: DtypeChoice) -> Distance {
    // Dynamic and long RoPE were taken for the text's length: the context that is loaded for.
    let wish = Wish { dtype, context: expected.context(), concurrency: 1, ..Wish::default() };
    let mut loaded = wish.load(folder).expect("it loads");
    expected.distance(&mut loaded)
}

#[test]
fn oracle_mode_is_transformers_in_float32() {
    let folders = folders();
    assert!(folders.len() >= 20, "found {} folders in tests/golden", folders.len());
    for folder in folders {
        let expected = Expected::read(&folder.join("expected.json"), None);
        let found = distance(&folder, &expected, DtypeChoice::F32);
        assert!(found.max_abs_error <= 1e-3, "{}: {found:?}", folder.display());
        // Five digits are committed, so that is what can be seen of a divergence.
        assert!(found.mean_kl.abs() < 1e-5, "{}: {found:?}", folder.display());
    }
}

#[test]
fn fast_mode_is_no_further_off_than_transformers_in_bf16() {
    for folder in folders() {
        let expected = Expected::read(&folder.join("expected.json"), None);
        let found = distance(&folder, &expected, DtypeChoice::Auto);
        assert!(found.mean_kl < 5e-4, "{}: {found:?}", folder.display());
        // Where weights are f16, transformers keeps f16 keys and values; ours are bf16, three bits
        // shorter.
        let Some(theirs) = expected.low_precision().filter(|theirs| theirs.dtype == "bf16") else {
            continue;
        };
        assert!(
            found.mean_kl <= theirs.mean_kl,
            "{}: {found:?} against {theirs:?}",
            folder.display()
        );
        assert!(
            found.max_abs_error <= theirs.max_abs_error,
            "{}: {found:?} against {theirs:?}",
            folder.display()
        );
    }
}
