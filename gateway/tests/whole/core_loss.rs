//! What clients see while leaders, the whole core, or gateways come and go.

use crate::support::{Client, Core, Session, ask, connected, disconnected};
use palisade_gateway::GatewayHandle;
use palisade_wire::ErrorCode;
use tempfile::TempDir;

const EPHEMERAL: i32 = 1;

/// Asks until it is answered, with the same session.
async fn persistent_client(gateway: &GatewayHandle, session: Session) -> Client {
    loop {
        connected(gateway).await;
        if let Ok(client) = Client::resume(gateway.client_address(), session).await {
            return client;
        }
    }
}

/// Makes znodes until so many were acknowledged; a client whose connection ends comes back with its session.
async fn make(gateway: &GatewayHandle, mut client: Client, count: usize, made: &mut Vec<String>) -> Client {
    let mut acknowledged = 0;
    for n in made.len().. {
        let name = format!("{n:05}");
        match client.create(&format!("/made/{name}"), 0).await {
            Ok(ErrorCode::OK) => {
                made.push(name);
                acknowledged += 1;
            }
            // The one of which nobody knew whether it was made.
            Ok(ErrorCode::NODE_EXISTS) => made.push(name),
            Ok(ErrorCode::CONNECTION_LOSS) => {}
            Ok(error) => panic!("{error:?}"),
            Err(_) => client = persistent_client(gateway, client.session).await,
        }
        if acknowledged == count {
            break;
        }
    }
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_two_gateways_see_one_tree_and_each_others_changes() {
    let core = Core::start().await;
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let one = core.gateway(101, folders[0].path()).await;
    let two = core.gateway(102, folders[1].path()).await;
    connected(&one).await;
    connected(&two).await;
    let mut ann = Client::connect(one.client_address()).await;
    let mut bob = Client::connect(two.client_address()).await;
    assert_ne!(ann.session.id, bob.session.id);

    assert_eq!(ann.create("/a", 0).await.unwrap(), ErrorCode::OK);
    assert_eq!(ann.get("/a", false).await.unwrap(), b"data", "a client reads its own writes");
    assert_eq!(bob.sync("/a").await.unwrap(), ErrorCode::OK);
    assert_eq!(
        bob.get("/a", true).await.unwrap(),
        b"data",
        "after sync, what was acknowledged anywhere is there"
    );
    assert_eq!(bob.create("/a", 0).await.unwrap(), ErrorCode::NODE_EXISTS);
    assert_eq!(ann.set("/a", b"new").await.unwrap(), ErrorCode::OK);
    assert_eq!(bob.event().await, "NodeDataChanged /a");
    assert_eq!(bob.get("/a", false).await.unwrap(), b"new");

    assert_eq!(ann.create("/a/mine", EPHEMERAL).await.unwrap(), ErrorCode::OK);
    bob.sync("/").await.unwrap();
    assert_eq!(bob.children("/a").await, ["mine"]);
    ann.close().await;
    bob.sync("/").await.unwrap();
    assert_eq!(bob.children("/a").await, [""; 0]);
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_leaders_and_the_whole_core_and_the_session_goes_on() {
    let mut core = Core::start().await;
    let folder = TempDir::new().unwrap();
    let gateway = core.gateway(101, folder.path()).await;
    connected(&gateway).await;
    let mut client = Client::connect(gateway.client_address()).await;
    let session = client.session.id;
    client.create("/made", 0).await.unwrap();
    assert_eq!(client.create("/mine", EPHEMERAL).await.unwrap(), ErrorCode::OK);
    let mut made = Vec::new();
    for _ in 0..2 {
        client = make(&gateway, client, 50, &mut made).await;
        let leader = core.leader_of(&gateway).await;
        core.kill(leader).await;
        client = make(&gateway, client, 50, &mut made).await;
        core.restart(leader).await;
    }
    core.kill_all().await;
    disconnected(&gateway).await;
    core.restart_all().await;
    client = make(&gateway, client, 50, &mut made).await;
    assert_eq!(client.session.id, session);
    assert_eq!(client.get("/mine", false).await.unwrap(), b"data");
    client.sync("/").await.unwrap();
    let mut found = client.children("/made").await;
    found.sort();
    made.retain(|name| found.binary_search(name).is_err());
    assert_eq!(made, [""; 0], "acknowledged, and lost");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_restarts_without_a_core_has_its_replica_and_catches_up_later() {
    let mut core = Core::start().await;
    let (folder, other_folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let gateway = core.gateway(101, folder.path()).await;
    connected(&gateway).await;
    let mut client = Client::connect(gateway.client_address()).await;
    for n in 0..20 {
        client.create(&format!("/{n}"), 0).await.unwrap();
    }
    client.close().await;
    let before = ask(&gateway, "srvr").await;
    gateway.stop().await;
    core.kill_all().await;

    let gateway = core.gateway(101, folder.path()).await;
    let now = ask(&gateway, "srvr").await;
    for what in ["Zxid: ", "Node count: "] {
        let line = |text: &str| text.lines().find(|l| l.starts_with(what)).map(str::to_owned);
        assert!(line(&before).is_some());
        assert_eq!(line(&before), line(&now));
    }
    core.restart_all().await;
    let other = core.gateway(102, other_folder.path()).await;
    connected(&other).await;
    let mut elsewhere = Client::connect(other.client_address()).await;
    elsewhere.create("/late", 0).await.unwrap();
    connected(&gateway).await;
    let mut client = Client::connect(gateway.client_address()).await;
    client.sync("/").await.unwrap();
    assert_eq!(client.get("/late", false).await.unwrap(), b"data");
    assert_eq!(client.get("/19", false).await.unwrap(), b"data");
    gateway.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_missed_too_much_is_sent_a_snapshot_and_sessions_move_to_it() {
    let core = Core::remembering(500).await;
    let (folder, other_folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let other = core.gateway(102, other_folder.path()).await;
    connected(&other).await;
    let mut client = Client::connect(other.client_address()).await;
    client.create("/made", 0).await.unwrap();
    let client = make(&other, client, 600, &mut Vec::new()).await;

    let gateway = core.gateway(101, folder.path()).await;
    connected(&gateway).await;
    let has = |name: &str| std::fs::exists(folder.path().join("version-2").join(name)).unwrap();
    assert!(!has("snapshot.0"), "it was sent a difference");
    // Moves with its session to where all that it has seen must be.
    let mut moved = Client::resume(gateway.client_address(), client.session).await.unwrap();
    assert_eq!(moved.session.id, client.session.id);
    assert_eq!(moved.children("/made").await.len(), 600);
    assert_eq!(moved.create("/moved", EPHEMERAL).await.unwrap(), ErrorCode::OK);
    moved.close().await;
    gateway.stop().await;
    other.stop().await;
}
