//! When held events leave: in waves, at the tenant's rate, and each session's within its time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::kinds::Slot;

/// Time between two waves. What else a processor has to do waits for a part of one wave at most, so they are small.
pub const WAVE: Duration = Duration::from_millis(5);
/// Time that one wave may make up for if nobody looked in between.
const LATE: Duration = Duration::from_millis(20);
/// Sessions whose times are up within this are in one queue.
const QUEUE: Duration = Duration::from_millis(20);
/// How long after its wave a client's read counts as one that the event caused.
const REREAD: Duration = Duration::from_secs(1);
/// One session's events, in the unit of the allowance.
const ONE: u64 = 1_000_000;
/// Events that the estimate of re-reads is about, roughly.
const MEMORY: u64 = 4_096;
/// As many are taken to have caused one read each before anything is known: what clients really do must show soon.
const GUESS: u64 = 16;

/// What the operator chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// A change with more watchers than this is told in waves.
    pub above: usize,
    /// Sessions that are told per second; 0 for no pacing at all.
    pub rate: u64,
    /// How long an event may be held.
    pub window: Duration,
    /// Reads per second that events may cause; 0 for no limit. Sessions are told more slowly if they read more.
    pub reread_rate: u64,
    /// Whether held events that tell a persistent watcher of changed data may be replaced by newer ones.
    pub merge: bool,
}

impl Pacing {
    /// Whether a change with so many watchers is told in waves.
    pub const fn applies_to(&self, watchers: usize) -> bool {
        self.rate > 0 && watchers > self.above
    }

    /// Held events may be merged if more than this hear them lastingly: what is not held is told as it happens.
    pub const fn merge_above(&self) -> Option<usize> {
        if self.merge && self.rate > 0 { Some(self.above) } else { None }
    }

    /// How long the events of a session with this timeout may be held.
    pub fn hold(&self, timeout: Duration) -> Duration {
        self.window.min(timeout / 6)
    }
}

impl Default for Pacing {
    fn default() -> Self {
        Self { above: 64, rate: 10_000, window: Duration::from_secs(2), reread_rate: 10_000, merge: false }
    }
}

/// A wave; 0 for none.
pub type WaveId = u32;

#[derive(Debug)]
struct Cohort {
    id: WaveId,
    at: Duration,
    told: u64,
    caused: Caused,
}

/// Events that were told, and the reads that these caused.
#[derive(Clone, Copy, Debug)]
struct Caused {
    events: u64,
    reads: u64,
}

impl Caused {
    const fn and(self, other: Self) -> Self {
        Self { events: self.events + other.events, reads: self.reads + other.reads }
    }

    /// Events that may be told a second so that they cause no more than so many reads.
    fn events_for(self, reads: u64) -> u64 {
        reads.saturating_mul(self.events) / self.reads.max(1)
    }
}

/// What must leave for the sake of time.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    /// Sessions whose time ends with this wave.
    at_once: u64,
    /// Sessions that should leave since the last wave, in millionths.
    by_now: u64,
}

/// Which sessions' events leave next. Times count from any fixed moment.
#[derive(Debug)]
pub struct Pacer {
    pacing: Pacing,
    /// Sessions that hold events, by when they must leave.
    waiting: BTreeMap<Duration, VecDeque<Slot>>,
    /// When the last wave left.
    last: Option<Duration>,
    /// Unused part of the rate, in millionths.
    allowance: u64,
    /// Part of the rate that was used in advance, in millionths.
    debt: u64,
    /// Of those in `waiting`, sessions that were told before their wave: they leave it when their turn comes.
    early: u64,
    cohorts: VecDeque<Cohort>,
    next_id: WaveId,
    /// What is known of events that all have had their time for; the eldest count less and less.
    caused: Caused,
}

impl Pacer {
    /// With nobody waiting. Until it knows better it takes it that each event causes one read.
    pub const fn new(pacing: Pacing) -> Self {
        Self {
            pacing,
            waiting: BTreeMap::new(),
            last: None,
            allowance: 0,
            debt: 0,
            early: 0,
            cohorts: VecDeque::new(),
            next_id: 1,
            caused: Caused { events: GUESS, reads: GUESS },
        }
    }

    /// What the operator chose.
    pub const fn pacing(&self) -> &Pacing {
        &self.pacing
    }

    /// From now on it is this. Events that are held keep their time; without a rate they leave with the next wave.
    pub const fn set_pacing(&mut self, pacing: Pacing) {
        self.pacing = pacing;
    }

    /// The session of this connection holds its first event.
    pub fn hold(&mut self, slot: Slot, timeout: Duration, now: Duration) {
        if self.waiting.is_empty() {
            // Time in which nobody waited gives nobody more of the rate.
            self.last = self.last.map(|last| last.max(now.saturating_sub(WAVE)));
        }
        let by = now + self.pacing.hold(timeout);
        let by = Duration::from_millis((by.as_millis() / QUEUE.as_millis() * QUEUE.as_millis()) as u64);
        self.waiting.entry(by).or_default().push_back(slot);
    }

    /// Connections that wait, those that ended meanwhile included.
    pub fn waiting(&self) -> u64 {
        self.places() - self.early
    }

    /// The same, and those that were told early.
    fn places(&self) -> u64 {
        self.waiting.values().map(|slots| slots.len() as u64).sum()
    }

