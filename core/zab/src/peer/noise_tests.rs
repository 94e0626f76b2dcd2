//! Nothing that a peer or the network says may panic.

use bytes::Bytes;
use palisade_store::Timestamp;
use palisade_wire::Zxid;
use palisade_wire::election::{Notification, PeerState};
use palisade_wire::quorum::QuorumPacket;

use crate::config::LearnerConfig;
use crate::io::{Input, LearnerInput, LearnerOutput, LinkId};
use crate::learner::Learner;
use crate::testing::Rng;
use crate::testing::script::{Script, recovered};

fn zxid(rng: &mut Rng) -> Zxid {
    match rng.below(8) {
        0 => Zxid(-1),
        1 => Zxid(i64::MIN + rng.below(3) as i64),
        2 => Zxid(i64::MAX),
        _ => Zxid::new(4 + rng.below(4) as u32, rng.below(12) as u32),
    }
}

fn noise(rng: &mut Rng) -> QuorumPacket {
    let sid = (rng.below(5) as i64).to_be_bytes();
    let data = match rng.below(6) {
        0 => None,
        1 => Some(Bytes::new()),
        2 => Some(Bytes::copy_from_slice(&(rng.below(8) as i32 - 1).to_be_bytes())),
        3 => Some(Bytes::from_static(b"server.2=a:1:2")),
        _ => Some(Bytes::from([&sid[..], &[0, 1, 0, 0], &[0; 8]].concat())),
    };
    QuorumPacket { kind: rng.below(21) as i32, zxid: zxid(rng), data, auth: None }
}

fn notification(rng: &mut Rng) -> Notification {
    let states = [PeerState::Looking, PeerState::Following, PeerState::Leading, PeerState::Observing];
    Notification {
        state: states[rng.below(4) as usize],
        leader: rng.below(5) as i64 - 1,
        zxid: zxid(rng),
        round: [0, 1, 2, i64::MAX, i64::MIN][rng.below(5) as usize],
        peer_epoch: rng.below(8) as i64,
        version: rng.below(3) as i32,
        config: None,
    }
}

#[test]
fn a_peer_survives_noise() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let mut script = Script::new(2, 3, recovered(5, 9));
        for step in 0..200 {
            let link = LinkId(rng.below(6));
            let input = match rng.below(10) {
                0 | 1 => Input::Notification {
                    from: rng.below(5) as i64 - 1,
                    notification: notification(&mut rng),
                },
                2 => Input::LearnerUp { link },
                3 => Input::LeaderLinkUp { link },
                4 | 5 => Input::LearnerPacket { link, packet: noise(&mut rng) },
                6 | 7 => Input::LeaderPacket { link, packet: noise(&mut rng) },
                8 => Input::LeaderSnapshotReceived { link, zxid: zxid(&mut rng) },
                _ => {
                    script.at(step * rng.below(20));
                    Input::SnapshotSent { link }
                }
            };
            script.feed(input);
        }
    }
}

#[test]
fn a_learner_survives_noise() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let mut learner = Learner::new(LearnerConfig::new(9), recovered(5, 9)).unwrap();
        let mut now = Timestamp::ZERO;
        for _ in 0..200 {
            now = Timestamp::from_millis(now.as_millis() + rng.below(100));
            let link = LinkId(rng.below(3));
            let input = match rng.below(10) {
                0 | 1 => LearnerInput::LinkUp { link },
                2 => LearnerInput::SnapshotReceived { link, zxid: zxid(&mut rng) },
                _ => LearnerInput::Packet { link, packet: noise(&mut rng) },
            };
            learner.handle(now, input);
            while let Some(output) = learner.poll_output() {
                match output {
                    LearnerOutput::Truncate { to } => {
                        learner.handle(now, LearnerInput::Truncated { zxid: to });
                    }
                    LearnerOutput::InstallSnapshot { zxid } => {
                        learner.handle(now, LearnerInput::SnapshotInstalled { zxid });
                    }
                    _ => {}
                }
            }
        }
    }
}
