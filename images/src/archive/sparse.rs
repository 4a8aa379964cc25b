//! Sparse files: GNU's old form (type `S`) and its pax form 1.0.

use std::io::{self, Read};

use tar::{GnuExtSparseHeader, Header};

use super::pax::{Records, number};
use super::{BLOCK, EXTENSION_LIMIT, Entry, Reader, Source, corrupt};

/// The most pieces one file may have.
const PIECES_LIMIT: usize = 1 << 16;

impl<S: Source> Reader<S> {
    /// Type `S`: four pieces in the header, 21 in each block that follows.
    pub(super) fn old_gnu_sparse(&mut self, header: &Header, entry: &mut Entry) -> io::Result<()> {
        let gnu = header.as_gnu().ok_or_else(|| corrupt("a sparse file without a GNU header"))?;
        let mut pieces = Vec::new();
        for piece in gnu.sparse.iter().filter(|piece| !piece.is_empty()) {
            pieces.push((piece.offset()?, piece.length()?));
        }
        let mut more = gnu.is_extended();
        while more {
            let mut block = GnuExtSparseHeader::new();
            // These blocks stand between the header and the data and are not part of the entry's size.
            self.source.read_exact(block.as_mut_bytes())?;
            self.position += BLOCK;
            for piece in block.sparse().iter().filter(|piece| !piece.is_empty()) {
                pieces.push((piece.offset()?, piece.length()?));
            }
            more = block.is_extended();
            if pieces.len() > PIECES_LIMIT {
                return Err(corrupt("a sparse file of too many pieces"));
            }
        }
        entry.offset = self.position;
        set_pieces(entry, pieces, gnu.real_size()?, self.data)
    }

    /// Pax form 1.0: the map is decimal text in front of the data, padded to a block.
    pub(super) fn pax_sparse(&mut self, records: &Records, entry: &mut Entry) -> io::Result<()> {
        if records.get("GNU.sparse.major") != Some(b"1") || records.get("GNU.sparse.minor") != Some(b"0") {
            return Err(corrupt("a sparse file in a pax form other than 1.0 is not supported"));
        }
        let (Some(name), Some(size)) = (records.get("GNU.sparse.name"), records.number("GNU.sparse.realsize")?) else {
            return Err(corrupt("a sparse file without GNU.sparse.name or GNU.sparse.realsize"));
        };
        entry.path = name.to_vec();
        let mut used = 0;
        let count = self.map_number(&mut used)?;
        if count > PIECES_LIMIT as u64 {
            return Err(corrupt("a sparse file of too many pieces"));
        }
        let mut pieces = Vec::new();
        for _ in 0..count {
            pieces.push((self.map_number(&mut used)?, self.map_number(&mut used)?));
        }
        let mut padding = vec![0; usize::try_from(used.next_multiple_of(BLOCK) - used).unwrap_or(0)];
        self.read_exact(&mut padding)?;
        entry.offset = self.position;
        set_pieces(entry, pieces, size, self.data)
    }

    /// One line of the map.
    fn map_number(&mut self, used: &mut u64) -> io::Result<u64> {
        let mut digits = Vec::new();
        loop {
            let mut byte = [0];
            self.read_exact(&mut byte)?;
            *used += 1;
            if byte[0] == b'\n' {
                return number(&digits).ok_or_else(|| corrupt("a sparse file's map is malformed"));
            }
            digits.push(byte[0]);
            if digits.len() > 20 || *used > EXTENSION_LIMIT {
                return Err(corrupt("a sparse file's map is malformed"));
            }
        }
    }
}

/// Checks that the pieces are in order, inside the file, and together exactly the data that is stored.
fn set_pieces(entry: &mut Entry, pieces: Vec<(u64, u64)>, size: u64, stored: u64) -> io::Result<()> {
    let mut end = 0_u64;
    let mut sum = 0_u64;
    for (offset, length) in &pieces {
        if *offset < end {
            return Err(corrupt("a sparse file's pieces overlap"));
        }
        end = offset.checked_add(*length).ok_or_else(|| corrupt("a sparse file's pieces are too large"))?;
        sum = sum.checked_add(*length).ok_or_else(|| corrupt("a sparse file's pieces are too large"))?;
    }
    if end > size || size > i64::MAX as u64 || sum != stored {
        return Err(corrupt("a sparse file's map does not fit its size"));
    }
    entry.size = size;
    entry.pieces = Some(pieces);
    Ok(())
}
