use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use palisade_wire::OpCode;
use palisade_wire::quorum::{ForwardedRequest, QuorumPacket};
use palisade_wire::txn::{Txn, TxnRecord};
use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::core_link::{Answer, Requester};
use crate::link::queue::Message;
use crate::link::testing::header;

const SESSIONS: usize = 3;

/// Clients, one session each, that send writes numbered 1, 2, 3 … and close when they lose one.
#[derive(Debug, Default)]
struct Clients {
    sent: [i32; SESSIONS],
    /// By session and number: whether it was answered, and how.
    answers: Vec<(usize, i32, bool)>,
    closed: [bool; SESSIONS],
}

const fn tag(session: usize, cxid: i32) -> u64 {
    (session as u64) << 32 | cxid as u64
}

struct Edge(Mutex<Clients>);

impl Requester for Edge {
    fn answered(&self, tag: u64, answer: Answer<'_>) {
        let (session, cxid) = ((tag >> 32) as usize, tag as i32);
        let mut clients = self.0.lock();
        let done = !matches!(answer, Answer::Lost);
        clients.closed[session] |= !done;
        clients.answers.push((session, cxid, done));
    }

    fn is_waiting(&self, tag: u64) -> bool {
        !self.0.lock().closed[(tag >> 32) as usize]
    }
}

/// A write, by session and number.
type Write = (usize, i32);

