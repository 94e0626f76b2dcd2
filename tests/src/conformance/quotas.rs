//! Requests on the znodes that are a quota.

use palisade_wire::request::{Create, PathWatch, Request};
use palisade_wire::{Acl, OpCode};

use super::chance::Chance;
use super::step::{Call, ROOT};

const LIMITED: [&str; 4] = ["", "/a", "/a", "/a/x"];
const NAMES: [&str; 5] =
    ["", "/zookeeper_limits", "/zookeeper_limits", "/zookeeper_stats", "/zookeeper_stats"];
const TEXTS: [&str; 10] = [
    "count=3,bytes=10",
    "count=-1,bytes=-1=;byteHardLimit=12;countHardLimit=-1",
    "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=3",
    "count=1,bytes=1=;byteHardLimit=20;countHardLimit=4",
    "count=2,bytes=2=;byteHardLimit=0;countHardLimit=0",
    "bytes=3,count=7",
    "count=0,bytes=0",
    "count=5",
    "",
    "count=1,bytes=2=;other=3",
];

/// A znode of a quota is made, changed, deleted or read.
pub(super) fn any(chance: &mut Chance) -> Call {
    let path = format!("/zookeeper/quota{ROOT}{}{}", chance.pick(&LIMITED), chance.pick(&NAMES)).into();
    let data = Some(chance.pick(&TEXTS).as_bytes());
    match chance.weighted(&[(10, 0), (2, 1), (1, 2), (5, 3)]) {
        0 => {
            let create = Create { path, data, acl: Acl::open(), flags: 0, ttl_ms: None };
            Call::new(OpCode::Create, &Request::Create(create))
        }
        1 => Call::new(OpCode::SetData, &Request::SetData { path, data, version: -1 }),
        2 => Call::new(OpCode::Delete, &Request::Delete { path, version: -1 }),
        _ => Call::new(OpCode::GetData, &Request::GetData(PathWatch { path, watch: false })),
    }
}

/// What the whole sequence needs.
pub(super) fn folders() -> [Call; 3] {
    ["", "/a", "/a/x"].map(|limited| {
        let path = format!("/zookeeper/quota{ROOT}{limited}").into();
        let create = Create { path, data: None, acl: Acl::open(), flags: 0, ttl_ms: None };
        Call::new(OpCode::Create, &Request::Create(create))
    })
}
