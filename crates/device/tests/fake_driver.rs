//! `device::cuda` on fake GPUs: what happens with drivers, memory, copies and faults. No real GPU
//! takes part.
#![allow(unsafe_code)] // one test calls the driver itself

#[path = "../../../tests/fake_driver/library.rs"]
mod library;

use error_kind::{ErrorKind, HasKind};
use std::time::{Duration, Instant};

use device::cuda::{
    Buffer, CudaError, Driver, Gpu, GpuArena, GpuMemory, LinkPath, PeerLink, PinnedRing,
    measure_copies,
};
use device::probe::{DeviceSpec, Roots, measure_links, probe};
use library::{on_fake_gpus, without_a_driver};

const MIB: usize = 1 << 20;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn gpu(ordinal: usize) -> Gpu {
    Gpu::open(&Driver::open().expect("a driver"), ordinal, u64::MAX).expect("a gpu")
}

/// Bytes that differ from place to place.
fn pattern(len: usize, seed: u32) -> Vec<u8> {
    (0..len as u32)
        .map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 23) as u8)
        .collect()
}

fn opening() -> CudaError {
    let error = Driver::open().expect_err("no driver");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    error
}

#[test]
fn without_a_driver_there_is_a_named_error() {
    without_a_driver("without_a_driver_there_is_a_named_error", || {
        let error = opening();
        assert!(matches!(error, CudaError::NoDriver { .. }), "{error}");
        assert!(error.to_string().contains("libcuda.so.1"), "{error}");
        assert_eq!(opening(), error);
        let machine = probe(&Roots::system(), std::path::Path::new("."), &DeviceSpec::Found)
            .expect("a machine");
        assert!(
            machine.gpus.is_empty()
                && machine.notes.iter().any(|note| note.contains("no CUDA driver"))
        );
    });
}

#[test]
fn an_old_driver_is_refused() {
    let variables = [("FAKE_GPU_FAULT", "cuDriverGetVersion:1:olddriver")];
    on_fake_gpus("an_old_driver_is_refused", &variables, || {
        assert_eq!(opening(), CudaError::DriverTooOld { found: (12, 2), needed: (12, 4) });
    });
}

#[test]
fn no_gpu_at_all() {
    on_fake_gpus("no_gpu_at_all", &[("FAKE_GPU_FAULT", "cuInit:1:nodevice")], || {
        assert_eq!(opening(), CudaError::NoDevice);
    });
}

#[test]
fn every_gpu_is_hidden() {
    on_fake_gpus("every_gpu_is_hidden", &[("CUDA_VISIBLE_DEVICES", "NoDevFiles")], || {
        let error = opening();
        assert!(matches!(error, CudaError::DevicesHidden { .. }), "{error}");
        assert!(error.to_string().contains("hides every GPU"), "{error}");
    });
}

#[test]
fn a_driver_that_does_not_start_says_why() {
    on_fake_gpus(
        "a_driver_that_does_not_start_says_why",
        &[("FAKE_GPU_FAULT", "cuInit:1:802")],
        || {
            let error = opening();
            assert!(
                matches!(error, CudaError::Failed { call: "cuInit", code: 802, .. }),
                "{error}"
            );
            assert!(error.to_string().contains("nvidia-fabricmanager"), "{error}");
            // It may be up the next time.
            assert!(Driver::open().is_ok());
        },
    );
}