/// A gateway's requests before a core that keeps what Zab promises, and nothing more.
struct World {
    edge: Arc<Edge>,
    requests: Requests,
    connected: bool,
    epoch: u32,
    /// Read by the leader, from connections of this epoch.
    inbox: VecDeque<Write>,
    proposed: VecDeque<Write>,
    committed: Vec<Write>,
    /// How much of that the gateway has.
    seen: usize,
    /// Whether something happened behind which a write may be lost.
    excuse: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Write(usize),
    Close(usize),
    Send,
    Propose(usize),
    Commit(usize),
    Deliver,
    /// The link breaks and the leader goes on.
    Break,
    /// The leader is replaced: so many of its proposals survive.
    Elect(usize),
    /// The gateway is synchronised, with transactions or with a tree.
    Join {
        tree: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..SESSIONS).prop_map(Step::Write),
        1 => (0..SESSIONS).prop_map(Step::Close),
        5 => Just(Step::Send),
        4 => (1..4usize).prop_map(Step::Propose),
        3 => (1..4usize).prop_map(Step::Commit),
        3 => Just(Step::Deliver),
        1 => Just(Step::Break),
        2 => (0..4usize).prop_map(Step::Elect),
        4 => prop::bool::weighted(0.1).prop_map(|tree| Step::Join { tree }),
    ]
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            edge: Arc::new(Edge(Mutex::default())),
            requests: Requests::default(),
            connected: false,
            epoch: 1,
            inbox: VecDeque::new(),
            proposed: VecDeque::new(),
            committed: Vec::new(),
            seen: 0,
            excuse: false,
        };
        world.step(Step::Join { tree: false });
        world
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write(session) => self.write(session),
            Step::Close(session) => self.edge.0.lock().closed[session] = true,
            Step::Send => self.send(),
            Step::Propose(count) => {
                let count = count.min(self.inbox.len());
                self.proposed.extend(self.inbox.drain(..count));
            }
            Step::Commit(count) => {
                let count = count.min(self.proposed.len());
                self.committed.extend(self.proposed.drain(..count));
            }
            Step::Deliver => self.deliver(),
            Step::Break => self.disconnect(),
            Step::Elect(survive) => {
                self.disconnect();
                let survive = survive.min(self.proposed.len());
                self.committed.extend(self.proposed.drain(..survive));
                self.proposed.clear();
                self.inbox.clear();
                self.epoch += 1;
            }
            Step::Join { tree } => self.join(tree),
        }
    }

    fn write(&mut self, session: usize) {
        let mut clients = self.edge.0.lock();
        if !self.connected || clients.closed[session] {
            return;
        }
        clients.sent[session] += 1;
        let cxid = clients.sent[session];
        let op = OpCode::Delete.as_i32();
        let request = ForwardedRequest { session: session as i64, cxid, op, body: Default::default() };
        let message = Message::Request(request, Arc::default());
        let expect = Expect::Txn { session: session as i64, cxid, op };
        let ticket = Ticket::new(Arc::clone(&self.edge) as _, tag(session, cxid));
        self.requests.ready().push_back(Outgoing { message, expect, ticket, again: false });
    }

    fn send(&mut self) {
        let mut out = BytesMut::new();
        if self.connected {
            self.requests.send(&mut out, 200, 0);
        }
        while let Some(packet) = QuorumPacket::split(&mut out, 1 << 20).unwrap() {
            let request = ForwardedRequest::decode(packet.data.as_ref().unwrap()).unwrap();
            self.inbox.push_back((request.session as usize, request.cxid));
        }
    }

    fn deliver(&mut self) {
        if !self.connected {
            return;
        }
        self.show();
    }

    fn show(&mut self) {
        for at in self.seen..self.committed.len() {
            let (session, cxid) = self.committed[at];
            let header = header(session as i64, cxid, at as i64 + 1);
            let record = TxnRecord { header, txn: Txn::Delete("/a".to_owned()), digest: None };
            if let Some(ticket) = self.requests.applied(&record) {
                ticket.answer(Answer::Synced { zxid: record.header.zxid });
            }
        }
        self.seen = self.committed.len();
    }

    fn disconnect(&mut self) {
        if self.connected {
            self.requests.broken(VecDeque::new());
            self.connected = false;
        }
    }

    fn join(&mut self, tree: bool) {
        if self.connected {
            return;
        }
        if tree {
            self.requests.replaced();
            self.seen = self.committed.len();
            self.excuse = true;
        } else {
            self.show();
        }
        let resolved = self.requests.synchronised(self.epoch);
        self.excuse |= resolved.lost > 0;
        self.connected = true;
    }

    /// The faults end: everything that can come to an end does.
    fn finish(&mut self) {
        self.step(Step::Elect(usize::MAX));
        self.join(false);
        while !self.requests.ready().is_empty() {
            self.send();
        }
        self.step(Step::Propose(usize::MAX));
        self.step(Step::Commit(usize::MAX));
        self.deliver();
    }

    fn check(&self) {
        let clients = self.edge.0.lock();
        for session in 0..SESSIONS {
            let effects: Vec<i32> =
                self.committed.iter().filter(|(s, _)| *s == session).map(|(_, cxid)| *cxid).collect();
            assert!(effects.is_sorted_by(|a, b| a < b), "session {session} took effect as {effects:?}");
            let mut answered = Vec::new();
            for (_, cxid, done) in clients.answers.iter().filter(|(s, ..)| *s == session) {
                assert!(!done || effects.contains(cxid), "{cxid} of session {session} is told as done");
                answered.push(*cxid);
            }
            answered.sort_unstable();
            let all: Vec<i32> = (1..=clients.sent[session]).collect();
            assert_eq!(answered, all, "session {session}: each is answered once");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_write_takes_effect_at_most_once_in_order_and_is_answered_once(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.finish();
        world.check();
    }

    #[test]
    fn with_elections_only_no_client_that_stays_loses_a_write(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Break | Step::Close(_) | Step::Join { tree: true } => {}
                step => world.step(step),
            }
        }
        world.finish();
        world.check();
        prop_assert!(!world.excuse);
        prop_assert!(world.edge.0.lock().answers.iter().all(|(.., done)| *done));
    }
}

#[test]
fn a_second_election_while_the_first_is_dealt_with_changes_nothing() {
    let mut world = World::new();
    for step in [
        Step::Write(0),
        Step::Write(1),
        Step::Send,
        Step::Propose(1),
        Step::Elect(1),
        Step::Join { tree: false },
        // Write 1 of session 1 is known to be without effect, and not yet sent again.
        Step::Elect(0),
        Step::Join { tree: false },
        Step::Send,
        Step::Elect(0),
    ] {
        world.step(step);
    }
    world.finish();
    world.check();
    assert_eq!(world.committed, [(0, 1), (1, 1)]);
}
