use palisade_store::DataTree;
use palisade_wire::Zxid;

use crate::DiskError;
use crate::testing::{
    Scratch, apply, assert_is_a_state, change, fill, open_log, restore, restore_files, snapshot,
    snapshot_between, write_tree, z,
};

#[test]
fn truncation_leaves_exactly_what_it_should() {
    let zxids: Vec<_> = (1..=6).map(|i| z(1, i)).chain((1..=3).map(|i| z(2, i))).collect();
    for to in zxids.iter().copied().chain([z(2, 0), z(1, 0), z(1, 99)]) {
        let scratch = Scratch::new();
        let dir = scratch.open();
        let states = fill(&dir, zxids.clone(), &[z(1, 4), z(2, 1)]);
        let expected = *states.keys().rfind(|zxid| **zxid <= to).unwrap();
        let mut log = open_log(&dir, Zxid::ZERO);
        assert_eq!(log.truncate(to).unwrap(), expected);
        let restored = restore(&dir).unwrap();
        assert_eq!(restored.last_zxid, expected, "truncated to {to}");
        assert_is_a_state(&restored, &states);
        // Another history goes on from there.
        log.append(z(3, 1), &change(z(3, 1))).unwrap();
        log.sync().unwrap();
        assert_eq!(restore(&dir).unwrap().last_zxid, z(3, 1));
    }
}

#[test]
fn truncation_is_refused_before_anything_changes() {
    let scratch = Scratch::new();
    let dir = scratch.open();
    fill(&dir, (1..=6).map(|i| z(1, i)), &[z(1, 4)]);
    let mut log = open_log(&dir, Zxid::ZERO);
    let before = scratch.files();
    assert!(matches!(log.truncate(z(1, 7)), Err(DiskError::CannotTruncate { .. })));
    assert_eq!(scratch.files(), before);
    std::fs::remove_file(scratch.path().join("snapshot.0")).unwrap();
    let before = scratch.files();
    assert!(matches!(log.truncate(z(1, 3)), Err(DiskError::CannotTruncate { .. })));
    assert_eq!(scratch.files(), before);
    // It can still be appended to.
    log.append(z(1, 7), &change(z(1, 7))).unwrap();
    log.sync().unwrap();
    assert_eq!(restore(&dir).unwrap().last_zxid, z(1, 7));
}

#[test]
fn a_snapshot_that_may_hold_a_part_of_what_is_forgotten_goes_too() {
    let scratch = Scratch::new();
    let dir = scratch.open();
    let states = fill(&dir, (1..=6).map(|i| z(1, i)), &[]);
    snapshot_between(&dir, z(1, 2), z(1, 6));
    assert_eq!(restore(&dir).unwrap().snapshot_zxid, z(1, 2));
    let mut log = open_log(&dir, Zxid::ZERO);
    assert_eq!(log.truncate(z(1, 4)).unwrap(), z(1, 4));
    let restored = restore(&dir).unwrap();
    assert_eq!((restored.snapshot_zxid, restored.last_zxid), (Zxid::ZERO, z(1, 4)));
    assert_is_a_state(&restored, &states);
}

#[test]
fn a_damaged_log_is_no_base_for_a_truncation() {
    let scratch = Scratch::new();
    let dir = scratch.open();
    fill(&dir, (1..=6).map(|i| z(1, i)), &[z(1, 3)]);
    let mut log = open_log(&dir, z(1, 3));
    let path = scratch.path().join("log.100000001");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[50] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let before = scratch.files();
    assert!(matches!(log.truncate(z(1, 2)), Err(DiskError::CannotTruncate { .. })));
    assert_eq!(scratch.files(), before);
}

#[test]
fn a_crash_at_any_step_of_a_truncation_leaves_a_history_that_was() {
    let zxids = || (1..=9).map(|i| z(1, i));
    for steps in 0.. {
        let scratch = Scratch::new();
        let dir = scratch.open();
        let states = fill(&dir, zxids(), &[z(1, 2), z(1, 5), z(1, 7)]);
        let mut log = open_log(&dir, Zxid::ZERO);
        let plan = log.plan(z(1, 4)).unwrap();
        let all = log.truncate_steps(&plan, z(1, 4)).unwrap();
        assert!(all.len() >= 4);
        log.run(&all[..steps.min(all.len())]).unwrap();
        let restored = restore(&dir).unwrap();
        assert_is_a_state(&restored, &states);
        assert!(restored.last_zxid >= z(1, 4));
        if steps == all.len() {
            assert_eq!(restored.last_zxid, z(1, 4));
            break;
        }
    }
}

/// Another history than that of [`change`].
fn other_tree(at: Zxid) -> DataTree {
    let mut tree = DataTree::new();
    apply(&mut tree, &change(z(0, 1)));
    tree.set_last_zxid(at);
    tree
}

