//! Real clients' lock recipes: which of them are told to be fine-grained, and that limits on those strand nothing.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use palisade_tests::clients::OrderLocker;
use palisade_tests::herd::Client;
use palisade_tests::http;
use palisade_tests::palisade::{Core, Gateway};
use palisade_tests::wait::wait_for;
use serde_json::Value;

fn top(gateway: &Gateway) -> Value {
    let page = http::get(gateway.ports()[1], "/top?n=100").unwrap();
    serde_json::from_str(&page.body).unwrap()
}

/// What `/top` says of the locks below a path.
fn lock_use(gateway: &Gateway, prefix: &str) -> Option<Value> {
    let top = top(gateway);
    top["locks"].as_array()?.iter().find(|lock| lock["name"] == prefix).cloned()
}

#[test]
fn orders_are_told_from_elections() {
    let mut core = Core::start();
    // So few that they are reached by what two programs do.
    let limit = "{ mode = \"delay\", tenant = 400, address = 200, session = 30, prefix = 100 }";
    let settings = [("tenant.root", "\"/tenants/orders\""), ("throttle.lock_parents", limit)];
    let gateway = core.gateway_with(101, "orders", &settings);
    let lockers = [OrderLocker::kazoo(&gateway.address(), 0), OrderLocker::curator(&gateway.address(), 0)];
    for (name, locker) in ["kazoo", "curator"].into_iter().zip(lockers) {
        let (orders, services) = (format!("/{name}-orders"), format!("/{name}-services"));
        wait_for(&format!("{orders} told to be fine-grained"), || {
            let found = lock_use(&gateway, &orders)?;
            (found["fine_grained"] == true).then_some(())
        });
        let services = lock_use(&gateway, &services).unwrap();
        assert_eq!(services["fine_grained"], false, "{services}");
        locker.finish();
    }
}

#[test]
fn the_same_orders_again_and_again_are_slowed_down_and_none_is_stranded() {
    const ORDERS: u32 = 5;
    let mut core = Core::start();
    let limit = "{ mode = \"delay\", tenant = 400, address = 100, session = 3, prefix = 0 }";
    let gateway = core.gateway_with(101, "orders", &[("throttle.short_locks", limit)]);
    let lockers =
        [OrderLocker::kazoo(&gateway.address(), ORDERS), OrderLocker::curator(&gateway.address(), ORDERS)];
    wait_for("the limit reached", || {
        let metrics = http::get(gateway.ports()[1], "/metrics").ok()?.body;
        let count = metrics.lines().find_map(|line| line.strip_prefix("palisade_limit_short_locks "));
        (count?.parse::<f64>().ok()? > 0.0).then_some(())
    });
    for prefix in ["/kazoo-orders", "/curator-orders"] {
        assert_eq!(lock_use(&gateway, prefix).unwrap()["fine_grained"], false, "its parents are not new");
    }
    lockers.into_iter().for_each(OrderLocker::finish);
    let mut client = Client::connect(&gateway.address(), 30_000).unwrap();
    client.sync().unwrap();
    for order in 0..ORDERS {
        // What holds a lock, or waits for it, is below its parent: that can be deleted only if nothing is.
        client.delete(&format!("/kazoo-orders/order-{order}")).unwrap();
    }
}
