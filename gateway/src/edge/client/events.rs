//! What the applier and the pacer do to a client: events are queued, held back, and let go.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use palisade_watch::{Event, Holding, SlowReader, WaveId};
use palisade_wire::{Id, Zxid};

use super::Client;
use crate::edge::outbox::{CloseReason, End};

/// Reads that one event may cause, as far as the rate of such reads is concerned.
const REREADS: u64 = 4;

impl Client {
    /// Queues an event if the client may read it; whether there is something to write then.
    pub(in crate::edge) fn push_event(&self, event: &Arc<Event>, may_read: impl Fn(&[Id]) -> bool) -> bool {
        let mut state = self.lock();
        if !state.established || !may_read(&state.ids) {
            return false;
        }
        if state.outbox.push_event(event).is_err() {
            state.outbox.end(End::Now(CloseReason::SlowReader));
        }
        drop(state);
        self.count_event();
        true
    }

    /// Holds an event back if the client may read it; whether it is the first that is held.
    pub(in crate::edge) fn hold_event(
        &self,
        event: &Arc<Event>,
        may_read: impl Fn(&[Id]) -> bool,
        replaceable: bool,
        now: Duration,
    ) -> bool {
        let mut state = self.lock();
        if !state.established || !may_read(&state.ids) {
            return false;
        }
        let holding = state.outbox.hold_event(event, replaceable, now).unwrap_or_else(|SlowReader| {
            state.outbox.end(End::Now(CloseReason::SlowReader));
            self.wake.ring();
            Holding::Nothing
        });
        drop(state);
        let metrics = &self.server_stats.metrics;
        match holding {
            Holding::Nothing => return false,
            Holding::Merged => metrics.palisade_events_merged.inc(),
            Holding::First | Holding::More => {}
        }
        metrics.palisade_events_held.inc();
        self.count_event();
        holding == Holding::First
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
            if state.outbox.push_event(&event).is_err() {
                state.outbox.end(End::Now(CloseReason::SlowReader));
            }
            self.count_event();
        }
    }

    fn count_event(&self) {
        self.stats.sent();
        self.server_stats.sent();
    }

    /// Lets held events go with this wave; whether there were any.
    pub(in crate::edge) fn release_events(&self, wave: WaveId) -> bool {
        let released = self.lock().outbox.release();
        if released {
            self.wave.store(u64::from(wave) << 8 | REREADS, Ordering::Relaxed);
        }
        released
    }

    /// The wave that may have caused a read of now.
    pub(in crate::edge) fn take_reread(&self) -> Option<WaveId> {
        let wave = self.wave.load(Ordering::Relaxed);
        if wave & 0xff == 0 {
            return None;
        }
        self.wave.store(wave - 1, Ordering::Relaxed);
        WaveId::try_from(wave >> 8).ok()
    }

    /// No read is caused by a wave any more.
    pub(in crate::edge) fn forget_wave(&self) {
        self.wave.store(0, Ordering::Relaxed);
    }
}