    /// When [`Self::poll`] has something to do.
    pub fn next(&self) -> Option<Duration> {
        (!self.waiting.is_empty()).then(|| self.last.map_or(Duration::ZERO, |last| last + WAVE))
    }

    /// So many sessions were told before their wave, as another frame took their events along: the next waves are the
    /// smaller for it, as far as those that wait have the time.
    pub fn told_early(&mut self, sessions: u64) {
        self.debt = self.debt.saturating_add(sessions.saturating_mul(ONE));
        self.early = self.early.saturating_add(sessions).min(self.places());
    }

    /// Lets a wave go if it is time. `release` lets a connection's held events go and says how many there were; they may
    /// have left already, before another frame or with the connection.
    pub fn poll(&mut self, now: Duration, mut release: impl FnMut(Slot, WaveId) -> usize) {
        if self.next().is_none_or(|next| now < next) {
            return;
        }
        let elapsed = self.last.map_or(WAVE, |last| (now - last).min(LATE));
        self.learn(now);
        let rate = self.rate();
        let Due { at_once, by_now } = self.due(rate, now, elapsed);
        self.allow(rate, elapsed, by_now);
        let id = self.next_id;
        let (mut told, mut events) = (0, 0);
        let mut size = (self.allowance / ONE).max(at_once);
        while size > 0
            && let Some(mut first) = self.waiting.first_entry()
        {
            let slot = first.get_mut().pop_front();
            if first.get().is_empty() {
                first.remove();
            }
            let released = slot.map_or(0, |slot| release(slot, id));
            if released > 0 {
                size -= 1;
                told += 1;
                events += released as u64;
            } else {
                self.early = self.early.saturating_sub(1);
            }
        }
        self.early = self.early.min(self.places());
        self.allowance = self.allowance.saturating_sub(told * ONE);
        self.last = Some(now);
        if told > 0 {
            self.cohorts.push_back(Cohort { id, at: now, told, caused: Caused { events, reads: 0 } });
            self.next_id = self.next_id.wrapping_add(1).max(1);
        }
    }

    /// Sessions per second, as the operator chose and as their reads allow.
    fn rate(&self) -> u64 {
        match (self.pacing.rate, self.pacing.reread_rate) {
            (0, _) => u64::MAX / ONE / 1_000,
            (rate, 0) => rate,
            (rate, reads) => rate.min(self.rate_for(reads).max(1)),
        }
    }

    /// Sessions per second that cause no more than so many reads. What the readers of the last waves have not done yet is
    /// no sign that they will not, but what they have done is one; and how many events each is told now, the waves show.
    fn rate_for(&self, reads: u64) -> u64 {
        let recent = |sum: Caused, cohort: &Cohort| sum.and(cohort.caused);
        let recent = self.cohorts.iter().fold(Caused { events: 0, reads: 0 }, recent);
        let told: u64 = self.cohorts.iter().map(|cohort| cohort.told).sum();
        let events = self.caused.events_for(reads).min(self.caused.and(recent).events_for(reads));
        if told == 0 { events } else { events.saturating_mul(told) / recent.events.max(1) }
    }

    /// Allows what `rate` yields in this time, less what was used in advance; and never less than `due`, in millionths.
    /// What is left from before is kept only as far as it is a part of a session.
    fn allow(&mut self, rate: u64, elapsed: Duration, due: u64) {
        let fresh = rate.saturating_mul(elapsed.as_micros() as u64);
        // Not more than a second's: what is long past hurts nobody now.
        self.debt = self.debt.min(rate.saturating_mul(ONE));
        let paid = self.debt.min(fresh);
        self.debt -= paid;
        self.allowance = self.allowance.min(ONE - 1).saturating_add((fresh - paid).max(due));
    }

    /// What those that wait need so that they leave evenly until their time is up, if this rate is too low for that.
    fn due(&self, rate: u64, now: Duration, elapsed: Duration) -> Due {
        let (places, mut count) = (self.places(), 0);
        let mut due = Due::default();
        for (by, slots) in &self.waiting {
            count += slots.len() as u64;
            let left = by.saturating_sub(now);
            if left < WAVE {
                due.at_once = count;
                continue;
            }
            // Nobody knows which of them were told early: they are taken to be everywhere.
            let waiting = count - count * self.early / places;
            let left = left.as_micros() as u64;
            if waiting * ONE > rate.saturating_mul(left) {
                due.by_now = due.by_now.max(waiting * ONE * elapsed.as_micros() as u64 / left);
            }
        }
        due
    }

    /// A client read after it was told with this wave. Whether that was recent enough to count.
    pub fn reread(&mut self, wave: WaveId, now: Duration) -> bool {
        let cohort = self.cohorts.iter_mut().rev().find(|cohort| cohort.id == wave);
        // After the last wave, nobody learns of those that are long past.
        cohort.filter(|cohort| now < cohort.at + REREAD).is_some_and(|cohort| {
            cohort.caused.reads += 1;
            true
        })
    }

    /// Draws conclusions from waves whose readers have come back.
    fn learn(&mut self, now: Duration) {
        while let Some(cohort) = self.cohorts.pop_front_if(|cohort| cohort.at + REREAD <= now) {
            self.caused = self.caused.and(cohort.caused);
            if self.caused.events > MEMORY {
                let Caused { events, reads } = self.caused;
                self.caused = Caused { events: events / 2, reads: reads / 2 };
            }
        }
    }
}

#[cfg(test)]
#[path = "pacer_tests.rs"]
mod tests;
