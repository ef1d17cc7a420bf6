//! Download of one file, resumed with HTTP range requests until the file is complete.

use super::client::HubClient;
use super::listing::RepoFile;
use super::store::CachedRepository;
use crate::error::FetchError;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use watch::{Stage, ThreadProgress, Watch};

/// Consecutive attempts that receive no byte, after which the download fails.
const ATTEMPTS_MAX: u32 = 5;
/// Longest time for which another process may lock the partial file without the file growing.
const LOCK_TIMEOUT: Duration = Duration::from_secs(90);
/// Pause after the first attempt that receives no byte; it doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(500);

/// The download of one file.
pub(super) struct Download<'a> {
    pub client: &'a HubClient,
    pub url: &'a str,
    pub file: &'a RepoFile,
    pub progress: &'a ThreadProgress,
    pub watch: &'a Watch,
}

/// Result of one attempt.
enum TransferOutcome {
    /// The server closed the body normally.
    Complete,
    /// The transfer failed; another attempt may receive more bytes.
    Interrupted(String),
}

impl Download<'_> {
    /// Downloads the file into the repository's `blobs` folder. Continues a partial file that an
    /// earlier attempt or process left.
    pub(super) fn run(&self, repository: &CachedRepository) -> Result<(), FetchError> {
        let part = repository.incomplete(self.file);
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(&part);
        let mut out = open.map_err(|e| FetchError::io(&part, "create", e))?;
        self.progress.at(Stage::Fetch, &self.file.path, 0);
        lock(&out, &part, self.watch)?;
        if repository.has(self.file) {
            // Another process completed the file while this one waited for the lock, and `open`
            // created a new, empty partial file.
            drop(std::fs::remove_file(&part));
            return Ok(());
        }
        self.transfer(&mut out, &part)?;
        out.sync_all().map_err(|e| FetchError::io(&part, "write", e))?;
        // The lock is held until the file has its final name.
        let kept = self.check(&part).and_then(|()| repository.keep(self.file, &part));
        if matches!(kept, Err(FetchError::Damaged { .. })) {
            // The next attempt must not continue a damaged partial file.
            std::fs::remove_file(&part).map_err(|e| FetchError::io(&part, "remove", e))?;
        }
        kept
    }

    /// Appends to the partial file until it has the announced size.
    fn transfer(&self, out: &mut File, part: &Path) -> Result<(), FetchError> {
        let size_bytes = self.file.size_bytes;
        let mut end = out.seek(SeekFrom::End(0)).map_err(|e| FetchError::io(part, "seek", e))?;
        self.progress.at(Stage::Fetch, &self.file.path, end);
        self.progress.advance(end.min(size_bytes));
        let mut fruitless = 0;
        while end < size_bytes {
            let before = end;
            match self.attempt(out, part, &mut end)? {
                TransferOutcome::Complete => {}
                TransferOutcome::Interrupted(_) if end > before => fruitless = 0,
                TransferOutcome::Interrupted(why) => {
                    fruitless += 1;
                    if fruitless == ATTEMPTS_MAX {
                        let why = format!(
                            "{why}, {ATTEMPTS_MAX} times in a row at byte {end} of {size_bytes}; the same command continues from there"
                        );
                        return Err(FetchError::Refused { url: self.url.to_owned(), why });
                    }
                    wait(BACKOFF_MIN * 2u32.pow(fruitless - 1), self.watch)?;
                }
            }
        }
        Ok(())
    }

    /// Sends one request, appends the response body to the partial file, and advances `end`, the
    /// size of the partial file in bytes.
    fn attempt(
        &self,
        out: &mut File,
        part: &Path,
        end: &mut u64,
    ) -> Result<TransferOutcome, FetchError> {
        let interrupted = |why: String| Ok(TransferOutcome::Interrupted(why));
        let before = *end;
        let response = match self.client.get(self.url, *end) {
            Ok(response) => response,
            Err(error) => return interrupted(error.to_string()),
        };
        match response.status().as_u16() {
            206 => {}
            // A server that does not support range requests sends the file from its first byte.
            200 => {
                *end = 0;
                out.set_len(0)
                    .and_then(|()| out.rewind())
                    .map_err(|e| FetchError::io(part, "empty", e))?;
            }
            status @ (408 | 429 | 500..) => return interrupted(format!("HTTP {status}")),
            status => return Err(self.client.refused(self.url, status)),
        }
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0u8; 256 << 10];
        loop {
            if self.watch.canceled() {
                return Err(FetchError::Canceled);
            }
            let count = match body.read(&mut buffer) {
                Ok(0) if *end == before => return interrupted("an empty body".to_owned()),
                Ok(0) => return Ok(TransferOutcome::Complete),
                Ok(count) => count,
                Err(error) => return interrupted(error.to_string()),
            };
            out.write_all(&buffer[..count]).map_err(|e| FetchError::io(part, "write", e))?;
            *end += count as u64;
            self.progress.advance(count as u64);
            if *end > self.file.size_bytes {
                return Ok(TransferOutcome::Complete);
            }
        }
    }

    /// Checks size and hash of the completed partial file.
    fn check(&self, part: &Path) -> Result<(), FetchError> {
        let metadata = part.metadata().map_err(|e| FetchError::io(part, "read its size", e))?;
        if metadata.len() != self.file.size_bytes {
            return Err(FetchError::Damaged {
                file: part.to_owned(),
                expected: format!("{} bytes", self.file.size_bytes),
                found: format!("{} bytes", metadata.len()),
            });
        }
        self.file.hash.check(part)
    }
}

/// Locks the partial file. While another process that downloads the same file holds the lock, waits
/// as long as the file grows.
fn lock(file: &File, part: &Path, watch: &Watch) -> Result<(), FetchError> {
    let (mut size_bytes, mut grew) = (0, Instant::now());
    while let Err(error) =
        rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
    {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(FetchError::io(part, "lock", error.into()));
        }
        let now_bytes =
            file.metadata().map_err(|e| FetchError::io(part, "read its size", e))?.len();
        if now_bytes != size_bytes {
            (size_bytes, grew) = (now_bytes, Instant::now());
        }
        if grew.elapsed() > LOCK_TIMEOUT {
            let why = std::io::Error::other(format!(
                "another process has held it for {} s without writing a byte",
                LOCK_TIMEOUT.as_secs()
            ));
            return Err(FetchError::io(part, "lock", why));
        }
        wait(Duration::from_millis(100), watch)?;
    }
    Ok(())
}

fn wait(time: Duration, watch: &Watch) -> Result<(), FetchError> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        if watch.canceled() {
            return Err(FetchError::Canceled);
        }
        watch.beat();
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
