//! Requests from a seed.
//!
//! What may differ between versions of Apache ZooKeeper is not generated; `tests/README.md` lists it.

use std::borrow::Cow;

use palisade_wire::request::{Create, PathWatch, Request, SetWatches, xid};
use palisade_wire::{Acl, Id, OpCode, Perms, Zxid};

use super::chance::Chance;
use super::step::{Call, ROOT, Relative, SLOTS};

/// Below the root.
const PATHS: [&str; 14] = [
    "",
    "/a",
    "/a",
    "/a/x",
    "/a/x",
    "/a/y",
    "/a/x/k",
    "/b",
    "/b/x",
    "/b/y",
    "/a/s0000000000",
    "/a/s0000000001",
    "/a/s0000000002",
    "/b/s0000000001",
];
/// Below the root; most are not allowed.
const ODD: [&str; 12] = [
    "/a/",
    "//a",
    "/a//b",
    "/.",
    "/a/..",
    "/a/../b",
    "/a\0b",
    "/a\u{1}",
    "/\u{e000}",
    "/\u{fff0}",
    "/é",
    "/...",
];
/// Not below the root.
const ELSEWHERE: [&str; 7] = ["/", "/zookeeper", "/zookeeper/quota", "", "a", "/nowhere", "nowhere/"];
const VERSIONS: [i32; 6] = [-1, -1, 0, 1, 2, -2];
const DATA: [Option<&[u8]>; 4] = [Some(b"one"), Some(b"another"), Some(b""), None];
/// Flags of the creates without a time to live, the wrong ones seldom.
const FLAGS: [(usize, i32); 9] = [(8, 0), (6, 1), (4, 2), (3, 3), (1, 4), (1, 5), (1, 6), (1, 7), (1, -1)];
const YEAR_MS: i64 = 31_000_000_000;

/// How a client watches a path. One way for each, as older servers keep but one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Once,
    Persistent,
    Recursive,
}

/// Requests that fit together.
#[derive(Debug)]
pub(super) struct Calls {
    /// Whether permissions may be missing. There are no watches then: whether events need READ differs.
    restricted: bool,
    styles: [[Style; PATHS.len()]; SLOTS],
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
}

impl Calls {
    /// Those of one sequence.
    pub(super) fn new(chance: &mut Chance) -> Self {
        let restricted = chance.percent(35);
        let mut styles = [[Style::Once; PATHS.len()]; SLOTS];
        for style in styles.iter_mut().flatten() {
            *style = chance.weighted(&[(6, Style::Once), (2, Style::Persistent), (1, Style::Recursive)]);
        }
        Self { restricted, styles }
    }

    /// A request, now and then a malformed one, or one that must be sent alone.
    pub(super) fn any(&self, chance: &mut Chance, slot: usize) -> Call {
        if chance.percent(2) {
            return Call { xid: Some(xid::PING), ..Call::new(OpCode::Ping, &Request::Ping) };
        }
        if chance.percent(2) {
            let path = if chance.percent(90) { Some(any_path(chance).into()) } else { None };
            return Call::new(OpCode::Sync, &Request::Sync(path));
        }
        // The rule on requests behind a setACL.
        let set_acl = chance.percent(if self.restricted { 6 } else { 2 });
        let mut call = if set_acl { self.set_acl(chance) } else { self.ordered(chance, slot) };
        if chance.percent(3) && !call.body.is_empty() && call.relative.is_none() {
            call.body.truncate(chance.index(call.body.len()));
        } else if chance.percent(1) {
            call.body.extend_from_slice(b"more");
        }
        call
    }

