//! Requests from a seed.
//!
//! What may differ between versions of Apache ZooKeeper is not generated; `tests/README.md` lists it.

use palisade_wire::request::{Create, PathWatch, Request};
use palisade_wire::{CreateMode, OpCode};

use super::Version;
use super::chance::Chance;
use super::step::{Call, ROOT};
use super::watches::Watching;
use super::{acls, malformed, paths, quotas};

const VERSIONS: [i32; 8] = [-1, -1, -1, 0, 1, 2, -2, i32::MAX];
const DATA: [Option<&[u8]>; 5] = [Some(b"one"), Some(b"another"), Some(b""), None, Some(b"\0\xff")];
/// Flags of the creates without a time to live, the wrong ones seldom.
const FLAGS: [(usize, i32); 9] = [(8, 0), (6, 1), (4, 2), (3, 3), (1, 4), (1, 5), (1, 6), (1, 7), (1, -1)];
const YEAR_MS: i64 = 31_000_000_000;

/// What a sequence is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Theme {
    /// Everybody may read.
    Open,
    /// Permissions may be missing. Whether events need READ differs between versions.
    Restricted,
    /// Quotas are enforced by what is applied, so no write may be under way when another comes.
    Quotas,
}

/// Requests that fit together.
#[derive(Debug)]
pub(super) struct Calls {
    version: Version,
    theme: Theme,
    /// None where events may differ.
    watching: Option<Watching>,
}

#[derive(Clone, Copy)]
enum Kind {
    Create,
    Delete,
    SetData,
    Multi,
    Exists,
    GetData,
    GetAcl,
    GetChildren,
    GetChildren2,
    MultiRead,
    Number,
    Ephemerals,
    WhoAmI,
    AddWatch,
    CheckWatches,
    RemoveWatches,
    SetWatches,
    Reconfig,
    Quota,
}

impl Calls {
    /// Those of one sequence.
    pub(super) fn new(chance: &mut Chance, version: Version) -> Self {
        let theme = chance.weighted(&[(55, Theme::Open), (35, Theme::Restricted), (10, Theme::Quotas)]);
        let watching = Watching::new(chance, version);
        let is_watched = theme != Theme::Restricted || version == Version::V39;
        Self { version, theme, watching: is_watched.then_some(watching) }
    }

    /// What must stand first.
    pub(super) fn first(&self) -> Vec<Call> {
        if self.theme == Theme::Quotas { quotas::folders().into() } else { Vec::new() }
    }

    /// A request by itself.
    pub(super) fn alone(&self, chance: &mut Chance, slot: usize) -> Call {
        let is_restricted = self.theme == Theme::Restricted;
        let mut call =
            match chance.weighted(&[(90, 0), (2, 1), (2, 2), (if is_restricted { 6 } else { 2 }, 3), (1, 4)])
            {
                0 => self.any(chance, slot),
                1 => return Call::ping(),
                2 => sync(chance),
                3 => self.set_acl(chance),
                _ => Call::new(OpCode::Sasl, &Request::Sasl(chance.pick(&[None, Some(b""), Some(b"token")]))),
            };
        if chance.percent(6) && !call.is(OpCode::Sasl) {
            malformed::break_one(chance, self.version, &mut call);
        }
        if chance.percent(2) && call.xid.is_none() {
            call.xid = Some(chance.pick(&[0, 1, -3, -5, -9, i32::MAX, i32::MIN]));
        }
        call
    }

    /// Requests that are sent in one go.
    pub(super) fn pipeline(&self, chance: &mut Chance, slot: usize) -> Vec<Call> {
        let count = 2 + chance.index(6);
        let mut acl_changed = false;
        let mut calls = Vec::with_capacity(count);
        while calls.len() < count {
            let mut call = match chance.weighted(&[(88, 0), (4, 1), (4, 2), (4, 3)]) {
                0 => self.any(chance, slot),
                1 => Call::ping(),
                2 => sync(chance),
                _ => self.set_acl(chance),
            };
            let no_more_writes = acl_changed || self.theme == Theme::Quotas && !calls.is_empty();
            if no_more_writes && !call.is_read() {
                continue;
            }
            if call.is_read() && chance.percent(3) {
                malformed::break_one(chance, self.version, &mut call);
            }
            // The rule on writes behind a setACL.
            acl_changed |= call.is(OpCode::SetAcl);
            calls.push(call);
        }
        calls
    }

