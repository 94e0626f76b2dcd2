//! What a gateway is told. Reading files, environment and flags is the caller's business.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::link;
use crate::tenancy::Root;
use crate::throttle::config::Throttle;
use palisade_admin::words::Word;
use palisade_watch::WatchLimits;
use palisade_wire::{DEFAULT_MAX_FRAME, Sid};

mod notifications;

pub use notifications::{Notifications, Pacing};

/// Everything that a gateway is told. [`Config::validate`] says whether it makes sense.
///
/// The defaults lack what only an operator knows: [`id`](Self::id), the tenant's name and the voters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Unique among all gateways and voters of one core, 1 to 254: the high byte of the session ids issued here.
    pub id: Sid,
    /// The gateway's own end.
    pub gateway: Gateway,
    /// Whose gateway this is.
    pub tenant: Tenant,
    /// The port that clients connect to.
    pub client: Client,
    /// The voters behind it.
    pub core: Core,
    /// The replica on disk.
    pub storage: Storage,
    /// Clients' sessions.
    pub sessions: Sessions,
    /// What goes on without a core.
    pub stale_reads: StaleReads,
    /// Clients' identities.
    pub auth: Auth,
    /// The monitoring port.
    pub admin: Admin,
    /// What one gateway will hold at most.
    pub limits: Limits,
    /// How much clients may ask of the core.
    pub throttle: Throttle,
    /// `[notifications]`: how events are told to very many clients. Can be changed while the gateway runs.
    pub notifications: Notifications,
}

/// `[gateway]`: how the process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// After SIGTERM, the time over which clients are asked to leave for the tenant's other gateways.
    pub drain: Duration,
}

/// `[tenant]`: whose gateway this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// A name for logs and metrics: 1 to 64 of `a-z A-Z 0-9 - _ .`.
    pub name: String,
    /// The sub-tree that clients see as `/`: `/` for the whole tree, or a path outside `/zookeeper`. It is made at the
    /// first start.
    pub root: String,
}

/// `[client]`: the port that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// `host:port` to listen on; port 0 takes a free one.
    pub address: String,
    /// Four-letter words that this port answers, `*` for all; `srvr` always. The admin port answers all.
    pub four_letter_words: Vec<String>,
}

/// `[core]`: the voters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core {
    /// `host:port` of every voter's *quorum* port (the first port of a `server.N` line). Names are resolved at
    /// each dial.
    pub voters: Vec<String>,
    /// How long dialing one voter may take, name resolution included.
    pub connect_timeout: Duration,
    /// How long a leader may stay silent while it synchronises this gateway (Apache: initLimit × tickTime).
    pub init_timeout: Duration,
    /// How long a leader may stay silent afterwards (Apache: syncLimit × tickTime).
    pub sync_timeout: Duration,
}

/// `[storage]`: the replica on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Folder for the log and the snapshots of the replica.
    pub data_dir: PathBuf,
    /// Transactions between two snapshots.
    pub snap_count: u64,
    /// Snapshots to keep, at least 3.
    pub retain: usize,
}

/// `[sessions]`: clients' sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// Whether sessions stay unknown to the core until their first write: the beginning, the pings and the end of a
    /// session that only reads and watches then cost the core nothing. Gateways of one tenant take over each other's.
    pub local: bool,
    /// Keys the passwords of sessions, the same at all gateways of a tenant: without it they can be computed by
    /// everybody, as those of Apache. 16 bytes at least.
    pub secret: Option<String>,
    /// Local sessions at a time; more are refused.
    pub max_local: usize,
    /// Clients that come back with a session, a second; the others wait for their turn.
    pub renewals_per_second: u32,
    /// The shortest timeout that a client may negotiate.
    pub min_timeout: Duration,
    /// The longest timeout that a client may negotiate.
    pub max_timeout: Duration,
    /// How long a write or a sync waits while the core does not answer, as during an election, before it fails with
    /// CONNECTIONLOSS; a third of the session's timeout if that is less.
    pub write_wait: Duration,
}

