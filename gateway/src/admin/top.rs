//! `/top`: who asks this gateway for most, for `palisade top`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use palisade_admin::json::Json;
use palisade_admin::tree::BATCH;
use palisade_wire::SessionId;

use crate::edge::Edge;

/// Lines of each table, if nobody says.
const LINES: usize = 10;
/// Lines of each table, at most.
const MAX_LINES: usize = 100;

/// The page; `n=` in the query says how many lines each table has.
pub(super) fn page(edge: &Edge, query: &str) -> Json {
    let asked = query.split('&').find_map(|field| field.strip_prefix("n=")?.parse().ok());
    let lines = asked.unwrap_or(LINES).min(MAX_LINES);
    let (received, sent) = edge.hub.stats().packets();
    let (addresses, sessions) = watchers(edge, lines);
    let locks = edge.throttle.busiest_locks(lines).into_iter().map(|lock| {
        Json::object([
            ("name", Json::Text(lock.prefix)),
            ("acquired_per_s", Json::Float(lock.acquired_per_s)),
            ("new_parents_per_s", Json::Float(lock.new_parents_per_s)),
            ("short_holds_per_s", Json::Float(lock.short_holds_per_s)),
            ("fine_grained", Json::Bool(lock.fine_grained)),
        ])
    });
    let queues = edge.throttle.longest_queues(lines).into_iter();
    let queues = queues.map(|(path, queue)| named(path, "queue", queue.into()));
    Json::object([
        ("tenant", Json::Text(edge.config.tenant.name.clone())),
        ("gateway", Json::Int(edge.config.id)),
        ("connections", edge.hub.connection_count().into()),
        ("watches", edge.hub.watches().lock().len().into()),
        ("packets_received", received.into()),
        ("packets_sent", sent.into()),
        ("outstanding_requests", edge.link.in_flight().into()),
        ("load", edge.top.heaviest(lines)),
        ("watching_addresses", addresses),
        ("watching_sessions", sessions),
        ("locks", Json::list(locks)),
        ("lock_queues", Json::list(queues)),
    ])
}

fn named(name: String, key: &str, value: Json) -> Json {
    Json::object([("name", Json::Text(name)), (key, value)])
}

/// Who has the most watches, by address and by session.
fn watchers(edge: &Edge, lines: usize) -> (Json, Json) {
    let mut addresses: BTreeMap<IpAddr, usize> = BTreeMap::new();
    let mut sessions: Vec<(SessionId, usize)> = Vec::new();
    let mut from = Some(0);
    while let Some((clients, next)) = from.map(|from| edge.hub.clients_from(from, BATCH)) {
        from = next;
        let counts: Vec<_> = {
            let watches = edge.hub.watches().lock();
            clients.iter().map(|client| watches.count_of(client.slot())).collect()
        };
        for (client, count) in clients.iter().zip(counts).filter(|(_, count)| *count > 0) {
            *addresses.entry(client.peer().ip()).or_default() += count;
            sessions.push((client.session(), count));
        }
    }
    let addresses = addresses.into_iter().map(|(address, count)| (address.to_string(), count));
    let sessions = sessions.into_iter().map(|(session, count)| (format!("{session:#x}"), count));
    (heaviest(addresses, lines), heaviest(sessions, lines))
}

fn heaviest(all: impl Iterator<Item = (String, usize)>, lines: usize) -> Json {
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    Json::list(all.into_iter().take(lines).map(|(name, count)| named(name, "watches", count.into())))
}
