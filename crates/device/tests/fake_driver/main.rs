//! Tests of `device::cuda` on fake GPUs: driver, memory, copies and failures. No real GPU is used.
#![allow(unsafe_code)] // the tests of the fake CUDA driver itself call its functions

#[path = "../../../../tests/fake_driver/library.rs"]
mod library;

mod checker;
mod driver;
mod failures;
mod memory;
mod peer_link;
mod pinned_ring;

use std::time::{Duration, Instant};

use device::cuda::{Driver, Gpu};
use library::on_fake_gpus;

const MIB: usize = 1 << 20;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn gpu(ordinal: usize) -> Gpu {
    Gpu::open(&Driver::open().expect("a driver"), ordinal, u64::MAX).expect("a gpu")
}

/// Pseudorandom bytes that depend on position and seed.
fn pattern(len: usize, seed: u32) -> Vec<u8> {
    (0..len as u32)
        .map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 23) as u8)
        .collect()
}