    /// A well-formed request whose reply comes in its turn.
    pub(super) fn any(&self, chance: &mut Chance, slot: usize) -> Call {
        let kinds = [
            (22, Kind::Create),
            (10, Kind::Delete),
            (10, Kind::SetData),
            (10, Kind::Multi),
            (7, Kind::Exists),
            (7, Kind::GetData),
            (if self.theme == Theme::Restricted { 4 } else { 1 }, Kind::GetAcl),
            (4, Kind::GetChildren),
            (4, Kind::GetChildren2),
            (4, Kind::MultiRead),
            (2, Kind::Number),
            (2, Kind::Ephemerals),
            (1, Kind::WhoAmI),
            (4, Kind::AddWatch),
            (2, Kind::CheckWatches),
            (2, Kind::RemoveWatches),
            (3, Kind::SetWatches),
            (1, Kind::Reconfig),
            (if self.theme == Theme::Quotas { 30 } else { 0 }, Kind::Quota),
        ];
        match (chance.weighted(&kinds), &self.watching) {
            (Kind::Create, _) => self.create(chance),
            (Kind::Delete, _) => Call::new(OpCode::Delete, &delete(chance)),
            (Kind::SetData, _) => Call::new(OpCode::SetData, &set_data(chance)),
            (Kind::Multi, _) => self.multi(chance),
            (Kind::GetData, _) => self.read(chance, slot, OpCode::GetData, Request::GetData),
            (Kind::GetAcl, _) => Call::new(OpCode::GetAcl, &Request::GetAcl(paths::any(chance).into())),
            (Kind::GetChildren, _) => self.read(chance, slot, OpCode::GetChildren, Request::GetChildren),
            (Kind::GetChildren2, _) => self.read(chance, slot, OpCode::GetChildren2, Request::GetChildren2),
            (Kind::MultiRead, _) => multi_read(chance),
            (Kind::Number, _) => number(chance),
            (Kind::Ephemerals, _) => ephemerals(chance),
            (Kind::WhoAmI, _) => Call::new(OpCode::WhoAmI, &Request::WhoAmI),
            (Kind::Reconfig, _) => reconfig(chance),
            (Kind::Quota, _) => quotas::any(chance),
            (Kind::AddWatch, Some(watching)) => watching.add(chance, slot),
            (Kind::CheckWatches, Some(watching)) => watching.check(chance, slot),
            (Kind::RemoveWatches, Some(watching)) => watching.remove(chance, slot),
            (Kind::SetWatches, Some(watching)) => watching.set(chance, slot),
            _ => self.read(chance, slot, OpCode::Exists, Request::Exists),
        }
    }

    fn create(&self, chance: &mut Chance) -> Call {
        let ops =
            [(6, OpCode::Create), (4, OpCode::Create2), (1, OpCode::CreateContainer), (1, OpCode::CreateTtl)];
        let op = chance.weighted(&ops);
        let flags = match (op, chance.weighted(&FLAGS)) {
            // The rule on containers with an ephemeral's flag.
            (OpCode::CreateContainer, 1 | 3) => 2,
            (_, flags) => flags,
        };
        Call::new(op, &self.create_request(chance, op, flags))
    }

