//! What a client makes of what it is sent, and how it checks that.

use palisade_watch::check::{Change, Seen, Watch};
use palisade_wire::connect::ConnectResponse;
use palisade_wire::reply::{ReplyHeader, WatchEvent};
use palisade_wire::request::xid;
use palisade_wire::{ErrorCode, OpCode, Reader, Stat, frame};

use super::{Asked, Client, Link, MAX_FRAME, Received, Truth, Write};
use crate::oracle::{Check, Violation};
use crate::wires::WireId;

impl Client {
    /// Bytes have come.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        now: u64,
        truth: &mut Truth<'_>,
    ) -> Result<Received, Violation> {
        if self.is_fed_up(now) {
            // It has gone by now.
            return Ok(Received { over: true, ..Received::default() });
        }
        self.heard = now;
        self.inbox.extend_from_slice(bytes);
        let mut received = Received::default();
        let garbled = |e| Violation(format!("a client was sent what it cannot read: {e}"));
        while let Some(frame) = frame::split(&mut self.inbox, MAX_FRAME).map_err(garbled)? {
            if let Link::Opening(wire) = self.link {
                let response = ConnectResponse::decode(&frame)
                    .map_err(|e| Violation(format!("no answer to a connect request: {e}")))?;
                self.welcomed(wire, &response, &mut received, truth)?;
                continue;
            }
            self.told(&frame, &mut received, truth)?;
        }
        Ok(received)
    }

    fn welcomed(
        &mut self,
        wire: WireId,
        response: &ConnectResponse,
        received: &mut Received,
        truth: &mut Truth<'_>,
    ) -> Check {
        if response.session == 0 {
            self.start_over(truth)?;
            received.over = true;
            return Ok(());
        }
        let resumed = self.session == response.session;
        if self.session != 0 && !resumed {
            return Err(Violation(format!(
                "Sessions: {:#x} was asked for, {:#x} was given",
                self.session, response.session
            )));
        }
        self.link = Link::Open(wire);
        (self.session, self.password) = (response.session, response.password);
        self.check_locks(truth)?;
        if resumed {
            self.seen.push(Seen::Connected);
            if self.last_zxid < self.horizon {
                self.seen.extend([Seen::Gap, Seen::Replaced(self.horizon)]);
            }
            if !self.armed.is_empty() {
                received.answer = Some(self.rewatch());
            }
        }
        Ok(())
    }

    /// Whether what it was told that it owns is its own.
    fn check_locks(&self, truth: &Truth<'_>) -> Check {
        match self.was_robbed(truth.history) {
            Some(at) if !self.closing => Err(Violation(format!(
                "Locks: session {:#x} ended at {at}, but its client is told that it is connected",
                self.session
            ))),
            _ => Ok(()),
        }
    }

    /// The session has ended: its application begins anew.
    pub(crate) fn start_over(&mut self, truth: &Truth<'_>) -> Check {
        self.check(truth.history, truth.merging)?;
        let (habits, next_xid) = (self.habits, self.next_xid);
        *self = Self { next_xid, ..Self::new(habits) };
        Ok(())
    }

    fn told(&mut self, frame: &[u8], received: &mut Received, truth: &mut Truth<'_>) -> Check {
        let garbled = |e| Violation(format!("a client was sent what it cannot read: {e}"));
        let mut r = Reader::new(frame);
        let header = ReplyHeader::decode(&mut r).map_err(garbled)?;
        if header.xid == xid::NOTIFICATION {
            let event = WatchEvent::decode(&header, r.rest()).map_err(garbled)?;
            let event = Change::new(event.zxid, event.kind, event.path);
            self.armed.retain(|(watch, path)| !watch.is_used_up_by(path, event.kind, &event.path));
            self.seen.push(Seen::Event(event));
            return Ok(());
        }
        let forgets = header.xid == xid::PING && !self.habits.counts_pings;
        if header.zxid.0 > 0 {
            self.seen.push(if forgets { Seen::Ping(header.zxid) } else { Seen::Reply(header.zxid) });
        }
        if !forgets {
            self.last_zxid = self.last_zxid.max(header.zxid);
        }
        if header.xid == xid::PING {
            self.pings += 1;
            return Ok(());
        }
        let Some((_, asked)) = self.asked.pop_front().filter(|(xid, _)| *xid == header.xid) else {
            return Err(Violation(format!(
                "Order: session {:#x} got an answer to {}, which is not what it asked first",
                self.session, header.xid
            )));
        };
        self.replied(asked, header, r, received, truth)
    }

    fn replied(
        &mut self,
        asked: Asked,
        header: ReplyHeader,
        mut r: Reader<'_>,
        received: &mut Received,
        truth: &mut Truth<'_>,
    ) -> Check {
        let ok = header.err == ErrorCode::OK;
        let unknown = header.err == ErrorCode::CONNECTION_LOSS;
        let stat = ok.then(|| asked.stat(&mut r)).flatten();
        if let (Asked::Data(path, _) | Asked::Exists(path, _) | Asked::Children(path, _), false) =
            (&asked, unknown)
        {
            let expected = truth.history.version(path, header.zxid);
            let found = stat.map(|stat| (stat.mzxid, stat.pzxid));
            if found != expected && path != "/" {
                return Err(Violation(format!(
                    "Reads: session {:#x} saw {path} as {found:?} at {}, history has {expected:?}",
                    self.session, header.zxid
                )));
            }
        }
        let watch = match asked {
            Asked::Data(path, true) if ok => Some((Watch::Data, path)),
            Asked::Exists(path, true) if ok => Some((Watch::Data, path)),
            Asked::Exists(path, true) if header.err == ErrorCode::NO_NODE => Some((Watch::Exist, path)),
            Asked::Children(path, true) if ok => Some((Watch::Child, path)),
            Asked::AddWatch(watch, path) if ok => Some((watch, path)),
            Asked::Sync(floor) if ok && header.zxid < floor => {
                return Err(Violation(format!(
                    "SyncBarrier: a sync behind {floor} ended at {}",
                    header.zxid
                )));
            }
            Asked::Write(..) if unknown => {
                received.lost += 1;
                None
            }
            Asked::Write(Write { number, op, ephemeral }) => {
                received.answered += 1;
                // A failed multi is a success with a list of errors.
                let failed = !ok || (op == OpCode::Multi.as_i32() && r.i32("first part") == Ok(-1));
                truth.effects.told(self.session, number, header.zxid, failed)?;
                if ephemeral && ok {
                    self.owned.insert(header.zxid);
                }
                self.check_locks(truth)?;
                None
            }
            Asked::Close => {
                self.start_over(truth)?;
                received.over = true;
                None
            }
            _ => None,
        };
        if let Some((watch, path)) = watch {
            self.seen.push(Seen::Watching(watch, path.clone()));
            self.armed.push((watch, path));
        }
        Ok(())
    }
}

impl Asked {
    /// The stat in the reply.
    fn stat(&self, r: &mut Reader<'_>) -> Option<Stat> {
        match self {
            Self::Data(..) => {
                r.opt_buffer("data").ok()?;
            }
            Self::Children(..) => {
                r.vec("children", |r| r.string("child")).ok()?;
            }
            Self::Exists(..) => {}
            _ => return None,
        }
        Stat::decode(r).ok()
    }
}
