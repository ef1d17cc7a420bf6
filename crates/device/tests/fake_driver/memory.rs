//! Tests of GPU memory: accounting, limits, buffers and ranges.

use device::cuda::{
    Buffer, CudaError, Driver, Gpu, GpuArena, GpuMemory, PinnedRing, measure_copies,
};
use error_kind::{ErrorKind, HasKind};

use crate::{MIB, gpu, on_fake_gpus, pattern, soon};

#[test]
fn memory_is_counted_and_freed() {
    on_fake_gpus("memory::memory_is_counted_and_freed", &[("FAKE_GPUS", "64MiB")], || {
        let gpu = Gpu::open(&Driver::open().expect("a driver"), 0, 40 << 20).expect("a gpu");
        let before = gpu.memory().expect("memory");
        assert_eq!((before.total_bytes, before.quota_bytes), (64 << 20, 40 << 20));
        assert_eq!((before.reserved_bytes, before.allocated_bytes), (0, 0));
        let arena = GpuArena::new(&gpu, 16 * MIB).expect("an arena");
        let (_a, _b) = (
            arena.zeroed::<u8>(100).expect("a buffer"),
            arena.zeroed::<f32>(100).expect("a buffer"),
        );
        let own = Buffer::<f32>::new(&gpu, MIB).expect("a buffer");
        let now = gpu.memory().expect("memory");
        assert_eq!(now.reserved_bytes, 20 << 20);
        assert_eq!(now.allocated_bytes, (4 << 20) + 256 + 400);
        assert_eq!((arena.used_bytes(), arena.limit_bytes()), (656, 16 * MIB));
        assert_eq!(now.free_bytes, before.free_bytes - (20 << 20));
        let error = GpuArena::new(&gpu, 20 * MIB + 1).map(drop).expect_err("past the quota");
        let (requested_bytes, reserved_bytes, quota_bytes) = ((20 << 20) + 1, 20 << 20, 40 << 20);
        assert_eq!(
            error,
            CudaError::QuotaExceeded { ordinal: 0, requested_bytes, reserved_bytes, quota_bytes }
        );
        drop((own, arena));
        // The buffers keep the arena's memory alive.
        assert_eq!(gpu.memory().expect("memory").reserved_bytes, 16 << 20);
        drop((_a, _b));
        assert_eq!(
            gpu.memory().expect("memory"),
            GpuMemory { peak_reserved_bytes: 20 << 20, ..before }
        );
    });
}

#[test]
fn allocating_more_than_the_gpu_has_is_out_of_memory() {
    on_fake_gpus(
        "memory::allocating_more_than_the_gpu_has_is_out_of_memory",
        &[("FAKE_GPUS", "64MiB")],
        || {
            let gpu = gpu(0);
            let error = GpuArena::new(&gpu, 64 * MIB).map(drop).expect_err("too much");
            let (free_bytes, total_bytes) = (63 << 20, 64 << 20);
            assert_eq!(
                error,
                CudaError::OutOfMemory {
                    ordinal: 0,
                    requested_bytes: 64 << 20,
                    free_bytes,
                    total_bytes
                }
            );
            assert_eq!((error.kind(), error.is_memory()), (ErrorKind::OutOfMemory, true));
            // The failed allocation has reserved nothing, and all free memory can still be
            // allocated.
            assert_eq!(gpu.memory().expect("memory").reserved_bytes, 0);
            let arena = GpuArena::new(&gpu, 63 * MIB).expect("all that is free");
            assert!(arena.region(63 * MIB).is_ok());
            assert_eq!(gpu.memory().expect("memory").free_bytes, 0);
        },
    );
}

#[test]
fn a_failed_allocation_leaves_the_buffer_unchanged() {
    let variables = [("FAKE_GPU_FAULT", "cuMemAlloc_v2:2:oom,cuMemHostAlloc:20:oom")];
    on_fake_gpus("memory::a_failed_allocation_leaves_the_buffer_unchanged", &variables, || {
        let gpu = gpu(0);
        let mut buffer = Buffer::<f32>::new(&gpu, 10).expect("the first");
        let error = buffer.resize(20).expect_err("the second");
        assert!(matches!(error, CudaError::OutOfMemory { requested_bytes: 80, .. }), "{error}");
        assert_eq!((buffer.len(), gpu.memory().expect("memory").reserved_bytes), (10, 40));
        buffer.resize(20).expect("the third");
        let error = PinnedRing::new(&gpu, 64, 4096).map(drop).expect_err("no pinned memory");
        assert!(
            matches!(error, CudaError::HostMemory { bytes: 4096, .. })
                && error.kind() == ErrorKind::OutOfMemory,
            "{error}"
        );
    });
}

#[test]
fn an_arena_never_exceeds_its_limit() {
    on_fake_gpus("memory::an_arena_never_exceeds_its_limit", &[], || {
        let gpu = gpu(0);
        let arena = GpuArena::new(&gpu, 1000).expect("an arena");
        assert_eq!(arena.region(300).expect("fits").len(), 300);
        assert_eq!(arena.used_bytes(), 300);
        let error = arena.region(489).map(drop).expect_err("one too many");
        let (requested_bytes, used_bytes, limit_bytes) = (489, 300, 1000);
        assert_eq!(
            error,
            CudaError::ArenaFull { ordinal: 0, requested_bytes, used_bytes, limit_bytes }
        );
        assert!(
            arena.zeroed::<u8>(usize::MAX).is_err() && arena.zeroed::<f32>(usize::MAX / 2).is_err()
        );
        assert!(arena.region(488).is_ok() && arena.region(0).is_err());
        let empty = GpuArena::new(&gpu, 0).expect("an empty arena");
        let region = empty.region(0).expect("nothing");
        assert!(region.is_empty() && region.finish(soon()).expect("nothing").is_empty());
    });
}

