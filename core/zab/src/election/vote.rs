//! Votes: their order and when two are the same.

use palisade_wire::election::{Notification, PeerState};
use palisade_wire::{Sid, Zxid};

use crate::ensemble::Ensemble;

/// Whom a peer wants to lead, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vote {
    /// The proposed leader.
    pub(crate) leader: Sid,
    /// Its last logged transaction.
    pub(crate) zxid: Zxid,
    /// The round in which the vote was cast.
    pub(crate) round: i64,
    /// The proposed leader's current epoch.
    pub(crate) peer_epoch: i64,
    /// What the one who votes is doing.
    pub(crate) state: PeerState,
    /// The notification's version; 0 for votes kept.
    pub(crate) version: i32,
}

impl Vote {
    pub(crate) fn of(notification: &Notification) -> Self {
        Self {
            leader: notification.leader,
            zxid: notification.zxid,
            round: notification.round,
            peer_epoch: notification.peer_epoch,
            state: notification.state,
            version: notification.version,
        }
    }

    /// The same, as it is kept for counting.
    pub(crate) fn kept(self) -> Self {
        Self { version: 0, ..self }
    }

    /// The notification that says it. Of version 0, without a configuration: an Apache peer that sees another version
    /// of its configuration restarts its election, for ever where reconfiguration is disabled.
    pub(crate) fn to_notification(self, state: PeerState) -> Notification {
        Notification {
            state,
            leader: self.leader,
            zxid: self.zxid,
            round: self.round,
            peer_epoch: self.peer_epoch,
            version: 0,
            config: None,
        }
    }

    /// Whether it beats `other` (Apache `totalOrderPredicate`): epoch, then zxid, then id; weightless servers never.
    pub(crate) fn beats(&self, other: &Self, ensemble: &Ensemble) -> bool {
        ensemble.weight(self.leader) > 0
            && (self.peer_epoch, self.zxid, self.leader) > (other.peer_epoch, other.zxid, other.leader)
    }

    /// Whether two votes count as the same (Apache `Vote.equals`, ZOOKEEPER-1805): those of servers that have already
    /// decided need not agree on what made them decide.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        if self.state == PeerState::Looking || other.state == PeerState::Looking {
            (self.leader, self.zxid, self.round, self.peer_epoch)
                == (other.leader, other.zxid, other.round, other.peer_epoch)
        } else if (self.version > 0) != (other.version > 0) {
            self.leader == other.leader
        } else {
            (self.leader, self.peer_epoch) == (other.leader, other.peer_epoch)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(peer_epoch: i64, zxid: i64, leader: Sid) -> Vote {
        Vote { leader, zxid: Zxid(zxid), round: 1, peer_epoch, state: PeerState::Looking, version: 0 }
    }

    fn majority() -> Ensemble {
        Ensemble::parse("server.1=a:1:2\nserver.2=a:1:2\nserver.3=a:1:2").unwrap()
    }

    #[test]
    fn epoch_counts_before_zxid_before_id() {
        // (new, current, new beats current)
        let table = [
            (vote(2, 0, 1), vote(1, 99, 3), true),
            (vote(1, 99, 3), vote(2, 0, 1), false),
            (vote(1, 8, 1), vote(1, 7, 3), true),
            (vote(1, 7, 3), vote(1, 7, 2), true),
            (vote(1, 7, 2), vote(1, 7, 2), false),
            (vote(1, 7, 2), vote(i64::MIN, i64::MIN, i64::MIN), true),
            // Not a voter: no weight.
            (vote(9, 9, 9), vote(1, 7, 2), false),
        ];
        for (new, current, expected) in table {
            assert_eq!(new.beats(&current, &majority()), expected, "{new:?} against {current:?}");
        }
    }

    #[test]
    fn a_weightless_server_is_never_elected() {
        let text = "server.1=a:1:2\nserver.2=a:1:2\nserver.3=a:1:2\ngroup.1=1:2:3\nweight.3=0";
        let ensemble = Ensemble::parse(text).unwrap();
        assert!(!vote(1, 9, 3).beats(&vote(1, 7, 1), &ensemble));
        assert!(vote(1, 9, 2).beats(&vote(1, 7, 1), &ensemble));
    }

    #[test]
    fn decided_servers_agree_by_leader_and_epoch() {
        let following = |zxid, peer_epoch, version| Vote {
            zxid: Zxid(zxid),
            peer_epoch,
            version,
            state: PeerState::Following,
            ..vote(0, 0, 3)
        };
        assert!(following(7, 2, 0).agrees(&following(8, 2, 0)));
        assert!(!following(7, 1, 0).agrees(&following(7, 2, 0)));
        assert!(following(7, 1, 2).agrees(&following(8, 2, 0)), "versions differ: only the leader counts");
        let looking = Vote { state: PeerState::Looking, ..following(7, 2, 0) };
        assert!(!looking.agrees(&following(8, 2, 0)));
        assert!(looking.agrees(&following(7, 2, 0)));
    }
}
