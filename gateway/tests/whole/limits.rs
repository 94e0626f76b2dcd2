//! A client that takes a lock for every order, and what its neighbours notice of it.

use palisade_gateway::throttle::config::{Limit, Mode};
use palisade_gateway::{Config, Gateway, GatewayHandle, Listeners};
use palisade_wire::ErrorCode;
use tempfile::TempDir;

use crate::support::{Client, Core, connected};

const EPHEMERAL_SEQUENTIAL: i32 = 3;

async fn start(config: Config) -> GatewayHandle {
    let gateway = Gateway::start(config, Listeners::default()).await.unwrap();
    connected(&gateway).await;
    gateway
}

/// A budget that no test outruns by being slow: in a minute, less than one more than `parents`.
fn lock_parents(mode: Mode, parents: u64) -> Limit {
    Limit { mode, tenant: parents, address: parents, session: parents, prefix: 0 }
}

/// Takes and releases the lock of one order after the other, as long as it is let.
async fn storm(client: &mut Client, orders: std::ops::Range<u32>) -> (u32, ErrorCode) {
    storm_of(client, orders, &[""]).await
}

/// The same, where the locks' parents are the last of these below each order.
async fn storm_of(client: &mut Client, orders: std::ops::Range<u32>, below: &[&str]) -> (u32, ErrorCode) {
    let mut taken = 0;
    for order in orders {
        let parents = below.iter().map(|name| (format!("/orders/{order}{name}"), 0));
        let parent = format!("/orders/{order}{}", below.last().unwrap());
        // Where each has a parent of its own, that is when it is limited.
        for (path, flags) in parents.chain([(format!("{parent}/lock-"), EPHEMERAL_SEQUENTIAL)]) {
            match client.create(&path, flags).await.unwrap() {
                ErrorCode::OK => {}
                refused => return (taken, refused),
            }
        }
        taken += 1;
        assert_eq!(client.delete(&format!("{parent}/lock-0000000000")).await.unwrap(), ErrorCode::OK);
    }
    (taken, ErrorCode::OK)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_for_every_order_is_refused_and_everything_else_goes_on() {
    let core = Core::start().await;
    let folder = TempDir::new().unwrap();
    let mut config = core.config(101, folder.path());
    config.throttle.lock_parents = lock_parents(Mode::Refuse, 5);
    config.throttle.short_locks.mode = Mode::Off;
    let gateway = start(config.clone()).await;
    let mut abuser = Client::connect(gateway.client_address()).await;
    let mut neighbour = Client::connect(gateway.client_address()).await;
    abuser.create("/orders", 0).await.unwrap();

    let (taken, refused) = storm(&mut abuser, 0..1_000_000).await;
    assert_eq!(refused, ErrorCode::OPERATION_TIMEOUT, "which old clients know and new ones try again");
    assert!(taken >= 55, "50 show what it is, 5 are its budget: {taken}");

    // Whoever is no part of it notices nothing, from the same address and in the same session.
    for path in ["/leader", "/services"] {
        neighbour.create(path, 0).await.unwrap();
    }
    for n in 0..20 {
        let registered = neighbour.create(&format!("/services/n-{n}-"), EPHEMERAL_SEQUENTIAL).await.unwrap();
        assert_eq!(registered, ErrorCode::OK);
        for client in [&mut neighbour, &mut abuser] {
            let elected = client.create("/leader/n-", EPHEMERAL_SEQUENTIAL).await.unwrap();
            assert_eq!(elected, ErrorCode::OK);
        }
    }
    let (_, still) = storm(&mut abuser, 1_000_000..2_000_000).await;
    assert_eq!(still, ErrorCode::OPERATION_TIMEOUT);
    let fine_grained = |prefix: &str| {
        let uses = gateway.busiest_locks(10);
        uses.iter().find(|locks| locks.prefix == prefix).map(|locks| locks.fine_grained)
    };
    assert_eq!(["/orders", "/"].map(fine_grained), [Some(true), Some(false)]);

    // Other limits hold at once, and for connections that are there.
    config.throttle.lock_parents.mode = Mode::Off;
    gateway.reload(&config).unwrap();
    assert_eq!(storm(&mut abuser, 2_000_000..2_000_200).await, (200, ErrorCode::OK));
    config.throttle.lock_parents = lock_parents(Mode::Refuse, 5);
    gateway.reload(&config).unwrap();
    assert_eq!(storm(&mut abuser, 3_000_000..4_000_000).await.1, ErrorCode::OPERATION_TIMEOUT);
    config.throttle.lock_parents.address = 1;
    assert_eq!(gateway.reload(&config).unwrap_err().len(), 1, "a session may not have more than its address");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_back_is_done_in_order_and_pings_are_answered_meanwhile() {
    let core = Core::start().await;
    let folder = TempDir::new().unwrap();
    let mut config = core.config(101, folder.path());
    config.throttle.writes = Limit { mode: Mode::Delay, tenant: 0, address: 0, session: 1, prefix: 0 };
    let gateway = start(config).await;
    let mut client = Client::connect(gateway.client_address()).await;
    assert_eq!(client.create("/a", 0).await.unwrap(), ErrorCode::OK);
    // Held back for a second; what is behind it waits with it, but for the ping.
    let write = client.send_create("/a/b", 0).await;
    let read = client.send_children("/a").await;
    client.ping().await.unwrap();
    let (header, _) = client.reply().await.unwrap();
    assert_eq!((header.xid, header.err), (write, ErrorCode::OK));
    let (header, body) = client.reply().await.unwrap();
    assert_eq!((header.xid, header.err), (read, ErrorCode::OK));
    let children = palisade_wire::Reader::new(&body).vec("children", |r| Ok(r.string("child")?.into_owned()));
    assert_eq!(children.unwrap(), ["b"]);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_that_stand_further_below_their_orders_are_refused_too() {
    let core = Core::start().await;
    let folder = TempDir::new().unwrap();
    let mut config = core.config(101, folder.path());
    config.throttle.lock_parents = lock_parents(Mode::Refuse, 5);
    config.throttle.short_locks.mode = Mode::Off;
    let gateway = start(config).await;
    let mut abuser = Client::connect(gateway.client_address()).await;
    abuser.create("/orders", 0).await.unwrap();
    for (layout, (first, below)) in
        [(0, &["", "/leases"][..]), (1_000_000, &["", "/row", "/row/lock"])].iter().enumerate()
    {
        let (taken, refused) = storm_of(&mut abuser, *first..first + 100_000, below).await;
        assert_eq!(refused, ErrorCode::OPERATION_TIMEOUT, "layout {layout}");
        assert!(taken >= 100 || layout > 0, "100 show what it is, 5 are its budget: {taken}");
        assert_eq!(gateway.busiest_locks(1)[0].prefix, "/orders");
    }
    assert_eq!(abuser.create("/leader", 0).await.unwrap(), ErrorCode::OK);
    assert_eq!(abuser.create("/leader/n-", EPHEMERAL_SEQUENTIAL).await.unwrap(), ErrorCode::OK);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_that_end_with_their_sessions_are_given_back_and_those_that_fail_were_never_taken() {
    let core = Core::start().await;
    let folder = TempDir::new().unwrap();
    let gateway = start(core.config(101, folder.path())).await;
    let mut owner = Client::connect(gateway.client_address()).await;
    for path in ["/rows", "/rows/1"] {
        owner.create(path, 0).await.unwrap();
    }
    for _ in 0..60 {
        let mut client = Client::connect(gateway.client_address()).await;
        assert_eq!(client.create("/none/lock-", EPHEMERAL_SEQUENTIAL).await.unwrap(), ErrorCode::NO_NODE);
        for _ in 0..2 {
            assert_eq!(client.create("/rows/1/lock-", EPHEMERAL_SEQUENTIAL).await.unwrap(), ErrorCode::OK);
        }
        assert_eq!(gateway.longest_queues(5), [("/rows/1".to_owned(), 2)]);
        client.close().await;
        assert_eq!(gateway.longest_queues(5), []);
    }
    let uses = gateway.busiest_locks(5);
    assert_eq!(uses.iter().map(|locks| &*locks.prefix).collect::<Vec<_>>(), ["/rows"]);
    assert!(uses[0].short_holds_per_s > 0.0, "{uses:?}");
    gateway.stop().await;
}
