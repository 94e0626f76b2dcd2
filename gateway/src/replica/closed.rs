//! Global sessions that have ended: who once owned something in the core must not come back as a session that never
//! did.
//!
//! The stream of transactions tells of every end. What is known reaches back to a *horizon*: each session that ended
//! after it is here. A whole tree received from a leader tells nothing about ends before it, and so moves the horizon.

use palisade_wire::{SessionId, Zxid};
use rustc_hash::FxHashMap;

/// Words that are kept; the older half goes when there are more. Ids are issued one after the other, so one word holds
/// up to 64 of them: between one million ends and sixty, in at most some 40 MB.
const MAX_WORDS: usize = 1 << 20;
/// Ids in one word, as a shift.
const WORD_BITS: u32 = 6;

const MAGIC: &[u8; 8] = b"PLSended";
/// Magic, horizon, last zxid.
const HEADER: usize = 24;
/// Word number, bits, zxid.
const ENTRY: usize = 24;
/// CRC-32 of all before it.
const CHECKSUM: usize = 4;

/// Some ids that follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Word {
    ended: u64,
    /// When the last of them ended.
    last: Zxid,
}

/// The ended sessions that are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClosedSessions {
    words: FxHashMap<i64, Word>,
    horizon: Zxid,
    max_words: usize,
}

const fn place(session: SessionId) -> (i64, u64) {
    (session >> WORD_BITS, 1 << (session & ((1 << WORD_BITS) - 1)))
}

impl ClosedSessions {
    /// None; all that end after `horizon` will be told.
    pub(crate) fn since(horizon: Zxid) -> Self {
        Self { words: FxHashMap::default(), horizon, max_words: MAX_WORDS }
    }

    /// Every session that ended after this, up to the replica's last transaction, is known here.
    pub(crate) const fn horizon(&self) -> Zxid {
        self.horizon
    }

    /// Whether the session is known to have ended.
    pub(crate) fn contains(&self, session: SessionId) -> bool {
        let (word, bit) = place(session);
        self.words.get(&word).is_some_and(|word| word.ended & bit != 0)
    }

    /// The session ended with this transaction.
    pub(crate) fn insert(&mut self, session: SessionId, zxid: Zxid) {
        let (number, bit) = place(session);
        let word = self.words.entry(number).or_default();
        word.ended |= bit;
        word.last = word.last.max(zxid);
        if self.words.len() > self.max_words {
            self.forget_oldest(self.max_words / 2);
        }
    }

    /// Sessions may have ended up to `zxid` of which nobody told. Those that are known stay known.
    pub(crate) fn missed(&mut self, zxid: Zxid) {
        self.horizon = self.horizon.max(zxid);
    }

    fn forget_oldest(&mut self, keep: usize) {
        let mut times: Vec<Zxid> = self.words.values().map(|word| word.last).collect();
        let drop = times.len().saturating_sub(keep);
        let Some(last_dropped) = drop.checked_sub(1) else { return };
        let (_, horizon, _) = times.select_nth_unstable(last_dropped);
        let horizon = *horizon;
        self.words.retain(|_, word| word.last > horizon);
        self.missed(horizon);
    }

    /// As a file's content, after the transaction `upto`.
    pub(crate) fn encode(&self, upto: Zxid) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + ENTRY * self.words.len() + CHECKSUM);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.horizon.0.to_be_bytes());
        bytes.extend_from_slice(&upto.0.to_be_bytes());
        for (number, word) in &self.words {
            bytes.extend_from_slice(&number.to_be_bytes());
            bytes.extend_from_slice(&word.ended.to_be_bytes());
            bytes.extend_from_slice(&word.last.0.to_be_bytes());
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    /// What [`Self::encode`] made, with its `upto`; `None` if it is something else or damaged.
    fn decode(bytes: &[u8]) -> Option<(Self, Zxid)> {
        let (content, checksum) = bytes.split_last_chunk::<CHECKSUM>()?;
        let content_fits = crc32fast::hash(content) == u32::from_be_bytes(*checksum);
        let rest = content.strip_prefix(MAGIC).filter(|_| content_fits)?;
        let (horizon, rest) = rest.split_first_chunk()?;
        let (upto, rest) = rest.split_first_chunk()?;
        let mut closed = Self::since(Zxid(i64::from_be_bytes(*horizon)));
        for entry in rest.chunks(ENTRY) {
            let (number, entry) = entry.split_first_chunk()?;
            let (ended, entry) = entry.split_first_chunk()?;
            let last = Zxid(i64::from_be_bytes(entry.try_into().ok()?));
            closed
                .words
                .insert(i64::from_be_bytes(*number), Word { ended: u64::from_be_bytes(*ended), last });
        }
        Some((closed, Zxid(i64::from_be_bytes(*upto))))
    }

    /// What is known after a restart: the file beside the snapshots, if it reaches at least to the one that was
    /// loaded, and the ends in the log that was replayed since.
    pub(crate) fn restore(
        file: Option<&[u8]>,
        snapshot: Zxid,
        replayed: impl IntoIterator<Item = (SessionId, Zxid)>,
    ) -> Self {
        let saved = file.and_then(Self::decode).filter(|(_, upto)| *upto >= snapshot);
        let mut closed = saved.map_or_else(|| Self::since(snapshot), |(closed, _)| closed);
        for (session, zxid) in replayed {
            closed.insert(session, zxid);
        }
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_after_the_horizon_is_known() {
        let mut closed = ClosedSessions::since(Zxid(5));
        for session in [1, 2, 64, -1, SessionId::MIN, SessionId::MAX] {
            assert!(!closed.contains(session));
            closed.insert(session, Zxid(6));
            assert!(closed.contains(session) && !closed.contains(session ^ 8), "{session}");
        }
        closed.missed(Zxid(9));
        closed.missed(Zxid(7));
        assert_eq!(closed.horizon(), Zxid(9));
        assert!(closed.contains(1));
    }

    #[test]
    fn the_oldest_are_forgotten_and_the_horizon_says_so() {
        let mut closed = ClosedSessions { max_words: 8, ..ClosedSessions::since(Zxid::ZERO) };
        for i in 1..=9 {
            closed.insert(i << 20, Zxid(i));
        }
        assert_eq!((closed.horizon(), closed.words.len()), (Zxid(5), 4));
        for i in 1..=9 {
            assert_eq!(closed.contains(i << 20), i > closed.horizon().0);
        }
    }

    #[test]
    fn it_survives_a_restart_with_what_was_replayed() {
        let mut closed = ClosedSessions::since(Zxid(5));
        closed.insert(0x65_0000_0000_0000, Zxid(7));
        let file = closed.encode(Zxid(8));
        let restored = ClosedSessions::restore(Some(&file), Zxid(8), [(3, Zxid(9))]);
        assert!(restored.contains(0x65_0000_0000_0000) && restored.contains(3));
        assert_eq!(restored.horizon(), Zxid(5));
    }

    #[test]
    fn a_file_that_is_old_damaged_or_missing_knows_nothing_before_the_snapshot() {
        let mut closed = ClosedSessions::since(Zxid(5));
        closed.insert(1, Zxid(7));
        let file = closed.encode(Zxid(8));
        let mut damaged = file.clone();
        damaged[HEADER + 1] ^= 1;
        for file in [Some(&file[..]), Some(&damaged), Some(&file[..HEADER]), Some(&[]), None] {
            let restored = ClosedSessions::restore(file, Zxid(9), [(3, Zxid(10))]);
            assert_eq!(restored.horizon(), Zxid(9));
            assert!(restored.contains(3) && !restored.contains(1));
        }
    }
}
