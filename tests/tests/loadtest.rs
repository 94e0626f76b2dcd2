//! Every scenario of the load tester in a short form: that it works, not how fast anything is.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use palisade_tests::apache::ApacheServer;
use palisade_tests::folder::Folder;
use palisade_tests::palisade::{Core, Dev};
use palisade_tests::ports::Ports;
use palisade_tests::tools;
use serde_json::Value;

/// Each scenario, and a figure that its result must have.
const SCENARIOS: [(&str, &str); 16] = [
    ("get --connections 4 --warmup 0 --duration 0.3 --floor", "server cpu / floor cpu"),
    ("exists --connections 2 --rate 500 --warmup 0.1 --duration 0.3", "throughput"),
    ("children --children 3 --znodes 20 --warmup 0 --duration 0.3", "throughput"),
    ("set --connections 4 --warmup 0 --duration 0.3", "server cpu"),
    ("mixed --reads 50 --warmup 0 --duration 0.3", "throughput"),
    ("create --connections 2 --pipeline 4 --warmup 0 --duration 0.2", "throughput"),
    ("ephemeral --connections 2 --pipeline 4 --warmup 0 --duration 0.3", "throughput"),
    ("idle --sessions 30 --duration 0.3", "rss"),
    ("watches --sessions 5 --watches 40", "rss"),
    ("watches --sessions 5 --watches 40 --distinct", "throughput"),
    ("fan-out --watchers 40 --changes 2", "last told"),
    ("fan-out --watchers 40 --changes 2 --reread", "last read"),
    ("fan-out --watchers 40 --changes 2 --reread --persistent", "last read"),
    ("storm --sessions 40 --rounds 2 --watches 3", "last back"),
    ("lock --clients 6 --locks 2 --duration 0.5", "throughput"),
    ("slow-readers --slow 3 --slow-size 50000 --connections 2 --duration 0.3", "slow closed"),
];

fn loadtest(line: &str, more: &[&str]) -> Output {
    let program = tools::palisade().with_file_name("palisade-loadtest");
    // Memory may be too small for the folders that some scenarios have there.
    let folders = std::env::temp_dir();
    let command = &mut Command::new(program);
    command
        .args(line.split(' '))
        .args(more)
        .env("TMPDIR", folders)
        .output()
        .expect("palisade-loadtest is built")
}

/// Runs one scenario, and checks its table, its JSON and its page.
fn check(folder: &Path, target: &str, pid: u32, (line, figure): (&str, &str)) {
    let [json, html] = ["result.json", "result.html"].map(|name| folder.join(name).display().to_string());
    let pid = pid.to_string();
    let output = loadtest(line, &["--target", target, "--pid", &pid, "--json", &json, "--html", &html]);
    let [table, errors] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success() && errors.is_empty(), "{line}: {}: {errors}", output.status);
    assert!(table.contains(figure), "{line}: {table}");
    let result: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert!(result["metrics"][figure]["value"].is_number(), "{line}: {result:#}");
    assert_eq!(result["errors"], serde_json::json!({}), "{line}");
    let page = std::fs::read_to_string(html).unwrap();
    assert!(page.contains(figure) && page.ends_with("</html>\n"), "{line}: {page}");
}

#[test]
fn every_scenario_works_on_palisade() {
    let (folder, mut ports) = (Folder::new(), Ports::lease());
    let dev = Dev::start(folder.path(), ports.take_consecutive(3));
    for scenario in SCENARIOS {
        check(folder.path(), &dev.address(0), dev.process.pid(), scenario);
    }
    // Connections to several gateways, in turn.
    let both = format!("{},{}", dev.address(1), dev.address(2));
    check(folder.path(), &both, dev.process.pid(), ("fan-out --watchers 20 --changes 2", "last told"));
}

#[test]
fn scenarios_work_on_apache() {
    let (folder, mut ports) = (Folder::new(), Ports::lease());
    let apache = ApacheServer::start_quiet(folder.path(), &mut ports, &[], &[]);
    let address = format!("127.0.0.1:{}", apache.client_port());
    // Some process is watched; which one is of no account here.
    let pid = std::process::id();
    let chosen = ["get", "children", "ephemeral", "fan-out", "storm", "lock"];
    for scenario in SCENARIOS {
        if chosen.iter().any(|name| scenario.0.split(' ').next() == Some(name)) {
            check(folder.path(), &address, pid, scenario);
        }
    }
}

