//! One file, brought in as many attempts as it takes while each brings something.
use super::client::HubClient;
use super::listing::RepoFile;
use super::store::CachedRepository;
use crate::error::FetchError;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use watch::{Stage, ThreadProgress, Watch};

/// Attempts in a row that bring nothing before giving up.
const ATTEMPTS: u32 = 5;
/// How long another process may hold a file that does not grow.
const LOCK_PATIENCE: Duration = Duration::from_secs(90);
/// The wait after the first of them; it doubles.
const BACKOFF: Duration = Duration::from_millis(500);

/// Brings a file into the repository's blobs. What an earlier attempt (or an earlier process) left
/// is continued.
pub(super) fn bring(
    client: &HubClient,
    url: &str,
    repository: &CachedRepository,
    wanted: &RepoFile,
    progress: &ThreadProgress,
    watch: &Watch,
) -> Result<(), FetchError> {
    let part = repository.incomplete(wanted);
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(&part);
    let mut file = open.map_err(|e| FetchError::io(&part, "create", e))?;
    progress.at(Stage::Fetch, &wanted.path, 0);
    lock(&file, &part, watch)?;
    if repository.has(wanted) {
        // Another process brought it meanwhile; the empty part that opening made is nobody's.
        drop(std::fs::remove_file(&part));
        return Ok(());
    }
    let mut end = file.seek(SeekFrom::End(0)).map_err(|e| FetchError::io(&part, "seek", e))?;
    progress.at(Stage::Fetch, &wanted.path, end);
    progress.advance(end.min(wanted.size_bytes));
    let mut fruitless = 0;
    while end < wanted.size_bytes {
        let before = end;
        match attempt(client, url, &part, &mut file, &mut end, wanted, progress, watch)? {
            TransferOutcome::Went => {}
            TransferOutcome::Broke(_) if end > before => fruitless = 0,
            TransferOutcome::Broke(why) => {
                fruitless += 1;
                if fruitless == ATTEMPTS {
                    let why = format!(
                        "{why}, {ATTEMPTS} times in a row at byte {end} of {}; the same command goes on from there",
                        wanted.size_bytes
                    );
                    return Err(FetchError::Refused { url: url.to_owned(), why });
                }
                wait(BACKOFF * 2u32.pow(fruitless - 1), watch)?;
            }
        }
    }
    file.sync_all().map_err(|e| FetchError::io(&part, "write", e))?;
    // The lock is held until the file has its name.
    let kept = check(&part, wanted).and_then(|()| repository.keep(wanted, &part));
    if matches!(kept, Err(FetchError::Damaged { .. })) {
        // A damaged part must not be continued by the next attempt.
        std::fs::remove_file(&part).map_err(|e| FetchError::io(&part, "remove", e))?;
    }
    kept
}

/// Waits for another process that brings the same file, as long as that file grows.
fn lock(file: &File, part: &Path, watch: &Watch) -> Result<(), FetchError> {
    let (mut size_bytes, mut grew) = (0, Instant::now());
    while let Err(error) =
        rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
    {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(FetchError::io(part, "lock", error.into()));
        }
        let now_bytes = file.metadata().map_err(|e| FetchError::io(part, "look at it", e))?.len();
        if now_bytes != size_bytes {
            (size_bytes, grew) = (now_bytes, Instant::now());
        }
        if grew.elapsed() > LOCK_PATIENCE {
            let why = std::io::Error::other(format!(
                "another process has held it for {} s without bringing a byte",
                LOCK_PATIENCE.as_secs()
            ));
            return Err(FetchError::io(part, "lock", why));
        }
        wait(Duration::from_millis(100), watch)?;
    }
    Ok(())
}

fn check(part: &Path, wanted: &RepoFile) -> Result<(), FetchError> {
    let found = part.metadata().map_err(|e| FetchError::io(part, "look at it", e))?.len();
    if found != wanted.size_bytes {
        return Err(FetchError::Damaged {
            file: part.to_owned(),
            expected: format!("{} bytes", wanted.size_bytes),
            found: format!("{found} bytes"),
        });
    }
    wanted.promise.check(part)
}

enum TransferOutcome {
    /// The body ended of itself.
    Went,
    /// It broke off, for this reason; another attempt may go further.
    Broke(String),
}

#[allow(clippy::too_many_arguments)]
fn attempt(
    client: &HubClient,
    url: &str,
    part: &Path,
    file: &mut File,
    end: &mut u64,
    wanted: &RepoFile,
    progress: &ThreadProgress,
    watch: &Watch,
) -> Result<TransferOutcome, FetchError> {
    let before = *end;
    let answer = match client.get(url, *end) {
        Ok(answer) => answer,
        Err(error) => return Ok(TransferOutcome::Broke(error.to_string())),
    };
    match answer.status().as_u16() {
        206 => {}
        // A server that knows no ranges sends all of it again.
        200 => {
            *end = 0;
            file.set_len(0)
                .and_then(|()| file.rewind())
                .map_err(|e| FetchError::io(part, "empty", e))?;
        }
        status @ (408 | 429 | 500..) => {
            return Ok(TransferOutcome::Broke(format!("HTTP {status}")));
        }
        status => return Err(client.refused(url, status)),
    }
    let mut body = answer.into_body().into_reader();
    let mut buffer = vec![0u8; 256 << 10];
    loop {
        if watch.canceled() {
            return Err(FetchError::Canceled);
        }
        let count = match body.read(&mut buffer) {
            Ok(0) if *end == before => {
                return Ok(TransferOutcome::Broke("an empty body".to_owned()));
            }
            Ok(0) => return Ok(TransferOutcome::Went),
            Ok(count) => count,
            Err(error) => return Ok(TransferOutcome::Broke(error.to_string())),
        };
        file.write_all(&buffer[..count]).map_err(|e| FetchError::io(part, "write", e))?;
        *end += count as u64;
        progress.advance(count as u64);
        if *end > wanted.size_bytes {
            return Ok(TransferOutcome::Went);
        }
    }
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
