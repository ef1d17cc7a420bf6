//! A running process with a deadline for its end, for tests.

use rustix::process::{Pid, Signal, kill_process_group};
use std::io::Read;
use std::process::{Child, Output};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// A running process, the leader of a process group; threads collect its stdout and stderr if these
/// are pipes.
pub struct Running {
    pub child: Child,
    stdout: Option<Receiver<Vec<u8>>>,
    stderr: Option<Receiver<Vec<u8>>>,
}

impl Running {
    pub fn new(mut child: Child) -> Self {
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Running { child, stdout, stderr }
    }

    /// Waits until the process ends and returns its output; after `limit`, kills its group and
    /// panics.
    pub fn ends(&mut self, limit: Duration) -> Output {
        let since = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            if since.elapsed() > limit {
                // Not by kill(1): that of procps 4.0.2 takes -1234 for -1, which is every process.
                let _ended = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
                panic!("still running after {limit:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let read = |output: &mut Option<Receiver<Vec<u8>>>| {
            let output = output.take();
            output.map(|o| o.recv_timeout(limit).expect("the end of its output"))
        };
        let stdout = read(&mut self.stdout).unwrap_or_default();
        Output { status, stdout, stderr: read(&mut self.stderr).unwrap_or_default() }
    }
}

fn collect(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, output) = sync_channel(1);
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("a pipe");
        // Sending fails if the test has failed in the meantime.
        drop(send.send(bytes));
    });
    output
}