    /// A well-formed request whose reply comes in its turn.
    pub(super) fn ordered(&self, chance: &mut Chance, slot: usize) -> Call {
        let kinds = [
            (22, Kind::Create),
            (10, Kind::Delete),
            (10, Kind::SetData),
            (10, Kind::Multi),
            (7, Kind::Exists),
            (7, Kind::GetData),
            (if self.restricted { 4 } else { 1 }, Kind::GetAcl),
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
        ];
        match chance.weighted(&kinds) {
            Kind::Create => self.create(chance),
            Kind::Delete => Call::new(OpCode::Delete, &delete(chance)),
            Kind::SetData => Call::new(OpCode::SetData, &set_data(chance)),
            Kind::Multi => self.multi(chance),
            Kind::Exists => self.read(chance, slot, OpCode::Exists, Request::Exists),
            Kind::GetData => self.read(chance, slot, OpCode::GetData, Request::GetData),
            Kind::GetAcl => Call::new(OpCode::GetAcl, &Request::GetAcl(any_path(chance).into())),
            Kind::GetChildren => self.children(chance, slot, OpCode::GetChildren, Request::GetChildren),
            Kind::GetChildren2 => self.children(chance, slot, OpCode::GetChildren2, Request::GetChildren2),
            Kind::MultiRead => multi_read(chance),
            Kind::Number => {
                let path = known_path(chance).into();
                Call::new(OpCode::GetAllChildrenNumber, &Request::GetAllChildrenNumber(path))
            }
            Kind::Ephemerals => ephemerals(chance),
            Kind::WhoAmI => Call::new(OpCode::WhoAmI, &Request::WhoAmI),
            Kind::Reconfig => reconfig(),
            _ if self.restricted => self.read(chance, slot, OpCode::GetData, Request::GetData),
            Kind::AddWatch => self.add_watch(chance, slot),
            Kind::CheckWatches => {
                let (path, kind) = self.watch_kind(chance, slot);
                Call::new(OpCode::CheckWatches, &Request::CheckWatches { path: path.into(), kind })
            }
            Kind::RemoveWatches => {
                let (path, kind) = self.watch_kind(chance, slot);
                Call::new(OpCode::RemoveWatches, &Request::RemoveWatches { path: path.into(), kind })
            }
            Kind::SetWatches => self.set_watches(chance, slot),
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
                (chance.pick(&[5, 6]), Some(chance.pick(&[YEAR_MS, YEAR_MS, 0, 1 << 40])))
            }
            OpCode::CreateTtl => (flags, Some(YEAR_MS)),
            _ => (flags, None),
        };
        let path = if matches!(flags, 2 | 3 | 6) && chance.percent(80) {
            format!("{ROOT}{}", chance.pick(&["/a/s", "/b/s", "/s", "/a/"]))
        } else {
            any_path(chance)
        };
        Request::Create(Create {
            path: path.into(),
            data: chance.pick(&DATA),
            acl: self.acl(chance),
            flags,
            ttl_ms,
        })
    }

    fn set_acl(&self, chance: &mut Chance) -> Call {
        let path = format!("{ROOT}{}", chance.pick(&PATHS[1..]));
        let version = chance.pick(&VERSIONS);
        Call::new(OpCode::SetAcl, &Request::SetAcl { path: path.into(), acl: self.acl(chance), version })
    }

    fn acl(&self, chance: &mut Chance) -> Vec<Acl> {
        let entry = |perms, scheme: &str, id: &str| Acl { perms: Perms(perms), id: Id::new(scheme, id) };
        let everybody_reads = entry(1, "world", "anyone");
        // The digests of ann:secret and of nobody.
        let ann = "ann:SlV1E9vpwW58TQH5p3m7xgBwEck=";
        let lists: [(usize, Vec<Acl>); 16] = [
            (40, Acl::open()),
            (4, vec![everybody_reads.clone()]),
            (4, vec![entry(31, "digest", ann), everybody_reads.clone()]),
            (4, vec![entry(31, "auth", ""), everybody_reads.clone()]),
            (2, vec![entry(31, "ip", "127.0.0.1"), everybody_reads.clone()]),
            (1, vec![everybody_reads.clone(), everybody_reads.clone(), entry(31, "world", "anyone")]),
            (1, vec![]),
            (1, vec![entry(31, "world", "nobody")]),
            (1, vec![entry(31, "nonsense", "x")]),
            (1, vec![entry(31, "digest", "nocolon")]),
            (1, vec![entry(31, "ip", "localhost"), everybody_reads]),
            // From here on without READ for everybody.
            (6, vec![entry(31, "digest", ann)]),
            (6, vec![entry(31, "auth", "ignored")]),
            (4, vec![entry(chance.index(32) as i32, "world", "anyone")]),
            (2, vec![entry(31, "ip", "10.0.0.0/8"), entry(2, "world", "anyone")]),
            (2, vec![entry(16, "world", "anyone"), entry(31, "digest", "bob:x")]),
        ];
        let allowed = if self.restricted { &lists[..] } else { &lists[..11] };
        let weights: Vec<(usize, usize)> =
            allowed.iter().enumerate().map(|(at, (weight, _))| (*weight, at)).collect();
        lists[chance.weighted(&weights)].1.clone()
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
                    let (path, version) = (write_path(chance).into(), chance.pick(&VERSIONS));
                    Request::Check { path, version }
                }
                op => {
                    // The rule on createContainer within a multi.
                    let flags = match op {
                        OpCode::CreateContainer => 4,
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
        let watch = !self.restricted && chance.percent(50);
        let path = if watch { self.path_of(chance, slot, Style::Once) } else { any_path(chance) };
        Call::new(op, &request(PathWatch { path: path.into(), watch }))
    }

    fn children<'a>(
        &self,
        chance: &mut Chance,
        slot: usize,
        op: OpCode,
        request: impl Fn(PathWatch<'a>) -> Request<'a>,
    ) -> Call {
        let watch = !self.restricted && chance.percent(50);
        let path = if watch {
            self.path_of(chance, slot, Style::Once)
        } else {
            chance.pick(&["/zookeeper", "nowhere", ROOT]).to_owned()
        };
        let path = if !watch && chance.percent(80) { known_path(chance) } else { path };
        Call::new(op, &request(PathWatch { path: path.into(), watch }))
    }

    /// A path that this client watches in this way.
    fn path_of(&self, chance: &mut Chance, slot: usize, style: Style) -> String {
        let styled: Vec<&str> =
            (0..PATHS.len()).filter(|at| self.style(slot, *at) == style).map(|at| PATHS[at]).collect();
        match styled.is_empty() {
            true => format!("{ROOT}/{style:?}"),
            false => format!("{ROOT}{}", chance.pick(&styled)),
        }
    }

    /// That of the first place where the path stands in the list.
    fn style(&self, slot: usize, at: usize) -> Style {
        let first = PATHS.iter().position(|path| *path == PATHS[at]).unwrap_or(at);
        self.styles[slot][first]
    }

    fn add_watch(&self, chance: &mut Chance, slot: usize) -> Call {
        let (style, mode) = chance.pick(&[(Style::Persistent, 0), (Style::Recursive, 1)]);
        let path = self.path_of(chance, slot, style).into();
        let mode = if chance.percent(5) { 2 } else { mode };
        Call::new(OpCode::AddWatch, &Request::AddWatch { path, mode })
    }

    /// What to check or remove: older servers do not tell the kinds of persistent watches apart.
    fn watch_kind(&self, chance: &mut Chance, slot: usize) -> (String, i32) {
        let style = chance.pick(&[Style::Once, Style::Persistent, Style::Recursive]);
        let kinds: &[i32] = if style == Style::Once { &[1, 2, 3, 0, 9] } else { &[3, 3, 3, -1] };
        (self.path_of(chance, slot, style), chance.pick(kinds))
    }

    fn set_watches(&self, chance: &mut Chance, slot: usize) -> Call {
        let mut list = |style| -> Vec<Cow<'static, str>> {
            (0..chance.index(4)).map(|_| self.path_of(chance, slot, style).into()).collect()
        };
        let watches = SetWatches {
            relative_zxid: Zxid::ZERO,
            data: list(Style::Once),
            exist: list(Style::Once),
            child: list(Style::Once),
            persistent: list(Style::Persistent),
            recursive: list(Style::Recursive),
        };
        let op = chance.pick(&[OpCode::SetWatches, OpCode::SetWatches2]);
        let relative = Some(chance.pick(&[Relative::Start, Relative::LastSeen]));
        let xid = if chance.percent(50) { Some(xid::SET_WATCHES) } else { None };
        Call { relative, xid, ..Call::new(op, &Request::SetWatches(watches)) }
    }
}

