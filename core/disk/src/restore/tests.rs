use palisade_store::{DataTree, SnapshotCursor};
use palisade_wire::Zxid;
use palisade_wire::txn::TxnRecord;

use super::RestoreOptions;
use crate::testing::{
    Files, Scratch, apply, assert_is_a_state, change, fill, open_log, options, restore, restore_files,
    sample, snapshot, snapshot_between, write_tree, z,
};
use crate::{DiskError, Epochs, SnapshotDigest};

#[test]
fn a_directory_of_apache_is_restored_with_every_digest_right() {
    let log = sample("txnlog-3.8.0-head.bin");
    let files = Files::from([
        ("snapshot.0".to_owned(), sample("snapshot.0-3.8.0.bin")),
        ("log.100000001".to_owned(), log),
        ("acceptedEpoch".to_owned(), b"1".to_vec()),
        ("currentEpoch".to_owned(), b"1".to_vec()),
    ]);
    let restored = restore_files(&files).unwrap();
    assert_eq!((restored.last_zxid, restored.snapshot_zxid), (z(1, 11), Zxid::ZERO));
    assert_eq!((restored.replayed, restored.recent.len()), (11, 11));
    assert_eq!(restored.epochs, Epochs { accepted: 1, current: 1 });
    assert_eq!(restored.tree.last_zxid(), z(1, 11));
    let digests: Vec<_> = restored.recent.iter().map(|(_, p)| TxnRecord::decode(p).unwrap().digest).collect();
    assert_eq!(digests.last().copied().flatten(), Some(restored.tree.digest()));
}

#[test]
fn an_empty_directory_gets_the_snapshot_that_apache_demands() {
    let scratch = Scratch::new();
    let dir = scratch.open();
    for _ in 0..2 {
        let restored = restore(&dir).unwrap();
        assert_eq!((restored.last_zxid, restored.snapshot_zxid), (Zxid::ZERO, Zxid::ZERO));
        assert_eq!(restored.epochs, Epochs::default());
        assert_eq!(scratch.files().keys().collect::<Vec<_>>(), ["snapshot.0"]);
    }
    // Apache's holds the ensemble's members too.
    assert_eq!(scratch.files()["snapshot.0"].len(), sample("snapshot.0-3.8.0.bin").len() - 178);
}

#[test]
fn a_log_without_a_snapshot_is_refused_unless_trusted() {
    let scratch = Scratch::new();
    let states = fill(&scratch.open(), (1..=5).map(|i| z(1, i)), &[]);
    let mut files = scratch.files();
    files.remove("snapshot.0");
    assert!(matches!(restore_files(&files), Err(DiskError::NoSnapshot { .. })));
    let trusting = RestoreOptions { trust_empty_snapshot: true, ..options() };
    let restored = Scratch::with(&files).open().restore(&trusting).unwrap();
    assert_is_a_state(&restored, &states);
    assert_eq!(restored.last_zxid, z(1, 5));
}

#[test]
fn a_server_that_lost_everything_but_its_promises_does_not_start_empty() {
    let files = Files::from([
        ("acceptedEpoch".to_owned(), b"7".to_vec()),
        ("currentEpoch".to_owned(), b"6".to_vec()),
    ]);
    assert!(matches!(restore_files(&files), Err(DiskError::Epochs { .. })));
}

#[test]
fn the_last_transactions_are_kept_within_bounds() {
    let scratch = Scratch::new();
    fill(&scratch.open(), (1..=50).map(|i| z(1, i)), &[z(1, 20)]);
    let recent = |count, bytes| {
        let options = RestoreOptions { recent_count: count, recent_bytes: bytes, ..options() };
        let restored = scratch.open().restore(&options).unwrap();
        restored.recent.iter().map(|(zxid, _)| zxid.counter()).collect::<Vec<_>>()
    };
    assert_eq!(recent(1000, 1 << 20), (21..=50).collect::<Vec<_>>());
    assert_eq!(recent(10, 1 << 20), (41..=50).collect::<Vec<_>>());
    let one = change(z(1, 50)).len();
    assert_eq!(recent(1000, one), [50]);
    assert_eq!(recent(0, 1 << 20), []);
}

#[test]
fn a_damaged_snapshot_is_replaced_by_an_older_one_and_its_log() {
    let scratch = Scratch::new();
    let states = fill(&scratch.open(), (1..=9).map(|i| z(1, i)), &[z(1, 3), z(1, 6)]);
    let files = scratch.files();
    let newest = "snapshot.100000006";
    assert_eq!(restore_files(&files).unwrap().snapshot_zxid, z(1, 6));
    let end = files[newest].len();
    for cut in (0..end).filter(|cut| *cut != end - 33) {
        let mut damaged = files.clone();
        damaged.get_mut(newest).unwrap().truncate(cut);
        let restored = restore_files(&damaged).unwrap();
        assert_eq!((restored.snapshot_zxid, restored.last_zxid), (z(1, 3), z(1, 9)), "cut at {cut}");
        assert_is_a_state(&restored, &states);
    }
    let mut damaged = files;
    for name in ["snapshot.0", "snapshot.100000003", newest] {
        damaged.get_mut(name).unwrap()[20] ^= 1;
    }
    assert!(matches!(restore_files(&damaged), Err(DiskError::NoLoadableSnapshot { count: 3, .. })));
}