#[test]
fn a_leaders_snapshot_replaces_the_whole_history() {
    // Behind, inside and beyond the old history.
    for at in [z(1, 3), z(1, 9), z(1, 12), z(2, 0), z(5, 7)] {
        let scratch = Scratch::new();
        let dir = scratch.open();
        fill(&dir, (1..=9).map(|i| z(1, i)), &[z(1, 2), z(1, 5)]);
        let tree = other_tree(at);
        let mut log = open_log(&dir, Zxid::ZERO);
        let mut file = dir.snapshots().create(at).unwrap();
        write_tree(&mut file, &tree);
        log.install(file, None).unwrap();
        assert_eq!(scratch.files().len(), 1);
        let restored = restore(&dir).unwrap();
        assert_eq!((restored.last_zxid, restored.tree.digest()), (at, tree.digest()));
        assert_eq!(log.last_zxid(), at);
        let next = Zxid(at.0 + 1);
        log.append(next, &change(next)).unwrap();
        log.sync().unwrap();
        assert_eq!(restore(&dir).unwrap().last_zxid, next);
    }
}

#[test]
fn a_crash_at_any_step_of_an_installation_leaves_the_old_history_or_the_new() {
    for at in [z(1, 3), z(1, 6), z(1, 9), z(5, 7)] {
        for crash in 0.. {
            let scratch = Scratch::new();
            let dir = scratch.open();
            let old = fill(&dir, (1..=9).map(|i| z(1, i)), &[z(1, 2), z(1, 5), z(1, 8)]);
            let tree = other_tree(at);
            let mut log = open_log(&dir, Zxid::ZERO);
            let mut file = dir.snapshots().create(at).unwrap();
            write_tree(&mut file, &tree);
            file.seal(None).unwrap();
            let path = file.path().to_owned();
            let later = log.log_steps_after(at).unwrap();
            log.run(&later[..crash.min(later.len())]).unwrap();
            let mut done = false;
            if crash > later.len() {
                file.publish().unwrap();
                let rest = log.steps_without(&path).unwrap();
                let run = crash - later.len() - 1;
                log.run(&rest[..run.min(rest.len())]).unwrap();
                done = run >= rest.len();
            } else {
                // A crash leaves the unfinished file behind.
                std::mem::forget(file);
            }
            let restored = restore(&dir).unwrap();
            if restored.last_zxid != at || restored.tree.digest() != tree.digest() {
                assert!(!done);
                assert_is_a_state(&restored, &old);
            }
            if done {
                break;
            }
        }
    }
}

#[test]
fn a_purge_keeps_what_the_newest_snapshots_need() {
    let scratch = Scratch::new();
    let dir = scratch.open();
    let at = [2, 4, 6, 8, 10].map(|i| z(1, i));
    let states = fill(&dir, (1..=11).map(|i| z(1, i)), &at);
    let mut log = open_log(&dir, Zxid::ZERO);
    // Six snapshots with the one at 0.
    assert_eq!(log.purge(6).unwrap(), 0);
    assert_eq!(log.purge(5).unwrap(), 1);
    assert_eq!(log.purge(0).unwrap(), 4);
    let names: Vec<_> = scratch.files().into_keys().collect();
    let expected = [
        "log.100000005",
        "log.100000007",
        "log.100000009",
        "log.10000000b",
        "snapshot.100000006",
        "snapshot.100000008",
        "snapshot.10000000a",
    ];
    assert_eq!(names, expected);
    let mut files = scratch.files();
    files.get_mut("snapshot.10000000a").unwrap()[20] ^= 1;
    files.get_mut("snapshot.100000008").unwrap()[20] ^= 1;
    let restored = restore_files(&files).unwrap();
    assert_eq!((restored.snapshot_zxid, restored.last_zxid), (z(1, 6), z(1, 11)));
    assert_is_a_state(&restored, &states);
}

#[test]
fn a_purge_keeps_the_log_that_a_snapshot_begins_inside_of() {
    let scratch = Scratch::new();
    let dir = scratch.open();
    let mut tree = restore(&dir).unwrap().tree;
    let mut log = open_log(&dir, Zxid::ZERO);
    for i in 1..=8 {
        log.append(z(1, i), &change(z(1, i))).unwrap();
        apply(&mut tree, &change(z(1, i)));
        if i % 2 == 0 {
            log.sync().unwrap();
            snapshot(&dir, &tree);
        }
    }
    log.sync().unwrap();
    assert_eq!(log.purge(3).unwrap(), 2);
    assert!(scratch.files().contains_key("log.100000001"));
    log.append(z(1, 9), &change(z(1, 9))).unwrap();
    log.sync().unwrap();
    assert_eq!(restore(&dir).unwrap().last_zxid, z(1, 9));
}
