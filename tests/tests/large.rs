//! What is large is answered as by Apache ZooKeeper, too. `LARGE_CHILDREN` is how many children a znode gets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use palisade_tests::conformance::{Bytes, Call, ROOT, Relative, Servers, Sessions, Step, View};
use palisade_tests::palisade::Core;
use palisade_tests::procfs;
use palisade_tests::raw::RawClient;
use palisade_tests::wait::wait_for;
use palisade_wire::request::{Create, PathWatch, Request, SetWatches};
use palisade_wire::{Acl, ErrorCode, Id, OpCode, Perms, Zxid};

const CHILDREN: usize = 20_000;
/// Apache's jute.maxbuffer.
const MAX_FRAME: usize = 0xf_ffff;

#[test]
fn large_things_are_answered_alike() {
    let mut servers = Servers::start(Sessions::Global, View::Whole);
    let targets = servers.targets();
    targets.assert_alike("the largest request", &largest_request());
    targets.assert_alike("a request that is too large", &too_large_request());
    let children = std::env::var("LARGE_CHILDREN").map_or(CHILDREN, |value| value.parse().unwrap());
    targets.assert_alike("many children", &many_children(children));
    targets.assert_alike("a thousand levels", &deep_tree(1000));
    targets.assert_alike("thousands of requests in one go", &long_pipeline(3000));
    targets.assert_alike("thousands of watches", &many_watches(10_000));
    targets.assert_alike("a long ACL", &long_acl(2000));
    servers.assert_equal_trees();
}

/// Data that very many ask for is not copied for each of those who are slow to take it.
#[test]
fn a_herd_reads_what_is_large_out_of_one_copy() {
    const READERS: u64 = 400;
    let mut core = Core::start();
    let mut gateway = core.gateway(101, "gateway");
    let mut writer = RawClient::connect(&gateway.address());
    let data: Vec<u8> = (0..1_000_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    let write = Request::SetData { path: "/".into(), data: Some(&data), version: -1 };
    assert_eq!(writer.call(OpCode::SetData, &write).map(|(error, _)| error), Some(ErrorCode::OK));
    let mut readers: Vec<_> = (0..READERS).map(|_| RawClient::connect(&gateway.address())).collect();
    let before = procfs::resident_memory(gateway.process().pid());
    let read = Request::GetData(path_watch("/", false));
    let sent = gateway.counter("response_bytes");
    for reader in &mut readers {
        reader.ask(OpCode::GetData, &read);
    }
    wait_for("everybody to be sent the beginning", || {
        (gateway.counter("response_bytes") > sent + READERS * 10_000).then_some(())
    });
    assert_eq!(writer.call(OpCode::GetData, &read).unwrap().1[4..4 + data.len()], data);
    let more = procfs::resident_memory(gateway.process().pid()).saturating_sub(before);
    println!("{} KiB more for {READERS} readers", more >> 10);
    assert!(more < READERS * data.len() as u64 / 8, "{more} bytes more");
    for reader in &mut readers {
        let (error, body) = reader.reply().expect("the gateway keeps the connection");
        assert_eq!((error, body.len()), (ErrorCode::OK, 4 + data.len() + 68));
        assert!(body[4..4 + data.len()] == data, "other data");
    }
}

fn create(path: String, flags: i32) -> Call {
    Call::new(OpCode::Create, &create_request(path, flags, Acl::open()))
}

fn create_request(path: String, flags: i32, acl: Vec<Acl>) -> Request<'static> {
    Request::Create(Create { path: path.into(), data: Some(b"data"), acl, flags, ttl_ms: None })
}

fn path_watch(path: impl Into<String>, watch: bool) -> PathWatch<'static> {
    PathWatch { path: path.into().into(), watch }
}

fn set_data(path: String, data: &[u8]) -> Call {
    Call::new(OpCode::SetData, &Request::SetData { path: path.into(), data: Some(data), version: -1 })
}

fn get_data(path: String) -> Call {
    Call::new(OpCode::GetData, &Request::GetData(path_watch(path, false)))
}

/// A setData of the folder whose frame has `len` bytes.
fn set_data_of(len: usize) -> Call {
    let rest = 8 + 4 + ROOT.len() + 4 + 4;
    set_data(ROOT.to_owned(), &vec![7; len - rest])
}

fn largest_request() -> Vec<Step> {
    // The replies are larger than a Java client takes; it is up to it to say so.
    let read = Call::new(
        OpCode::MultiRead,
        &Request::MultiRead(vec![(OpCode::GetData, Request::GetData(path_watch(ROOT, false))); 3]),
    );
    vec![
        Step::Calls(0, vec![set_data_of(MAX_FRAME)]),
        Step::Calls(1, vec![get_data(ROOT.to_owned())]),
        Step::Calls(2, vec![read]),
        Step::Calls(0, (0..10).map(|_| get_data(ROOT.to_owned())).collect()),
    ]
}

fn too_large_request() -> Vec<Step> {
    let frame = set_data_of(MAX_FRAME + 1);
    let len = i32::try_from(MAX_FRAME + 1).unwrap();
    let header = [len, 1, frame.op].map(i32::to_be_bytes).concat();
    let bytes = Bytes([header, frame.body].concat());
    vec![Step::Garbage(0, bytes), Step::Calls(1, vec![get_data(ROOT.to_owned())])]
}

