//! How long a leader's machine takes for a transaction: proposed to two followers, acknowledged, committed and told to
//! observers. `cargo run --release -p palisade-zab --example throughput`

use std::hint::black_box;

use bytes::Bytes;
use palisade_store::Timestamp;
use palisade_wire::Zxid;
use palisade_wire::election::{Notification, PeerState};
use palisade_wire::quorum::{LearnerInfo, PROTOCOL_VERSION, PacketType, QuorumPacket};
use palisade_zab::{Ensemble, Input, LinkId, Output, Peer, PeerConfig, Recovered};

const TXNS: u32 = 500_000;

fn main() {
    for observers in [0, 10, 100] {
        let nanos = run(observers);
        println!("{observers:>4} observers: {nanos} ns per transaction");
    }
}

fn run(observers: u64) -> u128 {
    let ensemble =
        Ensemble::parse("server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2").expect("it is well formed");
    let start = Timestamp::ZERO;
    let config = PeerConfig { max_backlog: usize::MAX >> 1, ..PeerConfig::new(3, ensemble) };
    let mut peer = Peer::new(config, Recovered::default(), start).expect("the settings make sense");
    let vote = Notification {
        state: PeerState::Looking,
        leader: 3,
        zxid: Zxid::ZERO,
        round: 1,
        peer_epoch: 0,
        version: 0,
        config: None,
    };
    peer.handle(start, Input::Notification { from: 1, notification: vote });
    peer.handle_timeout(Timestamp::from_millis(200));
    for link in 1..=2 + observers {
        join(&mut peer, link);
    }
    let payload = Bytes::from(vec![0; 200]);
    let mut began = None;
    for counter in 0..TXNS {
        if counter == TXNS / 10 {
            began = Some(now());
        }
        let zxid = peer.next_zxid().expect("it leads");
        peer.handle(start, Input::Propose { zxid, payload: payload.clone() });
        drain(&mut peer);
        peer.handle(start, Input::Flushed { zxid });
        for link in 1..=2 {
            let packet = QuorumPacket::new(PacketType::Ack, zxid, None);
            peer.handle(start, Input::LearnerPacket { link: LinkId(link), packet });
        }
        drain(&mut peer);
    }
    now().duration_since(began.expect("it has begun")).as_nanos() / u128::from(TXNS - TXNS / 10)
}

#[expect(clippy::disallowed_types, reason = "this measures; the machine does not")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

fn join(peer: &mut Peer, link: u64) {
    let (kind, sid) = if link <= 2 {
        (PacketType::FollowerInfo, link as i64)
    } else {
        (PacketType::ObserverInfo, 100 + link as i64)
    };
    let info = LearnerInfo { sid, protocol_version: PROTOCOL_VERSION, config_version: 0 };
    let packets = [
        QuorumPacket::new(kind, Zxid::ZERO, Some(info.encode())),
        QuorumPacket::new(PacketType::AckEpoch, Zxid::ZERO, Some(Bytes::from_static(&[0; 4]))),
        QuorumPacket::new(PacketType::Ack, Zxid::new(1, 0), None),
    ];
    peer.handle(Timestamp::ZERO, Input::LearnerUp { link: LinkId(link) });
    for packet in packets {
        peer.handle(Timestamp::ZERO, Input::LearnerPacket { link: LinkId(link), packet });
        drain(peer);
    }
}

/// Takes all outputs; epoch files are written at once.
fn drain(peer: &mut Peer) {
    while let Some(output) = peer.poll_output() {
        let done = match black_box(output) {
            Output::WriteAcceptedEpoch { epoch } => Input::AcceptedEpochWritten { epoch },
            Output::WriteCurrentEpoch { epoch } => Input::CurrentEpochWritten { epoch },
            _ => continue,
        };
        peer.handle(Timestamp::ZERO, done);
    }
}