    fn create_request(&self, chance: &mut Chance, op: OpCode, flags: i32) -> Request<'static> {
        // A time to live that is negative, or that goes with no flag for it, harms Apache's server.
        let (flags, ttl_ms) = match op {
            OpCode::CreateTtl if chance.percent(80) => {
                (chance.pick(&[5, 6]), Some(chance.pick(&[YEAR_MS, YEAR_MS, 0, (1 << 40) - 1, 1 << 40])))
            }
            OpCode::CreateTtl => (flags, Some(YEAR_MS)),
            _ => (flags, None),
        };
        let path = if matches!(flags, 2 | 3 | 6) && chance.percent(80) {
            paths::sequential(chance)
        } else {
            paths::any(chance)
        };
        let acl = acls::any(chance, self.theme == Theme::Restricted);
        Request::Create(Create { path: path.into(), data: chance.pick(&DATA), acl, flags, ttl_ms })
    }

    fn set_acl(&self, chance: &mut Chance) -> Call {
        let path = paths::to_restrict(chance).into();
        let (acl, version) = (acls::any(chance, self.theme == Theme::Restricted), chance.pick(&VERSIONS));
        Call::new(OpCode::SetAcl, &Request::SetAcl { path, acl, version })
    }

    fn multi(&self, chance: &mut Chance) -> Call {
        let kinds = [
            (4, OpCode::Create),
            (1, OpCode::Create2),
            (1, OpCode::CreateContainer),
            (1, OpCode::CreateTtl),
            (4, OpCode::Delete),
            (4, OpCode::SetData),
            (4, OpCode::Check),
        ];
        let ops = (0..chance.index(5)).map(|_| {
            let op = chance.weighted(&kinds);
            let request = match op {
                OpCode::Delete => delete(chance),
                OpCode::SetData => set_data(chance),
                OpCode::Check => {
                    let (path, version) = (paths::to_write(chance).into(), chance.pick(&VERSIONS));
                    Request::Check { path, version }
                }
                op => {
                    let flags = match op {
                        OpCode::CreateContainer => CreateMode::Container.flags(),
                        // The rule on wrong flags within a multi.
                        _ if self.version == Version::V39 && chance.percent(3) => chance.pick(&[5, 6, 9]),
                        _ => chance.pick(&[0, 0, 0, 1, 2, 3, 4]),
                    };
                    self.create_request(chance, op, flags)
                }
            };
            (op, request)
        });
        Call::new(OpCode::Multi, &Request::Multi(ops.collect()))
    }

    fn read<'a>(
        &self,
        chance: &mut Chance,
        slot: usize,
        op: OpCode,
        request: impl Fn(PathWatch<'a>) -> Request<'a>,
    ) -> Call {
        let path = match &self.watching {
            Some(watching) if chance.percent(50) => watching.once(chance, slot),
            _ => PathWatch { path: paths::any(chance).into(), watch: false },
        };
        Call::new(op, &request(path))
    }
}

fn sync(chance: &mut Chance) -> Call {
    let path = if chance.percent(90) { Some(paths::any(chance).into()) } else { None };
    Call::new(OpCode::Sync, &Request::Sync(path))
}

fn delete(chance: &mut Chance) -> Request<'static> {
    Request::Delete { path: paths::to_write(chance).into(), version: chance.pick(&VERSIONS) }
}

fn set_data(chance: &mut Chance) -> Request<'static> {
    Request::SetData {
        path: paths::to_write(chance).into(),
        data: chance.pick(&DATA),
        version: chance.pick(&VERSIONS),
    }
}

fn multi_read(chance: &mut Chance) -> Call {
    let ops = (0..chance.index(5)).map(|_| {
        let path = PathWatch { path: paths::any(chance).into(), watch: chance.percent(20) };
        match chance.percent(50) {
            true => (OpCode::GetData, Request::GetData(path)),
            false => (OpCode::GetChildren, Request::GetChildren(path)),
        }
    });
    Call::new(OpCode::MultiRead, &Request::MultiRead(ops.collect()))
}

/// Of any path but the empty one, for which Apache counts the root twice.
fn number(chance: &mut Chance) -> Call {
    let path = match paths::any(chance) {
        path if path.is_empty() => ROOT.to_owned(),
        path => path,
    };
    Call::new(OpCode::GetAllChildrenNumber, &Request::GetAllChildrenNumber(path.into()))
}

fn ephemerals(chance: &mut Chance) -> Call {
    let prefix = match chance.index(5) {
        0 => None,
        1 => Some("/".into()),
        2 => Some(" ".into()),
        _ => Some(paths::any(chance).into()),
    };
    Call::new(OpCode::GetEphemerals, &Request::GetEphemerals(prefix))
}

fn reconfig(chance: &mut Chance) -> Call {
    let mut text = |text: &'static str| if chance.percent(50) { Some(text.into()) } else { None };
    let (joining, leaving) = (text("server.9=127.0.0.1:1:2"), text("1"));
    let members = text("nonsense");
    Call::new(OpCode::Reconfig, &Request::Reconfig { joining, leaving, members, config_id: -1 })
}