fn many_children(count: usize) -> Vec<Step> {
    let parent = || format!("{ROOT}/parent");
    let child =
        |number| (OpCode::Create, create_request(format!("{}/child-{number:06}", parent()), 0, Acl::open()));
    let multi = |numbers: &[usize]| {
        Call::new(OpCode::Multi, &Request::Multi(numbers.iter().copied().map(child).collect()))
    };
    let watch = Call::new(OpCode::GetChildren, &Request::GetChildren(path_watch(parent(), true)));
    let numbers: Vec<usize> = (0..count).collect();
    let mut steps = vec![Step::Calls(0, vec![create(parent(), 0)]), Step::Calls(1, vec![watch])];
    steps.extend(numbers.chunks(1000).map(|numbers| Step::Calls(0, vec![multi(numbers)])));
    let delete = Request::Delete { path: parent().into(), version: -1 };
    let calls = [
        Call::new(OpCode::GetChildren, &Request::GetChildren(path_watch(parent(), false))),
        Call::new(OpCode::GetChildren2, &Request::GetChildren2(path_watch(parent(), true))),
        Call::new(OpCode::GetAllChildrenNumber, &Request::GetAllChildrenNumber(parent().into())),
        Call::new(OpCode::Delete, &delete),
        create(format!("{}/s", parent()), 2),
        create(format!("{}/e", parent()), 1),
    ];
    steps.extend(calls.map(|call| Step::Calls(1, vec![call])));
    steps.push(Step::Close(1, vec![]));
    steps
}

fn deep_tree(levels: usize) -> Vec<Step> {
    let path = |level: usize| format!("{ROOT}{}", "/d".repeat(level));
    let watch = Call::new(OpCode::AddWatch, &Request::AddWatch { path: ROOT.into(), mode: 1 });
    let mut steps = vec![Step::Calls(1, vec![watch])];
    let levels_up: Vec<usize> = (1..=levels).collect();
    steps.extend(
        levels_up
            .chunks(100)
            .map(|chunk| Step::Calls(0, chunk.iter().map(|at| create(path(*at), 0)).collect())),
    );
    let number = Request::GetAllChildrenNumber(ROOT.into());
    steps.push(Step::Calls(0, vec![Call::new(OpCode::GetAllChildrenNumber, &number)]));
    steps.push(Step::Calls(2, vec![set_data(path(levels), b"bottom"), get_data(path(levels))]));
    let delete =
        |at: usize| Call::new(OpCode::Delete, &Request::Delete { path: path(at).into(), version: -1 });
    steps.push(Step::Calls(2, vec![delete(levels / 2), delete(levels), delete(levels - 1)]));
    steps.push(Step::Calls(1, vec![get_data(path(levels)), get_data(path(levels - 2))]));
    steps
}

fn long_pipeline(count: usize) -> Vec<Step> {
    let call = |number: usize| match number % 3 {
        0 => create(format!("{ROOT}/s"), 2),
        1 => set_data(ROOT.to_owned(), number.to_string().as_bytes()),
        _ => get_data(ROOT.to_owned()),
    };
    vec![Step::Calls(0, (0..count).map(call).collect()), Step::Calls(1, vec![get_data(ROOT.to_owned())])]
}

fn many_watches(count: usize) -> Vec<Step> {
    let path = |number: usize| format!("{ROOT}/watched-{number:05}");
    let watches = SetWatches {
        relative_zxid: Zxid::ZERO,
        exist: (0..count).map(|number| path(number).into()).collect(),
        persistent: (0..count).map(|number| path(number).into()).collect(),
        ..SetWatches::default()
    };
    let set = Call {
        relative: Some(Relative::Start),
        ..Call::new(OpCode::SetWatches2, &Request::SetWatches(watches))
    };
    let creates = |range: std::ops::Range<usize>| {
        let ops = range.map(|number| (OpCode::Create, create_request(path(number), 1, Acl::open())));
        Call::new(OpCode::Multi, &Request::Multi(ops.collect()))
    };
    let half = count / 2;
    vec![
        Step::Calls(0, vec![set.clone()]),
        Step::Calls(1, vec![creates(0..half)]),
        // Half of them are there: an event for each, at once.
        Step::Calls(2, vec![set]),
        Step::Calls(1, vec![creates(half..count)]),
        Step::Close(1, vec![]),
    ]
}

fn long_acl(entries: usize) -> Vec<Step> {
    let entry = |number: usize| Acl {
        perms: Perms::ALL,
        id: Id::new("ip", format!("10.{}.{}.0/24", number / 256, number % 256)),
    };
    let acl = (0..entries).map(entry).chain(Acl::open()).collect();
    let path = format!("{ROOT}/acl");
    vec![
        Step::Calls(0, vec![Call::new(OpCode::Create, &create_request(path.clone(), 0, acl))]),
        Step::Calls(1, vec![Call::new(OpCode::GetAcl, &Request::GetAcl(path.into()))]),
    ]
}
