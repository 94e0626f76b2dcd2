use palisade_store::DataTree;
use palisade_wire::Zxid;

use super::{Compression, SnapshotDigest};
use crate::testing::{Files, Scratch, apply, change, sample, write_tree};
use crate::{DiskError, Result, Snapshots};

const MAX_FIELD: usize = 1 << 20;

/// The tree of the 3.9.5 samples.
const SAMPLE_DIGEST: SnapshotDigest = SnapshotDigest { zxid: Zxid::new(1, 6), digest: 13_328_764_410 };

/// Loads the newest snapshot among these files.
fn load(files: &Files) -> Result<(DataTree, Option<SnapshotDigest>)> {
    let scratch = Scratch::with(files);
    let snapshots = scratch.open().snapshots();
    let newest = snapshots.list().unwrap().remove(0);
    snapshots.load(&newest, MAX_FIELD)
}

fn one_file(name: &str, content: &[u8]) -> Files {
    Files::from([(name.to_owned(), content.to_vec())])
}

/// Writes a snapshot of these bytes and returns the whole file.
fn write(snapshots: &Snapshots, zxid: Zxid, stream: &[u8], digest: Option<SnapshotDigest>) -> Vec<u8> {
    let mut file = snapshots.create(zxid).unwrap();
    for chunk in stream.chunks(7) {
        file.write(chunk).unwrap();
    }
    let path = file.path().to_owned();
    file.finish(digest).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn snapshots_of_apache_are_read_and_sealed_again_alike() {
    let old = sample("snapshot.0-3.8.0.bin");
    let new = sample("snapshot.100000006-3.9.5.bin");
    let (tree, digest) = load(&one_file("snapshot.0", &old)).unwrap();
    assert_eq!((tree.last_zxid(), tree.digest(), digest), (Zxid::ZERO, 1_371_985_504, None));
    let (tree, digest) = load(&one_file("snapshot.100000006", &new)).unwrap();
    assert_eq!((tree.last_zxid(), tree.digest()), (Zxid::new(1, 6), SAMPLE_DIGEST.digest));
    assert_eq!(digest, Some(SAMPLE_DIGEST));

    let scratch = Scratch::new();
    let snapshots = scratch.open().snapshots();
    let stream = &old[16..old.len() - 13 - 33];
    assert_eq!(write(&snapshots, Zxid::ZERO, stream, None), old);
    let without_zxid = new.len() - 21;
    let stream = &new[16..without_zxid - 13 - 33];
    assert_eq!(write(&snapshots, Zxid::new(1, 6), stream, Some(SAMPLE_DIGEST)), new[..without_zxid]);
}

#[test]
fn compressed_snapshots_of_apache_are_read() {
    for ending in ["gz", "snappy"] {
        let name = format!("snapshot.100000006.{ending}");
        let (tree, digest) = load(&one_file(&name, &sample(&name))).unwrap();
        assert_eq!(tree.digest(), SAMPLE_DIGEST.digest);
        assert_eq!(digest, Some(SAMPLE_DIGEST));
    }
}

#[test]
fn every_compression_is_read_back() {
    let mut tree = DataTree::new();
    for i in 1..=2000 {
        apply(&mut tree, &change(Zxid::new(1, i)));
    }
    let digest = SnapshotDigest { zxid: tree.last_zxid(), digest: tree.digest() };
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
        let scratch = Scratch::new();
        let snapshots = scratch.open().snapshots().compressed(compression);
        let mut file = snapshots.create(tree.last_zxid()).unwrap();
        write_tree(&mut file, &tree);
        let size = file.finish(Some(digest)).unwrap();
        let listed = snapshots.list().unwrap();
        assert_eq!((listed.len(), listed[0].compression, listed[0].whole), (1, compression, true));
        assert_eq!(listed[0].bytes == size, compression == Compression::None);
        let (loaded, found) = snapshots.load(&listed[0], MAX_FIELD).unwrap();
        assert_eq!((loaded.last_zxid(), loaded.recompute_digest()), (tree.last_zxid(), tree.digest()));
        assert_eq!(found, Some(digest));
    }
}