#[test]
fn an_older_snapshot_without_the_whole_log_is_no_replacement() {
    let scratch = Scratch::new();
    fill(&scratch.open(), (1..=6).map(|i| z(1, i)), &[z(1, 3), z(1, 6)]);
    let mut files = scratch.files();
    files.get_mut("snapshot.100000006").unwrap()[20] ^= 1;
    assert_eq!(restore_files(&files).unwrap().last_zxid, z(1, 6));
    let mut without_end = files.clone();
    without_end.remove("log.100000004");
    assert!(matches!(restore_files(&without_end), Err(DiskError::Corrupt { .. })));
    files.remove("snapshot.100000003");
    files.remove("log.100000001");
    assert!(matches!(restore_files(&files), Err(DiskError::Corrupt { .. })));
}

#[test]
fn a_snapshot_taken_while_transactions_go_on_is_made_exact_by_the_log() {
    let scratch = Scratch::new();
    let dir = scratch.open();
    fill(&dir, (1..=20).map(|i| z(1, i)), &[]);
    let mut tree = restore(&dir).unwrap().tree;
    let mut log = open_log(&dir, z(1, 20));
    let mut cursor = SnapshotCursor::new(&tree);
    let mut file = dir.snapshots().create(cursor.zxid()).unwrap();
    let mut chunk = bytes::BytesMut::new();
    let mut next = z(1, 21);
    while !cursor.write_chunk(&tree, &mut chunk, 1) {
        file.write(&chunk.split()).unwrap();
        log.append(next, &change(next)).unwrap();
        apply(&mut tree, &change(next));
        next = Zxid(next.0 + 1);
    }
    log.sync().unwrap();
    file.write(&chunk).unwrap();
    file.finish(Some(SnapshotDigest { zxid: tree.last_zxid(), digest: tree.digest() })).unwrap();
    let restored = restore(&dir).unwrap();
    assert_eq!((restored.snapshot_zxid, restored.last_zxid), (z(1, 20), tree.last_zxid()));
    assert_eq!(restored.tree.recompute_digest(), tree.digest());
    assert_eq!(restored.digest_mismatch, None);
}

#[test]
fn a_snapshot_that_is_ahead_of_the_log_gives_way_to_an_older_one() {
    let scratch = Scratch::new();
    let states = fill(&scratch.open(), (1..=6).map(|i| z(1, i)), &[]);
    snapshot_between(&scratch.open(), z(1, 2), z(1, 6));
    let mut files = scratch.files();
    assert_eq!(restore_files(&files).unwrap().snapshot_zxid, z(1, 2));
    // A power failure takes the end of the log, which was not durable yet.
    let log = files.get_mut("log.100000001").unwrap();
    let one = change(z(1, 6)).len() + 13;
    let end = log.iter().rposition(|b| *b != 0).unwrap();
    log.truncate(end + 1 - one);
    let restored = restore_files(&files).unwrap();
    assert_eq!((restored.snapshot_zxid, restored.last_zxid), (Zxid::ZERO, z(1, 5)));
    assert_is_a_state(&restored, &states);
    // Without an older one there is no choice.
    files.remove("snapshot.0");
    let restored = restore_files(&files).unwrap();
    assert_eq!((restored.snapshot_zxid, restored.last_zxid), (z(1, 2), z(1, 5)));
}

#[test]
fn a_tree_that_differs_from_the_recorded_digest_is_reported() {
    let scratch = Scratch::new();
    let dir = scratch.open();
    let mut tree = DataTree::new();
    snapshot(&dir, &tree);
    let mut log = open_log(&dir, Zxid::ZERO);
    let mut wrong = None;
    for i in 1..=4 {
        let payload = change(z(1, i));
        apply(&mut tree, &payload);
        let mut record = TxnRecord::decode(&payload).unwrap();
        record.digest = Some(tree.digest() + u64::from(i >= 3));
        log.append(z(1, i), &record.encode()).unwrap();
        wrong = wrong.or((i >= 3).then_some(z(1, i)));
    }
    log.sync().unwrap();
    // Without the digest that says when the snapshot is exact, it might be fuzzy: nothing to compare.
    assert_eq!(restore(&dir).unwrap().digest_mismatch, None);
    let empty = DataTree::new();
    let mut file = dir.snapshots().create(Zxid::ZERO).unwrap();
    write_tree(&mut file, &empty);
    file.finish(Some(SnapshotDigest { zxid: z(1, 1), digest: 0 })).unwrap();
    assert_eq!(restore(&dir).unwrap().digest_mismatch, wrong);
}
