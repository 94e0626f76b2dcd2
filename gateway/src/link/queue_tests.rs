use std::sync::atomic::AtomicBool;

use super::*;
use crate::core_link::Answer;
use crate::link::testing::Edge;

const LIMITS: Limits = Limits { requests: 2, bytes: 200, window: 2, window_bytes: 200 };

fn request(cxid: i32, op: OpCode, len: usize) -> ForwardedRequest {
    ForwardedRequest { session: 5, cxid, op: op.as_i32(), body: vec![0; len].into() }
}

#[test]
fn a_closed_queue_refuses_without_answering() {
    let (edge, queue) = (Edge::new(), Arc::new(Queue::new(LIMITS)));
    let refused =
        queue.forward(request(1, OpCode::Delete, 8), Arc::default(), edge.ticket(1), &mut Place::default());
    assert_eq!(refused, Err(Refused::NotConnected));
    queue.open();
    assert_eq!(
        queue.forward(request(1, OpCode::Delete, 8), Arc::default(), edge.ticket(1), &mut Place::default()),
        Ok(())
    );
    let unsent = queue.close();
    assert_eq!((unsent.len(), queue.in_flight()), (1, 1));
    assert_eq!(edge.take(), [""; 0]);
    drop(unsent);
    assert_eq!(edge.take(), ["answer 1: lost"]);
    assert_eq!(queue.sync((5, 2), "/", edge.ticket(2), &mut Place::default()), Err(Refused::NotConnected));
}

#[test]
fn what_would_poison_an_apache_leader_is_not_forwarded() {
    let (edge, queue) = (Edge::new(), Arc::new(Queue::new(LIMITS)));
    queue.open();
    for op in [OpCode::Check, OpCode::GetData, OpCode::DeleteContainer] {
        let refused = queue.forward(request(1, op, 8), Arc::default(), edge.ticket(1), &mut Place::default());
        assert_eq!(refused, Err(Refused::NotForwarded(op.as_i32())));
    }
    assert_eq!(edge.take(), [""; 0]);
}

#[test]
fn both_limits_hold_until_answers_came() {
    let (edge, queue) = (Edge::new(), Arc::new(Queue::new(LIMITS)));
    queue.open();
    let mut taken = VecDeque::new();
    assert_eq!(
        queue.forward(request(1, OpCode::Delete, 100), Arc::default(), edge.ticket(1), &mut Place::default()),
        Ok(())
    );
    let refused =
        queue.forward(request(2, OpCode::Delete, 100), Arc::default(), edge.ticket(2), &mut Place::default());
    assert_eq!(refused, Err(Refused::Busy("limits.in_flight_bytes")));
    assert_eq!(queue.sync((5, 3), "/", edge.ticket(3), &mut Place::default()), Ok(()));
    queue.take(&mut taken);
    assert_eq!(
        queue.revalidate(5, 4_000, edge.ticket(4), &mut Place::default()),
        Err(Refused::Busy("limits.in_flight"))
    );
    let first = taken.pop_front().unwrap();
    let mut out = BytesMut::new();
    first.message.encode(&mut out);
    let packet = QuorumPacket::split(&mut out, 1 << 20).unwrap().unwrap();
    assert_eq!(packet.auth, Some(Vec::new()), "null would make an Apache leader refuse the write");
    queue.settle(1, first.cost());
    assert_eq!(queue.in_flight(), 1);
    assert_eq!(
        queue.forward(request(2, OpCode::Delete, 100), Arc::default(), edge.ticket(2), &mut Place::default()),
        Ok(())
    );
}

fn forward(queue: &Arc<Queue>, edge: &Arc<Edge>, session: SessionId, tag: u64) -> bool {
    let request =
        ForwardedRequest { session, cxid: 1, op: OpCode::SetData.as_i32(), body: vec![0; 8].into() };
    queue.forward(request, Arc::default(), edge.ticket(tag), &mut Place::default()).is_ok()
}

fn sessions(taken: &VecDeque<Outgoing>) -> Vec<SessionId> {
    let session = |outgoing: &Outgoing| match outgoing.expect {
        Expect::Txn { session, .. } | Expect::Revalidation(session) => session,
        Expect::Sync => 0,
    };
    taken.iter().map(session).collect()
}