#[test]
fn gpus_are_listed() {
    let variables = [("FAKE_GPUS", "64MiB,32MiB@7.5,16MiB")];
    on_fake_gpus("gpus_are_listed", &variables, || {
        let driver = Driver::open().expect("a driver");
        assert_eq!(driver.version(), (12, 4));
        let gpus = driver.gpus().expect("gpus");
        let totals: Vec<u64> = gpus.iter().map(|gpu| gpu.total_bytes).collect();
        assert_eq!(totals, [64 << 20, 32 << 20, 16 << 20]);
        let first = &gpus[0];
        assert_eq!(
            (first.name.as_str(), first.compute, first.peers.as_slice()),
            ("Fake GPU", (8, 0), &[1, 2][..])
        );
        assert_eq!(first.uuid, "GPU-76697274-7561-6c20-4750-557300000000");
        assert_eq!(first.pci_bus_id, "ffff:00:00.0");
        assert_eq!(first.free_bytes, Some(63 << 20));
        let why = gpus[1].unusable.as_deref().expect("too old");
        assert!(why.contains("7.5") && why.contains("8.0"), "{why}");
        let error = Gpu::open(&driver, 1, u64::MAX).expect_err("too old");
        assert_eq!(
            (error.kind(), error.to_string().contains(why)),
            (ErrorKind::Unavailable, true),
            "{error}"
        );
        assert_eq!(
            Gpu::open(&driver, 3, 0).expect_err("none"),
            CudaError::NoSuchDevice { ordinal: 3, devices: 3 }
        );
        // Contexts that were made to look at free memory are given up again.
        assert_eq!(driver.gpus().expect("gpus"), gpus);
    });
}

#[test]
fn a_job_sees_its_own_gpus() {
    let variables = [
        ("FAKE_GPUS", "64MiB,32MiB,16MiB"),
        ("CUDA_VISIBLE_DEVICES", "2,GPU-76697274-7561-6c20-4750-557300000000"),
    ];
    on_fake_gpus("a_job_sees_its_own_gpus", &variables, || {
        let gpus = Driver::open().expect("a driver").gpus().expect("gpus");
        let seen: Vec<(usize, u64)> =
            gpus.iter().map(|gpu| (gpu.ordinal, gpu.total_bytes >> 20)).collect();
        assert_eq!(seen, [(0, 16), (1, 64)]);
    });
}

#[test]
fn a_probe_lists_what_can_be_used_and_notes_the_rest() {
    let name = "a_probe_lists_what_can_be_used_and_notes_the_rest";
    // The second context is refused: another process has the GPU alone.
    let variables = [
        ("FAKE_GPUS", "64MiB,32MiB,16MiB@6.1,8MiB"),
        ("FAKE_GPU_FAULT", "cuDevicePrimaryCtxRetain:2:46"),
    ];
    on_fake_gpus(name, &variables, || {
        let machine = probe(&Roots::system(), std::path::Path::new("."), &DeviceSpec::Found)
            .expect("a machine");
        let gpus: Vec<(Option<usize>, u64)> =
            machine.gpus.iter().map(|gpu| (gpu.ordinal, gpu.free() >> 20)).collect();
        assert_eq!(gpus, [(Some(0), 63), (Some(3), 7)]);
        let notes = machine.notes.join("; ");
        assert!(
            notes.contains("CUDA device 1 (Fake GPU) is not used")
                && notes.contains("compute mode exclusive"),
            "{notes}"
        );
        assert!(
            notes.contains("CUDA device 2 (Fake GPU) is not used") && notes.contains("6.1"),
            "{notes}"
        );
        let mut machine = machine;
        measure_links(&mut machine, Duration::from_secs(20));
        // 32 MiB are needed to measure.
        assert!(
            machine.gpus[0].link_bytes_per_s.is_some_and(|rate| rate > 10_000_000),
            "{:?}",
            machine.gpus
        );
        assert_eq!(machine.gpus[1].link_bytes_per_s, None);
        let note = machine.notes.last().expect("a note");
        assert!(note.contains("link of CUDA device 3") && note.contains("out of memory"), "{note}");
    });
}

#[test]
fn memory_is_counted_and_given_back() {
    on_fake_gpus("memory_is_counted_and_given_back", &[("FAKE_GPUS", "64MiB")], || {
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
        // The buffers keep the arena's memory.
        assert_eq!(gpu.memory().expect("memory").reserved_bytes, 16 << 20);
        drop((_a, _b));
        assert_eq!(
            gpu.memory().expect("memory"),
            GpuMemory { peak_reserved_bytes: 20 << 20, ..before }
        );
    });
}

