//! Tests of finding the driver and listing its GPUs.

use std::path::Path;
use std::time::Duration;

use device::cuda::{CudaError, Driver, Gpu};
use device::probe::{DeviceSpec, Roots, measure_links, probe};
use error_kind::{ErrorKind, HasKind};

use crate::library::without_a_driver;
use crate::on_fake_gpus;

fn open_error() -> CudaError {
    let error = Driver::open().expect_err("no driver");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    error
}

#[test]
fn a_host_without_a_driver_gets_an_error_that_names_the_library() {
    without_a_driver(
        "driver::a_host_without_a_driver_gets_an_error_that_names_the_library",
        || {
            let error = open_error();
            assert!(matches!(error, CudaError::NoDriver { .. }), "{error}");
            assert!(error.to_string().contains("libcuda.so.1"), "{error}");
            assert_eq!(open_error(), error);
            let machine =
                probe(&Roots::system(), Path::new("."), &DeviceSpec::Found).expect("a machine");
            assert!(
                machine.gpus.is_empty()
                    && machine.notes.iter().any(|note| note.contains("no CUDA driver"))
            );
        },
    );
}

#[test]
fn a_driver_older_than_the_kernels_is_refused() {
    let variables = [("FAKE_GPU_FAULT", "cuDriverGetVersion:1:olddriver")];
    on_fake_gpus("driver::a_driver_older_than_the_kernels_is_refused", &variables, || {
        assert_eq!(open_error(), CudaError::DriverTooOld { found: (12, 2), needed: (12, 4) });
    });
}

#[test]
fn a_driver_without_a_gpu_is_an_error() {
    on_fake_gpus(
        "driver::a_driver_without_a_gpu_is_an_error",
        &[("FAKE_GPU_FAULT", "cuInit:1:nodevice")],
        || {
            assert_eq!(open_error(), CudaError::NoDevice);
        },
    );
}

#[test]
fn hidden_gpus_are_an_error_that_names_the_variable() {
    on_fake_gpus(
        "driver::hidden_gpus_are_an_error_that_names_the_variable",
        &[("CUDA_VISIBLE_DEVICES", "NoDevFiles")],
        || {
            let error = open_error();
            assert!(matches!(error, CudaError::DevicesHidden { .. }), "{error}");
            assert!(error.to_string().contains("hides every GPU"), "{error}");
        },
    );
}

#[test]
fn a_driver_that_fails_to_initialize_says_why_and_can_be_opened_later() {
    on_fake_gpus(
        "driver::a_driver_that_fails_to_initialize_says_why_and_can_be_opened_later",
        &[("FAKE_GPU_FAULT", "cuInit:1:802")],
        || {
            let error = open_error();
            assert!(
                matches!(error, CudaError::Failed { call: "cuInit", code: 802, .. }),
                "{error}"
            );
            assert!(error.to_string().contains("nvidia-fabricmanager"), "{error}");
            // The error is not cached, since the driver may start to work later.
            assert!(Driver::open().is_ok());
        },
    );
}

#[test]
fn gpus_are_listed_with_their_properties() {
    let variables = [("FAKE_GPUS", "64MiB,32MiB@7.5,16MiB")];
    on_fake_gpus("driver::gpus_are_listed_with_their_properties", &variables, || {
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
        // Contexts created to query free memory are released again.
        assert_eq!(driver.gpus().expect("gpus"), gpus);
    });
}

#[test]
fn cuda_visible_devices_selects_and_orders_the_gpus() {
    let variables = [
        ("FAKE_GPUS", "64MiB,32MiB,16MiB"),
        ("CUDA_VISIBLE_DEVICES", "2,GPU-76697274-7561-6c20-4750-557300000000"),
    ];
    on_fake_gpus("driver::cuda_visible_devices_selects_and_orders_the_gpus", &variables, || {
        let gpus = Driver::open().expect("a driver").gpus().expect("gpus");
        let seen: Vec<(usize, u64)> =
            gpus.iter().map(|gpu| (gpu.ordinal, gpu.total_bytes >> 20)).collect();
        assert_eq!(seen, [(0, 16), (1, 64)]);
    });
}

#[test]
fn a_probe_lists_usable_gpus_and_notes_why_others_are_not() {
    let name = "driver::a_probe_lists_usable_gpus_and_notes_why_others_are_not";
    // The driver refuses the second context, as it does when another process uses the GPU
    // exclusively.
    let variables = [
        ("FAKE_GPUS", "64MiB,32MiB,16MiB@6.1,8MiB"),
        ("FAKE_GPU_FAULT", "cuDevicePrimaryCtxRetain:2:46"),
    ];
    on_fake_gpus(name, &variables, || {
        let machine =
            probe(&Roots::system(), Path::new("."), &DeviceSpec::Found).expect("a machine");
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
        // The measurement needs 32 MiB of GPU memory; the second GPU has only 8 MiB.
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
fn kernels_that_the_driver_rejects_are_an_error() {
    on_fake_gpus(
        "driver::kernels_that_the_driver_rejects_are_an_error",
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
