use std::time::Duration;

use palisade_store::Timestamp;
use palisade_wire::election::{Notification, PeerState};
use palisade_wire::{Sid, Zxid};

use super::{Election, Verdict, Vote};
use crate::config::PeerConfig;
use crate::testing::{ensemble, timing};

const NOW: Timestamp = Timestamp::ZERO;

fn config(n: i64) -> PeerConfig {
    let mut config = PeerConfig::new(1, ensemble(n));
    config.timing = timing();
    config
}

/// Server 1 of `n`, with zxid 5 of epoch 1, in round 3.
fn electing(n: i64) -> (Election, PeerConfig) {
    electing_after(n, None)
}

/// The same, after the loss of a leader.
fn electing_after(n: i64, lost: Option<Sid>) -> (Election, PeerConfig) {
    let own = Vote {
        leader: 1,
        zxid: Zxid::new(1, 5),
        round: 3,
        peer_epoch: 1,
        state: PeerState::Looking,
        version: 0,
    };
    let config = config(n);
    (Election::new(1, own, lost, &config, NOW), config)
}

fn says(state: PeerState, leader: Sid, counter: u32, round: i64) -> Notification {
    Notification {
        state,
        leader,
        zxid: Zxid::new(1, counter),
        round,
        peer_epoch: 1,
        version: 0,
        config: None,
    }
}

fn after_finalize(election: &mut Election, config: &PeerConfig) -> Option<Sid> {
    match election.on_timeout(config, NOW + Duration::from_millis(200)) {
        Verdict::Elected(vote) => Some(vote.leader),
        _ => None,
    }
}

#[test]
fn the_better_vote_is_adopted_and_wins_with_a_quorum() {
    let (mut election, config) = electing(3);
    let verdict = election.on_notification(2, &says(PeerState::Looking, 2, 6, 3), &config, NOW);
    assert_eq!(verdict, Verdict::Broadcast);
    assert_eq!(election.proposal().leader, 2);
    assert_eq!(after_finalize(&mut election, &config), Some(2));
}

#[test]
fn a_worse_vote_is_counted_and_answered() {
    let (mut election, config) = electing(3);
    let verdict = election.on_notification(2, &says(PeerState::Looking, 2, 4, 3), &config, NOW);
    assert_eq!(verdict, Verdict::Reply);
    assert_eq!(after_finalize(&mut election, &config), None);
    election.on_notification(2, &says(PeerState::Looking, 1, 5, 3), &config, NOW);
    assert_eq!(after_finalize(&mut election, &config), Some(1));
}

#[test]
fn a_better_vote_during_the_last_wait_starts_it_anew() {
    let (mut election, config) = electing(3);
    election.on_notification(2, &says(PeerState::Looking, 1, 5, 3), &config, NOW);
    let later = NOW + Duration::from_millis(150);
    let verdict = election.on_notification(3, &says(PeerState::Looking, 3, 9, 3), &config, later);
    assert_eq!(verdict, Verdict::Broadcast);
    assert_eq!(after_finalize(&mut election, &config), None);
    assert_eq!(election.deadline(), later + Duration::from_millis(200));
}

#[test]
fn when_all_but_the_lost_leader_agree_nobody_is_waited_for() {
    let (mut election, config) = electing_after(5, Some(5));
    for (from, deadline) in [(2, 200), (3, 200), (4, 0)] {
        election.on_notification(from, &says(PeerState::Looking, 1, 5, 3), &config, NOW);
        assert_eq!(election.deadline(), NOW + Duration::from_millis(deadline), "after {from}");
    }
    assert!(matches!(election.on_timeout(&config, NOW), Verdict::Elected(vote) if vote.leader == 1));
    // Who disagrees is waited for, and the lost leader's vote counts once it is there.
    let (mut election, config) = electing_after(3, Some(3));
    election.on_notification(3, &says(PeerState::Looking, 3, 9, 3), &config, NOW);
    assert_eq!(election.proposal().leader, 3);
    assert_eq!(election.deadline(), NOW + Duration::from_millis(200));
    election.on_notification(2, &says(PeerState::Looking, 3, 9, 3), &config, NOW);
    assert_eq!(election.deadline(), NOW);
}

#[test]
fn a_later_round_discards_the_votes_of_this_one() {
    let (mut election, config) = electing(5);
    election.on_notification(2, &says(PeerState::Looking, 1, 5, 3), &config, NOW);
    let verdict = election.on_notification(3, &says(PeerState::Looking, 3, 2, 4), &config, NOW);
    assert_eq!(verdict, Verdict::Broadcast);
    assert_eq!((election.round(), election.proposal().leader), (4, 1), "its own vote is better");
    election.on_notification(3, &says(PeerState::Looking, 1, 5, 4), &config, NOW);
    assert_eq!(after_finalize(&mut election, &config), None, "only two votes of this round");
    election.on_notification(2, &says(PeerState::Looking, 1, 5, 4), &config, NOW);
    assert_eq!(after_finalize(&mut election, &config), Some(1));
}

#[test]
fn who_is_behind_or_does_not_vote_is_answered() {
    let (mut election, config) = electing(3);
    let answered = [(2, says(PeerState::Looking, 2, 9, 2)), (9, says(PeerState::Looking, i64::MIN, 0, 3))];
    for (from, notification) in answered {
        assert_eq!(election.on_notification(from, &notification, &config, NOW), Verdict::Reply);
    }
    assert_eq!(election.proposal().leader, 1);
    let verdict = election.on_notification(2, &says(PeerState::Looking, 9, 9, 3), &config, NOW);
    assert_eq!(verdict, Verdict::Wait, "server 9 cannot be elected");
    assert_eq!(election.proposal().leader, 1);
}

#[test]
fn an_established_leader_is_joined_when_it_and_a_quorum_say_so() {
    let (mut election, config) = electing(3);
    let verdict = election.on_notification(2, &says(PeerState::Following, 3, 2, 1), &config, NOW);
    assert_eq!(verdict, Verdict::Wait);
    let verdict = election.on_notification(3, &says(PeerState::Leading, 3, 2, 1), &config, NOW);
    assert!(matches!(verdict, Verdict::Elected(vote) if (vote.leader, vote.round) == (3, 1)));
}

#[test]
fn a_dead_leader_is_not_joined_however_many_still_follow() {
    let (mut election, config) = electing(5);
    for from in [2, 3, 4] {
        let verdict = election.on_notification(from, &says(PeerState::Following, 5, 2, 1), &config, NOW);
        assert_eq!(verdict, Verdict::Wait);
    }
    // Nor one that led once and looks again.
    election.on_notification(5, &says(PeerState::Leading, 5, 2, 2), &config, NOW);
    election.on_notification(5, &says(PeerState::Looking, 5, 2, 3), &config, NOW);
    let verdict = election.on_notification(2, &says(PeerState::Following, 5, 2, 1), &config, NOW);
    assert_eq!(verdict, Verdict::Wait);
}

#[test]
fn votes_are_repeated_ever_more_rarely() {
    let (mut election, config) = electing(3);
    let mut gaps = Vec::new();
    let mut last = NOW;
    for _ in 0..10 {
        let now = election.deadline();
        assert_eq!(election.on_timeout(&config, now), Verdict::Broadcast);
        gaps.push(now.since(last).as_millis());
        last = now;
    }
    assert_eq!(gaps[..4], [200, 400, 800, 1600]);
    assert_eq!(gaps[9], 60_000);
}
