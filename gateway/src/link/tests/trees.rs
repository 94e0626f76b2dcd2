//! How the replica gets its tree, keeps it, and gives it up.

use super::*;

#[tokio::test]
async fn a_recorded_snapshot_is_taken_over_byte_for_byte_as_apache_expects() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let config = leader.config(dir.path());
    let gateway = Gateway::start(&config);
    let mut peer = leader.accept().await;
    peer.say(SNAP).await;
    let mut expected = SNAP_LEARNER.to_vec();
    // ACKEPOCH: an Apache observer names its epoch as if it voted; this one says that it does not.
    expected[56..60].copy_from_slice(&(-1i32).to_be_bytes());
    assert_eq!(peer.hear_bytes(expected.len()).await, expected);
    peer.confirm().await;
    gateway.connected().await;
    assert_eq!(gateway.edge.take(), ["replaced 0x0 by 0x10000000b"]);
    assert_eq!(gateway.replica.read().node("/a").unwrap().data(), Some(&b"z"[..]));
    gateway.stop().await;

    // The disk has it: reads need no core, and the next leader is asked for the rest only.
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.replica.last_zxid(), Zxid(0x1_0000_000b));
    assert_eq!(gateway.replica.read().node("/a").unwrap().data(), Some(&b"z"[..]));
    let mut peer = leader.accept().await;
    let greeting = peer.synchronise(2, &[create(1, 0x2_0000_0001, "/b")]).await;
    assert_eq!(greeting.zxid, Zxid::new(1, 0));
    gateway.connected().await;
    assert!(gateway.replica.read().node("/b").is_some());
    gateway.stop().await;
}

#[tokio::test]
async fn a_snapshot_whose_leader_goes_right_behind_it_counts() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&leader.config(dir.path()));
    let mut peer = leader.accept().await;
    peer.say(SNAP).await;
    // The last of these acknowledges UPTODATE.
    peer.hear_bytes(SNAP_LEARNER.len()).await;
    drop(peer);
    let mut peer = leader.accept().await;
    let b = create(1, 0x1_0000_000c, "/b");
    peer.synchronise(2, &[b]).await;
    peer.confirm().await;
    gateway.connected().await;
    assert!(gateway.replica.read().node("/a").is_some());
    assert!(gateway.replica.read().node("/b").is_some());
    gateway.stop().await;
}

/// The tree that a leader sends holds parts of what it does meanwhile, and sends behind UPTODATE.
#[tokio::test]
async fn a_tree_is_shown_when_all_of_it_has_come() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&leader.config(dir.path()));
    let mut peer = leader.accept().await;
    peer.say(SNAP).await;
    peer.hear_bytes(SNAP_LEARNER.len()).await;
    peer.inform(&create(1, 0x1_0000_000c, "/late")).await;
    peer.confirm().await;
    peer.inform(&create(2, 0x1_0000_000d, "/later")).await;
    gateway.edge.until("0x10000000d").await;
    assert_eq!(gateway.edge.take().first().map(String::as_str), Some("replaced 0x0 by 0x10000000c"));
    gateway.stop().await;
}

/// All that came before UPTODATE goes to the disk at once, and may be more than its queue takes.
#[tokio::test]
async fn a_gateway_far_behind_its_leader_catches_up_and_is_durable() {
    const MANY: usize = 40_000;
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let config = leader.config(dir.path());
    let gateway = Gateway::start(&config);
    let mut peer = leader.accept().await;
    let records: Vec<_> =
        (1..=MANY).map(|i| create(i as i32, Zxid::new(1, i as u32).0, &format!("/{i}"))).collect();
    peer.synchronise(1, &records).await;
    gateway.connected().await;
    assert_eq!(gateway.replica.last_zxid(), Zxid::new(1, MANY as u32));
    gateway.stop().await;

    let gateway = Gateway::start(&config);
    assert_eq!(gateway.replica.last_zxid(), Zxid::new(1, MANY as u32));
    gateway.stop().await;
}

#[tokio::test]
async fn a_recorded_diff_is_applied_logged_and_found_again() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let config = leader.config(dir.path());
    let gateway = Gateway::start(&config);
    let before = TxnRecord {
        header: header(0x300_0026_b6f0_0000, 0, 0x1_0000_0001),
        txn: Txn::CreateSession(30_000),
        digest: None,
    };
    leader.accept().await.synchronise(1, &[before]).await;
    gateway.connected().await;
    gateway.edge.take();
    let version = gateway.replica.read().node("/zookeeper/config").unwrap().stat().mzxid;
    assert_eq!(version, Zxid(0xa0));

    let mut peer = leader.accept().await;
    peer.say(DIFF).await;
    gateway.edge.until("0x100000004 Reconfig").await;
    let seen = gateway.edge.take();
    assert_eq!(seen.iter().filter(|s| s.contains(" created ")).count(), 2, "{seen:?}");
    let text = b"server.1=127.0.0.1:21861:21871:participant;0.0.0.0:21851";
    assert!(gateway.replica.read().node("/zookeeper/config").unwrap().data().unwrap().starts_with(text));
    let digest = gateway.replica.read().digest();
    assert_eq!(digest, 0x2_90eb_e7c8, "the leader's");
    for kind in ["ObserverInfo", "AckEpoch", "Ack", "Ack", "Ping", "Ping"] {
        assert_eq!(format!("{:?}", peer.hear().await.packet_type().unwrap()), kind);
    }
    gateway.stop().await;

    let gateway = Gateway::start(&config);
    assert_eq!(gateway.replica.last_zxid(), Zxid(0x1_0000_0004));
    assert_eq!(gateway.replica.read().digest(), digest);
    gateway.stop().await;
}