/// `[stale_reads]`: what goes on while the core is out of reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleReads {
    /// Whether reads go on at all once writes have waited for as long as they may.
    pub enabled: bool,
    /// What becomes of sessions that own ephemeral znodes.
    pub owners: Owners,
    /// The greatest age of what is read: beyond, clients are disconnected. `None` for any.
    pub max_age: Option<Duration>,
    /// Whether new sessions are let in.
    pub new_sessions: bool,
}

/// What becomes of owners of ephemeral znodes while the core is out of reach, and may end their sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owners {
    /// They are disconnected before the core could do so: no two clients hold a lock.
    #[default]
    Disconnect,
    /// They stay connected and go on reading, though others may hold their locks by then.
    Keep,
}

impl Owners {
    /// How they are called in a file.
    pub const NAMES: [(&'static str, Self); 2] = [("disconnect", Self::Disconnect), ("keep", Self::Keep)];
}

/// `[auth]`: clients' identities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// `super:<base64 of the SHA-1 of "super:password">`: who proves this digest identity may do everything. It must
    /// not be given to tenants. `None` for nobody.
    pub super_digest: Option<String>,
}

/// `[admin]`: the monitoring port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// `host:port` that answers four-letter words and HTTP; port 0 takes a free one, `None` opens no such port.
    pub address: Option<String>,
}

/// `[limits]`: what one gateway can bear at all. Whatever goes beyond is refused, by name. How much of it clients may take
/// is said by [`Throttle`], and can be changed while the gateway runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest request frame, bytes (`jute.maxbuffer`).
    pub max_frame: usize,
    /// The same for SetWatches and SetWatches2, by which clients register all their watches again after a
    /// reconnect. C clients send one for all: under the other limit, those with many could never come back.
    pub max_set_watches: usize,
    /// Bytes that requests of more than 64 KiB take that are on their way in, of all connections together; those that set
    /// watches again count four times, and have a half. Beyond, the others are not read on until it is their turn, and who takes longer
    /// than the session's timeout is closed.
    pub total_inbox_bytes: usize,
    /// Client connections.
    pub max_connections: usize,
    /// Connections that have not finished the handshake.
    pub max_handshakes: usize,
    /// How long a client may take to say what it wants.
    pub handshake_timeout: Duration,
    /// Bytes of events queued towards one client; a slower reader is closed.
    pub outbox_bytes: usize,
    /// The same for all clients together: beyond, those who leave more than 64 KiB unread are closed.
    pub total_outbox_bytes: usize,
    /// Bytes of requests that wait to be carried out and of answers that are not read, of all connections together, beyond
    /// 64 KiB of each. From three quarters on, no more is read from those who have more than that; beyond, those are closed
    /// who leave more than that unread.
    pub total_pending_bytes: usize,
    /// Requests of one connection that wait for an answer; reading from it pauses beyond.
    pub pipelined_requests: usize,
    /// Watches of one connection: more are refused with BADARGUMENTS. Of those that are registered again after a
    /// reconnect, one-shot ones beyond it fire, so that their clients ask again and are refused then; who registers more
    /// persistent ones is told of everything at and below what these have in common. A persistent watch that is not
    /// recursive counts twice, here and in [`Self::total_watches`].
    pub watches: usize,
    /// Watches of all connections together: more are refused in the same way.
    pub total_watches: usize,
    /// Requests for the core that are not yet answered.
    pub in_flight: usize,
    /// Bytes of those.
    pub in_flight_bytes: usize,
    /// Requests that the leader is given at a time; with more, sessions take turns. The fewer, the less stands before a
    /// turn; a leader that is far away needs more of them to be kept busy.
    pub window: usize,
    /// Bytes of those. A leader reads only so much ahead: beyond, the pings that keep sessions alive would wait behind
    /// requests.
    pub window_bytes: usize,
}

impl Default for Gateway {
    fn default() -> Self {
        Self { drain: Duration::from_secs(10) }
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self { name: String::new(), root: "/".to_owned() }
    }
}

