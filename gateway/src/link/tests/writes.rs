//! What becomes of clients' writes, with the leader and without.

use super::*;

#[tokio::test]
async fn answers_come_with_their_transactions_after_the_events() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&leader.config(dir.path()));
    let (edge, core) = (&gateway.edge, &gateway.core);
    assert_eq!(gateway.forward(1), Err(Refused::NotConnected));
    let mut peer = leader.accept().await;
    peer.synchronise(1, &[]).await;
    gateway.connected().await;

    gateway.forward(1).unwrap();
    core.sync((SESSION, 2), "/", edge.ticket(2), &mut Place::default()).unwrap();
    gateway.forward(3).unwrap();
    core.revalidate(SESSION, 4_000, edge.ticket(4), &mut Place::default()).unwrap();
    for cxid in 1..=3 {
        let packet = peer.hear().await;
        let sent = ForwardedRequest::decode(&packet.data.unwrap()).unwrap();
        assert_eq!((sent.session, sent.cxid), (SESSION, cxid));
    }
    assert_eq!(quorum::decode_revalidate(peer.hear().await.data()), Ok((SESSION, 4_000)));

    peer.inform(&create(9, 0x1_0000_0001, "/a")).await;
    peer.inform(&delete(1, 0x1_0000_0002)).await;
    peer.send(PacketType::Sync, 0, None).await;
    let failed = Txn::Error(ErrorCode::NO_NODE);
    peer.inform(&TxnRecord { header: header(SESSION, 3, 0x1_0000_0003), txn: failed, digest: None }).await;
    let mut valid = BytesMut::new();
    valid.put_i64(SESSION);
    valid.put_u8(1);
    peer.send(PacketType::Revalidate, -1, Some(valid.freeze())).await;
    edge.until("answer 4").await;
    assert_eq!(
        edge.take(),
        [
            "0x100000001 created /a",
            "0x100000001 children /",
            "0x100000001 Create",
            "0x100000002 deleted /a",
            "0x100000002 children /",
            "0x100000002 Delete",
            "answer 1: 0x100000002 OK",
            "answer 2: synced 0x100000002",
            "0x100000003 Error",
            "answer 3: 0x100000003 NO_NODE",
            "answer 4: valid true",
        ]
    );
    core.touch(SESSION, 4_000, false);
    peer.send(PacketType::Ping, 0x1_0000_0003, None).await;
    let mut told = Vec::new();
    loop {
        // It may be told ahead of a sync, too.
        let pong = peer.hear().await;
        told.extend(quorum::decode_touched(pong.data()).unwrap());
        if pong.zxid == Zxid(0x1_0000_0003) {
            break;
        }
    }
    assert_eq!(told, [(SESSION, 4_000)]);
    assert!(core.last_contact().is_some());
    gateway.stop().await;
}

impl Peer {
    async fn hears_request(&mut self) -> i32 {
        ForwardedRequest::decode(&self.hear().await.data.unwrap()).unwrap().cxid
    }
}

#[tokio::test]
async fn a_new_leader_answers_what_it_has_and_is_sent_the_rest_again_before_anything_new() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&leader.config(dir.path()));
    let (edge, core) = (Arc::clone(&gateway.edge), &gateway.core);
    let mut peer = leader.accept().await;
    peer.synchronise(1, &[]).await;
    gateway.connected().await;
    for cxid in 1..=3 {
        gateway.forward(cxid).unwrap();
        assert_eq!(peer.hears_request().await, cxid);
    }
    core.sync((SESSION, 4), "/", edge.ticket(4), &mut Place::default()).unwrap();
    core.revalidate(SESSION, 4_000, edge.ticket(5), &mut Place::default()).unwrap();
    peer.hears_request().await;
    peer.hear().await;
    edge.leave(2);
    drop(peer);

    // The first write had been committed; nobody waits for the second one any more.
    let mut peer = leader.accept().await;
    peer.synchronise(2, &[delete(1, 0x1_0000_0001)]).await;
    gateway.connected().await;
    gateway.forward(6).unwrap();
    assert_eq!([peer.hears_request().await, peer.hears_request().await], [3, 4]);
    assert_eq!(peer.hear().await.packet_type(), Some(PacketType::Revalidate));
    assert_eq!(peer.hears_request().await, 6);
    peer.inform(&delete(3, 0x2_0000_0001)).await;
    peer.send(PacketType::Sync, 0, None).await;
    peer.inform(&delete(6, 0x2_0000_0002)).await;
    edge.until("answer 6").await;
    let answers: Vec<_> = edge.take().into_iter().filter(|line| line.starts_with("answer")).collect();
    assert_eq!(
        answers,
        [
            "answer 1: 0x100000001 NO_NODE",
            "answer 2: lost",
            "answer 3: 0x200000001 NO_NODE",
            "answer 4: synced 0x200000001",
            "answer 6: 0x200000002 NO_NODE"
        ]
    );
    gateway.stop().await;
    assert_eq!(edge.take(), ["answer 5: lost"]);
}

#[tokio::test]
async fn in_the_same_epoch_nobody_knows_what_became_of_a_write() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&leader.config(dir.path()));
    let (edge, core) = (&gateway.edge, &gateway.core);
    let mut peer = leader.accept().await;
    peer.synchronise(1, &[]).await;
    gateway.connected().await;
    for cxid in 1..=2 {
        gateway.forward(cxid).unwrap();
        peer.hears_request().await;
    }
    drop(peer);
    leader.accept().await.synchronise(1, &[delete(1, 0x1_0000_0001)]).await;
    gateway.connected().await;
    assert_eq!(edge.take(), ["0x100000001 Delete", "answer 1: 0x100000001 NO_NODE", "answer 2: lost"]);
    assert_eq!(core.in_flight(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_tree_in_the_place_of_transactions_hides_what_became_of_a_write() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&leader.config(dir.path()));
    let edge = &gateway.edge;
    let mut peer = leader.accept().await;
    peer.synchronise(1, &[]).await;
    gateway.connected().await;
    gateway.forward(1).unwrap();
    peer.hears_request().await;
    drop(peer);
    let mut recorded = SNAP.to_vec();
    let starts = |head: &[u8]| SNAP.windows(head.len()).position(|window| window == head).unwrap();
    for head in [&[0, 0, 0, 0x11, 0, 0, 0, 1, 0, 0, 0, 0], &[0, 0, 0, 0x0a, 0, 0, 0, 1, 0, 0, 0, 0]] {
        recorded[starts(head) + 7] = 2;
    }
    let mut peer = leader.accept().await;
    peer.say(&recorded).await;
    peer.confirm().await;
    gateway.connected().await;
    assert_eq!(edge.take(), ["replaced 0x0 by 0x10000000b", "answer 1: lost"]);
    gateway.stop().await;
}

#[tokio::test]
async fn an_own_write_proves_how_fresh_the_replica_is() {
    let (leader, dir) = (Leader::new().await, tempfile::tempdir().unwrap());
    let gateway = Gateway::start(&leader.config(dir.path()));
    let mut peer = leader.accept().await;
    peer.synchronise(1, &[]).await;
    gateway.connected().await;
    assert_eq!(gateway.core.proven(), None);
    let before = std::time::Instant::now();
    for cxid in 1..=2 {
        gateway.forward(cxid).unwrap();
        peer.hears_request().await;
        peer.inform(&delete(cxid, 0x1_0000_0000 + i64::from(cxid))).await;
        gateway.edge.until(&format!("answer {cxid}")).await;
    }
    let proven = gateway.core.proven().unwrap();
    assert!(before <= proven && proven <= std::time::Instant::now());
    gateway.stop().await;
}