#[test]
fn beyond_the_window_sessions_take_turns_and_none_fills_the_queue() {
    let limits = Limits { requests: 1_000, bytes: 1 << 20, window: 100, window_bytes: 1 << 20 };
    let (edge, queue) = (Edge::new(), Arc::new(Queue::new(limits)));
    queue.open();
    let greedy = (0..2_000).filter(|tag| forward(&queue, &edge, 1, *tag)).count();
    assert_eq!(greedy, 550, "the window, and as much behind it as it leaves to others");
    for session in 2..=5 {
        assert!(forward(&queue, &edge, session, 5_000), "{session}");
    }
    let mut taken = VecDeque::new();
    queue.take(&mut taken);
    assert_eq!((sessions(&taken), queue.backlog()), (vec![1; 100], greedy - 100 + 4));
    let sent: Vec<_> = taken.drain(..).collect();
    queue.settle(sent.len(), sent.iter().map(Outgoing::cost).sum());
    queue.take(&mut taken);
    let next = sessions(&taken);
    assert!((2..=5).all(|session| next[..40].contains(&session)), "{next:?}");
    assert_eq!(queue.close().len(), greedy + 4 - 200);
}

#[test]
fn the_window_is_one_of_bytes_too_and_takes_at_least_one() {
    let limits = Limits { requests: 100, bytes: 1 << 20, window: 10, window_bytes: 20 };
    let (edge, queue) = (Edge::new(), Arc::new(Queue::new(limits)));
    queue.open();
    for tag in 0..5 {
        assert!(forward(&queue, &edge, 1, tag));
    }
    let mut taken = VecDeque::new();
    for _ in 0..5 {
        queue.take(&mut taken);
        assert_eq!(taken.len(), 1);
        let cost = taken.pop_front().map_or(0, |outgoing| outgoing.cost());
        queue.settle(1, cost);
    }
    queue.take(&mut taken);
    assert!(taken.is_empty() && queue.in_flight() == 0);
}

#[test]
fn what_lets_go_is_taken_beyond_the_limit() {
    let limits = Limits { requests: 16, bytes: 1 << 20, window: 1, window_bytes: 1 << 20 };
    let (edge, queue) = (Edge::new(), Arc::new(Queue::new(limits)));
    queue.open();
    assert!((0..16).all(|session| forward(&queue, &edge, session, 0)));
    assert!(!forward(&queue, &edge, 100, 0));
    let delete = |session| {
        let request = ForwardedRequest { session, ..request(1, OpCode::Delete, 8) };
        queue.forward(request, Arc::default(), edge.ticket(0), &mut Place::default()).is_ok()
    };
    assert_eq!((100..110).filter(|session| delete(*session)).count(), 2);
}

/// Somebody who may have to wait.
#[derive(Default)]
struct Waits {
    told: AtomicBool,
    place: Mutex<Place>,
}

impl Requester for Waits {
    fn answered(&self, _tag: u64, _answer: Answer<'_>) {}

    fn is_waiting(&self, _tag: u64) -> bool {
        true
    }

    fn has_turn(&self) {
        self.told.store(true, Ordering::Relaxed);
    }
}

impl Waits {
    fn ask(self: &Arc<Self>, queue: &Arc<Queue>, session: SessionId, op: OpCode, len: usize) -> bool {
        let ticket = Ticket::new(Arc::clone(self) as _, 0);
        let request = ForwardedRequest { session, ..request(1, op, len) };
        queue.forward(request, Arc::default(), ticket, &mut self.place.lock()).is_ok()
    }

