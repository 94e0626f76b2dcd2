//! Four-letter words: monitoring in plain text (Apache `FourLetterCommands`, `server.command`).
//!
//! Fixed parts are Apache's byte for byte, as scrapers match on them. `reqs` is of before 3.5; Apache closes the
//! connection on it nowadays.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use palisade_wire::SessionId;

use crate::json::Pieces;
use crate::metric::{Sample, mntr};
use crate::source::{Configuration, Connection, Expiries, GlobalSessions, Sessions, Source, Status};
use crate::system::{self, VERSION};

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A word that is known here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Word {
            $($(#[$doc])* $name,)*
        }

        impl Word {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word itself.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

words! {
    /// Settings.
    Conf = "conf";
    /// Connections in full.
    Cons = "cons";
    /// Resets the counters of connections.
    Crst = "crst";
    /// Sizes of the folders.
    Dirs = "dirs";
    /// Sessions, ephemerals and connections.
    Dump = "dump";
    /// The process's environment.
    Envi = "envi";
    /// The trace mask.
    Gtmk = "gtmk";
    /// The tree's digests.
    Hash = "hash";
    /// Whether writes are served.
    Isro = "isro";
    /// All metrics.
    Mntr = "mntr";
    /// Connections with requests without an answer.
    Reqs = "reqs";
    /// Whether anybody is there.
    Ruok = "ruok";
    /// Resets the counters of the server.
    Srst = "srst";
    /// The server in brief.
    Srvr = "srvr";
    /// The server and its connections.
    Stat = "stat";
    /// Sets the trace mask.
    Stmk = "stmk";
    /// Watches by connection.
    Wchc = "wchc";
    /// Watches by path.
    Wchp = "wchp";
    /// Watches, counted.
    Wchs = "wchs";
}

impl Word {
    /// The word that these bytes are, if any. Upper case is none.
    pub fn parse(bytes: [u8; 4]) -> Option<Self> {
        Self::ALL.iter().copied().find(|word| word.text().as_bytes() == bytes)
    }

    /// Whether it answers before there is anything to serve.
    const fn needs_no_server(self) -> bool {
        matches!(self, Self::Ruok | Self::Envi | Self::Gtmk | Self::Stmk)
    }

    /// What Apache says to a word that is not in the list of allowed ones.
    pub fn refusal(self) -> String {
        format!("{} is not executed because it is not in the whitelist.\n", self.text())
    }
}

/// What Apache says instead of most answers while it serves nothing.
pub(crate) const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// The trace mask, which nothing reads: some tools set it.
pub(crate) static TRACE_MASK: AtomicI64 = AtomicI64::new(306);

/// A question, as it came in.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// The word.
    pub word: Word,
    /// The mask of [`Word::Stmk`].
    pub argument: Option<i64>,
    /// The number of the connection that asks, if it is one of [`Source::connections`].
    pub asking: Option<usize>,
}

impl Question {
    /// Asked by nobody in particular.
    pub const fn new(word: Word) -> Self {
        Self { word, argument: None, asking: None }
    }

    /// The answer, piece by piece.
    pub fn answer<S: Source + ?Sized>(self, source: &Arc<S>) -> Pieces {
        let Self { word, argument, asking } = self;
        if !word.needs_no_server() && !source.is_serving() {
            return whole(match word {
                Word::Isro => "null".to_owned(),
                Word::Hash => NOT_SERVING.to_owned(),
                _ => format!("{NOT_SERVING}\n"),
            });
        }
        match word {
            Word::Stat => stat(source, asking),
            Word::Cons => {
                let connections = Arc::clone(source).connections(asking);
                ended(Box::new(connections.map(|batch| lines(&batch, full))))
            }
            Word::Reqs => {
                let waiting = |connection: &Connection| connection.queued > 0;
                let connections = Arc::clone(source).connections(asking).map(move |mut batch| {
                    batch.retain(waiting);
                    lines(&batch, full)
                });
                ended(Box::new(connections))
            }
            Word::Dump => dump(source),
            Word::Wchc => wchc(source),
            Word::Wchp => wchp(source),
            _ => whole(short(word, argument, &**source)),
        }
    }
}

fn whole(text: String) -> Pieces {
    Box::new(std::iter::once(text))
}

/// With an empty line at the end.
fn ended(pieces: Pieces) -> Pieces {
    Box::new(pieces.chain(std::iter::once("\n".to_owned())))
}

/// Answers that are never long.
fn short<S: Source + ?Sized>(word: Word, argument: Option<i64>, source: &S) -> String {
    match word {
        Word::Ruok => "imok".to_owned(),
        Word::Isro => if source.status().read_only { "ro" } else { "rw" }.to_owned(),
        Word::Gtmk => TRACE_MASK.load(Ordering::Relaxed).to_string(),
        Word::Stmk => {
            let mask = argument.unwrap_or(0);
            TRACE_MASK.store(mask, Ordering::Relaxed);
            mask.to_string()
        }
        Word::Srst => {
            source.reset_statistics();
            "Server stats reset.\n".to_owned()
        }
        Word::Crst => {
            source.reset_connections();
            "Connection stats reset.\n".to_owned()
        }
        Word::Conf => configuration(&source.configuration()),
        Word::Dirs => {
            let Configuration { data_dir, log_dir, .. } = source.configuration();
            let [data, log] = [data_dir, log_dir].map(|dir| system::folder_size(&dir));
            format!("datadir_size: {data}\nlogdir_size: {log}\n")
        }
        Word::Envi => {
            let entries = system::environment().into_iter().map(|(key, value)| format!("{key}={value}\n"));
            std::iter::once("Environment:\n".to_owned()).chain(entries).collect()
        }
        Word::Mntr => {
            let mut text = mntr::lines(&[Sample::text("version", VERSION)]);
            text.push_str(&mntr::lines(&mntr::in_order(source.samples())));
            text
        }
        Word::Srvr => {
            let status = source.status();
            heading(&status) + &summary(&status)
        }
        Word::Wchs => {
            let watches = source.watch_summary();
            format!(
                "{} connections watching {} paths\nTotal watches:{}\n",
                watches.connections, watches.paths, watches.watches
            )
        }
        // Apache lists digests of every 128th transaction; none are kept here.
        _ => String::new(),
    }
}

fn heading(status: &Status) -> String {
    let read_only =
        if status.mode == "read-only" { "READ-ONLY mode; serving only read-only clients\n" } else { "" };
    format!("Zookeeper version: {VERSION}\n{read_only}")
}

/// What `srvr` and `stat` share.
fn summary(status: &Status) -> String {
    let (min, mean, max) = status.latency;
    let mean = mntr::rounded(mean);
    let Status { received, sent, connections, outstanding, zxid, mode, nodes, .. } = status;
    let mut text = format!(
        "Latency min/avg/max: {min}/{mean:?}/{max}\nReceived: {received}\nSent: {sent}\nConnections: {connections}\n\
         Outstanding: {outstanding}\nZxid: {zxid}\nMode: {mode}\nNode count: {nodes}\n"
    );
    if let Some([last, min, max]) = status.proposal_sizes {
        put(&mut text, format_args!("Proposal sizes last/min/max: {last}/{min}/{max}\n"));
    }
    text
}

fn configuration(configuration: &Configuration) -> String {
    let Configuration { data_dir, log_dir, .. } = configuration;
    let mut text = String::new();
    put(&mut text, format_args!("clientPort={}\nsecureClientPort=-1\n", configuration.client_port));
    for (name, size_name, dir) in
        [("dataDir", "dataDirSize", data_dir), ("dataLogDir", "dataLogSize", log_dir)]
    {
        put(&mut text, format_args!("{name}={}\n{size_name}={}\n", dir.display(), system::folder_size(dir)));
    }
    put(
        &mut text,
        format_args!(
            "tickTime={}\nmaxClientCnxns={}\nminSessionTimeout={}\nmaxSessionTimeout={}\n\
             clientPortListenBacklog=-1\nserverId={}\ninitLimit={}\nsyncLimit={}\nelectionAlg=3\nelectionPort={}\n\
             quorumPort={}\npeerType={}\nmembership: \n{}",
            configuration.tick_ms,
            configuration.max_client_connections,
            configuration.min_session_timeout_ms,
            configuration.max_session_timeout_ms,
            configuration.server_id,
            configuration.init_limit,
            configuration.sync_limit,
            configuration.election_port,
            configuration.quorum_port,
            u8::from(configuration.observer),
            configuration.membership,
        ),
    );
    text
}

fn stat<S: Source + ?Sized>(source: &Arc<S>, asking: Option<usize>) -> Pieces {
    let status = source.status();
    let clients = Arc::clone(source).connections(asking).map(|batch| lines(&batch, |_, _| {}));
    let heading = heading(&status) + "Clients:\n";
    Box::new(
        std::iter::once(heading).chain(clients).chain(std::iter::once("\n".to_owned() + &summary(&status))),
    )
}

/// A line for each connection, with what `details` appends.
fn lines(connections: &[Connection], details: fn(&Connection, &mut String)) -> String {
    let mut text = String::new();
    for connection in connections {
        let Connection { peer, interest, queued, received, sent, .. } = connection;
        put(&mut text, format_args!(" /{peer}[{interest}](queued={queued},recved={received},sent={sent}"));
        details(connection, &mut text);
        text.push_str(")\n");
    }
    text
}

fn full(connection: &Connection, text: &mut String) {
    if connection.session == 0 {
        return;
    }
    let Connection { session, last_op, established_ms, timeout_ms, .. } = connection;
    put(text, format_args!(",sid={session:#x},lop={last_op},est={established_ms},to={timeout_ms}"));
    if connection.last_cxid >= 0 {
        put(text, format_args!(",lcxid={:#x}", connection.last_cxid));
    }
    let Connection { last_zxid, last_response_ms, last_latency_ms, latency: (min, mean, max), .. } =
        connection;
    put(text, format_args!(",lzxid={last_zxid},lresp={last_response_ms},llat={last_latency_ms}"));
    put(text, format_args!(",minlat={min},avglat={mean},maxlat={max}"));
}

fn dump<S: Source + ?Sized>(source: &Arc<S>) -> Pieces {
    let sessions = sessions(Arc::clone(source).sessions());
    let owners = source.ephemeral_owners();
    let title = format!("ephemeral nodes dump:\nSessions with Ephemerals ({owners}):\n");
    let ephemerals = listed(Arc::clone(source).ephemerals(), |session| format!("{session:#x}:\n"));
    let source = Arc::clone(source);
    let connections = std::iter::once_with(move || connection_sets(&source));
    let parts = std::iter::once("SessionTracker dump:\n".to_owned()).chain(sessions);
    Box::new(parts.chain(std::iter::once(title)).chain(ephemerals).chain(connections))
}

fn sessions(sessions: Sessions) -> Pieces {
    let Sessions { local, global } = sessions;
    let sets = |what: &str, sets: &Expiries| expiring(what, sets, |session| format!("\t{session:#x}\n"));
    let mut text = local.as_ref().map(|local| sets("Local Session", local)).unwrap_or_default();
    match global {
        GlobalSessions::Expiring(global) => {
            text += &sets(if local.is_some() { "Global Session" } else { "Session" }, &global);
            whole(text)
        }
        GlobalSessions::Known(count, batches) => {
            text += &format!("Global Sessions({count}):\n");
            Box::new(std::iter::once(text).chain(batches.map(|batch| {
                batch.iter().map(|(session, timeout_ms)| format!("{session:#x}\t{timeout_ms}ms\n")).collect()
            })))
        }
    }
}

/// Connections by the moment at which they are given up, in whole seconds.
fn connection_sets<S: Source + ?Sized>(source: &Arc<S>) -> String {
    let mut sets: BTreeMap<u64, Vec<(SocketAddr, SessionId)>> = BTreeMap::new();
    for connection in Arc::clone(source).connections(None).flatten() {
        let expiry = connection.expires_ms.div_ceil(1000) * 1000;
        sets.entry(expiry).or_default().push((connection.peer, connection.session));
    }
    let sets: Vec<_> = sets.into_iter().collect();
    let text =
        expiring("Connections", &sets, |(peer, session)| format!("\tip: /{peer} sessionId: {session:#x}\n"));
    format!("Connections dump:\n{text}")
}

fn expiring<T>(what: &str, sets: &[(u64, Vec<T>)], line: impl Fn(&T) -> String) -> String {
    let count: usize = sets.iter().map(|(_, set)| set.len()).sum();
    let mut text = format!("{what} Sets ({})/({count}):\n", sets.len());
    for (expiry, set) in sets {
        put(&mut text, format_args!("{} expire at {}:\n", set.len(), system::date(*expiry)));
        text.extend(set.iter().map(&line));
    }
    text
}

fn wchc<S: Source + ?Sized>(source: &Arc<S>) -> Pieces {
    ended(listed(Arc::clone(source).watches_by_session(), |session| format!("{session:#x}\n")))
}

/// Paths below the session that they belong to, which may go on from one batch to the next.
fn listed(batches: crate::json::Batches<(SessionId, Vec<String>)>, title: fn(SessionId) -> String) -> Pieces {
    let mut last = None;
    Box::new(batches.map(move |batch| {
        let mut text = String::new();
        for (session, paths) in batch {
            if last.replace(session) != Some(session) {
                text.push_str(&title(session));
            }
            for path in paths {
                put(&mut text, format_args!("\t{path}\n"));
            }
        }
        text
    }))
}

fn wchp<S: Source + ?Sized>(source: &Arc<S>) -> Pieces {
    ended(Box::new(Arc::clone(source).watches_by_path().map(|batch| {
        let mut text = String::new();
        for (path, sessions) in batch {
            put(&mut text, format_args!("{path}\n"));
            for session in sessions {
                put(&mut text, format_args!("\t{session:#x}\n"));
            }
        }
        text
    })))
}

/// Appends formatted text; writing to a string cannot fail.
fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.write_fmt(line).ok();
}