impl Default for Client {
    fn default() -> Self {
        let words = ["conf", "envi", "isro", "mntr", "ruok", "srvr", "stat", "wchs"];
        Self { address: "0.0.0.0:2181".to_owned(), four_letter_words: words.map(str::to_owned).to_vec() }
    }
}

impl Default for Core {
    fn default() -> Self {
        Self {
            voters: Vec::new(),
            connect_timeout: Duration::from_secs(2),
            init_timeout: Duration::from_secs(20),
            sync_timeout: Duration::from_secs(10),
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self { data_dir: PathBuf::from("data"), snap_count: 100_000, retain: 3 }
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            local: true,
            secret: None,
            max_local: 100_000,
            renewals_per_second: 20_000,
            min_timeout: Duration::from_secs(4),
            max_timeout: Duration::from_secs(40),
            write_wait: Duration::from_secs(5),
        }
    }
}

impl Default for StaleReads {
    fn default() -> Self {
        Self { enabled: true, owners: Owners::default(), max_age: None, new_sessions: true }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame: DEFAULT_MAX_FRAME,
            max_set_watches: 32 << 20,
            total_inbox_bytes: 256 << 20,
            max_connections: 20_000,
            max_handshakes: 10_000,
            handshake_timeout: Duration::from_secs(10),
            outbox_bytes: 16 << 20,
            total_outbox_bytes: 512 << 20,
            total_pending_bytes: 512 << 20,
            pipelined_requests: 1_000,
            watches: 500_000,
            total_watches: 20_000_000,
            in_flight: 4_000,
            in_flight_bytes: 64 << 20,
            window: 1_000,
            window_bytes: 4 << 20,
        }
    }
}

impl Limits {
    pub(crate) const fn link_limits(&self) -> link::queue::Limits {
        link::queue::Limits {
            requests: self.in_flight,
            bytes: self.in_flight_bytes,
            window: self.window,
            window_bytes: self.window_bytes,
        }
    }

    pub(crate) const fn watch_limits(&self) -> WatchLimits {
        WatchLimits { connection: self.watches, total: self.total_watches }
    }
}

/// One mistake in a [`Config`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigMistake {
    /// The key, as it stands in a file: `sessions.min_timeout`.
    pub key: &'static str,
    /// What is wrong, and what is allowed.
    pub message: String,
}

impl fmt::Display for ConfigMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// An election, and the pause between two proofs, must fit.
const MIN_MAX_AGE: Duration = Duration::from_secs(5);
const MAX_MAX_AGE: Duration = Duration::from_secs(365 * 86_400);
const NAME_MAX: usize = 64;
const MIN_SECRET: usize = 16;
const SESSION_TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const MILLI: Duration = Duration::from_millis(1);
const MAX_VOTERS: usize = 64;

impl Config {
    /// All mistakes at once, in the order of the keys; empty if there is none.
    pub fn validate(&self) -> Vec<ConfigMistake> {
        let mut check = Check(Vec::new());
        check.range("id", self.id, 1, 254);
        check.span("gateway.drain", self.gateway.drain, Duration::ZERO, HOUR);
        self.validate_tenant(&mut check);
        self.validate_client(&mut check);
        self.validate_core(&mut check);
        self.validate_storage(&mut check);
        self.validate_sessions(&mut check);
        if let Some(age) = self.stale_reads.max_age {
            check.span("stale_reads.max_age", age, MIN_MAX_AGE, MAX_MAX_AGE);
        }
        if self.auth.super_digest.as_ref().is_some_and(|digest| !digest.starts_with("super:")) {
            check.say("auth.super_digest", "does not begin with \"super:\"".to_owned());
        }
        if let Some(address) = &self.admin.address {
            check.address("admin.address", address, 0);
        }
        self.validate_limits(&mut check);
        check.0.extend(self.throttle.mistakes());
        self.notifications.validate(&mut check);
        check.0
    }