    fn is_told(&self) -> bool {
        self.told.swap(false, Ordering::Relaxed)
    }
}

/// A queue without room, and many who wait for some.
fn full(limits: Limits, op: OpCode) -> (Arc<Queue>, VecDeque<Outgoing>, Vec<Arc<Waits>>) {
    let queue = Arc::new(Queue::new(limits));
    queue.open();
    let first = Arc::new(Waits::default());
    let room = if op == OpCode::Delete { limits.requests * 9 / 8 } else { limits.requests };
    assert!((0..room).all(|session| first.ask(&queue, session as i64, op, 8)));
    let mut taken = VecDeque::new();
    queue.take(&mut taken);
    let waiting: Vec<_> = (0..10).map(|_| Arc::new(Waits::default())).collect();
    assert!((100..).zip(&waiting).all(|(session, who)| !who.ask(&queue, session, op, 8)));
    (queue, taken, waiting)
}

const MANY: Limits = Limits { requests: 8, bytes: 1_000, window: 100, window_bytes: 1_000 };

#[test]
fn whoever_waits_for_room_is_told_in_his_turn_and_nobody_takes_it_from_him() {
    for op in [OpCode::SetData, OpCode::Delete] {
        let (queue, mut taken, waiting) = full(MANY, op);
        let told = || -> Vec<_> {
            waiting.iter().enumerate().filter_map(|(at, who)| who.is_told().then_some(at)).collect()
        };
        let mut settle = |count: usize| {
            let answered: Vec<_> = taken.drain(..count).collect();
            queue.settle(count, answered.iter().map(Outgoing::cost).sum());
        };
        assert_eq!(told(), [0; 0]);
        settle(2);
        assert_eq!(told(), [0, 1]);
        let newcomer = Arc::new(Waits::default());
        assert!(!newcomer.ask(&queue, 200, op, 8), "the room is kept for others");
        assert!(!waiting[2].ask(&queue, 102, op, 8));
        assert!(waiting[1].ask(&queue, 101, op, 8) && waiting[0].ask(&queue, 100, op, 8));
        assert!(waiting[0].place.lock().is_none());
        // Whoever goes leaves his turn to the next.
        settle(1);
        assert_eq!(told(), [2]);
        *waiting[2].place.lock() = Place::default();
        assert_eq!(told(), [3]);
        *waiting[5].place.lock() = Place::default();
        settle(2);
        assert_eq!(told(), [4, 6]);
        // Without a link nobody has to wait here any more.
        drop(queue.close());
        assert_eq!(told(), [3, 4, 6, 7, 8, 9]);
        assert!(!waiting[7].ask(&queue, 107, op, 8) && waiting[7].place.lock().is_none());
        drop(waiting[8].place.lock());
        queue.open();
        settle(2);
        assert_eq!(told(), [0; 0]);
        assert!(newcomer.ask(&queue, 200, op, 8));
    }
}

#[test]
fn a_large_request_is_not_passed_by_small_ones_and_one_beyond_the_limit_goes_alone() {
    let (queue, mut taken, waiting) = full(MANY, OpCode::SetData);
    waiting.iter().for_each(|who| *who.place.lock() = Place::default());
    let (large, small) = (Arc::new(Waits::default()), Arc::new(Waits::default()));
    assert!(!large.ask(&queue, 1, OpCode::SetData, 2_000) && !small.ask(&queue, 2, OpCode::SetData, 8));
    while let Some(answered) = taken.pop_front() {
        assert!(!large.is_told() && !small.is_told());
        queue.settle(1, answered.cost());
    }
    assert!(large.is_told() && !small.is_told());
    assert!(large.ask(&queue, 1, OpCode::SetData, 2_000));
    queue.take(&mut taken);
    queue.settle(1, taken[0].cost());
    assert!(small.is_told() && small.ask(&queue, 2, OpCode::SetData, 8));
}

#[test]
fn a_session_that_waits_for_its_own_requests_keeps_nobody_waiting() {
    let limits = Limits { requests: 8, bytes: 1_000, window: 2, window_bytes: 1_000 };
    let queue = Arc::new(Queue::new(limits));
    queue.open();
    let (greedy, modest) = (Arc::new(Waits::default()), Arc::new(Waits::default()));
    assert_eq!((0..8).filter(|_| greedy.ask(&queue, 1, OpCode::SetData, 8)).count(), 5);
    assert!(greedy.place.lock().is_behind_itself());
    assert!(modest.ask(&queue, 2, OpCode::SetData, 8));
}
