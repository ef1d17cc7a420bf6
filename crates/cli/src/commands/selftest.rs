//! `vendomini selftest`: checks every GPU kernel against the CPU, and measures the GPU.

use crate::args::SelftestArgs;
use crate::failure::{Failure, exit};
use crate::output;
use device::cpu::Cpu;
use device::cuda::selftest::{BenchSizes, Check, KernelBench, KernelBenchReport, benches, checks};
use device::cuda::{CopyRates, CudaError, Driver, Gpu, GpuInfo, measure_copies};
use device::pool::PoolOptions;
use error_kind::ErrorKind;
use serde::Serialize;
use std::time::{Duration, Instant};
use watch::{Stage, ThreadProgress, Watch};

/// Bytes of each measured copy between host and GPU or on the GPU.
const COPY_BYTES: usize = 1 << 30;
const COPY_BYTES_QUICK: usize = 16 << 20;

/// Longest time that the measurement of the copies may take.
const COPY_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct SelftestDocument {
    device: GpuDescription,
    /// The newest CUDA version that the driver supports.
    driver: String,
    /// Name of the CPU kernel set that the GPU is compared with.
    kernel_set: &'static str,
    /// Whether the benchmarks ran at their smallest size, so that their rates say nothing about
    /// speed.
    quick: bool,
    seconds: f64,
    passed: bool,
    checks: Vec<CheckFigure>,
    copies: Option<CopyFigures>,
    benches: Vec<BenchFigure>,
}

#[derive(Serialize)]
struct GpuDescription {
    ordinal: usize,
    name: String,
    uuid: String,
    total_bytes: u64,
    compute: String,
    multiprocessors: u32,
    bus: String,
}

#[derive(Serialize)]
struct CheckFigure {
    name: String,
    passed: bool,
    compared: usize,
    max_abs_error: Option<f64>,
    /// The largest error divided by the tolerance; null if it is infinite or nothing was compared.
    share_of_tolerance: Option<f64>,
    seconds: f64,
    problem: Option<String>,
}

#[derive(Serialize)]
struct CopyFigures {
    to_gpu_bytes_per_s: f64,
    from_gpu_bytes_per_s: f64,
    on_gpu_bytes_per_s: f64,
}

#[derive(Serialize)]
struct BenchFigure {
    name: String,
    seconds: Option<f64>,
    bytes_per_s: Option<f64>,
    /// The reached bandwidth divided by the GPU memory's measured read bandwidth.
    share_of_read: Option<f64>,
    operations_per_s: Option<f64>,
    problem: Option<String>,
}

/// Checks the GPU's kernels, runs the benchmarks and prints the document. Failed checks are no
/// error: they are in the document, and the exit code is that of a wrong result.
///
/// # Errors
/// `Usage` for an invalid device, `Unavailable` if the GPU or the driver is not available.
pub fn run(args: &SelftestArgs, watch: &Watch) -> Result<u8, Failure> {
    let started = Instant::now();
    let ordinal = ordinal(&args.device)?;
    let _stage = watch.enter(Stage::SelfTest);
    let progress = watch.thread("gpu");
    progress.at(Stage::SelfTest, "starting the driver", 0);
    let driver = Driver::open()?;
    progress.at(Stage::SelfTest, "loading the kernels", 0);
    let gpu = Gpu::open(&driver, ordinal, u64::MAX)?;
    let cpu = Cpu::new(&PoolOptions::default())?;

    let checks = all_checks(&gpu, &cpu, &progress, watch)?;
    let (copies, benches) = all_benches(&gpu, args.quick, &progress, watch)?;
    let passed = checks.iter().all(|check| check.passed)
        && benches.iter().all(|bench| bench.problem.is_none());
    let document = SelftestDocument {
        device: device(gpu.info()),
        driver: format!("CUDA {}.{}", driver.version().0, driver.version().1),
        kernel_set: cpu.kernel_set().name(),
        quick: args.quick,
        seconds: started.elapsed().as_secs_f64(),
        passed,
        checks,
        copies,
        benches,
    };
    if args.json {
        output::json(&document)?
    } else {
        print(&document)?
    }
    Ok(if passed { 0 } else { exit::WRONG_RESULT })
}

