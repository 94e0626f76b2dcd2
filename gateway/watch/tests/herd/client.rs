//! A client: what it asks for, and what it sees.

use std::collections::VecDeque;

use bytes::BytesMut;
use palisade_watch::check::{Change, Seen, Violation, Watch, check};
use palisade_wire::reply::{ReplyHeader, WatchEvent};
use palisade_wire::{Reader, Zxid, frame};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::gateway::Gateway;
use super::tree::PATHS;

#[derive(Default)]
pub(crate) struct Client {
    connection: Option<usize>,
    received: BytesMut,
    /// What the outstanding requests register.
    asked: VecDeque<Option<(Watch, String)>>,
    armed: Vec<(Watch, String)>,
    last_zxid: Zxid,
    seen: Vec<Seen>,
    /// Whether the gateway could not remember what persistent watches missed: as in Apache's, they are not told.
    gap: bool,
}

impl Client {
    /// Connects if it is not connected, and sets its watches again.
    pub(crate) fn connect(&mut self, gateway: &mut Gateway) {
        if self.connection.is_some() {
            return;
        }
        let at = gateway.connect();
        self.connection = Some(at);
        if !self.seen.is_empty() {
            self.seen.push(Seen::Connected);
        }
        if !self.armed.is_empty() {
            let lasting =
                self.armed.iter().any(|(watch, _)| matches!(watch, Watch::Persistent | Watch::Recursive));
            let complete = gateway.set_watches(at, 0, self.last_zxid, &self.armed);
            self.gap |= lasting && !complete;
            self.asked.push_back(None);
        }
    }

    pub(crate) fn disconnect(&mut self, gateway: &mut Gateway) {
        if let Some(at) = self.connection.take() {
            gateway.disconnect(at);
            self.received.clear();
            self.asked.clear();
        }
    }

    pub(crate) fn is_held_back(&self, gateway: &Gateway) -> bool {
        self.connection.is_some_and(|at| gateway.is_holding(at))
    }

    pub(crate) fn ping(&mut self, gateway: &mut Gateway) {
        if let Some(at) = self.connection {
            gateway.ping(at);
        }
    }

    pub(crate) fn ask(&mut self, gateway: &mut Gateway, random: &mut ChaCha8Rng) {
        let Some(at) = self.connection else { return };
        let path = PATHS[random.random_range(0..PATHS.len())];
        let watch = match random.random_range(0..8) {
            0 | 1 if gateway.exists(path) => Some(Watch::Data),
            0 | 1 => Some(Watch::Exist),
            2 | 3 if gateway.exists(path) => Some(Watch::Child),
            4 => Some(Watch::Persistent),
            5 => Some(Watch::Recursive),
            6 => return self.ping(gateway),
            _ => None,
        };
        // No watch while an event may be on its way that would use an earlier one up.
        let watch = watch.filter(|watch| !self.asks_for(*watch, path));
        gateway.read(at, 1, watch.map(|watch| (watch, path)));
        self.asked.push_back(watch.map(|watch| (watch, path.to_owned())));
    }

    fn asks_for(&self, watch: Watch, path: &str) -> bool {
        let same = |(other, at): &(Watch, String)| *other == watch && at == path;
        self.asked.iter().flatten().any(same) || self.armed.iter().any(same)
    }

    pub(crate) fn receive(&mut self, gateway: &mut Gateway, count: usize) {
        let Some(at) = self.connection else { return };
        let mut left = count;
        while left > 0 {
            let Some(bytes) = gateway.take(at, left) else { return self.disconnect(gateway) };
            if bytes.is_empty() {
                break;
            }
            left -= bytes.len();
            self.received.extend_from_slice(&bytes);
        }
        while let Some(frame) = frame::split(&mut self.received, 1 << 20).expect("frames are whole") {
            let mut r = Reader::new(&frame);
            let header = ReplyHeader::decode(&mut r).expect("a header");
            match header.xid {
                -1 => {
                    let event = WatchEvent::decode(&header, r.rest()).expect("an event");
                    self.event(Change::new(event.zxid, event.kind, event.path));
                }
                xid => self.reply(xid, header.zxid),
            }
        }
    }

    fn event(&mut self, event: Change) {
        self.armed.retain(|(watch, path)| !watch.is_used_up_by(path, event.kind, &event.path));
        self.seen.push(Seen::Event(event));
    }

    fn reply(&mut self, xid: i32, zxid: Zxid) {
        self.seen.push(Seen::Reply(zxid));
        if xid == -2 {
            return;
        }
        self.last_zxid = zxid;
        if let Some((watch, path)) = self.asked.pop_front().flatten() {
            self.seen.push(Seen::Watching(watch, path.clone()));
            self.armed.push((watch, path));
        }
    }

    pub(crate) fn check(&self, gateway: &Gateway, merge: bool) -> Result<(), String> {
        if self.gap {
            return Ok(());
        }
        check(&gateway.history, &self.seen, merge)
            .map_err(|violation: Violation| format!("{violation:?}\n{:#?}", self.seen))
    }
}