#[test]
fn the_gpus_limit_is_out_of_memory() {
    on_fake_gpus("the_gpus_limit_is_out_of_memory", &[("FAKE_GPUS", "64MiB")], || {
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
        // Nothing of it stays, and what fits still does.
        assert_eq!(gpu.memory().expect("memory").reserved_bytes, 0);
        let arena = GpuArena::new(&gpu, 63 * MIB).expect("all that is free");
        assert!(arena.region(63 * MIB).is_ok());
        assert_eq!(gpu.memory().expect("memory").free_bytes, 0);
    });
}

#[test]
fn memory_that_the_driver_refuses_in_mid_work() {
    let variables = [("FAKE_GPU_FAULT", "cuMemAlloc_v2:2:oom,cuMemHostAlloc:20:oom")];
    on_fake_gpus("memory_that_the_driver_refuses_in_mid_work", &variables, || {
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
fn an_arena_never_passes_its_limit() {
    on_fake_gpus("an_arena_never_passes_its_limit", &[], || {
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
fn buffers_go_up_and_come_down() {
    on_fake_gpus("buffers_go_up_and_come_down", &[("FAKE_GPU_DELAY_US", "200")], || {
        let gpu = gpu(0);
        let mut buffer = Buffer::<u16>::new(&gpu, 3 * MIB + 5).expect("a buffer");
        let mut zeros = vec![1u16; 1000];
        buffer.download(2 * MIB..2 * MIB + 1000, &mut zeros, soon()).expect("zeros");
        assert_eq!(zeros, vec![0; 1000]);
        // More than all pinned buffers together.
        let numbers: Vec<u16> =
            (0..3 * MIB as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 16) as u16).collect();
        buffer.upload(5, &numbers, soon()).expect("up");
        let mut back = vec![0; numbers.len()];
        buffer.download(5..buffer.len(), &mut back, soon()).expect("down");
        assert!(back == numbers, "the numbers are others");
        let mut other = Buffer::<u16>::new(&gpu, 100).expect("a buffer");
        other.copy_from(40, &buffer, 1005..1065).expect("a copy");
        other.resize(90).expect("smaller");
        let mut end = vec![0; 50];
        other.download(40..90, &mut end, soon()).expect("down");
        assert_eq!(end, numbers[1000..1050]);
        other.clear().expect("zeros");
        other.download(40..90, &mut end, soon()).expect("down");
        assert_eq!((end, other.capacity()), (vec![0; 50], 100));
    });
}

/// More threads than the GPU has pinned buffers: nobody may keep some while waiting for others.
#[test]
fn many_threads_copy_at_once() {
    on_fake_gpus("many_threads_copy_at_once", &[("FAKE_GPU_DELAY_US", "100")], || {
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
                        assert!(back == numbers, "other bytes came back");
                        buffer.clear().expect("zeros");
                    }
                });
            }
        });
    });
}

