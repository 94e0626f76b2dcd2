//! What stands around the tree stream in a snapshot file (Apache `FileSnap`, `SnapStream`).

use adler2::Adler32;
use bytes::BufMut;
use palisade_wire::txn::DIGEST_VERSION;
use palisade_wire::{DecodeError, Reader, Writer, Zxid};

use super::SnapshotDigest;

/// `ZKSN`.
const MAGIC: [u8; 4] = *b"ZKSN";
/// Bytes before the tree stream.
pub(super) const HEADER_LEN: usize = 16;
/// What ends the tree stream, and every seal: the string "/".
pub(super) const TERMINATOR: [u8; 5] = [0, 0, 0, 1, b'/'];
/// An upper bound of what follows the tree stream: three seals, a digest of any version, a zxid.
pub(super) const MAX_TRAILER: usize = 256;

/// Magic, version 2, and the dbid −1 that Java writes.
pub(super) fn header() -> [u8; HEADER_LEN] {
    let mut header = [0xff; HEADER_LEN];
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&2_i32.to_be_bytes());
    header
}

/// Whether this is a snapshot's beginning, of whatever version.
pub(super) fn is_header(header: &[u8]) -> bool {
    header.starts_with(&MAGIC)
}

/// Whether the version behind the magic is the one that Java has always written.
pub(super) fn is_known_version(header: &[u8; HEADER_LEN]) -> bool {
    header[..8] == self::header()[..8]
}

/// Both seals as Apache 3.8 writes them, given the checksum of all before. Readers of 3.4 and 3.5 stop after the first
/// one; those of 3.9 miss the zxid after the second and do not mind.
pub(super) fn trailer(checksum: &mut Adler32, digest: Option<SnapshotDigest>) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    put_seal(checksum, &mut out);
    let sealed = out.len();
    let digest = digest.unwrap_or(SnapshotDigest { zxid: Zxid::ZERO, digest: 0 });
    out.put_i64(digest.zxid.0);
    out.put_i32(DIGEST_VERSION);
    out.put_u64(digest.digest);
    checksum.write_slice(&out[sealed..]);
    put_seal(checksum, &mut out);
    out
}

fn put_seal(checksum: &mut Adler32, out: &mut Vec<u8>) {
    let start = out.len();
    out.put_i64(checksum.checksum().into());
    out.write_string("/");
    checksum.write_slice(&out[start..]);
}

/// Verifies what follows the tree stream, up to the end of the file, in the form of any version: a seal, then
/// nothing, or a digest with a seal, or the last zxid with a seal, or both.
pub(super) fn read_trailer(
    checksum: &mut Adler32,
    trailer: &[u8],
) -> Result<Option<SnapshotDigest>, DecodeError> {
    const ZXID_AND_SEAL: usize = 8 + 13;
    let mut r = Reader::new(trailer);
    check_seal(checksum, &mut r)?;
    let mut digest = None;
    if !r.is_empty() && r.rest().len() != ZXID_AND_SEAL {
        digest = read_part(checksum, &mut r, read_digest)?;
        check_seal(checksum, &mut r)?;
    }
    if !r.is_empty() {
        read_part(checksum, &mut r, |r| r.i64("last processed zxid"))?;
        check_seal(checksum, &mut r)?;
    }
    if !r.is_empty() {
        return Err(DecodeError::Malformed { field: "seal", reason: "more bytes follow the last one" });
    }
    Ok(digest)
}

fn read_part<'a, T>(
    checksum: &mut Adler32,
    r: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let before = r.rest();
    let value = read(r)?;
    let used = before.len() - r.rest().len();
    checksum.write_slice(&before[..used]);
    Ok(value)
}

fn read_digest(r: &mut Reader<'_>) -> Result<Option<SnapshotDigest>, DecodeError> {
    let zxid = Zxid(r.i64("digest zxid")?);
    let version = r.i32("digest version")?;
    if version < DIGEST_VERSION {
        r.string("digest")?;
        return Ok(None);
    }
    let digest = r.i64("digest")? as u64;
    Ok((version == DIGEST_VERSION && zxid != Zxid::ZERO).then_some(SnapshotDigest { zxid, digest }))
}

fn check_seal(checksum: &mut Adler32, r: &mut Reader<'_>) -> Result<(), DecodeError> {
    let computed = i64::from(checksum.checksum());
    read_part(checksum, r, |r| {
        if r.i64("seal")? != computed {
            return Err(DecodeError::Malformed { field: "seal", reason: "the checksum does not match" });
        }
        if r.take(TERMINATOR.len(), "seal")? != TERMINATOR {
            return Err(DecodeError::Malformed { field: "seal", reason: "does not end with \"/\"" });
        }
        Ok(())
    })
}
