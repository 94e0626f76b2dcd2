//! Session ids that are issued once.

use std::sync::atomic::{AtomicI64, Ordering};

use palisade_admin::system::wall_clock;
use palisade_store::session::first_id;
use palisade_wire::{SessionId, Sid};

/// How far ahead of its start a run may issue, in ms of the clock that ids begin with. Each of them stands for 65,536
/// ids: no run of a gateway gets to the end of an hour.
const RESERVE_MS: u64 = 3_600_000;
/// Low bits of an id that count within one ms.
const COUNTER_BITS: u32 = 16;
/// Bits of an id's clock.
const CLOCK_BITS: u32 = 40;

/// Issues session ids: the gateway's own id in the high byte, then a clock, then a counter
/// (`SessionTrackerImpl.initializeNextSessionId`).
///
/// No two gateways have an id in common, as they have no high byte in common. A gateway that starts again begins after
/// all that it reserved before, whatever its clock says; one that lost its disk, after the sessions that the core
/// knows of, or its clock.
#[derive(Debug)]
pub(crate) struct SessionIds(AtomicI64);

impl SessionIds {
    /// Ids of the gateway `id` after those that an earlier run has `reserved` and after those `known`; and what this
    /// run reserves, to be kept before the first is issued.
    pub(crate) fn reserve(
        id: Sid,
        reserved: Option<&[u8]>,
        known: impl Iterator<Item = SessionId>,
    ) -> (Self, Vec<u8>) {
        let millis = wall_clock().as_millis();
        let now = u64::try_from(millis).unwrap_or(u64::MAX);
        let start = Self::start(id, now, reserved, known);
        (Self::starting_at(id, start), (start + RESERVE_MS).to_string().into_bytes())
    }

    fn start(id: Sid, now: u64, reserved: Option<&[u8]>, known: impl Iterator<Item = SessionId>) -> u64 {
        let clock_mask = (1 << CLOCK_BITS) - 1;
        // The clock in an id has lost its high bits; those of today are right for all but every 35th year.
        let known = known.filter(|session| (*session as u64) >> 56 == id as u64 & 0xff);
        let after =
            |session: SessionId| (now & !clock_mask) | ((session as u64 >> COUNTER_BITS & clock_mask) + 1);
        let reserved = reserved.and_then(|text| std::str::from_utf8(text).ok()?.trim().parse::<u64>().ok());
        known.map(after).chain(reserved).fold(now, u64::max)
    }

    pub(crate) fn starting_at(id: Sid, millis: u64) -> Self {
        Self(AtomicI64::new(first_id(id, millis)))
    }

    /// An id that was not issued before; never 0, which asks for a new session, nor the one that marks containers.
    pub(crate) fn issue(&self) -> SessionId {
        loop {
            let id = self.0.fetch_add(1, Ordering::Relaxed);
            if id != 0 && id != SessionId::MIN {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    #[test]
    fn ids_name_their_gateway_and_count() {
        let ids = SessionIds::starting_at(0x65, NOW);
        let first = ids.issue();
        assert_eq!(first as u64 >> 56, 0x65);
        assert_eq!(ids.issue(), first + 1);
    }

    #[test]
    fn special_ids_are_never_issued() {
        let ids = SessionIds(AtomicI64::new(-1));
        assert_eq!((ids.issue(), ids.issue()), (-1, 1));
        let ids = SessionIds(AtomicI64::new(SessionId::MIN));
        assert_eq!(ids.issue(), SessionId::MIN + 1);
    }

    #[test]
    fn a_run_begins_after_what_was_reserved_even_if_the_clock_went_back() {
        let (ids, reserved) = SessionIds::reserve(200, None, std::iter::empty());
        let (next, again) = SessionIds::reserve(200, Some(&reserved), std::iter::empty());
        let hour = (RESERVE_MS << COUNTER_BITS) as i64;
        assert!(next.issue() - ids.issue() >= hour);
        let number = |text: &[u8]| std::str::from_utf8(text).unwrap().parse::<u64>().unwrap();
        assert_eq!(number(&again), number(&reserved) + RESERVE_MS);
        assert_eq!(SessionIds::start(1, NOW, Some(b"damaged"), std::iter::empty()), NOW);
        assert_eq!(SessionIds::start(1, NOW, Some(b"5"), std::iter::empty()), NOW);
    }

    #[test]
    fn a_run_without_a_memory_begins_after_the_sessions_of_the_core() {
        for id in [1, 0x65, 254] {
            let later = SessionIds::starting_at(id, NOW + 5_000);
            let elsewhere = SessionIds::starting_at(7, NOW + 9_000);
            let known = [later.issue(), later.issue(), elsewhere.issue()];
            let start = SessionIds::start(id, NOW, None, known.into_iter());
            assert_eq!(start, NOW + 5_001);
            assert!(SessionIds::starting_at(id, start).issue() > later.issue());
        }
    }
}
