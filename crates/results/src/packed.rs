//! Logs of done runs, compressed: `steps.<attempt>.jsonl.zst` in place of `steps.<attempt>.jsonl`.
//! Any tool for zstd reads them.

use crate::{ResultsError, disk};
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, FrameCompressor};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Logs below this stay as they are: they save little, and every tool reads them.
const BYTES_MIN: u64 = 1 << 20;

/// Where the compressed form of a log lies.
pub(crate) fn packed_path(log: &Path) -> PathBuf {
    let mut name = OsString::from(log);
    name.push(".zst");
    PathBuf::from(name)
}

/// Compresses a log that nobody writes to any more, if that is worth it. The plain one goes when
/// the other is on disk and was read back the same; a kill at any instant leaves one of them whole.
pub(crate) fn pack(log: &Path) -> Result<bool, ResultsError> {
    let fail = |what: &'static str| move |source| ResultsError::from_io(what, log, None, source);
    let long = match fs::metadata(log) {
        Ok(about) => about.len() >= BYTES_MIN,
        // Another process packed it.
        Err(source) if source.kind() == ErrorKind::NotFound => false,
        Err(source) => return Err(fail("read")(source)),
    };
    if !long {
        return Ok(false);
    }
    let packed = compressed(File::open(log).map_err(fail("read"))?).map_err(fail("read"))?;
    if !same(&packed, File::open(log).map_err(fail("read"))?).map_err(fail("compress"))? {
        return Err(fail("compress")(io::Error::other(
            "it is another log when read back; it stays as it is",
        )));
    }
    let to = packed_path(log);
    let beside = to.with_extension(format!("{}.new", std::process::id()));
    let placed = disk::write_synced(&beside, &packed)
        .and_then(|()| fs::rename(&beside, &to).map_err(fail("rename")));
    if placed.is_err() {
        // Whatever happened, the sibling is of no use; failing to remove it harms nobody.
        let _ = fs::remove_file(&beside);
    }
    placed?;
    let folder = log.parent().unwrap_or(Path::new("."));
    disk::sync_folder(folder)?;
    match fs::remove_file(log) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(fail("remove")(source)),
        _ => Ok(true),
    }
}

/// A log's bytes and the file that they are from: the plain one where there is one. `None` where
/// there is neither. Of a damaged compressed log what can still be read, which ends within a line
/// or in the wrong one.
pub(crate) fn read(log: &Path) -> Result<Option<(PathBuf, Vec<u8>)>, ResultsError> {
    if let Some(bytes) = disk::read(log)? {
        return Ok(Some((log.to_path_buf(), bytes)));
    }
    let packed = packed_path(log);
    let Some(bytes) = disk::read(&packed)? else { return Ok(None) };
    let mut plain = Vec::with_capacity(bytes.len() * 8);
    if let Ok(mut decoder) = StreamingDecoder::new(&bytes[..]) {
        // What was read before the error stays in the buffer, and its end shows as a bad line.
        let _cut = decoder.read_to_end(&mut plain);
    }
    Ok(Some((packed, plain)))
}

fn compressed(source: File) -> io::Result<Vec<u8>> {
    // The compressor takes errors of its source for defects of the program; here they end the
    // source, and are looked at after.
    let mut failed = None;
    let mut packed = Vec::new();
    let mut compressor = FrameCompressor::new(CompressionLevel::Fastest);
    compressor.set_source(ErrorCapture { source, failed: &mut failed });
    compressor.set_drain(&mut packed);
    compressor.compress();
    drop(compressor);
    failed.map_or(Ok(packed), Err)
}

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

/// Whether a compressed text is what a file holds, piece by piece.
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