/// Parses the GPU's number N from `cuda:N`.
fn ordinal(device: &str) -> Result<usize, Failure> {
    let number = device.strip_prefix("cuda:").and_then(|number| number.parse().ok());
    number.ok_or_else(|| {
        Failure::usage(format!("--device: expected cuda:0, cuda:1, ..., found {device:?}"))
    })
}

fn device(info: &GpuInfo) -> GpuDescription {
    GpuDescription {
        ordinal: info.ordinal,
        name: info.name.clone(),
        uuid: info.uuid.clone(),
        total_bytes: info.total_bytes,
        compute: format!("{}.{}", info.compute.0, info.compute.1),
        multiprocessors: info.multiprocessors,
        bus: info.pci_bus_id.clone(),
    }
}

fn all_checks(
    gpu: &Gpu,
    cpu: &Cpu,
    progress: &ThreadProgress,
    watch: &Watch,
) -> Result<Vec<CheckFigure>, Failure> {
    let checks = checks();
    watch.total(Stage::SelfTest, 0, checks.len() as u64);
    let mut figures = Vec::new();
    for check in &checks {
        if watch.canceled() {
            return Err(Failure::new(ErrorKind::Interrupted, "interrupted"));
        }
        progress.at(Stage::SelfTest, &check.name, 0);
        let figure = one_check(check, gpu, cpu);
        progress.item_done();
        let lost = figure.problem.is_some() && gpu.memory().is_err();
        figures.push(figure);
        if lost {
            break; // the GPU no longer responds
        }
    }
    Ok(figures)
}

fn one_check(check: &Check, gpu: &Gpu, cpu: &Cpu) -> CheckFigure {
    let started = Instant::now();
    let found = check.run(gpu, cpu);
    let seconds = started.elapsed().as_secs_f64();
    let finite = |number: f64| Some(number).filter(|number| number.is_finite());
    match found {
        Ok(report) => CheckFigure {
            name: check.name.clone(),
            passed: report.passed(),
            compared: report.compared,
            max_abs_error: finite(report.max_abs_error),
            share_of_tolerance: finite(report.worst_share),
            seconds,
            problem: None,
        },
        Err(error) => CheckFigure {
            name: check.name.clone(),
            passed: false,
            compared: 0,
            max_abs_error: None,
            share_of_tolerance: None,
            seconds,
            problem: Some(error.to_string()),
        },
    }
}

fn all_benches(
    gpu: &Gpu,
    quick: bool,
    progress: &ThreadProgress,
    watch: &Watch,
) -> Result<(Option<CopyFigures>, Vec<BenchFigure>), Failure> {
    if gpu.memory().is_err() {
        return Ok((None, Vec::new()));
    }
    progress.at(Stage::SelfTest, "copies", 0);
    let bytes = if quick { COPY_BYTES_QUICK } else { COPY_BYTES };
    let copies = match measure_copies(gpu, bytes, Instant::now() + COPY_TIMEOUT) {
        Ok(CopyRates { to_gpu, from_gpu, on_gpu }) => Some(CopyFigures {
            to_gpu_bytes_per_s: to_gpu,
            from_gpu_bytes_per_s: from_gpu,
            on_gpu_bytes_per_s: on_gpu,
        }),
        Err(error @ CudaError::Lost { .. }) => return Err(error.into()),
        Err(error) => {
            watch.note(format!("copies were not measured: {error}"));
            None
        }
    };
    let sizes = if quick { BenchSizes::MINIMAL } else { BenchSizes::LLAMA_8B };
    let mut figures: Vec<BenchFigure> = Vec::new();
    let mut read = None;
    for bench in &benches() {
        if watch.canceled() {
            return Err(Failure::new(ErrorKind::Interrupted, "interrupted"));
        }
        progress.at(Stage::SelfTest, &bench.name, 0);
        let (figure, report) = one_bench(bench, gpu, &sizes, read);
        read = read.or(report.map(|report| report.bytes_per_s()));
        figures.push(figure);
        progress.advance(1);
    }
    Ok((copies, figures))
}

