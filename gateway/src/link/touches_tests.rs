use palisade_wire::quorum::decode_touched;

use super::*;
use crate::link::queue::Limits;

const LIMITS: Limits = Limits { requests: 8, bytes: 1 << 20, window: 4, window_bytes: 1 << 20 };

fn told(touches: &Touches) -> Vec<(SessionId, i32)> {
    decode_touched(&touches.tell()).unwrap()
}

#[test]
fn touched_sessions_are_told_once_with_their_last_timeout_and_not_too_many_at_a_time() {
    let touches = Touches::default();
    assert_eq!(touches.tell(), "");
    touches.touch(7, 4_000);
    touches.touch(7, 6_000);
    assert_eq!(told(&touches), [(7, 6_000)]);
    assert_eq!(touches.tell(), "");
    for session in 0..=MAX_TOUCHED as i64 {
        touches.touch(session, 4_000);
    }
    assert_eq!(touches.tell().len(), 12 * MAX_TOUCHED);
    assert_eq!(touches.tell().len(), 12);
}

#[test]
fn a_round_tells_all_that_is_left_and_proves_what_was_heard_before_it() {
    let touches = Touches::default();
    let before = touches.touch(1, 4_000);
    let (round, packets) = touches.begin(7);
    assert_eq!((before.round, packets.len()), (round, 1));
    let beside = touches.touch(1, 4_000);
    assert!(beside.round > round, "it was heard when the round had begun");
    assert_eq!(touches.arrived(), 0);
    assert_eq!(touches.answered(round), Some(7));
    assert_eq!(touches.arrived(), round);
    assert_eq!(touches.answered(round), None, "an answer counts once");
}

#[test]
fn what_a_broken_link_took_along_is_told_again_and_its_rounds_prove_nothing() {
    let touches = Touches::default();
    touches.touch(1, 4_000);
    let (first, _) = touches.begin(1);
    touches.touch(2, 5_000);
    touches.tell();
    touches.answered(first);
    touches.touch(3, 6_000);
    let (second, _) = touches.begin(2);
    touches.broken();
    assert_eq!(touches.answered(second), None);
    assert_eq!(touches.arrived(), first);
    let mut again = told(&touches);
    again.sort_unstable();
    assert_eq!(again, [(2, 5_000), (3, 6_000)], "the first was proven");
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Waiter for Count {
    fn arrived(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn who_waits_is_told_of_the_next_answer_once() {
    let (touches, count) = (Touches::default(), Arc::new(Count::default()));
    assert!(touches.wait(0, Arc::clone(&count) as _));
    for expected in [1, 1] {
        let (round, _) = touches.begin(0);
        touches.answered(round);
        assert_eq!(count.0.load(Ordering::Relaxed), expected);
    }
    assert!(!touches.wait(0, count), "there was an answer since");
}

/// Answers what was asked, if anything.
fn answer(queue: &Queue) -> usize {
    let mut asked = VecDeque::new();
    queue.take(&mut asked);
    let count = asked.len();
    asked.into_iter().for_each(|outgoing| outgoing.ticket.answer(Answer::Synced { zxid: Zxid(1) }));
    count
}

#[tokio::test(start_paused = true)]
async fn rounds_begin_in_their_time_and_soon_if_somebody_needs_one() {
    let queue = Queue::new(LIMITS);
    let mut rounds = Rounds::new(&queue, Duration::ZERO);
    assert!(rounds.begin(&queue).is_empty() && answer(&queue) == 1);
    queue.touch(1, 4_000, false);
    assert_eq!(rounds.due() - Clock::now(), EVERY);
    queue.touch(1, 4_000, true);
    assert_eq!(rounds.due() - Clock::now(), URGENT);
    assert!(rounds.begin(&queue).is_empty() && answer(&queue) == 0, "not yet");
    tokio::time::advance(URGENT).await;
    let [told] = &rounds.begin(&queue)[..] else { panic!("one packet tells what there is") };
    assert_eq!(decode_touched(told.data()).unwrap(), [(1, 4_000)]);
    assert_eq!(rounds.due() - Clock::now(), EVERY, "nobody needs another");
    assert_eq!((answer(&queue), queue.touches.arrived()), (1, 2));
}

#[tokio::test]
async fn the_first_begins_at_once() {
    let queue = Queue::new(LIMITS);
    let mut rounds = Rounds::new(&queue, Duration::ZERO);
    rounds.begin(&queue);
    assert_eq!(answer(&queue), 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_does_not_answer_is_not_asked_for_ever() {
    let queue = Queue::new(LIMITS);
    let mut rounds = Rounds::new(&queue, Duration::ZERO);
    let mut asked = VecDeque::new();
    for _ in 0..3 * MAX_PENDING {
        tokio::time::advance(EVERY).await;
        rounds.begin(&queue);
        queue.take(&mut asked);
    }
    assert_eq!(asked.len(), MAX_PENDING);
}

#[tokio::test(start_paused = true)]
async fn an_answer_proves_the_age_of_the_replica_and_less_if_the_leader_may_be_deposed() {
    for (doubt, proven) in [(0, Some(2_000)), (1_500, Some(500)), (3_000, None)] {
        let queue = Queue::new(LIMITS);
        let start = Clock::now();
        let mut rounds = Rounds::new(&queue, Duration::from_millis(doubt));
        tokio::time::advance(Duration::from_secs(2)).await;
        rounds.begin(&queue);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(queue.contact.proven(), None);
        answer(&queue);
        let age = queue.contact.proven().map(|at| (at - start.into_std()).as_millis());
        assert_eq!(age, proven);
    }
}
