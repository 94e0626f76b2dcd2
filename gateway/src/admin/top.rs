//! `/top`: who asks this gateway for most, for `palisade top`.

use palisade_admin::json::Json;
use palisade_admin::tree::BATCH;

use crate::edge::{Edge, aside};
use crate::top::{Load, Measure, Sketch, Watching, prefixes};

/// Lines of each table, if nobody says.
const LINES: usize = 10;
/// Lines of each table, at most.
const MAX_LINES: usize = 100;
/// Watched paths that are looked at before others may use the watches again.
const PATHS: usize = 2_048;

/// The page; in the query, `n=` says how many lines each table has, and `by=` by what the heaviest are chosen: `ops`,
/// `bytes`, `watches` or `refusals`.
pub(super) fn page(edge: &Edge, query: &str) -> Json {
    let field = |name: &str| query.split('&').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let lines = field("n").and_then(|n| n.parse().ok()).unwrap_or(LINES).min(MAX_LINES);
    let measure = field("by").and_then(Measure::named).unwrap_or_default();
    let (received, sent) = edge.hub.stats().packets();
    let watching = aside(|| watching(edge));
    let locks = edge.throttle.busiest_locks(lines).into_iter().map(|lock| {
        Json::object([
            ("name", Json::Text(lock.prefix)),
            ("acquired_per_s", Json::Float(lock.acquired_per_s)),
            ("new_parents_per_s", Json::Float(lock.new_parents_per_s)),
            ("short_holds_per_s", Json::Float(lock.short_holds_per_s)),
            ("refusals_per_s", Json::Float(lock.refused_per_s)),
            ("fine_grained", Json::Bool(lock.fine_grained)),
        ])
    });
    let queues = edge.throttle.longest_queues(lines).into_iter();
    let queues = queues.map(|(path, queue)| Json::object([("name", path.into()), ("queue", queue.into())]));
    Json::object([
        ("tenant", Json::Text(edge.config.tenant.name.clone())),
        ("gateway", Json::Int(edge.config.id)),
        ("connections", edge.hub.connections().count().into()),
        ("watches", edge.hub.watches().lock().len().into()),
        ("packets_received", received.into()),
        ("packets_sent", sent.into()),
        ("outstanding_requests", edge.link.in_flight().into()),
        ("load", edge.top.heaviest(measure, lines, &watching)),
        ("locks", Json::list(locks)),
        ("lock_queues", Json::list(queues)),
    ])
}

/// Who has watches, and where.
fn watching(edge: &Edge) -> Watching {
    let mut watching = Watching::default();
    let mut from = Some(0);
    while let Some((clients, next)) = from.map(|from| edge.hub.connections().from(from, BATCH)) {
        from = next;
        let counts: Vec<_> = {
            let watches = edge.hub.watches().lock();
            clients.iter().map(|client| watches.count_of(client.slot()) as u64).collect()
        };
        for (client, count) in clients.iter().zip(counts).filter(|(_, count)| *count > 0) {
            add(&mut watching.addresses, &client.peer().ip().to_canonical(), count);
            add(&mut watching.sessions, &client.session(), count);
        }
    }
    let mut from = Some(0);
    let mut seen: Vec<(Box<str>, u64)> = Vec::new();
    while let Some(start) = from {
        from = edge.hub.watches().lock().watched_from(start, PATHS, |path, count| {
            seen.push((path.into(), count));
        });
        for (path, count) in seen.drain(..) {
            prefixes(&path).for_each(|prefix| add(&mut watching.prefixes, &prefix.into(), count));
            if let Some(parent) = edge.throttle.lock_parent(&path) {
                add(&mut watching.lock_parents, &parent.into(), count);
            }
        }
    }
    watching
}

fn add<K: Clone + Eq + std::hash::Hash>(sketch: &mut Sketch<K>, key: &K, watches: u64) {
    sketch.add(key, watches, Load::default());
}
