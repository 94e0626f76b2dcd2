//! What the applier and the pacer do to a client: events are queued, held back, and let go.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use palisade_watch::{Changes, Event, Holding, Told, WaveId};
use palisade_wire::{Id, Zxid};

use super::Client;

/// Reads that one event may cause, as far as the rate of such reads is concerned.
const REREADS: u32 = 4;

impl Client {
    /// Queues an event if the client may read it; whether there is something to write then.
    pub(in crate::edge) fn push_event(&self, event: &Arc<Event>, may_read: impl Fn(&[Id]) -> bool) -> bool {
        let mut state = self.lock();
        if !state.established || !may_read(&state.ids) {
            return false;
        }
        state.outbox.push_event(event);
        drop(state);
        self.count_events(1);
        true
    }

    /// Holds an event back if the client may read it.
    pub(in crate::edge) fn hold_event(
        &self,
        told: &Told,
        may_read: impl Fn(&[Id]) -> bool,
        now: Duration,
    ) -> Holding {
        let mut state = self.lock();
        if !state.established || !may_read(&state.ids) {
            return Holding::Nothing;
        }
        let holding = state.outbox.hold_event(told.clone(), now);
        drop(state);
        match holding {
            Holding::Nothing => self.wake.ring(),
            Holding::First | Holding::More => self.count_events(1),
        }
        holding
    }

    /// The same for a share in events that many hear.
    pub(in crate::edge) fn join(
        &self,
        changes: &Arc<Changes>,
        may_read: impl Fn(&[Id]) -> bool,
        since: Option<Duration>,
    ) -> Holding {
        let mut state = self.lock();
        // Whoever is not told now joined all the same, for a moment, and is asked again.
        let share = changes.join(self.slot);
        if !state.established || !may_read(&state.ids) {
            return Holding::Nothing;
        }
        state.outbox.hold_share(share, since)
    }

    /// What is added to shared events from now on is not told by way of a present share.
    pub(in crate::edge) fn leave_shares(&self) {
        self.lock().outbox.leave_shares();
    }

    /// Queues what persistent watches missed, behind `before`. The replica must be locked, so that nothing newer is told
    /// before. If it is not the first time on this connection, the client knows of later transactions by now: no zxids
    /// are told then, as for one-shot watches.
    pub(in crate::edge) fn catch_up(&self, before: &mut BytesMut, missed: Vec<Arc<Event>>) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let again = std::mem::replace(&mut state.caught_up, true);
        if missed.is_empty() {
            return;
        }
        state.outbox.append(before);
        for mut event in missed {
            if again {
                event = Event::new(Zxid(-1), event.kind(), event.path());
            }
            state.outbox.push_event(&event);
            self.count_events(1);
        }
    }

    /// So many events were queued.
    pub(in crate::edge) fn count_events(&self, count: usize) {
        if count > 0 {
            self.stats.sent(count as u64);
            self.server_stats.sent(count as u64);
        }
    }

    /// Lets held events go with this wave, when the client is written to; how many there were.
    pub(in crate::edge) fn release_events(&self, wave: WaveId) -> usize {
        let released = self.lock().outbox.let_go();
        if released > 0 {
            let reads = u32::try_from(released).unwrap_or(u32::MAX).saturating_mul(REREADS);
            self.wave.store(u64::from(wave) << 32 | u64::from(reads), Ordering::Relaxed);
        }
        released
    }

    /// The wave that may have caused a read of now.
    pub(in crate::edge) fn take_reread(&self) -> Option<WaveId> {
        let wave = self.wave.load(Ordering::Relaxed);
        if wave as u32 == 0 {
            return None;
        }
        self.wave.store(wave - 1, Ordering::Relaxed);
        WaveId::try_from(wave >> 32).ok()
    }

    /// No read is caused by a wave any more.
    pub(in crate::edge) fn forget_wave(&self) {
        self.wave.store(0, Ordering::Relaxed);
    }
}
