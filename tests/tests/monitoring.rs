//! What operators' tools read: four-letter words beside a live Apache ensemble, its AdminServer's JSON, metrics.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::net::TcpStream;

use palisade_tests::apache::ApacheEnsemble;
use palisade_tests::folder::Folder;
use palisade_tests::four_letter::ask;
use palisade_tests::herd::Client;
use palisade_tests::http;
use palisade_tests::palisade::{Core, Gateway};
use palisade_tests::process::Process;
use palisade_tests::tools;
use serde_json::Value;

/// Fields and types of every command's answer, recorded from Apache's AdminServer 3.8.0; `*` stands for any key.
const ADMIN_SERVER: &str = include_str!("../testdata/admin_server_3.8.0.json");

/// Words whose whole answer is fixed up to numbers, versions and names.
const PLAIN: [&str; 15] = [
    "conf", "cons", "crst", "dirs", "gtmk", "hash", "isro", "ruok", "srst", "srvr", "stat", "wchc", "wchp",
    "wchs", "dump",
];

/// A text without what differs between any two servers: numbers, folders, the version, who listens to whom.
fn shape(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let fixed = match line.split_once(['=', ':']) {
            Some(("Zookeeper version", _)) => "Zookeeper version".to_owned(),
            Some((key @ ("dataDir" | "dataLogDir" | "Mode"), _)) => format!("{key}=…"),
            _ => line.to_owned(),
        };
        let mut shape = String::new();
        for c in fixed.replace("-1", "1").replace("0x", "").chars() {
            let c = if c.is_ascii_hexdigit() && !c.is_ascii_alphabetic() { '#' } else { c };
            if c != '#' || !shape.ends_with('#') {
                shape.push(c);
            }
        }
        lines.push(shape);
    }
    // How many lines there are of these depends on who is connected.
    lines.retain(|line| !line.starts_with(" /#.#.#.#:#[#]") && !line.contains(" expire at "));
    lines.retain(|line| !line.starts_with("\tip: /") && !line.starts_with("server.#="));
    lines
}

fn keys(mntr: &str) -> Vec<String> {
    let keys = mntr.lines().filter_map(|line| line.split_once('\t')).map(|(key, _)| key.to_owned());
    keys.collect()
}

