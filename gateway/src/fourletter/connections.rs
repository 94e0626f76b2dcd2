//! Words about connections, sessions and watches.

use palisade_wire::{OpCode, SessionId};

use super::{put, server};
use crate::edge::{Client, Edge};

/// `stat`.
pub(super) fn stat(edge: &Edge, asking: Option<&Client>) -> String {
    let mut text = server::version_line();
    text.push_str("Clients:\n");
    for client in edge.hub.clients() {
        brief(&client, asking, &mut text);
        text.push_str(")\n");
    }
    text.push('\n');
    server::summary(edge, &mut text);
    text
}

/// `cons`.
pub(super) fn cons(edge: &Edge, asking: Option<&Client>) -> String {
    let mut text = String::new();
    for client in edge.hub.clients() {
        brief(&client, asking, &mut text);
        let session = client.session();
        if session != 0 {
            details(&client, session, &mut text);
        }
        text.push_str(")\n");
    }
    text.push('\n');
    text
}

fn brief(client: &Client, asking: Option<&Client>, text: &mut String) {
    // 1 stands for "reads"; the connection that asks reads no more.
    let interest = u8::from(!asking.is_some_and(|asking| std::ptr::eq(asking, client)));
    let (received, sent) = client.stats.packets();
    let queued = client.waiting();
    put(text, format_args!(" /{}[{interest}](queued={queued},recved={received},sent={sent}", client.peer()));
}

fn details(client: &Client, session: SessionId, text: &mut String) {
    let last = client.stats.last();
    let timeout = client.stats.timeout_ms();
    let op = last.op.map_or("NA", short_name);
    put(text, format_args!(",sid={session:#x},lop={op},est={},to={timeout}", last.established_ms));
    if last.xid >= 0 {
        put(text, format_args!(",lcxid={:#x}", last.xid));
    }
    let latency = client.stats.latency.view();
    let responded = last.at.map_or(0, |at| at.elapsed().as_millis());
    put(text, format_args!(",lzxid={},lresp={responded},llat={}", last.zxid, last.took_ms));
    let avg = latency.avg as u64;
    put(text, format_args!(",minlat={},avglat={avg},maxlat={}", latency.min, latency.max));
}

/// What `cons` calls an operation.
const fn short_name(op: OpCode) -> &'static str {
    match op {
        OpCode::Ping => "PING",
        OpCode::CreateSession => "SESS",
        OpCode::Multi => "MULT",
        OpCode::MultiRead => "MLTR",
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => "CREA",
        OpCode::Delete | OpCode::DeleteContainer => "DELE",
        OpCode::SetData => "SETD",
        OpCode::Reconfig => "RECO",
        OpCode::SetAcl => "SETA",
        OpCode::CloseSession => "CLOS",
        OpCode::Sync => "SYNC",
        OpCode::Check => "CHEC",
        OpCode::Exists => "EXIS",
        OpCode::GetData => "GETD",
        OpCode::SetWatches => "SETW",
        OpCode::SetWatches2 => "STW2",
        OpCode::AddWatch => "ADDW",
        OpCode::GetAcl => "GETA",
        OpCode::GetChildren | OpCode::GetChildren2 => "GETC",
        OpCode::GetAllChildrenNumber => "GETACN",
        OpCode::CheckWatches => "CHKW",
        OpCode::RemoveWatches => "REMW",
        OpCode::WhoAmI => "HOMI",
        OpCode::GetEphemerals => "GETE",
        OpCode::Notification | OpCode::Auth | OpCode::Sasl | OpCode::Error => "NA",
    }
}

/// `dump`.
pub(super) fn dump(edge: &Edge) -> String {
    let mut text = "SessionTracker dump:\n".to_owned();
    let tree = edge.replica.read();
    put(&mut text, format_args!("Global Sessions({}):\n", tree.sessions().len()));
    for (session, timeout_ms) in tree.sessions() {
        put(&mut text, format_args!("{session:#x}\t{timeout_ms}ms\n"));
    }
    text.push_str("ephemeral nodes dump:\n");
    put(&mut text, format_args!("Sessions with Ephemerals ({}):\n", tree.ephemeral_owners().count()));
    for owner in tree.ephemeral_owners() {
        put(&mut text, format_args!("{owner:#x}:\n"));
        for path in tree.ephemerals(owner) {
            put(&mut text, format_args!("\t{path}\n"));
        }
    }
    drop(tree);
    let clients = edge.hub.clients();
    let sets = usize::from(!clients.is_empty());
    put(&mut text, format_args!("Connections dump:\nConnections Sets ({sets})/({}):\n", clients.len()));
    for client in clients {
        put(&mut text, format_args!("\tip: /{} sessionId: {:#x}\n", client.peer(), client.session()));
    }
    text
}

/// `wchs`.
pub(super) fn wchs(edge: &Edge) -> String {
    let counts = edge.hub.watches().lock().summary();
    format!(
        "{} connections watching {} paths\nTotal watches:{}\n",
        counts.connections, counts.paths, counts.watches
    )
}

/// `wchc`.
pub(super) fn wchc(edge: &Edge) -> String {
    let mut text = String::new();
    edge.hub.watches().lock().for_each_slot(|slot, paths| {
        let session = edge.hub.client(slot).map_or(0, |client| client.session());
        put(&mut text, format_args!("{session:#x}\n"));
        for path in paths {
            put(&mut text, format_args!("\t{path}\n"));
        }
    });
    text.push('\n');
    text
}

/// `wchp`.
pub(super) fn wchp(edge: &Edge) -> String {
    let mut text = String::new();
    edge.hub.watches().lock().for_each_path(|path, slots| {
        put(&mut text, format_args!("{path}\n"));
        for slot in slots {
            let session = edge.hub.client(slot).map_or(0, |client| client.session());
            put(&mut text, format_args!("\t{session:#x}\n"));
        }
    });
    text.push('\n');
    text
}