#[test]
fn ranges_outside_are_refused() {
    on_fake_gpus("ranges_outside_are_refused", &[], || {
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
fn a_region_is_bytes_only_when_every_part_arrived() {
    on_fake_gpus(
        "a_region_is_bytes_only_when_every_part_arrived",
        &[("FAKE_GPU_DELAY_US", "2000")],
        || {
            let gpu = gpu(0);
            let arena = GpuArena::new(&gpu, MIB).expect("an arena");
            let ring = PinnedRing::new(&gpu, 2, 1000).expect("a ring");
            let fill = |seed| {
                let mut buffer = ring.acquire(soon()).expect("a buffer");
                buffer.copy_from_slice(&pattern(1000, seed));
                buffer.filled()
            };
            let mut region = arena.region(2000).expect("a region");
            let [first, _second] =
                <[_; 2]>::try_from(region.parts(&[1000, 1000]).expect("parts")).ok().expect("two");
            fill(1).copy(0..1000, first).expect("queued");
            let error = region.finish(soon()).expect_err("half");
            assert_eq!(
                error,
                CudaError::Unfilled { ordinal: 0, filled_bytes: 1000, expected_bytes: 2000 }
            );

            let mut region = arena.region(1500).expect("a region");
            fill(2).copy(500..1000, region.part(500).expect("a part")).expect("queued");
            // A kernel's part; here what it writes was there before.
            let mut words = Buffer::<u8>::new(&gpu, 1000).expect("a buffer");
            fill(3).copy_for_kernels(0..1000, &mut words, 0).expect("queued");
            let failed = region.part(0).expect("a part").fill(|span| {
                assert!(span.is_empty());
                Err(CudaError::NoDevice)
            });
            assert_eq!(failed, Err(CudaError::NoDevice));
            let mut place = (0, 0);
            let part = region.whole().expect("the rest");
            part.fill(|span| {
                place = (span.address(), span.len());
                Ok::<_, CudaError>(())
            })
            .expect("filled");
            let bytes = region.finish(soon()).expect("whole");
            assert_eq!((bytes.len(), place), (1500, (bytes.address() + 500, 1000)));
            let mut back = vec![0; 500];
            bytes.slice(0..500).expect("inside").download(&mut back, soon()).expect("down");
            assert_eq!(back, pattern(1000, 2)[500..]);
            assert!(bytes.slice(1000..1501).is_err() && bytes.download(&mut back, soon()).is_err());
            let mut back = vec![0; 1000];
            words.download(0..1000, &mut back, soon()).expect("down");
            assert_eq!(back, pattern(1000, 3));
        },
    );
}

#[test]
fn a_ring_feeds_two_gpus_from_many_readers() {
    let variables = [("FAKE_GPUS", "64MiB,64MiB"), ("FAKE_GPU_DELAY_US", "300")];
    on_fake_gpus("a_ring_feeds_two_gpus_from_many_readers", &variables, || {
        const PIECE: usize = 10_000;
        const PIECES: usize = 120;
        let gpus = [gpu(0), gpu(1)];
        let ring = PinnedRing::new(&gpus[0], 3, PIECE).expect("a ring");
        let mut regions = gpus.each_ref().map(|gpu| {
            let arena = GpuArena::new(gpu, PIECE * PIECES).expect("an arena");
            arena.region(PIECE * PIECES).expect("a region")
        });
        // Each piece of the file goes to both GPUs.
        let mut parts: Vec<_> = (0..PIECES)
            .map(|_| regions.each_mut().map(|region| region.part(PIECE).expect("a part")))
            .collect();
        std::thread::scope(|scope| {
            for reader in 0..4u32 {
                let share = parts.split_off(parts.len() - PIECES / 4);
                let (ring, first) = (&ring, PIECES as u32 - (reader + 1) * PIECES as u32 / 4);
                scope.spawn(move || {
                    for ([one, two], seed) in share.into_iter().zip(first..) {
                        let mut buffer = ring.acquire(soon()).expect("a buffer");
                        buffer.copy_from_slice(&pattern(PIECE, seed));
                        let mut bytes = buffer.filled();
                        bytes.copy(0..PIECE, one).expect("queued");
                        bytes.copy(0..PIECE, two).expect("queued");
                    }
                });
            }
        });
        ring.drain(soon()).expect("all arrived");
        for region in regions {
            let bytes = region.finish(soon()).expect("whole");
            for piece in 0..PIECES {
                let mut back = vec![0; PIECE];
                bytes
                    .slice(piece * PIECE..(piece + 1) * PIECE)
                    .expect("inside")
                    .download(&mut back, soon())
                    .expect("down");
                assert!(back == pattern(PIECE, piece as u32), "piece {piece} on {bytes:?}");
            }
        }
    });
}

#[test]
fn a_ring_gives_the_last_buffer_that_no_copy_uses() {
    let variables = [("FAKE_GPU_DELAY_US", "100000")];
    on_fake_gpus("a_ring_gives_the_last_buffer_that_no_copy_uses", &variables, || {
        let gpu = Gpu::for_copies(&Driver::open().expect("a driver"), 0, u64::MAX).expect("a gpu");
        let arena = GpuArena::new(&gpu, 1000).expect("an arena");
        let mut region = arena.region(300).expect("a region");
        let ring = PinnedRing::new(&gpu, 3, 100).expect("a ring");
        let [one, two, three] = [(); 3].map(|()| ring.acquire(soon()).expect("a buffer"));
        let [a, b, c] = [&one, &two, &three].map(|buffer| buffer.as_ptr());
        drop((two, three, one));
        let first = ring.acquire(soon()).expect("a buffer");
        assert_eq!(first.as_ptr(), a, "the one that came back last");
        first.filled().copy(0..100, region.part(100).expect("a part")).expect("queued");
        let second = ring.acquire(soon()).expect("a buffer");
        assert_eq!(second.as_ptr(), c, "a copy uses the last one, this came back before it");
        second.filled().copy(0..100, region.part(100).expect("a part")).expect("queued");
        let third = ring.acquire(soon()).expect("a buffer");
        assert_eq!(third.as_ptr(), b);
        third.filled().copy(0..100, region.part(100).expect("a part")).expect("queued");
        // All are in use: the first copy ends first, and is waited for.
        let fourth = ring.acquire(soon()).expect("a buffer");
        assert_eq!(fourth.as_ptr(), a);
        drop(fourth);
        ring.drain(soon()).expect("all arrived");
        region.finish(soon()).expect("whole");
    });
}

#[test]
fn readers_that_keep_every_buffer_are_named() {
    on_fake_gpus("readers_that_keep_every_buffer_are_named", &[], || {
        let gpu = gpu(0);
        let ring = PinnedRing::new(&gpu, 2, 100).expect("a ring");
        let (first, _second) =
            (ring.acquire(soon()).expect("one"), ring.acquire(soon()).expect("two"));
        let started = Instant::now();
        let error =
            ring.acquire(started + Duration::from_millis(50)).map(drop).expect_err("none is left");
        assert!(
            matches!(error, CudaError::RingExhausted { buffers: 2, .. })
                && error.kind() == ErrorKind::Timeout,
            "{error}"
        );
        assert!((50..5000).contains(&started.elapsed().as_millis()));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| ring.acquire(soon()).map(drop));
            std::thread::sleep(Duration::from_millis(20));
            drop(first);
            assert!(waiting.join().expect("no panic").is_ok());
        });
    });
}

