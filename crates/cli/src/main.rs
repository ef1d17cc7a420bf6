mod args;
mod failure;
mod supervise;
use std::process::ExitCode;
use clap::Parser;
fn main() -> ExitCode {
    let cli = args::Cli::parse();
    if !supervise::is_worker() { return ExitCode::from(supervise::supervise(watch::Limits{stall_timeout_s:3.0,deadline_s:None}, cli.quiet)); }
    let (watch, line) = supervise::connect().unwrap();
    let s = watch.enter(watch::Stage::Read);
    watch.total(watch::Stage::Read, 5<<30, 5);
    let seat = watch.seat("reader 0");
    for i in 0..5 { seat.at(watch::Stage::Read, &format!("shard {i}"), 0); 
      for _ in 0..4 { std::thread::sleep(std::time::Duration::from_millis(100)); seat.advance(256<<20); if watch.cancelled() {std::process::exit(143)} } seat.item_done(); }
    drop(s);
    watch.note("returned");
    match std::env::var("T").as_deref() { Ok("stall") => { seat.at(watch::Stage::Place, "cuda:0", 77); loop { std::thread::sleep(std::time::Duration::from_secs(1)) } }
      Ok("kill") => { rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap(); }
      Ok("bus") => { rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::BUS).unwrap(); }
      Ok("panic") => panic!("boo"),
      Ok("fail") => { line.failed(&failure::Failure::usage("bad")); return ExitCode::from(2) }
      _ => {} }
    ExitCode::SUCCESS
}