#[test]
fn trailers_of_all_versions_are_known() {
    let whole = sample("snapshot.100000006-3.9.5.bin");
    let loads = |content: &[u8]| load(&one_file("snapshot.100000006", content));
    // 3.4 and 3.5: the first seal. 3.6 to 3.8: a digest and the second.
    let one_seal = &whole[..whole.len() - 33 - 21];
    assert_eq!(loads(one_seal).unwrap().1, None);
    assert_eq!(loads(&whole[..whole.len() - 21]).unwrap().1, Some(SAMPLE_DIGEST));
    // 3.9 without a digest: the last zxid follows the first seal.
    let mut zxid_only = one_seal.to_vec();
    zxid_only.extend_from_slice(&Zxid::new(1, 6).0.to_be_bytes());
    let checksum = adler2::adler32_slice(&zxid_only);
    zxid_only.extend_from_slice(&u64::from(checksum).to_be_bytes());
    zxid_only.extend_from_slice(b"\0\0\0\x01/");
    assert_eq!(loads(&zxid_only).unwrap().1, None);
    // The form before digests had a number for a version: hexadecimal text.
    let mut text = one_seal.to_vec();
    text.extend_from_slice(&Zxid::new(1, 6).0.to_be_bytes());
    text.extend_from_slice(b"\0\0\0\x01\0\0\0\x0231");
    let checksum = adler2::adler32_slice(&text);
    text.extend_from_slice(&u64::from(checksum).to_be_bytes());
    text.extend_from_slice(b"\0\0\0\x01/");
    assert_eq!(loads(&text).unwrap().1, None);
}

#[test]
fn damage_at_any_byte_is_found() {
    let name = "snapshot.100000006";
    let whole = sample("snapshot.100000006-3.9.5.bin");
    let valid_ends = [whole.len() - 33 - 21, whole.len() - 21];
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x40;
        let result = load(&one_file(name, &flipped));
        assert!(matches!(result, Err(DiskError::Corrupt { .. })), "flipped byte {at}");
        let result = load(&one_file(name, &whole[..at]));
        assert_eq!(result.is_ok(), valid_ends.contains(&at), "cut at byte {at}");
    }
    let mut longer = whole;
    longer.push(0);
    assert!(load(&one_file(name, &longer)).is_err());
}

#[test]
fn damage_of_a_compressed_snapshot_is_an_error() {
    for ending in ["gz", "snappy"] {
        let name = format!("snapshot.100000006.{ending}");
        let whole = sample(&name);
        for at in 0..whole.len() {
            assert!(load(&one_file(&name, &whole[..at])).is_err(), "{ending} cut at byte {at}");
            let mut flipped = whole.clone();
            flipped[at] ^= 0x40;
            // Some bytes do not matter, such as a time in a header, or from where a repetition is copied.
            if let Ok((tree, digest)) = load(&one_file(&name, &flipped)) {
                assert_eq!(tree.recompute_digest(), SAMPLE_DIGEST.digest, "{ending} flipped byte {at}");
                assert_eq!(digest, Some(SAMPLE_DIGEST));
            }
        }
    }
}

#[test]
fn fields_above_the_limit_are_refused() {
    let scratch = Scratch::with(&one_file("snapshot.0", &sample("snapshot.0-3.8.0.bin")));
    let snapshots = scratch.open().snapshots();
    let newest = snapshots.list().unwrap().remove(0);
    // The longest is the ensemble's description.
    assert!(snapshots.load(&newest, 178).is_ok());
    assert!(matches!(snapshots.load(&newest, 177), Err(DiskError::Corrupt { .. })));
}

#[test]
fn only_whole_snapshots_get_their_name() {
    let scratch = Scratch::new();
    let snapshots = scratch.open().snapshots();
    let mut file = snapshots.create(Zxid::new(1, 6)).unwrap();
    file.write(b"half a tree").unwrap();
    assert_eq!(scratch.files().keys().collect::<Vec<_>>(), ["snapshot.100000006.tmp"]);
    assert_eq!(snapshots.list().unwrap(), []);
    assert!(matches!(file.finish(None), Err(DiskError::Corrupt { .. })));
    assert!(scratch.files().is_empty());
    drop(snapshots.create(Zxid::new(1, 6)).unwrap());
    assert!(scratch.files().is_empty());
}

#[test]
fn snapshots_are_listed_newest_first() {
    let whole = sample("snapshot.0-3.8.0.bin");
    let names =
        ["snapshot.9", "snapshot.10", "snapshot.a.gz", "snapshot.b.zip", "snapshot.x", "snapshot.c.tmp"];
    let scratch = Scratch::with(&names.iter().map(|name| ((*name).to_owned(), whole.clone())).collect());
    let listed = scratch.open().snapshots().list().unwrap();
    let found: Vec<_> = listed.iter().map(|s| (s.zxid.0, s.whole)).collect();
    assert_eq!(found, [(0x10, true), (0xa, false), (9, true)]);
}