/// Something that must fail with a timeout, soon after its deadline.
fn times_out(what: impl FnOnce(Instant) -> Result<(), CudaError>) -> CudaError {
    let started = Instant::now();
    let error = what(started + Duration::from_millis(100)).expect_err("it never ends");
    assert!((100..5000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert!(
        matches!(error, CudaError::Timeout { ordinal: 0, .. })
            && error.kind() == ErrorKind::Timeout,
        "{error}"
    );
    error
}

#[test]
fn a_download_that_hangs_is_a_timeout() {
    let variables = [("FAKE_GPU_FAULT", "cuMemcpyDtoHAsync_v2:2:hang")];
    on_fake_gpus("a_download_that_hangs_is_a_timeout", &variables, || {
        let gpu = gpu(0);
        let buffer = Buffer::<f32>::new(&gpu, 100).expect("a buffer");
        let mut numbers = [1.0; 100];
        buffer.download(0..100, &mut numbers, soon()).expect("the first");
        assert_eq!(numbers, [0.0; 100]);
        times_out(|deadline| buffer.download(0..100, &mut [0.0; 100], deadline));
        times_out(|deadline| gpu.synchronize(deadline));
        // Giving back memory that hung work uses would wait for ever.
        let started = Instant::now();
        drop((buffer, gpu));
        assert!(started.elapsed() < Duration::from_secs(10));
    });
}

#[test]
fn a_copy_of_weights_that_hangs_is_a_timeout() {
    let variables = [("FAKE_GPU_FAULT", "cuMemcpyHtoDAsync_v2:1:hang")];
    on_fake_gpus("a_copy_of_weights_that_hangs_is_a_timeout", &variables, || {
        let gpu = gpu(0);
        let arena = GpuArena::new(&gpu, MIB).expect("an arena");
        let ring = PinnedRing::new(&gpu, 1, 1000).expect("a ring");
        let mut region = arena.region(1000).expect("a region");
        let part = region.whole().expect("a part");
        ring.acquire(soon()).expect("a buffer").filled().copy(0..1000, part).expect("queued");
        let error = times_out(|deadline| ring.acquire(deadline).map(drop));
        assert!(error.to_string().contains("pinned buffer"), "{error}");
        times_out(|deadline| ring.drain(deadline));
        let error = times_out(|deadline| region.finish(deadline).map(drop));
        assert!(error.to_string().contains("copy of weights"), "{error}");
        // The kernels' stream goes on.
        let buffer = Buffer::<u8>::new(&gpu, 10).expect("a buffer");
        buffer.download(0..10, &mut [0; 10], soon()).expect("zeros");
    });
}

#[test]
fn a_lost_gpu_says_so_for_ever() {
    let variables =
        [("FAKE_GPUS", "64MiB,64MiB"), ("FAKE_GPU_FAULT", "cuMemcpyHtoDAsync_v2:2:lost")];
    on_fake_gpus("a_lost_gpu_says_so_for_ever", &variables, || {
        let (gpu, other) = (gpu(0), gpu(1));
        let mut buffer = Buffer::<f32>::new(&gpu, 100).expect("a buffer");
        buffer.upload(0, &[1.0; 100], soon()).expect("the first");
        let error = buffer.upload(0, &[1.0; 100], soon()).expect_err("lost");
        assert!(
            matches!(
                error,
                CudaError::Lost { ordinal: 0, call: "cuMemcpyHtoDAsync_v2", code: 999, .. }
            ),
            "{error}"
        );
        assert!(
            error.kind() == ErrorKind::Unavailable
                && error.to_string().contains("CUDA device 0 is lost"),
            "{error}"
        );
        assert_eq!(buffer.download(0..100, &mut [0.0; 100], soon()).expect_err("lost"), error);
        assert_eq!(gpu.memory().expect_err("lost"), error);
        assert_eq!(gpu.synchronize(soon()).expect_err("lost"), error);
        assert_eq!(GpuArena::new(&gpu, 1).map(drop).expect_err("lost"), error);
        // The other one is not.
        let mut buffer = Buffer::<f32>::new(&other, 100).expect("a buffer");
        buffer.upload(0, &[1.0; 100], soon()).expect("fine");
        other.synchronize(soon()).expect("fine");
    });
}

#[test]
fn work_that_fails_later_is_found() {
    let variables = [("FAKE_GPU_FAULT", "cuMemsetD8Async:2:illegal")];
    on_fake_gpus("work_that_fails_later_is_found", &variables, || {
        let gpu = gpu(0);
        let mut buffer = Buffer::<f32>::new(&gpu, 100).expect("a buffer");
        buffer.clear().expect("queued");
        let error = gpu.synchronize(soon()).expect_err("an illegal address");
        assert!(matches!(error, CudaError::Lost { ordinal: 0, code: 700, .. }), "{error}");
        assert!(error.to_string().contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{error}");
    });
}

#[test]
fn kernels_that_the_driver_refuses() {
    on_fake_gpus(
        "kernels_that_the_driver_refuses",
        &[("FAKE_GPU_FAULT", "cuModuleLoadDataEx:1:218")],
        || {
            let driver = Driver::open().expect("a driver");
            let error = Gpu::open(&driver, 0, u64::MAX).expect_err("refused");
            assert!(
                matches!(error, CudaError::Image { ordinal: 0, code: 218, .. })
                    && error.kind() == ErrorKind::Unavailable,
                "{error}"
            );
            Gpu::open(&driver, 0, u64::MAX).expect("the next time");
        },
    );
}

/// Opens a link between two GPUs, copies over it, and says which way it goes.
fn linked() -> LinkPath {
    let gpus = [gpu(0), gpu(1)];
    let link = PeerLink::open(&gpus[0], &gpus[1], soon()).expect("a link");
    let mut from = Buffer::<u8>::new(&gpus[0], 6 * MIB).expect("a buffer");
    let mut to = Buffer::<u8>::new(&gpus[1], 6 * MIB).expect("a buffer");
    let mut kept = Buffer::<u8>::new(&gpus[1], 100).expect("a buffer");
    let mut last = vec![0; 100];
    for seed in [5, 9] {
        from.upload(0, &pattern(6 * MIB, seed), soon()).expect("up");
        from.gpu().synchronize(soon()).expect("up");
        // The second GPU is still busy, and will then read what was there before.
        (0..100).for_each(|_| kept.clear().expect("queued"));
        kept.copy_from(0, &to, 100..200).expect("queued");
        link.copy(&from, 1..5 * MIB, &mut to, 100, soon()).expect("copied");
        // What is queued behind must not overtake.
        from.clear().expect("cleared");
        let mut back = vec![0; 5 * MIB - 1];
        to.download(100..5 * MIB + 99, &mut back, soon()).expect("down");
        assert!(back == pattern(6 * MIB, seed)[1..5 * MIB], "other bytes arrived");
        let mut before = vec![0; 100];
        kept.download(0..100, &mut before, soon()).expect("down");
        assert_eq!(before, last, "the copy did not wait for earlier work on the second GPU");
        last.copy_from_slice(&back[..100]);
    }
    let error = link.copy(&from, 0..10, &mut to, 6 * MIB - 9, soon()).expect_err("outside");
    assert!(matches!(error, CudaError::OutOfRange { .. }), "{error}");
    let mut wrong = Buffer::<u8>::new(&gpus[0], 10).expect("a buffer");
    let error = link.copy(&from, 0..10, &mut wrong, 0, soon()).expect_err("the wrong gpu");
    assert!(matches!(error, CudaError::WrongGpu { expected: 1, found: 0, .. }), "{error}");
    link.path().clone()
}

const TWO: (&str, &str) = ("FAKE_GPUS", "64MiB,64MiB");

#[test]
fn gpus_that_reach_each_other_copy_directly() {
    let variables = [TWO, ("FAKE_GPU_DELAY_US", "500")];
    on_fake_gpus("gpus_that_reach_each_other_copy_directly", &variables, || {
        assert_eq!(linked(), LinkPath::Direct);
        let alone = gpu(1);
        let link = PeerLink::open(&alone, &alone, soon()).expect("a link to itself");
        let mut buffer = Buffer::<u8>::new(&alone, 10).expect("a buffer");
        let from = Buffer::<u8>::new(&alone, 10).expect("a buffer");
        link.copy(&from, 0..10, &mut buffer, 0, soon()).expect("copied");
        alone.synchronize(soon()).expect("done");
    });
}

fn staged_because(word: &str) {
    match linked() {
        LinkPath::Staged { why } => assert!(why.contains(word), "{why}"),
        LinkPath::Direct => panic!("the direct way was taken"),
    }
}

#[test]
fn gpus_without_peer_access_copy_through_the_host() {
    let variables =
        [TWO, ("FAKE_GPU_FAULT", "cuDeviceCanAccessPeer:1:nopeer"), ("FAKE_GPU_DELAY_US", "500")];
    on_fake_gpus("gpus_without_peer_access_copy_through_the_host", &variables, || {
        staged_because("do not reach each other");
    });
}

#[test]
fn peer_access_that_is_refused_goes_through_the_host() {
    let variables = [TWO, ("FAKE_GPU_FAULT", "cuCtxEnablePeerAccess:1:217")];
    on_fake_gpus("peer_access_that_is_refused_goes_through_the_host", &variables, || {
        staged_because("CUDA_ERROR_PEER_ACCESS_UNSUPPORTED");
    });
}

#[test]
fn a_canary_that_arrives_changed_sends_copies_through_the_host() {
    let variables = [TWO, ("FAKE_GPU_FAULT", "cuMemcpyPeerAsync:1:corrupt")];
    on_fake_gpus("a_canary_that_arrives_changed_sends_copies_through_the_host", &variables, || {
        staged_because("other bytes");
    });
}

#[test]
fn a_canary_that_never_arrives_sends_copies_through_the_host() {
    let variables = [TWO, ("FAKE_GPU_FAULT", "cuMemcpyPeerAsync:1:hang")];
    on_fake_gpus("a_canary_that_never_arrives_sends_copies_through_the_host", &variables, || {
        let started = Instant::now();
        staged_because("not done after 2.0 s");
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    });
}

#[test]
fn rates_of_copies() {
    on_fake_gpus("rates_of_copies", &[("FAKE_GPUS", "64MiB")], || {
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
    });
}

/// The fake GPU itself: what makes it a checker. Each copy is made in a process of its own, since
/// the GPU ends with the first bad one.
#[test]
fn the_fake_gpu_refuses_copies_outside_of_live_memory() {
    const NAME: &str = "the_fake_gpu_refuses_copies_outside_of_live_memory";
    /// Of a copy to an allocation of 1000 bytes: where, how many bytes, from pinned memory, and
    /// what it gives.
    const COPIES: [(i64, usize, bool, u32); 8] = [
        (0, 1000, true, 0),
        (10, 990, true, 0),
        (0, 1001, true, 700),
        (1, 1000, true, 700),
        (-1, 10, true, 700),
        (1000, 1, true, 700),
        (1 << 40, 1, true, 700),
        (0, 1000, false, 700),
    ];
    match std::env::var("COPY") {
        Ok(at) => raw_copy(COPIES[at.parse::<usize>().expect("a number")]),
        Err(_) => {
            (0..COPIES.len()).for_each(|at| on_fake_gpus(NAME, &[("COPY", &at.to_string())], || {}))
        }
    }
}

fn raw_copy((at, len, from_pinned, expected): (i64, usize, bool, u32)) {
    use std::ffi::c_void;
    use std::ptr::null_mut;
    type Handle = *mut c_void;
    let library = library("libcuda.so.1");
    // SAFETY: the types are those of the driver's functions; pointers are to locals; what a copy
    // names is there, or refused.
    unsafe {
        let init: unsafe extern "C" fn(u32) -> u32 = std::mem::transmute(library("cuInit"));
        let retain: unsafe extern "C" fn(*mut Handle, i32) -> u32 =
            std::mem::transmute(library("cuDevicePrimaryCtxRetain"));
        let enter: unsafe extern "C" fn(Handle) -> u32 =
            std::mem::transmute(library("cuCtxSetCurrent"));
        let allocate: unsafe extern "C" fn(*mut u64, usize) -> u32 =
            std::mem::transmute(library("cuMemAlloc_v2"));
        let pin: unsafe extern "C" fn(*mut Handle, usize, u32) -> u32 =
            std::mem::transmute(library("cuMemHostAlloc"));
        let stream: unsafe extern "C" fn(*mut Handle, u32) -> u32 =
            std::mem::transmute(library("cuStreamCreate"));
        let copy: unsafe extern "C" fn(u64, *const c_void, usize, Handle) -> u32 =
            std::mem::transmute(library("cuMemcpyHtoDAsync_v2"));
        let (mut context, mut pinned, mut queue, mut address) =
            (null_mut(), null_mut(), null_mut(), 0);
        let ready =
            [init(0), retain(&mut context, 0), enter(context), allocate(&mut address, 1000)];
        assert_eq!((ready, pin(&mut pinned, 2000, 0), stream(&mut queue, 1)), ([0; 4], 0, 0));
        let own = vec![0u8; 2000];
        let from = if from_pinned { pinned.cast_const() } else { own.as_ptr().cast() };
        assert_eq!(copy(address.wrapping_add_signed(at), from, len, queue), expected);
        assert_eq!(copy(address, pinned, 1, queue), expected, "an error that stays");
    }
}

/// Finds the functions of a library.
fn library(name: &str) -> impl Fn(&str) -> *mut std::ffi::c_void {
    let text = |name: &str| std::ffi::CString::new(name).expect("a name");
    // SAFETY: the name ends with a NUL; the library is the fake GPU.
    let library = unsafe { libc::dlopen(text(name).as_ptr(), libc::RTLD_NOW) };
    assert!(!library.is_null(), "{name}");
    move |name| {
        // SAFETY: the library is open, and the name ends with a NUL.
        let found = unsafe { libc::dlsym(library, text(name).as_ptr()) };
        assert!(!found.is_null(), "{name}");
        found
    }
}
