//! The bytes of `log.<zxid>` (Apache `FileTxnLog`): header, then per transaction Adler-32, length, payload and 'B';
//! then zeros.

use bytes::BufMut;

/// `ZKLG`, version 2, dbid 0. Readers ignore the dbid, as Java does, but not the version, which Java never changed.
pub(super) const HEADER: [u8; 16] = *b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0";
pub(super) const MAGIC: &[u8] = b"ZKLG";
/// Magic and version.
pub(super) const BEGINNING: &[u8] = b"ZKLG\0\0\0\x02";
/// Checksum (8 bytes) and length (4 bytes).
pub(super) const PREFIX_LEN: usize = 12;
/// What a record takes beyond its payload.
pub(super) const OVERHEAD: usize = PREFIX_LEN + 1;
/// Ends every record.
pub(super) const END_OF_RECORD: u8 = b'B';
/// The header of a transaction: no payload is shorter.
pub(super) const MIN_PAYLOAD: usize = 32;

/// Appends a record.
pub(super) fn put_record(buf: &mut Vec<u8>, payload: &[u8]) {
    buf.reserve(payload.len() + OVERHEAD);
    buf.put_u64(adler2::adler32_slice(payload).into());
    buf.put_u32(payload.len() as u32);
    buf.put_slice(payload);
    buf.put_u8(END_OF_RECORD);
}

/// Checksum and length at the start of a record.
pub(super) fn read_prefix(prefix: &[u8; PREFIX_LEN]) -> (u64, i32) {
    let [c0, c1, c2, c3, c4, c5, c6, c7, l0, l1, l2, l3] = *prefix;
    (u64::from_be_bytes([c0, c1, c2, c3, c4, c5, c6, c7]), i32::from_be_bytes([l0, l1, l2, l3]))
}