    fn validate_tenant(&self, check: &mut Check) {
        let Tenant { name, root } = &self.tenant;
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(fits) {
            check.say("tenant.name", format!("{name:?} is not 1 to {NAME_MAX} of a-z A-Z 0-9 - _ ."));
        }
        if let Some(refusal) = Root::refusal(root) {
            check.say("tenant.root", format!("{root:?} {refusal}"));
        }
    }

    fn validate_client(&self, check: &mut Check) {
        let Client { address, four_letter_words } = &self.client;
        check.address("client.address", address, 0);
        for word in four_letter_words {
            if word != "*" && !is_four_letter_word(word) {
                check.say("client.four_letter_words", format!("{word:?} is not a known four-letter word"));
            }
        }
    }

    fn validate_core(&self, check: &mut Check) {
        let Core { voters, connect_timeout, init_timeout, sync_timeout } = &self.core;
        if voters.is_empty() || voters.len() > MAX_VOTERS {
            check.say(
                "core.voters",
                format!("{} given; list 1 to {MAX_VOTERS} quorum addresses", voters.len()),
            );
        }
        for (i, voter) in voters.iter().enumerate() {
            check.address("core.voters", voter, 1);
            if voters.iter().take(i).any(|earlier| earlier == voter) {
                check.say("core.voters", format!("{voter:?} is listed twice"));
            }
        }
        check.span("core.connect_timeout", *connect_timeout, 10 * MILLI, HOUR);
        check.span("core.init_timeout", *init_timeout, 100 * MILLI, HOUR);
        check.span("core.sync_timeout", *sync_timeout, 100 * MILLI, 5 * MINUTE);
    }

    fn validate_storage(&self, check: &mut Check) {
        let Storage { data_dir, snap_count, retain } = &self.storage;
        if data_dir.as_os_str().is_empty() {
            check.say("storage.data_dir", "is empty; give a folder".to_owned());
        }
        check.range("storage.snap_count", *snap_count, 2, u64::from(u32::MAX));
        check.range("storage.retain", *retain, 3, 1_000);
    }

    fn validate_sessions(&self, check: &mut Check) {
        let Sessions {
            local: _,
            secret,
            max_local,
            renewals_per_second,
            min_timeout,
            max_timeout,
            write_wait,
        } = &self.sessions;
        let (min_timeout, max_timeout, write_wait) = (*min_timeout, *max_timeout, *write_wait);
        if secret.as_ref().is_some_and(|secret| secret.len() < MIN_SECRET) {
            check.say("sessions.secret", format!("is shorter than {MIN_SECRET} bytes"));
        }
        check.range("sessions.max_local", *max_local, 1, 10_000_000);
        check.range("sessions.renewals_per_second", *renewals_per_second, 1, 10_000_000);
        check.span("sessions.min_timeout", min_timeout, MILLI, SESSION_TIMEOUT_MAX);
        check.span("sessions.max_timeout", max_timeout, MILLI, SESSION_TIMEOUT_MAX);
        if min_timeout > max_timeout {
            check.say(
                "sessions.min_timeout",
                format!("{min_timeout:?} is more than sessions.max_timeout, {max_timeout:?}"),
            );
        }
        check.span("sessions.write_wait", write_wait, MILLI, HOUR);
    }

