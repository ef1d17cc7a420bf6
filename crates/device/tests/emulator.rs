//! The emulator behind the fake GPU finds what it is there to find: kernels that are wrong on
//! purpose (`emulator/kernels.cpp`).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The program of small kernels, compiled once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, program) = PROGRAM.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("kernels");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/emulator/kernels.cpp");
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "g++".to_owned());
        let built = Command::new(&compiler)
            .args([
                "-std=c++17",
                "-O1",
                "-pthread",
                "-ffp-contract=off",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-o",
            ])
            .args([&program, &source])
            .output()
            .unwrap_or_else(|error| {
                panic!("{compiler}: {error}; install g++, or name a C++17 compiler in CXX")
            });
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        (folder, program)
    });
    program
}

fn run(case: &str, kind: &str, order: &str) -> Output {
    Command::new(program()).args([case, kind, order]).output().expect("the program")
}

/// What the kernel's 64 threads wrote.
fn numbers(output: &Output) -> Vec<u32> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .map(|word| word.parse().expect("a number"))
        .collect()
}

/// Ended by the emulator, which says why.
#[track_caller]
fn refused(case: &str, why: &str) {
    for order in ["forwards", "reversed"] {
        let output = run(case, "bad", order);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(why),
            "{case} {order}: {:?} {said}",
            output.status
        );
    }
}

#[test]
fn right_kernels_give_the_same_in_both_orders() {
    let next: Vec<u32> = (0..64).map(|i| (i + 1) % 64).collect();
    let words: Vec<u32> = (0..64).map(|i| 4 * i + 1).collect();
    for order in ["forwards", "reversed"] {
        assert_eq!(numbers(&run("pass_on", "good", order)), next);
        assert_eq!(numbers(&run("leave_block", "good", order)), [1; 64]);
        assert_eq!(numbers(&run("leave_warp", "good", order)), [32; 64]);
        assert_eq!(numbers(&run("part_ways", "good", order)), [32; 64]);
        assert_eq!(numbers(&run("copy_early", "good", order)), words);
        assert_eq!(numbers(&run("load_askew", "good", order)), words);
    }
}

#[test]
fn matrices_are_multiplied_as_the_fragments_say() {
    assert_eq!(numbers(&run("multiply", "good", "forwards")), [0; 64]);
    assert_eq!(numbers(&run("multiply", "bad", "forwards")), [1; 64]);
}

#[test]
fn a_missing_barrier_shows() {
    let found =
        [numbers(&run("pass_on", "bad", "forwards")), numbers(&run("pass_on", "bad", "reversed"))];
    // What was never written is all ones.
    assert_eq!(found[0][..63], [u32::MAX; 63]);
    assert_ne!(found[0], found[1]);
}

#[test]
fn copies_arrive_when_they_are_waited_for() {
    assert_eq!(numbers(&run("copy_early", "bad", "forwards")), [u32::MAX; 64]);
}

#[test]
fn threads_that_part_are_found() {
    refused("leave_block", "threads 0 to 31 wait for __syncthreads");
    refused("leave_warp", "wait for a shuffle");
    refused("part_ways", "waits for");
}

#[test]
fn addresses_are_aligned() {
    refused("load_askew", "not aligned");
}