fn delete(chance: &mut Chance) -> Request<'static> {
    Request::Delete { path: write_path(chance).into(), version: chance.pick(&VERSIONS) }
}

fn set_data(chance: &mut Chance) -> Request<'static> {
    Request::SetData {
        path: write_path(chance).into(),
        data: chance.pick(&DATA),
        version: chance.pick(&VERSIONS),
    }
}

fn multi_read(chance: &mut Chance) -> Call {
    let ops = (0..chance.index(4)).map(|_| {
        let path = PathWatch { path: known_path(chance).into(), watch: chance.percent(20) };
        match chance.percent(50) {
            true => (OpCode::GetData, Request::GetData(path)),
            false => (OpCode::GetChildren, Request::GetChildren(path)),
        }
    });
    Call::new(OpCode::MultiRead, &Request::MultiRead(ops.collect()))
}

fn ephemerals(chance: &mut Chance) -> Call {
    let prefix = match chance.index(4) {
        0 => None,
        1 => Some("/".into()),
        _ => Some(known_path(chance).into()),
    };
    Call::new(OpCode::GetEphemerals, &Request::GetEphemerals(prefix))
}

fn reconfig() -> Call {
    let request = Request::Reconfig {
        joining: Some("server.9=127.0.0.1:1:2".into()),
        leaving: None,
        members: None,
        config_id: -1,
    };
    Call::new(OpCode::Reconfig, &request)
}

fn known_path(chance: &mut Chance) -> String {
    format!("{ROOT}{}", chance.pick(&PATHS))
}

fn any_path(chance: &mut Chance) -> String {
    match chance.weighted(&[(90, 0), (6, 1), (4, 2)]) {
        0 => known_path(chance),
        1 => format!("{ROOT}{}", chance.pick(&ODD)),
        _ => chance.pick(&ELSEWHERE).to_owned(),
    }
}

/// Never the folder itself, without which nothing more would happen.
fn write_path(chance: &mut Chance) -> String {
    match any_path(chance) {
        path if path == ROOT => format!("{ROOT}/a"),
        path => path,
    }
}
