//! Copies single pieces of files, and reads them back.

use crate::error::StagingError;
use crate::source_files::SourceFile;
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::hash::Hasher;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::Path;
use twox_hash::XxHash3_64;

/// Bytes of a piece: what is copied again after a kill or a mismatch, at most, by each thread.
pub(crate) const PIECE_BYTES: u64 = 16 << 20;
/// Threads that copy or verify. A network file system serves several requests at a time; more
/// threads gain little.
pub(crate) const THREADS: usize = 8;
/// Bytes of one read or write.
pub(crate) const READ_BYTES: usize = 4 << 20;

/// A range of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    pub offset: u64,
    pub bytes: u64,
}

/// The pieces of a file of `bytes` bytes; one empty piece for an empty file.
pub(crate) fn pieces(bytes: u64) -> impl Iterator<Item = Piece> {
    (0..bytes.div_ceil(PIECE_BYTES).max(1)).map(move |number| {
        let offset = number * PIECE_BYTES;
        Piece { offset, bytes: PIECE_BYTES.min(bytes - offset) }
    })
}

/// Copies a piece to the local disk and returns its XXH3-64. The bytes are on the disk when this
/// returns. `on_read` receives the bytes of each read.
pub(crate) fn copy_piece(
    source: &SourceFile,
    target: (&Path, &File),
    piece: Piece,
    buffer: &mut [u8],
    on_read: &dyn Fn(u64) -> Result<(), StagingError>,
) -> Result<u64, StagingError> {
    let (path, to) = target;
    let from = source.open()?;
    let mut hash = XxHash3_64::new();
    let mut done = 0;
    while done < piece.bytes {
        let part = &mut buffer[..READ_BYTES.min((piece.bytes - done) as usize)];
        let at = piece.offset + done;
        from.read_exact_at(part, at).map_err(|error| source.read_failed(&from, error))?;
        hash.write(part);
        to.write_all_at(part, at).map_err(|e| StagingError::local(path, "write to it", e))?;
        done += part.len() as u64;
        on_read(part.len() as u64)?;
    }
    to.sync_data().map_err(|error| StagingError::local(path, "write it to the disk", error))?;
    source.check(&from)?;
    Ok(hash.finish())
}

/// The XXH3-64 of a piece as the local disk returns it, not the page cache.
pub(crate) fn hash_piece(
    path: &Path,
    file: &File,
    piece: Piece,
    buffer: &mut [u8],
    on_read: &dyn Fn(u64) -> Result<(), StagingError>,
) -> Result<u64, StagingError> {
    // A file system without this advice returns the bytes of its cache.
    let _refused = fadvise(file, piece.offset, NonZeroU64::new(piece.bytes), Advice::DontNeed);
    let mut hash = XxHash3_64::new();
    let mut done = 0;
    while done < piece.bytes {
        let part = &mut buffer[..READ_BYTES.min((piece.bytes - done) as usize)];
        file.read_exact_at(part, piece.offset + done)
            .map_err(|error| StagingError::local(path, "read it back", error))?;
        hash.write(part);
        done += part.len() as u64;
        on_read(part.len() as u64)?;
    }
    Ok(hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_a_file_once() {
        for bytes in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES] {
            let mut end = 0;
            for piece in pieces(bytes) {
                assert_eq!(piece.offset, end);
                assert!(piece.bytes > 0 || bytes == 0);
                end += piece.bytes;
            }
            assert_eq!(end, bytes);
        }
    }
}
