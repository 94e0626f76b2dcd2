use palisade_wire::OpCode;

use super::raw::*;
use super::*;

async fn ask(bench: &Bench, word: &str) -> String {
    let mut raw = bench.raw().await;
    raw.send(word.as_bytes()).await;
    String::from_utf8(raw.rest().await).unwrap()
}

async fn ask_admin(bench: &Bench, word: &str) -> String {
    let mut raw = Raw::connect(bench.edge.admin_address().unwrap()).await;
    raw.send(word.as_bytes()).await;
    String::from_utf8(raw.rest().await).unwrap()
}

#[tokio::test]
async fn fixed_answers_are_apaches() {
    let mut config = config();
    config.client.four_letter_words = vec!["*".to_owned()];
    let bench = Bench::with(config).await;
    for (word, text) in [
        ("ruok", "imok"),
        ("isro", "rw"),
        ("gtmk", "306"),
        ("srst", "Server stats reset.\n"),
        ("crst", "Connection stats reset.\n"),
        ("wchs", "0 connections watching 0 paths\nTotal watches:0\n"),
        ("wchc", "\n"),
        ("wchp", "\n"),
        ("hash", ""),
        ("RUOK", ""),
    ] {
        assert_eq!(ask(&bench, word).await, text, "{word}");
    }
    assert_eq!(ask(&bench, "ruok\r\n").await, "imok");
}

#[tokio::test]
async fn the_end_of_input_does_not_cancel_the_answer() {
    use tokio::io::AsyncWriteExt;
    let bench = Bench::start().await;
    let mut raw = bench.raw().await;
    raw.send(b"ruok").await;
    raw.stream.shutdown().await.unwrap();
    assert_eq!(raw.rest().await, b"imok");
}

#[tokio::test]
async fn words_off_the_list_are_refused_on_the_client_port_only() {
    let bench = Bench::start().await;
    assert_eq!(ask(&bench, "crst").await, "crst is not executed because it is not in the whitelist.\n");
    assert_eq!(ask_admin(&bench, "crst").await, "Connection stats reset.\n");
    assert_eq!(ask_admin(&bench, "stmk\0\0\0\0\0\0\x01\x32").await, "306");
    assert_eq!(ask_admin(&bench, "what").await, "");
}

#[tokio::test]
async fn a_gateway_without_a_core_says_that_it_only_reads() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    session.ok(OpCode::Create, &create("/a", 0)).await;
    assert_eq!(ask(&bench, "isro").await, "rw");
    bench.core.disconnect();
    assert_eq!(ask(&bench, "isro").await, "ro");
    assert!(ask(&bench, "srvr").await.contains("\nMode: observer\n"));
    bench.core.reconnect();
    assert_eq!(ask(&bench, "isro").await, "rw");
}

#[tokio::test]
async fn srvr_and_stat_describe_an_observer() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    session.ok(OpCode::Create, &create("/a", 0)).await;
    let srvr = ask(&bench, "srvr").await;
    let lines: Vec<_> = srvr.lines().collect();
    assert!(lines[0].starts_with("Zookeeper version: 3."), "{srvr}");
    assert!(lines[1].starts_with("Latency min/avg/max: "), "{srvr}");
    assert_eq!(
        lines[2..],
        [
            "Received: 3",
            "Sent: 2",
            "Connections: 2",
            "Outstanding: 0",
            "Zxid: 0x100000002",
            "Mode: observer",
            "Node count: 6"
        ]
    );
    let stat = ask(&bench, "stat").await;
    assert!(stat.contains("\nClients:\n /127.0.0.1:"), "{stat}");
    assert!(stat.contains("[1](queued=0,recved=2,sent=2)\n"), "{stat}");
    assert!(stat.contains("[0](queued=0,recved=1,sent=0)\n\nLatency"), "{stat}");
}

#[tokio::test]
async fn watches_sessions_and_connections_are_listed() {
    let bench = Bench::start().await;
    let mut session = bench.session().await;
    session.ok(OpCode::Create, &create("/e", 1)).await;
    session.ok(OpCode::GetData, &get_data("/e", true)).await;
    session.ok(OpCode::GetChildren, &get_children("/", true)).await;
    let sid = format!("{:#x}", session.id);
    assert_eq!(ask_admin(&bench, "wchs").await, "1 connections watching 1 paths\nTotal watches:1\n");
    assert_eq!(ask_admin(&bench, "wchc").await, format!("{sid}\n\t/e\n\n"));
    assert_eq!(ask_admin(&bench, "wchp").await, format!("/e\n\t{sid}\n\n"));
    let dump = ask_admin(&bench, "dump").await;
    assert!(dump.contains(&format!("Global Sessions(1):\n{sid}\t10000ms\n")), "{dump}");
    assert!(dump.contains(&format!("Sessions with Ephemerals (1):\n{sid}:\n\t/e\n")), "{dump}");
    assert!(dump.contains(&format!("sessionId: {sid}\n")), "{dump}");
    let cons = ask_admin(&bench, "cons").await;
    assert!(cons.contains(&format!(",sid={sid},lop=GETC,est=")), "{cons}");
    assert!(cons.contains(",to=10000,lcxid=0x3,lzxid=0x100000002,"), "{cons}");
    assert!(ask_admin(&bench, "mntr").await.contains("zk_watch_count\t2\n"));
    assert!(ask_admin(&bench, "conf").await.starts_with("clientPort="));
    assert!(ask_admin(&bench, "envi").await.starts_with("Environment:\nzookeeper.version=3."));
}
