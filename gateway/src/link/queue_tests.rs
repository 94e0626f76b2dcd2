use super::*;
use crate::link::testing::Edge;

const LIMITS: Limits = Limits { requests: 2, bytes: 200, window: 2, window_bytes: 200 };

fn request(cxid: i32, op: OpCode, len: usize) -> ForwardedRequest {
    ForwardedRequest { session: 5, cxid, op: op.as_i32(), body: vec![0; len].into() }
}

#[test]
fn a_closed_queue_refuses_without_answering() {
    let (edge, queue) = (Edge::new(), Queue::new(LIMITS));
    let refused = queue.forward(request(1, OpCode::Delete, 8), Vec::new(), edge.ticket(1));
    assert_eq!(refused, Err(Refused::NotConnected));
    queue.open();
    assert_eq!(queue.forward(request(1, OpCode::Delete, 8), Vec::new(), edge.ticket(1)), Ok(()));
    let unsent = queue.close();
    assert_eq!((unsent.len(), queue.in_flight()), (1, 1));
    assert_eq!(edge.take(), [""; 0]);
    drop(unsent);
    assert_eq!(edge.take(), ["answer 1: lost"]);
    assert_eq!(queue.sync(5, 2, "/", edge.ticket(2)), Err(Refused::NotConnected));
}

#[test]
fn what_would_poison_an_apache_leader_is_not_forwarded() {
    let (edge, queue) = (Edge::new(), Queue::new(LIMITS));
    queue.open();
    for op in [OpCode::Check, OpCode::GetData, OpCode::DeleteContainer] {
        let refused = queue.forward(request(1, op, 8), Vec::new(), edge.ticket(1));
        assert_eq!(refused, Err(Refused::NotForwarded(op.as_i32())));
    }
    assert_eq!(edge.take(), [""; 0]);
}

#[test]
fn both_limits_hold_until_answers_came() {
    let (edge, queue) = (Edge::new(), Queue::new(LIMITS));
    queue.open();
    let mut taken = VecDeque::new();
    assert_eq!(queue.forward(request(1, OpCode::Delete, 100), Vec::new(), edge.ticket(1)), Ok(()));
    let refused = queue.forward(request(2, OpCode::Delete, 100), Vec::new(), edge.ticket(2));
    assert_eq!(refused, Err(Refused::Busy("limits.in_flight_bytes")));
    assert_eq!(queue.sync(5, 3, "/", edge.ticket(3)), Ok(()));
    queue.take(&mut taken);
    assert_eq!(queue.revalidate(5, 4_000, edge.ticket(4)), Err(Refused::Busy("limits.in_flight")));
    let first = taken.pop_front().unwrap();
    assert_eq!(first.packet.auth, Some(Vec::new()), "null would make an Apache leader refuse the write");
    queue.settle(1, first.cost());
    assert_eq!(queue.in_flight(), 1);
    assert_eq!(queue.forward(request(2, OpCode::Delete, 100), Vec::new(), edge.ticket(2)), Ok(()));
}

fn forward(queue: &Queue, edge: &Arc<Edge>, session: SessionId, tag: u64) -> bool {
    let request =
        ForwardedRequest { session, cxid: 1, op: OpCode::SetData.as_i32(), body: vec![0; 8].into() };
    queue.forward(request, Vec::new(), edge.ticket(tag)).is_ok()
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
    let (edge, queue) = (Edge::new(), Queue::new(limits));
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
    let (edge, queue) = (Edge::new(), Queue::new(limits));
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
    let (edge, queue) = (Edge::new(), Queue::new(limits));
    queue.open();
    assert!((0..16).all(|session| forward(&queue, &edge, session, 0)));
    assert!(!forward(&queue, &edge, 100, 0));
    let delete = |session| {
        let request = ForwardedRequest { session, ..request(1, OpCode::Delete, 8) };
        queue.forward(request, Vec::new(), edge.ticket(0)).is_ok()
    };
    assert_eq!((100..110).filter(|session| delete(*session)).count(), 2);
}
