use palisade_store::Change;
use palisade_wire::Zxid;
use palisade_wire::txn::TxnHeader;

use super::{History, More};
use crate::Restored;
use crate::testing::{Files, Scratch, assert_is_a_state, fill, options, snapshot_between, z};

/// Keeps what counts.
#[derive(Default)]
struct Told {
    more: More,
    base: Zxid,
    exact_from: Option<Zxid>,
    /// The transactions with effects, each once.
    zxids: Vec<u32>,
}

impl History for Told {
    fn more(&self) -> More {
        self.more
    }

    fn begins(&mut self, base: Zxid, exact_from: Option<Zxid>) {
        *self = Self { more: self.more, base, exact_from, zxids: Vec::new() };
    }

    fn changed(&mut self, header: &TxnHeader, _: &Change<'_>) {
        self.zxids.push(header.zxid.counter());
        self.zxids.dedup();
    }
}

fn restore(files: &Files, more: More) -> (Restored, Told) {
    let mut told = Told { more, ..Told::default() };
    let restored = Scratch::with(files).open().restore_and_tell(&options(), &mut told).unwrap();
    (restored, told)
}

const NONE: More = More { enough: 0, limit: 0 };
const ALL: More = More { enough: u64::MAX, limit: u64::MAX };

#[test]
fn what_came_before_the_newest_snapshot_is_told_too_as_far_as_is_wanted() {
    let scratch = Scratch::new();
    let snapshots = [z(1, 3), z(1, 6), z(1, 9)];
    let states = fill(&scratch.open(), (1..=12).map(|i| z(1, i)), &snapshots);
    let files = scratch.files();
    let one = files["log.100000007"].len() as u64;
    let two = one + files["log.100000004"].len() as u64;
    let more = |enough, limit| More { enough, limit };
    for (more, base) in [
        (NONE, 9),
        (more(0, u64::MAX), 9),
        (more(1, one - 1), 9),
        (more(1, one), 6),
        (more(one, u64::MAX), 6),
        (more(one + 1, u64::MAX), 3),
        (more(u64::MAX, two - 1), 6),
        (more(u64::MAX, two), 3),
        (ALL, 0),
    ] {
        let (restored, told) = restore(&files, more);
        assert_is_a_state(&restored, &states);
        let base_zxid = if base == 0 { Zxid::ZERO } else { z(1, base) };
        assert_eq!((told.base, restored.snapshot_zxid), (base_zxid, base_zxid), "{more:?}");
        assert_eq!(told.zxids, (base + 1..=12).collect::<Vec<_>>());
        assert_eq!((restored.last_zxid, restored.replayed), (z(1, 12), 3), "behind the newest");
    }
}

#[test]
fn an_older_snapshot_that_leads_nowhere_is_left_alone() {
    let scratch = Scratch::new();
    let states = fill(&scratch.open(), (1..=9).map(|i| z(1, i)), &[z(1, 3), z(1, 6)]);
    let files = scratch.files();
    let mut damaged = files.clone();
    damaged.get_mut("snapshot.100000003").unwrap()[20] ^= 1;
    let mut without_log = files;
    without_log.remove("log.100000004");
    for files in [damaged, without_log] {
        let (restored, told) = restore(&files, More { enough: 1, limit: u64::MAX });
        assert_is_a_state(&restored, &states);
        assert_eq!((told.base, &told.zxids[..]), (z(1, 6), &[7, 8, 9][..]));
    }
}

#[test]
fn it_is_told_from_where_on_the_effects_are_exact() {
    let scratch = Scratch::new();
    fill(&scratch.open(), (1..=6).map(|i| z(1, i)), &[]);
    snapshot_between(&scratch.open(), z(1, 2), z(1, 5));
    let files = scratch.files();
    let (_, told) = restore(&files, NONE);
    assert_eq!((told.base, told.exact_from), (z(1, 2), Some(z(1, 5))));
    assert_eq!(told.zxids.last(), Some(&6));
    let (_, told) = restore(&files, ALL);
    assert_eq!((told.base, told.exact_from), (Zxid::ZERO, None), "the empty tree has no digest");
    assert_eq!(told.zxids, [1, 2, 3, 4, 5, 6]);
}