#[test]
fn an_outage_is_counted_and_survived() {
    let mut core = Core::start();
    let gateway = core.gateway(101, "outage");
    let leader = core.leader();
    let pid = core.voters[leader].process().pid().to_string();
    let folder = Folder::new();
    let json = folder.path().join("result.json").display().to_string();
    let line = "outage --readers 3 --read-rate 100 --writers 2 --write-rate 50 --at 1 --duration 6";
    let address = gateway.address();
    let output = loadtest(line, &["--target", &address, "--kill", &pid, "--json", &json]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let figure = |name: &str| result["metrics"][name]["value"].as_f64().unwrap();
    // Reads go on at a gateway; a session may be let go that it could not vouch for, so not each must succeed.
    assert!(figure("reads that succeeded") > 50.0, "{result:#}");
    assert!(figure("writes that succeeded") > 20.0, "{result:#}");
    assert!(figure("writes out") > 0.0 && figure("expired") == 0.0, "{result:#}");
}

/// Experiments of which the table must have both sides.
const ON_BOTH: [(&str, &str); 3] =
    [("get", "server cpu"), ("storm", "last back"), ("quorum", "reads that succeeded")];

#[test]
fn both_sides_are_compared() {
    let folder = Folder::new();
    let (out, palisade) = (folder.path().join("out"), tools::palisade());
    let [out, palisade] = [&out, &palisade].map(|path| path.display().to_string());
    let output = loadtest("compare --profile smoke", &["--palisade", &palisade, "--out", &out]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    let read = |name: &str| std::fs::read_to_string(Path::new(&out).join(name)).unwrap();
    let result: Value = serde_json::from_str(&read("compare.json")).unwrap();
    let experiments = result["experiments"].as_object().unwrap();
    assert_eq!(experiments.len(), 17);
    for experiment in experiments.values() {
        for row in experiment["figures"].as_array().unwrap() {
            // A machine that is slow enough ends the experiment before the writes are back.
            let may_miss = row["figure"].as_str().unwrap().starts_with("writes resumed");
            assert!(row["palisade"].is_number() || may_miss, "{row:#}");
        }
    }
    for (name, figure) in ON_BOTH {
        let figures = experiments[name]["figures"].as_array().unwrap();
        let row = figures.iter().find(|row| row["figure"] == figure).unwrap();
        assert!(row["apache"].is_number(), "{row:#}");
    }
    assert!(read("compare.md").contains("5,000 sessions reconnect"));
    assert!(read("compare.html").contains("<svg ") && read("get-1.svg").starts_with("<svg "));
}

/// Of one address, the default: locks with parents of their own in a second, and at once.
const LOCK_BUDGET: f64 = 50.0;

#[test]
fn a_storm_of_locks_is_limited_and_strands_nothing() {
    let folder = Folder::new();
    let (json, palisade) = (folder.path().join("result.json"), tools::palisade());
    let [json, palisade] = [&json, &palisade].map(|path| path.display().to_string());
    let line = "neighbours --without-apache --clients 20 --locks 600 --writes 50 --duration 1 --rounds 1";
    let output = loadtest(line, &["--palisade", &palisade, "--json", &json]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    let result: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    for variant in ["Palisade, limits off", "Palisade"] {
        let figure = |name: &str| result[variant][name][0].as_f64().unwrap();
        assert_eq!(figure("locks left behind"), 0.0, "{result:#}");
        assert!(figure("elections, terms/s") > 0.0 && figure("orders locked, locks/s") > 0.0, "{result:#}");
        assert!(figure("discovery's write p99, beside, ms") > 0.0, "{result:#}");
        assert_eq!(result[variant]["`palisade top` names first"], "/scheduling/orders", "{result:#}");
    }
    let limited = |name: &str| result["Palisade"][name][0].as_f64().unwrap();
    let seconds = limited("the storm's time, s");
    // At first nobody knows what they are.
    let most = LOCK_BUDGET * (seconds + 1.0) + 150.0;
    assert!(limited("orders locked, locks/s") * seconds <= most, "{result:#}");
}

#[test]
fn a_herd_is_measured_beside_another_tenant() {
    if thread::available_parallelism().is_ok_and(|processors| processors.get() < 2) {
        return;
    }
    let folder = Folder::new();
    let (json, palisade) = (folder.path().join("result.json"), tools::palisade());
    let [json, palisade] = [&json, &palisade].map(|path| path.display().to_string());
    let line = "herd --without-apache --watchers 100 --writes 50 --reads 100 --duration 0.5 --rounds 1";
    let output = loadtest(line, &["--palisade", &palisade, "--json", &json]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    let result: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    for variant in ["Palisade, at once", "Palisade, in waves"] {
        for figure in [
            "discovery's write p99, beside, ms",
            "discovery's read p99, beside, ms",
            "last of the herd answered, ms",
        ] {
            assert!(result[variant][figure][0].as_f64().unwrap() > 0.0, "{figure}: {result:#}");
        }
    }
}

#[test]
fn what_cannot_work_is_said_in_one_line() {
    let mut core = Core::start();
    let voter = format!("127.0.0.1:{}", core.voters[0].ports()[2]);
    let nobody = format!("127.0.0.1:{}", core.ports.take());
    let cases = [
        ("get --target", nobody.as_str(), "cannot be reached"),
        // An admin port serves no clients.
        ("get --target", &voter, "client port"),
        ("get --target", "nowhere.invalid:2181", "nowhere.invalid:2181"),
        ("idle --sessions 100000 --target", &nobody, "ulimit -n"),
        ("get --pid 4194305 --target", &nobody, "4194305"),
        ("get --json /nowhere/result.json --target", &nobody, "/nowhere/result.json"),
        ("mixed --floor --target", &nobody, "floor"),
        ("get --root / --target", &nobody, "--root"),
        ("outage --kill 4194305 --target", &nobody, "4194305"),
        ("compare --only nothing --palisade", "/nowhere", "--only nothing"),
        ("compare --palisade", "/nowhere/palisade", "/nowhere/palisade"),
    ];
    thread::scope(|scope| {
        for (line, argument, expected) in cases {
            scope.spawn(move || {
                let output = loadtest(line, &[argument]);
                let errors = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(2), "{line} {argument}: {errors}");
                let one_line = errors.trim_end().lines().count() == 1;
                assert!(one_line && errors.contains(expected), "{line} {argument}: {errors}");
            });
        }
    });
}
