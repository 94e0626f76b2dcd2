use std::time::Duration;

use palisade_wire::reply::EventType;
use palisade_wire::request::{Request, SetWatches};
use palisade_wire::{ErrorCode, OpCode, Zxid};
use tokio::net::TcpStream;

use super::raw::*;
use super::*;
use crate::exec::status::PATH;

fn local() -> Config {
    let mut config = config();
    config.sessions.local = true;
    config
}

async fn mode(session: &mut Session) -> String {
    let status = data(&session.ok(OpCode::GetData, &get_data(PATH, false)).await);
    let status = String::from_utf8(status).unwrap();
    let (_, mode) = status.split_once("\"mode\":\"").unwrap();
    mode.split('"').next().unwrap().to_owned()
}

async fn wait_for_mode(session: &mut Session, wanted: &str) {
    while mode(session).await != wanted {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_status_tells_the_mode_and_its_watches_fire_when_that_changes() {
    let bench = Bench::with(local()).await;
    bench.core.answer_all();
    bench.core.write(OpCode::Create, &create("/a", 0));
    let mut session = bench.session().await;
    wait_for_mode(&mut session, "read-write").await;
    session.ok(OpCode::GetData, &get_data(PATH, true)).await;
    bench.core.disconnect();
    assert_eq!(session.event().await, (bench.core.zxid(), EventType::NodeDataChanged, PATH.to_owned()));
    assert_eq!(mode(&mut session).await, "stale");
    // Whoever comes back cannot know what it missed.
    let watches = SetWatches { data: vec![PATH.into()], ..set_watches(bench.core.zxid()) };
    session.send(OpCode::SetWatches, &Request::SetWatches(watches)).await;
    assert_eq!(session.event().await, (Zxid(-1), EventType::NodeDataChanged, PATH.to_owned()));
    session.reply().await;
    bench.core.reconnect();
    wait_for_mode(&mut session, "read-write").await;
}

#[tokio::test]
async fn the_status_cannot_be_written() {
    let bench = Bench::with(local()).await;
    let mut session = bench.session().await;
    for (op, write) in [
        (OpCode::Create, create("/zookeeper/palisade", 0)),
        (OpCode::Create, create(PATH, 0)),
        (OpCode::SetData, set_data(PATH, b"x")),
        (OpCode::Delete, delete(PATH)),
    ] {
        assert_eq!(session.err(op, &write).await, ErrorCode::NO_AUTH);
    }
    assert_eq!(bench.core.waiting(), 0);
}

#[tokio::test]
async fn nobody_reads_what_is_older_than_it_may_be() {
    let mut config = local();
    config.stale_reads.max_age = Some(Duration::from_secs(3_600));
    let bench = Bench::with(config).await;
    bench.core.write(OpCode::Create, &create("/a", 0));
    let mut session = bench.session().await;
    wait_for_mode(&mut session, "read-write").await;
    // No proof was ever made here, so nothing is known of the age without a leader.
    bench.core.disconnect();
    assert!(session.is_closed().await);
    assert!(session.again(bench.raw().await).await.is_none());
    bench.core.reconnect();
    let back = async {
        loop {
            if let Some(session) = session.again(bench.raw().await).await {
                return session;
            }
        }
    };
    let mut session = tokio::time::timeout(Duration::from_secs(20), back).await.unwrap();
    session.ok(OpCode::GetData, &get_data("/a", false)).await;
}

#[tokio::test]
async fn who_drains_lets_nobody_in_and_everybody_out_and_ends_no_session() {
    let mut config = local();
    config.gateway.drain = Duration::from_millis(50);
    let here = Bench::with(config).await;
    let there = here.beside(Config { id: 102, ..local() }).await;
    here.core.answer_all();
    there.core.answer_all();
    let (mut reader, mut owner) = (here.session().await, here.session().await);
    owner.ok(OpCode::Create, &create("/mine", 1)).await;
    let address = here.edge.client_address();
    here.edge.drain().await;
    assert!(reader.is_closed().await && owner.is_closed().await);
    assert!(TcpStream::connect(address).await.is_err());
    for session in [reader, owner] {
        let mut session = session.again(there.raw().await).await.expect("the session lives elsewhere");
        session.ok(OpCode::Exists, &exists("/mine", false)).await;
    }
    here.edge.stop().await;
}