#[tokio::test]
async fn a_core_that_lost_history_is_followed_and_the_edge_is_told() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&leader.config(dir.path()));
    let history: Vec<_> =
        (1..=3).map(|n| create(n, 0x1_0000_0000 + i64::from(n), &format!("/{n}"))).collect();
    leader.accept().await.synchronise(1, &history).await;
    gateway.connected().await;
    gateway.edge.take();

    let mut peer = leader.accept().await;
    peer.hear().await;
    peer.send(PacketType::LeaderInfo, 0x2_0000_0000, Some(Bytes::from_static(&[0, 1, 0, 0]))).await;
    peer.hear().await;
    peer.send(PacketType::Trunc, 0x1_0000_0002, None).await;
    peer.send(PacketType::NewLeader, 0x2_0000_0000, None).await;
    peer.hear().await;
    peer.send(PacketType::UpToDate, -1, None).await;
    peer.confirm().await;
    gateway.edge.until("rewound").await;
    assert_eq!(gateway.edge.take(), ["rewound 0x100000003 by 0x100000002"]);
    gateway.connected().await;
    assert!(gateway.replica.read().node("/2").is_some());
    assert!(gateway.replica.read().node("/3").is_none());
    gateway.stop().await;
}

/// The zxid alone does not tell: the core has gone on in a later epoch.
#[tokio::test]
async fn a_core_that_lost_history_and_went_on_is_noticed() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&leader.config(dir.path()));
    let lost = [create(1, 0x1_0000_0001, "/1"), create(2, 0x1_0000_0002, "/2")];
    leader.accept().await.synchronise(1, &lost).await;
    gateway.connected().await;
    gateway.edge.take();

    let mut peer = leader.accept().await;
    peer.hear().await;
    peer.send(PacketType::LeaderInfo, 0x3_0000_0000, Some(Bytes::from_static(&[0, 1, 0, 0]))).await;
    peer.hear().await;
    peer.send(PacketType::Trunc, 0x1_0000_0001, None).await;
    let other = create(1, 0x2_0000_0001, "/other");
    peer.send(PacketType::Proposal, other.header.zxid.0, Some(other.encode())).await;
    peer.send(PacketType::Commit, other.header.zxid.0, None).await;
    peer.send(PacketType::NewLeader, 0x3_0000_0000, None).await;
    peer.hear().await;
    peer.send(PacketType::UpToDate, -1, None).await;
    peer.confirm().await;
    gateway.connected().await;
    gateway.edge.until("0x200000001").await;
    assert_eq!(gateway.edge.take(), ["rewound 0x100000002 by 0x200000001"]);
    assert!(gateway.replica.read().node("/2").is_none());
    gateway.stop().await;
}

#[tokio::test]
async fn under_a_voters_id_the_gateway_ends() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let mut gateway = Gateway::start(&leader.config(dir.path()));
    let mut peer = leader.accept().await;
    peer.hear().await;
    peer.send(PacketType::LeaderInfo, 0x1_0000_0000, Some(Bytes::from_static(&[0, 1, 0, 0]))).await;
    peer.hear().await;
    peer.send(PacketType::Diff, 0, None).await;
    let config = Bytes::from_static(b"server.1=a:1:2:participant\nserver.5=b:1:2:participant\nversion=0");
    peer.send(PacketType::NewLeader, 0x1_0000_0000, Some(config)).await;
    let error = gateway.task.join().await;
    assert!(matches!(error, Some(GatewayError::IdIsVoter { id: LEARNER_ID })), "{error:?}");
}

#[tokio::test]
async fn garbage_and_cut_snapshots_cost_the_connection_only() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&leader.config(dir.path()));
    let first = 20 + 4;
    for garbage in [
        [&SNAP[..first], &[0xff; 64]].concat(),
        [&SNAP[..first], &[0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff]].concat(),
        SNAP[..300].to_vec(),
        SNAP[..SNAP.len() / 2].iter().chain(&[0xff; 400]).copied().collect(),
    ] {
        let mut peer = leader.accept().await;
        peer.say(&garbage).await;
    }
    leader.accept().await.synchronise(2, &[create(1, 0x1_0000_0001, "/a")]).await;
    gateway.connected().await;
    assert_eq!(gateway.replica.last_zxid(), Zxid(0x1_0000_0001));
    gateway.stop().await;
}

#[tokio::test]
async fn snapshots_are_taken_while_transactions_go_on() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let mut config = leader.config(dir.path());
    config.storage.snap_count = 10;
    let gateway = Gateway::start(&config);
    let mut peer = leader.accept().await;
    peer.synchronise(1, &[]).await;
    for n in 1..=95 {
        peer.inform(&create(n, 0x1_0000_0000 + i64::from(n), &format!("/{n}"))).await;
    }
    gateway.edge.until("0x10000005f Create").await;
    let digest = gateway.replica.read().digest();
    gateway.stop().await;
    let opened = disk::open(&config.storage, max_packet(&config), &mut Untold).unwrap();
    assert_eq!(opened.tree.digest(), digest);
    assert!(opened.replayed < 95, "no snapshot was taken");
}
