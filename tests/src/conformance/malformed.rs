//! Requests that are broken on their way.

use palisade_wire::request::Request;
use palisade_wire::{CreateMode, OpCode};

use super::Version;
use super::chance::Chance;
use super::step::{Bytes, Call};

/// In place of a length, a count, a type, a flag.
const NUMBERS: [i32; 8] = [-1, -2, i32::MIN, i32::MAX, 0, 1, 0x10_0000, 0x0fff_ffff];

/// Breaks a request, if it is one that may be broken.
pub(super) fn break_one(chance: &mut Chance, version: Version, call: &mut Call) {
    if chance.percent(10) {
        // Ignored by all.
        call.body.extend_from_slice(b"more");
        return;
    }
    if call.body.is_empty() || harms(call) {
        return;
    }
    let mut body = call.body.clone();
    match chance.weighted(&[(3, 0), (3, 1), (2, 2)]) {
        0 => body.truncate(chance.index(body.len())),
        1 => {
            let at = if chance.percent(40) { 0 } else { chance.index(body.len()) };
            let number = chance.pick(&NUMBERS).to_be_bytes();
            body.iter_mut().skip(at).zip(number).for_each(|(byte, new)| *byte = new);
        }
        _ => {
            let at = chance.index(body.len());
            body[at] ^= 1 << chance.index(8);
        }
    }
    let broken = Call { body, ..call.clone() };
    if broken.request().is_none_or(|request| is_harmless(version, &request)) {
        *call = broken;
    }
}

/// Times to live can become such that Apache's server breaks, limits such that it refuses all that they are for.
fn harms(call: &Call) -> bool {
    let is_quota = |path: &str| path.starts_with("/zookeeper/quota");
    match call.request() {
        Some(Request::Create(create)) => create.ttl_ms.is_some() || is_quota(&create.path),
        Some(Request::SetData { path, .. }) => is_quota(&path),
        Some(Request::Multi(ops)) => ops.iter().any(|(op, _)| *op == OpCode::CreateTtl),
        _ => false,
    }
}

/// Whether a request that became another well-formed one is none of those that are not generated.
fn is_harmless(version: Version, request: &Request<'_>) -> bool {
    match request {
        Request::Delete { .. } | Request::SetData { .. } | Request::GetAcl(_) | Request::Sync(_) => true,
        Request::Create(create) => !matches!(create.flags, 1 | 3),
        Request::Multi(ops) => ops.iter().all(|(op, request)| match request {
            Request::Create(create) => {
                *op != OpCode::CreateTtl
                    && (version == Version::V39
                        || CreateMode::from_flags(create.flags).is_some_and(|mode| !mode.is_ttl()))
                    && (*op != OpCode::CreateContainer || create.flags == CreateMode::Container.flags())
            }
            _ => true,
        }),
        _ => false,
    }
}

/// Bytes for which the server closes the connection.
pub(super) fn garbage(chance: &mut Chance) -> Bytes {
    let lengths: [i32; 5] = [-1, i32::MIN, i32::MAX, 0x10_0000, 0x7075_6f72];
    Bytes(match chance.index(3) {
        // With a header: a gateway looks at it before it says that 1 MiB is too much.
        0 => [chance.pick(&lengths), 1, 5].map(i32::to_be_bytes).concat(),
        // A frame too short for a header.
        1 => frame(&vec![0; chance.index(8)]),
        // An auth without its fields.
        _ => frame(&[&[0xff, 0xff, 0xff, 0xfc, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 6][..], b"dig"].concat()),
    })
}

/// The beginning of a frame, which will not be acted on.
pub(super) fn half(chance: &mut Chance, call: &Call) -> Bytes {
    let whole = frame(&[&7_i32.to_be_bytes()[..], &call.op.to_be_bytes(), &call.body].concat());
    let len = chance.index(whole.len());
    Bytes(whole[..len].to_vec())
}

pub(super) fn frame(body: &[u8]) -> Vec<u8> {
    let len = i32::try_from(body.len()).expect("only short frames are made here");
    [&len.to_be_bytes()[..], body].concat()
}