    fn validate_limits(&self, check: &mut Check) {
        let l = &self.limits;
        check.range("limits.max_frame", l.max_frame, 1_024, 1 << 30);
        check.range("limits.max_set_watches", l.max_set_watches, 1_024, 1 << 30);
        check.range("limits.total_inbox_bytes", l.total_inbox_bytes, 1 << 20, 64 << 30);
        check.range("limits.max_connections", l.max_connections, 1, 10_000_000);
        check.range("limits.max_handshakes", l.max_handshakes, 1, 1_000_000);
        check.span("limits.handshake_timeout", l.handshake_timeout, 10 * MILLI, HOUR);
        check.range("limits.outbox_bytes", l.outbox_bytes, 64 << 10, 4 << 30);
        check.range("limits.total_outbox_bytes", l.total_outbox_bytes, 1 << 20, 64 << 30);
        check.range("limits.total_pending_bytes", l.total_pending_bytes, 1 << 20, 64 << 30);
        check.range("limits.pipelined_requests", l.pipelined_requests, 1, 1_000_000);
        check.range("limits.watches", l.watches, 1, 100_000_000);
        check.range("limits.total_watches", l.total_watches, 1, 1_000_000_000);
        check.range("limits.in_flight", l.in_flight, 1, 10_000_000);
        check.range("limits.in_flight_bytes", l.in_flight_bytes, 1 << 20, 16 << 30);
        check.range("limits.window", l.window, 1, 10_000_000);
        check.range("limits.window_bytes", l.window_bytes, 64 << 10, 64 << 20);
        if l.in_flight_bytes < l.max_frame {
            check.say(
                "limits.in_flight_bytes",
                format!("{} is less than limits.max_frame, {}", l.in_flight_bytes, l.max_frame),
            );
        }
    }
}

fn is_four_letter_word(text: &str) -> bool {
    text.as_bytes().try_into().is_ok_and(|bytes| Word::parse(bytes).is_some())
}

struct Check(Vec<ConfigMistake>);

impl Check {
    fn say(&mut self, key: &'static str, message: String) {
        self.0.push(ConfigMistake { key, message });
    }

    fn range<T: PartialOrd + fmt::Display>(&mut self, key: &'static str, value: T, min: T, max: T) {
        if value < min || value > max {
            self.say(key, format!("{value} is not within {min} to {max}"));
        }
    }

    fn span(&mut self, key: &'static str, value: Duration, min: Duration, max: Duration) {
        if value < min || value > max {
            self.say(key, format!("{value:?} is not within {min:?} to {max:?}"));
        }
    }

    /// `host:port`, or `[v6]:port`.
    fn address(&mut self, key: &'static str, address: &str, min_port: u16) {
        let parts = address.rsplit_once(':').filter(|(host, _)| {
            let bracketed = host.starts_with('[') && host.ends_with(']');
            !host.is_empty() && (bracketed || !host.contains(':'))
        });
        if parts.and_then(|(_, port)| port.parse::<u16>().ok()).is_none_or(|port| port < min_port) {
            self.say(key, format!("{address:?} is not host:port with a port of {min_port} to 65535"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Config {
        let mut config = Config { id: 101, ..Config::default() };
        config.tenant.name = "discovery".to_owned();
        config.core.voters = vec!["core-1:2888".to_owned(), "[::1]:2888".to_owned()];
        config
    }

    fn keys(config: &Config) -> Vec<&'static str> {
        config.validate().iter().map(|m| m.key).collect()
    }

    #[test]
    fn defaults_lack_only_what_the_operator_knows() {
        assert_eq!(good().validate(), []);
        assert_eq!(keys(&Config::default()), ["id", "tenant.name", "core.voters"]);
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let mut config = good();
        config.id = 255;
        config.tenant.root = "/zookeeper/discovery".to_owned();
        config.client.address = "2181".to_owned();
        config.core.voters.push("core-1:2888".to_owned());
        config.core.voters.push("core-2:0".to_owned());
        config.sessions.secret = Some("too short".to_owned());
        config.sessions.max_local = 0;
        config.sessions.min_timeout = Duration::from_secs(60);
        config.client.four_letter_words.push("what".to_owned());
        config.auth.super_digest = Some("admin:x".to_owned());
        config.admin.address = Some("::1:80".to_owned());
        config.limits.in_flight = 0;
        config.throttle.writes.session = 60_000;
        assert_eq!(
            keys(&config),
            [
                "id",
                "tenant.root",
                "client.address",
                "client.four_letter_words",
                "core.voters",
                "core.voters",
                "sessions.secret",
                "sessions.max_local",
                "sessions.min_timeout",
                "auth.super_digest",
                "admin.address",
                "limits.in_flight",
                "throttle.writes",
            ]
        );
        assert_eq!(config.validate()[0].to_string(), "id: 255 is not within 1 to 254");
    }
}