/// Runs a benchmark and compares its bandwidth with `read`, a read bandwidth in bytes per second.
fn one_bench(
    bench: &KernelBench,
    gpu: &Gpu,
    sizes: &BenchSizes,
    read: Option<f64>,
) -> (BenchFigure, Option<KernelBenchReport>) {
    let (report, problem) = match bench.run(gpu, sizes) {
        Ok(report) => (Some(report), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let operations = report.filter(|report| report.operations > 0);
    let figure = BenchFigure {
        name: bench.name.clone(),
        seconds: report.map(|report| report.seconds),
        bytes_per_s: report.map(|report| report.bytes_per_s()),
        share_of_read: report.zip(read).map(|(report, read)| report.bytes_per_s() / read),
        operations_per_s: operations.map(|report| report.operations_per_s()),
        problem,
    };
    (figure, report)
}

fn print(d: &SelftestDocument) -> Result<(), Failure> {
    let gpu = &d.device;
    output::line(&format!(
        "CUDA device {} {}, compute {}, {} multiprocessors, {}, compared with the CPU's {} kernels",
        gpu.ordinal, gpu.name, gpu.compute, gpu.multiprocessors, d.driver, d.kernel_set
    ))?;
    let width = d.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    output::line(&format!(
        "{:<width$} {:>10} {:>14} {:>12}",
        "check", "compared", "largest error", "of tolerance"
    ))?;
    for check in &d.checks {
        let number = |number: Option<f64>| {
            number.map_or_else(|| "-".to_owned(), |number| format!("{number:.2e}"))
        };
        let share = check
            .share_of_tolerance
            .map_or_else(|| "-".to_owned(), |share| format!("{:.0}%", 100.0 * share));
        let verdict = match (&check.problem, check.passed) {
            (Some(problem), _) => format!("FAILED: {problem}"),
            (None, false) => "FAILED: wrong result".to_owned(),
            (None, true) => "ok".to_owned(),
        };
        let error = number(check.max_abs_error);
        output::line(&format!(
            "{:<width$} {:>10} {error:>14} {share:>12}  {verdict}",
            check.name, check.compared
        ))?;
    }
    if d.quick {
        output::line("with --quick, rates only show that the benchmarks run:")?;
    }
    if let Some(copies) = &d.copies {
        output::line(&format!(
            "copies: {:.2} GB/s to the GPU, {:.2} GB/s from it, {:.2} GB/s on it",
            copies.to_gpu_bytes_per_s / 1e9,
            copies.from_gpu_bytes_per_s / 1e9,
            copies.on_gpu_bytes_per_s / 1e9
        ))?;
    }
    for bench in &d.benches {
        output::line(&bench_line(bench))?;
    }
    let failed = d.checks.iter().filter(|check| !check.passed).count();
    let verdict = match (failed, d.passed) {
        (0, true) => "all passed".to_owned(),
        (0, false) => "a benchmark failed".to_owned(),
        (failed, _) => format!("{failed} of {} checks FAILED", d.checks.len()),
    };
    output::line(&format!("{verdict}, {:.1} s", d.seconds))
}

fn bench_line(bench: &BenchFigure) -> String {
    if let Some(problem) = &bench.problem {
        return format!("{:<38} FAILED: {problem}", bench.name);
    }
    let rate = bench.bytes_per_s.map_or(0.0, |rate| rate / 1e9);
    let share = bench
        .share_of_read
        .map_or(String::new(), |share| format!(" = {:.0}% of read bandwidth", 100.0 * share));
    let operations =
        bench.operations_per_s.map_or(String::new(), |rate| format!(", {:.2} TOP/s", rate / 1e12));
    format!("{:<38} {rate:>10.1} GB/s{share}{operations}", bench.name)
}
