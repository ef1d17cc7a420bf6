//! Compressed logs of committed runs: `steps.<attempt>.jsonl.zst` replaces `steps.<attempt>.jsonl`.
//! Any zstd tool can read them.

use crate::disk;
use crate::error::ResultsError;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, FrameCompressor};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Minimum size in bytes of a log to be compressed: smaller logs save little, and plain text is
/// easier to use.
const BYTES_MIN: u64 = 1 << 20;

/// Path of the compressed log that replaces `log`.
pub(crate) fn packed_path(log: &Path) -> PathBuf {
    let mut name = OsString::from(log);
    name.push(".zst");
    PathBuf::from(name)
}

/// Compresses the complete log of a committed run if it is long, and returns whether it did. The
/// plain log is removed only after the compressed one is on disk and is known to decompress to the
/// same bytes, so a kill at any instant leaves at least one of them complete.
pub(crate) fn pack(log: &Path) -> Result<bool, ResultsError> {
    let fail = |what: &'static str| move |source| ResultsError::from_io(what, log, None, source);
    let long = match fs::metadata(log) {
        Ok(about) => about.len() >= BYTES_MIN,
        // Another process has compressed the log already.
        Err(source) if source.kind() == ErrorKind::NotFound => false,
        Err(source) => return Err(fail("read")(source)),
    };
    if !long {
        return Ok(false);
    }
    let packed = compressed(File::open(log).map_err(fail("read"))?).map_err(fail("read"))?;
    if !same(&packed, File::open(log).map_err(fail("read"))?).map_err(fail("compress"))? {
        return Err(fail("compress")(io::Error::other(
            "the compressed log decompresses to other bytes; the plain log is kept",
        )));
    }
    let to = packed_path(log);
    let sibling = to.with_extension(format!("{}.new", std::process::id()));
    let placed = disk::write_synced(&sibling, &packed)
        .and_then(|()| fs::rename(&sibling, &to).map_err(fail("rename")));
    if placed.is_err() {
        // A leftover temporary file is harmless, so errors are ignored.
        let _ = fs::remove_file(&sibling);
    }
    placed?;
    let folder = log.parent().unwrap_or(Path::new("."));
    disk::sync_folder(folder)?;
    match fs::remove_file(log) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(fail("remove")(source)),
        _ => Ok(true),
    }
}

/// Path and decompressed bytes of a log: of the plain file if it exists, else of the compressed
/// one; `None` if neither exists. Of a damaged compressed log, the bytes decompressed before the
/// damage: they end in a torn or wrong line, which the caller reports.
pub(crate) fn read(log: &Path) -> Result<Option<(PathBuf, Vec<u8>)>, ResultsError> {
    if let Some(bytes) = disk::read(log)? {
        return Ok(Some((log.to_path_buf(), bytes)));
    }
    let packed = packed_path(log);
    let Some(bytes) = disk::read(&packed)? else { return Ok(None) };
    let mut plain = Vec::with_capacity(bytes.len() * 8);
    if let Ok(mut decoder) = StreamingDecoder::new(&bytes[..]) {
        // The bytes decompressed before an error are kept, and the caller reports the invalid line
        // at their end.
        let _cut = decoder.read_to_end(&mut plain);
    }
    Ok(Some((packed, plain)))
}

fn compressed(source: File) -> io::Result<Vec<u8>> {
    // `FrameCompressor` panics on read errors. `ErrorCapture` reports the end of the input instead
    // and stores the error.
    let mut failed = None;
    let mut packed = Vec::new();
    let mut compressor = FrameCompressor::new(CompressionLevel::Fastest);
    compressor.set_source(ErrorCapture { source, failed: &mut failed });
    compressor.set_drain(&mut packed);
    compressor.compress();
    drop(compressor);
    failed.map_or(Ok(packed), Err)
}

/// A reader that reports the end of the file at the first error and stores that error.
struct ErrorCapture<'a> {
    source: File,
    failed: &'a mut Option<io::Error>,
}

impl Read for ErrorCapture<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.source.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    *self.failed = Some(error);
                    return Ok(0);
                }
                read => return read,
            }
        }
    }
}

/// Whether the compressed bytes decompress to the contents of the file `plain`.
fn same(packed: &[u8], mut plain: File) -> io::Result<bool> {
    let mut decoder = StreamingDecoder::new(packed).map_err(io::Error::other)?;
    let (mut unpacked, mut original) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let length = decoder.read(&mut unpacked)?;
        if length == 0 {
            return Ok(plain.read(&mut original)? == 0);
        }
        match plain.read_exact(&mut original[..length]) {
            Ok(()) if original[..length] == unpacked[..length] => {}
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error),
            _ => return Ok(false),
        }
    }
}