#[track_caller]
fn assert_same_words(apache: u16, palisade: u16, words: &[&str]) {
    for word in words {
        let (theirs, ours) = (ask(apache, word).unwrap(), ask(palisade, word).unwrap());
        assert_eq!(shape(&ours), shape(&theirs), "{word}:\n{ours}\nApache:\n{theirs}");
    }
    let environment = |port| {
        let text = ask(port, "envi").unwrap();
        text.lines().map(|line| line.split('=').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(environment(palisade), environment(apache));
    let (theirs, ours) = (keys(&ask(apache, "mntr").unwrap()), keys(&ask(palisade, "mntr").unwrap()));
    let (known, told): (BTreeSet<_>, BTreeSet<_>) = (theirs.iter().collect(), ours.iter().collect());
    let shared = |keys: &[String]| -> Vec<String> {
        keys.iter().filter(|key| known.contains(key) && told.contains(key)).cloned().collect()
    };
    assert_eq!(shared(&ours), shared(&theirs));
    for key in ["zk_version", "zk_server_state", "zk_peer_state", "zk_znode_count", "zk_watch_count"] {
        assert!(shared(&ours).iter().any(|shared| shared == key), "{key} is missing in {ours:?}");
    }
}

#[test]
fn words_are_laid_out_as_apache_lays_them_out() {
    let apache = ApacheEnsemble::start(3);
    let mut core = Core::start();
    let settings = [("client.four_letter_words", "[\"*\"]"), ("sessions.local", "false")];
    let gateway = core.gateway_with(101, "words", &settings);
    let leader = apache.leader();
    let [apache_leader, apache_follower] =
        [leader, (leader + 1) % 3].map(|server| apache.servers[server].client_port());
    let leader = core.leader();
    let [ours_leader, ours_follower] = [leader, (leader + 1) % 3].map(|voter| core.voters[voter].ports()[2]);
    let [client, admin] = gateway.ports();
    assert_same_words(apache_follower, ours_follower, &PLAIN);
    // A leader here lists its sessions as a follower does.
    assert_same_words(apache_leader, ours_leader, &PLAIN[..14]);
    for port in [client, admin] {
        assert_same_words(apache_follower, port, &PLAIN);
    }
    for (key, value) in [("zk_learners", "3"), ("zk_synced_followers", "2"), ("zk_synced_observers", "1")] {
        let line = format!("{key}\t{value}");
        assert!(ask(ours_leader, "mntr").unwrap().lines().any(|l| l == line), "{line}");
    }
}

#[test]
fn servers_without_a_quorum_say_so() {
    let mut core = Core::start();
    for voter in &mut core.voters[..2] {
        voter.kill();
    }
    let admin = core.voters[2].ports()[2];
    palisade_tests::wait::wait_for("a voter that has lost its quorum", || {
        (ask(admin, "isro").ok()? == "null").then_some(())
    });
    let refused = "This ZooKeeper instance is not currently serving requests";
    for word in PLAIN.into_iter().chain(["mntr", "dump"]) {
        let expected = match word {
            "ruok" => "imok".to_owned(),
            "gtmk" => "306".to_owned(),
            "isro" => "null".to_owned(),
            "hash" => refused.to_owned(),
            _ => format!("{refused}\n"),
        };
        assert_eq!(ask(admin, word).unwrap(), expected, "{word}");
    }
    let answer = http::get(admin, "/commands/stats").unwrap();
    assert_eq!((answer.status, json(&answer)["error"].as_str()), (200, Some(refused)));
    let ready = http::get(admin, "/readyz").unwrap();
    assert_eq!((ready.status, http::get(admin, "/livez").unwrap().status), (503, 200), "{ready:?}");
    assert!(http::get(admin, "/metrics").unwrap().body.contains("\npalisade_serving 0\n"));
}

fn json(answer: &http::Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// What is missing from `found`, or of another type. What it has besides does not matter.
fn differences(at: &str, wanted: &Value, found: &Value) -> Vec<String> {
    match (wanted, found) {
        (Value::String(kind), found) => {
            let fits = match kind.as_str() {
                "bool" => found.is_boolean(),
                "int" => found.is_i64(),
                "float" => found.is_number(),
                "text" => found.is_string(),
                _ => found.is_null(),
            };
            if fits { Vec::new() } else { vec![format!("{at}: {found} is no {kind}")] }
        }
        (Value::Object(wanted), Value::Object(found)) => {
            let mut all = Vec::new();
            for (key, wanted) in wanted {
                match (key.as_str(), found.get(key)) {
                    ("*", _) => found.values().for_each(|v| all.extend(differences(at, wanted, v))),
                    (_, Some(found)) => all.extend(differences(&format!("{at}/{key}"), wanted, found)),
                    _ => all.push(format!("{at}/{key} is missing")),
                }
            }
            all
        }
        (Value::Array(wanted), Value::Array(found)) => {
            let pairs = found.iter().flat_map(|item| wanted.iter().map(move |wanted| (wanted, item)));
            pairs.flat_map(|(wanted, item)| differences(at, wanted, item)).collect()
        }
        _ => vec![format!("{at}: {found} instead of {wanted}")],
    }
}

#[track_caller]
fn assert_same_commands(role: &str, port: u16) {
    let recorded: Value = serde_json::from_str(ADMIN_SERVER).unwrap();
    let links = http::get(port, "/commands").unwrap();
    assert_eq!(links.media_type, "text/html; charset=utf-8");
    for (command, common) in recorded["leader"].as_object().unwrap() {
        let wanted = recorded[role].get(command).unwrap_or(common);
        let answer = http::get(port, &format!("/commands/{command}")).unwrap();
        assert_eq!((answer.status, answer.media_type.as_str()), (200, "application/json"), "{command}");
        assert!(links.body.contains(&format!("<a href=\"/commands/{command}\">{command}</a>")), "{command}");
        let found = json(&answer);
        let mut differences = differences(command, wanted, &found);
        // Of its hundreds of numbers, those that mean something here.
        differences.retain(|difference| !(command == "monitor" && difference.ends_with(" is missing")));
        // The core's member list tells no voter's number by its address.
        differences.retain(|difference| !(role == "observer" && difference.starts_with("leader/leader_id")));
        assert_eq!(differences, [""; 0], "{found}");
    }
}

#[test]
fn the_admin_server_s_commands_have_apache_s_fields() {
    let mut core = Core::start();
    let gateway = core.gateway(101, "commands");
    let leader = core.leader();
    let [leading, following] = [leader, (leader + 1) % 3].map(|voter| core.voters[voter].ports()[2]);
    assert_same_commands("leader", leading);
    assert_same_commands("follower", following);
    assert_same_commands("observer", gateway.ports()[1]);
    let zab = json(&http::get(leading, "/commands/zabstate").unwrap());
    assert_eq!((&zab["zabstate"], &zab["is_leader"]), (&"broadcast".into(), &true.into()));
    let aliases = [("srvr", "server_stats"), ("conf", "configuration"), ("isro", "is_read_only")];
    for (alias, command) in aliases {
        assert_eq!(json(&http::get(leading, &format!("/commands/{alias}")).unwrap())["command"], command);
    }
    let unknown = http::get(leading, "/commands/nope").unwrap();
    assert_eq!((unknown.status, &json(&unknown)["error"]), (200, &"Unknown command: nope".into()));
    assert_eq!(http::request(leading, "POST /commands/ruok HTTP/1.1\r\n\r\n").unwrap().status, 405);
    assert_eq!(http::get(leading, "/nowhere").unwrap().status, 404);
}

#[test]
fn top_names_whoever_asks_for_most() {
    let mut core = Core::start();
    let gateway = core.gateway(101, "top");
    let mut recorder = palisade_tests::recorder::Recorder::start(&gateway.address());
    let admin = gateway.ports()[1];
    let named = palisade_tests::wait::wait_for("a heavy address on /top", || {
        recorder.wait_for_writes(50);
        let page = json(&http::get(admin, "/top?n=3").ok()?);
        let heaviest = &page["load"]["addresses"][0];
        (heaviest["ops_per_s"].as_f64()? > 0.0).then(|| page.clone())
    });
    assert_eq!(named["load"]["addresses"][0]["name"], "127.0.0.1", "{named}");
    assert!(
        named["load"]["prefixes"][0]["name"].as_str().is_some_and(|path| path.starts_with('/')),
        "{named}"
    );
    let folder = Folder::new();
    let admin = format!("127.0.0.1:{admin}");
    let mut top =
        Process::spawn("top", folder.path(), tools::palisade(), ["top", "--once", "--admin", &admin]);
    assert!(top.wait().success(), "{}", top.log());
    assert!(top.log().contains("\nADDRESS ") && top.log().contains("\n127.0.0.1 "), "{}", top.log());
    recorder.finish();
}

/// The heaviest of each kind, by each measure: what they are called, and what the measure is called in the page.
const HEAVIEST: [(&str, &str); 4] =
    [("addresses", "127.0.0.1"), ("sessions", "0x"), ("prefixes", "/rows"), ("lock_parents", "/rows/1")];
const MEASURES: [(&str, &str); 4] =
    [("ops", "ops_per_s"), ("bytes", "bytes_per_s"), ("watches", "watches"), ("refusals", "refusals_per_s")];

/// Requests, watches and refusals, all at one lock.
fn be_heavy(client: &mut Client) {
    for n in 0..100 {
        // Refused for the greater part.
        if let Ok(lock) = client.create("/rows/1/lock-", 3) {
            client.delete(&lock).unwrap();
        }
        client.owner(&format!("/rows/1/lock-{n}")).unwrap();
    }
}

#[test]
fn top_lists_each_kind_by_each_measure() {
    let mut core = Core::start();
    let settings = ["mode", "tenant", "address", "session"].map(|key| format!("throttle.locks.{key}"));
    let values = ["\"refuse\"", "5", "5", "5"];
    let settings: Vec<_> = settings.iter().map(|key| &**key).zip(values).collect();
    let gateway = core.gateway_with(101, "top", &settings);
    let mut client = Client::connect(&gateway.address(), 30_000).unwrap();
    for path in ["/rows", "/rows/1"] {
        client.create(path, 0).unwrap();
    }
    let admin = gateway.ports()[1];
    for (by, key) in MEASURES {
        for (kind, name) in HEAVIEST {
            palisade_tests::wait::wait_for(&format!("the heaviest {kind} by {by}"), || {
                be_heavy(&mut client);
                let page = json(&http::get(admin, &format!("/top?n=3&by={by}")).ok()?);
                let heaviest = &page["load"][kind][0];
                let found = heaviest["name"].as_str()?.starts_with(name) && heaviest[key].as_f64()? > 0.0;
                found.then_some(())
            });
        }
        let folder = Folder::new();
        let admin = format!("127.0.0.1:{admin}");
        let arguments = ["top", "--once", "--by", by, "--admin", &admin];
        let mut top = Process::spawn("top", folder.path(), tools::palisade(), arguments);
        assert!(top.wait().success(), "{}", top.log());
        let told = top.log();
        for part in
            ["\nADDRESS ", "\nSESSION ", "\nPATH ", "\nLOCK ", "\nLOCKS BELOW ", " WATCHES ", "\n/rows/1 "]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
}

#[test]
fn health_and_metrics_are_told_over_http() {
    let mut core = Core::start();
    let mut gateway = core.gateway(101, "metrics");
    let leader = core.leader();
    for port in [core.voters[leader].ports()[2], gateway.ports()[1]] {
        assert_eq!(http::get(port, "/livez").unwrap().status, 200);
        assert_eq!(http::get(port, "/readyz").unwrap().body, "ready\n");
        let metrics = http::get(port, "/metrics").unwrap();
        assert!(metrics.media_type.starts_with("text/plain; version=0.0.4"), "{metrics:?}");
        for line in ["# TYPE znode_count gauge", "# TYPE propagation_latency summary", "palisade_serving 1"] {
            assert!(metrics.body.lines().any(|l| l == line), "{line}:\n{}", metrics.body);
        }
    }
    garbage_costs_only_its_connection(&gateway);
    assert!(gateway.process().is_running());
}

fn garbage_costs_only_its_connection(gateway: &Gateway) {
    use std::io::Write;
    let admin = gateway.ports()[1];
    let mut open = Vec::new();
    let head = format!("GET /{} HTTP/1.1\r\n", "x".repeat(100_000));
    for bytes in [
        "GET / HTTP/9\r\n\r\n",
        "GET",
        "\0\0\0\x2d",
        "HEAD \x01\r\n\r\n",
        &head,
        "POST / HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", admin)).unwrap();
        // The other end may have closed it already.
        let _ = stream.write_all(bytes.as_bytes());
        open.push(stream);
    }
    assert_eq!(ask(admin, "ruok").unwrap(), "imok");
    assert_eq!(http::get(admin, "/livez").unwrap().status, 200);
}