#[test]
fn buffers_are_uploaded_copied_and_downloaded_unchanged() {
    on_fake_gpus(
        "memory::buffers_are_uploaded_copied_and_downloaded_unchanged",
        &[("FAKE_GPU_DELAY_US", "200")],
        || {
            let gpu = gpu(0);
            let mut buffer = Buffer::<u16>::new(&gpu, 3 * MIB + 5).expect("a buffer");
            let mut zeros = vec![1u16; 1000];
            buffer.download(2 * MIB..2 * MIB + 1000, &mut zeros, soon()).expect("zeros");
            assert_eq!(zeros, vec![0; 1000]);
            // 6 MiB, more than all pinned staging buffers together have.
            let numbers: Vec<u16> =
                (0..3 * MIB as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 16) as u16).collect();
            buffer.upload(5, &numbers, soon()).expect("up");
            let mut back = vec![0; numbers.len()];
            buffer.download(5..buffer.len(), &mut back, soon()).expect("down");
            assert!(back == numbers, "the elements differ");
            let mut other = Buffer::<u16>::new(&gpu, 100).expect("a buffer");
            other.copy_from(40, &buffer, 1005..1065).expect("a copy");
            other.resize(90).expect("smaller");
            let mut end = vec![0; 50];
            other.download(40..90, &mut end, soon()).expect("down");
            assert_eq!(end, numbers[1000..1050]);
            other.clear().expect("zeros");
            other.download(40..90, &mut end, soon()).expect("down");
            assert_eq!((end, other.capacity()), (vec![0; 50], 100));
        },
    );
}

/// More threads than the GPU has staging buffers: a thread must not wait for a buffer while it
/// holds others.
#[test]
fn many_threads_copy_concurrently_without_deadlock() {
    on_fake_gpus(
        "memory::many_threads_copy_concurrently_without_deadlock",
        &[("FAKE_GPU_DELAY_US", "100")],
        || {
            let gpu = gpu(0);
            std::thread::scope(|scope| {
                for seed in 0..12 {
                    let gpu = &gpu;
                    scope.spawn(move || {
                        let numbers = pattern(4 * MIB, seed);
                        let mut buffer = Buffer::<u8>::new(gpu, numbers.len()).expect("a buffer");
                        for _ in 0..3 {
                            let mut back = vec![0; numbers.len()];
                            buffer.upload(0, &numbers, soon()).expect("up");
                            buffer.download(0..numbers.len(), &mut back, soon()).expect("down");
                            assert!(back == numbers, "the bytes differ");
                            buffer.clear().expect("zeros");
                        }
                    });
                }
            });
        },
    );
}

#[test]
fn ranges_that_exceed_a_buffer_are_refused() {
    on_fake_gpus("memory::ranges_that_exceed_a_buffer_are_refused", &[], || {
        let gpu = gpu(0);
        let mut buffer = Buffer::<f32>::new(&gpu, 100).expect("a buffer");
        let other = Buffer::<f32>::new(&gpu, 10).expect("a buffer");
        let outside = |result: Result<(), CudaError>| {
            let error = result.expect_err("outside");
            assert!(
                matches!(error, CudaError::OutOfRange { .. }) && error.kind() == ErrorKind::Bug,
                "{error}"
            );
        };
        outside(buffer.upload(91, &[0.0; 10], soon()));
        outside(buffer.upload(usize::MAX, &[0.0; 10], soon()));
        outside(buffer.download(91..101, &mut [0.0; 10], soon()));
        outside(buffer.download(0..11, &mut [0.0; 10], soon()));
        outside(buffer.download(0..9, &mut [0.0; 10], soon()));
        outside(buffer.copy_from(95, &other, 0..10));
        outside(buffer.copy_from(0, &other, 5..11));
        outside(buffer.address_of(101).map(drop));
        let arena = GpuArena::new(&gpu, 1000).expect("an arena");
        let mut region = arena.region(100).expect("a region");
        outside(region.part(101).map(drop));
        let ring = PinnedRing::new(&gpu, 2, 64).expect("a ring");
        let mut bytes = ring.acquire(soon()).expect("a buffer").filled();
        outside(bytes.copy(10..65, region.part(55).expect("a part")));
        outside(bytes.copy(0..10, region.part(11).expect("a part")));
        let mut staging = Buffer::<u8>::new(&gpu, 64).expect("a buffer");
        outside(bytes.copy_for_kernels(0..64, &mut staging, 1));
        gpu.synchronize(soon()).expect("nothing happened");
    });
}

#[test]
fn copy_rates_are_measured_and_their_memory_is_freed() {
    on_fake_gpus(
        "memory::copy_rates_are_measured_and_their_memory_is_freed",
        &[("FAKE_GPUS", "64MiB")],
        || {
            let gpu = gpu(0);
            let before = gpu.memory().expect("memory");
            let rates = measure_copies(&gpu, 32 * MIB, soon()).expect("rates");
            for rate in [rates.to_gpu, rates.from_gpu, rates.on_gpu] {
                assert!((1e7..1e13).contains(&rate), "{rates:?}");
            }
            assert_eq!(
                gpu.memory().expect("memory"),
                GpuMemory { peak_reserved_bytes: 32 << 20, ..before }
            );
        },
    );
}
