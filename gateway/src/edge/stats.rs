//! Counters for monitoring. Nothing depends on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use palisade_admin::metric::{Cell as _, Counter};
use palisade_admin::system::wall_clock;
use palisade_wire::{OpCode, Zxid};
use parking_lot::Mutex;

use crate::metrics::Metrics;
use crate::operations::Operations;

/// How long answers took, in ms.
#[derive(Debug)]
pub(crate) struct Latency {
    min: AtomicU64,
    max: AtomicU64,
    sum: AtomicU64,
    count: AtomicU64,
}

/// Values of a [`Latency`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct LatencyView {
    pub min: u64,
    pub max: u64,
    pub avg: f64,
    pub count: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::default(),
            sum: AtomicU64::default(),
            count: AtomicU64::default(),
        }
    }
}

impl Latency {
    fn add(&self, took: Duration) {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.min.fetch_min(millis, Relaxed);
        self.max.fetch_max(millis, Relaxed);
        self.sum.fetch_add(millis, Relaxed);
        self.count.fetch_add(1, Relaxed);
    }

    /// Answers that took no time worth measuring.
    fn add_instant(&self, count: u64) {
        if count > 0 {
            self.min.store(0, Relaxed);
            self.count.fetch_add(count, Relaxed);
        }
    }

    pub(crate) fn view(&self) -> LatencyView {
        let count = self.count.load(Relaxed);
        if count == 0 {
            return LatencyView::default();
        }
        let avg = self.sum.load(Relaxed) as f64 / count as f64;
        LatencyView { min: self.min.load(Relaxed), max: self.max.load(Relaxed), avg, count }
    }

    fn reset(&self) {
        self.min.store(u64::MAX, Relaxed);
        for value in [&self.max, &self.sum, &self.count] {
            value.store(0, Relaxed);
        }
    }
}

/// Counters of the whole gateway.
#[derive(Debug)]
pub(crate) struct ServerStats {
    received: AtomicU64,
    sent: AtomicU64,
    pub(crate) latency: Latency,
    pub(crate) started: Instant,
    /// Credentials that were refused.
    pub(crate) auth_failed: Counter,
    /// Bytes to clients, events among them.
    written: Counter,
    pub(crate) operations: Operations,
    pub(crate) metrics: Arc<Metrics>,
}

impl Default for ServerStats {
    fn default() -> Self {
        Self {
            received: AtomicU64::default(),
            sent: AtomicU64::default(),
            latency: Latency::default(),
            started: Instant::now(),
            auth_failed: Counter::default(),
            written: Counter::default(),
            operations: Operations::default(),
            metrics: Arc::default(),
        }
    }
}

impl ServerStats {
    pub(super) fn received(&self, count: u64) {
        self.received.fetch_add(count, Relaxed);
    }

    pub(super) fn sent(&self, count: u64) {
        self.sent.fetch_add(count, Relaxed);
    }

    /// The core answered a request. A sync is none of those that need a quorum's votes.
    pub(super) fn answered(&self, op: OpCode, took: Duration) {
        self.sent(1);
        self.latency.add(took);
        match op {
            OpCode::Sync => self.metrics.readlatency.record(took),
            _ => self.metrics.updatelatency.record(took),
        }
    }

    /// A new session began; unless it is a local one, the core was asked for it.
    pub(super) fn began_session(&self, took: Duration, local: bool) {
        self.operations.count(OpCode::CreateSession, 1);
        self.latency.add(took);
        if !local {
            self.metrics.updatelatency.record(took);
        }
    }

    /// Requests were answered at once.
    pub(super) fn answered_at_once(&self, count: u64) {
        self.sent.fetch_add(count, Relaxed);
        self.latency.add_instant(count);
        self.metrics.readlatency.record_instant(count);
    }

    /// Bytes were written to a client, so many of them events.
    pub(super) fn written(&self, bytes: usize, events: usize) {
        self.written.add(bytes as u64);
        if events > 0 {
            self.metrics.watch_bytes.add(events as u64);
        }
    }

    /// Bytes of replies. The part of an event that was written before its end counts as such until then.
    pub(crate) fn response_bytes(&self) -> u64 {
        self.written.get().saturating_sub(self.metrics.watch_bytes.get())
    }

    pub(crate) fn packets(&self) -> (u64, u64) {
        (self.received.load(Relaxed), self.sent.load(Relaxed))
    }

    /// `srst`.
    pub(crate) fn reset(&self) {
        self.received.store(0, Relaxed);
        self.sent.store(0, Relaxed);
        self.latency.reset();
        self.written.reset();
        self.operations.reset();
        self.metrics.reset();
    }
}

/// Counters of one connection.
#[derive(Debug, Default)]
pub(crate) struct ClientStats {
    received: AtomicU64,
    sent: AtomicU64,
    timeout_ms: AtomicI64,
    pub(crate) latency: Latency,
    last: Mutex<Last>,
}

/// What a connection did last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    /// Since when the connection is, ms since 1970.
    pub established_ms: u64,
    /// The last operation answered.
    pub op: Option<OpCode>,
    /// Its xid.
    pub xid: i32,
    /// The zxid of its answer.
    pub zxid: Zxid,
    /// When it was answered.
    pub at: Option<Instant>,
    /// How long that took, ms.
    pub took_ms: u64,
}

impl Default for Last {
    fn default() -> Self {
        let now = wall_clock().as_millis();
        Self {
            established_ms: u64::try_from(now).unwrap_or(u64::MAX),
            op: None,
            xid: -1,
            zxid: Zxid(-1),
            at: None,
            took_ms: 0,
        }
    }
}

impl ClientStats {
    pub(super) fn received(&self, count: u64) {
        self.received.fetch_add(count, Relaxed);
    }

    pub(super) fn sent(&self, count: u64) {
        self.sent.fetch_add(count, Relaxed);
    }

    pub(super) fn answered(&self, took: Duration, (op, xid, zxid): (OpCode, i32, Zxid)) {
        self.sent(1);
        self.latency.add(took);
        let mut last = self.last.lock();
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        *last = Last { op: Some(op), xid, zxid, at: Some(Instant::now()), took_ms, ..*last };
    }

    /// Requests were answered at once, now; `last` is the last of them.
    pub(super) fn answered_at_once(&self, count: u64, (op, xid, zxid): (OpCode, i32, Zxid), now: Instant) {
        self.sent.fetch_add(count, Relaxed);
        self.latency.add_instant(count);
        let mut last = self.last.lock();
        *last = Last { op: Some(op), xid, zxid, at: Some(now), took_ms: 0, ..*last };
    }

    pub(crate) fn packets(&self) -> (u64, u64) {
        (self.received.load(Relaxed), self.sent.load(Relaxed))
    }

    pub(super) fn set_timeout(&self, timeout: Duration) {
        self.timeout_ms.store(i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX), Relaxed);
    }

    /// The session's negotiated timeout.
    pub(crate) fn timeout_ms(&self) -> i64 {
        self.timeout_ms.load(Relaxed)
    }

    /// What was done last.
    pub(crate) fn last(&self) -> Last {
        *self.last.lock()
    }

    /// `crst`.
    pub(crate) fn reset(&self) {
        self.received.store(0, Relaxed);
        self.sent.store(0, Relaxed);
        self.latency.reset();
        let mut last = self.last.lock();
        *last = Last { established_ms: last.established_ms, ..Last::default() };
    }
}
