//! Which request comes next, without chance: runs are comparable.

use std::borrow::Cow;

use palisade_wire::request::{PathWatch, Request};
use palisade_wire::{CreateMode, OpCode};

use crate::net::batch;

/// What connections send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Read data.
    Get,
    /// Read a Stat.
    Exists,
    /// List children.
    Children,
    /// Replace data.
    Set,
    /// So many getData in a hundred, and setData.
    Mixed(u32),
    /// Create persistent znodes.
    Create,
    /// Create an ephemeral, sequential znode, then delete it; both together are one operation.
    Ephemeral,
}

impl Load {
    /// The name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Exists => "exists",
            Self::Children => "children",
            Self::Set => "set",
            Self::Mixed(_) => "mixed",
            Self::Create => "create",
            Self::Ephemeral => "ephemeral",
        }
    }
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What to send.
    pub(crate) load: Load,
    /// The parent of what is created.
    pub(crate) root: String,
    /// Paths that are read and written.
    pub(crate) znodes: Vec<String>,
    /// Data that is written.
    pub(crate) data: Vec<u8>,
}

/// The requests of one connection.
#[derive(Debug)]
pub(crate) struct Requests {
    connection: usize,
    count: usize,
}

impl Requests {
    /// The requests of connection number `connection`.
    pub(crate) const fn new(connection: usize) -> Self {
        Self { connection, count: 0 }
    }

    /// Hands the next request to `send`.
    pub(crate) fn next<T>(&mut self, plan: &Plan, send: impl FnOnce(OpCode, &Request<'_>) -> T) -> T {
        let n = self.count;
        self.count += 1;
        // Connections start at different znodes and all visit every one.
        let path = || Cow::Borrowed(&*plan.znodes[(n + self.connection * 31) % plan.znodes.len()]);
        let watch = |path| PathWatch { path, watch: false };
        let set = || Request::SetData { path: path(), data: Some(&plan.data), version: -1 };
        match plan.load {
            Load::Get => send(OpCode::GetData, &Request::GetData(watch(path()))),
            Load::Exists => send(OpCode::Exists, &Request::Exists(watch(path()))),
            Load::Children => send(OpCode::GetChildren2, &Request::GetChildren2(watch(path()))),
            Load::Mixed(reads) if is_read(n, reads) => {
                send(OpCode::GetData, &Request::GetData(watch(path())))
            }
            Load::Set | Load::Mixed(_) => send(OpCode::SetData, &set()),
            Load::Create => {
                let path = format!("{}/created/{}-{n}", plan.root, self.connection);
                let (op, request) = batch::create(&path, &plan.data);
                send(op, &request)
            }
            Load::Ephemeral => {
                let path = format!("{}/created/e-", plan.root);
                let (op, request) = batch::create_as(&path, &plan.data, CreateMode::EphemeralSequential);
                send(op, &request)
            }
        }
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

    fn ops(load: Load, count: usize) -> Vec<OpCode> {
        let znodes = vec!["/r/0".into(), "/r/1".into(), "/r/2".into()];
        let plan = Plan { load, root: "/r".into(), znodes, data: vec![1] };
        let mut requests = Requests::new(1);
        (0..count).map(|_| requests.next(&plan, |op, _| op)).collect()
    }

    #[test]
    fn a_mix_has_its_proportion() {
        for percent in [0, 1, 33, 80, 100] {
            let reads = ops(Load::Mixed(percent), 1000).into_iter().filter(|op| *op == OpCode::GetData);
            assert_eq!(reads.count(), percent as usize * 10);
        }
    }

    #[test]
    fn each_load_sends_its_request() {
        let loads = [Load::Exists, Load::Children, Load::Set, Load::Create, Load::Ephemeral];
        let sent: Vec<OpCode> = loads.into_iter().flat_map(|load| ops(load, 1)).collect();
        use OpCode::{Create, Exists, GetChildren2, SetData};
        assert_eq!(sent, [Exists, GetChildren2, SetData, Create, Create]);
    }
}
