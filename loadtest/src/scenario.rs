//! Which request comes next, without chance: runs are comparable.

use std::borrow::Cow;
use std::sync::Arc;

use palisade_wire::request::{Create, PathWatch, Request};
use palisade_wire::{Acl, CreateMode, OpCode};

use crate::args::Scenario;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What to send.
    pub(crate) scenario: Scenario,
    /// Reads in a hundred operations of [`Scenario::Mixed`].
    pub(crate) reads: u32,
    /// The parent of everything that is created.
    pub(crate) root: String,
    /// Paths that are read and written.
    pub(crate) znodes: Vec<String>,
    /// Data that is written.
    pub(crate) data: Vec<u8>,
}

impl Plan {
    /// A create of a persistent, open znode.
    pub(crate) fn create<'a>(path: &'a str, data: &'a [u8]) -> Request<'a> {
        Request::Create(Create {
            path: Cow::Borrowed(path),
            data: Some(data),
            acl: Acl::open(),
            flags: CreateMode::Persistent.flags(),
            ttl_ms: None,
        })
    }
}

/// The requests of one connection.
#[derive(Debug)]
pub(crate) struct Requests {
    plan: Arc<Plan>,
    connection: usize,
    count: usize,
    own_path: String,
}

impl Requests {
    /// The requests of connection number `connection`.
    pub(crate) fn new(plan: Arc<Plan>, connection: usize) -> Self {
        let own_path = format!("{}/connection-{connection}", plan.root);
        Self { plan, connection, count: 0, own_path }
    }

    /// Hands the next request to `send`.
    pub(crate) fn next<T>(&mut self, send: impl FnOnce(OpCode, &Request<'_>) -> T) -> T {
        let n = self.count;
        self.count += 1;
        let plan = &*self.plan;
        let read = match plan.scenario {
            Scenario::Get => true,
            Scenario::Set => false,
            Scenario::Mixed => is_read(n, plan.reads),
            Scenario::CreateDelete if n.is_multiple_of(2) => {
                return send(OpCode::Create, &Plan::create(&self.own_path, &plan.data));
            }
            Scenario::CreateDelete => {
                return send(
                    OpCode::Delete,
                    &Request::Delete { path: Cow::Borrowed(&self.own_path), version: -1 },
                );
            }
        };
        // Connections start at different znodes and all visit every one.
        let path = Cow::Borrowed(&*plan.znodes[(n + self.connection * 31) % plan.znodes.len()]);
        if read {
            send(OpCode::GetData, &Request::GetData(PathWatch { path, watch: false }))
        } else {
            send(OpCode::SetData, &Request::SetData { path, data: Some(&plan.data), version: -1 })
        }
    }

    /// Whether a whole number of create-delete pairs has been sent.
    pub(crate) fn is_balanced(&self) -> bool {
        self.plan.scenario != Scenario::CreateDelete || self.count.is_multiple_of(2)
    }
}

/// Spreads `percent` reads evenly over each hundred operations.
const fn is_read(n: usize, percent: u32) -> bool {
    let percent = percent as usize;
    let n = n % 100;
    (n + 1) * percent / 100 > n * percent / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(scenario: Scenario) -> Arc<Plan> {
        Arc::new(Plan {
            scenario,
            reads: 80,
            root: "/r".into(),
            znodes: vec!["/r/0".into(), "/r/1".into(), "/r/2".into()],
            data: vec![1],
        })
    }

    fn ops(scenario: Scenario, count: usize) -> Vec<OpCode> {
        let mut requests = Requests::new(plan(scenario), 1);
        (0..count).map(|_| requests.next(|op, _| op)).collect()
    }

    #[test]
    fn a_mix_has_its_proportion() {
        for percent in [0, 1, 33, 80, 100] {
            let reads = (0..1000).filter(|n| is_read(*n, percent)).count();
            assert_eq!(reads, percent as usize * 10);
        }
        let reads = ops(Scenario::Mixed, 100).iter().filter(|op| **op == OpCode::GetData).count();
        assert_eq!(reads, 80);
    }

    #[test]
    fn what_is_created_is_deleted() {
        assert_eq!(
            ops(Scenario::CreateDelete, 4),
            [OpCode::Create, OpCode::Delete, OpCode::Create, OpCode::Delete]
        );
        let mut requests = Requests::new(plan(Scenario::CreateDelete), 0);
        assert!(requests.is_balanced());
        requests.next(|_, _| ());
        assert!(!requests.is_balanced());
    }
}
